//! UDP sockets with kernel receive stamps, batched both ways, and the clock beside them.
//!
//! The one audited file with `unsafe` code. What makes it sound:
//!
//! - Every pointer given to the kernel is made from a live borrow in the same function and is not
//!   kept after the call; no structure here stores a pointer.
//! - Lengths come from the very slice or type that the pointer comes from.
//! - What the kernel fills (`Address`, `Control`) is plain old data, valid for any bytes, and
//!   starts zeroed.
//! - A message header is read back only below the count that the kernel returned, which is never
//!   more than the count of headers written before.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, offset_of, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

use cooee_model::moment::Moment;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::time::{ClockId, clock_gettime};

use crate::limits::{BATCH_MAX, DRAIN_BATCHES, PENDING_ERRORS, STAMP_AGE_MAX};

/// The present, on both clocks.
pub fn now() -> Moment {
    let boot = read_clock(ClockId::CLOCK_BOOTTIME);
    let wall = read_clock(ClockId::CLOCK_REALTIME);
    Moment::new(u64::try_from(boot).unwrap_or(0), wall)
}

/// The monotonic clock alone, nanoseconds: half the price of [`now`].
pub fn boottime_ns() -> u64 {
    u64::try_from(read_clock(ClockId::CLOCK_BOOTTIME)).unwrap_or(0)
}

/// Nanoseconds on `clock`; zero on a kernel without it (Linux has had both since 2.6.39).
fn read_clock(clock: ClockId) -> i64 {
    clock_gettime(clock).map_or(0, |t| nanoseconds(*t.as_ref()))
}

fn nanoseconds(time: libc::timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

/// How a socket is set up.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketOptions {
    /// `SO_RCVBUF`, bytes (the kernel doubles it); `None`: the system's default.
    pub recv_buffer: Option<usize>,
    /// Differentiated services code point of what is sent, 0 to 63 (RFC 2474).
    pub dscp: u8,
    /// Starts deaf: [`Socket::shut`] is in force before the port is bound.
    pub shut: bool,
    /// The kernel keeps what ICMP says of the datagrams sent (`IP_RECVERR`); who asks for that
    /// reads it (`MSG_ERRQUEUE`) when the socket signals an error.
    pub hears_icmp: bool,
}

/// A non-blocking UDP socket whose datagrams carry the kernel's receive time.
///
/// An IPv6 socket takes IPv6 only, so a source address always is of the socket's own family.
#[derive(Debug)]
pub struct Socket {
    inner: UdpSocket,
    hears_icmp: bool,
}

/// How far [`Socket::send`] came.
#[derive(Debug)]
#[must_use = "what was not sent is either sent again or counted"]
pub struct Sent {
    /// Datagrams handed to the kernel: always the first ones, in order.
    pub count: usize,
    /// Why the next one was not: [`io::ErrorKind::WouldBlock`] for a full buffer (wait, then go on
    /// from it), anything else for a datagram that will never go (skip it); `None`: all were sent.
    pub stopped: Option<io::Error>,
}

impl Socket {
    /// Opens a socket bound to `addr` (port 0: any).
    ///
    /// # Errors
    /// What the kernel says, `AddrInUse` above all.
    pub fn bind(addr: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(family, SockType::Datagram, flags, None)?;
        let this = Self { inner: UdpSocket::from(fd), hears_icmp: options.hears_icmp };
        this.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1)?;
        if let Some(bytes) = options.recv_buffer {
            let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
            this.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes)?;
        }
        let class = libc::c_int::from(options.dscp & 63) << 2;
        if addr.is_ipv4() {
            this.set(libc::IPPROTO_IP, libc::IP_TOS, &class)?;
            this.set(libc::IPPROTO_IP, libc::IP_RECVERR, &libc::c_int::from(this.hears_icmp))?;
        } else {
            this.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &1)?;
            this.set(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class)?;
            this.set(libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &libc::c_int::from(this.hears_icmp))?;
        }
        if options.shut {
            this.shut()?;
        }
        let (address, len) = Address::new(addr);
        // SAFETY: the pointer is to a live local of at least `len` bytes, which is only read.
        let rc = unsafe { libc::bind(this.inner.as_raw_fd(), ptr::from_ref(&address).cast(), len) };
        if rc == 0 { Ok(this) } else { Err(io::Error::last_os_error()) }
    }

    /// The address bound to.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// Makes the socket deaf: the kernel drops what arrives before it is queued.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn shut(&self) -> io::Result<()> {
        let ret = u16::try_from(libc::BPF_RET | libc::BPF_K).unwrap_or_default();
        let mut drop_all = [libc::sock_filter { code: ret, jt: 0, jf: 0, k: 0 }];
        let program = libc::sock_fprog { len: 1, filter: drop_all.as_mut_ptr() };
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    /// Ends [`Socket::shut`]; nothing happens where it is not in force.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(&self) -> io::Result<()> {
        match self.set(libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            done => done,
        }
    }

    /// Datagrams that the kernel has dropped on this socket since it was made, by a full buffer or
    /// a filter (`SO_MEMINFO`); wraps around.
    pub fn kernel_drops(&self) -> u32 {
        let mut figures = [0_u32; 9];
        let mut len = size_of_val(&figures) as libc::socklen_t;
        // SAFETY: both pointers are to locals; `len` is the size of what the first points to.
        let rc = unsafe {
            libc::getsockopt(
                self.inner.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                figures.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        let drops = figures.get(libc::SK_MEMINFO_DROPS as usize).filter(|_| rc == 0);
        drops.copied().unwrap_or(0)
    }

    /// Sends datagrams in order until one is not taken. Neither blocks nor copies nor allocates.
    pub fn send<'a>(&self, datagrams: impl IntoIterator<Item = (&'a [u8], SocketAddr)>) -> Sent {
        let mut rest = datagrams.into_iter();
        let (mut count, mut failed) = (0, 0);
        loop {
            let mut names = [const { MaybeUninit::<Address>::uninit() }; BATCH_MAX];
            let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH_MAX];
            let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH_MAX];
            let mut len = 0;
            let slots = names.iter_mut().zip(&mut parts).zip(&mut headers);
            for (((name, part), header), (bytes, to)) in slots.zip(rest.by_ref()) {
                let (address, name_len) = Address::new(to);
                // The kernel only reads the payload of what is sent.
                let base = bytes.as_ptr().cast_mut().cast();
                let part = part.write(libc::iovec { iov_base: base, iov_len: bytes.len() });
                header.write(message(name.write(address), name_len, part, None));
                len += 1;
            }
            let mut done = 0;
            while done < len {
                // SAFETY: headers `done..len` were written just above, and what they point to (the
                // addresses, the parts, the borrowed datagrams) outlives this call.
                let rc = unsafe {
                    let first = headers.as_mut_ptr().add(done).cast();
                    let left = (len - done) as libc::c_uint;
                    match left {
                        1 => send_one(self.inner.as_raw_fd(), first),
                        _ => {
                            libc::sendmmsg(self.inner.as_raw_fd(), first, left, libc::MSG_NOSIGNAL)
                        }
                    }
                };
                match usize::try_from(rc) {
                    Ok(taken) => (done, failed) = (done + taken, 0),
                    Err(_) => match io::Error::last_os_error() {
                        e if e.kind() == io::ErrorKind::Interrupted => {}
                        e if self.may_be_of_another(&e, &mut failed) => {}
                        e => return Sent { count: count + done, stopped: Some(e) },
                    },
                }
            }
            count += len;
            if len < BATCH_MAX {
                return Sent { count, stopped: None };
            }
        }
    }

    /// Whether a call may have failed for an earlier datagram: where ICMP is heard, the kernel
    /// also tells it once as the error of whatever is called next, which has then done nothing.
    /// Such a call is made again, so that no datagram is lost for another; `failed` counts, since
    /// the error may be the call's own.
    fn may_be_of_another(&self, error: &io::Error, failed: &mut usize) -> bool {
        *failed += 1;
        let told = self.hears_icmp && error.kind() != io::ErrorKind::WouldBlock;
        told && *failed <= PENDING_ERRORS
    }

    fn set<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
        let len = size_of::<T>() as libc::socklen_t;
        // SAFETY: `value` is a live reference to `len` bytes, which the kernel only reads. A filter
        // program points to instructions that its maker keeps alive over this call.
        let rc = unsafe {
            let value = ptr::from_ref(value).cast();
            libc::setsockopt(self.inner.as_raw_fd(), level, name, value, len)
        };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// One received datagram.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Its payload, cut to the batch's datagram size.
    pub bytes: &'a [u8],
    /// Who sent it.
    pub source: SocketAddr,
    /// When the kernel received it: wall clock, nanoseconds since the Unix epoch.
    pub stamp_ns: Option<i64>,
    /// It was longer than the batch's datagram size; the rest is lost.
    pub truncated: bool,
}

impl Packet<'_> {
    /// How long the packet had been waiting at `read`, taken right after the receive; `None` if
    /// the kernel's stamp is missing or not to be believed (`STAMP_AGE_MAX`).
    pub fn age(&self, read: Moment) -> Option<Duration> {
        let age = read.wall.checked_sub(self.stamp_ns?)?;
        let age = Duration::from_nanos(u64::try_from(age).ok()?);
        (age <= STAMP_AGE_MAX).then_some(age)
    }

    /// When the packet was received: the kernel's stamp told on both clocks, or `read` where the
    /// stamp is not to be believed.
    pub fn received(&self, read: Moment) -> Moment {
        let Some(age) = self.age(read) else { return read };
        let ns = u64::try_from(age.as_nanos()).unwrap_or(0);
        Moment::new(read.mono.saturating_sub(ns), self.stamp_ns.unwrap_or(read.wall))
    }
}

/// Room for the datagrams of one receive call, allocated once.
pub struct RecvBatch {
    bytes: Vec<u8>,
    datagram_bytes: usize,
    slots: Vec<Slot>,
    filled: usize,
}

/// What the kernel says about one datagram.
#[derive(Clone, Copy)]
struct Slot {
    address: Address,
    control: Control,
    len: usize,
    truncated: bool,
    stamped: bool,
}

impl RecvBatch {
    /// Room for `len` (at most [`BATCH_MAX`]) datagrams of `datagram_bytes` each.
    pub fn new(len: usize, datagram_bytes: usize) -> Self {
        let (len, datagram_bytes) = (len.clamp(1, BATCH_MAX), datagram_bytes.max(1));
        // SAFETY: both are plain old data, for which all bits zero is a value.
        let (address, control) = unsafe { (zeroed(), zeroed()) };
        let slot = Slot { address, control, len: 0, truncated: false, stamped: false };
        Self {
            bytes: vec![0; len * datagram_bytes],
            datagram_bytes,
            slots: vec![slot; len],
            filled: 0,
        }
    }

    /// Datagrams that one receive takes at most.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Takes what waits on `socket`, up to the capacity: `Ok(0)` if nothing does. What was in the
    /// batch is gone.
    ///
    /// # Errors
    /// What the kernel says; the socket stays usable.
    pub fn recv(&mut self, socket: &Socket) -> io::Result<usize> {
        self.recv_most(socket, self.slots.len())
    }

    /// As [`RecvBatch::recv`], but so many at most. To ask for no more than there are spares the
    /// kernel the look for the next, a tenth of the call.
    ///
    /// # Errors
    /// What the kernel says; the socket stays usable.
    pub fn recv_most(&mut self, socket: &Socket, most: usize) -> io::Result<usize> {
        let most = most.clamp(1, self.slots.len());
        self.filled = 0;
        let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH_MAX];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH_MAX];
        let rooms = self.bytes.chunks_exact_mut(self.datagram_bytes);
        for (((slot, room), part), header) in
            self.slots.iter_mut().take(most).zip(rooms).zip(&mut parts).zip(&mut headers)
        {
            let base = room.as_mut_ptr().cast();
            let part = part.write(libc::iovec { iov_base: base, iov_len: room.len() });
            let name_len = size_of::<Address>() as libc::socklen_t;
            header.write(message(&mut slot.address, name_len, part, Some(&mut slot.control)));
        }
        let mut failed = 0;
        let count = loop {
            // SAFETY: the first `most` headers were written just above (`new` keeps the slots,
            // and so `most`, below the arrays' length), and each points to its own room, part,
            // address and control, all alive and otherwise untouched until the call is over.
            let rc = unsafe {
                let first = headers.as_mut_ptr().cast();
                let (fd, none) = (socket.inner.as_raw_fd(), ptr::null_mut());
                match most {
                    1 => receive_one(fd, first),
                    _ => libc::recvmmsg(fd, first, most as libc::c_uint, libc::MSG_DONTWAIT, none),
                }
            };
            if let Ok(count) = usize::try_from(rc) {
                break count;
            }
            match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                e if socket.may_be_of_another(&e, &mut failed) => {}
                e => return Err(e),
            }
        };
        for (slot, header) in self.slots.iter_mut().zip(&headers).take(count) {
            // SAFETY: the kernel filled `count` of the headers that were written above.
            let header = unsafe { header.assume_init_ref() };
            slot.len = header.msg_len as usize;
            slot.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            slot.stamped = header.msg_hdr.msg_controllen >= STAMP_LEN as _;
        }
        self.filled = count.min(self.slots.len());
        Ok(self.filled)
    }

    /// What the last receive took, in order of arrival.
    pub fn packets(&self) -> impl Iterator<Item = Packet<'_>> + Clone {
        let rooms = self.bytes.chunks_exact(self.datagram_bytes);
        self.slots.iter().zip(rooms).take(self.filled).map(|(slot, room)| Packet {
            bytes: room.get(..slot.len).unwrap_or(room),
            source: slot.address.get(),
            stamp_ns: slot.stamped.then(|| slot.control.stamp_ns()).flatten(),
            truncated: slot.truncated,
        })
    }

    /// The payload of one datagram of the last receive, to be changed before it goes on.
    pub fn bytes_mut(&mut self, place: usize) -> Option<&mut [u8]> {
        let slot = self.slots.get(..self.filled)?.get(place)?;
        let room = self.bytes.chunks_exact_mut(self.datagram_bytes).nth(place)?;
        let len = slot.len.min(room.len());
        room.get_mut(..len)
    }

    /// Throws away what waits on `socket` and says how many datagrams that were.
    pub fn drain(&mut self, socket: &Socket) -> usize {
        let mut thrown = 0;
        for _ in 0..DRAIN_BATCHES {
            match self.recv(socket) {
                Ok(0) | Err(_) => break,
                Ok(count) => thrown += count,
            }
        }
        self.filled = 0;
        thrown
    }
}

/// As `recvmmsg` for one datagram, at nine tenths of its price: 1, or -1 and `errno`.
///
/// # Safety
/// As for `recvmmsg`: the header and all that it points to are alive and nobody else's.
unsafe fn receive_one(fd: libc::c_int, header: *mut libc::mmsghdr) -> libc::c_int {
    // SAFETY: by the caller's word.
    unsafe {
        match libc::recvmsg(fd, &raw mut (*header).msg_hdr, libc::MSG_DONTWAIT) {
            len @ 0.. => {
                (*header).msg_len = len as libc::c_uint;
                1
            }
            _ => -1,
        }
    }
}

/// As `sendmmsg` for one datagram.
///
/// # Safety
/// As for `sendmmsg`: the header and all that it points to are alive.
unsafe fn send_one(fd: libc::c_int, header: *mut libc::mmsghdr) -> libc::c_int {
    // SAFETY: by the caller's word.
    let sent = unsafe { libc::sendmsg(fd, &raw const (*header).msg_hdr, libc::MSG_NOSIGNAL) };
    if sent < 0 { -1 } else { 1 }
}

/// A message header for one datagram; `control` only where the kernel is to fill it.
fn message(
    name: &mut Address,
    name_len: libc::socklen_t,
    part: &mut libc::iovec,
    control: Option<&mut Control>,
) -> libc::mmsghdr {
    // SAFETY: plain old data (with private padding on some targets), valid as all zeros.
    let mut header: libc::mmsghdr = unsafe { zeroed() };
    header.msg_hdr.msg_name = ptr::from_mut(name).cast();
    header.msg_hdr.msg_namelen = name_len;
    header.msg_hdr.msg_iov = ptr::from_mut(part);
    header.msg_hdr.msg_iovlen = 1;
    if let Some(control) = control {
        header.msg_hdr.msg_control = ptr::from_mut(control).cast();
        header.msg_hdr.msg_controllen = size_of::<Control>() as _;
    }
    header
}

/// The one control message that is switched on: `SCM_TIMESTAMPNS`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    header: libc::cmsghdr,
    stamp: libc::timespec,
}

const STAMP_LEN: usize = size_of::<Control>();
// SAFETY: both only compute a length.
const _: () = assert!(
    unsafe { libc::CMSG_SPACE(size_of::<libc::timespec>() as u32) } as usize == STAMP_LEN
        && unsafe { libc::CMSG_LEN(0) } as usize == offset_of!(Control, stamp),
    "a control message is laid out otherwise on this target"
);

impl Control {
    fn stamp_ns(&self) -> Option<i64> {
        let wanted = self.header.cmsg_level == libc::SOL_SOCKET
            && self.header.cmsg_type == libc::SCM_TIMESTAMPNS;
        wanted.then(|| nanoseconds(self.stamp))
    }
}

/// A socket address as the kernel reads and writes it, IPv4 or IPv6.
#[repr(C)]
#[derive(Clone, Copy)]
union Address {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Address {
    fn new(addr: SocketAddr) -> (Self, libc::socklen_t) {
        // SAFETY: plain old data, valid as all zeros.
        let mut this: Self = unsafe { zeroed() };
        match addr {
            SocketAddr::V4(addr) => {
                this.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: addr.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: addr.ip().to_bits().to_be() },
                    sin_zero: [0; 8],
                };
                (this, size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(addr) => {
                this.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: addr.port().to_be(),
                    sin6_flowinfo: addr.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: addr.ip().octets() },
                    sin6_scope_id: addr.scope_id(),
                };
                (this, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }

    /// The address; port 0 of nowhere for a family that no UDP socket of ours yields.
    fn get(&self) -> SocketAddr {
        // SAFETY: all fields are plain integers over bytes that are always initialised (zeroed at
        // first), so each may be read whichever was written; the family says which has a meaning.
        unsafe {
            match libc::c_int::from(self.family) {
                libc::AF_INET => {
                    let ip = Ipv4Addr::from_bits(u32::from_be(self.v4.sin_addr.s_addr));
                    SocketAddr::new(IpAddr::V4(ip), u16::from_be(self.v4.sin_port))
                }
                libc::AF_INET6 => {
                    let ip = Ipv6Addr::from(self.v6.sin6_addr.s6_addr);
                    let port = u16::from_be(self.v6.sin6_port);
                    SocketAddr::V6(SocketAddrV6::new(ip, port, 0, self.v6.sin6_scope_id))
                }
                _ => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            }
        }
    }
}
