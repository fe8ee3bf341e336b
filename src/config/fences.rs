//! `[[trunk]] auth`: what the INVITEs of a trunk must prove beside their source address.

use cooee_signalling::message::name::Name;
use cooee_signalling::message::text::is_token;
use cooee_signalling::profile::fence::{
    Algorithm, DigestFence, Fence, HeaderFence, IdentityFence, REALM,
};
use cooee_signalling::profile::plan::Trunk;
use cooee_signalling::profile::source::{SOURCES, Source};
use secrecy::{ExposeSecret, SecretString};

use crate::finding::hint;
use crate::secrets::Surroundings;
use crate::table::Section;

/// Most users of one trunk.
const USERS: usize = 10_000;

/// A secret header shorter than this can be guessed.
const SECRET_BYTES: usize = 16;

#[derive(Clone, Copy)]
enum Mode {
    Address,
    Digest,
    Header,
    Identity,
}

const MODES: [(&str, Mode); 4] = [
    ("address", Mode::Address),
    ("digest", Mode::Digest),
    ("header", Mode::Header),
    ("identity", Mode::Identity),
];

/// Reads `auth`; without it the profile says. `trunk` has its login and secret already.
pub(crate) fn fence(section: &mut Section<'_>, trunk: &Trunk, around: &Surroundings<'_>) -> Fence {
    let usual = if trunk.profile.auth.challenge { Mode::Digest } else { Mode::Address };
    let Some(mut auth) = section.table("auth") else {
        return match usual {
            Mode::Digest => Fence::Digest(DigestFence {
                realm: REALM.to_owned(),
                users: own_login(trunk),
                algorithms: Algorithm::ALL.map(|(_, a)| a).to_vec(),
            }),
            _ => Fence::Address,
        };
    };
    let fence = match auth.word("mode", &MODES, usual) {
        Mode::Address => Fence::Address,
        Mode::Digest => Fence::Digest(digest(&mut auth, trunk, around)),
        Mode::Header => header(&mut auth, around).map_or(Fence::Address, Fence::Header),
        Mode::Identity => identity(&mut auth, around).map_or(Fence::Address, Fence::Identity),
    };
    auth.finish();
    fence
}

/// Says what a trunk without a fence leaves open.
pub(crate) fn tell(section: &Section<'_>, trunk: &Trunk) {
    match &trunk.fence {
        Fence::Digest(digest) if digest.users.is_empty() && trunk.profile.takes_calls() => {
            let what = "nobody can call from here: digest is wanted, and there is no user";
            section.note("", what.to_owned());
        }
        Fence::Address if trunk.shared_source => {
            let what = "shares its addresses with other customers of the carrier: without `auth` \
                        any of them can call agents through us, and no customer-leg is let in";
            section.note("", what.to_owned());
        }
        _ => {}
    }
}

fn own_login(trunk: &Trunk) -> Vec<(String, SecretString)> {
    trunk.login.clone().zip(trunk.secret.clone()).into_iter().collect()
}

fn digest(auth: &mut Section<'_>, trunk: &Trunk, around: &Surroundings<'_>) -> DigestFence {
    let realm = auth.text("realm").unwrap_or_else(|| REALM.to_owned());
    if realm.is_empty() || realm.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        auth.error("realm", "is empty or holds a quote or a control character".to_owned());
    }
    let mut algorithms = Vec::new();
    for (value, text) in auth.texts("algorithms") {
        algorithms.extend(value.word(&text, &Algorithm::ALL));
    }
    if algorithms.is_empty() {
        algorithms = Algorithm::ALL.map(|(_, a)| a).to_vec();
    }
    // The only one there is; the word is taken so that a file can say it.
    auth.word("qop", &[("auth", ())], ());
    let mut users = Vec::new();
    let written = auth.value("users").map(|v| around.plain(&v).unwrap_or_default());
    let Some(written) = written else {
        return DigestFence { realm, users: own_login(trunk), algorithms };
    };
    let lines = written.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    for (place, line) in lines.enumerate() {
        let parts = line.split_once(':').map(|(user, secret)| (user.trim(), secret.trim()));
        match parts.filter(|(user, secret)| !user.is_empty() && !secret.is_empty()) {
            // The line itself holds a password and is not shown.
            None => auth.error("users", format!("line {} is not `user:secret`", place + 1)),
            Some((user, _)) if users.iter().any(|(u, _)| u == user) => {
                auth.error("users", format!("`{user}` is there twice"));
            }
            Some(_) if users.len() >= USERS => {
                auth.error("users", format!("more than {USERS} users"));
                break;
            }
            Some((user, secret)) => users.push((user.to_owned(), SecretString::from(secret))),
        }
    }
    DigestFence { realm, users, algorithms }
}

fn header(auth: &mut Section<'_>, around: &Surroundings<'_>) -> Option<HeaderFence> {
    let name = auth.needed("name");
    let known = Name::of(name.as_bytes());
    if !is_token(name.as_bytes()) || known != Name::Other {
        auth.error("name", format!("`{name}` is no header of one's own, as `X-Cooee-Key`"));
    }
    let Some(value) = auth.value("value") else {
        auth.error("", "`value` is missing: what the header must say".to_owned());
        return None;
    };
    let secret = around.secret(&value)?;
    if secret.expose_secret().len() < SECRET_BYTES {
        value.error(format!("must have at least {SECRET_BYTES} bytes: it is all that is proven"));
    }
    Some(HeaderFence { name, value: secret })
}

fn identity(auth: &mut Section<'_>, around: &Surroundings<'_>) -> Option<IdentityFence> {
    let text = auth.needed("source");
    let source = match Source::parse(&text) {
        Ok(source) => Some(source),
        Err(e) => {
            auth.error("source", format!("{e}{}", hint(&text, SOURCES)));
            None
        }
    };
    let mut values = Vec::new();
    for value in auth.list("values") {
        values.extend(around.plain(&value).filter(|v| !v.is_empty()));
    }
    if values.is_empty() {
        auth.error("", "`values` is missing: what the source must say".to_owned());
    }
    Some(IdentityFence { source: source?, values })
}
