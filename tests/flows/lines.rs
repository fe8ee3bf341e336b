//! Lines that we keep registered.

use std::time::Duration;

use cooee_model::command::Command;
use cooee_signalling::switch::input::Input;

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

/// A registrar and many lines.
fn many(count: usize) -> World {
    let lines: Vec<String> = (0..count).map(|n| format!("line{n}:word")).collect();
    let trunk = format!(
        "profile = \"unitalk-lines\"\npeers = [\"udp:192.0.2.10:5060\"]\nlines = \"{}\"",
        lines.join("\\n")
    );
    World::changed(&[
        ("profile = \"generic-ip-trunk\"", &trunk),
        ("ROLE", "agent-leg"),
        ("PROFILE", "voximplant"),
    ])
}

/// The registers of a while, each answered.
fn answered(w: &mut World, span: Duration, code: u16, more: &str) -> Vec<usize> {
    let step = Duration::from_millis(100);
    let mut sent = Vec::new();
    for _ in 0..span.as_millis() / step.as_millis() {
        w.pass(step);
        let asked: Vec<String> =
            w.to_a.drain(..).map(|m| String::from_utf8_lossy(m.bytes()).into_owned()).collect();
        sent.push(asked.len());
        for register in asked {
            w.a(says(code, &register, more).replace(&format!("Contact: <sip:b@{A}>\r\n"), ""));
        }
    }
    sent
}

#[test]
fn many_lines_begin_one_after_the_other_and_all_in_time() {
    let mut w = many(400);
    let sent = answered(&mut w, Duration::from_secs(25), 200, "Expires: 300\r\n");
    assert!(sent.iter().all(|&n| n <= 3), "never a flood: {sent:?}");
    assert_eq!(w.switch.gauges().registered, 400);
    // A registrar that comes back meets no flood either.
    let refused = answered(&mut w, Duration::from_secs(300), 503, "Retry-After: 30\r\n");
    assert!(refused.iter().all(|&n| n <= 3), "{refused:?}");
    assert_eq!(w.switch.gauges().registered, 0);
    let again = answered(&mut w, Duration::from_secs(330), 200, "Expires: 300\r\n");
    assert!(again.iter().all(|&n| n <= 3), "{again:?}");
    assert_eq!(w.switch.gauges().registered, 400);
}

#[test]
fn a_time_that_is_too_brief_grows_and_a_registrar_that_is_never_content_is_left_alone() {
    let mut w = World::with_a_line();
    w.pass(Duration::from_millis(1100));
    let first = w.last_a("REGISTER");
    assert_eq!(header(&first, "Expires"), "300");
    w.a(says(423, &first, "Min-Expires: 900\r\n"));
    let second = w.last_a("REGISTER");
    assert_eq!(header(&second, "Expires"), "900");
    w.a(says(423, &second, ""));
    let third = w.last_a("REGISTER");
    assert_eq!(header(&third, "Expires"), "1800");
    w.to_a.clear();
    w.a(says(423, &third, "Min-Expires: 3600\r\n"));
    assert!(w.heard_a().is_empty(), "no third time at once");
    w.pass(Duration::from_secs(7));
    assert_eq!(w.heard_a().first().map(String::as_str), Some("REGISTER"));
}

#[test]
fn retry_after_is_kept_to() {
    let mut w = World::with_a_line();
    w.pass(Duration::from_millis(1100));
    let first = w.last_a("REGISTER");
    w.to_a.clear();
    w.a(says(503, &first, "Retry-After: 120 (maintenance)\r\n"));
    w.pass(Duration::from_secs(119));
    assert!(w.heard_a().is_empty());
    w.pass(Duration::from_secs(3));
    assert_eq!(w.heard_a().first().map(String::as_str), Some("REGISTER"));
}

#[test]
fn a_stale_nonce_is_renewed_and_a_foreign_realm_gets_no_password() {
    let mut w = World::with_a_line();
    w.pass(Duration::from_millis(1100));
    let ask = |realm: &str, nonce: &str, more: &str| {
        format!("WWW-Authenticate: Digest realm=\"{realm}\", nonce=\"{nonce}\"{more}\r\n")
    };
    let first = w.last_a("REGISTER");
    w.a(says(401, &first, &ask("r", "n1", "")));
    let second = w.last_a("REGISTER");
    w.a(says(401, &second, &ask("r", "n2", ", stale=true")));
    let third = w.last_a("REGISTER");
    assert!(header(&third, "Authorization").contains("nonce=\"n2\""));
    w.a(says(200, &third, "Expires: 300\r\n"));
    assert_eq!(w.switch.gauges().registered, 1);
    w.to_a.clear();
    w.pass(Duration::from_secs(250));
    let refresh = w.last_a("REGISTER");
    w.to_a.clear();
    w.a(says(401, &refresh, &ask("evil", "n3", "")));
    assert!(w.heard_a().is_empty());
    assert_eq!(w.switch.gauges().registered, 0);
}

#[test]
fn a_drain_unregisters_and_nothing_is_registered_again() {
    let mut w = World::with_a_line();
    w.pass(Duration::from_millis(1100));
    let register = w.last_a("REGISTER");
    w.a(says(200, &register, "Expires: 300\r\n"));
    w.to_a.clear();
    w.input(Input::Command(Command::Drain));
    let leaving = w.last_a("REGISTER");
    assert_eq!(header(&leaving, "Expires"), "0");
    assert_eq!((w.switch.gauges().registered, w.switch.gauges().leaving), (0, 1));
    w.to_a.clear();
    let ask = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n";
    w.a(says(401, &leaving, ask));
    let proven = w.last_a("REGISTER");
    assert!(!header(&proven, "Authorization").is_empty());
    w.a(says(200, &proven, ""));
    assert_eq!(w.switch.gauges().leaving, 0);
    w.to_a.clear();
    w.pass(Duration::from_secs(600));
    assert!(w.heard_a().is_empty());
}

/// The REGISTER that leaves within a second, and nothing else before it.
fn registers(w: &mut World) -> String {
    w.to_a.clear();
    for _ in 0..11 {
        w.pass(Duration::from_millis(100));
        if !w.to_a.is_empty() {
            break;
        }
    }
    assert_eq!(w.to_a.len(), 1);
    w.last_a("REGISTER")
}

#[test]
fn a_drain_that_is_taken_back_registers_again() {
    let mut w = World::with_a_line();
    let register = registers(&mut w);
    w.a(says(200, &register, "Expires: 300\r\n"));
    // The answer to the REGISTER that takes the line away comes late, or never: it is one to
    // another question, which is not sent again.
    for answered in [true, false] {
        w.pass(Duration::from_millis(100));
        w.to_a.clear();
        w.input(Input::Command(Command::Drain));
        let leaving = w.last_a("REGISTER");
        assert_eq!(header(&leaving, "Expires"), "0");
        w.input(Input::Command(Command::Undrain));
        assert_eq!((w.switch.gauges().registered, w.switch.gauges().leaving), (0, 0));
        let back = registers(&mut w);
        assert_eq!(header(&back, "Expires"), "300");
        assert_eq!(header(&back, "Call-ID"), header(&register, "Call-ID"));
        if answered {
            w.a(says(200, &leaving, ""));
            assert_eq!(w.switch.gauges().registered, 0);
        }
        w.a(says(200, &back, "Expires: 300\r\n"));
        assert_eq!(w.switch.gauges().registered, 1);
    }
    // One refresh at a time, whatever alarms are left of before.
    let mut refreshes = 0;
    for _ in 0..1500 {
        w.pass(Duration::from_secs(1));
        let texts = w.to_a.drain(..).map(|m| String::from_utf8_lossy(m.bytes()).into_owned());
        let refresh = texts.into_iter().find(|text| header(text, "Expires") == "300");
        if let Some(refresh) = refresh {
            w.a(says(200, &refresh, "Expires: 300\r\n"));
            refreshes += 1;
        }
    }
    assert!((6..=8).contains(&refreshes), "{refreshes}");
}

#[test]
fn a_reload_in_a_drain_registers_nothing_until_it_is_taken_back() {
    let mut w = World::with_a_line();
    let register = registers(&mut w);
    w.a(says(200, &register, "Expires: 300\r\n"));
    w.input(Input::Command(Command::Drain));
    let leaving = w.last_a("REGISTER");
    w.a(says(200, &leaving, ""));
    w.to_a.clear();
    w.reload(|text| text.replace("+61491570156:s3cret", "+61491570157:s3cret"));
    w.pass(Duration::from_secs(600));
    assert!(w.heard_a().is_empty());
    w.input(Input::Command(Command::Undrain));
    let other = registers(&mut w);
    assert!(header(&other, "To").contains("+61491570157"), "{other}");
}
