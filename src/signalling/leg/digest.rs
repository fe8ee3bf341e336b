//! Digest authentication as a client (RFC 3261, 22; RFC 7616 as RFC 8760 brings it to SIP).

use md5::{Digest as _, Md5};
use sha2::Sha256;

use crate::message::name::Name;
use crate::message::text::{elements, lossy, split_outside, trim, unquote};
use crate::message::view::Message;
use crate::profile::fence::Algorithm;

/// What a peer asks for in a 401 or 407.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Who asks.
    pub realm: String,
    pub(super) nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    qop: bool,
    /// True where only the nonce was too old.
    pub stale: bool,
    proxy: bool,
}

/// A login that answers challenges.
pub struct Login<'a> {
    /// The user name.
    pub user: &'a str,
    /// The password.
    pub secret: &'a str,
}

impl Challenge {
    /// The strongest challenge of a 401 or 407 that we can answer, of this realm if one is given;
    /// `None` if there is none.
    pub fn read(response: &Message, realm: Option<&str>) -> Option<Self> {
        let proxy = response.code() == 407;
        let name = if proxy { Name::ProxyAuthenticate } else { Name::WwwAuthenticate };
        let mut found: Option<Self> = None;
        for value in response.values(name) {
            if let Some(challenge) = Self::one(value, proxy)
                && realm.is_none_or(|realm| realm == challenge.realm)
                && found.as_ref().is_none_or(|f| f.algorithm == Algorithm::Md5)
            {
                found = Some(challenge);
            }
        }
        found
    }

    fn one(value: &[u8], proxy: bool) -> Option<Self> {
        let get = params(value)?;
        let algorithm = get("algorithm").map_or(Some(Algorithm::Md5), |a| Algorithm::named(&a))?;
        let qop = match get("qop") {
            None => false,
            Some(list) if list.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth")) => true,
            Some(_) => return None,
        };
        Some(Self {
            realm: get("realm")?,
            nonce: get("nonce")?,
            opaque: get("opaque"),
            algorithm,
            qop,
            stale: get("stale").is_some_and(|s| s.eq_ignore_ascii_case("true")),
            proxy,
        })
    }

    /// The header that answers, and its value. `count` is how many times this nonce has been
    /// used, this time included; `cnonce` is ours.
    pub fn answer(
        &self,
        login: &Login<'_>,
        (method, uri): (&str, &[u8]),
        count: u32,
        cnonce: &str,
    ) -> (Name, String) {
        let uri = lossy(uri);
        let nonce = &self.nonce;
        let nc = format!("{count:08x}");
        let qop = self.qop.then_some((nc.as_str(), cnonce));
        let about = (method, uri.as_str());
        let response = response(self.algorithm, login, (&self.realm, nonce), qop, about);
        // What the peer wrote goes back as it was written, escapes and all.
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut value = format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", \
             response=\"{response}\"",
            escape(login.user),
            self.realm,
            nonce,
        );
        value.push_str(&format!(", algorithm={}", self.algorithm.name()));
        if self.qop {
            value.push_str(&format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
        }
        if let Some(opaque) = &self.opaque {
            value.push_str(&format!(", opaque=\"{}\"", opaque));
        }
        let name = if self.proxy { Name::ProxyAuthorization } else { Name::Authorization };
        (name, value)
    }
}

/// The parameters of a `Digest` challenge or answer, by name; `None` for any other scheme.
pub(super) fn params(value: &[u8]) -> Option<impl Fn(&str) -> Option<String> + '_> {
    let (scheme, params) = trim(value).split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"digest") {
        return None;
    }
    Some(move |name: &str| {
        elements(params, b',').find_map(|element| {
            let (key, value) = split_outside(element, b'=');
            let found = trim(key).eq_ignore_ascii_case(name.as_bytes());
            found.then(|| lossy(unquote(trim(value.unwrap_or_default()))))
        })
    })
}

/// The proof itself (RFC 7616, 3.4.1); `qop` is the count as written and the client's own nonce.
pub(super) fn response(
    algorithm: Algorithm,
    login: &Login<'_>,
    (realm, nonce): (&str, &str),
    qop: Option<(&str, &str)>,
    (method, uri): (&str, &str),
) -> String {
    let hash = |text: String| match algorithm {
        Algorithm::Md5 => hex(&Md5::digest(text)),
        Algorithm::Sha256 => hex(&Sha256::digest(text)),
    };
    let a1 = hash(format!("{}:{realm}:{}", login.user, login.secret));
    let a2 = hash(format!("{method}:{uri}"));
    hash(match qop {
        Some((nc, cnonce)) => format!("{a1}:{nonce}:{nc}:{cnonce}:auth:{a2}"),
        None => format!("{a1}:{nonce}:{a2}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn challenge(value: &str) -> Option<Challenge> {
        let text = format!("SIP/2.0 401 U\r\nWWW-Authenticate: {value}\r\nCSeq: 1 INVITE\r\n\r\n");
        Challenge::read(&Message::read(Bytes::from(text)).unwrap(), None)
    }

    #[test]
    fn the_examples_of_rfc_2617_and_rfc_7616() {
        let md5 = challenge(
            "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
             opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
        )
        .unwrap();
        let login = Login { user: "Mufasa", secret: "Circle Of Life" };
        let (name, value) = md5.answer(&login, ("GET", b"/dir/index.html"), 1, "0a4f113b");
        assert_eq!(name, Name::Authorization);
        assert!(value.contains("response=\"6629fae49393a05397450978507c4ef1\""), "{value}");
        let sha = challenge(
            "Digest realm=\"http-auth@example.org\", qop=\"auth\", algorithm=SHA-256, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"x\"",
        )
        .unwrap();
        let login = Login { user: "Mufasa", secret: "Circle of Life" };
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let value = sha.answer(&login, ("GET", b"/dir/index.html"), 1, cnonce).1;
        let expected = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        assert!(value.contains(expected), "{value}");
    }

    #[test]
    fn rsip_reads_the_same_challenge_and_computes_the_same_answer() {
        use rsip::services::DigestGenerator;
        let ours = challenge("Digest realm=\"ip.example\", nonce=\"n1\"").unwrap();
        let value =
            ours.answer(&Login { user: "sip7", secret: "s" }, ("INVITE", b"sip:a@b"), 1, "").1;
        let uri = rsip::Uri::try_from("sip:a@b").unwrap();
        let theirs = DigestGenerator {
            username: "sip7",
            password: "s",
            nonce: "n1",
            uri: &uri,
            realm: "ip.example",
            method: &rsip::Method::Invite,
            qop: None,
            algorithm: rsip::headers::auth::Algorithm::Md5,
        };
        assert!(value.contains(&theirs.compute()), "{value}");
    }

    #[test]
    fn what_we_cannot_answer_is_not_answered() {
        assert_eq!(challenge("Basic realm=\"x\""), None);
        assert_eq!(challenge("Digest realm=\"x\", nonce=\"y\", algorithm=MD5-sess"), None);
        assert_eq!(challenge("Digest realm=\"x\", nonce=\"y\", qop=\"auth-int\""), None);
        assert_eq!(challenge("Digest realm=\"x\""), None);
        assert!(challenge("Digest realm=\"x\",nonce=\"y\",stale=TRUE").unwrap().stale);
    }
}
