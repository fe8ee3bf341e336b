//! Why the RTP plane could not start. After the start nothing here occurs: a call's trouble is a
//! counter or an event.

use std::io;
use std::net::IpAddr;

/// Why the RTP plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The range holds no even port with its odd neighbour.
    #[error("RTP ports {first}-{last}: no pair of an even port and the next one is in this range")]
    NoPair {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// The kernel hands out ports of this range to other sockets.
    #[error(
        "RTP ports {first}-{last} overlap the kernel's ephemeral ports {low}-{high} \
         (net.ipv4.ip_local_port_range), so any outgoing connection could take one of them while \
         the service is down; move the RTP ports below {low}, or list them in \
         net.ipv4.ip_local_reserved_ports"
    )]
    Ephemeral {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
        /// First ephemeral port.
        low: u16,
        /// Last ephemeral port.
        high: u16,
    },
    /// The process may not hold that many descriptors.
    #[error(
        "{pairs} RTP port pairs need {needed} file descriptors with {reserved} for the rest, but \
         the hard limit is {limit}: raise LimitNOFILE to {needed} or name fewer ports"
    )]
    Descriptors {
        /// Port pairs in the range.
        pairs: u64,
        /// Descriptors for them and the rest of the service.
        needed: u64,
        /// Descriptors for the rest of the service.
        reserved: u64,
        /// `RLIMIT_NOFILE`, hard.
        limit: u64,
    },
    /// Others hold every pair of the range.
    #[error("RTP ports {first}-{last} on {ip}: every pair is in use by other programs")]
    EmptyPool {
        /// The address.
        ip: IpAddr,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// A port could not be bound for another reason than being in use.
    #[error("RTP port {port} on {ip}: {source}")]
    Bind {
        /// The address.
        ip: IpAddr,
        /// The port.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
    /// No worker was asked for.
    #[error("the RTP plane needs at least one worker")]
    NoWorker,
    /// A worker was to be pinned to a CPU that this process may not use.
    #[error("media workers cannot be pinned to CPU {cpu}: this process may not run there")]
    Cpu {
        /// The CPU, counted from 0.
        cpu: usize,
    },
    /// The kernel refused something that the plane cannot do without.
    #[error("the RTP plane cannot start: {0}")]
    System(#[from] io::Error),
}
