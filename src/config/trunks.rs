//! `[[trunk]]`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use cooee_signalling::message::transport::Transport;
use cooee_signalling::profile::plan::{Limits, Peer, Ping, Registration, Trunk};
use cooee_signalling::profile::rules::Profile;
use cooee_signalling::profile::template::Variable;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use crate::fences;
use crate::finding::hint;
use crate::node;
use crate::portals::{self, Portals};
use crate::profiles::ProfileFile;
use crate::secrets::Surroundings;
use crate::table::Section;

/// Most lines that one trunk may register.
const LINES: usize = 10_000;

/// Reads all trunks.
pub(crate) fn trunks(
    root: &mut Section<'_>,
    profiles: &BTreeMap<String, ProfileFile>,
    portals: &Portals,
    ping: Ping,
    around: &Surroundings<'_>,
) -> Vec<Trunk> {
    let mut trunks: Vec<Trunk> = Vec::new();
    for mut section in root.tables("trunk") {
        let mut trunk = trunk(&mut section, profiles, around);
        trunk.options_ping = node::ping(&mut section, ping);
        trunk.udp_max = section.has("udp_max").then(|| node::udp_max(&mut section, 0));
        trunk.portal = portals::line(&mut section, &trunk, portals);
        if trunks.iter().any(|t| t.name == trunk.name) && !trunk.name.is_empty() {
            section.error("name", format!("a second trunk `{}`", trunk.name));
        }
        for other in &trunks {
            overlap(&section, &trunk, other);
            if let Some(twin) = trunk.portal.as_ref().filter(|p| other.portal.as_ref() == Some(p)) {
                let what = format!("is line `{}` of portal `{}`", twin.line, twin.portal);
                section.error("", format!("{what}, as trunk `{}`: set `portal_line`", other.name));
            }
        }
        section.finish();
        trunks.push(trunk);
    }
    if trunks.is_empty() {
        root.error("", "there is no [[trunk]]: nobody could call".to_owned());
    }
    trunks
}

fn trunk(
    section: &mut Section<'_>,
    profiles: &BTreeMap<String, ProfileFile>,
    around: &Surroundings<'_>,
) -> Trunk {
    let mut trunk = Trunk { name: section.needed("name"), ..Trunk::default() };
    trunk.profile = profile(section, profiles);
    let mut lines = section.value("lines").and_then(|v| around.plain(&v));
    if let Some(mut vars) = section.table("vars") {
        for name in vars.keys() {
            let Some(value) = vars.value(&name) else { continue };
            let Some(text) = around.plain(&value) else { continue };
            if name == "lines" {
                lines = Some(text);
            } else if text.chars().any(|c| c.is_control() || c == '<' || c == '>') {
                value.error("holds a line break, a control character or a bracket".to_owned());
            } else {
                trunk.vars.insert(name, text);
            }
        }
    }
    trunk.allow = nets(section, "allow");
    trunk.media_allow = nets(section, "media_allow").into();
    for (value, text) in section.texts("peers") {
        match peer(&text) {
            Ok(peer) => trunk.peers.push(peer),
            Err(what) => value.error(what),
        }
    }
    trunk.secret = section.value("secret").and_then(|v| around.secret(&v));
    let own_login = section.value("login").and_then(|v| around.plain(&v));
    trunk.login = own_login.or_else(|| trunk.vars.get("login").cloned());
    trunk.realm = section.text("realm");
    trunk.shared_source = section.flag("shared_source", trunk.profile.auth.shared_source);
    trunk.fence = fences::fence(section, &trunk, around);
    if let Some(mut limits) = section.table("limits") {
        let mut limit = |key| limits.has(key).then(|| limits.int(key, 0, 1..=1_000_000));
        trunk.limits = Limits { cps: limit("cps"), sessions: limit("sessions") };
        limits.finish();
    }
    trunk.registrations = registrations(section, &trunk, lines);
    needs(section, &trunk);
    fences::tell(section, &trunk);
    trunk
}

fn profile(section: &mut Section<'_>, profiles: &BTreeMap<String, ProfileFile>) -> Arc<Profile> {
    let name = section.needed("profile");
    let style = section.text("style");
    let Some(file) = profiles.get(&name) else {
        if !name.is_empty() {
            let near = hint(&name, profiles.keys().map(String::as_str));
            section.error("profile", format!("there is no profile `{name}`{near}"));
        }
        return Arc::default();
    };
    match style {
        None => Arc::clone(&file.profile),
        Some(style) => file.in_style(&style).unwrap_or_else(|| {
            let known = file.styles.keys().map(String::as_str).chain([file.style.as_str()]);
            let near = hint(&style, known);
            section.error("style", format!("profile `{name}` has no style `{style}`{near}"));
            Arc::clone(&file.profile)
        }),
    }
}

/// What the profile asks of its trunk.
fn needs(section: &Section<'_>, trunk: &Trunk) {
    let profile = &trunk.profile;
    if profile.name.is_empty() {
        return;
    }
    for (slot, template) in profile.write.slots() {
        for variable in template.variables() {
            let Variable::Vars(name) = variable else { continue };
            if !trunk.vars.contains_key(name) {
                let near = hint(name, trunk.vars.keys().map(String::as_str));
                let what = format!("`vars.{name}` is missing: slot `{slot}` of the profile");
                section.error("", format!("{what}{near}"));
            }
        }
    }
    if profile.auth.answer && trunk.registrations.is_empty() {
        if !section.has("secret") {
            let what = "has no `secret`: the profile answers challenges, this trunk will not";
            section.note("", what.to_owned());
        } else if trunk.login.is_none() {
            section.error("", "`login` (or `vars.login`) is missing beside `secret`".to_owned());
        }
    }
    let foreign = |p: &&Peer| p.host.parse().is_ok_and(|ip| !profile.ip_family.holds(ip));
    if let Some(peer) = trunk.peers.iter().find(foreign) {
        let what = format!("profile `{}` does not speak to {}", profile.name, peer.host);
        section.error("peers", what);
    }
    if profile.makes_calls() && !profile.takes_calls() && trunk.peers.is_empty() {
        section.error("", "`peers` is missing: calls go to this trunk".to_owned());
    }
    if profile.takes_calls() && !profile.makes_calls() && trunk.allow.is_empty() {
        if trunk.peers.is_empty() {
            section.error("", "`allow` is missing: nobody could call".to_owned());
        } else {
            section.note("", "`allow` is empty: only its peers may call".to_owned());
        }
    }
}

pub(crate) fn nets(section: &mut Section<'_>, key: &str) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for (value, text) in section.texts(key) {
        match net(&text) {
            Ok(net) => {
                if net.prefix_len() == 0 {
                    value.note("is everybody".to_owned());
                }
                nets.push(net);
            }
            Err(what) => value.error(what),
        }
    }
    nets
}

/// A network or one address; bits beyond the mask are a mistake worth telling.
fn net(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let net: IpNet =
        text.parse().map_err(|_| format!("`{text}` is no network: an address, or address/bits"))?;
    if net.trunc() != net {
        return Err(format!("`{text}` has bits beyond its mask; is {} meant?", net.trunc()));
    }
    Ok(net)
}

/// `udp:host:port`, `host:port`, `host`; IPv6 in brackets.
pub(crate) fn peer(text: &str) -> Result<Peer, String> {
    let wrong = || format!("`{text}` is no peer, as `udp:sip.example.com:5060`");
    let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
    let (transport, rest) = transports
        .into_iter()
        .find_map(|t| Some((Some(t), text.strip_prefix(t.name())?.strip_prefix(':')?)))
        .unwrap_or((None, text));
    let found = cooee_signalling::message::address::host_and_port(rest.as_bytes());
    let (host, port) = found.ok_or_else(wrong)?;
    let host = String::from_utf8(host.to_vec()).map_err(|_| wrong())?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Peer { transport, host, port })
}

/// The lines to register: `user:secret`, one a line.
fn registrations(section: &Section<'_>, trunk: &Trunk, lines: Option<String>) -> Vec<Registration> {
    let Some(rules) = trunk.profile.register else {
        if lines.is_some() {
            section.error("", "has lines, but its profile does not register".to_owned());
        }
        return Vec::new();
    };
    let Some(registrar) = trunk.peers.first() else {
        section.error("", "`peers` is missing: the registrar".to_owned());
        return Vec::new();
    };
    let mut registrations: Vec<Registration> = Vec::new();
    // Where no lines are named the trunk's own login is the only one.
    let own = trunk.login.as_ref().zip(trunk.secret.as_ref());
    let own = own.map(|(login, secret)| format!("{login}:{}", secret.expose_secret()));
    let lines = lines.or(own).unwrap_or_default();
    let written = lines.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    for (place, line) in written.enumerate() {
        let parts = line.split_once(':').map(|(user, secret)| (user.trim(), secret.trim()));
        match parts.filter(|(user, secret)| !user.is_empty() && !secret.is_empty()) {
            // The line itself holds a password and is not shown.
            None => section.error("", format!("line {} is not `user:secret`", place + 1)),
            Some((user, _)) if registrations.iter().any(|r| r.user == user) => {
                section.error("", format!("line `{user}` is there twice"));
            }
            Some(_) if registrations.len() >= LINES => {
                section.error("", format!("more than {LINES} lines"));
                break;
            }
            Some((user, secret)) => registrations.push(Registration {
                user: user.to_owned(),
                secret: SecretString::from(secret),
                registrar: registrar.clone(),
                expires_s: rules.expires_s,
                jitter_pct: rules.jitter_pct,
                max_calls: rules.max_calls_per_line,
            }),
        }
    }
    if registrations.is_empty() {
        section.error(
            "",
            "has no lines to register: `lines = \"${file:...}\"`, or login and secret".to_owned(),
        );
    }
    registrations
}

/// Two trunks that claim one source address: the narrower network would win in silence.
fn overlap(section: &Section<'_>, trunk: &Trunk, other: &Trunk) {
    for mine in &trunk.allow {
        for theirs in &other.allow {
            if mine.contains(theirs) || theirs.contains(mine) {
                let what = format!("{mine} overlaps {theirs} of trunk `{}`", other.name);
                section.error("allow", what);
            }
        }
    }
}
