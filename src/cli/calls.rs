//! `cooee calls list|show|hangup|transfer`: the calls of a running node; `cooee drain`, `undrain`
//! and `reload`.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use cooee_records::shown;
use reqwest::Method;
use serde::Deserialize;

use super::admin::{At, Error, Node, pretty};

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
    /// Asks one leg by REFER to go on with somebody else, and says what came of it.
    Transfer {
        /// The call.
        id: String,
        /// A `sip:` URI, or a number or user at that leg's own host.
        target: String,
        /// Which leg is asked; else that of the customer.
        #[arg(long, value_parser = ["a", "b"])]
        leg: Option<String>,
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
        Verb::Transfer { id, target, leg } => transfer(&node, id, target, leg.as_deref(), out),
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

/// How often the result of a transfer is looked for, and how long at most.
const LOOKS: (Duration, u32) = (Duration::from_millis(500), 150);

#[derive(Deserialize)]
struct Transferred {
    #[serde(default)]
    transfer: Option<Transfer>,
    ended_us: Option<i64>,
}

#[derive(Deserialize, PartialEq)]
struct Transfer {
    leg: String,
    target: String,
    state: String,
    code: u16,
    why: String,
}

fn transfer(
    node: &Node<'_>,
    id: &str,
    target: &str,
    leg: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let path = format!("/v1/calls/{id}");
    let look = || {
        Ok::<_, Error>(serde_json::from_str::<Transferred>(&node.ask(Method::GET, &path)?.text()?)?)
    };
    let before = look()?.transfer;
    let order = serde_json::json!({ "target": target, "leg": leg });
    node.send(Method::POST, &format!("{path}/transfer"), &order)?;
    for _ in 0..LOOKS.1 {
        std::thread::sleep(LOOKS.0);
        let now = look()?;
        match now.transfer.filter(|transfer| before.as_ref() != Some(transfer)) {
            Some(of) if of.state == "asked" && now.ended_us.is_none() => {}
            Some(of) if of.state == "asked" => {
                writeln!(out, "leg {} was sent to {}, and the call has ended", of.leg, of.target)?;
                return Ok(());
            }
            Some(of) if of.state == "done" => {
                writeln!(out, "leg {} went on to {} ({})", of.leg, of.target, of.code)?;
                return Ok(());
            }
            Some(of) => return Err(Error::NotTransferred(of.code, of.why)),
            None if now.ended_us.is_some() => {
                return Err(Error::NotTransferred(0, "the call has ended".to_owned()));
            }
            None => {}
        }
    }
    Err(Error::NotTransferred(0, "no word of its result".to_owned()))
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

/// `cooee undrain`: takes new calls again.
///
/// # Errors
/// As [`run`].
pub fn undrain(order: &Order, token: Option<&str>, out: &mut dyn Write) -> Result<(), Error> {
    order.at.node(token).ask(Method::DELETE, "/v1/drain")?;
    writeln!(out, "the node takes new calls again, unless it is about to end")?;
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
