//! The RTP plane as its owner sees it: start, send commands, read counters, drop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use cooee_model::media::{MediaCommand, MediaEvent};
use cooee_model::sample::Sample;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::Pid;

use crate::counters::{Counters, Tally};
use crate::error::Error;
use crate::limits::COMMANDS_WAITING;
use crate::pace::Wait;
use crate::pool::Pool;
use crate::worker::{Shared, Worker};

/// How the workers run.
#[derive(Clone, Debug, Default)]
pub struct RelayConfig {
    /// CPUs that the workers are pinned to, in turn; empty: the kernel places them.
    pub pin_cpus: Vec<usize>,
    /// How they wait for packets.
    pub wait: Wait,
    /// From one sample of a call's quality to the next; zero: none are taken.
    pub sampled_each: Duration,
}

/// The running RTP plane. Dropping it ends the threads and closes the ports.
#[derive(Debug)]
pub struct Relay {
    lanes: Vec<Lane>,
    refused: AtomicU64,
}

/// The way to one worker.
#[derive(Debug)]
struct Lane {
    /// `None` only while the worker is being ended.
    commands: Option<SyncSender<MediaCommand>>,
    bell: Arc<EventFd>,
    tally: Arc<Tally>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts one worker for each of `samples`, which takes the span from the kernel's receive
    /// stamp to the return of the send, in nanoseconds, of every packet passed on. `events` is
    /// called on the workers' threads and must not block: packets wait for it.
    ///
    /// # Errors
    /// No worker, a CPU that this process may not use, or the kernel refuses a descriptor or a
    /// thread.
    pub fn start<S, E>(
        pool: Pool,
        config: &RelayConfig,
        samples: Vec<S>,
        events: E,
    ) -> Result<Self, Error>
    where
        S: Sample + 'static,
        E: Fn(MediaEvent) + Send + Sync + Clone + 'static,
    {
        if samples.is_empty() {
            return Err(Error::NoWorker);
        }
        let pool = Arc::new(pool);
        let pins = pins(&config.pin_cpus)?;
        let mut relay = Self { lanes: Vec::with_capacity(samples.len()), refused: 0.into() };
        for (number, sample) in samples.into_iter().enumerate() {
            let (sender, commands) = sync_channel(COMMANDS_WAITING);
            let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
            let bell = Arc::new(EventFd::from_flags(flags).map_err(io::Error::from)?);
            let tally = Arc::new(Tally::default());
            let shared = Shared {
                pool: Arc::clone(&pool),
                bell: Arc::clone(&bell),
                commands,
                tally: Arc::clone(&tally),
                wait: config.wait,
                sampled_each: config.sampled_each,
            };
            let worker = Worker::new(shared, sample, events.clone()).map_err(io::Error::from)?;
            let pin = pins.iter().cycle().nth(number).copied();
            let thread = Builder::new().name(format!("rtp-{number}")).spawn(move || {
                if let Some(Err(error)) = pin.map(|cpu| sched_setaffinity(Pid::from_raw(0), &cpu)) {
                    tracing::warn!(%error, number, "an RTP worker could not be pinned");
                }
                // A tick is to be what it is called, not up to 50 us more.
                if let Err(error) = nix::sys::prctl::set_timerslack(1000) {
                    tracing::debug!(%error, number, "an RTP worker's timers stay coarse");
                }
                worker.run();
            })?;
            relay.lanes.push(Lane { commands: Some(sender), bell, tally, thread: Some(thread) });
        }
        Ok(relay)
    }

    /// Hands a command to the worker of its call; never blocks. `false`: refused, since
    /// `COMMANDS_WAITING` commands wait there already.
    pub fn send(&self, command: MediaCommand) -> bool {
        let lanes = self.lanes.len().max(1) as u128;
        // The low bits of a call id are random.
        let place = usize::try_from(command.call().0 % lanes).unwrap_or(0);
        let taken = self.lanes.get(place).is_some_and(|lane| lane.send(command));
        if !taken {
            self.refused.fetch_add(1, Relaxed);
        }
        taken
    }

    /// The figures since the start. Not one instant's: each is exact, but packets that pass
    /// meanwhile may be in some of them only.
    pub fn counters(&self) -> Counters {
        let refused = self.refused.load(Relaxed);
        let mut sum = Counters { commands_refused: refused, ..Counters::default() };
        self.lanes.iter().for_each(|lane| lane.tally.add_to(&mut sum));
        sum
    }
}

impl Lane {
    fn send(&self, command: MediaCommand) -> bool {
        let taken = self.commands.as_ref().is_some_and(|queue| queue.try_send(command).is_ok());
        // Fails only where the bell has rung 2^64 - 1 times unheard.
        taken && self.bell.write(1).is_ok()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for lane in &mut self.lanes {
            lane.commands = None;
            let _ = lane.bell.write(1);
        }
        for thread in self.lanes.iter_mut().filter_map(|lane| lane.thread.take()) {
            if thread.join().is_err() {
                tracing::error!("an RTP worker had panicked");
            }
        }
    }
}

/// One set for each CPU, all of which this process may use.
fn pins(cpus: &[usize]) -> Result<Vec<CpuSet>, Error> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).map_err(io::Error::from)?;
    let pin = |&cpu: &usize| {
        let mut set = CpuSet::new();
        let ours = allowed.is_set(cpu).unwrap_or(false) && set.set(cpu).is_ok();
        if ours { Ok(set) } else { Err(Error::Cpu { cpu }) }
    };
    cpus.iter().map(pin).collect()
}
