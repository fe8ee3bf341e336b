//! `cooee trunk list|ping|enable|drain|disable|rotate-secret`: the trunks of a running node.

use std::io::Write;

use clap::{Args, Subcommand};
use cooee_records::shown;
use reqwest::Method;
use serde::Deserialize;

use super::admin::{At, Error, pretty};

/// Lists the trunks of a running node, and tells them what they may do.
#[derive(Args, Debug)]
pub struct Trunk {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Lists the trunks with their addresses.
    List {
        /// Prints the API's answer.
        #[arg(long)]
        json: bool,
    },
    /// Asks each address of a trunk now by OPTIONS, and prints what it says and how long it took.
    Ping {
        /// The trunk.
        name: String,
    },
    /// Reads the configuration again for a trunk's new secret; fails where it is the old one.
    /// Calls that are up go on. The old secret counts no more.
    RotateSecret {
        /// The trunk.
        name: String,
    },
    /// Lets a trunk do everything again.
    Enable {
        /// The trunk.
        name: String,
    },
    /// No new calls either way; its INVITEs get 503 with Retry-After. It holds across restarts.
    Drain {
        /// The trunk.
        name: String,
    },
    /// No new calls either way; its INVITEs get 403. It holds across restarts.
    Disable {
        /// The trunk.
        name: String,
        /// Ends the calls that are up on it, too.
        #[arg(long)]
        cut: bool,
    },
}

#[derive(Deserialize)]
struct State {
    name: String,
    leave: String,
    calls: u32,
    lines: u32,
    lines_registered: u32,
    peers: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    name: String,
    transport: String,
    address: String,
    state: String,
    since_us: i64,
    rtt_us: Option<u64>,
}

#[derive(Deserialize)]
struct Told {
    trunk: String,
    leave: String,
    cut: usize,
}

/// Asks the node and writes what it says to `out`.
///
/// # Errors
/// Where the node is out of reach or refuses, or the output cannot be written.
pub fn run(trunk: &Trunk, token: Option<&str>, out: &mut dyn Write) -> Result<(), Error> {
    let node = trunk.at.node(token);
    let (name, order) = match &trunk.verb {
        Verb::List { json } => {
            let answer = node.ask(Method::GET, "/v1/trunks")?.text()?;
            return if *json { pretty(&answer, out) } else { table(&answer, out) };
        }
        Verb::Ping { name } => {
            let path = format!("/v1/trunks/{name}/ping");
            return pinged(&node.ask(Method::POST, &path)?.text()?, out);
        }
        Verb::RotateSecret { name } => {
            node.ask(Method::POST, &format!("/v1/trunks/{name}/rotate-secret"))?;
            writeln!(out, "{name} has another secret now; the old one counts no more")?;
            return Ok(());
        }
        Verb::Enable { name } => (name, "enable"),
        Verb::Drain { name } => (name, "drain"),
        Verb::Disable { name, cut: false } => (name, "disable"),
        Verb::Disable { name, cut: true } => (name, "disable?cut=true"),
    };
    let answer = node.ask(Method::POST, &format!("/v1/trunks/{name}/{order}"))?.text()?;
    let told: Told = serde_json::from_str(&answer)?;
    writeln!(out, "{} is {}; calls told to hang up: {}", told.trunk, told.leave, told.cut)?;
    Ok(())
}

/// A line for each address; a trunk that only calls us has one without.
fn table(answer: &str, out: &mut dyn Write) -> Result<(), Error> {
    let titles =
        ["trunk", "may", "calls", "lines", "name", "address", "state", "since", "round trip"];
    let states: Vec<State> = serde_json::from_str(answer)?;
    let mut rows: Vec<[String; 9]> = Vec::new();
    for state in &states {
        let lines = match state.lines {
            0 => String::new(),
            all => format!("{} of {all}", state.lines_registered),
        };
        let head = [state.name.clone(), state.leave.clone(), state.calls.to_string(), lines];
        let places = state
            .peers
            .iter()
            .map(place)
            .chain(state.peers.is_empty().then(<[String; 5]>::default));
        for (place, first) in places.zip(std::iter::once(true).chain(std::iter::repeat(false))) {
            let [name, may, calls, lines] =
                if first { head.clone() } else { <[String; 4]>::default() };
            let [by, address, standing, since, round_trip] = place;
            rows.push([name, may, calls, lines, by, address, standing, since, round_trip]);
        }
    }
    out.write_all(shown::table(titles, &rows).as_bytes())?;
    Ok(())
}

#[derive(Deserialize)]
struct Pinged {
    peers: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    name: String,
    transport: String,
    address: String,
    code: Option<u16>,
    rtt_us: Option<u64>,
    state: String,
}

/// A line for each address.
fn pinged(answer: &str, out: &mut dyn Write) -> Result<(), Error> {
    let said: Pinged = serde_json::from_str(answer)?;
    let row = |one: &Said| {
        let code = one.code.map_or_else(|| "no answer".to_owned(), |code| code.to_string());
        let address = format!("{}:{}", one.transport, one.address);
        [one.name.clone(), address, code, millis(one.rtt_us), one.state.clone()]
    };
    let rows: Vec<_> = said.peers.iter().map(row).collect();
    let titles = ["name", "address", "answer", "round trip", "state"];
    out.write_all(shown::table(titles, &rows).as_bytes())?;
    Ok(())
}

fn millis(us: Option<u64>) -> String {
    us.map(|us| format!("{}.{:03} ms", us / 1000, us % 1000)).unwrap_or_default()
}

fn place(peer: &Peer) -> [String; 5] {
    [
        peer.name.clone(),
        format!("{}:{}", peer.transport, peer.address),
        peer.state.clone(),
        shown::iso_utc(peer.since_us),
        millis(peer.rtt_us),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_address() {
        let answer = r#"[{"name":"b24","leave":"draining","up":true,"calls":3,"lines":2,
            "lines_registered":1,"peers":[
              {"name":"sip.example.com","transport":"udp","address":"192.0.2.1:5060","state":"up",
               "since_us":1767225600000000,
               "rest_s":null,"rtt_us":1500,"judged_by":"options","priority":0,"weight":0},
              {"name":"","transport":"tcp","address":"192.0.2.2:5060","state":"down",
               "since_us":1767225600000000,"rest_s":null,"rtt_us":null,"judged_by":"invites",
               "priority":0,"weight":0}]},
            {"name":"unitalk","leave":"enabled","up":null,"calls":0,"lines":0,
             "lines_registered":0,"peers":[]}]"#;
        let mut out = Vec::new();
        table(answer, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let rows: Vec<Vec<&str>> = out.lines().map(|l| l.split_whitespace().collect()).collect();
        let first =
            ["b24", "draining", "3", "1", "of", "2", "sip.example.com", "udp:192.0.2.1:5060", "up"];
        assert_eq!(rows[1][..9], first, "{out}");
        assert_eq!(rows[1][10..], ["1.500", "ms"], "{out}");
        assert_eq!(rows[2][..2], ["tcp:192.0.2.2:5060", "down"], "{out}");
        assert_eq!(rows[3], ["unitalk", "enabled", "0"], "{out}");
    }

    #[test]
    fn a_ping_tells_who_is_silent() {
        let answer = r#"{"trunk":"b24","peers":[
            {"name":"sip.example.com","transport":"udp","address":"192.0.2.1:5060","code":200,
             "rtt_us":18250,"state":"up"},
            {"name":"sip.example.com","transport":"udp","address":"192.0.2.2:5060","code":null,
             "rtt_us":null,"state":"down"}]}"#;
        let mut out = Vec::new();
        pinged(answer, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let rows: Vec<Vec<&str>> = out.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows[1][1..], ["udp:192.0.2.1:5060", "200", "18.250", "ms", "up"], "{out}");
        assert_eq!(rows[2][1..], ["udp:192.0.2.2:5060", "no", "answer", "down"], "{out}");
    }
}
