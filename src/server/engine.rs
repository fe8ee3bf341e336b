//! The engine: the signalling value on an OS thread of its own.
//!
//! One turn: take what waits (datagrams in batches, other threads' inputs), let the switch handle
//! what is under way, then what is to be refused and new calls for a while, carry out what it
//! decided; where nothing is left, sleep until the next datagram, bell or deadline.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use cooee_media::socket::RecvBatch;
use cooee_model::fact::{Refusal, Rejected};
use cooee_model::ids::CallId;
use cooee_signalling::call::context::Output;
use cooee_signalling::switch::Switch;
use cooee_signalling::switch::input::Input;
use cooee_telemetry::Telemetry;
use cooee_telemetry::stats::Direction;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::sync::oneshot;

use crate::backlog::Backlog;
use crate::clock;
use crate::hep::{Hep, Seen};
use crate::inbox::Letters;
use crate::outbound::{Outbound, peek};
use crate::udp::Udp;

/// How often gauges are published, nanoseconds.
const PUBLISH_EVERY_NS: u64 = 200_000_000;

/// Calls that one turn writes of a checkpoint: some 0.2 ms.
const CHECKPOINT_CALLS: usize = 64;

/// Batches that one turn takes from a socket, so that what is under way is never far behind.
const BATCHES: usize = 8;

/// How long a turn refuses calls, and then handles new ones, before it looks again for what is
/// under way, nanoseconds. Neither keeps the other from its turn.
const NEW_CALLS_NS: u64 = 2_000_000;

/// The bell's number among the things that wake the engine; sockets are numbered from 0.
const BELL: u64 = u64::MAX;

/// What the engine is made of.
pub struct Parts {
    /// The signalling value.
    pub switch: Switch,
    /// Sockets.
    pub udp: Arc<Udp>,
    /// Inputs of other threads.
    pub letters: Letters,
    /// The way out.
    pub outbound: Outbound,
    /// Where copies of messages go, if anywhere.
    pub hep: Option<Hep>,
    /// What the recovery has already decided: carried out first.
    pub first: Output,
    /// Where counts go.
    pub telemetry: Arc<Telemetry>,
    /// Set to end the engine.
    pub stop: Arc<AtomicBool>,
}

/// Starts the engine.
///
/// # Errors
/// If the kernel has no thread or descriptor left.
pub fn start(parts: Parts) -> io::Result<JoinHandle<()>> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (number, socket) in (0_u64..).zip(parts.udp.sockets()) {
        epoll.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, number))?;
    }
    epoll.add(parts.letters.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
    Builder::new().name("engine".into()).spawn(move || Engine::new(parts, epoll).run())
}

struct Engine {
    parts: Parts,
    epoll: Epoll,
    batch: RecvBatch,
    backlog: Backlog,
    /// Who waits for the inputs to be carried out.
    receipts: Vec<oneshot::Sender<()>>,
    out: Output,
    /// Calls that the checkpoint under way has still to write.
    unwritten: Option<Vec<CallId>>,
    published: u64,
    resent: u64,
}

impl Engine {
    fn new(mut parts: Parts, epoll: Epoll) -> Self {
        let out = std::mem::take(&mut parts.first);
        let (batch, backlog) = (Udp::room(), Backlog::default());
        let receipts = Vec::new();
        let (unwritten, published, resent) = (None, 0, 0);
        Self { parts, epoll, batch, backlog, receipts, out, unwritten, published, resent }
    }

    fn run(mut self) {
        let mut events = [EpollEvent::empty(); 32];
        // Thousands of relays may be opened at once here, where nothing waits yet.
        self.parts.outbound.order_all(&mut self.out.media);
        self.parts.outbound.carry_out(&mut self.out);
        while !self.parts.stop.load(Ordering::Acquire) {
            let timeout = self.timeout();
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => {
                    tracing::error!(%error, "the engine cannot wait: it ends");
                    return;
                }
            };
            for event in events.iter().take(count) {
                match event.data() {
                    BELL => self.take_letters(),
                    number => {
                        let number = u16::try_from(number).unwrap_or(u16::MAX);
                        self.take_datagrams(number);
                        // After what was answered: an answer outweighs what ICMP says.
                        if event.events().contains(EpollFlags::EPOLLERR) {
                            self.take_errors(number);
                        }
                    }
                }
            }
            self.turn();
            self.housekeeping();
        }
        self.parts.outbound.journal().flush(std::time::Duration::from_secs(2));
    }

    /// Until the next deadline, rounded up: epoll counts in milliseconds.
    fn timeout(&self) -> EpollTimeout {
        if self.unwritten.is_some() || !self.backlog.is_empty() {
            return EpollTimeout::ZERO;
        }
        let wait_ns = match self.parts.switch.next_deadline() {
            Some((at, _why)) => at.saturating_sub(clock::now().mono).min(PUBLISH_EVERY_NS),
            None => PUBLISH_EVERY_NS,
        };
        let wait_ms = u16::try_from(wait_ns.div_ceil(1_000_000)).unwrap_or(u16::MAX);
        EpollTimeout::from(wait_ms)
    }

    fn take_datagrams(&mut self, number: u16) {
        for _ in 0..BATCHES {
            let Parts { udp, switch, telemetry, .. } = &self.parts;
            let (backlog, engine) = (&mut self.backlog, &telemetry.engine);
            let taken = udp.receive(number, &mut self.batch, |input| {
                if !backlog.push(input, |waiting| switch.sheds(waiting)) {
                    engine.backlog_full.fetch_add(1, Ordering::Relaxed);
                }
            });
            match taken {
                Ok(crate::udp::BATCH) => {}
                Ok(_) => return,
                Err(error) => {
                    return tracing::warn!(%error, number, "a SIP socket cannot be read");
                }
            }
        }
    }

    fn take_errors(&mut self, number: u16) {
        let mut unsent = Vec::new();
        let counts = self.parts.udp.hear_icmp(number, &mut unsent);
        for input in unsent {
            self.push(input);
        }
        let [unreachable, other] = &self.parts.telemetry.engine.icmp;
        unreachable.fetch_add(counts.0, Ordering::Relaxed);
        other.fetch_add(counts.1, Ordering::Relaxed);
    }

    fn take_letters(&mut self) {
        self.parts.letters.heard();
        while let Some((input, receipt)) = self.parts.letters.next() {
            self.push(input);
            self.receipts.extend(receipt);
        }
    }

    fn push(&mut self, input: Input) {
        if !self.backlog.push(input, |waiting| self.parts.switch.sheds(waiting)) {
            self.parts.telemetry.engine.backlog_full.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Handles what has been taken and carries out what was decided.
    fn turn(&mut self) {
        while let Some(input) = self.backlog.under_way() {
            self.handle(input);
        }
        self.handle_for_a_while(Backlog::surplus);
        self.handle_for_a_while(Backlog::new_call);
        // Each is told by being let go of: nothing that is waited for begins a call.
        self.receipts.clear();
        self.parts.switch.handle(clock::now(), Input::Wake, &mut self.out);
        Self::carry_out(&mut self.parts, None, &mut self.out);
    }

    fn handle_for_a_while(&mut self, next: impl Fn(&mut Backlog) -> Option<Input>) {
        let end = clock::now().mono + NEW_CALLS_NS;
        while let Some(input) = next(&mut self.backlog) {
            self.handle(input);
            if clock::now().mono >= end {
                break;
            }
        }
    }

    fn handle(&mut self, input: Input) {
        if let Input::Datagram { bytes, .. } | Input::Surplus { bytes, .. } = &input {
            let (method, code) = peek(bytes);
            self.parts.telemetry.engine.messages.count(Direction::In, method, code);
        }
        let heard = self.parts.hep.as_ref().and_then(|hep| hep.received(&input));
        self.parts.switch.handle(clock::now(), input, &mut self.out);
        // An append costs 2 us: the first of a burst must not wait for the last.
        Self::carry_out(&mut self.parts, heard, &mut self.out);
    }

    fn carry_out(parts: &mut Parts, heard: Option<Seen>, out: &mut Output) {
        // What is no SIP is counted here: it makes no fact.
        let broken = |r: &&Rejected| r.why == Refusal::Malformed;
        let count = as_u64(out.rejected.iter().filter(broken).count());
        parts.telemetry.engine.parse_errors.fetch_add(count, Ordering::Relaxed);
        let plan = parts.switch.plan();
        let step = parts.hep.as_mut().and_then(|hep| hep.look(plan, heard, out));
        parts.outbound.carry_out(out);
        if let (Some(hep), Some(step)) = (&parts.hep, step) {
            hep.tell(step);
        }
    }

    /// Writes the state of all calls anew where the journal asks for it, a few calls in each turn:
    /// no message waits for thousands of them.
    fn checkpoint(&mut self) {
        let (switch, journal) = (&self.parts.switch, self.parts.outbound.journal());
        if self.unwritten.is_none() && journal.checkpoint_due() {
            journal.begin_checkpoint();
            self.unwritten = Some(switch.calls().collect());
        }
        let Some(unwritten) = &mut self.unwritten else { return };
        for call in unwritten.drain(unwritten.len().saturating_sub(CHECKPOINT_CALLS)..) {
            if let Some(bytes) = switch.snapshot(call) {
                journal.snapshot(call, |out| out.extend_from_slice(&bytes));
            }
        }
        if unwritten.is_empty() {
            journal.end_checkpoint();
            self.unwritten = None;
        }
        let _ = journal.commit();
    }

    fn housekeeping(&mut self) {
        self.checkpoint();
        let now = clock::now().mono;
        if now < self.published + PUBLISH_EVERY_NS {
            return;
        }
        self.published = now;
        self.parts.telemetry.tell_trunks(self.parts.switch.trunks(clock::now()));
        let overloaded = self.parts.switch.is_overloaded(clock::now());
        let gauges = self.parts.switch.gauges();
        let engine = &self.parts.telemetry.engine;
        engine.calls_now.store(as_u64(gauges.calls), Ordering::Relaxed);
        engine.leases_now.store(as_u64(gauges.leases), Ordering::Relaxed);
        engine.overloaded_now.store(overloaded.into(), Ordering::Relaxed);
        engine.lines_now.store(as_u64(gauges.registered), Ordering::Relaxed);
        engine.lines_leaving.store(as_u64(gauges.leaving), Ordering::Relaxed);
        engine.retransmits.fetch_add(gauges.resent - self.resent, Ordering::Relaxed);
        self.resent = gauges.resent;
        if let Some(relay) = self.parts.outbound.relay() {
            let (from, to) = (relay.counters(), &self.parts.telemetry.media);
            to.forwarded.store(from.packets_out, Ordering::Relaxed);
            to.foreign.store(from.foreign, Ordering::Relaxed);
            to.malformed.store(from.malformed, Ordering::Relaxed);
            to.stale.store(from.stale, Ordering::Relaxed);
            to.no_peer.store(from.no_peer, Ordering::Relaxed);
            to.kept.store(from.kept, Ordering::Relaxed);
            let presses = [from.presses_heard, from.presses_played, from.presses_dropped];
            to.presses.iter().zip(presses).for_each(|(to, n)| to.store(n, Ordering::Relaxed));
            to.send_failed.store(from.send_failed, Ordering::Relaxed);
            to.overrun.store(from.overrun, Ordering::Relaxed);
            to.unstamped.store(from.unstamped, Ordering::Relaxed);
        }
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
