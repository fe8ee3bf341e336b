//! Where each side's media goes: what the relay is told, and what each side is told of the relay.

use std::net::IpAddr;

use cooee_model::ids::{Family, Lease, Side};
use cooee_model::media::{Latch, MediaCommand, PeerMedia};

use crate::call::context::Cx;
use crate::call::{Call, Path};
use crate::leg::offer_answer::Described;
use crate::message::codecs::{Kept, kept};
use crate::message::sdp::rewrite::{EventLines, Ours};

impl Call {
    /// Notes where a leg's peer wants its media, and tells the relay.
    pub(super) fn point(&mut self, cx: &mut Cx<'_>, side: Side, described: &Described) {
        let Some(leg) = self.leg_mut(side) else { return };
        // A refresh names nothing new: the relay keeps the source that it has found.
        if leg.pointed == described.digest {
            return;
        }
        leg.pointed = described.digest;
        leg.media = described.media;
        leg.mux = Some(described.mux);
        leg.events.hear(described.events);
        leg.source = None;
        self.tell_relay(cx, side);
    }

    /// Tells the relay what is known of a leg's media.
    pub(super) fn tell_relay(&mut self, cx: &mut Cx<'_>, side: Side) {
        let Some(leg) = self.leg(side).filter(|_| self.path == Path::Relayed) else { return };
        let trunk = cx.core.plan.trunk(&leg.trunk);
        let latch = match trunk.map(|t| &t.media_allow) {
            Some(networks) if !networks.is_empty() => Latch::Networks(networks.clone()),
            _ => cx.core.setup.latch.clone(),
        };
        let source = leg.source;
        let media = leg.media.map(|(rtp, rtcp)| PeerMedia { rtp, rtcp, latch, source });
        cx.out.media.push(MediaCommand::Peer { call: self.id, side, media });
        self.tell_digits(cx);
    }

    /// A description of the other side under our name on this leg; untouched in bypass.
    pub(super) fn redescribe(&mut self, cx: &mut Cx<'_>, side: Side, body: &[u8]) -> Vec<u8> {
        if body.is_empty() {
            return Vec::new();
        }
        let (audio, lease) = (self.audio, self.lease(side));
        let address = lease.and_then(|lease| cx.core.pool.address(lease.family));
        let events = self.event_lines(side, body);
        let text = match (self.leg_mut(side), lease.zip(address)) {
            (Some(leg), Some((lease, address))) => {
                let ours = Ours { port: lease.port, mux: leg.mux, events };
                let version = leg.description.version;
                let text = leg.description.write(body, audio, (address, ours));
                // The next description must not have the version of this one, crash or not.
                let is_new = leg.description.version != version;
                self.dirty |= is_new;
                text
            }
            _ => return body.to_vec(),
        };
        if events != EventLines::AsTheyAre {
            self.tell_digits(cx);
        }
        text
    }

    fn lease(&self, side: Side) -> Option<Lease> {
        self.leases.map(|(a, b)| if side == Side::A { a } else { b })
    }

    /// Whether a side asks for its media in another family than our ports towards it have.
    pub(super) fn changes_family(&self, side: Side, offer: Option<&Described>) -> bool {
        let family = offer.and_then(|offer| offer.family);
        self.lease(side).zip(family).is_some_and(|(lease, family)| lease.family != family)
    }

    /// Ports towards B of the family in which B is called, where we have them. `false`: none is
    /// free.
    pub(super) fn suit_b(&mut self, cx: &mut Cx<'_>, peer: IpAddr) -> bool {
        let Some((a, b)) = self.leases.filter(|_| self.path == Path::Relayed) else { return true };
        let family = cx.core.pool.nearest(Family::of(peer));
        if b.family == family {
            return true;
        }
        let random = cx.core.random();
        let Some(new) = cx.core.pool.lease(cx.now, family, random) else { return false };
        match self.attempt {
            // That of the first try was never told to anybody.
            1 => cx.core.pool.take_back(b),
            _ => cx.core.pool.release(cx.now, b),
        }
        self.leases = Some((a, new));
        cx.out.media.push(MediaCommand::Swap { call: self.id, b: new });
        true
    }

    /// What of an offer a leg's trunk gets to see. In bypass descriptions cross untouched.
    pub(super) fn kept_for(&self, trunk: &str, offer: &[u8]) -> Kept {
        match self.plan.trunk(trunk) {
            Some(trunk) if self.path != Path::Bypass => kept(offer, &trunk.profile.media.codecs),
            _ => Kept::All,
        }
    }

    /// An offer of the other side under our name on this leg, with the codecs that its trunk takes.
    pub(super) fn offer_to(&mut self, cx: &mut Cx<'_>, side: Side, offer: &[u8]) -> Vec<u8> {
        let kept = self.leg(side).map_or(Kept::All, |leg| self.kept_for(&leg.trunk, offer));
        match kept {
            Kept::Part(part) => self.redescribe(cx, side, &part),
            Kept::All | Kept::Nothing => self.redescribe(cx, side, offer),
        }
    }
}
