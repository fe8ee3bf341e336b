//! The calls that are up, and the last that ended, as readers see them: followed from facts alone.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cooee_model::account::Account;
use cooee_model::fact::{Fact, What};
use cooee_model::ids::{CallId, Side};
use cooee_model::media::Quality;
use cooee_model::moment::Moment;
use dashmap::DashMap;
use serde::{Serialize, Serializer};

use crate::limits::{LIVE_MAX, RECENT_MAX};

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A trunk offered it.
    Offered,
    /// An INVITE went out on B.
    Forwarded,
    /// B rings.
    Ringing,
    /// The platform answered; no agent is known yet.
    Answered,
    /// The agent (or the customer) is on the line.
    Connected,
    /// One side holds the other.
    Held,
    /// Over.
    Ended,
}

impl State {
    /// Those of a call that is up.
    pub const UP: [Self; 6] = [
        Self::Offered,
        Self::Forwarded,
        Self::Ringing,
        Self::Answered,
        Self::Connected,
        Self::Held,
    ];

    /// The name in metrics and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Forwarded => "forwarded",
            Self::Ringing => "ringing",
            Self::Answered => "answered",
            Self::Connected => "connected",
            Self::Held => "held",
            Self::Ended => "ended",
        }
    }
}

/// One call. Times are microseconds since the Unix epoch, told on the clock of the first fact;
/// a time that is absent did not come about.
#[derive(Clone, PartialEq, Serialize)]
pub struct LiveCall {
    /// The call.
    #[serde(serialize_with = "as_text")]
    pub id: CallId,
    /// How far it has come.
    pub state: State,
    /// `agent-leg` or `customer-leg`; empty until a route was found.
    pub role: &'static str,
    /// The trunk that offered it.
    pub trunk: String,
    /// The trunk that it was last forwarded to.
    pub trunk_out: String,
    /// The route.
    pub route: String,
    /// The customer's number, in full: whoever logs it masks it.
    pub customer: String,
    /// What was dialled.
    pub called: String,
    /// The owned number that is presented.
    pub did: String,
    /// Tries towards B.
    pub attempts: u32,
    /// How the agent's answer is known.
    pub answer_source: &'static str,
    /// Half width of its uncertainty, milliseconds.
    pub answer_err_ms: Option<u32>,
    /// The portal's id of the agent.
    pub agent: Option<String>,
    /// The portal's id of the call.
    pub portal_call_id: Option<String>,
    /// The first fact.
    pub started_us: i64,
    /// B rang.
    pub ringing_us: Option<i64>,
    /// The platform answered.
    pub answered_us: Option<i64>,
    /// The agent answered.
    pub connected_us: Option<i64>,
    /// Speech both ways.
    pub bridged_us: Option<i64>,
    /// The end.
    pub ended_us: Option<i64>,
    /// Whole time on hold, told at the end; absent: not known.
    pub hold_ms: Option<u64>,
    /// A portal's word changed it after its end.
    pub amended: bool,
    /// How it came out; empty while it is up.
    pub outcome: &'static str,
    /// Who ended it; empty while it is up.
    pub end_party: &'static str,
    /// The last status: B's final one, or what we refused with; 0: none.
    pub sip_final: u16,
    /// The last transfer that an operator ordered.
    pub transfer: Option<Transfer>,
    /// How A and B sounded in the last few seconds; absent: not known.
    pub quality: Option<[Sound; 2]>,
    #[serde(skip)]
    anchor: Moment,
    #[serde(skip)]
    seq: u32,
    #[serde(skip)]
    held_by: [bool; 2],
}

/// How one leg sounded.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sound {
    /// Packets that came.
    pub packets: u32,
    /// Packets missing.
    pub lost: u32,
    /// Interarrival jitter, microseconds.
    pub jitter_us: u32,
    /// From here to the peer and back, microseconds; absent: its reports do not say.
    pub rtt_us: Option<u32>,
    /// The mean opinion score (ITU-T G.107): 1 to 4.41; absent: nothing came.
    pub mos: Option<f64>,
    /// 5 (best) to 1 (ITU-T G.109).
    pub grade: Option<u8>,
}

impl Sound {
    fn of(quality: &Quality) -> Self {
        Self {
            packets: quality.packets,
            lost: quality.lost,
            jitter_us: quality.jitter_us,
            rtt_us: quality.round_trip_us,
            mos: quality.mos().map(|mos| (mos * 100.0).round() / 100.0),
            grade: quality.grade(),
        }
    }
}

/// A transfer that an operator ordered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Transfer {
    /// Which leg was asked; empty: none was.
    pub leg: &'static str,
    /// Where it was sent.
    pub target: String,
    /// `asked`, `done` or `failed`.
    pub state: &'static str,
    /// The last status that the leg told; 0: none.
    pub code: u16,
    /// How it came out, in words.
    pub why: String,
}

const fn side_name(side: Side) -> &'static str {
    match side {
        Side::A => "a",
        Side::B => "b",
    }
}

fn as_text<S: Serializer>(id: &CallId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

impl fmt::Debug for LiveCall {
    /// No phone numbers: this is what a log shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveCall({} {})", self.id, self.state.name())
    }
}

impl LiveCall {
    fn new(fact: &Fact) -> Self {
        Self {
            id: fact.call,
            state: State::Offered,
            role: "",
            trunk: String::new(),
            trunk_out: String::new(),
            route: String::new(),
            customer: String::new(),
            called: String::new(),
            did: String::new(),
            attempts: 0,
            answer_source: "none",
            answer_err_ms: None,
            agent: None,
            portal_call_id: None,
            started_us: fact.at.wall_us_on(fact.at),
            ringing_us: None,
            answered_us: None,
            connected_us: None,
            bridged_us: None,
            ended_us: None,
            hold_ms: None,
            amended: false,
            transfer: None,
            quality: None,
            outcome: "",
            end_party: "",
            sip_final: 0,
            anchor: fact.at,
            seq: fact.seq,
            held_by: [false; 2],
        }
    }

    fn take(&mut self, fact: &Fact) {
        let at_us = fact.at.wall_us_on(self.anchor);
        self.seq = fact.seq;
        match &fact.what {
            What::Invited { trunk, customer, called, .. } => {
                self.trunk.clone_from(trunk);
                self.customer.clone_from(customer);
                self.called.clone_from(called);
            }
            What::Forwarded { trunk, route, role, did, attempt, .. } => {
                self.trunk_out.clone_from(trunk);
                self.route.clone_from(route);
                self.did.clone_from(did);
                self.role = role.name();
                self.attempts = *attempt;
            }
            What::Ringing { .. } => _ = self.ringing_us.get_or_insert(at_us),
            What::PlatformAnswered {} => _ = self.answered_us.get_or_insert(at_us),
            What::AgentAnswered { source, err_ms, agent } => {
                self.answer_source = source.name();
                self.answer_err_ms = Some(*err_ms);
                self.agent.clone_from(agent);
                self.connected_us.get_or_insert(at_us);
            }
            What::PortalLinked { portal_call_id, .. } => {
                self.portal_call_id = Some(portal_call_id.clone());
            }
            What::Bridged {} => _ = self.bridged_us.get_or_insert(at_us),
            What::Held { by } => self.hold(*by, true),
            What::Resumed { by } => self.hold(*by, false),
            What::Ended { account } => {
                self.ended_us = Some(at_us);
                self.close(account);
            }
            What::Amended { account } => {
                self.amended = true;
                self.close(account);
            }
            What::TransferAsked { side, target } => {
                let (leg, target) = (side_name(*side), target.clone());
                let asked = Transfer { leg, target, state: "asked", ..Transfer::default() };
                self.transfer = Some(asked);
            }
            What::TransferEnded { code, why } => {
                let transfer = self.transfer.take_if(|t| t.state == "asked").unwrap_or_default();
                let state = if (200..300).contains(code) { "done" } else { "failed" };
                let (code, why) = (*code, why.clone());
                self.transfer = Some(Transfer { state, code, why, ..transfer });
            }
            What::Revived { account, held_by } => {
                self.revive(account);
                if let Some(by) = held_by {
                    self.hold(*by, true);
                }
            }
            What::Sampled { a, b } => self.quality = Some([a, b].map(Sound::of)),
            What::Measured { .. } | What::MediaStarted { .. } => {}
        }
        self.state = self.state_now();
    }

    fn close(&mut self, account: &Account) {
        self.outcome = account.outcome.name();
        self.end_party = account.end_party.name();
        let hold_is_known = !account.hold_unknown || account.hold_count > 0;
        self.hold_ms = hold_is_known.then_some(account.hold_ms);
        self.tell(account);
    }

    /// An earlier run of the node saw how the call came up.
    fn revive(&mut self, account: &Account) {
        let (times, tries) = (&account.times, account.legs.iter().filter(|l| l.side == Side::B));
        self.anchor = times.invite;
        self.started_us = times.invite.wall.div_euclid(1000);
        self.ringing_us = times.b_18x.map(|at| self.told(at, account));
        self.answered_us = times.b_200.map(|at| self.told(at, account));
        self.attempts = u32::try_from(tries.count()).unwrap_or(u32::MAX);
        self.tell(account);
    }

    /// A time of the account. Across a reboot the monotonic readings do not belong together.
    fn told(&self, at: Moment, account: &Account) -> i64 {
        match account.wall_spans {
            true => at.wall.div_euclid(1000),
            false => at.wall_us_on(self.anchor),
        }
    }

    /// What the account says: a call that a restart fell into tells here what was not seen, one
    /// that was amended what is known better.
    fn tell(&mut self, account: &Account) {
        self.sip_final = account.sip_final;
        self.role = account.role.map_or(self.role, |role| role.name());
        self.customer.clone_from(&account.customer);
        self.route.clone_from(&account.route);
        self.did.clone_from(&account.did);
        self.called.clone_from(&account.called);
        for leg in &account.legs {
            match leg.side {
                Side::A => self.trunk.clone_from(&leg.trunk),
                Side::B => self.trunk_out.clone_from(&leg.trunk),
            }
        }
        self.answer_source = account.answer_source.name();
        self.answer_err_ms = account.answer_err_ms;
        self.agent.clone_from(&account.agent);
        self.portal_call_id.clone_from(&account.portal_call_id);
        let times = &account.times;
        (self.connected_us, self.bridged_us) = (
            times.agent.map(|at| self.told(at, account)).or(self.connected_us),
            times.bridge.map(|at| self.told(at, account)).or(self.bridged_us),
        );
    }

    fn hold(&mut self, by: Side, held: bool) {
        let [a, b] = &mut self.held_by;
        *match by {
            Side::A => a,
            Side::B => b,
        } = held;
    }

    fn state_now(&self) -> State {
        if self.ended_us.is_some() {
            State::Ended
        } else if self.held_by.contains(&true) {
            State::Held
        } else if self.connected_us.is_some() {
            State::Connected
        } else if self.answered_us.is_some() {
            State::Answered
        } else if self.ringing_us.is_some() {
            State::Ringing
        } else if self.attempts > 0 {
            State::Forwarded
        } else {
            State::Offered
        }
    }
}

/// The table of calls.
#[derive(Default)]
pub struct Live {
    calls: DashMap<CallId, LiveCall>,
    recent: Mutex<VecDeque<LiveCall>>,
    untracked: AtomicU64,
}

impl Live {
    /// Follows a fact. Returns true for the media figures of a call that had been answered: only
    /// there does silence on one side mean something. A fact seen before changes nothing.
    pub(crate) fn follow(&self, fact: &Fact) -> bool {
        if let What::Measured { .. } = fact.what {
            let recent = self.recent_calls();
            let of_call = recent.iter().rev().find(|call| call.id == fact.call);
            return of_call.is_some_and(|call| call.answered_us.is_some());
        }
        let ended = matches!(fact.what, What::Ended { .. });
        let known = self.calls.contains_key(&fact.call);
        // What a portal says after the end raises no call.
        let begins = fact.seq == 0 || matches!(fact.what, What::Revived { .. });
        if !known && !ended && !begins {
            let mut recent = self.recent_calls();
            let of_call = recent.iter_mut().rev().find(|call| call.id == fact.call);
            if let Some(call) = of_call.filter(|call| fact.seq > call.seq) {
                call.take(fact);
            }
            return false;
        }
        if !known && self.is_late(fact) {
            return false;
        }
        if !known && self.calls.len() >= LIVE_MAX {
            self.untracked.fetch_add(u64::from(begins), Ordering::Relaxed);
            return false;
        }
        {
            let mut call = self.calls.entry(fact.call).or_insert_with(|| LiveCall::new(fact));
            if !known || fact.seq > call.seq {
                call.take(fact);
            }
        }
        if ended && let Some((_, call)) = self.calls.remove(&fact.call) {
            let mut recent = self.recent_calls();
            recent.push_back(call);
            let surplus = recent.len().saturating_sub(RECENT_MAX);
            recent.drain(..surplus);
        }
        false
    }

    /// True for a fact of a call that has ended already.
    fn is_late(&self, fact: &Fact) -> bool {
        self.recent_calls().iter().rev().any(|call| call.id == fact.call)
    }

    /// One call, up or recently ended.
    pub fn get(&self, id: CallId) -> Option<LiveCall> {
        let up = self.calls.get(&id).map(|call| call.clone());
        up.or_else(|| self.recent_calls().iter().rev().find(|call| call.id == id).cloned())
    }

    /// The calls that are up, oldest first.
    pub fn up(&self) -> Vec<LiveCall> {
        let mut calls: Vec<_> = self.calls.iter().map(|call| call.clone()).collect();
        calls.sort_unstable_by_key(|call| call.id);
        calls
    }

    /// The last calls that ended, newest first.
    pub fn recent(&self) -> Vec<LiveCall> {
        self.recent_calls().iter().rev().cloned().collect()
    }

    /// True while the call is up.
    pub fn is_up(&self, id: CallId) -> bool {
        self.calls.contains_key(&id)
    }

    /// Hands over state and role of every call that is up.
    pub(crate) fn each_state(&self, mut take: impl FnMut(State, &'static str)) {
        self.calls.iter().for_each(|call| take(call.state, call.role));
    }

    /// Calls that found the table full.
    pub(crate) fn untracked(&self) -> u64 {
        self.untracked.load(Ordering::Relaxed)
    }

    fn recent_calls(&self) -> MutexGuard<'_, VecDeque<LiveCall>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use cooee_model::account::{Account, AnswerSource, Outcome, Party, Role};

    use super::*;

    fn fact(call: u64, seq: u32, what: What) -> Fact {
        let at_ns = 1_000_000_000 * u64::from(seq);
        let wall = 1_700_000_000_000_000_000 + i64::try_from(at_ns).unwrap();
        Fact { call: CallId::new(call, 1), seq, at: Moment::new(at_ns, wall), what }
    }

    fn invited(call: u64) -> Fact {
        let what = What::Invited {
            trunk: "unitalk".to_owned(),
            source: "192.0.2.1:5060".to_owned(),
            sip_call_id: "a".to_owned(),
            customer: "+61491570156".to_owned(),
            called: "200".to_owned(),
            external_id: None,
            autodialer: None,
        };
        fact(call, 0, what)
    }

    fn ended(call: u64, seq: u32) -> Fact {
        let mut account = Account::new(CallId::new(call, 1), "n", Moment::new(0, 0));
        account.outcome = Outcome::Connected;
        account.end_party = Party::Agent;
        account.customer = "+61491570156".to_owned();
        account.route = "dialer-agents".to_owned();
        fact(call, seq, What::Ended { account: Box::new(account) })
    }

    #[test]
    fn a_call_is_followed_from_invite_to_end() {
        let live = Live::default();
        let id = CallId::new(1, 1);
        let state = || live.get(id).unwrap().state;
        live.follow(&invited(1));
        assert_eq!(state(), State::Offered);
        let forwarded = What::Forwarded {
            trunk: "b24".to_owned(),
            route: "dialer-agents".to_owned(),
            role: Role::AgentLeg,
            did: "+61255501234".to_owned(),
            did_rule: "sticky".to_owned(),
            attempt: 1,
            sip_call_id: "b".to_owned(),
        };
        let answered = What::AgentAnswered { source: AnswerSource::Sip200, err_ms: 0, agent: None };
        for (seq, what, want) in [
            (1, forwarded, State::Forwarded),
            (2, What::Ringing { code: 180, early_media: false }, State::Ringing),
            (3, What::PlatformAnswered {}, State::Answered),
            (4, answered, State::Connected),
            (5, What::Held { by: Side::A }, State::Held),
            (6, What::Held { by: Side::B }, State::Held),
            (7, What::Resumed { by: Side::A }, State::Held),
            (8, What::Resumed { by: Side::B }, State::Connected),
            (9, What::Bridged {}, State::Connected),
        ] {
            live.follow(&fact(1, seq, what));
            assert_eq!(state(), want, "{seq}");
        }
        live.follow(&fact(1, 5, What::Held { by: Side::A }));
        assert_eq!(state(), State::Connected, "a fact seen before changes nothing");
        assert_eq!((live.up().len(), live.recent().len()), (1, 0));
        live.follow(&ended(1, 10));
        assert_eq!((live.up().len(), live.recent().len()), (0, 1));
        let call = live.get(id).unwrap();
        assert_eq!((call.outcome, call.end_party, call.role), ("connected", "agent", "agent-leg"));
        assert_eq!(call.started_us, 1_700_000_000_000_000);
        assert_eq!(call.connected_us, Some(1_700_000_004_000_000));
        assert_eq!(call.ended_us, Some(1_700_000_010_000_000));
        live.follow(&fact(1, 11, What::Bridged {}));
        assert!(!live.is_up(id), "a late fact does not raise the call");
        let figures = What::Measured { a: Default::default(), b: Default::default() };
        assert!(live.follow(&fact(1, 12, figures)));
    }

    #[test]
    fn a_call_that_ended_is_amended_and_not_raised() {
        let live = Live::default();
        live.follow(&invited(1));
        live.follow(&ended(1, 1));
        let portal_call_id = "1A.2.3".to_owned();
        let linked = What::PortalLinked { portal: "acme".to_owned(), portal_call_id };
        live.follow(&fact(1, 2, linked.clone()));
        assert_eq!(live.recent()[0].portal_call_id.as_deref(), Some("1A.2.3"));
        let mut account = Account::new(CallId::new(1, 1), "n", Moment::new(0, 0));
        account.outcome = Outcome::Abandoned;
        account.answer_source = AnswerSource::B24Event;
        account.agent = Some("42".to_owned());
        account.hold_unknown = true;
        account.times.agent = Some(Moment::new(500_000_000, 0));
        let amended = What::Amended { account: Box::new(account) };
        live.follow(&fact(1, 3, amended.clone()));
        let call = live.get(CallId::new(1, 1)).unwrap();
        assert_eq!(
            (call.outcome, call.answer_source, call.amended),
            ("abandoned", "b24_event", true)
        );
        assert_eq!(call.agent.as_deref(), Some("42"));
        assert_eq!((call.connected_us, call.hold_ms), (Some(1_700_000_000_500_000), None));
        assert_eq!((call.state, call.ended_us), (State::Ended, Some(1_700_000_001_000_000)));
        let answered = What::AgentAnswered { source: AnswerSource::Media, err_ms: 0, agent: None };
        for what in [linked, amended, answered] {
            live.follow(&fact(9, 3, what));
        }
        assert_eq!((live.up().len(), live.recent().len()), (0, 1), "a stranger is not raised");
    }

    #[test]
    fn the_debug_text_shows_no_number() {
        let live = Live::default();
        live.follow(&invited(1));
        let text = format!("{:?}", live.up());
        assert!(text.contains("offered") && !text.contains("61491570156"), "{text}");
    }

    #[test]
    fn table_and_ring_are_bounded_and_what_is_left_out_is_counted() {
        let live = Live::default();
        let calls = u64::try_from(LIVE_MAX).unwrap() + 3;
        (0..calls).for_each(|call| _ = live.follow(&invited(call)));
        assert_eq!((live.up().len(), live.untracked()), (LIVE_MAX, 3));
        (0..300).for_each(|call| _ = live.follow(&ended(call, 1)));
        let recent = live.recent();
        assert_eq!(recent.len(), RECENT_MAX);
        assert_eq!(recent[0].id, CallId::new(299, 1), "newest first");
    }
}
