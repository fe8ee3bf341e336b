//! A crash and what comes after it: every peer is told, every call has one account.

use std::time::Duration;

use cooee_model::account::Outcome;
use cooee_signalling::call::context::Output;

use crate::world::*;

/// The world after `kill -9` and a restart: a new switch on what the journal had.
fn restart(before: World) -> World {
    let mut after = World::new();
    after.now = before.now + Duration::from_millis(700);
    let mut out = Output::default();
    let now = after.now;
    after.switch.recover(now, &before.snapshots, true, &mut out);
    after.snapshots.clone_from(&before.snapshots);
    after.take(out);
    after
}

#[test]
fn an_answered_call_gets_bye_on_both_legs() {
    let mut w = World::new();
    talking(&mut w);
    let mut w = restart(w);
    let (a, b) = (w.last_a("BYE"), w.last_b("BYE"));
    assert_eq!(header(&b, "CSeq"), "2 BYE");
    assert!(header(&a, "To").contains("tag=ta") && header(&b, "To").contains("tag=tb"));
    assert_eq!((w.account().outcome, w.account().recovered), (Outcome::Recovered, true));
    assert!(w.account().times.agent.is_some());
    w.a(b_says(200, &a, "", ""));
    w.b(b_says(200, &b, "", ""));
    w.assert_clean();
}

#[test]
fn a_ringing_call_gets_503_and_cancel() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, "", ""));
    let mut w = restart(w);
    w.last_a("503 INVITE");
    let cancel = w.last_b("CANCEL");
    assert_eq!(header(&cancel, "Via"), header(&b_invite, "Via"));
    w.to_b.clear();
    w.b(b_says(487, &b_invite, "", ""));
    assert_eq!(w.heard_b(), ["ACK"]);
    w.assert_clean();
}

#[test]
fn a_late_answer_after_the_restart_is_acknowledged_and_ended() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, "", ""));
    let mut w = restart(w);
    w.to_b.clear();
    w.b(b_says(200, &b_invite, "", SDP_B));
    assert_eq!(w.heard_b(), ["ACK", "BYE"]);
    w.assert_clean();
}

#[test]
fn a_call_that_was_ending_has_one_account_only() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(w.whats().iter().filter(|f| **f == "Ended").count(), 1);
    let mut w = restart(w);
    assert!(!w.whats().contains(&"Ended"));
    w.last_b("BYE");
    w.pass(Duration::from_secs(60));
    assert_eq!(w.switch.gauges().calls, 0);
    assert!(w.snapshots.is_empty());
}

#[test]
fn a_damaged_snapshot_is_told_and_harms_nobody() {
    let mut w = World::new();
    talking(&mut w);
    let (call, bytes) = w.snapshots[0].clone();
    let mut fresh = World::new();
    let now = fresh.now;
    for length in 0..bytes.len() {
        let mut out = Output::default();
        fresh.switch.recover(now, &[(call, bytes[..length].to_vec())], true, &mut out);
        assert_eq!(out.notes.len(), 1, "{length}");
        assert_eq!(fresh.switch.gauges().calls, 0);
    }
}
