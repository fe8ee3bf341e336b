//! Every limit of this room, with what happens at it.

/// Shortest span told apart, nanoseconds; shorter ones count as it.
pub const LOWEST_NS: u64 = 1;

/// Longest span told apart: one hour, nanoseconds. Longer ones count as it.
pub const HIGHEST_NS: u64 = 3_600_000_000_000;

/// Significant decimal digits of every recorded span.
pub const DIGITS: u8 = 3;

/// Trunks, and routes, that have series of their own; the rest is counted under `other`.
pub const NAMES_MAX: usize = 64;

/// Calls followed in the live table; a call past it is counted as untracked and not shown.
pub const LIVE_MAX: usize = 16_384;

/// Ended calls whose agent's answer may still become known; past it the oldest is forgotten, and
/// its spans are not recorded when it is amended.
pub const OPEN_MAX: usize = 16_384;

/// Ended calls kept for readers; the oldest leaves first.
pub const RECENT_MAX: usize = 200;
