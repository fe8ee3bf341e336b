//! Digits as telephone events (RFC 4733): what the relay forwards of them, bit for bit.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod peers;

use std::net::SocketAddr;
use std::time::Duration;

use cooee_model::ids::Side;
use cooee_model::media::{Events, MediaCommand, MediaEvent};
use peers::{Peer, Talk, rtp};

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

/// Digits travel as events on B's leg, and by INFO on A's.
fn interworked(net: [u8; 2]) -> Talk {
    let talk = Talk::new(net);
    name(&talk, Some(Events { theirs: 96, ours: 101, clock_hz: 8000 }));
    talk
}

fn name(talk: &Talk, events: Option<Events>) {
    talk.world.send(MediaCommand::Digits { call: talk.call, side: Side::B, events });
    talk.world.settle();
}

fn press(talk: &Talk, event: u8, ms: u64) {
    let held = Duration::from_millis(ms);
    talk.world.send(MediaCommand::Press { call: talk.call, event, held });
}

fn number(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[2], packet[3]])
}

fn timestamp(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]])
}

/// What B gets up to the last copy of the end of a press.
fn up_to_the_end(talk: &Talk) -> Vec<Vec<u8>> {
    let mut got: Vec<Vec<u8>> = Vec::new();
    let is_end = |p: &Vec<u8>| p[1] & 0x7f == 96 && p[13] & 0x80 != 0;
    while got.iter().filter(|p| is_end(p)).count() < 3 {
        got.push(talk.b.recv().0);
    }
    got
}

#[test]
fn flow_80_a_press_by_info_is_one_event_in_a_stream_without_a_gap() {
    let talk = interworked([20, 31]);
    for n in [65_533, 65_534] {
        talk.flush_from_a(n);
    }
    press(&talk, 5, 100);
    let mut got = vec![talk.b.recv().0];
    // Voice that comes meanwhile is spoken over.
    for n in [65_535, 0, 1] {
        talk.a.send(&rtp(8, n), talk.port_a());
    }
    got.extend(up_to_the_end(&talk));
    talk.a.send(&rtp(8, 2), talk.port_a());
    let is_last = |p: &Vec<u8>| timestamp(p) == timestamp(&rtp(8, 2)) && p[1] == 8;
    while !got.last().is_some_and(is_last) {
        got.push(talk.b.recv().0);
    }
    for (n, packet) in got.iter().enumerate() {
        assert_eq!(number(packet), 65_535_u16.wrapping_add(n as u16), "no gap");
        assert_eq!(packet[8..12], rtp(8, 1)[8..12], "the source of the voice");
    }
    let events: Vec<_> = got.iter().filter(|p| p[1] & 0x7f == 96).collect();
    for (n, packet) in events.iter().enumerate() {
        assert_eq!(packet[1], if n == 0 { 96 | 0x80 } else { 96 }, "one press, one marker");
        assert_eq!((packet[12], timestamp(packet)), (5, timestamp(events[0])));
    }
    let counters = talk.world.relay.counters();
    assert_eq!((events.len(), got.len() as u64), (7, 7 + 4 - counters.kept));
    talk.flush_from_b(1);
    assert!(talk.a.is_quiet() && talk.b.is_quiet());
    let counters = talk.world.relay.counters();
    assert_eq!((counters.presses_played, counters.press_packets), (1, 7));
    talk.world.assert_balanced();
}

#[test]
fn flow_80_presses_wait_for_each_other_and_need_no_voice() {
    let talk = interworked([20, 32]);
    (0..40).for_each(|n| press(&talk, n % 12, 40));
    let counters = talk.world.wait_counters(|c| c.presses_played + c.presses_dropped == 40);
    // 32 wait at most; one or the other may have begun before the last was ordered.
    assert!((1..=8).contains(&counters.presses_dropped), "{counters:?}");
    let (one, two) = (up_to_the_end(&talk), up_to_the_end(&talk));
    assert_eq!((one[0][12], two[0][12]), (0, 1));
    assert_eq!((one.len(), two.len()), (4, 4));
    assert_eq!(number(&two[0]), number(&one[3]) + 1);
    assert_eq!(one[0][8..12], two[0][8..12]);
    let apart = timestamp(&two[0]).wrapping_sub(timestamp(&one[0]));
    assert!(apart >= 8 * (40 + 60), "{apart}");
    // The call may end in a press.
    talk.world.close(talk.call);
    talk.world.assert_balanced();
}

#[test]
fn flow_80_a_press_in_rtp_is_told_once_and_taken_out() {
    let talk = interworked([20, 33]);
    // As one source sends them: voice, a press, voice.
    let from = |n, mut packet: Vec<u8>| {
        packet[2..4].copy_from_slice(&u16::to_be_bytes(n));
        packet[8..12].copy_from_slice(&[0xca, 0xfe, 0xba, 0xbe]);
        packet
    };
    let mut packets = vec![rtp(8, 1)];
    packets.extend(digit(101, 5).into_iter().zip(2..).map(|(packet, n)| from(n, packet)));
    packets.extend([rtp(8, 10), rtp(8, 11)]);
    // Copies of its end are late; the next one presses the same key again.
    packets.push(from(12, event(101, 0, 5, true, 800)));
    let mut again = from(13, event(101, 0, 5, true, 400));
    again[4..8].copy_from_slice(&170_000_u32.to_be_bytes());
    packets.push(again);
    packets.push(rtp(8, 14));
    packets.iter().for_each(|packet| talk.b.send(packet, talk.port_b()));
    let got: Vec<_> = (0..4).map(|_| talk.a.recv().0).collect();
    assert_eq!(got.iter().map(|p| number(p)).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(got.iter().all(|p| p[1] == 8 && p.len() == 172));
    let mut told = Vec::new();
    for _ in 0..2 {
        let event = talk.world.wait(|e| matches!(e, MediaEvent::Pressed { .. }));
        let MediaEvent::Pressed { side, event, held, .. } = event else { unreachable!() };
        told.push((side, event, held.as_millis()));
    }
    assert_eq!(told, [(Side::B, 5, 100), (Side::B, 5, 50)]);
    let counters = talk.world.wait_counters(|c| c.kept == 10);
    assert_eq!(counters.presses_heard, 2);
    // The other way events are voice to us, and so are A's.
    pass(&digit(101, 1), &talk.a, (talk.port_a(), &talk.b));
    assert!(talk.a.is_quiet());
    let (_, b) = talk.world.close(talk.call);
    assert_eq!((b.packets, b.forwarded, b.lost), (14, 4, 0));
    talk.world.assert_balanced();
}

#[test]
fn flow_80_an_end_that_never_comes_is_told_after_a_while() {
    let talk = interworked([20, 34]);
    digit(101, 9).iter().take(3).for_each(|packet| talk.b.send(packet, talk.port_b()));
    let event = talk.world.wait(|e| matches!(e, MediaEvent::Pressed { .. }));
    let held = Duration::from_millis(60);
    assert_eq!(event, MediaEvent::Pressed { call: talk.call, side: Side::B, event: 9, held });
    // Where the legs do not differ any more, events pass as they are.
    name(&talk, None);
    pass(&digit(101, 5), &talk.b, (talk.port_b(), &talk.a));
    press(&talk, 1, 100);
    talk.world.wait_counters(|c| c.presses_dropped == 1);
    assert!(talk.b.is_quiet());
}
