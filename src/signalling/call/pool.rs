//! RTP port pairs: which are free, which rest, which are leased. Bound elsewhere, at start.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cooee_model::ids::Lease;
use cooee_model::moment::Moment;

/// The port pairs of the node.
#[derive(Debug, Default)]
pub struct Pool {
    free: Vec<u16>,
    resting: VecDeque<(u64, u16)>,
    epochs: BTreeMap<u16, u32>,
    quarantine: Duration,
    leased: usize,
}

impl Pool {
    /// A pool of these even ports. A released pair rests for `quarantine`, so that what its last
    /// peer still sends meets nobody.
    pub fn new(ports: Vec<u16>, quarantine: Duration) -> Self {
        Self { free: ports, quarantine, ..Self::default() }
    }

    /// Leases a pair, drawn by `random` so that a stranger cannot guess it (security S23).
    pub fn lease(&mut self, now: Moment, random: u64) -> Option<Lease> {
        while let Some(&(until, port)) = self.resting.front() {
            if until > now.mono {
                break;
            }
            self.resting.pop_front();
            self.free.push(port);
        }
        let count = u64::try_from(self.free.len()).ok().filter(|&n| n > 0)?;
        self.lease_at(usize::try_from(random % count).ok()?)
    }

    /// Leases the two pairs that a call had before a restart; `None`: one is not there, or taken.
    pub fn lease_again(&mut self, (a, b): (u16, u16)) -> Option<(Lease, Lease)> {
        let at = |pool: &Self, port| pool.free.iter().position(|&free| free == port);
        at(self, b).filter(|_| a != b)?;
        let a = self.lease_at(at(self, a)?)?;
        Some((a, self.lease_at(at(self, b)?)?))
    }

    fn lease_at(&mut self, at: usize) -> Option<Lease> {
        let port = self.free.get(at).copied()?;
        self.free.swap_remove(at);
        let epoch = self.epochs.entry(port).or_default();
        *epoch += 1;
        self.leased += 1;
        Some(Lease { port, epoch: *epoch })
    }

    /// Takes a pair back.
    pub fn release(&mut self, now: Moment, lease: Lease) {
        self.leased = self.leased.saturating_sub(1);
        self.resting.push_back(((now + self.quarantine).mono, lease.port));
    }

    /// How many pairs are leased.
    pub const fn leased(&self) -> usize {
        self.leased
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_pair_rests_before_it_serves_again() {
        let at = |s: u64| Moment::new(s * 1_000_000_000, 0);
        let mut pool = Pool::new(vec![10_000, 10_002], Duration::from_secs(5));
        let first = pool.lease(at(0), 7).unwrap();
        let second = pool.lease(at(0), 7).unwrap();
        assert_ne!(first.port, second.port);
        assert_eq!(pool.lease(at(0), 7), None);
        pool.release(at(1), first);
        assert_eq!(pool.lease(at(5), 7), None);
        assert_eq!(pool.lease(at(6), 7), Some(Lease { port: first.port, epoch: 2 }));
        assert_eq!(pool.leased(), 2);
    }

    #[test]
    fn both_pairs_of_an_earlier_run_are_had_or_none() {
        let mut pool = Pool::new(vec![10_000, 10_002, 10_004], Duration::from_secs(5));
        for ports in [(10_000, 10_006), (10_006, 10_000), (10_002, 10_002)] {
            assert_eq!(pool.lease_again(ports), None);
            assert_eq!(pool.leased(), 0);
        }
        let (a, b) = pool.lease_again((10_000, 10_004)).unwrap();
        assert_eq!((a.port, b.port, pool.leased()), (10_000, 10_004, 2));
        assert_eq!(pool.lease_again((10_002, 10_000)), None);
        assert_eq!(pool.lease(Moment::default(), 7).map(|l| l.port), Some(10_002));
    }
}
