//! Digits as telephone events (RFC 4733): what the relay forwards of them, bit for bit.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod peers;

use std::net::SocketAddr;

use peers::{Peer, Talk};

/// One event packet: digit, end bit, volume 10, how long it has lasted.
fn event(payload_type: u8, sequence: u16, digit: u8, end: bool, duration: u16) -> Vec<u8> {
    let first = duration == 160;
    let mut packet = vec![0x80, payload_type | if first { 0x80 } else { 0 }];
    packet.extend(sequence.to_be_bytes());
    // All packets of one event have the time of its beginning.
    packet.extend(160_000_u32.to_be_bytes());
    packet.extend([0xca, 0xfe, 0, payload_type]);
    packet.extend([digit, 10 | if end { 0x80 } else { 0 }]);
    packet.extend(duration.to_be_bytes());
    packet
}

/// A digit of 100 ms: five packets that grow, then the end three times (RFC 4733, 2.5.1.4).
fn digit(payload_type: u8, digit: u8) -> Vec<Vec<u8>> {
    let growing = (1..=5).map(|n| event(payload_type, n, digit, false, n * 160));
    let ends = (6..=8).map(|n| event(payload_type, n, digit, true, 800));
    growing.chain(ends).collect()
}

fn pass(packets: &[Vec<u8>], from: &Peer, (at, to): (SocketAddr, &Peer)) {
    for packet in packets {
        from.send(packet, at);
    }
    let got: Vec<_> = packets.iter().map(|_| to.recv().0).collect();
    assert_eq!(got, packets);
    let ends = got.iter().filter(|p| p[13] & 0x80 != 0 && p[14..16] == 800_u16.to_be_bytes());
    assert_eq!(ends.count(), 3, "the end and its copies");
}

#[test]
fn flow_79_events_pass_bit_for_bit_whatever_number_each_side_uses() {
    let talk = Talk::new([20, 30]);
    // A sends by the number that B gave, B by the number that A gave (RFC 3264, 5.1).
    pass(&digit(96, 5), &talk.a, (talk.port_a(), &talk.b));
    pass(&digit(101, 11), &talk.b, (talk.port_b(), &talk.a));
    // A copy of an end that comes late, and one out of order, pass as they are.
    let late = [event(96, 8, 5, true, 800), event(96, 7, 5, true, 800), event(96, 9, 5, true, 800)];
    pass(&late, &talk.a, (talk.port_a(), &talk.b));
    let (a, b) = talk.world.close(talk.call);
    assert_eq!((a.packets, a.forwarded, b.packets, b.forwarded), (11, 11, 8, 8));
    assert_eq!((a.malformed, b.malformed), (0, 0));
}
