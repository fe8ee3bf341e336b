//! A SIP user agent: one leg of one call as its peer sees it, with transactions of its own.
//!
//! It is told what time it is and what came; it answers with what it does ([`Do`]). What it holds
//! against the switch goes to `faults`.

use bytes::Bytes;
use cooee_model::ids::Side;

mod answered;
mod asked;
mod asking;
mod callee;
mod digest;
mod session;

use crate::rng::Rng;
use crate::script::{Act, Script, T1};
use crate::sip::Msg;
use digest::Proof;
use session::Session;

/// What a user agent does.
#[derive(Debug)]
pub enum Do {
    /// A datagram to the switch.
    Send(Bytes),
    /// To be told at this moment.
    Later(u64, Tick),
    /// Another fork of the same callee answers: its tag, its 2xx.
    Fork(u64, String),
    /// The session ends at this moment unless it is refreshed.
    Watch(u64),
    /// This request was given up without a final response.
    Unheard(&'static str, String),
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
    /// The session is to be refreshed, if this is still the agreement that counts.
    Refresh(u32),
    /// Nobody has refreshed it.
    RunOut(u32),
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
    /// The session's agreement as it left.
    nth: u32,
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
    /// It speaks TCP.
    pub tcp: bool,
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
    /// The INVITE that opens the dialog, among those.
    first: usize,
    pub session: Session,
    proof: Proof,
    /// It has asked for a transfer.
    refers: bool,
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
    /// The first offer has its answer, in a reliable response.
    early: bool,
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
            tcp: false,
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
            first: 0,
            session: Session::default(),
            proof: Proof::default(),
            refers: false,
            dead: false,
            is_fork: false,
            wants_bye: false,
            wants_cancel: false,
            media_version: 1,
            holding: false,
            rseq: 0,
            unpracked: None,
            early: false,
            wants_final: false,
        }
    }

    /// The caller of call number `call`.
    pub fn caller(
        call: usize,
        script: std::sync::Arc<Script>,
        host: &'static str,
        tcp: bool,
    ) -> Self {
        let number = format!("+614915{call:05}");
        Self {
            call_id: format!("secret-{call}"),
            local_tag: format!("secrettag{call}"),
            local: format!("\"Secret\" <sip:+612800{call:05}@{}>", ip(host)),
            remote: format!("<sip:{number}@192.0.2.1>"),
            target: format!("sip:{number}@192.0.2.1"),
            tcp,
            ..Self::new(Side::A, call, script, host)
        }
    }

    /// The callee that this INVITE reaches.
    pub fn callee(
        invite: &Msg<'_>,
        call: usize,
        script: std::sync::Arc<Script>,
        (host, tcp): (&'static str, bool),
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
            tcp,
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
            remote_cseq: self.servers[self.first].cseq,
            is_fork: true,
            tcp: self.tcp,
            since: now,
            ..Self::new(Side::B, self.call, self.script.clone(), self.host)
        };
        let invite = &self.servers[self.first];
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

    /// Its Contact.
    fn contact(&self) -> String {
        let transport = if self.tcp { ";transport=tcp" } else { "" };
        format!("<sip:c{}@{}{transport}>", self.call, self.host)
    }

    /// CSeq of the INVITE that opens the dialog, as A counts.
    pub fn invite_cseq(&self) -> u32 {
        self.clients.get(self.first).map_or(1, |c| c.cseq)
    }

    fn become_(&mut self, state: State, now: u64) {
        self.state = state;
        self.since = now;
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
