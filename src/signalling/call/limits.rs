//! Limits of a call, and of what calls share.

use std::time::Duration;

/// Most addresses of one trunk. Past it the last ones are not taken.
pub const PLACES: usize = 64;

/// How often A hears again that its call is coming up (RFC 3261, 13.3.1.1).
pub const EARLY_AGAIN: Duration = Duration::from_secs(60);

/// What `Retry-After` says when a limit was reached, seconds.
pub const RETRY_AFTER_S: u32 = 5;

/// Calls that may come at once under a limit of calls a second: so many, or an eighth of the limit
/// if that is more, but never more than the limit. Past it: refused until the second has room.
pub const BURST: u32 = 100;

/// Most tries of one call, over all targets and addresses. Past it there is no next one.
pub const TRIES: u32 = 16;

/// Most addresses of one redirection that are tried. Past it the last ones are not.
pub const REDIRECTIONS: usize = 4;

/// How long an address that INVITEs found down is called last, before it is given another trial.
pub const ON_TRIAL_AFTER: Duration = Duration::from_secs(60);

/// No request that is as short as this is too long for UDP, bytes.
pub const UDP_SURE: usize = 500;

/// How long an address that took no TCP is sent long requests by UDP.
pub const NO_TCP_MEMORY: Duration = Duration::from_secs(600);

/// Most such addresses that are remembered; past it one of them is asked again.
pub const NO_TCP_PLACES: usize = 1024;

/// Most presses of a key that wait for a peer to be told of them by INFO. Past it they are dropped,
/// with a line in the log.
pub const PRESSES_WAITING: usize = 32;
