//! The journal as the engine holds it: gather a batch, commit it with one write, go on.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cooee_model::fact::Fact;
use cooee_model::ids::{CallId, FactId};
use cooee_model::moment::Moment;

use crate::error::JournalError;
use crate::format::{Boot, HEAD_HEADER, Kind, SEGMENT_HEADER, SegmentHeader, boot_payload, push};
use crate::head::{self, Head};
use crate::limits::{COMMIT_DEADLINE, ID_STRIDE, MAX_HEAD, MIN_HEAD, MIN_SEGMENT};
use crate::recovery::{Recovery, Replay, RingEnd};
use crate::ring::Ring;
use crate::scan::Scanner;
use crate::segment::{self, Tail};
use crate::shared::{Counters, Meter, Mode, Position, Shared};
use crate::spool::{End, Spool};

/// Where a journal lives and how it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the head may lie, best first, one node each; the first on tmpfs with room is taken.
    /// It must outlive the process (`/run/cooee`, kept by systemd's `RuntimeDirectoryPreserve`).
    pub head_dirs: Vec<PathBuf>,
    /// Where the segments and the lock lie.
    pub disk_dir: PathBuf,
    /// Size of the head with its header, 16 KiB to 256 MiB.
    pub head_bytes: u64,
    /// A segment rolls when it has reached this size, bytes.
    pub segment_bytes: u64,
    /// How often segments are synced: what a power cut can take.
    pub sync_every: Duration,
    /// The kernel's boot id.
    pub boot_id: [u8; 16],
    /// Now.
    pub now: Moment,
    /// Version of the software, for the record.
    pub software: String,
    /// How far the database has come, as it has stored it.
    pub position: Position,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Commit {
    /// It outlives the process from now on.
    Done,
    /// It will be written, but was not before the deadline (only in [`Mode::Thread`]).
    Late,
    /// The head is full since the disk is slower than the calls. The records are given up and
    /// counted, a gap is recorded as soon as there is room.
    Lost,
}

/// A checkpoint that is being taken.
#[derive(Clone, Copy, Debug)]
struct Begun {
    first: u64,
    rolls: u64,
    lost: u64,
}

/// An open journal. One thread owns it; nothing in it blocks or fails, it counts.
///
/// Records are gathered in a batch by [`fact`](Self::fact), [`snapshot`](Self::snapshot) and
/// [`gone`](Self::gone) and become true together by [`commit`](Self::commit).
#[derive(Debug)]
pub struct Journal {
    ring: Arc<Ring>,
    pub(crate) shared: Arc<Shared>,
    batch: Vec<u8>,
    payload: Vec<u8>,
    pending: u64,
    /// The id that the first record of the batch has, or would have.
    batch_from: u64,
    next_id: u64,
    written: u64,
    /// What a late commit waited for in vain: until it is reached, none waits again.
    overdue: u64,
    /// The first id that was lost, until the gap that says so is committed.
    gap: Option<u64>,
    /// From the first loss until the head is half empty again.
    in_trouble: bool,
    boot: Vec<u8>,
    begun: Option<Begun>,
    covered_rolls: u64,
    retake: bool,
    spool: Option<JoinHandle<()>>,
    lock: File,
}

impl Journal {
    /// Opens the journal, reads what an earlier run left, and starts the spool thread.
    ///
    /// # Errors
    /// [`JournalError::InUse`], [`JournalError::Newer`]; [`JournalError::Io`] if the directory
    /// cannot be read, or a first segment not be made. Damage is no error: it is told in
    /// [`Recovery`].
    pub fn open(settings: Settings) -> Result<(Self, Recovery), JournalError> {
        let dir = &settings.disk_dir;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(JournalError::at(dir))?;
        let lock = lock(dir.join("lock"))?;

        let mut segments = segment::list(dir).map_err(JournalError::at(dir))?;
        let mut replay = Replay::default();
        replay.segments(&segments)?;
        let identity = replay.identity.unwrap_or_else(|| {
            let boot = u128::from_le_bytes(settings.boot_id);
            (boot ^ u128::from(settings.now.mono)).to_le_bytes()
        });
        let in_segments = replay.last_id();
        let place = Place::find(&settings, identity, &mut replay)?;

        let named = segments.last().map_or(0, |segment| segment.first);
        let highest = replay.last_id().max(named).max(settings.position.get().0);
        let next_id = if highest == 0 { 1 } else { (highest / ID_STRIDE + 2) * ID_STRIDE };

        let older = segments.last().map(|s| File::open(&s.path).map_err(JournalError::at(&s.path)));
        let older = older.transpose()?;
        let first = place.end.first_uncopied.unwrap_or(next_id);
        let tail = match Tail::create(dir, SegmentHeader { identity, first }) {
            Ok((tail, file)) => {
                segments.retain(|segment| segment.first != file.first);
                segments.push(file);
                Some(tail)
            }
            // An old journal opens on a full disk: the head takes the records meanwhile.
            Err(error) if segments.is_empty() => return Err(JournalError::at(dir)(error)),
            Err(_) => None,
        };

        let mode = if place.ring.outlives() { Mode::Head } else { Mode::Thread };
        let RingEnd { copied, end, .. } = place.end;
        let ring = Arc::new(place.ring);
        let shared = Shared::new(mode, ring.bytes(), end, place.released, in_segments);
        shared.segments.store(segments.len() as u64, Ordering::Relaxed);
        shared.rolls.store(1, Ordering::Relaxed);
        let shared = Arc::new(shared);
        let copied = End { position: copied, id: in_segments, checkpoint: replay.checkpoint };
        let spool = Spool {
            shared: Arc::clone(&shared),
            ring: Arc::clone(&ring),
            dir: dir.clone(),
            identity,
            segment_bytes: settings.segment_bytes.max(MIN_SEGMENT).max(SEGMENT_HEADER as u64 + 1),
            sync_every: settings.sync_every,
            position: settings.position,
            segments: segments.into(),
            tail,
            older,
            copied,
            synced: copied,
            slots: [None; 2],
            turn: 1 - place.turn,
            walk: Scanner::at(copied.position),
            chunk: Vec::new(),
        };
        let spool = thread::Builder::new().name("journal".into()).spawn(move || spool.run());
        let spool = spool.map_err(JournalError::at(dir))?;

        let mut boot = Vec::new();
        let software = settings.software.as_str();
        boot_payload(&mut boot, Boot { boot_id: settings.boot_id, at: settings.now, software });
        let mut journal = Self {
            ring,
            shared,
            batch: Vec::new(),
            payload: Vec::new(),
            pending: 0,
            batch_from: next_id,
            next_id,
            written: end,
            overdue: 0,
            gap: None,
            in_trouble: false,
            boot,
            begun: None,
            covered_rolls: 0,
            retake: false,
            spool: Some(spool),
            lock,
        };
        journal.boot();
        let _ = journal.commit();
        Ok((journal, replay.finish(settings.boot_id)))
    }

    /// Adds a fact to the batch.
    pub fn fact(&mut self, fact: &Fact) -> FactId {
        self.add(Kind::Fact, |out| cooee_model::ink::write(fact, out))
    }

    /// Adds the state of a call to the batch: `write` appends it to what it is given.
    pub fn snapshot(&mut self, call: CallId, write: impl FnOnce(&mut Vec<u8>)) -> FactId {
        self.add(Kind::Snapshot, |out| {
            out.extend_from_slice(&call.0.to_be_bytes());
            write(out);
            true
        })
    }

    /// Adds to the batch what has changed of the state of a call since its last
    /// [`Journal::snapshot`]: whoever reads the state back finds it behind.
    pub fn patch(&mut self, call: CallId, change: &[u8]) -> FactId {
        self.add(Kind::Patch, |out| {
            out.extend_from_slice(&call.0.to_be_bytes());
            out.extend_from_slice(change);
            true
        })
    }

    /// Adds to the batch that nothing of `call` is needed any more.
    pub fn gone(&mut self, call: CallId) -> FactId {
        self.add(Kind::Gone, |out| {
            out.extend_from_slice(&call.0.to_be_bytes());
            true
        })
    }

    /// Makes the batch outlive the process: one write, or none if it is empty.
    pub fn commit(&mut self) -> Commit {
        if self.batch.is_empty() {
            return Commit::Done;
        }
        let end = self.written + self.batch.len() as u64;
        let used = end - self.shared.released.load(Ordering::Acquire);
        if used > self.ring.bytes() || self.ring.write(self.written, &self.batch).is_err() {
            return self.lose();
        }
        self.written = end;
        self.shared.written.store(end, Ordering::Release);
        self.shared.tallies.commits.add(1);
        self.shared.tallies.records.add(self.pending);
        self.shared.tallies.bytes.add(self.batch.len() as u64);
        self.empty_batch();
        self.gap = None;
        if self.in_trouble && used < self.ring.bytes() / 2 {
            self.in_trouble = false;
            let lost = self.shared.tallies.lost_records.get();
            tracing::info!(lost, "the journal's head has room again");
        }
        if self.shared.mode == Mode::Thread { self.await_copy() } else { Commit::Done }
    }

    /// Whether the state of all live calls should be written anew: a segment has rolled, or
    /// records were lost and the disk has caught up since.
    pub fn checkpoint_due(&self) -> bool {
        let rolled = self.shared.rolls.load(Ordering::Acquire) > self.covered_rolls;
        self.begun.is_none() && !self.in_trouble && (rolled || self.retake)
    }

    /// Adds a whole checkpoint to the batch: the state of every live call.
    pub fn checkpoint<W: FnOnce(&mut Vec<u8>)>(
        &mut self,
        live: impl IntoIterator<Item = (CallId, W)>,
    ) {
        self.begin_checkpoint();
        for (call, write) in live {
            self.snapshot(call, write);
        }
        self.end_checkpoint();
    }

    /// Begins a checkpoint that is spread over batches. The caller then takes a snapshot of every
    /// call that is live now (calls that come or go meanwhile see to themselves) and ends it.
    pub fn begin_checkpoint(&mut self) {
        let lost = self.shared.tallies.lost_records.get();
        let rolls = self.shared.rolls.load(Ordering::Acquire);
        self.begun = Some(Begun { first: self.next_id, rolls, lost });
        self.retake = false;
        self.boot();
    }

    /// Ends a checkpoint. If records were lost since it began it is not one, and falls due again.
    pub fn end_checkpoint(&mut self) {
        let Some(Begun { first, rolls, lost }) = self.begun.take() else { return };
        if self.shared.tallies.lost_records.get() != lost {
            self.retake = true;
            return;
        }
        self.covered_rolls = rolls;
        self.add(Kind::Checkpoint, |out| {
            out.extend_from_slice(&first.to_le_bytes());
            true
        });
    }

    /// Waits until all that is committed is on disk and synced; whether it is.
    pub fn flush(&self, deadline: Duration) -> bool {
        self.shared.await_position(&self.shared.synced, self.written, deadline)
    }

    /// The figures now.
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// For others to read the figures.
    pub fn meter(&self) -> Meter {
        Meter(Arc::clone(&self.shared))
    }

    /// Bytes set aside for the batch and for one payload.
    #[cfg(test)]
    pub(crate) fn room(&self) -> [usize; 2] {
        [self.batch.capacity(), self.payload.capacity()]
    }

    fn boot(&mut self) {
        let boot = std::mem::take(&mut self.boot);
        self.add(Kind::Boot, |out| {
            out.extend_from_slice(&boot);
            true
        });
        self.boot = boot;
    }

    fn add(&mut self, kind: Kind, write: impl FnOnce(&mut Vec<u8>) -> bool) -> FactId {
        let id = self.next_id;
        self.next_id += 1;
        self.payload.clear();
        if write(&mut self.payload) && push(&mut self.batch, kind, id, &self.payload) {
            self.pending += 1;
        } else {
            self.shared.tallies.unwritable.add(1);
            tracing::error!(?kind, id, bytes = self.payload.len(), "a record cannot be written");
        }
        FactId(id)
    }

    fn empty_batch(&mut self) {
        self.batch.clear();
        self.pending = 0;
        self.batch_from = self.next_id;
    }

    /// Gives the batch up and leaves the gap that says so as the start of the next one.
    fn lose(&mut self) -> Commit {
        let lost = self.pending;
        if lost > 0 {
            self.shared.tallies.lost_records.add(lost);
            self.retake = true;
            if !self.in_trouble {
                self.in_trouble = true;
                self.shared.tallies.lost_episodes.add(1);
                tracing::error!(lost, "the journal's head is full: records are lost");
            }
        }
        let first = *self.gap.get_or_insert(self.batch_from);
        self.empty_batch();
        push(&mut self.batch, Kind::Gap, self.next_id - 1, &first.to_le_bytes());
        if lost > 0 { Commit::Lost } else { Commit::Done }
    }

    fn await_copy(&mut self) -> Commit {
        if let Some(spool) = &self.spool {
            spool.thread().unpark();
        }
        let overdue = self.shared.copied.load(Ordering::Acquire) < self.overdue;
        if !overdue
            && self.shared.await_position(&self.shared.copied, self.written, COMMIT_DEADLINE)
        {
            return Commit::Done;
        }
        self.overdue = self.written;
        self.shared.tallies.late_commits.add(1);
        Commit::Late
    }
}

impl Drop for Journal {
    /// Commits what is left and lets the spool thread finish; what the disk does not take stays in
    /// the head.
    fn drop(&mut self) {
        let _ = self.commit();
        self.shared.stop.store(true, Ordering::Release);
        if let Some(spool) = self.spool.take() {
            spool.thread().unpark();
            let _ = spool.join();
        }
        // Closing would leave the locks to a child process that is just being started.
        let _ = self.lock.unlock();
        self.ring.unlock();
    }
}

/// The ring to go on with.
struct Place {
    ring: Ring,
    end: RingEnd,
    /// The position in the head that an earlier run had published.
    released: u64,
    /// Which of the head's slots says so.
    turn: usize,
}

impl Place {
    /// The head that an earlier run left, if it holds what no segment does or is as wished for;
    /// otherwise a new one; where there is no tmpfs, memory.
    fn find(
        settings: &Settings,
        identity: [u8; 16],
        replay: &mut Replay,
    ) -> Result<Self, JournalError> {
        let bytes = settings.head_bytes.clamp(MIN_HEAD, MAX_HEAD);
        if let Some(Head { path, file, slot, turn }) = head::left(&settings.head_dirs, identity)? {
            let ring = Ring::in_file(file, slot.ring_bytes);
            let end = replay.ring(&ring, slot, &path)?;
            if end.first_uncopied.is_some() || slot.ring_bytes == bytes - HEAD_HEADER {
                return Ok(Self { ring, end, released: slot.position, turn });
            }
        }
        let ring = match head::make(&settings.head_dirs, bytes, identity) {
            Some(head) => Ring::in_file(head.file, head.slot.ring_bytes),
            None => {
                tracing::warn!("no tmpfs for the journal's head: commits wait for the disk");
                Ring::in_memory(bytes - HEAD_HEADER)
            }
        };
        let end = RingEnd { copied: 0, first_uncopied: None, end: 0 };
        Ok(Self { ring, end, released: 0, turn: 0 })
    }
}

fn lock(path: PathBuf) -> Result<File, JournalError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(JournalError::at(&path))?;
    head::lock(&file, &path)?;
    Ok(file)
}
