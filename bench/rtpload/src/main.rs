//! RTP load tool: voice at a fixed rate over many calls through a relay, from one core.
//!
//! Each packet carries the moment when it was put into its batch (wall clock); its delay runs from
//! there to the kernel's receive stamp at the other side's socket, so neither the tool's own
//! reading nor its place in a queue counts. The same list of flows with nothing between the sides
//! gives the tool's own floor, to be taken off.

mod cpu;
mod flows;
mod load;
mod packet;
mod plan;
mod tally;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};

use cpu::Times;
use flows::Flows;
use load::Load;

/// Packets a second while a relay learns where each side is.
const WAKE_RATE: u64 = 20_000;
/// Packets of each stream for that.
const WAKE_PACKETS: u64 = 3;

/// Sends voice through a relay and measures its delay, loss and price. Prints JSON.
#[derive(Parser)]
#[command(version)]
struct Given {
    /// The list of flows, JSON.
    #[arg(long)]
    flows: PathBuf,
    /// Takes the first calls of the list only.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    calls: usize,
    /// Packets a second of each call and direction.
    #[arg(long, default_value_t = 50)]
    packets: u64,
    /// Packets a second in all, instead.
    #[arg(long, conflicts_with = "packets")]
    rate: Option<u64>,
    /// How long to measure, seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How long to send before, seconds.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// A process of the relay, whose CPU time is taken; may be given again.
    #[arg(long)]
    pid: Vec<u32>,
}

fn main() -> ExitCode {
    match run(&Given::parse()) {
        Ok(report) => match writeln!(io::stdout(), "{report:#}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            let _ = writeln!(io::stderr(), "rtpload: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(given: &Given) -> Result<Value, Box<dyn std::error::Error>> {
    let (span, warm_up) =
        (Duration::try_from_secs_f64(given.seconds)?, Duration::try_from_secs_f64(given.warm_up)?);
    let mut load = Load::new(Flows::read(&given.flows, given.calls)?)?;
    let streams = load.streams();
    let rate = given.rate.unwrap_or(given.packets * streams);
    let wake_s = (WAKE_PACKETS * streams) as f64 / WAKE_RATE as f64;
    load.play(WAKE_RATE, Duration::from_secs_f64(wake_s))?;
    load.play(rate, warm_up)?;

    let own = [std::process::id()];
    let times = || (Times::of(&given.pid), Times::of(&own));
    let before = times();
    let seen = load.play(rate, span)?;
    let after = times();

    let mut report = seen.tally.json();
    let spent = |before: Option<Times>, after: Option<Times>| Some(after? - before?);
    let relay = spent(before.0, after.0).filter(|_| !given.pid.is_empty());
    let tool = spent(before.1, after.1);
    let received = seen.tally.received.max(1) as f64;
    let span_ns = seen.seconds.max(f64::EPSILON) * 1e9;
    let share = |ns: u64| ns as f64 / span_ns;
    for (key, value) in [
        ("calls", json!(streams / 2)),
        ("rate_wanted", json!(rate)),
        ("rate", json!((seen.tally.sent as f64 * 1e9 / span_ns).round())),
        ("seconds", json!(seen.seconds)),
        ("stalls", json!(seen.stalls)),
        ("overrun", json!(seen.overrun)),
        ("cpu_us_per_packet", json!(relay.map(|relay| relay.ran as f64 / 1000.0 / received))),
        ("cpu_cores", json!(relay.map(|relay| share(relay.ran)))),
        ("relay_waited_percent", json!(relay.map(|relay| 100.0 * share(relay.waited)))),
        ("tool_waited_percent", json!(tool.map(|tool| 100.0 * share(tool.waited)))),
    ] {
        if let Some(report) = report.as_object_mut() {
            report.insert(key.to_owned(), value);
        }
    }
    Ok(report)
}
