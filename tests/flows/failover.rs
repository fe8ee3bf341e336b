//! Targets that fail: who is called next, and what becomes of what comes late.

use std::time::Duration;

use cooee_model::account::Outcome;
use cooee_signalling::call::context::Output;

use crate::world::*;

const SECOND: Duration = Duration::from_secs(1);

const ONE: &str = "[\"udp:198.51.100.20:5060\"]";
const TWO: &str = "[\"198.51.100.20:5060\", \"198.51.100.22:5060\"]";

/// Trunk b has two addresses, and behind it there is a trunk c.
fn two_trunks() -> World {
    let c = "[[trunk]]\nname = \"c\"\nprofile = \"generic-ip-trunk\"\n\
        peers = [\"198.51.100.30:5060\"]\nvars = { login = \"c\" }\nsecret = \"s\"\n[[route]]";
    let chain = "timeout_s = 30 }";
    World::changed(&[(ONE, TWO), ("[[route]]", c), (chain, &format!("{chain}, \"trunk:c\""))])
}

/// Trunk b has one address, and there is no other trunk.
fn one_trunk() -> World {
    World::new()
}

fn from_there(answer: String) -> String {
    answer.replace("sip:b@198.51.100.20:5060", &format!("sip:b@{B2}"))
}

/// A second call of A.
fn another_invite(n: u32) -> String {
    let text = invite("", SDP_A).replace("call-a", &format!("call-{n}"));
    text.replace("z9hG4bKa1", &format!("z9hG4bKn{n}"))
}

#[test]
fn flow_10_503_goes_to_the_next_address_at_once_and_a_sees_only_success() {
    let mut w = two_trunks();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.b(b_says(503, &first, "", ""));
    assert_eq!(w.heard_b(), ["INVITE", "ACK"]);
    let second = w.last_at(B2, "INVITE");
    assert_ne!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    assert_eq!(header(&second, "From").split(';').next(), header(&first, "From").split(';').next());
    w.from(B2, from_there(b_says(200, &second, "", SDP_B)));
    assert_eq!(w.heard_a(), ["100 INVITE", "200 INVITE"]);
    let account_legs =
        w.facts.iter().filter(|f| matches!(f.what, cooee_model::fact::What::Forwarded { .. }));
    assert_eq!(account_legs.count(), 2);
    assert!(w.heard_at(C).is_empty());
}

#[test]
fn flow_10_what_the_called_one_says_skips_the_other_addresses_of_its_trunk() {
    let mut w = two_trunks();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.b(b_says(480, &first, "", ""));
    assert!(w.heard_at(B2).is_empty());
    assert_eq!(w.heard_at(C), ["INVITE"]);
}

#[test]
fn flow_8_busy_and_declined_end_the_call_whatever_else_there_is() {
    for code in [486, 600, 603, 404] {
        let mut w = two_trunks();
        w.a(invite("", SDP_A));
        let first = w.last_b("INVITE");
        w.b(b_says(code, &first, "", ""));
        assert_eq!(w.heard_a(), ["100 INVITE".to_owned(), format!("{code} INVITE")]);
        assert!(w.elsewhere.is_empty());
        w.assert_clean();
    }
}

#[test]
fn flow_9_a_trunk_that_asked_for_rest_is_left_alone_that_long() {
    let mut w = one_trunk();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.b(b_says(503, &first, "Retry-After: 20 (maintenance)\r\n", ""));
    let refused = w.last_a("503 INVITE");
    w.to_b.clear();
    assert_eq!(header(&refused, "Retry-After"), "", "that was for us, not for A");
    w.pass(SECOND * 19);
    w.to_a.clear();
    w.a(another_invite(2));
    assert!(w.heard_b().is_empty());
    assert_eq!(header(&w.last_a("503 INVITE"), "Retry-After"), "1");
    w.pass(SECOND * 2);
    w.a(another_invite(3));
    assert_eq!(w.heard_b(), ["INVITE"]);
}

#[test]
fn flow_9_the_others_are_called_meanwhile() {
    let mut w = two_trunks();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.b(b_says(503, &first, "Retry-After: 60\r\n", ""));
    w.heard_b();
    w.elsewhere.clear();
    w.a(another_invite(2));
    assert!(w.heard_b().is_empty());
    assert_eq!(w.heard_at(B2), ["INVITE"]);
}

#[test]
fn flow_11_silence_of_all_is_told_within_timer_b() {
    let mut w = two_trunks();
    w.a(invite("", SDP_A));
    w.pass(SECOND * 41);
    assert_eq!(w.heard_a().last().map(String::as_str), Some("503 INVITE"));
    assert_eq!(w.account().outcome, Outcome::Technical);
    w.assert_clean();
}

#[test]
fn flow_12_a_silent_address_is_given_up_after_four_seconds() {
    let mut w = two_trunks();
    w.a(invite("", SDP_A));
    w.pass(SECOND * 3);
    assert!(w.heard_at(B2).is_empty());
    w.pass(SECOND);
    w.last_at(B2, "INVITE");
    assert!(!w.heard_b().contains(&"CANCEL".to_owned()), "nothing to cancel yet");
    w.pass(SECOND * 4);
    assert_eq!(w.last_at(C, "INVITE").lines().next().unwrap().split(' ').next(), Some("INVITE"));
}

#[test]
fn flow_12_a_100_is_enough_to_be_waited_for() {
    let mut w = two_trunks();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.b(b_says(100, &first, "", ""));
    w.pass(SECOND * 29);
    assert!(w.heard_at(B2).is_empty() && w.heard_at(C).is_empty());
}

#[test]
fn flow_12_a_late_1xx_gets_cancel_and_a_never_sees_it() {
    let mut w = two_trunks();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.pass(SECOND * 4);
    let second = w.last_at(B2, "INVITE");
    w.heard_a();
    w.to_b.clear();
    w.b(b_says(180, &first, "", SDP_B));
    let cancel = w.last_b("CANCEL");
    assert_eq!(header(&cancel, "Via"), header(&first, "Via"));
    assert!(w.heard_a().is_empty());
    w.b(b_says(200, &cancel, "", ""));
    w.to_b.clear();
    w.b(b_says(487, &first, "", ""));
    assert_eq!(w.heard_b(), ["ACK"]);
    w.from(B2, from_there(b_says(200, &second, "", SDP_B)));
    assert_eq!(w.heard_a(), ["200 INVITE"]);
}

#[test]
fn flow_12_a_late_2xx_gets_ack_and_bye_and_the_call_goes_on() {
    let mut w = two_trunks();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.pass(SECOND * 4);
    let second = w.last_at(B2, "INVITE");
    w.from(B2, from_there(b_says(200, &second, "", SDP_B)));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    w.to_b.clear();
    w.b(b_says(200, &first, "", SDP_B));
    let bye = w.last_b("BYE");
    assert_eq!(header(&bye, "CSeq"), "2 BYE");
    assert_eq!(w.heard_b(), ["ACK", "BYE"]);
    w.b(b_says(200, &first, "", SDP_B));
    assert_eq!(w.heard_b(), ["ACK"], "a copy of it is acknowledged again");
    w.b(b_says(200, &bye, "", ""));
    w.elsewhere.clear();
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(w.heard_at(B2), ["BYE"], "the one call that is up");
    w.pass(SECOND * 120);
    w.assert_clean();
}

#[test]
fn flow_12_a_late_2xx_after_the_call_is_ended_too() {
    let mut w = two_trunks();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.pass(SECOND * 5);
    w.a(a_cancels());
    w.to_b.clear();
    w.b(b_says(200, &first, "", SDP_B));
    assert_eq!(w.heard_b(), ["ACK", "BYE"]);
    w.assert_clean();
}

#[test]
fn flow_12_what_was_given_up_is_forgotten_in_time() {
    let mut w = two_trunks();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.pass(SECOND * 4);
    // A late 180, and then nothing any more: 64*T1 after its CANCEL it is over.
    w.b(b_says(180, &first, "", ""));
    w.a(a_cancels());
    w.pass(SECOND * 33);
    assert_eq!(w.switch.gauges().calls, 0);
    w.assert_clean();
}

#[test]
fn flow_12_a_crash_ends_what_was_given_up() {
    let mut w = two_trunks();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.pass(SECOND * 4);
    let second = w.last_at(B2, "INVITE");
    w.from(B2, from_there(b_says(200, &second, "", SDP_B)));
    w.b(b_says(200, &first, "", SDP_B));
    let mut after = two_trunks();
    after.now = w.now + SECOND;
    let mut out = Output::default();
    after.switch.recover(after.now, &w.snapshots, true, &mut out);
    after.snapshots.clone_from(&w.snapshots);
    after.take(out);
    let bye = after.last_b("BYE");
    assert_eq!(header(&bye, "Call-ID"), header(&first, "Call-ID"));
    assert!(header(&bye, "To").contains("tag=tb"));
    after.b(b_says(200, &bye, "", ""));
}

#[test]
fn flow_12_a_crash_cancels_what_was_given_up_and_ends_its_late_answer() {
    let mut w = two_trunks();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.pass(SECOND * 4);
    let mut after = two_trunks();
    after.now = w.now + SECOND;
    let mut out = Output::default();
    after.switch.recover(after.now, &w.snapshots, true, &mut out);
    after.snapshots.clone_from(&w.snapshots);
    after.take(out);
    assert_eq!(header(&after.last_b("CANCEL"), "Via"), header(&first, "Via"));
    after.to_b.clear();
    after.b(b_says(200, &first, "", SDP_B));
    assert_eq!(after.heard_b(), ["ACK", "BYE"]);
    after.assert_clean();
}

#[test]
fn a_ring_that_is_too_long_goes_to_the_next_target() {
    let mut w = two_trunks();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.b(b_says(180, &first, "", ""));
    w.pass(SECOND * 30);
    assert_eq!(w.heard_a(), ["100 INVITE", "180 INVITE"]);
    w.last_b("CANCEL");
    assert!(w.heard_at(B2).is_empty(), "the same telephone would ring");
    let second = w.last_at(C, "INVITE");
    w.b(b_says(487, &first, "", ""));
    w.from(C, b_says(180, &second, "", "").replace(B, C));
    w.pass(SECOND * 60);
    // Its own, the one that is said again after a minute, and the end.
    assert_eq!(w.heard_a(), ["180 INVITE", "180 INVITE", "480 INVITE"]);
    assert_eq!(w.account().outcome, Outcome::NoAnswer);
    w.assert_clean();
}

#[test]
fn an_address_that_is_silent_thrice_is_called_last_and_comes_back_on_trial() {
    let mut w = World::changed(&[(ONE, TWO), ("[[did]]", "[retry]\nno_response_s = 2\n[[did]]")]);
    for n in 0..3 {
        w.a(another_invite(n));
        assert!(w.heard_b().contains(&"INVITE".to_owned()), "{n}");
        w.pass(SECOND * 2);
        let second = w.last_at(B2, "INVITE");
        w.from(B2, from_there(b_says(486, &second, "", "")));
        w.elsewhere.clear();
        w.to_b.clear();
    }
    w.a(another_invite(4));
    assert!(!w.heard_b().contains(&"INVITE".to_owned()));
    let second = w.last_at(B2, "INVITE");
    w.from(B2, from_there(b_says(500, &second, "", "")));
    let last = w.last_b("INVITE");
    w.b(b_says(486, &last, "", ""));
    w.pass(SECOND * 70);
    w.to_b.clear();
    w.a(another_invite(5));
    assert_eq!(w.heard_b(), ["INVITE"]);
}

const LEADS: &str = "Contact: <sip:+61491570156@198.51.100.22:5060>\r\n";

/// B sends the call elsewhere.
fn redirects(invite: &str, contact: &str) -> String {
    b_says(302, invite, contact, "").replace(&format!("Contact: <sip:b@{B}>\r\n"), "")
}

fn following() -> World {
    World::changed(&[("[[route]]", "[retry]\nredirect_allow = [\"198.51.100.22\"]\n[[route]]")])
}

#[test]
fn flow_13_a_redirection_is_not_followed_where_nothing_allows_it() {
    for (mut w, contact) in [
        (one_trunk(), LEADS),
        (following(), "Contact: <sip:x@203.0.113.9>\r\n"),
        (following(), "Contact: <sip:x@pay-me.example>\r\n"),
        (following(), "Contact: <tel:+61900>\r\n"),
        (following(), ""),
    ] {
        w.a(invite("", SDP_A));
        let first = w.last_b("INVITE");
        w.b(redirects(&first, contact));
        assert_eq!(w.heard_b(), ["INVITE", "ACK"], "{contact}");
        assert!(w.heard_at(B2).is_empty());
        assert_eq!(w.heard_a(), ["100 INVITE", "502 INVITE"]);
        w.assert_clean();
    }
}

#[test]
fn flow_13_an_allowed_redirection_is_followed_and_its_ack_goes_to_its_sender() {
    let mut w = following();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.b(redirects(&first, LEADS));
    assert_eq!(w.heard_b(), ["INVITE", "ACK"]);
    let second = w.last_at(B2, "INVITE");
    assert_eq!(w.heard_at(B2), ["INVITE"]);
    assert!(second.starts_with("INVITE sip:+61491570156@198.51.100.22"), "{second}");
    assert_eq!(header(&second, "From").split(';').next(), header(&first, "From").split(';').next());
    // Back to where it was called already: that would never end.
    w.from(B2, redirects(&second, "Contact: <sip:x@198.51.100.20:5060>\r\n"));
    assert_eq!(w.heard_a(), ["100 INVITE", "502 INVITE"]);
}

#[test]
fn flow_13_a_call_that_was_led_elsewhere_comes_up_there() {
    let mut w = following();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.b(redirects(&first, LEADS));
    let second = w.last_at(B2, "INVITE");
    w.from(B2, from_there(b_says(200, &second, "", SDP_B)));
    assert_eq!(w.heard_a(), ["100 INVITE", "200 INVITE"]);
    assert_eq!(w.heard_b(), ["INVITE", "ACK"]);
}
