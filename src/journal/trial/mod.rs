//! Proofs of the journal: damage at every byte, `kill -9`, a disk that stalls, old formats.

mod damage;
mod disk;
mod kept;
mod killed;
mod life;

use std::path::{Path, PathBuf};
use std::time::Duration;

use cooee_model::fact::{Fact, What};
use cooee_model::ids::{CallId, FactId};
use cooee_model::moment::Moment;
use tempfile::TempDir;

use crate::format::Record;
use crate::journal::{Commit, Journal, Settings};
use crate::reader::Reader;
use crate::recovery::Recovery;
use crate::shared::Position;

/// Long enough for any disk that answers at all.
const SOON: Duration = Duration::from_secs(60);

/// A directory on tmpfs for the head and one on disk, both gone at the end.
struct Ground {
    head: TempDir,
    disk: TempDir,
    position: Position,
}

impl Ground {
    fn new() -> Self {
        let head = tempfile::tempdir_in("/dev/shm").unwrap();
        Self { head, disk: tempfile::tempdir().unwrap(), position: Position::default() }
    }

    fn settings(&self) -> Settings {
        Settings {
            head_dirs: vec![self.head.path().to_owned()],
            disk_dir: self.disk.path().to_owned(),
            head_bytes: 64 << 10,
            segment_bytes: 32 << 10,
            sync_every: Duration::from_millis(1),
            boot_id: [7; 16],
            now: Moment::new(1_000, 2_000),
            software: "0.1.0".into(),
            position: self.position.clone(),
        }
    }

    fn open(&self) -> (Journal, Recovery) {
        Journal::open(self.settings()).unwrap()
    }

    fn disk(&self) -> &Path {
        self.disk.path()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let all = crate::segment::list(self.disk()).unwrap();
        all.into_iter().map(|segment| segment.path).collect()
    }

    /// The `seq` of every fact on disk, in order.
    fn seqs(&self) -> Vec<u32> {
        facts(&mut Reader::open(self.disk(), FactId(0)).unwrap()).into_iter().map(|f| f.1).collect()
    }
}

fn call(n: u128) -> CallId {
    CallId::new(1_700_000_000_000, n)
}

fn fact(seq: u32) -> Fact {
    Fact { call: call(1), seq, at: Moment::new(5, 6), what: What::PlatformAnswered {} }
}

/// Id and `seq` of all facts that the reader has still to read.
fn facts(reader: &mut Reader) -> Vec<(FactId, u32)> {
    let mut found = Vec::new();
    while let Some(entry) = reader.read().unwrap() {
        if let Record::Fact(fact) = entry.record {
            found.push((entry.id, fact.seq));
        }
    }
    found
}

/// Commits one fact, which must succeed.
fn put(journal: &mut Journal, seq: u32) -> FactId {
    let id = journal.fact(&fact(seq));
    assert_eq!(journal.commit(), Commit::Done);
    id
}

fn state(journal: &mut Journal, n: u128, bytes: &[u8]) {
    journal.snapshot(call(n), |out| out.extend_from_slice(bytes));
}

/// Waits until something that another thread does has come about.
fn until(what: &str, came_about: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !came_about() {
        assert!(begun.elapsed() < SOON, "waited in vain: {what}");
        std::thread::yield_now();
    }
}
