//! Lines that we keep registered.

use std::time::Duration;

use crate::world::*;

/// The registrar's answer to a REGISTER that it got.
fn says(code: u16, register: &str, more: &str) -> String {
    b_says(code, register, more, "").replace(B, A)
}

#[test]
fn a_line_registers_answers_the_challenge_and_refreshes_in_time() {
    let mut w = World::with_a_line();
    w.pass(Duration::from_millis(1100));
    let first = w.last_a("REGISTER");
    assert_eq!(header(&first, "Contact"), "<sip:+61491570156@192.0.2.1:5060>");
    w.a(says(401, &first, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n"));
    let second = w.last_a("REGISTER");
    assert!(header(&second, "Authorization").contains("username=\"+61491570156\""), "{second}");
    assert_eq!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    w.a(says(200, &second, "Expires: 300\r\n"));
    assert_eq!(w.switch.gauges().registered, 1);
    w.to_a.clear();
    w.pass(Duration::from_secs(200));
    assert!(w.heard_a().is_empty(), "not before two thirds");
    w.pass(Duration::from_secs(50));
    assert_eq!(w.heard_a().first().map(String::as_str), Some("REGISTER"));
}

#[test]
fn a_registrar_that_refuses_is_asked_less_and_less_often() {
    let mut w = World::with_a_line();
    let mut waits = Vec::new();
    for _ in 0..5 {
        let before = w.now;
        while w.to_a.is_empty() {
            w.pass(Duration::from_millis(500));
        }
        waits.push((w.now - before).as_secs());
        let register = w.last_a("REGISTER");
        w.to_a.clear();
        w.a(says(403, &register, ""));
    }
    let low = [0, 5, 10, 20, 40];
    assert!(waits.iter().zip(low).all(|(&w, low)| w >= low && w <= low + 2), "{waits:?}");
    assert_eq!(w.switch.gauges().registered, 0);
}

#[test]
fn a_line_carries_one_call_at_a_time() {
    let mut w = World::with_a_line();
    w.a(invite("", SDP_A));
    w.last_a("100 INVITE");
    let second = invite("", SDP_A).replace("call-a", "call-b").replace("z9hG4bKa1", "z9hG4bKa2");
    w.a(second);
    w.last_a("486 INVITE");
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn what_the_registrar_grants_to_our_contact_counts() {
    let mut w = World::with_a_line();
    w.pass(Duration::from_millis(1100));
    let register = w.last_a("REGISTER");
    w.to_a.clear();
    let theirs = "Contact: <sip:other@192.0.2.9>;expires=9000\r\n";
    let ours = "Contact: \"us\" <sip:+61491570156@192.0.2.1:5060;x=y>;q=0.5;expires=60\r\n";
    let ok = says(200, &register, &format!("{theirs}{ours}Expires: 3600\r\n"));
    w.a(ok.replace(&format!("Contact: <sip:b@{A}>\r\n"), ""));
    w.pass(Duration::from_secs(50));
    assert_eq!(w.heard_a().first().map(String::as_str), Some("REGISTER"));
}
