//! The loop against itself and against relays with known faults, on loopback.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};

use super::*;
use crate::flows::{End, Flow};

fn free(ip: &str) -> SocketAddr {
    UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// Flows that go straight to the other side.
fn direct(calls: usize) -> Flows {
    let (a, b) = (free("127.1.90.1"), free("127.2.90.1"));
    let flow = Flow { a: End { src: a, dst: b }, b: End { src: b, dst: a } };
    Flows::new(&vec![flow; calls]).unwrap()
}

/// A load that waits for a relay whose thread is kept from running.
fn patient(flows: Flows) -> Load {
    Load { quiet_ns: 1_500_000_000, ..Load::new(flows).unwrap() }
}

/// What a faulty relay does with the n-th packet from A, counted from 1; B's pass untouched.
type Fault = fn(u64, Vec<u8>) -> Vec<Vec<u8>>;

/// A relay of one call on two ports, which ends when it is dropped.
struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    fn start(fault: Fault) -> (Self, Flows) {
        let (a, b) = (free("127.1.91.1"), free("127.2.91.1"));
        let [to_a, to_b] = [(); 2].map(|()| UdpSocket::bind("127.3.91.1:0").unwrap());
        let end = |src, socket: &UdpSocket| End { src, dst: socket.local_addr().unwrap() };
        let flows = Flows::new(&[Flow { a: end(a, &to_a), b: end(b, &to_b) }]).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        for socket in [&to_a, &to_b] {
            socket.set_nonblocking(true).unwrap();
        }
        let thread = spawn(move || {
            let (mut room, mut n) = ([0; 2048], 0);
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((len, _)) = to_a.recv_from(&mut room) {
                    n += 1;
                    for bytes in fault(n, room[..len].to_vec()) {
                        to_b.send_to(&bytes, b).unwrap();
                    }
                }
                if let Ok((len, _)) = to_b.recv_from(&mut room) {
                    to_a.send_to(&room[..len], a).unwrap();
                }
                std::thread::yield_now();
            }
        });
        (Self { stop, thread: Some(thread) }, flows)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn nothing_between_loses_nothing() {
    let mut load = patient(direct(10));
    assert_eq!(load.streams(), 20);
    for _ in 0..2 {
        let seen = load.play(20_000, Duration::from_millis(200)).unwrap();
        let tally = &seen.tally;
        assert!(tally.sent > 0, "something was sent");
        assert_eq!((tally.received, tally.lost()), (tally.sent, 0));
        assert_eq!((tally.reordered, tally.duplicates, tally.stray), (0, 0, 0));
        assert_eq!((tally.unsent, tally.unstamped, seen.overrun), (0, 0, 0));
        assert!(tally.sent <= 4001, "{} are more than the plan has", tally.sent);
        assert_eq!(tally.json()["delay"]["count"], tally.sent);
    }
}

#[test]
fn a_relay_that_drops_is_found_out() {
    let (_relay, flows) =
        Relay::start(|n, bytes| if n % 10 == 0 { Vec::new() } else { vec![bytes] });
    let tally = patient(flows).play(2000, Duration::from_millis(300)).unwrap().tally;
    let from_a = tally.sent.div_ceil(2);
    assert_eq!(tally.lost(), from_a / 10, "of {} sent", tally.sent);
    assert_eq!((tally.reordered, tally.duplicates, tally.stray), (0, 0, 0));
}

#[test]
fn a_relay_that_doubles_and_forges_is_found_out() {
    let (_relay, flows) = Relay::start(|n, bytes| match n % 5 {
        0 => vec![bytes.clone(), bytes],
        1 => vec![bytes, b"something else".to_vec()],
        _ => vec![bytes],
    });
    let tally = patient(flows).play(2000, Duration::from_millis(300)).unwrap().tally;
    let from_a = tally.sent.div_ceil(2);
    // The end is reached with the last packet: what follows it may stay unread.
    assert!(from_a / 5 - tally.duplicates <= 1, "{} of {from_a} doubled", tally.duplicates);
    assert!(from_a.div_ceil(5) - tally.stray <= 1, "{} of {from_a} forged", tally.stray);
    assert_eq!((tally.lost(), tally.reordered), (0, 0));
}
