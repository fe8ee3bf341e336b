//! The go-between of two legs.
//!
//! ```text
//!            A                         call                          B
//!  INVITE ------> admitted: 100, leases, Invited -----> INVITE, Forwarded
//!            <--- 18x                                <--- 18x, Ringing
//!            <--- 200 until ACK                      <--- 200, PlatformAnswered; ACK
//!  ACK ------->   Up
//!            <--- re-INVITE, INFO, ... one at a time, both ways --->
//!  BYE ------->   Ended                                ---> BYE     (or the other way round)
//!  CANCEL ---->   487; Ended                           ---> CANCEL, or BYE if 2xx came first
//! ```
//!
//! Cut by question: [`setup`] how a call comes up, [`answer`] what B's responses mean, [`midcall`]
//! what passes while it is up, [`early`], [`reliable`], [`waiting`] what A hears before the answer,
//! [`update`] what passes without an INVITE, [`refer`] transfers, [`hangup`] who ended it and why,
//! [`stopwatch`] when what happened, [`portal`] what the portal says of it, [`tries`] who is called
//! next, [`late`] what becomes of a try that was given up, [`peers`] where a trunk is, [`media`]
//! where RTP goes, [`digits`] how keys travel, [`session`] what keeps it alive, [`snapshot`] what a
//! crash must not take, [`revive`] how it goes on after one.

pub mod answer;
pub mod context;
pub mod digits;
pub mod early;
pub mod hangup;
pub mod late;
pub mod limits;
pub mod loads;
pub mod media;
pub mod midcall;
pub mod patch;
pub mod peers;
pub mod pool;
pub mod portal;
pub mod redirect;
pub mod refer;
pub mod reliable;
pub mod revive;
pub mod session;
pub mod session_id;
pub mod setup;
pub mod snapshot;
pub mod stopwatch;
pub mod transfer;
pub mod tries;
pub mod update;
pub mod waiting;

use std::sync::Arc;

use bytes::Bytes;
use cooee_model::account::Account;
use cooee_model::fact::{Fact, What};
use cooee_model::ids::{CallId, Lease, Side};
use cooee_model::media::Events;
use cooee_model::moment::Moment;

use crate::call::context::{Cx, Owner, Purpose, Record};
use crate::call::early::Early;
use crate::call::late::Late;
use crate::call::midcall::Relay;
use crate::call::portal::Word;
use crate::call::reliable::Reliable;
use crate::call::transfer::Transfer;
use crate::call::tries::Tries;
use crate::leg::half::{Leg, LegState};
use crate::message::view::Message;
use crate::profile::decision::{Decision, Slots};
use crate::profile::plan::Plan;
use crate::transaction::flow::{Flow, Measure};
use crate::transaction::layer::ClientId;
use crate::transaction::slots::Slot;

/// How a call's media runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Descriptions cross untouched; media does not pass here.
    Bypass,
    /// Through the relay.
    Relayed,
    /// The relay has reported its end, or never began.
    Over,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    /// Its id, for the world.
    pub id: CallId,
    /// Its place, for us.
    pub slot: Slot,
    /// The calling leg.
    pub a: Leg,
    /// The called leg of the try under way.
    pub b: Option<Leg>,
    /// What was decided; pinned.
    pub decision: Decision,
    /// The plan that it was decided by: its profiles stay this call's. Secrets, access lists and
    /// limits are always those of the plan in force.
    pub plan: Arc<Plan>,
    /// What the CDR will say.
    pub account: Account,
    /// A's INVITE until its final response.
    pub invite: Option<Message>,
    /// How many INVITEs were sent on, each to a target or an address of its own.
    pub attempt: u32,
    /// Who is called next.
    pub tries: Tries,
    /// Tries that were given up before their final response.
    pub late: Vec<Late>,
    /// The registered line of ours that was called; empty on a trunk without lines.
    pub line: String,
    /// How media runs.
    pub path: Path,
    /// The port pairs that A and B send to, until the relay is over.
    pub leases: Option<(Lease, Lease)>,
    /// The section offered as audio.
    pub audio: Option<usize>,
    /// The leg whose digits are to travel as events while the other's travel by INFO.
    pub events_on: Option<Side>,
    /// How they do, as the relay was told.
    pub digits: Option<(Side, Events)>,
    /// What B's INVITE says of identity, until its final response.
    pub slots: Option<Box<Slots>>,
    /// What B has said of media and what A has heard of it, until A's final response.
    pub early: Early,
    /// Reliable provisional responses, if there are any.
    pub reliable: Option<Box<Reliable>>,
    /// The side that asked for a transfer which was passed on.
    pub referral: Option<Side>,
    /// The transfer that an operator has ordered.
    pub transfer: Option<Box<Transfer>>,
    /// A's answer, where it waits for the agent's.
    pub held_back: Option<Vec<u8>>,
    /// Requests on their way across.
    pub relays: Vec<Relay>,
    /// Set when the `Ended` fact has been written.
    pub ended: bool,
    /// Held since, and by whom.
    pub held: Option<(Moment, Side)>,
    /// First packet forwarded from A and from B at or after the agent's answer.
    pub forwarded: (Option<Moment>, Option<Moment>),
    /// What the portal has said of it.
    pub word: Word,
    /// It is over, is counted no more, and waits for the portal's last word.
    pub resting: bool,
    /// Facts written so far.
    pub seq: u32,
    /// What a crash must not take has changed in this step.
    pub dirty: bool,
    /// As far as a patch tells it, it has.
    pub moved: bool,
}

impl Call {
    /// One leg.
    pub fn leg(&self, side: Side) -> Option<&Leg> {
        match side {
            Side::A => Some(&self.a),
            Side::B => self.b.as_ref(),
        }
    }

    /// One leg, to change.
    pub fn leg_mut(&mut self, side: Side) -> Option<&mut Leg> {
        match side {
            Side::A => Some(&mut self.a),
            Side::B => self.b.as_mut(),
        }
    }

    /// The leg that a message belongs to, by Call-ID and both tags.
    pub fn side_of(&self, message: &Message) -> Option<Side> {
        if self.a.dialog.holds(message) {
            return Some(Side::A);
        }
        self.b.as_ref().is_some_and(|b| b.dialog.holds(message)).then_some(Side::B)
    }

    /// Whether the call is over: both legs gone, media over.
    pub fn is_done(&self) -> bool {
        let gone = |leg: &Leg| leg.state == LegState::Gone;
        self.ended
            && gone(&self.a)
            && self.b.as_ref().is_none_or(gone)
            && self.late.is_empty()
            && self.path != Path::Relayed
    }

    /// Whether nothing is left to do: over, and the portal has had its say.
    pub fn is_over(&self) -> bool {
        self.is_done() && !self.word.settling
    }

    /// Writes a fact.
    pub fn fact(&mut self, cx: &mut Cx<'_>, at: Moment, what: What) {
        let fact = Fact { call: self.id, seq: self.seq, at, what };
        // The snapshot knows the next place: after a crash no fact takes that of another.
        match fact.what {
            What::Ringing { .. } | What::Bridged {} => self.moved = true,
            _ => self.dirty = true,
        }
        self.seq += 1;
        cx.out.records.push(Record::Fact(fact));
    }

    /// Ends a step: what a crash must not take goes to the journal before any message leaves.
    pub fn settle(&mut self, cx: &mut Cx<'_>) {
        if self.is_over() {
            cx.out.records.push(Record::Gone(self.id));
            return;
        }
        let moved = std::mem::take(&mut self.moved);
        if std::mem::take(&mut self.dirty) {
            cx.out.records.push(Record::Snapshot(self.id, self.snapshot()));
        } else if moved {
            cx.out.records.push(Record::Patch(self.id, self.patch()));
        }
    }

    /// Sends a request in a leg's dialog.
    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        (method, purpose): (&str, Purpose),
        measure: Option<Measure>,
        write: impl FnOnce(&Leg, crate::message::write::Writer) -> Bytes,
    ) -> Option<ClientId> {
        let secret = cx.core.random();
        let slot = self.slot;
        let leg = self.leg_mut(side)?;
        let token = cx.core.tx.reserve(secret);
        let (flow, local) = cx.core.next_hop(&leg.dialog, leg.flow)?;
        let writer = leg.next_request(method, local, &token.branch());
        let bytes = write(leg, writer);
        self.dirty = true;
        let kind = (method == "INVITE", Owner::Leg(slot, side, purpose));
        let trunk = self.leg(side).map_or("", |l| &l.trunk);
        Some(cx.request(trunk, token, (flow, bytes), kind, measure))
    }

    /// Sends an ACK to a 2xx and keeps it for copies of that 2xx.
    fn send_ack(&mut self, cx: &mut Cx<'_>, side: Side, cseq: u32, sdp: &[u8]) {
        let secret = cx.core.random();
        let Some(leg) = self.leg_mut(side) else { return };
        let Some((flow, local)) = cx.core.next_hop(&leg.dialog, leg.flow) else { return };
        let branch = format!("z9hG4bKa{secret:016x}");
        let bytes = leg.write_ack(cseq, local, &branch, sdp);
        let before = leg.ack.replace((cseq, flow, bytes.clone()));
        // Only what could not be written again is in the image.
        let is_kept = |(.., ack): &(u32, Flow, Bytes)| !ack.ends_with(b"\r\n\r\n");
        self.dirty |= !sdp.is_empty() || before.as_ref().is_some_and(is_kept);
        cx.out.sends.push(crate::transaction::flow::Transmit { flow, bytes, measure: None });
    }

    /// Notes where a leg's peer was heard, for peers behind a NAT.
    pub fn heard(&mut self, side: Side, flow: Flow) {
        if let Some(leg) = self.leg_mut(side)
            && leg.dialog.behind_nat
        {
            leg.flow = flow;
        }
    }
}
