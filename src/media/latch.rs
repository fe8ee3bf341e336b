//! Which source a leg's socket believes, and where what is meant for that leg goes.
//!
//! ```text
//!  Nobody --peer named--> Unlocked --believed packet--> Locked --signalled one speaks--> Locked
//!    ^                       ^                            |                                  there
//!    +---- peer withdrawn ---+------- peer named ---------+
//! ```
//!
//! Symmetric RTP (RFC 4961): packets go back to where they come from, but never to an address that
//! neither SDP nor the latch names (RTP bleed: CVE-2017-14099).

use std::net::SocketAddr;

use cooee_model::media::Latch;

/// One port of one leg: RTP or RTCP.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    peer: Option<(SocketAddr, Latch)>,
    locked: Option<SocketAddr>,
}

/// What the gate says to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The locked source.
    Known,
    /// Believed: its first well-formed packet takes the lock.
    Candidate,
    /// Not believed.
    Foreign,
    /// Nobody is: signalling has named no peer.
    Nobody,
}

impl Gate {
    /// Signalling names the peer anew: the lock is gone, unless it names that too.
    pub(crate) fn name(&mut self, peer: Option<(SocketAddr, Latch)>, locked: Option<SocketAddr>) {
        *self = Self { peer, locked };
    }

    pub(crate) fn judge(&self, source: SocketAddr) -> Verdict {
        let Some((signalled, rule)) = &self.peer else { return Verdict::Nobody };
        match self.locked {
            Some(locked) if locked == source => Verdict::Known,
            Some(_) if *signalled == source => Verdict::Candidate,
            Some(_) => Verdict::Foreign,
            None if believes(rule, *signalled, source) => Verdict::Candidate,
            None => Verdict::Foreign,
        }
    }

    /// Locks the gate to a source that was a candidate.
    pub(crate) fn lock(&mut self, source: SocketAddr) {
        self.locked = Some(source);
    }

    /// Where packets for this peer go: the locked source, else the signalled address if it is one
    /// that a datagram can be sent to.
    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        self.locked.or_else(|| {
            let (signalled, _) = self.peer.as_ref()?;
            let ip = signalled.ip();
            let nowhere = ip.is_unspecified() || ip.is_multicast() || signalled.port() == 0;
            (!nowhere).then_some(*signalled)
        })
    }
}

fn believes(rule: &Latch, signalled: SocketAddr, source: SocketAddr) -> bool {
    source.ip() == signalled.ip()
        || match rule {
            Latch::Strict => false,
            Latch::Networks(networks) => networks.iter().any(|net| net.contains(&source.ip())),
            Latch::Open => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNALLED: &str = "192.0.2.1:4000";

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn gate(rule: Latch) -> Gate {
        let mut gate = Gate::default();
        gate.name(Some((addr(SIGNALLED), rule)), None);
        gate
    }

    #[test]
    fn nobody_is_believed_before_a_peer_is_named() {
        let mut gate = Gate::default();
        assert_eq!(gate.judge(addr(SIGNALLED)), Verdict::Nobody);
        assert_eq!(gate.destination(), None);
        gate.name(Some((addr(SIGNALLED), Latch::Strict)), None);
        gate.lock(addr(SIGNALLED));
        gate.name(None, None);
        assert_eq!(gate.judge(addr(SIGNALLED)), Verdict::Nobody);
        assert_eq!(gate.destination(), None, "a withdrawn peer gets nothing");
    }

    #[test]
    fn strict_believes_the_signalled_ip_on_any_port_until_locked() {
        let mut gate = gate(Latch::Strict);
        assert_eq!(gate.judge(addr("192.0.2.2:4000")), Verdict::Foreign);
        assert_eq!(gate.judge(addr("192.0.2.1:5000")), Verdict::Candidate);
        assert_eq!(gate.destination(), Some(addr(SIGNALLED)));
        gate.lock(addr("192.0.2.1:5000"));
        assert_eq!(gate.judge(addr("192.0.2.1:5000")), Verdict::Known);
        assert_eq!(gate.judge(addr("192.0.2.1:5001")), Verdict::Foreign);
        assert_eq!(gate.destination(), Some(addr("192.0.2.1:5000")));
    }

    #[test]
    fn the_signalled_port_takes_over_once_and_for_all() {
        let mut gate = gate(Latch::Open);
        gate.lock(addr("198.51.100.9:7"));
        assert_eq!(gate.judge(addr(SIGNALLED)), Verdict::Candidate);
        gate.lock(addr(SIGNALLED));
        assert_eq!(gate.judge(addr("198.51.100.9:7")), Verdict::Foreign);
        assert_eq!(gate.judge(addr("192.0.2.1:5000")), Verdict::Foreign);
    }

    #[test]
    fn a_lock_that_is_named_holds_from_the_start() {
        let mut gate = Gate::default();
        gate.name(Some((addr(SIGNALLED), Latch::Open)), Some(addr("198.51.100.9:7")));
        assert_eq!(gate.destination(), Some(addr("198.51.100.9:7")));
        assert_eq!(gate.judge(addr("198.51.100.9:7")), Verdict::Known);
        assert_eq!(gate.judge(addr("203.0.113.9:7")), Verdict::Foreign);
    }

    #[test]
    fn networks_and_open_believe_more() {
        let networks = Latch::Networks(["198.51.100.0/24".parse().unwrap()].into());
        assert_eq!(gate(networks.clone()).judge(addr("198.51.100.9:7")), Verdict::Candidate);
        assert_eq!(gate(networks.clone()).judge(addr("192.0.2.1:7")), Verdict::Candidate);
        assert_eq!(gate(networks).judge(addr("203.0.113.9:7")), Verdict::Foreign);
        assert_eq!(gate(Latch::Open).judge(addr("203.0.113.9:7")), Verdict::Candidate);
    }

    #[test]
    fn an_address_that_is_none_is_no_destination() {
        for text in ["0.0.0.0:4000", "192.0.2.1:0", "[::]:4000", "224.0.0.1:4000"] {
            let mut gate = Gate::default();
            gate.name(Some((addr(text), Latch::Strict)), None);
            assert_eq!(gate.destination(), None, "{text}");
        }
    }
}
