//! `Via`: where a request came through and where its responses go (RFC 3261, 18.2; RFC 3581).

use std::net::{IpAddr, SocketAddr};

use crate::message::address::host_and_port;
use crate::message::text::{elements, is_token, number, param, split_outside, trim};

/// The prefix of branches that are unique (RFC 3261, 8.1.1.7).
pub const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

/// One `Via` element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The SIP version as written, `2.0`.
    pub version: &'a [u8],
    /// UDP, TCP, TLS, ... as written.
    pub transport: &'a [u8],
    /// The host of `sent-by`.
    pub host: &'a [u8],
    /// The port of `sent-by`.
    pub port: Option<u16>,
    /// All parameters.
    pub params: &'a [u8],
}

impl<'a> Via<'a> {
    /// Reads one element: `SIP / 2.0 / UDP host:port ;params`, white space where it is allowed.
    /// Any version is read, so that a request of another one can be told so.
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let (protocol_and_host, params) = split_outside(value, b';');
        let mut parts = protocol_and_host.splitn(3, |&b| b == b'/');
        let (name, version, rest) = (parts.next()?, trim(parts.next()?), trim(parts.next()?));
        if !trim(name).eq_ignore_ascii_case(b"SIP") || !is_token(version) {
            return None;
        }
        let end = rest.iter().position(|&b| crate::message::text::is_space(b))?;
        let (host, port) = host_and_port(rest.get(end..)?)?;
        let transport = rest.get(..end)?;
        let params = params.unwrap_or_default();
        Some(Self { version, transport, host, port, params })
    }

    /// The branch; empty where there is none (RFC 2543).
    pub fn branch(&self) -> &'a [u8] {
        param(self.params, "branch").unwrap_or_default()
    }

    /// Whether the sender asks for the response at its source port (RFC 3581).
    pub fn wants_rport(&self) -> bool {
        param(self.params, "rport").is_some()
    }

    /// Where a response goes over UDP (RFC 3261, 18.2.2; RFC 3581): to the address that the
    /// request came from, on its port if `rport` was asked for, else on the `sent-by` port.
    ///
    /// `maddr` is not honoured: it would let a request aim our answers at a third party.
    pub fn answer_to(&self, source: SocketAddr) -> SocketAddr {
        if self.wants_rport() {
            return source;
        }
        SocketAddr::new(source.ip(), self.port.unwrap_or(5060))
    }

    /// Where a response goes when the connection that its request came by has gone: to the port of
    /// `sent-by`, at the address that the request came from (RFC 3261, 18.2.2). Read from the
    /// response itself, in which that address is `received` unless it was written there before.
    pub fn answer_anew(&self, usual_port: u16) -> Option<SocketAddr> {
        let host = param(self.params, "received").unwrap_or(self.host);
        let host = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(host);
        let ip: IpAddr = std::str::from_utf8(host).ok()?.parse().ok()?;
        Some(SocketAddr::new(ip, self.port.unwrap_or(usual_port)))
    }

    /// Writes the element as a response carries it: with `received` and `rport` filled in.
    pub fn write_received(&self, raw: &[u8], source: SocketAddr, out: &mut Vec<u8>) {
        let (protocol_and_host, params) = split_outside(raw, b';');
        push_flat(trim(protocol_and_host), out);
        let wants_rport = self.wants_rport();
        for element in elements(params.unwrap_or_default(), b';') {
            let key = trim(split_outside(element, b'=').0);
            let ours = key.eq_ignore_ascii_case(b"received") || key.eq_ignore_ascii_case(b"rport");
            if !ours {
                out.push(b';');
                push_flat(element, out);
            }
        }
        if wants_rport {
            out.extend_from_slice(b";rport=");
            out.extend_from_slice(itoa::Buffer::new().format(source.port()).as_bytes());
        }
        if wants_rport || !self.host_is(source.ip()) {
            out.extend_from_slice(format!(";received={}", source.ip()).as_bytes());
        }
    }

    /// Whether the host of `sent-by` is this address, however it is written (RFC 5118, 4.5).
    pub fn host_is(&self, ip: IpAddr) -> bool {
        let host = self.host.strip_prefix(b"[").unwrap_or(self.host);
        let host = host.strip_suffix(b"]").unwrap_or(host);
        std::str::from_utf8(host).ok().and_then(|h| h.parse::<IpAddr>().ok()) == Some(ip)
    }

    /// `ttl`, where it is given.
    pub fn ttl(&self) -> Option<u32> {
        param(self.params, "ttl").and_then(number)
    }
}

fn push_flat(bytes: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    out.extend_from_slice(bytes);
    for byte in out.iter_mut().skip(from).filter(|b| matches!(b, b'\r' | b'\n' | 0)) {
        *byte = b' ';
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::text::lossy;

    fn received(raw: &[u8], source: &str) -> String {
        let mut out = Vec::new();
        Via::read(raw).unwrap().write_received(raw, source.parse().unwrap(), &mut out);
        lossy(&out)
    }

    #[test]
    fn read_with_all_white_space_that_is_allowed() {
        let via =
            Via::read(b"SIP  / 2.0\r\n /UDP\r\n    192.0.2.2:5070 ;branch=390skdjuw").unwrap();
        assert_eq!(
            (via.transport, via.host, via.port),
            (&b"UDP"[..], &b"192.0.2.2"[..], Some(5070))
        );
        assert_eq!(via.branch(), b"390skdjuw");
        assert_eq!(Via::read(b"SIP/2.0/UDP"), None);
        assert_eq!(Via::read(b"SIP/7.0/UDP c.example.com").unwrap().version, b"7.0");
        assert_eq!(Via::read(b"SIP//UDP c.example.com"), None);
    }

    #[test]
    fn responses_carry_received_and_rport() {
        assert_eq!(
            received(b"SIP/2.0/UDP 10.0.0.1:5060;branch=z9;rport", "192.0.2.9:6000"),
            "SIP/2.0/UDP 10.0.0.1:5060;branch=z9;rport=6000;received=192.0.2.9"
        );
        assert_eq!(
            received(b"SIP/2.0/UDP 192.0.2.9;branch=z9", "192.0.2.9:6000"),
            "SIP/2.0/UDP 192.0.2.9;branch=z9"
        );
    }

    #[test]
    fn flow_75_a_lost_connection_is_replaced_by_what_via_says() {
        let anew = |raw: &str| Via::read(raw.as_bytes()).unwrap().answer_anew(5060);
        let address = |text: &str| Some(text.parse().unwrap());
        assert_eq!(anew("SIP/2.0/TCP 192.0.2.9;branch=z"), address("192.0.2.9:5060"));
        let received = "SIP/2.0/TCP h:7;branch=z;rport=40000;received=192.0.2.9";
        assert_eq!(anew(received), address("192.0.2.9:7"));
        assert_eq!(anew("SIP/2.0/TCP [2001:db8::9]:7;branch=z"), address("[2001:db8::9]:7"));
        assert_eq!(anew("SIP/2.0/TCP h:7;branch=z"), None);
    }

    #[test]
    fn answers_go_to_the_source_only() {
        let source = "192.0.2.9:6000".parse().unwrap();
        let spoofed = Via::read(b"SIP/2.0/UDP 198.51.100.1:7;branch=z;maddr=198.51.100.2").unwrap();
        assert_eq!(spoofed.answer_to(source), "192.0.2.9:7".parse().unwrap());
        let rport = Via::read(b"SIP/2.0/UDP h:7;rport;branch=z").unwrap();
        assert_eq!(rport.answer_to(source), source);
    }
}
