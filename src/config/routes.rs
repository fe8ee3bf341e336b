//! `[[route]]` and `[retry]`.

use cooee_model::account::Role;
use cooee_signalling::profile::decision::{AnswerPolicy, Propagation};
use cooee_signalling::profile::filter::{Condition, FIELDS, Field, Test};
use cooee_signalling::profile::limits::CONDITION_DEPTH;
use cooee_signalling::profile::plan::{Hop, HopTo, Retry, Route};
use regex::Regex;

use crate::finding::hint;
use crate::profiles::ROLES;
use crate::table::{Section, Value};

/// Fields that need the CRM, which is not asked before a call is routed.
const OF_THE_CRM: [&str; 3] = ["is_repeat", "crm.type", "crm.stage"];

const OPS: [&str; 8] = ["eq", "ne", "in", "prefix", "regex", "lt", "gt", "exists"];

/// Reads all routes.
pub(crate) fn routes(root: &mut Section<'_>, ring_s: u32) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for (place, mut section) in root.tables("route").into_iter().enumerate() {
        let name = section.text("name").unwrap_or_else(|| format!("route-{}", place + 1));
        if routes.iter().any(|r| r.name == name) {
            section.error("name", format!("a second route `{name}`"));
        }
        let policies = [
            ("auto", AnswerPolicy::Auto),
            ("b24_event", AnswerPolicy::B24Event),
            ("sip200", AnswerPolicy::Sip200),
            ("media", AnswerPolicy::Media),
        ];
        let propagations = [("platform", Propagation::Platform), ("agent", Propagation::Agent)];
        let condition = section.value("when").map(|v| condition(&v, 0));
        let route = Route {
            name,
            role: section.word("role", &ROLES, Role::AgentLeg),
            from: section.text("from").unwrap_or_default(),
            when: condition.unwrap_or_default(),
            chain: chain(&mut section, ring_s),
            answer_source: section.word("answer_source", &policies, AnswerPolicy::Auto),
            propagation: section.word("answer_propagation", &propagations, Propagation::Platform),
            override_privacy: section.flag("override_privacy", false),
        };
        section.finish();
        routes.push(route);
    }
    if routes.is_empty() {
        root.error("", "there is no [[route]]: no call would go anywhere".to_owned());
    }
    routes
}

fn chain(section: &mut Section<'_>, ring_s: u32) -> Vec<Hop> {
    let mut hops = Vec::new();
    for value in section.list("chain") {
        // A target alone, or a table with its own time.
        if value.is_text() {
            let to = value.text().and_then(|text| target(&value, &text));
            hops.extend(to.map(|to| Hop { to, timeout_s: ring_s, agent_timeout_s: 0 }));
            continue;
        }
        let Some(mut table) = value.table() else { continue };
        let named = table.value("target");
        let to = named.and_then(|v| v.text().and_then(|text| target(&v, &text)));
        if to.is_none() && !table.has("target") {
            table.error("", "`target` is missing".to_owned());
        }
        let timeout_s = table.int("timeout_s", ring_s, 1..=600);
        let agent_timeout_s = table.int("agent_timeout_s", 0, 0..=3600);
        for key in ["lookup_deadline_ms", "prompt", "max_s"] {
            table.value(key);
        }
        table.finish();
        hops.extend(to.map(|to| Hop { to, timeout_s, agent_timeout_s }));
    }
    let leads = |hop: &Hop| !matches!(hop.to, HopTo::PassedOver(_));
    if !hops.iter().any(leads) {
        let what = "leads to no target: name `trunk:<name>` or `queue:map` in `chain`";
        section.error("", what.to_owned());
    }
    hops
}

fn target(value: &Value<'_>, text: &str) -> Option<HopTo> {
    match text.split_once(':').unwrap_or((text, "")) {
        ("trunk", name) if !name.is_empty() => Some(HopTo::Trunk(name.to_owned())),
        ("queue", "map") => Some(HopTo::QueueMap),
        ("responsible" | "voicemail", "") => {
            value.note(format!("not used yet: `{text}` is passed over"));
            Some(HopTo::PassedOver(text.to_owned()))
        }
        _ => {
            let near = hint(text, ["trunk:<name>", "queue:map", "responsible", "voicemail"]);
            value.error(format!("`{text}` is no target{near}"));
            None
        }
    }
}

fn condition(value: &Value<'_>, depth: usize) -> Condition {
    let Some(mut table) = value.table() else { return Condition::Always };
    if depth > CONDITION_DEPTH {
        table.error("", format!("is nested deeper than {CONDITION_DEPTH}"));
        return Condition::Always;
    }
    let several = |list: Vec<Value<'_>>| list.iter().map(|v| condition(v, depth + 1)).collect();
    let condition = if table.has("all") {
        Condition::All(several(table.list("all")))
    } else if table.has("any") {
        Condition::Any(several(table.list("any")))
    } else if table.has("not") {
        let inner = table.value("not").map(|v| condition(&v, depth + 1));
        Condition::Not(Box::new(inner.unwrap_or_default()))
    } else {
        test(&mut table)
    };
    table.finish();
    condition
}

fn test(table: &mut Section<'_>) -> Condition {
    let name = table.needed("field");
    let op = table.text("op").unwrap_or_else(|| "eq".to_owned());
    let value = table.value("value");
    let Some(field) = Field::named(&name) else {
        if OF_THE_CRM.contains(&name.as_str()) {
            table.error("field", format!("`{name}` needs the CRM and is not built yet"));
        } else if !name.is_empty() {
            let near = hint(&name, FIELDS);
            table.error("field", format!("there is no field `{name}`{near}"));
        }
        return Condition::Always;
    };
    if !OPS.contains(&op.as_str()) {
        table.error("op", format!("there is no test `{op}`{}", hint(&op, OPS)));
        return Condition::Always;
    }
    let Some(value) = value else {
        if op == "exists" {
            return Condition::Test(field, Test::Exists(true));
        }
        table.error("", "`value` is missing".to_owned());
        return Condition::Always;
    };
    match operand(&field, &op, &value) {
        Some(test) => Condition::Test(field, test),
        None => Condition::Always,
    }
}

fn operand(field: &Field, op: &str, value: &Value<'_>) -> Option<Test> {
    // Numbers are compared by their digits.
    let bare = |text: String| match text.strip_prefix('+') {
        Some(digits) if field.is_number() => digits.to_owned(),
        _ => text,
    };
    Some(match op {
        "eq" => Test::Eq(bare(value.scalar()?)),
        "ne" => Test::Ne(bare(value.scalar()?)),
        "prefix" => Test::Prefix(bare(value.scalar()?)),
        "in" if value.is_list() => {
            Test::In(value.list().iter().filter_map(Value::scalar).map(bare).collect())
        }
        "in" => match value.text()?.as_str() {
            "blacklist" => Test::InBlacklist,
            other => {
                value.error(format!("`{other}` is no list; there is blacklist, or [..]"));
                return None;
            }
        },
        "regex" => match Regex::new(&value.text()?) {
            Ok(regex) => Test::Regex(regex),
            Err(e) => {
                value.error(format!("bad regular expression: {e}"));
                return None;
            }
        },
        "lt" | "gt" => {
            let text = value.scalar()?;
            let Ok(bound) = text.parse() else {
                value.error(format!("`{text}` is no whole number"));
                return None;
            };
            if op == "lt" { Test::Lt(bound) } else { Test::Gt(bound) }
        }
        _ => match value.flag() {
            Some(wanted) => Test::Exists(wanted),
            None => {
                value.error("must be true or false".to_owned());
                return None;
            }
        },
    })
}

/// Reads `[retry]`.
pub(crate) fn retry(root: &mut Section<'_>) -> Retry {
    let mut retry = Retry::default();
    let Some(mut section) = root.table("retry") else { return retry };
    if section.has("next_target_on") {
        (retry.on_timeout, retry.on_transport) = (false, false);
        retry.next_target_on.clear();
        for value in section.list("next_target_on") {
            match value.scalar().as_deref() {
                Some("timeout") => retry.on_timeout = true,
                Some("transport") => retry.on_transport = true,
                Some(text) => retry.next_target_on.extend(code(&value, text)),
                None => {}
            }
        }
    }
    if section.has("give_up_on") {
        retry.give_up_on.clear();
        for value in section.list("give_up_on") {
            if let Some(text) = value.scalar() {
                retry.give_up_on.extend(code(&value, &text));
            }
        }
    }
    for code in retry.next_target_on.iter().filter(|c| retry.give_up_on.contains(c)) {
        section.error("give_up_on", format!("{code} is in `next_target_on` too"));
    }
    retry.no_response_s = section.int("no_response_s", retry.no_response_s, 2..=32);
    let rest_s = retry.retry_after_max_s;
    retry.retry_after_max_s = section.int("retry_after_max_s", rest_s, 0..=86_400);
    let networks = crate::trunks::nets(&mut section, "redirect_allow");
    if section.flag("follow_302", !networks.is_empty()) {
        retry.redirect_allow = networks;
        if retry.redirect_allow.is_empty() {
            section.error("follow_302", "needs `redirect_allow`: where it may lead".to_owned());
        }
    }
    section.finish();
    retry
}

fn code(value: &Value<'_>, text: &str) -> Option<u16> {
    let code = text.parse().ok().filter(|c| (300..700).contains(c));
    if code.is_none() {
        value.error(format!("`{text}` is no status from 300 to 699, timeout or transport"));
    }
    code
}
