//! How a call sounds, on real sockets: each interval by itself, and the round trip by RTCP.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod peers;

use std::time::Duration;

use cooee_media::relay::RelayConfig;
use cooee_model::ids::{CallId, Side};
use cooee_model::media::{Latch, MediaEvent, Quality};
use cooee_model::sample::Unmeasured;
use peers::{RELAY_PORT_A, RELAY_PORT_B, World, rtp};

const CALL: CallId = CallId(7);

/// The samples until they are of so many packets of a side; those of the other side are none.
fn sampled(world: &World, side: Side, packets: u32) -> Vec<Quality> {
    let mut samples: Vec<Quality> = Vec::new();
    while samples.iter().map(|sample| sample.packets).sum::<u32>() < packets {
        let event = world.wait(|event| matches!(event, MediaEvent::Sampled { .. }));
        let MediaEvent::Sampled { call: CALL, a, b, .. } = event else { panic!("{event:?}") };
        let (this, other) = if side == Side::A { (a, b) } else { (b, a) };
        assert_eq!((other.packets, other.mos(), other.grade()), (0, None, None));
        samples.push(this);
    }
    samples
}

fn words(kind: u8, count: u8, words: &[u32]) -> Vec<u8> {
    let length = u16::try_from(words.len()).unwrap().to_be_bytes();
    let head = [0x80 | count, kind, length[0], length[1]].into_iter();
    head.chain(words.iter().flat_map(|word| word.to_be_bytes())).collect()
}

#[test]
fn a_call_is_sampled_while_it_is_up_and_the_round_trip_is_read_from_its_reports() {
    let each = Duration::from_millis(400);
    let config = RelayConfig { sampled_each: each, ..RelayConfig::default() };
    let world = World::start([20, 90], 2, config, vec![Unmeasured]);
    let [a, a_rtcp] = [4000, 4001].map(|port| world.peer(10, port));
    let [b, b_rtcp] = [4000, 4001].map(|port| world.peer(20, port));
    world.open(CALL, Duration::ZERO);
    world.name(CALL, Side::A, a.addr, Latch::Strict);
    world.name(CALL, Side::B, b.addr, Latch::Strict);
    world.settle();
    for sequence in [1, 2, 4, 4] {
        a.send(&rtp(8, sequence), world.at(RELAY_PORT_A));
        b.recv();
    }
    let samples = sampled(&world, Side::A, 4);
    let sum = |figure: fn(&Quality) -> u32| samples.iter().map(figure).sum::<u32>();
    assert_eq!((sum(|s| s.packets), sum(|s| s.lost), sum(|s| s.duplicate)), (4, 1, 1));
    let poor = |sample: &Quality| sample.rating_10.is_some_and(|rating| rating < 700);
    assert!(samples.iter().any(poor), "a quarter is missing: {samples:?}");

    // A says what time it is, and B how long it has kept that: not at all.
    let report = words(200, 0, &[1, 0x0000_1234, 0x5678_0000, 0, 0, 0]);
    a_rtcp.send(&report, world.at(RELAY_PORT_A + 1));
    assert_eq!(b_rtcp.recv().0, report);
    let answer = words(201, 1, &[2, 1, 0, 0, 0, 0x1234_5678, 0]);
    b_rtcp.send(&answer, world.at(RELAY_PORT_B + 1));
    assert_eq!(a_rtcp.recv().0, answer);
    b.send(&rtp(8, 1), world.at(RELAY_PORT_B));
    a.recv();
    let samples = sampled(&world, Side::B, 1);
    assert_eq!(samples[0].grade(), Some(5));
    assert!(samples[0].round_trip_us.is_some_and(|us| us < 20_000_000), "{samples:?}");

    // Nothing came since: nothing is told, not at the end either.
    world.send(cooee_model::media::MediaCommand::Close { call: CALL });
    let last = world.wait(|event| !matches!(event, MediaEvent::Latched { .. }));
    assert!(matches!(last, MediaEvent::Closed { .. }), "{last:?}");
}
