//! A message as it came: the bytes, the index, and readers for what the code asks of it.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use bytes::Bytes;

use crate::message::address::{Address, Uri};
use crate::message::index::{Index, Line, Malformed, Start, index};
use crate::message::limits;
use crate::message::name::Name;
use crate::message::text::{elements, is_token, number, split_outside, trim};
use crate::message::via::Via;

/// A request method. What code does not know is `Other` and is read by its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    Info,
    Prack,
    Update,
    Subscribe,
    Notify,
    Refer,
    Message,
    Publish,
    Other,
}

impl Method {
    /// The method that these bytes name; case matters (RFC 3261, 7.1).
    pub fn of(token: &[u8]) -> Self {
        match token {
            b"INVITE" => Self::Invite,
            b"ACK" => Self::Ack,
            b"BYE" => Self::Bye,
            b"CANCEL" => Self::Cancel,
            b"OPTIONS" => Self::Options,
            b"REGISTER" => Self::Register,
            b"INFO" => Self::Info,
            b"PRACK" => Self::Prack,
            b"UPDATE" => Self::Update,
            b"SUBSCRIBE" => Self::Subscribe,
            b"NOTIFY" => Self::Notify,
            b"REFER" => Self::Refer,
            b"MESSAGE" => Self::Message,
            b"PUBLISH" => Self::Publish,
            _ => Self::Other,
        }
    }

    /// The method's token; empty for `Other`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Options => "OPTIONS",
            Self::Register => "REGISTER",
            Self::Info => "INFO",
            Self::Prack => "PRACK",
            Self::Update => "UPDATE",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Refer => "REFER",
            Self::Message => "MESSAGE",
            Self::Publish => "PUBLISH",
            Self::Other => "",
        }
    }
}

/// `CSeq`: number and method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number, below 2**31.
    pub number: u32,
    /// The method's token.
    pub method: &'a [u8],
}

/// One SIP message, its bytes untouched.
pub struct Message {
    bytes: Bytes,
    index: Index,
    body: (usize, usize),
    found: Found,
}

/// Where the parts are that each message is asked for again and again; found once.
#[derive(Default)]
struct Found {
    via: OnceCell<(u16, u16)>,
    from_tag: OnceCell<(u16, u16)>,
    to_tag: OnceCell<(u16, u16)>,
}

impl Message {
    /// Indexes a datagram.
    ///
    /// # Errors
    /// Only where nothing could be answered: no start line, or too large. Anything else that is
    /// wrong is told by [`Message::check`], so that the caller can answer 400.
    pub fn read(bytes: Bytes) -> Result<Self, Malformed> {
        let mut index = index(&bytes)?;
        let from = usize::from(index.body);
        let rest = bytes.len().saturating_sub(from);
        let mut announced = None;
        for line in index.lines.iter().filter(|l| l.name == Name::ContentLength) {
            let length = slice(&bytes, line.value_at);
            let length = number(length).and_then(|n| usize::try_from(n).ok());
            match (length, announced) {
                (Some(length), None) if length <= rest => announced = Some(length),
                (Some(length), Some(first)) if length == first => {}
                _ => {
                    index.fault = index.fault.or(Some(Malformed::ContentLength));
                    break;
                }
            }
        }
        // What a datagram has beyond Content-Length is dropped (RFC 3261, 18.3).
        let body = (from, from + announced.unwrap_or(rest));
        Ok(Self { bytes, index, body, found: Found::default() })
    }

    /// Checks what every message must have (RFC 3261, 8.1.1): Via, From, To, Call-ID and CSeq once
    /// and readable, the Request-URI a URI, the CSeq method the request's.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), Malformed> {
        if let Some(fault) = self.index.fault {
            return Err(fault);
        }
        for name in [Name::From, Name::To, Name::CallId, Name::CSeq] {
            if self.values(name).count() != 1 {
                return Err(Malformed::Header(name));
            }
        }
        for name in [Name::From, Name::To] {
            let uri = self.address(name).ok_or(Malformed::Header(name))?.uri;
            Uri::read(uri).ok_or(Malformed::Header(name))?;
        }
        self.check_vias()?;
        let call_id = self.call_id();
        if call_id.is_empty() || call_id.iter().any(|&b| b <= b' ') {
            return Err(Malformed::Header(Name::CallId));
        }
        let cseq = self.cseq().ok_or(Malformed::Header(Name::CSeq))?;
        if self.is_request() {
            if cseq.method != self.method_token() {
                return Err(Malformed::CSeqMethod);
            }
            Uri::read(self.request_uri()).ok_or(Malformed::RequestUri)?;
            if self.value(Name::MaxForwards).is_some_and(|v| number(v).is_none_or(|n| n > 255)) {
                return Err(Malformed::Header(Name::MaxForwards));
            }
        }
        Ok(())
    }

    /// Each Via of a request is read, because its answer carries them all; of a response only ours.
    fn check_vias(&self) -> Result<(), Malformed> {
        let hops = if self.is_request() { limits::LIST_ELEMENTS } else { 1 };
        let sound = |via: &[u8]| Via::read(via).is_some_and(|v| v.version == b"2.0");
        let mut vias = self.list(Name::Via).take(hops).peekable();
        let all = vias.peek().is_some() && vias.all(sound);
        if all { Ok(()) } else { Err(Malformed::Header(Name::Via)) }
    }

    /// Whether Content-Length promises more than came, or is none: a response like that is
    /// dropped (RFC 3261, 18.3).
    pub fn is_cut(&self) -> bool {
        self.index.fault == Some(Malformed::ContentLength)
    }

    /// Whether it is a request.
    pub const fn is_request(&self) -> bool {
        matches!(self.index.start, Start::Request { .. })
    }

    /// The request method; of a response, the method that its CSeq names.
    pub fn method(&self) -> Method {
        match self.index.start {
            Start::Request { .. } => Method::of(self.method_token()),
            Start::Response { .. } => self.cseq().map_or(Method::Other, |c| Method::of(c.method)),
        }
    }

    /// The method as written on the request line; empty for a response.
    pub fn method_token(&self) -> &[u8] {
        match self.index.start {
            Start::Request { method, .. } => slice(&self.bytes, method),
            Start::Response { .. } => b"",
        }
    }

    /// The Request-URI as written; empty for a response.
    pub fn request_uri(&self) -> &[u8] {
        match self.index.start {
            Start::Request { uri, .. } => slice(&self.bytes, uri),
            Start::Response { .. } => b"",
        }
    }

    /// The status code; zero for a request.
    pub const fn code(&self) -> u16 {
        match self.index.start {
            Start::Request { .. } => 0,
            Start::Response { code, .. } => code,
        }
    }

    /// The reason phrase of a response, as written.
    pub fn reason_phrase(&self) -> &[u8] {
        match self.index.start {
            Start::Request { .. } => b"",
            Start::Response { reason, .. } => slice(&self.bytes, reason),
        }
    }

    /// All bytes, as they came.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.body.0..self.body.1).unwrap_or_default()
    }

    /// The body, sharing the message's memory.
    pub fn body_bytes(&self) -> Bytes {
        self.bytes.slice(self.body.0..self.body.1)
    }

    /// All header lines in order: known name, name as written, value without the white space
    /// round it (line breaks of folding are still inside).
    pub fn headers(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
        self.index
            .lines
            .iter()
            .map(|l: &Line| (l.name, slice(&self.bytes, l.name_at), slice(&self.bytes, l.value_at)))
    }

    /// The values of a header, one a line.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.index
            .lines
            .iter()
            .filter(move |l| l.name == name)
            .map(|l| slice(&self.bytes, l.value_at))
    }

    /// The first value of a header.
    pub fn value(&self, name: Name) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The first value of the header with this name, known or not, long form, in any case.
    pub fn value_of(&self, name: &str) -> Option<&[u8]> {
        let known = Name::of(name.as_bytes());
        if known != Name::Other {
            return self.value(known);
        }
        self.headers().find(|h| h.1.eq_ignore_ascii_case(name.as_bytes())).map(|h| h.2)
    }

    /// The elements of a comma-separated header over all its lines.
    pub fn list(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.values(name).flat_map(|v| elements(v, b',')).take(limits::LIST_ELEMENTS)
    }

    /// All elements of a header in one value, whatever lines they came on.
    pub fn joined(&self, name: Name) -> Vec<u8> {
        let mut whole = Vec::new();
        for element in self.list(name) {
            if !whole.is_empty() {
                whole.extend_from_slice(b", ");
            }
            whole.extend_from_slice(element);
        }
        whole
    }

    /// Whether a list of tokens (Require, Supported, Allow) holds `token`, in any case.
    pub fn lists(&self, name: Name, token: &str) -> bool {
        self.list(name).any(|t| t.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The topmost Via.
    pub fn via(&self) -> Option<Via<'_>> {
        self.top_via().and_then(Via::read)
    }

    /// The topmost Via element as written.
    pub fn top_via(&self) -> Option<&[u8]> {
        let top = self.once(&self.found.via, || self.list(Name::Via).next());
        (!top.is_empty()).then_some(top)
    }

    /// A part of the message that is looked for once; empty where it is missing.
    fn once<'m>(
        &'m self,
        found: &OnceCell<(u16, u16)>,
        part: impl FnOnce() -> Option<&'m [u8]>,
    ) -> &'m [u8] {
        let span = found.get_or_init(|| {
            let part = part().unwrap_or_default();
            let from = part.as_ptr().addr().checked_sub(self.bytes.as_ptr().addr());
            let from = from.filter(|_| !part.is_empty()).unwrap_or_default();
            let short = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
            (short(from), short(from + part.len()))
        });
        slice(&self.bytes, *span)
    }

    /// From, To, Contact or another header whose first element is an address.
    pub fn address(&self, name: Name) -> Option<Address<'_>> {
        self.list(name).next().and_then(Address::read)
    }

    /// The From tag; empty where there is none.
    pub fn from_tag(&self) -> &[u8] {
        self.once(&self.found.from_tag, || self.address(Name::From).and_then(|a| a.tag()))
    }

    /// The To tag; empty where there is none.
    pub fn to_tag(&self) -> &[u8] {
        self.once(&self.found.to_tag, || self.address(Name::To).and_then(|a| a.tag()))
    }

    /// Call-ID; empty where there is none.
    pub fn call_id(&self) -> &[u8] {
        self.value(Name::CallId).unwrap_or_default()
    }

    /// CSeq, if it is one.
    pub fn cseq(&self) -> Option<CSeq<'_>> {
        let value = self.value(Name::CSeq)?;
        let digits = value.iter().position(|b| !b.is_ascii_digit())?;
        let number = number(value.get(..digits)?).filter(|&n| n <= limits::CSEQ)?;
        let rest = value.get(digits..)?;
        let method = trim(rest);
        (is_token(method) && rest.len() > method.len()).then_some(CSeq { number, method })
    }

    /// Max-Forwards, if it is given and a number.
    pub fn max_forwards(&self) -> Option<u32> {
        self.value(Name::MaxForwards).and_then(number)
    }

    /// The media type of the body in lower case without parameters; empty where none is named.
    pub fn content_type(&self) -> Cow<'_, str> {
        let value = self.value(Name::ContentType).unwrap_or_default();
        let media_type = trim(split_outside(value, b';').0);
        match std::str::from_utf8(media_type) {
            Ok(t) if !t.bytes().any(|b| b.is_ascii_uppercase()) => Cow::Borrowed(t),
            _ => Cow::Owned(String::from_utf8_lossy(media_type).to_ascii_lowercase()),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes))
    }
}

fn slice(bytes: &[u8], (from, to): (u16, u16)) -> &[u8] {
    bytes.get(usize::from(from)..usize::from(to)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection, num};

    fn read(text: &'static str) -> Message {
        Message::read(Bytes::from_static(text.as_bytes())).unwrap()
    }

    const TORTUOUS: &str = "\r\n\r\nINVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\n\
        TO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\n\
        from   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n\
        \x20 tag = 98asjd8\r\n\
        MaX-fOrWaRdS: 0068\r\nCall-ID: wsinv.ndaksdj@192.0.2.1\r\nl: 4\r\ncseq: 0009\r\n\
        \x20 INVITE\r\n\
        v:  SIP  / 2.0 /UDP 192.0.2.2;branch=390skdjuw\r\nX-Bin: \u{e9}\r\n\r\nbodyjunk";

    #[test]
    fn folding_compact_names_lws_lf_and_leading_empty_lines() {
        let m = read(TORTUOUS);
        assert_eq!(m.check(), Ok(()));
        assert_eq!(m.method(), Method::Invite);
        assert_eq!(m.to_tag(), b"1918181833n");
        assert_eq!(m.from_tag(), b"98asjd8");
        assert_eq!(m.max_forwards(), Some(68));
        assert_eq!(m.cseq(), Some(CSeq { number: 9, method: b"INVITE" }));
        assert_eq!(m.via().unwrap().branch(), b"390skdjuw");
        assert_eq!(m.body(), b"body");
        assert_eq!(m.value_of("x-bin"), Some("\u{e9}".as_bytes()));
        assert_eq!(m.bytes(), TORTUOUS.as_bytes());
    }

    #[test]
    fn faults_are_told_apart() {
        let base = "BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
            From: <sip:a@b>;tag=1\r\n\
            To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n";
        let fault = |from: &str, to: &str| {
            let text = format!("{}\r\n", base.replace(from, to));
            Message::read(Bytes::from(text)).unwrap().check()
        };
        assert_eq!(fault("", ""), Ok(()));
        assert_eq!(fault("CSeq: 1 BYE\r\n", ""), Err(Malformed::Header(Name::CSeq)));
        assert_eq!(fault("1 BYE", "1 INVITE"), Err(Malformed::CSeqMethod));
        assert_eq!(fault("1 BYE", "36893488147419103232 BYE"), Err(Malformed::Header(Name::CSeq)));
        assert_eq!(fault("Call-ID: x", "Call-ID: x\r\ni: y"), Err(Malformed::Header(Name::CallId)));
        assert_eq!(fault("sip:a@b SIP", "<sip:a@b> SIP"), Err(Malformed::RequestUri));
        assert_eq!(fault("Call-ID: x", "Call-ID: x\r\nl: 900"), Err(Malformed::ContentLength));
        assert_eq!(fault("Call-ID: x", "Call-ID: x\r\nl: -1"), Err(Malformed::ContentLength));
        assert_eq!(fault("Call-ID: x", "Call-ID: x\r\nno colon"), Err(Malformed::HeaderLine));
        assert_eq!(fault("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"), Err(Malformed::Version));
        for dropped in ["", "\r\n\r\n", "hello", "SIP/2.0 4294967301 better not break", "\0\0\0\0"]
        {
            assert!(Message::read(Bytes::from_static(dropped.as_bytes())).is_err(), "{dropped}");
        }
    }

    #[test]
    fn a_response_without_reason_phrase() {
        let m = read("SIP/2.0 100 \r\nCSeq: 35 INVITE\r\n\r\n");
        assert_eq!((m.code(), m.reason_phrase(), m.method()), (100, &b""[..], Method::Invite));
        assert_eq!(read("SIP/2.0 200\r\n\r\n").code(), 200);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_index(bytes in collection::vec(num::u8::ANY, 0..600)) {
            if let Ok(m) = Message::read(Bytes::from(bytes)) {
                let _ = (m.check(), m.via(), m.body().len(), m.headers().count());
            }
        }

        #[test]
        fn no_change_of_a_real_message_breaks_it(at in 0..400_usize, with: u8) {
            let mut bytes = TORTUOUS.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = with;
            if let Ok(m) = Message::read(Bytes::from(bytes)) {
                let _ = (m.check(), m.via(), m.list(Name::Contact).count());
            }
        }
    }
}
