//! `cooee run`: a node, from its configuration to the signal that ends it.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use cooee_config::Loaded;
use cooee_server::error::Error;
use cooee_server::node::Node;
use cooee_signalling::message::transport::Transport;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, interval, sleep_until};
use tracing_subscriber::EnvFilter;

use super::running::Running;

/// Runs a node; the exit code.
#[allow(clippy::print_stderr)]
pub fn run(config: &Path) -> u8 {
    let loaded = match cooee_config::load(config) {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprintln!("{findings}");
            eprintln!("cooee does not start with a broken configuration; `cooee check` tells more");
            return 1;
        }
    };
    let level = start_log(&loaded);
    for note in &loaded.notes {
        tracing::info!("{note}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("admin")
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(live(&loaded, config, level)),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(true) => 0,
        Ok(false) => 3,
        Err(error) => {
            eprintln!("cooee: {error}");
            3
        }
    }
}

/// Changes what is logged, by a filter as of `[log] level`.
pub(super) type SetLevel = Box<dyn Fn(&str) + Send + Sync>;

pub(super) fn start_log(loaded: &Loaded) -> SetLevel {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter(&loaded.log.level))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if loaded.log.json {
        let log = log.json().with_filter_reloading();
        let handle = log.reload_handle();
        log.init();
        Box::new(move |level| drop(handle.reload(filter(level))))
    } else {
        let log = log.with_filter_reloading();
        let handle = log.reload_handle();
        log.init();
        Box::new(move |level| drop(handle.reload(filter(level))))
    }
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Runs until a signal; `false`: the engine ended by itself.
async fn live(loaded: &Loaded, config: &Path, set_level: SetLevel) -> Result<bool, Error> {
    let config = config.to_owned();
    let again = Box::new(move || {
        cooee_config::load(&config).inspect(|loaded| set_level(&loaded.log.level))
    });
    let running = Running::start(loaded, again).await?;
    let node = running.node();
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let mut hup = signal(SignalKind::hangup())?;
    let told = |(t, a): (Transport, SocketAddr)| format!("{}:{a}", t.name());
    let sip: Vec<String> = loaded.sip.addresses().map(told).collect();
    let hooks = running.hooks().map(|at| at.to_string()).unwrap_or_default();
    tracing::info!(sip = sip.join(" "), admin = %loaded.admin.bind, hooks, "ready");
    let mut look = interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = look.tick() => {}
            _ = hup.recv() => running.reload().await,
            _ = term.recv() => break,
            _ = int.recv() => break,
        }
        if !node.is_running() {
            tracing::error!("the engine has ended");
            break;
        }
    }
    let as_told = node.is_running();
    drain(node, loaded.node.drain_seconds, &mut term, &mut int).await;
    running.stop().await;
    Ok(as_told)
}

/// How long a drain without calls waits for registrars to hear that our lines leave.
const UNREGISTER_PATIENCE: Duration = Duration::from_secs(5);

/// Lets live calls end: no new ones, until none is left, the deadline, or a second signal.
async fn drain(
    node: &Node,
    seconds: u32,
    term: &mut tokio::signal::unix::Signal,
    int: &mut tokio::signal::unix::Signal,
) {
    node.drain();
    let began = Instant::now();
    let deadline = began + Duration::from_secs(seconds.into());
    let mut look = interval(Duration::from_millis(200));
    // The gauge is published five times a second: the first look may be too early.
    look.tick().await;
    tracing::info!(calls = node.calls(), "draining");
    loop {
        tokio::select! {
            _ = look.tick() => {
                node.tick();
                // A registrar that is away is not waited for.
                let away = || node.leaving() == 0 || Instant::now() > began + UNREGISTER_PATIENCE;
                if (node.calls() == 0 && away()) || !node.is_running() {
                    return;
                }
            }
            () = sleep_until(deadline) => {
                let calls = node.calls();
                tracing::warn!(calls, "drain deadline: the rest waits for the next start");
                return;
            }
            _ = term.recv() => return,
            _ = int.recv() => return,
        }
    }
}
