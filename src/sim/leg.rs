//! One dialog of one call, driven by a script from top to bottom: it waits for the next message or
//! for a moment, and what SIP repeats is dealt with on the way.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::endpoint::{Arrived, Endpoint, Inbox};
use crate::wire::{Message, Text, param, uri};

/// RFC 3261, 17: first repetition, longest distance of repetitions, when a peer is given up.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const GIVE_UP: Duration = Duration::from_secs(16);

/// What a script hears while it waits.
#[derive(Debug)]
pub enum Heard {
    /// A request of the peer; ACKs and repetitions are not among them.
    Request(Arrived),
    /// A response to a request of ours.
    Response(Arrived),
    /// The moment has come.
    Time,
}

/// Our side of a dialog.
#[derive(Debug)]
pub struct Leg {
    endpoint: Endpoint,
    inbox: Inbox,
    waiting: VecDeque<Arrived>,
    /// Where requests go.
    peer: SocketAddr,
    /// Call-ID.
    pub call_id: String,
    /// From of our requests.
    local: String,
    /// To of our requests.
    remote: String,
    /// Request-URI of our requests.
    target: String,
    contact: String,
    routes: Vec<String>,
    cseq: u32,
    branch: u32,
    answered: Vec<(u32, String, Vec<u8>)>,
    unacknowledged: Option<Unacknowledged>,
}

/// A final response to an INVITE that wants its ACK.
#[derive(Debug)]
struct Unacknowledged {
    cseq: u32,
    to: SocketAddr,
    bytes: Vec<u8>,
    next: Instant,
    wait: Duration,
}

impl Leg {
    /// The leg of a call that we place.
    pub fn caller(endpoint: &Endpoint, peer: SocketAddr, call: Caller<'_>) -> Self {
        let Caller { call_id, from, to, contact } = call;
        Self {
            inbox: endpoint.open(call_id),
            endpoint: endpoint.clone(),
            waiting: VecDeque::new(),
            peer,
            call_id: call_id.to_owned(),
            local: from.to_owned(),
            remote: to.to_owned(),
            target: uri(to).to_owned(),
            contact: contact.to_owned(),
            routes: Vec::new(),
            cseq: 0,
            branch: 0,
            answered: Vec::new(),
            unacknowledged: None,
        }
    }

    /// The leg of a call that we are offered; `tag` is ours.
    pub fn called(endpoint: &Endpoint, invite: &Arrived, tag: &str, contact: &str) -> Self {
        let message = &invite.message;
        let call_id = message.one("Call-ID");
        Self {
            inbox: endpoint.open(call_id),
            endpoint: endpoint.clone(),
            waiting: VecDeque::new(),
            peer: invite.from,
            call_id: call_id.to_owned(),
            local: format!("{};tag={tag}", message.one("To")),
            remote: message.one("From").to_owned(),
            target: uri(message.one("Contact")).to_owned(),
            contact: contact.to_owned(),
            routes: message.all("Record-Route").map(str::to_owned).collect(),
            cseq: 0,
            branch: 0,
            answered: Vec::new(),
            unacknowledged: None,
        }
    }

    /// Waits for the next message, or for a moment.
    pub async fn until(&mut self, deadline: Instant) -> Heard {
        match self.waiting.pop_front() {
            Some(arrived) => Heard::Request(arrived),
            None => self.hear(deadline).await,
        }
    }

    async fn hear(&mut self, deadline: Instant) -> Heard {
        loop {
            let repeat = self.unacknowledged.as_ref().map_or(deadline, |u| u.next);
            tokio::select! {
                biased;
                Some(arrived) = self.inbox.recv() => {
                    if arrived.message.status().is_some() {
                        return Heard::Response(arrived);
                    }
                    if !self.known(&arrived).await {
                        return Heard::Request(arrived);
                    }
                }
                () = sleep_until(repeat), if self.unacknowledged.is_some() => self.repeat().await,
                () = sleep_until(deadline) => return Heard::Time,
            }
        }
    }

    /// An ACK, or a request that has been answered before.
    async fn known(&mut self, arrived: &Arrived) -> bool {
        let (message, from) = (&arrived.message, arrived.from);
        let (cseq, method) = (message.cseq(), message.method().unwrap_or_default());
        if method == "ACK" {
            self.unacknowledged.take_if(|u| u.cseq == cseq);
            return true;
        }
        let same = |(n, m, _): &&(u32, String, Vec<u8>)| *n == cseq && m == method;
        let Some((_, _, bytes)) = self.answered.iter().find(same) else { return false };
        self.endpoint.send(from, bytes).await;
        true
    }

    async fn repeat(&mut self) {
        let Some(due) =
            self.unacknowledged.take_if(|u| u.wait >= GIVE_UP || u.next <= Instant::now())
        else {
            return;
        };
        if due.wait < GIVE_UP {
            self.endpoint.send(due.to, &due.bytes).await;
            let wait = due.wait * 2;
            let next = Instant::now() + wait.min(T2);
            self.unacknowledged = Some(Unacknowledged { wait, next, ..due });
        }
    }

    /// Answers a request; the moment at which the answer left.
    pub async fn answer(&mut self, asked: &Arrived, status: &str, headers: Headers<'_>) -> i64 {
        let (cseq, method) = (asked.message.cseq(), asked.message.method().unwrap_or_default());
        let tag = param(&self.local, "tag").unwrap_or_default();
        let mut text = Text::response(&asked.message, status, tag);
        text = text.header("Contact", &self.contact);
        for (name, value) in headers.0 {
            text = text.header(name, value);
        }
        let bytes = text.finish(headers.1);
        if !status.starts_with('1') {
            if method == "INVITE" {
                let (to, next, bytes) = (asked.from, Instant::now() + T1, bytes.clone());
                self.unacknowledged = Some(Unacknowledged { cseq, to, bytes, next, wait: T1 });
            }
            self.answered.retain(|(n, m, _)| (*n, m.as_str()) != (cseq, method));
            self.answered.push((cseq, method.to_owned(), bytes.clone()));
        }
        self.endpoint.send(asked.from, &bytes).await
    }

    /// Sends a request; the moment at which it left, and its bytes for a repetition.
    async fn send(&mut self, method: &str, headers: Headers<'_>) -> (i64, Vec<u8>) {
        if !matches!(method, "ACK" | "CANCEL") {
            self.cseq += 1;
        }
        // A CANCEL has the branch of its INVITE (RFC 3261, 9.1).
        if method != "CANCEL" {
            self.branch += 1;
        }
        let via = format!(
            "SIP/2.0/UDP {};branch=z9hG4bK-{}-{};rport",
            self.endpoint.local(),
            self.call_id.split('@').next().unwrap_or_default(),
            self.branch
        );
        let mut text = Text::request(method, &self.target).header("Via", &via);
        text = text.header("Max-Forwards", "70");
        for route in &self.routes {
            text = text.header("Route", route);
        }
        text = text.header("From", &self.local).header("To", &self.remote);
        text = text.header("Call-ID", &self.call_id);
        text = text.header("CSeq", &format!("{} {method}", self.cseq));
        text = text.header("Contact", &self.contact);
        for (name, value) in headers.0 {
            text = text.header(name, value);
        }
        let bytes = text.finish(headers.1);
        (self.endpoint.send(self.peer, &bytes).await, bytes)
    }

    /// Sends the first INVITE; its responses are heard by [`until`](Self::until), and its text.
    pub async fn invite(&mut self, headers: Headers<'_>) -> (i64, String) {
        let (at_us, bytes) = self.send("INVITE", headers).await;
        (at_us, String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Gives the first INVITE up; its responses are heard by [`until`](Self::until).
    pub async fn cancel(&mut self) -> i64 {
        self.send("CANCEL", Headers(&[], "")).await.0
    }

    /// Acknowledges a final response to an INVITE of ours, and learns the dialog from it.
    pub async fn acknowledge(&mut self, response: &Message) {
        if response.status().is_some_and(|code| code < 300) {
            self.remote = response.one("To").to_owned();
            self.target = uri(response.one("Contact")).to_owned();
            self.send("ACK", Headers(&[], "")).await;
            return;
        }
        // The ACK to a refusal belongs to its transaction: Via, To and R-URI of the INVITE.
        let mut text = Text::request("ACK", &self.target).header("Via", response.one("Via"));
        for name in ["From", "To", "Call-ID"] {
            text = text.header(name, response.one(name));
        }
        let bytes = text.header("CSeq", &format!("{} ACK", response.cseq())).finish("");
        self.endpoint.send(self.peer, &bytes).await;
    }

    /// Asks within the dialog until a final response comes; when the request first left, and that
    /// response. What the peer asks meanwhile waits.
    pub async fn ask(&mut self, method: &str, headers: Headers<'_>) -> (i64, Option<Message>) {
        let (at_us, bytes) = self.send(method, headers).await;
        let cseq = self.cseq;
        let mut wait = T1;
        let mut next = Instant::now() + wait;
        while wait < GIVE_UP {
            match self.hear(next).await {
                Heard::Time => {
                    self.endpoint.send(self.peer, &bytes).await;
                    wait *= 2;
                    next = Instant::now() + wait.min(T2);
                }
                Heard::Request(arrived) => self.waiting.push_back(arrived),
                Heard::Response(arrived) => {
                    let message = arrived.message;
                    if (message.cseq(), message.cseq_method()) != (cseq, method) {
                        continue;
                    }
                    if message.status().is_some_and(|code| code < 200) {
                        next = Instant::now() + GIVE_UP;
                        continue;
                    }
                    if method == "INVITE" {
                        self.acknowledge(&message).await;
                    }
                    return (at_us, Some(message));
                }
            }
        }
        (at_us, None)
    }

    /// Deals with what still comes (repetitions, the ACK to a refusal) for a while, then closes.
    pub async fn linger(mut self, span: Duration) {
        let deadline = Instant::now() + span;
        loop {
            match self.until(deadline).await {
                Heard::Time => break,
                Heard::Response(_) => {}
                Heard::Request(asked) => {
                    let status = "481 Call/Transaction Does Not Exist";
                    self.answer(&asked, status, Headers(&[], "")).await;
                }
            }
        }
        self.endpoint.close(&self.call_id);
    }
}

/// What a request or an answer carries beside its dialog: headers and a body.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'h>(pub &'h [(&'h str, &'h str)], pub &'h str);

/// Who places a call, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'c> {
    /// Call-ID.
    pub call_id: &'c str,
    /// From, with its tag.
    pub from: &'c str,
    /// To.
    pub to: &'c str,
    /// Contact.
    pub contact: &'c str,
}
