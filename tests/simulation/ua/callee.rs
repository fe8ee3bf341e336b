//! How a user agent answers an INVITE, provisionally and for good.

use bytes::Bytes;
use cooee_model::ids::Side;

use crate::script::{GIVE_UP, T1};
use crate::sip::{Msg, response};
use crate::ua::{Cx, Do, Server, State, Tick, Ua};

impl Ua {
    pub(super) fn progress(&mut self, place: usize, cx: &mut Cx<'_>) {
        let (code, with_sdp, fork) = self.script.answer.progress[place];
        let Some(server) = self.servers.get(self.first).filter(|s| s.code < 200) else { return };
        if self.unpracked.is_some() {
            return;
        }
        let request = server.request.clone();
        let invite = Msg::read(&request).unwrap();
        let body = if with_sdp { self.media("sendrecv") } else { String::new() };
        let tag = format!("{}{}", self.local_tag, ["", "f1", "f2"][fork]);
        let contact = format!("Contact: {}\r\n{}", self.contact(), self.allow());
        let knows = ["Supported", "Require"].iter().any(|name| invite.lists(name, "100rel"));
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
        let server = &mut self.servers[self.first];
        server.code = code;
        server.last = Some(bytes);
    }

    pub(super) fn decide(&mut self, cx: &mut Cx<'_>) {
        let answer = &self.script.answer;
        let (code, forks) = (answer.code, answer.forks.clone());
        self.answer_invite(self.first, code, cx);
        for (place, wait) in forks.into_iter().enumerate() {
            cx.out.push(Do::Fork(cx.now + wait, format!("{}f{}", self.local_tag, place + 1)));
        }
    }

    /// The final response to an INVITE or re-INVITE.
    pub(super) fn answer_invite(&mut self, at: usize, code: u16, cx: &mut Cx<'_>) {
        let request = self.servers[at].request.clone();
        let invite = Msg::read(&request).unwrap();
        let more = match (code, self.script.answer.retry_after) {
            (200, _) => {
                let session = self.session_answers(&invite, cx);
                let allow = self.allow();
                format!("Contact: {}\r\n{allow}{session}", self.contact())
            }
            (503, Some(seconds)) => format!("Retry-After: {seconds}\r\n"),
            (401, _) => "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n".to_owned(),
            (302, _) => "Contact: <sip:elsewhere@203.0.113.9>\r\n".to_owned(),
            (500, _) if at != self.first => "Retry-After: 3\r\n".to_owned(),
            _ => String::new(),
        };
        let way = if invite.body.contains("a=sendonly") { "recvonly" } else { "sendrecv" };
        let body = if code == 200 { self.media(way) } else { String::new() };
        self.finish(at, code, &more, &body, cx);
        if at == self.first && self.side == Side::B {
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
    pub(super) fn finish(&mut self, at: usize, code: u16, more: &str, body: &str, cx: &mut Cx<'_>) {
        let server = &mut self.servers[at];
        let invite = Msg::read(&server.request).unwrap();
        let bytes = Bytes::from(response(&invite, code, &self.local_tag, more, body));
        cx.send(&bytes);
        server.code = code;
        server.last = Some(bytes);
        if server.method == "INVITE" {
            server.wait = T1;
            // By TCP only a 2xx is sent again (RFC 3261, 17.2.1, 13.3.1.4).
            if !self.tcp || code < 300 {
                cx.later(T1, Tick::Again(at));
            }
            cx.later(GIVE_UP, Tick::NoAck(at));
        }
    }

    /// A request's transaction begins.
    pub(super) fn take(&mut self, m: &Msg<'_>) -> usize {
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
