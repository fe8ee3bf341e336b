//! After a crash: the calls that were cut are closed, and both peers of each are told.

use cooee_model::ids::CallId;
use cooee_model::moment::Moment;

use crate::call::Call;
use crate::call::context::{Cx, Note, Output};
use crate::switch::Switch;

impl Switch {
    /// Closes the calls whose last snapshots the journal gave back.
    ///
    /// `same_boot`: the monotonic clock has gone on, so spans across the gap are true.
    pub fn recover(
        &mut self,
        now: Moment,
        snapshots: &[(CallId, Vec<u8>)],
        same_boot: bool,
        out: &mut Output,
    ) {
        for (id, bytes) in snapshots {
            let slot = self.calls.next();
            let mut cx = Cx { now, received: now, core: &mut self.core, out };
            let mut call = match Call::restore(&mut cx, *id, slot, bytes) {
                Ok(call) => call,
                Err(unreadable) => {
                    out.notes.push(Note { call: Some(*id), text: unreadable.to_string() });
                    continue;
                }
            };
            call.close_recovered(&mut cx, same_boot);
            call.settle(&mut cx);
            let tags = [Some(&call.a), call.b.as_ref()]
                .into_iter()
                .flatten()
                .map(|leg| leg.dialog.local_tag.clone());
            self.restored.extend(tags.map(|tag| (tag, slot)));
            let numbers = &call.plan.policy.numbers;
            self.portals.wait(&call.account.customer, slot, numbers);
            if let (Some(portal), Some(named)) = (&call.word.portal, &call.account.portal_call_id) {
                self.portals.link(portal, named, slot);
            }
            self.rates.call_begins(&call.a.trunk);
            self.calls.insert(call);
            self.by_id.insert(*id, slot);
            self.put_to_rest(slot);
        }
    }
}
