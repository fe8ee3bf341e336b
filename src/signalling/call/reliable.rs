//! PRACK (RFC 3262) between the legs, each by itself: B's reliable 18x are acknowledged here, A
//! gets reliable ones where it wants them, and one does not wait for the other.
//!
//! The one exception is a late offer: B's offer in a reliable 18x is acknowledged with A's answer,
//! which comes in A's PRACK.

use std::collections::VecDeque;

use cooee_model::account::{Outcome, Party};
use cooee_model::ids::Side;

use crate::call::context::{Alarm, Cx, Purpose};
use crate::call::setup::sdp_of;
use crate::call::{Call, Path};
use crate::leg::half::Invite;
use crate::leg::offer_answer::{Described, agree, described};
use crate::leg::reliable::{Due, Got, RAck, Sent, TAG, Taken};
use crate::leg::uas::Passed;
use crate::message::name::Name;
use crate::message::reply::response_to;
use crate::message::text::number;
use crate::message::view::Message;
use crate::profile::plan::Reliable as Wanted;
use crate::transaction::flow::Transmit;
use crate::transaction::layer::ServerId;

/// Most responses that wait behind one without a PRACK. Past it the oldest 18x is dropped.
const WAITING: usize = 8;

/// What a call's reliable responses have come to.
#[derive(Debug, Default)]
pub struct Reliable {
    sent: Sent,
    got: Got,
    /// What A hears after the PRACK that is missing.
    waiting: VecDeque<Held>,
    /// B's reliable 18x with an offer: it is acknowledged with A's answer.
    owed: Option<(RAck, Vec<u8>)>,
    /// Offer and answer are done before the 2xx, in a reliable 18x and its PRACK.
    agreed: bool,
}

/// A response to A that waits.
#[derive(Debug)]
struct Held {
    code: u16,
    phrase: Vec<u8>,
    reason: Vec<u8>,
    sdp: Vec<u8>,
}

impl Reliable {
    /// Another target is tried: B's numbers begin anew.
    pub fn next_target(&mut self) {
        self.got = Got::default();
        self.owed = None;
    }
}

fn knows(message: &Message) -> bool {
    requires(message) || message.lists(Name::Supported, TAG)
}

fn requires(message: &Message) -> bool {
    message.lists(Name::Require, TAG)
}

impl Call {
    /// Whether offer and answer are done although the INVITE had neither.
    pub(super) fn is_answered_early(&self) -> bool {
        self.reliable.as_ref().is_some_and(|r| r.agreed)
    }

    // ---------------------------------------------------------------- towards A

    /// Whether a response to A has to wait for a PRACK: one reliable response at a time, and no
    /// 2xx before the PRACK of one with a description (RFC 3262, 3 and 5). It is kept then.
    pub(super) fn is_held_back(&mut self, passed: &Passed<'_>) -> bool {
        let Some(reliable) = &mut self.reliable else { return false };
        let waits = match passed.code {
            101..=199 => reliable.sent.is_open(),
            200..=299 => reliable.sent.is_described(),
            _ => false,
        };
        if !waits {
            return false;
        }
        if passed.code >= 200 {
            reliable.waiting.clear();
        } else if reliable.waiting.len() >= WAITING {
            reliable.waiting.pop_front();
        }
        reliable.waiting.push_back(Held {
            code: passed.code,
            phrase: passed.phrase.to_vec(),
            reason: passed.reason.to_vec(),
            sdp: passed.sdp.to_vec(),
        });
        true
    }

    /// The RSeq of a response to A's INVITE; zero: it is not sent reliably.
    pub(super) fn rseq_for(
        &mut self,
        cx: &mut Cx<'_>,
        invite: &Message,
        passed: &Passed<'_>,
    ) -> u32 {
        let wanted = cx.core.plan.settings.reliable;
        if !(101..200).contains(&passed.code) || wanted == Wanted::Off || !knows(invite) {
            return 0;
        }
        let trunk = cx.core.plan.trunk(&self.a.trunk);
        let asked =
            wanted == Wanted::Required || trunk.is_some_and(|t| t.profile.behaviour.require_100rel);
        // An offer in an 18x has to be reliable (RFC 3262, 5).
        let offers = sdp_of(invite).is_empty() && !passed.sdp.is_empty();
        if !requires(invite) && !asked && !offers {
            return 0;
        }
        let random = cx.core.random();
        self.reliable.get_or_insert_default().sent.next(random)
    }

    /// A reliable response has been sent to A.
    pub(super) fn await_prack(
        &mut self,
        cx: &mut Cx<'_>,
        rseq: u32,
        bytes: bytes::Bytes,
        described: bool,
    ) {
        let cseq = self.invite.as_ref().and_then(Message::cseq).map_or(0, |c| c.number);
        let clock = cx.core.tx.clock();
        let Some(reliable) = &mut self.reliable else { return };
        let wait = reliable.sent.wait(cseq, bytes, described, clock);
        cx.core.alarms.set(cx.now, wait, Alarm::Unacknowledged(self.slot, rseq));
    }

    /// The INVITE of A has its final response.
    pub(super) fn hush_18x(&mut self) {
        if let Some(reliable) = &mut self.reliable {
            reliable.sent.hush();
            reliable.waiting.clear();
        }
    }

    /// A has not acknowledged a reliable 18x yet: again, or given up after 64*T1.
    pub fn unacknowledged(&mut self, cx: &mut Cx<'_>, rseq: u32) {
        let clock = cx.core.tx.clock();
        let Some(reliable) = &mut self.reliable else { return };
        match reliable.sent.due(rseq, clock) {
            Due::Nothing => {}
            Due::Again(bytes, wait) => {
                let Invite::Server(server) = self.a.invite else { return };
                let flow = cx.core.tx.server(server).map_or(self.a.flow, |s| s.flow);
                cx.out.sends.push(Transmit { flow, bytes, measure: None });
                cx.core.alarms.set(cx.now, wait, Alarm::Unacknowledged(self.slot, rseq));
            }
            Due::GivenUp => {
                const REASON: &[u8] = b"SIP;cause=500;text=\"PRACK missing\"";
                self.account.reason = "prack timeout".to_owned();
                self.account.sip_final = 500;
                self.answer_a(cx, Passed { code: 500, reason: REASON, ..Passed::default() }, None);
                self.over(cx, Party::Timeout, Outcome::Technical);
                self.end_b(cx, REASON);
            }
        }
    }

    /// A PRACK. Only A sends them: of B's side we are the caller.
    pub(super) fn pracked(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        server: ServerId,
        prack: &Message,
    ) {
        let rack = prack.value(Name::RAck).and_then(RAck::read).filter(|_| side == Side::A);
        let reliable = self.reliable.as_mut();
        let Some(described) = rack.zip(reliable).and_then(|(rack, r)| r.sent.acknowledged(rack))
        else {
            return self.reply(cx, side, server, prack, 481);
        };
        let body = sdp_of(prack);
        let late = self.invite.as_ref().is_some_and(|i| sdp_of(i).is_empty());
        if late && described && !self.is_answered_early() {
            self.prack_reply(cx, server, prack, 200, &[]);
            self.late_offer_answered(cx, body);
        } else if body.is_empty() {
            self.prack_reply(cx, server, prack, 200, &[]);
        } else {
            self.offered_in_prack(cx, server, prack, body);
        }
        self.send_waiting(cx);
    }

    /// What has waited for the PRACK, up to the next that needs one.
    fn send_waiting(&mut self, cx: &mut Cx<'_>) {
        while let Some(reliable) = self.reliable.as_mut().filter(|r| !r.sent.is_open())
            && let Some(held) = reliable.waiting.pop_front()
        {
            let Held { code, phrase, reason, sdp } = &held;
            let passed = Passed { code: *code, phrase, reason, sdp, ..Passed::default() };
            self.answer_a(cx, passed, None);
        }
    }

    /// A's answer to an offer that B made in a reliable 18x. Without one it is owed still: the ACK
    /// may bring it.
    fn late_offer_answered(&mut self, cx: &mut Cx<'_>, answer: &[u8]) {
        let Some(theirs) = described(answer) else { return };
        self.point(cx, Side::A, &theirs);
        self.a.holds = theirs.holds;
        let Some(reliable) = &mut self.reliable else { return };
        reliable.agreed = true;
        let owed = reliable.owed.take();
        let sdp = self.redescribe(cx, Side::B, answer);
        if let Some(b) = &mut self.b {
            b.said.clone_from(&sdp);
        }
        match owed {
            Some((rack, tag)) => self.send_prack(cx, rack, &tag, &sdp),
            None => self.ack_late_offer(cx, answer),
        }
    }

    /// A second offer, in A's PRACK: its media may move, and B need not know. What else it could
    /// want does not go without B, which cannot be asked here: 488.
    fn offered_in_prack(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        prack: &Message,
        offer: &[u8],
    ) {
        let answer = self.early.said(&[]).to_vec();
        let sections = |body| crate::message::sdp::Session::read(body).map(|s| s.media.len());
        let fits = self.path != Path::Bypass
            && !answer.is_empty()
            && sections(offer) == sections(&answer)
            && agree(offer, &answer);
        let fits = |theirs: &Described| fits && !self.changes_family(Side::A, Some(theirs));
        let Some(theirs) = described(offer).filter(fits) else {
            return self.prack_reply(cx, server, prack, 488, &[]);
        };
        self.point(cx, Side::A, &theirs);
        let sdp = self.redescribe(cx, Side::A, &answer);
        self.a.said.clone_from(&sdp);
        self.prack_reply(cx, server, prack, 200, &sdp);
    }

    fn prack_reply(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        prack: &Message,
        code: u16,
        sdp: &[u8],
    ) {
        let writer = response_to(prack, self.a.flow.remote, code, b"", "");
        let bytes = writer.finish(if sdp.is_empty() { b"" } else { b"application/sdp" }, sdp);
        cx.core.tx.respond(cx.now, server, code, bytes, None, &mut cx.out.sends);
    }

    // ---------------------------------------------------------------- towards B

    /// How B's INVITE speaks of reliable responses. An INVITE without an offer offers them only
    /// where A knows them too: B could make its offer in one, and A's answer comes in a PRACK.
    pub(super) fn reliable_for_b(&self, cx: &Cx<'_>) -> Option<Name> {
        let invite = self.invite.as_ref()?;
        let wanted = cx.core.plan.settings.reliable;
        let (known, late) = (knows(invite), sdp_of(invite).is_empty());
        let trunk = self.b.as_ref().and_then(|b| cx.core.plan.trunk(&b.trunk));
        let asked = trunk.is_some_and(|t| t.profile.behaviour.require_100rel);
        match wanted {
            Wanted::Off => None,
            _ if late && !known => None,
            _ if asked => Some(Name::Require),
            Wanted::Supported => known.then_some(Name::Supported),
            Wanted::Required => Some(Name::Supported),
        }
    }

    /// Whether an 18x of B is to be looked at: not reliable, or the next reliable one. For a copy
    /// the PRACK goes out again; one that came before its turn is left to come again.
    pub(super) fn is_next_18x(&mut self, cx: &mut Cx<'_>, response: &Message) -> bool {
        let Some(rack) = rack_of(response) else { return true };
        let reliable = self.reliable.get_or_insert_default();
        match reliable.got.take(response.to_tag(), rack.rseq) {
            Taken::Next => true,
            Taken::TooEarly | Taken::Copy(None) => false,
            Taken::Copy(Some((flow, bytes))) => {
                cx.out.sends.push(Transmit { flow, bytes, measure: None });
                false
            }
        }
    }

    /// Acknowledges B's reliable 18x, whose dialog has been learned. One with an offer waits for
    /// A's answer.
    pub(super) fn acknowledge_18x(&mut self, cx: &mut Cx<'_>, response: &Message) {
        let Some(rack) = rack_of(response) else { return };
        let tag = response.to_tag().to_vec();
        let invite = self.invite.as_ref();
        let late = invite.is_some_and(|i| sdp_of(i).is_empty() && knows(i));
        if late
            && !self.is_answered_early()
            && !sdp_of(response).is_empty()
            && let Some(reliable) = &mut self.reliable
        {
            reliable.owed = Some((rack, tag));
            return;
        }
        self.send_prack(cx, rack, &tag, &[]);
    }

    fn send_prack(&mut self, cx: &mut Cx<'_>, rack: RAck, tag: &[u8], sdp: &[u8]) {
        let mut sent = None;
        let value = rack.text();
        self.send(cx, Side::B, ("PRACK", Purpose::Prack), None, |_, mut writer| {
            writer.header(Name::RAck, &[value.as_bytes()]);
            let kind: &[u8] = if sdp.is_empty() { b"" } else { b"application/sdp" };
            let bytes = writer.finish(kind, sdp);
            sent = Some(bytes.clone());
            bytes
        });
        if let (Some(bytes), Some(b), Some(reliable)) = (sent, &self.b, &mut self.reliable) {
            reliable.got.acknowledged(tag, b.dialog.next_hop(b.flow, &cx.core.setup.locals), bytes);
        }
    }
}

/// What acknowledges a reliable response; `None`: it is not one.
fn rack_of(response: &Message) -> Option<RAck> {
    if !requires(response) {
        return None;
    }
    let rseq = response.value(Name::RSeq).and_then(number).filter(|&n| n != 0)?;
    Some(RAck { rseq, cseq: response.cseq()?.number })
}
