//! A point in time, read twice: once for spans and once for people.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use minicbor::{Decode, Encode};

/// One instant on two clocks.
///
/// Spans are computed from [`mono`](Self::mono) alone; [`wall`](Self::wall) is only ever shown.
/// Order and equality follow `mono` first, so a wall clock that jumps changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Moment {
    /// Nanoseconds of `CLOCK_BOOTTIME`: goes on through suspend and through a restart of the
    /// process, starts again at a reboot.
    #[n(0)]
    pub mono: u64,
    /// Nanoseconds since the Unix epoch, UTC. May jump either way.
    #[n(1)]
    pub wall: i64,
}

impl Moment {
    /// A moment from its two readings, nanoseconds each.
    pub const fn new(mono: u64, wall: i64) -> Self {
        Self { mono, wall }
    }

    /// The span since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.mono.saturating_sub(earlier.mono))
    }

    /// A moment of before a reboot on the monotonic clock of `now`, by what the wall clock said.
    /// What is older than this boot counts as its beginning; the order of moments stays.
    #[must_use]
    pub fn across_reboot(self, now: Self) -> Self {
        let age_ns = u64::try_from(now.wall.saturating_sub(self.wall)).unwrap_or(0);
        Self { mono: now.mono.saturating_sub(age_ns), wall: self.wall }
    }

    /// Microseconds since the Unix epoch of this moment, told on the wall clock of `anchor`.
    ///
    /// All times of one call are told on the clock of its first moment, so that their differences
    /// are true spans even when the wall clock was set in between.
    pub fn wall_us_on(self, anchor: Self) -> i64 {
        let offset = i128::from(self.mono) - i128::from(anchor.mono);
        let ns = i128::from(anchor.wall) + offset;
        i64::try_from(ns.div_euclid(1000)).unwrap_or(i64::MAX)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self {
            mono: self.mono.saturating_add(ns),
            wall: self.wall.saturating_add(i64::try_from(ns).unwrap_or(i64::MAX)),
        }
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for Moment {
    /// Seconds of the monotonic clock with microseconds, for logs and reasons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.mono / 1_000_000_000, self.mono % 1_000_000_000 / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_ignore_a_wall_clock_that_jumps() {
        let invite = Moment::new(5_000_000_000, 1_000_000_000_000);
        let answer = Moment::new(7_500_000_000, 500_000_000_000);
        assert_eq!(answer - invite, Duration::from_millis(2500));
        assert_eq!(invite - answer, Duration::ZERO);
        assert_eq!(answer.wall_us_on(invite), 1_002_500_000);
        assert_eq!(invite.wall_us_on(answer), 497_500_000);
    }

    #[test]
    fn a_moment_of_before_a_reboot_keeps_its_wall_time_and_its_place() {
        let now = Moment::new(30_000, 1_000_000);
        let [older, old, later] = [(9, 900_000), (70, 980_000), (80, 1_000_001)]
            .map(|(mono, wall)| Moment::new(mono, wall).across_reboot(now));
        assert_eq!((older.mono, old.mono, later.mono), (0, 10_000, 30_000));
        assert!(older < old && old < later && old.wall == 980_000);
    }

    #[test]
    fn adding_a_span_moves_both_clocks() {
        let at = Moment::new(1, 2) + Duration::from_nanos(40);
        assert_eq!(at, Moment::new(41, 42));
    }
}
