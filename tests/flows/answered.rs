//! Between the 2xx and the ACK, and how a call that stands is ended: rows 28 to 38.

use std::time::Duration;

use cooee_model::account::{Outcome, Party};
use cooee_model::ids::Side;
use cooee_model::media::MediaEvent;
use cooee_signalling::switch::input::Input;

use crate::world::*;

const SECOND: Duration = Duration::from_secs(1);

/// B has answered, A has not acknowledged: A's 200 and B's INVITE.
fn answered(w: &mut World) -> (String, String) {
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    w.to_a.clear();
    w.to_b.clear();
    (ok, b_invite)
}

fn count(w: &World, what: &str) -> usize {
    w.whats().iter().filter(|w| **w == what).count()
}

#[test]
fn flow_28_the_200_comes_again_until_the_ack() {
    let mut w = World::new();
    let (ok, _) = answered(&mut w);
    // T1, 2*T1, 4*T1 and then T2: at 0.5, 1.5, 3.5, 7.5, 11.5 seconds.
    for (until, copies) in [(499, 0), (501, 1), (1501, 2), (3501, 3), (7501, 4), (11_501, 5)] {
        let mut fresh = World::new();
        answered(&mut fresh);
        fresh.pass(Duration::from_millis(until));
        assert_eq!(fresh.heard_a().len(), copies, "after {until} ms");
    }
    w.pass(SECOND * 5);
    w.to_a.clear();
    w.a(a_asks("ACK", 1, &ok, ""));
    w.pass(SECOND * 60);
    assert!(w.heard_a().is_empty(), "an acknowledged 200 is not sent again");
    // Without an ACK the copies stop at 64*T1, where the call ends.
    let mut w = World::new();
    answered(&mut w);
    w.pass(SECOND * 32);
    let copies = |w: &mut World| w.heard_a().iter().filter(|t| *t == "200 INVITE").count();
    assert_eq!(copies(&mut w), 10);
    w.pass(SECOND * 60);
    assert_eq!(copies(&mut w), 0);
    assert_eq!(w.account().reason, "ack timeout");
}

#[test]
fn flow_30_a_late_ack_keeps_the_call_and_bridges_once() {
    let mut w = World::new();
    let (ok, _) = answered(&mut w);
    let call = w.facts[0].call;
    w.pass(SECOND * 5);
    w.a(a_asks("ACK", 1, &ok, ""));
    w.a(a_asks("ACK", 1, &ok, ""));
    for side in [Side::A, Side::B, Side::A] {
        let at = w.now;
        w.input(Input::Media(MediaEvent::Forwarded { call, side, at }));
    }
    w.pass(SECOND * 60);
    assert_eq!(w.switch.gauges().calls, 1);
    assert_eq!((count(&w, "Bridged"), count(&w, "AgentAnswered")), (1, 1));
    w.to_b.clear();
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(w.heard_b(), ["BYE"]);
    assert_eq!(w.account().outcome, Outcome::Connected);
    w.assert_clean();
}

#[test]
fn flow_32_a_200_that_comes_again_is_acknowledged_and_begins_nothing() {
    let mut w = World::new();
    let (ok, b_invite) = answered(&mut w);
    w.a(a_asks("ACK", 1, &ok, ""));
    let facts = w.facts.len();
    // The transaction stays in Accepted for 64*T1 (RFC 6026, 7.2).
    for _ in 0..3 {
        w.pass(SECOND * 10);
        w.b(b_says(200, &b_invite, "", SDP_B));
        let ack = w.last_b("ACK");
        assert_eq!(header(&ack, "CSeq"), header(&b_invite, "CSeq").replace("INVITE", "ACK"));
        assert_eq!(w.heard_b(), ["ACK"]);
    }
    assert!(w.heard_a().is_empty());
    assert_eq!((w.facts.len(), w.switch.gauges().calls), (facts, 1));
}

#[test]
fn flow_33_a_stray_200_is_dropped() {
    let mut w = World::new();
    let (ok, b_invite) = answered(&mut w);
    w.a(a_asks("ACK", 1, &ok, ""));
    let branch = header(&b_invite, "Via").split("branch=").nth(1).unwrap().to_owned();
    let branch = branch.split(';').next().unwrap().to_owned();
    let (rest, last) = branch.split_at(branch.len() - 1);
    let other = format!("{rest}{}", if last == "f" { "0" } else { "f" });
    for unknown in ["z9hG4bKnever", other.as_str(), ""] {
        let stray = b_says(200, &b_invite, "", SDP_B).replace(&branch, unknown);
        w.b(stray);
    }
    // Ours, but its transaction is over: 64*T1 after the first 2xx.
    w.pass(SECOND * 33);
    w.b(b_says(200, &b_invite, "", SDP_B));
    assert_eq!((w.heard_a(), w.heard_b()), (vec![], vec![]));
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn flow_34_a_bye_of_no_dialog_is_481() {
    let mut w = World::new();
    let (ok, b_invite) = talking(&mut w);
    w.a(a_asks("BYE", 2, &ok.replace("tag=", "tag=0"), ""));
    w.last_a("481 BYE");
    w.b(b_asks("BYE", 1, &b_invite.replace("Call-ID: ", "Call-ID: x"), ""));
    w.last_b("481 BYE");
    assert_eq!((w.switch.gauges().calls, count(&w, "Ended")), (1, 0));
}

#[test]
fn flow_35_both_get_200_where_bye_crosses_bye() {
    let mut w = World::new();
    let (ok, b_invite) = talking(&mut w);
    w.a(a_asks("BYE", 2, &ok, ""));
    let bye = w.last_b("BYE");
    w.b(b_asks("BYE", 1, &b_invite, ""));
    assert_eq!(
        (w.heard_a(), w.heard_b()),
        (vec!["200 BYE".to_owned()], vec!["BYE".to_owned(), "200 BYE".to_owned()])
    );
    w.b(b_says(481, &bye, "", ""));
    w.assert_clean();
    assert_eq!(w.account().end_party, Party::Dialer);
}

#[test]
fn flow_36_a_bye_before_the_ack_is_answered_and_b_is_up_no_more() {
    let mut w = World::new();
    let (ok, _) = answered(&mut w);
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!((w.heard_a(), w.heard_b()), (vec!["200 BYE".to_owned()], vec!["BYE".to_owned()]));
    w.pass(SECOND * 40);
    assert!(!w.heard_a().contains(&"BYE".to_owned()), "A has hung up by itself");
    w.assert_clean();
}

#[test]
fn flow_38_an_unanswered_bye_is_given_up_after_64_t1_and_counted_once() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(count(&w, "Ended"), 1);
    w.pass(Duration::from_millis(31_999));
    let byes = w.heard_b().len();
    assert_eq!(byes, 11, "at 0, 0.5, 1.5, 3.5, 7.5 and every 4 s to 31.5");
    assert_eq!(w.switch.gauges().calls, 1);
    w.pass(Duration::from_millis(2));
    assert_eq!((w.switch.gauges().calls, count(&w, "Ended")), (0, 1));
    w.assert_clean();
}
