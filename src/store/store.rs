//! The database file: opened, brought to the schema of this build, written group by group.

use std::path::Path;

use cooee_model::account::Account;
use cooee_model::fact::{Fact, What};
use cooee_model::ids::{FactId, Side};
use cooee_records::cdr::{Cdr, Leg, Media, Sample};
use cooee_records::webhook::Telling;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};

use crate::error::StoreError;
use crate::letters::Letters;
use crate::limits::LOCK_WAIT;
use crate::row::Row;

/// The database's name in the data directory.
pub const FILE: &str = "cooee.db";

/// What brings a database from one schema version to the next; the first makes version 1.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
];

/// An open database.
#[derive(Debug)]
pub struct Store {
    pub(crate) db: Connection,
    /// Who is told of the facts that are written.
    telling: Telling,
}

/// What an earlier call leaves for the choice of the number that is presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// The customer, E.164.
    pub customer: String,
    /// The owned number that the customer last saw, E.164.
    pub did: String,
    /// Until when it is the one to present, microseconds since the epoch.
    pub until_us: i64,
}

impl Store {
    /// Opens the database for writing; makes it if there is none, and brings an older one up to
    /// date.
    ///
    /// Commits are synced: the journal deletes what the database has said to have.
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::Sqlite`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut db = Connection::open(path)?;
        db.busy_timeout(LOCK_WAIT)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        migrate(&mut db, path)?;
        Ok(Self { db, telling: Telling::default() })
    }

    /// Opens the database to ask only; any number of these live beside the one that writes.
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::Older`], [`StoreError::Sqlite`] (also where there is no
    /// file).
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        Self::open_existing(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    /// Opens the database to change letters of the outbox, beside the node that writes the rest.
    ///
    /// Commits are not synced: a power cut may take them, and letters are then sent again.
    ///
    /// # Errors
    /// As [`open_read_only`](Self::open_read_only).
    pub fn open_beside(path: &Path) -> Result<Self, StoreError> {
        let store = Self::open_existing(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        store.db.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(store)
    }

    fn open_existing(path: &Path, access: OpenFlags) -> Result<Self, StoreError> {
        let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(LOCK_WAIT)?;
        let (found, known) = (known_version(&db, path)?, MIGRATIONS.len() as u32);
        if found < known {
            return Err(StoreError::Older { path: path.to_owned(), found, known });
        }
        Ok(Self { db, telling: Telling::default() })
    }

    /// From now on the facts that are written make letters for these webhooks.
    #[must_use]
    pub fn telling(mut self, telling: Telling) -> Self {
        self.telling = telling;
        self
    }

    /// As [`telling`](Self::telling), of a store that is at work.
    pub(crate) fn set_telling(&mut self, telling: Telling) {
        self.telling = telling;
    }

    /// Whether anybody is told.
    pub(crate) fn tells(&self) -> bool {
        !self.telling.webhooks.is_empty()
    }

    /// The last record of the journal that is in the database.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn position(&self) -> Result<FactId, StoreError> {
        let position: i64 = self.db.query_row("SELECT position FROM feed", [], |r| r.get(0))?;
        Ok(FactId(u64::try_from(position).unwrap_or(0)))
    }

    /// Writes what `facts` say and that everything up to `upto` is here, all or nothing; how many
    /// letters that makes. Facts that are here already change nothing; the facts of one call may
    /// come in any order, but letters are numbered in the order in which they come.
    ///
    /// A customer keeps the number that was presented for `sticky_days` from the INVITE on; 0: not.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`]: nothing was written.
    pub fn apply<'f>(
        &mut self,
        facts: impl IntoIterator<Item = &'f Fact>,
        upto: FactId,
        sticky_days: u32,
    ) -> Result<u64, StoreError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let letters = write_group(&tx, &self.telling, facts, upto, sticky_days)?;
        tx.commit()?;
        Ok(letters)
    }

    /// The numbers that customers are to see again at `now_us`, microseconds since the epoch.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn sticky(&self, now_us: i64) -> Result<Vec<Sticky>, StoreError> {
        let sql = "SELECT customer, did, until_us FROM sticky_did WHERE until_us > ?";
        let mut statement = self.db.prepare_cached(sql)?;
        let rows = statement.query_map([now_us], |row| {
            Ok(Sticky { customer: row.get(0)?, did: row.get(1)?, until_us: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Writes a group into `tx`; it holds once `tx` is committed. How many letters it makes.
pub(crate) fn write_group<'f>(
    tx: &Transaction<'_>,
    telling: &Telling,
    facts: impl IntoIterator<Item = &'f Fact>,
    upto: FactId,
    sticky_days: u32,
) -> Result<u64, StoreError> {
    let mut letters = Letters::new(tx, telling);
    for fact in facts {
        letters.take(fact)?;
        match &fact.what {
            What::Ended { account } | What::Amended { account } => {
                let cdr = Cdr::from_account(account);
                cdr.upsert(tx)?;
                for leg in Leg::all(account) {
                    leg.upsert(tx)?;
                }
                keep_number(tx, account, cdr.t_invite_us, sticky_days)?;
            }
            What::Measured { a, b } => {
                Media::of(fact.call, Side::A, a).upsert(tx)?;
                Media::of(fact.call, Side::B, b).upsert(tx)?;
            }
            What::Sampled { a, b } => {
                for sample in Sample::both(fact.call, fact.at, a, b) {
                    sample.upsert(tx)?;
                }
            }
            _ => {}
        }
    }
    let position = i64::try_from(upto.0).unwrap_or(i64::MAX);
    tx.prepare_cached("UPDATE feed SET position = max(position, ?)")?.execute([position])?;
    letters.finish()
}

fn keep_number(
    tx: &Transaction<'_>,
    account: &Account,
    invite_us: i64,
    days: u32,
) -> rusqlite::Result<()> {
    if days == 0 || account.customer.is_empty() || account.did.is_empty() {
        return Ok(());
    }
    let until_us = invite_us.saturating_add(i64::from(days) * 86_400_000_000);
    tx.prepare_cached(
        "INSERT INTO sticky_did (customer, did, until_us) VALUES (?, ?, ?)
         ON CONFLICT (customer) DO UPDATE SET did = excluded.did, until_us = excluded.until_us
         WHERE excluded.until_us >= until_us",
    )?
    .execute(params![account.customer, account.did, until_us])?;
    tx.prepare_cached("DELETE FROM sticky_did WHERE until_us <= ?")?.execute([invite_us])?;
    Ok(())
}

fn migrate(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = known_version(&tx, path)?;
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(version as usize) {
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "user_version", step as u32 + 1)?;
    }
    tx.commit()?;
    Ok(())
}

fn known_version(db: &Connection, path: &Path) -> Result<u32, StoreError> {
    let found = db.pragma_query_value(None, "user_version", |row| row.get(0)).optional()?;
    let (found, known): (u32, u32) = (found.unwrap_or(0), MIGRATIONS.len() as u32);
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    Ok(found)
}
