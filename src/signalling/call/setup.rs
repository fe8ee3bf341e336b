//! How a call comes up: admitted, tried, rung, cancelled.

use cooee_model::account::{Account, LegAccount};
use cooee_model::fact::What;
use cooee_model::ids::{CallId, Lease, Side};
use cooee_model::media::MediaCommand;
use cooee_model::moment::Moment;
use std::time::Duration;

use crate::call::context::{Alarm, Cx, Owner, Purpose};
use crate::call::early::Early;
use crate::call::limits::EARLY_AGAIN;
use crate::call::portal::Word;
use crate::call::tries::{Scope, Tries, Way};
use crate::call::{Call, Path};
use crate::leg::asked::Request;
use crate::leg::dialog::{Dialog, cancel_of};
use crate::leg::digest::Login;
use crate::leg::half::{Cancel, Invite, Leg, LegState};
use crate::leg::offer_answer::{Described, described};
use crate::leg::{uac, uas};
use crate::message::address::Uri;
use crate::message::name::Name;
use crate::message::sdp;
use crate::message::text::socket_text;
use crate::message::view::Message;
use crate::profile::decision::{Context, Decision};
use crate::transaction::flow::{Flow, Hop, Measure};
use crate::transaction::key::Token;
use crate::transaction::layer::{ClientId, ServerId};
use crate::transaction::slots::Slot;

/// What the switch hands over when it admits a call.
pub struct Admitted {
    /// The call's place.
    pub slot: Slot,
    /// A's INVITE.
    pub invite: Message,
    /// Where it came from.
    pub flow: Flow,
    /// Its transaction.
    pub server: ServerId,
    /// What was decided.
    pub decision: Decision,
    /// The port pairs of A and B; `None` in bypass.
    pub leases: Option<(Lease, Lease)>,
}

/// The session description of a message; empty where it has none.
pub fn sdp_of(message: &Message) -> &[u8] {
    sdp::find(message.value(Name::ContentType).unwrap_or_default(), message.body())
        .unwrap_or_default()
}

impl Call {
    /// A call that has been admitted: its A leg stands, its B leg is called.
    pub fn begin(cx: &mut Cx<'_>, admitted: Admitted) -> Self {
        let Admitted { slot, invite, flow, server, decision, leases } = admitted;
        let id = {
            let random = u128::from(cx.core.random()) << 64 | u128::from(cx.core.random());
            let unix_ms = u64::try_from(cx.received.wall / 1_000_000).unwrap_or_default();
            CallId::new(unix_ms, random)
        };
        let tag = Token::at(slot, cx.core.random()).text();
        let contact = cx.core.local(flow).map(|local| local.uri("")).unwrap_or_default();
        let dialog = Dialog::of_invite(&invite, tag, contact, flow.remote.ip());
        let description_id = cx.core.random() >> 2;
        let trunk = decision.trunk.clone();
        let mut a = Leg::new(Side::A, trunk, dialog, flow, Invite::Server(server), description_id);
        a.learn_allow(&invite);
        let mut account = Account::new(id, &cx.core.plan.node.id, cx.received);
        tell_decision(&mut account, &decision);
        account.legs.push(leg_account(&a, &invite, cx.received));
        let offer = described(sdp_of(&invite));
        let line = line_of(cx, &a.trunk, &invite);
        let mut call = Self {
            line,
            id,
            slot,
            a,
            b: None,
            decision,
            plan: cx.core.plan.clone(),
            account,
            invite: Some(invite),
            attempt: 0,
            tries: Tries::default(),
            late: Vec::new(),
            path: if leases.is_some() { Path::Relayed } else { Path::Bypass },
            leases,
            audio: offer.as_ref().and_then(|o| o.audio),
            events_on: None,
            digits: None,
            early: Early::default(),
            reliable: None,
            referral: None,
            transfer: None,
            slots: None,
            held_back: None,
            relays: Vec::new(),
            ended: false,
            held: None,
            forwarded: (None, None),
            word: Word::default(),
            resting: false,
            seq: 0,
            dirty: true,
            moved: false,
        };
        call.begin_session_id(Side::A);
        call.admit(cx, offer);
        call
    }

    fn admit(&mut self, cx: &mut Cx<'_>, offer: Option<Described>) {
        let invited = What::Invited {
            trunk: self.a.trunk.clone(),
            source: socket_text(self.a.flow.remote),
            sip_call_id: crate::message::text::lossy(&self.a.dialog.call_id),
            customer: self.account.customer.clone(),
            called: self.account.called.clone(),
            external_id: Some(self.account.external_id.clone()).filter(|id| !id.is_empty()),
            autodialer: Some(self.account.autodialer.clone()).filter(|id| !id.is_empty()),
        };
        self.fact(cx, cx.received, invited);
        cx.core.tx.hand_over(
            match self.a.invite {
                Invite::Server(server) => server,
                _ => return,
            },
            Owner::Leg(self.slot, Side::A, Purpose::Invite),
        );
        if let Some((a, b)) = self.leases {
            let timeout = Duration::from_secs(cx.core.plan.settings.media_timeout_s.into());
            let open = MediaCommand::Open { call: self.id, a, b, at: cx.now, timeout };
            cx.out.media.push(open);
        }
        if let Some(offer) = offer {
            self.point(cx, Side::A, &offer);
            self.a.holds = offer.holds;
        }
        cx.core.alarms.set(cx.now, EARLY_AGAIN, Alarm::Early(self.slot));
        self.try_target(cx);
    }

    /// Calls the next target. The port pair of B goes from try to try.
    pub(super) fn try_target(&mut self, cx: &mut Cx<'_>) {
        let first = self.attempt == 0;
        let Some(Way { target: index, host, flow }) = self.next_way(cx) else { return };
        let Some(target) = self.decision.targets.get(index).cloned() else { return };
        self.attempt += 1;
        let Some(local) = cx.core.local(flow).cloned() else { return };
        let own_host = local.other_host(&self.plan.node.host);
        let context = Context {
            call: self.id,
            peer_host: &host,
            own_host: own_host.as_deref(),
            attempt: self.attempt,
        };
        let Some(slots) = self.plan.compose(&self.decision, index, context) else {
            return self.refuse_a(cx, 503, "trunk has left the plan");
        };
        if !self.suit_b(cx, flow.remote.ip()) {
            return self.refuse_a(cx, 503, "no RTP port in the target's address family");
        }
        let tag = Token::at(self.slot, cx.core.random()).text();
        let name = Token::at(self.slot, cx.core.random()).text();
        let call_id = format!("{name}@{}", local.address.ip());
        let dialog = uac::dialog(&slots, &local, tag, call_id);
        let description_id = cx.core.random() >> 2;
        let trunk = target.trunk.clone();
        let leg = Leg::new(Side::B, trunk, dialog, flow, Invite::Lost, description_id);
        let sip_call_id = crate::message::text::lossy(&leg.dialog.call_id);
        self.account.legs.push(LegAccount {
            side: Side::B,
            trunk: target.trunk.clone(),
            peer: socket_text(flow.remote),
            sip_call_id: sip_call_id.clone(),
            local_tag: leg.dialog.local_tag.clone(),
            remote_tag: String::new(),
            result: 0,
            invite: Some(cx.now),
            ringing: None,
            answer: None,
            end: None,
            codec: String::new(),
        });
        self.b = Some(leg);
        self.weigh_digits(cx);
        self.begin_session_id(Side::B);
        self.slots = Some(Box::new(slots));
        self.early.next_target();
        if let Some(reliable) = &mut self.reliable {
            reliable.next_target();
        }
        self.account.times.invite_out.get_or_insert(cx.now);
        // Those of the try that wins count (product definition 3.1).
        (self.account.times.b_100, self.account.times.b_18x) = (None, None);
        let forwarded = What::Forwarded {
            trunk: target.trunk.clone(),
            route: self.decision.route.clone(),
            role: self.decision.role,
            did: self.account.did.clone(),
            did_rule: self.decision.did_rule.clone(),
            attempt: self.attempt,
            sip_call_id,
        };
        self.fact(cx, cx.now, forwarded);
        let measure = first.then_some(Measure { hop: Hop::InviteForward, since: cx.received });
        self.send_invite(cx, None, measure);
        let patience = match target.timeout_s {
            0 => cx.core.plan.settings.ring_timeout_s,
            seconds => seconds,
        };
        let ring = Alarm::Ring(self.slot, self.attempt);
        cx.core.alarms.set(cx.now, Duration::from_secs(patience.into()), ring);
        let silence = Duration::from_secs(cx.core.plan.retry.no_response_s.into());
        cx.core.alarms.set(cx.now, silence, Alarm::Silent(self.slot, self.attempt));
    }

    /// Sends B's INVITE, with the answer to a challenge on a second try.
    pub(super) fn send_invite(
        &mut self,
        cx: &mut Cx<'_>,
        authorization: Option<(Name, String)>,
        measure: Option<Measure>,
    ) {
        let Some(invite) = self.invite.take() else { return };
        let sdp = self.offer_to(cx, Side::B, sdp_of(&invite));
        let timer = self.terms(Side::B);
        let hops = invite.max_forwards().map_or(70, |n| n.saturating_sub(1));
        self.invite = Some(invite);
        let reliable = self.reliable_for_b(cx);
        let (Some(leg), Some(slots)) = (&mut self.b, &self.slots) else { return };
        let secret = cx.core.random();
        let token = cx.core.tx.reserve(secret);
        let Some(local) = cx.core.local(leg.flow) else { return };
        let offer = uac::Offer {
            slots,
            hops,
            user_agent: &cx.core.plan.settings.user_agent,
            timer: &timer,
            authorization: authorization.as_ref(),
            reliable,
            sdp: &sdp,
        };
        let bytes = uac::invite(leg, local, &token.branch(), offer);
        leg.sent = bytes.clone();
        leg.said = sdp;
        let kind = (true, Owner::Leg(self.slot, Side::B, Purpose::Invite));
        let client = cx.request(&leg.trunk, token, (leg.flow, bytes), kind, measure);
        leg.invite = Invite::Client(client);
        self.dirty = true;
    }

    /// Answers a challenge to B's INVITE. `false`: it cannot or must not be answered.
    pub(super) fn answer_challenge(&mut self, cx: &mut Cx<'_>, response: &Message) -> bool {
        let Some(authorization) = self.authorize(cx, Side::B, response, "INVITE") else {
            return false;
        };
        self.send_invite(cx, Some(authorization), None);
        true
    }

    /// The header that answers a challenge on a leg, for a request to be sent again.
    pub(super) fn authorize(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        response: &Message,
        method: &str,
    ) -> Option<(Name, String)> {
        authorize(cx, self.leg_mut(side)?, response, method)
    }

    // ---------------------------------------------------------------- towards A

    /// Answers A's INVITE; `passed` has B's description as B wrote it. It may wait for a PRACK.
    pub(super) fn answer_a(
        &mut self,
        cx: &mut Cx<'_>,
        passed: uas::Passed<'_>,
        measure: Option<Measure>,
    ) {
        let Invite::Server(server) = self.a.invite else { return };
        if self.invite.is_none() || self.is_held_back(&passed) {
            return;
        }
        let sdp = self.tell_a(cx, passed.sdp);
        let Some(invite) = self.invite.take() else { return };
        if (200..300).contains(&passed.code) {
            self.agree_as_uas(cx, Side::A, &invite);
        }
        let rseq = self.rseq_for(cx, &invite, &passed);
        if !sdp.is_empty() {
            self.a.said.clone_from(&sdp);
        }
        let name = &cx.core.plan.settings.user_agent;
        let written = uas::Passed { rseq, sdp: &sdp, ..passed };
        let bytes = uas::answer(&self.a, &invite, name, written);
        let kept = bytes.clone();
        self.invite = Some(invite);
        if rseq != 0 {
            self.await_prack(cx, rseq, bytes.clone(), !sdp.is_empty());
        }
        cx.core.tx.respond(cx.now, server, passed.code, bytes, measure, &mut cx.out.sends);
        if passed.code >= 200 {
            self.invite = None;
            self.early = Early::default();
            self.hush_18x();
            self.dirty = true;
            self.a.state = if passed.code < 300 { LegState::Up } else { LegState::Gone };
            if passed.code < 300 {
                self.a.answer = kept;
            }
            if let Some(leg) = self.account.legs.first_mut() {
                leg.result = passed.code;
                if passed.code < 300 {
                    leg.answer = Some(cx.now);
                } else {
                    leg.end = Some(cx.now);
                }
            }
        } else if let Some(leg) = self.account.legs.first_mut() {
            leg.ringing.get_or_insert(cx.now);
        }
    }

    /// A gave up: 487, and B is given up too. After the final answer CANCEL means nothing.
    pub fn cancelled(&mut self, cx: &mut Cx<'_>, cancel: &Message) {
        if self.a.state != LegState::Setup {
            return;
        }
        let reason = cancel.joined(Name::Reason);
        self.note_reason(Side::A, cancel);
        self.answer_a(cx, uas::Passed { code: 487, ..uas::Passed::default() }, None);
        self.left_by_caller(cx, &reason);
        self.end_b(cx, &reason);
    }

    /// Gives B's INVITE up (RFC 3261, 9.1).
    pub(super) fn cancel_b(&mut self, cx: &mut Cx<'_>, reason: &[u8]) {
        let Some(leg) = &mut self.b else { return };
        let Invite::Client(client) = leg.invite else {
            leg.state = LegState::Gone;
            return;
        };
        leg.state = LegState::Ending;
        self.dirty = true;
        let heard = cx
            .core
            .tx
            .client(client)
            .is_some_and(|c| c.state == crate::transaction::client::ClientState::Proceeding);
        if heard {
            self.send_cancel(cx, client, reason);
        } else {
            leg.cancel = Cancel::Wanted;
            cx.core.tx.not_else(client);
        }
    }

    /// Sends the CANCEL that is wanted, now that B has been heard.
    pub(super) fn send_cancel(&mut self, cx: &mut Cx<'_>, client: ClientId, reason: &[u8]) {
        if let Some(leg) = &mut self.b {
            cancel(cx, self.slot, leg, client, reason);
        }
    }

    /// 64*T1 after the CANCEL: B never gave its final response.
    pub fn cancel_ran_out(&mut self, cx: &mut Cx<'_>, client: ClientId) {
        if let Some(leg) = &mut self.b
            && leg.invite == Invite::Client(client)
            && leg.state == LegState::Ending
            && leg.cancel == Cancel::Sent
            // It was answered all the same, and its BYE is under way.
            && !leg.acked
        {
            cx.core.tx.abandon(client);
            leg.state = LegState::Gone;
        }
        self.late_cancel_ran_out(cx, client);
    }

    /// The target has rung long enough.
    pub fn rang_out(&mut self, cx: &mut Cx<'_>, attempt: u32) {
        let ringing = self.b.as_ref().is_some_and(|b| b.state == LegState::Setup);
        if attempt != self.attempt || !ringing || self.ended {
            return;
        }
        // Another address would ring the same telephone.
        if cx.core.plan.retry.on_timeout && self.has_next(cx, Scope::Target) {
            self.abandon_b(cx, b"SIP;cause=408;text=\"Ring timeout\"");
            return self.try_next(cx, Scope::Target, "rang too long");
        }
        self.ring_timed_out(cx);
    }

    /// A's ACK to our 2xx. With a late offer it carries A's answer, which B waits for.
    pub fn acked(&mut self, cx: &mut Cx<'_>, ack: &Message) {
        let cseq = ack.cseq().map_or(0, |c| c.number);
        if self.relay_acked(cx, Side::A, cseq, ack) || self.a.acked {
            return;
        }
        self.a_has_answer(cx);
        self.moved = true;
        self.ack_late_offer(cx, sdp_of(ack));
        self.tell_presses(cx);
        if let Some(reason) = self.a.bye_waits.take() {
            self.dirty = true;
            self.send_bye(cx, Side::A, &reason, None);
        }
    }

    /// A has our 2xx: by its ACK, or by its BYE.
    pub(super) fn a_has_answer(&mut self, cx: &mut Cx<'_>) {
        self.a.acked = true;
        self.a.answer = bytes::Bytes::new();
        if let Invite::Server(server) = self.a.invite {
            cx.core.tx.acknowledged(server);
        }
    }

    /// Gives B the answer of A that it waits for.
    pub(super) fn ack_late_offer(&mut self, cx: &mut Cx<'_>, answer: &[u8]) {
        let Some(b) = &self.b else { return };
        if b.acked || b.state != LegState::Up {
            return;
        }
        self.dirty = true;
        let cseq = b.invite_cseq;
        if let Some(described) = described(answer) {
            self.point(cx, Side::A, &described);
        }
        let sdp = self.redescribe(cx, Side::B, answer);
        self.send_ack(cx, Side::B, cseq, &sdp);
        if let Some(b) = &mut self.b {
            b.said = sdp;
            b.acked = true;
        }
    }
}

/// The header that answers a challenge on a leg, for a request to be sent again.
pub(super) fn authorize(
    cx: &mut Cx<'_>,
    leg: &mut Leg,
    response: &Message,
    method: &str,
) -> Option<(Name, String)> {
    let cnonce = format!("{:016x}", cx.core.random());
    let trunk = cx.core.plan.trunk(&leg.trunk).filter(|t| t.profile.auth.answer)?;
    let secret = trunk.secret.as_ref()?;
    let login = Login {
        user: trunk.login.as_deref()?,
        secret: secrecy::ExposeSecret::expose_secret(secret),
    };
    let request = Request {
        method,
        uri: &leg.dialog.remote_target,
        opens: leg.side == Side::B && leg.state == LegState::Setup && method == "INVITE",
        next_cseq: leg.dialog.local_cseq + 1,
    };
    leg.asked.answer(response, trunk.realm.as_deref(), &login, request, &cnonce)
}

/// Sends the CANCEL of a leg's INVITE, and waits 64*T1 for what comes of it.
pub(super) fn cancel(cx: &mut Cx<'_>, slot: Slot, leg: &mut Leg, client: ClientId, reason: &[u8]) {
    leg.cancel = Cancel::Sent;
    let Some(bytes) = cx.core.tx.invite(client).and_then(|i| cancel_of(i, reason)) else { return };
    let owner = Owner::Leg(slot, Side::B, Purpose::Cancel);
    cx.core.tx.cancel(cx.now, client, bytes, owner, &mut cx.out.sends);
    let patience = cx.core.tx.clock().give_up();
    cx.core.alarms.set(cx.now, patience, Alarm::Cancelled(slot, client));
}

/// The line that an INVITE of a trunk with registered lines calls: our Contact's user.
fn line_of(cx: &Cx<'_>, trunk: &str, invite: &Message) -> String {
    let has_lines = cx.core.plan.trunk(trunk).is_some_and(|t| !t.registrations.is_empty());
    let uri = Uri::read(invite.request_uri()).filter(|_| has_lines);
    uri.map(|u| u.user_text()).unwrap_or_default()
}

fn tell_decision(account: &mut Account, decision: &Decision) {
    account.role = Some(decision.role);
    account.route.clone_from(&decision.route);
    account.config_rev = decision.revision;
    account.customer = decision.customer.to_string();
    account.called = decision.called.to_string();
    if !decision.did.is_empty() {
        account.did = format!("+{}", decision.did);
    }
    account.did_rule.clone_from(&decision.did_rule);
    account.autodialer = decision.autodialer.clone().unwrap_or_default();
    account.external_id = decision.external_id.clone().unwrap_or_default();
}

fn leg_account(leg: &Leg, invite: &Message, at: Moment) -> LegAccount {
    LegAccount {
        side: leg.side,
        trunk: leg.trunk.clone(),
        peer: socket_text(leg.flow.remote),
        sip_call_id: crate::message::text::lossy(invite.call_id()),
        local_tag: leg.dialog.local_tag.clone(),
        remote_tag: crate::message::text::lossy(invite.from_tag()),
        result: 0,
        invite: Some(at),
        ringing: None,
        answer: None,
        end: None,
        codec: String::new(),
    }
}
