//! `[[webhook]]`: who is told of calls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use crate::Webhook;
use crate::node::is_name;
use crate::secrets::Surroundings;
use crate::table::{Section, Value};

/// Most webhooks: each has series of its own.
const WEBHOOKS: usize = 64;

/// Shortest key of a signature, bytes.
const KEY_BYTES: usize = 16;

/// Longest URL.
const URL_BYTES: usize = 2048;

/// The events of a call, by their names without `cooee.call.`.
pub const EVENTS: [&str; 6] =
    ["ringing", "platform_answered", "agent_answered", "bridged", "ended", "amended"];

/// Reads all webhooks.
pub(crate) fn webhooks(root: &mut Section<'_>, around: &Surroundings<'_>) -> Vec<Webhook> {
    let mut webhooks: Vec<Webhook> = Vec::new();
    for mut section in root.tables("webhook") {
        let webhook = webhook(&mut section, around);
        if webhooks.iter().any(|w| w.name == webhook.name) && !webhook.name.is_empty() {
            section.error("name", format!("a second webhook `{}`", webhook.name));
        }
        section.finish();
        webhooks.push(webhook);
    }
    if webhooks.len() > WEBHOOKS {
        root.error("webhook", format!("more than {WEBHOOKS}"));
    }
    webhooks
}

fn webhook(section: &mut Section<'_>, around: &Surroundings<'_>) -> Webhook {
    let name = section.needed("name");
    if !name.is_empty() && !is_name(&name) {
        section.error("name", "must be 1 to 64 letters, digits, `-`, `_`, `.`".to_owned());
    }
    let url = section.value("url").and_then(|value| url(&value, around));
    let secret = section.value("secret").and_then(|value| secret(&value, around));
    for key in ["url", "secret"] {
        if !section.has(key) {
            section.error("", format!("`{key}` is missing"));
        }
    }
    Webhook {
        name,
        url: url.unwrap_or_default(),
        secret: secret.unwrap_or_default(),
        events: events(section),
        timeout_ms: section.int("timeout_ms", 10_000, 100..=60_000),
        max_in_flight: section.int("max_in_flight", 32, 1..=1024),
        give_up_after_s: section.int("give_up_after_h", 72, 1..=720) * 3600,
    }
}

/// Where events are posted. What is wrong is told without the URL, which may hold a secret.
fn url(value: &Value<'_>, around: &Surroundings<'_>) -> Option<String> {
    let text = around.plain(value)?;
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let what = if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        "must begin with `https://` or `http://`"
    } else if authority.contains('@') {
        "holds a user or a password: receivers check the signature instead"
    } else if text.len() > URL_BYTES || !text.bytes().all(|b| b.is_ascii_graphic()) {
        "holds spaces or other characters that must be percent-encoded, or is too long"
    } else if text.contains('#') || !is_authority(authority) {
        "is no URL, as `https://ops.example/cooee`"
    } else {
        if scheme.eq_ignore_ascii_case("http") && !is_loopback(authority) {
            value.note("is not encrypted: numbers of customers can be read on the way".to_owned());
        }
        return Some(text);
    };
    value.error(what.to_owned());
    None
}

fn is_authority(authority: &str) -> bool {
    cooee_signalling::message::address::host_and_port(authority.as_bytes()).is_some()
}

fn is_loopback(authority: &str) -> bool {
    let found = cooee_signalling::message::address::host_and_port(authority.as_bytes());
    let host = found.and_then(|(host, _)| std::str::from_utf8(host).ok()).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback())
}

fn secret(value: &Value<'_>, around: &Surroundings<'_>) -> Option<SecretString> {
    let secret = around.secret(value)?;
    let text = secret.expose_secret();
    let bytes = match text.strip_prefix("whsec_") {
        None => text.len(),
        Some(encoded) => match STANDARD.decode(encoded) {
            Ok(key) => key.len(),
            Err(_) => {
                value.error("what follows `whsec_` is no base64".to_owned());
                return None;
            }
        },
    };
    if bytes < KEY_BYTES {
        value.error(format!("is a key of {bytes} bytes: at least {KEY_BYTES} are needed"));
        return None;
    }
    Some(secret)
}

/// The events that it wants; all of them where none is named.
fn events(section: &mut Section<'_>) -> Vec<String> {
    let words = EVENTS.map(|event| (event, event));
    let mut events = Vec::new();
    for (value, text) in section.texts("events") {
        let text = text.strip_prefix("cooee.call.").unwrap_or(&text);
        let Some(event) = value.word(text, &words).map(str::to_owned) else { continue };
        if events.contains(&event) {
            value.error(format!("`{event}` is there twice"));
        } else {
            events.push(event);
        }
    }
    if section.has("events") && section.list("events").is_empty() {
        section.error("events", "names none: leave it out for all".to_owned());
    }
    events
}
