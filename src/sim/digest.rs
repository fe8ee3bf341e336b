//! The digest of a SIP line (RFC 2617, MD5, qop "auth"), as the side that asks for it.

use md5::{Digest, Md5};

use crate::wire::{Message, param};

/// The value of a challenge.
pub fn challenge(realm: &str, nonce: &str) -> String {
    format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\"")
}

/// The login that an authorized request names, if it carries one.
pub fn login(request: &Message) -> Option<&str> {
    param(authorization(request)?, "username")
}

/// Whether a request's authorization fits the password and the nonce that was given.
pub fn is_right(request: &Message, password: &str, nonce: &str) -> bool {
    let Some(value) = authorization(request) else { return false };
    let of = |name: &str| param(value, name).unwrap_or_default();
    let who = hash(&[of("username"), of("realm"), password]);
    let what = hash(&[request.method().unwrap_or_default(), of("uri")]);
    let wanted = match of("qop") {
        "" => hash(&[&who, of("nonce"), &what]),
        qop => hash(&[&who, of("nonce"), of("nc"), of("cnonce"), qop, &what]),
    };
    of("nonce") == nonce && of("response") == wanted
}

fn authorization(request: &Message) -> Option<&str> {
    let mut values = request.all("Proxy-Authorization").chain(request.all("Authorization"));
    values.find(|value| value.starts_with("Digest "))
}

/// MD5 of the parts with colons between, in hex.
pub fn hash(parts: &[&str]) -> String {
    let hash = Md5::digest(parts.join(":"));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 2617, 3.5.
    #[test]
    fn the_example_of_the_rfc_is_right() {
        let text = "GET /dir/index.html SIP/2.0\r\nAuthorization: Digest username=\"Mufasa\", \
            realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
            uri=\"/dir/index.html\", qop=auth, nc=00000001, cnonce=\"0a4f113b\", \
            response=\"6629fae49393a05397450978507c4ef1\"\r\n\r\n";
        let request = Message::read(text.as_bytes()).unwrap();
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        assert_eq!(login(&request), Some("Mufasa"));
        assert!(is_right(&request, "Circle Of Life", nonce));
        assert!(!is_right(&request, "Circle of Life", nonce));
        assert!(!is_right(&request, "Circle Of Life", "another"));
    }
}
