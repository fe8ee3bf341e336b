//! The loop: sends by the plan, takes what comes back, and never sleeps while a plan runs.

use std::io;
use std::time::Duration;

use cooee_media::socket::{RecvBatch, Socket, SocketOptions, boottime_ns};
use hdrhistogram::CreationError;
use nix::sys::socket::{setsockopt, sockopt};
use nix::time::{ClockId, clock_gettime};

use crate::flows::Flows;
use crate::packet::{BYTES, Packet};
use crate::plan::Plan;
use crate::tally::Tally;

/// Datagrams sent in one call at most. A packet is stamped when it is put into the batch, so a
/// longer one would put the tool's own sending into the delays.
const SEND_BATCH: usize = 16;
/// Datagrams received in one call at most.
const RECV_BATCH: usize = 64;
/// Batches taken from a socket in one look at most: sending must go on.
const RECV_BATCHES: usize = 4;
/// Kernel buffer of each socket, bytes: what the relay delivers in a good while.
const BUFFER: usize = 32 << 20;
/// A look at the sockets takes some microseconds: it is taken where no packet is due meanwhile...
const LOOK_NS: u64 = 6_000;
/// ...and after so long in any case.
const LOOK_EVERY_NS: u64 = 200_000;
/// Nothing for so long at the end of a phase: the rest is lost.
const QUIET_NS: u64 = 100_000_000;
/// The end of a phase takes no longer, whatever still comes.
const END_NS: u64 = 5_000_000_000;

/// One side's socket with what is about to leave by it.
struct Port {
    socket: Socket,
    packets: Vec<[u8; BYTES]>,
    to: Vec<std::net::SocketAddr>,
}

impl Port {
    fn bind(source: std::net::SocketAddr) -> io::Result<Self> {
        let socket = Socket::bind(source, SocketOptions::default())?;
        // Forcing needs a privilege; without it the kernel's own limit stands.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER)?;
        }
        Ok(Self { socket, packets: Vec::new(), to: Vec::new() })
    }

    /// Sends what waits; gives how many the kernel took and how many it did not.
    fn flush(&mut self) -> (u64, u64) {
        let (mut done, mut unsent) = (0, 0);
        while done < self.packets.len() {
            let batch = self.packets.iter().zip(&self.to).skip(done);
            let sent = self.socket.send(batch.map(|(bytes, to)| (bytes.as_slice(), *to)));
            done += sent.count;
            if sent.stopped.is_some() {
                done += 1;
                unsent += 1;
            }
        }
        let taken = self.packets.len() as u64 - unsent;
        self.packets.clear();
        self.to.clear();
        (taken, unsent)
    }
}

/// What is sent next on one stream.
#[derive(Clone, Copy, Default)]
struct Source {
    /// Number in the phase.
    number: u32,
    /// Number over all phases.
    sequence: u32,
}

/// The tool between two phases.
pub(crate) struct Load {
    flows: Flows,
    ports: [Port; 2],
    sources: Vec<Source>,
    batch: RecvBatch,
    /// Names the phase on the wire: what an earlier one left behind is not counted.
    phase: u32,
    /// Which stream is next.
    turn: usize,
    /// [`QUIET_NS`], and more where the relay is a thread of a test on a busy machine.
    quiet_ns: u64,
}

/// What one phase has shown.
pub(crate) struct Phase {
    /// Counts and spans.
    pub(crate) tally: Tally,
    /// How long packets were sent.
    pub(crate) seconds: f64,
    /// How often the plan was shifted.
    pub(crate) stalls: u64,
    /// Datagrams that the tool's own sockets had no room for: its limit, not the relay's.
    pub(crate) overrun: u64,
}

impl Load {
    /// Binds the two sources.
    pub(crate) fn new(flows: Flows) -> io::Result<Self> {
        let [a, b] = flows.sources;
        let ports = [Port::bind(a)?, Port::bind(b)?];
        let sources = vec![Source::default(); flows.streams.len()];
        let batch = RecvBatch::new(RECV_BATCH, 2 * BYTES);
        // Low bits of the time tell one run from the next.
        let phase = (wall_ns() >> 10) as u32;
        Ok(Self { flows, ports, sources, batch, phase, turn: 0, quiet_ns: QUIET_NS })
    }

    /// How many streams there are: two a call.
    pub(crate) fn streams(&self) -> u64 {
        self.flows.streams.len() as u64
    }

    /// Sends `rate` packets a second over all streams in turn, then waits for the last ones.
    pub(crate) fn play(&mut self, rate: u64, span: Duration) -> Result<Phase, CreationError> {
        self.phase = self.phase.wrapping_add(1);
        self.sources.iter_mut().for_each(|source| source.number = 0);
        let mut tally = Tally::new(self.sources.len())?;
        let drops = self.drops();
        let start = boottime_ns();
        let end = start.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        let mut plan = Plan::new(start, rate);
        let mut looked = start;
        let mut now = start;
        while now < end {
            if let Some(due) = plan.take(now, SEND_BATCH as u64) {
                tally.late.record(due.late_ns);
                (0..due.count).for_each(|_| self.queue());
                self.flush(&mut tally);
                now = boottime_ns();
            }
            if plan.next_ns() > now.saturating_add(LOOK_NS) || now - looked > LOOK_EVERY_NS {
                self.look(&mut tally);
                looked = now;
            } else {
                std::hint::spin_loop();
            }
            now = boottime_ns();
        }
        self.finish(&mut tally);
        let seconds = Duration::from_nanos(now - start).as_secs_f64();
        let overrun = u64::from(self.drops().wrapping_sub(drops));
        Ok(Phase { tally, seconds, stalls: plan.stalls(), overrun })
    }

    /// Puts the next stream's packet into its side's batch.
    fn queue(&mut self) {
        let turn = self.turn;
        self.turn = if turn + 1 < self.sources.len() { turn + 1 } else { 0 };
        let side = turn % 2;
        let (Some(source), Some(to)) = (self.sources.get_mut(turn), self.flows.streams.get(turn))
        else {
            return;
        };
        let Some(port) = self.ports.get_mut(side) else { return };
        let mut bytes = [0xd5; BYTES];
        let packet = Packet {
            phase: self.phase,
            stream: turn as u32,
            number: source.number,
            sent_ns: wall_ns(),
        };
        packet.write(source.sequence, &mut bytes);
        source.number += 1;
        source.sequence = source.sequence.wrapping_add(1);
        port.packets.push(bytes);
        port.to.push(*to);
    }

    fn flush(&mut self, tally: &mut Tally) {
        for port in self.ports.iter_mut().filter(|port| !port.packets.is_empty()) {
            let (sent, unsent) = port.flush();
            tally.sent += sent;
            tally.unsent += unsent;
        }
    }

    /// Takes what has come; gives how many datagrams that were.
    fn look(&mut self, tally: &mut Tally) -> usize {
        let mut taken = 0;
        for (side, port) in self.ports.iter().enumerate() {
            for _ in 0..RECV_BATCHES {
                // An error stays on no UDP socket: the next look goes on.
                let count = self.batch.recv(&port.socket).unwrap_or(0);
                taken += count;
                for datagram in self.batch.packets() {
                    count_in(tally, self.phase, side, datagram.bytes, datagram.stamp_ns);
                }
                if count < self.batch.capacity() {
                    break;
                }
            }
        }
        taken
    }

    /// Waits until all has come, or nothing has for a while.
    fn finish(&mut self, tally: &mut Tally) {
        let start = boottime_ns();
        let (mut now, mut heard) = (start, start);
        while tally.lost() > 0 && now - heard < self.quiet_ns && now - start < END_NS {
            if self.look(tally) > 0 {
                heard = now;
            }
            now = boottime_ns();
        }
    }

    fn drops(&self) -> u32 {
        self.ports.iter().fold(0, |sum, port| sum.wrapping_add(port.socket.kernel_drops()))
    }
}

/// Counts one datagram that came at `side`.
fn count_in(tally: &mut Tally, phase: u32, side: usize, bytes: &[u8], stamp_ns: Option<i64>) {
    match Packet::read(bytes) {
        // What A sent comes at B.
        Some(packet) if packet.phase == phase && packet.stream as usize % 2 != side => {
            let delay = stamp_ns.map(|at| at.saturating_sub(packet.sent_ns).max(0) as u64);
            tally.arrive(packet.stream, packet.number, delay);
        }
        Some(packet) if packet.phase != phase => {}
        _ => tally.stray += 1,
    }
}

/// The clock of the kernel's receive stamps.
fn wall_ns() -> i64 {
    clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |time| {
        time.tv_sec().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec())
    })
}

#[cfg(test)]
mod tests;
