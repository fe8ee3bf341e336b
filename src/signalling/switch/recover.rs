//! After a crash: answered calls go on, the others are closed and both peers of each are told.

use std::collections::BTreeMap;

use cooee_model::ids::CallId;
use cooee_model::moment::Moment;

use crate::call::Call;
use crate::call::context::{Cx, Note, Output};
use crate::call::snapshot::Image;
use crate::message::view::Message;
use crate::switch::Switch;

/// What became of the calls of an earlier run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Answered calls that go on.
    pub revived: usize,
    /// Calls that are closed, or were over and wait for their last word.
    pub closed: usize,
}

/// The INVITEs of an earlier run, whose transactions a crash has taken: a copy that the network
/// held back must not become a call of its own.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// By Call-ID and From tag: the caller's last CSeq, and whether the call goes on.
    invites: BTreeMap<(Vec<u8>, Vec<u8>), (u32, bool)>,
    /// No copy comes later (RFC 3261, 17.2.1).
    until: Moment,
}

impl Before {
    /// Whether an INVITE without a To tag is such a copy, and if so whether its call goes on: then
    /// its 2xx is sent again by itself.
    pub(super) fn knows(&mut self, now: Moment, invite: &Message) -> Option<bool> {
        if now.mono > self.until.mono {
            self.invites.clear();
        }
        if self.invites.is_empty() {
            return None;
        }
        let (last, goes_on) =
            *self.invites.get(&(invite.call_id().to_vec(), invite.from_tag().to_vec()))?;
        // A higher CSeq is another try of that caller.
        (invite.cseq()?.number <= last).then_some(goes_on)
    }
}

impl Switch {
    /// Takes up the calls whose last snapshots the journal gave back. To be called before any
    /// other input.
    ///
    /// `same_boot`: the monotonic clock has gone on, so spans across the gap are true.
    pub fn recover(
        &mut self,
        now: Moment,
        snapshots: &[(CallId, Vec<u8>)],
        same_boot: bool,
        out: &mut Output,
    ) -> Recovered {
        let mut found = Recovered::default();
        self.before.until = now + self.core.tx.clock().t1 * 64;
        for (id, bytes) in snapshots {
            let image = match Image::read(*id, bytes) {
                Ok(image) => image,
                Err(unreadable) => {
                    out.notes.push(Note { call: Some(*id), text: unreadable.to_string() });
                    continue;
                }
            };
            match self.take_up(now, *id, image, same_boot, out) {
                true => found.revived += 1,
                false => found.closed += 1,
            }
        }
        found
    }

    /// Takes up one call; whether it goes on.
    fn take_up(
        &mut self,
        now: Moment,
        id: CallId,
        image: Image,
        same_boot: bool,
        out: &mut Output,
    ) -> bool {
        // Its tags name its place: there its peers find it.
        let is_found = image.place().is_some_and(|place| self.calls.prefer(place));
        let slot = self.calls.next();
        let (is_up, ports) = (image.is_up(), image.ports());
        let mut cx = Cx { now, received: now, core: &mut self.core, out };
        let mut call = Call::restore(&mut cx, id, slot, image);
        let caller = &call.a.dialog;
        let (asked, last) =
            ((caller.call_id.clone(), caller.remote_tag.clone()), caller.remote_cseq);
        let goes_on = is_up && is_found && call.is_reachable(&cx);
        let leases = ports.filter(|_| goes_on).map(|ports| cx.core.pool.lease_again(ports));
        let goes_on = goes_on && leases != Some(None);
        if goes_on {
            call.revive(&mut cx, leases.flatten(), same_boot);
        } else {
            if is_up {
                cx.note(id, "cannot go on: its RTP ports or SIP socket are gone");
            }
            call.close_recovered(&mut cx, same_boot);
        }
        call.settle(&mut cx);
        self.before.invites.insert(asked, (last, goes_on));
        let numbers = &call.plan.policy.numbers;
        self.portals.wait(&call.account.customer, slot, numbers);
        if let (Some(portal), Some(named)) = (&call.word.portal, &call.account.portal_call_id) {
            self.portals.link(portal, named, slot);
        }
        self.core.loads.begins(&call.a.trunk);
        call.take_room_again(&mut self.core.loads);
        self.calls.insert(call);
        self.by_id.insert(id, slot);
        self.put_to_rest(slot);
        goes_on
    }
}
