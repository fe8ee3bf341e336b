//! What a datagram on a media port is: RTP, RTCP or neither. A relayed packet is never marshalled
//! again; all that may change is its number, where presses are taken out of a stream or put in.
//!
//! RFC 3550 (5.1 header, A.1 and A.2 checks), RFC 5761 (RTP and RTCP on one port), RFC 7983 (first
//! byte: STUN, ZRTP, DTLS and TURN are below 128). The padding of RTP is not looked at: under SRTP
//! it is encrypted.

use rtp::header::Header;
use webrtc_util::marshal::Unmarshal;

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A well-formed RTP packet.
    Rtp(RtpHeader),
    /// A well-formed RTCP packet, perhaps with more behind it.
    Rtcp,
    /// STUN, DTLS, noise.
    Neither,
}

/// What becomes of one received datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// RTP to pass on.
    Rtp,
    /// RTCP to pass on.
    Rtcp,
    /// Older than the lease.
    Stale,
    /// From a source that is not believed.
    Foreign,
    /// Neither RTP nor RTCP, or RTP on the RTCP port.
    Malformed,
    /// Its sender or its receiver is not named.
    NoPeer,
    /// An event that is told otherwise, or voice under a press of ours.
    Kept,
    /// The kernel did not take it.
    Unsent,
}

impl Fate {
    pub(crate) const fn passes(self) -> bool {
        matches!(self, Self::Rtp | Self::Rtcp)
    }
}

/// The fields of an RTP header that figures are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RtpHeader {
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
}

/// Length of an RTP header without CSRCs and extension.
const FIXED: usize = 12;

/// Says what the datagram is. Never panics, whatever the bytes.
pub(crate) fn read(bytes: &[u8]) -> Kind {
    match bytes {
        [128..=191, 192..=223, high, low, _, _, _, _, ..] => {
            let words = usize::from(u16::from_be_bytes([*high, *low])) + 1;
            if words * 4 <= bytes.len() { Kind::Rtcp } else { Kind::Neither }
        }
        [128..=191, 0..=191 | 224.., ..] => read_rtp(bytes).map_or(Kind::Neither, Kind::Rtp),
        _ => Kind::Neither,
    }
}

fn read_rtp(bytes: &[u8]) -> Option<RtpHeader> {
    let (fixed, rest) = bytes.split_first_chunk::<FIXED>()?;
    let [first, second, s1, s0, t3, t2, t1, t0, i3, i2, i1, i0] = *fixed;
    let rest = rest.get(usize::from(first & 15) * 4..)?;
    if first & 0x10 != 0 {
        let (&[_, _, high, low], extension) = rest.split_first_chunk::<4>()?;
        extension.get(usize::from(u16::from_be_bytes([high, low])) * 4..)?;
    }
    Some(RtpHeader {
        payload_type: second & 127,
        sequence: u16::from_be_bytes([s1, s0]),
        timestamp: u32::from_be_bytes([t3, t2, t1, t0]),
        ssrc: u32::from_be_bytes([i3, i2, i1, i0]),
    })
}

/// The payload of what [`read`] took for RTP.
pub(crate) fn payload(bytes: &[u8]) -> &[u8] {
    let Some((&first, _)) = bytes.split_first() else { return &[] };
    let rest = bytes.get(FIXED + usize::from(first & 15) * 4..).unwrap_or_default();
    match rest.split_first_chunk::<4>() {
        Some((&[_, _, high, low], extension)) if first & 0x10 != 0 => {
            let length = usize::from(u16::from_be_bytes([high, low])) * 4;
            extension.get(length..).unwrap_or_default()
        }
        _ => rest,
    }
}

/// Whether the marker bit is set.
pub(crate) fn is_marked(bytes: &[u8]) -> bool {
    bytes.get(1).is_some_and(|second| second & 0x80 != 0)
}

/// Gives an RTP packet another sequence number.
pub(crate) fn renumber(bytes: &mut [u8], sequence: u16) {
    if let Some(place) = bytes.get_mut(2..4) {
        place.copy_from_slice(&sequence.to_be_bytes());
    }
}

/// A second reader's opinion on the packet that may take a latch, where a mistake costs the call.
///
/// `rtp` 0.17 panics on an extension element that is longer than its packet, so it is shown the
/// header without its extension, whose outer length [`read`] has checked.
pub(crate) fn is_confirmed(bytes: &[u8], header: RtpHeader) -> bool {
    let Some((&first, rest)) = bytes.split_first() else { return false };
    let mut bare = [0; FIXED + 15 * 4];
    let len = FIXED + usize::from(first & 15) * 4;
    let (Some(bare), Some(rest)) = (bare.get_mut(..len), rest.get(..len - 1)) else {
        return false;
    };
    let Some((bare_first, bare_rest)) = bare.split_first_mut() else { return false };
    *bare_first = first & !0x10;
    bare_rest.copy_from_slice(rest);
    Header::unmarshal(&mut &*bare).is_ok_and(|seen| {
        seen.version == 2
            && seen.payload_type == header.payload_type
            && seen.sequence_number == header.sequence
            && seen.timestamp == header.timestamp
            && seen.ssrc == header.ssrc
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use webrtc_util::marshal::Marshal;

    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocols_apart() {
        let mut rtp = [0_u8; 20];
        (rtp[0], rtp[1]) = (0x80, 8);
        assert!(matches!(read(&rtp), Kind::Rtp(header) if header.payload_type == 8));
        assert_eq!(read(&rtp[..11]), Kind::Neither, "shorter than the fixed header");
        let receiver_report = [0x80, 201, 0, 1, 0, 0, 0, 7];
        assert_eq!(read(&receiver_report), Kind::Rtcp);
        assert_eq!(read(&receiver_report[..7]), Kind::Neither);
        let longer_than_the_datagram = [0x80, 200, 0, 6, 0, 0, 0, 7];
        assert_eq!(read(&longer_than_the_datagram), Kind::Neither);
        let stun = *b"\x00\x01\x00\x00\x21\x12\xa4\x42____________";
        let dtls_hello = *b"\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10____";
        for noise in [&stun[..], &dtls_hello[..], b"", b"\x80", b"\r\n\r\n"] {
            assert_eq!(read(noise), Kind::Neither, "{noise:?}");
        }
    }

    #[test]
    fn marker_and_payload_type_share_a_byte_with_rtcp() {
        let mut packet = [0_u8; 12];
        packet[0] = 0x80;
        for second in 0..=255_u8 {
            packet[1] = second;
            let is_rtcp = read(&packet) == Kind::Rtcp;
            assert_eq!(is_rtcp, (64..96).contains(&(second & 127)) && second >= 128, "{second}");
        }
    }

    #[test]
    fn an_extension_that_would_panic_elsewhere_is_confirmed() {
        let mut packet = vec![0x90, 8, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend([0xbe, 0xde, 0, 1, 0x1f, 0, 0, 0]);
        let Kind::Rtp(header) = read(&packet) else { panic!("it is RTP") };
        assert!(is_confirmed(&packet, header));
        packet.truncate(19);
        assert_eq!(read(&packet), Kind::Neither);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            first in 128..192_u8,
        ) {
            let mut likely = bytes.clone();
            if let Some(byte) = likely.first_mut() {
                *byte = first;
            }
            for bytes in [&bytes, &likely] {
                if let Kind::Rtp(header) = read(bytes) {
                    prop_assert!(is_confirmed(bytes, header));
                }
            }
        }

        #[test]
        fn what_the_rtp_crate_writes_is_read(
            pt in (0..64_u8).prop_union(96..128_u8), seq: u16, ts: u32, ssrc: u32,
            csrc in prop::collection::vec(any::<u32>(), 0..16), marker: bool,
            payload in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let header = Header {
                version: 2, marker, payload_type: pt, sequence_number: seq, timestamp: ts, ssrc,
                csrc, ..Header::default()
            };
            let mut bytes = header.marshal().unwrap().to_vec();
            bytes.extend(payload);
            let expected = RtpHeader { payload_type: pt, sequence: seq, timestamp: ts, ssrc };
            prop_assert_eq!(read(&bytes), Kind::Rtp(expected));
            prop_assert_eq!(super::payload(&bytes), &bytes[12 + header.csrc.len() * 4..]);
            prop_assert_eq!(is_marked(&bytes), marker);
        }
    }
}
