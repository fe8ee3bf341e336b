//! Session timers in a call (RFC 4028): when a leg is refreshed, by what, and what it means when
//! nobody does. Each leg has a timer of its own; a refresh never shows on the other leg.

use std::time::Duration;

use cooee_model::account::Party;
use cooee_model::ids::Side;

use crate::call::Call;
use crate::call::context::{Alarm, Cx, Purpose};
use crate::call::hangup::Silence;
use crate::call::midcall::Relay;
use crate::call::setup::sdp_of;
use crate::leg::half::{ALLOW, Leg};
use crate::leg::offer_answer::described;
use crate::leg::session_timer::{Due, Refresh};
use crate::message::name::Name;
use crate::message::text::number;
use crate::message::view::Message;
use crate::profile::session_timer::SessionTimer;
use crate::transaction::layer::ClientId;

/// How often it is looked whether a request under way has refreshed what is at its limit.
const LOOKS_AGAIN: Duration = Duration::from_secs(1);

/// Nobody sleeps longer than this: an alarm of a call that has ended is gone soon.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Why both legs hear BYE.
const REASON: &[u8] = b"SIP;cause=408;text=\"Session timer expired\"";

impl Call {
    /// What a leg's trunk wants of session timers.
    pub(super) fn terms(&self, side: Side) -> SessionTimer {
        let trunk = self.leg(side).map_or("", |l| &l.trunk);
        self.plan.session_timer(trunk)
    }

    /// The 2xx to a request of the peer leaves: the session begins anew.
    pub(super) fn agree_as_uas(&mut self, cx: &mut Cx<'_>, side: Side, request: &Message) {
        let terms = self.terms(side);
        if let Some(leg) = self.leg_mut(side) {
            leg.session.as_uas(&terms, request, cx.now);
            leg.refreshing.take_if(|refresh| refresh.invite.is_none());
        }
        self.sleep(cx, side);
    }

    /// The 2xx to a request of ours has come: the session begins anew. An UPDATE that is under way
    /// to refresh it no longer matters.
    pub(super) fn agree_as_uac(&mut self, cx: &mut Cx<'_>, side: Side, response: &Message) {
        let terms = self.terms(side);
        if let Some(leg) = self.leg_mut(side) {
            leg.session.as_uac(&terms, response, cx.now);
            leg.refreshing.take_if(|refresh| refresh.invite.is_none());
        }
        self.sleep(cx, side);
    }

    /// Asks again with a longer interval where B found ours too small (RFC 4028, 7.4). `false`:
    /// not for this one.
    pub(super) fn bow_to_interval(&mut self, cx: &mut Cx<'_>, response: &Message) -> bool {
        let raised = self.b.as_mut().is_some_and(|b| b.session.raise(response));
        if raised {
            self.send_invite(cx, None, None);
        }
        raised
    }

    /// Sets the timers of both legs again after a restart.
    pub(super) fn wake_sessions(&mut self, cx: &mut Cx<'_>, same_boot: bool) {
        for side in [Side::A, Side::B] {
            if let Some(leg) = self.leg_mut(side).filter(|_| !same_boot) {
                leg.session.across_reboot(cx.now);
            }
            self.sleep(cx, side);
        }
    }

    /// Sets the alarm for what is due next on a leg; an earlier alarm means nothing any more.
    fn sleep(&mut self, cx: &mut Cx<'_>, side: Side) {
        let slot = self.slot;
        self.dirty = true;
        let Some(leg) = self.leg_mut(side) else { return };
        leg.wakes = leg.wakes.wrapping_add(1);
        let Some((at, _)) = leg.session.next(leg.refreshing.is_some()) else { return };
        let alarm = Alarm::Session(slot, side, leg.wakes);
        let wait = at - cx.now;
        if wait > LONGEST_SLEEP {
            cx.core.alarms.set(cx.now, LONGEST_SLEEP, alarm);
        } else {
            cx.core.alarms.set_odd(cx.now, wait, alarm);
        }
    }

    /// An alarm of a leg's session timer; `nth` says whether it is still the one that counts.
    pub fn session_woke(&mut self, cx: &mut Cx<'_>, side: Side, nth: u32) {
        let Some(leg) = self.leg(side) else { return };
        let refreshing = leg.refreshing.is_some();
        if self.ended || !leg.is_up() || leg.wakes != nth {
            return;
        }
        match leg.session.next(refreshing) {
            Some((at, _)) if at.mono > cx.now.mono => self.sleep(cx, side),
            Some((_, Due::Refresh)) => self.refresh(cx, side, None),
            // It has asked in time, and the other side has not answered it yet.
            Some((_, Due::End)) if self.asks(side) && !leg.session.is_over(cx.now) => {
                cx.core.alarms.set(cx.now, LOOKS_AGAIN, Alarm::Session(self.slot, side, nth));
            }
            Some((_, Due::End)) if refreshing => {
                self.session_over(cx, format!("session timer: {side} did not answer the refresh"));
            }
            Some((_, Due::End)) => {
                self.session_over(cx, format!("session timer: {side} did not refresh"));
            }
            None => {}
        }
    }

    /// Whether a request of this side that refreshes its session waits for the other side.
    fn asks(&self, side: Side) -> bool {
        self.relays.iter().any(|relay| relay.from == side && relay.offers())
    }

    /// Refreshes a leg: by UPDATE where the peer knows it, else by a re-INVITE that describes what
    /// we described last, to the byte.
    fn refresh(&mut self, cx: &mut Cx<'_>, side: Side, authorization: Option<(Name, String)>) {
        let terms = self.terms(side);
        let busy = self.relays.iter().any(Relay::offers) || !self.is_agreed();
        let Some(leg) = self.leg(side) else { return };
        let by_invite = !leg.takes_update;
        let sdp = if by_invite { leg.said.clone() } else { Vec::new() };
        if by_invite && (busy || sdp.is_empty()) {
            // The re-INVITE that is under way refreshes as well.
            return self.refresh_refused(cx, side, Some(Duration::from_secs(4)));
        }
        let method = if by_invite { "INVITE" } else { "UPDATE" };
        let agent = self.plan.settings.user_agent.clone();
        let sent = self.send(cx, side, (method, Purpose::Refresh), None, |leg, mut writer| {
            leg.contact(&mut writer);
            writer.header(Name::Allow, &[ALLOW]);
            leg.session.write_request(&terms, false, &mut writer);
            if !agent.is_empty() {
                writer.header(Name::UserAgent, &[agent.as_bytes()]);
            }
            if let Some((name, value)) = &authorization {
                writer.header(*name, &[value.as_bytes()]);
            }
            writer.finish(if sdp.is_empty() { b"" } else { b"application/sdp" }, &sdp)
        });
        let cseq = self.leg(side).map_or(0, |l| l.dialog.local_cseq);
        let invite = by_invite.then_some(cseq);
        if let Some(leg) = self.leg_mut(side) {
            leg.refreshing = sent.map(|client| Refresh { client, invite });
        }
        self.sleep(cx, side);
    }

    /// A response to our refresh of a leg.
    pub fn refresh_responded(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        client: ClientId,
        response: &Message,
    ) {
        let code = response.code();
        if code < 200 {
            return;
        }
        let mine = |leg: &mut Leg| leg.refreshing.take_if(|r| r.client == client);
        let Some(refresh) = self.leg_mut(side).and_then(mine) else {
            return self.acknowledge(cx, side, client, response);
        };
        if let (200..300, Some(cseq)) = (code, refresh.invite) {
            self.send_ack(cx, side, cseq, b"");
        }
        if self.ended || !self.leg(side).is_some_and(|l| l.is_up()) {
            return;
        }
        match code {
            200..300 => self.refreshed(cx, side, refresh.invite.is_some(), response),
            408 | 481 => self.refresh_lost(cx, side, code),
            401 | 407 => {
                let method = if refresh.invite.is_some() { "INVITE" } else { "UPDATE" };
                match self.authorize(cx, side, response, method) {
                    Some(authorization) => self.refresh(cx, side, Some(authorization)),
                    None => self.refresh_refused(cx, side, None),
                }
            }
            422 if self.leg_mut(side).is_some_and(|l| l.session.raise(response)) => {
                self.refresh(cx, side, None);
            }
            405 | 501 if refresh.invite.is_none() => {
                if let Some(leg) = self.leg_mut(side) {
                    leg.takes_update = false;
                }
                self.refresh(cx, side, None);
            }
            491 => {
                // RFC 3261, 14.1: who chose the Call-ID waits longer. B's is ours.
                let random = cx.core.random();
                let wait = match side {
                    Side::A => Duration::from_millis(random % 201 * 10),
                    Side::B => Duration::from_millis(2100 + random % 191 * 10),
                };
                self.refresh_refused(cx, side, Some(wait));
            }
            _ => {
                let after = response.value(Name::RetryAfter).and_then(|v| {
                    number(v.split(|b| !b.is_ascii_digit()).next().unwrap_or_default())
                });
                let wait = after.map(|s| Duration::from_secs(s.into()));
                self.refresh_refused(cx, side, wait);
            }
        }
    }

    pub(super) fn refreshed(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        by_invite: bool,
        response: &Message,
    ) {
        if let Some(leg) = self.leg_mut(side) {
            leg.refresh(response);
        }
        if by_invite && let Some(theirs) = described(sdp_of(response)) {
            // The same as ever, as a rule: then the relay is not told.
            self.point(cx, side, &theirs);
        }
        self.agree_as_uac(cx, side, response);
    }

    /// The peer would not be refreshed, but it is there.
    fn refresh_refused(&mut self, cx: &mut Cx<'_>, side: Side, wait: Option<Duration>) {
        if let Some(leg) = self.leg_mut(side) {
            leg.session.refused(cx.now, wait);
        }
        self.sleep(cx, side);
    }

    /// No answer to our refresh (timers B and F); or it never left, which is as good as 503
    /// (RFC 3261, 8.1.3.1): it is tried again.
    pub fn refresh_unanswered(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        client: ClientId,
        why: Silence,
    ) {
        let counts = |leg: &Leg| leg.refreshing.as_ref().is_some_and(|r| r.client == client);
        if !self.leg(side).is_some_and(counts) {
            return;
        }
        if why != Silence::Unsent {
            return self.refresh_lost(cx, side, 408);
        }
        // Where there is no time left, a refresh stays under way: the limit ends the session.
        if let Some(leg) = self.leg_mut(side)
            && leg.session.unsent(cx.now)
        {
            leg.refreshing = None;
        }
        self.sleep(cx, side);
    }

    /// No answer to our refresh, or one that says that the dialog is gone.
    fn refresh_lost(&mut self, cx: &mut Cx<'_>, side: Side, code: u16) {
        if let Some(leg) = self.leg_mut(side) {
            leg.refreshing = None;
        }
        let why = match code {
            481 => format!("session timer: {side} knows the dialog no more"),
            _ => format!("session timer: {side} did not answer the refresh"),
        };
        self.session_over(cx, why);
    }

    fn session_over(&mut self, cx: &mut Cx<'_>, why: String) {
        if !self.ended {
            self.account.reason = why;
            self.cut(cx, Party::Timeout, REASON);
        }
    }

    /// Whether an offer of ours, made to refresh, waits for its answer.
    pub(super) fn refreshes_by_offer(&self) -> bool {
        let by_invite = |leg: &Leg| leg.refreshing.is_some_and(|r| r.invite.is_some());
        by_invite(&self.a) || self.b.as_ref().is_some_and(by_invite)
    }
}
