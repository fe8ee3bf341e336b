//! The thread that brings the journal into the database, and alone writes there.
//!
//! It may stop at any instant: the position is stored in the transaction of the rows that it
//! stands for, and rows that come again are the same rows. A database that is away is tried again
//! for ever; meanwhile the journal keeps what it has not seen.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cooee_journal::format::Record;
use cooee_journal::reader::Reader;
use cooee_journal::shared::Position;
use cooee_model::fact::{Fact, What};
use cooee_model::ids::FactId;
use cooee_records::webhook::{Context, Telling};
use rustix::process::setpriority_process;
use rustix::thread::gettid;

use crate::error::StoreError;
use crate::limits::{BACK_OFF, GROUP_FACTS, IDLE_RECORDS, NICE, REST};
use crate::store::Store;

/// What the feed reads and how it tells what it has done.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The journal's directory on disk.
    pub journal_dir: PathBuf,
    /// Where the journal hears how far the database has come.
    pub position: Position,
    /// How long a customer keeps the number that was presented, days; 0: not at all.
    pub sticky_days: u32,
}

/// Tells whoever delivers letters that there are more.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The feed in figures: totals since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Facts written.
    pub facts: u64,
    /// Transactions committed.
    pub groups: u64,
    /// Errors that were retried.
    pub errors: u64,
    /// Facts that the database will never take, skipped.
    pub refused: u64,
    /// Records that this build cannot read, skipped.
    pub unreadable: u64,
    /// The last record that is in the database, now.
    pub position: FactId,
}

/// Lets any thread read the [`Counters`].
#[derive(Clone, Debug)]
pub struct Meter(Arc<Shared>);

impl Meter {
    /// The figures now.
    pub fn read(&self) -> Counters {
        let get = |tally: &AtomicU64| tally.load(Ordering::Relaxed);
        Counters {
            facts: get(&self.0.facts),
            groups: get(&self.0.groups),
            errors: get(&self.0.errors),
            refused: get(&self.0.refused),
            unreadable: get(&self.0.unreadable),
            position: FactId(self.0.position.load(Ordering::Acquire)),
        }
    }
}

/// The running feed; dropped, it stops after the group that it is at.
#[derive(Debug)]
pub struct Feed {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    facts: AtomicU64,
    groups: AtomicU64,
    errors: AtomicU64,
    refused: AtomicU64,
    unreadable: AtomicU64,
    position: AtomicU64,
    /// Up to which record somebody waits.
    goal: AtomicU64,
    stop: AtomicBool,
    lock: Mutex<()>,
    moved: Condvar,
    /// What the configuration says now, where it has changed.
    changed: Mutex<Option<(Telling, u32)>>,
}

impl Feed {
    /// Starts where `store` says that it stopped.
    ///
    /// # Errors
    /// [`StoreError`] if the position cannot be read or the thread not be started.
    pub fn start(store: Store, settings: Settings) -> Result<Self, StoreError> {
        Self::start_waking(store, settings, Arc::new(|| {}))
    }

    /// As [`start`](Self::start); `wake` is called whenever there are more letters in the outbox,
    /// from the feed's thread: it must not block.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_waking(store: Store, settings: Settings, wake: Wake) -> Result<Self, StoreError> {
        let stored = store.position()?;
        settings.position.advance(stored);
        let shared = Arc::new(Shared::default());
        shared.position.store(stored.0, Ordering::Release);
        let (group, reader) = (Vec::with_capacity(GROUP_FACTS), None);
        let worker = Worker {
            store,
            settings,
            wake,
            shared: Arc::clone(&shared),
            group,
            reader,
            read: stored,
        };
        let thread = thread::Builder::new().name("feed".into()).spawn(move || worker.run());
        Ok(Self { shared, thread: Some(thread.map_err(StoreError::Thread)?) })
    }

    /// Tells others from the next group of facts on, and keeps numbers for so many days.
    pub fn change(&self, telling: Telling, sticky_days: u32) {
        let mut changed = self.shared.changed.lock().unwrap_or_else(PoisonError::into_inner);
        *changed = Some((telling, sticky_days));
    }

    /// Waits until everything up to `id` is in the database; whether it is.
    pub fn flush_to(&self, id: FactId, deadline: Duration) -> bool {
        self.shared.goal.fetch_max(id.0, Ordering::AcqRel);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
        let behind = |(): &mut ()| self.shared.position.load(Ordering::Acquire) < id.0;
        let guard = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.moved.wait_timeout_while(guard, deadline, behind);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// The figures now.
    pub fn counters(&self) -> Counters {
        self.meter().read()
    }

    /// For others to read the figures.
    pub fn meter(&self) -> Meter {
        Meter(Arc::clone(&self.shared))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

struct Worker {
    store: Store,
    settings: Settings,
    wake: Wake,
    shared: Arc<Shared>,
    reader: Option<Reader>,
    /// Facts that have been read and not been written.
    group: Vec<Fact>,
    /// The last record that has been read.
    read: FactId,
}

impl Worker {
    fn run(mut self) {
        // The journal waits for it and calls must not: on a full machine it comes after the engine.
        // On Linux a thread has a priority of its own.
        if let Err(error) = setpriority_process(Some(gettid()), NICE) {
            tracing::debug!(%error, "the feed keeps the priority of the process");
        }
        let (mut rest, mut back_off) = (REST.0, BACK_OFF.0);
        let mut in_trouble = false;
        while !self.shared.stop.load(Ordering::Acquire) {
            match self.step() {
                Ok(busy) => {
                    if in_trouble {
                        tracing::info!("the database is fed again");
                    }
                    (in_trouble, back_off) = (false, BACK_OFF.0);
                    if busy {
                        rest = REST.0;
                    } else {
                        thread::park_timeout(rest);
                        rest = (rest * 2).min(REST.1);
                    }
                }
                Err(error) => {
                    self.shared.errors.fetch_add(1, Ordering::Relaxed);
                    if !in_trouble {
                        tracing::error!(%error, "the database cannot be fed; the journal keeps it");
                    }
                    in_trouble = true;
                    thread::park_timeout(back_off);
                    back_off = (back_off * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    /// Reads and writes one group; whether there was anything to do.
    fn step(&mut self) -> Result<bool, StoreError> {
        let before = self.read;
        // What was gathered for an earlier group is written as it was meant.
        if self.group.is_empty() {
            self.take_change();
        }
        self.gather()?;
        let stored = self.shared.position.load(Ordering::Acquire);
        let awaited = stored < self.shared.goal.load(Ordering::Acquire).min(self.read.0);
        if !self.group.is_empty() || self.read.0 >= stored + IDLE_RECORDS || awaited {
            self.write()?;
        }
        Ok(self.read > before)
    }

    fn take_change(&mut self) {
        let changed = &self.shared.changed;
        let change = changed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((telling, sticky_days)) = change {
            self.store.set_telling(telling);
            self.settings.sticky_days = sticky_days;
        }
    }

    /// Reads until a group is full or there is nothing more.
    fn gather(&mut self) -> Result<(), StoreError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => self.reader.insert(Reader::open(&self.settings.journal_dir, self.read)?),
        };
        let (mut records, tells) = (0, self.store.tells());
        while self.group.len() < GROUP_FACTS && records < IDLE_RECORDS {
            let Some(entry) = reader.read()? else { break };
            self.read = entry.id;
            records += 1;
            match entry.record {
                Record::Fact(fact) if is_kept(&fact, tells) => self.group.push(*fact),
                Record::Unknown { kind } => {
                    self.shared.unreadable.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(id = %entry.id, kind, "a record of the journal is unreadable");
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let days = self.settings.sticky_days;
        let (written, letters) = match self.store.apply(&self.group, self.read, days) {
            Err(error) if !error.may_pass() => self.write_one_by_one()?,
            outcome => (self.group.len(), outcome?),
        };
        if letters > 0 {
            (self.wake)();
        }
        self.group.clear();
        self.shared.facts.fetch_add(written as u64, Ordering::Relaxed);
        self.shared.groups.fetch_add(1, Ordering::Relaxed);
        self.settings.position.advance(self.read);
        self.shared.position.store(self.read.0, Ordering::Release);
        drop(self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.moved.notify_all();
        Ok(())
    }

    /// One fact that the database will never take must not hold up all the others.
    fn write_one_by_one(&mut self) -> Result<(usize, u64), StoreError> {
        let days = self.settings.sticky_days;
        let (mut written, mut letters) = (0, 0);
        for fact in &self.group {
            match self.store.apply([fact], FactId(0), days) {
                Ok(more) => (written, letters) = (written + 1, letters + more),
                Err(error) if error.may_pass() => return Err(error),
                Err(error) => {
                    self.shared.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(call = %fact.call, %error, "a fact cannot be stored");
                }
            }
        }
        self.store.apply([], self.read, days)?;
        Ok((written, letters))
    }
}

/// Whether the database has a place for the fact.
fn is_kept(fact: &Fact, tells: bool) -> bool {
    let is_over = matches!(fact.what, What::Ended { .. } | What::Amended { .. });
    let is_of_media = matches!(fact.what, What::Measured { .. } | What::Sampled { .. });
    is_over || is_of_media || tells && Context::heeds(&fact.what)
}
