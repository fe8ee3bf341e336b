//! `sip-profiles/*.toml`: the shipped ones are part of the binary; a file of the same name in
//! `sip-profiles/` beside the configuration takes their place.

use std::collections::BTreeMap;
use std::sync::Arc;

use cooee_model::account::Role;
use cooee_signalling::message::text::is_token;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::profile::header::Patterns;
use cooee_signalling::profile::number::{Context, Format};
use cooee_signalling::profile::rewrite::{Rewrite, may_write};
use cooee_signalling::profile::rules::{
    AnswerMeans, Auth, Behaviour, DirectCode, Dtmf, IpFamily, Kind, MediaRules, MediaSource,
    Profile, Reading, RegisterRules, TrustReason, Writing,
};
use cooee_signalling::profile::source::{SOURCES, Source};
use cooee_signalling::profile::template::{BadTemplate, Template, VARIABLES};

use regex::Regex;

use crate::finding::{Finding, hint};
use crate::secrets::Surroundings;
use crate::table::{Document, Section, Value};

/// The profiles that are part of the binary: name and text.
pub const SHIPPED: [(&str, &str); 10] = [
    ("unitalk", include_str!("../../sip-profiles/unitalk.toml")),
    ("unitalk-lines", include_str!("../../sip-profiles/unitalk-lines.toml")),
    ("voximplant", include_str!("../../sip-profiles/voximplant.toml")),
    ("voximplant-app", include_str!("../../sip-profiles/voximplant-app.toml")),
    ("generic-ip-trunk", include_str!("../../sip-profiles/generic-ip-trunk.toml")),
    ("generic-register", include_str!("../../sip-profiles/generic-register.toml")),
    ("asterisk", include_str!("../../sip-profiles/asterisk.toml")),
    ("freeswitch", include_str!("../../sip-profiles/freeswitch.toml")),
    ("cisco-cucm", include_str!("../../sip-profiles/cisco-cucm.toml")),
    ("transparent", include_str!("../../sip-profiles/transparent.toml")),
];

/// The schema of profiles that this build reads.
const SCHEMA: u32 = 1;

/// The names of the roles.
pub const ROLES: [(&str, Role); 2] =
    [("agent-leg", Role::AgentLeg), ("customer-leg", Role::CustomerLeg)];

/// A profile as its file says it, with its other styles.
#[derive(Clone, Debug, Default)]
pub struct ProfileFile {
    /// The rules, in the style that the file begins with.
    pub profile: Arc<Profile>,
    /// That style's name; empty: the profile has only one.
    pub style: String,
    /// The other styles: whole sets of slots.
    pub styles: BTreeMap<String, Writing>,
    /// Where it came from.
    pub file: String,
}

impl ProfileFile {
    /// The rules in a style; `None`: there is no such style.
    pub fn in_style(&self, style: &str) -> Option<Arc<Profile>> {
        if style == self.style {
            return Some(Arc::clone(&self.profile));
        }
        let write = self.styles.get(style)?.clone();
        Some(Arc::new(Profile { write, ..Profile::clone(&self.profile) }))
    }
}

/// All profiles by name: the shipped ones, and those beside the configuration over them.
///
/// Findings about files go to `root`.
pub(crate) fn load(root: &Section<'_>, around: &Surroundings<'_>) -> BTreeMap<String, ProfileFile> {
    let (profiles, findings) = all(around);
    root.add(findings);
    profiles
}

/// As `load`, for tools that have no configuration.
pub fn all(around: &Surroundings<'_>) -> (BTreeMap<String, ProfileFile>, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut profiles = BTreeMap::new();
    let mut take = |file: &str, name: &str, text: &str| {
        let (profile, found) = parse(file, text);
        findings.extend(found);
        if let Some(profile) = profile {
            if profile.profile.name != name {
                let what = format!("names itself `{}`", profile.profile.name);
                findings.push(Finding::error(file, what));
            }
            profiles.insert(name.to_owned(), profile);
        }
    };
    for (name, text) in SHIPPED {
        take(&format!("sip-profiles/{name}.toml (shipped)"), name, text);
    }
    let dir = around.dir.join("sip-profiles");
    let mut own: Vec<_> = std::fs::read_dir(&dir)
        .map(|entries| entries.flatten().map(|e| e.path()).collect())
        .unwrap_or_default();
    own.sort();
    for path in own.iter().filter(|p| p.extension().is_some_and(|e| e == "toml")) {
        let file = path.display().to_string();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match std::fs::read_to_string(path) {
            Ok(text) => take(&file, &name, &text),
            Err(e) => take(&file, &name, &format!("cannot be read: {e}")),
        }
    }
    (profiles, findings)
}

/// Reads one profile.
pub fn parse(file: &str, text: &str) -> (Option<ProfileFile>, Vec<Finding>) {
    let document = Document::new(file, text);
    let profile = document.root().map(|mut root| {
        let mut profile = profile(&mut root);
        profile.file = file.to_owned();
        root.finish();
        profile
    });
    (profile, document.into_findings())
}

fn profile(root: &mut Section<'_>) -> ProfileFile {
    let schema = root.int("schema", 0, 0..=u32::MAX);
    if schema != SCHEMA {
        root.error("schema", format!("schema {schema} is not known: this build reads {SCHEMA}"));
    }
    let kinds = [Kind::Inbound, Kind::Outbound, Kind::Both, Kind::RegisterInbound];
    let kinds = kinds.map(|kind| (kind.name(), kind));
    let mut profile = Profile {
        name: root.needed("name"),
        kind: root.word("kind", &kinds, Kind::Both),
        ..Profile::default()
    };
    let states = [("verified", "verified"), ("observed", "observed"), ("unverified", "unverified")];
    profile.status = root.word("status", &states, "unverified").to_owned();
    for (value, text) in root.texts("roles") {
        profile.roles.extend(value.word(&text, &ROLES));
    }
    transport(root, &mut profile);
    profile.auth = auth(root);
    number(root, &mut profile);
    profile.media = media(root);
    profile.behaviour = behaviour(root);
    profile.register = register(root, profile.kind);
    let mut file = ProfileFile::default();
    if let Some(mut identity) = root.table("identity") {
        profile.read = reading(&mut identity);
        if let Some(mut out) = identity.table("out") {
            file.style = out.text("style").unwrap_or_default();
            slots(&mut out, &mut profile.write);
            out.finish();
        }
        identity.finish();
    }
    headers(root.table("headers"), &mut profile.write);
    if profile.makes_calls() {
        for (slot, template) in profile.write.slots() {
            if template.is_empty() && matches!(slot, "request_uri" | "to" | "from_user") {
                root.error("identity", format!("`out.{slot}` is missing: calls go to this peer"));
            }
        }
    }
    if let Some(mut styles) = root.table("style") {
        for name in styles.keys() {
            let Some(mut style) = styles.table(&name) else { continue };
            let mut write = profile.write.clone();
            slots(&mut style, &mut write);
            headers(style.table("headers"), &mut write);
            style.finish();
            file.styles.insert(name, write);
        }
    }
    file.profile = Arc::new(profile);
    file
}

fn transport(root: &mut Section<'_>, profile: &mut Profile) {
    let Some(mut section) = root.table("transport") else { return };
    let names = [Transport::Udp, Transport::Tcp, Transport::Tls].map(|t| (t.name(), t));
    for (value, text) in section.texts("prefer") {
        profile.prefer.extend(value.word(&text, &names));
    }
    let families = [("v4", IpFamily::V4), ("v6", IpFamily::V6), ("any", IpFamily::Any)];
    profile.ip_family = section.word("ip_family", &families, IpFamily::Any);
    section.finish();
}

fn auth(root: &mut Section<'_>) -> Auth {
    let Some(mut section) = root.table("auth") else { return Auth::default() };
    // The source address is checked in any case, so `digest` and `both` are one.
    let inbound = [("ip", false), ("digest", true), ("both", true)];
    let auth = Auth {
        challenge: section.word("inbound", &inbound, false),
        answer: section.word("outbound", &[("none", false), ("digest", true)], false),
        shared_source: section.flag("shared_source", false),
    };
    section.finish();
    auth
}

fn number(root: &mut Section<'_>, profile: &mut Profile) {
    let Some(mut section) = root.table("number") else { return };
    profile.context = section.word("context", &Context::ALL, Context::E164);
    profile.format = section.word("out", &Format::ALL, profile.context.format());
    section.finish();
}

fn media(root: &mut Section<'_>) -> MediaRules {
    let mut media = MediaRules::default();
    let Some(mut section) = root.table("media") else { return media };
    for (value, codec) in section.texts("codecs") {
        if is_token(codec.as_bytes()) {
            media.codecs.push(codec);
        } else {
            value.error(format!("`{codec}` is no codec name"));
        }
    }
    let ptime = section.int("ptime", u32::from(media.ptime_ms), 5..=120);
    media.ptime_ms = u16::try_from(ptime).unwrap_or(media.ptime_ms);
    let dtmf = [("rfc4733", Dtmf::Rfc4733), ("info", Dtmf::Info), ("inband", Dtmf::Inband)];
    media.dtmf = section.word("dtmf", &dtmf, media.dtmf);
    media.early_media = section.word("early_media", &[("pass", true), ("block", false)], true);
    let sources = [("any", MediaSource::Any), ("sdp", MediaSource::Sdp)];
    media.source = section.word("media_source", &sources, media.source);
    // Accepted for old files: RTP is symmetric always (RFC 4961).
    section.flag("symmetric", true);
    section.finish();
    media
}

fn behaviour(root: &mut Section<'_>) -> Behaviour {
    let mut habits = Behaviour::default();
    let Some(mut section) = root.table("behaviour") else { return habits };
    let means = [
        ("platform", AnswerMeans::Platform),
        ("agent", AnswerMeans::Agent),
        ("customer", AnswerMeans::Customer),
    ];
    habits.answer_means = section.word("answer_means", &means, habits.answer_means);
    habits.signals_hold = section.flag("signals_hold", true);
    if let Some(value) = section.value("trust_reason") {
        habits.trust_reason = match (value.flag(), value.is_text()) {
            (Some(true), _) => TrustReason::Always,
            (Some(false), _) => TrustReason::Never,
            (None, true) => {
                let words = [("unless-answered", TrustReason::UnlessAnswered)];
                let text = value.text().unwrap_or_default();
                value.word(&text, &words).unwrap_or_default()
            }
            (None, false) => {
                value.error("must be true, false or \"unless-answered\"".to_owned());
                TrustReason::default()
            }
        };
    }
    habits.require_100rel = section.flag("require_100rel", false);
    habits.session_timer =
        section.table("session_timer").map(|mut t| crate::node::session_timer(&mut t));
    habits.accept_refer = section.flag("accept_refer", false);
    habits.session_id = section.flag("session_id", false);
    habits.takes_refer = section.flag("takes_refer", false);
    habits.late_487_ok = section.flag("late_487_ok", false);
    habits.options_ping = section.flag("options_ping", true);
    let longest = section.int("display_name_max", 0, 0..=256);
    habits.display_name_max = usize::try_from(longest).unwrap_or(0);
    habits.display_name_ascii = section.flag("display_name_ascii", false);
    habits.greeting_expected_ms = section.int("greeting_expected_ms", 0, 0..=600_000);
    habits.pass = patterns(&mut section, "pass_headers");
    habits.strip = patterns(&mut section, "strip_headers");
    if let Some(mut map) = section.table("error_map") {
        for from in map.keys() {
            let Some(value) = map.value(&from) else { continue };
            let code = |text: &str| text.parse::<u16>().ok().filter(|c| (300..700).contains(c));
            match (code(&from), value.scalar().as_deref().and_then(code)) {
                (Some(from), Some(to)) => {
                    habits.error_map.insert(from, to);
                }
                _ => value.error("maps one code from 300 to 699 to another".to_owned()),
            }
        }
    }
    if let Some(mut code) = section.table("direct_code") {
        let enabled = code.flag("enabled", false);
        let after_ms = code.int("after_ms", 500, 0..=60_000);
        let digits = code.value("digits").and_then(|v| template(&v)).unwrap_or_default();
        code.finish();
        habits.direct_code = enabled.then_some(DirectCode { after_ms, digits });
    }
    section.finish();
    habits
}

fn patterns(section: &mut Section<'_>, key: &str) -> Patterns {
    let mut patterns = Patterns::default();
    for (value, text) in section.texts(key) {
        if let Err(e) = patterns.add(&text) {
            value.error(format!("`{text}`: {e}"));
        }
    }
    patterns
}

fn register(root: &mut Section<'_>, kind: Kind) -> Option<RegisterRules> {
    let Some(mut section) = root.table("register") else {
        if kind == Kind::RegisterInbound {
            root.error("kind", "`register-inbound` needs a `[register]` table".to_owned());
        }
        return None;
    };
    if let Some(lines) = section.text("lines").filter(|l| l != "{vars.lines}") {
        section.error("lines", format!("`{lines}`: only `{{vars.lines}}` of the trunk is read"));
    }
    let jitter = section.int("jitter_pct", 10, 0..=50);
    let rules = RegisterRules {
        expires_s: section.int("expires_s", 300, 30..=86_400),
        jitter_pct: u8::try_from(jitter).unwrap_or(10),
        max_calls_per_line: section.int("max_calls_per_line", 1, 1..=10_000),
    };
    section.finish();
    Some(rules)
}

fn reading(identity: &mut Section<'_>) -> Reading {
    let mut reading = Reading::default();
    let Some(mut section) = identity.table("in") else { return reading };
    for (key, list) in [
        ("customer", &mut reading.customer),
        ("requested_cli", &mut reading.requested_cli),
        ("autodialer", &mut reading.autodialer),
        ("external_id", &mut reading.external_id),
        ("line", &mut reading.line),
    ] {
        for (value, text) in section.texts(key) {
            match Source::parse(&text) {
                Ok(source) => list.push(source),
                Err(e) => value.error(format!("{e}{}", hint(&text, SOURCES))),
            }
        }
    }
    section.finish();
    reading
}

fn slots(section: &mut Section<'_>, write: &mut Writing) {
    for (key, slot) in [
        ("request_uri", &mut write.request_uri),
        ("to", &mut write.to),
        ("from_user", &mut write.from_user),
        ("from_display", &mut write.from_display),
        ("from_host", &mut write.from_host),
        ("contact_user", &mut write.contact_user),
        ("pai", &mut write.pai),
        ("rpid", &mut write.rpid),
        ("diversion", &mut write.diversion),
        ("privacy", &mut write.privacy),
    ] {
        let Some(value) = section.value(key) else { continue };
        let Some(read) = template(&value) else { continue };
        let scheme = ["sip:", "sips:", "tel:", "<", "\"", "{"];
        let is_uri = matches!(key, "request_uri" | "to" | "pai" | "rpid" | "diversion");
        if is_uri && !read.is_empty() && !scheme.iter().any(|s| read.text().starts_with(s)) {
            value.error("must begin with `sip:`, `sips:` or `tel:`".to_owned());
        }
        *slot = read;
    }
}

/// `[headers.out]`: names that would collide with what the message itself writes are findings.
fn headers(table: Option<Section<'_>>, write: &mut Writing) {
    let Some(mut table) = table else { return };
    if let Some(mut out) = table.table("out") {
        for name in out.keys() {
            let Some(value) = out.value(&name) else { continue };
            let known = cooee_signalling::message::name::Name::of(name.as_bytes());
            if !is_token(name.as_bytes()) || known.is_of_one_leg() {
                value.error("is no header that a profile may write".to_owned());
                continue;
            }
            if let Some(template) = template(&value) {
                write.headers.retain(|(before, _)| !before.eq_ignore_ascii_case(&name));
                write.headers.push((name, template));
            }
        }
        write.headers.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    }
    for value in table.list("rewrite") {
        let Some(mut verb) = value.table() else { continue };
        write.rewrite.extend(rewrite(&mut verb));
        verb.finish();
    }
    table.finish();
}

/// One verb of `[headers] rewrite`, told by its first key.
fn rewrite(verb: &mut Section<'_>) -> Option<Rewrite> {
    let name = |verb: &mut Section<'_>, key: &str| {
        let name = verb.text(key)?;
        if !may_write(&name) {
            verb.error(key, format!("`{name}` is no header that a profile may write"));
            return None;
        }
        Some(name)
    };
    if verb.has("set") {
        let name = name(verb, "set");
        let value = verb.value("value").and_then(|v| template(&v));
        if !verb.has("value") {
            verb.error("", "`value` is missing beside `set`".to_owned());
        }
        return Some(Rewrite::Set { name: name?, value: value? });
    }
    if verb.has("remove") {
        let text = verb.text("remove")?;
        let mut patterns = Patterns::default();
        return match patterns.add(&text) {
            Ok(()) => Some(Rewrite::Remove(patterns)),
            Err(e) => {
                verb.error("remove", format!("`{text}`: {e}"));
                None
            }
        };
    }
    if verb.has("rename") {
        let from = name(verb, "rename");
        if !verb.has("to") {
            verb.error("", "`to` is missing beside `rename`".to_owned());
        }
        let to = name(verb, "to");
        return Some(Rewrite::Rename { from: from?, to: to? });
    }
    if verb.has("replace") {
        let name = name(verb, "replace");
        let find = verb.needed("match");
        let with = verb.text("with").unwrap_or_default();
        return match Regex::new(&find) {
            Ok(find) => Some(Rewrite::Replace { name: name?, find, with }),
            Err(e) => {
                verb.error("match", format!("bad regular expression: {e}"));
                None
            }
        };
    }
    verb.error("", "says neither `set`, `remove`, `rename` nor `replace`".to_owned());
    None
}

fn template(value: &Value<'_>) -> Option<Template> {
    match Template::parse(&value.text()?) {
        Ok(template) => Some(template),
        Err(BadTemplate::Unknown(name)) => {
            let near = hint(&name, VARIABLES);
            value.error(format!("unknown variable `{{{name}}}`{near}"));
            None
        }
        Err(e) => {
            value.error(e.to_string());
            None
        }
    }
}
