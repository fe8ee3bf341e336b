//! Addresses: `name-addr`, `addr-spec` and SIP URIs, read in place.

use std::net::IpAddr;

use crate::message::text::{lossy, param, split_outside, trim, unquote};

/// A `From`, `To`, `Contact`, `Route` or identity value, cut into its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// The display name without its quotes (escapes kept); empty where there is none.
    pub display: &'a [u8],
    /// The URI without its angle brackets.
    pub uri: &'a [u8],
    /// The header parameters, without the first `;`.
    pub params: &'a [u8],
}

impl<'a> Address<'a> {
    /// Reads one value. `None` if there is no URI in it or a bracket or quote stays open.
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let (before, after) = split_at_bracket(value)?;
        let Some(after) = after else {
            // addr-spec: parameters after `;` belong to the header (RFC 3261, 20).
            let (uri, params) = split_outside(value, b';');
            let uri = trim(uri);
            let mark = |b: &u8| matches!(b, b'<' | b'>' | b'"' | b' ' | b'\t' | b'\r' | b'\n');
            let plain = !uri.is_empty() && !uri.iter().any(mark);
            return plain.then_some(Self { display: b"", uri, params: params.unwrap_or_default() });
        };
        let end = after.iter().position(|&b| b == b'>')?;
        let params = trim(after.get(end + 1..)?);
        let params = match params.split_first() {
            None => params,
            Some((b';', rest)) => rest,
            Some(_) => return None,
        };
        let uri = trim(after.get(..end)?);
        (!uri.is_empty()).then_some(Self { display: unquote(trim(before)), uri, params })
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&'a [u8]> {
        param(self.params, "tag")
    }

    /// The display name with its escapes undone.
    pub fn display_text(&self) -> String {
        let mut text = Vec::with_capacity(self.display.len());
        let mut escaped = false;
        for &byte in self.display {
            if byte == b'\\' && !escaped {
                escaped = true;
            } else {
                escaped = false;
                text.push(byte);
            }
        }
        lossy(&text)
    }
}

type Halves<'a> = (&'a [u8], Option<&'a [u8]>);

/// Splits before and after the first `<` outside quotes; `None` if a quote stays open.
fn split_at_bracket(value: &[u8]) -> Option<Halves<'_>> {
    match memchr::memchr2(b'<', b'"', value) {
        None => return Some((value, None)),
        Some(at) if value.get(at) == Some(&b'<') => {
            return Some((value.get(..at)?, value.get(at + 1..)));
        }
        Some(_) => {}
    }
    let mut quoted = false;
    let mut escaped = false;
    for (at, &byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'<' if !quoted => return Some((value.get(..at)?, value.get(at + 1..))),
            _ => {}
        }
    }
    (!quoted).then_some((value, None))
}

/// A URI cut into its parts; for schemes other than `sip` and `sips` everything after the colon
/// is in `user` (a `tel:` number, say) and `host` is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The scheme, as written.
    pub scheme: &'a [u8],
    /// The user part, escapes kept; empty where there is none.
    pub user: &'a [u8],
    /// The host: name, IPv4, or IPv6 in its brackets.
    pub host: &'a [u8],
    /// The port.
    pub port: Option<u16>,
    /// URI parameters, without the first `;`.
    pub params: &'a [u8],
    /// URI headers, without the `?`.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a URI. `None` if it has no scheme, a space inside, or a `sip:` host or port that
    /// cannot be one.
    pub fn read(uri: &'a [u8]) -> Option<Self> {
        if uri.iter().fold(false, |bad, &b| bad | (b <= b' ') | (b == b'<') | (b == b'>')) {
            return None;
        }
        let colon = uri.iter().position(|&b| b == b':')?;
        let (scheme, rest) = (uri.get(..colon)?, uri.get(colon + 1..)?);
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
        if scheme.is_empty() || !scheme.iter().all(plain) || rest.is_empty() {
            return None;
        }
        if !scheme.eq_ignore_ascii_case(b"sip") && !scheme.eq_ignore_ascii_case(b"sips") {
            let (user, params) = split_once(rest, b';');
            return Some(Self { scheme, user, host: b"", port: None, params, headers: b"" });
        }
        // The user part may hold `;`, `?` and `/`: the last `@` ends it (RFC 3261, 25.1).
        let (user, rest) = match memchr::memrchr(b'@', rest) {
            Some(at) => (rest.get(..at)?, rest.get(at + 1..)?),
            None => (&b""[..], rest),
        };
        let user = split_once(user, b':').0;
        let (rest, headers) = split_once(rest, b'?');
        let (hostport, params) = split_once(rest, b';');
        let (host, port) = host_and_port(hostport)?;
        Some(Self { scheme, user, host, port, params, headers })
    }

    /// The user part with `%hh` undone, as text.
    pub fn user_text(&self) -> String {
        if memchr::memchr(b'%', self.user).is_none() {
            return lossy(self.user);
        }
        lossy(&unescape(self.user))
    }

    /// Whether the scheme is `sip` or `sips`.
    pub fn is_sip(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"sip") || self.scheme.eq_ignore_ascii_case(b"sips")
    }
}

fn split_once(bytes: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match memchr::memchr(separator, bytes) {
        Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default()),
        None => (bytes, b""),
    }
}

/// Cuts `host[:port]`; an IPv6 host keeps its brackets. `None` if either part cannot be one.
pub fn host_and_port(bytes: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let bytes = trim(bytes);
    let colon = match bytes.first()? {
        b'[' => {
            let end = bytes.iter().position(|&b| b == b']')?;
            let inner = std::str::from_utf8(bytes.get(1..end)?).ok()?;
            inner.parse::<std::net::Ipv6Addr>().ok()?;
            (bytes.len() > end + 1).then_some(end + 1)
        }
        _ => bytes.iter().position(|&b| b == b':'),
    };
    let Some(colon) = colon else { return is_host(bytes).then_some((bytes, None)) };
    let host = trim(bytes.get(..colon)?);
    let port = bytes.get(colon..)?.strip_prefix(b":")?;
    let port = u16::try_from(crate::message::text::number(port)?).ok()?;
    (is_host(host) && port > 0).then_some((host, Some(port)))
}

fn is_host(host: &[u8]) -> bool {
    !host.is_empty()
        && (host.starts_with(b"[")
            || host.iter().all(|&b| {
                b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'%' | 128..)
            }))
}

/// `bytes` with each valid `%hh` replaced by the byte it stands for.
pub fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%'
            && let Some((&[high, low], after)) = tail.split_first_chunk::<2>()
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            plain.push(high << 4 | low);
            rest = after;
        } else {
            plain.push(byte);
        }
    }
    plain
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// An address as URIs write it: IPv6 in brackets (RFC 3261, 25.1).
pub fn host(ip: IpAddr) -> String {
    if ip.is_ipv4() { ip.to_string() } else { format!("[{ip}]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_addr_and_addr_spec() {
        let a = Address::read(br#""Watson, \"T\"" <sip:w@h;lr>;tag=1 "#).unwrap();
        assert_eq!(a.display_text(), "Watson, \"T\"");
        assert_eq!(a.uri, b"sip:w@h;lr");
        assert_eq!(a.tag(), Some(&b"1"[..]));
        let b = Address::read(b"sip:vivekg@chair-dnrc.example.com;unknownparam").unwrap();
        assert_eq!(
            (b.uri, b.params),
            (&b"sip:vivekg@chair-dnrc.example.com"[..], &b"unknownparam"[..])
        );
        let c = Address::read(b"caller<sip:caller@example.com>;tag=323").unwrap();
        assert_eq!((c.display, c.tag()), (&b"caller"[..], Some(&b"323"[..])));
    }

    #[test]
    fn what_is_no_address() {
        for bad in [&b""[..], b"<>", b"<sip:a@b", b"\"open <sip:a@b>", b"a b c", b"<sip:a@b> x"] {
            assert_eq!(Address::read(bad), None, "{}", lossy(bad));
        }
    }

    #[test]
    fn uris_of_every_shape() {
        let u = Uri::read(b"sip:user;par=u%40example.net@example.com:5070;lr?X=1").unwrap();
        assert_eq!(u.user_text(), "user;par=u@example.net");
        assert_eq!((u.host, u.port, u.params), (&b"example.com"[..], Some(5070), &b"lr"[..]));
        assert_eq!(u.headers, b"X=1");
        let v6 = Uri::read(b"sips:[2001:db8::10]:5061").unwrap();
        assert_eq!((v6.host, v6.port), (&b"[2001:db8::10]"[..], Some(5061)));
        let tel = Uri::read(b"tel:+61-491-570-156;phone-context=x").unwrap();
        assert_eq!((tel.user, tel.params), (&b"+61-491-570-156"[..], &b"phone-context=x"[..]));
        assert!(!tel.is_sip());
        for bad in [
            &b"sip:"[..],
            b"sip:a@",
            b"sip:a@h:99999",
            b"sip:a@h:0",
            b"no",
            b"sip:a b@h",
            b"sip:[::1",
            b"sip:[zz]",
            b"<sip:a@b>",
        ] {
            assert_eq!(Uri::read(bad), None, "{}", lossy(bad));
        }
    }
}
