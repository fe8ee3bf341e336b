//! Plain atomics that the planes of the node fill; the catalogue reads them, relaxed.
//!
//! A counter may be grown with `fetch_add` or, where its owner keeps the total elsewhere, `store`d.
//! Fields ending in `_now` are gauges.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use cooee_model::fact::Refusal;

/// Methods counted under their own name (RFC 3261 and its extensions); the rest is `other`.
pub const METHODS: [&str; 15] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "PRACK",
    "UPDATE",
    "INFO",
    "REFER",
    "NOTIFY",
    "SUBSCRIBE",
    "MESSAGE",
    "PUBLISH",
    "other",
];

/// Classes of message: a request, or the class of a response's status.
pub const CLASSES: [&str; 7] = ["request", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx"];

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Read from a peer.
    In,
    /// Handed to the kernel.
    Out,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// SIP messages by direction, method and class.
#[derive(Debug)]
pub struct SipMessages([[[AtomicU64; CLASSES.len()]; METHODS.len()]; 2]);

impl Default for SipMessages {
    fn default() -> Self {
        Self(array::from_fn(|_| array::from_fn(|_| array::from_fn(|_| AtomicU64::new(0)))))
    }
}

impl SipMessages {
    /// Counts one message. `method` is the request's, or the CSeq's of a response; `code` is the
    /// status of a response, 0 for a request.
    pub fn count(&self, direction: Direction, method: &str, code: u16) {
        let method = METHODS.iter().position(|m| *m == method).unwrap_or(METHODS.len() - 1);
        let cell = self.0.get(direction as usize).and_then(|methods| methods.get(method));
        if let Some(cell) = cell.and_then(|classes| classes.get(usize::from(code / 100))) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every cell: direction, method, class, count.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str, u64)> {
        Direction::ALL.into_iter().zip(&self.0).flat_map(|(direction, methods)| {
            METHODS.into_iter().zip(methods).flat_map(move |(method, classes)| {
                CLASSES.into_iter().zip(classes).map(move |(class, cell)| {
                    (direction.name(), method, class, cell.load(Ordering::Relaxed))
                })
            })
        })
    }
}

/// What the engine counts.
#[derive(Debug, Default)]
pub struct EngineStats {
    /// SIP messages in and out, retransmissions among them.
    pub messages: SipMessages,
    /// Requests and responses that we sent again.
    pub retransmits: AtomicU64,
    /// Datagrams and stream messages that are no SIP.
    pub parse_errors: AtomicU64,
    /// Sends that the kernel refused.
    pub send_errors: AtomicU64,
    /// What ICMP said of our datagrams: that they do not get there, and anything else.
    pub icmp: [AtomicU64; 2],
    /// Inputs lost because the engine's queue was full.
    pub queue_full: AtomicU64,
    /// Messages that begin something, lost because too many waited.
    pub backlog_full: AtomicU64,
    /// 1 while new calls are refused, since the node does not keep up.
    pub overloaded_now: AtomicU64,
    /// Facts that telemetry never saw, because too many waited.
    pub untold: AtomicU64,
    /// Calls ended because no RTP came from either side for the media time-out.
    pub media_timeouts: AtomicU64,
    /// Calls that the switch holds.
    pub calls_now: AtomicU64,
    /// RTP port pairs on lease or in quarantine.
    pub leases_now: AtomicU64,
    /// Copies of SIP messages handed to the HEP collector's socket.
    pub hep_sent: AtomicU64,
    /// Copies lost: too many waited, or the collector could not be reached.
    pub hep_dropped: AtomicU64,
    /// Lines that are registered.
    pub lines_now: AtomicU64,
    /// Lines that are being unregistered.
    pub lines_leaving: AtomicU64,
}

/// Why a connection was refused or ended other than by its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Refused: the address has as many as one may have.
    Address,
    /// Refused: there are as many as there may be.
    Total,
    /// Could not be opened.
    Connect,
    /// TLS was not agreed on.
    Handshake,
    /// What came was no SIP, or told no length.
    Framing,
    /// A message was begun and not ended in time.
    Stalled,
    /// Nothing went either way for long.
    Idle,
    /// The peer does not read: too much waited for it.
    Full,
}

impl Cut {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Address,
        Self::Total,
        Self::Connect,
        Self::Handshake,
        Self::Framing,
        Self::Stalled,
        Self::Idle,
        Self::Full,
    ];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Total => "total",
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::Framing => "framing",
            Self::Stalled => "stalled",
            Self::Idle => "idle",
            Self::Full => "full",
        }
    }
}

/// What the streams (SIP over TCP and TLS) count.
#[derive(Debug, Default)]
pub struct StreamStats {
    /// Connections over TCP, and over TLS.
    pub connections_now: [AtomicU64; 2],
    /// Connections that peers opened, and that we opened.
    pub opened: [AtomicU64; 2],
    cut: [AtomicU64; Cut::ALL.len()],
}

impl StreamStats {
    /// Counts one connection that was refused or ended by us.
    pub fn count(&self, why: Cut) {
        if let Some(cell) = self.cut.get(why as usize) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let cells = self.cut.iter().map(|cell| cell.load(Ordering::Relaxed));
        Cut::ALL.into_iter().map(Cut::name).zip(cells)
    }
}

/// What the RTP plane counts: each datagram that it read, RTP or RTCP, in one place.
#[derive(Debug, Default)]
pub struct MediaStats {
    /// Handed to the kernel towards the other leg.
    pub forwarded: AtomicU64,
    /// Dropped: from a source that is not believed.
    pub foreign: AtomicU64,
    /// Dropped: neither RTP nor RTCP.
    pub malformed: AtomicU64,
    /// Dropped: received before the lease, or left over after it.
    pub stale: AtomicU64,
    /// Dropped: the receiver is not known yet.
    pub no_peer: AtomicU64,
    /// Not passed on: an event that was told otherwise, or voice under a press of ours.
    pub kept: AtomicU64,
    /// Presses read in RTP, written into it, and dropped since too many waited.
    pub presses: [AtomicU64; 3],
    /// Dropped: the kernel did not take it.
    pub send_failed: AtomicU64,
    /// Dropped by the kernel before they were read, since the receive buffer was full.
    pub overrun: AtomicU64,
    /// Forwarded without a believable receive stamp, so not measured.
    pub unstamped: AtomicU64,
}

/// What the journal counts.
#[derive(Debug, Default)]
pub struct JournalStats {
    /// Records appended.
    pub records: AtomicU64,
    /// Bytes appended.
    pub bytes: AtomicU64,
    /// Batches committed past the deadline.
    pub late_commits: AtomicU64,
    /// Records that found no room: the messages went without them.
    pub lost: AtomicU64,
    /// Records past the size limit, not written.
    pub unwritable: AtomicU64,
    /// Writes, syncs and deletions that the disk refused.
    pub spool_errors: AtomicU64,
    /// Bytes of the head not yet on disk.
    pub spool_lag_bytes_now: AtomicU64,
}

/// What the store's feed counts.
#[derive(Debug, Default)]
pub struct StoreStats {
    /// Facts written.
    pub facts: AtomicU64,
    /// Errors that were retried.
    pub errors: AtomicU64,
    /// Facts that the database will never take, skipped.
    pub refused: AtomicU64,
    /// Records that this build cannot read, skipped.
    pub unreadable: AtomicU64,
    /// Journal records that the database has not seen yet.
    pub lag_records_now: AtomicU64,
}

/// What the admin API counts.
#[derive(Debug, Default)]
pub struct AdminStats {
    /// Answers by class of status, from 1xx.
    pub answers: [AtomicU64; 5],
    /// Connections closed because the client did nothing for too long.
    pub stalled: AtomicU64,
}

impl AdminStats {
    /// Counts one answer by its status.
    pub fn answered(&self, status: u16) {
        if let Some(cell) = self.answers.get(usize::from(status / 100).wrapping_sub(1)) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The configuration in force.
#[derive(Debug, Default)]
pub struct ConfigStats {
    /// Its number: 1 at the start, one more with each reload.
    pub revision: AtomicU64,
    /// Reloads that came into force.
    pub loaded: AtomicU64,
    /// Reloads that were refused; the configuration before stayed.
    pub refused: AtomicU64,
}

/// Look-ups of trunks' names.
#[derive(Debug, Default)]
pub struct NamesStats {
    /// Look-ups that found all that there is.
    pub found: AtomicU64,
    /// Look-ups that failed, or lacked some addresses.
    pub failed: AtomicU64,
    overdue: Mutex<Vec<(String, u64)>>,
}

impl NamesStats {
    /// For how long each trunk rests on answers of DNS past their time, seconds.
    pub fn set_overdue(&self, trunks: Vec<(String, u64)>) {
        *self.overdue.lock().unwrap_or_else(PoisonError::into_inner) = trunks;
    }

    /// The same.
    pub fn overdue(&self) -> Vec<(String, u64)> {
        self.overdue.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Refusals by reason.
#[derive(Debug, Default)]
pub struct RejectedStats([AtomicU64; Refusal::ALL.len()]);

impl RejectedStats {
    pub(crate) fn count(&self, why: Refusal) {
        let place = Refusal::ALL.iter().position(|refusal| *refusal == why);
        if let Some(cell) = place.and_then(|place| self.0.get(place)) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let cells = self.0.iter().map(|cell| cell.load(Ordering::Relaxed));
        Refusal::ALL.into_iter().map(Refusal::name).zip(cells)
    }
}
