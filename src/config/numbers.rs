//! `[[did]]`, `[caller_id]`, `[normalise]`, `[policy]`.

use cooee_signalling::profile::number::{Context, Numbers, is_national_only, is_presentable};
use cooee_signalling::profile::plan::{Assert, CallerIdRules, Did, OnCap, Policy, Strategy};
use cooee_signalling::profile::policy::WorkTime;
use cooee_signalling::profile::zone::{ZONES, Zone};

use crate::e164::digits;
use crate::finding::hint;
use crate::later::accept_keys;
use crate::maps;
use crate::secrets::Surroundings;
use crate::table::Section;

const STATES: [&str; 9] = ["NSW", "ACT", "VIC", "TAS", "QLD", "SA", "WA", "NT", "ANY"];

/// Reads `[[did]]`.
pub(crate) fn dids(root: &mut Section<'_>) -> Vec<Did> {
    let mut dids: Vec<Did> = Vec::new();
    for mut section in root.tables("did") {
        let number = section.needed("number");
        let mut did = Did { owned: section.flag("owned", true), ..Did::default() };
        did.state = section.text("state").unwrap_or_else(|| "ANY".to_owned());
        if !STATES.contains(&did.state.as_str()) {
            let near = hint(&did.state, STATES);
            section.error("state", format!("`{}` is no state{near}", did.state));
        }
        did.tags = section.texts("tags").into_iter().map(|(_, tag)| tag).collect();
        match digits(&number) {
            Ok(digits) if is_national_only(&digits) => {
                let what = "numbers in 13, 1300, 180, 1800 and 190 are never presented: \
                            networks block them";
                section.error("number", format!("+{digits}: {what}"));
            }
            Ok(digits) if !is_presentable(&digits) => {
                section.error("number", format!("+{digits} cannot be presented"));
            }
            Ok(digits) => {
                if dids.iter().any(|d| d.digits == digits) {
                    section.error("number", format!("+{digits} is there twice"));
                }
                did.digits = digits;
            }
            Err(_) if number.is_empty() => {}
            Err(what) => section.error("number", what),
        }
        section.finish();
        dids.push(did);
    }
    dids
}

/// Reads `[caller_id]`.
pub(crate) fn caller_id(root: &mut Section<'_>, dids: &[Did]) -> CallerIdRules {
    let mut rules = CallerIdRules::default();
    // With one number there is nothing to choose.
    let mut owned = dids.iter().filter(|d| d.owned);
    if let (Some(only), None) = (owned.next(), owned.next()) {
        rules.default.clone_from(&only.digits);
    }
    let Some(mut section) = root.table("caller_id") else { return rules };
    if let Some(text) = section.text("default") {
        match digits(&text) {
            Ok(found) => {
                match dids.iter().find(|d| d.digits == found) {
                    None => section.error("default", format!("+{found} is no [[did]]")),
                    Some(did) if !did.owned => {
                        section.error("default", format!("+{found} is not owned"));
                    }
                    Some(_) => {}
                }
                rules.default = found;
            }
            Err(what) => section.error("default", what),
        }
    }
    let strategies = [
        Strategy::Sticky,
        Strategy::Campaign,
        Strategy::LocalPresence,
        Strategy::Requested,
        Strategy::Default,
    ]
    .map(|s| (s.name(), s));
    if section.has("strategy") {
        rules.strategy.clear();
        for (value, text) in section.texts("strategy") {
            rules.strategy.extend(value.word(&text, &strategies));
        }
    }
    let asserts = [("rewrite", Assert::Rewrite), ("reject", Assert::Reject), ("log", Assert::Log)];
    rules.assert = section.word("assert", &asserts, rules.assert);
    rules.sticky_days = section.int("sticky_days", rules.sticky_days, 0..=3650);
    let cap = section.int("max_calls_per_did_per_day", 0, 0..=10_000_000);
    rules.max_calls_per_did_per_day = cap;
    let on_cap = [("next", OnCap::Next), ("reject", OnCap::Reject)];
    rules.on_cap = section.word("on_cap", &on_cap, rules.on_cap);
    section.finish();
    rules
}

/// Reads `[normalise]`.
pub(crate) fn numbers(root: &mut Section<'_>) -> (Numbers, bool) {
    let mut numbers = Numbers { context: Context::Au, area: String::new() };
    let Some(mut section) = root.table("normalise") else { return (numbers, true) };
    numbers.context = section.word("default_context", &Context::ALL, numbers.context);
    numbers.area = section.text("area").unwrap_or_default();
    if !matches!(numbers.area.as_str(), "" | "2" | "3" | "7" | "8") {
        section.error("area", "must be 2, 3, 7 or 8".to_owned());
    }
    let reject = section.flag("reject_unparsable", true);
    section.finish();
    (numbers, reject)
}

/// The zone of conditions: the node's.
pub(crate) fn zone(root: &Section<'_>, name: &str) -> Zone {
    Zone::named(name).unwrap_or_else(|| {
        let near = hint(name, ZONES.iter().map(|z| z.name()));
        root.error("node", format!("timezone `{name}` is not known{near}"));
        Zone::default()
    })
}

/// Reads `[policy]`.
pub(crate) fn policy(
    root: &mut Section<'_>,
    (numbers, reject_unparsable): (Numbers, bool),
    zone: Zone,
    portal: Option<String>,
    around: &Surroundings<'_>,
) -> Policy {
    let mut policy = Policy { numbers, reject_unparsable, zone, ..Policy::default() };
    let Some(mut section) = root.table("policy") else { return policy };
    policy.blacklist = maps::blacklist(&mut section, around);
    policy.au_telemarketing = section.flag("au_telemarketing", false);
    if section.text("dnc_webhook").is_some_and(|url| !url.is_empty()) {
        section.error("dnc_webhook", "is not built yet: calls would not be checked".to_owned());
    }
    if let Some(mut open) = section.table("work_time") {
        let name = match open.text("tz").as_deref() {
            None => zone.name().to_owned(),
            Some("portal") => portal.unwrap_or_else(|| zone.name().to_owned()),
            Some(name) => name.to_owned(),
        };
        let open_zone = Zone::named(&name).unwrap_or_else(|| {
            let near = hint(&name, ZONES.iter().map(|z| z.name()));
            open.error("tz", format!("`{name}` is not known{near}"));
            zone
        });
        policy.work_time = Some(work_time(&mut open, open_zone, around));
        open.finish();
    }
    accept_keys(&mut section, &["caps"]);
    section.finish();
    policy
}

fn work_time(section: &mut Section<'_>, zone: Zone, around: &Surroundings<'_>) -> WorkTime {
    let mut open = WorkTime { zone, ..WorkTime::default() };
    let keys: [(&str, std::ops::Range<usize>); 8] = [
        ("mon_fri", 0..5),
        ("mon", 0..1),
        ("tue", 1..2),
        ("wed", 2..3),
        ("thu", 3..4),
        ("fri", 4..5),
        ("sat", 5..6),
        ("sun", 6..7),
    ];
    for (key, days) in keys {
        let Some(text) = section.text(key) else { continue };
        let hours = match hours(&text) {
            Ok(hours) => hours,
            Err(what) => {
                section.error(key, what);
                continue;
            }
        };
        for day in open.days.get_mut(days).unwrap_or_default() {
            *day = hours;
        }
    }
    open.holidays = maps::holidays(section, around);
    open
}

/// `08:00-20:00`; empty: shut.
fn hours(text: &str) -> Result<Option<(u16, u16)>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let minute = |text: &str| {
        let (h, m) = text.trim().split_once(':')?;
        let (h, m): (u16, u16) = (h.parse().ok()?, m.parse().ok()?);
        (h <= 24 && m < 60 && h * 60 + m <= 24 * 60).then_some(h * 60 + m)
    };
    let range = text.split_once('-').and_then(|(a, b)| Some((minute(a)?, minute(b)?)));
    match range {
        Some((from, to)) if from < to => Ok(Some((from, to))),
        _ => Err(format!("`{text}` is no span of hours, as `08:00-20:00`")),
    }
}
