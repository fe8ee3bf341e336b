//! The sockets below the relay and the SIP listener: batches, stamps, deafness, both families.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::time::Duration;

use cooee_media::limits::{BATCH_MAX, RTP_RECV_BUFFER_BYTES};
use cooee_media::socket::{Packet, RecvBatch, Socket, SocketOptions, now};
use cooee_model::moment::Moment;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

/// A socket on a free port of `ip`.
fn bind(ip: &str, options: SocketOptions) -> (Socket, SocketAddr) {
    let socket = Socket::bind(SocketAddr::new(ip.parse().unwrap(), 0), options).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// Waits for `count` datagrams, which fit one batch, and takes them.
fn recv(batch: &mut RecvBatch, socket: &Socket, count: usize) {
    // Loopback delivers within the sending call, so what was sent is there.
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut polled, PollTimeout::from(20_000_u16)).unwrap(), 1);
    assert_eq!(batch.recv(socket).unwrap(), count);
}

#[test]
fn batches_arrive_as_they_were_sent_on_both_families() {
    for ip in ["127.30.0.1", "::1"] {
        let (from, source) = bind(ip, SocketOptions::default());
        let (to, dest) = bind(ip, SocketOptions { dscp: 46, ..SocketOptions::default() });
        // More than one system call takes, with an empty datagram among them.
        let sent: Vec<Vec<u8>> = (0..BATCH_MAX + 7).map(|n| vec![n as u8; n]).collect();
        let before = now();
        let outcome = from.send(sent.iter().map(|bytes| (bytes.as_slice(), dest)));
        assert_eq!((outcome.count, outcome.stopped.is_none()), (sent.len(), true));
        let mut batch = RecvBatch::new(BATCH_MAX, 2048);
        let mut got = Vec::new();
        for count in [BATCH_MAX, 7] {
            recv(&mut batch, &to, count);
            let read = now();
            for packet in batch.packets() {
                assert_eq!((packet.source, packet.truncated), (source, false));
                let received = packet.received(read);
                assert!(received >= before && received <= read, "{received}");
                got.push(packet.bytes.to_vec());
            }
        }
        assert_eq!(got, sent);
        assert_eq!(batch.recv(&to).unwrap(), 0);
        assert_eq!(batch.packets().count(), 0, "the batch before is gone");
    }
}

#[test]
fn the_largest_sip_datagram_fits_and_a_longer_one_is_told() {
    let (from, _) = bind("127.30.0.2", SocketOptions::default());
    let options = SocketOptions { recv_buffer: Some(1 << 20), ..SocketOptions::default() };
    let (to, dest) = bind("127.30.0.2", options);
    let largest = vec![b'x'; 65_507];
    assert_eq!(from.send([(largest.as_slice(), dest)]).count, 1);
    let mut sip = RecvBatch::new(32, 65_535);
    recv(&mut sip, &to, 1);
    assert_eq!(sip.packets().next().unwrap().bytes, largest);
    assert_eq!(from.send([(largest.as_slice(), dest)]).count, 1);
    let mut rtp = RecvBatch::new(16, 2048);
    recv(&mut rtp, &to, 1);
    let packet = rtp.packets().next().unwrap();
    assert!(packet.truncated);
    assert_eq!(packet.bytes, &largest[..2048]);
}

#[test]
fn a_datagram_that_cannot_go_stops_the_batch_at_its_place() {
    let (from, _) = bind("127.30.0.3", SocketOptions::default());
    let (to, dest) = bind("127.30.0.3", SocketOptions::default());
    let too_long = vec![0; 70_000];
    let datagrams = [&b"first"[..], b"second", &too_long, b"fourth"];
    let sent = from.send(datagrams.map(|bytes| (bytes, dest)));
    assert_eq!(sent.count, 2);
    assert_eq!(sent.stopped.unwrap().raw_os_error(), Some(nix::libc::EMSGSIZE));
    let rest = from.send(datagrams.into_iter().skip(3).map(|bytes| (bytes, dest)));
    assert_eq!(rest.count, 1);
    let mut batch = RecvBatch::new(16, 2048);
    recv(&mut batch, &to, 3);
    let got: Vec<_> = batch.packets().map(|packet| packet.bytes).collect();
    assert_eq!(got, [&b"first"[..], b"second", b"fourth"]);
}

#[test]
fn an_address_of_the_other_family_is_refused_and_not_lost_silently() {
    let (from, _) = bind("127.30.0.4", SocketOptions::default());
    let sent = from.send([(&b"x"[..], "[::1]:9".parse().unwrap())]);
    assert!(sent.count == 0 && sent.stopped.is_some());
}

#[test]
fn a_shut_socket_is_deaf_and_what_the_kernel_drops_is_known() {
    let recv_buffer = Some(RTP_RECV_BUFFER_BYTES);
    let options = SocketOptions { recv_buffer, shut: true, ..SocketOptions::default() };
    let (to, dest) = bind("127.30.0.5", options);
    let (from, _) = bind("127.30.0.5", SocketOptions::default());
    let mut batch = RecvBatch::new(BATCH_MAX, 2048);
    let send = |count| {
        let datagrams = std::iter::repeat_n((&b"packet"[..], dest), count);
        assert_eq!(from.send(datagrams).count, count);
    };
    send(5);
    assert_eq!((batch.recv(&to).unwrap(), to.kernel_drops()), (0, 5));
    to.open().unwrap();
    to.open().unwrap();
    send(2);
    recv(&mut batch, &to, 2);
    assert_eq!(to.kernel_drops(), 5);
    to.shut().unwrap();
    send(1);
    assert_eq!((batch.recv(&to).unwrap(), to.kernel_drops()), (0, 6));
    to.open().unwrap();
    send(500);
    let kept = batch.drain(&to);
    assert!((10..100).contains(&kept), "the buffer is kept small: {kept}");
    assert_eq!(to.kernel_drops() as usize, 6 + 500 - kept);
    assert_eq!(batch.packets().count(), 0);
}

#[test]
fn only_a_stamp_of_the_last_second_is_believed() {
    let read = Moment::new(10_000_000_000, 1_700_000_000_000_000_000);
    let packet = |stamp_ns| Packet {
        bytes: &[],
        source: "127.0.0.1:9".parse().unwrap(),
        stamp_ns,
        truncated: false,
    };
    let aged = |ns: i64| packet(Some(read.wall - ns));
    for ns in [0, 1, 999_999_999, 1_000_000_000] {
        let age = u64::try_from(ns).unwrap();
        assert_eq!(aged(ns).age(read), Some(Duration::from_nanos(age)));
        assert_eq!(aged(ns).received(read), Moment::new(read.mono - age, read.wall - ns));
    }
    for packet in [aged(-1), aged(1_000_000_001), aged(i64::MIN / 2), packet(None)] {
        assert_eq!(packet.age(read), None);
        assert_eq!(packet.received(read), read);
    }
}
