//! Session-ID (RFC 7989): one pair of UUIDs names a call on both of its legs, so that captures of
//! either are found together.

use cooee_model::ids::{CallId, Side};
use minicbor::{Decode, Encode};

use crate::message::text::trim;
use crate::message::write::Writer;

/// A UUID; all zeros: not known yet.
pub type Uuid = [u8; 16];

/// The header's name.
const HEADER: &[u8] = b"Session-ID";

/// The pair of one leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SessionId {
    /// Of the party beyond us, for which we speak on this leg.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub local: Uuid,
    /// Of this leg's peer.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub remote: Uuid,
}

impl SessionId {
    /// Adds the header to a message of this leg.
    pub fn write(&self, writer: &mut Writer) {
        let (local, remote) = (text(self.local), text(self.remote));
        writer.named(HEADER, &[local.as_bytes(), b";remote=", remote.as_bytes()]);
    }
}

/// The sender's own UUID in a header value: 32 hexadecimal digits, not all zero.
pub fn read(value: &[u8]) -> Option<Uuid> {
    let digits = trim(value.split(|b| *b == b';').next().unwrap_or_default());
    let digits = std::str::from_utf8(digits).ok()?;
    let is_hex = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let number = u128::from_str_radix(digits, 16).ok().filter(|n| is_hex && *n != 0)?;
    Some(number.to_be_bytes())
}

/// The UUID that we give a party which has none: made of the call's id, as version 4.
pub fn made(call: CallId, side: Side) -> Uuid {
    let number = call.number();
    let mut uuid = match side {
        Side::A => number,
        Side::B => !number,
    }
    .to_be_bytes();
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

fn text(uuid: Uuid) -> String {
    format!("{:032x}", u128::from_be_bytes(uuid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_32_digits_and_not_nil() {
        let uuid = read(b" AB30317f1a784dc48ff824d0d3715d86 ;remote=00").unwrap();
        assert_eq!(text(uuid), "ab30317f1a784dc48ff824d0d3715d86");
        assert_eq!(read(text(uuid).as_bytes()), Some(uuid));
        let nil = [b'0'; 32];
        let broken: [&[u8]; 5] =
            [b"", &nil, b"+b30317f1a784dc48ff824d0d3715d86", b"ab3", b"ab\xff;remote=1"];
        for value in broken {
            assert_eq!(read(value), None, "{value:?}");
        }
    }

    #[test]
    fn made_ones_differ_by_call_and_side_and_are_of_version_4() {
        let (one, two) = (CallId::new(1, 2), CallId::new(1, 3));
        let all = [made(one, Side::A), made(one, Side::B), made(two, Side::A), made(two, Side::B)];
        for (at, uuid) in all.iter().enumerate() {
            assert!((uuid[6] >> 4, uuid[8] >> 6) == (4, 2));
            assert!(!all[..at].contains(uuid));
        }
        assert_eq!(made(one, Side::A), made(one, Side::A));
    }
}
