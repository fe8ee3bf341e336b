//! What the RTP plane has counted since its start: nothing is dropped without a place here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::packet::Fate;

/// The figures of the RTP plane since its start.
///
/// Every datagram read is in exactly one of the places below it:
/// `packets_in = packets_out + foreign + malformed + stale + no_peer + kept + send_failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams read from leased ports, RTP and RTCP.
    pub packets_in: u64,
    /// Datagrams handed to the kernel.
    pub packets_out: u64,
    /// Dropped: from a source that is not believed.
    pub foreign: u64,
    /// Dropped: neither RTP nor RTCP, too long, or RTP on an RTCP port.
    pub malformed: u64,
    /// Dropped: received before the lease, or left over after it.
    pub stale: u64,
    /// Dropped: no peer named yet, on the side it came from or on the one it was for.
    pub no_peer: u64,
    /// Not passed on: an event that was told otherwise, or voice under a press of ours.
    pub kept: u64,
    /// Dropped: the kernel did not take it.
    pub send_failed: u64,
    /// Passed on without a believable receive stamp, so not measured.
    pub unstamped: u64,
    /// Dropped by the kernel on open ports, since the receive buffer was full; counted at the close
    /// of the call, not in `packets_in`.
    pub overrun: u64,
    /// Receive calls that failed.
    pub recv_failed: u64,
    /// Presses read in RTP and told.
    pub presses_heard: u64,
    /// Presses ordered, to be written into RTP.
    pub presses_played: u64,
    /// Presses ordered and dropped: too many waited.
    pub presses_dropped: u64,
    /// Packets of presses that were sent; not in `packets_out`.
    pub press_packets: u64,
    /// Calls open now.
    pub active: u64,
    /// Commands refused since the worker's queue was full or the worker has ended.
    pub commands_refused: u64,
}

/// One worker's figures: written by it alone, read by anyone.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    pub(crate) packets_in: Figure,
    packets_out: Figure,
    foreign: Figure,
    malformed: Figure,
    pub(crate) stale: Figure,
    no_peer: Figure,
    kept: Figure,
    send_failed: Figure,
    pub(crate) unstamped: Figure,
    pub(crate) overrun: Figure,
    pub(crate) recv_failed: Figure,
    pub(crate) presses_heard: Figure,
    pub(crate) presses_played: Figure,
    pub(crate) presses_dropped: Figure,
    pub(crate) press_packets: Figure,
    pub(crate) active: Figure,
}

/// A number with one writer, so that adding to it needs no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Figure(AtomicU64);

impl Figure {
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn subtract(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).saturating_sub(n), Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Tally {
    /// Counts one datagram that was read.
    pub(crate) fn count(&self, fate: Fate) {
        self.packets_in.add(1);
        match fate {
            Fate::Rtp | Fate::Rtcp => &self.packets_out,
            Fate::Stale => &self.stale,
            Fate::Foreign => &self.foreign,
            Fate::Malformed => &self.malformed,
            Fate::NoPeer => &self.no_peer,
            Fate::Kept => &self.kept,
            Fate::Unsent => &self.send_failed,
        }
        .add(1);
    }

    /// Adds this worker's figures to `sum`.
    pub(crate) fn add_to(&self, sum: &mut Counters) {
        sum.packets_in += self.packets_in.get();
        sum.packets_out += self.packets_out.get();
        sum.foreign += self.foreign.get();
        sum.malformed += self.malformed.get();
        sum.stale += self.stale.get();
        sum.no_peer += self.no_peer.get();
        sum.kept += self.kept.get();
        sum.send_failed += self.send_failed.get();
        sum.unstamped += self.unstamped.get();
        sum.overrun += self.overrun.get();
        sum.recv_failed += self.recv_failed.get();
        sum.presses_heard += self.presses_heard.get();
        sum.presses_played += self.presses_played.get();
        sum.presses_dropped += self.presses_dropped.get();
        sum.press_packets += self.press_packets.get();
        sum.active += self.active.get();
    }
}
