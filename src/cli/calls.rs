//! `cooee calls list|show|hangup`: the calls of a running node; `cooee drain` and `cooee reload`.

use std::io::Write;

use clap::{Args, Subcommand};
use cooee_records::shown;
use reqwest::Method;
use serde::Deserialize;

use super::admin::{At, Error, pretty};

/// Lists, shows and ends the calls of a running node.
#[derive(Args, Debug)]
pub struct Calls {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Lists the calls that are up, and the last that ended.
    List {
        /// Only those that are up.
        #[arg(long)]
        up: bool,
        /// Prints the API's answer.
        #[arg(long)]
        json: bool,
    },
    /// Shows all that is known of one call, as JSON.
    Show {
        /// The call.
        id: String,
    },
    /// Ends calls on both legs.
    Hangup {
        /// The calls.
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// Every call that is up.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

/// An order to a running node that needs no more words.
#[derive(Args, Debug)]
pub struct Order {
    #[command(flatten)]
    at: At,
}

#[derive(Deserialize)]
struct List {
    up: Vec<Call>,
    recent: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    id: String,
    state: String,
    role: String,
    trunk: String,
    trunk_out: String,
    customer: String,
    did: String,
    agent: Option<String>,
    started_us: i64,
    outcome: String,
}

/// Asks the node and writes what it says to `out`.
///
/// # Errors
/// Where the node is out of reach or refuses, or the output cannot be written.
pub fn run(calls: &Calls, token: Option<&str>, out: &mut dyn Write) -> Result<(), Error> {
    let node = calls.at.node(token);
    let listed = || Ok::<_, Error>(node.ask(Method::GET, "/v1/calls")?.text()?);
    match &calls.verb {
        Verb::List { json: true, .. } => pretty(&listed()?, out),
        Verb::List { up, .. } => {
            let mut list: List = serde_json::from_str(&listed()?)?;
            if !up {
                list.up.append(&mut list.recent);
            }
            table(&list.up, out)
        }
        Verb::Show { id } => {
            pretty(&node.ask(Method::GET, &format!("/v1/calls/{id}"))?.text()?, out)
        }
        Verb::Hangup { ids, all } => {
            let mut ids = ids.clone();
            if *all {
                let list: List = serde_json::from_str(&listed()?)?;
                ids = list.up.into_iter().map(|call| call.id).collect();
            }
            for id in ids {
                node.ask(Method::DELETE, &format!("/v1/calls/{id}"))?;
                writeln!(out, "{id}: told to hang up")?;
            }
            Ok(())
        }
    }
}

fn table(calls: &[Call], out: &mut dyn Write) -> Result<(), Error> {
    let titles =
        ["call", "state", "since", "role", "from", "to", "customer", "shown", "agent", "outcome"];
    let row = |call: &Call| {
        let agent = call.agent.clone().unwrap_or_default();
        let since = shown::iso_utc(call.started_us);
        [&call.id, &call.state, &since, &call.role, &call.trunk, &call.trunk_out, &call.customer]
            .into_iter()
            .chain([&call.did, &agent, &call.outcome])
            .cloned()
            .collect::<Vec<_>>()
            .try_into()
            .unwrap_or_default()
    };
    let rows: Vec<[String; 10]> = calls.iter().map(row).collect();
    out.write_all(shown::table(titles, &rows).as_bytes())?;
    Ok(())
}

/// `cooee drain`: takes no new calls from now on.
///
/// # Errors
/// As [`run`].
pub fn drain(order: &Order, token: Option<&str>, out: &mut dyn Write) -> Result<(), Error> {
    order.at.node(token).ask(Method::POST, "/v1/drain")?;
    writeln!(out, "the node takes no new calls; those that are up go on")?;
    Ok(())
}

/// `cooee reload`: the node reads its configuration again.
///
/// # Errors
/// As [`run`]; [`Error::Findings`] where the configuration is broken.
pub fn reload(order: &Order, token: Option<&str>, out: &mut dyn Write) -> Result<(), Error> {
    let answer = order.at.node(token).ask(Method::POST, "/v1/reload")?.text()?;
    let said: Reloaded = serde_json::from_str(&answer)?;
    writeln!(out, "configuration {} is in force", said.revision)?;
    for key in said.needs_restart {
        writeln!(out, "{key} has changed: that needs a restart")?;
    }
    for trunk in said.secrets {
        writeln!(out, "trunk {trunk} has another secret now")?;
    }
    said.notes.iter().try_for_each(|note| writeln!(out, "{note}"))?;
    Ok(())
}

#[derive(Deserialize)]
struct Reloaded {
    revision: u32,
    needs_restart: Vec<String>,
    secrets: Vec<String>,
    notes: Vec<String>,
}
