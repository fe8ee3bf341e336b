//! `cooee cdr`: the finished calls, as a table, as JSON or as CSV.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args as ClapArgs, Subcommand};
use cooee_model::ids::CallId;
use cooee_records::cdr::Cdr;
use cooee_records::shown;
use cooee_store::query::{Call, Cursor, Filter};
use cooee_store::store::{FILE, Store};
use serde::Serialize;

use super::stored::{self, Failure, line};

/// Looks at finished calls.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists calls, newest first
    List {
        #[command(flatten)]
        which: Which,
        /// How many calls, at most 1000
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Calls older than where an earlier page ended
        #[arg(long)]
        cursor: Option<Cursor>,
        /// Prints {"calls": [...], "next": cursor} instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Shows one call with its legs and its media
    Show {
        /// The call's id, 26 characters
        id: CallId,
        /// Prints JSON instead of tables
        #[arg(long)]
        json: bool,
    },
    /// Writes all calls that are asked for, newest first
    Export {
        #[command(flatten)]
        which: Which,
        /// Writes CSV with a line of column names (the default)
        #[arg(long, conflicts_with = "json")]
        csv: bool,
        /// Writes one JSON object a line
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, ClapArgs)]
struct Which {
    /// Calls since then: 90s, 15m, 1h, 7d, 2026-01-31, 2026-01-31T08:00:00Z (UTC)
    #[arg(long)]
    since: Option<String>,
    /// Calls before then; as --since
    #[arg(long)]
    until: Option<String>,
    /// The customer's number: whole with its +, or its last digits
    #[arg(long)]
    customer: Option<String>,
    /// The owned number that was presented; as --customer
    #[arg(long)]
    did: Option<String>,
    /// How the call came out: connected, abandoned, busy, no_answer ...
    #[arg(long)]
    outcome: Option<String>,
    /// A trunk that had a leg of the call
    #[arg(long)]
    trunk: Option<String>,
}

impl Which {
    fn filter(self, now_us: i64) -> Result<Filter, Failure> {
        let instant = |text: Option<String>| {
            text.map(|text| shown::instant(&text, now_us)).transpose().map_err(Failure::Instant)
        };
        Ok(Filter {
            from_us: instant(self.since)?,
            to_us: instant(self.until)?,
            customer: self.customer,
            did: self.did,
            outcome: self.outcome,
            trunk: self.trunk,
            ..Filter::default()
        })
    }
}

/// Runs the verb on the database in `data_dir`. Exit codes: 0 ok, 1 no such call, 2 an argument
/// cannot be read, 3 the database cannot be reached.
pub(crate) fn run(args: Args, data_dir: &Path) -> ExitCode {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_us = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
    stored::run("cdr", |out| answer(args.verb, &data_dir.join(FILE), now_us, out))
}

fn answer(verb: Verb, db: &Path, now_us: i64, out: &mut impl Write) -> Result<(), Failure> {
    match verb {
        Verb::List { which, limit, cursor, json } => {
            let filter = Filter { limit, cursor, ..which.filter(now_us)? };
            let store = Store::open_read_only(db)?;
            let page = store.list(&filter)?;
            let next = page.next.map(|cursor| cursor.to_string());
            if json {
                let whole = page.rows.iter().filter_map(|cdr| whole(&store, cdr).transpose());
                let calls = whole.collect::<Result<Vec<_>, _>>()?;
                line(out, &Listed { calls, next })?;
            } else {
                out.write_all(shown::calls(&page.rows).as_bytes())?;
                if let Some(next) = next {
                    writeln!(out, "more: --cursor {next}")?;
                }
            }
        }
        Verb::Show { id, json } => {
            let Some(call) = Store::open_read_only(db)?.show(id)? else {
                return Err(Failure::Missing("there is no such call"));
            };
            if json {
                line(out, &call)?;
            } else {
                let Call { cdr, legs, media, quality } = &call;
                out.write_all(shown::call(cdr, legs, media, quality).as_bytes())?;
            }
        }
        Verb::Export { which, csv: _, json } => {
            let filter = which.filter(now_us)?;
            let store = Store::open_read_only(db)?;
            if json {
                for cdr in store.export(filter) {
                    if let Some(call) = whole(&store, &cdr?)? {
                        line(out, &call)?;
                    }
                }
            } else {
                let mut rows = csv::Writer::from_writer(out);
                for cdr in store.export(filter) {
                    rows.serialize(cdr?)?;
                }
                rows.flush()?;
            }
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Listed {
    calls: Vec<Call>,
    next: Option<String>,
}

/// The call of a row, with its legs and its media.
fn whole(store: &Store, cdr: &Cdr) -> Result<Option<Call>, Failure> {
    cdr.id.parse().map_or(Ok(None), |id| Ok(store.show(id)?))
}
