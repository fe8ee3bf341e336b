//! `[[portal]]`: who may tell us of calls, and which trunk is which line of it.

use std::time::Duration;

use cooee_signalling::profile::plan::{Portal, PortalLine, Trunk};
use secrecy::ExposeSecret;

use crate::PortalAccess;
use crate::finding::hint;
use crate::node::is_name;
use crate::secrets::Surroundings;
use crate::table::Section;

/// A token shorter than this may be guessed.
const TOKEN_BYTES: usize = 16;

/// Longest name of a line.
const LINE_BYTES: usize = 64;

/// Keys of features that are not built yet.
const LATER: [&str; 10] = [
    "domain",
    "plan",
    "oauth",
    "crm_mode",
    "native_connector",
    "default_responsible",
    "unassigned_user",
    "actions",
    "templates",
    "fields",
];

/// All that the file says of portals.
#[derive(Debug, Default)]
pub(crate) struct Portals {
    /// Every id, of those that are switched off too.
    known: Vec<String>,
    /// Those that are believed.
    pub(crate) access: Vec<PortalAccess>,
    /// The same, for the signalling plane.
    pub(crate) plan: Vec<Portal>,
    /// The zone of the first.
    pub(crate) timezone: Option<String>,
}

/// Reads all portals.
pub(crate) fn portals(root: &mut Section<'_>, around: &Surroundings<'_>) -> Portals {
    let mut portals = Portals::default();
    for (at, mut section) in root.tables("portal").into_iter().enumerate() {
        let timezone = section.text("timezone");
        if at == 0 {
            portals.timezone = timezone;
        }
        portal(&mut section, &mut portals, around);
        let later: Vec<&str> =
            LATER.into_iter().filter(|key| section.value(key).is_some()).collect();
        if !later.is_empty() {
            section.note("", format!("not used yet: {}", later.join(", ")));
        }
        section.finish();
    }
    portals
}

fn portal(section: &mut Section<'_>, portals: &mut Portals, around: &Surroundings<'_>) {
    let id = section.needed("id");
    if !id.is_empty() && !is_name(&id) {
        section.error("id", "must be 1 to 64 letters, digits, `-`, `_`, `.`".to_owned());
    }
    if portals.known.contains(&id) && !id.is_empty() {
        section.error("id", format!("a second portal `{id}`"));
    }
    portals.known.push(id.clone());
    let active = section.flag("active", true);
    let settle_s = section.int("settle_s", 30, 1..=600);
    let slack_ms = section.int("event_slack_ms", 1000, 0..=10_000);
    let member_id = section.text("member_id").filter(|text| !text.is_empty());
    let given = section.value("application_token");
    if !active {
        return;
    }
    let Some(given) = given else {
        let what = "has no `application_token`: nothing that it says is believed";
        section.note("", what.to_owned());
        return;
    };
    let Some(token) = around.secret(&given) else { return };
    if token.expose_secret().len() < TOKEN_BYTES {
        given.note("is short: whoever guesses it may speak for the portal".to_owned());
    }
    let twin = portals
        .access
        .iter()
        .find(|other| other.application_token.expose_secret() == token.expose_secret());
    if let Some(other) = twin {
        given.error(format!("portal `{}` has the same", other.id));
    }
    let (settle, slack) =
        (Duration::from_secs(settle_s.into()), Duration::from_millis(slack_ms.into()));
    portals.plan.push(Portal { id: id.clone(), settle, slack });
    portals.access.push(PortalAccess { id, application_token: token, member_id });
}

/// The line of a portal that a trunk is: as it says, else its login on the only portal.
pub(crate) fn line(
    section: &mut Section<'_>,
    trunk: &Trunk,
    portals: &Portals,
) -> Option<PortalLine> {
    let (named, own) = (section.text("portal"), section.text("portal_line"));
    let login = trunk.login.clone().filter(|login| is_line(login));
    let is_told = named.is_some() || own.is_some();
    if let Some(line) = own.as_deref().filter(|line| !is_word(line)) {
        section.error("portal_line", format!("`{line}` is no line, as `sip12`"));
        return None;
    }
    if is_told && !trunk.profile.name.is_empty() && !trunk.profile.makes_calls() {
        let key = if named.is_some() { "portal" } else { "portal_line" };
        section.error(key, "no calls go to this trunk: no portal speaks of them".to_owned());
        return None;
    }
    if let Some(name) = named.as_ref().filter(|name| !portals.known.contains(name)) {
        let near = hint(name, portals.known.iter().map(String::as_str));
        section.error("portal", format!("there is no portal `{name}`{near}"));
        return None;
    }
    let portal = match (named, portals.plan.as_slice()) {
        (Some(name), all) => all.iter().find(|portal| portal.id == name)?.id.clone(),
        (None, [only]) => only.id.clone(),
        (None, all) => {
            if own.is_some() && (portals.known.is_empty() || !all.is_empty()) {
                section.error("portal_line", "needs the `portal` whose line it is".to_owned());
            }
            return None;
        }
    };
    match own.or(login) {
        Some(line) if trunk.profile.makes_calls() => Some(PortalLine { portal, line }),
        None if is_told => {
            let what = "`portal_line` is missing: its login is no line, as `sip12`";
            section.error("", what.to_owned());
            None
        }
        _ => None,
    }
}

/// Whether a login is the name of a line: `sip12`, `reg7`.
fn is_line(text: &str) -> bool {
    let digits = text.strip_prefix("sip").or_else(|| text.strip_prefix("reg"));
    digits.is_some_and(|d| !d.is_empty() && d.len() < 16 && d.bytes().all(|b| b.is_ascii_digit()))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= LINE_BYTES && text.bytes().all(|b| b.is_ascii_graphic())
}
