//! The portal's word on a call: the agent's true answer, and how the call came out.
//!
//! Voximplant's 200 is the platform's answer, not the agent's; the portal says by HTTP when an
//! agent came. It says so late, in any order, once, and in whole seconds: so an answer is an
//! interval, its middle is the moment and its half width the error (product definition 3.2).
//!
//! ```text
//!   Init  -> linked: this call is that call of the portal
//!   Start -> the agent's answer, within [ts - slack, ts + 1 s), the platform's answer and the end
//!   End   -> how it came out, where no answer was heard
//!
//!   call ends ---> settling: Start and End may still change the account (fact `Amended`)
//!                     |  End after Start, End that says nobody came, or the time is up
//!                     v
//!                  settled
//! ```

use std::time::Duration;

use cooee_model::account::{AnswerSource, Outcome, Party, Role};
use cooee_model::fact::What;
use cooee_model::moment::Moment;
use cooee_model::portal::Heard;
use minicbor::{Decode, Encode};

use crate::call::Call;
use crate::call::context::{Alarm, Cx};
use crate::profile::decision::AnswerPolicy;
use crate::profile::plan::Portal;
use crate::profile::rules::AnswerMeans;

/// An event's stamp counts whole seconds: what it tells happened within one.
const STAMP: Duration = Duration::from_secs(1);

/// `CALL_FAILED_CODE` of a call that an agent took.
const SUCCESS: &str = "200";

/// What the portal has said of a call so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Word {
    /// The portal's id, once the call is linked.
    #[n(0)]
    pub portal: Option<String>,
    /// `Start`: its stamp, and the agent.
    #[n(1)]
    start: Option<Start>,
    /// `End`: the code, and the agent.
    #[n(2)]
    end: Option<End>,
    /// The call is over and its account is not sealed yet.
    #[n(3)]
    pub settling: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Start {
    #[n(0)]
    ts: i64,
    #[n(1)]
    user: String,
    #[n(2)]
    heard: Moment,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct End {
    #[n(0)]
    code: String,
    #[n(1)]
    user: String,
}

impl Call {
    /// The portal whose word says when the agent answered, if it is waited for at all.
    pub(super) fn awaited_portal<'p>(&self, cx: &'p Cx<'_>) -> Option<&'p Portal> {
        let trunk = self.b.as_ref().and_then(|b| self.plan.trunk(&b.trunk))?;
        let awaited = match self.decision.answer_source {
            AnswerPolicy::Auto => trunk.profile.behaviour.answer_means == AnswerMeans::Platform,
            AnswerPolicy::B24Event => true,
            AnswerPolicy::Sip200 | AnswerPolicy::Media => false,
        };
        let line = trunk.portal.as_ref().filter(|_| awaited)?;
        cx.core.plan.portals.iter().find(|p| p.id == line.portal)
    }

    /// This call is `portal_call_id` of `portal`.
    pub fn linked(&mut self, cx: &mut Cx<'_>, portal: &str, portal_call_id: &str) {
        self.word.portal = Some(portal.to_owned());
        self.account.portal_call_id = Some(portal_call_id.to_owned());
        self.dirty = true;
        let (portal, portal_call_id) = (portal.to_owned(), portal_call_id.to_owned());
        self.fact(cx, cx.now, What::PortalLinked { portal, portal_call_id });
        self.amend(cx);
    }

    /// An agent answered, says the portal.
    pub fn portal_started(&mut self, cx: &mut Cx<'_>, ts: i64, user: &str) -> Heard {
        if self.word.start.is_some() {
            return Heard::Repeated;
        }
        self.word.start = Some(Start { ts, user: user.to_owned(), heard: cx.now });
        self.dirty = true;
        let heard = self.believe_start(cx);
        self.settle_portal();
        heard
    }

    /// The call is in the portal's history.
    pub fn portal_ended(&mut self, cx: &mut Cx<'_>, code: &str, user: &str) -> Heard {
        if self.word.end.is_some() {
            return Heard::Repeated;
        }
        self.word.end = Some(End { code: code.to_owned(), user: user.to_owned() });
        self.dirty = true;
        let named = code == SUCCESS && self.name_agent(user);
        let outcome = self.outcome_by_portal(self.account.outcome);
        if self.ended && (named || outcome != self.account.outcome) {
            self.account.outcome = outcome;
            self.amend(cx);
        }
        self.settle_portal();
        Heard::Matched
    }

    /// Takes a `Start` that was heard as the agent's answer, once the platform's is known.
    pub(super) fn believe_start(&mut self, cx: &mut Cx<'_>) -> Heard {
        let (Some(start), Some(platform)) = (&self.word.start, self.account.times.b_200) else {
            return Heard::Early;
        };
        let (agent, ts, by) = (start.user.clone(), start.ts, start.heard);
        let named = self.name_agent(&agent);
        if self.account.times.agent.is_some() {
            if named {
                self.amend(cx);
            }
            return Heard::Matched;
        }
        let slack = self.slack(cx);
        // Heard before the platform's 200 (which was lost once): then that bounds nothing.
        let last = self.account.times.end.unwrap_or(cx.now).min(by.max(platform));
        let (first, last, fits) = interval(cx.now, ts, slack, (platform, last));
        let half = (last - first) / 2;
        let err_ms = u32::try_from(half.as_micros().div_ceil(1000)).unwrap_or(u32::MAX);
        self.agent_answered(cx, first + half, AnswerSource::B24Event, err_ms);
        if self.ended {
            if self.account.outcome == Outcome::UnknownAgent {
                self.account.outcome = Outcome::Connected;
            }
            if self.account.end_party == Party::Platform {
                self.account.end_party = Party::Agent;
            }
            self.amend(cx);
        }
        if fits { Heard::Matched } else { Heard::Skewed }
    }

    /// How a call came out whose agent's answer was not heard of: what `End` says of it.
    pub(super) fn outcome_by_portal(&self, outcome: Outcome) -> Outcome {
        let (Outcome::UnknownAgent, Some(end)) = (outcome, &self.word.end) else { return outcome };
        match end.code.as_str() {
            "" => Outcome::UnknownAgent,
            // Somebody talked; when is not known, so `t_agent` stays empty.
            SUCCESS => Outcome::Connected,
            _ if self.account.end_party == Party::Platform => Outcome::NoAnswer,
            _ => Outcome::Abandoned,
        }
    }

    /// The call has ended: from now on the portal may change the account for a while only.
    pub(super) fn begin_settling(&mut self, cx: &mut Cx<'_>) {
        let waits = self.account.times.b_200.is_some() && self.decision.role == Role::AgentLeg;
        let Some(settle) = self.awaited_portal(cx).filter(|_| waits).map(|p| p.settle) else {
            return;
        };
        self.word.settling = true;
        self.settle_portal();
        if self.word.settling {
            cx.core.alarms.set(cx.now, settle, Alarm::Settled(self.slot));
        }
    }

    /// The time in which the portal may change the account is over.
    pub fn settled(&mut self) {
        self.word.settling = false;
        self.dirty = true;
    }

    /// Seals the account if the portal has nothing more to say. After an `End` that tells of a
    /// talk, its `Start` may still be under way: there is no order.
    fn settle_portal(&mut self) {
        let said = match (&self.word.start, &self.word.end) {
            (Some(_), Some(_)) => true,
            (None, Some(end)) => !matches!(end.code.as_str(), SUCCESS | ""),
            (_, None) => false,
        };
        if said {
            self.word.settling = false;
        }
    }

    /// Notes the agent, if none is known; whether that is new.
    fn name_agent(&mut self, user: &str) -> bool {
        let new = self.account.agent.is_none() && !user.is_empty();
        if new {
            self.account.agent = Some(user.to_owned());
        }
        new
    }

    fn amend(&mut self, cx: &mut Cx<'_>) {
        if self.ended {
            self.dirty = true;
            let account = Box::new(self.account.clone());
            self.fact(cx, cx.now, What::Amended { account });
        }
    }

    fn slack(&self, cx: &Cx<'_>) -> Duration {
        let id = self.word.portal.as_deref();
        let portal = cx.core.plan.portals.iter().find(|p| Some(p.id.as_str()) == id);
        portal.map_or(STAMP, |p| p.slack)
    }
}

/// When a thing with stamp `ts` happened, cut to `bounds`; whether stamp and bounds agree. Where
/// they do not (a clock is wrong), all that is known is the bounds.
fn interval(
    now: Moment,
    ts: i64,
    slack: Duration,
    (least, most): (Moment, Moment),
) -> (Moment, Moment, bool) {
    let stamped = on_our_clock(now, ts);
    let first = back(stamped, slack).max(least);
    let last = (stamped + STAMP).min(most);
    if first <= last { (first, last, true) } else { (least, most.max(least), false) }
}

/// A time of the wall clock as a moment, by what both clocks say now.
pub fn on_our_clock(now: Moment, unix_s: i64) -> Moment {
    let wall = unix_s.saturating_mul(1_000_000_000);
    let age = now.wall.saturating_sub(wall);
    let mono = match u64::try_from(age) {
        Ok(age) => now.mono.saturating_sub(age),
        Err(_) => now.mono.saturating_add(age.unsigned_abs()),
    };
    Moment::new(mono, wall)
}

fn back(at: Moment, span: Duration) -> Moment {
    let ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let wall = at.wall.saturating_sub(i64::try_from(ns).unwrap_or(i64::MAX));
    Moment::new(at.mono.saturating_sub(ns), wall)
}
