//! Small readers over bytes: trimming, splitting outside quotes and angle brackets, parameters; and
//! small writers of numbers.

use std::net::{IpAddr, SocketAddr};

/// Whether `byte` is white space in a header value: folding has left CR and LF inside.
pub const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// `bytes` without white space at either end.
pub fn trim(bytes: &[u8]) -> &[u8] {
    if let [first, .., last] = bytes
        && !is_space(*first)
        && !is_space(*last)
    {
        return bytes;
    }
    let Some(first) = bytes.iter().position(|&b| !is_space(b)) else { return &[] };
    let last = bytes.iter().rposition(|&b| !is_space(b)).unwrap_or(first);
    bytes.get(first..=last).unwrap_or_default()
}

/// Splits at the first `separator` that stands outside double quotes and angle brackets.
/// The separator is dropped; `None` on the right means that there was none.
pub fn split_outside(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    if bytes.first() == Some(&separator) {
        return (&[], bytes.get(1..));
    }
    // Most values have neither quotes nor brackets before their first separator.
    match memchr::memchr3(separator, b'"', b'<', bytes) {
        None => return (bytes, None),
        Some(at) if bytes.get(at) == Some(&separator) => {
            return (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..));
        }
        Some(_) => {}
    }
    let mut quoted = false;
    let mut escaped = false;
    let mut depth = 0_u32;
    for (at, &byte) in bytes.iter().enumerate() {
        if escaped {
            escaped = false;
        } else if quoted {
            match byte {
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
        } else if byte == separator && depth == 0 {
            return (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..));
        } else {
            match byte {
                b'"' => quoted = true,
                b'<' => depth += 1,
                b'>' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
    (bytes, None)
}

/// The elements of a list, trimmed, empty ones left out.
pub fn elements(bytes: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        loop {
            let (element, tail) = split_outside(rest?, separator);
            rest = tail;
            let element = trim(element);
            if !element.is_empty() {
                return Some(element);
            }
        }
    })
}

/// The value of parameter `name` in `;name=value;...` (the first `;` may be missing).
///
/// `Some(b"")` for a parameter without a value. A quoted value comes without its quotes.
pub fn param<'a>(params: &'a [u8], name: &str) -> Option<&'a [u8]> {
    for element in elements(params, b';') {
        let (key, value) = split_outside(element, b'=');
        if trim(key).eq_ignore_ascii_case(name.as_bytes()) {
            return Some(unquote(trim(value.unwrap_or_default())));
        }
    }
    None
}

/// `bytes` without one pair of double quotes round it.
pub fn unquote(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\"").and_then(|b| b.strip_suffix(b"\"")).unwrap_or(bytes)
}

/// A decimal number of at most ten digits; leading zeros are fine.
pub fn number(bytes: &[u8]) -> Option<u32> {
    let bytes = trim(bytes);
    if bytes.is_empty() || bytes.len() > 32 {
        return None;
    }
    let mut value = 0_u32;
    for &byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?;
    }
    Some(value)
}

/// Whether `bytes` is a token (RFC 3261, 25.1) and not empty.
pub fn is_token(bytes: &[u8]) -> bool {
    let mark =
        |b| matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
    !bytes.is_empty() && bytes.iter().all(|&b| b.is_ascii_alphanumeric() || mark(b))
}

/// Appends `value` in decimal.
pub fn decimal(out: &mut String, value: u32) {
    out.push_str(itoa::Buffer::new().format(value));
}

/// An address with its port, as its `Display` writes it, without the cost of a formatter: each
/// call writes a dozen.
pub fn socket_text(address: SocketAddr) -> String {
    let IpAddr::V4(ip) = address.ip() else { return address.to_string() };
    let mut text = String::with_capacity(21);
    for octet in ip.octets() {
        if !text.is_empty() {
            text.push('.');
        }
        decimal(&mut text, octet.into());
    }
    text.push(':');
    decimal(&mut text, address.port().into());
    text
}

/// Appends the last `digits` hexadecimal digits of `value`.
pub fn hex(out: &mut String, value: u64, digits: u32) {
    for place in (0..digits).rev() {
        let digit = u32::try_from((value >> (4 * place)) & 15).unwrap_or_default();
        out.extend(char::from_digit(digit, 16));
    }
}

/// The text of `bytes`, with what is no UTF-8 replaced.
pub fn lossy(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_and_brackets_do_not_split() {
        let list = br#""Doe, \"J" <sip:a@h;x=1,2>;tag=1 , <sip:b@h>,,sip:c@h"#;
        let got: Vec<_> = elements(list, b',').collect();
        assert_eq!(got.len(), 3);
        assert_eq!(got[1], b"<sip:b@h>");
        assert_eq!(got[2], b"sip:c@h");
    }

    #[test]
    fn parameters_in_any_case_quoted_folded_and_bare() {
        let params = b";lr; Tag = a73 ;q=\"a;b\"\r\n ;rport";
        assert_eq!(param(params, "tag"), Some(&b"a73"[..]));
        assert_eq!(param(params, "q"), Some(&b"a;b"[..]));
        assert_eq!(param(params, "rport"), Some(&b""[..]));
        assert_eq!(param(params, "lr"), Some(&b""[..]));
        assert_eq!(param(params, "ttl"), None);
    }

    #[test]
    fn written_as_a_formatter_writes() {
        for address in ["192.0.2.1:5060", "0.0.0.0:0", "255.10.1.99:65535", "[2001:db8::1]:5061"] {
            assert_eq!(socket_text(address.parse().unwrap()), address);
        }
        let mut text = String::new();
        hex(&mut text, 0x0dea_dbee_f012, 16);
        hex(&mut text, 7, 8);
        assert_eq!(text, format!("{:016x}{:08x}", 0x0dea_dbee_f012_u64, 7));
    }

    #[test]
    fn numbers_that_overflow_are_none() {
        assert_eq!(number(b"0009"), Some(9));
        assert_eq!(number(b"4294967296"), None);
        assert_eq!(number(b"-1"), None);
        assert_eq!(number(b""), None);
    }
}
