//! Connections between the switch and hosts that speak TCP: nothing is lost or overtaken on one
//! while it lasts, and what is under way is lost with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The connection of one host.
#[derive(Debug, Default)]
struct Pipe {
    is_open: bool,
    /// Which connection it is; what was sent on another one does not arrive.
    nth: u32,
    /// Where the switch sees it come from: a port of the host's own, or where the switch called.
    remote: Option<SocketAddr>,
    /// When the last message arrives, to the switch and from it.
    last: [u64; 2],
}

/// All of them, by host.
#[derive(Debug, Default)]
pub struct Pipes(BTreeMap<&'static str, Pipe>);

impl Pipes {
    pub fn add(&mut self, host: &'static str) {
        self.0.insert(host, Pipe::default());
    }

    /// Whether a host speaks TCP.
    pub fn lead_to(&self, host: &str) -> bool {
        self.0.contains_key(host)
    }

    pub fn is_open(&self, host: &str) -> bool {
        self.0.get(host).is_some_and(|p| p.is_open)
    }

    /// A connection is made, by the host or by the switch.
    pub fn open(&mut self, host: &'static str, by_host: bool) {
        let pipe = self.0.entry(host).or_default();
        let mut remote: SocketAddr = host.parse().unwrap();
        if by_host {
            remote.set_port(40_000 + u16::try_from(pipe.nth % 20_000).unwrap());
        }
        let nth = pipe.nth + 1;
        *pipe = Pipe { is_open: true, nth, remote: Some(remote), last: [0; 2] };
    }

    /// It breaks.
    pub fn close(&mut self, host: &str) {
        if let Some(pipe) = self.0.get_mut(host) {
            pipe.is_open = false;
        }
    }

    pub fn close_all(&mut self) {
        self.0.values_mut().for_each(|pipe| pipe.is_open = false);
    }

    /// A message leaves: on which connection, and when it arrives.
    pub fn carry(&mut self, host: &str, to_switch: bool, at: u64) -> (u32, u64) {
        let Some(pipe) = self.0.get_mut(host) else { return (0, at) };
        let last = &mut pipe.last[usize::from(to_switch)];
        *last = at.max(*last + 1);
        (pipe.nth, *last)
    }

    /// Whether this connection of a host still stands; 0: none is needed.
    pub fn stands(&self, host: &str, nth: u32) -> bool {
        nth == 0 || self.0.get(host).is_some_and(|p| p.is_open && p.nth == nth)
    }

    /// Where the switch sees a host.
    pub fn remote(&self, host: &str) -> SocketAddr {
        let pipe = self.0.get(host);
        pipe.and_then(|p| p.remote).unwrap_or_else(|| host.parse().unwrap())
    }
}
