//! Tests of `hep`: packets byte by byte, and over a socket.

use super::*;
use cooee_model::fact::Fact;
use cooee_signalling::transaction::flow::{Flow, Transmit};
use cooee_telemetry::Identity;
use secrecy::SecretString;

const AT: Moment = Moment::new(5, 1_700_000_000_123_456_789);
const OPTIONS: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: c1\r\nX-Key: s3cret\r\n\r\n";

fn writer() -> Writer {
    Writer {
        id: 2001,
        password: Some("pw".to_owned()),
        secret: Arc::from(["X-Key".to_owned()]),
        calls: BTreeMap::new(),
        order: VecDeque::new(),
    }
}

fn seen(from: &str, to: &str, bytes: &'static [u8]) -> Seen {
    Seen {
        at: AT,
        transport: Transport::Udp,
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        bytes: Bytes::from_static(bytes),
    }
}

/// The chunks of a packet: vendor, type, value.
fn chunks(packet: &[u8]) -> Vec<(u16, u16, Vec<u8>)> {
    assert_eq!(&packet[..4], b"HEP3");
    let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    assert_eq!(usize::from(number(4)), packet.len());
    let (mut at, mut found) = (6, Vec::new());
    while at < packet.len() {
        let length = usize::from(number(at + 4));
        found.push((number(at), number(at + 2), packet[at + 6..at + length].to_vec()));
        at += length;
    }
    assert_eq!(at, packet.len());
    found
}

fn value(packet: &[u8], kind: u16) -> Option<Vec<u8>> {
    chunks(packet).into_iter().find(|(_, k, _)| *k == kind).map(|(_, _, value)| value)
}

#[test]
fn a_packet_byte_by_byte() {
    let mut packet = Vec::new();
    let text = b"OPTIONS sip:a SIP/2.0\r\ni: c\r\n\r\n";
    writer().write(&seen("192.0.2.1:5060", "198.51.100.2:5062", text), &mut packet);
    let mut wanted = Vec::from(*b"HEP3\x00\x91");
    for part in [
        &b"\x00\x00\x00\x01\x00\x07\x02"[..],
        b"\x00\x00\x00\x02\x00\x07\x11",
        b"\x00\x00\x00\x03\x00\x0a\xc0\x00\x02\x01",
        b"\x00\x00\x00\x04\x00\x0a\xc6\x33\x64\x02",
        b"\x00\x00\x00\x07\x00\x08\x13\xc4",
        b"\x00\x00\x00\x08\x00\x08\x13\xc6",
        b"\x00\x00\x00\x09\x00\x0a\x65\x53\xf1\x00",
        b"\x00\x00\x00\x0a\x00\x0a\x00\x01\xe2\x40",
        b"\x00\x00\x00\x0b\x00\x07\x01",
        b"\x00\x00\x00\x0c\x00\x0a\x00\x00\x07\xd1",
        b"\x00\x00\x00\x0e\x00\x08pw",
        b"\x00\x00\x00\x11\x00\x07c",
        b"\x00\x00\x00\x0f\x00\x25",
        text,
    ] {
        wanted.extend_from_slice(part);
    }
    assert_eq!(packet, wanted);
}

#[test]
fn ipv6_and_streams_have_their_own_chunks() {
    let mut packet = Vec::new();
    let mut one = seen("[2001:db8::1]:5060", "[2001:db8::2]:5061", OPTIONS);
    one.transport = Transport::Tcp;
    writer().write(&one, &mut packet);
    assert_eq!(value(&packet, 1), Some(vec![10]));
    assert_eq!(value(&packet, 2), Some(vec![6]));
    let source = value(&packet, 5).unwrap();
    assert_eq!((source.len(), &source[..4], source[15]), (16, &b"\x20\x01\x0d\xb8"[..], 1));
    assert_eq!(value(&packet, 6).map(|v| v[15]), Some(2));
    assert_eq!((value(&packet, 3), value(&packet, 4)), (None, None));
}

#[test]
fn both_legs_carry_the_id_of_their_call() {
    let mut writer = writer();
    let call = CallId::new(1_700_000_000_000, 7);
    writer.name("c1".to_owned(), call);
    let mut packet = Vec::new();
    writer.write(&seen("192.0.2.1:1", "192.0.2.2:2", OPTIONS), &mut packet);
    assert_eq!(value(&packet, 17), Some(call.to_string().into_bytes()));
    for at in 0..DIALOGS {
        writer.name(format!("later{at}"), call);
    }
    assert!(writer.calls.len() <= DIALOGS && !writer.calls.contains_key("c1"));
}

#[test]
fn secrets_are_blotted_out_and_nothing_else_is() {
    let writer = writer();
    let text = b"INVITE a SIP/2.0\r\nx-key : a b\r\n  more\r\nX-Keys: open\r\n\r\nX-Key: body\r\n";
    let wanted =
        b"INVITE a SIP/2.0\r\nx-key : x x\r\n  xxxx\r\nX-Keys: open\r\n\r\nX-Key: body\r\n";
    assert_eq!(writer.blotted(text), wanted);
    let mut packet = Vec::new();
    writer.write(&seen("192.0.2.1:1", "192.0.2.2:2", OPTIONS), &mut packet);
    assert!(!packet.windows(6).any(|w| w == b"s3cret"));
}

fn plan() -> Arc<Plan> {
    let text = r#"
        [[trunk]]
        name = "a"
        profile = "generic-ip-trunk"
        allow = ["192.0.2.1"]
        peers = ["udp:192.0.2.1"]
        auth = { mode = "header", name = "X-Key", value = "0123456789abcdef" }
        [[did]]
        number = "+61255501234"
        [[route]]
        chain = ["trunk:a"]
    "#;
    let around = cooee_config::secrets::Surroundings::new(std::path::Path::new("."), |_| None);
    Arc::new(cooee_config::load_str(text, "hep.toml", &around).unwrap().plan)
}

fn telemetry() -> Arc<Telemetry> {
    Arc::new(Telemetry::new(Identity::default(), AT))
}

fn output(bytes: &'static [u8], call: CallId) -> Output {
    let what = What::Forwarded {
        trunk: String::new(),
        route: String::new(),
        role: cooee_model::account::Role::AgentLeg,
        did: String::new(),
        did_rule: String::new(),
        attempt: 1,
        sip_call_id: "c1".to_owned(),
    };
    let mut out = Output::default();
    out.records.push(Record::Fact(Fact { call, seq: 0, at: AT, what }));
    let remote = "127.0.0.9:5060".parse().unwrap();
    let flow = Flow { transport: Transport::Udp, socket: 0, remote };
    out.sends.push(Transmit { flow, bytes: Bytes::from_static(bytes), measure: None });
    out
}

#[test]
fn what_the_engine_sends_and_hears_reaches_the_collector() {
    let collector = UdpSocket::bind("127.77.50.1:0").unwrap();
    collector.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let target = collector.local_addr().unwrap().to_string();
    let settings = Settings { target, id: 7, password: Some(SecretString::from("pw")) };
    let telemetry = telemetry();
    let locals = vec!["127.0.0.1:5060".parse().unwrap()];
    let mut hep = Hep::start(&settings, locals, plan(), Arc::clone(&telemetry)).unwrap();
    let call = CallId::new(1, 2);
    let input = Input::Datagram {
        flow: Flow {
            transport: Transport::Udp,
            socket: 0,
            remote: "127.0.0.8:5070".parse().unwrap(),
        },
        received: AT,
        bytes: Bytes::from_static(OPTIONS),
    };
    let heard = hep.received(&input);
    let step = hep.look(&plan(), heard, &output(OPTIONS, call)).unwrap();
    hep.tell(step);
    let mut room = [0; 2048];
    for (source, to) in [(5070_u16, 5060_u16), (5060, 5060)] {
        let (length, _) = collector.recv_from(&mut room).unwrap();
        let packet = &room[..length];
        assert_eq!(value(packet, 7), Some(source.to_be_bytes().to_vec()));
        assert_eq!(value(packet, 8), Some(to.to_be_bytes().to_vec()));
        assert_eq!(value(packet, 17), Some(call.to_string().into_bytes()));
        let text = String::from_utf8(value(packet, 15).unwrap()).unwrap();
        assert_eq!(text, String::from_utf8_lossy(OPTIONS).replace("s3cret", "xxxxxx"));
    }
}

#[test]
fn a_full_queue_drops_and_counts() {
    let (sender, receiver) = bounded(1);
    let telemetry = telemetry();
    let locals = vec!["127.0.0.1:5060".parse().unwrap()];
    let plan = plan();
    let secret = secret_headers(&plan);
    assert_eq!(secret.as_ref(), ["X-Key"]);
    let mut hep =
        Hep { sender, locals, plan: Arc::clone(&plan), secret, telemetry: Arc::clone(&telemetry) };
    for _ in 0..3 {
        let step = hep.look(&plan, None, &output(OPTIONS, CallId::new(1, 2))).unwrap();
        hep.tell(step);
    }
    assert_eq!(telemetry.engine.hep_dropped.load(Relaxed), 2);
    drop(receiver);
    assert!(hep.look(&plan, None, &Output::default()).is_none(), "nothing is nothing");
}
