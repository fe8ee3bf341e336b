//! Real sockets on loopback, one of which nobody holds any more.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::UdpSocket;

use cooee_signalling::message::transport::Transport;
use cooee_signalling::switch::input::Input;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;
use crate::udp::Udp;

/// A port that was free a moment ago, and is again.
fn dead(ip: &str) -> SocketAddr {
    UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap()
}

fn message(number: usize) -> Vec<u8> {
    let head = "INVITE sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK";
    format!("{head}{number:026}\r\n{}", "Subject: long\r\n".repeat(60)).into_bytes()
}

/// Waits until the socket signals an error.
fn signalled(socket: &Socket) {
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    assert_eq!(poll(&mut polled, PollTimeout::from(20_000_u16)).unwrap(), 1);
    assert!(polled[0].revents().unwrap().contains(PollFlags::POLLERR));
}

#[test]
fn flow_11_a_dead_port_gives_back_what_was_sent_to_it() {
    for ip in ["127.40.0.1", "::1"] {
        let udp = Udp::bind(&[SocketAddr::new(ip.parse().unwrap(), 0)], None).unwrap();
        let (socket, to) = (&udp.sockets()[0], dead(ip));
        let mut inputs = Vec::new();
        assert_eq!(udp.hear_icmp(0, &mut inputs), (0, 0));
        let sent = message(7);
        assert_eq!(socket.send([(&sent[..], to)]).count, 1);
        signalled(socket);
        assert_eq!(udp.hear_icmp(0, &mut inputs), (1, 0));
        assert_eq!(udp.hear_icmp(0, &mut inputs), (0, 0));
        let [Input::Unsent { flow, bytes }] = &inputs[..] else { panic!("{inputs:?}") };
        assert_eq!((flow.transport, flow.socket, flow.remote), (Transport::Udp, 0, to));
        assert!(bytes.len() >= 200 && sent.starts_with(bytes), "{} bytes", bytes.len());
    }
}

#[test]
fn no_datagram_is_lost_for_another_that_came_back() {
    let udp = Udp::bind(&["127.40.0.2:0".parse().unwrap()], None).unwrap();
    let socket = &udp.sockets()[0];
    let here = socket.local_addr().unwrap();
    let alive = UdpSocket::bind("127.40.0.2:0").unwrap();
    let (to, gone) = (alive.local_addr().unwrap(), dead("127.40.0.2"));
    let messages: Vec<_> = (0..40).map(message).collect();
    let way = |n: usize| if n.is_multiple_of(2) { gone } else { to };
    let sent = socket.send(messages.iter().enumerate().map(|(n, m)| (&m[..], way(n))));
    assert_eq!((sent.count, sent.stopped.is_none()), (40, true));
    let mut room = [0; 2048];
    for expected in messages.iter().skip(1).step_by(2) {
        let len = alive.recv(&mut room).unwrap();
        assert_eq!(&room[..len], expected);
    }
    // What comes in is read although an error waits, and what goes out goes.
    signalled(socket);
    assert_eq!(socket.send([(&b"again"[..], gone), (b"on", to)]).count, 2);
    assert_eq!(alive.recv(&mut room).unwrap(), 2);
    alive.send_to(b"answer", here).unwrap();
    let (mut batch, mut inputs) = (Udp::room(), Vec::new());
    assert_eq!(udp.receive(0, &mut batch, |input| inputs.push(input)).unwrap(), 1);
    assert!(matches!(&inputs[..], [Input::Datagram { bytes, .. }] if &bytes[..] == b"answer"));
    // Some of them at a time.
    assert_eq!(udp.hear_icmp(0, &mut inputs), (21, 0));
    assert_eq!(udp.receive(0, &mut batch, |input| inputs.push(input)).unwrap(), 0);
}

#[test]
fn only_what_says_unreachable_ends_a_request() {
    let says = |ee_origin, ee_type, ee_code| {
        let (ee_errno, ee_pad, ee_info, ee_data) = (0, 0, 0, 0);
        is_unreachable(&sock_extended_err {
            ee_errno,
            ee_origin,
            ee_type,
            ee_code,
            ee_pad,
            ee_info,
            ee_data,
        })
    };
    let (v4, v6) = (libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6);
    for code in [0, 1, 2, 3, 9, 10, 13] {
        assert!(says(v4, 3, code), "{code}");
    }
    // Fragmentation needed, source quench, time exceeded, parameter problem.
    for (kind, code) in [(3, 4), (4, 0), (11, 0), (12, 0)] {
        assert!(!says(v4, kind, code), "{kind}");
    }
    assert!(says(v6, 1, 4) && says(v6, 1, 0));
    for kind in [2, 3, 4] {
        assert!(!says(v6, kind, 0), "{kind}");
    }
    assert!(!says(libc::SO_EE_ORIGIN_LOCAL, 3, 3));
}
