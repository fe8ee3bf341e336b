//! HEP3: copies of every SIP message for a capture server (Homer and its kin), with our id of the
//! call as the correlation id, so that both legs are shown as one conversation.
//!
//! The engine puts what it saw into a bounded queue when everything else of its step is done; a
//! thread writes the packets. A queue that is full drops, and counts. Values of secret headers are
//! blotted out before anything leaves.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::Builder;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cooee_config::hep::Hep as Settings;
use cooee_model::fact::What;
use cooee_model::ids::CallId;
use cooee_model::moment::Moment;
use cooee_signalling::call::context::{Output, Record};
use cooee_signalling::message::transport::Transport;
use cooee_signalling::profile::fence::Fence;
use cooee_signalling::profile::plan::{Plan, Trunk};
use cooee_signalling::switch::input::Input;
use cooee_telemetry::Telemetry;
use crossbeam_channel::{Receiver, Sender, bounded};
use secrecy::ExposeSecret;

use crate::clock;

/// Most steps of the engine that wait to be sent. Past it they are dropped and counted.
const WAITING: usize = 4096;

/// Most dialogs whose call is remembered. Past it the oldest is forgotten: its messages then carry
/// their own Call-ID.
const DIALOGS: usize = 65_536;

/// How long between two tries to find the collector's address.
const LOOK_UP_EVERY: Duration = Duration::from_secs(60);

/// One SIP message as it was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    at: Moment,
    transport: Transport,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Bytes,
}

/// What one step of the engine showed.
#[derive(Debug)]
pub struct Step {
    /// Headers whose values are blotted out.
    secret: Arc<[String]>,
    /// Dialogs that became known, with their calls.
    named: Vec<(String, CallId)>,
    messages: Vec<Seen>,
}

/// The engine's end.
pub struct Hep {
    sender: Sender<Step>,
    locals: Vec<SocketAddr>,
    /// The plan that `secret` was taken from.
    plan: Arc<Plan>,
    secret: Arc<[String]>,
    telemetry: Arc<Telemetry>,
}

impl Hep {
    /// Starts the thread that sends. `locals` are our sockets' addresses.
    ///
    /// # Errors
    /// If the kernel has no thread or socket left.
    pub fn start(
        settings: &Settings,
        locals: Vec<SocketAddr>,
        plan: Arc<Plan>,
        telemetry: Arc<Telemetry>,
    ) -> io::Result<Self> {
        let (sender, receiver) = bounded(WAITING);
        let writer = Writer {
            id: settings.id,
            password: settings.password.as_ref().map(|p| p.expose_secret().to_owned()),
            secret: Arc::default(),
            calls: BTreeMap::new(),
            order: VecDeque::new(),
        };
        let (target, counts) = (settings.target.clone(), Arc::clone(&telemetry));
        let run = move || send_all(&receiver, writer, &target, &counts);
        Builder::new().name("hep".into()).spawn(run)?;
        let secret = secret_headers(&plan);
        Ok(Self { sender, locals, plan, secret, telemetry })
    }

    /// What is worth keeping of a step, before it is carried out.
    pub fn look(&mut self, plan: &Arc<Plan>, input: Option<Seen>, out: &Output) -> Option<Step> {
        if !Arc::ptr_eq(plan, &self.plan) {
            self.plan = Arc::clone(plan);
            self.secret = secret_headers(plan);
        }
        let now = clock::now();
        let mut named = Vec::new();
        for record in &out.records {
            let Record::Fact(fact) = record else { continue };
            if let What::Invited { sip_call_id, .. } | What::Forwarded { sip_call_id, .. } =
                &fact.what
            {
                named.push((sip_call_id.clone(), fact.call));
            }
        }
        let sent = out.sends.iter().filter_map(|transmit| {
            let flow = transmit.flow;
            Some(Seen {
                at: now,
                transport: flow.transport,
                from: *self.locals.get(usize::from(flow.socket))?,
                to: flow.remote,
                bytes: transmit.bytes.clone(),
            })
        });
        let messages: Vec<Seen> = input.into_iter().chain(sent).collect();
        let secret = Arc::clone(&self.secret);
        (!messages.is_empty()).then_some(Step { secret, named, messages })
    }

    /// A message that came in.
    pub fn received(&self, input: &Input) -> Option<Seen> {
        let (Input::Datagram { flow, received, bytes } | Input::Surplus { flow, received, bytes }) =
            input
        else {
            return None;
        };
        // Keep-alives are no messages.
        if bytes.len() <= 4 {
            return None;
        }
        Some(Seen {
            at: *received,
            transport: flow.transport,
            from: flow.remote,
            to: *self.locals.get(usize::from(flow.socket))?,
            bytes: bytes.clone(),
        })
    }

    /// Hands a step over; never blocks.
    pub fn tell(&self, step: Step) {
        let count = u64::try_from(step.messages.len()).unwrap_or(u64::MAX);
        if self.sender.try_send(step).is_err() {
            self.telemetry.engine.hep_dropped.fetch_add(count, Relaxed);
        }
    }
}

/// The headers that trunks prove themselves by.
fn secret_headers(plan: &Plan) -> Arc<[String]> {
    let name = |trunk: &Trunk| match &trunk.fence {
        Fence::Header(header) => Some(header.name.clone()),
        _ => None,
    };
    plan.trunks.iter().filter_map(name).collect()
}

/// Sends until the engine is gone.
fn send_all(receiver: &Receiver<Step>, mut writer: Writer, target: &str, telemetry: &Telemetry) {
    let mut way: Option<(UdpSocket, SocketAddr)> = None;
    let mut looked: Option<Instant> = None;
    let mut packet = Vec::with_capacity(2048);
    for step in receiver {
        if way.is_none() && looked.is_none_or(|at| at.elapsed() > LOOK_UP_EVERY) {
            looked = Some(Instant::now());
            match way_to(target) {
                Ok(found) => way = Some(found),
                Err(error) => tracing::warn!(%error, target, "the HEP collector is not found"),
            }
        }
        writer.secret = step.secret;
        for (sip_call_id, call) in step.named {
            writer.name(sip_call_id, call);
        }
        for seen in &step.messages {
            writer.write(seen, &mut packet);
            let sent = way.as_ref().map(|(socket, to)| socket.send_to(&packet, to));
            match sent {
                Some(Ok(_)) => telemetry.engine.hep_sent.fetch_add(1, Relaxed),
                _ => telemetry.engine.hep_dropped.fetch_add(1, Relaxed),
            };
        }
    }
}

fn way_to(target: &str) -> io::Result<(UdpSocket, SocketAddr)> {
    let missing = || io::Error::other("the name has no address");
    let to = target.to_socket_addrs()?.next().ok_or_else(missing)?;
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    // A collector that does not read must not hold the thread up either.
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}

/// Types of chunks of the generic vendor.
mod chunk {
    pub const FAMILY: u16 = 1;
    pub const PROTOCOL: u16 = 2;
    pub const SOURCE_V4: u16 = 3;
    pub const TARGET_V4: u16 = 4;
    pub const SOURCE_V6: u16 = 5;
    pub const TARGET_V6: u16 = 6;
    pub const SOURCE_PORT: u16 = 7;
    pub const TARGET_PORT: u16 = 8;
    pub const SECONDS: u16 = 9;
    pub const MICROSECONDS: u16 = 10;
    pub const KIND: u16 = 11;
    pub const AGENT: u16 = 12;
    pub const KEY: u16 = 14;
    pub const PAYLOAD: u16 = 15;
    pub const CORRELATION: u16 = 17;
}

/// What a packet is written from.
#[derive(Debug)]
struct Writer {
    id: u32,
    password: Option<String>,
    secret: Arc<[String]>,
    calls: BTreeMap<String, CallId>,
    order: VecDeque<String>,
}

impl Writer {
    fn name(&mut self, sip_call_id: String, call: CallId) {
        if self.calls.insert(sip_call_id.clone(), call).is_none() {
            self.order.push_back(sip_call_id);
        }
        if self.order.len() > DIALOGS
            && let Some(oldest) = self.order.pop_front()
        {
            self.calls.remove(&oldest);
        }
    }

    /// One message as a packet, in the place of what `out` held.
    fn write(&self, seen: &Seen, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(b"HEP3\0\0");
        let (from, to) = (seen.from.ip().to_canonical(), seen.to.ip().to_canonical());
        let v4 = from.is_ipv4() && to.is_ipv4();
        put(out, chunk::FAMILY, &[if v4 { 2 } else { 10 }]);
        let udp = seen.transport == Transport::Udp;
        put(out, chunk::PROTOCOL, &[if udp { 17 } else { 6 }]);
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                put(out, chunk::SOURCE_V4, &from.octets());
                put(out, chunk::TARGET_V4, &to.octets());
            }
            _ => {
                put(out, chunk::SOURCE_V6, &v6(from));
                put(out, chunk::TARGET_V6, &v6(to));
            }
        }
        put(out, chunk::SOURCE_PORT, &seen.from.port().to_be_bytes());
        put(out, chunk::TARGET_PORT, &seen.to.port().to_be_bytes());
        let us = seen.at.wall.div_euclid(1000);
        let seconds = u32::try_from(us.div_euclid(1_000_000)).unwrap_or(0);
        let part = u32::try_from(us.rem_euclid(1_000_000)).unwrap_or(0);
        put(out, chunk::SECONDS, &seconds.to_be_bytes());
        put(out, chunk::MICROSECONDS, &part.to_be_bytes());
        // 1 is SIP.
        put(out, chunk::KIND, &[1]);
        put(out, chunk::AGENT, &self.id.to_be_bytes());
        if let Some(password) = &self.password {
            put(out, chunk::KEY, password.as_bytes());
        }
        let sip_call_id = call_id(&seen.bytes);
        let correlation = match self.calls.get(&sip_call_id) {
            Some(call) => call.to_string(),
            None => sip_call_id,
        };
        put(out, chunk::CORRELATION, correlation.as_bytes());
        put(out, chunk::PAYLOAD, &self.blotted(&seen.bytes));
        // What does not fit the length field would not fit a datagram either.
        let length = u16::try_from(out.len()).unwrap_or(u16::MAX).to_be_bytes();
        if let Some(place) = out.get_mut(4..6) {
            place.copy_from_slice(&length);
        }
    }

    /// The message with the values of secret headers as `x`.
    fn blotted(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        let mut secret = false;
        let mut body = false;
        for line in bytes.split_inclusive(|&b| b == b'\n') {
            body |= matches!(line, b"\r\n" | b"\n");
            let folded = line.first().is_some_and(|b| matches!(b, b' ' | b'\t'));
            let colon = line.iter().position(|&b| b == b':');
            if !folded {
                let name = colon.and_then(|at| line.get(..at)).unwrap_or_default().trim_ascii();
                secret = self.secret.iter().any(|s| s.as_bytes().eq_ignore_ascii_case(name));
            }
            let kept = match (secret && !body, folded) {
                (false, _) => line.len(),
                (true, true) => 0,
                (true, false) => colon.unwrap_or(0) + 1,
            };
            for (at, &byte) in line.iter().enumerate() {
                out.push(if at < kept || byte.is_ascii_whitespace() { byte } else { b'x' });
            }
        }
        out
    }
}

/// One chunk of the generic vendor; its length counts its own head.
fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let value = value.get(..value.len().min(65_000)).unwrap_or_default();
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&kind.to_be_bytes());
    let length = u16::try_from(value.len() + 6).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The Call-ID of a message; empty where there is none.
fn call_id(bytes: &[u8]) -> String {
    for line in bytes.split(|&b| b == b'\n').skip(1) {
        let line = line.trim_ascii();
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(b"Call-ID") || name.eq_ignore_ascii_case(b"i") {
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            return String::from_utf8_lossy(value).into_owned();
        }
    }
    String::new()
}

#[cfg(test)]
#[path = "hep_tests.rs"]
mod tests;
