//! Limits of the switch.

use std::time::Duration;

/// How long an address that a trunk's name led to is believed as a source after it was last named.
pub const SOURCE_MEMORY: Duration = Duration::from_secs(24 * 3600);

/// Most addresses remembered as sources. Past it the oldest go.
pub const SOURCES: usize = 4096;

/// What `Retry-After` says when a limit was reached, seconds.
pub const RETRY_AFTER_S: u32 = 5;

/// Longest wait between two tries of a registration.
pub const REGISTER_BACKOFF: Duration = Duration::from_secs(600);

/// First wait after a failed registration; doubles with each further failure.
pub const REGISTER_RETRY: Duration = Duration::from_secs(5);
