//! What we say about media on one leg: the other side's description under our own name.

use std::net::IpAddr;

use minicbor::{Decode, Encode};

use crate::message::sdp::{Origin, Session, digest, fingerprint, rewrite};

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

    /// The other leg's description as ours: our address, `port` for the audio section.
    /// `audio` is the section that was offered as audio; an answer keeps the offer's order.
    pub fn write(&mut self, body: &[u8], audio: Option<usize>, at: (IpAddr, u16)) -> Vec<u8> {
        let (address, port) = at;
        let draft = rewrite(body, Origin { id: self.id, version: 0, address }, audio, port);
        let print = fingerprint(&draft);
        if self.version == 0 || print != self.last {
            self.version += 1;
            self.last = print;
        }
        rewrite(body, Origin { id: self.id, version: self.version, address }, audio, port)
    }
}

/// What the call has to know of a peer's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Place of the audio section.
    pub audio: Option<usize>,
    /// Where RTP and RTCP go.
    pub media: Option<(std::net::SocketAddr, std::net::SocketAddr)>,
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
        holds: audio.is_some_and(|(_, m)| m.holds()),
        codec: audio.map(|(_, m)| m.codec()).unwrap_or_default(),
        digest: digest(body),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_64_the_version_grows_with_changes_only() {
        let mut ours = Description::new(9);
        let at = ("192.0.2.1".parse().unwrap(), 10_000);
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
