//! What is under way between the switch and its peers: datagrams in the weather, or messages on
//! connections that break.

use bytes::Bytes;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::switch::input::Input;
use cooee_signalling::transaction::flow::Flow;

use crate::script::{MS, SECOND};
use crate::world::{Event, World};

/// One copy of a message: when it arrives, and the connection that it is on (0: none).
pub(super) type Copy = (u64, u32);

/// How long it takes to find out that nobody accepts a connection.
const CONNECT: u64 = 5 * SECOND;

impl World {
    /// The copies of a message of the switch that are on their way to a host.
    pub(super) fn leave_for(&mut self, host: &'static str, flow: Flow, bytes: &Bytes) -> Vec<Copy> {
        if !self.pipes.lead_to(host) {
            let fate = self.weather.fate(&mut self.rng);
            return fate.into_iter().flatten().map(|wait| (self.now + wait, 0)).collect();
        }
        if !self.pipes.is_open(host) {
            let away = self.hosts.is_away(host, self.now);
            if away || self.rng.percent(5) {
                let wait = if away { CONNECT } else { self.rng.below(100 * MS) };
                let unsent = Event::Unsent(self.life, flow, bytes.clone());
                self.later(self.now + wait, unsent);
                return Vec::new();
            }
            self.pipes.open(host, false);
        }
        vec![self.on_pipe(host, false)]
    }

    /// The same of a host, on their way to the switch.
    pub(super) fn leave_from(&mut self, host: &'static str) -> Vec<Copy> {
        if self.hosts.is_away(host, self.now) {
            return Vec::new();
        }
        if !self.pipes.lead_to(host) {
            let fate = self.weather.fate(&mut self.rng);
            return fate.into_iter().flatten().map(|wait| (self.now + wait, 0)).collect();
        }
        if !self.pipes.is_open(host) {
            if !self.up {
                return Vec::new();
            }
            self.pipes.open(host, true);
        }
        vec![self.on_pipe(host, true)]
    }

    fn on_pipe(&mut self, host: &'static str, to_switch: bool) -> Copy {
        let wait = self.weather.delay / 2 + self.rng.below(self.weather.delay + 1);
        let (nth, at) = self.pipes.carry(host, to_switch, self.now + wait);
        (at, nth)
    }

    /// A message of a host reaches the switch.
    pub(super) fn datagram(&mut self, from: &'static str, bytes: Bytes) {
        let flow = match self.pipes.lead_to(from) {
            true => {
                let remote = self.pipes.remote(from);
                Flow { transport: Transport::Tcp, socket: 1, remote }
            }
            false => {
                let remote = from.parse().unwrap();
                Flow { transport: Transport::Udp, socket: 0, remote }
            }
        };
        let received = self.moment();
        self.input(Input::Datagram { flow, received, bytes });
    }
}
