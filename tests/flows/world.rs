//! Two peers, a switch and a virtual clock: no socket, no thread, no waiting.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cooee_config::secrets::Surroundings;
use cooee_model::fact::{Fact, Rejected, What};
use cooee_model::ids::CallId;
use cooee_model::media::{Latch, MediaCommand, MediaEvent, StreamStats};
use cooee_model::moment::Moment;
use cooee_model::portal::Heard;
use cooee_signalling::call::context::{Output, Record, Setup};
use cooee_signalling::call::peers::Place;
use cooee_signalling::call::pool::Ports;
use cooee_signalling::call::snapshot::Image;
use cooee_signalling::leg::dialog::Local;
use cooee_signalling::message::name::Name;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::message::view::Message;
use cooee_signalling::profile::plan::{Peer, Plan};
use cooee_signalling::profile::rules::{Behaviour, Profile};
use cooee_signalling::switch::input::{Input, Revision};
use cooee_signalling::switch::recover::Recovered;
use cooee_signalling::switch::{Node, Switch};
use cooee_signalling::transaction::flow::Flow;

pub const A: &str = "192.0.2.10:5060";
pub const B: &str = "198.51.100.20:5060";
/// A second address of B's trunk, where a test names it.
pub const B2: &str = "198.51.100.22:5060";
/// A second trunk to call, where a test names it.
pub const C: &str = "198.51.100.30:5060";
pub const STRANGER: &str = "203.0.113.66:5060";
pub const SDP_A: &str = "v=0\r\no=a 1 1 IN IP4 192.0.2.11\r\ns=-\r\nc=IN IP4 192.0.2.11\r\n\
t=0 0\r\n\
    m=audio 6000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
pub const SDP_B: &str = "v=0\r\no=b 5 5 IN IP4 198.51.100.21\r\ns=-\r\nc=IN IP4 198.51.100.21\r\n\
    t=0 0\r\nm=audio 7000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

pub const CONFIG: &str = r#"
version = 1
[node]
id = "test"
data_dir = "data"
[sip]
options_ping = { interval_s = 0 }
bind = ["udp:192.0.2.1:5060", "tcp:192.0.2.1:5060"]
advertise = "192.0.2.1"
[media]
bind = "127.0.0.1"
advertise = "192.0.2.1"
mode = "MODE"
[[did]]
number = "+61255501234"
state = "NSW"
owned = true
[caller_id]
default = "+61255501234"
strategy = ["default"]
[[trunk]]
name = "a"
profile = "generic-ip-trunk"
allow = ["192.0.2.10"]
[[trunk]]
name = "b"
profile = "PROFILE"
peers = ["udp:198.51.100.20:5060"]
vars = { account_domain = "b.example", login = "sip7", line = "sip7" }
secret = "s3cret"
[[route]]
name = "r"
role = "ROLE"
from = "a"
chain = [ { target = "trunk:b", timeout_s = 30 } ]
"#;

/// A switch between two peers.
pub struct World {
    text: String,
    pub switch: Switch,
    pub now: Moment,
    pub to_a: Vec<Message>,
    pub to_b: Vec<Message>,
    pub elsewhere: Vec<(SocketAddr, Message)>,
    pub facts: Vec<Fact>,
    pub snapshots: Vec<(CallId, Vec<u8>)>,
    pub media: Vec<MediaCommand>,
    pub rejected: Vec<Rejected>,
    pub heard: Vec<Heard>,
    /// Each life of the node has a seed of its own.
    life: u8,
    /// The ways of all messages sent, in order.
    pub ways: Vec<Flow>,
}

impl World {
    /// Media anchored, an own number shown to the customer.
    pub fn new() -> Self {
        Self::with("relay", "generic-ip-trunk", "customer-leg")
    }

    pub fn with(mode: &str, profile: &str, role: &str) -> Self {
        let text = CONFIG.replace("MODE", mode).replace("PROFILE", profile).replace("ROLE", role);
        Self::configured(&text)
    }

    /// Both sides change nothing that they need not.
    pub fn transparent() -> Self {
        let text = CONFIG.replace("\"generic-ip-trunk\"", "\"transparent\"");
        let text = text.replace("MODE", "relay").replace("ROLE", "agent-leg");
        Self::configured(&text.replace("PROFILE", "transparent"))
    }

    /// As `new`, with some words of its configuration replaced.
    pub fn changed(changes: &[(&str, &str)]) -> Self {
        let mut text = CONFIG.replace("MODE", "relay");
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let text = text.replace("PROFILE", "generic-ip-trunk").replace("ROLE", "customer-leg");
        Self::configured(&text)
    }

    /// A reaches us by a registered line, `+61491570156`.
    pub fn with_a_line() -> Self {
        let lines = "profile = \"unitalk-lines\"\npeers = [\"udp:192.0.2.10:5060\"]\n\
            lines = \"+61491570156:s3cret\"";
        let text = CONFIG.replace("MODE", "relay").replace("ROLE", "agent-leg");
        let text = text.replace("profile = \"generic-ip-trunk\"", lines);
        Self::configured(&text.replace("PROFILE", "voximplant"))
    }

    /// B is a line of a portal, `sip7` of `acme`, whose 200 is the platform's.
    pub fn with_a_portal() -> Self {
        let portal = "[admin]\nhooks_bind = \"127.0.0.1:8061\"\n\
            [[portal]]\nid = \"acme\"\napplication_token = \"0123456789abcdef\"\n";
        let text = CONFIG.replace("MODE", "relay").replace("ROLE", "agent-leg") + portal;
        Self::configured(&text.replace("PROFILE", "voximplant"))
    }

    /// The addresses of the configuration, in its order.
    fn look_up(&mut self) {
        let plan = self.switch.plan().clone();
        let revision = plan.revision;
        for (trunk, settings) in plan.trunks.iter().enumerate() {
            let place = |(priority, peer): (u16, &Peer)| {
                let host = peer.host.trim_matches(['[', ']']);
                let address = SocketAddr::new(host.parse().unwrap(), peer.port.unwrap());
                Place { priority, ..Place::new(peer.transport.unwrap_or(Transport::Udp), address) }
            };
            let peers: Vec<_> = (0_u16..).zip(&settings.peers).map(place).collect();
            if !peers.is_empty() {
                self.input(Input::Peers { revision, trunk, peers });
            }
        }
    }

    /// Another configuration comes into force: the present one, changed.
    pub fn reload(&mut self, change: impl FnOnce(String) -> String) {
        self.text = change(std::mem::take(&mut self.text));
        let plan = plan_of(&self.text);
        let peers = plan.trunks.iter().map(|_| Vec::new()).collect();
        self.input(Input::Plan(Box::new(Revision { plan, peers, latch: Latch::Strict })));
    }

    /// The configuration in force.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Another configuration, before any call.
    pub fn reconfigure(&mut self, change: impl FnOnce(String) -> String) {
        self.reload(change);
        self.look_up();
    }

    /// Other habits of a trunk's peer, before any call.
    pub fn habits(&mut self, trunk: usize, change: impl FnOnce(&mut Behaviour)) {
        self.profile(trunk, |profile| change(&mut profile.behaviour));
    }

    /// Another profile of a trunk, before any call.
    pub fn profile(&mut self, trunk: usize, change: impl FnOnce(&mut Profile)) {
        let mut plan = Plan::clone(self.switch.plan());
        let mut profile = Profile::clone(&plan.trunks[trunk].profile);
        change(&mut profile);
        plan.trunks[trunk].profile = Arc::new(profile);
        let peers = plan.trunks.iter().map(|_| Vec::new()).collect();
        let plan = Arc::new(plan);
        self.input(Input::Plan(Box::new(Revision { plan, peers, latch: Latch::Strict })));
        self.look_up();
    }

    fn configured(text: &str) -> Self {
        let now = Moment::new(1_000_000_000_000, 1_770_000_000_000_000_000);
        let mut world = Self {
            text: text.to_owned(),
            switch: switch_of(text, now, 42),
            now,
            to_a: Vec::new(),
            to_b: Vec::new(),
            elsewhere: Vec::new(),
            facts: Vec::new(),
            snapshots: Vec::new(),
            media: Vec::new(),
            rejected: Vec::new(),
            heard: Vec::new(),
            life: 42,
            ways: Vec::new(),
        };
        world.look_up();
        world
    }

    /// `kill -9` now, and a restart on what the journal had, `down` later. The peers remember.
    pub fn crash(&mut self, down: Duration) -> Recovered {
        self.now = self.now + down;
        self.restart(true)
    }

    /// A new node takes up what the journal had.
    pub fn restart(&mut self, same_boot: bool) -> Recovered {
        self.life += 1;
        self.switch = switch_of(&self.text, self.now, self.life);
        self.recover(same_boot)
    }

    /// A new node that is not as the old one was.
    pub fn restart_with(&mut self, change: impl FnOnce(&mut Node)) -> Recovered {
        self.life += 1;
        let mut node = node_of(&self.text, self.life);
        change(&mut node);
        self.switch = Switch::new(node, self.now);
        self.recover(true)
    }

    fn recover(&mut self, same_boot: bool) -> Recovered {
        let mut out = Output::default();
        let found = self.switch.recover(self.now, &self.snapshots, same_boot, &mut out);
        self.take(out);
        self.look_up();
        found
    }

    pub fn input(&mut self, input: Input) {
        let mut out = Output::default();
        self.switch.handle(self.now, input, &mut out);
        self.take(out);
    }

    /// What was kept leads to the same call as an image of now.
    fn assert_patched(&self, call: CallId) {
        let kept = self.snapshots.iter().find(|(c, _)| *c == call);
        let Some((kept, whole)) = kept.zip(self.switch.snapshot(call)) else { return };
        let image = |bytes: &[u8]| Image::read(call, bytes).unwrap();
        let (kept, whole) = (image(&kept.1), image(&whole));
        assert!(kept.agrees(&whole), "{kept:?}\n{whole:?}");
    }

    pub fn take(&mut self, mut out: Output) {
        let mut patched = Vec::new();
        for record in out.records.drain(..) {
            match record {
                Record::Fact(fact) => self.facts.push(fact),
                Record::Snapshot(call, bytes) => {
                    self.snapshots.retain(|(c, _)| *c != call);
                    self.snapshots.push((call, bytes));
                }
                Record::Patch(call, change) => {
                    let kept = self.snapshots.iter_mut().find(|(c, _)| *c == call);
                    let (_, bytes) = kept.expect("a patch follows an image");
                    bytes.extend_from_slice(&change);
                    patched.push(call);
                }
                Record::Gone(call) => self.snapshots.retain(|(c, _)| *c != call),
            }
        }
        for call in patched {
            self.assert_patched(call);
        }
        for send in out.sends.drain(..) {
            self.ways.push(send.flow);
            let message = Message::read(send.bytes).unwrap();
            assert_eq!(message.check(), Ok(()), "{message:?}");
            match send.flow.remote.to_string().as_str() {
                A => self.to_a.push(message),
                B => self.to_b.push(message),
                _ => self.elsewhere.push((send.flow.remote, message)),
            }
        }
        for command in out.media.drain(..) {
            self.media.push(command.clone());
            if let MediaCommand::Close { call } = command {
                let (a, b) = (StreamStats::default(), StreamStats::default());
                self.input(Input::Media(MediaEvent::Closed { call, a, b }));
            }
        }
        self.rejected.append(&mut out.rejected);
        self.heard.append(&mut out.heard);
    }

    pub fn from(&mut self, source: &str, text: impl Into<String>) {
        let remote: SocketAddr = source.parse().unwrap();
        // The third of our sockets is the IPv6 one.
        let socket = if remote.is_ipv4() { 0 } else { 2 };
        let flow = Flow { transport: Transport::Udp, socket, remote };
        let bytes = Bytes::from(text.into());
        self.input(Input::Datagram { flow, received: self.now, bytes });
    }

    /// A message on a connection from `source`.
    pub fn by_tcp(&mut self, source: &str, text: impl Into<String>) {
        let flow = Flow { transport: Transport::Tcp, socket: 1, remote: source.parse().unwrap() };
        let bytes = Bytes::from(text.into().replace("SIP/2.0/UDP", "SIP/2.0/TCP"));
        self.input(Input::Datagram { flow, received: self.now, bytes });
    }

    pub fn a(&mut self, text: impl Into<String>) {
        self.from(A, text);
    }

    pub fn b(&mut self, text: impl Into<String>) {
        self.from(B, text);
    }

    /// Lets time pass, waking the switch at each of its deadlines.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some((at, _)) = self.switch.next_deadline().filter(|d| d.0 <= end.mono) {
            self.now = self.now + Duration::from_nanos(at.saturating_sub(self.now.mono));
            self.input(Input::Wake);
        }
        self.now = end;
    }

    /// What was sent to A since the last look, as `INVITE` or `200 INVITE`.
    pub fn heard_a(&mut self) -> Vec<String> {
        self.to_a.drain(..).map(|m| title(&m)).collect()
    }

    pub fn heard_b(&mut self) -> Vec<String> {
        self.to_b.drain(..).map(|m| title(&m)).collect()
    }

    /// What was sent to another address since the last look.
    pub fn heard_at(&mut self, address: &str) -> Vec<String> {
        let mut titles = Vec::new();
        self.elsewhere.retain(|(to, message)| {
            let here = to.to_string() == address;
            titles.extend(here.then(|| title(message)));
            !here
        });
        titles
    }

    /// The last message of this kind to another address.
    pub fn last_at(&self, address: &str, kind: &str) -> String {
        let here = self.elsewhere.iter().filter(|(to, _)| to.to_string() == address);
        last(here.map(|(_, message)| message), kind)
    }

    /// The last message to B of this kind.
    pub fn last_b(&self, kind: &str) -> String {
        last(self.to_b.iter(), kind)
    }

    pub fn last_a(&self, kind: &str) -> String {
        last(self.to_a.iter(), kind)
    }

    pub fn whats(&self) -> Vec<&'static str> {
        self.facts.iter().map(|f| what(&f.what)).collect()
    }

    pub fn account(&self) -> &cooee_model::account::Account {
        let ended = self.facts.iter().rev().find_map(|f| match &f.what {
            What::Ended { account } => Some(account),
            _ => None,
        });
        ended.expect("no call has ended")
    }

    /// The account as the portal has changed it.
    pub fn amended(&self) -> Option<&cooee_model::account::Account> {
        self.facts.iter().rev().find_map(|f| match &f.what {
            What::Amended { account } => Some(&**account),
            _ => None,
        })
    }

    /// Nothing is left of any call.
    pub fn assert_clean(&mut self) {
        self.pass(Duration::from_secs(120));
        let gauges = self.switch.gauges();
        assert_eq!((gauges.calls, gauges.leases), (0, 0));
        assert_eq!(gauges.transactions, (0, 0));
        assert!(self.snapshots.is_empty());
        assert_eq!(self.whats().iter().filter(|w| **w == "Ended").count(), 1);
    }
}

/// The plan of a configuration; each is read once.
fn plan_of(text: &str) -> Arc<Plan> {
    static PLANS: Mutex<BTreeMap<String, Arc<Plan>>> = Mutex::new(BTreeMap::new());
    let mut plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(plan) = plans.get(text) {
        return plan.clone();
    }
    let around = Surroundings::new(Path::new("."), |_| None);
    let loaded = cooee_config::load_str(text, "test.toml", &around);
    let plan = Arc::new(loaded.unwrap_or_else(|findings| panic!("{findings}")).plan);
    plans.insert(text.to_owned(), plan.clone());
    plan
}

fn switch_of(text: &str, now: Moment, seed: u8) -> Switch {
    Switch::new(node_of(text, seed), now)
}

fn node_of(text: &str, seed: u8) -> Node {
    let ours = |transport| Local::new(transport, "192.0.2.1:5060".parse().unwrap());
    let ours6 = Local::new(Transport::Udp, "[2001:db8::1]:5060".parse().unwrap());
    let ports = |address: &str| Ports {
        address: address.parse().unwrap(),
        evens: (10_000..10_040).step_by(2).collect(),
    };
    let mut both = vec![ports("192.0.2.1"), ports("2001:db8::1")];
    both.truncate(if text.contains("bind6") { 2 } else { 1 });
    Node {
        plan: plan_of(text),
        setup: Setup {
            locals: vec![ours(Transport::Udp), ours(Transport::Tcp), ours6],
            latch: Latch::Strict,
        },
        ports: both,
        quarantine: Duration::from_secs(5),
        seed: [seed; 24],
    }
}

fn last<'a>(messages: impl Iterator<Item = &'a Message>, kind: &str) -> String {
    let messages: Vec<_> = messages.collect();
    let found = messages.iter().rev().find(|m| title(m) == kind);
    let seen: Vec<_> = messages.iter().map(|m| title(m)).collect();
    let message = found.unwrap_or_else(|| panic!("no {kind} among {seen:?}"));
    String::from_utf8_lossy(message.bytes()).into_owned()
}

pub fn title(message: &Message) -> String {
    let method = String::from_utf8_lossy(message.cseq().unwrap().method).into_owned();
    if message.is_request() { method } else { format!("{} {method}", message.code()) }
}

fn what(what: &What) -> &'static str {
    match what {
        What::Invited { .. } => "Invited",
        What::Forwarded { .. } => "Forwarded",
        What::Ringing { .. } => "Ringing",
        What::PlatformAnswered {} => "PlatformAnswered",
        What::AgentAnswered { .. } => "AgentAnswered",
        What::Bridged {} => "Bridged",
        What::Held { .. } => "Held",
        What::Resumed { .. } => "Resumed",
        What::Ended { .. } => "Ended",
        What::PortalLinked { .. } => "PortalLinked",
        What::Amended { .. } => "Amended",
        What::Measured { .. } => "Measured",
        What::Sampled { .. } => "Sampled",
        What::MediaStarted { .. } => "MediaStarted",
        What::TransferAsked { .. } => "TransferAsked",
        What::TransferEnded { .. } => "TransferEnded",
        What::Revived { .. } => "Revived",
    }
}

/// The first value of a header.
pub fn header(text: &str, name: &str) -> String {
    let message = Message::read(Bytes::from(text.to_owned())).unwrap();
    String::from_utf8_lossy(message.value_of(name).unwrap_or_default()).into_owned()
}

fn with_body(head: String, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{head}{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// A's INVITE; `more` are further header lines.
pub fn invite(more: &str, body: &str) -> String {
    let head = format!(
        "INVITE sip:+61491570156@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {A};branch=z9hG4bKa1\r\n\
         From: \"Dialer\" <sip:+61280001111@192.0.2.10>;tag=ta\r\n\
         To: <sip:+61491570156@192.0.2.1>\r\n\
         Call-ID: call-a\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{A}>\r\n{more}"
    );
    with_body(head, body)
}

/// A request of A in its dialog: what A was told in `answer` names it.
pub fn a_asks(method: &str, cseq: u32, answer: &str, body: &str) -> String {
    let (to, contact) = (header(answer, "To"), header(answer, "Contact"));
    let target = contact.trim_matches(['<', '>']).to_owned();
    let head = format!(
        "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {A};branch=z9hG4bKa{method}{cseq}\r\n\
         From: \"Dialer\" <sip:+61280001111@192.0.2.10>;tag=ta\r\nTo: {to}\r\nCall-ID: call-a\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:a@{A}>\r\nMax-Forwards: 70\r\n"
    );
    with_body(head, body)
}

/// CANCEL of A's INVITE.
pub fn a_cancels() -> String {
    format!(
        "CANCEL sip:+61491570156@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {A};branch=z9hG4bKa1\r\n\
         From: \"Dialer\" <sip:+61280001111@192.0.2.10>;tag=ta\r\n\
         To: <sip:+61491570156@192.0.2.1>\r\n\
         Call-ID: call-a\r\nCSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n"
    )
}

/// B's answer to a request that it got.
pub fn b_says(code: u16, request: &str, more: &str, body: &str) -> String {
    let m = Message::read(Bytes::from(request.to_owned())).unwrap();
    let line = |name: Name| String::from_utf8_lossy(m.value(name).unwrap()).into_owned();
    let to = line(Name::To);
    let tag = if to.contains("tag=") || code == 100 { "" } else { ";tag=tb" };
    let head = format!(
        "SIP/2.0 {code} Said\r\nVia: {}\r\nFrom: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Contact: <sip:b@{B}>\r\n{more}",
        line(Name::Via),
        line(Name::From),
        line(Name::CallId),
        line(Name::CSeq)
    );
    with_body(head, body)
}

/// A request of B in its dialog, by the INVITE that it got.
pub fn b_asks(method: &str, cseq: u32, invite: &str, body: &str) -> String {
    let (from, to) = (header(invite, "To"), header(invite, "From"));
    let call_id = header(invite, "Call-ID");
    let head = format!(
        "{method} sip:us@192.0.2.1:5060 SIP/2.0\r\n\
        Via: SIP/2.0/UDP {B};branch=z9hG4bKb{method}{cseq}\r\n\
         From: {from};tag=tb\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
         Contact: <sip:b@{B}>\r\nMax-Forwards: 70\r\n"
    );
    with_body(head, body)
}

/// A call that is up: A's 200 and B's INVITE.
pub fn talking(world: &mut World) -> (String, String) {
    world.a(invite("", SDP_A));
    let b_invite = world.last_b("INVITE");
    world.b(b_says(180, &b_invite, "", ""));
    world.pass(Duration::from_millis(1000));
    world.b(b_says(200, &b_invite, "", SDP_B));
    let ok = world.last_a("200 INVITE");
    world.a(a_asks("ACK", 1, &ok, ""));
    world.to_a.clear();
    world.to_b.clear();
    (ok, b_invite)
}
