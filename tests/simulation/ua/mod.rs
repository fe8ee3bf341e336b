//! A SIP user agent: one leg of one call as its peer sees it, with transactions of its own.
//!
//! It is told what time it is and what came; it answers with what it does ([`Do`]). What it holds
//! against the switch goes to `faults`.

use bytes::Bytes;
use cooee_model::ids::Side;

mod answered;
mod asked;

use crate::rng::Rng;
use crate::script::{Act, GIVE_UP, Script, T1};
use crate::sip::{Msg, response, sdp, with_body};

/// What a user agent does.
#[derive(Debug)]
pub enum Do {
    /// A datagram to the switch.
    Send(Bytes),
    /// To be told at this moment.
    Later(u64, Tick),
    /// Another fork of the same callee answers: its tag, its 2xx.
    Fork(u64, String),
}

/// What a moment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Timers A and E of this request.
    Resend(usize),
    /// Timers B and F.
    GiveUp(usize),
    /// Timer G of this response, and the same for a 2xx.
    Again(usize),
    /// Timer H, and the same for a 2xx.
    NoAck(usize),
    /// A re-INVITE is answered.
    Answer(usize),
    /// B: the reliable response with this RSeq is sent again (RFC 3262, 3).
    Reliable(u32),
    /// The script.
    Act(Act),
}

/// Where a leg stands in its peer's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No final response sent or received.
    Setup,
    /// B: 2xx sent, no ACK yet.
    Answered,
    /// A: 2xx received. B: acknowledged.
    Up,
    /// BYE or CANCEL under way.
    Ending,
    Gone,
}

/// A request sent.
#[derive(Debug)]
pub struct Client {
    pub method: &'static str,
    pub branch: String,
    pub cseq: u32,
    pub bytes: Bytes,
    wait: u64,
    /// Zero: none yet.
    pub code: u16,
    /// The ACK to its 2xx, or a failure's.
    ack: Option<Bytes>,
    over: bool,
    hold: bool,
}

/// A request received.
#[derive(Debug)]
pub struct Server {
    method: String,
    branch: String,
    cseq: u32,
    request: String,
    last: Option<Bytes>,
    code: u16,
    wait: u64,
    acked: bool,
}

pub struct Cx<'a> {
    pub now: u64,
    pub rng: &'a mut Rng,
    pub out: &'a mut Vec<Do>,
    pub faults: &'a mut Vec<String>,
}

impl Cx<'_> {
    fn send(&mut self, bytes: &Bytes) {
        self.out.push(Do::Send(bytes.clone()));
    }

    fn later(&mut self, wait: u64, tick: Tick) {
        self.out.push(Do::Later(self.now + wait, tick));
    }
}

/// One leg.
#[derive(Debug)]
pub struct Ua {
    pub side: Side,
    pub call: usize,
    pub script: std::sync::Arc<Script>,
    pub host: &'static str,
    pub call_id: String,
    pub local_tag: String,
    pub remote_tag: String,
    local: String,
    remote: String,
    target: String,
    cseq: u32,
    remote_cseq: u32,
    pub state: State,
    /// When it last changed its state.
    pub since: u64,
    pub clients: Vec<Client>,
    servers: Vec<Server>,
    pub dead: bool,
    /// Another fork: its INVITE belongs to the first.
    pub is_fork: bool,
    wants_bye: bool,
    wants_cancel: bool,
    media_version: u32,
    holding: bool,
    /// The last RSeq sent or taken.
    rseq: u32,
    /// B: the reliable response without its PRACK, and how long until it goes out again.
    unpracked: Option<(Bytes, u64)>,
    /// B: the final response waits for that PRACK.
    wants_final: bool,
}

/// Where the switch is.
pub const SWITCH: &str = "192.0.2.1:5060";

impl Ua {
    fn new(side: Side, call: usize, script: std::sync::Arc<Script>, host: &'static str) -> Self {
        Self {
            side,
            call,
            script,
            host,
            call_id: String::new(),
            local_tag: String::new(),
            remote_tag: String::new(),
            local: String::new(),
            remote: String::new(),
            target: String::new(),
            cseq: 0,
            remote_cseq: 0,
            state: State::Setup,
            since: 0,
            clients: Vec::new(),
            servers: Vec::new(),
            dead: false,
            is_fork: false,
            wants_bye: false,
            wants_cancel: false,
            media_version: 1,
            holding: false,
            rseq: 0,
            unpracked: None,
            wants_final: false,
        }
    }

    /// The caller of call number `call`.
    pub fn caller(call: usize, script: std::sync::Arc<Script>, host: &'static str) -> Self {
        let number = format!("+614915{call:05}");
        Self {
            call_id: format!("secret-{call}"),
            local_tag: format!("secrettag{call}"),
            local: format!("\"Secret\" <sip:+612800{call:05}@{}>", ip(host)),
            remote: format!("<sip:{number}@192.0.2.1>"),
            target: format!("sip:{number}@192.0.2.1"),
            ..Self::new(Side::A, call, script, host)
        }
    }

    /// The callee that this INVITE reaches.
    pub fn callee(
        invite: &Msg<'_>,
        call: usize,
        script: std::sync::Arc<Script>,
        host: &'static str,
        serial: usize,
    ) -> Self {
        Self {
            call_id: invite.call_id.to_owned(),
            local_tag: format!("tb{call}x{serial}"),
            remote_tag: invite.from_tag.to_owned(),
            local: invite.to.to_owned(),
            remote: invite.from.split(";tag=").next().unwrap_or_default().to_owned(),
            target: invite.contact.to_owned(),
            remote_cseq: invite.cseq,
            ..Self::new(Side::B, call, script, host)
        }
    }

    /// A fork of this callee that answers too, with this tag.
    pub fn fork(&self, tag: String, now: u64, cx: &mut Cx<'_>) -> Self {
        let mut fork = Self {
            call_id: self.call_id.clone(),
            local_tag: tag,
            remote_tag: self.remote_tag.clone(),
            local: self.local.clone(),
            remote: self.remote.clone(),
            target: self.target.clone(),
            remote_cseq: self.servers[0].cseq,
            is_fork: true,
            since: now,
            ..Self::new(Side::B, self.call, self.script.clone(), self.host)
        };
        let invite = &self.servers[0];
        fork.servers.push(Server {
            method: "INVITE".to_owned(),
            branch: invite.branch.clone(),
            cseq: invite.cseq,
            request: invite.request.clone(),
            last: None,
            code: 0,
            wait: T1,
            acked: false,
        });
        fork.answer_invite(0, 200, cx);
        fork
    }

    pub fn is_open(&self) -> bool {
        !self.dead && !matches!(self.state, State::Gone | State::Ending)
    }

    fn become_(&mut self, state: State, now: u64) {
        self.state = state;
        self.since = now;
    }

    // ---------------------------------------------------------------- requests

    fn request(&mut self, method: &'static str, cseq: u32, more: &str, body: &str) -> String {
        let branch = format!("z9hG4bK{:?}{}{}{method}{cseq}", self.side, self.call, self.local_tag);
        let to_tag = if self.remote_tag.is_empty() { "" } else { ";tag=" };
        let head = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch}\r\n\
             From: {};tag={}\r\nTo: {}{to_tag}{}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:c{}@{}>\r\nMax-Forwards: 70\r\n{}{more}",
            self.target,
            self.host,
            self.local,
            self.local_tag,
            self.remote,
            self.remote_tag,
            self.call_id,
            self.call,
            self.host,
            self.allow()
        );
        with_body(head, body)
    }

    fn allow(&self) -> &'static str {
        let (a, b) = self.script.updates;
        let knows = if self.side == Side::A { a } else { b };
        if knows { "Allow: INVITE, ACK, CANCEL, BYE, INFO, PRACK, UPDATE\r\n" } else { "" }
    }

    /// Sends a request in a transaction of its own.
    fn ask(&mut self, method: &'static str, more: &str, body: &str, cx: &mut Cx<'_>) -> usize {
        self.cseq += 1;
        let text = self.request(method, self.cseq, more, body);
        self.begin(method, self.cseq, text, cx)
    }

    fn begin(&mut self, method: &'static str, cseq: u32, text: String, cx: &mut Cx<'_>) -> usize {
        let branch = Msg::read(&text).unwrap().branch.to_owned();
        let bytes = Bytes::from(text);
        let id = self.clients.len();
        cx.send(&bytes);
        cx.later(T1, Tick::Resend(id));
        cx.later(GIVE_UP, Tick::GiveUp(id));
        let (wait, code, ack, over, hold) = (T1, 0, None, false, false);
        let client = Client { method, branch, cseq, bytes, wait, code, ack, over, hold };
        self.clients.push(client);
        id
    }

    pub fn media(&self, way: &str) -> String {
        sdp(media_host(self.side), self.call, self.media_version, way)
    }

    /// The script's turn.
    pub fn act(&mut self, act: Act, cx: &mut Cx<'_>) {
        match (act, self.state) {
            (Act::Die, _) => self.dead = true,
            (Act::Start, _) => {
                let body =
                    if self.script.late_offer { String::new() } else { self.media("sendrecv") };
                let more = match self.script.reliable {
                    "" => String::new(),
                    header => format!("{header}: 100rel\r\n"),
                };
                self.ask("INVITE", &more, &body, cx);
            }
            (Act::GiveUp { by_bye }, State::Setup) => {
                if by_bye && !self.remote_tag.is_empty() {
                    self.bye(cx);
                } else {
                    self.wants_cancel = true;
                    self.cancel(cx);
                }
            }
            (Act::Progress(place), State::Setup) => self.progress(place, cx),
            (Act::Final, State::Setup) if self.unpracked.is_some() => self.wants_final = true,
            (Act::Final, State::Setup) => self.decide(cx),
            (Act::Update(offers), State::Up) => {
                let body = if offers { self.media("sendrecv") } else { String::new() };
                if !offers || !self.is_busy() {
                    self.ask("UPDATE", "", &body, cx);
                }
            }
            (Act::Bye, State::Up) => self.bye(cx),
            (Act::Bye, State::Answered) => self.wants_bye = true,
            (Act::Hold, State::Up) => self.reinvite(true, cx),
            (Act::Resume, State::Up) => self.reinvite(false, cx),
            (Act::Info, State::Up) => {
                let kind = "Content-Type: application/dtmf-relay\r\n";
                self.ask("INFO", kind, "Signal=5\r\n", cx);
            }
            _ => {}
        }
    }

    /// CANCEL, as soon as a provisional response is there (RFC 3261, 9.1).
    fn cancel(&mut self, cx: &mut Cx<'_>) {
        let Some(invite) = self.clients.first().filter(|c| c.code >= 100) else { return };
        let (text, branch) = (invite.bytes.clone(), invite.branch.clone());
        let invite = Msg::read(std::str::from_utf8(&text).unwrap()).unwrap();
        let head = format!(
            "CANCEL {} SIP/2.0\r\nVia: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\n\
             CSeq: {} CANCEL\r\nMax-Forwards: 70\r\n",
            invite.uri, invite.via, invite.from, invite.to, invite.call_id, invite.cseq
        );
        self.wants_cancel = false;
        let id = self.begin("CANCEL", invite.cseq, with_body(head, ""), cx);
        self.clients[id].branch = branch;
        self.become_(State::Ending, cx.now);
    }

    pub fn bye(&mut self, cx: &mut Cx<'_>) {
        self.become_(State::Ending, cx.now);
        self.ask("BYE", "", "", cx);
    }

    /// An offer is under way, from here or to here.
    fn is_busy(&self) -> bool {
        let offers = |c: &&Client| matches!(c.method, "INVITE" | "UPDATE");
        self.clients.iter().filter(offers).any(|c| c.code < 200 && !c.over)
            || self.servers.iter().any(|s| s.method == "INVITE" && (s.code < 200 || !s.acked))
    }

    fn reinvite(&mut self, hold: bool, cx: &mut Cx<'_>) {
        if self.is_busy() {
            return;
        }
        self.holding = hold;
        self.media_version += 1;
        let body = self.media(if hold { "sendonly" } else { "sendrecv" });
        let id = self.ask("INVITE", "", &body, cx);
        self.clients[id].hold = hold;
    }

    // ---------------------------------------------------------------- B's INVITE

    fn progress(&mut self, place: usize, cx: &mut Cx<'_>) {
        let (code, with_sdp, fork) = self.script.answer.progress[place];
        let Some(server) = self.servers.first().filter(|s| s.code < 200) else { return };
        if self.unpracked.is_some() {
            return;
        }
        let request = server.request.clone();
        let invite = Msg::read(&request).unwrap();
        let body = if with_sdp { self.media("sendrecv") } else { String::new() };
        let tag = format!("{}{}", self.local_tag, ["", "f1", "f2"][fork]);
        let contact = format!("Contact: <sip:c{}@{}>\r\n{}", self.call, self.host, self.allow());
        let knows =
            [invite.header("Supported"), invite.header("Require")].contains(&Some("100rel"));
        let reliable = knows && self.script.answer.reliable && fork == 0;
        let more = if reliable {
            self.rseq = if self.rseq == 0 { 1 + self.call as u32 } else { self.rseq + 1 };
            format!("{contact}Require: 100rel\r\nRSeq: {}\r\n", self.rseq)
        } else {
            contact
        };
        let bytes = Bytes::from(response(&invite, code, &tag, &more, &body));
        cx.send(&bytes);
        if reliable {
            self.unpracked = Some((bytes.clone(), T1));
            cx.later(T1, Tick::Reliable(self.rseq));
        }
        let server = &mut self.servers[0];
        server.code = code;
        server.last = Some(bytes);
    }

    fn decide(&mut self, cx: &mut Cx<'_>) {
        let answer = &self.script.answer;
        let (code, forks) = (answer.code, answer.forks.clone());
        self.answer_invite(0, code, cx);
        for (place, wait) in forks.into_iter().enumerate() {
            cx.out.push(Do::Fork(cx.now + wait, format!("{}f{}", self.local_tag, place + 1)));
        }
    }

    /// The final response to an INVITE or re-INVITE.
    fn answer_invite(&mut self, at: usize, code: u16, cx: &mut Cx<'_>) {
        let request = self.servers[at].request.clone();
        let invite = Msg::read(&request).unwrap();
        let more = match (code, self.script.answer.retry_after) {
            (200, _) => {
                format!("Contact: <sip:c{}@{}>\r\n{}", self.call, self.host, self.allow())
            }
            (503, Some(seconds)) => format!("Retry-After: {seconds}\r\n"),
            (401, _) => "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n".to_owned(),
            (302, _) => "Contact: <sip:elsewhere@203.0.113.9>\r\n".to_owned(),
            (500, _) if at > 0 => "Retry-After: 3\r\n".to_owned(),
            _ => String::new(),
        };
        let way = if invite.body.contains("a=sendonly") { "recvonly" } else { "sendrecv" };
        let body = if code == 200 { self.media(way) } else { String::new() };
        self.finish(at, code, &more, &body, cx);
        if at == 0 && self.side == Side::B {
            let state = if code < 300 { State::Answered } else { State::Gone };
            self.become_(state, cx.now);
            if code < 300 && !self.is_fork {
                for &(wait, act) in &self.script.clone().b.once_up {
                    cx.later(wait, Tick::Act(act));
                }
            }
        }
    }

    /// A final response, sent again until its ACK where it is an INVITE's.
    fn finish(&mut self, at: usize, code: u16, more: &str, body: &str, cx: &mut Cx<'_>) {
        let server = &mut self.servers[at];
        let invite = Msg::read(&server.request).unwrap();
        let bytes = Bytes::from(response(&invite, code, &self.local_tag, more, body));
        cx.send(&bytes);
        server.code = code;
        server.last = Some(bytes);
        if server.method == "INVITE" {
            server.wait = T1;
            cx.later(T1, Tick::Again(at));
            cx.later(GIVE_UP, Tick::NoAck(at));
        }
    }

    /// A request's transaction begins.
    fn take(&mut self, m: &Msg<'_>) -> usize {
        self.servers.push(Server {
            method: m.method.to_owned(),
            branch: m.branch.to_owned(),
            cseq: m.cseq,
            request: m.text.to_owned(),
            last: None,
            code: 0,
            wait: T1,
            acked: false,
        });
        self.servers.len() - 1
    }
}

fn ip(host: &str) -> &str {
    host.split(':').next().unwrap_or_default()
}

fn media_host(side: Side) -> &'static str {
    match side {
        Side::A => "192.0.2.11",
        Side::B => "198.51.100.21",
    }
}
