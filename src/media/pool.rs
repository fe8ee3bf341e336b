//! The RTP port pairs: bound once at start, deaf until leased, so that a call never waits for a
//! port and a packet for nobody is dropped before it costs anything.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cooee_model::ids::{Family, Lease};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::Error;
use crate::limits::{DESCRIPTORS_RESERVED, RTP_RECV_BUFFER_BYTES};
use crate::socket::{Socket, SocketOptions};

/// All port pairs that this node relays on.
///
/// Which pair serves which call is signalling's decision alone; the pool only refuses to give a
/// pair to two calls at once.
#[derive(Debug)]
pub struct Pool {
    first: u16,
    /// Pairs in one family.
    width: usize,
    /// For each family that is bound, the pairs from the even port `first` on; `None`: in use by
    /// another program.
    banks: Vec<(Family, Vec<Option<Arc<Pair>>>)>,
}

/// An RTP socket on an even port and an RTCP socket on the next.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) rtp: Socket,
    pub(crate) rtcp: Socket,
    taken: AtomicBool,
}

/// The right to a pair; ends when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    pair: Arc<Pair>,
    place: usize,
}

impl Pool {
    /// Binds every even port of `ports` that has its odd neighbour there too, with that neighbour,
    /// on each of `ips`: one of each family at most. What is sent carries `dscp` (RFC 2474; 46:
    /// expedited forwarding).
    ///
    /// Raises the process's soft limit of file descriptors to the hard one. Pairs that other
    /// programs hold are left out, with a warning.
    ///
    /// # Errors
    /// The range overlaps the ephemeral ports, the descriptors do not suffice, no pair is free, or
    /// the kernel refuses for another reason than a port in use.
    pub fn bind(ips: &[IpAddr], ports: RangeInclusive<u16>, dscp: u8) -> Result<Self, Error> {
        let (range_first, last) = (*ports.start(), *ports.end());
        let first = range_first.checked_next_multiple_of(2).filter(|even| *even < last);
        let no_pair = Error::NoPair { first: range_first, last };
        let Some(first) = first else { return Err(no_pair) };
        refuse_ephemeral(&ports)?;
        let width = usize::from((last - first).div_ceil(2));
        raise_descriptors((width * ips.len()) as u64)?;

        let recv_buffer = Some(RTP_RECV_BUFFER_BYTES);
        let options = SocketOptions { recv_buffer, dscp, shut: true, hears_icmp: false };
        let mut pool = Self { first, width, banks: Vec::with_capacity(ips.len()) };
        for &ip in ips {
            let mut pairs = Vec::with_capacity(width);
            for port in (first..last).step_by(2) {
                pairs.push(bind_pair(ip, port, options)?.map(Arc::new));
            }
            let bound = pairs.iter().flatten().count();
            if bound == 0 {
                return Err(Error::EmptyPool { ip, first: range_first, last });
            }
            if bound < width {
                let skipped = width - bound;
                tracing::warn!(%ip, skipped, bound, "RTP port pairs in use by other programs");
            }
            pool.banks.push((Family::of(ip), pairs));
        }
        Ok(pool)
    }

    /// The even ports that can be leased in a family, ascending.
    pub fn ports(&self, family: Family) -> Vec<u16> {
        let banks = self.banks.iter().filter(|bank| bank.0 == family);
        let evens = |bank: &'_ (Family, Vec<_>)| {
            let evens = (self.first..=u16::MAX).step_by(2).zip(&bank.1);
            evens.filter(|(_, pair)| Option::is_some(pair)).map(|(port, _)| port).collect()
        };
        banks.map(evens).next().unwrap_or_default()
    }

    /// Pairs of the range that other programs hold.
    pub fn skipped(&self) -> usize {
        self.banks.iter().flat_map(|bank| &bank.1).filter(|pair| pair.is_none()).count()
    }

    /// Places of pairs, bound or not.
    pub(crate) fn places(&self) -> usize {
        self.width * self.banks.len()
    }

    /// Takes a pair, unless it is not ours or taken.
    pub(crate) fn claim(&self, lease: Lease) -> Option<Claim> {
        let offset = lease.port.checked_sub(self.first).filter(|offset| offset % 2 == 0)?;
        let offset = usize::from(offset / 2);
        let bank = self.banks.iter().position(|bank| bank.0 == lease.family)?;
        let pair = self.banks.get(bank)?.1.get(offset)?.as_ref()?;
        let was_taken = pair.taken.swap(true, Ordering::AcqRel);
        let place = bank * self.width + offset;
        (!was_taken).then(|| Claim { pair: Arc::clone(pair), place })
    }
}

impl Claim {
    /// Where the pair is in the pool: below [`Pool::places`], and no other claim's.
    pub(crate) fn place(&self) -> usize {
        self.place
    }

    pub(crate) fn rtp(&self) -> &Socket {
        &self.pair.rtp
    }

    pub(crate) fn rtcp(&self) -> &Socket {
        &self.pair.rtcp
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.pair.taken.store(false, Ordering::Release);
    }
}

/// `None`: one of the two is in use.
fn bind_pair(ip: IpAddr, port: u16, options: SocketOptions) -> Result<Option<Pair>, Error> {
    let open = |port| match Socket::bind(SocketAddr::new(ip, port), options) {
        Ok(socket) => Ok(Some(socket)),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(source) => Err(Error::Bind { ip, port, source }),
    };
    let (rtp, rtcp) = (open(port)?, open(port + 1)?);
    let pair = rtp.zip(rtcp);
    Ok(pair.map(|(rtp, rtcp)| Pair { rtp, rtcp, taken: AtomicBool::new(false) }))
}

fn refuse_ephemeral(ports: &RangeInclusive<u16>) -> Result<(), Error> {
    let setting = |name| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
    let reserved = setting("ip_local_reserved_ports").unwrap_or_default();
    check_ephemeral(ports, &setting("ip_local_port_range")?, &reserved)
}

/// `ephemeral` and `reserved` as the kernel prints them: `32768\t60999` and `8080,9000-9100`.
fn check_ephemeral(
    ports: &RangeInclusive<u16>,
    ephemeral: &str,
    reserved: &str,
) -> Result<(), Error> {
    let mut bounds = ephemeral.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(low)), Some(Ok(high))) = (bounds.next(), bounds.next()) else {
        let what = format!("net.ipv4.ip_local_port_range reads {ephemeral:?}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what).into());
    };
    let reserved: Vec<(u16, u16)> = reserved
        .trim()
        .split(',')
        .filter_map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            Some((from.parse().ok()?, to.parse().ok()?))
        })
        .collect();
    let is_reserved = |port| reserved.iter().any(|(from, to)| (*from..=*to).contains(&port));
    let mut both = (*ports.start()).max(low)..=(*ports.end()).min(high);
    if both.all(is_reserved) {
        return Ok(());
    }
    Err(Error::Ephemeral { first: *ports.start(), last: *ports.end(), low, high })
}

fn raise_descriptors(pairs: u64) -> Result<(), Error> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
    check_descriptors(pairs, hard)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(io::Error::from)?;
    }
    Ok(())
}

fn check_descriptors(pairs: u64, limit: u64) -> Result<(), Error> {
    let reserved = DESCRIPTORS_RESERVED;
    let needed = pairs * 2 + reserved;
    if needed <= limit {
        return Ok(());
    }
    Err(Error::Descriptors { pairs, needed, reserved, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPHEMERAL: &str = "32768\t60999\n";

    #[test]
    fn a_range_among_the_ephemeral_ports_is_refused_with_both_ranges() {
        for ports in [32_000..=33_000, 40_000..=41_000, 60_998..=62_000] {
            let text = check_ephemeral(&ports, EPHEMERAL, "\n").unwrap_err().to_string();
            assert!(text.contains("32768-60999"), "{text}");
            assert!(text.contains(&format!("{}-{}", ports.start(), ports.end())), "{text}");
        }
        for ports in [10_000..=32_767, 61_000..=62_000] {
            assert!(check_ephemeral(&ports, EPHEMERAL, "").is_ok(), "{ports:?}");
        }
        assert!(check_ephemeral(&(1..=2), "", "").is_err());
    }

    #[test]
    fn reserved_ports_are_no_overlap() {
        let ports = 40_000..=40_003;
        assert!(check_ephemeral(&ports, EPHEMERAL, "8080,39999-40002,40003\n").is_ok());
        assert!(check_ephemeral(&ports, EPHEMERAL, "40000,40002-40003\n").is_err());
    }

    #[test]
    fn too_few_descriptors_are_told_with_figures() {
        assert!(check_descriptors(5000, 10_064).is_ok());
        let text = check_descriptors(5000, 10_063).unwrap_err().to_string();
        assert!(text.contains("10064") && text.contains("10063"), "{text}");
    }

    #[test]
    fn pairs_in_use_elsewhere_are_left_out() {
        let ip: IpAddr = "127.11.0.1".parse().unwrap();
        let other = std::net::UdpSocket::bind((ip, 20_003)).unwrap();
        let pool = Pool::bind(&[ip], 20_001..=20_006, 46).unwrap();
        assert_eq!((pool.ports(Family::V4), pool.skipped()), (vec![20_004], 1));
        assert!(matches!(Pool::bind(&[ip], 20_002..=20_003, 46), Err(Error::EmptyPool { .. })));
        drop(other);
        assert!(matches!(Pool::bind(&[ip], 20_005..=20_006, 46), Err(Error::NoPair { .. })));
    }

    #[test]
    fn a_pair_has_one_claim_at_a_time() {
        let pool = Pool::bind(&["127.11.0.2".parse().unwrap()], 20_000..=20_003, 0).unwrap();
        let claim = |port| pool.claim(Lease { port, epoch: 0, family: Family::V4 });
        let first = claim(20_002).unwrap();
        assert!(claim(20_002).is_none());
        drop(first);
        assert!(claim(20_002).is_some());
        for port in [19_998, 20_001, 20_004] {
            assert!(claim(port).is_none(), "{port}");
        }
    }

    #[test]
    fn one_port_is_two_pairs_in_two_families() {
        let ips = ["127.11.0.3".parse().unwrap(), "::1".parse().unwrap()];
        let pool = Pool::bind(&ips, 20_100..=20_103, 0).unwrap();
        assert_eq!(pool.ports(Family::V4), pool.ports(Family::V6));
        assert_eq!(pool.places(), 4);
        let claim = |family| pool.claim(Lease { port: 20_102, epoch: 0, family }).unwrap();
        let (v4, v6) = (claim(Family::V4), claim(Family::V6));
        assert_eq!((v4.place(), v6.place()), (1, 3));
        assert!(v6.rtp().local_addr().unwrap().is_ipv6());
    }
}
