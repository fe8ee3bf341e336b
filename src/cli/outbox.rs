//! `cooee outbox`: the letters to webhooks, to be looked at, tried again or dropped. It works on
//! the database, beside a running node or without one.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};
use cooee_model::ids::CallId;
use cooee_records::shown;
use cooee_store::error::StoreError;
use cooee_store::outbox::{Letter, OutboxFilter, State, Which};
use cooee_store::store::{FILE, Store};
use serde::Serialize;

use super::stored::{self, Failure, line};

/// An order finds nothing to do, or nothing to show.
const NO_LETTER: Failure = Failure::Missing("there is no such letter, or it was delivered");

const EXAMPLES: &str = "Examples:
  cooee outbox list --webhook ops --state dead
  cooee outbox retry --all --webhook ops --state dead
  cooee outbox drop 4711 4712";

/// Looks at the letters to webhooks, tries them again, drops them.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists letters, newest first
    List {
        #[command(flatten)]
        only: Only,
        /// How many letters, at most 1000
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Letters older than where an earlier page ended
        #[arg(long)]
        cursor: Option<i64>,
        /// Prints {"letters": [...], "next": cursor} instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Shows one letter with its body
    Show {
        /// The letter's number
        id: i64,
        /// Prints JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Makes letters due now: dead ones wait again, waiting ones need not wait any longer
    Retry {
        #[command(flatten)]
        meant: Meant,
        /// Prints {"done": "retry", "letters": n}
        #[arg(long)]
        json: bool,
    },
    /// Deletes letters that are waiting or dead: their receiver never gets them
    Drop {
        #[command(flatten)]
        meant: Meant,
        /// Means it; needed with --all
        #[arg(long, required_if_eq("all", "true"))]
        yes: bool,
        /// Prints {"done": "drop", "letters": n}
        #[arg(long)]
        json: bool,
    },
}

/// Which letters, by what is known of them.
#[derive(Debug, ClapArgs)]
struct Only {
    /// Letters for this webhook
    #[arg(long)]
    webhook: Option<String>,
    /// Letters in this state: waiting, delivered or dead
    #[arg(long)]
    state: Option<State>,
    /// Letters of this call, by its id of 26 characters
    #[arg(long)]
    call: Option<CallId>,
}

impl Only {
    fn filter(self) -> OutboxFilter {
        let Self { webhook, state, call } = self;
        OutboxFilter { webhook, state, call, ..OutboxFilter::default() }
    }
}

/// Which letters an order is about: some by number, or all that pass.
#[derive(Debug, ClapArgs)]
struct Meant {
    /// The letters' numbers
    #[arg(required_unless_present = "all")]
    #[arg(conflicts_with_all = ["all", "webhook", "state", "call"])]
    ids: Vec<i64>,
    /// All letters, or all that --webhook, --state and --call leave
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    only: Only,
}

impl Meant {
    fn each(self) -> Vec<Which> {
        if self.all {
            return vec![Which::All(self.only.filter())];
        }
        self.ids.into_iter().map(Which::One).collect()
    }
}

/// Runs the verb on the database in `data_dir`. Exit codes: 0 ok, 1 no such letter, 3 the database
/// cannot be reached.
pub(crate) fn run(args: Args, data_dir: &Path) -> ExitCode {
    stored::run("outbox", |out| answer(args.verb, &data_dir.join(FILE), out))
}

fn answer(verb: Verb, db: &Path, out: &mut impl Write) -> Result<(), Failure> {
    match verb {
        Verb::List { only, limit, cursor, json } => {
            let filter = OutboxFilter { limit, cursor, ..only.filter() };
            let page = Store::open_read_only(db)?.outbox(&filter)?;
            if json {
                line(out, &Listed { letters: page.rows, next: page.next })?;
            } else {
                out.write_all(letters(&page.rows).as_bytes())?;
                if let Some(next) = page.next {
                    writeln!(out, "more: --cursor {next}")?;
                }
            }
        }
        Verb::Show { id, json } => {
            let letter = Store::open_read_only(db)?.letter(id)?.ok_or(NO_LETTER)?;
            if json {
                line(out, &letter)?;
            } else {
                out.write_all(about(&letter).as_bytes())?;
                writeln!(out, "\n{}", letter.payload.unwrap_or_default())?;
            }
        }
        Verb::Retry { meant, json } => {
            let mut store = Store::open_beside(db)?;
            let done = sum(meant, |which| store.outbox_retry(which))?;
            told(out, "retry", "to be tried again now", done, json)?;
        }
        Verb::Drop { meant, yes: _, json } => {
            let mut store = Store::open_beside(db)?;
            let done = sum(meant, |which| store.outbox_drop(which))?;
            told(out, "drop", "dropped", done, json)?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Listed {
    letters: Vec<Letter>,
    next: Option<i64>,
}

#[derive(Serialize)]
struct Done {
    done: &'static str,
    letters: u64,
}

/// How many letters an order was about.
fn sum(
    meant: Meant,
    mut order: impl FnMut(&Which) -> Result<u64, StoreError>,
) -> Result<u64, StoreError> {
    meant.each().iter().try_fold(0, |sum, which| Ok(sum + order(which)?))
}

fn told(
    out: &mut impl Write,
    done: &'static str,
    words: &str,
    letters: u64,
    json: bool,
) -> Result<(), Failure> {
    if json {
        line(out, &Done { done, letters })?;
    } else if letters > 0 {
        writeln!(out, "{letters} {} {words}", if letters == 1 { "letter" } else { "letters" })?;
    }
    if letters == 0 { Err(NO_LETTER) } else { Ok(()) }
}

fn letters(rows: &[Letter]) -> String {
    let titles = ["id", "came about", "webhook", "call", "event", "state", "tries", "last"];
    let rows: Vec<_> = rows
        .iter()
        .map(|letter| {
            [
                letter.id.to_string(),
                shown::iso_utc(letter.created_us),
                letter.webhook.clone(),
                letter.call.clone(),
                letter.kind.clone(),
                letter.state.to_string(),
                letter.attempts.to_string(),
                last(letter),
            ]
        })
        .collect();
    shown::table(titles, &rows)
}

/// What came of the last attempt.
fn last(letter: &Letter) -> String {
    let status = letter.last_status.map(|status| status.to_string());
    status.or_else(|| letter.last_error.clone()).unwrap_or_default()
}

fn about(letter: &Letter) -> String {
    let instant = |us: Option<i64>| us.map(shown::iso_utc).unwrap_or_default();
    let rows = [
        ("id", letter.id.to_string()),
        ("webhook", letter.webhook.clone()),
        ("call", letter.call.clone()),
        ("event", format!("{} {}", letter.kind, letter.event)),
        ("sequence", letter.sequence.to_string()),
        ("came about", shown::iso_utc(letter.created_us)),
        ("state", letter.state.to_string()),
        ("attempts", letter.attempts.to_string()),
        ("last attempt", instant(letter.last_us)),
        ("last status", letter.last_status.map(|status| status.to_string()).unwrap_or_default()),
        ("last error", letter.last_error.clone().unwrap_or_default()),
        ("delivered", instant(letter.delivered_us)),
    ];
    let rows = rows.map(|(name, value)| [name.to_owned(), value]);
    shown::table(["letter", ""], &rows)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use clap::Parser as _;
    use cooee_model::account::Account;
    use cooee_model::fact::{Fact, What};
    use cooee_model::ids::FactId;
    use cooee_model::moment::Moment;
    use cooee_records::webhook::{Subscription, Telling};
    use cooee_store::lane::{Fate, Tried};

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    /// What a command line says and how it exits.
    fn said(db: &Path, words: &[&str]) -> (u8, String) {
        let words = std::iter::once("outbox").chain(words.iter().copied());
        let line = match Line::try_parse_from(words) {
            Ok(line) => line,
            Err(error) => return (u8::try_from(error.exit_code()).unwrap(), error.to_string()),
        };
        let mut out = Vec::new();
        let done = answer(line.args.verb, db, &mut out);
        let code = done.err().map_or(0, |failure| failure.exit_code());
        (code, String::from_utf8(out).unwrap())
    }

    const START: Moment = Moment::new(0, 1_700_000_000_000_000_000);

    fn call(number: u64) -> CallId {
        CallId::new(1_700_000_000_000 + number, 5)
    }

    /// Letters 1 to 6: three calls that ended, told to `ops` and `crm`; the first to `ops` is dead.
    fn database() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join(FILE);
        let webhooks = ["ops", "crm"].map(|name| Subscription::new::<&str>(name, &[])).into();
        let telling = Telling { node: "syd-1".to_owned(), webhooks };
        let mut store = Store::open(&db).unwrap().telling(telling);
        let facts: Vec<_> = (0..3)
            .map(|number| {
                let at = START + Duration::from_secs(60 * number);
                let account = Box::new(Account::new(call(number), "syd-1", at));
                Fact { call: call(number), seq: 9, at, what: What::Ended { account } }
            })
            .collect();
        assert_eq!(store.apply(&facts, FactId(3), 0).unwrap(), 6);
        let first = store.due("ops", i64::MAX, 1, &BTreeSet::new()).unwrap().remove(0);
        let (webhook, error) = ("ops".to_owned(), Some("410 Gone".to_owned()));
        let (letter, fate) = (first.letters[0].id, Fate::Dead);
        let (status, at_us) = (Some(410), 1_700_000_200_000_000);
        let tried = Tried { webhook, call: first.call, letter, at_us, status, error, fate };
        store.settle(&[tried]).unwrap();
        (folder, db)
    }

    #[test]
    fn letters_are_listed_and_shown() {
        let (_folder, db) = database();
        let (code, table) = said(&db, &["list"]);
        assert_eq!((code, table.lines().count()), (0, 7), "{table}");
        assert!(table.contains("2023-11-14T22:13:20.000Z"), "{table}");
        let (_, dead) = said(&db, &["list", "--webhook", "ops", "--state", "dead", "--json"]);
        let dead: serde_json::Value = serde_json::from_str(&dead).unwrap();
        assert_eq!(dead["letters"].as_array().unwrap().len(), 1);
        assert_eq!(dead["letters"][0]["last_status"], 410);
        let (_, page) = said(&db, &["list", "--limit", "2"]);
        assert!(page.ends_with("more: --cursor 5\n"), "{page}");
        let (_, rest) = said(&db, &["list", "--cursor", "5"]);
        assert_eq!(rest.lines().count(), 5);
        let (_, one) = said(&db, &["list", "--call", &call(1).to_string()]);
        assert_eq!(one.lines().count(), 3);

        let id = dead["letters"][0]["id"].to_string();
        let (code, text) = said(&db, &["show", &id]);
        assert_eq!(code, 0);
        for part in ["410 Gone", "ended", "\"type\":\"cooee.call.ended\"", "2023-11-14T22:16:40"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let (_, json) = said(&db, &["show", &id, "--json"]);
        let letter: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(letter["payload"].as_str().unwrap().contains("\"sequence\":1"));
        assert_eq!(said(&db, &["show", "99"]), (1, String::new()));
    }

    #[test]
    fn letters_are_tried_again_and_dropped() {
        let (_folder, db) = database();
        let again = "1 letter to be tried again now\n".to_owned();
        assert_eq!(said(&db, &["retry", "--all", "--state", "dead"]), (0, again));
        assert_eq!(said(&db, &["retry", "--all", "--state", "dead"]), (1, String::new()));
        let json = "{\"done\":\"retry\",\"letters\":6}\n".to_owned();
        assert_eq!(said(&db, &["retry", "--all", "--json"]), (0, json));
        assert_eq!(said(&db, &["drop", "1", "2", "99"]), (0, "2 letters dropped\n".to_owned()));
        let (code, error) = said(&db, &["drop", "--all"]);
        assert!(code == 2 && error.contains("--yes"), "{code} {error}");
        let two = call(2).to_string();
        let dropped = (0, "2 letters dropped\n".to_owned());
        assert_eq!(said(&db, &["drop", "--all", "--call", &two, "--yes"]), dropped);
        assert_eq!(said(&db, &["drop", "--all", "--yes"]), dropped);
        assert_eq!(said(&db, &["list"]).1.lines().count(), 1);
    }

    #[test]
    fn what_is_wrong_has_its_exit_code() {
        let (folder, db) = database();
        for words in [
            &["retry"][..],
            &["retry", "1", "--all"],
            &["retry", "1", "--webhook", "ops"],
            &["retry", "--webhook", "ops"],
            &["drop", "one"],
            &["list", "--state", "lost"],
            &["list", "--call", "seven"],
        ] {
            assert_eq!(said(&db, words).0, 2, "{words:?}");
        }
        let none = folder.path().join("none.db");
        for words in [&["list"][..], &["show", "1"], &["retry", "1"], &["drop", "1"]] {
            assert_eq!(said(&none, words).0, 3, "{words:?}");
        }
        assert!(!none.exists());
    }
}
