//! SIP over TCP and TLS: a thread of its own between connections and the engine.
//!
//! Whole messages go to the engine by its queue, as datagrams do; what the engine sends comes by a
//! bounded queue, and nothing here makes it wait. A message finds its connection by the address
//! that it is for; where there is none, one is opened. What cannot be sent is given back to the
//! engine, which fails over.

pub mod connection;
pub mod desk;
#[cfg(test)]
mod papers;
#[cfg(test)]
mod tests;
pub mod tls;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use cooee_signalling::leg::dialog::Local;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::message::view::Message;
use cooee_signalling::transaction::flow::{Flow, Transmit};
use cooee_telemetry::stats::Cut;
use nix::sys::socket::sockopt::{Ipv6V6Only, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::error::Error;
use crate::hops::Hops;
use crate::inbox::Post;
use crate::streams::connection::Rest;
use crate::streams::desk::{Desk, Number, Room};
use crate::streams::tls::{Hosts, Tls};
use crate::udp::reachable;

/// Messages of the engine that wait for the thread. Past it they are given back.
const ORDERS: usize = 65_536;

/// Connections that the kernel holds before they are accepted.
const BACKLOG: i32 = 1024;

/// How long accepting rests when the kernel has no descriptor left.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How often certificates are looked at.
pub const CERTIFICATES_EVERY: Duration = Duration::from_secs(60);

/// What connections may take until they are given up, at the end of the node.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many there may be.
    pub room: Room,
    /// How long one may take to open.
    pub connect: Duration,
    /// How long a message may take from its first byte to its last, and a peer to its first
    /// message or to read what it is sent.
    pub message: Duration,
    /// How long one may be silent either way.
    pub idle: Duration,
    /// How often certificates are looked at.
    pub certificates: Duration,
}

/// What TLS needs, where there is any.
pub type Secure = Option<(Tls, Hosts)>;

impl From<cooee_config::Streams> for Settings {
    fn from(limits: cooee_config::Streams) -> Self {
        let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let seconds = |s: u32| Duration::from_secs(s.into());
        Self {
            room: Room { per_address: count(limits.per_address), total: count(limits.connections) },
            connect: seconds(limits.connect_s),
            message: seconds(limits.message_s),
            idle: seconds(limits.idle_s),
            certificates: CERTIFICATES_EVERY,
        }
    }
}

/// Listeners that are bound, in the order of the configuration.
#[derive(Debug, Default)]
pub struct Bound {
    listeners: Vec<(Transport, std::net::TcpListener)>,
    locals: Vec<Local>,
}

impl Bound {
    /// Binds listeners. `advertise` replaces the address that peers of its family are told.
    ///
    /// # Errors
    /// [`Error::Sip`] names the address that cannot be bound.
    pub fn bind(
        binds: &[(Transport, SocketAddr)],
        advertise: Option<IpAddr>,
    ) -> Result<Self, Error> {
        let mut bound = Self::default();
        for &(transport, address) in binds {
            let named = |source| Error::Sip { address, source };
            let listener = listener(address).map_err(named)?;
            let port = listener.local_addr().map_err(named)?.port();
            let ip = advertise.filter(|ip| ip.is_ipv4() == address.is_ipv4());
            let ip = ip.unwrap_or_else(|| reachable(address.ip()));
            bound.locals.push(Local::new(transport, SocketAddr::new(ip, port)));
            bound.listeners.push((transport, listener));
        }
        Ok(bound)
    }

    /// How peers reach us, in the order of the listeners.
    pub fn locals(&self) -> &[Local] {
        &self.locals
    }
}

/// A listener; one for IPv6 takes IPv6 only, as UDP sockets do.
fn listener(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&fd, Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(std::net::TcpListener::from(fd))
}

/// The engine's way to the connections.
#[derive(Clone)]
pub struct Streams {
    orders: mpsc::Sender<Transmit>,
    post: Post,
}

impl Streams {
    /// Starts the thread. The first listener is the node's socket number `first`.
    ///
    /// # Errors
    /// If the kernel has no thread or descriptor left.
    pub fn start(
        (bound, secure): (Bound, Secure),
        first: u16,
        settings: Settings,
        post: Post,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (orders, taken) = mpsc::channel(ORDERS);
        let streams = Self { orders, post: post.clone() };
        let thread = Builder::new().name("streams".into()).spawn(move || {
            let office = Office {
                desk: RefCell::new(Desk::new(settings.room)),
                hops: RefCell::new(Hops::new(&post.telemetry)),
                hosts: secure.as_ref().map(|(_, hosts)| hosts.clone()).unwrap_or_default(),
                tls: RefCell::new(secure.map(|(tls, _)| tls)),
                ways: bound.listeners.iter().map(|(_, l)| l.local_addr().ok()).collect(),
                post,
                settings,
                first,
            };
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, Rc::new(office).run(bound.listeners, taken));
        })?;
        Ok((streams, thread))
    }

    /// Hands a message over; never blocks.
    pub fn send(&self, message: &Transmit) {
        if self.orders.try_send(message.clone()).is_err() {
            self.post.give_back(message.clone());
        }
    }
}

/// All that the thread works with.
struct Office {
    desk: RefCell<Desk>,
    hops: RefCell<Hops>,
    tls: RefCell<Option<Tls>>,
    hosts: Hosts,
    /// Where each listener is bound: connections that we open come from there.
    ways: Vec<Option<SocketAddr>>,
    post: Post,
    settings: Settings,
    first: u16,
}

impl Office {
    async fn run(
        self: Rc<Self>,
        listeners: Vec<(Transport, std::net::TcpListener)>,
        mut orders: mpsc::Receiver<Transmit>,
    ) {
        for (socket, (transport, listener)) in (self.first..).zip(listeners) {
            match TcpListener::from_std(listener) {
                Ok(listener) => {
                    spawn_local(Rc::clone(&self).accept(transport, socket, listener));
                }
                Err(error) => tracing::error!(%error, socket, "a SIP listener is of no use"),
            }
        }
        spawn_local(Rc::clone(&self).renew_tls());
        while let Some(message) = orders.recv().await {
            self.dispatch(message);
        }
        // The engine has ended: what waits is written, then all is closed.
        self.desk.borrow_mut().clear();
        sleep(LAST_WORDS).await;
    }

    /// A certificate has its day: what the files hold is taken up, if it is of any use.
    async fn renew_tls(self: Rc<Self>) {
        loop {
            sleep(self.settings.certificates).await;
            let renewed = self.tls.borrow().as_ref().and_then(Tls::renewed);
            match renewed {
                Some(Ok(tls)) => {
                    tracing::info!("SIP certificates have been read again");
                    self.tls.replace(Some(tls));
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "SIP certificates are of no use: the old ones stay");
                }
                None => {}
            }
        }
    }

    async fn accept(self: Rc<Self>, transport: Transport, socket: u16, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => self.welcome(stream, Flow { transport, socket, remote }),
                Err(error) => {
                    tracing::warn!(%error, "a SIP connection was not accepted");
                    sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    fn welcome(self: &Rc<Self>, stream: TcpStream, flow: Flow) {
        let added = self.desk.borrow_mut().add((flow.transport, flow.remote), true);
        match added {
            Ok((number, waiting)) => {
                self.opened(0);
                let office = Rc::clone(self);
                spawn_local(async move {
                    let rest = match office.answer(stream, flow).await {
                        Ok(opened) => office.carry(opened, flow, (number, true), waiting).await,
                        Err(cut) => Rest::none(cut, waiting),
                    };
                    office.closed(number, rest);
                });
            }
            // Dropping the stream closes it.
            Err(cut) => self.post.telemetry.streams.count(cut),
        }
    }

    /// Sends a message on the connection that leads to where it is for, or on a new one. A response
    /// whose connection has gone goes where its `Via` says (RFC 3261, 18.2.2).
    fn dispatch(self: &Rc<Self>, message: Transmit) {
        let mut flow = message.flow;
        let place = (flow.transport, flow.remote);
        if !self.desk.borrow().leads_to(place)
            && let Some(anew) = answer_anew(&message)
        {
            flow.remote = anew;
        }
        let sent = self.desk.borrow().send((flow.transport, flow.remote), message);
        match sent {
            Ok(()) => {}
            Err((message, None)) => self.connect(flow, message),
            Err((message, Some(number))) => {
                self.post.telemetry.streams.count(Cut::Full);
                self.forget(number);
                self.post.give_back(message);
            }
        }
    }

    fn connect(self: &Rc<Self>, flow: Flow, message: Transmit) {
        let place = (flow.transport, flow.remote);
        let added = self.desk.borrow_mut().add(place, false);
        let (number, waiting) = match added {
            Ok(added) => added,
            Err(cut) => {
                self.post.telemetry.streams.count(cut);
                return self.post.give_back(message);
            }
        };
        // The queue is new: there is room.
        let _ = self.desk.borrow().send(place, message);
        let office = Rc::clone(self);
        spawn_local(async move {
            let late = || (Cut::Connect, io::ErrorKind::TimedOut.into());
            let opened = timeout(office.settings.connect, office.call(flow)).await;
            let rest = match opened.unwrap_or_else(|_| Err(late())) {
                Ok(opened) => {
                    office.opened(1);
                    office.carry(opened, flow, (number, false), waiting).await
                }
                Err((cut, error)) => {
                    let why = cut.name();
                    tracing::warn!(to = %flow.remote, why, %error, "no SIP connection");
                    Rest::none(cut, waiting)
                }
            };
            office.closed(number, rest);
        });
    }

    async fn carry(
        &self,
        opened: Opened,
        flow: Flow,
        line: (Number, bool),
        waiting: mpsc::Receiver<desk::Out>,
    ) -> Rest {
        match opened {
            Opened::Plain(stream) => self.live(stream, flow, line, waiting).await,
            Opened::Secure(stream) => self.live(stream, flow, line, waiting).await,
        }
    }

    /// A connection that a peer opened, with TLS agreed on where that is spoken.
    async fn answer(&self, stream: TcpStream, flow: Flow) -> Result<Opened, Cut> {
        // Answers are small, and each is waited for.
        let _ = stream.set_nodelay(true);
        if flow.transport != Transport::Tls {
            return Ok(Opened::Plain(stream));
        }
        let acceptor = self.tls.borrow().as_ref().map(Tls::acceptor).ok_or(Cut::Handshake)?;
        match timeout(self.settings.message, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Ok(Opened::Secure(Box::new(stream.into()))),
            Ok(Err(error)) => {
                tracing::warn!(from = %flow.remote, %error, "no TLS with a SIP peer");
                Err(Cut::Handshake)
            }
            Err(_) => Err(Cut::Stalled),
        }
    }

    /// A connection to a peer, which by TLS must prove its name.
    async fn call(&self, flow: Flow) -> Result<Opened, (Cut, io::Error)> {
        let stream = self.open(flow).await.map_err(|e| (Cut::Connect, e))?;
        let _ = stream.set_nodelay(true);
        if flow.transport != Transport::Tls {
            return Ok(Opened::Plain(stream));
        }
        let connector = self.tls.borrow().as_ref().map(Tls::connector);
        let connector = connector.ok_or((Cut::Handshake, io::ErrorKind::Unsupported.into()))?;
        let stream = tls::call(connector, &self.hosts.at(flow.remote), stream).await;
        stream.map(|s| Opened::Secure(Box::new(s))).map_err(|e| (Cut::Handshake, e))
    }

    async fn open(&self, flow: Flow) -> io::Result<TcpStream> {
        let socket = match flow.remote {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        let way = usize::from(flow.socket.saturating_sub(self.first));
        if let Some(from) = self.ways.get(way).copied().flatten()
            && !from.ip().is_unspecified()
        {
            socket.bind(SocketAddr::new(from.ip(), 0))?;
        }
        socket.connect(flow.remote).await
    }

    /// A connection has ended; what it did not write goes on another one.
    fn closed(self: &Rc<Self>, number: Number, rest: connection::Rest) {
        self.forget(number);
        if let Some(cut) = rest.cut {
            self.post.telemetry.streams.count(cut);
        }
        for message in rest.messages {
            if rest.of_use { self.dispatch(message) } else { self.post.give_back(message) }
        }
    }

    fn opened(&self, by: usize) {
        if let Some(cell) = self.post.telemetry.streams.opened.get(by) {
            cell.fetch_add(1, Relaxed);
        }
        self.publish();
    }

    fn forget(&self, number: Number) {
        self.desk.borrow_mut().remove(number);
        self.publish();
    }

    fn publish(&self) {
        let [tcp, tls] = &self.post.telemetry.streams.connections_now;
        let desk = self.desk.borrow();
        for (cell, transport) in [(tcp, Transport::Tcp), (tls, Transport::Tls)] {
            cell.store(desk.count(transport).try_into().unwrap_or(u64::MAX), Relaxed);
        }
    }
}

/// A connection that is up.
enum Opened {
    Plain(TcpStream),
    Secure(Box<tokio_rustls::TlsStream<TcpStream>>),
}

/// Where a response goes when its connection has gone; `None` for a request.
fn answer_anew(message: &Transmit) -> Option<SocketAddr> {
    let response = Message::read(message.bytes.clone()).ok().filter(|m| !m.is_request())?;
    response.via()?.answer_anew(message.flow.transport.port())
}
