//! Batched SIP load tool: a caller and a callee over UDP in one process, past SIPp's reach.
//!
//! Calls arrive on a schedule that does not wait for the system under test (open loop), and spans
//! count from the scheduled moment, so that a stall shows in the percentiles and not in the rate.

mod net;
mod schedule;
mod tally;
mod uac;
mod uas;
mod wire;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddrV4;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;

use net::Port;
use schedule::{Schedule, Step};
use tally::Tally;
use uac::Uac;
use uas::Uas;
use wire::Caller;

/// Makes SIP calls at a fixed rate and measures what they take.
#[derive(Parser)]
#[command(version)]
struct Given {
    /// Which sides this process plays.
    #[arg(long, value_enum, default_value_t = Role::Both)]
    role: Role,
    /// Where the calls go.
    #[arg(long, default_value = "127.0.0.1:5060")]
    target: SocketAddrV4,
    /// The caller's address.
    #[arg(long, default_value = "127.1.0.1:5060")]
    caller: SocketAddrV4,
    /// The callee's address.
    #[arg(long, default_value = "127.2.0.1:5060")]
    callee: SocketAddrV4,
    /// Calls a second.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// How many calls.
    #[arg(long, default_value_t = 1000)]
    calls: u64,
    /// Rates one after the other, as `1000x10,5000x60`: so many calls a second for so many seconds,
    /// told second by second. Instead of --rate and --calls.
    #[arg(long, value_delimiter = ',', value_name = "RATExSECONDS")]
    steps: Vec<Step>,
    /// Calls that are set up before all others, refreshed by a re-INVITE while those run, and hung
    /// up when they are over.
    #[arg(long, default_value_t = 0)]
    held: u64,
    /// How long each other call is up, milliseconds.
    #[arg(long, default_value_t = 200)]
    hold_ms: u64,
    /// How long the callee rings, milliseconds.
    #[arg(long, default_value_t = 0)]
    ring_ms: u64,
    /// The number that calls.
    #[arg(long, default_value = "61491570156")]
    from: String,
    /// What the dialled numbers begin with.
    #[arg(long, default_value = "61255")]
    prefix: String,
    /// How many digits follow; they tell the callee which call came.
    #[arg(long, default_value_t = 6)]
    digits: u32,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Both,
    Uac,
    Uas,
}

/// The two sides and what they share.
struct Run {
    uac: Option<(Uac, Port)>,
    uas: Option<(Uas, Port)>,
    tally: Tally,
    /// When the INVITE to each number left, until the callee sees it.
    left: BTreeMap<String, Instant>,
    schedule: Schedule,
}

fn main() -> ExitCode {
    let given = Given::parse();
    match run(&given) {
        Ok((report, clean)) => {
            let text = if given.json { format!("{report:#}\n") } else { tally::table(&report) };
            let written = io::stdout().write_all(text.as_bytes());
            if clean && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "sipload: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(given: &Given) -> Result<(serde_json::Value, bool), Box<dyn std::error::Error>> {
    if !(given.rate > 0.0 && given.rate.is_finite()) {
        return Err("--rate must be above zero".into());
    }
    let mut run = Run::new(given)?;
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGINT);
    stop.add(Signal::SIGTERM);
    stop.thread_block()?;
    let signals = SignalFd::with_flags(&stop, SfdFlags::SFD_NONBLOCK)?;
    let (start, mut arrivals_end) = (run.schedule.due(0), Instant::now());
    loop {
        let now = Instant::now();
        if run.arrive(now) {
            arrivals_end = now;
        }
        run.fire(now)?;
        if run.over() || signals.read_signal()?.is_some() {
            break;
        }
        run.wait(&signals)?;
        run.receive()?;
    }
    let seconds = arrivals_end.saturating_duration_since(start).as_secs_f64();
    let clean = run.tally.failures() == 0 && run.tally.uas_unacknowledged == 0;
    let mut report = run.tally.json(seconds);
    if let (false, Some(report)) = (given.steps.is_empty(), report.as_object_mut()) {
        report.insert("by_second".to_owned(), run.tally.by_second());
    }
    if let (Some((uas, _)), Some(report)) = (&run.uas, report.as_object_mut()) {
        report.insert("uas_left_up".to_owned(), uas.live().into());
    }
    Ok((report, clean))
}

impl Run {
    fn new(given: &Given) -> Result<Self, Box<dyn std::error::Error>> {
        let steps = match &given.steps[..] {
            [] => vec![Step::of_calls(given.rate, given.calls)],
            steps => steps.to_vec(),
        };
        let (caller, callee) = (given.role != Role::Uas, given.role != Role::Uac);
        let schedule = Schedule::new(given.held, steps);
        // Binding the callee first: no INVITE can come before it listens.
        let uas = if callee {
            let port = Port::bind(given.callee)?;
            Some((Uas::new(port.local(), Duration::from_millis(given.ring_ms)), port))
        } else {
            None
        };
        let uac = if caller {
            let port = Port::bind(given.caller)?;
            let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
            let run = u64::try_from(unix.as_micros())?;
            let (local, target) = (port.local(), given.target);
            let caller = Caller { local, target, from: given.from.clone(), run };
            let hold = Duration::from_millis(given.hold_ms);
            let numbers = (given.prefix.clone(), given.digits);
            Some((Uac::new(caller, numbers, hold, schedule.clone()), port))
        } else {
            None
        };
        Ok(Self { uac, uas, tally: Tally::new()?, left: BTreeMap::new(), schedule })
    }

    /// Begins every call that is due; true where one began.
    fn arrive(&mut self, now: Instant) -> bool {
        let mut began = false;
        while self.tally.started < self.schedule.calls() {
            let due = self.schedule.due(self.tally.started);
            let Some((uac, port)) = self.uac.as_mut().filter(|_| due <= now) else { break };
            uac.start(self.tally.started, due, port, &mut self.tally);
            began = true;
        }
        began
    }

    /// Fires timers and sends what is queued.
    fn fire(&mut self, now: Instant) -> io::Result<()> {
        if let Some((uac, port)) = &mut self.uac {
            uac.wake(now, port, &mut self.tally);
        }
        if let Some((uas, port)) = &mut self.uas {
            uas.wake(now, port, &mut self.tally);
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some((uac, port)) = &mut self.uac {
            let (left, watched) = (&mut self.left, self.uas.is_some());
            port.flush(|n, at| {
                if watched {
                    left.insert(uac.dialled(n), at);
                }
            })?;
        }
        if let Some((_, port)) = &mut self.uas {
            port.flush(|_, _| {})?;
        }
        Ok(())
    }

    /// Whether the caller has nothing left to do; a callee alone runs until a signal.
    fn over(&self) -> bool {
        let Some((uac, _)) = &self.uac else { return false };
        self.tally.started >= self.schedule.calls() && uac.live() == 0
    }

    fn wait(&self, signals: &SignalFd) -> io::Result<()> {
        use std::os::fd::AsFd;
        let arrival = (self.uac.is_some() && self.tally.started < self.schedule.calls())
            .then(|| self.schedule.due(self.tally.started));
        let uac = self.uac.as_ref().and_then(|(uac, _)| uac.next());
        let uas = self.uas.as_ref().and_then(|(uas, _)| uas.next());
        let next = [arrival, uac, uas].into_iter().flatten().min();
        let rest = next.map(|at| at.saturating_duration_since(Instant::now()));
        let ports = self.uac.iter().map(|(_, p)| p).chain(self.uas.iter().map(|(_, p)| p));
        let mut polled: Vec<PollFd<'_>> =
            ports.map(|port| PollFd::new(port.fd(), PollFlags::POLLIN)).collect();
        polled.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
        match ppoll(&mut polled, rest.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what has come, the callee's first: an INVITE's age is measured there.
    fn receive(&mut self) -> io::Result<()> {
        let mut inbox: Vec<(Instant, SocketAddrV4, Vec<u8>)> = Vec::new();
        if let Some((uas, port)) = &mut self.uas {
            port.receive(|at, from, bytes| inbox.push((at, from, bytes.to_vec())))?;
            for (at, from, bytes) in inbox.drain(..) {
                if let Some(number) = uas.receive(at, from, &bytes, port, &mut self.tally)
                    && let Some(left) = self.left.remove(&number)
                {
                    self.tally.a_to_b.record(at.saturating_duration_since(left));
                }
            }
        }
        if let Some((uac, port)) = &mut self.uac {
            port.receive(|at, from, bytes| inbox.push((at, from, bytes.to_vec())))?;
            for (at, _, bytes) in inbox.drain(..) {
                uac.receive(at, &bytes, port, &mut self.tally);
            }
        }
        Ok(())
    }
}
