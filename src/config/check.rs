//! What no single key can tell: names that lead nowhere, routes that never match, sockets that
//! collide.

use std::net::SocketAddr;

use cooee_model::account::Role;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::profile::filter::Condition;
use cooee_signalling::profile::plan::{HopTo, Peer, Plan, Route, Trunk};
use cooee_signalling::profile::template::{Variable, Who};

use crate::Draft;
use crate::finding::{Finding, hint};

/// Checks a draft as a whole.
pub(crate) fn check(draft: &Draft, file: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut error = |key: &str, what: String| {
        findings.push(Finding { key: key.to_owned(), ..Finding::error(file, what) });
    };
    for (at, route) in draft.plan.routes.iter().enumerate() {
        let key = format!("route[{at}] `{}`", route.name);
        check_route(&draft.plan, route, |what| error(&key, what));
        let earlier = draft.plan.routes.get(..at).unwrap_or_default();
        if let Some(first) = earlier.iter().find(|e| takes_all_of(e, route)) {
            error(&key, format!("is never reached: `{}` takes all its calls", first.name));
        }
    }
    check_numbers(&draft.plan, &mut error);
    check_sockets(draft, &mut error);
    check_transports(draft, &mut error);
    let mut note = |key: &str, what: String| {
        findings.push(Finding { key: key.to_owned(), ..Finding::note(file, what) });
    };
    note_ports(draft, &mut note);
    match draft.admin.hooks_bind {
        Some(_) if draft.portals.is_empty() => {
            note(
                "admin.hooks_bind",
                "there is no [[portal]] that is believed: no hooks".to_owned(),
            );
        }
        None if !draft.portals.is_empty() => {
            let what = "`hooks_bind` is missing: the portal cannot tell anything";
            note("admin", what.to_owned());
        }
        _ => {}
    }
    if draft.plan.node.host.is_empty() {
        let what = "`advertise` is auto and `bind` is every address: the address that peers are \
                    told is found out at the start";
        note("sip", what.to_owned());
    }
    findings
}

fn check_route(plan: &Plan, route: &Route, mut error: impl FnMut(String)) {
    let names = || plan.trunks.iter().map(|t| t.name.as_str());
    if !route.from.is_empty() {
        match plan.trunk(&route.from) {
            None => error(format!(
                "`from`: there is no trunk `{}`{}",
                route.from,
                hint(&route.from, names())
            )),
            Some(trunk) if !trunk.profile.takes_calls() => error(format!(
                "`from`: no calls come from trunk `{}`: profile `{}` is for outbound calls",
                trunk.name, trunk.profile.name
            )),
            Some(_) => {}
        }
    }
    if route.role == Role::CustomerLeg {
        let open = |(at, trunk): &(usize, &Trunk)| {
            let from = route.from.is_empty() || route.from == trunk.name;
            from && trunk.profile.takes_calls() && plan.is_anybody(*at)
        };
        if let Some((_, trunk)) = plan.trunks.iter().enumerate().find(open) {
            error(format!(
                "trunk `{}` shares its addresses with other customers of the carrier, who could \
                 call at our cost: give it `auth`, or `shared_source = false` if they are ours",
                trunk.name
            ));
        }
    }
    for hop in &route.chain {
        let found: Vec<&str> = match &hop.to {
            HopTo::Trunk(name) => vec![name],
            HopTo::QueueMap if plan.autodialers.is_empty() => {
                error("`queue:map`: maps/autodialers.csv is missing or has no row".to_owned());
                continue;
            }
            HopTo::QueueMap => plan.autodialers.iter().map(|row| row.trunk.as_str()).collect(),
            HopTo::PassedOver(_) => continue,
        };
        for name in found {
            let Some(trunk) = plan.trunk(name) else {
                error(format!("there is no trunk `{name}`{}", hint(name, names())));
                continue;
            };
            if let Some(why) = unfit(plan, trunk.name.as_str(), route.role) {
                error(format!("cannot go to trunk `{name}`: {why}"));
            }
        }
    }
}

/// Why a trunk cannot be the target of a route of this role.
fn unfit(plan: &Plan, name: &str, role: Role) -> Option<String> {
    let profile = &plan.trunk(name)?.profile;
    if profile.name.is_empty() {
        return None;
    }
    if !profile.makes_calls() {
        return Some(format!("profile `{}` is for inbound calls", profile.name));
    }
    if !profile.serves(role) {
        let why = match role {
            Role::CustomerLeg => "it reaches agents and is no gateway to the telephone network",
            Role::AgentLeg => "it calls customers and reaches no agent",
        };
        return Some(format!("profile `{}` does not serve {role}: {why}", profile.name));
    }
    let shows = |v: &Variable| matches!(v, Variable::Original(_) | Variable::ExternalId);
    let slot = profile.write.slots().find(|(slot, template)| {
        *slot != "to" && *slot != "request_uri" && template.variables().any(shows)
    });
    match (role, slot) {
        (Role::CustomerLeg, Some((slot, _))) => Some(format!(
            "slot `{slot}` of profile `{}` writes what the caller wrote, but a customer sees our \
             number alone",
            profile.name
        )),
        _ => None,
    }
}

/// Whether every call that `late` could take is taken by `early`.
fn takes_all_of(early: &Route, late: &Route) -> bool {
    let same_calls = early.from.is_empty() || early.from == late.from;
    let always = match &early.when {
        Condition::Always => true,
        Condition::All(all) => all.is_empty(),
        _ => false,
    };
    same_calls && (always || format!("{:?}", early.when) == format!("{:?}", late.when))
}

fn check_numbers(plan: &Plan, error: &mut impl FnMut(&str, String)) {
    for row in &plan.autodialers {
        let key = format!("maps/autodialers.csv row `{}`", row.id);
        if !row.did.is_empty() && plan.presentable(&row.did).is_none() {
            let what = match plan.dids.iter().find(|d| d.digits == row.did) {
                Some(_) => "is not owned",
                None => "is no [[did]]",
            };
            error(&key, format!("+{} {what}", row.did));
        }
        if !row.trunk.is_empty() && plan.trunk(&row.trunk).is_none() {
            let near = hint(&row.trunk, plan.trunks.iter().map(|t| t.name.as_str()));
            error(&key, format!("there is no trunk `{}`{near}", row.trunk));
        }
    }
    let uses_did = plan.trunks.iter().find(|trunk| {
        trunk.profile.makes_calls()
            && trunk.profile.write.slots().any(|(_, template)| {
                template.variables().any(|v| matches!(v, Variable::Number(Who::Did, _)))
            })
    });
    if let (Some(trunk), true) = (uses_did, plan.caller_id.default.is_empty()) {
        let what =
            format!("`default` is missing: trunk `{}` writes one of our numbers", trunk.name);
        error("caller_id", what);
    }
}

fn check_sockets(draft: &Draft, error: &mut impl FnMut(&str, String)) {
    let sip = &draft.sip;
    let udp: Vec<(String, SocketAddr)> =
        sip.binds.iter().map(|a| (format!("udp:{a}"), *a)).collect();
    let tcp = sip.stream_binds.iter().map(|(t, a)| (format!("{}:{a}", t.name()), *a));
    let tcp: Vec<(String, SocketAddr)> = tcp
        .chain([(format!("admin.bind {}", draft.admin.bind), draft.admin.bind)])
        .chain(draft.admin.hooks_bind.map(|a| (format!("admin.hooks_bind {a}"), a)))
        .collect();
    for sockets in [&udp, &tcp] {
        for (at, (name, address)) in sockets.iter().enumerate() {
            let earlier = sockets.get(..at).unwrap_or_default();
            if let Some((other, _)) = earlier.iter().find(|(_, a)| collide(*a, *address)) {
                error("sip.bind", format!("{name} and {other} are the same socket"));
            }
        }
    }
    let (first, last) = draft.media.ports;
    for (name, address) in &udp {
        let mut media = draft.media.binds().map(|ip| SocketAddr::new(ip, address.port()));
        if (first..=last).contains(&address.port()) && media.any(|m| collide(m, *address)) {
            error("media.ports", format!("{first}-{last} takes the port of {name}"));
        }
    }
}

/// A peer is called from a socket of ours that speaks its transport.
fn check_transports(draft: &Draft, error: &mut impl FnMut(&str, String)) {
    for trunk in &draft.plan.trunks {
        let spoken = |t: Transport| draft.sip.addresses().any(|(own, _)| own == t);
        let named = |p: &Peer| p.transport.map(|t| (t, p.host.clone()));
        if let Some((t, host)) = trunk.peers.iter().filter_map(named).find(|(t, _)| !spoken(*t)) {
            let name = t.name();
            let what = format!("{name}:{host} needs a `{name}:` address in `sip.bind`");
            error(&format!("trunk `{}` peers", trunk.name), what);
        }
    }
}

fn note_ports(draft: &Draft, note: &mut impl FnMut(&str, String)) {
    let (first, last) = draft.media.ports;
    let admin = draft.admin.bind;
    if (first..=last).contains(&admin.port()) {
        note("media.ports", format!("{first}-{last} holds the port of admin.bind {admin}"));
    }
    // Four ports a call: two legs, RTP and RTCP.
    let calls = (u32::from(last) - u32::from(first) + 1) / 4;
    let wanted = draft.plan.settings.max_sessions;
    if draft.media.mode == crate::MediaMode::Relay && calls < wanted {
        let what =
            format!("{first}-{last} has room for {calls} calls, sip.max_sessions is {wanted}");
        note("media.ports", what);
    }
}

fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_ip
}
