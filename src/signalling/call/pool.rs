//! RTP port pairs: which are free, which rest, which are leased. Bound elsewhere, at start.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use cooee_model::ids::{Family, Lease};
use cooee_model::moment::Moment;

/// The pairs of one address family.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The address that descriptions name; its family is that of the pairs.
    pub address: IpAddr,
    /// The even ports.
    pub evens: Vec<u16>,
}

/// The port pairs of the node.
#[derive(Debug, Default)]
pub struct Pool {
    banks: Vec<Bank>,
    quarantine: Duration,
    leased: usize,
}

/// Those of one address family.
#[derive(Debug)]
struct Bank {
    family: Family,
    address: IpAddr,
    free: Vec<u16>,
    resting: VecDeque<(u64, u16)>,
    epochs: BTreeMap<u16, u32>,
}

impl Pool {
    /// A pool of these ports. A released pair rests for `quarantine`, so that what its last peer
    /// still sends meets nobody.
    pub fn new(ports: Vec<Ports>, quarantine: Duration) -> Self {
        let bank = |Ports { address, evens }| Bank {
            family: Family::of(address),
            address,
            free: evens,
            resting: VecDeque::new(),
            epochs: BTreeMap::new(),
        };
        Self { banks: ports.into_iter().map(bank).collect(), quarantine, leased: 0 }
    }

    /// Whether media can be had in a family at all.
    pub fn has(&self, family: Family) -> bool {
        self.banks.iter().any(|bank| bank.family == family)
    }

    /// The family, if media can be had in it, else the one that there is.
    pub fn nearest(&self, family: Family) -> Family {
        match self.banks.first() {
            Some(first) if !self.has(family) => first.family,
            _ => family,
        }
    }

    /// The address that descriptions name.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.banks.iter().find(|bank| bank.family == family).map(|bank| bank.address)
    }

    /// Leases a pair, drawn by `random` so that a stranger cannot guess it (security S23).
    pub fn lease(&mut self, now: Moment, family: Family, random: u64) -> Option<Lease> {
        let bank = self.banks.iter_mut().find(|bank| bank.family == family)?;
        bank.wake(now);
        let count = u64::try_from(bank.free.len()).ok().filter(|&n| n > 0)?;
        let lease = bank.lease_at(usize::try_from(random % count).ok()?)?;
        self.leased += 1;
        Some(lease)
    }

    /// Leases the two pairs that a call had before a restart; `None`: one is not there, or taken.
    pub fn lease_again(&mut self, [a, b]: [(Family, u16); 2]) -> Option<(Lease, Lease)> {
        let free = |pool: &Self, (family, port)| {
            let mut banks = pool.banks.iter().filter(|bank| bank.family == family);
            banks.any(|bank| bank.free.contains(&port))
        };
        if a == b || !free(self, a) || !free(self, b) {
            return None;
        }
        Some((self.lease_port(a)?, self.lease_port(b)?))
    }

    fn lease_port(&mut self, (family, port): (Family, u16)) -> Option<Lease> {
        let bank = self.banks.iter_mut().find(|bank| bank.family == family)?;
        let at = bank.free.iter().position(|&free| free == port)?;
        let lease = bank.lease_at(at)?;
        self.leased += 1;
        Some(lease)
    }

    /// Takes a pair back.
    pub fn release(&mut self, now: Moment, lease: Lease) {
        self.leased = self.leased.saturating_sub(1);
        if let Some(bank) = self.banks.iter_mut().find(|bank| bank.family == lease.family) {
            bank.resting.push_back(((now + self.quarantine).mono, lease.port));
        }
    }

    /// Takes a pair back of which no peer was ever told: it needs no rest.
    pub fn take_back(&mut self, lease: Lease) {
        self.leased = self.leased.saturating_sub(1);
        if let Some(bank) = self.banks.iter_mut().find(|bank| bank.family == lease.family) {
            bank.free.push(lease.port);
        }
    }

    /// How many pairs are leased.
    pub const fn leased(&self) -> usize {
        self.leased
    }
}

impl Bank {
    /// Pairs that have rested are free.
    fn wake(&mut self, now: Moment) {
        while let Some(&(until, port)) = self.resting.front() {
            if until > now.mono {
                break;
            }
            self.resting.pop_front();
            self.free.push(port);
        }
    }

    fn lease_at(&mut self, at: usize) -> Option<Lease> {
        let port = self.free.get(at).copied()?;
        self.free.swap_remove(at);
        let epoch = self.epochs.entry(port).or_default();
        *epoch += 1;
        Some(Lease { port, epoch: *epoch, family: self.family })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Family = Family::V4;

    fn pool(evens: &[u16]) -> Pool {
        let ports =
            |address: &str| Ports { address: address.parse().unwrap(), evens: evens.to_vec() };
        Pool::new(vec![ports("192.0.2.1"), ports("2001:db8::1")], Duration::from_secs(5))
    }

    fn at(s: u64) -> Moment {
        Moment::new(s * 1_000_000_000, 0)
    }

    #[test]
    fn a_released_pair_rests_before_it_serves_again() {
        let mut pool = pool(&[10_000, 10_002]);
        let first = pool.lease(at(0), V4, 7).unwrap();
        let second = pool.lease(at(0), V4, 7).unwrap();
        assert_ne!(first.port, second.port);
        assert_eq!(pool.lease(at(0), V4, 7), None);
        pool.release(at(1), first);
        assert_eq!(pool.lease(at(5), V4, 7), None);
        assert_eq!(
            pool.lease(at(6), V4, 7),
            Some(Lease { port: first.port, epoch: 2, family: V4 })
        );
        assert_eq!(pool.leased(), 2);
    }

    #[test]
    fn flow_97_each_family_has_pairs_of_its_own() {
        let mut both = pool(&[10_000]);
        let leases = [V4, Family::V6].map(|family| both.lease(at(0), family, 7).unwrap());
        assert_eq!(leases.map(|lease| lease.port), [10_000, 10_000]);
        assert_eq!(both.leased(), 2);
        both.release(at(0), leases[1]);
        assert_eq!(both.lease(at(9), V4, 7), None);
        assert_eq!(both.lease(at(9), Family::V6, 7).map(|lease| lease.epoch), Some(2));
        let one = Ports { address: "2001:db8::1".parse().unwrap(), evens: vec![10_000] };
        let alone = Pool::new(vec![one], Duration::ZERO);
        assert!(!alone.has(V4) && alone.nearest(V4) == Family::V6);
        assert_eq!(both.nearest(V4), V4);
        assert_eq!(Pool::default().nearest(V4), V4);
    }

    #[test]
    fn both_pairs_of_an_earlier_run_are_had_or_none() {
        let mut pool = pool(&[10_000, 10_002, 10_004]);
        let v4 = |a, b| [(V4, a), (V4, b)];
        for ports in [v4(10_000, 10_006), v4(10_006, 10_000), v4(10_002, 10_002)] {
            assert_eq!(pool.lease_again(ports), None);
            assert_eq!(pool.leased(), 0);
        }
        let (a, b) = pool.lease_again(v4(10_000, 10_004)).unwrap();
        assert_eq!((a.port, b.port, pool.leased()), (10_000, 10_004, 2));
        assert_eq!(pool.lease_again(v4(10_002, 10_000)), None);
        assert_eq!(pool.lease(Moment::default(), V4, 7).map(|l| l.port), Some(10_002));
        let six = pool.lease_again([(V4, 10_002), (Family::V6, 10_002)]);
        assert_eq!(six, None, "the IPv4 one is taken");
        assert!(pool.lease_again([(Family::V6, 10_000), (Family::V6, 10_002)]).is_some());
    }
}
