//! What becomes of a try that was given up before its final response, while another one goes on:
//! a late 1xx gets CANCEL, a late 2xx ACK and BYE. There are never two answered calls.
//!
//! A try stays here until its final response, or 64*T1 after the CANCEL; one that was answered
//! until the answer to its BYE. There are no more of them than [`TRIES`].

use cooee_model::ids::Side;
use cooee_model::media::MediaCommand;
use minicbor::{Decode, Encode};

use crate::call::context::{Cx, Owner, Purpose};
use crate::call::limits::TRIES;
use crate::call::setup::{authorize, cancel};
use crate::call::snapshot::{LegImage, LegOut, head, leg_out, restore_b};
use crate::call::{Call, Path};
use crate::leg::dialog::{Dialog, Local};
use crate::leg::half::{Cancel, Invite, Leg, LegState};
use crate::message::name::Name;
use crate::message::view::Message;
use crate::transaction::flow::{Flow, Transmit};
use crate::transaction::layer::ClientId;
use crate::transaction::slots::Slot;

/// A try that was given up.
#[derive(Debug)]
pub struct Late {
    leg: Leg,
    /// Its BYE, where it was answered after all.
    bye: Option<ClientId>,
}

impl Late {
    fn is(&self, client: ClientId) -> bool {
        self.leg.invite == Invite::Client(client)
    }
}

impl Call {
    /// Gives the try under way up, so that another one can begin.
    pub(super) fn abandon_b(&mut self, cx: &mut Cx<'_>, reason: &[u8]) {
        self.cancel_b(cx, reason);
        self.leg_ended(Side::B, cx);
        if self.path == Path::Relayed && !self.early.is_empty() {
            // What A says now is for the next one.
            let nobody = MediaCommand::Peer { call: self.id, side: Side::B, media: None };
            cx.out.media.push(nobody);
        }
        if let Some(leg) = self.b.take().filter(|leg| leg.state != LegState::Gone) {
            self.late.push(Late { leg, bye: None });
        }
        self.dirty = true;
    }

    /// A response to an INVITE that was given up.
    pub(super) fn late_responded(&mut self, cx: &mut Cx<'_>, client: ClientId, response: &Message) {
        let Some(at) = self.late.iter().position(|l| l.is(client)) else { return };
        let Some(late) = self.late.get_mut(at) else { return };
        self.dirty = true;
        match response.code() {
            ..200 if late.leg.cancel == Cancel::Wanted => {
                cancel(cx, self.slot, &mut late.leg, client, b"");
            }
            ..200 => {}
            200..300 if !late.leg.acked => {
                late.leg.dialog.learn(response, late.leg.flow.remote.ip());
                late.leg.acked = true;
                let owner = Owner::Leg(self.slot, Side::B, Purpose::Late);
                late.bye = end_answer(cx, &late.leg, response, owner);
                late.leg.dialog.local_cseq += 1;
                let text = format!("a late answer of {} was ended", late.leg.flow.remote);
                cx.note(self.id, text);
            }
            200..300 if response.to_tag() == late.leg.dialog.remote_tag => {
                ack_again(cx, &late.leg, response);
            }
            200..300 => self.end_late_fork(cx, at, response),
            _ => {
                self.late.swap_remove(at);
            }
        }
    }

    /// A further 2xx to an INVITE that was given up: of a fork, which may want its BYE proven too.
    fn end_late_fork(&mut self, cx: &mut Cx<'_>, at: usize, response: &Message) {
        let of_fork = |l: &&Late| l.leg.acked && l.leg.dialog.remote_tag == response.to_tag();
        if let Some(fork) = self.late.iter().find(of_fork) {
            return ack_again(cx, &fork.leg, response);
        }
        let Some(late) = self.late.get(at) else { return };
        let first = &late.leg;
        let (trunk, id) = (first.trunk.clone(), first.description.id);
        let mut leg = Leg::new(Side::B, trunk, first.dialog.clone(), first.flow, Invite::Lost, id);
        leg.asked = first.asked.clone();
        self.end_answer_of(cx, leg, response);
    }

    /// A second 2xx from a fork further on: acknowledged and ended (RFC 3261, 13.2.2.4).
    pub(super) fn end_fork(&mut self, cx: &mut Cx<'_>, response: &Message) {
        let of_fork = |l: &&Late| l.leg.acked && l.leg.dialog.remote_tag == response.to_tag();
        if let Some(late) = self.late.iter().find(of_fork) {
            return ack_again(cx, &late.leg, response);
        }
        let Some(b) = &self.b else { return };
        let id = b.description.id;
        let dialog = b.dialog.clone();
        let mut leg = Leg::new(Side::B, b.trunk.clone(), dialog, b.flow, Invite::Lost, id);
        // The same server asks for the same proof.
        leg.asked = b.asked.clone();
        self.end_answer_of(cx, leg, response);
    }

    /// Acknowledges and ends the answer of a fork, and keeps it until its BYE is answered.
    fn end_answer_of(&mut self, cx: &mut Cx<'_>, mut leg: Leg, response: &Message) {
        leg.dialog.learn(response, leg.flow.remote.ip());
        leg.state = LegState::Ending;
        leg.acked = true;
        let kept = self.late.len() < TRIES as usize;
        let owner =
            if kept { Owner::Leg(self.slot, Side::B, Purpose::Late) } else { Owner::Nobody };
        let bye = end_answer(cx, &leg, response, owner);
        leg.dialog.local_cseq += 1;
        if kept {
            self.late.push(Late { leg, bye });
            self.dirty = true;
        }
        cx.note(self.id, "a second answer from a fork was ended");
    }

    /// A response to the BYE of a try that was answered late.
    pub fn late_bye_responded(&mut self, cx: &mut Cx<'_>, bye: ClientId, response: &Message) {
        let Some(late) = self.late.iter_mut().find(|l| l.bye == Some(bye)) else { return };
        if response.code() < 200 {
            return;
        }
        if matches!(response.code(), 401 | 407)
            && let Some(authorization) = authorize(cx, &mut late.leg, response, "BYE")
        {
            late.bye = say_bye(cx, self.slot, &mut late.leg, Some(authorization));
            self.dirty = true;
            return;
        }
        self.late_over(bye);
    }

    /// A try that was given up is over: its INVITE or its BYE got no answer any more.
    pub fn late_over(&mut self, client: ClientId) {
        self.late.retain(|l| !l.is(client) && l.bye != Some(client));
        self.dirty = true;
    }

    /// Nothing came back for an INVITE that was given up (timer B).
    pub(super) fn late_unanswered(&mut self, client: ClientId) {
        if self.late.iter().any(|l| l.is(client)) {
            self.late_over(client);
        }
    }

    /// 64*T1 after the CANCEL of a try that was given up.
    pub(super) fn late_cancel_ran_out(&mut self, cx: &mut Cx<'_>, client: ClientId) {
        if self.late.iter().any(|l| l.is(client) && l.bye.is_none()) {
            cx.core.tx.abandon(client);
            self.late_over(client);
        }
    }
}

/// Acknowledges a copy of an answer.
fn ack_again(cx: &mut Cx<'_>, leg: &Leg, response: &Message) {
    if let Some(way) = cx.core.next_hop(&leg.dialog, leg.flow) {
        let branch = format!("z9hG4bKl{}", leg.dialog.local_tag);
        cx.out.sends.push(ack(&leg.dialog, response, way, &branch));
    }
}

/// The ACK to a 2xx in a dialog.
fn ack(
    dialog: &Dialog,
    response: &Message,
    (flow, local): (Flow, &Local),
    branch: &str,
) -> Transmit {
    let cseq = response.cseq().map_or(0, |c| c.number);
    let bytes = dialog.request("ACK", cseq, 70, (local, branch)).finish(b"", b"");
    Transmit { flow, bytes, measure: None }
}

/// Acknowledges an answer that nobody wants any more, and ends it (RFC 3261, 13.2.2.4).
pub(super) fn end_answer(
    cx: &mut Cx<'_>,
    leg: &Leg,
    response: &Message,
    owner: Owner,
) -> Option<ClientId> {
    let mut dialog = leg.dialog.clone();
    dialog.learn(response, leg.flow.remote.ip());
    let (flow, local) = cx.core.next_hop(&dialog, leg.flow)?;
    let local = local.clone();
    let branch = format!("z9hG4bKf{:016x}", cx.core.random());
    cx.out.sends.push(ack(&dialog, response, (flow, &local), &branch));
    let secret = cx.core.random();
    let token = cx.core.tx.reserve(secret);
    // A PRACK may have gone before.
    let cseq = response.cseq().map_or(0, |c| c.number).max(dialog.local_cseq) + 1;
    let bye = dialog.request("BYE", cseq, 70, (&local, &token.branch())).finish(b"", b"");
    let message = (flow, bye);
    Some(cx.core.tx.request(cx.now, token, message, (false, owner), None, &mut cx.out.sends))
}

/// Sends a further BYE of a try that was answered late.
fn say_bye(
    cx: &mut Cx<'_>,
    slot: Slot,
    leg: &mut Leg,
    authorization: Option<(Name, String)>,
) -> Option<ClientId> {
    let secret = cx.core.random();
    let token = cx.core.tx.reserve(secret);
    let (flow, local) = cx.core.next_hop(&leg.dialog, leg.flow)?;
    let mut writer = leg.next_request("BYE", local, &token.branch());
    if let Some((name, value)) = &authorization {
        writer.header(*name, &[value.as_bytes()]);
    }
    let message = (flow, writer.finish(b"", b""));
    let owner = Owner::Leg(slot, Side::B, Purpose::Late);
    Some(cx.core.tx.request(cx.now, token, message, (false, owner), None, &mut cx.out.sends))
}

/// What a crash must not take of tries that were given up.
#[derive(Encode)]
#[cbor(map)]
pub(super) struct LateOut<'a> {
    #[n(0)]
    legs: Vec<LegOut<'a>>,
}

impl<'a> LateOut<'a> {
    /// Nothing where there are none.
    pub(super) fn of(late: &'a [Late]) -> Option<Self> {
        let legs = late.iter().map(|l| leg_out(&l.leg, head(&l.leg.sent)));
        (!late.is_empty()).then(|| Self { legs: legs.collect() })
    }
}

/// The same as it is read.
#[derive(Debug, PartialEq, Decode)]
#[cbor(map)]
pub(super) struct LateImage {
    #[n(0)]
    legs: Vec<LegImage>,
}

impl LateImage {
    /// Gives them up again: CANCEL or BYE may have been lost with us.
    pub(super) fn restore(self, cx: &mut Cx<'_>, slot: Slot) -> Vec<Late> {
        let mut late = Vec::new();
        for image in self.legs {
            let mut leg = restore_b(cx, slot, image);
            let bye = if leg.acked { say_bye(cx, slot, &mut leg, None) } else { None };
            if let Invite::Client(client) = leg.invite {
                leg.state = LegState::Ending;
                cancel(cx, slot, &mut leg, client, b"");
            }
            if bye.is_some() || leg.invite != Invite::Lost {
                late.push(Late { leg, bye });
            }
        }
        late
    }
}
