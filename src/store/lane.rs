//! The outbox as the one who delivers sees it: what is due, and what has become of it.
//!
//! The letters of one call for one webhook are a lane: they leave one after another, so the first
//! of them alone is ever tried. Looking for what is due costs the same whatever waits.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};

use crate::error::StoreError;
use crate::limits::{CHUNK_LETTERS, DELIVERED_US};
use crate::outbox::close_lane;
use crate::store::Store;

/// A lane whose first letter may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The call.
    pub call: String,
    /// Attempts that failed since the last that did not.
    pub failures: u32,
    /// When the first of them did, microseconds since the epoch.
    pub failing_since_us: Option<i64>,
    /// All its letters that wait, in order.
    pub letters: Vec<Ready>,
}

/// A letter to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its number.
    pub id: i64,
    /// The event's id.
    pub event: String,
    /// The body.
    pub payload: String,
    /// When the event came about, microseconds since the epoch.
    pub created_us: i64,
}

/// One attempt that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The webhook.
    pub webhook: String,
    /// The call.
    pub call: String,
    /// The letter.
    pub letter: i64,
    /// When it was over, microseconds since the epoch.
    pub at_us: i64,
    /// The HTTP status; `None`: no answer.
    pub status: Option<u16>,
    /// Why it failed.
    pub error: Option<String>,
    /// What becomes of the letter.
    pub fate: Fate,
}

/// What becomes of a letter that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has it.
    Delivered,
    /// It waits.
    Retry {
        /// Until then, microseconds since the epoch.
        next_us: i64,
        /// Because nobody was there.
        away: bool,
    },
    /// It is given up.
    Dead,
}

impl Store {
    /// At most `limit` lanes of `webhook` that are due at `now_us` and are not `held`, those that
    /// have waited longest first.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn due(
        &self,
        webhook: &str,
        now_us: i64,
        limit: u32,
        held: &BTreeSet<String>,
    ) -> Result<Vec<Due>, StoreError> {
        let mut lanes = self.db.prepare_cached(
            "SELECT call, failures, failing_since_us FROM lane
             WHERE webhook = ? AND next_us <= ? ORDER BY next_us, call LIMIT ?",
        )?;
        let mut letters = self.db.prepare_cached(
            "SELECT id, event, payload, created_us FROM letter
             WHERE event > ?2 || '-' AND event < ?2 || '.' AND +webhook = ?1 AND +state = 'waiting'
             ORDER BY +id",
        )?;
        let mut found = Vec::new();
        let mut rows = lanes.query(params![webhook, now_us, i64::from(limit) + count(held)])?;
        while let Some(row) = rows.next()?
            && found.len() < limit as usize
        {
            let call: String = row.get(0)?;
            if held.contains(&call) {
                continue;
            }
            let waiting = letters.query_map([webhook, &call], |row| {
                Ok(Ready {
                    id: row.get(0)?,
                    event: row.get(1)?,
                    payload: row.get(2)?,
                    created_us: row.get(3)?,
                })
            })?;
            let letters = waiting.collect::<Result<_, _>>()?;
            found.push(Due { call, failures: row.get(1)?, failing_since_us: row.get(2)?, letters });
        }
        Ok(found)
    }

    /// When the next lane of `webhook` is due that is not `held`; it may be so already.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn next_due(
        &self,
        webhook: &str,
        held: &BTreeSet<String>,
    ) -> Result<Option<i64>, StoreError> {
        let mut lanes = self.db.prepare_cached(
            "SELECT next_us, call FROM lane WHERE webhook = ? ORDER BY next_us LIMIT ?",
        )?;
        let mut rows = lanes.query(params![webhook, count(held) + 1])?;
        while let Some(row) = rows.next()? {
            if !held.contains(&row.get::<_, String>(1)?) {
                return Ok(Some(row.get(0)?));
            }
        }
        Ok(None)
    }

    /// Writes down what has become of letters, all or nothing. A letter that was dropped meanwhile
    /// stays so.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`]: nothing was written.
    pub fn settle(&mut self, tried: &[Tried]) -> Result<(), StoreError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for one in tried {
            settle_one(&tx, one)?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Gives up some letters that wait for `webhook` since before `before_us`; how many. Called
    /// where the receiver has been away for so long that nothing is tried; to be repeated until
    /// there are none.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn lapse(&mut self, webhook: &str, before_us: i64) -> Result<u64, StoreError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let oldest: Vec<(i64, String, i64)> = {
            let mut statement = tx.prepare_cached(
                "SELECT id, call, created_us FROM letter WHERE webhook = ? AND state = 'waiting'
                 ORDER BY id LIMIT ?",
            )?;
            let rows = statement.query_map(params![webhook, CHUNK_LETTERS], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            rows.collect::<Result<_, _>>()?
        };
        let mut given_up = 0;
        for (id, call, _) in oldest.iter().take_while(|(.., created_us)| *created_us <= before_us) {
            tx.prepare_cached(
                "UPDATE letter SET state = 'dead',
                   last_error = coalesce(last_error, 'the receiver was away') WHERE id = ?",
            )?
            .execute([id])?;
            close_lane(&tx, webhook, call)?;
            given_up += 1;
        }
        tx.commit()?;
        Ok(given_up)
    }

    /// Deletes some letters that were delivered a day before `now_us`; how many. To be repeated
    /// until there are none.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn prune_letters(&mut self, now_us: i64) -> Result<u64, StoreError> {
        let before_us = now_us.saturating_sub(DELIVERED_US);
        let old: Vec<i64> = {
            // The oldest of each webhook are looked at, not all: it must not walk the table.
            let mut webhooks = self.db.prepare_cached("SELECT DISTINCT webhook FROM tally")?;
            let mut oldest = self.db.prepare_cached(
                "SELECT id FROM (SELECT id, delivered_us FROM letter
                   WHERE webhook = ? AND state = 'delivered' ORDER BY id LIMIT ?)
                 WHERE delivered_us <= ?",
            )?;
            let mut old = Vec::new();
            let mut rows = webhooks.query([])?;
            while let Some(row) = rows.next()? {
                let webhook: String = row.get(0)?;
                let found = oldest
                    .query_map(params![webhook, CHUNK_LETTERS, before_us], |row| row.get(0))?;
                old.extend(found.collect::<Result<Vec<i64>, _>>()?);
            }
            old
        };
        if old.is_empty() {
            return Ok(0);
        }
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for id in &old {
            tx.prepare_cached("DELETE FROM letter WHERE id = ?")?.execute([id])?;
        }
        tx.commit()?;
        Ok(old.len() as u64)
    }

    /// Since when the receiver of `webhook` has been away, microseconds since the epoch.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn failing_since(&self, webhook: &str) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT failing_since_us FROM receiver WHERE webhook = ?";
        Ok(self.db.prepare_cached(sql)?.query_row([webhook], |row| row.get(0)).optional()?)
    }

    /// The receiver of `webhook` has been away since `since_us`, unless that is known already.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn receiver_away(&mut self, webhook: &str, since_us: i64) -> Result<(), StoreError> {
        let sql = "INSERT OR IGNORE INTO receiver VALUES (?, ?)";
        self.db.prepare_cached(sql)?.execute(params![webhook, since_us])?;
        Ok(())
    }

    /// The receiver of `webhook` is back: what waited because it was away is due.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn receiver_back(&mut self, webhook: &str, now_us: i64) -> Result<(), StoreError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute("DELETE FROM receiver WHERE webhook = ?", [webhook])?;
        tx.execute(
            "UPDATE lane SET next_us = ?2 WHERE webhook = ?1 AND next_us > ?2 AND away = 1",
            params![webhook, now_us],
        )?;
        tx.commit()?;
        Ok(())
    }

    /// Makes due what would have to wait beyond `until_us`: the wall clock was set back since.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn pull_in(&mut self, webhook: &str, now_us: i64, until_us: i64) -> Result<(), StoreError> {
        let sql = "UPDATE lane SET next_us = ? WHERE webhook = ? AND next_us > ?";
        self.db.execute(sql, params![now_us, webhook, until_us])?;
        Ok(())
    }
}

fn count(held: &BTreeSet<String>) -> i64 {
    i64::try_from(held.len()).unwrap_or(i64::MAX)
}

fn settle_one(tx: &Transaction<'_>, tried: &Tried) -> rusqlite::Result<()> {
    let (state, delivered_us) = match tried.fate {
        Fate::Delivered => ("delivered", Some(tried.at_us)),
        Fate::Retry { .. } => ("waiting", None),
        Fate::Dead => ("dead", None),
    };
    tx.prepare_cached(
        "UPDATE letter SET state = ?, attempts = attempts + 1, last_us = ?, last_status = ?,
           last_error = ?, delivered_us = ? WHERE id = ? AND state = 'waiting'",
    )?
    .execute(params![
        state,
        tried.at_us,
        tried.status,
        tried.error,
        delivered_us,
        tried.letter
    ])?;
    let Tried { webhook, call, at_us, .. } = tried;
    match tried.fate {
        Fate::Delivered => {
            tx.prepare_cached(
                "UPDATE lane SET next_us = ?, failures = 0, failing_since_us = NULL, away = 0
                 WHERE webhook = ? AND call = ?",
            )?
            .execute(params![at_us, webhook, call])?;
            close_lane(tx, webhook, call)?;
        }
        // The letters behind it have failed as long as it did, until one of them is delivered.
        Fate::Dead => {
            tx.prepare_cached("UPDATE lane SET next_us = ? WHERE webhook = ? AND call = ?")?
                .execute(params![at_us, webhook, call])?;
            close_lane(tx, webhook, call)?;
        }
        Fate::Retry { next_us, away } => {
            tx.prepare_cached(
                "UPDATE lane SET next_us = ?, failures = failures + 1, away = ?,
                   failing_since_us = coalesce(failing_since_us, ?)
                 WHERE webhook = ? AND call = ?",
            )?
            .execute(params![next_us, away, at_us, webhook, call])?;
        }
    }
    Ok(())
}
