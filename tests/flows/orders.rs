//! What an operator tells trunks while calls are up.

use std::time::Duration;

use cooee_model::command::{Command, Leave};
use cooee_model::fact::Refusal;
use cooee_signalling::switch::input::Input;

use crate::world::*;

fn tell(w: &mut World, trunk: &str, leave: Leave) {
    w.input(Input::Command(Command::Trunk { name: trunk.to_owned(), leave }));
}

fn another_invite(n: u32) -> String {
    let text = invite("", SDP_A).replace("call-a", &format!("call-{n}"));
    text.replace("z9hG4bKa1", &format!("z9hG4bKn{n}"))
}

#[test]
fn a_disabled_trunk_is_refused_and_its_call_goes_on() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    tell(&mut w, "a", Leave::Disabled);
    w.a(another_invite(2));
    assert_eq!(w.heard_a(), ["403 INVITE"]);
    assert_eq!(w.rejected.last().map(|r| r.why), Some(Refusal::Disabled));
    assert!(w.heard_b().is_empty());
    w.a(a_asks("BYE", 2, &ok, ""));
    let bye = w.last_b("BYE");
    w.b(b_says(200, &bye, "", ""));
    w.last_a("200 BYE");
    w.assert_clean();
    tell(&mut w, "a", Leave::Enabled);
    w.to_a.clear();
    w.a(another_invite(3));
    w.last_b("INVITE");
}

#[test]
fn a_draining_trunk_asks_its_caller_to_come_again() {
    let mut w = World::new();
    tell(&mut w, "a", Leave::Draining);
    w.a(invite("", SDP_A));
    let refused = w.last_a("503 INVITE");
    assert_ne!(header(&refused, "Retry-After"), "");
    assert!(w.heard_b().is_empty());
}

#[test]
fn nobody_is_called_on_a_trunk_that_rests() {
    for leave in [Leave::Draining, Leave::Disabled] {
        let mut w = World::new();
        tell(&mut w, "b", leave);
        w.a(invite("", SDP_A));
        w.last_a("503 INVITE");
        assert!(w.heard_b().is_empty());
    }
}

#[test]
fn the_word_holds_across_a_reload() {
    let mut w = World::new();
    tell(&mut w, "b", Leave::Disabled);
    w.reload(|text| text);
    w.a(invite("", SDP_A));
    w.last_a("503 INVITE");
    w.pass(Duration::from_secs(60));
    assert!(w.heard_b().is_empty());
}

#[test]
fn flow_99_a_drain_refuses_new_calls_and_pings_and_lets_the_call_run_to_its_end() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.input(Input::Command(Command::Drain));
    w.a(another_invite(2));
    assert_eq!(w.heard_a(), ["503 INVITE"]);
    assert_eq!(w.rejected.last().map(|r| r.why), Some(Refusal::Draining));
    w.a(another_invite(3).replace("INVITE", "OPTIONS"));
    assert_eq!(w.heard_a(), ["503 OPTIONS"]);
    w.pass(Duration::from_secs(20));
    assert!(w.heard_b().is_empty());
    w.a(a_asks("BYE", 2, &ok, ""));
    let bye = w.last_b("BYE");
    w.b(b_says(200, &bye, "", ""));
    w.last_a("200 BYE");
    w.assert_clean();
}

#[test]
fn a_drain_is_taken_back_unless_the_process_is_to_end() {
    let mut w = World::new();
    let order = |w: &mut World, order| w.input(Input::Command(order));
    order(&mut w, Command::Undrain);
    order(&mut w, Command::Drain);
    w.a(another_invite(2));
    assert_eq!(w.heard_a(), ["503 INVITE"]);
    order(&mut w, Command::Undrain);
    w.a(another_invite(3));
    assert_eq!(w.heard_a(), ["100 INVITE"]);
    w.a(another_invite(4).replace("INVITE", "OPTIONS"));
    assert_eq!(w.heard_a(), ["200 OPTIONS"]);
    for last in [Command::Undrain, Command::Drain, Command::Undrain] {
        order(&mut w, Command::End);
        order(&mut w, last);
        w.a(another_invite(5));
        assert_eq!(w.heard_a(), ["503 INVITE"]);
    }
}
