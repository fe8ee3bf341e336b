//! Real connections on loopback against the thread and a stand-in for the engine.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use cooee_model::moment::Moment;
use cooee_signalling::switch::input::Input;
use cooee_telemetry::{Identity, Telemetry};

mod secure;

use super::*;
use crate::inbox::{Letters, Post, inbox};

/// Long enough for a busy machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

const FAST: Settings = Settings {
    room: Room { per_address: 20, total: 40 },
    connect: Duration::from_secs(2),
    message: Duration::from_millis(400),
    idle: Duration::from_secs(30),
    certificates: Duration::from_millis(50),
};

/// The thread, with the engine's side of its queues.
struct Ground {
    streams: Streams,
    letters: Letters,
    telemetry: Arc<Telemetry>,
    address: SocketAddr,
}

impl Ground {
    fn new(bind: &str, settings: Settings) -> Self {
        Self::over(Transport::Tcp, bind, settings, None)
    }

    fn over(transport: Transport, bind: &str, settings: Settings, secure: Secure) -> Self {
        let bind = (transport, bind.parse().unwrap());
        let bound = Bound::bind(&[bind], None).unwrap();
        let address = bound.locals()[0].address;
        let identity = Identity {
            node: "test".to_owned(),
            version: String::new(),
            trunks: Vec::new(),
            routes: Vec::new(),
            webhooks: Vec::new(),
        };
        let telemetry = Arc::new(Telemetry::new(identity, Moment::new(0, 0)));
        let (inbox, letters) = inbox().unwrap();
        let post = Post { inbox, telemetry: Arc::clone(&telemetry) };
        let (streams, _thread) = Streams::start((bound, secure), 0, settings, post).unwrap();
        Self { streams, letters, telemetry, address }
    }

    fn next(&self) -> Input {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some((input, _)) = self.letters.next() {
                return input;
            }
            assert!(Instant::now() < end, "nothing came");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The next message and where it came from.
    fn heard(&self) -> (Flow, String) {
        match self.next() {
            Input::Datagram { flow, bytes, .. } => (flow, text(&bytes)),
            other => panic!("{other:?}"),
        }
    }

    fn given_back(&self) -> String {
        match self.next() {
            Input::Unsent { bytes, .. } => text(&bytes),
            other => panic!("{other:?}"),
        }
    }

    fn send(&self, remote: SocketAddr, message: String) {
        self.send_by(Transport::Tcp, remote, message);
    }

    fn send_by(&self, transport: Transport, remote: SocketAddr, message: String) {
        let flow = Flow { transport, socket: 0, remote };
        let bytes = Bytes::from(message);
        self.streams.send(&Transmit { flow, bytes, measure: None });
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn connections(&self) -> u64 {
        self.telemetry.streams.connections_now.iter().map(|n| n.load(Relaxed)).sum()
    }

    fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "never: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn cut(&self, why: &str) -> u64 {
        let line = format!("cooee_sip_connections_cut_total{{why=\"{why}\"}} ");
        let text = self.telemetry.exposition();
        text.lines().find_map(|l| l.strip_prefix(&line)).unwrap().parse().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn request(method: &str, sent_by: &str) -> String {
    format!(
        "{method} sip:x@y SIP/2.0\r\nVia: SIP/2.0/TCP {sent_by};branch=z9hG4bKx\r\n\
         CSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn response(sent_by: &str) -> String {
    format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP {sent_by};branch=z9hG4bKx\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Reads exactly what is wanted.
fn expect(stream: &mut TcpStream, wanted: &str) {
    let mut got = vec![0; wanted.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(text(&got), wanted);
}

fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_))
}

#[test]
fn flow_74_pieces_become_messages_and_pings_are_answered() {
    let ground = Ground::new("127.92.0.1:0", FAST);
    let mut peer = ground.connect();
    peer.set_nodelay(true).unwrap();
    let message = request("OPTIONS", "127.0.0.1:5999");
    for byte in format!("\r\n\r\n{message}").as_bytes() {
        peer.write_all(&[*byte]).unwrap();
    }
    expect(&mut peer, "\r\n");
    peer.write_all(format!("{message}{message}").as_bytes()).unwrap();
    for _ in 0..3 {
        let (flow, heard) = ground.heard();
        assert_eq!(heard, message);
        assert_eq!(flow.remote, peer.local_addr().unwrap());
    }
}

#[test]
fn flow_73_the_connection_that_is_there_carries_all() {
    let ground = Ground::new("127.92.0.2:0", FAST);
    let mut peer = ground.connect();
    peer.write_all(request("OPTIONS", "127.0.0.1:5999").as_bytes()).unwrap();
    let (flow, _) = ground.heard();
    // The answer, and what we ask of the peer at the port that its Via names.
    ground.send(flow.remote, response("127.0.0.1:5999"));
    expect(&mut peer, &response("127.0.0.1:5999"));
    let bye = request("BYE", "127.92.0.2");
    ground.send("127.0.0.1:5999".parse().unwrap(), bye.clone());
    expect(&mut peer, &bye);
    assert_eq!(ground.connections(), 1);

    // The other way round: a peer that listens is called once for many requests.
    let listener = TcpListener::bind("127.92.0.3:0").unwrap();
    let invite = request("INVITE", "127.92.0.2");
    for _ in 0..3 {
        ground.send(listener.local_addr().unwrap(), invite.clone());
    }
    let (mut called, from) = listener.accept().unwrap();
    expect(&mut called, &invite.repeat(3));
    assert_eq!(from.ip(), ground.address.ip());
    called.write_all(response("127.92.0.2").as_bytes()).unwrap();
    assert_eq!(ground.heard().0.remote, listener.local_addr().unwrap());
    assert_eq!(ground.connections(), 2);
}

#[test]
fn flow_75_a_lost_connection_is_replaced() {
    let ground = Ground::new("127.92.0.4:0", FAST);
    let listener = TcpListener::bind("127.92.0.5:0").unwrap();
    let at = listener.local_addr().unwrap();
    let mut peer = ground.connect();
    peer.write_all(request("OPTIONS", "127.0.0.1:5999").as_bytes()).unwrap();
    let (flow, _) = ground.heard();
    drop(peer);
    ground.until("the connection is gone", |g| g.connections() == 0);
    // The answer goes where Via says; what we ask goes to the peer's address.
    ground.send(flow.remote, response(&format!("127.92.0.5:{}", at.port())));
    let (mut called, _) = listener.accept().unwrap();
    expect(&mut called, &response(&format!("127.92.0.5:{}", at.port())));
    called.shutdown(Shutdown::Both).unwrap();
    ground.until("the connection is gone", |g| g.connections() == 0);
    ground.send(at, request("BYE", "127.92.0.4"));
    let (mut called, _) = listener.accept().unwrap();
    expect(&mut called, &request("BYE", "127.92.0.4"));
}

#[test]
fn what_nobody_takes_is_given_back_at_once() {
    let ground = Ground::new("127.92.0.6:0", FAST);
    let nobody = TcpListener::bind("127.92.0.7:0").unwrap().local_addr().unwrap();
    let invite = request("INVITE", "127.92.0.6");
    ground.send(nobody, invite.clone());
    assert_eq!(ground.given_back(), invite);
    ground.until("it is counted", |g| g.cut("connect") == 1);
    assert_eq!(ground.connections(), 0);
}

#[test]
fn a_message_without_length_is_told_and_the_stream_closed_after_the_answer() {
    let ground = Ground::new("127.92.0.8:0", FAST);
    let mut peer = ground.connect();
    let head = "BYE sip:x@y SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\n\r\n";
    peer.write_all(format!("{head}{head}").as_bytes()).unwrap();
    let (flow, heard) = ground.heard();
    assert_eq!(heard, head);
    ground.send(flow.remote, response("h"));
    expect(&mut peer, &response("h"));
    assert!(is_closed(&mut peer));
    ground.until("it is counted", |g| g.cut("framing") == 1);
    assert!(ground.letters.next().is_none());
}

#[test]
fn s14_slow_and_many_are_cut_off() {
    let ground = Ground::new("127.92.0.9:0", FAST);
    let mut slow: Vec<TcpStream> = (0..20).map(|_| ground.connect()).collect();
    ground.until("all are in", |g| g.connections() == 20);
    // One more from this address is refused, one from another is not.
    assert!(is_closed(&mut ground.connect()));
    assert_eq!((ground.cut("address"), ground.connections()), (1, 20));
    let from_elsewhere = |ip: &str| {
        let fd = nix::sys::socket::socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        );
        let stream = TcpStream::from(fd.unwrap());
        let from = SockaddrStorage::from(format!("{ip}:0").parse::<SocketAddr>().unwrap());
        bind(stream.as_raw_fd(), &from).unwrap();
        let to = SockaddrStorage::from(ground.address);
        nix::sys::socket::connect(stream.as_raw_fd(), &to).unwrap();
        stream
    };
    let mut other = from_elsewhere("127.92.0.10");
    let message = request("OPTIONS", "127.92.0.10");
    other.write_all(message.as_bytes()).unwrap();
    assert_eq!(ground.heard().1, message);
    // A byte now and then does not keep a connection that owes a message.
    let start = Instant::now();
    while ground.connections() > 1 {
        for stream in &mut slow {
            let _ = stream.write_all(b"I");
        }
        assert!(start.elapsed() < PATIENCE, "the slow ones stay");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(ground.cut("stalled"), 20);
    // ... and the one that has said something goes on.
    other.write_all(message.as_bytes()).unwrap();
    assert_eq!(ground.heard().1, message);
    // A message that was begun has its time too.
    other.write_all(b"OPTIONS sip:").unwrap();
    ground.until("the half message is cut", |g| g.cut("stalled") == 21);
    assert_eq!(ground.connections(), 0);
}

#[test]
fn silence_ends_a_connection_and_more_than_the_total_is_refused() {
    let few = Settings {
        room: Room { per_address: 20, total: 2 },
        idle: Duration::from_millis(300),
        ..FAST
    };
    let ground = Ground::new("127.92.0.11:0", few);
    let mut peers: Vec<TcpStream> = (0..2).map(|_| ground.connect()).collect();
    for peer in &mut peers {
        peer.write_all(request("OPTIONS", "h").as_bytes()).unwrap();
        ground.heard();
    }
    assert!(is_closed(&mut ground.connect()));
    assert_eq!(ground.cut("total"), 1);
    let invite = request("INVITE", "127.92.0.11");
    ground.send("127.92.0.12:5060".parse().unwrap(), invite.clone());
    assert_eq!(ground.given_back(), invite);
    // A connection gives its place back before it says why it ended.
    ground.until("both are silent for too long", |g| g.cut("idle") == 2);
    assert_eq!(ground.connections(), 0);
    assert!(peers.iter_mut().all(is_closed));
}

#[test]
fn s9_a_thousand_connections_that_are_reset_leave_nothing() {
    let ground = Ground::new("127.92.0.13:0", FAST);
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let invite = request("INVITE", "127.92.0.13:1");
    for _ in 0..1000 {
        let mut peer = ground.connect();
        peer.write_all(invite.as_bytes()).unwrap();
        nix::sys::socket::setsockopt(&peer, nix::sys::socket::sockopt::Linger, &libc_linger())
            .unwrap();
        drop(peer);
        ground.until("there is room again", |g| g.connections() < 20);
    }
    ground.until("all are gone", |g| g.connections() == 0);
    while ground.letters.next().is_some() {}
    // Other tests of this process open descriptors too, but not hundreds.
    assert!(descriptors() < before + 100, "{before} became {}", descriptors());
    let mut peer = ground.connect();
    peer.write_all(invite.as_bytes()).unwrap();
    assert_eq!(ground.heard().1, invite);
}

/// Close resets.
fn libc_linger() -> nix::libc::linger {
    nix::libc::linger { l_onoff: 1, l_linger: 0 }
}

#[test]
fn ipv6_too() {
    let ground = Ground::new("[::1]:0", FAST);
    assert!(ground.address.is_ipv6());
    let mut peer = ground.connect();
    peer.write_all(request("OPTIONS", "[::1]:5999").as_bytes()).unwrap();
    let (flow, _) = ground.heard();
    ground.send(flow.remote, response("[::1]:5999"));
    expect(&mut peer, &response("[::1]:5999"));
}
