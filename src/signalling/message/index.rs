//! The header index: one pass over the bytes that finds lines, names and values.

use memchr::memchr;

use crate::message::limits;
use crate::message::name::Name;
use crate::message::text::is_token;

/// What is wrong with a message. The peer misbehaved, in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not SIP at all: no start line. Cannot be answered.
    #[error("no SIP start line")]
    StartLine,
    /// A start line of another SIP version.
    #[error("SIP version is not 2.0")]
    Version,
    /// The Request-URI is no URI.
    #[error("bad Request-URI")]
    RequestUri,
    /// Larger than [`limits::MESSAGE_BYTES`].
    #[error("message too large")]
    TooLarge,
    /// More header lines than [`limits::HEADERS`].
    #[error("too many headers")]
    TooManyHeaders,
    /// A line in the header part that is no header.
    #[error("broken header line")]
    HeaderLine,
    /// A header that every message must have is missing or there twice.
    #[error("{} missing, repeated or broken", .0.text())]
    Header(Name),
    /// CSeq names another method than the request line.
    #[error("CSeq method differs from the request's")]
    CSeqMethod,
    /// Content-Length is no number, differs between two headers, or promises more than came.
    #[error("bad Content-Length")]
    ContentLength,
}

/// One header line: offsets into the message. 16 bits do, by [`limits::MESSAGE_BYTES`].
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Which header.
    pub name: Name,
    pub(super) name_at: (u16, u16),
    pub(super) value_at: (u16, u16),
}

/// What the first line says, as offsets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    Request { method: (u16, u16), uri: (u16, u16) },
    Response { code: u16, reason: (u16, u16) },
}

#[derive(Debug)]
pub(super) struct Index {
    pub(super) start: Start,
    pub(super) lines: Vec<Line>,
    /// Where the body begins.
    pub(super) body: u16,
    /// The first fault that does not keep the message from being answered.
    pub(super) fault: Option<Malformed>,
}

/// Indexes one message. `Err` only where nothing could be answered anyway.
pub(super) fn index(bytes: &[u8]) -> Result<Index, Malformed> {
    if bytes.len() > limits::MESSAGE_BYTES {
        return Err(Malformed::TooLarge);
    }
    let mut cursor = Cursor { bytes, at: 0 };
    // Empty lines before the start line are keep-alives (RFC 3261, 7.5).
    let first = loop {
        let (from, to) = cursor.line().ok_or(Malformed::StartLine)?;
        if to > from {
            break (from, to);
        }
    };
    let mut fault = None;
    let start = start_line(bytes, first, &mut fault)?;
    let mut lines: Vec<Line> = Vec::with_capacity(24);
    while let Some((from, to)) = cursor.line() {
        if from == to {
            break;
        }
        if matches!(bytes.get(from), Some(b' ' | b'\t')) {
            match lines.last_mut() {
                // A folded line belongs to the value above; the line break becomes white space.
                Some(line) => line.value_at.1 = short(to),
                None => fault = fault.or(Some(Malformed::HeaderLine)),
            }
        } else if lines.len() == limits::HEADERS {
            fault = fault.or(Some(Malformed::TooManyHeaders));
        } else if let Some(line) = header_line(bytes, from, to) {
            lines.push(line);
        } else {
            fault = fault.or(Some(Malformed::HeaderLine));
        }
    }
    for line in &mut lines {
        line.value_at = trimmed(bytes, line.value_at);
    }
    Ok(Index { start, lines, body: short(cursor.at), fault })
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    /// The next line without its end (CRLF or LF); `None` at the end of the bytes.
    fn line(&mut self) -> Option<(usize, usize)> {
        let rest = self.bytes.get(self.at..).filter(|r| !r.is_empty())?;
        let from = self.at;
        let length = match memchr(b'\n', rest) {
            Some(end) => {
                self.at += end + 1;
                end
            }
            None => {
                self.at = self.bytes.len();
                rest.len()
            }
        };
        let cr = rest.get(..length).is_some_and(|line| line.ends_with(b"\r"));
        Some((from, from + length - usize::from(cr)))
    }
}

fn start_line(
    bytes: &[u8],
    (from, to): (usize, usize),
    fault: &mut Option<Malformed>,
) -> Result<Start, Malformed> {
    let line = bytes.get(from..to).ok_or(Malformed::StartLine)?;
    if let Some(rest) = line.strip_prefix(b"SIP/") {
        let mut parts = rest.splitn(3, |&b| b == b' ');
        let version = parts.next().unwrap_or_default();
        let code = parts.next().and_then(status_code).ok_or(Malformed::StartLine)?;
        if version != b"2.0" {
            return Err(Malformed::Version);
        }
        let reason = parts.next().unwrap_or_default().len();
        return Ok(Start::Response { code, reason: (short(to - reason), short(to)) });
    }
    let method_end = memchr(b' ', line).ok_or(Malformed::StartLine)?;
    let method = line.get(..method_end).unwrap_or_default();
    let version_at = line.iter().rposition(|&b| b == b' ').ok_or(Malformed::StartLine)?;
    let version = line.get(version_at + 1..).unwrap_or_default();
    let is_sip = version.get(..4).is_some_and(|v| v.eq_ignore_ascii_case(b"SIP/"));
    if !is_token(method) || !is_sip || version_at <= method_end {
        // White space at the end of the line is answered with 400 (RFC 4475, 3.1.2.7).
        let tail = crate::message::text::trim(line);
        if is_token(method) && tail.len() < line.len() && tail.ends_with(b"SIP/2.0") {
            *fault = Some(Malformed::RequestUri);
            let uri = (short(from + method_end + 1), short(from + tail.len().saturating_sub(8)));
            return Ok(Start::Request { method: span(from, method_end), uri });
        }
        return Err(Malformed::StartLine);
    }
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        *fault = Some(Malformed::Version);
    }
    let uri = (short(from + method_end + 1), short(from + version_at));
    Ok(Start::Request { method: span(from, method_end), uri })
}

fn span(from: usize, length: usize) -> (u16, u16) {
    (short(from), short(from + length))
}

fn status_code(text: &[u8]) -> Option<u16> {
    let code = crate::message::text::number(text)?;
    (text.len() == 3 && (100..700).contains(&code)).then(|| u16::try_from(code).ok())?
}

fn header_line(bytes: &[u8], from: usize, to: usize) -> Option<Line> {
    let line = bytes.get(from..to)?;
    let colon = memchr(b':', line)?;
    // White space is allowed before the colon (RFC 3261, 7.3.1), and S10 smuggles by it.
    let name = line.get(..colon)?;
    let name_length = name.iter().rposition(|b| !b" \t".contains(b))? + 1;
    let name = name.get(..name_length)?;
    is_token(name).then(|| Line {
        name: Name::of(name),
        name_at: span(from, name_length),
        value_at: (short(from + colon + 1), short(to)),
    })
}

fn trimmed(bytes: &[u8], (from, to): (u16, u16)) -> (u16, u16) {
    let value = bytes.get(usize::from(from)..usize::from(to)).unwrap_or_default();
    let Some(first) = value.iter().position(|&b| !crate::message::text::is_space(b)) else {
        return (from, from);
    };
    let last = value.iter().rposition(|&b| !crate::message::text::is_space(b)).unwrap_or(first);
    (from + short(first), from + short(last + 1))
}

fn short(offset: usize) -> u16 {
    u16::try_from(offset).unwrap_or(u16::MAX)
}
