//! What passes while a call is up: re-INVITE with its offer and answer, INFO.

use cooee_model::ids::Side;

use crate::call::Call;
use crate::call::context::{Cx, Purpose};
use crate::call::setup::sdp_of;
use crate::leg::dialog::response_to;
use crate::leg::half::LegState;
use crate::leg::offer_answer::{Described, described};
use crate::leg::uas::{Passed, answer};
use crate::message::name::Name;
use crate::message::view::{Message, Method};
use crate::transaction::layer::{ClientId, ServerId};

/// Most requests on their way across at a time, in one call; past it: 500 with Retry-After.
const RELAYS: usize = 8;

/// A request of one leg that was passed on to the other.
#[derive(Debug)]
pub struct Relay {
    /// Who asked.
    pub from: Side,
    /// The asking side's request, until its final response.
    pub request: Message,
    /// Its transaction.
    pub server: ServerId,
    /// Our request on the other side.
    pub client: ClientId,
    /// Where a re-INVITE stands.
    stage: Stage,
    /// What the asking side offered.
    offer: Option<Described>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No final response from the other side.
    Asked,
    /// A 2xx has been passed back; its ACK has not come. True where the ACK carries the answer.
    Answered(bool),
}

impl Call {
    /// A request in the dialog of one leg, other than ACK, BYE and CANCEL. Its CSeq is in order.
    pub fn asked(&mut self, cx: &mut Cx<'_>, side: Side, server: ServerId, request: Message) {
        match request.method() {
            Method::Invite => self.reinvited(cx, side, server, request),
            Method::Info => self.pass_on(cx, side, server, request, None),
            Method::Options => self.reply(cx, side, server, &request, 200),
            Method::Refer => self.reply(cx, side, server, &request, 603),
            Method::Subscribe | Method::Notify => self.reply(cx, side, server, &request, 489),
            Method::Other => self.reply(cx, side, server, &request, 501),
            _ => self.reply(cx, side, server, &request, 405),
        }
    }

    fn reinvited(&mut self, cx: &mut Cx<'_>, side: Side, server: ServerId, request: Message) {
        let pending = self.relays.iter().find(|r| r.request.method() == Method::Invite);
        let waiting = match pending {
            // RFC 3261, 14.2: one INVITE at a time, in either direction.
            Some(relay) if relay.from == side => Some(500),
            Some(_) => Some(491),
            None if !self.a.acked || self.b.as_ref().is_none_or(|b| !b.acked) => Some(491),
            None => None,
        };
        if let Some(code) = waiting {
            return self.reply(cx, side, server, &request, code);
        }
        if let Some(leg) = self.leg_mut(side) {
            leg.dialog.refresh(&request);
        }
        let trying = crate::leg::uas::trying(&request, self.source_of(side));
        cx.core.tx.respond(cx.now, server, 100, trying, None, &mut cx.out.sends);
        let offer = described(sdp_of(&request));
        if let Some(offer) = &offer
            && offer.audio.is_some()
        {
            self.audio = offer.audio;
        }
        self.pass_on(cx, side, server, request, offer);
    }

    fn source_of(&self, side: Side) -> std::net::SocketAddr {
        self.leg(side).map_or(self.a.flow.remote, |l| l.flow.remote)
    }

    fn pass_on(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        server: ServerId,
        request: Message,
        offer: Option<Described>,
    ) {
        let other = side.other();
        let up = self.leg(other).is_some_and(|l| l.is_up());
        if !up {
            return self.reply(cx, side, server, &request, 491);
        }
        if self.relays.len() >= RELAYS {
            return self.reply(cx, side, server, &request, 500);
        }
        let is_invite = request.method() == Method::Invite;
        let Some(client) = self.send_across(cx, other, &request, is_invite, None) else { return };
        self.relays.push(Relay { from: side, request, server, client, stage: Stage::Asked, offer });
    }

    fn send_across(
        &mut self,
        cx: &mut Cx<'_>,
        to: Side,
        request: &Message,
        is_invite: bool,
        authorization: Option<(Name, String)>,
    ) -> Option<ClientId> {
        let sdp = if is_invite { self.redescribe(cx, to, sdp_of(request)) } else { Vec::new() };
        let method = if is_invite { "INVITE" } else { "INFO" };
        let agent = cx.core.plan.settings.user_agent.clone();
        self.send(cx, to, (method, Purpose::Relay), None, |leg, mut writer| {
            if is_invite {
                leg.contact(&mut writer);
                writer.header(Name::Allow, &[crate::leg::half::ALLOW]);
            }
            if !agent.is_empty() {
                writer.header(Name::UserAgent, &[agent.as_bytes()]);
            }
            if let Some((name, value)) = &authorization {
                writer.header(*name, &[value.as_bytes()]);
            }
            if is_invite {
                return writer.finish(if sdp.is_empty() { b"" } else { b"application/sdp" }, &sdp);
            }
            if let Some(package) = request.value_of("Info-Package") {
                writer.named(b"Info-Package", &[package]);
            }
            let kind = request.value(Name::ContentType).unwrap_or_default();
            writer.finish(kind, request.body())
        })
    }

    /// A response to a request that was passed on.
    pub fn relay_responded(&mut self, cx: &mut Cx<'_>, client: ClientId, response: &Message) {
        let Some(at) = self.relays.iter().position(|r| r.client == client) else {
            return self.acknowledge_again(cx, client);
        };
        let code = response.code();
        if code < 200 {
            return;
        }
        let Some(relay) = self.relays.get_mut(at) else { return };
        if relay.stage != Stage::Asked {
            return self.acknowledge_again(cx, client);
        }
        let to = relay.from.other();
        let is_invite = relay.request.method() == Method::Invite;
        if matches!(code, 401 | 407) {
            let relay = self.relays.swap_remove(at);
            return self.challenged(cx, relay, to, response);
        }
        if !is_invite || code >= 300 {
            let relay = self.relays.swap_remove(at);
            let passed = Passed {
                code,
                phrase: response.reason_phrase(),
                reason: response.value(Name::Reason).unwrap_or_default(),
                retry_after: response.value(Name::RetryAfter).unwrap_or_default(),
                ..Passed::default()
            };
            self.reply_passed(cx, &relay, passed);
            // The dialog is gone on the far side (RFC 5057): the call is over.
            if matches!(code, 408 | 481) {
                self.dialog_lost(cx, to, code);
            }
            return;
        }
        self.reinvite_answered(cx, at, to, client, response);
    }

    fn reinvite_answered(
        &mut self,
        cx: &mut Cx<'_>,
        at: usize,
        to: Side,
        client: ClientId,
        response: &Message,
    ) {
        let body = sdp_of(response);
        let theirs = described(body);
        if let Some(leg) = self.leg_mut(to) {
            leg.dialog.refresh(response);
        }
        let Some(relay) = self.relays.get_mut(at) else { return };
        let (from, server) = (relay.from, relay.server);
        let offer = relay.offer.take();
        let late = sdp_of(&relay.request).is_empty();
        relay.stage = Stage::Answered(late);
        if let Some(theirs) = &theirs {
            self.point(cx, to, theirs);
        }
        if let Some(offer) = &offer {
            self.point(cx, from, offer);
            self.hold_changed(cx, from, offer.holds);
        }
        if !late {
            let cseq = response.cseq().map_or(0, |c| c.number);
            self.send_ack(cx, to, client, cseq, b"");
        }
        let sdp = self.redescribe(cx, from, body);
        let Some(relay) = self.relays.get(at) else { return };
        let Some(leg) = self.leg(from) else { return };
        let name = &cx.core.plan.settings.user_agent;
        let passed = Passed { code: response.code(), sdp: &sdp, ..Passed::default() };
        let bytes = answer(leg, &relay.request, name, passed);
        cx.core.tx.respond(cx.now, server, response.code(), bytes, None, &mut cx.out.sends);
        self.dirty = true;
    }

    /// An ACK to the 2xx of a re-INVITE. `true`: it was one.
    pub fn relay_acked(&mut self, cx: &mut Cx<'_>, side: Side, cseq: u32, ack: &Message) -> bool {
        let is_it = |r: &Relay| {
            r.from == side
                && matches!(r.stage, Stage::Answered(_))
                && r.request.cseq().is_some_and(|c| c.number == cseq)
        };
        let Some(at) = self.relays.iter().position(is_it) else { return false };
        let relay = self.relays.swap_remove(at);
        cx.core.tx.acknowledged(relay.server);
        if relay.stage == Stage::Answered(true) {
            let to = side.other();
            let body = sdp_of(ack);
            if let Some(answer) = described(body) {
                self.point(cx, side, &answer);
            }
            let sdp = self.redescribe(cx, to, body);
            let cseq = self.leg(to).map_or(0, |l| l.dialog.local_cseq);
            self.send_ack(cx, to, relay.client, cseq, &sdp);
        }
        true
    }

    fn challenged(&mut self, cx: &mut Cx<'_>, relay: Relay, to: Side, response: &Message) {
        let is_invite = relay.request.method() == Method::Invite;
        let method = if is_invite { "INVITE" } else { "INFO" };
        if let Some(authorization) = self.authorize(cx, to, response, method)
            && let Some(client) =
                self.send_across(cx, to, &relay.request, is_invite, Some(authorization))
        {
            self.relays.push(Relay { client, ..relay });
            return;
        }
        self.reply_passed(cx, &relay, Passed { code: 503, ..Passed::default() });
    }

    /// A request that was passed on has had no answer (timers B and F).
    pub fn relay_unanswered(&mut self, cx: &mut Cx<'_>, client: ClientId) {
        let Some(at) = self.relays.iter().position(|r| r.client == client) else { return };
        let relay = self.relays.swap_remove(at);
        let to = relay.from.other();
        self.reply_passed(cx, &relay, Passed { code: 408, ..Passed::default() });
        self.dialog_lost(cx, to, 408);
    }

    /// Ends every request that is on its way, because the call is ending.
    pub(super) fn drop_relays(&mut self, cx: &mut Cx<'_>) {
        for relay in std::mem::take(&mut self.relays) {
            if relay.stage == Stage::Asked {
                self.reply_passed(cx, &relay, Passed { code: 487, ..Passed::default() });
            } else {
                cx.core.tx.acknowledged(relay.server);
            }
        }
    }

    fn reply_passed(&mut self, cx: &mut Cx<'_>, relay: &Relay, passed: Passed<'_>) {
        let Some(leg) = self.leg(relay.from) else { return };
        if leg.state == LegState::Gone && passed.code != 487 {
            return;
        }
        let name = &cx.core.plan.settings.user_agent;
        let bytes = answer(leg, &relay.request, name, passed);
        cx.core.tx.respond(cx.now, relay.server, passed.code, bytes, None, &mut cx.out.sends);
    }

    /// Answers a request of a dialog on the spot.
    pub fn reply(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
        code: u16,
    ) {
        let source = self.source_of(side);
        let mut writer = response_to(request, source, code, b"", "");
        if matches!(code, 200 | 405 | 501) {
            writer.header(Name::Allow, &[crate::leg::half::ALLOW]);
        }
        if code == 500 {
            // RFC 3261, 14.2: between 0 and 10 seconds, drawn at random.
            let seconds = u32::try_from(cx.core.random() % 11).unwrap_or_default();
            writer.number(Name::RetryAfter, seconds);
        }
        let bytes = writer.finish(b"", b"");
        cx.core.tx.respond(cx.now, server, code, bytes, None, &mut cx.out.sends);
    }
}
