//! What signalling tells the RTP plane (commands) and what it hears back (events).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use minicbor::{Decode, Encode};

use crate::ids::{CallId, Lease, Side};
use crate::moment::Moment;

/// An order to the RTP plane. Orders of one call are carried out in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaCommand {
    /// Joins two leased port pairs: what arrives on `a` leaves from `b` and the other way round.
    /// Nothing is forwarded in a direction until its receiver is known by [`MediaCommand::Peer`].
    Open {
        /// The call that owns both leases.
        call: CallId,
        /// The pair that the A leg's peer sends to.
        a: Lease,
        /// The pair that the B leg's peer sends to.
        b: Lease,
        /// When the leases began: packets stamped earlier never reach the call.
        at: Moment,
        /// After this long without a packet from either side: [`MediaEvent::Silent`]. Zero: never.
        timeout: Duration,
    },
    /// Gives the B leg another port pair, since the peer that is called now speaks the other
    /// address family. Nothing is forwarded until that peer is named.
    Swap {
        /// The call.
        call: CallId,
        /// The pair that the B leg's peer sends to from now on.
        b: Lease,
    },
    /// Says where a leg's peer wants its media and which sources are believed.
    Peer {
        /// The call.
        call: CallId,
        /// The leg meant.
        side: Side,
        /// The peer's media as its SDP names it; `None`: it wants nothing now.
        media: Option<PeerMedia>,
    },
    /// Asks for the first packet forwarded each way at or after `at`: answered by
    /// [`MediaEvent::Forwarded`], once per side.
    Mark {
        /// The call.
        call: CallId,
        /// From when on.
        at: Moment,
    },
    /// Says on which leg digits travel as events in RTP while they travel by INFO on the other:
    /// its events are taken out of the stream, each press told by [`MediaEvent::Pressed`].
    Digits {
        /// The call.
        call: CallId,
        /// The leg with events.
        side: Side,
        /// How they are named there; `None`: no more.
        events: Option<Events>,
    },
    /// Presses a key towards the leg with events.
    Press {
        /// The call.
        call: CallId,
        /// Which key (RFC 4733, 3.2).
        event: u8,
        /// How long it is held.
        held: Duration,
    },
    /// Exempts the call from the media timeout (`true`: on hold) or ends the exemption.
    Hold {
        /// The call.
        call: CallId,
        /// Whether it is on hold now.
        held: bool,
    },
    /// Ends the relay and releases both leases; answered by [`MediaEvent::Closed`].
    Close {
        /// The call.
        call: CallId,
    },
}

impl MediaCommand {
    /// The call that the order is about.
    pub const fn call(&self) -> CallId {
        match self {
            Self::Open { call, .. }
            | Self::Swap { call, .. }
            | Self::Peer { call, .. }
            | Self::Mark { call, .. }
            | Self::Digits { call, .. }
            | Self::Press { call, .. }
            | Self::Hold { call, .. }
            | Self::Close { call } => *call,
        }
    }
}

/// A leg's peer as its SDP names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMedia {
    /// Where RTP goes (`c=` and `m=`).
    pub rtp: SocketAddr,
    /// Where RTCP goes: as `rtp` where both share a port (RFC 5761), else what `a=rtcp` names
    /// (RFC 3605), else the next port.
    pub rtcp: SocketAddr,
    /// Which sources are believed.
    pub latch: Latch,
    /// The source of RTP that had been believed before a restart: believed from the start.
    pub source: Option<SocketAddr>,
}

/// How telephone events are named on a leg (RFC 4733).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// Payload type of those that the peer gets.
    pub theirs: u8,
    /// Payload type of those that the peer sends.
    pub ours: u8,
    /// Ticks of their clock a second.
    pub clock_hz: u32,
}

/// Which source addresses a leg's socket believes.
///
/// In every mode the first believed, well-formed packet locks the source; after that only packets
/// from it pass, until signalling names a new peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Latch {
    /// Only the IP address that the SDP names, on any port; the exact signalled port takes over
    /// whenever it speaks.
    Strict,
    /// Also these networks: a NATed peer whose SDP does not name where it sends from.
    Networks(Arc<[IpNet]>),
    /// Any source. Only for closed networks: a stranger's first packet would take the call.
    Open,
}

/// What the RTP plane has seen.
#[derive(Clone, Debug, PartialEq)]
pub enum MediaEvent {
    /// An RTP packet from this side was believed, and only its source is from now on.
    Latched {
        /// The call.
        call: CallId,
        /// Whose packet.
        side: Side,
        /// Where it came from.
        source: SocketAddr,
        /// Kernel receive time.
        at: Moment,
    },
    /// The answer to [`MediaCommand::Mark`]: the first packet *from* `side` that was forwarded at
    /// or after the mark.
    Forwarded {
        /// The call.
        call: CallId,
        /// Whose packet.
        side: Side,
        /// When it was handed to the kernel.
        at: Moment,
    },
    /// A key was pressed, and let go of, on the leg with events.
    Pressed {
        /// The call.
        call: CallId,
        /// The leg.
        side: Side,
        /// Which key (RFC 4733, 3.2).
        event: u8,
        /// How long it was held.
        held: Duration,
    },
    /// No packet from either side for the time-out.
    Silent {
        /// The call.
        call: CallId,
        /// The last packet, or the opening where there was none.
        since: Moment,
    },
    /// How what came from each side sounded since the sample before.
    Sampled {
        /// The call.
        call: CallId,
        /// When the time that it is of ended.
        at: Moment,
        /// What came from A.
        a: Quality,
        /// What came from B.
        b: Quality,
    },
    /// The relay has ended; these are its figures.
    Closed {
        /// The call.
        call: CallId,
        /// What came from A.
        a: StreamStats,
        /// What came from B.
        b: StreamStats,
    },
    /// An order could not be carried out (an unknown call, a port pair that could not be opened).
    Failed {
        /// The call.
        call: CallId,
    },
}

impl MediaEvent {
    /// The call that the event is about.
    pub const fn call(&self) -> CallId {
        match self {
            Self::Latched { call, .. }
            | Self::Forwarded { call, .. }
            | Self::Pressed { call, .. }
            | Self::Silent { call, .. }
            | Self::Sampled { call, .. }
            | Self::Closed { call, .. }
            | Self::Failed { call } => *call,
        }
    }
}

/// How what came from one leg sounded over some seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Quality {
    /// RTP packets accepted.
    #[n(0)]
    pub packets: u32,
    /// Packets missing by their sequence numbers.
    #[n(1)]
    pub lost: u32,
    /// Packets seen before.
    #[n(2)]
    pub duplicate: u32,
    /// Packets that came after a later one.
    #[n(3)]
    pub late: u32,
    /// Interarrival jitter (RFC 3550, 6.4.1) at the end, microseconds.
    #[n(4)]
    pub jitter_us: u32,
    /// From here to the peer and back by its last report (RFC 3550, 6.4.1), microseconds; `None`:
    /// it has sent none that says.
    #[n(5)]
    pub round_trip_us: Option<u32>,
    /// The transmission rating (ITU-T G.107) in tenths: 0 to 932. `None`: nothing came.
    #[n(6)]
    pub rating_10: Option<u16>,
}

impl Quality {
    /// The mean opinion score of the rating (G.107, annex B): 1 to 4.41.
    pub fn mos(&self) -> Option<f64> {
        let r = f64::from(self.rating_10?) / 10.0;
        Some((1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0))
    }

    /// The category of the rating (ITU-T G.109): 5, satisfying everybody, to 1, hardly anybody.
    pub fn grade(&self) -> Option<u8> {
        Some(match self.rating_10? {
            900.. => 5,
            800.. => 4,
            700.. => 3,
            600.. => 2,
            _ => 1,
        })
    }
}

/// What was received from one leg over the whole relay, RTP unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct StreamStats {
    /// Packets accepted from the peer.
    #[n(0)]
    pub packets: u64,
    /// Payload bytes accepted, RTP header included.
    #[n(1)]
    pub bytes: u64,
    /// Packets handed to the kernel towards the other leg.
    #[n(2)]
    pub forwarded: u64,
    /// Packets that the sequence numbers say are missing (RFC 3550, A.3); never negative.
    #[n(3)]
    pub lost: u64,
    /// Packets seen before.
    #[n(4)]
    pub duplicate: u64,
    /// Packets that came after a later one.
    #[n(5)]
    pub reordered: u64,
    /// Interarrival jitter (RFC 3550, 6.4.1) at the end, microseconds.
    #[n(6)]
    pub jitter_us: u32,
    /// Packets from a source that is not believed, dropped.
    #[n(7)]
    pub foreign: u64,
    /// Packets that are no RTP (or RTCP), dropped.
    #[n(8)]
    pub malformed: u64,
    /// RTCP packets relayed.
    #[n(9)]
    pub rtcp: u64,
    /// The RTP payload type of the first packet, if one came.
    #[n(10)]
    pub payload_type: Option<u8>,
}
