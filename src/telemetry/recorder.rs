//! The hot end of a histogram: a recorder is owned by one thread, its cells are read by another.
//!
//! A sample is a load and a store of its cell and of a total, all the recorder's own: no locked
//! instruction. The recorder of `hdrhistogram::sync` is not used: at each reader's phase shift it
//! allocates a new histogram (270 KB) on the recording thread, and a parked thread keeps its
//! samples, and the reader, waiting. The cells follow HdrHistogram's layout, so they merge into its
//! histograms without loss.
//!
//! Invariants: one writer per cell (`Recorder` is not `Clone` and records by `&mut`); cells only
//! grow, modulo 2^32; `total` is stored after the cell that it counts, so a reader that sees a new
//! total sees the cell. The reader keeps what it saw and takes the difference, at least once per
//! 2^32 samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cooee_model::sample::Sample;

use crate::limits::{DIGITS, HIGHEST_NS};

/// Sub-buckets of an octave, as a power of two: the first that holds 2 x 10^DIGITS.
const SUB_BITS: u32 = (2 * 10_u32.pow(DIGITS as u32)).next_power_of_two().trailing_zeros();
/// The upper half of the sub-buckets: what each octave after the first adds.
const HALF: usize = 1 << (SUB_BITS - 1);
/// Cells of one histogram.
pub const SLOTS: usize = slot_of(HIGHEST_NS) + 1;

/// The cell of a span in nanoseconds.
pub const fn slot_of(ns: u64) -> usize {
    let ns = if ns > HIGHEST_NS { HIGHEST_NS } else { ns };
    let octave = 64 - SUB_BITS - (ns | ((1 << SUB_BITS) - 1)).leading_zeros();
    ((octave as usize + 1) * HALF) + (ns >> octave) as usize - HALF
}

/// The shortest span, nanoseconds, that falls into a cell.
pub const fn lowest_of(slot: usize) -> u64 {
    if slot < 2 * HALF {
        return slot as u64;
    }
    let octave = slot / HALF - 1;
    ((slot % HALF + HALF) as u64) << octave
}

/// What one recorder has counted.
pub(crate) struct Cells {
    counts: Box<[AtomicU32]>,
    total: AtomicU32,
}

impl Cells {
    fn new() -> Self {
        let counts = (0..SLOTS).map(|_| AtomicU32::new(0)).collect();
        Self { counts, total: AtomicU32::new(0) }
    }
}

/// Takes samples of one histogram on one thread; dropped, its samples stay.
pub struct Recorder {
    cells: Arc<Cells>,
}

impl Recorder {
    pub(crate) fn new() -> (Self, Tap) {
        let cells = Arc::new(Cells::new());
        let tap = Tap { cells: Arc::clone(&cells), seen: vec![0; SLOTS], total: 0 };
        (Self { cells }, tap)
    }
}

impl Sample for Recorder {
    #[inline]
    fn record(&mut self, ns: u64) {
        if let Some(cell) = self.cells.counts.get(slot_of(ns)) {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
        let total = self.cells.total.load(Ordering::Relaxed).wrapping_add(1);
        self.cells.total.store(total, Ordering::Release);
    }
}

/// The reader's end of one recorder.
pub(crate) struct Tap {
    cells: Arc<Cells>,
    seen: Vec<u32>,
    total: u32,
}

impl Tap {
    /// Hands over what was recorded since the last call, as (cell, count).
    pub(crate) fn drain(&mut self, mut take: impl FnMut(usize, u32)) {
        let total = self.cells.total.load(Ordering::Acquire);
        if total == self.total {
            return;
        }
        self.total = total;
        for (slot, (cell, seen)) in self.cells.counts.iter().zip(&mut self.seen).enumerate() {
            let count = cell.load(Ordering::Relaxed);
            if count != *seen {
                take(slot, count.wrapping_sub(*seen));
                *seen = count;
            }
        }
    }

    /// True once the recorder is gone: after one more drain there is nothing left to come.
    pub(crate) fn is_orphan(&self) -> bool {
        Arc::strong_count(&self.cells) == 1
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::*;
    use crate::limits::LOWEST_NS;

    #[test]
    fn the_cells_are_those_of_hdrhistogram() {
        let hdr = Histogram::<u64>::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS).unwrap();
        let mut ns = 1_u64;
        while ns < HIGHEST_NS {
            for near in [ns - 1, ns, ns + 1, ns + ns / 3] {
                let near = near.min(HIGHEST_NS);
                assert_eq!(lowest_of(slot_of(near)), hdr.lowest_equivalent(near), "{near}");
            }
            ns *= 2;
        }
        for slot in 0..SLOTS {
            assert_eq!(slot_of(lowest_of(slot)), slot);
        }
        assert_eq!(slot_of(u64::MAX), SLOTS - 1);
    }

    #[test]
    fn a_drain_gives_each_sample_once_and_survives_a_wrap() {
        let (mut recorder, mut tap) = Recorder::new();
        let slot = slot_of(70_000);
        for cell in recorder.cells.counts.iter() {
            cell.store(u32::MAX, Ordering::Relaxed);
        }
        tap.seen.fill(u32::MAX);
        recorder.record(70_000);
        recorder.record(70_000);
        recorder.record(9);
        let mut got = Vec::new();
        tap.drain(|slot, count| got.push((slot, count)));
        assert_eq!(got, [(9, 1), (slot, 2)]);
        tap.drain(|_, _| panic!("drained twice"));
        assert!(!tap.is_orphan());
        drop(recorder);
        assert!(tap.is_orphan());
    }

    #[test]
    fn samples_of_many_threads_all_arrive() {
        const EACH: u64 = 200_000;
        let mut taps = Vec::new();
        let mut sum = 0_u64;
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let (mut recorder, tap) = Recorder::new();
                taps.push(tap);
                scope.spawn(move || (0..EACH).for_each(|ns| recorder.record(ns)));
            }
            for _ in 0..50 {
                taps.iter_mut().for_each(|tap| tap.drain(|_, count| sum += u64::from(count)));
            }
        });
        taps.iter_mut().for_each(|tap| tap.drain(|_, count| sum += u64::from(count)));
        assert_eq!(sum, 3 * EACH);
    }
}
