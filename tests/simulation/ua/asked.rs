//! What a user agent does with a request.

use bytes::Bytes;

use cooee_model::ids::Side;

use crate::script::{Act, MS, SECOND};
use crate::sip::{Msg, response};
use crate::ua::{Cx, Do, Server, State, Tick, Ua};

impl Ua {
    pub fn hear(&mut self, m: &Msg<'_>, cx: &mut Cx<'_>) {
        if self.dead {
            return;
        }
        if m.is_request() { self.asked(m, cx) } else { self.answered(m, cx) }
    }

    fn asked(&mut self, m: &Msg<'_>, cx: &mut Cx<'_>) {
        if m.method == "ACK" {
            return self.acknowledged(m, cx);
        }
        let known = |s: &&mut Server| s.branch == m.branch && s.method == m.method;
        if let Some(server) = self.servers.iter_mut().find(known) {
            if let Some(last) = server.last.as_ref().filter(|_| !server.acked) {
                cx.out.push(Do::Send(last.clone()));
            }
            return;
        }
        if m.method == "CANCEL" {
            return self.cancelled(m, cx);
        }
        if m.to_tag.is_empty() && m.method == "INVITE" {
            return self.invited(m, cx);
        }
        let at = self.take(m);
        let named = m.to_tag == self.local_tag && m.from_tag == self.remote_tag;
        if !named || self.state == State::Gone {
            return self.finish(at, 481, "", "", cx);
        }
        if m.cseq <= self.remote_cseq {
            if m.method == "BYE" {
                cx.faults.push(format!("BYE with CSeq {} after {}", m.cseq, self.remote_cseq));
            }
            return self.finish(at, 500, "", "", cx);
        }
        self.remote_cseq = m.cseq;
        if let Some((code, more)) = self.asks_proof(m, cx) {
            return self.finish(at, code, &more, "", cx);
        }
        match m.method {
            "BYE" => {
                self.finish(at, 200, "", "", cx);
                self.end_servers(cx);
                self.become_(State::Gone, cx.now);
            }
            "INVITE" => self.reinvited(at, m, cx),
            "INFO" | "OPTIONS" => self.finish(at, 200, "", "", cx),
            "UPDATE" => self.updated(at, m, cx),
            "PRACK" => self.pracked(at, m, cx),
            "REFER" => self.referred(at, cx),
            "NOTIFY" => {
                if !self.refers {
                    cx.faults.push("news of a transfer that was not asked for".to_owned());
                }
                self.finish(at, 200, "", "", cx);
            }
            other => {
                cx.faults.push(format!("{other} was sent though it is not allowed"));
                self.finish(at, 405, "", "", cx);
            }
        }
    }

    /// The INVITE that the leg begins with, or its second try with a login.
    fn invited(&mut self, m: &Msg<'_>, cx: &mut Cx<'_>) {
        let refused = |s: &Server| matches!(s.code, 401 | 407 | 422);
        if self.servers.get(self.first).is_some_and(|s| !refused(s)) {
            cx.faults.push("a second INVITE in the same dialog, without a To tag".to_owned());
            return;
        }
        let at = self.take(m);
        (self.first, self.remote_cseq) = (at, m.cseq);
        self.become_(State::Setup, cx.now);
        let refusal = self.asks_proof(m, cx);
        if let Some((code, more)) = refusal.or_else(|| self.session_refuses(m)) {
            self.finish(at, code, &more, "", cx);
            return self.become_(State::Gone, cx.now);
        }
        if self.script.answer.trying {
            let bytes = Bytes::from(response(m, 100, "", "", ""));
            cx.send(&bytes);
            self.servers[at].code = 100;
            self.servers[at].last = Some(bytes);
        }
        for &(wait, act) in &self.script.clone().b.at_start {
            cx.later(wait, Tick::Act(act));
        }
    }

    /// A transfer: B or A takes it, tells how it goes, and calls nobody.
    fn referred(&mut self, at: usize, cx: &mut Cx<'_>) {
        if self.script.refer != 0 {
            cx.faults.push("a transfer was passed on though it is to be refused".to_owned());
        }
        let contact = format!("Contact: {}\r\n", self.contact());
        self.finish(at, 202, &contact, "", cx);
        cx.later(100 * MS, Tick::Act(Act::Notify(false)));
        cx.later(3 * SECOND, Tick::Act(Act::Notify(true)));
    }

    fn updated(&mut self, at: usize, m: &Msg<'_>, cx: &mut Cx<'_>) {
        if !m.body.is_empty() && self.is_busy() {
            return self.finish(at, 491, "", "", cx);
        }
        if let Some((code, more)) = self.session_refuses(m) {
            return self.finish(at, code, &more, "", cx);
        }
        self.target = m.contact.to_owned();
        let body = if m.body.is_empty() { String::new() } else { self.media("sendrecv") };
        let session = self.session_answers(m, cx);
        let contact = format!("Contact: {}\r\n{session}", self.contact());
        self.finish(at, 200, &contact, &body, cx);
    }

    fn pracked(&mut self, at: usize, m: &Msg<'_>, cx: &mut Cx<'_>) {
        let rack = format!("{} {} INVITE", self.rseq, self.servers[self.first].cseq);
        if self.unpracked.is_none() || m.header("RAck") != Some(&rack) {
            return self.finish(at, 481, "", "", cx);
        }
        let told = self.unpracked.take();
        self.early |= told.is_some_and(|(bytes, _)| !bytes.ends_with(b"\r\n\r\n"));
        self.finish(at, 200, "", "", cx);
        if std::mem::take(&mut self.wants_final) && self.state == State::Setup {
            self.decide(cx);
        }
    }

    fn cancelled(&mut self, m: &Msg<'_>, cx: &mut Cx<'_>) {
        let invite = self.servers.iter().position(|s| s.branch == m.branch && s.method == "INVITE");
        let Some(invite) = invite else {
            let bytes = Bytes::from(response(m, 481, &self.local_tag, "", ""));
            return cx.send(&bytes);
        };
        let at = self.take(m);
        self.finish(at, 200, "", "", cx);
        if self.servers[invite].code < 200 {
            self.answer_invite(invite, 487, cx);
        }
    }

    fn end_servers(&mut self, cx: &mut Cx<'_>) {
        for at in 0..self.servers.len() {
            if self.servers[at].method == "INVITE" && self.servers[at].code < 200 {
                self.finish(at, 487, "", "", cx);
            }
        }
    }

    fn reinvited(&mut self, at: usize, m: &Msg<'_>, cx: &mut Cx<'_>) {
        let ours = self.clients.iter().any(|c| c.method == "INVITE" && c.code < 200 && !c.over);
        let theirs =
            self.servers[..at].iter().any(|s| s.method == "INVITE" && s.code < 300 && !s.acked);
        if ours || self.state == State::Ending {
            return self.finish(at, 491, "", "", cx);
        }
        if theirs {
            return self.finish(at, 500, "Retry-After: 2\r\n", "", cx);
        }
        if let Some((code, more)) = self.session_refuses(m) {
            return self.finish(at, code, &more, "", cx);
        }
        self.target = m.contact.to_owned();
        let wait = match self.side {
            Side::A => self.script.a.reinvite.0,
            Side::B => self.script.b.reinvite.0,
        };
        if wait > 200 * MS {
            let bytes = Bytes::from(response(m, 100, "", "", ""));
            cx.send(&bytes);
            self.servers[at].code = 100;
            self.servers[at].last = Some(bytes);
        }
        cx.later(wait, Tick::Answer(at));
    }

    fn acknowledged(&mut self, m: &Msg<'_>, cx: &mut Cx<'_>) {
        let is_it = |s: &&mut Server| {
            s.method == "INVITE"
                && s.cseq == m.cseq
                && s.code >= 200
                && (s.code < 300 || s.branch == m.branch)
        };
        let Some(server) = self.servers.iter_mut().find(is_it) else { return };
        server.acked = true;
        if server.code < 300 && self.state == State::Answered {
            self.become_(State::Up, cx.now);
            if self.wants_bye || self.is_fork {
                // A fork that is not told to end hangs up too, in the end.
                let wait = if self.is_fork { 150 * SECOND } else { 0 };
                cx.later(wait, Tick::Act(Act::Bye));
            }
        }
    }
}
