//! The outbox as people see it: which letters there are, try them again, drop them.
//!
//! All of it works beside a running node, from a connection of its own: what is changed here is
//! seen by the node when it next looks for what is due.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::thread;

use cooee_model::ids::CallId;
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params, params_from_iter};
use serde::Serialize;

use crate::error::StoreError;
use crate::limits::{CHUNK_LETTERS, CHUNK_PAUSE, PAGE_ROWS};
use crate::store::Store;

/// What has become of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has yet to be delivered.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// Given up; kept until it is retried or dropped.
    Dead,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::Dead];

    /// The name in the database, the API and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a letter is waiting, delivered or dead")]
pub struct NotAState;

impl FromStr for State {
    type Err = NotAState;

    fn from_str(text: &str) -> Result<Self, NotAState> {
        Self::ALL.into_iter().find(|state| state.name() == text).ok_or(NotAState)
    }
}

/// One event of one call for one webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// Its number in this database; later letters have larger ones.
    pub id: i64,
    /// For whom, by the name of the configuration.
    pub webhook: String,
    /// The call, a ULID.
    pub call: String,
    /// The event's id, the same for every webhook and at every attempt.
    pub event: String,
    /// What came about: `ringing`, `ended` and so on.
    pub kind: String,
    /// Its place among the events of the call for this webhook, from 1.
    pub sequence: u32,
    /// When it came about, microseconds since the epoch.
    pub created_us: i64,
    /// What has become of it.
    pub state: State,
    /// How often it was tried.
    pub attempts: u32,
    /// When the last attempt was over.
    pub last_us: Option<i64>,
    /// The HTTP status of the last attempt; `None`: there was no answer, or no attempt.
    pub last_status: Option<u16>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When the receiver said that it has it.
    pub delivered_us: Option<i64>,
    /// The body; only where one letter is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// Which letters; what is `None` restricts nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxFilter {
    /// Letters for this webhook.
    pub webhook: Option<String>,
    /// Letters in this state.
    pub state: Option<State>,
    /// Letters of this call.
    pub call: Option<CallId>,
    /// Letters of the page, at most [`PAGE_ROWS`]; 0: that many. A page alone has a limit.
    pub limit: u32,
    /// Letters before this one: the last id of the page before. A page alone has a cursor.
    pub cursor: Option<i64>,
}

/// Some letters, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxPage {
    /// The letters.
    pub rows: Vec<Letter>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<i64>,
}

/// What an order is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The letter with this id.
    One(i64),
    /// All that pass, whatever its limit and cursor.
    All(OutboxFilter),
}

/// The letters of one webhook in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The webhook, in the configuration or not.
    pub webhook: String,
    /// Letters that wait.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// Delivered letters that are still kept.
    pub delivered: u64,
    /// When the oldest event that waits came about, microseconds since the epoch.
    pub oldest_us: Option<i64>,
}

const COLUMNS: &str = "id, webhook, call, event, kind, sequence, created_us, state, attempts, \
                       last_us, last_status, last_error, delivered_us";

impl Store {
    /// A page of letters, newest first.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn outbox(&self, filter: &OutboxFilter) -> Result<OutboxPage, StoreError> {
        let limit = if filter.limit == 0 { PAGE_ROWS } else { filter.limit.min(PAGE_ROWS) };
        let (mut conditions, mut values) = filter.conditions();
        if let Some(cursor) = filter.cursor {
            conditions += " AND id < ?";
            values.push(cursor.into());
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM letter WHERE {conditions} ORDER BY id DESC LIMIT {}",
            limit + 1
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        let found = statement.query_map(params_from_iter(values), Letter::read)?;
        let mut rows = found.collect::<Result<Vec<_>, _>>()?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|letter| letter.id);
        Ok(OutboxPage { rows, next })
    }

    /// One letter with its body; `None`: there is none (any more).
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn letter(&self, id: i64) -> Result<Option<Letter>, StoreError> {
        let sql = format!("SELECT {COLUMNS}, payload FROM letter WHERE id = ?");
        let mut statement = self.db.prepare_cached(&sql)?;
        let found = statement.query_row([id], |row| {
            Ok(Letter { payload: Some(row.get("payload")?), ..Letter::read(row)? })
        });
        Ok(found.optional()?)
    }

    /// Makes letters due now: dead ones wait again, waiting ones need not wait any longer.
    /// Delivered ones are left alone. How many letters that were.
    ///
    /// A dead letter that is tried again may reach its receiver after later ones of its call.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`]; what was done before it stays done.
    pub fn outbox_retry(&mut self, which: &Which) -> Result<u64, StoreError> {
        self.in_chunks(which, |tx, letter| {
            tx.prepare_cached("UPDATE letter SET state = 'waiting' WHERE id = ?")?
                .execute([letter.id])?;
            tx.prepare_cached(
                "INSERT INTO lane VALUES (?, ?, 0, 0, NULL, 0) ON CONFLICT (webhook, call)
                 DO UPDATE SET next_us = 0, failures = 0, failing_since_us = NULL",
            )?
            .execute([&letter.webhook, &letter.call])?;
            // Who asks for it to be tried gives the receiver all its time again.
            tx.prepare_cached("DELETE FROM receiver WHERE webhook = ?")?.execute([&letter.webhook])
        })
    }

    /// Deletes letters that are waiting or dead; they will not be sent. How many that were.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`]; what was done before it stays done.
    pub fn outbox_drop(&mut self, which: &Which) -> Result<u64, StoreError> {
        self.in_chunks(which, |tx, letter| {
            tx.prepare_cached("DELETE FROM letter WHERE id = ?")?.execute([letter.id])?;
            close_lane(tx, &letter.webhook, &letter.call)
        })
    }

    /// The letters of each webhook in figures; also of those that are no longer configured.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn outbox_summary(&self) -> Result<Vec<Summary>, StoreError> {
        let mut found: BTreeMap<String, Summary> = BTreeMap::new();
        let mut statement = self.db.prepare_cached("SELECT webhook, state, letters FROM tally")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (webhook, state): (String, State) = (row.get(0)?, read_state(row, 1)?);
            let letters = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
            let summary = found.entry(webhook).or_default();
            match state {
                State::Waiting => summary.waiting = letters,
                State::Dead => summary.dead = letters,
                State::Delivered => summary.delivered = letters,
            }
        }
        let mut oldest = self.db.prepare_cached(
            "SELECT created_us FROM letter WHERE webhook = ? AND state = 'waiting' ORDER BY id",
        )?;
        let filled = found.into_iter().map(|(webhook, summary)| {
            let oldest_us = oldest.query_row([&webhook], |row| row.get(0)).optional()?;
            Ok(Summary { webhook, oldest_us, ..summary })
        });
        filled.collect()
    }

    /// Does `to_each` to all letters that are meant and not delivered, some at a time, so that who
    /// else writes waits little.
    fn in_chunks(
        &mut self,
        which: &Which,
        to_each: impl Fn(&Transaction<'_>, &Letter) -> rusqlite::Result<usize>,
    ) -> Result<u64, StoreError> {
        let (conditions, values) = which.conditions();
        let sql = format!(
            "SELECT {COLUMNS} FROM letter WHERE {conditions} AND state <> 'delivered' AND id > ?
             ORDER BY id LIMIT {CHUNK_LETTERS}",
        );
        let (mut done, mut last) = (0, 0);
        loop {
            let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let letters = {
                let values = values.iter().cloned().chain([Value::from(last)]);
                let mut statement = tx.prepare_cached(&sql)?;
                let found = statement.query_map(params_from_iter(values), Letter::read)?;
                found.collect::<Result<Vec<_>, _>>()?
            };
            let Some(end) = letters.last() else { return Ok(done) };
            last = end.id;
            for letter in &letters {
                to_each(&tx, letter)?;
            }
            tx.commit()?;
            done += letters.len() as u64;
            thread::sleep(CHUNK_PAUSE);
        }
    }
}

/// Removes the lane if none of its letters waits any more. The `+` keeps SQLite from walking all
/// that waits for the webhook instead of the few letters of the call.
pub(crate) fn close_lane(
    tx: &Transaction<'_>,
    webhook: &str,
    call: &str,
) -> rusqlite::Result<usize> {
    tx.prepare_cached(
        "DELETE FROM lane WHERE webhook = ?1 AND call = ?2 AND NOT EXISTS (
           SELECT 1 FROM letter WHERE event > ?2 || '-' AND event < ?2 || '.'
             AND +webhook = ?1 AND +state = 'waiting')",
    )?
    .execute(params![webhook, call])
}

impl Letter {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            webhook: row.get(1)?,
            call: row.get(2)?,
            event: row.get(3)?,
            kind: row.get(4)?,
            sequence: row.get(5)?,
            created_us: row.get(6)?,
            state: read_state(row, 7)?,
            attempts: row.get(8)?,
            last_us: row.get(9)?,
            last_status: row.get(10)?,
            last_error: row.get(11)?,
            delivered_us: row.get(12)?,
            payload: None,
        })
    }
}

fn read_state(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<State> {
    let name: String = row.get(column)?;
    name.parse().map_err(|error: NotAState| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
    })
}

impl Which {
    fn conditions(&self) -> (String, Vec<Value>) {
        match self {
            Self::One(id) => ("id = ?".to_owned(), vec![Value::from(*id)]),
            Self::All(filter) => filter.conditions(),
        }
    }
}

impl OutboxFilter {
    /// The `WHERE` of the filter without its cursor, and the values of its parameters.
    fn conditions(&self) -> (String, Vec<Value>) {
        let (mut sql, mut values) = (String::from("1"), Vec::new());
        // A call has few letters: where one is named, they are looked for by it alone.
        let plus = if self.call.is_some() { "+" } else { "" };
        if let Some(webhook) = &self.webhook {
            sql += &format!(" AND {plus}webhook = ?");
            values.push(webhook.clone().into());
        }
        if let Some(state) = self.state {
            sql += &format!(" AND {plus}state = ?");
            values.push(state.name().to_owned().into());
        }
        if let Some(call) = self.call {
            // Event ids begin with the call, and the table is ordered by them.
            sql += " AND event > ? AND event < ?";
            values.extend([format!("{call}-").into(), format!("{call}.").into()]);
        }
        (sql, values)
    }
}
