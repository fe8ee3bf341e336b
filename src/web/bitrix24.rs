//! What a form of Bitrix24 says: who sent it, and which telephony event it is (Bitrix24 REST,
//! "Events", "Telephony events"). Nobody signs these forms; they carry a token of the portal.

use cooee_model::portal::{PortalEvent, PortalWhat};
use secrecy::{ExposeSecret, SecretString};

use crate::form::Form;
use crate::guard::same;
use crate::limits::{CALL_ID_MAX_BYTES, VALUE_MAX_BYTES};

/// A portal that is believed.
#[derive(Clone, Debug)]
pub struct Portal {
    /// Its id in our configuration.
    pub id: String,
    /// What its events carry (`auth[application_token]`).
    pub application_token: SecretString,
    /// What they name, where it is set (`auth[member_id]`).
    pub member_id: Option<String>,
}

/// What a form says that its portal sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// An event of a call.
    Event(PortalEvent),
    /// Something that is not for us.
    Other,
}

/// A value that must be there and is not, or cannot be what it says; its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) &'static str);

/// The portal that sent the form. All of them are compared, so the time that it takes does not
/// tell which one matched.
pub(crate) fn sender<'p>(form: &Form, portals: &'p [Portal]) -> Option<&'p Portal> {
    let token = form.get("auth[application_token]").unwrap_or_default();
    let member = form.get("auth[member_id]").unwrap_or_default();
    let mut sender = None;
    for portal in portals {
        let token_fits = same(token, portal.application_token.expose_secret().as_bytes());
        let wanted = portal.member_id.as_deref();
        let member_fits = wanted.is_none_or(|wanted| same(member, wanted.as_bytes()));
        if token_fits & member_fits {
            sender = Some(portal);
        }
    }
    sender
}

/// Reads the event of a form that `portal` sent.
pub(crate) fn read(form: &Form, portal: &str) -> Result<Said, Unreadable> {
    let name = form.get("event").ok_or(Unreadable("event"))?;
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    let what = if is("ONVOXIMPLANTCALLINIT") {
        PortalWhat::Init {
            kind: number(form, "data[CALL_TYPE]")?.ok_or(Unreadable("data[CALL_TYPE]"))?,
            line: word(form, "data[ACCOUNT_SEARCH_ID]")?,
            caller: word(form, "data[CALLER_ID]")?,
            called: word(form, "data[PHONE_NUMBER]")?,
        }
    } else if is("ONVOXIMPLANTCALLSTART") {
        PortalWhat::Start { user: word(form, "data[USER_ID]")? }
    } else if is("ONVOXIMPLANTCALLEND") {
        PortalWhat::End {
            // Not USER_ID, as at the start.
            user: word(form, "data[PORTAL_USER_ID]")?,
            code: word(form, "data[CALL_FAILED_CODE]")?,
            duration_s: number(form, "data[CALL_DURATION]")?.unwrap_or_default(),
        }
    } else {
        return Ok(Said::Other);
    };
    let call_id = text(form, "data[CALL_ID]", CALL_ID_MAX_BYTES)?;
    if call_id.is_empty() {
        return Err(Unreadable("data[CALL_ID]"));
    }
    let ts: u32 = number(form, "ts")?.filter(|ts| *ts > 0).ok_or(Unreadable("ts"))?;
    Ok(Said::Event(PortalEvent { portal: portal.to_owned(), call_id, ts: ts.into(), what }))
}

/// A short value; empty where it is not there.
fn word(form: &Form, key: &'static str) -> Result<String, Unreadable> {
    text(form, key, VALUE_MAX_BYTES)
}

/// Printable ASCII without spaces at its ends; a `+` that was sent unescaped reads as a space.
fn text(form: &Form, key: &'static str, longest: usize) -> Result<String, Unreadable> {
    if form.repeats(key) {
        return Err(Unreadable(key));
    }
    let value = form.get(key).unwrap_or_default().trim_ascii();
    let is_plain = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    match std::str::from_utf8(value) {
        Ok(value) if is_plain && value.len() <= longest => Ok(value.to_owned()),
        _ => Err(Unreadable(key)),
    }
}

/// A whole number; `None` where it is not there.
fn number<N: std::str::FromStr>(form: &Form, key: &'static str) -> Result<Option<N>, Unreadable> {
    let text = word(form, key)?;
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).map(Some).ok_or(Unreadable(key))
}
