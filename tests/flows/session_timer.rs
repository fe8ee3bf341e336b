//! Session timers (RFC 4028): rows 61 to 64. Each leg has one of its own.

use std::time::Duration;

use cooee_model::account::{Outcome, Party};
use cooee_model::moment::Moment;

use crate::world::*;

const SECOND: Duration = Duration::from_secs(1);
const TIMER: &str = "Supported: timer\r\n";
const ALLOWS: &str = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n";

/// A node whose session timers are so.
fn node(timer: &str) -> World {
    World::changed(&[("bind = [\"udp", &format!("session_timer = {timer}\nbind = [\"udp"))])
}

/// A call that is up; `a` and `b` are what A's INVITE and B's 200 say besides. A's 200 and B's
/// INVITE.
fn talking_with(w: &mut World, a: &str, b: &str) -> (String, String) {
    w.a(invite(a, SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, b, SDP_B));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    w.to_a.clear();
    w.to_b.clear();
    (ok, b_invite)
}

fn says(request: &str, more: &str) -> String {
    format!("Session-Expires: {request}\r\n{more}")
}

fn origin(text: &str) -> String {
    text.lines().find(|l| l.starts_with("o=")).unwrap().to_owned()
}

/// A request of A with further header lines.
fn a_asks_with(method: &str, cseq: u32, ok: &str, more: &str, body: &str) -> String {
    a_asks(method, cseq, ok, body).replacen("Max-Forwards", &format!("{more}Max-Forwards"), 1)
}

#[test]
fn flow_61_an_interval_that_is_too_small_is_422() {
    let mut w = World::new();
    w.a(invite(&says("30", TIMER), SDP_A));
    assert_eq!(header(&w.last_a("422 INVITE"), "Min-SE"), "90");
    assert!(w.heard_b().is_empty());
    let gauges = w.switch.gauges();
    assert_eq!((gauges.calls, gauges.leases, gauges.transactions), (0, 0, (0, 0)));
    // The same in the dialog, and the call goes on.
    let (ok, _) = talking_with(&mut w, &says("90;refresher=uac", TIMER), "");
    assert_eq!(header(&ok, "Session-Expires"), "90;refresher=uac");
    assert_eq!(header(&ok, "Require"), "timer");
    for (cseq, method) in [(2, "INVITE"), (3, "UPDATE")] {
        w.a(a_asks_with(method, cseq, &ok, "Session-Expires: 89\r\nSupported: timer\r\n", ""));
        assert_eq!(header(&w.last_a(&format!("422 {method}")), "Min-SE"), "90");
    }
    assert!(w.heard_b().is_empty());
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn flow_62_a_422_of_b_is_answered_with_more_and_a_never_sees_it() {
    let mut w = node("{ mode = \"prefer\", expires = 600, min_se = 90 }");
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    assert_eq!(header(&first, "Session-Expires"), "600");
    assert_eq!(
        (header(&first, "Supported").as_str(), header(&first, "Min-SE").as_str()),
        ("timer", "")
    );
    w.to_a.clear();
    w.b(b_says(422, &first, "Min-SE: 1200\r\n", ""));
    let second = w.last_b("INVITE");
    assert_eq!(
        (header(&second, "Session-Expires").as_str(), header(&second, "Min-SE").as_str()),
        ("1200", "1200")
    );
    assert_eq!(header(&second, "CSeq"), "2 INVITE");
    assert_eq!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    assert_eq!(origin(&second), origin(&first));
    assert!(w.heard_a().is_empty());
    w.b(b_says(200, &second, &says("1200;refresher=uas", ""), SDP_B));
    let ok = w.last_a("200 INVITE");
    assert_eq!(header(&ok, "Session-Expires"), "", "A knows no timer");
    w.a(a_asks("ACK", 1, &ok, ""));
    // In the dialog it is the same: A asks, B wants more, A gets its 200.
    w.to_a.clear();
    w.a(a_asks("INVITE", 2, &ok, SDP_A));
    let asked = w.last_b("INVITE");
    assert_eq!(header(&asked, "Session-Expires"), "1200;refresher=uas");
    w.b(b_says(422, &asked, "Min-SE: 1500\r\n", ""));
    let asked = w.last_b("INVITE");
    assert_eq!(header(&asked, "Session-Expires"), "1500;refresher=uas");
    w.b(b_says(200, &asked, &says("1500;refresher=uas", ""), SDP_B));
    assert_eq!(w.heard_a(), ["100 INVITE", "200 INVITE"]);
}

#[test]
fn flow_62_a_422_that_asks_for_nothing_ends_the_try() {
    for least in ["", "Min-SE: 4000000000\r\n", "Min-SE: many\r\n"] {
        let mut w = World::new();
        w.a(invite("", SDP_A));
        let first = w.last_b("INVITE");
        w.b(b_says(422, &first, least, ""));
        w.last_a("503 INVITE");
        w.assert_clean();
    }
}

#[test]
fn flow_63_a_that_does_not_refresh_is_ended() {
    let mut w = World::new();
    let (ok, _) = talking_with(&mut w, &says("90;refresher=uac", TIMER), "");
    w.pass(SECOND * 50);
    // A refreshes by UPDATE, then by re-INVITE: each begins the interval anew.
    w.a(a_asks_with("UPDATE", 2, &ok, &says("90;refresher=uac", TIMER), ""));
    assert_eq!(header(&w.last_a("200 UPDATE"), "Session-Expires"), "90;refresher=uac");
    w.pass(SECOND * 50);
    w.a(a_asks_with("INVITE", 3, &ok, &says("90;refresher=uac", TIMER), SDP_A));
    let asked = w.last_b("INVITE");
    w.b(b_says(200, &asked, "", SDP_B));
    assert_eq!(header(&w.last_a("200 INVITE"), "Session-Expires"), "90;refresher=uac");
    w.a(a_asks("ACK", 3, &ok, ""));
    // 90 s less min(32 s, 90 s / 3): 60 s.
    w.pass(SECOND * 60 - Duration::from_millis(1));
    assert_eq!(w.switch.gauges().calls, 1);
    assert!(!w.whats().contains(&"Ended"));
    w.pass(Duration::from_millis(1));
    let (a, b) = (w.last_a("BYE"), w.last_b("BYE"));
    assert!(header(&b, "Reason").starts_with("SIP;cause=408"), "{b}");
    let account = w.account();
    assert_eq!(account.reason, "session timer: A did not refresh");
    assert_eq!((account.outcome, account.end_party), (Outcome::Connected, Party::Timeout));
    assert_eq!(account.times.end, Some(w.now));
    w.a(b_says(200, &a, "", ""));
    w.b(b_says(200, &b, "", ""));
    w.assert_clean();
}

#[test]
fn flow_63_a_that_has_asked_in_time_is_waited_for() {
    for answered in [true, false] {
        let mut w = World::new();
        let (ok, _) = talking_with(&mut w, &says("90;refresher=uac", TIMER), "");
        w.pass(SECOND * 59);
        w.a(a_asks_with("INVITE", 2, &ok, &says("90;refresher=uac", TIMER), SDP_A));
        let asked = w.last_b("INVITE");
        w.b(b_says(100, &asked, "", ""));
        w.pass(SECOND * 30);
        assert_eq!(w.switch.gauges().calls, 1);
        assert!(!w.whats().contains(&"Ended"), "B takes its time");
        if answered {
            w.b(b_says(200, &asked, "", SDP_B));
            w.a(a_asks("ACK", 2, &ok, ""));
            w.pass(SECOND * 59);
            assert!(!w.whats().contains(&"Ended"));
        }
        w.pass(SECOND);
        assert_eq!(w.account().reason, "session timer: A did not refresh");
    }
}

#[test]
fn flow_63_a_wall_clock_that_is_put_back_delays_nothing() {
    let mut w = World::new();
    talking_with(&mut w, &says("90;refresher=uac", TIMER), "");
    w.now = Moment::new(w.now.mono, w.now.wall - 3_600_000_000_000);
    w.pass(SECOND * 59);
    assert_eq!(w.switch.gauges().calls, 1);
    // The very nanosecond of the limit.
    w.pass(SECOND);
    assert_eq!(w.account().end_party, Party::Timeout);
}

#[test]
fn flow_63_b_that_does_not_refresh_is_ended_32_seconds_early() {
    let mut w = World::new();
    talking_with(&mut w, "", &says("1800;refresher=uas", "Require: timer\r\n"));
    w.pass(SECOND * 1768 - Duration::from_millis(1));
    assert!(w.heard_a().is_empty() && w.heard_b().is_empty());
    w.pass(Duration::from_millis(1));
    w.last_a("BYE");
    w.last_b("BYE");
    assert_eq!(w.account().reason, "session timer: B did not refresh");
    w.assert_clean();
}

#[test]
fn flow_63_both_legs_are_refreshed_by_us_at_half_time() {
    let mut w = World::new();
    // A names us; B leaves it to us. Intervals of their own: 100 and 300 seconds.
    let a = says("100;refresher=uas", "Supported: timer\r\nAllow: INVITE, UPDATE\r\n");
    let (ok, _) = talking_with(&mut w, &a, &says("300;refresher=uac", ALLOWS));
    assert_eq!(header(&ok, "Session-Expires"), "100;refresher=uas");
    for round in 1..=6 {
        w.pass(SECOND * 50 - Duration::from_millis(1));
        assert!(w.heard_a().is_empty(), "round {round}");
        w.pass(Duration::from_millis(1));
        let refresh = w.last_a("UPDATE");
        assert_eq!(header(&refresh, "Session-Expires"), "100;refresher=uac");
        assert!(refresh.ends_with("\r\n\r\n"), "no description: {refresh}");
        w.a(b_says(200, &refresh, &says("100;refresher=uac", ""), "").replace(B, A));
        assert_eq!(w.heard_a(), ["UPDATE"]);
        let refreshes = w.to_b.iter().filter(|m| title(m) == "UPDATE").count();
        assert_eq!(refreshes, usize::from(round % 3 == 0), "B every 150 s");
        if round % 3 == 0 {
            let refresh = w.last_b("UPDATE");
            w.b(b_says(200, &refresh, &says("300;refresher=uac", ""), ""));
            w.to_b.clear();
        }
    }
    w.a(a_asks("BYE", 2, &ok, ""));
    let account = w.account();
    assert_eq!(account.outcome, Outcome::Connected);
    assert_eq!(account.times.end.unwrap() - account.times.agent.unwrap(), SECOND * 300);
    w.assert_clean();
}

#[test]
fn flow_63_a_refresh_that_nobody_answers_ends_the_call() {
    for (code, why) in [
        (0, "session timer: B did not answer the refresh"),
        (408, "session timer: B did not answer the refresh"),
        (481, "session timer: B knows the dialog no more"),
    ] {
        let mut w = World::new();
        talking_with(&mut w, "", &says("1800;refresher=uac", ALLOWS));
        w.pass(SECOND * 900);
        let refresh = w.last_b("UPDATE");
        if code == 0 {
            w.pass(SECOND * 31);
            assert_eq!(w.switch.gauges().calls, 1);
            w.pass(SECOND * 1);
        } else {
            w.b(b_says(code, &refresh, "", ""));
        }
        w.last_a("BYE");
        w.last_b("BYE");
        assert_eq!(w.account().reason, why);
        w.assert_clean();
    }
}

#[test]
fn flow_63_a_refresh_that_nobody_answers_is_made_good_by_another_request() {
    let mut w = World::new();
    let (ok, _) = talking_with(&mut w, "", &says("1800;refresher=uac", ALLOWS));
    w.pass(SECOND * 900);
    w.last_b("UPDATE");
    w.a(a_asks("INVITE", 2, &ok, SDP_A));
    let asked = w.last_b("INVITE");
    w.b(b_says(200, &asked, "Session-Expires: 1800;refresher=uac\r\n", SDP_B));
    w.a(a_asks("ACK", 2, &ok, ""));
    w.pass(SECOND * 60);
    assert_eq!(w.switch.gauges().calls, 1, "the peer is there");
    w.to_b.clear();
    w.pass(SECOND * 841);
    w.last_b("UPDATE");
}

#[test]
fn flow_63_a_refresh_that_only_rings_ends_at_the_limit() {
    let mut w = World::new();
    talking_with(&mut w, "", &says("300;refresher=uac", ""));
    w.pass(SECOND * 150);
    let refresh = w.last_b("INVITE");
    w.b(b_says(100, &refresh, "", ""));
    w.pass(SECOND * 118 - Duration::from_millis(1));
    assert!(!w.whats().contains(&"Ended"));
    w.pass(Duration::from_millis(1));
    assert_eq!(w.account().reason, "session timer: B did not answer the refresh");
    let bye = w.last_b("BYE");
    // Its 200 comes after all: acknowledged, and nothing else.
    w.to_b.clear();
    w.b(b_says(200, &refresh, &says("300;refresher=uac", ""), SDP_B));
    assert_eq!(w.heard_b(), ["ACK"]);
    w.b(b_says(200, &bye, "", ""));
    w.assert_clean();
}

#[test]
fn flow_63_other_refusals_keep_the_call() {
    let mut w = World::new();
    talking_with(&mut w, "", &says("300;refresher=uac", ALLOWS));
    w.pass(SECOND * 150);
    let refresh = w.last_b("UPDATE");
    w.b(b_says(503, &refresh, "Retry-After: 7 (busy)\r\n", ""));
    w.to_b.clear();
    w.pass(SECOND * 7 - Duration::from_millis(1));
    assert!(w.heard_b().is_empty());
    w.pass(Duration::from_millis(1));
    // B has forgotten how to UPDATE: the same by re-INVITE.
    let refresh = w.last_b("UPDATE");
    w.b(b_says(405, &refresh, "", ""));
    let mut waited = 0;
    for _ in 0..3 {
        let refresh = w.last_b("INVITE");
        w.b(b_says(488, &refresh, "", ""));
        w.to_b.clear();
        while w.to_b.is_empty() {
            w.pass(SECOND);
            waited += 1;
        }
    }
    // Twice half way to the limit; then we let it be for an interval and try again.
    assert_eq!(waited, 56 + 28 + 150);
    let refresh = w.last_b("INVITE");
    w.b(b_says(200, &refresh, &says("300;refresher=uac", ""), SDP_B));
    w.pass(SECOND * 60);
    assert_eq!(w.switch.gauges().calls, 1, "B is there: the call stands");
    assert!(w.heard_a().is_empty());
}

#[test]
fn flow_43_a_refresh_that_collides_waits_by_whose_the_call_id_is() {
    for (side, least, most) in [("a", 0, 2000), ("b", 2100, 4000)] {
        let mut w = World::new();
        let (timer, none) = (says("600;refresher=uas", TIMER), "".to_owned());
        let b = says("600;refresher=uac", "");
        let (a, b) = if side == "a" { (&timer, &none) } else { (&none, &b) };
        talking_with(&mut w, a, b);
        w.pass(SECOND * 300);
        if side == "a" {
            let refresh = w.last_a("INVITE");
            w.a(b_says(491, &refresh, "", "").replace(B, A));
        } else {
            let refresh = w.last_b("INVITE");
            w.b(b_says(491, &refresh, "", ""));
        }
        w.to_a.clear();
        w.to_b.clear();
        let again =
            |w: &mut World| [w.heard_a(), w.heard_b()].concat().contains(&"INVITE".to_owned());
        if least > 0 {
            w.pass(Duration::from_millis(least - 1));
            assert!(!again(&mut w), "{side} too early");
        }
        w.pass(Duration::from_millis(most - least + 1));
        assert!(again(&mut w), "{side} not at all");
    }
}

#[test]
fn flow_64_a_refresh_describes_what_was_described_before() {
    let mut w = World::new();
    let (ok, b_invite) =
        talking_with(&mut w, &says("200;refresher=uas", TIMER), &says("200;refresher=uac", ""));
    let (orders, facts) = (w.media.len(), w.facts.len());
    w.pass(SECOND * 100);
    let (to_a, to_b) = (w.last_a("INVITE"), w.last_b("INVITE"));
    let body = |text: &str| text.split("\r\n\r\n").nth(1).unwrap().to_owned();
    assert_eq!((body(&to_a), body(&to_b)), (body(&ok), body(&b_invite)), "to the byte");
    w.a(b_says(200, &to_a, &says("200;refresher=uac", ""), SDP_A).replace(B, A));
    w.b(b_says(200, &to_b, &says("200;refresher=uac", ""), SDP_B));
    assert_eq!(
        (w.heard_a(), w.heard_b()),
        (vec!["INVITE".to_owned(), "ACK".to_owned()], vec!["INVITE".to_owned(), "ACK".to_owned()])
    );
    // A's own refresh, unchanged, passes with the version that B knows.
    w.a(a_asks_with("INVITE", 2, &ok, &says("200;refresher=uas", TIMER), SDP_A));
    let asked = w.last_b("INVITE");
    assert_eq!(origin(&asked), origin(&b_invite));
    w.b(b_says(200, &asked, &says("200;refresher=uac", ""), SDP_B));
    let again = w.last_a("200 INVITE");
    assert_eq!(origin(&again), origin(&ok));
    w.a(a_asks("ACK", 2, &ok, ""));
    // Neither the relay nor the paper has heard of any of it.
    assert_eq!((w.media.len(), w.facts.len()), (orders, facts));
}

#[test]
fn flow_64_a_hold_is_refreshed_as_a_hold() {
    let mut w = World::new();
    let (ok, _) = talking_with(&mut w, "", &says("200;refresher=uac", ""));
    w.a(a_asks("INVITE", 2, &ok, &format!("{SDP_A}a=sendonly\r\n")));
    let hold = w.last_b("INVITE");
    w.b(b_says(200, &hold, &says("200;refresher=uac", ""), &format!("{SDP_B}a=recvonly\r\n")));
    w.a(a_asks("ACK", 2, &ok, ""));
    w.pass(SECOND * 100);
    let refresh = w.last_b("INVITE");
    assert!(refresh.contains("a=sendonly"), "{refresh}");
    assert_eq!(origin(&refresh), origin(&hold));
    w.b(b_says(200, &refresh, &says("200;refresher=uac", ""), &format!("{SDP_B}a=recvonly\r\n")));
    // A refused change is not what is repeated.
    w.a(a_asks("INVITE", 3, &ok, SDP_A));
    let refused = w.last_b("INVITE");
    w.b(b_says(488, &refused, "", ""));
    w.pass(SECOND * 100);
    let refresh = w.last_b("INVITE");
    assert_eq!(origin(&refresh), origin(&hold));
    w.b(b_says(200, &refresh, &says("200;refresher=uac", ""), &format!("{SDP_B}a=recvonly\r\n")));
    w.pass(SECOND * 10);
    w.a(a_asks("BYE", 4, &ok, ""));
    assert_eq!((w.account().hold_count, w.account().hold_ms), (1, 210_000));
    w.assert_clean();
}

#[test]
fn a_2xx_without_an_interval_turns_the_timer_off() {
    let mut w = World::new();
    talking_with(&mut w, "", &says("200;refresher=uac", ALLOWS));
    w.pass(SECOND * 100);
    let refresh = w.last_b("UPDATE");
    w.b(b_says(200, &refresh, "", ""));
    w.to_b.clear();
    w.pass(SECOND * 100_000);
    assert!(w.heard_b().is_empty());
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn a_challenged_refresh_is_sent_again_with_the_answer() {
    let mut w = World::with("relay", "voximplant", "agent-leg");
    w.a(invite("", SDP_A));
    let challenge = "WWW-Authenticate: Digest realm=\"b.example\", nonce=\"n\"\r\n";
    let first = w.last_b("INVITE");
    w.b(b_says(401, &first, challenge, ""));
    let second = w.last_b("INVITE");
    w.b(b_says(200, &second, &says("200;refresher=uac", ALLOWS), SDP_B));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    w.pass(SECOND * 100);
    let refresh = w.last_b("UPDATE");
    w.b(b_says(401, &refresh, challenge, ""));
    let again = w.last_b("UPDATE");
    assert!(header(&again, "Authorization").starts_with("Digest "), "{again}");
    w.b(b_says(200, &again, &says("200;refresher=uac", ""), ""));
    w.pass(SECOND * 99);
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn the_modes_say_who_is_asked_and_who_is_refused() {
    let off = "{ mode = \"off\" }";
    let mut w = node(off);
    let (ok, b_invite) = talking_with(&mut w, &says("30", TIMER), &says("200;refresher=uac", ""));
    for text in [ok, b_invite] {
        assert!(!text.contains("timer") && !text.contains("Session-Expires"), "{text}");
    }
    w.pass(SECOND * 1000);
    assert!(w.heard_a().is_empty() && w.heard_b().is_empty());

    let mut w = node("{ mode = \"accept\" }");
    let (ok, b_invite) = talking_with(&mut w, TIMER, "");
    assert_eq!(
        (header(&b_invite, "Supported").as_str(), header(&b_invite, "Session-Expires").as_str()),
        ("timer", "")
    );
    assert_eq!(
        (header(&ok, "Supported").as_str(), header(&ok, "Session-Expires").as_str()),
        ("timer", "")
    );

    let mut w = node("{ mode = \"require\", expires = 600 }");
    w.a(invite("", SDP_A));
    assert_eq!(header(&w.last_a("421 INVITE"), "Require"), "timer");
    let (ok, b_invite) = talking_with(&mut w, TIMER, &says("600;refresher=uas", ""));
    assert_eq!(header(&ok, "Session-Expires"), "600;refresher=uas");
    assert_eq!(
        (header(&b_invite, "Require").as_str(), header(&b_invite, "Session-Expires").as_str()),
        ("timer", "600")
    );
}

#[test]
fn a_required_timer_is_understood() {
    let mut w = World::new();
    w.a(invite(&says("600", "Require: timer, nothingSupportsThis\r\n"), SDP_A));
    assert_eq!(header(&w.last_a("420 INVITE"), "Unsupported"), "nothingSupportsThis");
    w.to_a.clear();
    let (ok, _) = talking_with(&mut w, &says("600", "Require: timer\r\n"), "");
    assert_eq!(header(&ok, "Session-Expires"), "600;refresher=uac");
}

#[test]
fn flow_63_and_64_the_timers_of_both_legs_outlive_a_crash() {
    let mut w = World::new();
    let (a, b) = (says("90;refresher=uac", TIMER), says("200;refresher=uac", ""));
    let (ok, b_invite) = talking_with(&mut w, &a, &b);
    w.pass(SECOND * 55);
    w.a(a_asks_with("UPDATE", 2, &ok, &a, ""));
    assert_eq!(w.restart(true).revived, 1);
    w.pass(SECOND * 45);
    let refresh = w.last_b("INVITE");
    let body = |text: &str| text.split("\r\n\r\n").nth(1).unwrap().to_owned();
    assert_eq!(body(&refresh), body(&b_invite), "to the byte, 100 s after the answer");
    w.b(b_says(200, &refresh, &b, SDP_B));
    w.last_b("ACK");
    // A's interval runs from its refresh before the crash: 60 s.
    w.pass(SECOND * 15 - Duration::from_millis(1));
    assert!(!w.whats().contains(&"Ended"));
    w.pass(Duration::from_millis(1));
    assert_eq!(w.account().reason, "session timer: A did not refresh");
}

#[test]
fn after_a_reboot_the_interval_is_told_by_the_wall_clock() {
    let mut w = World::new();
    talking_with(&mut w, &says("90;refresher=uac", TIMER), "");
    w.pass(SECOND * 20);
    w.now.mono = 5_000_000_000;
    assert_eq!(w.restart(false).revived, 1);
    // The monotonic clock began anew; 40 of the 60 seconds are left.
    w.pass(SECOND * 39);
    assert!(!w.whats().contains(&"Ended"));
    w.pass(SECOND * 60);
    assert_eq!(w.account().reason, "session timer: A did not refresh");
}
