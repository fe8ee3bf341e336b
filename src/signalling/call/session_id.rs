//! Session-ID (RFC 7989) across the legs: what one side calls itself is told to the other, and who
//! has no UUID gets one of ours. Only on legs whose profiles want it.

use cooee_model::ids::Side;

use crate::call::Call;
use crate::leg::session_id::{SessionId, made, read};
use crate::message::view::Message;

impl Call {
    fn wants_session_id(&self, side: Side) -> bool {
        let trunk = self.leg(side).and_then(|leg| self.plan.trunk(&leg.trunk));
        trunk.is_some_and(|trunk| trunk.profile.behaviour.session_id)
    }

    fn session_id(&mut self, side: Side) -> Option<&mut SessionId> {
        self.leg_mut(side)?.dialog.session_id.as_deref_mut()
    }

    /// A leg begins: A by its INVITE, B before ours.
    pub(super) fn begin_session_id(&mut self, side: Side) {
        if !self.wants_session_id(side) {
            return;
        }
        let of_a = match (side, &self.invite, &self.a.dialog.session_id) {
            (Side::B, _, Some(known)) => Some(known.remote),
            (Side::A, Some(invite), _) => invite.value_of("Session-ID").and_then(read),
            _ => None,
        };
        let of_a = of_a.unwrap_or_else(|| made(self.id, Side::A));
        let id = match side {
            Side::A => SessionId { remote: of_a, ..SessionId::default() },
            Side::B => SessionId { local: of_a, ..SessionId::default() },
        };
        if let Some(leg) = self.leg_mut(side) {
            leg.dialog.session_id = Some(Box::new(id));
        }
    }

    /// What a message of B, or one in either dialog, says of its sender.
    pub(super) fn hear_session_id(&mut self, side: Side, message: &Message) {
        let call = self.id;
        if self.a.dialog.session_id.is_none() && self.session_id(Side::B).is_none() {
            return;
        }
        let mut uuid = None;
        if let Some(id) = self.session_id(side) {
            let said = message.value_of("Session-ID").and_then(read);
            let known = Some(id.remote).filter(|known| *known != [0; 16]);
            let now = said.or(known).unwrap_or_else(|| made(call, side));
            if id.remote != now {
                id.remote = now;
                self.dirty = true;
            }
            uuid = Some(now);
        }
        if let Some(id) = self.session_id(side.other()) {
            let known = Some(id.local).filter(|known| *known != [0; 16]);
            let now = uuid.or(known).unwrap_or_else(|| made(call, side));
            if id.local != now {
                id.local = now;
                self.dirty = true;
            }
        }
    }
}
