//! `cooee demo`: a node between a simulated Unitalk and a simulated Bitrix24 line, on loopback.

mod checks;
mod mix;
mod report;
mod screen;
mod script;
mod world;

use std::io::{IsTerminal, Write, stdout};

use cooee_config::finding::{Finding, Findings};
use cooee_server::error::Error;
use cooee_sim::clock::Pace;
use tokio::signal::unix::{SignalKind, signal};

use report::Node;
use screen::Screen;
use world::World;

use super::reload::Source;
use super::running::Running;

/// Between two calls of the endless list, seconds of the scenario.
const CALL_EVERY_S: f64 = 6.0;

/// Shows a working bridge between simulated platforms: loopback only, no accounts, no root
///
/// A simulated Unitalk places calls with audio through a real node; a simulated Bitrix24 line on
/// Voximplant answers them as in the log of a real call (greeting, queue, agent, hold, hang-up)
/// and posts the portal's events; a receiver takes the node's webhooks. The terminal shows the
/// calls, who calls whom before and behind the bridge, times, delays and webhooks. Runs until
/// Ctrl-C, and leaves nothing behind.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Places a fixed list of calls, checks every number that the node tells of them against what
    /// the simulators saw, and ends: 0 if all are right, 1 if one is wrong
    #[arg(long)]
    script: bool,
    /// With --script: prints every single check
    #[arg(long, requires = "script")]
    all: bool,
    /// How many times as fast as the log the scenario runs, 0.5 to 8
    #[arg(long, value_name = "FACTOR", default_value = "4", value_parser = speed)]
    speed: f64,
    /// Shows the node's log on standard error
    #[arg(long)]
    log: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.5..=8.0).contains(speed));
    speed.ok_or_else(|| "is no number from 0.5 to 8".to_owned())
}

/// Why there is no demo.
#[derive(Debug)]
pub(super) struct Failed(String);

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// The demo's configuration is made anew for each: there is no file to be read again.
fn unchanging() -> Source {
    Box::new(|| {
        let text = "the demo has no configuration file: there is nothing to read again".to_owned();
        Err(Findings::one(Finding::error("demo", text)))
    })
}

/// Runs the demo; the exit code.
pub(crate) fn run(args: &Args) -> u8 {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let ended = match runtime.worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(live(args)),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(Failed(why)) => super::failed(&why, 3),
    }
}

/// `false`: a number was wrong.
async fn live(args: &Args) -> Result<bool, Failed> {
    let mut world = World::new(Pace::new(args.speed)).await?;
    let mut loaded = world.configuration()?;
    if args.log {
        let _ = super::run::start_log(&loaded);
    }
    let mut node = Running::start(&loaded, unchanging()).await;
    if let Err(Error::Admin { .. }) = node {
        // Another demo was quicker.
        world.move_admin()?;
        loaded = world.configuration()?;
        node = Running::start(&loaded, unchanging()).await;
    }
    let node = node?;
    let shown = shown(args, &world).await;
    node.stop().await;
    shown
}

async fn shown(args: &Args, world: &World) -> Result<bool, Failed> {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let api = Node::new(world.admin)?;
    let repaints = stdout().is_terminal() && !args.log && !args.script;
    let screen = Screen::new(repaints, args.speed, world);
    let told = async {
        if args.script {
            return script::run(world, &api, args.all).await;
        }
        let pace = Pace::new(args.speed);
        tokio::join!(calls(world, pace), screen.live(world, &api));
        Ok(true)
    };
    tokio::select! {
        told = told => told,
        _ = int.recv() => Ok(!args.script),
        _ = term.recv() => Ok(!args.script),
    }
}

/// Places calls for ever.
async fn calls(world: &World, pace: Pace) {
    for turn in 0.. {
        world.unitalk.place(mix::endless(turn));
        tokio::time::sleep(pace.seconds(CALL_EVERY_S)).await;
    }
}

/// Prints; a reader who has gone away is no reason to leave things behind.
fn say(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
