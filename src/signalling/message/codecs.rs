//! Which codecs of an offer a trunk gets to see.

use crate::message::sdp::rewrite::line;
use crate::message::sdp::{Session, lines};

/// What is left of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of it: it goes on as it is.
    All,
    /// This description, with fewer formats.
    Part(Vec<u8>),
    /// No codec at all: the call could not be heard.
    Nothing,
}

/// Keeps the formats of the audio section whose codecs are listed, by their SDP names in any case;
/// an empty list keeps all. Events and comfort noise are no codecs and stay. What cannot be named
/// is not listed. The order of formats is the offerer's, and so is every other line.
pub fn kept(offer: &[u8], listed: &[String]) -> Kept {
    if listed.is_empty() {
        return Kept::All;
    }
    let session = Session::read(offer);
    let Some((section, audio)) = session.as_ref().and_then(Session::audio) else {
        return Kept::All;
    };
    let name = |format: &str| {
        let codec = audio.codec_of(format);
        codec.split('/').next().unwrap_or_default().to_owned()
    };
    let is_listed = |name: &str| listed.iter().any(|codec| codec.eq_ignore_ascii_case(name));
    let (mut stay, mut go, mut speaks) = (Vec::new(), Vec::new(), false);
    for format in &audio.formats {
        let name = name(format);
        let is_aid = is_aid(&name);
        if is_aid || is_listed(&name) {
            speaks |= !is_aid;
            stay.push(format.as_str());
        } else {
            go.push(format.as_bytes());
        }
    }
    match (speaks, go.is_empty()) {
        (false, _) => Kept::Nothing,
        (true, true) => Kept::All,
        (true, false) => Kept::Part(without(offer, section, &stay, &go)),
    }
}

/// Whether a format is no codec: digits, or silence.
pub fn is_aid(name: &str) -> bool {
    ["telephone-event", "CN"].iter().any(|aid| aid.eq_ignore_ascii_case(name))
}

fn without(offer: &[u8], section: usize, stay: &[&str], go: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(offer.len());
    let mut at: Option<usize> = None;
    for (kind, value) in lines(offer) {
        if kind == b'm' {
            at = Some(at.map_or(0, |at| at + 1));
        }
        let ours = at == Some(section);
        if ours && kind == b'a' && is_of(value, go) {
            continue;
        }
        out.push(kind);
        if ours && kind == b'm' {
            let head = value.split(|b| *b == b' ').filter(|field| !field.is_empty()).take(3);
            let mut text = head.collect::<Vec<_>>().join(&b' ');
            for format in stay {
                text.push(b' ');
                text.extend_from_slice(format.as_bytes());
            }
            line(&mut out, b"=", &text);
        } else {
            line(&mut out, b"=", value);
        }
    }
    out
}

/// Whether an attribute tells of one of these formats.
fn is_of(attribute: &[u8], formats: &[&[u8]]) -> bool {
    let told = [&b"rtpmap:"[..], b"fmtp:", b"rtcp-fb:"];
    let of = told.iter().find_map(|name| attribute.strip_prefix(*name));
    let format = of.and_then(|rest| rest.split(|b| *b == b' ').find(|field| !field.is_empty()));
    format.is_some_and(|format| formats.contains(&format))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::text::lossy;

    const OFFER: &[u8] = b"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\n\
        t=0 0\r\nm=audio 6000 RTP/AVP 18 96 8 101 13\r\na=rtpmap:96 opus/48000/2\r\n\
        a=fmtp:96 useinbandfec=1\r\na=rtpmap:8 PCMA/8000\r\na=fmtp:18 annexb=no\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n\
        m=video 6002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";

    fn listed(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn flow_86_unlisted_codecs_go_with_all_that_is_said_of_them() {
        let Kept::Part(text) = kept(OFFER, &listed(&["pcma", "PCMU"])) else {
            panic!("some go, some stay");
        };
        let expected = lossy(OFFER)
            .replace("RTP/AVP 18 96 8 101 13", "RTP/AVP 8 101 13")
            .replace("a=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n", "")
            .replace("a=fmtp:18 annexb=no\r\n", "");
        assert_eq!(lossy(&text), expected, "the video section has a 96 of its own");
    }

    #[test]
    fn flow_86_digits_alone_are_nothing_and_a_whole_offer_is_untouched() {
        assert_eq!(kept(OFFER, &listed(&["G722", "telephone-event"])), Kept::Nothing);
        assert_eq!(kept(OFFER, &listed(&["G729", "OPUS", "PCMA"])), Kept::All);
        assert_eq!(kept(OFFER, &[]), Kept::All);
        assert_eq!(kept(b"v=0\r\n", &listed(&["PCMA"])), Kept::All, "for the peer to judge");
        let unnamed = b"v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4 RTP/AVP 0 97\r\n";
        let Kept::Part(text) = kept(unnamed, &listed(&["PCMU"])) else { panic!("97 has no name") };
        assert!(lossy(&text).ends_with("m=audio 4 RTP/AVP 0\r\n"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_it(body in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let text = [OFFER, &body].concat();
            let listed = listed(&["PCMA"]);
            if let Kept::Part(left) = kept(&text, &listed) {
                // What is left has nothing more to lose.
                proptest::prop_assert_eq!(kept(&left, &listed), Kept::All);
            }
        }
    }
}
