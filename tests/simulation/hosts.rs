//! The hosts that the trunks are: when the network reaches them, and what OPTIONS must have shown
//! of each, counted apart from the core.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use cooee_model::ids::Side;
use cooee_model::trunk::TrunkState;

use crate::kind::Pings;
use crate::rng::Rng;
use crate::script::{SECOND, T1};

pub const A: &str = "192.0.2.10:5060";
pub const B: &str = "198.51.100.20:5060";
/// A second address of B's trunk, where the world has one.
pub const B2: &str = "198.51.100.22:5060";
/// The second target, where the plan has one.
pub const C: &str = "198.51.100.30:5060";

/// How long the switch waits for the answer to OPTIONS.
const PATIENCE: u64 = 8 * T1;

/// One host.
#[derive(Debug)]
pub struct Host {
    pub name: &'static str,
    pub side: Side,
    /// Place of its trunk in the plan.
    trunk: usize,
    /// When nothing reaches it, and nothing comes from it.
    away: Vec<(u64, u64)>,
    /// It knows no OPTIONS.
    pub mute: bool,
    /// It has answered OPTIONS in this life of the node.
    answers: bool,
    /// It rested as it first answered OPTIONS: how INVITEs have judged it until then is to be seen.
    hidden: bool,
    down: bool,
    failed: u64,
    good: u64,
}

/// All hosts, and the OPTIONS under way.
#[derive(Debug)]
pub struct Hosts {
    all: Vec<Host>,
    pings: Option<Pings>,
    /// By branch: the host that is asked, and until when.
    asked: BTreeMap<String, (usize, u64)>,
}

impl Hosts {
    pub fn new(pings: Option<Pings>) -> Self {
        let host = |(name, side, trunk)| Host {
            name,
            side,
            trunk,
            away: Vec::new(),
            mute: false,
            answers: false,
            hidden: false,
            down: false,
            failed: 0,
            good: 0,
        };
        let mut all = vec![(A, Side::A, 0), (B, Side::B, 1), (C, Side::B, 2)];
        if pings.is_some() {
            all.push((B2, Side::B, 1));
        }
        let all = all.into_iter().map(host).collect();
        Self { all, pings, asked: BTreeMap::new() }
    }

    /// Draws who is away when.
    pub fn draw(&mut self, now: u64, rng: &mut Rng) {
        if self.pings.is_none() {
            return;
        }
        for host in self.all.iter_mut().filter(|h| h.side == Side::B) {
            host.mute = rng.percent(15);
            for _ in 0..rng.below(3) {
                let from = now + rng.below(150 * SECOND);
                host.away.push((from, from + rng.between(1, 120) * SECOND));
            }
        }
    }

    /// The addresses of a trunk.
    pub fn of_trunk(&self, trunk: usize) -> impl Iterator<Item = &'static str> {
        self.all.iter().filter(move |h| h.trunk == trunk).map(|h| h.name)
    }

    /// Most OPTIONS to trunks at a time: they go on for ever.
    pub fn pinged(&self) -> usize {
        if self.pings.is_some() { self.all.len() } else { 0 }
    }

    /// All hosts, with their sides.
    pub fn all(&self) -> Vec<(&'static str, Side)> {
        self.all.iter().map(|h| (h.name, h.side)).collect()
    }

    /// Who is there; a connection may come from any port.
    pub fn at(&self, address: SocketAddr) -> Option<&Host> {
        let same = |h: &&Host| {
            let known: SocketAddr = h.name.parse().unwrap();
            known.ip() == address.ip()
        };
        self.all.iter().find(same)
    }

    pub fn find(&self, name: &str) -> Option<&Host> {
        self.all.iter().find(|h| h.name == name)
    }

    pub fn is_away(&self, name: &str, now: u64) -> bool {
        let within = |h: &Host| h.away.iter().any(|(from, to)| (*from..*to).contains(&now));
        self.find(name).is_some_and(within)
    }

    /// The node begins anew and knows nothing.
    pub fn forget(&mut self) {
        self.asked.clear();
        for host in &mut self.all {
            (host.answers, host.hidden, host.down) = (false, false, false);
            (host.failed, host.good) = (0, 0);
        }
    }

    /// OPTIONS leave for a host. A first copy: until when the switch waits.
    pub fn asked(&mut self, name: &str, branch: &str, now: u64) -> Option<u64> {
        let at = self.all.iter().position(|h| h.name == name)?;
        if self.asked.contains_key(branch) {
            return None;
        }
        let until = now + PATIENCE.min(self.pings?.interval_s * SECOND);
        self.asked.insert(branch.to_owned(), (at, until));
        Some(until)
    }

    /// The switch hears an answer to OPTIONS.
    pub fn answered(&mut self, branch: &str, code: u16, rests: bool, trunks: &[TrunkState]) {
        let Some((at, _)) = self.asked.remove(branch) else { return };
        let Some(pings) = self.pings else { return };
        let host = &mut self.all[at];
        if !std::mem::replace(&mut host.answers, true) {
            // Until now INVITEs have judged it.
            let state = standing(host, trunks).map(|s| s.0);
            (host.down, host.hidden) = (state == Some("down"), state == Some("resting"));
        }
        match code {
            503 if rests => {}
            503 => host.fail(pings),
            _ => {
                (host.failed, host.good) = (0, host.good + 1);
                host.down &= host.good < pings.ok_after;
            }
        }
    }

    /// No connection took these.
    pub fn unsent(&mut self, branch: &str) {
        let Some((at, _)) = self.asked.remove(branch) else { return };
        if let Some(pings) = self.pings.filter(|_| self.all[at].answers) {
            self.all[at].fail(pings);
        }
    }

    /// Nobody has answered these in time.
    pub fn expire(&mut self, now: u64) {
        let late: Vec<_> = self.asked.extract_if(.., |_, (_, until)| *until < now).collect();
        let Some(pings) = self.pings else { return };
        for (_, (at, _)) in late {
            if self.all[at].answers {
                self.all[at].fail(pings);
            }
        }
    }

    /// Where the switch sees a host otherwise than OPTIONS have shown it.
    pub fn differs(&mut self, trunks: &[TrunkState]) -> Option<String> {
        self.pings?;
        for host in self.all.iter_mut().filter(|h| h.hidden) {
            let state = standing(host, trunks).map_or("resting", |s| s.0);
            host.hidden = state == "resting";
            host.down |= state == "down";
        }
        self.all.iter().filter(|h| h.side == Side::B).find_map(|host| {
            let (state, judged_by) = standing(host, trunks)?;
            let wanted = if host.answers { "options" } else { "invites" };
            let is_down = state == "down";
            let differs = host.answers && state != "resting" && is_down != host.down;
            (judged_by != wanted || differs).then(|| {
                format!("{} is {state} by {judged_by}, and was seen as {host:?}", host.name)
            })
        })
    }

    /// Whether a trunk's call goes to a host that is down, though another one of it is up.
    pub fn passes_by(&self, name: &str, tried: &[&str], trunks: &[TrunkState]) -> bool {
        let Some(host) = self.find(name).filter(|_| self.pings.is_some()) else { return false };
        let state = |h: &Host| standing(h, trunks).map(|s| s.0);
        let better =
            |h: &&Host| h.trunk == host.trunk && !tried.contains(&h.name) && state(h) == Some("up");
        state(host) != Some("up") && self.all.iter().any(|h| better(&h))
    }
}

impl Host {
    fn fail(&mut self, pings: Pings) {
        (self.failed, self.good) = (self.failed + 1, 0);
        self.down |= self.failed >= pings.fail_after;
    }
}

/// How the switch sees a host, and by what.
fn standing(host: &Host, trunks: &[TrunkState]) -> Option<(&'static str, &'static str)> {
    let peers = &trunks.get(host.trunk)?.peers;
    let peer = peers.iter().find(|p| p.address.to_string() == host.name)?;
    Some((peer.state, peer.judged_by))
}
