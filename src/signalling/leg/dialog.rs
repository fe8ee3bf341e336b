//! A dialog (RFC 3261, 12): who speaks with whom, and how the next request is addressed.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::leg::session_id::SessionId;
use crate::message::address::{Address, Uri, host};
use crate::message::name::Name;
use crate::message::text::{is_space, param, socket_text};
use crate::message::transport::Transport;
use crate::message::view::Message;
use crate::message::write::Writer;
use crate::transaction::flow::Flow;

/// How one of our sockets is named in what we send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The protocol.
    pub transport: Transport,
    /// The address that peers reach it by.
    pub address: SocketAddr,
    /// `address` as text, for `Via` and `Contact`.
    pub sent_by: String,
}

impl Local {
    /// A socket that peers reach at `address`.
    pub fn new(transport: Transport, address: SocketAddr) -> Self {
        Self { transport, address, sent_by: socket_text(address) }
    }

    /// Our host here as identity headers name it, where `usual` is of the other IP family.
    pub fn other_host(&self, usual: &str) -> Option<String> {
        let differs = usual.starts_with('[') == self.address.is_ipv4();
        (differs && !usual.is_empty()).then(|| host(self.address.ip()))
    }

    /// Our SIP URI here; for a stream it names the transport. `user` may be empty.
    pub fn uri(&self, user: &str) -> String {
        let at = if user.is_empty() { "" } else { "@" };
        let transport = match self.transport {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
        };
        ["sip:", user, at, &self.sent_by, transport].concat()
    }

    /// A request of ours as it leaves here instead of where it was written for: with another
    /// transport and `sent-by` in its Via, and the same branch.
    pub fn leaving_here(&self, request: &Bytes) -> Option<Bytes> {
        const VIA: &[u8] = b"\r\nVia: ";
        let from = memchr::memmem::find(request, VIA)? + VIA.len();
        let (head, via) = request.split_at_checked(from)?;
        let (_, rest) = via.split_at_checked(memchr::memchr(b';', via)?)?;
        let sender = format!("SIP/2.0/{} {}", self.transport.text(), self.sent_by);
        Some([head, sender.as_bytes(), rest].concat().into())
    }

    /// Writes the `Via` of a request that leaves here.
    pub fn write_via(&self, branch: &str, writer: &mut Writer) {
        let (transport, sent_by) = (self.transport.text().as_bytes(), self.sent_by.as_bytes());
        let branch = branch.as_bytes();
        let pieces = [b"SIP/2.0/", transport, b" ", sent_by, b";branch=", branch, b";rport"];
        writer.header(Name::Via, &pieces);
    }
}

/// One dialog, from the view of our half of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Dialog {
    /// Call-ID.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub call_id: Vec<u8>,
    /// Our tag: a token that names the call.
    #[n(1)]
    pub local_tag: String,
    /// The peer's tag; empty until it is known.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub remote_tag: Vec<u8>,
    /// Our From value without its tag.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub local: Vec<u8>,
    /// The peer's To value without its tag.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub remote: Vec<u8>,
    /// CSeq of our last request.
    #[n(5)]
    pub local_cseq: u32,
    /// CSeq of the peer's last request; zero until one came.
    #[n(6)]
    pub remote_cseq: u32,
    /// The peer's Contact: where requests are addressed to.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub remote_target: Vec<u8>,
    /// The route set, first hop first.
    #[n(8)]
    pub routes: Vec<minicbor::bytes::ByteVec>,
    /// Our Contact URI.
    #[n(9)]
    pub contact: String,
    /// The peer is behind a NAT: its Contact does not name where it is reached.
    #[n(10)]
    pub behind_nat: bool,
    /// What each message of it carries as Session-ID (RFC 7989); `None`: nothing.
    #[n(71)]
    pub session_id: Option<Box<SessionId>>,
}

impl Dialog {
    /// The dialog that an INVITE opens, seen by its receiver. `local_tag` is ours.
    pub fn of_invite(invite: &Message, local_tag: String, contact: String, source: IpAddr) -> Self {
        Self {
            call_id: invite.call_id().to_vec(),
            local_tag,
            remote_tag: invite.from_tag().to_vec(),
            local: flat_without_tag(invite.value(Name::To).unwrap_or_default()),
            remote: flat_without_tag(invite.value(Name::From).unwrap_or_default()),
            local_cseq: 0,
            remote_cseq: invite.cseq().map_or(0, |c| c.number),
            remote_target: target(invite).unwrap_or_default(),
            routes: invite.list(Name::RecordRoute).map(|r| r.to_vec().into()).collect(),
            contact,
            behind_nat: behind_nat(invite, source),
            session_id: None,
        }
    }

    /// Takes the peer's side from a response to our INVITE (RFC 3261, 12.1.2). The route set is
    /// that of the 2xx in the end, whatever an early response said (RFC 3261, 13.2.2.4).
    ///
    /// `peer` is where the INVITE went. A private address in the Contact of a public peer is that
    /// of a host behind a NAT, and nothing would reach it.
    pub fn learn(&mut self, response: &Message, peer: IpAddr) {
        if response.to_tag() != self.remote_tag {
            self.remote_tag = response.to_tag().to_vec();
            // Another fork counts its own requests.
            self.remote_cseq = 0;
        }
        if let Some(target) = target(response) {
            self.remote_target = target;
        }
        self.routes = response.list(Name::RecordRoute).map(|r| r.to_vec().into()).collect();
        self.routes.reverse();
        let named = literal(&self.remote_target, Transport::Udp)
            .map(|(_, a)| a.ip())
            .filter(|_| self.routes.is_empty());
        self.behind_nat = named.is_some_and(is_private) && !is_private(peer);
    }

    /// Takes a new target from a re-INVITE or its answer (RFC 3261, 12.2).
    pub fn refresh(&mut self, message: &Message) {
        if let Some(target) = target(message) {
            self.remote_target = target;
        }
    }

    /// Whether a request or a response belongs to this dialog; tags as its *receiver* sees them.
    pub fn holds(&self, message: &Message) -> bool {
        let (ours, theirs) = if message.is_request() {
            (message.to_tag(), message.from_tag())
        } else {
            (message.from_tag(), message.to_tag())
        };
        message.call_id() == self.call_id
            && ours == self.local_tag.as_bytes()
            && theirs == self.remote_tag
    }

    /// Begins a request of this dialog (RFC 3261, 12.2.1.1). CSeq does not grow here.
    /// `hops` becomes Max-Forwards.
    pub fn request(
        &self,
        method: &str,
        cseq: u32,
        hops: u32,
        (local, branch): (&Local, &str),
    ) -> Writer {
        let strict = self.routes.first().filter(|r| !is_loose(r));
        let uri = match strict {
            Some(route) => Address::read(route).map_or(&b""[..], |a| a.uri),
            None => &self.remote_target,
        };
        let mut writer = Writer::request(method.as_bytes(), uri);
        local.write_via(branch, &mut writer);
        for route in self.routes.iter().skip(usize::from(strict.is_some())) {
            writer.header(Name::Route, &[route]);
        }
        if strict.is_some() {
            writer.header(Name::Route, &[b"<", &self.remote_target, b">"]);
        }
        writer.number(Name::MaxForwards, hops);
        writer.header(Name::From, &[&self.local, b";tag=", self.local_tag.as_bytes()]);
        if self.remote_tag.is_empty() {
            writer.header(Name::To, &[&self.remote]);
        } else {
            writer.header(Name::To, &[&self.remote, b";tag=", &self.remote_tag]);
        }
        writer.header(Name::CallId, &[&self.call_id]);
        writer.cseq(cseq, method.as_bytes());
        if let Some(id) = &self.session_id {
            id.write(&mut writer);
        }
        writer
    }

    /// Where the next request goes: the first route or the target, if it names an IP address that
    /// one of our sockets reaches, else where the peer was last heard. A transport that it does
    /// not name stays as it was.
    pub fn next_hop(&self, last: Flow, locals: &[Local]) -> Flow {
        if self.behind_nat {
            return last;
        }
        let first = self.routes.first().and_then(|r| Address::read(r)).map(|a| a.uri);
        let hop = first.or(Some(&self.remote_target)).and_then(|uri| literal(uri, last.transport));
        let flow = hop.and_then(|(transport, remote)| {
            let known = locals.iter().any(|l| l.transport == transport);
            flow_to(if known { transport } else { last.transport }, remote, last.socket, locals)
        });
        flow.unwrap_or(last)
    }
}

/// The way to `remote`: from our socket `near` where it fits, else from the first that does.
pub fn flow_to(
    transport: Transport,
    remote: SocketAddr,
    near: u16,
    locals: &[Local],
) -> Option<Flow> {
    let fits = |l: &Local| l.transport == transport && l.address.is_ipv4() == remote.is_ipv4();
    let socket = match locals.get(usize::from(near)) {
        Some(local) if fits(local) => near,
        _ => u16::try_from(locals.iter().position(fits)?).ok()?,
    };
    Some(Flow { transport, socket, remote })
}

/// Writes the Record-Route of a request into its dialog-forming response (RFC 3261, 12.1.1).
pub fn copy_record_route(request: &Message, writer: &mut Writer) {
    for route in request.values(Name::RecordRoute) {
        writer.header(Name::RecordRoute, &[route]);
    }
}

/// The CANCEL of an INVITE that we sent (RFC 3261, 9.1).
pub fn cancel_of(invite: &Bytes, reason: &[u8]) -> Option<Bytes> {
    let invite = Message::read(invite.clone()).ok()?;
    let mut cancel = Writer::request(b"CANCEL", invite.request_uri());
    cancel.header(Name::Via, &[invite.top_via()?]);
    for route in invite.values(Name::Route) {
        cancel.header(Name::Route, &[route]);
    }
    cancel.number(Name::MaxForwards, 70);
    for name in [Name::From, Name::To, Name::CallId] {
        cancel.header(name, &[invite.value(name)?]);
    }
    cancel.cseq(invite.cseq()?.number, b"CANCEL");
    if let Some(id) = invite.value_of("Session-ID") {
        cancel.named(b"Session-ID", &[id]);
    }
    if !reason.is_empty() {
        cancel.header(Name::Reason, &[reason]);
    }
    Some(cancel.finish(b"", b""))
}

/// Where the peer wants requests; nowhere new, if its Contact is no URI that we could write.
fn target(message: &Message) -> Option<Vec<u8>> {
    let uri = message.address(Name::Contact)?.uri;
    Uri::read(uri).is_some_and(|u| u.is_sip()).then(|| uri.to_vec())
}

fn is_loose(route: &[u8]) -> bool {
    let uri = Address::read(route).map_or(&b""[..], |a| a.uri);
    Uri::read(uri).is_some_and(|u| param(u.params, "lr").is_some())
}

/// Transport and address of a URI that names an IP address.
fn literal(uri: &[u8], usual: Transport) -> Option<(Transport, SocketAddr)> {
    let uri = Uri::read(uri)?;
    let host = uri.host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(uri.host);
    let ip: IpAddr = std::str::from_utf8(host).ok()?.parse().ok()?;
    let secure = uri.scheme.eq_ignore_ascii_case(b"sips").then_some(Transport::Tls);
    let asked = secure.or_else(|| Transport::named(param(uri.params, "transport")?));
    let transport = asked.unwrap_or(usual);
    Some((transport, SocketAddr::new(ip, uri.port.unwrap_or(transport.port()))))
}

/// A peer that names one address in Via and sends from another sits behind a NAT, unless it sends
/// through a proxy (then the second Via is its own).
fn behind_nat(request: &Message, source: IpAddr) -> bool {
    let through_proxy = request.list(Name::Via).nth(1).is_some();
    let Some(via) = request.via().filter(|_| !through_proxy) else { return false };
    let host = std::str::from_utf8(via.host).unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_ok_and(|named| named != source)
}

/// Addresses that mean something only in their own network (RFC 1918, 6598, 3927, 4193).
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(a) => {
            let [first, second, ..] = a.octets();
            let shared = first == 100 && (64..128).contains(&second);
            a.is_private() || a.is_link_local() || a.is_loopback() || shared
        }
        IpAddr::V6(a) => a.is_unique_local() || a.is_unicast_link_local() || a.is_loopback(),
    }
}

/// A From or To value on one line and without its `tag` parameter.
fn flat_without_tag(value: &[u8]) -> Vec<u8> {
    let mut flat: Vec<u8> = value.iter().map(|&b| if is_space(b) { b' ' } else { b }).collect();
    let (head, params) = match flat.iter().rposition(|&b| b == b'>') {
        Some(at) => flat.split_at(at + 1),
        None => match flat.iter().position(|&b| b == b';') {
            Some(at) => flat.split_at(at),
            None => return flat,
        },
    };
    let mut kept = head.to_vec();
    for element in crate::message::text::elements(params, b';') {
        let is_tag = element.get(..3).is_some_and(|t| t.eq_ignore_ascii_case(b"tag"))
            && element.get(3).is_none_or(|&b| b == b'=' || is_space(b));
        if !is_tag {
            kept.push(b';');
            kept.extend_from_slice(element);
        }
    }
    flat = kept;
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Local {
        Local::new(Transport::Udp, "192.0.2.1:5060".parse().unwrap())
    }

    fn dialog(routes: &[&str]) -> Dialog {
        Dialog {
            call_id: b"x@h".to_vec(),
            local_tag: "ours".to_owned(),
            remote_tag: b"theirs".to_vec(),
            local: b"<sip:us@192.0.2.1>".to_vec(),
            remote: b"<sip:them@h>".to_vec(),
            remote_target: b"sip:c@192.0.2.7:5070".to_vec(),
            routes: routes.iter().map(|r| r.as_bytes().to_vec().into()).collect(),
            ..Dialog::default()
        }
    }

    fn written(dialog: &Dialog) -> Message {
        let bytes = dialog.request("BYE", 2, 70, (&local(), "z9hG4bKx")).finish(b"", b"");
        let message = Message::read(bytes).unwrap();
        assert_eq!(message.check(), Ok(()));
        message
    }

    #[test]
    fn flow_67_loose_routes_keep_the_target_as_request_uri() {
        let bye = written(&dialog(&["<sip:192.0.2.8;lr>", "<sip:p2;lr>"]));
        assert_eq!(bye.request_uri(), b"sip:c@192.0.2.7:5070");
        let routes: Vec<_> = bye.values(Name::Route).collect();
        assert_eq!(routes, [&b"<sip:192.0.2.8;lr>"[..], b"<sip:p2;lr>"]);
    }

    #[test]
    fn flow_68_a_strict_router_takes_the_request_uri() {
        let bye = written(&dialog(&["<sip:192.0.2.8>", "<sip:p2;lr>"]));
        assert_eq!(bye.request_uri(), b"sip:192.0.2.8");
        let routes: Vec<_> = bye.values(Name::Route).collect();
        assert_eq!(routes, [&b"<sip:p2;lr>"[..], b"<sip:c@192.0.2.7:5070>"]);
    }

    #[test]
    fn flow_66_the_contact_is_where_requests_go() {
        let last = Flow {
            transport: Transport::Udp,
            socket: 0,
            remote: "192.0.2.99:5060".parse().unwrap(),
        };
        let ours = [local()];
        assert_eq!(dialog(&[]).next_hop(last, &ours).remote, "192.0.2.7:5070".parse().unwrap());
        let routed = dialog(&["<sip:192.0.2.8;lr>"]);
        assert_eq!(routed.next_hop(last, &ours).remote, "192.0.2.8:5060".parse().unwrap());
        let nat = Dialog { behind_nat: true, ..dialog(&[]) };
        assert_eq!(nat.next_hop(last, &ours), last);
    }

    #[test]
    fn flow_73_the_target_says_by_which_transport() {
        let at = |transport, address: &str| Local::new(transport, address.parse().unwrap());
        let ours = [
            at(Transport::Udp, "192.0.2.1:5060"),
            at(Transport::Udp, "[2001:db8::1]:5060"),
            at(Transport::Tcp, "192.0.2.1:5060"),
        ];
        let last = Flow {
            transport: Transport::Tcp,
            socket: 2,
            remote: "192.0.2.99:40000".parse().unwrap(),
        };
        let next = |target: &str| {
            let dialog = Dialog { remote_target: target.as_bytes().to_vec(), ..dialog(&[]) };
            let flow = dialog.next_hop(last, &ours);
            format!("{} {} {}", flow.transport.name(), flow.socket, flow.remote)
        };
        assert_eq!(next("sip:c@192.0.2.7"), "tcp 2 192.0.2.7:5060");
        assert_eq!(next("sip:c@192.0.2.7:5070;transport=UDP"), "udp 0 192.0.2.7:5070");
        assert_eq!(next("sip:c@[2001:db8::7];transport=udp"), "udp 1 [2001:db8::7]:5060");
        // No socket of ours speaks TLS, or TCP over IPv6.
        assert_eq!(next("sips:c@192.0.2.7"), "tcp 2 192.0.2.7:5061");
        assert_eq!(next("sip:c@[2001:db8::7]"), "tcp 2 192.0.2.99:40000");
        assert_eq!(ours[2].uri("us"), "sip:us@192.0.2.1:5060;transport=tcp");
        assert_eq!(ours[1].uri(""), "sip:[2001:db8::1]:5060");
    }

    #[test]
    fn tags_are_cut_wherever_they_stand() {
        let cut = |v: &str| String::from_utf8(flat_without_tag(v.as_bytes())).unwrap();
        assert_eq!(
            cut("\"a;tag=z\" <sip:a@b;tag=no>;x=1; tag = 5;y"),
            "\"a;tag=z\" <sip:a@b;tag=no>;x=1;y"
        );
        assert_eq!(cut("sip:a@b;tag=1"), "sip:a@b");
        assert_eq!(cut("<sip:a@b>\r\n ;tag=1"), "<sip:a@b>");
    }
}
