//! What most steps change of a call, written instead of its whole image.
//!
//! A call has five steps that a crash must not take and only two of them change more than what
//! stands here: the INVITE and its answer. Patches follow the image that they belong to, as
//! further CBOR items behind it, until the next image. Numbers are never used again for something
//! else and new entries are optional, as in the image.

use cooee_model::account::{Account, Times};
use cooee_model::ids::Side;
use cooee_model::ink;
use cooee_model::moment::Moment;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::call::Call;
use crate::call::snapshot::{Image, LegImage};
use crate::leg::dialog::Dialog;
use crate::leg::half::{Leg, LegState};

/// A change of a call.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub struct Patch {
    #[n(0)]
    seq: u32,
    #[n(1)]
    ended: bool,
    #[n(2)]
    times: Times,
    /// When A, and the try under way, first rang.
    #[n(3)]
    ringing: (Option<Moment>, Option<Moment>),
    #[n(4)]
    a: LegPatch,
    #[n(5)]
    b: Option<LegPatch>,
}

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct LegPatch {
    #[n(0)]
    state: LegState,
    #[n(1)]
    acked: bool,
    #[n(2)]
    local_cseq: u32,
    #[n(3)]
    remote_cseq: u32,
    #[n(4)]
    takes_update: bool,
    /// Until its INVITE is answered each response may name another peer.
    #[n(5)]
    early: Option<Early>,
}

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct Early {
    #[n(0)]
    tag: ByteVec,
    #[n(1)]
    target: ByteVec,
    #[n(2)]
    routes: Vec<ByteVec>,
    #[n(3)]
    behind_nat: bool,
}

impl Call {
    /// What has changed since the last image, as far as patches tell it.
    pub(super) fn patch(&self) -> Vec<u8> {
        let patch = Patch {
            seq: self.seq,
            ended: self.ended,
            times: self.account.times,
            ringing: ringing(&self.account),
            a: LegPatch::of(&self.a),
            b: self.b.as_ref().map(LegPatch::of),
        };
        let mut bytes = Vec::with_capacity(192);
        // Writing to memory does not fail.
        ink::write(&patch, &mut bytes);
        bytes
    }
}

impl LegPatch {
    fn of(leg: &Leg) -> Self {
        let dialog = &leg.dialog;
        let early = (leg.side == Side::B && leg.state == LegState::Setup).then(|| Early {
            tag: dialog.remote_tag.clone().into(),
            target: dialog.remote_target.clone().into(),
            routes: dialog.routes.clone(),
            behind_nat: dialog.behind_nat,
        });
        Self {
            state: leg.state,
            acked: leg.acked,
            local_cseq: dialog.local_cseq,
            remote_cseq: dialog.remote_cseq,
            takes_update: leg.takes_update,
            early,
        }
    }

    fn apply(self, leg: &mut LegImage) {
        (leg.state, leg.acked) = (self.state, self.acked);
        leg.life.acknowledge(self.acked, self.takes_update);
        let dialog: &mut Dialog = &mut leg.dialog;
        (dialog.local_cseq, dialog.remote_cseq) = (self.local_cseq, self.remote_cseq);
        if let Some(early) = self.early {
            dialog.remote_tag = early.tag.into();
            dialog.remote_target = early.target.into();
            (dialog.routes, dialog.behind_nat) = (early.routes, early.behind_nat);
        }
    }
}

impl Image {
    pub(super) fn apply(&mut self, patch: Patch) {
        (self.seq, self.ended) = (patch.seq, patch.ended);
        self.account.times = patch.times;
        if let Some(leg) = self.account.legs.first_mut() {
            leg.ringing = patch.ringing.0;
        }
        if let Some(leg) = self.account.legs.last_mut() {
            leg.ringing = patch.ringing.1;
        }
        patch.a.apply(&mut self.a);
        if let (Some(b), Some(patch)) = (&mut self.b, patch.b) {
            patch.apply(b);
        }
    }
}

fn ringing(account: &Account) -> (Option<Moment>, Option<Moment>) {
    let [first, last] = [account.legs.first(), account.legs.last()];
    (first.and_then(|l| l.ringing), last.and_then(|l| l.ringing))
}
