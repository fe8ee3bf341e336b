//! Streams that change under way: new sources, jumps, other packet lengths, comfort noise.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod peers;

use std::time::Duration;

use cooee_model::ids::{CallId, Side};
use cooee_model::media::{Latch, MediaEvent};
use peers::{RELAY_PORT_A, RELAY_PORT_B, Talk, World, rtp};

/// One packet: payload type, sequence number, timestamp, source, octets of payload.
fn packet(payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32, octets: usize) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..octets).map(|n| (n as u8).wrapping_add(sequence as u8)));
    packet
}

/// Sends all of it from A and finds all of it at B, bit for bit and in order.
fn pass(talk: &Talk, packets: &[Vec<u8>]) {
    for packet in packets {
        talk.a.send(packet, talk.port_a());
        assert_eq!(&talk.b.recv().0, packet);
    }
}

#[test]
fn flow_92_the_first_packet_from_elsewhere_takes_nothing() {
    let talk = Talk::new([22, 1]);
    let stranger = talk.world.peer(66, 4000);
    stranger.send(&rtp(8, 1), talk.port_a());
    stranger.send(&rtp(8, 1), talk.port_b());
    talk.world.wait_counters(|c| c.foreign == 2);
    // What is meant for A goes where its SDP says, though the stranger spoke first.
    talk.flush_from_b(1);
    // The SDP's host may speak from another port: then that one is locked.
    let natted = talk.world.peer(10, 4444);
    natted.send(&rtp(8, 2), talk.port_a());
    assert_eq!(talk.b.recv().0, rtp(8, 2));
    talk.world.peer(10, 4445).send(&rtp(8, 3), talk.port_a());
    talk.b.send(&rtp(8, 2), talk.port_b());
    assert_eq!(natted.recv().0, rtp(8, 2));
    assert!(stranger.is_quiet() && talk.a.is_quiet());
    let (a, b) = talk.world.close(talk.call);
    assert_eq!((a.packets, a.foreign, b.foreign), (1, 2, 1));
}

#[test]
fn flow_92_a_nat_is_believed_where_it_is_allowed_and_moves_by_reinvite_alone() {
    let world = World::new([22, 2], 2, 1);
    let call = CallId(1);
    let (nat, b) = (world.peer(40, 4000), world.peer(20, 4000));
    let inside = "10.0.0.5:4000".parse().unwrap();
    let allowed = Latch::Networks([format!("{}/31", nat.addr.ip()).parse().unwrap()].into());
    world.open(call, Duration::ZERO);
    world.name(call, Side::A, inside, allowed.clone());
    world.name(call, Side::B, b.addr, Latch::Strict);
    world.settle();
    nat.send(&rtp(8, 1), world.at(RELAY_PORT_A));
    assert_eq!(b.recv().0, rtp(8, 1));
    // Another address of the allowed network, once one is locked: a stranger, until a re-INVITE
    // names the peer anew.
    let moved = world.peer(41, 4000);
    moved.send(&rtp(8, 2), world.at(RELAY_PORT_A));
    world.wait_counters(|c| c.foreign == 1);
    world.name(call, Side::A, inside, allowed);
    world.settle();
    moved.send(&rtp(8, 3), world.at(RELAY_PORT_A));
    assert_eq!(b.recv().0, rtp(8, 3));
    b.send(&rtp(8, 1), world.at(RELAY_PORT_B));
    assert_eq!(moved.recv().0, rtp(8, 1));
    nat.send(&rtp(8, 4), world.at(RELAY_PORT_A));
    world.wait_counters(|c| c.foreign == 2);
    assert!(nat.is_quiet() && b.is_quiet());
}

#[test]
fn flow_94_a_changed_stream_is_relayed_and_counted_right() {
    let talk = Talk::new([22, 3]);
    let voice = |sequence: u16, timestamp: u32, ssrc| packet(8, sequence, timestamp, ssrc, 160);
    // One of them is lost on the way: 3.
    let mut packets: Vec<_> = [1, 2, 4, 5].map(|n| voice(n, u32::from(n) * 160, 7)).into();
    // The platform hands over from its music to its agent: another source, other numbers.
    packets.extend((60_000..60_010).map(|n| voice(n, 3_000_000_000, 8)));
    // The sender starts anew under its old name.
    packets.extend((100..110).map(|n| voice(n, 3_000_000_160, 8)));
    // The timestamp alone jumps, to beyond where it wraps.
    packets.extend((110..120).map(|n| voice(n, 5, 8)));
    // And back to the first source, where it had been.
    packets.extend((6..10).map(|n| voice(n, u32::from(n) * 160, 7)));
    pass(&talk, &packets);
    let (a, b) = talk.world.close(talk.call);
    let all = packets.len() as u64;
    assert_eq!((a.packets, a.forwarded, a.lost), (all, all, 1));
    assert_eq!((a.duplicate, a.reordered, a.malformed, a.foreign), (0, 0, 0, 0));
    assert_eq!(b.packets, 0);
}

#[test]
fn flow_96_every_packet_length_and_comfort_noise_pass_unchanged() {
    let talk = Talk::with_timeout([22, 4], Duration::from_secs(60));
    let mut packets = Vec::new();
    let (mut sequence, mut timestamp) = (500, 0);
    for ptime_ms in [10, 20, 30, 60_u32] {
        for _ in 0..5 {
            packets.push(packet(8, sequence, timestamp, 7, ptime_ms as usize * 8));
            (sequence, timestamp) = (sequence + 1, timestamp + ptime_ms * 8);
        }
    }
    // Silence: a noise level now and then (RFC 3389), of one octet and of more; then speech.
    for octets in [1, 1, 11] {
        packets.push(packet(13, sequence, timestamp, 7, octets));
        (sequence, timestamp) = (sequence + 1, timestamp + 1600);
    }
    packets.push(packet(8 | 0x80, sequence, timestamp, 7, 160));
    pass(&talk, &packets);
    let (a, _) = talk.world.close(talk.call);
    let bytes = packets.iter().map(|p| p.len() as u64).sum::<u64>();
    assert_eq!((a.packets, a.bytes, a.lost, a.malformed), (24, bytes, 0, 0));
    assert_eq!(a.payload_type, Some(8));
    let silent = talk.world.events.try_iter().any(|e| matches!(e, MediaEvent::Silent { .. }));
    assert!(!silent, "noise is no silence");
}
