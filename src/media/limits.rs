//! Every limit of the RTP plane, and what happens at it.

use std::time::Duration;

/// Datagrams that one system call takes or gives at most; a longer batch is cut to this.
pub const BATCH_MAX: usize = 64;

/// Datagrams read from one RTP socket in one go; the rest waits for the next turn, so that one
/// flooded call cannot starve the others.
pub const RTP_BATCH: usize = 16;

/// Bytes of the largest RTP or RTCP datagram relayed; a longer one is counted as malformed.
pub const RTP_DATAGRAM_BYTES: usize = 2048;

/// Receive buffer asked for per socket, bytes; the kernel doubles it, which holds some 14 (on a
/// network card) to 39 (on loopback) voice packets. What comes when it is full is counted as
/// overrun and lost: voice that would wait longer than that is of no use.
pub const RTP_RECV_BUFFER_BYTES: usize = 16 * 1024;

/// Commands that may wait for one worker; more are refused to the sender and counted.
pub const COMMANDS_WAITING: usize = 8192;

/// Commands carried out between two looks at the sockets; the rest follows right after.
pub const COMMANDS_PER_TURN: usize = 32;

/// Sockets reported by one look; the rest is reported by the next.
pub const READY_PER_TURN: usize = 256;

/// Batches thrown away from one socket when a lease begins or ends; the filter is up by then, so
/// the receive buffer bounds what can be left.
pub const DRAIN_BATCHES: usize = 16;

/// Packets of one port that come closer together are a burst, nanoseconds: the least packet time in
/// use is 10 ms.
pub(crate) const BURST_NS: u64 = 3_000_000;

/// A worker with a tick goes on ticking for so long after the last packet.
pub const TICK_LINGERS: Duration = Duration::from_millis(100);

/// How often media time-outs are looked at: how late [`Silent`] may come.
///
/// [`Silent`]: cooee_model::media::MediaEvent::Silent
pub const SWEEP: Duration = Duration::from_millis(200);

/// The least time that a call's last sample is of: a shorter rest says nothing.
pub(crate) const LEAST_SAMPLE: Duration = Duration::from_secs(1);

/// Forwarding times remembered exactly per direction (320 ms of voice).
pub const FORWARDS_KEPT: usize = 16;

/// A pause in one direction that ends its run: comfort noise comes more often than this.
pub const RUN_BREAK: Duration = Duration::from_millis(500);

/// A kernel receive stamp older than this at the read, or from the future, is not believed: the
/// wall clock was set in between.
pub const STAMP_AGE_MAX: Duration = Duration::from_secs(1);

/// File descriptors left for everything but the port pool; a pool that leaves fewer is refused.
pub const DESCRIPTORS_RESERVED: u64 = 64;

/// How often a call on a socket that hears ICMP is made again, because it may have failed for an
/// earlier datagram.
pub const PENDING_ERRORS: usize = 4;

/// Presses that may wait for their turn in one call; more are dropped and counted.
pub const PRESSES_WAITING: usize = 32;

/// The shortest press that is written (RFC 4733, 2.5.2.3: what a gateway is sure to hear).
pub const PRESS_MIN: Duration = Duration::from_millis(40);

/// The longest: a peer that asks for more gets this.
pub const PRESS_MAX: Duration = Duration::from_secs(5);

/// From the end of a press to the beginning of the next.
pub const PRESS_PAUSE: Duration = Duration::from_millis(60);

/// From packet to packet of an event.
pub const EVENT_STEP: Duration = Duration::from_millis(20);

/// Times that the end of an event is said again (RFC 4733, 2.5.1.4).
pub const EVENT_COPIES: u32 = 2;

/// An event of which nothing was heard for so long is over: its end was lost.
pub const EVENT_LAPSE: Duration = Duration::from_millis(250);
