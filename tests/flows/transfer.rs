//! Transfers that an operator orders: a leg is asked by REFER, its NOTIFYs say what came of it.

use std::time::Duration;

use cooee_model::account::Party;
use cooee_model::command::Command;
use cooee_model::fact::What;
use cooee_model::ids::Side;
use cooee_signalling::switch::input::Input;

use crate::world::*;

/// A call that is up; both profiles take REFER. A's 200 and B's INVITE.
fn up() -> (World, String, String) {
    let mut w = World::new();
    w.habits(0, |habits| habits.takes_refer = true);
    w.habits(1, |habits| habits.takes_refer = true);
    let (ok, b_invite) = talking(&mut w);
    w.to_a.clear();
    w.to_b.clear();
    (w, ok, b_invite)
}

fn order(w: &mut World, side: Option<Side>, target: &str) {
    let call = w.facts[0].call;
    w.input(Input::Command(Command::Transfer { call, side, target: target.to_owned() }));
}

fn news(cseq: u32, b_invite: &str, state: &str, status: &str) -> String {
    let text = b_asks("NOTIFY", cseq, b_invite, status);
    let text = text.replace("application/sdp", "message/sipfrag;version=2.0");
    let lines = format!("Event: refer\r\nSubscription-State: {state}\r\nContent-");
    text.replacen("Content-", &lines, 1)
}

/// What the last transfer came to.
fn result(w: &World) -> Option<(u16, String)> {
    w.facts.iter().rev().find_map(|fact| match &fact.what {
        What::TransferEnded { code, why } => Some((*code, why.clone())),
        _ => None,
    })
}

#[test]
fn flow_81_an_operator_sends_the_customer_to_somebody_else() {
    let (mut w, _, b_invite) = up();
    order(&mut w, None, "201");
    let refer = w.last_b("REFER");
    let host = header(&b_invite, "To").split('@').nth(1).unwrap().trim_end_matches('>').to_owned();
    assert_eq!(header(&refer, "Refer-To"), format!("<sip:201@{host}>"), "the customer is B's");
    assert!(header(&refer, "Referred-By").contains("192.0.2.1"), "{refer}");
    assert!(w.to_a.is_empty());
    w.b(b_says(202, &refer, "", ""));
    w.b(news(1, &b_invite, "active;expires=60", "SIP/2.0 180 Ringing\r\n"));
    w.last_b("200 NOTIFY");
    assert_eq!(result(&w), None);
    w.b(news(2, &b_invite, "terminated;reason=noresource", "SIP/2.0 200 OK\r\n"));
    assert_eq!(result(&w), Some((200, "transferred".to_owned())));
    let (a_bye, b_bye) = (w.last_a("BYE"), w.last_b("BYE"));
    assert!(header(&a_bye, "Reason").contains("transferred"));
    w.a(b_says(200, &a_bye, "", "").replace(B, A));
    w.b(b_says(200, &b_bye, "", ""));
    let account = w.account();
    assert_eq!(account.end_party, Party::Bridge);
    assert_eq!(account.reason, format!("transferred to sip:201@{host}"));
    w.assert_clean();
}

#[test]
fn flow_81_a_transfer_that_fails_leaves_the_call_up() {
    let (mut w, ok, b_invite) = up();
    let target = "sip:boss@elsewhere.example";
    order(&mut w, Some(Side::B), target);
    let refer = w.last_b("REFER");
    assert_eq!(header(&refer, "Refer-To"), format!("<{target}>"));
    // One at a time.
    w.to_b.clear();
    order(&mut w, Some(Side::B), target);
    assert!(w.heard_b().is_empty());
    w.b(b_says(603, &refer, "", ""));
    assert_eq!(result(&w).unwrap().0, 603);
    // Accepted, and the target is busy.
    order(&mut w, Some(Side::B), target);
    w.b(b_says(202, &w.last_b("REFER"), "", ""));
    w.b(news(1, &b_invite, "terminated", "SIP/2.0 486 Busy Here\r\n"));
    assert_eq!(result(&w), Some((486, "the target was not reached".to_owned())));
    // What comes after the result is of nothing that we know.
    w.b(news(2, &b_invite, "active", "SIP/2.0 200 OK\r\n"));
    w.last_b("489 NOTIFY");
    // Accepted, and nothing more is heard of it.
    order(&mut w, Some(Side::B), target);
    w.b(b_says(202, &w.last_b("REFER"), "", ""));
    w.pass(Duration::from_secs(61));
    assert_eq!(result(&w), Some((408, "no word of its result".to_owned())));
    assert_eq!(w.switch.gauges().calls, 1);
    w.a(a_asks("BYE", 9, &ok, ""));
    w.b(b_says(200, &w.last_b("BYE"), "", ""));
    w.assert_clean();
}

#[test]
fn flow_81_what_cannot_be_asked_is_told_at_once() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.to_b.clear();
    order(&mut w, None, "201");
    assert!(result(&w).unwrap().1.contains("takes_refer"), "{:?}", result(&w));
    w.habits(0, |habits| habits.takes_refer = true);
    for target in ["", "a b", "<sip:x@y>", "x\r\nVia: y", "a@b@c", "sip:"] {
        order(&mut w, Some(Side::A), target);
        assert_eq!(result(&w).unwrap().0, 0, "{target}");
    }
    assert!(w.heard_b().is_empty() && !w.to_a.iter().any(|m| m.is_request()));
    w.a(a_asks("BYE", 2, &ok, ""));
    w.b(b_says(200, &w.last_b("BYE"), "", ""));
    w.assert_clean();
}

#[test]
fn flow_81_a_transfer_outlives_a_crash() {
    let (mut w, _, b_invite) = up();
    order(&mut w, None, "201");
    w.b(b_says(202, &w.last_b("REFER"), "", ""));
    assert_eq!(w.crash(Duration::from_secs(2)).revived, 1);
    w.b(news(1, &b_invite, "terminated", "SIP/2.0 200 OK\r\n"));
    w.last_b("200 NOTIFY");
    assert_eq!(result(&w), Some((200, "transferred".to_owned())));
    w.a(b_says(200, &w.last_a("BYE"), "", "").replace(B, A));
    w.b(b_says(200, &w.last_b("BYE"), "", ""));
    w.assert_clean();
}
