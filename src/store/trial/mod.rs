//! Proofs of the store: golden rows, feeding again, stopping anywhere, asking.

mod asked;
mod fed;
mod mailed;

use std::path::Path;
use std::time::Duration;

use cooee_journal::journal::{Commit, Journal, Settings as JournalSettings};
use cooee_journal::shared::Position;
use cooee_model::account::{Account, AnswerSource, LegAccount, Outcome, Party, Role};
use cooee_model::fact::{Fact, What};
use cooee_model::ids::{CallId, FactId, Side};
use cooee_model::media::{Quality, StreamStats};
use cooee_model::moment::Moment;
use rusqlite::types::Value;
use tempfile::TempDir;

use crate::feed::{Feed, Settings};
use crate::store::Store;

/// Long enough for any disk that answers at all.
const SOON: Duration = Duration::from_secs(60);

/// 2026-01-01 00:00:00 UTC.
const DAY: Moment = Moment::new(77_000_000_000, 1_767_225_600_000_000_000);

/// A call that came `n` seconds into the day and lasted 36; its kind depends on `n`.
fn account(n: u32) -> Account {
    let invite = DAY + Duration::from_secs(n.into());
    let at = |seconds| Some(invite + Duration::from_secs(seconds));
    let mut account = Account::new(CallId::new(u64::from(n), n.into()), "syd-1", invite);
    account.role = Some(Role::AgentLeg);
    account.customer = format!("+6149157{:04}", n % 10_000);
    account.did = if n.is_multiple_of(2) { "+61255501234" } else { "+61370101234" }.into();
    account.times.b_200 = at(2);
    account.times.queue = at(11);
    account.times.end = at(36);
    (account.sip_final, account.end_party) = (603, Party::Agent);
    if n.is_multiple_of(3) {
        account.outcome = Outcome::Abandoned;
    } else {
        account.outcome = Outcome::Connected;
        account.times.agent = at(18);
        account.answer_source = AnswerSource::B24Event;
        (account.hold_ms, account.hold_count) = (8000, 1);
    }
    let leg = |side, trunk: &str| LegAccount {
        side,
        trunk: trunk.into(),
        peer: "198.51.100.7:5060".into(),
        sip_call_id: format!("{side}-{n}@x"),
        local_tag: "l".into(),
        remote_tag: String::new(),
        result: 200,
        invite: at(0),
        ringing: None,
        answer: at(2),
        end: at(36),
        codec: "PCMA/8000".into(),
    };
    account.legs = vec![leg(Side::A, "unitalk"), leg(Side::B, if n < 5 { "vox" } else { "spare" })];
    account
}

fn ended(n: u32) -> Fact {
    let account = account(n);
    let (call, at) = (account.id, account.times.invite);
    Fact { call, seq: 5, at, what: What::Ended { account: Box::new(account) } }
}

fn measured(n: u32) -> Fact {
    let a = StreamStats { packets: n.into(), payload_type: Some(8), ..StreamStats::default() };
    let b = StreamStats { lost: 1, ..a };
    let (call, at) = (account(n).id, DAY);
    Fact { call, seq: 6, at, what: What::Measured { a, b } }
}

fn sampled(n: u32) -> Fact {
    let a = Quality { packets: n, jitter_us: 125, rating_10: Some(932), ..Quality::default() };
    let b = Quality { lost: 1, round_trip_us: Some(21_450), rating_10: None, ..a };
    let (call, at) = (account(n).id, DAY);
    Fact { call, seq: 4, at, what: What::Sampled { a, b } }
}

/// Everything in a database, in a fixed order.
fn dump(store: &Store) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for table in ["session", "leg", "media", "quality", "sticky_did", "feed"] {
        let mut statement =
            store.db.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let width = statement.column_count();
        let found =
            statement.query_map([], |row| (0..width).map(|n| row.get(n)).collect()).unwrap();
        rows.extend(found.map(Result::unwrap));
    }
    rows
}

/// A directory with a database and a journal that feeds it.
struct Ground {
    dir: TempDir,
    position: Position,
}

impl Ground {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), position: Position::default() }
    }

    fn db(&self) -> std::path::PathBuf {
        self.dir.path().join("cooee.db")
    }

    fn store(&self) -> Store {
        Store::open(&self.db()).unwrap()
    }

    fn journal(&self) -> Journal {
        let settings = JournalSettings {
            head_dirs: vec![],
            disk_dir: self.journal_dir(),
            head_bytes: 1 << 20,
            segment_bytes: 16 << 10,
            sync_every: Duration::from_millis(1),
            boot_id: [7; 16],
            now: DAY,
            software: "0.1.0".into(),
            position: self.position.clone(),
        };
        Journal::open(settings).unwrap().0
    }

    fn journal_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("journal")
    }

    fn feed(&self) -> Feed {
        let (journal_dir, position) = (self.journal_dir(), self.position.clone());
        Feed::start(self.store(), Settings { journal_dir, position, sticky_days: 30 }).unwrap()
    }
}

fn put(journal: &mut Journal, facts: &[Fact]) -> FactId {
    let mut last = FactId(0);
    for fact in facts {
        last = journal.fact(fact);
    }
    assert_ne!(journal.commit(), Commit::Lost);
    last
}

fn new_store(dir: &Path, name: &str) -> Store {
    Store::open(&dir.join(name)).unwrap()
}

/// Waits until something that another thread does has come about.
fn until(what: &str, came_about: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !came_about() {
        assert!(begun.elapsed() < SOON, "waited in vain: {what}");
        std::thread::yield_now();
    }
}
