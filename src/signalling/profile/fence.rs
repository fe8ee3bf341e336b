//! What the INVITEs of a trunk must prove beside their source address.
//!
//! A carrier whose addresses serve all its customers tells nothing by an address: any of them could
//! call through us. Such a trunk is fenced by digest, by a header that only our account is told to
//! send, or by an identity that the carrier itself writes and its other customers cannot.

use std::hint::black_box;

use secrecy::{ExposeSecret, SecretString};

use crate::message::view::Message;
use crate::profile::source::Source;

/// The realm of our challenges where the configuration names none.
pub const REALM: &str = "cooee";

/// What the INVITEs of a trunk must prove beside their source address.
#[derive(Clone, Debug, Default)]
pub enum Fence {
    /// Nothing.
    #[default]
    Address,
    /// That they know the password of a user (RFC 8760).
    Digest(DigestFence),
    /// They carry a header that only our account is told to send.
    Header(HeaderFence),
    /// They name an account that the carrier writes.
    Identity(IdentityFence),
}

/// Calls are challenged.
#[derive(Clone, Debug, Default)]
pub struct DigestFence {
    /// Our realm.
    pub realm: String,
    /// Users and their passwords.
    pub users: Vec<(String, SecretString)>,
    /// What is offered, best first.
    pub algorithms: Vec<Algorithm>,
}

impl DigestFence {
    /// The password of a user.
    pub fn secret_of(&self, user: &str) -> Option<&SecretString> {
        self.users.iter().find(|(name, _)| name == user).map(|(_, secret)| secret)
    }
}

/// A header with a secret value; it never crosses to the other leg.
#[derive(Clone, Debug)]
pub struct HeaderFence {
    /// The header's name.
    pub name: String,
    /// What it must say.
    pub value: SecretString,
}

/// A place in the INVITE that must say one of a few words.
#[derive(Clone, Debug)]
pub struct IdentityFence {
    /// Where it is read.
    pub source: Source,
    /// What it may say.
    pub values: Vec<String>,
}

/// The hash of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5, the only one that old peers know.
    Md5,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    /// All of them by the names on the wire, best first.
    pub const ALL: [(&'static str, Self); 2] = [("SHA-256", Self::Sha256), ("MD5", Self::Md5)];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// The algorithm with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, a)| a)
    }
}

impl Fence {
    /// Whether there is none: the address alone is believed.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Address)
    }

    /// Whether a message holds what a header or an identity has to say. A digest is another
    /// matter: it takes a challenge.
    pub fn holds(&self, message: &Message) -> bool {
        match self {
            Self::Address => true,
            Self::Digest(_) => false,
            Self::Header(header) => message
                .value_of(&header.name)
                .is_some_and(|given| same(given, header.value.expose_secret().as_bytes())),
            Self::Identity(identity) => {
                let said = identity.source.read(message);
                said.is_some_and(|said| identity.values.contains(&said))
            }
        }
    }

    /// Whether this header is the secret one, which stays with us.
    pub fn is_secret(&self, written: &[u8]) -> bool {
        matches!(self, Self::Header(h) if h.name.as_bytes().eq_ignore_ascii_case(written))
    }
}

/// Compares in a time that depends on the lengths alone. An empty secret matches nothing.
pub fn same(given: &[u8], secret: &[u8]) -> bool {
    let difference = given.iter().zip(secret).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
    !secret.is_empty() && given.len() == secret.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message(header: &str) -> Message {
        let text = format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:sip7@b>;tag=1\r\n\
             To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n{header}\r\n"
        );
        Message::read(Bytes::from(text)).unwrap()
    }

    #[test]
    fn a_header_must_say_the_secret_and_nothing_else() {
        let value = SecretString::from("k3y");
        let fence = Fence::Header(HeaderFence { name: "X-Cooee-Key".to_owned(), value });
        assert!(fence.holds(&message("x-cooee-KEY :  k3y\r\n")));
        for wrong in ["", "X-Cooee-Key: k3\r\n", "X-Cooee-Key: k3yy\r\n", "X-Other: k3y\r\n"] {
            assert!(!fence.holds(&message(wrong)), "{wrong}");
        }
        assert!(!fence.holds(&message("X-Cooee-Key: no\r\nX-Cooee-Key: k3y\r\n")), "the first");
        assert!(fence.is_secret(b"x-cooee-key") && !fence.is_secret(b"X-Meta"));
    }

    #[test]
    fn an_identity_is_one_of_a_few() {
        let identity = |values: &[&str]| {
            let source = Source::parse("from.user").unwrap();
            let values = values.iter().map(|&v| v.to_owned()).collect();
            Fence::Identity(IdentityFence { source, values })
        };
        assert!(identity(&["sip6", "sip7"]).holds(&message("")));
        assert!(!identity(&["sip77", "sip"]).holds(&message("")));
        assert!(!identity(&[]).holds(&message("")));
    }

    #[test]
    fn nothing_is_the_same_as_an_empty_secret() {
        assert!(same(b"a", b"a"));
        assert!(!same(b"", b"") && !same(b"a", b"") && !same(b"", b"a") && !same(b"a", b"b"));
    }
}
