//! What passes from leg to leg: re-INVITE and UPDATE with their offers and answers, INFO.

use cooee_model::ids::Side;
use cooee_model::moment::Moment;

use crate::call::context::{Cx, Owner, Purpose};
use crate::call::hangup::Silence;
use crate::call::setup::sdp_of;
use crate::call::{Call, Path};
use crate::leg::dialog::cancel_of;
use crate::leg::half::{Leg, LegState};
use crate::leg::offer_answer::{Described, described, is_fax};
use crate::leg::session_timer::Session;
use crate::leg::uas::{Passed, answer};
use crate::message::codecs::Kept;
use crate::message::name::Name;
use crate::message::reply::response_to;
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
    /// What it was passed on as: an UPDATE goes as re-INVITE to a peer that knows no UPDATE.
    across: Method,
    /// CSeq of our request, which the ACK to its 2xx repeats.
    cseq: u32,
    /// When it was passed on.
    at: Moment,
    /// Where a re-INVITE stands.
    stage: Stage,
    /// What the asking side offered.
    offer: Option<Described>,
    /// What we described in our request.
    sdp: Vec<u8>,
    /// The section that was audio before, in case the offer is refused.
    audio: Option<usize>,
}

impl Relay {
    /// Whether an offer of it waits for its answer, or a re-INVITE for its ACK: no other offer may
    /// begin (RFC 3261, 14.1; RFC 3311, 5.1).
    pub fn offers(&self) -> bool {
        matches!(self.request.method(), Method::Invite | Method::Update)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No final response from the other side.
    Asked,
    /// A 2xx has been passed back; its ACK has not come. True where the ACK carries the answer.
    Answered(bool),
}

/// What a request without an offer carries to the other side besides its body.
const fn carried(method: Method) -> &'static [&'static str] {
    match method {
        Method::Refer => &["Refer-To", "Refer-Sub"],
        Method::Notify => &["Event", "Subscription-State"],
        _ => &["Info-Package"],
    }
}

impl Call {
    /// A request in the dialog of one leg, other than ACK, BYE and CANCEL. Its CSeq is in order.
    pub fn asked(&mut self, cx: &mut Cx<'_>, side: Side, server: ServerId, request: Message) {
        let over = |l: &Leg| matches!(l.state, LegState::Ending | LegState::Gone);
        if self.leg(side).is_none_or(over) {
            // We have said or heard BYE: there is no dialog any more.
            return self.reply(cx, side, server, &request, 481);
        }
        self.hear_session_id(side, &request);
        match request.method() {
            Method::Invite => self.reinvited(cx, side, server, request),
            Method::Update => self.updated(cx, side, server, request),
            Method::Info => self.informed(cx, side, server, request),
            Method::Prack => self.pracked(cx, side, server, &request),
            Method::Options => self.reply(cx, side, server, &request, 200),
            Method::Refer => self.referred(cx, side, server, request),
            Method::Notify => self.notified(cx, side, server, request),
            Method::Subscribe => self.reply(cx, side, server, &request, 489),
            Method::Other => self.reply(cx, side, server, &request, 501),
            _ => self.reply(cx, side, server, &request, 405),
        }
    }

    fn reinvited(&mut self, cx: &mut Cx<'_>, side: Side, server: ServerId, request: Message) {
        // RFC 3261, 14.2: a second INVITE before the final response to the first is 500.
        let first = side == Side::A && self.a.state == LegState::Setup;
        let busy = match self.glare(side) {
            None if first => Some(500),
            None if !self.is_agreed() => Some(491),
            busy => busy,
        };
        let busy = busy.or_else(|| Session::refuses(&self.terms(side), &request, false));
        if let Some(code) = busy {
            return self.reply(cx, side, server, &request, code);
        }
        if let Some(leg) = self.leg_mut(side) {
            leg.refresh(&request);
        }
        let trying = crate::leg::uas::trying(&request, self.source_of(side));
        cx.core.tx.respond(cx.now, server, 100, trying, None, &mut cx.out.sends);
        let offer = described(sdp_of(&request));
        self.pass_on(cx, side, (server, request), Method::Invite, offer);
    }

    fn source_of(&self, side: Side) -> std::net::SocketAddr {
        self.leg(side).map_or(self.a.flow.remote, |l| l.flow.remote)
    }

    /// Passes a request to the other side, as `across`.
    pub(super) fn pass_on(
        &mut self,
        cx: &mut Cx<'_>,
        from: Side,
        (server, request): (ServerId, Message),
        across: Method,
        offer: Option<Described>,
    ) {
        let other = from.other();
        // Only an UPDATE has a place in the early dialog.
        let early = across == Method::Update;
        // Before its ACK the other side may not have our 2xx: it would know no such dialog.
        if !early && !self.is_agreed() {
            return self.reply(cx, from, server, &request, 491);
        }
        if self.relays.len() >= RELAYS {
            return self.reply(cx, from, server, &request, 500);
        }
        if self.path == Path::Relayed
            && (is_fax(sdp_of(&request)) || self.changes_family(from, offer.as_ref()))
        {
            // The relay knows audio alone, and its ports stay: the call goes on as it was.
            return self.reply(cx, from, server, &request, 488);
        }
        let there = offer.as_ref().and(self.leg(other));
        let kept = there.map(|leg| self.kept_for(&leg.trunk, sdp_of(&request)));
        if kept == Some(Kept::Nothing) {
            return self.reply(cx, from, server, &request, 488);
        }
        let audio = self.audio;
        if let Some(section) = offer.as_ref().and_then(|o| o.audio) {
            self.audio = Some(section);
        }
        let Some((client, cseq, sdp)) = self.send_across(cx, other, &request, across, None) else {
            return self.reply(cx, from, server, &request, 500);
        };
        let stage = Stage::Asked;
        let at = cx.now;
        self.relays.push(Relay {
            from,
            request,
            server,
            client,
            across,
            cseq,
            at,
            stage,
            offer,
            sdp,
            audio,
        });
    }

    fn send_across(
        &mut self,
        cx: &mut Cx<'_>,
        to: Side,
        request: &Message,
        across: Method,
        authorization: Option<(Name, String)>,
    ) -> Option<(ClientId, u32, Vec<u8>)> {
        let terms = self.terms(to);
        let offers = matches!(across, Method::Invite | Method::Update);
        let sdp = if offers { self.offer_to(cx, to, sdp_of(request)) } else { Vec::new() };
        let agent = cx.core.plan.settings.user_agent.clone();
        let what = (across.text(), Purpose::Relay);
        let client = self.send(cx, to, what, None, |leg, mut writer| {
            if across != Method::Info {
                leg.contact(&mut writer);
                writer.header(Name::Allow, &[crate::leg::half::ALLOW]);
            }
            if offers {
                leg.session.write_request(&terms, false, &mut writer);
            }
            if !agent.is_empty() {
                writer.header(Name::UserAgent, &[agent.as_bytes()]);
            }
            if let Some((name, value)) = &authorization {
                writer.header(*name, &[value.as_bytes()]);
            }
            if offers {
                return writer.finish(if sdp.is_empty() { b"" } else { b"application/sdp" }, &sdp);
            }
            for name in carried(across) {
                if let Some(value) = request.value_of(name) {
                    writer.named(name.as_bytes(), &[value]);
                }
            }
            let kind = request.value(Name::ContentType).unwrap_or_default();
            writer.finish(kind, request.body())
        })?;
        Some((client, self.leg(to)?.dialog.local_cseq, sdp))
    }

    /// A response to a request that was passed on.
    pub fn relay_responded(
        &mut self,
        cx: &mut Cx<'_>,
        to: Side,
        client: ClientId,
        response: &Message,
    ) {
        let code = response.code();
        if code < 200 {
            return;
        }
        let asked = |r: &Relay| r.client == client && r.stage == Stage::Asked;
        let Some(at) = self.relays.iter().position(asked) else {
            return self.acknowledge(cx, to, client, response);
        };
        let offers = self.relays.get(at).is_some_and(Relay::offers);
        if matches!(code, 401 | 407) {
            let relay = self.relays.swap_remove(at);
            return self.challenged(cx, relay, to, response);
        }
        if offers && code == 422 && self.leg_mut(to).is_some_and(|l| l.session.raise(response)) {
            return self.ask_again(cx, at, to);
        }
        if !offers || code >= 300 {
            let relay = self.relays.swap_remove(at);
            if offers {
                self.audio = relay.audio;
            } else if relay.across == Method::Refer && code >= 300 {
                self.referral = None;
            }
            let passed = Passed {
                code,
                phrase: response.reason_phrase(),
                reason: &response.joined(Name::Reason),
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
        self.offer_answered(cx, at, to, response);
    }

    /// Our session interval was too small for the other side: asked again with a longer one, which
    /// the asking side need not know (RFC 4028, 7.4).
    fn ask_again(&mut self, cx: &mut Cx<'_>, at: usize, to: Side) {
        let relay = self.relays.swap_remove(at);
        match self.send_across(cx, to, &relay.request, relay.across, None) {
            Some((client, cseq, _)) => self.relays.push(Relay { client, cseq, ..relay }),
            None => self.reply_passed(cx, &relay, Passed { code: 500, ..Passed::default() }),
        }
    }

    /// The other side has taken an offer, or has made the one that it was asked for.
    fn offer_answered(&mut self, cx: &mut Cx<'_>, at: usize, to: Side, response: &Message) {
        let up = self.is_agreed();
        let body = sdp_of(response);
        let mut relay = self.relays.swap_remove(at);
        let from = relay.from;
        let by_invite = relay.across == Method::Invite;
        let late = by_invite && sdp_of(&relay.request).is_empty();
        relay.stage = Stage::Answered(late);
        let by_b = if to == Side::B { body } else { sdp_of(&relay.request) }.to_vec();
        if let Some(leg) = self.leg_mut(to) {
            leg.refresh(response);
            if !relay.sdp.is_empty() {
                leg.said = std::mem::take(&mut relay.sdp);
            }
        }
        if let Some(theirs) = described(body) {
            self.point(cx, to, &theirs);
        }
        if let Some(offer) = relay.offer.take() {
            self.point(cx, from, &offer);
            if up {
                self.hold_changed(cx, from, offer.holds);
            } else if let Some(leg) = self.leg_mut(from) {
                leg.holds = offer.holds;
            }
        }
        if by_invite && !late {
            self.send_ack(cx, to, relay.cseq, b"");
        }
        // What names no interval may be of before there was a session: an early UPDATE that is
        // answered after the INVITE.
        let counts = |leg: Option<&Leg>, said: &Message| {
            said.value(Name::SessionExpires).is_some()
                || leg.is_some_and(|leg| !leg.session.is_newer_than(relay.at))
        };
        if counts(self.leg(to), response) {
            self.agree_as_uac(cx, to, response);
        }
        if counts(self.leg(from), &relay.request) {
            self.agree_as_uas(cx, from, &relay.request);
        }
        let sdp = self.redescribe(cx, from, body);
        if !up {
            self.offered_anew(&by_b);
        }
        let passed = Passed { code: response.code(), sdp: &sdp, ..Passed::default() };
        self.reply_passed(cx, &relay, passed);
        if let Some(leg) = self.leg_mut(from).filter(|_| !sdp.is_empty()) {
            leg.said = sdp;
        }
        if relay.request.method() == Method::Invite {
            self.relays.push(relay);
        }
        self.dirty = true;
    }

    /// A 2xx that no relay waits for: a copy, or one that came after the end. The INVITE that it
    /// answers wants its ACK in any case.
    pub(super) fn acknowledge(
        &mut self,
        cx: &mut Cx<'_>,
        to: Side,
        client: ClientId,
        response: &Message,
    ) {
        let Some(cseq) = response.cseq().filter(|c| c.method == b"INVITE") else { return };
        let waits = |r: &Relay| r.client == client && r.stage == Stage::Answered(true);
        if self.relays.iter().any(waits) || response.code() >= 300 {
            return;
        }
        if !self.acknowledge_again(cx, response) {
            self.send_ack(cx, to, cseq.number, b"");
        }
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
                self.hold_changed(cx, side, answer.holds);
            }
            let sdp = self.redescribe(cx, to, body);
            self.send_ack(cx, to, relay.cseq, &sdp);
            if let Some(leg) = self.leg_mut(to).filter(|_| !sdp.is_empty()) {
                leg.said = sdp;
            }
        }
        true
    }

    fn challenged(&mut self, cx: &mut Cx<'_>, relay: Relay, to: Side, response: &Message) {
        if let Some(authorization) = self.authorize(cx, to, response, relay.across.text())
            && let Some((client, cseq, _)) =
                self.send_across(cx, to, &relay.request, relay.across, Some(authorization))
        {
            self.relays.push(Relay { client, cseq, ..relay });
            return;
        }
        self.audio = relay.audio;
        self.reply_passed(cx, &relay, Passed { code: 503, ..Passed::default() });
    }

    /// A request that was passed on has had no answer (timers B and F), which ends the dialog
    /// (RFC 3261, 12.2.1.2); or it never left, which is as good as 503 (8.1.3.1): the call stays as
    /// it was.
    pub fn relay_unanswered(&mut self, cx: &mut Cx<'_>, client: ClientId, why: Silence) {
        let Some(at) = self.relays.iter().position(|r| r.client == client) else { return };
        let relay = self.relays.swap_remove(at);
        let to = relay.from.other();
        if why == Silence::Unsent {
            if relay.offers() {
                self.audio = relay.audio;
            } else if relay.across == Method::Refer {
                self.referral = None;
            }
            return self.reply_passed(cx, &relay, Passed { code: 503, ..Passed::default() });
        }
        self.reply_passed(cx, &relay, Passed { code: 408, ..Passed::default() });
        self.dialog_lost(cx, to, 408);
    }

    /// The asking side gives its re-INVITE up: passed on, if the other side has been heard. What
    /// comes of it is the other side's final response, as ever.
    pub fn relay_cancelled(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        let asked = |r: &&Relay| r.server == server && r.stage == Stage::Asked;
        let Some(relay) = self.relays.iter().find(asked) else { return };
        let (to, client) = (relay.from.other(), relay.client);
        let Some(cancel) = cx.core.tx.unanswered(client).and_then(|i| cancel_of(i, b"")) else {
            return;
        };
        let owner = Owner::Leg(self.slot, to, Purpose::Cancel);
        cx.core.tx.cancel(cx.now, client, cancel, owner, &mut cx.out.sends);
    }

    /// Ends every request that is on its way, because the call is ending.
    pub(super) fn drop_relays(&mut self, cx: &mut Cx<'_>) {
        // A refresh that only rang has no timer of its own any more.
        let b = self.b.as_mut().and_then(|leg| leg.refreshing.take());
        for refresh in self.a.refreshing.take().into_iter().chain(b) {
            cx.core.tx.let_go(cx.now, refresh.client);
        }
        for relay in std::mem::take(&mut self.relays) {
            match relay.stage {
                Stage::Asked => {
                    self.reply_passed(cx, &relay, Passed { code: 487, ..Passed::default() });
                    cx.core.tx.let_go(cx.now, relay.client);
                }
                Stage::Answered(late) => {
                    cx.core.tx.acknowledged(relay.server);
                    if late {
                        // Its 2xx still wants an ACK, though nobody has answered its offer.
                        self.send_ack(cx, relay.from.other(), relay.cseq, b"");
                    }
                }
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
        let session_id = self.leg(side).and_then(|leg| leg.dialog.session_id.as_ref());
        if request.method() == Method::Bye && code == 200 && session_id.is_none() {
            let answer = (code, request);
            return cx.core.tx.respond_plainly(cx.now, server, answer, &mut cx.out.sends);
        }
        let source = self.source_of(side);
        let mut writer = response_to(request, source, code, b"", "");
        if matches!(code, 200 | 405 | 501) {
            writer.header(Name::Allow, &[crate::leg::half::ALLOW]);
        }
        if let Some(id) = session_id {
            id.write(&mut writer);
        }
        if code == 422 {
            writer.number(Name::MinSe, self.terms(side).min_se_s);
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
