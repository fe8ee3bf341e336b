//! What the benchmarks share: one realistic call, and a switch between its two peers.
// A benchmark that panics says so at once: it has no caller to tell.
#![allow(clippy::expect_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cooee_config::secrets::Surroundings;
use cooee_model::media::Latch;
use cooee_model::moment::Moment;
use cooee_signalling::call::context::{Output, Setup};
use cooee_signalling::call::peers::Place;
use cooee_signalling::leg::dialog::Local;
use cooee_signalling::message::name::Name;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::message::view::Message;
use cooee_signalling::profile::plan::Plan;
use cooee_signalling::switch::input::Input;
use cooee_signalling::switch::{Node, Switch};
use cooee_signalling::transaction::flow::Flow;

/// The dialer.
pub const A: &str = "192.0.2.10:5060";
/// The platform.
pub const B: &str = "198.51.100.20:5060";

const SDP: &str = "v=0\r\no=uac 53655765 2353687637 IN IP4 192.0.2.10\r\ns=-\r\n\
    c=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n";

const CONFIG: &str = r#"
version = 1
[sip]
bind = ["udp:192.0.2.1:5060"]
advertise = "192.0.2.1"
max_cps = 100000
max_sessions = 100000
options_ping = { interval_s = 0 }
[media]
bind = "127.0.0.1"
mode = "bypass"
[[did]]
number = "+61255501234"
state = "NSW"
owned = true
[caller_id]
default = "+61255501234"
strategy = ["default"]
[[trunk]]
name = "unitalk"
profile = "unitalk"
allow = ["192.0.2.10"]
shared_source = false
limits = { cps = 100000, sessions = 100000 }
[[trunk]]
name = "vox"
profile = "voximplant-app"
vars = { app = "app", account = "acc" }
peers = ["udp:198.51.100.20:5060"]
[[route]]
name = "customers"
role = "customer-leg"
from = "unitalk"
chain = [ { target = "trunk:vox", timeout_s = 40 } ]
"#;

/// The plan of the benchmarks: Unitalk to an application on Voximplant.
pub fn plan() -> Plan {
    let around = Surroundings::new(Path::new("."), |_| None);
    cooee_config::load_str(CONFIG, "bench.toml", &around).expect("the plan is right").plan
}

/// The INVITE of call `n`, about a thousand bytes.
pub fn invite(n: u64) -> Bytes {
    Bytes::from(format!(
        "INVITE sip:61491570156@192.0.2.1:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP {A};branch=z9hG4bKb{n}\r\n\
         From: \"Unitalk\" <sip:61280001111@192.0.2.10>;tag=t{n}\r\n\
         To: <sip:61491570156@192.0.2.1:5060>\r\nCall-ID: {n}-call@192.0.2.10\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:61280001111@{A}>\r\nMax-Forwards: 70\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\nUser-Agent: dialer\r\n\
         X-Unitalk-Call-Id: {n}\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    ))
}

/// A switch, its clock and what it last decided.
pub struct Bench {
    switch: Switch,
    now: Moment,
    out: Output,
}

impl Default for Bench {
    fn default() -> Self {
        let now = Moment::new(1_000_000_000, 1_770_000_000_000_000_000);
        let local = "192.0.2.1:5060".parse().expect("an address");
        let node = Node {
            plan: Arc::new(plan()),
            setup: Setup { locals: vec![Local::new(Transport::Udp, local)], latch: Latch::Strict },
            ports: Vec::new(),
            quarantine: Duration::ZERO,
            seed: [7; 24],
        };
        let mut bench = Self { switch: Switch::new(node, now), now, out: Output::default() };
        let peers = vec![Place::new(Transport::Udp, B.parse().expect("an address"))];
        bench.switch.handle(now, Input::Peers { revision: 1, trunk: 1, peers }, &mut bench.out);
        bench
    }
}

impl Bench {
    /// Hands a datagram to the switch; the messages that it sends.
    pub fn take(&mut self, from: &str, bytes: Bytes) -> Vec<Bytes> {
        self.now = self.now + Duration::from_micros(20);
        let remote = from.parse().expect("an address");
        let flow = Flow { transport: Transport::Udp, socket: 0, remote };
        self.out.clear();
        let input = Input::Datagram { flow, received: self.now, bytes };
        self.switch.handle(self.now, input, &mut self.out);
        self.out.sends.iter().map(|t| t.bytes.clone()).collect()
    }

    /// One whole call: INVITE, 180, 200, ACK, BYE, 200. Bytes sent in all.
    pub fn call(&mut self, n: u64) -> usize {
        let mut sent = 0;
        let mut note = |messages: &[Bytes]| sent += messages.iter().map(Bytes::len).sum::<usize>();
        let out = self.take(A, invite(n));
        note(&out);
        let b_invite = named(&out, "INVITE ");
        note(&self.take(B, answer(&b_invite, 180, "")));
        let out = self.take(B, answer(&b_invite, 200, SDP));
        note(&out);
        let ok = named(&out, "SIP/2.0 200");
        note(&self.take(A, request("ACK", 1, n, &ok)));
        let out = self.take(A, request("BYE", 2, n, &ok));
        note(&out);
        let bye = named(&out, "BYE ");
        note(&self.take(B, answer(&bye, 200, "")));
        sent
    }

    /// Lets 40 seconds pass, so that what ended is forgotten.
    pub fn forget(&mut self) {
        self.now = self.now + Duration::from_secs(40);
        self.out.clear();
        self.switch.handle(self.now, Input::Wake, &mut self.out);
    }
}

fn named(messages: &[Bytes], start: &str) -> Message {
    let found = messages.iter().find(|m| m.starts_with(start.as_bytes()));
    Message::read(found.expect("the message was sent").clone()).expect("it is SIP")
}

fn text(message: &Message, name: Name) -> String {
    String::from_utf8_lossy(message.value(name).unwrap_or_default()).into_owned()
}

fn answer(to: &Message, code: u16, sdp: &str) -> Bytes {
    let line = |name| text(to, name);
    let tag = if line(Name::To).contains("tag=") { "" } else { ";tag=b" };
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    Bytes::from(format!(
        "SIP/2.0 {code} X\r\nVia: {}\r\nFrom: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Contact: <sip:b@{B}>\r\n{kind}Content-Length: {}\r\n\r\n{sdp}",
        line(Name::Via),
        line(Name::From),
        line(Name::To),
        line(Name::CallId),
        line(Name::CSeq),
        sdp.len()
    ))
}

fn request(method: &str, cseq: u32, n: u64, ok: &Message) -> Bytes {
    Bytes::from(format!(
        "{method} sip:192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {A};branch=z9hG4bK{method}{n}\r\n\
         From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n",
        text(ok, Name::From),
        text(ok, Name::To),
        text(ok, Name::CallId)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_that_is_measured_goes_through() {
        let mut bench = Bench::default();
        for n in 0..3 {
            assert!(bench.call(n) > 2000);
        }
        bench.forget();
        assert_eq!(bench.switch.gauges().calls, 0);
        assert_eq!(bench.switch.gauges().transactions, (0, 0));
    }
}
