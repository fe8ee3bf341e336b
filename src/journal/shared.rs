//! What the engine, the spool thread and those who watch them share: positions and counters.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use cooee_model::ids::FactId;

/// How far the database has come. Shared between the feed, which sets it, and the journal, which
/// keeps every segment with a record that the database has not seen.
#[derive(Clone, Debug, Default)]
pub struct Position(Arc<AtomicU64>);

impl Position {
    /// The position that the database had stored.
    pub fn new(stored: FactId) -> Self {
        Self(Arc::new(AtomicU64::new(stored.0)))
    }

    /// The last record that is in the database for good.
    pub fn get(&self) -> FactId {
        FactId(self.0.load(Ordering::Acquire))
    }

    /// Says that everything up to `id` is in the database. Never goes back.
    pub fn advance(&self, id: FactId) {
        self.0.fetch_max(id.0, Ordering::AcqRel);
    }
}

/// How the journal makes a commit outlive the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By a write to the head on tmpfs.
    Head,
    /// No tmpfs to be had: the spool thread writes to the disk's file system, waited for at most
    /// [`COMMIT_DEADLINE`](crate::limits::COMMIT_DEADLINE).
    Thread,
}

/// The journal in figures. Totals since it was opened, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// How commits are kept.
    pub mode: Mode,
    /// Records committed.
    pub records: u64,
    /// Bytes committed.
    pub bytes: u64,
    /// Batches committed.
    pub commits: u64,
    /// Batches committed past the deadline (only in [`Mode::Thread`]).
    pub late_commits: u64,
    /// Records lost because the head was full.
    pub lost_records: u64,
    /// Times that the head became full.
    pub lost_episodes: u64,
    /// Records that could not be written: a payload past its limit.
    pub unwritable: u64,
    /// Size of the head's ring, bytes.
    pub head_bytes: u64,
    /// Bytes in the ring that are not yet on disk, now.
    pub head_used_bytes: u64,
    /// Segments on disk, now.
    pub segments: u64,
    /// Segments deleted.
    pub segments_deleted: u64,
    /// Syncs of a segment.
    pub syncs: u64,
    /// Writes, syncs and deletions that the disk refused.
    pub disk_errors: u64,
    /// Bytes of the ring that could not be read back (a fault of memory).
    pub damaged_bytes: u64,
    /// Last record that is on disk and synced.
    pub synced: FactId,
}

/// Lets any thread read the [`Counters`] of an open journal.
#[derive(Clone, Debug)]
pub struct Meter(pub(crate) Arc<Shared>);

impl Meter {
    /// The figures now.
    pub fn read(&self) -> Counters {
        self.0.counters()
    }
}

macro_rules! tallies {
    ($($name:ident),*) => {
        /// Totals, each added to by one thread.
        #[derive(Debug, Default)]
        pub(crate) struct Tallies { $(pub(crate) $name: Tally),* }
    };
}
tallies!(
    records,
    bytes,
    commits,
    late_commits,
    lost_records,
    lost_episodes,
    unwritable,
    segments_deleted,
    syncs,
    disk_errors,
    damaged_bytes
);

/// One total.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Positions in the ring, and the words between the engine and the spool thread.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) mode: Mode,
    pub(crate) ring_bytes: u64,
    /// End of what the engine has written.
    pub(crate) written: AtomicU64,
    /// End of what is in a segment, though perhaps only in the page cache.
    pub(crate) copied: AtomicU64,
    /// End of what is in a segment and synced.
    pub(crate) synced: AtomicU64,
    /// Id of the last record before `synced`.
    pub(crate) synced_id: AtomicU64,
    /// Start of what the engine must not write over.
    pub(crate) released: AtomicU64,
    /// Segments begun.
    pub(crate) rolls: AtomicU64,
    /// Segments on disk.
    pub(crate) segments: AtomicU64,
    /// No more will be written.
    pub(crate) stop: AtomicBool,
    pub(crate) tallies: Tallies,
    #[cfg(test)]
    pub(crate) fault: std::sync::atomic::AtomicU8,
    lock: Mutex<()>,
    moved: Condvar,
}

impl Shared {
    pub(crate) fn new(mode: Mode, ring_bytes: u64, written: u64, synced: u64, id: u64) -> Self {
        Self {
            mode,
            ring_bytes,
            written: AtomicU64::new(written),
            copied: AtomicU64::new(synced),
            synced: AtomicU64::new(synced),
            synced_id: AtomicU64::new(id),
            released: AtomicU64::new(synced),
            rolls: AtomicU64::new(0),
            segments: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            tallies: Tallies::default(),
            #[cfg(test)]
            fault: std::sync::atomic::AtomicU8::new(0),
            lock: Mutex::new(()),
            moved: Condvar::new(),
        }
    }

    /// Wakes those who wait for a position to move.
    pub(crate) fn announce(&self) {
        drop(self.guard());
        self.moved.notify_all();
    }

    /// Waits until `position` has reached `goal`, at most for `deadline`; whether it has.
    pub(crate) fn await_position(
        &self,
        position: &AtomicU64,
        goal: u64,
        deadline: std::time::Duration,
    ) -> bool {
        let behind = |(): &mut ()| position.load(Ordering::Acquire) < goal;
        let waited = self.moved.wait_timeout_while(self.guard(), deadline, behind);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    pub(crate) fn counters(&self) -> Counters {
        let tallies = &self.tallies;
        let written = self.written.load(Ordering::Acquire);
        Counters {
            mode: self.mode,
            records: tallies.records.get(),
            bytes: tallies.bytes.get(),
            commits: tallies.commits.get(),
            late_commits: tallies.late_commits.get(),
            lost_records: tallies.lost_records.get(),
            lost_episodes: tallies.lost_episodes.get(),
            unwritable: tallies.unwritable.get(),
            head_bytes: self.ring_bytes,
            head_used_bytes: written.saturating_sub(self.released.load(Ordering::Acquire)),
            segments: self.segments.load(Ordering::Relaxed),
            segments_deleted: tallies.segments_deleted.get(),
            syncs: tallies.syncs.get(),
            disk_errors: tallies.disk_errors.get(),
            damaged_bytes: tallies.damaged_bytes.get(),
            synced: FactId(self.synced_id.load(Ordering::Acquire)),
        }
    }

    fn guard(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
