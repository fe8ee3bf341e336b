//! What the console, the API and the command line ask.

use std::fmt;
use std::str::FromStr;

use cooee_model::ids::CallId;
use cooee_records::cdr::{Cdr, Leg, Media, Sample};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params_from_iter};
use serde::Serialize;

use crate::error::StoreError;
use crate::limits::PAGE_ROWS;
use crate::row::Row;
use crate::store::Store;

/// Which calls; what is `None` restricts nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Calls whose INVITE came at or after this, microseconds since the epoch.
    pub from_us: Option<i64>,
    /// Calls whose INVITE came before this.
    pub to_us: Option<i64>,
    /// The customer's number: whole if it begins with `+`, else its last digits.
    pub customer: Option<String>,
    /// The owned number: as `customer`.
    pub did: Option<String>,
    /// The outcome's name.
    pub outcome: Option<String>,
    /// The name of a trunk that had a leg of the call.
    pub trunk: Option<String>,
    /// Calls older than this one, in the order of [`Store::list`].
    pub cursor: Option<Cursor>,
    /// Rows of the page, at most [`PAGE_ROWS`]; 0: that many.
    pub limit: u32,
}

/// A place in the list of calls, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    t_invite_us: i64,
    id: String,
}

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is what an earlier page ended with")]
pub struct NotACursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.t_invite_us, self.id)
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (t_invite_us, id) = text.rsplit_once('-').ok_or(NotACursor)?;
        let id: CallId = id.parse().map_err(|_| NotACursor)?;
        let t_invite_us = t_invite_us.parse().map_err(|_| NotACursor)?;
        Ok(Self { t_invite_us, id: id.to_string() })
    }
}

/// Some calls, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The calls.
    pub rows: Vec<Cdr>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<Cursor>,
}

/// One call with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Call {
    /// The call.
    pub cdr: Cdr,
    /// Its legs, A first.
    pub legs: Vec<Leg>,
    /// What was received from A and from B; empty until it is known.
    pub media: Vec<Media>,
    /// How both sides sounded, as time went on.
    pub quality: Vec<Sample>,
}

impl Store {
    /// A page of finished calls, newest first.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn list(&self, filter: &Filter) -> Result<Page, StoreError> {
        let limit = if filter.limit == 0 { PAGE_ROWS } else { filter.limit.min(PAGE_ROWS) };
        let (conditions, values) = filter.conditions();
        let sql = format!(
            "{} WHERE {conditions} ORDER BY t_invite_us DESC, id DESC LIMIT {}",
            Cdr::select(),
            limit + 1,
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        let found = statement.query_map(params_from_iter(values), Cdr::read)?;
        let mut rows = found.collect::<Result<Vec<_>, _>>()?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(Cursor::after);
        Ok(Page { rows, next })
    }

    /// One call; `None`: it is not here (yet).
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn show(&self, call: CallId) -> Result<Option<Call>, StoreError> {
        let id = call.to_string();
        let sql = format!("{} WHERE id = ?", Cdr::select());
        let cdr = self.db.prepare_cached(&sql)?.query_row([&id], Cdr::read).optional()?;
        let Some(cdr) = cdr else { return Ok(None) };
        let (legs, media) = (self.part(&id, "n")?, self.part(&id, "side")?);
        Ok(Some(Call { cdr, legs, media, quality: self.part(&id, "t_us, side")? }))
    }

    /// All calls that pass `filter`, newest first, read page by page, so that a slow reader holds
    /// no lock; `filter.limit` is the size of a page.
    pub fn export(&self, filter: Filter) -> Export<'_> {
        Export { store: self, filter, page: Vec::new().into_iter(), over: false }
    }

    fn part<R: Row>(&self, id: &str, order: &str) -> Result<Vec<R>, StoreError> {
        let sql = format!("{} WHERE session_id = ? ORDER BY {order}", R::select());
        let mut statement = self.db.prepare_cached(&sql)?;
        let rows = statement.query_map([id], R::read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// All calls that pass a filter: see [`Store::export`].
#[derive(Debug)]
pub struct Export<'s> {
    store: &'s Store,
    filter: Filter,
    page: std::vec::IntoIter<Cdr>,
    over: bool,
}

impl Iterator for Export<'_> {
    type Item = Result<Cdr, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(cdr) = self.page.next() {
                return Some(Ok(cdr));
            }
            if self.over {
                return None;
            }
            match self.store.list(&self.filter) {
                Ok(page) => {
                    self.over = page.next.is_none();
                    self.filter.cursor = page.next;
                    self.page = page.rows.into_iter();
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Cursor {
    fn after(row: &Cdr) -> Self {
        Self { t_invite_us: row.t_invite_us, id: row.id.clone() }
    }
}

impl Filter {
    /// The `WHERE` of the filter, and the values of its parameters in their order.
    fn conditions(&self) -> (String, Vec<Value>) {
        let mut sql = String::from("1");
        let mut values = Vec::new();
        let mut and = |condition: &str, with: &mut dyn Iterator<Item = Value>| {
            sql += " AND ";
            sql += condition;
            values.extend(with);
        };
        let mut one = |condition: &str, value: Option<Value>| {
            if let Some(value) = value {
                and(condition, &mut [value].into_iter());
            }
        };
        one("t_invite_us >= ?", self.from_us.map(Value::from));
        one("t_invite_us < ?", self.to_us.map(Value::from));
        for (column, number) in [("customer", &self.customer), ("did", &self.did)] {
            let Some(number) = number else { continue };
            if number.starts_with('+') {
                one(&format!("{column} = ?"), Some(number.clone().into()));
            } else {
                let digits: String = number.chars().filter(char::is_ascii_alphanumeric).collect();
                one(&format!("{column} LIKE ?"), Some(format!("%{digits}").into()));
            }
        }
        one("outcome = ?", self.outcome.clone().map(Value::from));
        one(
            "EXISTS (SELECT 1 FROM leg WHERE session_id = session.id AND trunk = ?)",
            self.trunk.clone().map(Value::from),
        );
        if let Some(Cursor { t_invite_us, id }) = &self.cursor {
            let place = [Value::from(*t_invite_us), Value::from(id.clone())];
            and("(t_invite_us, id) < (?, ?)", &mut place.into_iter());
        }
        (sql, values)
    }
}
