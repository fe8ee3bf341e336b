//! `kill -9` at every step of a call, at three instants of each step, with peers that behave: they
//! send again what is not answered, acknowledge every copy, and know when their dialog is over.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use cooee_model::account::{Outcome, Party};
use cooee_model::ids::Side;
use cooee_model::moment::Moment;
use cooee_signalling::call::context::Output;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::message::view::Message;
use cooee_signalling::switch::input::Input;
use cooee_signalling::transaction::flow::Flow;

use crate::world::*;

const T1: Duration = Duration::from_millis(500);
const GIVE_UP: Duration = Duration::from_secs(32);

/// When the node dies, with an input in its hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instant {
    /// Before it has read it.
    Before,
    /// Its records are in the journal, no message has left.
    Between,
    /// Right after its messages have left.
    After,
}

/// What a peer does once the call is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Hold,
    Resume,
    Bye,
}

/// A message that is sent again until it has been answered.
struct Again {
    text: String,
    at: Moment,
    wait: Duration,
    until: Moment,
}

impl Again {
    fn new(now: Moment, text: &str) -> Self {
        Self { text: text.to_owned(), at: now + T1, wait: T1 * 2, until: now + GIVE_UP }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Early,
    Up,
    /// It has sent BYE.
    Leaving,
    Over,
}

/// One peer: what no crash of ours makes it forget.
struct Phone {
    side: Side,
    phase: Phase,
    /// The 200 (A) or the INVITE (B) that names the dialog.
    names: String,
    cseq: u32,
    requests: BTreeMap<(u32, String), Again>,
    /// Our 200s to INVITEs, until their ACK, by CSeq.
    answers: BTreeMap<u32, Again>,
    acks: BTreeMap<u32, String>,
    /// What we answered to each request.
    replies: BTreeMap<String, Vec<String>>,
    /// The last description heard, and its version.
    heard: (u64, String),
    sdp: String,
}

impl Phone {
    fn new(side: Side) -> Self {
        Self {
            side,
            phase: Phase::Idle,
            names: String::new(),
            cseq: u32::from(side == Side::A),
            requests: BTreeMap::new(),
            answers: BTreeMap::new(),
            acks: BTreeMap::new(),
            replies: BTreeMap::new(),
            heard: (0, String::new()),
            sdp: if side == Side::A { SDP_A.to_owned() } else { SDP_B.to_owned() },
        }
    }

    fn compose(&self, method: &str, cseq: u32, body: &str) -> String {
        match self.side {
            Side::A => a_asks(method, cseq, &self.names, body),
            Side::B => b_asks(method, cseq, &self.names, body),
        }
    }

    fn ask(&mut self, now: Moment, method: &str, body: &str) -> String {
        self.cseq += 1;
        let text = self.compose(method, self.cseq, body);
        self.requests.insert((self.cseq, method.to_owned()), Again::new(now, &text));
        text
    }

    fn act(&mut self, now: Moment, act: Act) -> Option<String> {
        if self.phase != Phase::Up {
            return None;
        }
        // What was never answered is given up before the next thing is asked.
        self.requests.clear();
        match act {
            Act::Bye => {
                self.phase = Phase::Leaving;
                Some(self.ask(now, "BYE", ""))
            }
            Act::Hold | Act::Resume => {
                let plain = self.sdp.replace("a=sendonly\r\n", "");
                let held = plain.replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n");
                let plain = plain.clone();
                self.sdp = if act == Act::Hold { held } else { plain };
                let body = self.sdp.clone();
                Some(self.ask(now, "INVITE", &body))
            }
        }
    }

    fn hear(&mut self, now: Moment, message: &Message) -> Vec<String> {
        let text = String::from_utf8_lossy(message.bytes()).into_owned();
        self.check_description(&text);
        match message.is_request() {
            true => self.asked(now, message, &text),
            false => self.answered(message, &text),
        }
    }

    /// Another description has a higher version (RFC 3264, 8).
    fn check_description(&mut self, text: &str) {
        let Some((_, body)) = text.split_once("\r\n\r\n").filter(|(_, b)| !b.is_empty()) else {
            return;
        };
        let origin = body.lines().find(|l| l.starts_with("o=")).unwrap();
        let version: u64 = origin.split(' ').nth(2).unwrap().parse().unwrap();
        let rest = body.replace(origin, "");
        assert!(version >= self.heard.0, "{} after {}", version, self.heard.0);
        // A version that was lost with a crash may be passed over.
        assert!(version > self.heard.0 || rest == self.heard.1, "{body}");
        self.heard = (version, rest);
    }

    fn says(&self, code: u16, request: &str, body: &str) -> String {
        let said = b_says(code, request, "", body);
        if self.side == Side::A {
            said.replace(&format!("<sip:b@{B}>"), &format!("<sip:a@{A}>"))
        } else {
            said
        }
    }

    fn asked(&mut self, now: Moment, message: &Message, text: &str) -> Vec<String> {
        let cseq = message.cseq().unwrap().number;
        let method = title(message);
        if method == "ACK" {
            self.answers.remove(&cseq);
            return vec![];
        }
        let key = format!("{} {}", method, header(text, "Via"));
        if let Some(said) = self.replies.get(&key) {
            return said.clone();
        }
        let gone = matches!(self.phase, Phase::Over);
        let says = match method.as_str() {
            "INVITE" if self.phase == Phase::Idle => {
                self.names = text.to_owned();
                self.phase = Phase::Up;
                vec![self.says(180, text, ""), self.says(200, text, &self.sdp)]
            }
            "CANCEL" if !self.names.is_empty() => vec![self.says(200, text, "")],
            _ if gone || self.names.is_empty() => vec![self.says(481, text, "")],
            "INVITE" => vec![self.says(200, text, &self.sdp)],
            "BYE" => {
                self.phase = Phase::Over;
                self.requests.clear();
                self.answers.clear();
                vec![self.says(200, text, "")]
            }
            "OPTIONS" => vec![self.says(200, text, "")],
            other => panic!("{other}"),
        };
        if method == "INVITE" && says.last().is_some_and(|s| s.starts_with("SIP/2.0 200")) {
            self.answers.insert(cseq, Again::new(now, says.last().unwrap()));
        }
        self.replies.insert(key, says[says.len() - 1..].to_vec());
        says
    }

    fn answered(&mut self, message: &Message, text: &str) -> Vec<String> {
        let (code, cseq) = (message.code(), message.cseq().unwrap().number);
        let method = String::from_utf8_lossy(message.cseq().unwrap().method).into_owned();
        if code < 200 {
            // Sent no more; its final answer is waited for.
            if method == "INVITE" {
                self.requests.remove(&(cseq, method));
            }
            return vec![];
        }
        self.requests.remove(&(cseq, method.clone()));
        if self.names.is_empty() {
            self.names = text.to_owned();
        }
        match (method.as_str(), code) {
            ("INVITE", 200) => {
                if self.phase == Phase::Early {
                    self.phase = Phase::Up;
                }
                let ack = self.compose("ACK", cseq, "");
                vec![self.acks.entry(cseq).or_insert(ack).clone()]
            }
            ("INVITE", _) => {
                if self.phase == Phase::Early {
                    self.phase = Phase::Over;
                }
                let ack = self.compose("ACK", cseq, "");
                let via = header(text, "Via");
                let branch = via.split("branch=").nth(1).unwrap().split(';').next().unwrap();
                let own = header(&ack, "Via");
                let own = own.split("branch=").nth(1).unwrap().to_owned();
                vec![ack.replace(&own, branch)]
            }
            ("BYE", _) => {
                self.phase = Phase::Over;
                vec![]
            }
            other => panic!("{other:?}"),
        }
    }

    /// What is due to be sent again.
    fn again(&mut self, now: Moment) -> Vec<String> {
        let mut due = Vec::new();
        for wait in self.requests.values_mut().chain(self.answers.values_mut()) {
            if wait.at <= now {
                due.push(wait.text.clone());
                wait.at = now + wait.wait;
                wait.wait = (wait.wait * 2).min(T1 * 8);
            }
        }
        let given_up = |a: &Again| a.until <= now;
        if self.requests.values().any(given_up) && self.phase != Phase::Up {
            self.phase = Phase::Over;
        }
        let unacknowledged = self.answers.values().any(given_up);
        self.requests.retain(|_, a| !given_up(a));
        self.answers.retain(|_, a| !given_up(a));
        if unacknowledged && self.phase == Phase::Up {
            due.extend(self.act(now, Act::Bye));
        }
        due
    }

    fn next(&self) -> Option<u64> {
        self.requests.values().chain(self.answers.values()).map(|a| a.at.min(a.until).mono).min()
    }
}

/// A node between two phones, and the hand that kills it.
struct Stage {
    w: World,
    a: Phone,
    b: Phone,
    /// What is under way to the node.
    wire: VecDeque<(Side, String)>,
    acts: Vec<(Duration, Side, Act)>,
    inputs: usize,
    kill: Option<(usize, Instant, Duration)>,
    back_at: Option<Moment>,
    /// Whether both legs were up by the journal when it died.
    was_up: Option<bool>,
}

impl Stage {
    fn new(acts: &[(u64, Side, Act)], kill: Option<(usize, Instant, Duration)>) -> Self {
        let (w, mut a, b) = (World::new(), Phone::new(Side::A), Phone::new(Side::B));
        let acts = acts.iter().map(|&(s, side, act)| (Duration::from_secs(s), side, act)).collect();
        let text = invite("", SDP_A);
        a.requests.insert((1, "INVITE".into()), Again::new(w.now, &text));
        a.phase = Phase::Early;
        let wire = [(Side::A, text)].into();
        Self { w, a, b, wire, acts, inputs: 0, kill, back_at: None, was_up: None }
    }

    fn phone(&mut self, side: Side) -> &mut Phone {
        if side == Side::A { &mut self.a } else { &mut self.b }
    }

    fn run(&mut self, span: Duration) {
        let (begin, end) = (self.w.now, self.w.now + span);
        while self.w.now < end {
            self.turn();
            let switch = self.w.switch.next_deadline().map(|d| d.0);
            let switch = switch.filter(|_| self.back_at.is_none());
            let acts = self.acts.iter().map(|(after, ..)| (begin + *after).mono);
            let acts = acts.filter(|at| *at > self.w.now.mono);
            let phones = [self.a.next(), self.b.next(), self.back_at.map(|at| at.mono), switch];
            let next = phones.into_iter().flatten().chain(acts).min().unwrap_or(end.mono);
            let ns = next.min(end.mono).saturating_sub(self.w.now.mono);
            self.w.now = self.w.now + Duration::from_nanos(ns);
            let now = self.w.now;
            if self.back_at.is_some_and(|at| at <= now) {
                self.back_at = None;
                self.w.restart(true);
            }
            if self.back_at.is_none() {
                self.w.input(Input::Wake);
            }
            for side in [Side::A, Side::B] {
                let again = self.phone(side).again(now);
                self.wire.extend(again.into_iter().map(|text| (side, text)));
            }
            // Nobody acts before the call is up.
            let coming = [Phase::Idle, Phase::Early];
            let (a, b) = (coming.contains(&self.a.phase), coming.contains(&self.b.phase));
            let due = |(after, ..): &(Duration, Side, Act)| !a && !b && begin + *after <= now;
            for (_, side, act) in self.acts.extract_if(.., |a| due(a)).collect::<Vec<_>>() {
                let said = self.phone(side).act(now, act);
                self.wire.extend(said.map(|text| (side, text)));
            }
        }
    }

    fn turn(&mut self) {
        loop {
            let now = self.w.now;
            for message in std::mem::take(&mut self.w.to_a) {
                let says = self.a.hear(now, &message);
                self.wire.extend(says.into_iter().map(|text| (Side::A, text)));
            }
            for message in std::mem::take(&mut self.w.to_b) {
                let says = self.b.hear(now, &message);
                self.wire.extend(says.into_iter().map(|text| (Side::B, text)));
            }
            let Some((side, text)) = self.wire.pop_front() else { return };
            if self.back_at.is_none() {
                self.deliver(side, text);
            }
        }
    }

    fn deliver(&mut self, side: Side, text: String) {
        self.inputs += 1;
        let dies = self.kill.filter(|(at, ..)| *at == self.inputs);
        let source = if side == Side::A { A } else { B };
        if dies.is_none_or(|(_, instant, _)| instant != Instant::Before) {
            let flow =
                Flow { transport: Transport::Udp, socket: 0, remote: source.parse().unwrap() };
            let bytes = Bytes::from(text);
            let mut out = Output::default();
            let received = self.w.now;
            let input = Input::Datagram { flow, received, bytes };
            self.w.switch.handle(received, input, &mut out);
            if dies.is_some_and(|(_, instant, _)| instant == Instant::Between) {
                out.sends.clear();
            }
            self.w.take(out);
        }
        if let Some((_, _, down)) = dies {
            let whats = self.w.whats();
            self.was_up = Some(whats.contains(&"PlatformAnswered") && !whats.contains(&"Ended"));
            self.back_at = Some(self.w.now + down);
            self.wire.clear();
        }
    }
}

/// Runs a call and gives the number of inputs that it takes without a crash.
fn play(acts: &[(u64, Side, Act)], kill: Option<(usize, Instant, Duration)>) -> Stage {
    let mut stage = Stage::new(acts, kill);
    stage.run(Duration::from_secs(300));
    stage
}

fn assert_consistent(stage: &mut Stage, last: Side, case: &str) {
    let whats = stage.w.whats();
    let ended = whats.iter().filter(|w| **w == "Ended").count();
    let invited = whats.iter().filter(|w| **w == "Invited").count();
    assert_eq!(ended, invited, "{case}: {whats:?}");
    let mut places: Vec<_> = stage.w.facts.iter().map(|f| f.seq).collect();
    places.dedup();
    assert_eq!(places, (0..places.len() as u32).collect::<Vec<_>>(), "{case}: places of facts");
    assert_eq!(stage.a.phase, Phase::Over, "{case}: A");
    assert!(matches!(stage.b.phase, Phase::Over | Phase::Idle), "{case}: B {:?}", stage.b.phase);
    if let Some(was_up) = stage.was_up.filter(|_| invited > 0) {
        let account = stage.w.account().clone();
        let (recovered, outcome) = (account.recovered, account.outcome);
        if was_up {
            let (_, _, down) = stage.kill.unwrap();
            assert!(recovered, "{case}");
            if down < GIVE_UP {
                assert_eq!(outcome, Outcome::Connected, "{case}");
                let party = if last == Side::A { Party::Dialer } else { Party::Customer };
                assert_eq!(account.end_party, party, "{case}");
            }
        }
        let of_b = account.legs.iter().filter(|l| l.side == Side::B).count();
        assert!(of_b <= 1, "{case}");
    }
    let gauges = stage.w.switch.gauges();
    assert_eq!((gauges.calls, gauges.leases), (0, 0), "{case}");
    assert_eq!(gauges.transactions, (0, 0), "{case}");
    assert!(stage.w.snapshots.is_empty(), "{case}");
}

fn crash_everywhere(acts: &[(u64, Side, Act)]) {
    let last = acts.last().unwrap().1;
    let mut whole = play(acts, None);
    assert_consistent(&mut whole, last, "no crash");
    let inputs = whole.inputs;
    let mut revived = 0;
    for down in [700, 5_000, 40_000].map(Duration::from_millis) {
        for at in 1..=inputs {
            for instant in [Instant::Before, Instant::Between, Instant::After] {
                let mut stage = play(acts, Some((at, instant, down)));
                let case = format!("killed {instant:?} input {at} of {inputs}, away {down:?}");
                assert_consistent(&mut stage, last, &case);
                revived += usize::from(stage.was_up == Some(true));
            }
        }
    }
    assert!(revived > inputs, "{revived} of {inputs} inputs");
}

#[test]
fn a_crash_at_any_step_of_a_call_that_a_ends() {
    crash_everywhere(&[(6, Side::A, Act::Bye)]);
}

#[test]
fn a_crash_at_any_step_of_a_call_that_b_ends() {
    crash_everywhere(&[(6, Side::B, Act::Bye)]);
}

#[test]
fn a_crash_at_any_step_of_a_hold() {
    use Act::{Bye, Hold, Resume};
    crash_everywhere(&[(10, Side::A, Hold), (50, Side::A, Resume), (100, Side::B, Bye)]);
    crash_everywhere(&[(10, Side::B, Hold), (50, Side::B, Resume), (100, Side::A, Bye)]);
}
