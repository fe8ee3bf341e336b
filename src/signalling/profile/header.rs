//! Header names by pattern, and which headers may cross from one leg to the other at all.

use crate::message::name::Name;
use crate::message::text::{is_token, trim};

/// A list of header names: exact, `X-*`, or `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// The long form in lower case.
    Exact(String),
    /// What the long form begins with, in lower case.
    Prefix(String),
}

impl Patterns {
    /// Adds one pattern.
    ///
    /// # Errors
    /// The text is neither a header name, nor the beginning of one and `*`, nor `*`.
    pub fn add(&mut self, text: &str) -> Result<(), BadPattern> {
        let (stem, open) = match text.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (text, false),
        };
        if !(is_token(stem.as_bytes()) && !stem.contains('*') || open && stem.is_empty()) {
            return Err(BadPattern);
        }
        self.0.push(if open {
            Pattern::Prefix(stem.to_ascii_lowercase())
        } else {
            Pattern::Exact(long_form(Name::of(stem.as_bytes()), stem.as_bytes()))
        });
        Ok(())
    }

    /// Whether a header is meant, however its name is written.
    pub fn hold(&self, name: Name, written: &[u8]) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let long = long_form(name, written);
        self.0.iter().any(|pattern| match pattern {
            Pattern::Exact(exact) => *exact == long,
            Pattern::Prefix(prefix) => long.starts_with(prefix.as_str()),
        })
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A pattern that cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a header pattern is a name, the beginning of a name and `*`, or `*`")]
pub struct BadPattern;

/// The name in its long form, lower case: compact and oddly written names fall together.
pub fn long_form(name: Name, written: &[u8]) -> String {
    let bytes = if name == Name::Other { trim(written) } else { name.text().as_bytes() };
    String::from_utf8_lossy(bytes).to_ascii_lowercase()
}

/// Whether a header may ever be copied to the other leg: not what belongs to one hop, dialog or
/// transaction, not a signature over headers that we write anew (RFC 8224).
pub fn may_cross(name: Name, written: &[u8]) -> bool {
    const NEVER: [&[u8]; 9] = [
        b"join",
        b"target-dialog",
        b"path",
        b"service-route",
        b"security-client",
        b"security-server",
        b"security-verify",
        b"max-breadth",
        b"session-id",
    ];
    !name.is_of_one_leg()
        && name != Name::Identity
        && is_token(trim(written))
        && !NEVER.iter().any(|n| n.eq_ignore_ascii_case(trim(written)))
}

/// Whether the header says who somebody is.
pub fn is_identity(name: Name, written: &[u8]) -> bool {
    matches!(
        name,
        Name::AssertedIdentity
            | Name::PreferredIdentity
            | Name::RemotePartyId
            | Name::Diversion
            | Name::HistoryInfo
            | Name::Privacy
            | Name::Identity
            | Name::ReferredBy
            | Name::From
            | Name::Contact
    ) || [&b"identity-info"[..], b"p-called-party-id", b"p-served-user", b"p-charging-vector"]
        .iter()
        .any(|n| n.eq_ignore_ascii_case(trim(written)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::view::Message;
    use bytes::Bytes;

    fn patterns(texts: &[&str]) -> Patterns {
        let mut patterns = Patterns::default();
        for text in texts {
            patterns.add(text).unwrap();
        }
        patterns
    }

    #[test]
    fn s10_no_spelling_slips_past() {
        let strip = patterns(&["X-*", "Subject", "identity", "Remote-Party-ID"]);
        let text = "INVITE sip:a@b SIP/2.0\r\nX-Auth: 1\r\nx-auth : 1\r\nX-AUTH\t: 1\r\ns: a\r\n\
            SUBJECT :b\r\nX-Folded:\r\n 1\r\nS : c\r\ny: sig\r\nREMOTE-PARTY-ID: <sip:a@b>\r\n\r\n";
        let message = Message::read(Bytes::from_static(text.as_bytes())).unwrap();
        assert_eq!(message.headers().count(), 9);
        for (name, written, _) in message.headers() {
            assert!(strip.hold(name, written), "{}", String::from_utf8_lossy(written));
        }
    }

    #[test]
    fn patterns_by_name_by_beginning_and_for_all() {
        let some = patterns(&["P-*", "s"]);
        assert!(some.hold(Name::AssertedIdentity, b"p-asserted-identity"));
        assert!(some.hold(Name::Subject, b"SUBJECT"));
        assert!(!some.hold(Name::Other, b"Pragma"));
        assert!(patterns(&["*"]).hold(Name::Other, b"Anything"));
        for bad in ["", "X *", "*X", "X:*", "X**", "a b"] {
            assert_eq!(Patterns::default().add(bad), Err(BadPattern), "{bad}");
        }
    }

    #[test]
    fn what_belongs_to_a_leg_never_crosses() {
        for name in [&b"Via"[..], b"v", b"i", b"Authorization", b"y", b"Target-Dialog", b"l"] {
            assert!(!may_cross(Name::of(name), name), "{}", String::from_utf8_lossy(name));
        }
        assert!(may_cross(Name::Other, b"X-Meta"));
        assert!(may_cross(Name::UserToUser, b"User-to-User"));
    }
}
