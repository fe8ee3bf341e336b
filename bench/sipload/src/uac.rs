//! The calling side: INVITE, ACK, hold, BYE, with the timers of RFC 3261 section 17.1 over UDP.
//!
//! ```text
//! Inviting --1xx--> Proceeding --2xx--> Up --held long enough--> Ending --200--> done
//!     |  \__________________2xx__________^                          |
//!     +-- timer B, 3xx to 6xx --> failed          timer F --> failed
//! ```
//!
//! A call that is held goes through Inviting once more, by a re-INVITE.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use crate::net::Port;
use crate::schedule::Schedule;
use crate::tally::Tally;
use crate::wire::{Ask, Caller, Message, response, sdp};

/// RFC 3261 T1: first interval of a retransmission.
pub(crate) const T1: Duration = Duration::from_millis(500);
/// RFC 3261 T2: longest interval of a retransmission other than an INVITE's.
pub(crate) const T2: Duration = Duration::from_secs(4);
/// 64 x T1: timers B, F and H.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(32);

/// Moments at which some call wants to be looked at.
pub(crate) type Timers<K> = BinaryHeap<Reverse<(Instant, K)>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Inviting,
    Proceeding,
    Up,
    Ending,
}

struct Call {
    state: State,
    /// When the call was due: spans count from here, so that our own lateness shows.
    due: Instant,
    /// When the transaction that is open began.
    since: Instant,
    interval: Duration,
    wake: Instant,
    ringing: bool,
    uri: String,
    to: String,
    routes: Vec<String>,
    /// The CSeq of the last INVITE.
    seq: u32,
    /// When it is refreshed and hung up, if it is one of those that are held.
    held: Option<(Instant, Instant)>,
    /// The second of the steps that it counts in.
    second: Option<usize>,
    slow: bool,
    /// The open request, for its retransmission; then the ACK.
    last: Vec<u8>,
    ack: Vec<u8>,
}

/// All calls of the calling side.
pub(crate) struct Uac {
    caller: Caller,
    prefix: String,
    digits: u32,
    hold: Duration,
    schedule: Schedule,
    calls: BTreeMap<u64, Call>,
    timers: Timers<u64>,
    body: String,
}

impl Uac {
    /// Dials `prefix` and the call's number in so many digits; holds each call for `hold`, but
    /// those that the schedule holds.
    pub(crate) fn new(
        caller: Caller,
        (prefix, digits): (String, u32),
        hold: Duration,
        schedule: Schedule,
    ) -> Self {
        let body = sdp(caller.local);
        let (calls, timers) = (BTreeMap::new(), Timers::new());
        Self { caller, prefix, digits, hold, schedule, calls, timers, body }
    }

    /// The number that call `n` dials: it comes round after 10^digits calls.
    pub(crate) fn dialled(&self, n: u64) -> String {
        let short = n % 10_u64.saturating_pow(self.digits);
        format!("{}{short:0width$}", self.prefix, width = self.digits as usize)
    }

    /// Calls that are not over.
    pub(crate) fn live(&self) -> usize {
        self.calls.len()
    }

    /// When the next timer may fire.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Begins call `n`, which was due at `due`.
    pub(crate) fn start(&mut self, n: u64, due: Instant, port: &mut Port, tally: &mut Tally) {
        let target = self.caller.target;
        let user = self.dialled(n);
        let uri = format!("sip:{user}@{target}");
        let to = format!("<sip:{user}@{}>", target.ip());
        let ask = Ask {
            method: "INVITE",
            uri: &uri,
            to: &to,
            seq: 1,
            branch: "i",
            routes: &[],
            body: &self.body,
        };
        let last = self.caller.request(n, &ask);
        let now = Instant::now();
        let (held, second) = (self.schedule.held(n), self.schedule.second(n));
        tally.started += 1;
        tally.second(second, |row| row.started += 1);
        tally.behind.record(now.saturating_duration_since(due));
        port.push(target, last.clone(), Some(n));
        let call = Call {
            state: State::Inviting,
            due,
            since: now,
            interval: T1,
            wake: now + T1,
            ringing: false,
            uri,
            to,
            routes: Vec::new(),
            seq: 1,
            held,
            second,
            slow: false,
            last,
            ack: Vec::new(),
        };
        self.timers.push(Reverse((call.wake, n)));
        self.calls.insert(n, call);
    }

    /// Fires what is due.
    pub(crate) fn wake(&mut self, now: Instant, port: &mut Port, tally: &mut Tally) {
        while let Some(Reverse((at, n))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            let current = self.calls.get(&n).is_some_and(|call| call.wake == at);
            if current {
                self.fire(n, now, port, tally);
            }
        }
    }

    fn fire(&mut self, n: u64, now: Instant, port: &mut Port, tally: &mut Tally) {
        let Some(call) = self.calls.get_mut(&n) else { return };
        match call.state {
            State::Up if call.held.is_some() && call.seq == 1 => {
                call.seq = 2;
                let ask = Ask {
                    method: "INVITE",
                    uri: &call.uri,
                    to: &call.to,
                    seq: 2,
                    branch: "r",
                    routes: &call.routes,
                    body: &self.body,
                };
                call.last = self.caller.request(n, &ask);
                call.state = State::Inviting;
                call.since = now;
                call.interval = T1;
                port.push(self.caller.target, call.last.clone(), None);
            }
            State::Up => {
                let ask = Ask {
                    method: "BYE",
                    uri: &call.uri,
                    to: &call.to,
                    seq: call.seq + 1,
                    branch: "b",
                    routes: &call.routes,
                    body: "",
                };
                call.last = self.caller.request(n, &ask);
                call.state = State::Ending;
                call.since = now;
                call.interval = T1;
                port.push(self.caller.target, call.last.clone(), None);
            }
            _ if now >= call.since + GIVE_UP => {
                let what = if call.state == State::Ending { "BYE timeout" } else { "timeout" };
                return self.fail(n, what.to_owned(), tally);
            }
            State::Proceeding => {}
            State::Inviting | State::Ending => {
                tally.uac_retransmits += 1;
                tally.second(call.second, |row| row.retransmits += 1);
                port.push(self.caller.target, call.last.clone(), None);
                call.interval *= 2;
                if call.state == State::Ending {
                    call.interval = call.interval.min(T2);
                }
            }
        }
        let rest = if call.state == State::Proceeding { GIVE_UP } else { call.interval };
        call.wake = now + rest.min((call.since + GIVE_UP).saturating_duration_since(now));
        self.timers.push(Reverse((call.wake, n)));
    }

    /// Takes a datagram that came to the calling side.
    pub(crate) fn receive(
        &mut self,
        at: Instant,
        bytes: &[u8],
        port: &mut Port,
        tally: &mut Tally,
    ) {
        let known = Message::read(bytes).and_then(|message| {
            let n = self.caller.number_of(message.call_id()?)?;
            self.calls.contains_key(&n).then_some((message, n))
        });
        let target = self.caller.target;
        match known {
            Some((message, n)) if message.method() == Some("BYE") => {
                port.push(target, response(&message, "200 OK", "", "sip:a", ""), None);
                self.fail(n, "hung up by the other side".to_owned(), tally);
            }
            Some((message, n)) => {
                if let (Some(status), Some(cseq)) = (message.status(), message.cseq()) {
                    self.answer(n, at, status, cseq, &message, port, tally);
                }
            }
            // A response to a call that is over is a retransmission; it needs nothing.
            None if Message::read(bytes).is_some_and(|message| message.status().is_some()) => {}
            None => tally.stray += 1,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one response with everything it may touch")]
    fn answer(
        &mut self,
        n: u64,
        at: Instant,
        status: u16,
        (seq, method): (u32, &str),
        message: &Message<'_>,
        port: &mut Port,
        tally: &mut Tally,
    ) {
        let Some(call) = self.calls.get_mut(&n) else { return };
        let target = self.caller.target;
        // A re-INVITE is due when it is sent.
        let refresh = call.seq > 1;
        let due = if refresh { call.since } else { call.due };
        let setup = at.saturating_duration_since(due);
        let early = seq == call.seq && matches!(call.state, State::Inviting | State::Proceeding);
        match (method, status) {
            ("INVITE", 100..200) if early => {
                if status == 100 && !refresh && call.state == State::Inviting {
                    tally.to_100.record(setup);
                }
                if status >= 180 && !call.ringing {
                    call.ringing = true;
                    tally.to_180.record(setup);
                }
                call.state = State::Proceeding;
                call.wake = call.since + GIVE_UP;
                self.timers.push(Reverse((call.wake, n)));
            }
            ("INVITE", 200..300) if early => {
                if refresh { &mut tally.refresh } else { &mut tally.to_200 }.record(setup);
                call.slow = setup > T1;
                call.learn(message);
                let branch = if refresh { "s" } else { "a" };
                call.ack = ack(&self.caller, n, call, branch);
                self.up(n, at, port);
            }
            ("INVITE", 200..300) => port.push(target, call.ack.clone(), None),
            ("INVITE", 300..) if early => {
                if let Some(to) = message.one("To", "t") {
                    to.clone_into(&mut call.to);
                }
                let branch = if refresh { "r" } else { "i" };
                port.push(target, ack(&self.caller, n, call, branch), None);
                if status == 503 {
                    let took = at.saturating_duration_since(call.since);
                    tally.to_503.record(took);
                    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                    tally
                        .second(call.second, |row| row.refused_max_us = row.refused_max_us.max(us));
                    let told = message.one("Retry-After", "Retry-After").is_some();
                    tally.without_retry_after += u64::from(!told);
                }
                self.fail(n, status.to_string(), tally);
            }
            ("BYE", 200..300) if call.state == State::Ending => {
                tally.bye.record(at.saturating_duration_since(call.since));
                tally.ok += 1;
                tally.held_ok += u64::from(call.held.is_some());
                let (second, slow) = (call.second, call.slow);
                tally.second(second, |row| {
                    row.ok += 1;
                    row.slow += u64::from(slow);
                });
                self.calls.remove(&n);
            }
            ("BYE", 300..) => self.fail(n, format!("BYE {status}"), tally),
            _ => {}
        }
    }

    /// A call has failed.
    fn fail(&mut self, n: u64, why: String, tally: &mut Tally) {
        let Some(call) = self.calls.remove(&n) else { return };
        tally.second(call.second, |row| {
            *if why == "503" { &mut row.refused } else { &mut row.failed } += 1;
        });
        let failed = if call.held.is_some() { &mut tally.held_failed } else { &mut tally.failed };
        *failed.entry(why).or_default() += 1;
    }

    fn up(&mut self, n: u64, at: Instant, port: &mut Port) {
        let Some(call) = self.calls.get_mut(&n) else { return };
        call.state = State::Up;
        call.wake = match call.held {
            Some((refresh, release)) => if call.seq == 1 { refresh } else { release }.max(at),
            None => at + self.hold,
        };
        port.push(self.caller.target, call.ack.clone(), None);
        self.timers.push(Reverse((call.wake, n)));
    }
}

impl Call {
    /// Takes the dialog's remote target, remote tag and route set from its 2xx.
    fn learn(&mut self, answer: &Message<'_>) {
        if let Some(contact) = answer.contact() {
            contact.clone_into(&mut self.uri);
        }
        if let Some(to) = answer.one("To", "t") {
            to.clone_into(&mut self.to);
        }
        self.routes = answer.all("Record-Route", "Record-Route").map(str::to_owned).collect();
        self.routes.reverse();
    }
}

/// The ACK of call `n`: a transaction of its own for a 2xx, the INVITE's for a refusal.
fn ack(caller: &Caller, n: u64, call: &Call, branch: &str) -> Vec<u8> {
    let ask = Ask {
        method: "ACK",
        uri: &call.uri,
        to: &call.to,
        seq: call.seq,
        branch,
        routes: &call.routes,
        body: "",
    };
    caller.request(n, &ask)
}
