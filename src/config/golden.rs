//! Golden pairs: A's INVITE in, the identity lines of B's INVITE (or the refusal) out.
//!
//! Each shipped profile has a folder in `tests/golden/profiles`. `COOEE_GOLDEN=write` writes the
//! out files anew, to be read line by line before they are committed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::profiles::SHIPPED;
use crate::secrets::Surroundings;
use crate::{Loaded, load_str};
use bytes::Bytes;
use cooee_model::account::Role;
use cooee_model::ids::CallId;
use cooee_model::moment::Moment;
use cooee_signalling::message::name::Name;
use cooee_signalling::message::view::Message;
use cooee_signalling::message::write::quoted;
use cooee_signalling::profile::caller_id::Shown;
use cooee_signalling::profile::decision::{Context, Decision, Refused, Slots};
use cooee_signalling::profile::plan::Plan;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/profiles")
}

fn plan() -> Plan {
    let text = std::fs::read_to_string(folder().join("cooee.toml")).unwrap();
    let loaded = load_str(&text, "cooee.toml", &Surroundings::new(&folder(), |_| None));
    let Loaded { plan, .. } = loaded.unwrap_or_else(|findings| panic!("{findings}"));
    plan
}

/// All cases: name, and the INVITE.
fn cases() -> BTreeMap<String, Message> {
    let mut cases = BTreeMap::new();
    for (profile, _) in SHIPPED {
        let entries = std::fs::read_dir(folder().join(profile));
        for entry in entries.unwrap_or_else(|e| panic!("{profile} has no golden pair: {e}")) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let Some(case) = name.strip_suffix(".in.sip") else { continue };
            let bytes = Bytes::from(std::fs::read(&path).unwrap());
            let message = Message::read(bytes).unwrap();
            assert_eq!(message.check(), Ok(()), "{name}");
            cases.insert(format!("{profile}/{case}"), message);
        }
    }
    cases
}

fn run(plan: &Plan, message: &Message) -> Result<(Decision, Slots), Refused> {
    let via = message.via().unwrap();
    let source = std::str::from_utf8(via.host).unwrap().parse().unwrap();
    let trunk = plan.trunk_of(source).expect("the Via names a trunk");
    // Monday 2026-03-02, 10:30 in Sydney.
    let at = Moment::new(1, 1_772_407_800_000_000_000);
    let decision = plan.decide(trunk, message, at, &Shown::new(8), None)?;
    let peer = plan.trunk(&decision.targets[0].trunk).unwrap().peers[0].authority();
    let context = Context {
        call: CallId::new(1_772_407_800_000, 7),
        peer_host: &peer,
        own_host: None,
        attempt: 1,
    };
    let slots = plan.compose(&decision, 0, context).unwrap();
    Ok((decision, slots))
}

/// What B reads of it, one line a slot.
fn written(result: &Result<(Decision, Slots), Refused>) -> String {
    let (decision, slots) = match result {
        Err(refused) => return format!("SIP/2.0 {refused}\n"),
        Ok(found) => found,
    };
    let mut text = format!("INVITE {} SIP/2.0\n", slots.request_uri);
    let display = quoted(&slots.from_display);
    writeln!(text, "From: {display}<{}>", slots.from_uri()).unwrap();
    writeln!(text, "To: <{}>", slots.to).unwrap();
    writeln!(text, "Contact: <sip:{}@192.0.2.10>", slots.contact_user).unwrap();
    for (name, value) in &slots.headers {
        writeln!(text, "{name}: {value}").unwrap();
    }
    for crossing in &slots.crossing {
        let value = String::from_utf8_lossy(&crossing.value).replace("\r\n", "");
        writeln!(text, "{}: {value}", crossing.name).unwrap();
    }
    let Decision { route, role, customer, did, did_rule, .. } = decision;
    let target = &decision.targets[0].trunk;
    let external = decision.external_id.as_deref().unwrap_or("-");
    let dialer = decision.autodialer.as_deref().unwrap_or("-");
    writeln!(text, "\nroute {route} ({role}) to {target}, customer {customer}").unwrap();
    writeln!(text, "number +{did} by {did_rule}, autodialer {dialer}, call {external}").unwrap();
    text
}

#[test]
fn golden_pairs() {
    let plan = plan();
    let write = std::env::var("COOEE_GOLDEN").is_ok_and(|v| v == "write");
    let mut wrong = Vec::new();
    for (case, message) in cases() {
        let got = written(&run(&plan, &message));
        let path = folder().join(format!("{case}.out.sip"));
        if write {
            std::fs::write(&path, &got).unwrap();
        }
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        if got != wanted {
            wrong.push(format!("{case}:\n--- wanted\n{wanted}--- got\n{got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Flow 90: on a customer-leg what the caller calls itself is nowhere on B.
#[test]
fn s13_a_customer_leg_never_shows_the_caller() {
    let plan = plan();
    let mut seen = 0;
    for (case, message) in cases() {
        let result = run(&plan, &message);
        let Ok((decision, _)) = &result else { continue };
        if decision.role != Role::CustomerLeg {
            continue;
        }
        let from = message.address(Name::From).unwrap();
        let uri = String::from_utf8_lossy(from.uri).into_owned();
        let caller: String = uri.chars().filter(char::is_ascii_digit).collect();
        if caller == decision.did {
            continue;
        }
        let text = written(&result);
        let lines = text.split("\n\n").next().unwrap();
        for line in lines.lines() {
            let digits: String = line.chars().filter(char::is_ascii_digit).collect();
            let end = &caller[caller.len() - 8..];
            assert!(!digits.contains(end), "{case}: {line}");
        }
        seen += 1;
    }
    assert!(seen >= 4, "{seen} customer-legs");
}

/// Flow 90: on an agent-leg the customer's number stands only in slots that the profile names.
#[test]
fn an_agent_leg_shows_the_customer_only_where_the_profile_says() {
    let plan = plan();
    let mut seen = 0;
    for (case, message) in cases() {
        let Ok((decision, slots)) = run(&plan, &message) else { continue };
        let trunk = plan.trunk(&decision.targets[0].trunk).unwrap();
        let Some(customer) = decision.customer.digits().map(str::to_owned) else { continue };
        if decision.role != Role::AgentLeg || trunk.profile.name == "transparent" {
            continue;
        }
        let named: Vec<&str> = trunk
            .profile
            .write
            .slots()
            .filter(|(_, template)| template.names_customer())
            .map(|(slot, _)| slot)
            .collect();
        let mut lines = vec![
            ("request_uri", slots.request_uri.clone()),
            ("to", slots.to.clone()),
            ("from_display", slots.from_display.clone()),
            ("from_user", slots.from_user.clone()),
            ("from_host", slots.from_host.clone()),
            ("contact_user", slots.contact_user.clone()),
        ];
        for (name, value) in &slots.headers {
            let slot = match name.as_str() {
                "P-Asserted-Identity" => "pai",
                "Remote-Party-ID" => "rpid",
                "Diversion" => "diversion",
                other => other,
            };
            lines.push((slot, value.clone()));
        }
        if trunk.profile.behaviour.display_name_ascii {
            assert!(slots.from_display.is_ascii(), "{case}");
        }
        let most = trunk.profile.behaviour.display_name_max;
        assert!(most == 0 || slots.from_display.chars().count() <= most, "{case}");
        let mut shown = 0;
        for (slot, value) in &lines {
            let holds = value.contains(&customer);
            assert!(!holds || named.contains(slot), "{case}: {slot}: {value}");
            shown += usize::from(holds);
        }
        let expected = usize::from(!decision.private && !named.is_empty());
        assert!(shown >= expected, "{case}: the customer is nowhere");
        assert!(slots.crossing.is_empty(), "{case}: something of A crossed");
        seen += 1;
    }
    assert!(seen >= 8, "{seen} agent-legs");
}

#[test]
fn every_shipped_profile_has_its_roles() {
    let cases = cases();
    for (profile, _) in SHIPPED {
        let of = |role: &str| {
            let start = format!("{profile}/{role}");
            cases.keys().any(|case| case.starts_with(&start))
        };
        assert!(of("agent_leg") || profile == "voximplant-app", "{profile}");
        // A Bitrix24 line and the neutral profile refuse customer-legs by their `roles`.
        let agents_only = matches!(profile, "voximplant" | "transparent");
        assert!(of("customer_leg") || agents_only, "{profile}");
    }
}
