//! Limits of the switch.

use std::time::Duration;

/// How long the queue of new calls is to be once it stands: short, and long enough that the node
/// never runs out of work.
pub const TARGET: Duration = Duration::from_millis(25);

/// How long every new call must have waited for longer than that before the queue counts as
/// standing: bursts and pauses pass.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// A call that would have to wait this long is refused when it comes, whether the queue stands or
/// not: T1, after which callers send their INVITE again.
pub const LONGEST: Duration = Duration::from_millis(500);

/// A queue that gets shorter by itself may go on to for as long as nobody waits this long: half of
/// T1.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// How long after the last new call the node still counts as overloaded, or as called too often.
pub const OVER: Duration = Duration::from_secs(1);

/// Most refused INVITEs that are remembered. Past it older ones are forgotten, by chance.
pub const REFUSED: usize = 16_384;

/// How long they are: copies of an INVITE come for 64*T1 (RFC 3261, 17.1.1.2).
pub const REFUSED_FOR: Duration = Duration::from_secs(32);

/// How long an address that a trunk's name led to is believed as a source after it was last named.
pub const SOURCE_MEMORY: Duration = Duration::from_secs(24 * 3600);

/// Most addresses remembered as sources. Past it the oldest go.
pub const SOURCES: usize = 4096;

/// Largest INVITE that is bridged, bytes: what we add must not make it larger than a datagram.
/// Past it: 513.
pub const INVITE_BYTES: usize = 60 * 1024;

/// How far apart an INVITE of ours and the portal's `Init` may lie: ten seconds, and the second
/// that the stamp leaves open.
pub const INIT_WINDOW: Duration = Duration::from_secs(11);

/// How long a portal's event waits for the one that names its call.
pub const EARLY: Duration = Duration::from_secs(30);

/// Most such events. Past it the oldest go.
pub const EARLY_EVENTS: usize = 4096;

/// Portal calls remembered after they are settled, or that were none of ours. Past it an event of
/// theirs counts as early, and comes to nothing.
pub const PORTAL_CALLS_KEPT: usize = 16_384;

/// Longest wait between two tries of a registration.
pub const REGISTER_BACKOFF: Duration = Duration::from_secs(600);

/// First wait after a failed registration; doubles with each further failure.
pub const REGISTER_RETRY: Duration = Duration::from_secs(5);

/// How long a nonce of ours may be used.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(300);

/// Most nonces whose counts are remembered. Past it the oldest is refused as stale.
pub const NONCES: usize = 16_384;

/// Wrong passwords in succession, from one source for one user, that are still answered with a
/// challenge. After them comes 403, and for a while nothing is looked at.
pub const GUESSES: u32 = 5;

/// How long that is at first; doubles with each further wrong one.
pub const GUESS_BACKOFF: Duration = Duration::from_secs(1);

/// The longest that it is.
pub const LONGEST_GUESS_BACKOFF: Duration = Duration::from_secs(60);

/// Most sources and users whose wrong passwords are counted. Past it one is forgotten.
pub const GUESSERS: usize = 4096;

/// How long after one REGISTER to a trunk the next one leaves, at most.
pub const REGISTER_PACE: Duration = Duration::from_millis(50);

/// How often in a row a registrar may call our time too brief (423). Past it: a failure.
pub const TOO_BRIEF: u32 = 2;

/// The longest `Retry-After` of a registrar that is kept to.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
