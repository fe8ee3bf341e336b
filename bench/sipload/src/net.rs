//! One UDP socket that receives and sends in batches.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{self, MsgFlags, MultiHeaders, SockaddrIn, sockopt};

/// Datagrams a system call.
const BATCH: usize = 64;
/// Longest datagram taken; SIP over UDP stays below.
const LONGEST: usize = 4096;
/// Kernel buffer each way, bytes: a second of a few thousand calls.
const BUFFER: usize = 8 << 20;

/// A datagram that waits to be sent, and the call whose INVITE it is.
struct Queued {
    to: SockaddrIn,
    bytes: Vec<u8>,
    invite: Option<u64>,
}

/// A socket with what is still to be sent.
pub(crate) struct Port {
    socket: UdpSocket,
    local: SocketAddrV4,
    queue: Vec<Queued>,
    receive: MultiHeaders<SockaddrIn>,
    send: MultiHeaders<SockaddrIn>,
    buffers: Vec<Vec<u8>>,
}

impl Port {
    /// Binds the address; the kernel's buffers are made as large as it allows.
    pub(crate) fn bind(local: SocketAddrV4) -> io::Result<Self> {
        let socket = UdpSocket::bind(local)?;
        socket.set_nonblocking(true)?;
        for force in [true, false] {
            // Forcing needs a privilege; without it the kernel's own limit stands.
            let done = if force {
                socket::setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)
            } else {
                socket::setsockopt(&socket, sockopt::RcvBuf, &BUFFER)
            };
            if done.is_ok() {
                break;
            }
        }
        Ok(Self {
            socket,
            local,
            queue: Vec::new(),
            receive: MultiHeaders::preallocate(BATCH, None),
            send: MultiHeaders::preallocate(BATCH, None),
            buffers: vec![vec![0; LONGEST]; BATCH],
        })
    }

    /// Where it is bound.
    pub(crate) const fn local(&self) -> SocketAddrV4 {
        self.local
    }

    /// For the poll.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Queues a datagram; `invite` names the call where it is a first INVITE.
    pub(crate) fn push(&mut self, to: SocketAddrV4, bytes: Vec<u8>, invite: Option<u64>) {
        self.queue.push(Queued { to: to.into(), bytes, invite });
    }

    /// Sends what is queued; tells for each first INVITE when it was handed to the kernel.
    /// What the kernel does not take now stays queued.
    pub(crate) fn flush(&mut self, mut handed_over: impl FnMut(u64, Instant)) -> io::Result<()> {
        let mut done = 0;
        while let Some(batch) = self.queue.get(done..).filter(|rest| !rest.is_empty()) {
            let batch = batch.get(..batch.len().min(BATCH)).unwrap_or(batch);
            let slices: Vec<[IoSlice<'_>; 1]> =
                batch.iter().map(|item| [IoSlice::new(&item.bytes)]).collect();
            let addresses: Vec<Option<SockaddrIn>> =
                batch.iter().map(|item| Some(item.to)).collect();
            let at = Instant::now();
            let fd = self.socket.as_raw_fd();
            let flags = MsgFlags::MSG_DONTWAIT;
            let sent = match socket::sendmmsg(fd, &mut self.send, &slices, &addresses, [], flags) {
                Ok(results) => results.count(),
                Err(Errno::EAGAIN | Errno::ENOBUFS) => break,
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for item in batch.iter().take(sent) {
                if let Some(call) = item.invite {
                    handed_over(call, at);
                }
            }
            done += sent;
        }
        self.queue.drain(..done);
        Ok(())
    }

    /// Takes one batch of datagrams; gives how many there were. Stops at an empty socket.
    pub(crate) fn receive(
        &mut self,
        mut take: impl FnMut(Instant, SocketAddrV4, &[u8]),
    ) -> io::Result<usize> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let results = match socket::recvmmsg(fd, &mut self.receive, slices.iter_mut(), flags, None)
        {
            Ok(results) => results,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let at = Instant::now();
        let mut count = 0;
        for message in results {
            count += 1;
            let Some(from) = message.address else { continue };
            if let Some(bytes) = message.iovs().next() {
                take(at, SocketAddrV4::new(from.ip(), from.port()), bytes);
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_arrives_in_order_and_is_stamped() {
        let mut a = Port::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut b = Port::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let to = match b.socket.local_addr().unwrap() {
            std::net::SocketAddr::V4(to) => to,
            std::net::SocketAddr::V6(_) => unreachable!(),
        };
        for n in 0..200_u64 {
            a.push(to, n.to_be_bytes().to_vec(), (n % 2 == 0).then_some(n));
        }
        let mut stamped = Vec::new();
        a.flush(|call, _| stamped.push(call)).unwrap();
        assert_eq!(stamped.len(), 100);
        let mut seen = Vec::new();
        while b.receive(|_, _, bytes| seen.push(bytes.to_vec())).unwrap() > 0 {}
        let wanted: Vec<Vec<u8>> = (0..200_u64).map(|n| n.to_be_bytes().to_vec()).collect();
        assert_eq!(seen, wanted);
    }
}
