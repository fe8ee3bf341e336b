//! Tests of writing: nothing can leave its slot, nothing is shown that must not be.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::profile::rules::{DirectCode, Profile};
use crate::profile::stage::{context, decide, invite, plan, template};

const CUSTOMER: &str = "61491570156";

/// The plan with the target's profile changed.
fn plan_with(change: impl FnOnce(&mut Profile)) -> Plan {
    let mut plan = plan();
    let mut profile = Profile::clone(&plan.trunks[1].profile);
    change(&mut profile);
    plan.trunks[1].profile = Arc::new(profile);
    plan
}

fn slots(plan: &Plan, from: &str, to: &str, more: &str) -> Slots {
    let decision = decide(plan, &invite(from, to, more)).unwrap();
    plan.compose(&decision, 0, context()).unwrap()
}

fn header<'s>(slots: &'s Slots, name: &str) -> Option<&'s str> {
    slots.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

#[test]
fn every_slot_of_an_agent_leg() {
    let slots = slots(&plan(), CUSTOMER, "97", "X-Id: u1\r\nX-Other: 2\r\n");
    assert_eq!(slots.request_uri, "sip:97@peer.example");
    assert_eq!(slots.to, "sip:97@peer.example");
    assert_eq!(slots.from_uri(), "sip:61370101234@192.0.2.10");
    assert_eq!(slots.from_display, CUSTOMER);
    assert_eq!(slots.contact_user, "+61370101234");
    assert_eq!(header(&slots, "X-Customer"), Some("+61491570156"));
    assert_eq!(header(&slots, "X-Id"), Some("u1"));
    // A header that we write does not cross a second time.
    let names: Vec<&str> = slots.crossing.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["X-Other"]);
}

#[test]
fn identity_headers_have_their_shape_and_order() {
    let plan = plan_with(|p| {
        p.write.pai = template("sip:{did}@{node.host}");
        p.write.rpid = template("sip:{did.national}@{node.host}");
        p.write.diversion = template("<sip:{did}@{node.host}>;reason=deflection");
        p.write.privacy = template("none");
    });
    let slots = slots(&plan, CUSTOMER, "97", "");
    let names: Vec<&str> = slots.headers.iter().map(|(n, _)| n.as_str()).collect();
    let wanted =
        ["P-Asserted-Identity", "Remote-Party-ID", "Diversion", "Privacy", "X-Customer", "X-Id"];
    assert_eq!(names, wanted);
    assert_eq!(header(&slots, "P-Asserted-Identity"), Some("<sip:+61370101234@192.0.2.10>"));
    let rpid = "<sip:0370101234@192.0.2.10>;party=calling;screen=yes;privacy=off";
    assert_eq!(header(&slots, "Remote-Party-ID"), Some(rpid));
    let diversion = "<sip:+61370101234@192.0.2.10>;reason=deflection";
    assert_eq!(header(&slots, "Diversion"), Some(diversion));
}

#[test]
fn a_caller_who_is_not_told_is_anonymous_and_never_empty() {
    for (from, more) in
        [("anonymous", ""), ("unavailable", ""), (CUSTOMER, "Privacy: id\r\n"), ("", "")]
    {
        let slots = slots(&plan(), from, "97", more);
        assert_eq!(slots.from_display, "Anonymous", "{from}");
        assert_eq!(header(&slots, "X-Customer"), None, "{from}");
    }
    let by_customer = plan_with(|p| p.write.from_user = template("{customer.digits}"));
    let hidden = slots(&by_customer, "anonymous", "97", "");
    assert_eq!(
        (hidden.from_user.as_str(), hidden.contact_user.as_str()),
        ("anonymous", "+61370101234")
    );
}

#[test]
fn a_customer_leg_shows_nothing_of_the_caller() {
    // A profile that would tell it, a Call-ID and a header that hold it.
    let plan = plan_with(|p| {
        p.write.headers.push(("X-From".to_owned(), template("{from.user}")));
        p.write.headers.push(("X-Name".to_owned(), template("by {from.display}")));
    });
    let more = "X-Id: 380-44-555-00-00/7\r\nX-Note: call from (044) 555 0000\r\n\
        P-Preferred-Identity: \"0445550000\" <sip:380445550000@d>\r\n";
    let slots = slots(&plan, "380445550000", CUSTOMER, more);
    let all = format!("{slots:?}");
    let digits: String = all.chars().filter(char::is_ascii_digit).collect();
    assert!(!digits.contains("45550000"), "{all}");
    assert_eq!(slots.from_user, "61255501234");
    assert!(slots.crossing.is_empty());
}

#[test]
fn values_of_a_peer_are_escaped_in_uris() {
    let mut plan = plan_with(|p| {
        p.write.request_uri = template("sip:{ruri.user}@{peer.host}");
        p.write.from_user = template("{from.user}");
    });
    plan.autodialers[0].id = "*".to_owned();
    let slots = slots(&plan, "a%0d%0aX|1", "97%3e%3csip:x%40y", "");
    assert_eq!(slots.from_user, "a%0d%0aX%7C1");
    // The colon begins a password in a user part, so it is cut by the reader.
    assert_eq!(slots.request_uri, "sip:97%3e%3csip@peer.example");
}

#[test]
fn long_values_are_cut() {
    let plan = plan_with(|p| p.behaviour.display_name_max = 5);
    let slots = slots(&plan, CUSTOMER, "97", &format!("X-Id: {}\r\n", "\u{e9}".repeat(120)));
    assert_eq!(slots.from_display, "61491");
    let value = header(&slots, "X-Id").unwrap();
    assert!(value.len() <= limits::X_HEADER_BYTES && value.len() > 190, "{}", value.len());
}

#[test]
fn names_in_latin_letters_are_cut_after_they_are_written() {
    let plan = plan_with(|p| {
        p.write.from_display = template("Щука {customer}");
        p.behaviour.display_name_ascii = true;
        p.behaviour.display_name_max = 8;
    });
    assert_eq!(slots(&plan, CUSTOMER, "97", "").from_display, "Shchuka");
}

#[test]
fn verbs_see_what_is_written_and_what_crosses() {
    use crate::profile::rewrite::Rewrite;
    let plan = plan_with(|p| {
        let name = "X-Tenant".to_owned();
        p.write.rewrite = vec![
            Rewrite::Rename { from: "X-Id".to_owned(), to: "X-Ref".to_owned() },
            Rewrite::Set { name, value: template("of {customer}") },
        ];
    });
    let slots = slots(&plan, CUSTOMER, "97", "X-Id: 7\r\n");
    assert!(header(&slots, "X-Tenant").unwrap().starts_with("of "));
    let crossing: Vec<_> = slots.crossing.iter().map(|c| c.name.as_str()).collect();
    assert!(!crossing.contains(&"X-Id"));
    assert!(header(&slots, "X-Ref").is_some());
}

#[test]
fn a_direct_code_is_sent_where_the_profile_and_the_map_have_one() {
    let mut plan = plan_with(|p| {
        let digits = template("{agent.extension}");
        p.behaviour.direct_code = Some(DirectCode { after_ms: 500, digits });
    });
    let decision = decide(&plan, &invite(CUSTOMER, "97", "")).unwrap();
    assert_eq!(plan.direct_code(&decision, 0, context()), None);
    plan.autodialers[0].direct_code = "101".to_owned();
    let decision = decide(&plan, &invite(CUSTOMER, "97", "")).unwrap();
    assert_eq!(plan.direct_code(&decision, 0, context()), Some(("101".to_owned(), 500)));
}

#[test]
fn a_target_that_has_left_the_plan_is_not_composed() {
    let mut plan = plan();
    let decision = decide(&plan, &invite(CUSTOMER, "97", "")).unwrap();
    assert!(plan.compose(&decision, 1, context()).is_none());
    plan.trunks[1].name = "other".to_owned();
    assert!(plan.compose(&decision, 0, context()).is_none());
}

proptest! {
    /// S11: whatever A writes, no slot holds what could end a header.
    #[test]
    fn no_slot_can_end_a_header(
        display in "\\PC{0,30}",
        user in "[!-~]{0,30}",
        id in "\\PC{0,60}",
    ) {
        let plan = plan_with(|p| {
            p.write.from_display = template("{from.display}");
            p.write.from_user = template("{from.user}");
            p.write.request_uri = template("sip:{ruri.user}@{peer.host}");
            p.write.pai = template("sip:{customer}@{node.host}");
        });
        let text = format!(
            "INVITE sip:97@h SIP/2.0\r\nFrom: \"{display}\" <sip:{user}@h>;tag=1\r\n\
             To: <sip:97@h>\r\nX-Id: {id}\u{b}%0d%0a\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n"
        );
        let message = crate::message::view::Message::read(text.into()).unwrap();
        let Ok(decision) = decide(&plan, &message) else { return Ok(()) };
        let slots = plan.compose(&decision, 0, context()).unwrap();
        let mut values = vec![
            &slots.request_uri, &slots.to, &slots.from_display, &slots.from_user,
            &slots.from_host, &slots.contact_user,
        ];
        values.extend(slots.headers.iter().map(|(_, value)| value));
        for value in values {
            prop_assert!(!value.chars().any(char::is_control), "{:?}", value);
        }
        for uri in [&slots.request_uri, &slots.to, &slots.from_uri()] {
            prop_assert!(!uri.contains(['<', '>', ' ', '"']), "{}", uri);
        }
        prop_assert!(!slots.from_user.is_empty());
    }
}
