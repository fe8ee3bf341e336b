//! How a message finds its transaction (RFC 3261, 17.1.3 and 17.2.3).
//!
//! Branches that we make hold the place of their transaction, so a response finds it without a
//! table. What peers make is looked up by a keyed 128-bit hash: a peer cannot aim for collisions.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::message::text::{hex, is_space};
use crate::message::via::MAGIC_COOKIE;
use crate::message::view::{Message, Method};
use crate::transaction::slots::Slot;

/// The keyed hash of what identifies a transaction or a request.
pub type Digest = u128;

/// Hashes what peers send, under a key that they do not know.
#[derive(Clone, Copy, Debug)]
pub struct Keyed {
    key: [u8; 16],
}

impl Keyed {
    /// A hash under this key.
    pub const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// The server transaction that a request belongs to. ACK and CANCEL give that of the INVITE
    /// when `method` says so.
    pub fn server(&self, request: &Message, method: Method) -> Digest {
        let mut hash = SipHasher13::new_with_key(&self.key);
        let via = request.via();
        let branch = via.map_or(&b""[..], |v| v.branch());
        hash.write(method.text().as_bytes());
        if method == Method::Other {
            hash.write(request.method_token());
        }
        if branch.len() > MAGIC_COOKIE.len() && starts_with_cookie(branch) {
            hash.write_u8(1);
            hash.write(branch);
            if let Some(via) = via {
                hash.write_u8(0);
                for &byte in via.host {
                    hash.write_u8(byte.to_ascii_lowercase());
                }
                hash.write_u16(via.port.unwrap_or(5060));
            }
        } else {
            // RFC 2543 peers: the fields that stay the same over INVITE, ACK and CANCEL.
            hash.write_u8(2);
            for part in [request.request_uri(), request.from_tag(), request.call_id()] {
                hash.write(part);
                hash.write_u8(0);
            }
            hash.write_u32(request.cseq().map_or(0, |c| c.number));
            for &byte in request.top_via().unwrap_or_default().iter().filter(|&&b| !is_space(b)) {
                hash.write_u8(byte);
            }
        }
        hash.finish128().as_u128()
    }

    /// What a request out of dialog is the same by, whatever path it took (RFC 3261, 8.2.2.2).
    pub fn merge(&self, request: &Message) -> Digest {
        let mut hash = SipHasher13::new_with_key(&self.key);
        hash.write_u8(3);
        for part in [request.from_tag(), request.call_id(), request.method_token()] {
            hash.write(part);
            hash.write_u8(0);
        }
        hash.write_u32(request.cseq().map_or(0, |c| c.number));
        hash.finish128().as_u128()
    }

    /// A number that tells nothing about the one that it was made from.
    pub fn number(&self, from: u64) -> u64 {
        let mut hash = SipHasher13::new_with_key(&self.key);
        hash.write_u8(4);
        hash.write_u64(from);
        hash.finish128().h1
    }

    /// A seal over some bytes that nobody without the key can make.
    pub fn seal(&self, parts: &[&[u8]]) -> u128 {
        let mut hash = SipHasher13::new_with_key(&self.key);
        hash.write_u8(5);
        for part in parts {
            hash.write_usize(part.len());
            hash.write(part);
        }
        hash.finish128().as_u128()
    }

    /// A tag for a response that is sent without state: the same for each copy of the request.
    pub fn stateless_tag(&self, request: &Message) -> String {
        format!("{:016x}", self.merge(request) as u64)
    }

    /// Whether a tag is such a one, and no name of a dialog.
    pub fn is_stateless_tag(tag: &[u8]) -> bool {
        tag.len() == 16 && tag.iter().all(u8::is_ascii_hexdigit)
    }
}

fn starts_with_cookie(branch: &[u8]) -> bool {
    branch.get(..MAGIC_COOKIE.len()).is_some_and(|b| b.eq_ignore_ascii_case(MAGIC_COOKIE))
}

/// The part of a branch, tag or Call-ID that we make: 8 bits kept for a shard, the place of what
/// it names, 64 random bits. 26 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Place in its slab.
    pub index: u32,
    /// What a stranger would have to guess.
    pub secret: u64,
}

impl Token {
    /// The token as text. The first two digits are the shard, zero.
    pub fn text(self) -> String {
        let mut text = String::with_capacity(26);
        self.write(&mut text);
        text
    }

    /// Reads a token that we made; `None` for anything else.
    pub fn read(text: &[u8]) -> Option<Self> {
        let text =
            std::str::from_utf8(text).ok().filter(|t| t.len() == 26 && t.starts_with("00"))?;
        let index = u32::from_str_radix(text.get(2..10)?, 16).ok()?;
        let secret = u64::from_str_radix(text.get(10..)?, 16).ok()?;
        Some(Self { index, secret })
    }

    /// The branch with this token.
    pub fn branch(self) -> String {
        let mut text = String::with_capacity(33);
        text.push_str("z9hG4bK");
        self.write(&mut text);
        text
    }

    fn write(self, out: &mut String) {
        out.push_str("00");
        hex(out, self.index.into(), 8);
        hex(out, self.secret, 16);
    }

    /// Reads a branch that we made.
    pub fn of_branch(branch: &[u8]) -> Option<Self> {
        if !starts_with_cookie(branch) {
            return None;
        }
        Self::read(branch.get(MAGIC_COOKIE.len()..)?)
    }

    /// The token of the entry at `slot`.
    pub const fn at(slot: Slot, secret: u64) -> Self {
        Self { index: slot.index, secret }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn request(text: &str) -> Message {
        Message::read(Bytes::from(text.to_owned())).unwrap()
    }

    fn invite(branch: &str, host: &str) -> Message {
        request(&format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP {host};branch={branch}\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n"
        ))
    }

    #[test]
    fn a_token_reads_back_and_nothing_else_does() {
        let token = Token { index: 77, secret: 0xdead_beef };
        assert_eq!(Token::of_branch(token.branch().as_bytes()), Some(token));
        for other in ["", "z9hG4bK", "z9hG4bK776asdhds", "+0123456789012345678901234"] {
            assert_eq!(Token::of_branch(other.as_bytes()), None);
        }
    }

    #[test]
    fn ack_finds_its_invite_and_sent_by_counts() {
        let keyed = Keyed::new([7; 16]);
        let first = keyed.server(&invite("z9hG4bKa", "h:5060"), Method::Invite);
        assert_eq!(first, keyed.server(&invite("z9hG4bKa", "H"), Method::Invite));
        assert_ne!(first, keyed.server(&invite("z9hG4bKa", "i"), Method::Invite));
        assert_ne!(first, keyed.server(&invite("z9hG4bKb", "h"), Method::Invite));
        assert_ne!(first, keyed.server(&invite("z9hG4bKa", "h"), Method::Cancel));
        let old = invite("1", "h");
        assert_eq!(keyed.server(&old, Method::Invite), keyed.server(&old, Method::Invite));
        assert_eq!(keyed.merge(&old), keyed.merge(&invite("z9hG4bKz", "elsewhere")));
    }
}
