//! Who ended the call, and why; and telling the other side.

use std::time::Duration;

use cooee_model::account::{Outcome, Party, Role};
use cooee_model::fact::What;
use cooee_model::ids::Side;
use cooee_model::media::MediaCommand;

use crate::call::context::{Alarm, Cx, Purpose};
use crate::call::peers::Verdict;
use crate::call::tries::Scope;
use crate::call::{Call, Path};
use crate::leg::half::{Invite, Leg, LegState};
use crate::leg::uas::Passed;
use crate::message::name::Name;
use crate::message::text::{lossy, number, param};
use crate::message::view::Message;
use crate::profile::rules::TrustReason;
use crate::transaction::flow::{Hop, Measure};
use crate::transaction::layer::{ClientId, ServerId};

/// How long the relay may take to report its end before its ports are taken back anyway.
const MEDIA_GRACE: Duration = Duration::from_secs(5);

/// How a request got no final answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nothing came back at all.
    Complete,
    /// A provisional response, and nothing more.
    AfterTrying,
    /// It never left: the transport gave it back.
    Unsent,
}

impl Call {
    // ---------------------------------------------------------------- what ended it

    /// A BYE from one side: answered at once, passed on with its Reason.
    pub fn bye(&mut self, cx: &mut Cx<'_>, side: Side, server: ServerId, bye: &Message) {
        let up = |leg: &Leg| leg.state == LegState::Up && leg.acked;
        let is_plain = up(&self.a) && self.b.as_ref().is_some_and(up);
        let dirty = self.dirty;
        let was = self.leg_mut(side).map(|l| std::mem::replace(&mut l.state, LegState::Gone));
        match (side, &self.b) {
            (Side::A, _) if was == Some(LegState::Up) => self.a_has_answer(cx),
            // Whatever became of our INVITE, its sender is gone: nothing more is waited for.
            (Side::B, Some(b)) if !b.acked => {
                if let Invite::Client(client) = b.invite {
                    cx.core.tx.abandon(client);
                }
            }
            _ => {}
        }
        // The other side's BYE leaves first: that is the line which is still open.
        self.pass_bye(cx, side, was.unwrap_or(LegState::Gone), bye);
        self.reply(cx, side, server, bye, 200);
        // A patch tells all of that. The account has left with its fact, unless it may yet change.
        if is_plain && !self.word.settling {
            (self.dirty, self.moved) = (dirty, true);
        }
    }

    fn pass_bye(&mut self, cx: &mut Cx<'_>, side: Side, was: LegState, bye: &Message) {
        if matches!(was, LegState::Gone | LegState::Ending) {
            return;
        }
        self.dirty = true;
        let reason = bye.joined(Name::Reason);
        self.note_reason(side, bye);
        self.leg_ended(side, cx);
        if was == LegState::Setup && side == Side::A {
            // BYE in the early dialog: as good as CANCEL (RFC 3261, 15.1.2).
            self.a.state = LegState::Setup;
            self.answer_a(cx, Passed { code: 487, ..Passed::default() }, None);
            self.left_by_caller(cx, &reason);
            return self.end_b(cx, &reason);
        }
        if side == Side::B && self.a.state == LegState::Setup {
            // B was up and A's answer held back: A must not be answered only to be hung up on.
            let passed = Passed { code: 480, reason: &reason, ..Passed::default() };
            self.answer_a(cx, passed, None);
        }
        let party = self.party_of(side);
        self.over(cx, party, self.outcome_of_hangup());
        let measure = Measure { hop: Hop::ByeForward, since: cx.received };
        match side {
            Side::A => self.end_b_measured(cx, &reason, Some(measure)),
            Side::B => self.end_a(cx, &reason, Some(measure)),
        }
    }

    /// Nothing that we say of A's INVITE reaches A any more: as if it had been cancelled. What
    /// was answered goes on; its next request says where A is.
    pub fn caller_unreachable(&mut self, cx: &mut Cx<'_>, invite: ServerId) {
        if self.a.state != LegState::Setup || self.a.invite != Invite::Server(invite) {
            return;
        }
        let reason = b"SIP;cause=503;text=\"caller unreachable\"";
        self.leg_ended(Side::A, cx);
        self.answer_a(cx, Passed { code: 487, ..Passed::default() }, None);
        self.left_by_caller(cx, reason);
        self.end_b(cx, reason);
    }

    /// A gave up before the answer.
    pub(super) fn left_by_caller(&mut self, cx: &mut Cx<'_>, reason: &[u8]) {
        if self.account.reason.is_empty() {
            self.account.reason = lossy(reason);
        }
        let party = match self.decision.role {
            Role::AgentLeg => Party::Customer,
            Role::CustomerLeg => Party::Dialer,
        };
        self.account.sip_final = 487;
        self.over(cx, party, Outcome::Canceled);
    }

    /// B refused, and there is nobody else to try.
    pub(super) fn refused_by_b(&mut self, cx: &mut Cx<'_>, code: u16) {
        let (party, outcome) = match code {
            486 | 600 => (Party::Customer, Outcome::Busy),
            408 | 480 | 487 => (Party::Customer, Outcome::NoAnswer),
            603 | 607 => (Party::Customer, Outcome::Declined),
            404 | 410 | 414 | 416 | 484 | 485 | 604 => (Party::Platform, Outcome::Invalid),
            401..=403 | 407 | 433 | 436..=438 | 608 => (Party::Platform, Outcome::Blocked),
            _ => (Party::Platform, Outcome::Technical),
        };
        self.over(cx, party, outcome);
    }

    /// The target rang too long, or never rang at all.
    pub(super) fn ring_timed_out(&mut self, cx: &mut Cx<'_>) {
        let rang = self.account.times.b_18x.is_some();
        let (code, why, outcome) = match rang {
            true => (480, "ring timeout", Outcome::NoAnswer),
            false => (503, "no answer from the trunk", Outcome::Technical),
        };
        self.account.sip_final = 408;
        self.account.reason = why.to_owned();
        self.answer_a(cx, Passed { code, ..Passed::default() }, None);
        self.over(cx, Party::Timeout, outcome);
        self.end_b(cx, b"SIP;cause=408;text=\"Ring timeout\"");
    }

    /// B's INVITE got no final answer (timer B), or never left.
    pub fn b_unanswered(&mut self, cx: &mut Cx<'_>, client: ClientId, why: Silence) {
        self.late_unanswered(client);
        let Some(b) = &mut self.b else { return };
        if b.invite != Invite::Client(client) || b.state == LegState::Gone {
            return;
        }
        b.state = LegState::Gone;
        self.leg_ended(Side::B, cx);
        self.dirty = true;
        self.judge_b(cx, Verdict::Failed);
        if self.ended {
            return;
        }
        let retry = &cx.core.plan.retry;
        let (code, next, text) = match why {
            Silence::AfterTrying => (408, retry.on_timeout, "no answer from the trunk"),
            Silence::Complete => (503, retry.on_timeout, "no answer from the trunk"),
            Silence::Unsent => (503, retry.on_transport, "the trunk cannot be reached"),
        };
        if next && self.has_next(cx, Scope::Address) {
            let what = if why == Silence::Unsent { "cannot be reached" } else { "did not answer" };
            return self.try_next(cx, Scope::Address, what);
        }
        self.account.sip_final = if why == Silence::Unsent { 503 } else { 408 };
        self.refuse_a(cx, code, text);
    }

    /// A never acknowledged our 2xx (RFC 3261, 13.3.1.4).
    pub fn not_acknowledged(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        if self.relays.iter().any(|r| r.server == server) {
            // A re-INVITE: the dialog is lost, and the call that it carried was a call.
            self.account.reason = "ack timeout".to_owned();
            return self.cut(cx, Party::Timeout, b"SIP;cause=408;text=\"ACK missing\"");
        }
        self.a.acked = true;
        self.account.reason = "ack timeout".to_owned();
        self.over(cx, Party::Timeout, Outcome::NoAck);
        let waiting = self.a.bye_waits.take();
        let reason = waiting.unwrap_or_else(|| b"SIP;cause=408;text=\"ACK missing\"".to_vec());
        self.end_a(cx, &reason, None);
        self.end_b(cx, &reason);
    }

    /// No media from either side for the time-out.
    pub(super) fn media_timed_out(&mut self, cx: &mut Cx<'_>) {
        if self.ended || !self.a.is_up() {
            return;
        }
        self.account.reason = "media timeout".to_owned();
        self.cut(cx, Party::Timeout, b"Q.850;cause=102;text=\"media timeout\"");
    }

    /// A peer says that a dialog is gone (RFC 5057).
    pub(super) fn dialog_lost(&mut self, cx: &mut Cx<'_>, side: Side, code: u16) {
        if self.ended {
            return;
        }
        self.account.reason = format!("dialog lost on {side}: {code}");
        self.cut(cx, Party::Unknown, b"Q.850;cause=41;text=\"dialog lost\"");
    }

    /// An order of the operator.
    pub fn hang_up(&mut self, cx: &mut Cx<'_>) {
        if !self.ended {
            self.account.reason = "hung up by order".to_owned();
            self.cut(cx, Party::Bridge, b"Q.850;cause=16;text=\"hung up by order\"");
        }
    }

    /// Ends both legs of a call that was up or coming up.
    pub(super) fn cut(&mut self, cx: &mut Cx<'_>, party: Party, reason: &[u8]) {
        let outcome = if self.account.times.agent.is_some() {
            Outcome::Connected
        } else {
            Outcome::Technical
        };
        if self.a.state == LegState::Setup {
            self.answer_a(cx, Passed { code: 503, reason, ..Passed::default() }, None);
        }
        self.over(cx, party, outcome);
        self.end_a(cx, reason, None);
        self.end_b(cx, reason);
    }

    /// We cannot go on: A hears `code`.
    pub(super) fn fail_of_ours(&mut self, cx: &mut Cx<'_>, code: u16, why: &str) {
        if self.a.state == LegState::Setup {
            self.refuse_a(cx, code, why);
            self.end_b(cx, b"");
        } else if !self.ended {
            self.account.reason = why.to_owned();
            self.cut(cx, Party::Bridge, b"Q.850;cause=41");
        }
    }

    /// Refuses A while B is gone.
    pub(super) fn refuse_a(&mut self, cx: &mut Cx<'_>, code: u16, why: &str) {
        self.account.reason = why.to_owned();
        if self.account.sip_final == 0 {
            self.account.sip_final = code;
        }
        // What we ask of A is no promise: so long nobody whom its call could go to wants calls.
        let wait_s = if code == 503 { self.rest_of_targets_s(cx) } else { String::new() };
        let passed = Passed { code, retry_after: wait_s.as_bytes(), ..Passed::default() };
        self.answer_a(cx, passed, None);
        self.over(cx, Party::Bridge, Outcome::Technical);
    }

    // ---------------------------------------------------------------- telling the other side

    /// Ends the A leg.
    pub(super) fn end_a(&mut self, cx: &mut Cx<'_>, reason: &[u8], measure: Option<Measure>) {
        match self.a.state {
            LegState::Up if !self.a.acked => {
                // RFC 3261, 15: no BYE before the ACK has come or been given up.
                self.a.bye_waits = Some(reason.to_vec());
                self.dirty = true;
            }
            LegState::Up => self.send_bye(cx, Side::A, reason, measure),
            // B was up and A was not: its 2xx waits for a PRACK and never leaves.
            LegState::Setup => {
                self.answer_a(cx, Passed { code: 480, reason, ..Passed::default() }, measure);
            }
            LegState::Ending | LegState::Gone => {}
        }
    }

    /// Ends the B leg, however far it has come.
    pub(super) fn end_b(&mut self, cx: &mut Cx<'_>, reason: &[u8]) {
        self.end_b_measured(cx, reason, None);
    }

    fn end_b_measured(&mut self, cx: &mut Cx<'_>, reason: &[u8], measure: Option<Measure>) {
        let Some(b) = &self.b else { return };
        match b.state {
            LegState::Setup => self.cancel_b(cx, reason),
            LegState::Up => {
                if !b.acked {
                    // A late offer that A never answered: the 2xx still wants its ACK.
                    let cseq = b.invite_cseq;
                    self.send_ack(cx, Side::B, cseq, b"");
                    if let Some(b) = &mut self.b {
                        b.acked = true;
                    }
                }
                self.send_bye(cx, Side::B, reason, measure);
            }
            LegState::Ending | LegState::Gone => {}
        }
    }

    /// Sends BYE in a leg's dialog.
    pub(super) fn send_bye(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        reason: &[u8],
        measure: Option<Measure>,
    ) {
        let sent = self.send(cx, side, ("BYE", Purpose::Bye), measure, |_, mut writer| {
            if !reason.is_empty() {
                writer.header(Name::Reason, &[reason]);
            }
            writer.finish(b"", b"")
        });
        if let Some(leg) = self.leg_mut(side) {
            leg.state = if sent.is_some() { LegState::Ending } else { LegState::Gone };
        }
        self.leg_ended(side, cx);
    }

    /// The final response to our BYE, whatever it says, ends the leg; but a challenge is answered.
    pub fn bye_responded(&mut self, cx: &mut Cx<'_>, side: Side, response: &Message) {
        let code = response.code();
        if code < 200 {
            return;
        }
        if matches!(code, 401 | 407)
            && let Some((name, value)) = self.authorize(cx, side, response, "BYE")
        {
            self.send(cx, side, ("BYE", Purpose::Bye), None, |_, mut writer| {
                writer.header(name, &[value.as_bytes()]);
                writer.finish(b"", b"")
            });
            return;
        }
        self.leg_gone(side);
    }

    /// A leg is over: our last request has been answered or given up.
    pub fn leg_gone(&mut self, side: Side) {
        if let Some(leg) = self.leg_mut(side) {
            leg.state = LegState::Gone;
        }
        self.moved = true;
    }

    // ---------------------------------------------------------------- the account

    /// Seals the account: the `Ended` fact, once. The relay is closed.
    pub(super) fn over(&mut self, cx: &mut Cx<'_>, party: Party, outcome: Outcome) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.dirty = true;
        self.drop_relays(cx);
        if let Some((since, _)) = self.held.take() {
            self.add_hold(since, cx.received);
        }
        self.account.times.end = Some(cx.received);
        self.account.end_party = party;
        self.account.outcome = self.outcome_by_portal(outcome);
        self.account.hold_unknown = self.account.hold_count == 0 && self.hides_holds();
        for leg in &mut self.account.legs {
            leg.end.get_or_insert(cx.received);
        }
        let account = Box::new(self.account.clone());
        self.fact(cx, cx.received, What::Ended { account });
        if self.path == Path::Relayed {
            cx.out.media.push(MediaCommand::Close { call: self.id });
            cx.core.alarms.set(cx.now, MEDIA_GRACE, Alarm::MediaGone(self.slot));
        }
        self.begin_settling(cx);
    }

    /// Whether B answered and is of a kind that holds without telling.
    fn hides_holds(&self) -> bool {
        let trunk = self.b.as_ref().and_then(|b| self.plan.trunk(&b.trunk));
        self.account.times.b_200.is_some()
            && trunk.is_some_and(|t| !t.profile.behaviour.signals_hold)
    }

    pub(super) fn leg_ended(&mut self, side: Side, cx: &Cx<'_>) {
        if let Some(leg) = self.account.legs.iter_mut().rev().find(|l| l.side == side) {
            leg.end.get_or_insert(cx.received);
        }
    }

    fn party_of(&self, side: Side) -> Party {
        let agent = self.account.times.agent.is_some();
        match (side, self.decision.role) {
            (Side::A, Role::AgentLeg) => Party::Customer,
            (Side::A, Role::CustomerLeg) => Party::Dialer,
            (Side::B, Role::AgentLeg) if agent => Party::Agent,
            (Side::B, Role::AgentLeg) => Party::Platform,
            (Side::B, Role::CustomerLeg) if agent => Party::Customer,
            (Side::B, Role::CustomerLeg) => Party::Platform,
        }
    }

    /// An answered agent makes the call connected, whatever the BYE says (product definition 5.1).
    fn outcome_of_hangup(&self) -> Outcome {
        if self.account.times.agent.is_some() { Outcome::Connected } else { Outcome::UnknownAgent }
    }

    /// Keeps what a `Reason` header says, as far as the profile of its sender trusts it.
    pub(super) fn note_reason(&mut self, side: Side, message: &Message) {
        if !self.trusts_reason(side) {
            return;
        }
        for reason in message.list(Name::Reason) {
            let is_q850 = reason.get(..5).is_some_and(|p| p.eq_ignore_ascii_case(b"Q.850"));
            let cause = param(reason, "cause").and_then(number);
            if let Some(cause) = cause.filter(|_| is_q850) {
                self.account.q850 = u16::try_from(cause).unwrap_or_default();
            }
            if let Some(text) = param(reason, "text") {
                self.account.reason = lossy(text);
            }
        }
    }

    /// Whether a trunk's Reason counts for the outcome.
    fn trusts_reason(&self, side: Side) -> bool {
        let rule = self
            .leg(side)
            .and_then(|l| self.plan.trunk(&l.trunk))
            .map(|t| t.profile.behaviour.trust_reason);
        match rule {
            Some(TrustReason::Always) => true,
            Some(TrustReason::UnlessAnswered) => self.account.times.b_200.is_none(),
            _ => false,
        }
    }
}
