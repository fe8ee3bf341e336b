//! How much the node and each trunk carry: calls at a time, new calls a second.

use std::collections::BTreeMap;

use cooee_model::moment::Moment;

use crate::call::limits::BURST;
use crate::profile::plan::Limits;

/// Calls a second and calls at a time, by trunk. A call counts on the trunk that it comes from and
/// on the one that it goes to.
#[derive(Debug, Default)]
pub struct Loads {
    node: Rate,
    /// When the node was last called faster than it takes.
    flooded: Option<Moment>,
    trunks: BTreeMap<String, (Rate, u32)>,
}

/// How fast calls are taken, evenly over the second (a virtual scheduler, ITU-T I.371): each takes
/// its share of a second, and the share of a burst may be taken ahead of time. Bunches of a whole
/// second's calls would make those behind them wait. A call that is refused takes nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    /// Until when the time is taken, nanoseconds of the monotonic clock.
    taken: u64,
}

impl Rate {
    /// When the next call would begin its share; none: it would come too soon.
    fn next(self, now: Moment, limit: u32) -> Option<u64> {
        let share = 1_000_000_000 / u64::from(limit.max(1));
        let burst = limit.min(BURST.max(limit / 8)).max(1);
        let ahead = share * u64::from(burst - 1);
        let next = self.taken.max(now.mono);
        (next - now.mono <= ahead && limit > 0).then_some(next + share)
    }

    /// Counts one; `false`: it would be more than `limit` a second.
    fn take(&mut self, now: Moment, limit: u32) -> bool {
        let next = self.next(now, limit);
        self.taken = next.unwrap_or(self.taken);
        next.is_some()
    }
}

impl Loads {
    /// Counts a new call of the node.
    pub fn take_node(&mut self, now: Moment, limit: u32) {
        self.node.take(now, limit);
    }

    /// Whether the node takes another call now.
    pub fn has_room(&mut self, now: Moment, limit: u32) -> bool {
        let room = self.node.next(now, limit).is_some();
        if !room {
            self.flooded = Some(now);
        }
        room
    }

    /// When the node was last called faster than it takes.
    pub const fn flooded(&self) -> Option<Moment> {
        self.flooded
    }

    /// Counts a new call of a trunk; `false`: the trunk has no room for it.
    pub fn take(&mut self, now: Moment, trunk: &str, limits: Limits) -> bool {
        let (rate, calls) = match self.trunks.get_mut(trunk) {
            Some(entry) => entry,
            None => self.trunks.entry(trunk.to_owned()).or_default(),
        };
        let too_fast = limits.cps.is_some_and(|limit| !rate.take(now, limit));
        let too_many = limits.sessions.is_some_and(|limit| *calls >= limit);
        !too_fast && !too_many
    }

    /// A call is on this trunk now.
    pub fn begins(&mut self, trunk: &str) {
        match self.trunks.get_mut(trunk) {
            Some((_, calls)) => *calls += 1,
            None => self.trunks.entry(trunk.to_owned()).or_default().1 += 1,
        }
    }

    /// A call is on this trunk no more.
    pub fn over(&mut self, trunk: &str) {
        if let Some((_, calls)) = self.trunks.get_mut(trunk) {
            *calls = calls.saturating_sub(1);
        }
    }

    /// Calls that are on this trunk.
    pub fn calls(&self, trunk: &str) -> u32 {
        self.trunks.get(trunk).map_or(0, |(_, calls)| *calls)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How many of the calls that come every `every` are taken in `seconds`.
    fn taken(rate: &mut Rate, from: Moment, limit: u32, every: Duration, seconds: u64) -> u32 {
        let mut calls = 0;
        let mut now = from;
        while now - from < Duration::from_secs(seconds) {
            calls += u32::from(rate.take(now, limit));
            now = now + every;
        }
        calls
    }

    #[test]
    fn calls_past_the_limit_are_refused_and_the_limit_is_used() {
        let from = Moment::new(7_777_777_777, 0);
        for (limit, burst) in [(1, 1), (7, 7), (100, 100), (200, 100), (1000, 125)] {
            let mut rate = Rate::default();
            let calls = taken(&mut rate, from, limit, Duration::from_micros(200), 10);
            assert!((10 * limit..10 * limit + burst).contains(&calls), "{limit}: {calls}");
            let fair = Duration::from_nanos(1_000_000_000 / u64::from(limit) + 1);
            assert_eq!(taken(&mut Rate::default(), from, limit, fair, 3), 3 * limit);
        }
        assert_eq!(taken(&mut Rate::default(), from, 0, Duration::from_millis(1), 2), 0);
    }

    #[test]
    fn a_burst_is_taken_at_once_and_the_next_one_a_second_later() {
        let mut rate = Rate::default();
        let mut now = Moment::new(5_000_000_000, 0);
        for _ in 0..3 {
            assert_eq!((0..300).filter(|_| rate.take(now, 100)).count(), 100);
            now = now + Duration::from_secs(1);
        }
    }
}
