//! What ICMP says of the SIP datagrams that we sent: nothing listens there, nothing gets there.
//!
//! The kernel keeps such errors at the socket that sent (`IP_RECVERR`), each with the first bytes
//! of the datagram. Anybody may forge one, so it proves nothing by itself: the switch takes it only
//! for a request that is waiting for its first answer, and only by that request's own branch, which
//! holds 64 random bits, and its own address. An error that quotes less is of no use.

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use bytes::Bytes;
use cooee_media::socket::Socket;
use nix::errno::Errno;
use nix::libc::{self, sock_extended_err};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

/// Errors that one turn takes of a socket: the rest waits for the next, so that a flood of them
/// holds up no call.
pub const ERRORS_A_TURN: usize = 32;

/// How much of a quote is kept, bytes: routers quote up to 576 (RFC 1812, 4.3.2.3), and the branch
/// of our requests stands at their beginning.
const QUOTE: usize = 576;

/// Room for what the kernel says beside the quote: a stamp, the error, who told it.
const CONTROL: usize = 256;

/// One error.
#[derive(Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Where the datagram was to go.
    pub to: SocketAddr,
    /// Its first bytes; none where no more is quoted than RFC 792 asks for.
    pub quoted: Bytes,
    /// It does not get there.
    pub is_unreachable: bool,
}

/// Takes the next error that waits on a socket; `None`: there is none, or it cannot be read.
pub fn next(socket: &Socket) -> Option<Icmp> {
    let (mut quote, mut control) = ([0; QUOTE], vec![0; CONTROL]);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    loop {
        let mut parts = [IoSliceMut::new(&mut quote)];
        let fd = socket.as_fd().as_raw_fd();
        let said = match recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), flags) {
            Ok(said) => said,
            Err(Errno::EINTR) => continue,
            Err(_) => return None,
        };
        let to = said.address.as_ref().and_then(address);
        let is_unreachable = said.cmsgs().is_ok_and(|mut all| all.any(|one| tells(&one)));
        let len = said.bytes;
        // An error of our own side has no address: the send itself has told it.
        let Some(to) = to else { continue };
        let quoted = Bytes::copy_from_slice(quote.get(..len).unwrap_or_default());
        return Some(Icmp { to, quoted, is_unreachable });
    }
}

fn address(of: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = of.as_sockaddr_in().map(|a| SocketAddr::new(a.ip().into(), a.port()));
    let v6 = || Some(SocketAddr::V6((*of.as_sockaddr_in6()?).into()));
    v4.or_else(v6)
}

fn tells(said: &ControlMessageOwned) -> bool {
    match said {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            is_unreachable(error)
        }
        _ => false,
    }
}

/// Whether an error means that the request has failed (RFC 3261, 18.4): host, network, port or
/// protocol unreachable, or prohibited on the way. Not so "fragmentation needed" and "packet too
/// big", which the next copy heeds; "time exceeded" and "source quench", which pass; and "parameter
/// problem", which speaks of IP options, of which we send none.
const fn is_unreachable(error: &sock_extended_err) -> bool {
    const FRAGMENTATION_NEEDED: u8 = 4;
    match (error.ee_origin, error.ee_type) {
        (libc::SO_EE_ORIGIN_ICMP, 3) => error.ee_code != FRAGMENTATION_NEEDED,
        (libc::SO_EE_ORIGIN_ICMP6, 1) => true,
        _ => false,
    }
}

#[cfg(test)]
#[path = "icmp_tests.rs"]
mod tests;
