//! The world's side of the peers: what reaches them, and what they do.

use bytes::Bytes;
use cooee_model::ids::Side;
use cooee_signalling::transaction::flow::Flow;

use crate::hosts::C;
use crate::log::{Entry, Way};
use crate::sip::Msg;
use crate::ua::{Cx, Do, State, Ua};
use crate::world::{Event, World};

impl World {
    /// A datagram of the switch is on the wire.
    pub(super) fn sent(&mut self, side: Side, host: &'static str, flow: Flow, bytes: Bytes) {
        let text = std::str::from_utf8(&bytes).unwrap();
        let m = match Msg::read(text) {
            Ok(m) => m,
            Err(why) => {
                self.ledger.faults.push((0, format!("{why}: {text}")));
                return;
            }
        };
        if m.method == "OPTIONS" && m.is_request() && m.to_tag.is_empty() {
            return self.asked(host, flow, &bytes, &m);
        }
        let call = match self.by_call_id.get(m.call_id) {
            Some(&(call, _)) => call,
            // A crash took the INVITE before it left: the CANCEL after it means nothing to B.
            None if m.method == "CANCEL" && self.life > 0 => return,
            None => match self.meet(host, &m) {
                Some(call) => call,
                None => {
                    self.ledger.faults.push((0, format!("to nobody: {text}")));
                    return;
                }
            },
        };
        self.ledger.sent(call, side, &m, self.now, &self.calls[call]);
        let entry = Entry::new(self.now, Way::FromSwitch(side), bytes.clone());
        let entry = self.calls[call].log.push(entry, &m);
        for (at, pipe) in self.leave_for(host, flow, &bytes) {
            let bytes = bytes.clone();
            self.later(at, Event::ToPeer { call, entry, pipe, bytes });
        }
    }

    /// B's INVITE, seen for the first time: the number that it calls names the script.
    pub(super) fn meet(&mut self, host: &'static str, m: &Msg<'_>) -> Option<usize> {
        let digits = m.uri.strip_prefix("sip:+614915")?.split('@').next()?;
        let call: usize = digits.parse().ok()?;
        let trunks = self.switch.trunks(self.moment());
        let met = self.calls.get_mut(call)?;
        if m.method != "INVITE" || !m.is_request() || !m.to_tag.is_empty() {
            return None;
        }
        let serial = met.legs.len();
        let tried: Vec<_> = met.legs[1..].iter().map(|l| l.host).collect();
        if self.hosts.passes_by(host, &tried, &trunks) {
            self.ledger.faults.push((call, format!("{host} is called, and there is a better one")));
        }
        let script = met.scripts[usize::from(host == C)].clone();
        let tcp = self.pipes.lead_to(host);
        met.legs.push(Ua::callee(m, call, script, (host, tcp), serial));
        self.by_call_id.insert(m.call_id.to_owned(), (call, serial));
        Some(call)
    }

    pub(super) fn reach_peer(&mut self, call: usize, entry: usize, pipe: u32, bytes: &Bytes) {
        let m = Msg::read(std::str::from_utf8(bytes).unwrap()).unwrap();
        let (_, first) = self.by_call_id[m.call_id];
        let tag = if m.is_request() { m.to_tag } else { m.from_tag };
        let met = &self.calls[call];
        let named = met.legs.iter().position(|l| l.call_id == m.call_id && l.local_tag == tag);
        let leg = named.unwrap_or(first);
        let host = self.calls[call].legs[leg].host;
        let reached = !self.hosts.is_away(host, self.now) && self.pipes.stands(host, pipe);
        if self.calls[call].legs[leg].dead || !reached {
            return;
        }
        self.calls[call].log.arrived(entry, self.now);
        self.peer(call, leg, |ua, cx| ua.hear(&m, cx));
    }

    pub(super) fn peer(
        &mut self,
        call: usize,
        leg: usize,
        what: impl FnOnce(&mut Ua, &mut Cx<'_>),
    ) {
        let (now, mut out, mut faults) = (self.now, Vec::new(), Vec::new());
        let ua = &mut self.calls[call].legs[leg];
        let was = ua.state;
        let mut cx = Cx { now, rng: &mut self.rng, out: &mut out, faults: &mut faults };
        what(ua, &mut cx);
        let is = ua.state;
        self.ledger.faults.extend(faults.into_iter().map(|f| (call, f)));
        if ua.session.ran_out && was == State::Up {
            let (now, met) = (self.now, &self.calls[call]);
            self.ledger.starved(call, met, leg, now, "its peer let the session run out");
        }
        if was != is {
            if self.trace {
                let side = self.calls[call].legs[leg].side;
                self.calls[call].log.note(now, format!("{side} leg {leg}: {was:?} -> {is:?}"));
            }
            if matches!(is, State::Gone | State::Up) {
                self.later(now + crate::check::CONVERGE, Event::Verify { call });
            }
        }
        self.carry_out(call, leg, out);
    }

    pub(super) fn carry_out(&mut self, call: usize, leg: usize, out: Vec<Do>) {
        for what in out {
            match what {
                Do::Later(at, tick) => self.later(at, Event::Tick { call, leg, tick }),
                Do::Watch(at) => {
                    let at = at + crate::check::WATCH;
                    self.later(at, Event::Interval { call, leg });
                }
                Do::Unheard(method, branch) => {
                    let met = &self.calls[call];
                    self.ledger.unheard(call, met, leg, (method, &branch));
                }
                Do::Fork(at, tag) => self.later(at, Event::Fork { call, leg, tag }),
                Do::Send(bytes) => {
                    let ua = &self.calls[call].legs[leg];
                    let (side, from) = (ua.side, ua.host);
                    let entry = Entry::new(self.now, Way::ToSwitch(side), bytes.clone());
                    let m = Msg::read(std::str::from_utf8(&bytes).unwrap()).unwrap();
                    let entry = self.calls[call].log.push(entry, &m);
                    for (at, pipe) in self.leave_from(from) {
                        let bytes = bytes.clone();
                        self.later(at, Event::ToSwitch { call, entry, from, pipe, bytes });
                    }
                }
            }
        }
    }
}
