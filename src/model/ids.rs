//! Names of things: calls, legs, port leases, facts.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use minicbor::{Decode, Encode};

/// Crockford's base 32, the alphabet of ULIDs: no I, L, O, U.
const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// One call through the bridge, both legs: a ULID (48 bits of wall-clock milliseconds, 80 random).
///
/// It is the key of the CDR, of the trace, and `EXTERNAL_CALL_ID` towards Bitrix24.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CallId(pub u128);

impl CallId {
    /// Builds the id from milliseconds since the Unix epoch and 80 random bits.
    pub const fn new(unix_ms: u64, random: u128) -> Self {
        Self(((unix_ms as u128 & 0xffff_ffff_ffff) << 80) | (random & ((1 << 80) - 1)))
    }

    /// Milliseconds since the Unix epoch at which the call began.
    pub const fn unix_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }

    /// All of it.
    pub const fn number(self) -> u128 {
        self.0
    }

    /// The 26 characters of the id, without allocating.
    pub fn text(self) -> [u8; 26] {
        let mut text = [b'0'; 26];
        let mut rest = self.0;
        for slot in text.iter_mut().rev() {
            *slot = BASE32.get((rest & 31) as usize).copied().unwrap_or(b'0');
            rest >>= 5;
        }
        text
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallId({self})")
    }
}

/// The text is not a ULID: 26 characters of Crockford's base 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a call id is 26 characters of 0-9 and A-Z without I, L, O, U")]
pub struct NotACallId;

impl FromStr for CallId {
    type Err = NotACallId;

    fn from_str(text: &str) -> Result<Self, NotACallId> {
        if text.len() != 26 {
            return Err(NotACallId);
        }
        let mut value: u128 = 0;
        for (place, byte) in text.bytes().enumerate() {
            let upper = byte.to_ascii_uppercase();
            let digit = BASE32.iter().position(|&b| b == upper).ok_or(NotACallId)?;
            if place == 0 && digit > 7 {
                return Err(NotACallId);
            }
            value = (value << 5) | digit as u128;
        }
        Ok(Self(value))
    }
}

impl<C> Encode<C> for CallId {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0.to_be_bytes())?;
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for CallId {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?;
        <[u8; 16]>::try_from(bytes)
            .map(|b| Self(u128::from_be_bytes(b)))
            .map_err(|_| minicbor::decode::Error::message("a call id has 16 bytes"))
    }
}

/// Which half of a call: A called us, B we called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Side {
    /// The calling side.
    #[n(0)]
    A,
    /// The called side.
    #[n(1)]
    B,
}

impl Side {
    /// The other half.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Family {
    /// IPv4.
    #[default]
    #[n(0)]
    V4,
    /// IPv6.
    #[n(1)]
    V6,
}

impl Family {
    /// That of an address.
    pub const fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// The use of one RTP/RTCP port pair by one leg, from lease to release.
///
/// The epoch grows with each lease of the same pair, so that a late word about an earlier use is
/// told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Lease {
    /// The even RTP port; RTCP is on the next one.
    #[n(0)]
    pub port: u16,
    /// How many times this pair had been leased when this lease began.
    #[n(1)]
    pub epoch: u32,
    /// The family in which the pair is bound.
    #[n(2)]
    pub family: Family,
}

/// A record of the journal, strictly growing over the life of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct FactId(#[n(0)] pub u64);

impl fmt::Display for FactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_reads_back_and_sorts_by_time() {
        let early = CallId::new(1_700_000_000_000, u128::MAX);
        let late = CallId::new(1_700_000_000_001, 0);
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(early.to_string().to_lowercase().parse(), Ok(early));
        assert_eq!(early.unix_ms(), 1_700_000_000_000);
    }

    #[test]
    fn what_is_no_ulid_is_refused() {
        for text in ["", "0", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01ARZ3NDEKTSV4RRFFQ69G5FAU"] {
            assert_eq!(text.parse::<CallId>(), Err(NotACallId), "{text}");
        }
    }
}
