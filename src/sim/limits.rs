//! The limits of the simulators, and what happens at them.

/// Largest SIP datagram that is read; the rest of a larger one is lost.
pub const DATAGRAM: usize = 65_535;

/// Messages that wait for one call; more are lost, and SIP repeats them.
pub const INBOX: usize = 64;

/// First messages of calls that wait; more are lost, and SIP repeats them.
pub const FRESH: usize = 1024;

/// RTP packets of one side that are kept to be compared (20 minutes); later ones only pass.
pub const PACKETS: usize = 60_000;

/// Longest header value that Voximplant takes; an INVITE with a longer one is refused.
pub const HEADER: usize = 4095;

/// Calls that are over and kept in the book; the oldest leave first.
pub const DONE: usize = 512;

/// Events of the portal that are kept of one call; later ones are posted and not kept.
pub const POSTS: usize = 64;

/// Calls that the receiver of webhooks knows; the oldest leave first.
pub const RECEIVED: usize = 1024;
