//! What we say about media on one leg: the other side's description under our own name.

use std::net::IpAddr;

use cooee_model::ids::Family;
use minicbor::{Decode, Encode};

use crate::message::sdp::rewrite::{Origin, Ours, rewrite};
use crate::message::sdp::{Session, digest, fingerprint};

/// Our description on one leg. One session id for the life of the leg; the version grows by one
/// with each description that differs from the last (RFC 3264, 8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Description {
    /// Session id in `o=`.
    #[n(0)]
    pub id: u64,
    /// Version in `o=`.
    #[n(1)]
    pub version: u64,
    /// Digest of the last description, origin aside.
    #[n(2)]
    pub last: u64,
}

impl Description {
    /// No description yet.
    pub const fn new(id: u64) -> Self {
        Self { id, version: 0, last: 0 }
    }

    /// The other leg's description as ours: our address, `ours` for the audio section.
    /// `audio` is the section that was offered as audio; an answer keeps the offer's order.
    pub fn write(
        &mut self,
        body: &[u8],
        audio: Option<usize>,
        (address, ours): (IpAddr, Ours),
    ) -> Vec<u8> {
        let draft = rewrite(body, Origin { id: self.id, version: 0, address }, audio, ours);
        let print = fingerprint(&draft);
        if self.version == 0 || print != self.last {
            self.version += 1;
            self.last = print;
        }
        rewrite(body, Origin { id: self.id, version: self.version, address }, audio, ours)
    }
}

/// What the call has to know of a peer's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Place of the audio section.
    pub audio: Option<usize>,
    /// Where RTP and RTCP go.
    pub media: Option<(std::net::SocketAddr, std::net::SocketAddr)>,
    /// In which family the peer wants its media, if it names an address.
    pub family: Option<Family>,
    /// Whether the peer takes RTCP where it takes RTP.
    pub mux: bool,
    /// Payload type and clock of telephone events, if the peer names them.
    pub events: Option<(u8, u32)>,
    /// Whether the peer holds us.
    pub holds: bool,
    /// First codec, as `PCMA/8000`.
    pub codec: String,
    /// Digest of all of it: one that comes again changes nothing.
    pub digest: u64,
}

/// Reads a peer's description. `None`: it is none, or it has no section that is on.
pub fn described(body: &[u8]) -> Option<Described> {
    let session = Session::read(body)?;
    let audio = session.audio();
    let media = audio.and_then(|(_, m)| m.rtp().zip(m.rtcp()));
    Some(Described {
        audio: audio.map(|a| a.0),
        media,
        family: audio.and_then(|(_, m)| m.family()),
        mux: audio.is_some_and(|(_, m)| m.mux),
        events: audio.and_then(|(_, m)| m.events()),
        holds: audio.is_some_and(|(_, m)| m.holds()),
        codec: audio.map(|(_, m)| m.codec()).unwrap_or_default(),
        digest: digest(body),
    })
}

/// Whether a description wants a fax (T.38) in the place of the audio.
pub fn is_fax(body: &[u8]) -> bool {
    let session = Session::read(body).unwrap_or_default();
    session.audio().is_none() && session.media.iter().any(|m| m.kind == "image" && m.port != 0)
}

/// Whether an answer shares a codec with its offer (RFC 3264, 6.1). Events and comfort noise are
/// no codecs. Descriptions that cannot be read, and an audio section that the answer refuses as a
/// whole, are for the offerer to judge.
pub fn agree(offer: &[u8], answer: &[u8]) -> bool {
    let (Some(offer), Some(answer)) = (Session::read(offer), Session::read(answer)) else {
        return true;
    };
    let Some((at, offered)) = offer.audio() else { return true };
    let Some(taken) = answer.media.get(at).filter(|m| m.is_audio()) else { return true };
    let shared = |format: &String| {
        let name = taken.codec_of(format);
        if name.is_empty() {
            return offered.formats.contains(format);
        }
        let is_codec = !["telephone-event", "CN/"]
            .iter()
            .any(|aid| name.get(..aid.len()).is_some_and(|n| n.eq_ignore_ascii_case(aid)));
        is_codec
            && offered.formats.iter().any(|theirs| match offered.codec_of(theirs) {
                unnamed if unnamed.is_empty() => theirs == format,
                named => same_codec(&named, &name),
            })
    };
    taken.formats.iter().any(shared)
}

/// `PCMA/8000` and `pcma/8000/1` are one.
fn same_codec(one: &str, other: &str) -> bool {
    let plain = |name: &str| name.strip_suffix("/1").unwrap_or(name).to_ascii_lowercase();
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::sdp::rewrite::EventLines;

    #[test]
    fn flow_86_codecs_are_compared_by_name() {
        let sdp = |m: &str| format!("v=0\r\nc=IN IP4 1.1.1.1\r\nm=audio {m}\r\n");
        let yes = |a: &str, b: &str| agree(sdp(a).as_bytes(), sdp(b).as_bytes());
        assert!(yes("4 RTP/AVP 8 0", "4 RTP/AVP 0"));
        assert!(yes("4 RTP/AVP 8", "4 RTP/AVP 8\r\na=rtpmap:8 pcma/8000/1"));
        let opus = "4 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2";
        assert!(yes(opus, "4 RTP/AVP 111\r\na=rtpmap:111 OPUS/48000/2"));
        assert!(yes(opus, "4 RTP/AVP 96"), "not named: by its number");
        assert!(yes("4 RTP/AVP 8", "0 RTP/AVP 18"), "refused as a whole");
        assert!(!yes("4 RTP/AVP 8", "4 RTP/AVP 18"));
        assert!(!yes(opus, "4 RTP/AVP 96\r\na=rtpmap:96 G726-32/8000"));
        let events = "\r\na=rtpmap:101 telephone-event/8000";
        let (a, b) = (format!("4 RTP/AVP 8 101{events}"), format!("4 RTP/AVP 18 101{events}"));
        assert!(!yes(&a, &b), "digits alone are no conversation");
    }

    #[test]
    fn flow_64_the_version_grows_with_changes_only() {
        let mut ours = Description::new(9);
        let at = (
            "192.0.2.1".parse().unwrap(),
            Ours { port: 10_000, mux: None, events: EventLines::AsTheyAre },
        );
        let body = b"v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\nc=IN IP4 1.1.1.1\r\nm=audio 4 RTP/AVP 8\r\n";
        let held = [&body[..], b"a=sendonly\r\n"].concat();
        let version = |text: Vec<u8>| {
            let text = String::from_utf8(text).unwrap();
            text.lines().nth(1).unwrap().to_owned()
        };
        assert_eq!(version(ours.write(body, Some(0), at)), "o=- 9 1 IN IP4 192.0.2.1");
        assert_eq!(version(ours.write(body, Some(0), at)), "o=- 9 1 IN IP4 192.0.2.1");
        assert_eq!(version(ours.write(&held, Some(0), at)), "o=- 9 2 IN IP4 192.0.2.1");
        assert_eq!(version(ours.write(body, Some(0), at)), "o=- 9 3 IN IP4 192.0.2.1");
    }
}
