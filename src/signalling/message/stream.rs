//! Messages out of a stream of bytes (RFC 3261, 18.3): whatever way the bytes were cut, the same
//! messages come out. Between messages a double CRLF is a ping (RFC 5626, 3.5.1).

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use crate::message::limits::{HEAD_BYTES, MESSAGE_BYTES};
use crate::message::name::Name;
use crate::message::text::number;
use crate::message::view::Message;

/// What a stream yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// One whole message; or the head of one that nothing can follow, then a [`Broken`].
    Message(Bytes),
    /// A keep-alive, to be answered with [`PONG`].
    Ping,
}

/// The answer to a ping.
pub const PONG: &[u8] = b"\r\n";

/// Where the next message begins is not known any more: nothing can be read after this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// What stands where a message must begin is none.
    #[error("no SIP")]
    NoSip,
    /// The header part does not end within [`HEAD_BYTES`].
    #[error("a header part without end")]
    HeadTooLarge,
    /// Content-Length is missing, no number, or differs between two headers.
    #[error("Content-Length missing or wrong")]
    ContentLength,
    /// Head and body together exceed [`MESSAGE_BYTES`].
    #[error("message too large")]
    TooLarge,
}

/// Cuts one stream into messages.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    /// Bytes of the message under way that have been looked at, up to the end of a line.
    lines: usize,
    /// ... and those behind them that hold no end of a line.
    scanned: usize,
    /// Length of the whole message, once its head is there.
    length: Option<usize>,
    /// A CRLF between messages that another one would make a ping.
    half_ping: bool,
    broken: Option<Broken>,
}

impl Framer {
    /// Where bytes that have been read are put.
    pub fn room(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Takes bytes that have been read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a message has begun and is not whole.
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next message or ping; `None`: more bytes are needed.
    ///
    /// # Errors
    /// The stream is of no use any more. The same from then on.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        if self.length.is_none() {
            if self.lines == 0 && self.skip_empty_lines() {
                return Ok(Some(Frame::Ping));
            }
            let Some(head) = self.head_end()? else { return Ok(None) };
            match self.length_of(head) {
                Ok(length) => self.length = Some(length),
                Err(broken) => return self.last_words(head, broken),
            }
        }
        match self.length {
            Some(length) if self.buffer.len() >= length => {
                (self.lines, self.scanned, self.length) = (0, 0, None);
                Ok(Some(Frame::Message(self.take(length))))
            }
            _ => Ok(None),
        }
    }

    /// Eats CRLFs between messages. `true`: two of them, which is a ping.
    fn skip_empty_lines(&mut self) -> bool {
        loop {
            let line_end = match self.buffer.first_chunk::<2>() {
                Some(b"\r\n") => 2,
                _ if self.buffer.first() == Some(&b'\n') => 1,
                _ => {
                    // A lone CR may yet become a CRLF.
                    if !matches!(&self.buffer[..], [] | [b'\r']) {
                        self.half_ping = false;
                    }
                    return false;
                }
            };
            self.buffer.advance(line_end);
            self.half_ping = !self.half_ping;
            if !self.half_ping {
                return true;
            }
        }
    }

    /// Where the body begins: behind the first empty line. Each byte is looked at once.
    fn head_end(&mut self) -> Result<Option<usize>, Broken> {
        loop {
            let rest = self.buffer.get(self.lines + self.scanned..).unwrap_or_default();
            let Some(end) = memchr(b'\n', rest) else {
                self.scanned += rest.len();
                return match self.lines + self.scanned {
                    ..=HEAD_BYTES => Ok(None),
                    _ => Err(self.breaks(Broken::HeadTooLarge)),
                };
            };
            let next = self.lines + self.scanned + end + 1;
            let line = self.buffer.get(self.lines..next).unwrap_or_default();
            let is_empty = matches!(line, b"\n" | b"\r\n");
            if self.lines == 0 && !names_sip(line) {
                return Err(self.breaks(Broken::NoSip));
            }
            (self.lines, self.scanned) = (next, 0);
            if next > HEAD_BYTES {
                return Err(self.breaks(Broken::HeadTooLarge));
            }
            if is_empty {
                return Ok(Some(next));
            }
        }
    }

    /// Length of head and body, by the one Content-Length that a stream needs.
    fn length_of(&self, head: usize) -> Result<usize, Broken> {
        let head_bytes = self.buffer.get(..head).unwrap_or_default();
        let message =
            Message::read(Bytes::copy_from_slice(head_bytes)).map_err(|_| Broken::NoSip)?;
        let mut announced = message.values(Name::ContentLength).map(number);
        let first = announced.next().flatten().ok_or(Broken::ContentLength)?;
        if announced.any(|other| other != Some(first)) {
            return Err(Broken::ContentLength);
        }
        let body = usize::try_from(first).unwrap_or(usize::MAX);
        Some(head.saturating_add(body)).filter(|&all| all <= MESSAGE_BYTES).ok_or(Broken::TooLarge)
    }

    /// The head of a message that cannot be cut out: whoever reads it can still answer 400.
    fn last_words(&mut self, head: usize, broken: Broken) -> Result<Option<Frame>, Broken> {
        let bytes = self.take(head);
        match self.breaks(broken) {
            Broken::NoSip => Err(Broken::NoSip),
            _ => Ok(Some(Frame::Message(bytes))),
        }
    }

    fn breaks(&mut self, broken: Broken) -> Broken {
        self.buffer = BytesMut::new();
        *self.broken.insert(broken)
    }

    /// A copy of its own: what is kept of a message must not hold what was read with it.
    fn take(&mut self, length: usize) -> Bytes {
        Bytes::copy_from_slice(&self.buffer.split_to(length))
    }
}

/// Whether a first line may be that of a message: another protocol is not listened to for long.
fn names_sip(line: &[u8]) -> bool {
    line.windows(4).any(|four| four.eq_ignore_ascii_case(b"SIP/"))
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
