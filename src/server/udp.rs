//! SIP over UDP: one socket per address, datagrams in batches with kernel receive times.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use bytes::Bytes;
use cooee_media::socket::{RecvBatch, Socket, SocketOptions};
use cooee_signalling::leg::dialog::Local;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::switch::input::Input;
use cooee_signalling::transaction::flow::Flow;

use crate::clock;
use crate::error::Error;
use crate::icmp::{self, ERRORS_A_TURN, Icmp};

/// Datagrams that one receive call takes.
pub const BATCH: usize = 32;

/// Largest datagram, bytes.
const DATAGRAM: usize = 65_535;

/// Room in the kernel for datagrams that have not been read: a burst of some thousand INVITEs.
const RECV_BUFFER: usize = 4 << 20;

/// All UDP sockets that SIP is spoken on.
#[derive(Debug)]
pub struct Udp {
    sockets: Vec<Socket>,
    locals: Vec<Local>,
}

impl Udp {
    /// Binds the sockets. `advertise` replaces the address that peers of its family are told.
    ///
    /// # Errors
    /// [`Error::Sip`] names the address that cannot be bound.
    pub fn bind(binds: &[SocketAddr], advertise: Option<IpAddr>) -> Result<Self, Error> {
        let mut udp = Self { sockets: Vec::new(), locals: Vec::new() };
        for &address in binds {
            let recv_buffer = Some(RECV_BUFFER);
            let options = SocketOptions { recv_buffer, hears_icmp: true, ..Default::default() };
            let named = |source| Error::Sip { address, source };
            let socket = Socket::bind(address, options).map_err(named)?;
            let port = socket.local_addr().map_err(named)?.port();
            let ip = advertise.filter(|ip| ip.is_ipv4() == address.is_ipv4());
            let ip = ip.unwrap_or_else(|| reachable(address.ip()));
            udp.locals.push(Local::new(Transport::Udp, SocketAddr::new(ip, port)));
            udp.sockets.push(socket);
        }
        Ok(udp)
    }

    /// How peers reach us, in the order of the sockets.
    pub fn locals(&self) -> &[Local] {
        &self.locals
    }

    /// The sockets.
    pub fn sockets(&self) -> &[Socket] {
        &self.sockets
    }

    /// Takes one batch from a socket; gives how many that were.
    ///
    /// # Errors
    /// What the kernel says; the socket stays usable.
    pub fn receive(
        &self,
        number: u16,
        batch: &mut RecvBatch,
        mut take: impl FnMut(Input),
    ) -> io::Result<usize> {
        let Some(socket) = self.sockets.get(usize::from(number)) else { return Ok(0) };
        let taken = batch.recv(socket)?;
        let read = clock::now();
        for packet in batch.packets() {
            let flow = Flow { transport: Transport::Udp, socket: number, remote: packet.source };
            take(Input::Datagram {
                flow,
                received: packet.received(read),
                bytes: Bytes::copy_from_slice(packet.bytes),
            });
        }
        Ok(taken)
    }

    /// Takes what ICMP says of what a socket has sent, some of it: to be called where the socket
    /// signals an error. Gives how many errors say that a message does not get where it was to go,
    /// which are inputs now, and how many say something else.
    pub fn hear_icmp(&self, number: u16, inputs: &mut Vec<Input>) -> (u64, u64) {
        let Some(socket) = self.sockets.get(usize::from(number)) else { return (0, 0) };
        let (mut unreachable, mut other) = (0, 0);
        for Icmp { to, quoted, is_unreachable } in
            std::iter::from_fn(|| icmp::next(socket)).take(ERRORS_A_TURN)
        {
            if is_unreachable {
                unreachable += 1;
                let flow = Flow { transport: Transport::Udp, socket: number, remote: to };
                inputs.push(Input::Unsent { flow, bytes: quoted });
            } else {
                other += 1;
            }
        }
        (unreachable, other)
    }

    /// Room for one batch.
    pub fn room() -> RecvBatch {
        RecvBatch::new(BATCH, DATAGRAM)
    }
}

/// The address that peers reach a socket by: its own, or for `0.0.0.0` and `::` that of the way
/// out. Nothing is sent to find that out.
pub fn reachable(ip: IpAddr) -> IpAddr {
    if !ip.is_unspecified() {
        return ip;
    }
    let (any, outside) = match ip {
        IpAddr::V4(_) => ("0.0.0.0:0", "192.0.2.1:9"),
        IpAddr::V6(_) => ("[::]:0", "[2001:db8::1]:9"),
    };
    let way_out = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(outside)?;
        socket.local_addr()
    });
    way_out.map_or_else(
        |_| if ip.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() },
        |address| address.ip(),
    )
}
