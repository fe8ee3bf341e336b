//! Deadlines: one queue for each length of time, since SIP has only a handful of lengths.
//!
//! Entries of one length come due in the order in which they were set, so setting is a push and
//! expiry is a pop. Nothing is cancelled: whoever is woken looks whether it still cares. Odd
//! lengths share an ordered map.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cooee_model::moment::Moment;

/// Most lengths with a queue of their own; further lengths go to the ordered map.
const LANES: usize = 24;

#[derive(Debug)]
struct Lane<K> {
    length: Duration,
    queue: VecDeque<(u64, K)>,
}

/// Deadlines with a key each.
#[derive(Debug)]
pub struct Timers<K> {
    lanes: Vec<Lane<K>>,
    odd: BTreeMap<(u64, u64), K>,
    set: u64,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { lanes: Vec::new(), odd: BTreeMap::new(), set: 0 }
    }
}

impl<K: Copy> Timers<K> {
    /// Sets a deadline `length` after `now`.
    pub fn set(&mut self, now: Moment, length: Duration, key: K) {
        let due = (now + length).mono;
        let lane = match self.lanes.iter_mut().position(|l| l.length == length) {
            Some(at) => self.lanes.get_mut(at),
            None if self.lanes.len() < LANES => {
                self.lanes.push(Lane { length, queue: VecDeque::new() });
                self.lanes.last_mut()
            }
            None => None,
        };
        match lane {
            // A moment of another reading may lie a little behind: only a queue in order is one.
            Some(lane) if lane.queue.back().is_none_or(|last| last.0 <= due) => {
                lane.queue.push_back((due, key));
            }
            _ => {
                self.set += 1;
                self.odd.insert((due, self.set), key);
            }
        }
    }

    /// Sets a deadline of a length that hardly comes again: it makes no queue of its own.
    pub fn set_odd(&mut self, now: Moment, length: Duration, key: K) {
        self.set += 1;
        self.odd.insert(((now + length).mono, self.set), key);
    }

    /// The earliest deadline, nanoseconds of the monotonic clock.
    pub fn next(&self) -> Option<u64> {
        let lanes = self.lanes.iter().filter_map(|l| l.queue.front().map(|e| e.0));
        let odd = self.odd.first_key_value().map(|e| e.0.0);
        lanes.chain(odd).min()
    }

    /// Takes one key that is due, the earliest first.
    pub fn due(&mut self, now: Moment) -> Option<K> {
        let next = self.next().filter(|&due| due <= now.mono)?;
        for lane in &mut self.lanes {
            if lane.queue.front().is_some_and(|e| e.0 == next) {
                let key = lane.queue.pop_front().map(|e| e.1);
                if lane.queue.is_empty() {
                    lane.queue.shrink_to(1024);
                }
                return key;
            }
        }
        self.odd.pop_first().map(|e| e.1)
    }

    /// How many deadlines are set, those that nobody cares for any more included.
    pub fn len(&self) -> usize {
        self.odd.len() + self.lanes.iter().map(|l| l.queue.len()).sum::<usize>()
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_due_in_order_of_time_whatever_their_length() {
        let mut timers = Timers::default();
        let at = |ms: u64| Moment::new(ms * 1_000_000, 0);
        timers.set(at(0), Duration::from_millis(500), 'b');
        timers.set(at(10), Duration::from_millis(500), 'c');
        timers.set(at(20), Duration::from_millis(40), 'a');
        timers.set(at(5), Duration::from_millis(500), 'x');
        assert_eq!(timers.next(), Some(60_000_000));
        assert_eq!(timers.due(at(59)), None);
        let order: String = std::iter::from_fn(|| timers.due(at(600))).collect();
        assert_eq!(order, "abxc");
        assert!(timers.is_empty());
    }
}
