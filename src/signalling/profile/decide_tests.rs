//! Tests of the pipeline: each step's yes and no, what is pinned, what crosses.

use std::sync::Arc;

use super::*;
use crate::profile::decision::Crossing;
use crate::profile::plan::OnCap;
use crate::profile::policy::WorkTime;
use crate::profile::stage::{DAY_NS, MONDAY, decide, invite, plan};
use crate::profile::zone::Zone;

const CUSTOMER: &str = "61491570156";

#[test]
fn an_agent_leg_by_the_map() {
    let decision = decide(&plan(), &invite(CUSTOMER, "97", "X-Id: u1\r\n")).unwrap();
    assert_eq!((decision.route.as_str(), decision.role), ("agents", Role::AgentLeg));
    assert_eq!(decision.targets.len(), 1);
    assert_eq!((decision.targets[0].trunk.as_str(), decision.targets[0].timeout_s), ("line", 30));
    assert_eq!(decision.customer, Identity::Number(CUSTOMER.to_owned()));
    assert_eq!(decision.called, Identity::Label("97".to_owned()));
    assert_eq!((decision.did.as_str(), decision.did_rule.as_str()), ("61370101234", "campaign"));
    assert_eq!(decision.autodialer.as_deref(), Some("7"));
    assert_eq!(decision.external_id.as_deref(), Some("u1"));
    // A number of the map that is not ours is never presented.
    let foreign = decide(&plan(), &invite(CUSTOMER, "98", "")).unwrap();
    assert_eq!(foreign.did_rule, "default");
    // No row fits and there is no `*`.
    assert_eq!(decide(&plan(), &invite(CUSTOMER, "99", "")).unwrap_err().code, 480);
}

#[test]
fn what_is_dialled_on_an_agent_leg_is_a_label() {
    let mut plan = plan();
    plan.autodialers[0].id = "*".to_owned();
    for label in ["911", "999", "97", "9"] {
        let decision = decide(&plan, &invite(CUSTOMER, label, "")).unwrap();
        assert_eq!(decision.called, Identity::Label(label.to_owned()));
    }
}

#[test]
fn what_is_dialled_on_a_customer_leg_is_a_number() {
    let refusal = |to: &str| decide(&plan(), &invite("380445550000", to, "")).unwrap_err();
    assert_eq!((refusal("000").code, refusal("000").why), (403, Refusal::Policy));
    assert_eq!((refusal("61000").code, refusal("61000").why), (403, Refusal::Policy));
    assert_eq!((refusal("6125550").code, refusal("6125550").why), (484, Refusal::Policy));
    assert_eq!((refusal("7").code, refusal("7").why), (403, Refusal::NoRoute));
    let decision = decide(&plan(), &invite("380445550000", CUSTOMER, "")).unwrap();
    assert_eq!(decision.customer, decision.called);
    assert_eq!(
        plan().decide(9, &invite("1", "97", ""), MONDAY, &Shown::new(1), None).unwrap_err().why,
        Refusal::UnknownSource
    );
}

#[test]
fn the_blacklist_and_the_hours() {
    let mut plan = plan();
    let message = invite("380445550000", CUSTOMER, "");
    plan.policy.blacklist.add(CUSTOMER.to_owned(), false, None, "asked".to_owned());
    let refused = decide(&plan, &message).unwrap_err();
    assert_eq!((refused.code, refused.why), (403, Refusal::Policy));
    assert!(refused.reason.contains("asked"));
    plan.policy.blacklist = Default::default();
    plan.policy.au_telemarketing = true;
    // 10:30 in Sydney is 07:30 in Perth, and a mobile may be in Perth.
    assert!(decide(&plan, &message).unwrap_err().reason.contains("Perth"));
    assert!(decide(&plan, &invite("1", "61255509876", "")).is_ok());
    let zone = Zone::named("Australia/Sydney").unwrap();
    plan.policy.work_time = Some(WorkTime { zone, ..WorkTime::default() });
    assert!(decide(&plan, &invite(CUSTOMER, "97", "")).unwrap_err().reason.contains("shut"));
}

#[test]
fn a_caller_number_that_is_not_ours() {
    let mut plan = plan();
    let (foreign, ours) =
        (invite("380445550000", CUSTOMER, ""), invite("61370101234", CUSTOMER, ""));
    assert!(!decide(&plan, &foreign).unwrap().foreign_cli);
    plan.caller_id.assert = Assert::Log;
    assert!(decide(&plan, &foreign).unwrap().foreign_cli);
    assert!(!decide(&plan, &ours).unwrap().foreign_cli);
    plan.caller_id.assert = Assert::Reject;
    assert_eq!(decide(&plan, &foreign).unwrap_err().code, 403);
    assert!(decide(&plan, &ours).is_ok());
    // Owned or not is what counts, not being in the list.
    assert!(decide(&plan, &invite("61870101234", CUSTOMER, "")).is_err());
}

#[test]
fn the_same_customer_sees_the_same_number_for_its_days() {
    let mut plan = plan();
    let mut shown = Shown::new(2);
    let message = invite(CUSTOMER, "97", "");
    let first = plan.decide(0, &message, MONDAY, &shown, None).unwrap();
    shown.note(&plan, &first, MONDAY);
    plan.autodialers.iter_mut().for_each(|row| row.did = "61255501234".to_owned());
    let later = |days: u64| MONDAY + std::time::Duration::from_nanos(days * DAY_NS);
    let again = plan.decide(0, &message, later(30), &shown, None).unwrap();
    assert_eq!((again.did.as_str(), again.did_rule.as_str()), ("61370101234", "sticky"));
    let after = plan.decide(0, &message, later(31), &shown, None).unwrap();
    assert_eq!((after.did.as_str(), after.did_rule.as_str()), ("61255501234", "campaign"));
    // A number that was given back is not shown again, whatever the memory says.
    plan.dids[1].owned = false;
    assert_eq!(plan.decide(0, &message, later(1), &shown, None).unwrap().did_rule, "campaign");
    // The memory is bounded: the oldest customer goes.
    shown.remember("61491570157", "61255501234", later(2));
    shown.remember("61491570158", "61255501234", later(3));
    assert_eq!((shown.len(), shown.forgotten), (2, 1));
    assert_eq!(shown.last(CUSTOMER, later(3), 30), None);
}

#[test]
fn a_number_that_made_its_calls_of_the_day() {
    let mut plan = plan();
    plan.caller_id.max_calls_per_did_per_day = 1;
    let mut shown = Shown::new(0);
    let message = invite(CUSTOMER, "97", "");
    let first = plan.decide(0, &message, MONDAY, &shown, None).unwrap();
    shown.note(&plan, &first, MONDAY);
    assert_eq!(plan.decide(0, &message, MONDAY, &shown, None).unwrap().did, "61255501234");
    plan.caller_id.on_cap = OnCap::Reject;
    let refused = plan.decide(0, &message, MONDAY, &shown, None).unwrap_err();
    assert_eq!((refused.code, refused.why), (503, Refusal::Limit));
    let tomorrow = MONDAY + std::time::Duration::from_nanos(DAY_NS);
    assert_eq!(plan.decide(0, &message, tomorrow, &shown, None).unwrap().did, "61370101234");
}

#[test]
fn without_a_number_of_ours_nothing_is_written() {
    let mut plan = plan();
    plan.dids.clear();
    assert_eq!(decide(&plan, &invite(CUSTOMER, "97", "")).unwrap_err().why, Refusal::Policy);
}

#[test]
fn s10_s13_what_crosses_and_what_stays() {
    let more = "X-Secret : 1\r\nx-SECRET-2: 1\r\nX-Folded:\r\n a\r\nS: hidden\r\ny: signed\r\n\
        X-Caller: 044 555 00-00\r\nP-Asserted-Identity: <sip:+380445550000@d>\r\n\
        Diversion: <sip:1@d>\r\nUser-to-User: 00;encoding=hex\r\nSession-Expires: 90\r\n";
    let names =
        |decision: &Decision| decision.crossing.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
    let out = decide(&plan(), &invite("380445550000", CUSTOMER, more)).unwrap();
    assert_eq!(names(&out), ["X-Folded", "User-to-User"]);
    let inside = decide(&plan(), &invite(CUSTOMER, "97", more)).unwrap();
    let wanted = ["X-Folded", "X-Caller", "P-Asserted-Identity", "Diversion", "User-to-User"];
    assert_eq!(names(&inside), wanted);
    let private = decide(&plan(), &invite(CUSTOMER, "97", &format!("{more}Privacy: id\r\n")));
    assert_eq!(names(&private.unwrap()), ["X-Folded", "X-Caller", "User-to-User"]);
    let many = "X-Many: 1\r\n".repeat(40) + &format!("X-Long: {}\r\n", "a".repeat(5000));
    let many = decide(&plan(), &invite(CUSTOMER, "97", &many)).unwrap();
    assert_eq!(many.crossing.len(), limits::CROSSING_HEADERS);
}

#[test]
fn privacy_is_followed_unless_the_route_overrides_it() {
    let mut plan = plan();
    for (value, private) in [("id", true), ("none", false), ("user;critical", true), ("x", false)] {
        let message = invite(CUSTOMER, "97", &format!("Privacy: {value}\r\n"));
        assert_eq!(decide(&plan, &message).unwrap().private, private, "{value}");
    }
    plan.routes[0].override_privacy = true;
    assert!(!decide(&plan, &invite(CUSTOMER, "97", "Privacy: id\r\n")).unwrap().private);
}

#[test]
fn a_target_of_another_role_is_passed_over() {
    let mut plan = plan();
    let mut profile = crate::profile::rules::Profile::clone(&plan.trunks[1].profile);
    profile.roles = vec![Role::AgentLeg];
    plan.trunks[1].profile = Arc::new(profile);
    assert_eq!(decide(&plan, &invite("1", CUSTOMER, "")).unwrap_err().code, 480);
}

#[test]
fn the_trail_tells_every_step() {
    let mut steps = Vec::new();
    let message = invite(CUSTOMER, "97", "");
    let plan = plan();
    plan.decide(0, &message, MONDAY, &Shown::new(1), Some(&mut steps)).unwrap();
    let rules: Vec<&str> = steps.iter().map(|s| s.rule.as_str()).collect();
    let wanted = [
        "read customer",
        "read requested_cli",
        "read autodialer",
        "read external_id",
        "normalise to",
        "normalise customer",
        "blacklist",
        "route agents",
        "target",
        "caller-id sticky",
        "caller-id campaign",
    ];
    assert_eq!(rules, wanted);
    let campaign = steps.last().unwrap();
    assert_eq!(campaign.chose, "+61370101234");
}

#[test]
fn a_decision_reads_back_from_a_snapshot() {
    let message = invite(CUSTOMER, "97", "X-Meta: \u{e9}\r\n");
    let mut decision = decide(&plan(), &message).unwrap();
    decision.crossing.push(Crossing { name: "X-Bin".to_owned(), value: vec![0xff, 0, 1] });
    let bytes = minicbor::to_vec(&decision).unwrap();
    assert_eq!(minicbor::decode::<Decision>(&bytes).unwrap(), decision);
}
