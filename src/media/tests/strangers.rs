//! Who must neither hear nor speak: RTP bleed and injection (CVE-2017-14099, CVE-2025-53399).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod peers;

use std::time::Duration;

use cooee_media::socket;
use cooee_model::ids::{CallId, Side};
use cooee_model::media::{Latch, MediaCommand};
use peers::{RELAY_PORT_A, RELAY_PORT_B, Talk, World, lease, rtcp, rtp};

const STRANGER: u8 = 66;

#[test]
fn a_stranger_neither_hears_nor_speaks_before_during_and_after_an_ssrc_change() {
    let talk = Talk::new([21, 1]);
    let stranger = talk.world.peer(STRANGER, 4000);
    let spray = |sequence| {
        for port in RELAY_PORT_A..RELAY_PORT_B + 2 {
            stranger.send(&rtp(8, sequence), talk.world.at(port));
            stranger.send(&rtcp(1), talk.world.at(port));
        }
    };
    spray(1);
    talk.flush_from_a(1);
    talk.flush_from_b(1);
    spray(2);
    let mut other_source = rtp(8, 9);
    other_source[8..12].copy_from_slice(&[1, 2, 3, 4]);
    talk.a.send(&other_source, talk.port_a());
    assert_eq!(talk.b.recv().0, other_source);
    spray(10);
    talk.flush_from_a(10);
    talk.flush_from_b(2);
    talk.world.wait_counters(|c| c.foreign == 3 * 4 * 2);
    assert!(stranger.is_quiet() && talk.a.is_quiet() && talk.b.is_quiet());
    let (a, b) = talk.world.close(talk.call);
    assert_eq!((a.foreign, b.foreign), (12, 12));
    talk.world.assert_balanced();
}

#[test]
fn another_port_of_the_peers_host_is_a_stranger_once_the_peer_has_spoken() {
    let talk = Talk::new([21, 2]);
    talk.flush_from_a(1);
    let neighbour = talk.world.peer(10, 5000);
    neighbour.send(&rtp(8, 2), talk.port_a());
    talk.flush_from_a(3);
    talk.flush_from_b(1);
    assert!(neighbour.is_quiet() && talk.b.is_quiet());
    assert_eq!(talk.world.close(talk.call).0.foreign, 1);
}

#[test]
fn the_signalled_port_takes_the_call_back_from_its_hosts_other_port() {
    let talk = Talk::new([21, 3]);
    let neighbour = talk.world.peer(10, 5000);
    neighbour.send(&rtp(8, 1), talk.port_a());
    assert_eq!(talk.b.recv().0, rtp(8, 1), "strict believes the host");
    talk.b.send(&rtp(8, 1), talk.port_b());
    assert_eq!(neighbour.recv().0, rtp(8, 1), "symmetric RTP");
    talk.flush_from_a(2);
    neighbour.send(&rtp(8, 3), talk.port_a());
    talk.flush_from_a(4);
    talk.flush_from_b(2);
    assert!(neighbour.is_quiet() && talk.b.is_quiet());
}

#[test]
fn networks_admit_a_natted_peer_and_no_one_else() {
    let world = World::new([21, 4], 2, 1);
    let call = CallId(3);
    let (nat, b, stranger) =
        (world.peer(40, 4000), world.peer(20, 4000), world.peer(STRANGER, 4000));
    world.open(call, Duration::ZERO);
    let allowed = format!("{}/32", nat.addr.ip()).parse().unwrap();
    let private = "10.0.0.5:4000".parse().unwrap();
    world.name(call, Side::A, private, Latch::Networks([allowed].into()));
    world.name(call, Side::B, b.addr, Latch::Strict);
    world.settle();
    stranger.send(&rtp(8, 1), world.at(RELAY_PORT_A));
    nat.send(&rtp(8, 2), world.at(RELAY_PORT_A));
    assert_eq!(b.recv().0, rtp(8, 2));
    b.send(&rtp(8, 1), world.at(RELAY_PORT_B));
    assert_eq!(nat.recv().0, rtp(8, 1));
    assert!(stranger.is_quiet());
    assert_eq!(world.close(call).0.foreign, 1);
}

#[test]
fn nothing_is_believed_before_signalling_names_the_peer() {
    let world = World::new([21, 5], 2, 1);
    let call = CallId(4);
    let (a, b) = (world.peer(10, 4000), world.peer(20, 4000));
    world.open(call, Duration::ZERO);
    world.settle();
    a.send(&rtp(8, 1), world.at(RELAY_PORT_A));
    b.send(&rtp(8, 1), world.at(RELAY_PORT_B));
    world.wait_counters(|c| c.no_peer == 2);
    world.name(call, Side::A, a.addr, Latch::Strict);
    world.settle();
    a.send(&rtp(8, 2), world.at(RELAY_PORT_A));
    world.wait_counters(|c| c.no_peer == 3);
    world.name(call, Side::B, b.addr, Latch::Strict);
    world.settle();
    a.send(&rtp(8, 3), world.at(RELAY_PORT_A));
    assert_eq!(b.recv().0, rtp(8, 3));
    assert!(a.is_quiet());
    let (from_a, _) = world.close(call);
    assert_eq!((from_a.packets, from_a.forwarded), (2, 1));
    world.assert_balanced();
}

#[test]
fn what_is_neither_rtp_nor_rtcp_takes_no_latch_and_goes_nowhere() {
    let talk = Talk::new([21, 6]);
    let neighbour = talk.world.peer(10, 5000);
    let stun = b"\x00\x01\x00\x00\x21\x12\xa4\x42________________";
    let dtls = b"\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10________";
    let too_long = vec![0x80; 2049];
    for noise in [&stun[..], &dtls[..], &[0x80; 11][..], &[][..], &too_long[..]] {
        neighbour.send(noise, talk.port_a());
    }
    talk.world.wait_counters(|c| c.malformed == 5);
    talk.b.send(&rtp(8, 1), talk.port_b());
    assert_eq!(talk.a.recv().0, rtp(8, 1), "the latch was still free");
    assert!(neighbour.is_quiet() && talk.b.is_quiet());
    assert_eq!(talk.world.close(talk.call).0.malformed, 5);
}

#[test]
fn packets_sent_before_the_lease_never_reach_the_call() {
    let world = World::new([21, 7], 2, 1);
    let (a, b) = (world.peer(10, 4000), world.peer(20, 4000));
    for round in 0..20_u16 {
        // The very peer of the next call speaks too early, and the last call's goes on speaking.
        for n in 0..60 {
            a.send(&rtp(8, 1000 + n), world.at(RELAY_PORT_A));
            b.send(&rtp(8, 1000 + n), world.at(RELAY_PORT_B));
        }
        let call = CallId(u128::from(round));
        world.open(call, Duration::ZERO);
        world.name(call, Side::A, a.addr, Latch::Strict);
        world.name(call, Side::B, b.addr, Latch::Strict);
        world.settle();
        a.send(&rtp(8, round), world.at(RELAY_PORT_A));
        assert_eq!(b.recv().0, rtp(8, round));
        let (from_a, from_b) = world.close(call);
        assert_eq!((from_a.packets, from_b.packets), (1, 0));
    }
    world.assert_balanced();
    assert_eq!(world.relay.counters().packets_in, 20, "the filter kept the rest from the sockets");
}

#[test]
fn a_stamp_older_than_the_lease_is_stale() {
    let world = World::new([21, 8], 2, 1);
    let (a, b) = (world.peer(10, 4000), world.peer(20, 4000));
    let call = CallId(5);
    // A lease that begins later than its packets come, as for a packet still in the socket.
    let at = socket::now() + Duration::from_secs(3600);
    let (lease_a, lease_b) = (lease(RELAY_PORT_A), lease(RELAY_PORT_B));
    let timeout = Duration::ZERO;
    world.send(MediaCommand::Open { call, a: lease_a, b: lease_b, at, timeout });
    world.name(call, Side::A, a.addr, Latch::Strict);
    world.name(call, Side::B, b.addr, Latch::Strict);
    world.settle();
    a.send(&rtp(8, 1), world.at(RELAY_PORT_A));
    world.wait_counters(|c| c.stale == 1);
    let (from_a, _) = world.close(call);
    assert_eq!((from_a.packets, from_a.forwarded), (0, 0));
    assert!(b.is_quiet());
}
