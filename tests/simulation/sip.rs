//! SIP as the peers read it: written apart from the core, so that one mistake is not made twice.

/// A message with what a peer looks at.
#[derive(Clone, Copy, Debug)]
pub struct Msg<'a> {
    pub text: &'a str,
    /// Zero for a request.
    pub code: u16,
    pub uri: &'a str,
    /// By CSeq.
    pub method: &'a str,
    pub cseq: u32,
    pub via: &'a str,
    pub branch: &'a str,
    pub from: &'a str,
    pub from_tag: &'a str,
    pub to: &'a str,
    pub to_tag: &'a str,
    pub call_id: &'a str,
    pub contact: &'a str,
    pub body: &'a str,
}

impl<'a> Msg<'a> {
    pub fn read(text: &'a str) -> Result<Self, &'static str> {
        let (head, body) = text.split_once("\r\n\r\n").ok_or("no end of the headers")?;
        let (line, _) = head.split_once("\r\n").ok_or("no header")?;
        let (code, uri) = match line.strip_prefix("SIP/2.0 ") {
            Some(rest) => (rest[..3].parse().map_err(|_| "status code")?, ""),
            None => (0, line.split(' ').nth(1).ok_or("request line")?),
        };
        let [mut via, mut from, mut to, mut call_id, mut contact] = [""; 5];
        let mut cseq = "";
        let mut length = None;
        for line in head.split("\r\n").skip(1) {
            let (name, value) = line.split_once(':').ok_or("a header without a colon")?;
            let value = value.trim();
            let slot = match name {
                "Via" if via.is_empty() => &mut via,
                "From" => &mut from,
                "To" => &mut to,
                "Call-ID" => &mut call_id,
                "CSeq" => &mut cseq,
                "Contact" => &mut contact,
                "Content-Length" => {
                    length = value.parse::<usize>().ok();
                    continue;
                }
                _ => continue,
            };
            if name != "Via" && !slot.is_empty() {
                return Err("a header that stands once stands twice");
            }
            *slot = value;
        }
        if length != Some(body.len()) {
            return Err("Content-Length is not the body's");
        }
        let (number, method) = cseq.split_once(' ').ok_or("CSeq")?;
        if code == 0 && !line.starts_with(method) {
            return Err("CSeq has another method");
        }
        let branch = param(via, "branch").ok_or("branch")?;
        let tag = |v: &'a str| v.rsplit_once('>').and_then(|(_, p)| param(p, "tag")).unwrap_or("");
        let (from_tag, to_tag) = (tag(from), tag(to));
        if from_tag.is_empty() || call_id.is_empty() {
            return Err("no From tag or no Call-ID");
        }
        let cseq = number.parse().map_err(|_| "CSeq number")?;
        let contact = contact.trim_start_matches('<').split('>').next().unwrap_or_default();
        Ok(Self {
            text,
            code,
            uri,
            method,
            cseq,
            via,
            branch,
            from,
            from_tag,
            to,
            to_tag,
            call_id,
            contact,
            body,
        })
    }

    pub fn is_request(&self) -> bool {
        self.code == 0
    }

    /// The first value of a header that is seldom asked for.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let head = self.text.split_once("\r\n\r\n").map_or(self.text, |h| h.0);
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
        lines.find(|(n, _)| *n == name).map(|(_, value)| value.trim())
    }

    /// Whether a header lists this value.
    pub fn lists(&self, name: &str, value: &str) -> bool {
        let head = self.text.split_once("\r\n\r\n").map_or(self.text, |h| h.0);
        let lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(n, _)| *n == name).flat_map(|(_, v)| v.split(','));
        values.any(|v| v.trim() == value)
    }

    /// `INVITE`, or `200 INVITE`.
    pub fn title(&self) -> String {
        if self.is_request() {
            self.method.to_owned()
        } else {
            format!("{} {}", self.code, self.method)
        }
    }
}

/// A parameter of a header value.
pub fn param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|p| p.trim().strip_prefix(name)?.strip_prefix('='))
}

/// A message with a body, its last headers written.
pub fn with_body(mut head: String, body: &str) -> String {
    use std::fmt::Write;
    if !body.is_empty() && !head.contains("Content-Type:") {
        head.push_str("Content-Type: application/sdp\r\n");
    }
    let _ = write!(head, "Content-Length: {}\r\n\r\n{body}", body.len());
    head
}

/// A response: what RFC 3261, 8.2.6.2 copies, the peer's tag, further headers, a body.
pub fn response(to: &Msg<'_>, code: u16, tag: &str, more: &str, body: &str) -> String {
    let tag = match (to.to_tag, tag) {
        ("", tag) if !tag.is_empty() => format!(";tag={tag}"),
        _ => String::new(),
    };
    let head = format!(
        "SIP/2.0 {code} Said\r\nVia: {}\r\nFrom: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\n\
         CSeq: {} {}\r\n{more}",
        to.via, to.from, to.to, to.call_id, to.cseq, to.method
    );
    with_body(head, body)
}

/// A session description of a peer: `way` is the direction attribute.
pub fn sdp(host: &str, id: usize, version: u32, way: &str) -> String {
    format!(
        "v=0\r\no=- {id} {version} IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
         m=audio 6000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na={way}\r\n"
    )
}
