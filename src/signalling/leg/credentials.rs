//! Digest authentication as a server (RFC 3261, 22; RFC 8760): what a request says to prove who
//! sends it, and the challenge that asks for it.
//!
//! A nonce is its own memory: when it was given and a random part, under a seal that only this
//! run of the node can make. A challenge so costs no state, however many are asked for.

use crate::leg::digest::{Login, params, response};
use crate::message::address::Uri;
use crate::message::name::Name;
use crate::message::view::Message;
use crate::profile::fence::{Algorithm, DigestFence, same};
use crate::transaction::key::Keyed;

/// Longest `Authorization` that is looked at, bytes.
const LONGEST: usize = 2048;

/// What a request says to prove who sends it.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The nonce, as we gave it or not.
    pub nonce: String,
    /// How many times the client has used the nonce; 1 where it does not count (RFC 2069).
    pub count: u32,
    realm: String,
    uri: String,
    response: String,
    algorithm: Algorithm,
    /// The count as written, and the client's own nonce.
    qop: Option<(String, String)>,
}

impl Credentials {
    /// The answer of a request to a challenge of this realm.
    pub fn read(request: &Message, realm: &str) -> Option<Self> {
        request
            .values(Name::Authorization)
            .filter(|value| value.len() <= LONGEST)
            .find_map(Self::one)
            .filter(|found| found.realm == realm)
    }

    fn one(value: &[u8]) -> Option<Self> {
        let get = params(value)?;
        let qop = match get("qop") {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => Some((get("nc")?, get("cnonce")?)),
            Some(_) => return None,
        };
        let count = match &qop {
            Some((nc, _)) if nc.len() != 8 || nc.starts_with('+') => return None,
            Some((nc, _)) => u32::from_str_radix(nc, 16).ok()?,
            None => 1,
        };
        Some(Self {
            user: get("username")?,
            nonce: get("nonce")?,
            count,
            realm: get("realm")?,
            uri: get("uri")?,
            response: get("response")?,
            algorithm: get("algorithm").map_or(Some(Algorithm::Md5), |a| Algorithm::named(&a))?,
            qop,
        })
    }

    /// Whether they are what a user with this password would send with this request. What is
    /// dialled is part of the proof, so it cannot be sent again to another number.
    pub fn prove(&self, secret: &str, request: &Message, fence: &DigestFence) -> bool {
        let user = |uri: &[u8]| Uri::read(uri).map(|u| u.user_text());
        let dialled = user(request.request_uri());
        let method = String::from_utf8_lossy(request.method_token());
        let login = Login { user: &self.user, secret };
        let qop = self.qop.as_ref().map(|(nc, cnonce)| (nc.as_str(), cnonce.as_str()));
        let about = (method.as_ref(), self.uri.as_str());
        let names = (self.realm.as_str(), self.nonce.as_str());
        let wanted = response(self.algorithm, &login, names, qop, about);
        let given = self.response.to_ascii_lowercase();
        same(given.as_bytes(), wanted.as_bytes())
            && dialled.is_some()
            && dialled == user(self.uri.as_bytes())
            && fence.algorithms.contains(&self.algorithm)
    }
}

/// The values of `WWW-Authenticate`, best first.
pub fn challenges(fence: &DigestFence, nonce: &str, stale: bool) -> impl Iterator<Item = String> {
    let stale = if stale { ", stale=true" } else { "" };
    fence.algorithms.iter().map(move |algorithm| {
        format!(
            "Digest realm=\"{}\", nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}",
            fence.realm,
            algorithm.name()
        )
    })
}

/// When a nonce was given, and what makes it the only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nonce {
    /// Milliseconds of the monotonic clock.
    pub given_ms: u64,
    /// Random.
    pub salt: u64,
}

impl Nonce {
    /// The text that is given out.
    pub fn text(self, keyed: &Keyed, realm: &str) -> String {
        format!("{:016x}{:016x}{:032x}", self.given_ms, self.salt, self.seal(keyed, realm))
    }

    /// Reads a nonce of ours; `None` for anything that we have not given out in this run.
    pub fn read(text: &str, keyed: &Keyed, realm: &str) -> Option<Self> {
        let number = |part: Option<&str>| u64::from_str_radix(part?, 16).ok();
        let nonce = Self { given_ms: number(text.get(..16))?, salt: number(text.get(16..32))? };
        let ours = nonce.text(keyed, realm);
        same(text.as_bytes(), ours.as_bytes()).then_some(nonce)
    }

    fn seal(self, keyed: &Keyed, realm: &str) -> u128 {
        keyed.seal(&[&self.given_ms.to_be_bytes(), &self.salt.to_be_bytes(), realm.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use secrecy::SecretString;

    fn request(uri: &str, authorization: &str) -> Message {
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n{authorization}\r\n"
        );
        Message::read(Bytes::from(text)).unwrap()
    }

    fn fence(algorithms: &[Algorithm]) -> DigestFence {
        let users = vec![("sip7".to_owned(), SecretString::from("s"))];
        DigestFence { realm: "cooee".to_owned(), users, algorithms: algorithms.to_vec() }
    }

    /// What our own client makes of our challenge.
    fn answered(fence: &DigestFence, uri: &str, secret: &str) -> Message {
        let text: String =
            challenges(fence, "n", false).map(|c| format!("WWW-Authenticate: {c}\r\n")).collect();
        let refused = format!("SIP/2.0 401 U\r\n{text}CSeq: 1 INVITE\r\n\r\n");
        let refused = Message::read(Bytes::from(refused)).unwrap();
        let challenge = crate::leg::digest::Challenge::read(&refused, None).unwrap();
        let login = Login { user: "sip7", secret };
        let (name, value) = challenge.answer(&login, ("INVITE", uri.as_bytes()), 1, "c");
        request(uri, &format!("{}: {value}\r\n", name.text()))
    }

    #[test]
    fn our_client_proves_itself_to_our_server_by_both_algorithms() {
        use Algorithm::{Md5, Sha256};
        for offered in [&[Sha256, Md5][..], &[Md5]] {
            let fence = fence(offered);
            let message = answered(&fence, "sip:+611@192.0.2.1", "s");
            let found = Credentials::read(&message, "cooee").unwrap();
            assert!(found.prove("s", &message, &fence));
            assert_eq!(
                (found.user.as_str(), found.count, found.algorithm),
                ("sip7", 1, offered[0])
            );
            assert!(!found.prove("S", &message, &fence) && !found.prove("", &message, &fence));
            let wrong = answered(&fence, "sip:+611@192.0.2.1", "t");
            assert!(!Credentials::read(&wrong, "cooee").unwrap().prove("s", &wrong, &fence));
        }
    }

    #[test]
    fn a_proof_is_for_one_number_one_realm_and_an_algorithm_that_was_offered() {
        let both = fence(&[Algorithm::Sha256, Algorithm::Md5]);
        let message = answered(&both, "sip:+611@192.0.2.1", "s");
        let value =
            String::from_utf8_lossy(message.value(Name::Authorization).unwrap()).into_owned();
        let header = format!("Authorization: {value}\r\n");
        let elsewhere = request("sip:+612@192.0.2.1", &header);
        let found = Credentials::read(&elsewhere, "cooee").unwrap();
        assert!(!found.prove("s", &elsewhere, &both), "another number");
        let named = request("sip:+611@bridge.example:5060", &header);
        assert!(found.prove("s", &named, &both), "our host may be written otherwise");
        assert!(!found.prove("s", &message, &fence(&[Algorithm::Md5])), "a weaker one was asked");
        assert!(Credentials::read(&message, "other").is_none());
    }

    #[test]
    fn what_is_no_proof() {
        let parts = "username=\"u\", realm=\"cooee\", nonce=\"n\", uri=\"sip:a@b\", response=\"r\"";
        let read = |value: &str| {
            let message = request("sip:a@b", &format!("Authorization: {value}\r\n"));
            Credentials::read(&message, "cooee").map(|c| c.count)
        };
        assert_eq!(read(&format!("Digest {parts}")), Some(1));
        assert_eq!(read(&format!("Digest {parts}, qop=auth, nc=0000000a, cnonce=\"c\"")), Some(10));
        for more in [
            ", qop=auth-int, nc=00000001, cnonce=\"c\"",
            ", qop=auth",
            ", algorithm=X",
            ", qop=auth, nc=1, cnonce=\"c\"",
            ", qop=auth, nc=+0000001, cnonce=\"c\"",
        ] {
            assert_eq!(read(&format!("Digest {parts}{more}")), None, "{more}");
        }
        assert_eq!(read(&format!("Basic {parts}")), None);
        assert_eq!(read(&format!("Digest {parts}, x=\"{}\"", "a".repeat(LONGEST))), None);
    }

    #[test]
    fn a_nonce_reads_back_and_a_made_up_one_does_not() {
        let (ours, theirs) = (Keyed::new([1; 16]), Keyed::new([2; 16]));
        let nonce = Nonce { given_ms: 77, salt: 5 };
        let text = nonce.text(&ours, "r");
        assert_eq!(Nonce::read(&text, &ours, "r"), Some(nonce));
        assert_eq!(Nonce::read(&text, &theirs, "r"), None);
        assert_eq!(Nonce::read(&text, &ours, "s"), None);
        assert_eq!(Nonce::read(&text.replacen('0', "1", 1), &ours, "r"), None);
        for other in ["", "x", &"é".repeat(32), &"0".repeat(64)] {
            assert_eq!(Nonce::read(other, &ours, "r"), None);
        }
    }
}
