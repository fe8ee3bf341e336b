//! What a user agent does with a response, and when none comes.

use bytes::Bytes;

use cooee_model::ids::Side;

use crate::script::{Act, GIVE_UP, MS, T2};
use crate::sip::{Msg, with_body};
use crate::ua::{Client, Cx, Do, State, Tick, Ua};

impl Ua {
    pub(super) fn answered(&mut self, m: &Msg<'_>, cx: &mut Cx<'_>) {
        let is_it = |c: &Client| c.branch == m.branch && c.method == m.method;
        let Some(at) = self.clients.iter().position(is_it) else {
            cx.faults.push(format!("{} to nothing that was asked", m.title()));
            return;
        };
        let first = self.first;
        let opens = at == first && self.side == Side::A;
        let client = &mut self.clients[at];
        if m.code < 200 {
            if client.code < 200 && !client.over {
                client.code = m.code;
                if opens && !m.to_tag.is_empty() {
                    self.remote_tag = m.to_tag.to_owned();
                    self.target = m.contact.to_owned();
                }
                if at == first && self.wants_cancel {
                    self.cancel(cx);
                }
                let rseq = m.header("RSeq").and_then(|n| n.parse().ok());
                if let Some(rseq) = rseq.filter(|_| opens) {
                    self.prack(rseq, !m.body.is_empty(), cx);
                }
            }
            return;
        }
        if client.code >= 200 {
            if let Some(ack) = client.ack.clone() {
                cx.send(&ack);
            }
            return;
        }
        client.code = m.code;
        let (over, hold, nth) = (client.over, client.hold, client.nth);
        if m.method == "INVITE" {
            self.acknowledge(at, m, cx);
        }
        match m.method {
            _ if opens => self.invite_answered(m, cx),
            "BYE" => self.become_(State::Gone, cx.now),
            "INVITE" | "UPDATE" if m.code < 300 => self.session_taken(m, nth, cx),
            "INVITE" | "INFO" | "UPDATE" if over || self.state != State::Up => {}
            "INVITE" | "INFO" | "UPDATE" if matches!(m.code, 408 | 481) => self.bye(cx),
            "INVITE" if m.code == 491 => {
                // RFC 3261, 14.1: the owner of the Call-ID waits longer.
                let (low, high) = if self.side == Side::A { (2100, 4000) } else { (0, 2000) };
                let wait = cx.rng.between(low, high) * MS;
                cx.later(wait, Tick::Act(if hold { Act::Hold } else { Act::Resume }));
            }
            "INVITE" | "UPDATE" => self.not_refreshed(m, cx),
            "REFER" => self.transferred(m.code, cx),
            _ => {}
        }
    }

    /// A transfer is refused as the node says, or by the other side, or it is in the way.
    fn transferred(&mut self, code: u16, cx: &mut Cx<'_>) {
        let refusal = self.script.refer;
        let other = matches!(code, 202 | 603) && refusal == 0 || matches!(code, 408 | 481 | 487);
        if code != refusal && !other && !matches!(code, 491 | 500 | 503) {
            cx.faults.push(format!("{code} to a transfer, not {refusal}"));
        }
    }

    /// A reliable response in its turn is acknowledged (RFC 3262, 4).
    fn prack(&mut self, rseq: u32, answers: bool, cx: &mut Cx<'_>) {
        if self.state == State::Setup && (self.rseq == 0 || rseq == self.rseq + 1) {
            self.rseq = rseq;
            self.early |= answers;
            let rack = format!("RAck: {rseq} {} INVITE\r\n", self.clients[self.first].cseq);
            self.ask("PRACK", &rack, "", cx);
        }
    }

    /// The ACK to a final response, kept for its copies.
    fn acknowledge(&mut self, at: usize, m: &Msg<'_>, cx: &mut Cx<'_>) {
        let cseq = self.clients[at].cseq;
        let ack = if m.code < 300 {
            self.remote_tag = m.to_tag.to_owned();
            self.target = m.contact.to_owned();
            let late = at == self.first && self.script.late_offer;
            let body = if late { self.media("sendrecv") } else { String::new() };
            self.request("ACK", cseq, "", &body)
        } else {
            let invite = self.clients[at].bytes.clone();
            let invite = Msg::read(std::str::from_utf8(&invite).unwrap()).unwrap();
            let head = format!(
                "ACK {} SIP/2.0\r\nVia: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\n\
                 CSeq: {cseq} ACK\r\nMax-Forwards: 70\r\n",
                invite.uri, invite.via, invite.from, m.to, m.call_id
            );
            with_body(head, "")
        };
        let ack = Bytes::from(ack);
        cx.send(&ack);
        self.clients[at].ack = Some(ack);
    }

    fn invite_answered(&mut self, m: &Msg<'_>, cx: &mut Cx<'_>) {
        let was = self.state;
        if m.code == 401 && was == State::Setup && !self.wants_cancel && self.challenged(m) {
            return self.invite(cx);
        }
        if m.code == 422 && was == State::Setup && !self.wants_cancel && self.raise(m) {
            return self.invite(cx);
        }
        if m.code >= 300 {
            return self.become_(State::Gone, cx.now);
        }
        self.become_(State::Up, cx.now);
        self.session_taken(m, self.session.nth, cx);
        if was != State::Setup {
            // The 2xx crossed our CANCEL or came after we gave up.
            return self.bye(cx);
        }
        for &(wait, act) in &self.script.clone().a.once_up {
            cx.later(wait, Tick::Act(act));
        }
        if self.wants_cancel {
            self.bye(cx);
        }
    }

    // ---------------------------------------------------------------- time

    pub fn tick(&mut self, tick: Tick, cx: &mut Cx<'_>) {
        if self.dead {
            return;
        }
        match tick {
            Tick::Act(act) => self.act(act, cx),
            Tick::Refresh(nth) => self.refresh(nth, cx),
            Tick::RunOut(nth) => self.ran_out(nth, cx),
            Tick::Resend(at) => {
                let client = &mut self.clients[at];
                let invite = client.method == "INVITE";
                if client.code >= 200 || client.over || (invite && client.code >= 100) {
                    return;
                }
                let bytes = client.bytes.clone();
                client.wait = match (invite, client.code) {
                    (true, _) => client.wait * 2,
                    (false, 0) => (client.wait * 2).min(T2),
                    (false, _) => T2,
                };
                let wait = client.wait;
                cx.send(&bytes);
                cx.later(wait, Tick::Resend(at));
            }
            Tick::GiveUp(at) => self.gave_up(at, cx),
            Tick::Again(at) => {
                let server = &mut self.servers[at];
                if !server.acked && server.code >= 200 {
                    let last = server.last.clone();
                    server.wait = (server.wait * 2).min(T2);
                    let wait = server.wait;
                    cx.out.extend(last.map(Do::Send));
                    cx.later(wait, Tick::Again(at));
                }
            }
            Tick::NoAck(at) => {
                let server = &mut self.servers[at];
                let ends = !server.acked && server.code < 300;
                server.acked = true;
                if ends && matches!(self.state, State::Answered | State::Up) {
                    self.bye(cx);
                }
            }
            Tick::Reliable(rseq) => {
                let Some((bytes, wait)) = &mut self.unpracked else { return };
                if rseq != self.rseq || self.servers[self.first].code >= 200 {
                    return;
                }
                *wait *= 2;
                let (bytes, wait) = (bytes.clone(), *wait);
                if wait > GIVE_UP {
                    return self.answer_invite(self.first, 504, cx);
                }
                cx.send(&bytes);
                cx.later(wait, Tick::Reliable(rseq));
            }
            Tick::Answer(at) => {
                if self.servers[at].code < 200 {
                    let part = if self.side == Side::A { &self.script.a } else { &self.script.b };
                    let code = part.reinvite.1;
                    self.answer_invite(at, code, cx);
                    if code == 481 {
                        // It has lost the dialog.
                        self.become_(State::Gone, cx.now);
                    }
                }
            }
        }
    }

    fn gave_up(&mut self, at: usize, cx: &mut Cx<'_>) {
        let invite = self.clients.get(self.first).map_or(0, |c| c.code);
        let client = &mut self.clients[at];
        if client.method == "CANCEL" && self.state == State::Ending && invite < 200 {
            // RFC 3261, 9.1: no final response 64*T1 after the CANCEL: the INVITE is over.
            return self.become_(State::Gone, cx.now);
        }
        if client.code >= 200 || client.over {
            return;
        }
        let first = at == self.first && self.side == Side::A;
        if client.method == "INVITE" && client.code >= 100 && !first {
            // A re-INVITE that is only trying: a little patience more, then the call is hung up.
            client.over = true;
            cx.later(GIVE_UP, Tick::Act(Act::Bye));
            return;
        }
        if client.method == "INVITE" && client.code >= 100 {
            return;
        }
        client.over = true;
        // What is passed on to the other side waits for that one.
        let passed = matches!(client.method, "INVITE" | "INFO" | "REFER" | "NOTIFY")
            || client.method == "UPDATE" && !client.bytes.ends_with(b"\r\n\r\n");
        if !passed {
            cx.out.push(Do::Unheard(client.method, client.branch.clone()));
        }
        match client.method {
            "CANCEL" | "PRACK" | "REFER" | "NOTIFY" => {}
            "BYE" => self.become_(State::Gone, cx.now),
            "INVITE" if first => self.become_(State::Gone, cx.now),
            _ if self.state == State::Up => self.bye(cx),
            _ => {}
        }
    }
}
