//! OPTIONS between the switch and the hosts of its trunks.

use bytes::Bytes;
use cooee_signalling::transaction::flow::Flow;

use crate::script::MS;
use crate::sip::{Msg, response};
use crate::world::{Event, World};

impl World {
    /// OPTIONS out of dialog are on their way to a host.
    pub(super) fn asked(&mut self, host: &'static str, flow: Flow, bytes: &Bytes, m: &Msg<'_>) {
        if let Some(until) = self.hosts.asked(host, m.branch, self.now) {
            self.later(until + MS, Event::Judge);
        }
        for (at, pipe) in self.leave_for(host, flow, bytes) {
            self.later(at, Event::Ping { host, pipe, bytes: bytes.clone() });
        }
    }

    /// A host is asked whether it is there.
    pub(super) fn pinged(&mut self, host: &'static str, pipe: u32, bytes: &Bytes) {
        let mute = self.hosts.find(host).is_none_or(|h| h.mute);
        if mute || !self.pipes.stands(host, pipe) || self.hosts.is_away(host, self.now) {
            return;
        }
        let m = Msg::read(std::str::from_utf8(bytes).unwrap()).unwrap();
        // A copy hears the same: the branch decides.
        let draw = m.branch.bytes().fold(0_u32, |sum, b| sum.wrapping_mul(31) + u32::from(b)) % 50;
        let (code, more) = match draw {
            0..=2 => (503, ""),
            3 => (503, "Retry-After: 5\r\n"),
            4..=9 => (404, ""),
            _ => (200, ""),
        };
        let answer = Bytes::from(response(&m, code, "pong", more, ""));
        for (at, pipe) in self.leave_from(host) {
            let bytes = answer.clone();
            self.later(at, Event::Pong { host, pipe, bytes });
        }
    }

    /// Its answer reaches the switch.
    pub(super) fn ponged(&mut self, host: &'static str, pipe: u32, bytes: &Bytes) {
        if !self.up || !self.pipes.stands(host, pipe) {
            return;
        }
        self.judge();
        let text = bytes.clone();
        let m = Msg::read(std::str::from_utf8(&text).unwrap()).unwrap();
        self.datagram(host, bytes.clone());
        let rests = m.header("Retry-After").is_some();
        let trunks = self.switch.trunks(self.moment());
        self.hosts.answered(m.branch, m.code, rests, &trunks);
        self.judge();
    }

    /// How the switch sees its trunks is what OPTIONS have shown.
    pub(super) fn judge(&mut self) {
        if !self.up {
            return;
        }
        self.hosts.expire(self.now);
        let trunks = self.switch.trunks(self.moment());
        if let Some(what) = self.hosts.differs(&trunks) {
            self.ledger.faults.push((0, what));
        }
    }
}
