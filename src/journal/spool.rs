//! The thread that copies the ring to segments, syncs them, and deletes those no longer needed.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::format::{SEGMENT_HEADER, SegmentHeader, Slot};
use crate::limits::{DISK_RETRY, SPOOL_CHUNK};
use crate::ring::Ring;
use crate::scan::Scanner;
use crate::segment::{SegmentFile, Tail};
use crate::shared::{Mode, Position, Shared};

/// An end in the ring with the id of the last record before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) position: u64,
    pub(crate) id: u64,
    /// `first` of the last checkpoint before it.
    pub(crate) checkpoint: u64,
}

/// The spool thread's own.
#[derive(Debug)]
pub(crate) struct Spool {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ring: Arc<Ring>,
    pub(crate) dir: PathBuf,
    pub(crate) identity: [u8; 16],
    pub(crate) segment_bytes: u64,
    pub(crate) sync_every: Duration,
    pub(crate) position: Position,
    /// All segments, oldest first; the last one is being written.
    pub(crate) segments: VecDeque<SegmentFile>,
    /// The segment being written; `None`: the next record begins one.
    pub(crate) tail: Option<Tail>,
    /// The last segment of the run before: what it holds is told as synced only once it is.
    pub(crate) older: Option<File>,
    pub(crate) copied: End,
    pub(crate) synced: End,
    /// The positions as they stand in the head; `None`: not yet written by this run.
    pub(crate) slots: [Option<u64>; 2],
    /// Which of the slots is written next.
    pub(crate) turn: usize,
    pub(crate) walk: Scanner,
    pub(crate) chunk: Vec<u8>,
}

impl Spool {
    /// Runs until [`Shared::stop`] is set and, the disk willing, all is on disk.
    pub(crate) fn run(mut self) {
        let mut last_sync = Instant::now();
        let mut in_trouble = false;
        loop {
            let stop = self.shared.stop.load(Ordering::Acquire);
            let sync_due = stop || last_sync.elapsed() >= self.sync_every;
            if sync_due {
                last_sync = Instant::now();
            }
            let outcome = self.cycle(sync_due);
            if let Err(error) = &outcome {
                self.shared.tallies.disk_errors.add(1);
                if !in_trouble {
                    tracing::error!(%error, "the journal's disk refuses; its head fills");
                }
            } else if in_trouble {
                tracing::info!("the journal's disk takes records again");
            }
            in_trouble = outcome.is_err();
            if stop {
                return;
            }
            thread::park_timeout(if in_trouble { DISK_RETRY } else { self.sync_every });
        }
    }

    fn cycle(&mut self, sync_due: bool) -> io::Result<()> {
        #[cfg(test)]
        if fault::get(&self.shared) == fault::STALLED {
            return Ok(());
        }
        self.copy()?;
        if self.shared.mode == Mode::Thread {
            self.shared.copied.store(self.copied.position, Ordering::Release);
            self.shared.announce();
        }
        if sync_due {
            self.sync()?;
            self.publish()?;
            self.shared.announce();
            self.retain();
        }
        Ok(())
    }

    /// Copies all that has been written to the ring to segments.
    fn copy(&mut self) -> io::Result<()> {
        let limit = self.shared.written.load(Ordering::Acquire);
        while self.copied.position < limit {
            if let Err(error) = self.copy_chunk(limit) {
                self.walk.seek(self.copied.position);
                return Err(error);
            }
        }
        Ok(())
    }

    fn copy_chunk(&mut self, limit: u64) -> io::Result<()> {
        let mut len = self.tail.as_ref().map_or(SEGMENT_HEADER as u64, Tail::len);
        if len >= self.segment_bytes {
            self.sync()?;
            self.tail = None;
            len = SEGMENT_HEADER as u64;
        }
        let room = usize::try_from(self.segment_bytes - len).unwrap_or(usize::MAX);
        self.chunk.clear();
        let mut first = None;
        let mut end = self.copied;
        while self.chunk.len() < SPOOL_CHUNK.min(room) {
            let Some((raw, bytes)) = self.walk.next(&self.ring.until(limit))? else { break };
            first = first.or(Some(raw.id));
            end.id = raw.id;
            end.checkpoint = raw.checkpoint().unwrap_or(end.checkpoint);
            self.chunk.extend_from_slice(bytes);
        }
        let Some(first) = first else {
            // What was written does not read back: a fault of memory. What follows is lost with
            // it, since only a record tells where the next one begins.
            self.shared.tallies.damaged_bytes.add(limit - self.copied.position);
            tracing::error!("the journal's head is damaged");
            self.walk.seek(limit);
            self.copied.position = limit;
            return Ok(());
        };
        self.append(first)?;
        end.position = self.walk.position();
        self.copied = end;
        Ok(())
    }

    fn append(&mut self, first: u64) -> io::Result<()> {
        #[cfg(test)]
        fault::check(&self.shared, fault::FULL)?;
        let tail = match &mut self.tail {
            Some(tail) => tail,
            None => {
                let header = SegmentHeader { identity: self.identity, first };
                let (tail, file) = Tail::create(&self.dir, header)?;
                self.segments.push_back(file);
                self.shared.segments.store(self.segments.len() as u64, Ordering::Relaxed);
                self.shared.rolls.fetch_add(1, Ordering::Release);
                self.tail.insert(tail)
            }
        };
        tail.append(&self.chunk)
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(tail) = self.tail.as_mut().filter(|tail| tail.dirty()) {
            #[cfg(test)]
            let synced = fault::check(&self.shared, fault::SYNC)
                .inspect_err(|_| tail.rewind())
                .and_then(|()| tail.sync());
            #[cfg(not(test))]
            let synced = tail.sync();
            if synced.is_err() {
                self.copied = self.synced;
                self.walk.seek(self.copied.position);
                return synced;
            }
            self.shared.tallies.syncs.add(1);
        }
        self.synced = self.copied;
        Ok(())
    }

    /// Tells the head, the engine and those who wait how far the segments have come.
    fn publish(&mut self) -> io::Result<()> {
        if let Some(older) = &self.older {
            older.sync_data()?;
            self.older = None;
        }
        let End { position, id, .. } = self.synced;
        self.shared.synced_id.store(id, Ordering::Release);
        self.shared.synced.store(position, Ordering::Release);
        let Some(slot) = self.slots.get_mut(self.turn) else { return Ok(()) };
        if *slot != Some(position) {
            let ring_bytes = self.ring.bytes();
            let word = Slot { identity: self.identity, ring_bytes, position, id };
            self.ring.publish(self.turn, word)?;
            *slot = Some(position);
        }
        self.turn = 1 - self.turn;
        if let [Some(one), Some(other)] = self.slots {
            self.shared.released.store(one.min(other), Ordering::Release);
        }
        Ok(())
    }

    /// Deletes the oldest segments that neither the database nor a restart needs.
    fn retain(&mut self) {
        let needed = self.position.get().0.min(self.synced.checkpoint);
        while let Some(next) = self.segments.get(1)
            && next.first <= needed
            && let Some(oldest) = self.segments.front()
        {
            match fs::remove_file(&oldest.path) {
                Ok(()) => self.shared.tallies.segments_deleted.add(1),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => {
                    self.shared.tallies.disk_errors.add(1);
                    return;
                }
            }
            self.segments.pop_front();
            self.shared.segments.store(self.segments.len() as u64, Ordering::Relaxed);
        }
    }
}

/// Faults of the disk, for tests.
#[cfg(test)]
pub(crate) mod fault {
    use super::{Ordering, Shared, io};

    pub(crate) const NONE: u8 = 0;
    pub(crate) const STALLED: u8 = 1;
    pub(crate) const FULL: u8 = 2;
    pub(crate) const SYNC: u8 = 3;

    pub(crate) fn get(shared: &Shared) -> u8 {
        shared.fault.load(Ordering::Acquire)
    }

    pub(crate) fn set(shared: &Shared, fault: u8) {
        shared.fault.store(fault, Ordering::Release);
    }

    pub(super) fn check(shared: &Shared, fault: u8) -> io::Result<()> {
        if get(shared) == fault { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}
