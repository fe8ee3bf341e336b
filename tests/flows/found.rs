//! What the simulation has found, each in its smallest form.

use std::time::Duration;

use crate::world::*;

#[test]
fn flow_17_a_100_that_a_ringing_has_overtaken_is_no_moment() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.pass(Duration::from_millis(100));
    w.b(b_says(180, &b_invite, "", ""));
    w.pass(Duration::from_millis(100));
    w.b(b_says(100, &b_invite, "", ""));
    w.b(b_says(486, &b_invite, "", ""));
    let times = &w.account().times;
    assert!(times.b_18x.is_some() && times.b_100.is_none(), "{times:?}");
}

#[test]
fn flow_49_a_copy_of_a_late_request_hears_the_same_when_the_call_is_over() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("INFO", 5, &ok, ""));
    let late = a_asks("INFO", 4, &ok, "");
    w.a(late.clone());
    w.a(a_asks("BYE", 6, &ok, ""));
    w.b(b_says(200, &w.last_b("BYE"), "", ""));
    w.a(late);
    assert_eq!(w.heard_a(), ["500 INFO", "487 INFO", "200 BYE", "500 INFO"]);
}

#[test]
fn flow_47_a_reinvite_that_was_only_tried_leaves_nothing_behind() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("INVITE", 2, &ok, SDP_A));
    let across = w.last_b("INVITE");
    w.b(b_says(100, &across, "", ""));
    w.a(a_asks("BYE", 3, &ok, ""));
    w.a(a_asks("ACK", 2, &ok, "").replace("z9hG4bKaACK2", "z9hG4bKaINVITE2"));
    w.b(b_says(200, &w.last_b("BYE"), "", ""));
    w.assert_clean();
}

#[test]
fn flow_30_before_its_ack_a_hears_nothing_but_its_answer() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, "", SDP_B));
    w.heard_a();
    w.b(b_asks("INFO", 1, &b_invite, ""));
    w.last_b("491 INFO");
    assert!(w.heard_a().is_empty());
}
#[test]
fn a_2xx_that_crossed_the_cancel_is_ended_whatever_its_bye_needs() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, "", ""));
    w.a(a_cancels());
    w.pass(Duration::from_secs(28));
    w.b(b_says(200, &b_invite, "", SDP_B));
    let bye = w.last_b("BYE");
    // 64*T1 after the CANCEL, and the BYE is still sent again.
    w.pass(Duration::from_secs(10));
    assert_eq!(w.switch.gauges().calls, 1);
    w.b(b_says(200, &bye, "", ""));
    assert_eq!(w.switch.gauges().calls, 0);
}
