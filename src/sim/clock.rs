//! The simulators' own clock reads: what the node's times are held against.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch.
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// How fast a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace(f64);

impl Pace {
    /// `speed` times as fast as the real thing; at least a tenth, at most a hundred times.
    pub fn new(speed: f64) -> Self {
        Self(if speed.is_finite() { speed.clamp(0.1, 100.0) } else { 1.0 })
    }

    /// Seconds of the scenario as they pass here.
    pub fn seconds(self, seconds: f64) -> Duration {
        Duration::from_secs_f64((seconds / self.0).max(0.0))
    }
}

/// Draws numbers that repeat with their seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice of their own.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high.saturating_sub(low) + 1)
    }

    /// True in `percent` of a hundred cases.
    pub fn falls(&mut self, percent: u8) -> bool {
        self.roll() % 100 < u64::from(percent)
    }
}
