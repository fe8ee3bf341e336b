//! When packets of one direction were handed on: exactly for the last few, to 10 ms for the last
//! ten seconds, and since when without a break.
//!
//! The portal tells of an agent's answer seconds after it: the first packet at or after it is then
//! long past.

use cooee_model::moment::Moment;

use crate::limits::{FORWARDS_KEPT, RUN_BREAK};

/// Width of one slot.
const SLOT_NS: u64 = 10_000_000;

/// Words of 64 slots.
const WORDS: usize = 16;

/// Slots kept.
const SLOTS: u64 = 64 * WORDS as u64;

/// The history of one direction.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The last times, a ring.
    times: [Moment; FORWARDS_KEPT],
    pushed: usize,
    last: Moment,
    /// Since when no break was longer than [`RUN_BREAK`].
    run_since: Moment,
    /// One bit a slot, a ring: something was handed on in it.
    slots: [u64; WORDS],
}

impl History {
    /// Notes one handing on; times come in order.
    pub(crate) fn push(&mut self, at: Moment) {
        if let Some(time) = self.times.get_mut(self.pushed % FORWARDS_KEPT) {
            *time = at;
        }
        if self.pushed == 0 || at.since(self.last) > RUN_BREAK {
            self.run_since = at;
        }
        let (before, slot) = (self.last.mono / SLOT_NS, at.mono / SLOT_NS);
        if slot > before {
            let skipped = (slot - before).min(SLOTS);
            (slot + 1 - skipped..=slot).for_each(|gone| self.set(gone, false));
        }
        self.set(slot, true);
        self.last = self.last.max(at);
        self.pushed += 1;
    }

    /// The first handing on at or after `at`, as far as it is remembered: to the packet for the
    /// last few, to the slot for ten seconds; past them `at` itself where there was no break since,
    /// else the first that is known.
    pub(crate) fn first_from(&self, at: Moment) -> Option<Moment> {
        let kept = self.times.iter().take(self.pushed);
        let oldest = kept.clone().min().copied()?;
        if at.mono > self.last.mono {
            return None;
        }
        if oldest.mono <= at.mono || self.pushed <= FORWARDS_KEPT {
            return kept.filter(|time| time.mono >= at.mono).min().copied();
        }
        let newest = self.last.mono / SLOT_NS;
        // What the slot of `at` itself holds may have been before it: the next one has a packet
        // that was not.
        let wanted = at.mono.div_ceil(SLOT_NS);
        let first = wanted.max((newest + 1).saturating_sub(SLOTS));
        if first == wanted {
            let slot = (first..=newest).find(|&slot| self.is_set(slot));
            return Some(self.told(slot.map_or(self.last.mono, |slot| slot * SLOT_NS)));
        }
        if self.run_since.mono <= at.mono {
            return Some(self.told(at.mono));
        }
        let slot = (first..=newest).find(|&slot| self.is_set(slot))?;
        Some(self.told(slot * SLOT_NS))
    }

    /// A monotonic time on both clocks.
    fn told(&self, mono: u64) -> Moment {
        let before = i64::try_from(self.last.mono.saturating_sub(mono)).unwrap_or(i64::MAX);
        Moment::new(mono, self.last.wall.saturating_sub(before))
    }

    fn set(&mut self, slot: u64, to: bool) {
        let (word, bit) = place(slot);
        if let Some(word) = self.slots.get_mut(word) {
            *word = if to { *word | bit } else { *word & !bit };
        }
    }

    fn is_set(&self, slot: u64) -> bool {
        let (word, bit) = place(slot);
        self.slots.get(word).is_some_and(|word| word & bit != 0)
    }
}

fn place(slot: u64) -> (usize, u64) {
    let at = slot % SLOTS;
    (usize::try_from(at / 64).unwrap_or(0), 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::new(ms * 1_000_000, i64::try_from(ms).unwrap() * 1_000_000 + 5)
    }

    /// Packets every 20 ms in `from..to`, milliseconds.
    fn talk(history: &mut History, from: u64, to: u64) {
        (from..to).step_by(20).for_each(|ms| history.push(at(ms)));
    }

    #[test]
    fn the_last_packets_are_told_exactly() {
        let mut history = History::default();
        assert_eq!(history.first_from(at(0)), None);
        talk(&mut history, 1000, 1101);
        assert_eq!(history.first_from(at(10)), Some(at(1000)));
        assert_eq!(history.first_from(at(1001)), Some(at(1020)));
        assert_eq!(history.first_from(at(1100)), Some(at(1100)));
        assert_eq!(history.first_from(at(1101)), None);
    }

    #[test]
    fn ten_seconds_are_told_to_the_slot_and_pauses_are_seen() {
        let mut history = History::default();
        talk(&mut history, 1000, 3000);
        talk(&mut history, 5000, 9000);
        for ms in 1000..2980 {
            let told = history.first_from(at(ms)).unwrap();
            let true_ms = ms.div_ceil(20) * 20;
            assert_eq!(told, at(true_ms), "{ms}");
        }
        for ms in (2981..5000).step_by(7) {
            assert_eq!(history.first_from(at(ms)).map(|m| m.mono), Some(at(5000).mono), "{ms}");
        }
    }

    #[test]
    fn before_the_history_an_unbroken_run_answers() {
        let mut history = History::default();
        talk(&mut history, 1000, 60_000);
        assert_eq!(history.first_from(at(2000)), Some(at(2000)));
        // The run began later than asked for, and the slots do not reach back: the first known.
        let mut broken = History::default();
        talk(&mut broken, 1000, 2000);
        talk(&mut broken, 40_000, 60_000);
        let told = broken.first_from(at(1500)).unwrap();
        assert!(told.mono >= at(49_000).mono && told.mono <= at(50_000).mono, "{told:?}");
        assert_eq!(broken.first_from(at(45_000)), Some(at(45_000)));
    }
}
