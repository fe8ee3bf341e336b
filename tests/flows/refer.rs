//! Transfers: REFER and Replaces, by policy. Neither is ever carried out by us.

use crate::world::*;

fn refer(text: String, target: &str) -> String {
    let lines =
        format!("Refer-To: <{target}>\r\nReferred-By: <sip:boss@a.example>\r\nContent-Length");
    text.replacen("Content-Length", &lines, 1)
}

fn notify(text: String, state: &str, body: &str) -> String {
    let text = text.replace("application/sdp", "message/sipfrag;version=2.0");
    let lines = format!("Event: refer;id=2\r\nSubscription-State: {state}\r\nContent-");
    assert!(!body.is_empty());
    text.replacen("Content-", &lines, 1)
}

fn refused_with(key: &str) -> World {
    let mut w = World::new();
    w.reconfigure(|text| text.replace("[media]", &format!("{key}\n[media]")));
    w
}

const TARGET: &str = "sip:+61355500000@elsewhere.example";

#[test]
fn flow_81_refer_is_refused_by_the_configured_code_and_never_dialled() {
    for (key, code) in [("", 603), ("refer = \"403\"", 403), ("refer = \"405\"", 405)] {
        let mut w = refused_with(key);
        let (ok, b_invite) = talking(&mut w);
        w.a(refer(a_asks("REFER", 2, &ok, ""), TARGET));
        w.last_a(&format!("{code} REFER"));
        w.b(refer(b_asks("REFER", 1, &b_invite, ""), TARGET));
        w.last_b(&format!("{code} REFER"));
        // Out of a dialog there is nothing to transfer.
        w.a(refer(invite("", "").replace("INVITE", "REFER").replace("call-a", "other"), TARGET));
        assert!(w.to_a.last().is_some_and(|m| matches!(m.code(), 403 | 405 | 603)));
        assert!(!w.to_a.iter().chain(&w.to_b).any(|m| m.is_request()), "nobody is called");
        assert!(w.elsewhere.is_empty());
        assert_eq!(w.switch.gauges().calls, 1);
    }
}

#[test]
fn flow_81_a_relayed_refer_reaches_the_other_side_with_its_notifies() {
    let mut w = refused_with("refer = \"relay\"");
    let (ok, b_invite) = talking(&mut w);
    w.a(refer(a_asks("REFER", 2, &ok, ""), TARGET));
    let passed = w.last_b("REFER");
    assert_eq!(header(&passed, "Refer-To"), format!("<{TARGET}>"));
    assert_eq!(header(&passed, "Referred-By"), "", "who asks is between A and us");
    assert_eq!(header(&passed, "Call-ID"), header(&b_invite, "Call-ID"));
    // One at a time.
    w.a(refer(a_asks("REFER", 3, &ok, ""), TARGET));
    w.last_a("603 REFER");
    w.b(b_says(202, &passed, "", ""));
    w.last_a("202 REFER");
    let trying = "SIP/2.0 100 Trying\r\n";
    w.b(notify(b_asks("NOTIFY", 1, &b_invite, trying), "active;expires=60", trying));
    let told = w.last_a("NOTIFY");
    assert!(told.ends_with(trying), "{told}");
    assert_eq!(header(&told, "Event"), "refer;id=2");
    assert_eq!(header(&told, "Subscription-State"), "active;expires=60");
    assert_eq!(header(&told, "Content-Type"), "message/sipfrag;version=2.0");
    w.a(b_says(200, &told, "", "").replace(B, A));
    w.last_b("200 NOTIFY");
    // A asked: A has nothing to tell.
    w.a(notify(a_asks("NOTIFY", 4, &ok, trying), "active", trying));
    w.last_a("489 NOTIFY");
    let done = "SIP/2.0 200 OK\r\n";
    w.b(notify(b_asks("NOTIFY", 2, &b_invite, done), "terminated;reason=noresource", done));
    w.last_a("NOTIFY");
    // The subscription is over.
    w.to_b.clear();
    w.b(notify(b_asks("NOTIFY", 3, &b_invite, done), "active", done));
    assert_eq!(w.heard_b(), ["489 NOTIFY"]);
    assert!(w.elsewhere.is_empty());
    w.b(b_asks("BYE", 4, &b_invite, ""));
    w.assert_clean();
}

#[test]
fn flow_81_a_refer_that_the_other_side_refuses_leaves_nothing() {
    let mut w = refused_with("refer = \"relay\"");
    let (ok, b_invite) = talking(&mut w);
    w.b(refer(b_asks("REFER", 1, &b_invite, ""), TARGET));
    let passed = w.last_a("REFER");
    w.a(b_says(403, &passed, "", "").replace(B, A));
    w.last_b("403 REFER");
    w.a(notify(a_asks("NOTIFY", 2, &ok, "x"), "active", "x"));
    w.last_a("489 NOTIFY");
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn flow_81_what_names_a_dialog_or_nothing_is_not_relayed() {
    let mut w = refused_with("refer = \"relay\"");
    let (ok, _) = talking(&mut w);
    let attended = format!("{TARGET}?Replaces=call-x%3Bto-tag%3D1%3Bfrom-tag%3D2");
    w.a(refer(a_asks("REFER", 2, &ok, ""), &attended));
    w.last_a("603 REFER");
    w.a(a_asks("REFER", 3, &ok, ""));
    w.last_a("400 REFER");
    assert!(w.heard_b().is_empty());
}

#[test]
fn flow_81_a_profile_may_transfer_where_others_may_not() {
    let mut w = World::new();
    w.habits(0, |a| a.accept_refer = true);
    let (ok, b_invite) = talking(&mut w);
    w.b(refer(b_asks("REFER", 1, &b_invite, ""), TARGET));
    w.last_b("603 REFER");
    assert!(w.heard_a().is_empty());
    w.a(refer(a_asks("REFER", 2, &ok, ""), TARGET));
    w.last_b("REFER");
}

fn replacing(call_id: &str, to_tag: &str, from_tag: &str) -> String {
    let more = format!("Replaces: {call_id};to-tag={to_tag};from-tag={from_tag}\r\n");
    invite(&more, SDP_A)
        .replace("Call-ID: call-a", "Call-ID: call-r")
        .replace("z9hG4bKa1", "z9hG4bKr")
}

#[test]
fn flow_82_replaces_is_481_for_a_stranger_dialog_and_403_for_ours() {
    let mut w = World::new();
    w.a(replacing("nobody", "1", "2"));
    w.last_a("481 INVITE");
    assert_eq!(w.switch.gauges().calls, 0);
    let (ok, b_invite) = talking(&mut w);
    let tag = |value: String| value.split_once(";tag=").unwrap().1.to_owned();
    let (ours, theirs) = (tag(header(&ok, "To")), "ta");
    w.a(replacing("call-a", &ours, theirs));
    w.last_a("403 INVITE");
    // Leg B's dialog is ours too; one wrong name is none.
    w.to_a.clear();
    w.a(replacing(&header(&b_invite, "Call-ID"), &tag(header(&b_invite, "From")), "tb"));
    w.last_a("403 INVITE");
    for wrong in [
        replacing("call-b", &ours, theirs),
        replacing("call-a", &ours, "tx"),
        replacing("call-a", "x", theirs),
    ] {
        w.to_a.clear();
        w.a(wrong);
        assert_eq!(w.heard_a(), ["481 INVITE"]);
    }
    w.a(invite("Replaces: call-a\r\n", SDP_A)
        .replace("call-a\r\nCSeq", "call-r\r\nCSeq")
        .replace("z9hG4bKa1", "z9hG4bKs"));
    w.last_a("400 INVITE");
    assert!(w.heard_b().is_empty(), "nobody is called, nothing is replaced");
    assert_eq!(w.switch.gauges().calls, 1);
}
