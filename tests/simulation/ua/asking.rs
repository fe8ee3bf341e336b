//! What a user agent asks: its requests, and what the script makes it do.

use bytes::Bytes;
use cooee_model::ids::Side;

use crate::script::{Act, GIVE_UP, T1};
use crate::sip::{Msg, sdp, with_body};
use crate::ua::{Client, Cx, Server, State, Tick, Ua, media_host};

impl Ua {
    pub(super) fn request(
        &mut self,
        method: &'static str,
        cseq: u32,
        more: &str,
        body: &str,
    ) -> String {
        let branch = format!("z9hG4bK{:?}{}{}{method}{cseq}", self.side, self.call, self.local_tag);
        let to_tag = if self.remote_tag.is_empty() { "" } else { ";tag=" };
        let head = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/{} {};branch={branch}\r\n\
             From: {};tag={}\r\nTo: {}{to_tag}{}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
             Contact: {}\r\nMax-Forwards: 70\r\n{}{more}",
            self.target,
            if self.tcp { "TCP" } else { "UDP" },
            self.host,
            self.local,
            self.local_tag,
            self.remote,
            self.remote_tag,
            self.call_id,
            self.contact(),
            self.allow()
        );
        with_body(head, body)
    }

    pub(super) fn allow(&self) -> &'static str {
        let (a, b) = self.script.updates;
        let knows = if self.side == Side::A { a } else { b };
        if knows { "Allow: INVITE, ACK, CANCEL, BYE, INFO, PRACK, UPDATE\r\n" } else { "" }
    }

    /// Sends a request in a transaction of its own.
    pub(super) fn ask(
        &mut self,
        method: &'static str,
        more: &str,
        body: &str,
        cx: &mut Cx<'_>,
    ) -> usize {
        self.cseq += 1;
        let text = self.request(method, self.cseq, more, body);
        self.begin(method, self.cseq, text, cx)
    }

    pub(super) fn begin(
        &mut self,
        method: &'static str,
        cseq: u32,
        text: String,
        cx: &mut Cx<'_>,
    ) -> usize {
        let branch = Msg::read(&text).unwrap().branch.to_owned();
        let bytes = Bytes::from(text);
        let id = self.clients.len();
        cx.send(&bytes);
        if !self.tcp {
            cx.later(T1, Tick::Resend(id));
        }
        cx.later(GIVE_UP, Tick::GiveUp(id));
        let (wait, code, ack, over, hold) = (T1, 0, None, false, false);
        let nth = self.session.nth;
        let client = Client { method, branch, cseq, bytes, wait, code, ack, over, hold, nth };
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
                self.invite(cx);
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
                    let more = self.session_asks(false);
                    self.ask("UPDATE", &more, &body, cx);
                }
            }
            // In the early dialog, once the first offer has its answer (RFC 3311, 5.1).
            (Act::Update(offers), State::Setup) if self.early && !self.is_busy() => {
                let body = if offers { self.media("sendrecv") } else { String::new() };
                self.ask("UPDATE", "", &body, cx);
            }
            (Act::Refer, State::Up) => {
                self.refers = true;
                self.ask("REFER", "Refer-To: <sip:+61255509999@203.0.113.5>\r\n", "", cx);
            }
            (Act::Notify(over), State::Up) => {
                let (state, body) = match over {
                    true => ("terminated;reason=noresource", "SIP/2.0 200 OK\r\n"),
                    false => ("active;expires=60", "SIP/2.0 100 Trying\r\n"),
                };
                let more = format!(
                    "Event: refer\r\nSubscription-State: {state}\r\n\
                     Content-Type: message/sipfrag\r\n"
                );
                self.ask("NOTIFY", &more, body, cx);
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

    /// A's INVITE; again where it has to say more.
    pub(super) fn invite(&mut self, cx: &mut Cx<'_>) {
        let body = if self.script.late_offer { String::new() } else { self.media("sendrecv") };
        let more = match self.script.reliable {
            "" => String::new(),
            header => format!("{header}: 100rel\r\n"),
        };
        let more = more + &self.session_asks(true) + &self.proves();
        self.first = self.ask("INVITE", &more, &body, cx);
    }

    /// CANCEL, as soon as a provisional response is there (RFC 3261, 9.1).
    pub(super) fn cancel(&mut self, cx: &mut Cx<'_>) {
        let Some(invite) = self.clients.get(self.first).filter(|c| c.code >= 100) else { return };
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
    pub(super) fn is_busy(&self) -> bool {
        let first = self.early.then_some(self.first);
        let own = first.filter(|_| self.side == Side::A);
        let offers = |(at, c): &(usize, &Client)| {
            matches!(c.method, "INVITE" | "UPDATE") && own != Some(*at)
        };
        let theirs = first.filter(|_| self.side == Side::B);
        let asks = |(at, s): (usize, &Server)| {
            s.method == "INVITE" && (s.code < 200 || !s.acked) && theirs != Some(at)
        };
        self.clients.iter().enumerate().filter(offers).any(|(_, c)| c.code < 200 && !c.over)
            || self.servers.iter().enumerate().any(asks)
    }

    pub(super) fn reinvite(&mut self, hold: bool, cx: &mut Cx<'_>) {
        if self.is_busy() {
            return;
        }
        self.holding = hold;
        self.media_version += 1;
        let body = self.media(if hold { "sendonly" } else { "sendrecv" });
        let more = self.session_asks(false);
        let id = self.ask("INVITE", &more, &body, cx);
        self.clients[id].hold = hold;
    }
}
