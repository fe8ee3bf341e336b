//! Which call a portal's event belongs to.
//!
//! The portal knows neither Call-ID nor header of ours. Its `Init` is matched by line, the
//! customer's number and time; everything later by the portal's own id of the call. What cannot be
//! matched changes nothing and is counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use cooee_model::moment::Moment;
use cooee_model::portal::{Heard, PortalEvent, PortalWhat};

use crate::call::context::Output;
use crate::call::portal::on_our_clock;
use crate::profile::number::{Context, Numbers, Reading, read};
use crate::switch::Switch;
use crate::switch::limits::{EARLY, EARLY_EVENTS, INIT_WINDOW, PORTAL_CALLS_KEPT};
use crate::transaction::slots::Slot;

/// `CALL_TYPE` of calls that came in over a line, straight or redirected.
const INCOMING: [u8; 2] = [2, 3];

/// A call of a portal: the portal's id and its id of the call.
type PortalCall = (String, String);

/// What is known of the portals' calls.
#[derive(Debug, Default)]
pub struct Portals {
    /// Calls that a portal may speak of, by the customer's number.
    waiting: BTreeSet<(String, Slot)>,
    /// Calls by the portal's id.
    linked: BTreeMap<PortalCall, Slot>,
    /// Events that came before the one that names their call, oldest first.
    early: VecDeque<(Moment, PortalEvent)>,
    /// Calls that are settled (`true`) or none of ours, oldest first.
    past: VecDeque<PortalCall>,
    past_by_id: BTreeMap<PortalCall, bool>,
}

impl Portals {
    /// A portal may speak of this call from now on.
    pub(super) fn wait(&mut self, customer: &str, slot: Slot, numbers: &Numbers) {
        self.waiting.insert((key(customer, numbers), slot));
    }

    /// A portal has spoken of this call before (a restart lay between).
    pub(super) fn link(&mut self, portal: &str, portal_call_id: &str, slot: Slot) {
        self.linked.insert((portal.to_owned(), portal_call_id.to_owned()), slot);
    }

    /// The call is settled.
    pub(super) fn forget(
        &mut self,
        customer: &str,
        slot: Slot,
        numbers: &Numbers,
        call: Option<PortalCall>,
    ) {
        self.waiting.remove(&(key(customer, numbers), slot));
        if let Some(call) = call {
            self.linked.remove(&call);
            self.remember(call, true);
        }
    }

    fn remember(&mut self, call: PortalCall, ours: bool) {
        if self.past_by_id.insert(call.clone(), ours).is_none() {
            self.past.push_back(call);
        }
        while self.past.len() > PORTAL_CALLS_KEPT {
            if let Some(oldest) = self.past.pop_front() {
                self.past_by_id.remove(&oldest);
            }
        }
    }

    fn keep_early(&mut self, now: Moment, event: PortalEvent) {
        while self.early.front().is_some_and(|(at, _)| now.since(*at) > EARLY)
            || self.early.len() >= EARLY_EVENTS
        {
            self.early.pop_front();
        }
        self.early.push_back((now, event));
    }

    /// The events kept for a call, in the order in which they came.
    fn take_early(&mut self, now: Moment, call: &PortalCall) -> Vec<PortalEvent> {
        let is_of = |e: &PortalEvent| e.portal == call.0 && e.call_id == call.1;
        let (found, rest) = self.early.drain(..).partition::<Vec<_>, _>(|(_, event)| is_of(event));
        self.early = rest.into();
        found.into_iter().filter(|(at, _)| now.since(*at) <= EARLY).map(|(_, e)| e).collect()
    }
}

impl Switch {
    /// A portal's event: told to its call, kept for it, or counted.
    pub(super) fn portal_event(&mut self, now: Moment, event: PortalEvent, out: &mut Output) {
        let call = (event.portal.clone(), event.call_id.clone());
        let heard = match (&event.what, self.portals.linked.get(&call).copied()) {
            (PortalWhat::Init { .. }, Some(_)) => Heard::Repeated,
            (PortalWhat::Init { kind, .. }, None) if !INCOMING.contains(kind) => {
                self.portals.remember(call, false);
                Heard::Ignored
            }
            (PortalWhat::Init { line, caller, .. }, None) => {
                match self.portals.past_by_id.get(&call) {
                    Some(true) => Heard::Late,
                    Some(false) => Heard::Repeated,
                    None => return self.portal_init(now, &event, line, caller, out),
                }
            }
            (_, Some(slot)) => self.portal_word(now, slot, &event, out),
            (_, None) => match self.portals.past_by_id.get(&call) {
                Some(true) => Heard::Late,
                Some(false) => Heard::Unmatched,
                None => {
                    self.portals.keep_early(now, event);
                    Heard::Early
                }
            },
        };
        out.heard.push(heard);
    }

    fn portal_init(
        &mut self,
        now: Moment,
        event: &PortalEvent,
        line: &str,
        caller: &str,
        out: &mut Output,
    ) {
        let call = (event.portal.clone(), event.call_id.clone());
        let began = on_our_clock(now, event.ts);
        let Some((slot, alone)) = self.call_of_line(&event.portal, line, caller, began) else {
            self.portals.take_early(now, &call);
            self.portals.remember(call, false);
            return out.heard.push(Heard::Unmatched);
        };
        out.heard.push(if alone { Heard::Matched } else { Heard::Ambiguous });
        self.portals.linked.insert(call.clone(), slot);
        self.step_at(now, now, slot, out, |c, cx| c.linked(cx, &event.portal, &event.call_id));
        for early in self.portals.take_early(now, &call) {
            // Counted when it came.
            self.portal_word(now, slot, &early, out);
        }
    }

    fn portal_word(
        &mut self,
        now: Moment,
        slot: Slot,
        event: &PortalEvent,
        out: &mut Output,
    ) -> Heard {
        let mut heard = Heard::Late;
        self.step_at(now, now, slot, out, |call, cx| {
            heard = match &event.what {
                PortalWhat::Init { .. } => Heard::Repeated,
                PortalWhat::Start { user } => call.portal_started(cx, event.ts, user),
                PortalWhat::End { user, code, .. } => call.portal_ended(cx, code, user),
            };
        });
        heard
    }

    /// The call on this line from this number that began nearest to `began` and has no portal's
    /// call yet; and whether it is the only one that fits.
    fn call_of_line(
        &self,
        portal: &str,
        line: &str,
        caller: &str,
        began: Moment,
    ) -> Option<(Slot, bool)> {
        let mut fits: Vec<(Duration, Slot)> = Vec::new();
        let plan = &self.core.plan;
        for key in keys(caller, &plan.policy.numbers) {
            let first = Slot { index: 0, generation: 0 };
            let of_number = self.portals.waiting.range((key.clone(), first)..);
            for (_, slot) in of_number.take_while(|(number, _)| *number == key) {
                let Some(call) = self.calls.get(*slot).filter(|c| c.word.portal.is_none()) else {
                    continue;
                };
                let trunk = call.b.as_ref().and_then(|b| call.plan.trunk(&b.trunk));
                let on_line = trunk
                    .and_then(|t| t.portal.as_ref())
                    .is_some_and(|p| p.portal == portal && p.line == line);
                let leg = call.account.legs.last().and_then(|leg| leg.invite);
                let Some(sent) = leg.filter(|_| on_line) else { continue };
                // `began` is the start of the second that the event names.
                let apart = sent.since(began).max(began.since(sent));
                if apart <= INIT_WINDOW && !fits.iter().any(|(_, known)| known == slot) {
                    fits.push((apart, *slot));
                }
            }
        }
        let nearest = fits.iter().min().map(|(_, slot)| *slot)?;
        Some((nearest, fits.len() == 1))
    }
}

/// What a call's number is found by: its digits, or what stands in their place.
fn key(number: &str, numbers: &Numbers) -> String {
    match read(number, numbers) {
        Reading::Number(digits) | Reading::Emergency(digits) | Reading::Label(digits) => digits,
        Reading::Withheld => String::new(),
        Reading::Unparsable(_) => number.to_owned(),
    }
}

/// What a portal's number may mean: international digits without a plus, or as numbers are read
/// here.
fn keys(number: &str, numbers: &Numbers) -> Vec<String> {
    let plain = Numbers { context: Context::E164NoPlus, ..numbers.clone() };
    let mut keys = vec![key(number, &plain), key(number, numbers)];
    keys.dedup();
    keys
}
