//! A relay on loopback with peers around it, for the tests of the RTP plane.
//!
//! Each test has a loopback network of its own (`127.x.y.0/24`), so tests run side by side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use cooee_media::counters::Counters;
use cooee_media::pool::Pool;
use cooee_media::relay::{Relay, RelayConfig};
use cooee_media::socket;
use cooee_model::ids::{CallId, Family, Lease, Side};
use cooee_model::media::{Latch, MediaCommand, MediaEvent, PeerMedia, StreamStats};
use cooee_model::sample::{Sample, Unmeasured};

/// How long anything may take before a test fails: no test waits this long to pass.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub const RELAY_PORT_A: u16 = 21_000;
pub const RELAY_PORT_B: u16 = 21_002;

/// An IPv4 port pair.
pub const fn lease(port: u16) -> Lease {
    Lease { port, epoch: 0, family: Family::V4 }
}

pub struct World {
    pub net: [u8; 2],
    pub relay: Relay,
    pub events: Receiver<MediaEvent>,
}

/// One RTP or RTCP endpoint outside the relay.
pub struct Peer {
    pub socket: UdpSocket,
    pub addr: SocketAddr,
}

impl Peer {
    pub fn bind(ip: IpAddr, port: u16) -> Self {
        let socket = UdpSocket::bind((ip, port)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let addr = socket.local_addr().unwrap();
        Self { socket, addr }
    }

    pub fn send(&self, bytes: &[u8], to: SocketAddr) {
        assert_eq!(self.socket.send_to(bytes, to).unwrap(), bytes.len());
    }

    /// Waits for the next datagram.
    pub fn recv(&self) -> (Vec<u8>, SocketAddr) {
        let mut room = [0; 4096];
        let (len, from) = self.socket.recv_from(&mut room).expect("a datagram in time");
        (room[..len].to_vec(), from)
    }

    /// Nothing waits here. Meaningful once something sent later has been seen elsewhere.
    pub fn is_quiet(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let quiet = self.socket.recv_from(&mut [0; 4096]).is_err();
        self.socket.set_nonblocking(false).unwrap();
        quiet
    }
}

impl World {
    /// A relay on `127.x.y.1` with `pairs` port pairs from [`RELAY_PORT_A`] on.
    pub fn new(net: [u8; 2], pairs: u16, workers: usize) -> Self {
        Self::start(net, pairs, RelayConfig::default(), vec![Unmeasured; workers])
    }

    pub fn start<S: Sample + 'static>(
        net: [u8; 2],
        pairs: u16,
        config: RelayConfig,
        samples: Vec<S>,
    ) -> Self {
        let ip = IpAddr::V4(Ipv4Addr::new(127, net[0], net[1], 1));
        let last = RELAY_PORT_A + pairs * 2 - 1;
        let pool = Pool::bind(&[ip], RELAY_PORT_A..=last, 46).unwrap();
        assert_eq!(pool.ports(Family::V4).len(), usize::from(pairs));
        Self::on(net, pool, config, samples)
    }

    /// As `new`, on `::1` too: that address is the whole machine's, so for one test at a time.
    pub fn of_both(net: [u8; 2], pairs: u16) -> Self {
        let ips =
            [IpAddr::V4(Ipv4Addr::new(127, net[0], net[1], 1)), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let ports = RELAY_PORT_A..=RELAY_PORT_A + pairs * 2 - 1;
        let pool = Pool::bind(&ips, ports, 46).unwrap();
        assert_eq!(pool.skipped(), 0);
        Self::on(net, pool, RelayConfig::default(), vec![Unmeasured])
    }

    fn on<S: Sample + 'static>(
        net: [u8; 2],
        pool: Pool,
        config: RelayConfig,
        samples: Vec<S>,
    ) -> Self {
        let (sender, events) = channel();
        let tell = move |event| drop(sender.send(event));
        let relay = Relay::start(pool, &config, samples, tell).unwrap();
        Self { net, relay, events }
    }

    pub fn host(&self, number: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, self.net[0], self.net[1], number))
    }

    /// An address of the relay.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.host(1), port)
    }

    pub fn peer(&self, host: u8, port: u16) -> Peer {
        Peer::bind(self.host(host), port)
    }

    pub fn send(&self, command: MediaCommand) {
        assert!(self.relay.send(command));
    }

    pub fn open(&self, call: CallId, timeout: Duration) {
        self.send(MediaCommand::Open {
            call,
            a: lease(RELAY_PORT_A),
            b: lease(RELAY_PORT_B),
            at: socket::now(),
            timeout,
        });
    }

    pub fn name(&self, call: CallId, side: Side, rtp: SocketAddr, latch: Latch) {
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        let media = Some(PeerMedia { rtp, rtcp, latch, source: None });
        self.send(MediaCommand::Peer { call, side, media });
    }

    /// Waits until all orders so far have been carried out.
    pub fn settle(&self) {
        let nobody = CallId(u128::MAX);
        self.send(MediaCommand::Close { call: nobody });
        let event = self.wait(|event| matches!(event, MediaEvent::Failed { .. }));
        assert_eq!(event.call(), nobody);
    }

    /// The next event that `wanted` takes; those before it are forgotten.
    pub fn wait(&self, mut wanted: impl FnMut(&MediaEvent) -> bool) -> MediaEvent {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).expect("the event in time");
            if wanted(&event) {
                return event;
            }
        }
    }

    pub fn close(&self, call: CallId) -> (StreamStats, StreamStats) {
        self.send(MediaCommand::Close { call });
        match self.wait(|event| matches!(event, MediaEvent::Closed { .. })) {
            MediaEvent::Closed { a, b, .. } => (a, b),
            _ => unreachable!(),
        }
    }

    /// Waits until the counters say so.
    pub fn wait_counters(&self, wanted: impl Fn(&Counters) -> bool) -> Counters {
        let until = Instant::now() + DEADLINE;
        loop {
            let counters = self.relay.counters();
            if wanted(&counters) {
                return counters;
            }
            assert!(Instant::now() < until, "{counters:?}");
            std::thread::yield_now();
        }
    }

    /// Every datagram read is accounted for.
    pub fn assert_balanced(&self) {
        let sum = |c: &Counters| {
            let dropped = c.foreign + c.malformed + c.stale + c.no_peer + c.kept + c.send_failed;
            c.packets_out + dropped
        };
        self.wait_counters(|c| c.packets_in == sum(c));
    }
}

/// A call between two strict peers, both named: A at host 10, B at host 20, ports 4000 and 4001.
pub struct Talk {
    pub world: World,
    pub call: CallId,
    pub a: Peer,
    pub b: Peer,
}

impl Talk {
    pub fn new(net: [u8; 2]) -> Self {
        Self::with_timeout(net, Duration::ZERO)
    }

    pub fn with_timeout(net: [u8; 2], timeout: Duration) -> Self {
        let world = World::new(net, 4, 1);
        let (a, b) = (world.peer(10, 4000), world.peer(20, 4000));
        let call = CallId(7);
        world.open(call, timeout);
        world.name(call, Side::A, a.addr, Latch::Strict);
        world.name(call, Side::B, b.addr, Latch::Strict);
        world.settle();
        Self { world, call, a, b }
    }

    /// Where A sends to.
    pub fn port_a(&self) -> SocketAddr {
        self.world.at(RELAY_PORT_A)
    }

    /// Where B sends to.
    pub fn port_b(&self) -> SocketAddr {
        self.world.at(RELAY_PORT_B)
    }

    /// One packet from A seen at B: everything that A's port got before has been judged.
    pub fn flush_from_a(&self, sequence: u16) {
        let packet = rtp(8, sequence);
        self.a.send(&packet, self.port_a());
        assert_eq!(self.b.recv().0, packet);
    }

    /// One packet from B seen at A.
    pub fn flush_from_b(&self, sequence: u16) {
        let packet = rtp(8, sequence);
        self.b.send(&packet, self.port_b());
        assert_eq!(self.a.recv().0, packet);
    }
}

/// A voice packet of 20 ms.
pub fn rtp(payload_type: u8, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend([0xca, 0xfe, 0xba, 0xbe]);
    packet.extend((0..160_u8).map(|n| n.wrapping_mul(sequence as u8)));
    packet
}

/// A receiver report without blocks.
pub fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet
}
