//! SIP as far as a load tool needs it: finds headers in what came, writes what goes.

use std::fmt::Write as _;
use std::net::SocketAddrV4;

/// A received message: its first line and its header lines.
#[derive(Clone, Copy)]
pub(crate) struct Message<'m> {
    first: &'m str,
    head: &'m str,
}

impl<'m> Message<'m> {
    /// Reads a datagram; `None` where it is no text or has no end of headers.
    pub(crate) fn read(datagram: &'m [u8]) -> Option<Self> {
        let end = datagram.windows(4).position(|at| at == b"\r\n\r\n")?;
        let text = std::str::from_utf8(datagram.get(..end)?).ok()?;
        let (first, head) = text.split_once("\r\n")?;
        Some(Self { first, head })
    }

    /// The status code of a response.
    pub(crate) fn status(&self) -> Option<u16> {
        self.first.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> Option<&'m str> {
        let (method, rest) = self.first.split_once(' ')?;
        rest.ends_with("SIP/2.0").then_some(method)
    }

    /// The user part of the Request-URI, digits only.
    pub(crate) fn dialled(&self) -> String {
        let uri = self.first.split(' ').nth(1).unwrap_or_default();
        let user = uri.split_once(':').map_or(uri, |(_, rest)| rest);
        let user = user.split('@').next().unwrap_or_default();
        user.chars().filter(char::is_ascii_digit).collect()
    }

    /// Values of a header, in order; `compact` is its short name or the same name again.
    pub(crate) fn all(&self, name: &str, compact: &str) -> impl Iterator<Item = &'m str> {
        self.head.split("\r\n").filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            let found = found.trim_end();
            let same = found.eq_ignore_ascii_case(name) || found.eq_ignore_ascii_case(compact);
            same.then(|| value.trim())
        })
    }

    /// The first value of a header.
    pub(crate) fn one(&self, name: &str, compact: &str) -> Option<&'m str> {
        self.all(name, compact).next()
    }

    /// The Call-ID.
    pub(crate) fn call_id(&self) -> Option<&'m str> {
        self.one("Call-ID", "i")
    }

    /// Number and method of the CSeq.
    pub(crate) fn cseq(&self) -> Option<(u32, &'m str)> {
        let (number, method) = self.one("CSeq", "CSeq")?.split_once(' ')?;
        Some((number.parse().ok()?, method.trim()))
    }

    /// The URI inside the Contact.
    pub(crate) fn contact(&self) -> Option<&'m str> {
        let value = self.one("Contact", "m")?;
        let inside = value.split_once('<').map_or(value, |(_, rest)| rest);
        inside.split('>').next()
    }
}

/// What a caller says, with everything that stays the same over its calls.
pub(crate) struct Caller {
    /// Our address.
    pub(crate) local: SocketAddrV4,
    /// Where the calls go.
    pub(crate) target: SocketAddrV4,
    /// The caller's number.
    pub(crate) from: String,
    /// Tells the runs apart in Call-IDs and branches.
    pub(crate) run: u64,
}

impl Caller {
    /// A request of call `n`. `to` carries the remote tag once it is known, `branch` tells the
    /// transactions of one call apart.
    pub(crate) fn request(&self, n: u64, ask: &Ask<'_>) -> Vec<u8> {
        let Self { local, from, run, .. } = self;
        let Ask { method, uri, to, seq, branch, routes, body } = ask;
        let mut text = String::with_capacity(900);
        let _ = write!(
            text,
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{run:x}-{n}-{branch};rport\r\n"
        );
        for route in *routes {
            let _ = write!(text, "Route: {route}\r\n");
        }
        let _ = write!(
            text,
            "Max-Forwards: 70\r\nFrom: <sip:{from}@{ip}>;tag={run:x}{n}\r\nTo: {to}\r\n\
             Call-ID: {n}-{run:x}@{ip}\r\nCSeq: {seq} {method}\r\n\
             Contact: <sip:{from}@{local}>\r\n",
            ip = local.ip(),
        );
        finish(text, body)
    }

    /// Which call a Call-ID of ours belongs to.
    pub(crate) fn number_of(&self, call_id: &str) -> Option<u64> {
        let (number, rest) = call_id.split_once('-')?;
        let run = rest.split('@').next()?;
        (u64::from_str_radix(run, 16).ok()? == self.run).then(|| number.parse().ok())?
    }
}

/// What changes from request to request.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) to: &'a str,
    pub(crate) seq: u32,
    pub(crate) branch: &'a str,
    pub(crate) routes: &'a [String],
    pub(crate) body: &'a str,
}

/// A response to a request: Via, From, To, Call-ID, CSeq and Record-Route echoed.
pub(crate) fn response(
    request: &Message<'_>,
    status: &str,
    tag: &str,
    contact: &str,
    body: &str,
) -> Vec<u8> {
    let mut text = String::with_capacity(900);
    let _ = write!(text, "SIP/2.0 {status}\r\n");
    for (name, compact) in [("Via", "v"), ("Record-Route", "Record-Route"), ("From", "f")] {
        for value in request.all(name, compact) {
            let _ = write!(text, "{name}: {value}\r\n");
        }
    }
    let to = request.one("To", "t").unwrap_or_default();
    let tag = if to.contains(";tag=") { String::new() } else { format!(";tag={tag}") };
    let _ = write!(text, "To: {to}{tag}\r\n");
    for (name, compact) in [("Call-ID", "i"), ("CSeq", "CSeq")] {
        let _ = write!(text, "{name}: {}\r\n", request.one(name, compact).unwrap_or_default());
    }
    let _ = write!(text, "Contact: <{contact}>\r\n");
    finish(text, body)
}

/// The audio that both sides offer: PCMA, PCMU, telephone events; nothing is ever sent there.
pub(crate) fn sdp(local: SocketAddrV4) -> String {
    let ip = local.ip();
    format!(
        "v=0\r\no=load 53655765 2353687637 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio 16000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}

fn finish(mut text: String, body: &str) -> Vec<u8> {
    if !body.is_empty() {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        let local = "127.1.0.1:5060".parse().unwrap();
        let target = "127.3.0.1:5060".parse().unwrap();
        Caller { local, target, from: "61491570156".to_owned(), run: 0xbeef }
    }

    #[test]
    fn a_request_reads_back() {
        let caller = caller();
        let ask = Ask {
            method: "INVITE",
            uri: "sip:+61255000042@127.3.0.1:5060",
            to: "<sip:61255000042@127.3.0.1>",
            seq: 1,
            branch: "i",
            routes: &[],
            body: &sdp(caller.local),
        };
        let bytes = caller.request(42, &ask);
        let message = Message::read(&bytes).unwrap();
        assert_eq!(message.method(), Some("INVITE"));
        assert_eq!(message.status(), None);
        assert_eq!(message.dialled(), "61255000042");
        assert_eq!(message.contact(), Some("sip:61491570156@127.1.0.1:5060"));
        assert_eq!(message.cseq(), Some((1, "INVITE")));
        assert_eq!(message.call_id().and_then(|id| caller.number_of(id)), Some(42));

        let answer = response(&message, "200 OK", "b1", "sip:b@127.2.0.1:5060", "");
        let answer = Message::read(&answer).unwrap();
        assert_eq!(answer.status(), Some(200));
        assert_eq!(answer.method(), None);
        assert_eq!(answer.one("To", "t"), Some("<sip:61255000042@127.3.0.1>;tag=b1"));
        assert_eq!(answer.all("Via", "v").count(), 1);
    }

    #[test]
    fn another_runs_call_is_not_ours() {
        let caller = caller();
        assert_eq!(caller.number_of("42-beef@127.1.0.1"), Some(42));
        assert_eq!(caller.number_of("42-beee@127.1.0.1"), None);
        assert_eq!(caller.number_of("nonsense"), None);
    }

    #[test]
    fn compact_names_and_loose_spacing_are_found() {
        let text = b"SIP/2.0 180 Ringing\r\ni : x@y\r\nCALL-INFO: no\r\nm:<sip:b@h:1>;q=1\r\n\r\n";
        let message = Message::read(text).unwrap();
        assert_eq!(message.call_id(), Some("x@y"));
        assert_eq!(message.contact(), Some("sip:b@h:1"));
        assert!(Message::read(b"half a mess\r\nage").is_none());
    }
}
