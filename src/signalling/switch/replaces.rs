//! `Replaces` (RFC 3891): an INVITE that wants the place of a dialog. We let nobody have one.

use crate::message::name::Name;
use crate::message::text::{param, split_outside, trim};
use crate::message::view::Message;
use crate::switch::Switch;

impl Switch {
    /// The code that an INVITE with `Replaces` gets: 403 if it names a dialog of ours, 481 if it
    /// names none, 400 if it cannot be read. `None`: it has no such header.
    pub(super) fn refuses_replaces(&self, invite: &Message) -> Option<u16> {
        let mut values = invite.values(Name::Replaces);
        let value = values.next()?;
        let (call_id, params) = split_outside(value, b';');
        let tag = |name| param(params.unwrap_or_default(), name);
        let (Some(to), Some(from), None) = (tag("to-tag"), tag("from-tag"), values.next()) else {
            return Some(400);
        };
        let call = self.call_of_tag(to).and_then(|slot| self.calls.get(slot));
        let named = call.is_some_and(|call| {
            [Some(&call.a), call.b.as_ref()].into_iter().flatten().any(|leg| {
                leg.dialog.call_id == trim(call_id)
                    && leg.dialog.local_tag.as_bytes() == to
                    && leg.dialog.remote_tag == from
            })
        });
        Some(if named { 403 } else { 481 })
    }
}
