//! The relay on real loopback sockets: what passes, from where to where, and what is told.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod peers;

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cooee_media::error::Error;
use cooee_media::limits::COMMANDS_WAITING;
use cooee_media::pace::Wait;
use cooee_media::pool::Pool;
use cooee_media::relay::{Relay, RelayConfig};
use cooee_media::socket;
use cooee_model::ids::{CallId, Side};
use cooee_model::media::{Latch, MediaCommand, MediaEvent, PeerMedia};
use cooee_model::sample::{Sample, Unmeasured};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use peers::{RELAY_PORT_A, RELAY_PORT_B, Talk, World, lease, rtp};

#[test]
fn packets_pass_bit_exact_both_ways_from_the_leased_ports() {
    let talk = Talk::new([20, 1]);
    // With CSRCs, an extension that is no valid RFC 8285 element, and padding: never rewritten.
    let mut odd = vec![0xb2, 0x88, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 1, 1, 2, 2, 2, 2];
    odd.extend([0xbe, 0xde, 0, 1, 0x1f, 9, 9, 9]);
    odd.extend([5; 40]);
    odd.extend([0, 0, 3]);
    for packet in [rtp(8, 1), odd.clone(), rtp(101, 2), vec![0x80; 12]] {
        talk.a.send(&packet, talk.port_a());
        assert_eq!(talk.b.recv(), (packet.clone(), talk.port_b()));
        talk.b.send(&packet, talk.port_b());
        assert_eq!(talk.a.recv(), (packet, talk.port_a()));
    }
    let (a, b) = talk.world.close(talk.call);
    assert_eq!((a.packets, a.forwarded, a.bytes), (4, 4, 172 * 2 + 12 + odd.len() as u64));
    assert_eq!((b.packets, b.forwarded, b.payload_type), (4, 4, Some(8)));
    talk.world.assert_balanced();
}

#[test]
fn a_burst_keeps_its_order() {
    let talk = Talk::new([20, 2]);
    let burst: Vec<_> = (0..30).map(|n| rtp(0, n)).collect();
    burst.iter().for_each(|packet| talk.a.send(packet, talk.port_a()));
    let got: Vec<_> = burst.iter().map(|_| talk.b.recv().0).collect();
    assert_eq!(got, burst);
}

#[test]
fn the_first_packet_of_each_side_is_told_once() {
    let talk = Talk::new([20, 4]);
    let before = socket::now();
    for sequence in 1..4 {
        talk.flush_from_a(sequence);
    }
    talk.flush_from_b(1);
    talk.world.send(MediaCommand::Close { call: talk.call });
    let mut told = Vec::new();
    talk.world.wait(|event| {
        if let MediaEvent::Latched { side, at, call, .. } = event {
            assert_eq!(*call, talk.call);
            assert!(*at >= before && *at <= socket::now());
            told.push(*side);
        }
        matches!(event, MediaEvent::Closed { .. })
    });
    assert_eq!(told, [Side::A, Side::B]);
}

#[test]
fn a_new_peer_is_latched_anew_and_the_old_one_is_a_stranger() {
    let talk = Talk::new([20, 5]);
    talk.flush_from_a(1);
    talk.flush_from_b(1);
    let moved = talk.world.peer(30, 6000);
    talk.world.name(talk.call, Side::B, moved.addr, Latch::Strict);
    talk.world.settle();
    let packet = rtp(8, 2);
    talk.a.send(&packet, talk.port_a());
    assert_eq!(moved.recv().0, packet, "to the new address before it has spoken");
    talk.b.send(&rtp(8, 2), talk.port_b());
    moved.send(&rtp(8, 3), talk.port_b());
    assert_eq!(talk.a.recv().0, rtp(8, 3), "the old peer's packet was not passed on");
    assert!(talk.b.is_quiet());
    let (_, b) = talk.world.close(talk.call);
    assert_eq!((b.packets, b.foreign), (2, 1));
}

#[test]
fn who_was_named_before_it_sent_is_heard() {
    let talk = Talk::new([20, 77]);
    let places = [talk.world.peer(30, 6000), talk.world.peer(31, 6000)];
    for (sequence, from) in (0..300).zip(places.iter().cycle()) {
        talk.world.name(talk.call, Side::A, from.addr, Latch::Strict);
        from.send(&rtp(8, sequence), talk.port_a());
        assert_eq!(talk.b.recv().0, rtp(8, sequence));
    }
}

#[test]
fn a_relay_goes_on_where_the_one_before_it_was_cut() {
    let begin = |source| {
        let world = World::new([20, 18], 2, 1);
        world.open(CallId(7), Duration::ZERO);
        for (side, host, source) in [(Side::A, 10, None), (Side::B, 20, source)] {
            // B speaks from another port than it names.
            let rtp = SocketAddr::new(world.host(host), 4000);
            let rtcp = SocketAddr::new(world.host(host), 4001);
            let media = Some(PeerMedia { rtp, rtcp, latch: Latch::Strict, source });
            world.send(MediaCommand::Peer { call: CallId(7), side, media });
        }
        world.settle();
        world
    };
    let world = begin(None);
    let (a, b) = (world.peer(10, 4000), world.peer(20, 5555));
    b.send(&rtp(8, 1), world.at(RELAY_PORT_B));
    assert_eq!(a.recv().0, rtp(8, 1));
    let told = world.wait(|e| matches!(e, MediaEvent::Latched { .. }));
    let MediaEvent::Latched { side: Side::B, source, .. } = told else { panic!("{told:?}") };
    assert_eq!(source, b.addr);
    drop(world);
    let world = begin(Some(source));
    a.send(&rtp(8, 2), world.at(RELAY_PORT_A));
    assert_eq!(b.recv().0, rtp(8, 2), "before B has spoken again");
    world.peer(20, 5556).send(&rtp(8, 3), world.at(RELAY_PORT_B));
    b.send(&rtp(8, 4), world.at(RELAY_PORT_B));
    assert_eq!(a.recv().0, rtp(8, 4), "another port of B's address does not take its place");
    let (_, b) = world.close(CallId(7));
    assert_eq!((b.packets, b.foreign), (1, 1));
}

#[test]
fn however_a_relay_waits_packets_pass_in_order_and_orders_are_carried_out() {
    let waits = [Wait::Spin(Duration::from_secs(5)), Wait::Tick(Duration::from_millis(1))];
    for (net, wait) in (92..).zip(waits) {
        let config = RelayConfig { wait, ..RelayConfig::default() };
        let world = World::start([20, net], 2, config, vec![Unmeasured]);
        let (a, b) = (world.peer(10, 4000), world.peer(20, 4000));
        for round in 0..3_u16 {
            let call = CallId(round.into());
            world.open(call, Duration::ZERO);
            world.name(call, Side::A, a.addr, Latch::Strict);
            world.name(call, Side::B, b.addr, Latch::Strict);
            world.settle();
            let burst: Vec<_> = (0..30).map(|n| rtp(8, round * 100 + n)).collect();
            burst.iter().for_each(|packet| a.send(packet, world.at(RELAY_PORT_A)));
            let got: Vec<_> = burst.iter().map(|_| b.recv().0).collect();
            assert_eq!(got, burst, "{wait:?}");
            let (from_a, _) = world.close(call);
            assert_eq!((from_a.packets, from_a.forwarded), (30, 30));
        }
        world.assert_balanced();
    }
}

#[test]
fn a_withdrawn_peer_gets_nothing_and_says_nothing() {
    let talk = Talk::new([20, 6]);
    talk.flush_from_a(1);
    let withdrawn = MediaCommand::Peer { call: talk.call, side: Side::B, media: None };
    talk.world.send(withdrawn);
    talk.world.settle();
    talk.a.send(&rtp(8, 2), talk.port_a());
    talk.b.send(&rtp(8, 2), talk.port_b());
    talk.world.wait_counters(|c| c.no_peer == 2);
    assert!(talk.a.is_quiet() && talk.b.is_quiet());
    talk.world.assert_balanced();
}

#[test]
fn silence_is_told_once_per_spell_and_not_on_hold() {
    let talk = Talk::with_timeout([20, 7], Duration::from_millis(300));
    let is_silent = |event: &MediaEvent| matches!(event, MediaEvent::Silent { .. });
    talk.flush_from_a(1);
    let first_seen = talk.world.wait(|e| matches!(e, MediaEvent::Latched { .. }));
    let MediaEvent::Latched { at, .. } = first_seen else { unreachable!() };
    assert_eq!(
        talk.world.wait(is_silent),
        MediaEvent::Silent { call: talk.call, since: at },
        "since the last packet"
    );
    // A later call that is silent as well shows that several sweeps went by.
    let other = CallId(8);
    let hold = |call, held| talk.world.send(MediaCommand::Hold { call, held });
    hold(talk.call, true);
    let open = |call, timeout| {
        let (a, b) = (lease(RELAY_PORT_B + 2), lease(RELAY_PORT_B + 4));
        talk.world.send(MediaCommand::Open { call, a, b, at: socket::now(), timeout });
    };
    open(other, Duration::from_millis(900));
    assert_eq!(talk.world.wait(is_silent).call(), other, "the held call is exempt");
    hold(talk.call, false);
    let resumed = talk.world.wait(is_silent);
    assert_eq!(resumed, MediaEvent::Silent { call: talk.call, since: at }, "told again");
    talk.world.close(other);
    open(other, Duration::ZERO);
    talk.flush_from_a(2);
    assert_eq!(talk.world.wait(is_silent).call(), talk.call, "zero never times out");
}

#[test]
fn a_mark_is_answered_once_per_side_with_the_first_forwarding_after_it() {
    let talk = Talk::new([20, 8]);
    let answer = |side| {
        let event = talk.world.wait(|e| matches!(e, MediaEvent::Forwarded { .. }));
        let MediaEvent::Forwarded { side: told, at, .. } = event else { unreachable!() };
        assert_eq!(told, side);
        at
    };
    talk.flush_from_a(1);
    talk.flush_from_b(1);
    talk.world.settle();
    let between = socket::now();
    talk.flush_from_a(2);
    talk.world.settle();
    let after_second = socket::now();
    talk.flush_from_a(3);
    talk.world.settle();
    // The mark comes late for A, whose second packet is the answer, and early for B.
    talk.world.send(MediaCommand::Mark { call: talk.call, at: between });
    let a = answer(Side::A);
    assert!(a >= between && a <= after_second, "{a} is not between {between} and {after_second}");
    talk.flush_from_b(2);
    let b = answer(Side::B);
    assert!(b >= after_second && b <= socket::now());
    // Neither is answered twice.
    talk.flush_from_a(4);
    talk.flush_from_b(3);
    talk.world.send(MediaCommand::Close { call: talk.call });
    let event =
        talk.world.wait(|e| matches!(e, MediaEvent::Forwarded { .. } | MediaEvent::Closed { .. }));
    assert!(matches!(event, MediaEvent::Closed { .. }), "{event:?}");
}

#[test]
fn what_cannot_be_carried_out_is_told() {
    let talk = Talk::new([20, 9]);
    let unknown = CallId(99);
    let (a, b) = (lease(RELAY_PORT_A), lease(25_000));
    let at = socket::now();
    let timeout = Duration::ZERO;
    let free = lease(RELAY_PORT_B + 2);
    for command in [
        MediaCommand::Close { call: unknown },
        MediaCommand::Peer { call: unknown, side: Side::A, media: None },
        MediaCommand::Mark { call: unknown, at },
        MediaCommand::Hold { call: unknown, held: true },
        // A port in use by a call, one that is not ours, the same one twice, the same call twice.
        MediaCommand::Open { call: unknown, a, b: free, at, timeout },
        MediaCommand::Open { call: unknown, a: free, b, at, timeout },
        MediaCommand::Open { call: unknown, a: free, b: free, at, timeout },
        MediaCommand::Open { call: talk.call, a: free, b, at, timeout },
    ] {
        let call = command.call();
        talk.world.send(command);
        assert_eq!(talk.world.wait(|_| true), MediaEvent::Failed { call });
    }
    talk.flush_from_a(1);
    talk.world.close(talk.call);
    talk.world.open(unknown, timeout);
    talk.world.close(unknown);
}

#[test]
fn figures_of_a_lossy_stream_are_told_at_the_end() {
    let talk = Talk::new([20, 10]);
    for sequence in [65_534, 65_535, 2, 1, 1, 5] {
        talk.flush_from_a(sequence);
    }
    let (a, _) = talk.world.close(talk.call);
    assert_eq!((a.packets, a.lost, a.duplicate, a.reordered), (6, 3, 1, 1));
}

#[test]
fn every_passed_packet_is_measured_and_no_other() {
    struct Spans(Sender<u64>);
    impl Sample for Spans {
        fn record(&mut self, ns: u64) {
            let _ = self.0.send(ns);
        }
    }
    let (sender, spans) = channel();
    let ours = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cpu = (0..CpuSet::count()).find(|cpu| ours.is_set(*cpu).unwrap()).unwrap();
    let wait = Wait::Spin(Duration::from_micros(100));
    let config = RelayConfig { pin_cpus: vec![cpu], wait, ..RelayConfig::default() };
    let world = World::start([20, 12], 2, config, vec![Spans(sender)]);
    let (a, b) = (world.peer(10, 4000), world.peer(20, 4000));
    let call = CallId(1);
    world.open(call, Duration::ZERO);
    world.name(call, Side::A, a.addr, Latch::Strict);
    world.name(call, Side::B, b.addr, Latch::Strict);
    world.settle();
    for sequence in 0..20 {
        a.send(&rtp(8, sequence), world.at(RELAY_PORT_A));
        a.send(b"not RTP", world.at(RELAY_PORT_A));
        b.recv();
    }
    world.close(call);
    let counters = world.relay.counters();
    assert_eq!(counters.packets_out, 20);
    drop(world);
    let spans: Vec<u64> = spans.iter().collect();
    assert_eq!(spans.len() as u64 + counters.unstamped, 20);
    assert!(spans.iter().all(|ns| *ns > 0), "{spans:?}");
}

#[test]
fn a_full_queue_refuses_and_counts_and_never_blocks() {
    let ip = "127.20.14.1".parse().unwrap();
    let pool = Pool::bind(&[ip], RELAY_PORT_A..=RELAY_PORT_A + 1, 0).unwrap();
    let (go_on, stopped) = channel::<()>();
    let stopped = Arc::new(Mutex::new(stopped));
    // The worker stands still in its first event until the test lets it go on.
    let tell = move |_| stopped.lock().unwrap().recv().unwrap_or(());
    let relay = Relay::start(pool, &RelayConfig::default(), vec![Unmeasured], tell).unwrap();
    let close = || relay.send(MediaCommand::Close { call: CallId(1) });
    let taken = (0..COMMANDS_WAITING + 100).filter(|_| close()).count();
    assert!((COMMANDS_WAITING..COMMANDS_WAITING + 2).contains(&taken), "{taken}");
    let refused = relay.counters().commands_refused;
    assert_eq!(refused, (COMMANDS_WAITING + 100 - taken) as u64);
    drop(go_on);
    // The end waits for the orders taken, and gives the ports back.
    drop(relay);
    assert_eq!(Pool::bind(&[ip], RELAY_PORT_A..=RELAY_PORT_A + 1, 0).unwrap().skipped(), 0);
}

#[test]
fn what_a_full_receive_buffer_costs_is_known_at_the_close() {
    let ip = "127.20.17.1".parse().unwrap();
    let pool = Pool::bind(&[ip], RELAY_PORT_A..=RELAY_PORT_B + 1, 0).unwrap();
    let (go_on, stopped) = channel::<()>();
    let stopped = Mutex::new(stopped);
    let (sender, events) = channel();
    // The worker stands still once it has told of the first packet.
    let tell = Arc::new(move |event: MediaEvent| {
        let is_first = matches!(event, MediaEvent::Latched { .. });
        sender.send(event).unwrap();
        if is_first {
            stopped.lock().unwrap().recv().unwrap();
        }
    });
    let tell = move |event| tell(event);
    let relay = Relay::start(pool, &RelayConfig::default(), vec![Unmeasured], tell).unwrap();
    let world = World { net: [20, 17], relay, events };
    let (a, b) = (world.peer(10, 4000), world.peer(20, 4000));
    let call = CallId(1);
    world.open(call, Duration::ZERO);
    world.name(call, Side::A, a.addr, Latch::Strict);
    world.name(call, Side::B, b.addr, Latch::Strict);
    world.settle();
    a.send(&rtp(8, 0), world.at(RELAY_PORT_A));
    world.wait(|event| matches!(event, MediaEvent::Latched { .. }));
    for sequence in 1..=500 {
        a.send(&rtp(8, sequence), world.at(RELAY_PORT_A));
    }
    go_on.send(()).unwrap();
    world.close(call);
    let counters = world.relay.counters();
    assert!(counters.overrun > 400, "{counters:?}");
    assert_eq!(counters.packets_in + counters.overrun, 501, "{counters:?}");
    world.assert_balanced();
}

#[test]
fn what_the_kernel_refuses_is_counted() {
    let talk = Talk::new([20, 16]);
    // An IPv4 socket cannot send there.
    let elsewhere = "[::1]:4000".parse().unwrap();
    talk.world.name(talk.call, Side::B, elsewhere, Latch::Strict);
    talk.world.settle();
    for sequence in 0..3 {
        talk.a.send(&rtp(8, sequence), talk.port_a());
    }
    talk.world.wait_counters(|c| c.send_failed == 3);
    let (a, _) = talk.world.close(talk.call);
    assert_eq!((a.packets, a.forwarded), (3, 0));
    talk.world.assert_balanced();
}

#[test]
fn a_start_that_cannot_work_is_refused() {
    let ip: std::net::IpAddr = "127.20.13.1".parse().unwrap();
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let low: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let refused = Pool::bind(&[ip], low - 1..=low + 2, 46).unwrap_err();
    assert!(matches!(refused, Error::Ephemeral { .. }), "{refused}");
    let pool = || Pool::bind(&[ip], 21_000..=21_001, 46).unwrap();
    let config = RelayConfig::default();
    let none = Relay::start(pool(), &config, Vec::<Unmeasured>::new(), |_| {});
    assert!(matches!(none, Err(Error::NoWorker)));
    let config = RelayConfig { pin_cpus: vec![1023], ..config };
    let nowhere = Relay::start(pool(), &config, vec![Unmeasured], |_| {});
    assert!(matches!(nowhere, Err(Error::Cpu { cpu: 1023 })));
}
