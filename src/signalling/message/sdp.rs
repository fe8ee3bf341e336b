//! Session descriptions (RFC 8866): read line by line here, made our own in [`rewrite`].
//!
//! A description is never refused for what we do not need: a missing `t=`, an attribute before
//! `c=`, an id of more than 64 bits are all read over.

pub mod rewrite;

use std::net::{IpAddr, SocketAddr};

use cooee_model::ids::Family;
use minicbor::{Decode, Encode};

use crate::message::limits;
use crate::message::text::{number, trim};

/// Which way media may flow, as the describer sees it (RFC 3264, 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Direction {
    /// Both ways.
    #[default]
    #[n(0)]
    SendRecv,
    /// The describer sends only: it holds the other side.
    #[n(1)]
    SendOnly,
    /// The describer listens only.
    #[n(2)]
    RecvOnly,
    /// Neither.
    #[n(3)]
    Inactive,
}

/// One `m=` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// audio, video, image, ...
    pub kind: String,
    /// The port; zero: refused or off.
    pub port: u16,
    /// RTP/AVP, RTP/SAVP, udptl, ...
    pub protocol: String,
    /// The formats, in order of preference.
    pub formats: Vec<String>,
    /// Where it is wanted: the section's `c=`, else the session's. `None`: a host name, or missing.
    pub address: Option<IpAddr>,
    /// The RTCP port, where `a=rtcp` names one (RFC 3605).
    pub rtcp_port: Option<u16>,
    /// The RTCP address, where `a=rtcp` names one.
    pub rtcp_address: Option<IpAddr>,
    /// RTP and RTCP share a port: `a=rtcp-mux` (RFC 5761).
    pub mux: bool,
    /// Which way it flows.
    pub direction: Direction,
    /// `a=rtpmap` lines: payload type and `name/clock`.
    pub maps: Vec<(u8, String)>,
}

impl Media {
    /// Whether it is audio over RTP that is on.
    pub fn is_audio(&self) -> bool {
        self.kind == "audio" && self.port != 0 && self.protocol.starts_with("RTP/")
    }

    /// The family in which media is wanted, if an address is named.
    pub fn family(&self) -> Option<Family> {
        self.address.map(Family::of)
    }

    /// Where RTP goes, if an address is named. `0.0.0.0` is named by old holds: nowhere.
    pub fn rtp(&self) -> Option<SocketAddr> {
        let address = self.address.filter(|a| !a.is_unspecified() && !a.is_multicast())?;
        (self.port != 0).then(|| SocketAddr::new(address, self.port))
    }

    /// Where RTCP goes: to RTP's port where both share it, else by `a=rtcp`, else to the next port.
    pub fn rtcp(&self) -> Option<SocketAddr> {
        let rtp = self.rtp()?;
        if self.mux {
            return Some(rtp);
        }
        let port = self.rtcp_port.or_else(|| rtp.port().checked_add(1))?;
        let usable = |a: &IpAddr| !a.is_unspecified() && !a.is_multicast();
        let named =
            self.rtcp_address.filter(usable).filter(|a| Some(Family::of(*a)) == self.family());
        Some(SocketAddr::new(named.unwrap_or(rtp.ip()), port))
    }

    /// Whether the describer holds the other side: it will not listen (RFC 3264, 8.4) or names
    /// no address at all: 0.0.0.0 (RFC 2543) or `::`.
    pub fn holds(&self) -> bool {
        matches!(self.direction, Direction::SendOnly | Direction::Inactive)
            || self.address.is_some_and(|a| a.is_unspecified())
    }

    /// Whether its packets are in the clear: we can read and write them.
    pub fn is_plain(&self) -> bool {
        matches!(self.protocol.as_str(), "RTP/AVP" | "RTP/AVPF")
    }

    /// Ticks a second of the first format's clock; 8000 where it does not say (RFC 3551, 6).
    pub fn clock_hz(&self) -> u32 {
        let first = self.formats.first().and_then(|first| first.parse::<u8>().ok());
        let map = self.maps.iter().find(|map| Some(map.0) == first);
        map.and_then(|map| clock_of(&map.1)).unwrap_or(8000)
    }

    /// Whether a payload type is that of telephone events.
    pub fn is_event(&self, payload_type: u8) -> bool {
        let mut maps = self.maps.iter().filter(|map| map.0 == payload_type);
        maps.next().is_some_and(|map| is_event(&map.1))
    }

    /// Payload type and clock of telephone events (RFC 4733): those with the clock of the first
    /// format, else any. `None`: there are none, or packets are encrypted.
    pub fn events(&self) -> Option<(u8, u32)> {
        let listed = |number: u8| self.formats.iter().any(|f| f.parse::<u8>() == Ok(number));
        let maps = self.maps.iter().filter(|map| is_event(&map.1) && listed(map.0));
        let mut events = maps.filter_map(|map| Some((map.0, clock_of(&map.1)?)));
        let first = events.clone().next().filter(|_| self.is_plain())?;
        let clock_hz = self.clock_hz();
        Some(events.find(|(_, clock)| *clock == clock_hz).unwrap_or(first))
    }

    /// The first format as `name/clock`: `PCMA/8000`; empty where it cannot be named.
    pub fn codec(&self) -> String {
        self.formats.first().map(|first| self.codec_of(first)).unwrap_or_default()
    }

    /// One format as `name/clock`; empty where it cannot be named.
    pub fn codec_of(&self, format: &str) -> String {
        let Ok(payload_type) = format.parse::<u8>() else { return format.to_owned() };
        let mapped = self.maps.iter().find(|m| m.0 == payload_type).map(|m| m.1.clone());
        mapped.unwrap_or_else(|| match payload_type {
            0 => "PCMU/8000".to_owned(),
            3 => "GSM/8000".to_owned(),
            4 => "G723/8000".to_owned(),
            8 => "PCMA/8000".to_owned(),
            9 => "G722/8000".to_owned(),
            13 => "CN/8000".to_owned(),
            18 => "G729/8000".to_owned(),
            _ => String::new(),
        })
    }
}

fn is_event(map: &str) -> bool {
    const NAME: &str = "telephone-event/";
    map.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME))
}

fn clock_of(map: &str) -> Option<u32> {
    map.split('/').nth(1)?.trim().parse().ok().filter(|clock| *clock > 0)
}

/// A session description, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The media sections in order.
    pub media: Vec<Media>,
}

impl Session {
    /// Reads what can be read. `None` if there is no `m=` line at all, or too many.
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut session = Self::default();
        let mut address = None;
        let mut direction = Direction::SendRecv;
        for (kind, value) in lines(body) {
            let Ok(value) = std::str::from_utf8(value) else { continue };
            match (kind, session.media.last_mut()) {
                (b'm', _) => {
                    if session.media.len() == limits::MEDIA_LINES {
                        return None;
                    }
                    session.media.push(media_line(value, address, direction)?);
                }
                (b'c', None) => address = connection(value),
                (b'c', Some(media)) => media.address = connection(value),
                (b'a', None) => direction = direction_of(value).unwrap_or(direction),
                (b'a', Some(media)) => attribute(value, media),
                _ => {}
            }
        }
        (!session.media.is_empty()).then_some(session)
    }

    /// The section that we relay: the first audio over RTP that is on.
    pub fn audio(&self) -> Option<(usize, &Media)> {
        self.media.iter().enumerate().find(|(_, m)| m.is_audio())
    }
}

fn media_line(value: &str, address: Option<IpAddr>, direction: Direction) -> Option<Media> {
    let mut fields = value.split_ascii_whitespace();
    let kind = fields.next()?.to_ascii_lowercase();
    let port = fields.next()?.split('/').next()?;
    let port = u16::try_from(number(port.as_bytes())?).ok()?;
    let protocol = fields.next()?.to_ascii_uppercase();
    let formats = fields.map(str::to_owned).collect();
    Some(Media {
        kind,
        port,
        protocol,
        formats,
        address,
        rtcp_port: None,
        rtcp_address: None,
        mux: false,
        direction,
        maps: Vec::new(),
    })
}

fn connection(value: &str) -> Option<IpAddr> {
    let address = value.split_ascii_whitespace().nth(2)?;
    address.split('/').next()?.parse().ok()
}

fn direction_of(value: &str) -> Option<Direction> {
    match value.trim() {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

fn attribute(value: &str, media: &mut Media) {
    if let Some(direction) = direction_of(value) {
        media.direction = direction;
    } else if value.trim() == "rtcp-mux" {
        media.mux = true;
    } else if let Some(rtcp) = value.strip_prefix("rtcp:") {
        let mut fields = rtcp.split_ascii_whitespace();
        media.rtcp_port = fields.next().and_then(|p| p.parse().ok()).filter(|&p| p != 0);
        media.rtcp_address = fields.nth(2).and_then(|a| a.parse().ok());
    } else if let Some(map) = value.strip_prefix("rtpmap:")
        && let Some((payload_type, name)) = map.split_once(' ')
        && let Ok(payload_type) = payload_type.trim().parse()
    {
        media.maps.push((payload_type, name.trim().to_owned()));
    }
}

/// The lines of a description as type letter and value. One with a CR or a NUL inside goes: some
/// readers would see two lines in it.
pub(super) fn lines(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    body.split(|&b| b == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line {
            [kind, b'=', value @ ..] if memchr::memchr2(b'\r', 0, value).is_none() => {
                Some((*kind, value))
            }
            _ => None,
        }
    })
}

/// A digest of everything but the origin: equal descriptions keep their version.
pub fn fingerprint(body: &[u8]) -> u64 {
    let told = lines(body).filter(|l| l.0 != b'o');
    fnv(told.flat_map(|(kind, value)| std::iter::once(kind).chain(value.iter().copied())))
}

/// A digest of a whole description, its origin with it.
pub fn digest(body: &[u8]) -> u64 {
    fnv(body.iter().copied())
}

fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Finds the description in a body: the body itself, or one part of a multipart body (RFC 5621).
pub fn find<'a>(content_type: &[u8], body: &'a [u8]) -> Option<&'a [u8]> {
    use crate::message::text::{param, split_outside};
    let (kind, params) = split_outside(content_type, b';');
    let kind = trim(kind);
    if kind.eq_ignore_ascii_case(b"application/sdp") {
        return (!body.is_empty()).then_some(body);
    }
    if !kind.get(..10)?.eq_ignore_ascii_case(b"multipart/") {
        return None;
    }
    let boundary = [b"--", param(params?, "boundary")?].concat();
    let mut rest = body;
    for _ in 0..limits::MEDIA_LINES {
        let at = memchr::memmem::find(rest, &boundary)?;
        rest = rest.get(at + boundary.len()..)?;
        let end = memchr::memmem::find(rest, &boundary).unwrap_or(rest.len());
        let part = rest.get(..end)?;
        let head = memchr::memmem::find(part, b"\r\n\r\n")?;
        let names_sdp = part
            .get(..head)?
            .to_ascii_lowercase()
            .windows(15)
            .any(|window| window == b"application/sdp");
        if names_sdp {
            return part.get(head + 4..).map(|p| p.strip_suffix(b"\r\n").unwrap_or(p));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::text::lossy;
    use proptest::{collection, num};

    pub(super) const OFFER: &[u8] = b"v=0\r\no=uac 53655765 2353687637 IN IP4 10.9.9.9\r\ns=-\r\n\
        c=IN IP4 10.9.9.9\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8 0 101\r\n\
        a=rtpmap:101 telephone-event/8000\r\n\
        a=rtcp:6005\r\na=candidate:1 1 UDP 1 10.9.9.9 6000 typ host\r\n\
        m=video 6002/2 RTP/AVP 96\r\n\
        c=IN IP4 10.9.9.8\r\na=sendonly\r\n";

    #[test]
    fn an_offer_is_read() {
        let session = Session::read(OFFER).unwrap();
        let (at, audio) = session.audio().unwrap();
        assert_eq!((at, audio.codec().as_str()), (0, "PCMA/8000"));
        assert_eq!(audio.rtp(), Some("10.9.9.9:6000".parse().unwrap()));
        assert_eq!(audio.rtcp(), Some("10.9.9.9:6005".parse().unwrap()));
        assert!(!audio.holds());
        let video = session.media.get(1).unwrap();
        assert_eq!((video.port, video.direction), (6002, Direction::SendOnly));
        assert_eq!(video.address, Some("10.9.9.8".parse().unwrap()));
    }

    #[test]
    fn flow_95_rtcp_goes_where_the_description_says() {
        let rtcp = |lines: &str| {
            let body = format!("v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 4000 RTP/AVP 8\r\n{lines}");
            let session = Session::read(body.as_bytes()).unwrap();
            session.media.first().unwrap().rtcp().unwrap().to_string()
        };
        assert_eq!(rtcp(""), "1.2.3.4:4001");
        assert_eq!(rtcp("a=rtcp:4010\r\n"), "1.2.3.4:4010");
        assert_eq!(rtcp("a=rtcp:4010 IN IP4 5.6.7.8\r\n"), "5.6.7.8:4010");
        assert_eq!(rtcp("a=rtcp-mux\r\na=rtcp:4010\r\n"), "1.2.3.4:4000");
        // Nowhere, in another family than RTP, no port: the rest of it holds.
        assert_eq!(rtcp("a=rtcp:4010 IN IP4 0.0.0.0\r\n"), "1.2.3.4:4010");
        assert_eq!(rtcp("a=rtcp:4010 IN IP6 2001:db8::1\r\n"), "1.2.3.4:4010");
        assert_eq!(rtcp("a=rtcp:0\r\n"), "1.2.3.4:4001");
    }

    #[test]
    fn holds_are_seen_in_every_dress() {
        let hold = |line: &str| {
            let body = format!("v=0\r\nc=IN IP4 1.2.3.4\r\n{line}");
            Session::read(body.as_bytes()).unwrap().media.first().unwrap().holds()
        };
        assert!(hold("m=audio 4 RTP/AVP 8\r\na=sendonly\r\n"));
        assert!(hold("a=inactive\r\nm=audio 4 RTP/AVP 8\r\n"));
        assert!(hold("m=audio 4 RTP/AVP 8\nc=IN IP4 0.0.0.0\n"));
        assert!(hold("m=audio 4 RTP/AVP 8\nc=IN IP6 ::\n"));
        assert!(!hold("m=audio 4 RTP/AVP 8\r\na=recvonly\r\n"));
        assert!(!hold("m=audio 4 RTP/AVP 8\r\na=sendrecv\r\n"));
    }

    #[test]
    fn the_version_follows_the_content_and_not_the_origin() {
        let other = lossy(OFFER).replace("2353687637", "9");
        assert_eq!(fingerprint(OFFER), fingerprint(other.as_bytes()));
        let held = lossy(OFFER).replace("sendonly", "inactive");
        assert_ne!(fingerprint(OFFER), fingerprint(held.as_bytes()));
    }

    #[test]
    fn a_description_in_a_multipart_body_is_found() {
        let body = b"--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b\r\n\
            Content-Type: application/SDP\r\n\r\n\
            v=0\r\nm=audio 4 RTP/AVP 8\r\n--b--\r\n";
        let got = find(b"multipart/mixed;boundary=\"b\"", body).unwrap();
        assert_eq!(got, b"v=0\r\nm=audio 4 RTP/AVP 8");
        assert_eq!(find(b"text/plain", body), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_reader(body in collection::vec(num::u8::ANY, 0..400)) {
            let _ = (Session::read(&body), fingerprint(&body));
        }

        #[test]
        fn what_the_sdp_crate_reads_we_read_the_same(
            port in 1..65535_u16,
            pt in 0..127_u8,
            hold: bool,
        ) {
            let dir = if hold { "inactive" } else { "sendrecv" };
            let text = format!("v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\n\
                t=0 0\r\n\
                m=audio {port} RTP/AVP {pt}\r\na={dir}\r\n");
            let mut reader = std::io::Cursor::new(text.as_bytes());
            let theirs = sdp::SessionDescription::unmarshal(&mut reader).unwrap();
            let ours = Session::read(text.as_bytes()).unwrap();
            let (their, our) = (&theirs.media_descriptions[0], &ours.media[0]);
            let port = isize::try_from(our.port).unwrap();
            proptest::prop_assert_eq!(their.media_name.port.value, port);
            proptest::prop_assert_eq!(&their.media_name.formats, &our.formats);
            proptest::prop_assert_eq!(their.attribute("inactive").is_some(), our.holds());
        }
    }
}
