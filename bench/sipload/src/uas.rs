//! The called side: 180, 200 until it is acknowledged, 200 to the BYE.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use crate::net::Port;
use crate::tally::Tally;
use crate::uac::{GIVE_UP, T1, T2, Timers};
use crate::wire::{Message, response, sdp};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// 180 sent; the answer follows.
    Ringing,
    /// 200 sent; it is sent again until the ACK.
    Answered,
    /// Acknowledged.
    Up,
    /// Over; kept so that a late copy of a request finds it.
    Over,
}

struct Call {
    state: State,
    /// The CSeq of the INVITE that began it.
    cseq: u32,
    peer: SocketAddrV4,
    since: Instant,
    interval: Duration,
    wake: Instant,
    ringing: Vec<u8>,
    answer: Vec<u8>,
}

/// All calls of the called side.
pub(crate) struct Uas {
    local: SocketAddrV4,
    ring: Duration,
    calls: BTreeMap<String, Call>,
    timers: Timers<String>,
    body: String,
}

impl Uas {
    /// Rings for `ring`, then answers.
    pub(crate) fn new(local: SocketAddrV4, ring: Duration) -> Self {
        Self { local, ring, calls: BTreeMap::new(), timers: Timers::new(), body: sdp(local) }
    }

    /// When the next timer may fire.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Calls that have not been hung up.
    pub(crate) fn live(&self) -> usize {
        self.calls.values().filter(|call| call.state != State::Over).count()
    }

    /// Takes a datagram; tells the number that a new call dialled.
    pub(crate) fn receive(
        &mut self,
        at: Instant,
        from: SocketAddrV4,
        bytes: &[u8],
        port: &mut Port,
        tally: &mut Tally,
    ) -> Option<String> {
        let message = Message::read(bytes);
        let known = |m: Message<'_>| m.method().and(m.cseq()).is_some() && m.call_id().is_some();
        let Some(message) = message.filter(|m| known(*m)) else {
            tally.stray += 1;
            return None;
        };
        let (seq, method) = message.cseq().unwrap_or_default();
        let id = message.call_id().unwrap_or_default();
        let contact = format!("sip:b@{}", self.local);
        match (method, self.calls.get_mut(id)) {
            ("INVITE", None) => {
                self.offered(at, from, id, &message, port, tally);
                return Some(message.dialled());
            }
            ("INVITE", Some(call)) if seq > call.cseq => {
                tally.uas_refreshed += 1;
                port.push(from, response(&message, "200 OK", "b", &contact, &self.body), None);
            }
            ("INVITE", Some(call)) => {
                tally.uas_duplicates += 1;
                let again = if call.state == State::Ringing { &call.ringing } else { &call.answer };
                port.push(from, again.clone(), None);
            }
            ("ACK", Some(call)) if call.state == State::Answered => {
                call.state = State::Up;
            }
            ("ACK", _) => {}
            ("BYE", Some(call)) => {
                if call.state == State::Over {
                    tally.uas_duplicates += 1;
                } else {
                    tally.uas_ended += 1;
                    call.state = State::Over;
                    call.wake = at + GIVE_UP;
                    self.timers.push(Reverse((call.wake, id.to_owned())));
                }
                port.push(from, response(&message, "200 OK", "b", &contact, ""), None);
            }
            ("OPTIONS", _) => {
                port.push(from, response(&message, "200 OK", "b", &contact, ""), None);
            }
            (_, _) => {
                tally.stray += 1;
                let status = "481 Call/Transaction Does Not Exist";
                port.push(from, response(&message, status, "b", &contact, ""), None);
            }
        }
        None
    }

    fn offered(
        &mut self,
        at: Instant,
        peer: SocketAddrV4,
        id: &str,
        message: &Message<'_>,
        port: &mut Port,
        tally: &mut Tally,
    ) {
        tally.uas_calls += 1;
        let tag = format!("b{}", tally.uas_calls);
        let contact = format!("sip:b@{}", self.local);
        let ringing = response(message, "180 Ringing", &tag, &contact, "");
        let answer = response(message, "200 OK", &tag, &contact, &self.body);
        port.push(peer, ringing.clone(), None);
        let wake = at + self.ring;
        let state = State::Ringing;
        let (cseq, _) = message.cseq().unwrap_or_default();
        let call = Call { state, cseq, peer, since: at, interval: T1, wake, ringing, answer };
        self.calls.insert(id.to_owned(), call);
        if self.ring.is_zero() {
            self.fire(id, at, port, tally);
        } else {
            self.timers.push(Reverse((wake, id.to_owned())));
        }
    }

    /// Fires what is due.
    pub(crate) fn wake(&mut self, now: Instant, port: &mut Port, tally: &mut Tally) {
        while self.next().is_some_and(|at| at <= now) {
            let Some(Reverse((at, id))) = self.timers.pop() else { break };
            if self.calls.get(&id).is_some_and(|call| call.wake == at) {
                self.fire(&id, now, port, tally);
            }
        }
    }

    fn fire(&mut self, id: &str, now: Instant, port: &mut Port, tally: &mut Tally) {
        let Some(call) = self.calls.get_mut(id) else { return };
        match call.state {
            State::Ringing => {
                call.state = State::Answered;
                call.since = now;
                port.push(call.peer, call.answer.clone(), None);
            }
            State::Answered if now >= call.since + GIVE_UP => {
                tally.uas_unacknowledged += 1;
                call.state = State::Over;
                self.calls.remove(id);
                return;
            }
            State::Answered => {
                tally.uas_retransmits += 1;
                port.push(call.peer, call.answer.clone(), None);
                call.interval = (call.interval * 2).min(T2);
            }
            State::Up => return,
            State::Over => {
                self.calls.remove(id);
                return;
            }
        }
        call.wake = now + call.interval;
        self.timers.push(Reverse((call.wake, id.to_owned())));
    }
}
