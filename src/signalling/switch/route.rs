//! Which transaction, dialog or trunk a message belongs to.

use std::net::SocketAddr;

use bytes::Bytes;
use cooee_model::fact::{Refusal, Rejected};
use cooee_model::ids::Side;
use cooee_model::moment::Moment;

use crate::call::context::{Output, Owner, Purpose};
use crate::call::hangup::Silence;
use crate::call::limits::RETRY_AFTER_S;
use crate::call::peers::Place;
use crate::leg::half::{ALLOW, Invite, LegState};
use crate::leg::reliable::TAG;
use crate::message::name::Name;
use crate::message::reply::response_to;
use crate::message::transport::Transport;
use crate::message::view::{Message, Method};
use crate::profile::plan::Reliable;
use crate::profile::session_timer::SessionTimerMode;
use crate::switch::Switch;
use crate::switch::admit::{understood, unsupported};
use crate::switch::limits::{SOURCE_MEMORY, SOURCES};
use crate::transaction::flow::{Flow, Transmit};
use crate::transaction::key::Keyed;
use crate::transaction::layer::{Arrival, ClientId, Heard};
use crate::transaction::returned::Returned;
use crate::transaction::slots::Slot;

impl Switch {
    /// `surplus`: a call that it asks for is to be refused.
    pub(super) fn datagram(
        &mut self,
        now: Moment,
        received: Moment,
        flow: Flow,
        bytes: Bytes,
        surplus: bool,
        out: &mut Output,
    ) {
        let trunk = self.trunk_of(flow.remote, now);
        if bytes.iter().all(|b| matches!(b, b'\r' | b'\n' | 0 | b' ')) {
            // A keep-alive of a NATed peer (RFC 5626, 3.5.1).
            return;
        }
        let Ok(message) = Message::read(bytes) else {
            let why = if trunk.is_some() { Refusal::Malformed } else { Refusal::UnknownSource };
            out.rejected.push(Rejected { at: received, source: flow.remote, code: 0, why });
            return;
        };
        if !message.is_request() && message.is_cut() {
            let why = Refusal::Malformed;
            out.rejected.push(Rejected { at: received, source: flow.remote, code: 0, why });
            return;
        }
        if !message.is_request() {
            return self.response(now, received, &message, out);
        }
        // A stranger gets no answer, unless it names a dialog of ours by all three names:
        // carriers move between their servers.
        let dialog = self.dialog_of(&message);
        if trunk.is_none() && dialog.is_none() {
            let why = Refusal::UnknownSource;
            out.rejected.push(Rejected { at: received, source: flow.remote, code: 0, why });
            return;
        }
        // Nothing is kept of a refusal that waits for this ACK.
        if message.method() == Method::Ack && Keyed::is_stateless_tag(message.to_tag()) {
            return;
        }
        if let Err(fault) = message.check() {
            let code = match fault {
                crate::message::index::Malformed::Version => 505,
                _ => 400,
            };
            return self.refuse(received, flow, &message, (code, Refusal::Malformed), out);
        }
        // Without it nobody knows where the next message of a stream begins (RFC 3261, 18.3).
        if flow.transport.is_reliable() && message.value(Name::ContentLength).is_none() {
            return self.refuse(received, flow, &message, (400, Refusal::Malformed), out);
        }
        self.request(now, received, flow, message, (trunk, dialog, surplus), out);
    }

    fn response(&mut self, now: Moment, received: Moment, response: &Message, out: &mut Output) {
        let heard = self.core.tx.hear(now, response, &mut out.sends);
        let (owner, client) = match heard {
            Heard::For(owner, client) => (owner, client),
            Heard::Stray => return self.stray(now, received, response, out),
            Heard::Absorbed => return,
        };
        match owner {
            Owner::Leg(slot, side, purpose) => {
                self.step_at(now, received, slot, out, |call, cx| match purpose {
                    Purpose::Invite => call.b_responded(cx, client, response),
                    Purpose::Relay => call.relay_responded(cx, side, client, response),
                    Purpose::Refresh => call.refresh_responded(cx, side, client, response),
                    Purpose::Press => call.press_responded(cx, side, client, response),
                    Purpose::Bye => call.bye_responded(cx, side, response),
                    Purpose::Late => call.late_bye_responded(cx, client, response),
                    Purpose::Ask => call.peer_said(cx, side, response),
                    Purpose::Transfer => call.transfer_responded(cx, response),
                    Purpose::Cancel | Purpose::Prack => {}
                });
            }
            Owner::Line(line) => self.registered(now, line, response, out),
            Owner::Ping(peer) => self.ping_answered(received, (peer, client), response, out),
            Owner::Nobody => {}
        }
    }

    /// A message was given back. A request has failed at once (RFC 3261, 8.1.3.1); a caller that
    /// cannot be told on its connection what becomes of its INVITE has left. What ICMP says of an
    /// ACK or a response is nothing to go by: the next copy may get there.
    pub(super) fn unsent(&mut self, now: Moment, flow: Flow, bytes: Bytes, out: &mut Output) {
        let Ok(message) = Message::read(bytes) else { return };
        if message.is_request() {
            match self.core.tx.unsent(now, flow, &message, &mut out.sends) {
                Returned::Failed(owner, client) => {
                    self.unanswered(now, owner, client, Silence::Unsent, out);
                }
                Returned::SentInstead => self.core.takes_no_tcp(now, flow.remote),
                Returned::Stray => {}
            }
        } else if flow.transport.is_reliable()
            && message.method() == Method::Invite
            && let Some((invite, Owner::Leg(slot, ..))) = self.core.tx.invite_of(&message)
        {
            self.step_at(now, now, slot, out, |call, cx| call.caller_unreachable(cx, invite));
        }
    }

    /// A response to nothing that we know of: its request may be of an earlier run.
    fn stray(&mut self, now: Moment, received: Moment, response: &Message, out: &mut Output) {
        if response.code() >= 200
            && let Some(slot) = self.call_of_tag(response.from_tag())
        {
            self.step_at(now, received, slot, out, |call, cx| call.answered_before(cx, response));
        }
    }

    pub(super) fn unanswered(
        &mut self,
        now: Moment,
        owner: Owner,
        client: ClientId,
        why: Silence,
        out: &mut Output,
    ) {
        match owner {
            Owner::Leg(slot, side, purpose) => {
                self.step_at(now, now, slot, out, |call, cx| match purpose {
                    Purpose::Invite => call.b_unanswered(cx, client, why),
                    Purpose::Relay => call.relay_unanswered(cx, client, why),
                    Purpose::Refresh => call.refresh_unanswered(cx, side, client, why),
                    Purpose::Press => call.press_unanswered(cx, side, client),
                    Purpose::Bye => call.leg_gone(side),
                    Purpose::Late => call.late_over(client),
                    Purpose::Transfer => call.transfer_over(cx, 408, "no answer to REFER"),
                    Purpose::Cancel | Purpose::Ask | Purpose::Prack => {}
                });
            }
            Owner::Line(line) => {
                let silent = why != Silence::Unsent;
                let what = if silent { "no answer" } else { "cannot be reached" };
                self.register_failed(now, line, what, out);
            }
            Owner::Ping(peer) => self.ping_failed(now, (peer, client), out),
            Owner::Nobody => {}
        }
    }

    fn request(
        &mut self,
        now: Moment,
        received: Moment,
        flow: Flow,
        message: Message,
        (trunk, dialog, surplus): (Option<usize>, Option<(Slot, Side)>, bool),
        out: &mut Output,
    ) {
        let method = message.method();
        // Responses go where Via says, on the address that the request came from.
        let flow = match (flow.transport, message.via()) {
            (Transport::Udp, Some(via)) => Flow { remote: via.answer_to(flow.remote), ..flow },
            _ => flow,
        };
        if method == Method::Ack {
            if !self.core.tx.ack(now, &message)
                && let Some((slot, side)) = dialog
            {
                self.step_at(now, received, slot, out, |call, cx| match side {
                    Side::A => call.acked(cx, &message),
                    Side::B => {
                        let cseq = message.cseq().map_or(0, |c| c.number);
                        call.relay_acked(cx, Side::B, cseq, &message);
                    }
                });
            }
            return;
        }
        let digest = self.core.keyed.server(&message, method);
        if self.core.tx.absorb(digest, &message, &mut out.sends) {
            return;
        }
        if method == Method::Cancel {
            return self.cancel(now, received, flow, &message, out);
        }
        if let Some((slot, side)) = dialog {
            return self.in_dialog(now, received, flow, message, (slot, side), out);
        }
        if !message.to_tag().is_empty() {
            return self.refuse(received, flow, &message, (481, Refusal::NoDialog), out);
        }
        let before = if method == Method::Invite { self.before.knows(now, &message) } else { None };
        match (method, trunk) {
            (Method::Invite, _) if before == Some(true) => {}
            (Method::Invite, _) if before == Some(false) => {
                self.refuse(received, flow, &message, (503, Refusal::Merged), out);
            }
            (Method::Invite, Some(trunk)) => {
                let before = out.rejected.len();
                match self.has_room(now, received, digest, surplus) {
                    Ok(()) => self.admit(now, received, flow, message, trunk, out),
                    Err(why) => self.refuse(received, flow, &message, (503, why), out),
                }
                if out.rejected.get(before).is_some_and(|refused| refused.code == 503) {
                    self.overload.refuse(now, digest);
                }
            }
            (Method::Options, _) if self.draining => {
                self.refuse(received, flow, &message, (503, Refusal::Draining), out);
            }
            (Method::Options, _) if self.is_overloaded(now) => {
                self.refuse(received, flow, &message, (503, Refusal::Limit), out);
            }
            (Method::Options, _) => match understood(&message, &self.core.plan) {
                Ok(()) => self.alive(flow, &message, out),
                Err(refusal) => self.refuse(received, flow, &message, refusal, out),
            },
            (Method::Bye | Method::Prack | Method::Update | Method::Info, _) => {
                self.refuse(received, flow, &message, (481, Refusal::NoDialog), out);
            }
            (Method::Other, _) => {
                self.refuse(received, flow, &message, (501, Refusal::Unsupported), out);
            }
            (Method::Subscribe | Method::Notify, _) => {
                self.refuse(received, flow, &message, (489, Refusal::Unsupported), out);
            }
            _ => self.refuse(received, flow, &message, (405, Refusal::Unsupported), out),
        }
    }

    fn in_dialog(
        &mut self,
        now: Moment,
        received: Moment,
        flow: Flow,
        message: Message,
        (slot, side): (Slot, Side),
        out: &mut Output,
    ) {
        if unsupported(&message, &self.core.plan).next().is_some() {
            return self.refuse(received, flow, &message, (420, Refusal::Unsupported), out);
        }
        let cseq = message.cseq().map_or(0, |c| c.number);
        let Some(leg) = self.calls.get_mut(slot).and_then(|c| c.leg_mut(side)) else { return };
        // Requests of one dialog come in order (RFC 3261, 12.2.2). A BYE that was taken, and whose
        // 200 a crash took, comes again.
        let bye_again = message.method() == Method::Bye
            && leg.state == LegState::Gone
            && cseq == leg.dialog.remote_cseq;
        let late = leg.dialog.remote_cseq != 0 && cseq <= leg.dialog.remote_cseq && !bye_again;
        if !late {
            leg.dialog.remote_cseq = cseq;
        }
        let owner = Owner::Leg(slot, side, Purpose::Relay);
        let Arrival::New(server) = self.core.tx.open(&message, flow, owner) else {
            return self.refuse(received, flow, &message, (503, Refusal::Limit), out);
        };
        if late {
            // In a transaction: a copy hears the same when the call is over.
            let (code, why) = (500, Refusal::NoDialog);
            out.rejected.push(Rejected { at: received, source: flow.remote, code, why });
            let bytes = response_to(&message, flow.remote, code, b"", "").finish(b"", b"");
            return self.core.tx.respond(now, server, code, bytes, None, &mut out.sends);
        }
        self.step_at(now, received, slot, out, |call, cx| {
            call.heard(side, flow);
            match message.method() {
                Method::Bye => call.bye(cx, side, server, &message),
                _ => call.asked(cx, side, server, message),
            }
        });
    }

    fn cancel(
        &mut self,
        now: Moment,
        received: Moment,
        flow: Flow,
        message: &Message,
        out: &mut Output,
    ) {
        let Some((invite, owner)) = self.core.tx.invite_of(message) else {
            return self.refuse(received, flow, message, (481, Refusal::NoDialog), out);
        };
        let Arrival::New(server) = self.core.tx.open(message, flow, Owner::Nobody) else {
            return self.refuse(received, flow, message, (503, Refusal::Limit), out);
        };
        let tag = self.core.keyed.stateless_tag(message);
        let slot = match owner {
            Owner::Leg(slot, ..) => Some(slot),
            _ => None,
        };
        let again = matches!(owner, Owner::Leg(_, _, Purpose::Relay));
        let call = slot.and_then(|s| self.calls.get(s));
        let tag = call.map_or(tag, |c| c.a.dialog.local_tag.clone());
        let bytes = response_to(message, flow.remote, 200, b"", &tag).finish(b"", b"");
        self.core.tx.respond(now, server, 200, bytes, None, &mut out.sends);
        if let Some(slot) = slot
            && self.calls.get(slot).is_some_and(|c| c.a.invite == Invite::Server(invite))
        {
            self.step_at(now, received, slot, out, |call, cx| call.cancelled(cx, message));
        } else if let Some(slot) = slot.filter(|_| again) {
            self.step_at(now, received, slot, out, |call, cx| call.relay_cancelled(cx, invite));
        }
    }

    /// The dialog of ours that a request names by Call-ID and both tags.
    fn dialog_of(&self, message: &Message) -> Option<(Slot, Side)> {
        let slot = self.call_of_tag(message.to_tag())?;
        let side = self.calls.get(slot)?.side_of(message)?;
        Some((slot, side))
    }

    /// Which trunk an address belongs to: its allow list, or where its names have led lately.
    pub(super) fn trunk_of(&self, source: SocketAddr, now: Moment) -> Option<usize> {
        let ip = source.ip().to_canonical();
        self.core.plan.trunk_of(ip).or_else(|| {
            let (trunk, until) = self.sources.get(&ip)?;
            (*until > now).then_some(*trunk)
        })
    }

    pub(super) fn learn_peers(&mut self, now: Moment, trunk: usize, mut places: Vec<Place>) {
        let family = self.core.plan.trunks.get(trunk).map(|t| t.profile.ip_family);
        places.retain(|place| family.is_none_or(|f| f.holds(place.address.ip())));
        for place in &places {
            let source = place.address.ip().to_canonical();
            self.sources.insert(source, (trunk, now + SOURCE_MEMORY));
        }
        if self.sources.len() > SOURCES {
            self.sources.retain(|_, (_, until)| *until > now);
        }
        self.core.peers.learn(now, trunk, places);
        self.begin_pings(now);
    }

    /// 200 to OPTIONS: what we can do (RFC 3261, 11.2).
    fn alive(&mut self, flow: Flow, message: &Message, out: &mut Output) {
        let tag = self.core.keyed.stateless_tag(message);
        let mut writer = response_to(message, flow.remote, 200, b"", &tag);
        writer.header(Name::Allow, &[ALLOW]);
        writer.header(Name::Accept, &[b"application/sdp"]);
        let settings = &self.core.plan.settings;
        let timer = settings.session_timer.mode != SessionTimerMode::Off;
        let tags: &[u8] = match (settings.reliable != Reliable::Off, timer) {
            (true, true) => b"100rel, timer",
            (true, false) => TAG.as_bytes(),
            (false, true) => b"timer",
            (false, false) => b"",
        };
        writer.header(Name::Supported, &[tags]);
        let bytes = writer.finish(b"", b"");
        self.answer_stateless(flow, message, bytes, out);
    }

    /// Refuses a request without keeping anything of it. ACK is never answered.
    pub(super) fn refuse(
        &mut self,
        at: Moment,
        flow: Flow,
        message: &Message,
        (code, why): (u16, Refusal),
        out: &mut Output,
    ) {
        let answerable = message.via().is_some() && message.method_token() != b"ACK";
        let code = if answerable { code } else { 0 };
        out.rejected.push(Rejected { at, source: flow.remote, code, why });
        if !answerable {
            return;
        }
        let tag = self.core.keyed.stateless_tag(message);
        let mut writer = response_to(message, flow.remote, code, b"", &tag);
        match code {
            405 | 501 => {
                writer.header(Name::Allow, &[ALLOW]);
            }
            420 => {
                for required in unsupported(message, &self.core.plan) {
                    writer.header(Name::Unsupported, &[required]);
                }
            }
            406 | 415 => {
                writer.header(Name::Accept, &[b"application/sdp"]);
            }
            421 => {
                writer.header(Name::Require, &[b"timer"]);
            }
            422 => {
                let trunk = self.trunk_of(flow.remote, at);
                let trunk = trunk.and_then(|t| self.core.plan.trunks.get(t));
                let terms = self.core.plan.session_timer(trunk.map_or("", |t| &t.name));
                writer.number(Name::MinSe, terms.min_se_s);
            }
            503 => {
                writer.number(Name::RetryAfter, RETRY_AFTER_S);
            }
            _ => {}
        }
        let bytes = writer.finish(b"", b"");
        self.answer_stateless(flow, message, bytes, out);
    }

    pub(super) fn answer_stateless(
        &self,
        flow: Flow,
        message: &Message,
        bytes: Bytes,
        out: &mut Output,
    ) {
        let remote = match (flow.transport, message.via()) {
            (Transport::Udp, Some(via)) => via.answer_to(flow.remote),
            _ => flow.remote,
        };
        out.sends.push(Transmit { flow: Flow { remote, ..flow }, bytes, measure: None });
    }
}
