//! Messages that leave: one writer, and the one place where CR, LF and NUL are kept out.

use bytes::Bytes;

use crate::message::name::Name;
use crate::message::text::is_space;

/// Writes one message, header by header.
///
/// Whatever is given as a value, display name or URI goes through `Writer::flat`: a line break or
/// NUL inside becomes a space, so no value can add a header (security S10, S11).
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Begins a request.
    pub fn request(method: &[u8], uri: &[u8]) -> Self {
        let mut writer = Self { out: Vec::with_capacity(1024) };
        writer.flat(method);
        writer.out.push(b' ');
        writer.flat(uri);
        writer.out.extend_from_slice(b" SIP/2.0\r\n");
        writer
    }

    /// Begins a response; an empty reason phrase is replaced by the standard one.
    pub fn response(code: u16, reason: &[u8]) -> Self {
        let mut writer = Self { out: Vec::with_capacity(768) };
        writer.out.extend_from_slice(b"SIP/2.0 ");
        writer.decimal(u32::from(code));
        writer.out.push(b' ');
        writer.flat(if reason.is_empty() { reason_phrase(code).as_bytes() } else { reason });
        writer.out.extend_from_slice(b"\r\n");
        writer
    }

    /// Adds a header with a value given in pieces.
    pub fn header(&mut self, name: Name, pieces: &[&[u8]]) -> &mut Self {
        self.named(name.text().as_bytes(), pieces)
    }

    /// Adds a header by its name.
    pub fn named(&mut self, name: &[u8], pieces: &[&[u8]]) -> &mut Self {
        self.flat(name);
        self.out.extend_from_slice(b": ");
        for piece in pieces {
            self.flat(piece);
        }
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Adds a header whose value is a number.
    pub fn number(&mut self, name: Name, value: u32) -> &mut Self {
        self.out.extend_from_slice(name.text().as_bytes());
        self.out.extend_from_slice(b": ");
        self.decimal(value);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Adds `CSeq`.
    pub fn cseq(&mut self, number: u32, method: &[u8]) -> &mut Self {
        self.out.extend_from_slice(b"CSeq: ");
        self.decimal(number);
        self.out.push(b' ');
        self.flat(method);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Ends the headers and adds the body. An empty `content_type` means that there is no body.
    pub fn finish(mut self, content_type: &[u8], body: &[u8]) -> Bytes {
        let body = if content_type.is_empty() { &[][..] } else { body };
        if !body.is_empty() {
            self.header(Name::ContentType, &[content_type]);
        }
        self.number(Name::ContentLength, u32::try_from(body.len()).unwrap_or(0));
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(body);
        // Some are kept for 32 s: without the room that was left to write in.
        Bytes::copy_from_slice(&self.out)
    }

    /// Adds bytes with folding undone and control characters that end a line kept out.
    fn flat(&mut self, bytes: &[u8]) {
        // Without a way out in the middle the compiler looks at many bytes at once.
        let ends = bytes.iter().fold(false, |ends, b| ends | matches!(b, b'\r' | b'\n' | 0));
        if !ends {
            self.out.extend_from_slice(bytes);
            return;
        }
        let mut gap = false;
        for &byte in bytes {
            let space = byte == 0 || (is_space(byte) && (gap || byte != b' '));
            if space {
                gap = true;
            } else {
                if std::mem::take(&mut gap) {
                    self.out.push(b' ');
                }
                self.out.push(byte);
            }
        }
    }

    fn decimal(&mut self, value: u32) {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
}

/// A display name as a quoted string (RFC 3261, 25.1), with the space that follows it; nothing for
/// an empty one.
pub fn quoted(display: &str) -> String {
    if display.is_empty() {
        return String::new();
    }
    let mut text = String::with_capacity(display.len() + 3);
    text.push('"');
    for c in display.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push_str("\" ");
    text
}

/// The standard reason phrase (RFC 3261, 21, and the RFCs that add codes).
pub const fn reason_phrase(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        422 => "Session Interval Too Small",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => match code / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Redirection",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::view::Message;

    #[test]
    fn what_is_written_reads_back() {
        let mut writer = Writer::request(b"INVITE", b"sip:a@b");
        writer
            .header(Name::Via, &[b"SIP/2.0/UDP h;branch=z9hG4bK1"])
            .header(Name::From, &[quoted("J \"D\"").as_bytes(), b"<sip:a@b>;tag=1"])
            .header(Name::To, &[b"<sip:c@d>"])
            .header(Name::CallId, &[b"x"])
            .cseq(4_294_967, b"INVITE");
        let bytes = writer.finish(b"application/sdp", b"v=0\r\n");
        let m = Message::read(bytes).unwrap();
        assert_eq!(m.check(), Ok(()));
        assert_eq!(m.address(Name::From).unwrap().display_text(), "J \"D\"");
        assert_eq!(m.cseq().unwrap().number, 4_294_967);
        assert_eq!(m.body(), b"v=0\r\n");
    }

    #[test]
    fn s11_no_value_can_add_a_header() {
        let mut writer = Writer::response(200, b"OK\r\nX-Evil: 1");
        writer.named(b"X-A", &[b"1\r\nX-Evil: 2\0", b"\n\n body"]).header(Name::To, &[b"a\r\n b"]);
        let m = Message::read(writer.finish(b"", b"")).unwrap();
        assert!(m.value_of("X-Evil").is_none());
        assert_eq!(m.headers().count(), 3);
        assert_eq!(m.value(Name::To), Some(&b"a b"[..]));
        assert_eq!(quoted("a\r\nb"), "\"ab\" ");
    }
}
