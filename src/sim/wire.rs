//! SIP as text: finds headers in what came, writes what goes. The simulators are also the oracle
//! of the demo, so they share no line with the product's own parser.

use std::fmt::Write as _;

/// Short names of headers and their long ones (RFC 3261, 7.3.3).
const SHORT: [(&str, &str); 7] = [
    ("v", "Via"),
    ("f", "From"),
    ("t", "To"),
    ("i", "Call-ID"),
    ("m", "Contact"),
    ("c", "Content-Type"),
    ("l", "Content-Length"),
];

/// A received message.
#[derive(Clone, Debug)]
pub struct Message {
    raw: String,
    first: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Message {
    /// Reads a datagram; `None` where it is no text or has no end of headers.
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let raw = std::str::from_utf8(datagram).ok()?;
        let (head, body) = raw.split_once("\r\n\r\n")?;
        let (first, head) = head.split_once("\r\n")?;
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            let name = name.trim();
            let long = SHORT.iter().find(|(short, _)| short.eq_ignore_ascii_case(name));
            let name = long.map_or(name, |(_, long)| long);
            Some((name.to_owned(), value.trim().to_owned()))
        };
        Some(Self {
            raw: raw.to_owned(),
            first: first.to_owned(),
            headers: head.split("\r\n").filter_map(header).collect(),
            body: body.to_owned(),
        })
    }

    /// The whole text, as it came.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The body.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The status code of a response.
    pub fn status(&self) -> Option<u16> {
        self.first.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&str> {
        let (method, rest) = self.first.split_once(' ')?;
        rest.ends_with("SIP/2.0").then_some(method)
    }

    /// The Request-URI.
    pub fn uri(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    /// Values of a header, in order.
    pub fn all<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &**v)
    }

    /// The first value of a header; empty where there is none.
    pub fn one(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, v)| v)
    }

    /// The number of the CSeq.
    pub fn cseq(&self) -> u32 {
        self.one("CSeq").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_default()
    }

    /// The method that the CSeq names.
    pub fn cseq_method(&self) -> &str {
        self.one("CSeq").split_ascii_whitespace().nth(1).unwrap_or_default()
    }

    /// Where the SDP of the body wants its audio: address and port.
    pub fn audio(&self) -> Option<std::net::SocketAddr> {
        let line = |start: &str| self.body.lines().find_map(|l| l.strip_prefix(start));
        let ip = line("c=IN IP4 ")?.trim().parse().ok()?;
        let port = line("m=audio ")?.split(' ').next()?.parse().ok()?;
        Some(std::net::SocketAddr::new(ip, port))
    }

    /// The direction that the SDP of the body names; `sendrecv` where it names none.
    pub fn direction(&self) -> &str {
        let known = ["sendrecv", "sendonly", "recvonly", "inactive"];
        let mut attributes = self.body.lines().filter_map(|l| l.strip_prefix("a="));
        attributes.find(|a| known.contains(a)).unwrap_or("sendrecv")
    }
}

/// The display name of a From or To, without quotes.
pub fn display(value: &str) -> &str {
    value.split_once('<').map_or("", |(name, _)| name.trim().trim_matches('"'))
}

/// The URI of a From, To or Contact.
pub fn uri(value: &str) -> &str {
    let inside = value.split_once('<').map_or(value, |(_, rest)| rest);
    inside.split(['>', ';']).next().unwrap_or_default().trim()
}

/// The user part of a URI.
pub fn user(uri: &str) -> &str {
    let after = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    after.split_once('@').map_or("", |(user, _)| user)
}

/// A parameter of a header value: after `;` or `,`, with or without quotes.
pub fn param<'v>(value: &'v str, name: &str) -> Option<&'v str> {
    let outside = value.rsplit_once('>').map_or(value, |(_, rest)| rest);
    let mut parts = outside.split([';', ',', ' ']).filter_map(|part| part.split_once('='));
    let found = parts.find(|(n, _)| n.trim().eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().trim_matches('"'))
}

/// A message that is being written.
#[derive(Clone, Debug)]
pub struct Text(String);

impl Text {
    /// A request's first line.
    pub fn request(method: &str, uri: &str) -> Self {
        Self(format!("{method} {uri} SIP/2.0\r\n"))
    }

    /// A response: Via, From, To, Call-ID, CSeq and Record-Route of its request; `tag` is added to
    /// To where it has none.
    pub fn response(request: &Message, status: &str, tag: &str) -> Self {
        let mut text = Self(format!("SIP/2.0 {status}\r\n"));
        for name in ["Via", "Record-Route", "From"] {
            for value in request.all(name) {
                text = text.header(name, value);
            }
        }
        let to = request.one("To");
        let tagged = param(to, "tag").is_some() || tag.is_empty();
        let tag = if tagged { String::new() } else { format!(";tag={tag}") };
        text = text.header("To", &format!("{to}{tag}"));
        text.header("Call-ID", request.one("Call-ID")).header("CSeq", request.one("CSeq"))
    }

    /// One header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.0, "{name}: {value}\r\n");
        self
    }

    /// The whole message; a body is SDP.
    pub fn finish(mut self, body: &str) -> Vec<u8> {
        if !body.is_empty() {
            self.0.push_str("Content-Type: application/sdp\r\n");
        }
        let _ = write!(self.0, "Content-Length: {}\r\n\r\n{body}", body.len());
        self.0.into_bytes()
    }
}

/// Audio at `at`: PCMA, PCMU and telephone events, in one direction or both.
pub fn sdp(owner: &str, at: std::net::SocketAddr, version: u32, direction: &str) -> String {
    let (ip, port) = (at.ip(), at.port());
    format!(
        "v=0\r\no={owner} 20150724 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na={direction}\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back() {
        let body = sdp("x", "127.0.0.2:4000".parse().unwrap(), 1, "sendonly");
        let bytes = Text::request("INVITE", "sip:61255501234@ip.example")
            .header("f", "\"61491570156\" <sip:sip12@ip.example>;tag=a1")
            .header("To", "<sip:61255501234@ip.example>")
            .header("i", "x@y")
            .header("CSeq", "7 INVITE")
            .finish(&body);
        let message = Message::read(&bytes).unwrap();
        assert_eq!((message.method(), message.status()), (Some("INVITE"), None));
        assert_eq!((message.cseq(), message.cseq_method()), (7, "INVITE"));
        let from = message.one("From");
        assert_eq!((display(from), user(uri(from))), ("61491570156", "sip12"));
        assert_eq!((param(from, "tag"), message.one("Call-ID")), (Some("a1"), "x@y"));
        assert_eq!(message.audio(), Some("127.0.0.2:4000".parse().unwrap()));
        assert_eq!((message.direction(), user(message.uri())), ("sendonly", "61255501234"));

        let answer = Text::response(&message, "200 OK", "b1").finish("");
        let answer = Message::read(&answer).unwrap();
        assert_eq!((answer.status(), answer.method()), (Some(200), None));
        assert_eq!(param(answer.one("To"), "tag"), Some("b1"));
    }

    #[test]
    fn parameters_are_found_with_and_without_quotes() {
        let value = "Digest username=\"sip12\", realm=\"a b\",nonce=\"n=1\", nc=00000001";
        assert_eq!(param(value, "username"), Some("sip12"));
        assert_eq!(param(value, "nonce"), Some("n=1"));
        assert_eq!(param(value, "nc"), Some("00000001"));
        assert_eq!(param(value, "qop"), None);
        assert!(Message::read(b"half a mess\r\nage").is_none());
    }
}
