//! Digits between INFO on one leg and events in the RTP of the other, where the profiles of the two
//! differ (`[media] dtmf`): each press of a key arrives once.
//!
//! ```text
//!    INFO leg                    call                          relay         leg with events
//!  INFO ------> 200 at once; order Press ----------> event packets ------------------>
//!      <------ INFO, one at a time <------ Pressed <----------- event packets, taken out
//! ```

use std::time::Duration;

use cooee_model::ids::Side;
use cooee_model::media::MediaCommand;

use crate::call::context::{Cx, Purpose};
use crate::call::limits::PRESSES_WAITING;
use crate::call::{Call, Path};
use crate::leg::events::{Press, body_of, press_of};
use crate::leg::half::Leg;
use crate::message::name::Name;
use crate::message::sdp::rewrite::EventLines;
use crate::message::view::{Message, Method};
use crate::profile::rules::Dtmf;
use crate::transaction::layer::{ClientId, ServerId};

impl Call {
    /// Weighs anew how digits travel: B is another now.
    pub(super) fn weigh_digits(&mut self, cx: &mut Cx<'_>) {
        self.events_on = self.event_side();
        self.tell_digits(cx);
    }

    /// The leg whose digits travel as events, where the other's travel by INFO.
    fn event_side(&self) -> Option<Side> {
        let b = self.b.as_ref().filter(|_| self.path == Path::Relayed)?;
        let by = |leg: &Leg| self.plan.trunk(&leg.trunk).map(|t| t.profile.media.dtmf);
        match (by(&self.a)?, by(b)?) {
            (Dtmf::Rfc4733, Dtmf::Info) => Some(Side::A),
            (Dtmf::Info, Dtmf::Rfc4733) => Some(Side::B),
            _ => None,
        }
    }

    /// What is said of events in a description towards a side, made of `body`.
    pub(super) fn event_lines(&mut self, side: Side, body: &[u8]) -> EventLines {
        match self.events_on {
            None => EventLines::AsTheyAre,
            Some(events) if events != side => EventLines::Gone,
            Some(_) => {
                let Some(leg) = self.leg_mut(side) else { return EventLines::AsTheyAre };
                let before = leg.events;
                let lines = leg.events.say(body);
                self.dirty |= self.leg(side).is_some_and(|leg| leg.events != before);
                lines
            }
        }
    }

    /// Tells the relay how digits travel, if that has changed.
    pub(super) fn tell_digits(&mut self, cx: &mut Cx<'_>) {
        let agreed = |side| Some((side, self.leg(side)?.events.agreed()?));
        let digits = self.events_on.and_then(agreed);
        if digits == self.digits {
            return;
        }
        let side = digits.or(self.digits).map_or(Side::A, |d| d.0);
        let events = digits.map(|d| d.1);
        self.digits = digits;
        cx.out.media.push(MediaCommand::Digits { call: self.id, side, events });
    }

    /// An INFO: a press for the leg with events, or passed on as it is.
    pub(super) fn informed(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        server: ServerId,
        request: Message,
    ) {
        let by_events = self.digits.is_some_and(|(events, _)| events != side) && self.is_agreed();
        let press = if by_events { press_of(&request) } else { None };
        let Some((event, held_ms)) = press else {
            return self.pass_on(cx, side, (server, request), Method::Info, None);
        };
        // A copy that comes after a crash is told from a new press by its CSeq.
        self.moved = true;
        let held = Duration::from_millis(held_ms.into());
        cx.out.media.push(MediaCommand::Press { call: self.id, event, held });
        self.reply(cx, side, server, &request, 200);
    }

    /// A key was pressed on the leg with events: the other is told.
    pub(super) fn pressed(&mut self, cx: &mut Cx<'_>, from: Side, event: u8, held: Duration) {
        let to = from.other();
        let held_ms = u32::try_from(held.as_millis()).unwrap_or(u32::MAX);
        let told = self.digits.is_some_and(|(events, _)| events == from);
        let Some(leg) = self.leg_mut(to).filter(|_| told) else { return };
        if leg.presses.waiting.len() >= PRESSES_WAITING {
            return cx.note(self.id, format!("{to} does not take digits: one is dropped"));
        }
        leg.presses.waiting.push_back((event, held_ms));
        self.tell_presses(cx);
    }

    /// Tells of the next presses, once the call is up.
    pub(super) fn tell_presses(&mut self, cx: &mut Cx<'_>) {
        for side in [Side::A, Side::B] {
            if self.ended || !self.is_agreed() {
                return;
            }
            let Some(leg) = self.leg_mut(side).filter(|l| l.presses.told.is_none()) else {
                continue;
            };
            if let Some(press) = leg.presses.waiting.pop_front() {
                self.tell_press(cx, side, press, None);
            }
        }
    }

    fn tell_press(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        press: Press,
        authorization: Option<(Name, String)>,
    ) {
        let agent = cx.core.plan.settings.user_agent.clone();
        let sent = self.send(cx, side, ("INFO", Purpose::Press), None, |_, mut writer| {
            if !agent.is_empty() {
                writer.header(Name::UserAgent, &[agent.as_bytes()]);
            }
            if let Some((name, value)) = &authorization {
                writer.header(*name, &[value.as_bytes()]);
            }
            writer.finish(b"application/dtmf-relay", body_of(press.0, press.1).as_bytes())
        });
        if let Some(leg) = self.leg_mut(side) {
            leg.presses.told = sent.map(|client| (client, press));
        }
    }

    /// What a leg says to the press that it was told of. Refused or not, it is not told twice.
    pub fn press_responded(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        client: ClientId,
        response: &Message,
    ) {
        let code = response.code();
        let Some(press) = self.press_of(side, client).filter(|_| code >= 200) else { return };
        if matches!(code, 401 | 407)
            && !self.ended
            && let Some(authorization) = self.authorize(cx, side, response, "INFO")
        {
            return self.tell_press(cx, side, press, Some(authorization));
        }
        if let Some(leg) = self.leg_mut(side) {
            leg.presses.told = None;
        }
        match code {
            // The dialog is gone on the far side (RFC 5057).
            408 | 481 => self.dialog_lost(cx, side, code),
            _ => self.tell_presses(cx),
        }
    }

    /// A leg has not answered (timer F): it is gone.
    pub fn press_unanswered(&mut self, cx: &mut Cx<'_>, side: Side, client: ClientId) {
        if self.press_of(side, client).is_some() {
            self.dialog_lost(cx, side, 408);
        }
    }

    fn press_of(&self, side: Side, client: ClientId) -> Option<Press> {
        let told = self.leg(side)?.presses.told?;
        (told.0 == client).then_some(told.1)
    }
}
