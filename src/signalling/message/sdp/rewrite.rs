//! A peer's description as our own, by editing its lines.
//!
//! What names us changes: `o=`, `c=`, the port of `m=`. What names the other side goes: `a=rtcp`
//! and ICE candidates, and its words for people (`s=`, `i=`, `u=`, `e=`, `p=`). How RTCP travels
//! is each leg's own matter. All else passes as it came.

use std::net::IpAddr;
use std::ops::Range;

use crate::message::sdp::{Session, connection, lines};
use crate::message::text::trim;

/// Who describes a session towards one leg: our `o=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Session id: one a leg, for as long as the leg lives.
    pub id: u64,
    /// Grows by one with each different description (RFC 3264, 8).
    pub version: u64,
    /// Our media address towards this leg.
    pub address: IpAddr,
}

/// What we say of ourselves in the audio section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ours {
    /// Our even port, with RTCP on the next one: that needs no `a=rtcp` (RFC 3605, 2.1).
    pub port: u16,
    /// Whether RTCP may come to the port of RTP (RFC 5761); `None`: as the other side says.
    pub mux: Option<bool>,
    /// What is said of telephone events.
    pub events: EventLines,
}

/// What a description of ours says of telephone events (RFC 4733).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventLines {
    /// What the other side says.
    #[default]
    AsTheyAre,
    /// Nothing.
    Gone,
    /// That they come under a payload type of ours, with this clock.
    Named {
        /// The payload type.
        payload_type: u8,
        /// Ticks a second.
        clock_hz: u32,
    },
}

/// Writes `body` as our own description: our origin, and the audio section as `ours`. Every other
/// section is refused by port 0, so that the number and the order of sections stay (RFC 3264, 6).
/// What names us is written once a section, however often the other side named itself.
pub fn rewrite(body: &[u8], origin: Origin, audio: Option<usize>, mut ours: Ours) -> Vec<u8> {
    let mut gone = Vec::new();
    if ours.events != EventLines::AsTheyAre {
        match event_formats(body, audio) {
            Some(formats) => gone = formats,
            None => ours.events = EventLines::AsTheyAre,
        }
    }
    let mut draft = Draft {
        gone,
        out: Vec::with_capacity(body.len() + 64),
        origin,
        ours,
        audio,
        section: None,
        described: false,
        connected: false,
    };
    for (kind, value) in lines(body) {
        draft.take(kind, value);
    }
    draft.end_section();
    draft.out
}

/// The payload types of telephone events in the audio section, as text; `None`: there is no such
/// section, or nothing else is in it.
fn event_formats(body: &[u8], audio: Option<usize>) -> Option<Vec<String>> {
    let session = Session::read(body)?;
    let media = session.media.get(audio?)?;
    let is_event = |f: &&String| f.parse().is_ok_and(|number| media.is_event(number));
    let events: Vec<_> = media.formats.iter().filter(is_event).cloned().collect();
    (events.len() < media.formats.len()).then_some(events)
}

/// A description being written.
struct Draft {
    /// Formats of the audio section that are left out.
    gone: Vec<String>,
    out: Vec<u8>,
    origin: Origin,
    ours: Ours,
    audio: Option<usize>,
    section: Option<usize>,
    described: bool,
    connected: bool,
}

impl Draft {
    fn take(&mut self, kind: u8, value: &[u8]) {
        match kind {
            b'm' => {
                self.end_section();
                self.section = Some(self.section.map_or(0, |section| section + 1));
                self.connected = false;
                self.media(value);
            }
            b'o' if std::mem::replace(&mut self.described, true) => {}
            b'c' if std::mem::replace(&mut self.connected, true) => {}
            b'o' => line(&mut self.out, b"o=", origin_value(self.origin).as_bytes()),
            b'c' => {
                let address = connection_of(value, self.origin.address);
                line(&mut self.out, b"c=", connection_value(address).as_bytes());
            }
            b'a' if names_the_other_side(value) => {}
            b'a' if self.is_ours() && self.is_of_gone(value) => {}
            b'a' if trim(value) == b"rtcp-mux" && self.ours.mux.is_some() => {}
            // Texts for people: a subject, who asks, where to write or call.
            b's' => line(&mut self.out, b"s=", b"-"),
            b'i' | b'u' | b'e' | b'p' => {}
            _ => {
                self.out.push(kind);
                line(&mut self.out, b"=", value);
            }
        }
    }

    fn is_ours(&self) -> bool {
        self.section.is_some() && self.section == self.audio
    }

    fn media(&mut self, value: &[u8]) {
        let (from, to) = port_field(value).map_or((0, 0), |r| (r.start, r.end));
        // What the peer refused stays refused (RFC 3264, 6).
        let off = value.get(from..to) == Some(b"0");
        let port = if self.is_ours() && !off { self.ours.port } else { 0 };
        self.out.extend_from_slice(b"m=");
        self.out.extend_from_slice(value.get(..from).unwrap_or_default());
        self.out.extend_from_slice(port.to_string().as_bytes());
        let rest = value.get(to..).unwrap_or_default();
        match self.ours.events {
            EventLines::AsTheyAre => self.out.extend_from_slice(rest),
            _ if !self.is_ours() => self.out.extend_from_slice(rest),
            EventLines::Gone => self.formats(rest, None),
            EventLines::Named { payload_type, .. } => self.formats(rest, Some(payload_type)),
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// Protocol and formats, less those that are left out, and one more.
    fn formats(&mut self, rest: &[u8], more: Option<u8>) {
        for field in rest.split(|&b| b == b' ').filter(|field| !field.is_empty()) {
            if !self.gone.iter().any(|gone| gone.as_bytes() == field) {
                self.out.push(b' ');
                self.out.extend_from_slice(field);
            }
        }
        if let Some(more) = more {
            self.out.extend_from_slice(format!(" {more}").as_bytes());
        }
    }

    /// Whether an attribute is about a format that is left out.
    fn is_of_gone(&self, attribute: &[u8]) -> bool {
        let of = [&b"rtpmap:"[..], b"fmtp:", b"rtcp-fb:"];
        let Some(rest) = of.iter().find_map(|of| attribute.strip_prefix(*of)) else { return false };
        let format = trim(rest).split(|&b| b == b' ').next().unwrap_or_default();
        self.gone.iter().any(|gone| gone.as_bytes() == format)
    }

    /// Attributes of ours come last in their section.
    fn end_section(&mut self) {
        if !self.is_ours() {
            return;
        }
        if let EventLines::Named { payload_type, clock_hz } = self.ours.events {
            let map = format!("{payload_type} telephone-event/{clock_hz}");
            line(&mut self.out, b"a=rtpmap:", map.as_bytes());
            line(&mut self.out, b"a=fmtp:", format!("{payload_type} 0-15").as_bytes());
        }
        if self.ours.mux == Some(true) {
            line(&mut self.out, b"a=", b"rtcp-mux");
        }
    }
}

/// Our address; or none of its family, since a hold of old (RFC 2543) is one on the other leg too.
fn connection_of(value: &[u8], ours: IpAddr) -> IpAddr {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let held = connection(text).is_some_and(|address| address.is_unspecified());
    match ours {
        ours if !held => ours,
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    }
}

/// An answer with a refused section for each one of the offer that it leaves out: peers forget
/// those that they refuse, and the number of sections has to be the offer's (RFC 3264, 6).
/// `None`: nothing is missing.
pub fn completed(offer: &[u8], answer: &[u8]) -> Option<Vec<u8>> {
    let sections = |body| lines(body).filter(|l| l.0 == b'm').count();
    let given = sections(answer);
    if given == 0 || given >= sections(offer) {
        return None;
    }
    let mut whole = answer.to_vec();
    if !whole.ends_with(b"\n") {
        whole.extend_from_slice(b"\r\n");
    }
    for (_, value) in lines(offer).filter(|l| l.0 == b'm').skip(given) {
        let (from, to) = port_field(value).map_or((0, 0), |r| (r.start, r.end));
        whole.extend_from_slice(b"m=");
        whole.extend_from_slice(value.get(..from).unwrap_or_default());
        whole.push(b'0');
        line(&mut whole, value.get(to..).unwrap_or_default(), b"");
    }
    Some(whole)
}

pub(in crate::message) fn line(out: &mut Vec<u8>, start: &[u8], value: &[u8]) {
    out.extend_from_slice(start);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn origin_value(origin: Origin) -> String {
    format!("- {} {} IN {}", origin.id, origin.version, family_and_address(origin.address))
}

fn connection_value(address: IpAddr) -> String {
    format!("IN {}", family_and_address(address))
}

fn family_and_address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(a) => format!("IP4 {a}"),
        IpAddr::V6(a) => format!("IP6 {a}"),
    }
}

/// Where the port (with its `/count`) stands in an `m=` value.
fn port_field(value: &[u8]) -> Option<Range<usize>> {
    let from = value.iter().position(|&b| b == b' ')? + 1;
    let length = value.get(from..)?.iter().position(|&b| b == b' ')?;
    Some(from..from + length)
}

/// RTCP beside RTP and nowhere else (RFC 8858): not what we ask of the other leg.
const MUX_ONLY: &[u8] = b"rtcp-mux-only";

fn names_the_other_side(attribute: &[u8]) -> bool {
    [&b"candidate:"[..], b"remote-candidates:", b"ice-", b"end-of-candidates", b"rtcp:", MUX_ONLY]
        .iter()
        .any(|prefix| attribute.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::sdp::tests::OFFER;
    use crate::message::text::lossy;
    use proptest::{collection, num};

    const OURS: Ours = Ours { port: 10_000, mux: None, events: EventLines::AsTheyAre };

    #[test]
    fn rewritten_it_names_only_us() {
        let origin = Origin { id: 7, version: 2, address: "192.0.2.1".parse().unwrap() };
        let text = lossy(&rewrite(OFFER, origin, Some(0), OURS));
        assert!(text.contains("o=- 7 2 IN IP4 192.0.2.1\r\n"), "{text}");
        assert!(text.contains("m=audio 10000 RTP/AVP 8 0 101\r\n"), "{text}");
        assert!(!text.contains("a=rtcp"), "the next port needs no word: {text}");
        assert!(text.contains("m=video 0 RTP/AVP 96\r\n"), "{text}");
        assert!(!text.contains("10.9.9."), "{text}");
        let v6 = Origin { address: "2001:db8::1".parse().unwrap(), ..origin };
        assert!(lossy(&rewrite(OFFER, v6, Some(0), OURS)).contains("c=IN IP6 2001:db8::1\r\n"));
    }

    #[test]
    fn flow_85_a_refused_section_gets_no_port_of_ours() {
        let origin = Origin { id: 7, version: 2, address: "192.0.2.1".parse().unwrap() };
        let refused = lossy(OFFER).replace("m=audio 6000", "m=audio 0");
        let text = lossy(&rewrite(refused.as_bytes(), origin, Some(0), OURS));
        assert!(text.contains("m=audio 0 RTP/AVP 8 0 101\r\n"), "{text}");
    }

    #[test]
    fn flow_84_a_forgotten_section_is_refused() {
        let answer = b"v=0\r\nm=audio 4 RTP/AVP 8";
        let whole = lossy(&completed(OFFER, answer).unwrap());
        assert_eq!(whole, "v=0\r\nm=audio 4 RTP/AVP 8\r\nm=video 0 RTP/AVP 96\r\n");
        assert_eq!(completed(OFFER, whole.as_bytes()), None);
        assert_eq!(completed(OFFER, b"v=0\r\n"), None);
    }

    #[test]
    fn flow_97_an_old_hold_is_one_in_either_family() {
        let v6 = Origin { id: 7, version: 2, address: "2001:db8::1".parse().unwrap() };
        let held = lossy(OFFER).replace("c=IN IP4 10.9.9.9", "c=IN IP4 0.0.0.0");
        let text = lossy(&rewrite(held.as_bytes(), v6, Some(0), OURS));
        assert!(text.contains("o=- 7 2 IN IP6 2001:db8::1\r\n"), "{text}");
        assert!(text.contains("c=IN IP6 ::\r\n") && !text.contains("IP4"), "{text}");
    }

    #[test]
    fn flow_95_sharing_a_port_is_said_as_this_leg_wants_it() {
        let origin = Origin { id: 7, version: 2, address: "192.0.2.1".parse().unwrap() };
        let mux = "a=rtcp-mux\r\n";
        let shared = lossy(OFFER).replace("a=rtcp:6005\r\n", &format!("{mux}a=rtcp-mux-only\r\n"));
        for (body, wanted, said) in [
            (&shared, None, 1),
            (&shared, Some(true), 1),
            (&shared, Some(false), 0),
            (&lossy(OFFER), None, 0),
            (&lossy(OFFER), Some(true), 1),
        ] {
            let ours = Ours { mux: wanted, ..OURS };
            let text = lossy(&rewrite(body.as_bytes(), origin, Some(0), ours));
            assert_eq!(text.matches("rtcp-mux").count(), said, "{text}");
            assert!(!text.split_once("m=video").unwrap().1.contains(mux), "{text}");
        }
    }

    #[test]
    fn flow_80_events_are_left_out_and_named_anew() {
        let origin = Origin { id: 7, version: 2, address: "192.0.2.1".parse().unwrap() };
        let body = lossy(OFFER).replace("a=rtcp:6005", "a=fmtp:101 0-16\r\na=ptime:20");
        let said = |events| {
            let ours = Ours { events, ..OURS };
            lossy(&rewrite(body.as_bytes(), origin, Some(0), ours))
        };
        let gone = said(EventLines::Gone);
        assert!(gone.contains("m=audio 10000 RTP/AVP 8 0\r\n"), "{gone}");
        assert!(!gone.contains("101") && gone.contains("a=ptime:20\r\nm=video"), "{gone}");
        let named = said(EventLines::Named { payload_type: 96, clock_hz: 8000 });
        assert!(named.contains("m=audio 10000 RTP/AVP 8 0 96\r\n"), "{named}");
        let lines =
            "a=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\nm=video 0 RTP/AVP 96\r\n";
        assert!(named.contains(lines) && !named.contains("101"), "{named}");
        // Where there is nothing else they stay: a section has a format.
        let alone = body.replace("RTP/AVP 8 0 101", "RTP/AVP 101");
        let ours = Ours { events: EventLines::Gone, ..OURS };
        let said = lossy(&rewrite(alone.as_bytes(), origin, Some(0), ours));
        assert!(said.contains("m=audio 10000 RTP/AVP 101\r\n"), "{said}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_writer(
            body in collection::vec(num::u8::ANY, 0..400),
            mux: Option<bool>,
        ) {
            let origin = Origin { id: 1, version: 1, address: "192.0.2.1".parse().unwrap() };
            let _ = rewrite(&body, origin, Some(0), Ours { mux, ..OURS });
        }
    }
}
