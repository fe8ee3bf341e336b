//! What the responses to B's INVITE mean for the call.

use cooee_model::fact::What;
use cooee_model::ids::Side;

use crate::call::Call;
use crate::call::context::Cx;
use crate::call::peers::Verdict;
use crate::call::setup::sdp_of;
use crate::call::tries::Scope;
use crate::leg::half::{Cancel, Invite, LegState};
use crate::leg::offer_answer::described;
use crate::leg::uas::Passed;
use crate::message::name::Name;
use crate::message::view::{Message, Method};
use crate::transaction::flow::{Hop, Measure, Transmit};
use crate::transaction::layer::ClientId;

impl Call {
    /// A response to an INVITE of the B leg.
    pub fn b_responded(&mut self, cx: &mut Cx<'_>, client: ClientId, response: &Message) {
        let current = self.b.as_ref().is_some_and(|b| b.invite == Invite::Client(client));
        if !current {
            return self.late_responded(cx, client, response);
        }
        match response.code() {
            ..200 => self.b_progressed(cx, client, response),
            200..300 => self.b_answered(cx, response),
            _ => self.b_failed(cx, response),
        }
    }

    fn b_progressed(&mut self, cx: &mut Cx<'_>, client: ClientId, response: &Message) {
        let code = response.code();
        let Some(b) = &mut self.b else { return };
        if b.cancel == Cancel::Wanted {
            return self.send_cancel(cx, client, b"");
        }
        if b.state != LegState::Setup {
            return;
        }
        if code == 100 {
            // One that a ringing has overtaken tells nothing any more.
            if self.account.times.b_18x.is_none() {
                self.account.times.b_100.get_or_insert(cx.received);
            }
            return;
        }
        if !self.is_next_18x(cx, response) {
            return;
        }
        let Some(b) = &mut self.b else { return };
        if !response.to_tag().is_empty() {
            b.dialog.learn(response, b.flow.remote.ip());
            b.learn_allow(response);
            self.moved = true;
            self.hear_session_id(Side::B, response);
        }
        let sdp = sdp_of(response);
        self.dirty |= !sdp.is_empty();
        if !sdp.is_empty() && self.is_mismatched(cx, sdp) {
            return;
        }
        self.acknowledge_18x(cx, response);
        if (180..190).contains(&code) && self.account.times.b_18x.is_none() {
            self.account.times.b_18x = Some(cx.received);
            let early_media = !sdp.is_empty();
            self.fact(cx, cx.received, What::Ringing { code, early_media });
        }
        if let Some(leg) = self.account.legs.last_mut() {
            leg.ringing.get_or_insert(cx.received);
        }
        if let Some(described) = described(sdp) {
            if !self.is_offered() {
                self.audio = described.audio;
            }
            self.point(cx, Side::B, &described);
            self.early.note(response.to_tag(), sdp);
        }
        let passed = Passed { code, phrase: response.reason_phrase(), sdp, ..Passed::default() };
        let measure = Measure { hop: Hop::ResponseForward, since: cx.received };
        self.answer_a(cx, passed, Some(measure));
    }

    fn b_answered(&mut self, cx: &mut Cx<'_>, response: &Message) {
        let Some(b) = &mut self.b else { return };
        match b.state {
            LegState::Setup => self.b_came_up(cx, response),
            // The 2xx crossed our CANCEL: it stands, so it is acknowledged and ended
            // (RFC 3261, 9.1; 15).
            LegState::Ending if !b.acked => {
                b.dialog.learn(response, b.flow.remote.ip());
                b.acked = true;
                b.state = LegState::Up;
                let cseq = response.cseq().map_or(0, |c| c.number);
                self.send_ack(cx, Side::B, cseq, b"");
                self.send_bye(cx, Side::B, b"", None);
            }
            _ if response.to_tag() == b.dialog.remote_tag => {
                self.acknowledge_again(cx, response);
            }
            _ => self.end_fork(cx, response),
        }
    }

    fn b_came_up(&mut self, cx: &mut Cx<'_>, response: &Message) {
        let offered = self.is_offered() || self.is_answered_early();
        let Some(b) = &mut self.b else { return };
        b.dialog.learn(response, b.flow.remote.ip());
        b.learn_allow(response);
        b.state = LegState::Up;
        b.sent = bytes::Bytes::new();
        self.hear_session_id(Side::B, response);
        self.slots = None;
        self.dirty = true;
        // A 2xx without a description after one in a 18x: that one holds.
        let body = match sdp_of(response) {
            [] => self.early.said(response.to_tag()).to_vec(),
            body => body.to_vec(),
        };
        let answer = described(&body);
        if let Some(leg) = self.account.legs.last_mut() {
            leg.result = response.code();
            leg.answer = Some(cx.received);
            leg.remote_tag = crate::message::text::lossy(response.to_tag());
            leg.codec = answer.as_ref().map(|a| a.codec.clone()).unwrap_or_default();
        }
        if self.is_mismatched(cx, &body) {
            return;
        }
        self.agree_as_uac(cx, Side::B, response);
        self.account.sip_final = response.code();
        self.judge_b(cx, Verdict::Answered);
        self.platform_answered(cx);
        if let Some(answer) = &answer {
            if !offered {
                self.audio = answer.audio;
            }
            self.point(cx, Side::B, answer);
        }
        let codec = answer.map(|a| a.codec).unwrap_or_default();
        if let Some(leg) = self.account.legs.first_mut() {
            leg.codec = codec;
        }
        if offered {
            let cseq = response.cseq().map_or(0, |c| c.number);
            self.send_ack(cx, Side::B, cseq, b"");
            if let Some(b) = &mut self.b {
                b.acked = true;
            }
        }
        let (code, phrase) = match self.holds_back(offered) {
            true => (183, &b""[..]),
            false => (response.code(), response.reason_phrase()),
        };
        if code == 183 {
            self.held_back = Some(body.clone());
        }
        let passed = Passed { code, phrase, sdp: &body, ..Passed::default() };
        let measure = Measure { hop: Hop::ResponseForward, since: cx.received };
        self.answer_a(cx, passed, Some(measure));
    }

    /// Whether A's INVITE made the offer.
    fn is_offered(&self) -> bool {
        self.invite.as_ref().is_some_and(|i| !sdp_of(i).is_empty())
    }

    /// A copy of a 2xx to an INVITE of ours: our ACK was lost. `false`: none has been sent yet.
    pub(super) fn acknowledge_again(&mut self, cx: &mut Cx<'_>, response: &Message) -> bool {
        let cseq = response.cseq().map_or(0, |c| c.number);
        let is_2xx = response.method() == Method::Invite && (200..300).contains(&response.code());
        let leg = self.side_of(response).filter(|_| is_2xx).and_then(|side| self.leg(side));
        let Some((of, flow, bytes)) = leg.and_then(|l| l.ack.clone()) else { return false };
        if of == cseq {
            cx.out.sends.push(Transmit { flow, bytes, measure: None });
        }
        of == cseq
    }

    fn b_failed(&mut self, cx: &mut Cx<'_>, response: &Message) {
        let code = response.code();
        let Some(b) = &self.b else { return };
        let giving_up = b.state != LegState::Setup;
        let challenged = matches!(code, 401 | 407);
        if challenged && !giving_up && self.answer_challenge(cx, response) {
            return;
        }
        if code == 422 && !giving_up && self.bow_to_interval(cx, response) {
            return;
        }
        if let Some(leg) = self.account.legs.last_mut() {
            leg.result = code;
            leg.end = Some(cx.received);
            leg.remote_tag = crate::message::text::lossy(response.to_tag());
        }
        if let Some(b) = &mut self.b {
            b.state = LegState::Gone;
        }
        self.dirty = true;
        self.judge_b(cx, Verdict::of(response, cx.core.plan.retry.retry_after_max_s));
        if giving_up || self.ended {
            return;
        }
        if !self.is_answered_early() && self.follow(cx, response) {
            return self.try_next(cx, Scope::Address, "sent us elsewhere");
        }
        let scope = Scope::of(code);
        // After A's answer to B's offer there is nothing left to offer another.
        let retry = cx.core.plan.retry.after(code) && !self.is_answered_early();
        if retry && self.has_next(cx, scope) {
            return self.try_next(cx, scope, &format!("gave {code}"));
        }
        self.account.sip_final = code;
        self.note_reason(Side::B, response);
        let reason = response.joined(Name::Reason);
        // A 503 speaks of B's server: A would take it for ours, and leave all of us alone.
        let retry_after = response.value(Name::RetryAfter).filter(|_| code != 503);
        let retry_after = retry_after.unwrap_or_default().to_vec();
        let towards_a = self.code_for_a(code);
        let phrase = if towards_a == code { response.reason_phrase() } else { b"" };
        let passed = Passed {
            code: towards_a,
            phrase,
            reason: &reason,
            retry_after: &retry_after,
            ..Passed::default()
        };
        let measure = Measure { hop: Hop::ResponseForward, since: cx.received };
        self.answer_a(cx, passed, Some(measure));
        self.refused_by_b(cx, code);
    }

    /// What A hears for a code of B. A challenge, a redirection or a session timer is between B
    /// and us.
    fn code_for_a(&self, code: u16) -> u16 {
        let code = match code {
            300..=399 => 502,
            401 | 407 | 421 | 422 => 503,
            other => other,
        };
        let map = self.plan.trunk(&self.a.trunk).map(|t| &t.profile.behaviour.error_map);
        map.and_then(|m| m.get(&code)).copied().unwrap_or(code)
    }
}
