//! Opening and closing calls for ever costs nothing. Alone in its file, since it counts the
//! descriptors of its process.
#![allow(clippy::unwrap_used)]

mod peers;

use std::collections::HashSet;
use std::time::Duration;

use cooee_media::socket;
use cooee_model::ids::CallId;
use cooee_model::media::{MediaCommand, MediaEvent};
use peers::{RELAY_PORT_A, World, lease};

#[test]
fn a_thousand_calls_leave_nothing_behind() {
    let world = World::new([20, 11], 100, 2);
    let before = descriptors();
    let mut closed = HashSet::new();
    for round in 0..20_u128 {
        for n in 0..50_u16 {
            let call = CallId(round * 50 + u128::from(n));
            let (a, b) = (RELAY_PORT_A + n * 4, RELAY_PORT_A + n * 4 + 2);
            let (a, b) = (lease(a), lease(b));
            let at = socket::now();
            let timeout = Duration::from_secs(60);
            world.send(MediaCommand::Open { call, a, b, at, timeout });
        }
        for n in 0..50 {
            world.send(MediaCommand::Close { call: CallId(round * 50 + n) });
        }
        for _ in 0..50 {
            let event = world.wait(|_| true);
            assert!(matches!(event, MediaEvent::Closed { .. }), "{event:?}");
            closed.insert(event.call());
        }
    }
    assert_eq!(closed.len(), 1000);
    assert_eq!(descriptors(), before);
    assert_eq!(world.relay.counters(), Default::default());
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
