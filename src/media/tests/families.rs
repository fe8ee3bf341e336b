//! Calls between the address families, and RTCP by the rules of each leg.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod peers;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use cooee_media::socket;
use cooee_model::ids::{CallId, Family, Lease, Side};
use cooee_model::media::{Latch, MediaCommand, PeerMedia};
use peers::{Peer, RELAY_PORT_A, RELAY_PORT_B, Talk, World, lease, rtcp, rtp};

const LOOPBACK6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

const fn lease6(port: u16) -> Lease {
    Lease { port, epoch: 0, family: Family::V6 }
}

fn open(world: &World, call: CallId, a: Lease, b: Lease) {
    let (at, timeout) = (socket::now(), Duration::ZERO);
    world.send(MediaCommand::Open { call, a, b, at, timeout });
}

/// Names a peer with an RTCP address of its own choice.
fn name(world: &World, side: Side, rtp: SocketAddr, rtcp: SocketAddr) {
    let media = Some(PeerMedia { rtp, rtcp, latch: Latch::Strict, source: None });
    world.send(MediaCommand::Peer { call: CallId(7), side, media });
    world.settle();
}

/// RTP and RTCP both ways; what was forwarded from A in the whole call.
fn talk(world: &World, (a, at_a): (&Peer, IpAddr), (b, at_b): (&Peer, IpAddr)) -> u64 {
    let (to_a, to_b) = (SocketAddr::new(at_a, RELAY_PORT_A), SocketAddr::new(at_b, RELAY_PORT_B));
    a.send(&rtp(8, 1), to_a);
    assert_eq!(b.recv(), (rtp(8, 1), to_b));
    b.send(&rtp(8, 2), to_b);
    assert_eq!(a.recv(), (rtp(8, 2), to_a));
    let next = |addr: SocketAddr| SocketAddr::new(addr.ip(), addr.port() + 1);
    let (a1, b1) = (Peer::bind(a.addr.ip(), a.addr.port() + 1), next(b.addr));
    let b1 = Peer::bind(b1.ip(), b1.port());
    a1.send(&rtcp(1), next(to_a));
    assert_eq!(b1.recv(), (rtcp(1), next(to_b)));
    b1.send(&rtcp(2), next(to_b));
    assert_eq!(a1.recv(), (rtcp(2), next(to_a)));
    let (from_a, from_b) = world.close(CallId(7));
    assert_eq!((from_a.rtcp, from_b.forwarded, from_b.rtcp), (1, 1, 1));
    world.assert_balanced();
    from_a.forwarded
}

/// One test, since both steps want the same ports of `::1`.
#[test]
fn flow_97_media_passes_between_ipv4_and_ipv6() {
    between_the_families();
    the_next_target_may_speak_the_other_one();
}

fn between_the_families() {
    let world = World::of_both([23, 1], 2);
    let call = CallId(7);
    // Towards IPv6, towards IPv4, and within IPv6: the same ports each time.
    let v4 = world.host(1);
    let four = world.peer(10, 4000);
    let six = Peer::bind(LOOPBACK6, 22_100);
    open(&world, call, lease(RELAY_PORT_A), lease6(RELAY_PORT_B));
    world.name(call, Side::A, four.addr, Latch::Strict);
    world.name(call, Side::B, six.addr, Latch::Strict);
    world.settle();
    assert_eq!(talk(&world, (&four, v4), (&six, LOOPBACK6)), 1);
    open(&world, call, lease6(RELAY_PORT_A), lease(RELAY_PORT_B));
    world.name(call, Side::A, six.addr, Latch::Strict);
    world.name(call, Side::B, four.addr, Latch::Strict);
    world.settle();
    assert_eq!(talk(&world, (&six, LOOPBACK6), (&four, v4)), 1);
    let other = Peer::bind(LOOPBACK6, 22_102);
    open(&world, call, lease6(RELAY_PORT_A), lease6(RELAY_PORT_B));
    world.name(call, Side::A, six.addr, Latch::Strict);
    world.name(call, Side::B, other.addr, Latch::Strict);
    world.settle();
    assert_eq!(talk(&world, (&six, LOOPBACK6), (&other, LOOPBACK6)), 1);
}

fn the_next_target_may_speak_the_other_one() {
    let world = World::of_both([23, 2], 2);
    let call = CallId(7);
    let (a, first) = (world.peer(10, 4000), world.peer(20, 4000));
    open(&world, call, lease(RELAY_PORT_A), lease(RELAY_PORT_B));
    world.name(call, Side::A, a.addr, Latch::Strict);
    world.name(call, Side::B, first.addr, Latch::Strict);
    world.settle();
    a.send(&rtp(8, 1), world.at(RELAY_PORT_A));
    assert_eq!(first.recv().0, rtp(8, 1));
    world.send(MediaCommand::Swap { call, b: lease6(RELAY_PORT_B) });
    world.settle();
    // Nobody is named there yet: neither the old peer nor a new one is heard.
    let six = Peer::bind(LOOPBACK6, 22_104);
    a.send(&rtp(8, 2), world.at(RELAY_PORT_A));
    six.send(&rtp(8, 1), SocketAddr::new(LOOPBACK6, RELAY_PORT_B));
    world.wait_counters(|c| c.no_peer == 2);
    world.name(call, Side::B, six.addr, Latch::Strict);
    world.settle();
    // The pair that was left is another call's to have.
    let other = CallId(8);
    open(&world, other, lease(RELAY_PORT_B), lease6(RELAY_PORT_A));
    world.settle();
    assert_eq!(talk(&world, (&a, world.host(1)), (&six, LOOPBACK6)), 2);
    world.close(other);
    assert!(first.is_quiet());
}

#[test]
fn flow_95_rtcp_passes_on_the_next_port() {
    let talk = Talk::new([23, 3]);
    let (a, b) = (talk.world.peer(10, 4001), talk.world.peer(20, 4001));
    a.send(&rtcp(1), talk.world.at(RELAY_PORT_A + 1));
    assert_eq!(b.recv(), (rtcp(1), talk.world.at(RELAY_PORT_B + 1)));
    b.send(&rtcp(2), talk.world.at(RELAY_PORT_B + 1));
    assert_eq!(a.recv(), (rtcp(2), talk.world.at(RELAY_PORT_A + 1)));
    // RTP has no business on the RTCP port.
    a.send(&rtp(8, 1), talk.world.at(RELAY_PORT_A + 1));
    talk.world.wait_counters(|c| c.malformed == 1);
    let (from_a, from_b) = talk.world.close(talk.call);
    assert_eq!((from_a.rtcp, from_a.packets, from_a.malformed), (1, 0, 1));
    assert_eq!((from_b.rtcp, from_b.packets), (1, 0));
}

#[test]
fn flow_95_each_leg_muxes_or_not_by_itself() {
    let talk = Talk::new([23, 4]);
    let (world, a, b) = (&talk.world, &talk.a, &talk.b);
    let a_rtcp = world.peer(10, 4001);
    // B takes RTCP where it takes RTP; A does not.
    name(world, Side::B, b.addr, b.addr);
    a_rtcp.send(&rtcp(1), world.at(RELAY_PORT_A + 1));
    assert_eq!(b.recv(), (rtcp(1), talk.port_b()));
    b.send(&rtcp(2), talk.port_b());
    assert_eq!(a_rtcp.recv(), (rtcp(2), world.at(RELAY_PORT_A + 1)));
    talk.flush_from_a(1);
    talk.flush_from_b(1);
    // Both do, in one burst with RTP.
    name(world, Side::A, a.addr, a.addr);
    for packet in [rtp(8, 2), rtcp(3), rtp(8, 3)] {
        a.send(&packet, talk.port_a());
    }
    let mut got: Vec<_> = (0..3).map(|_| b.recv()).collect();
    got.sort();
    let mut sent = [rtp(8, 2), rtp(8, 3), rtcp(3)].map(|p| (p, talk.port_b()));
    sent.sort();
    assert_eq!(got, sent);
    // A alone does.
    let b_rtcp = world.peer(20, 4001);
    name(world, Side::B, b.addr, b_rtcp.addr);
    a.send(&rtcp(4), talk.port_a());
    assert_eq!(b_rtcp.recv(), (rtcp(4), world.at(RELAY_PORT_B + 1)));
    b_rtcp.send(&rtcp(5), world.at(RELAY_PORT_B + 1));
    assert_eq!(a.recv(), (rtcp(5), talk.port_a()));
    let (from_a, from_b) = world.close(talk.call);
    assert_eq!((from_a.rtcp, from_b.rtcp), (3, 2));
    assert!(a_rtcp.is_quiet() && a.is_quiet() && b.is_quiet());
    world.assert_balanced();
}

#[test]
fn flow_95_rtcp_goes_to_the_port_and_address_that_are_named() {
    let talk = Talk::new([23, 5]);
    let elsewhere = talk.world.peer(21, 9009);
    name(&talk.world, Side::B, talk.b.addr, elsewhere.addr);
    let a = talk.world.peer(10, 4001);
    a.send(&rtcp(1), talk.world.at(RELAY_PORT_A + 1));
    assert_eq!(elsewhere.recv(), (rtcp(1), talk.world.at(RELAY_PORT_B + 1)));
    elsewhere.send(&rtcp(2), talk.world.at(RELAY_PORT_B + 1));
    assert_eq!(a.recv(), (rtcp(2), talk.world.at(RELAY_PORT_A + 1)));
}

#[test]
fn flow_95_rtcp_beside_rtp_takes_no_lock() {
    let talk = Talk::new([23, 6]);
    name(&talk.world, Side::A, talk.a.addr, talk.a.addr);
    let neighbour = talk.world.peer(10, 5000);
    neighbour.send(&rtcp(1), talk.port_a());
    talk.world.wait_counters(|c| c.packets_out == 1);
    talk.flush_from_b(1);
    // The first RTP does, and is told.
    talk.flush_from_a(1);
    let told = talk.world.wait(|e| matches!(e, cooee_model::media::MediaEvent::Latched { .. }));
    assert_eq!(told.call(), talk.call);
    assert!(neighbour.is_quiet());
}
