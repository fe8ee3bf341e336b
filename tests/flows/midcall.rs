//! What passes while a call is up.

use std::time::Duration;

use cooee_model::fact::What;
use cooee_model::media::{MediaEvent, Quality};
use cooee_signalling::switch::input::Input;

use crate::world::*;

#[test]
fn flow_78_info_passes_with_its_body() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    let digits = "Signal=5\r\nDuration=160\r\n";
    let info = a_asks("INFO", 2, &ok, digits).replace("application/sdp", "application/dtmf-relay");
    w.a(info);
    let passed = w.last_b("INFO");
    assert!(passed.ends_with(digits), "{passed}");
    assert_eq!(header(&passed, "Content-Type"), "application/dtmf-relay");
    w.b(b_says(200, &passed, "", ""));
    w.last_a("200 INFO");
}

#[test]
fn flow_81_and_83_what_is_not_passed_on() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    for (cseq, (method, code)) in (2..).zip([
        ("REFER", 603),
        ("NOTIFY", 489),
        ("MESSAGE", 405),
        ("OPTIONS", 200),
        ("JUMP", 501),
    ]) {
        w.a(a_asks(method, cseq, &ok, ""));
        w.last_a(&format!("{code} {method}"));
    }
    assert!(w.heard_b().is_empty());
}

#[test]
fn flow_93_silence_ends_the_call() {
    let mut w = World::new();
    talking(&mut w);
    let call = w.facts[0].call;
    w.pass(Duration::from_secs(60));
    w.input(Input::Media(MediaEvent::Silent { call, since: w.now }));
    w.last_a("BYE");
    w.last_b("BYE");
    assert_eq!(w.account().reason, "media timeout");
    w.assert_clean();
}

#[test]
fn bridged_is_the_later_of_both_ways() {
    use cooee_model::ids::Side;
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    let call = w.facts[0].call;
    let (first, second) = (w.now + Duration::from_millis(20), w.now + Duration::from_millis(50));
    w.input(Input::Media(MediaEvent::Forwarded { call, side: Side::B, at: first }));
    assert!(!w.whats().contains(&"Bridged"));
    w.input(Input::Media(MediaEvent::Forwarded { call, side: Side::A, at: second }));
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(w.account().times.bridge, Some(second));
}

#[test]
fn how_a_call_sounds_is_kept_as_it_was_told() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    let (call, at) = (w.facts[0].call, w.now + Duration::from_secs(5));
    let a = Quality { packets: 250, rating_10: Some(932), ..Quality::default() };
    let b = Quality { lost: 9, round_trip_us: Some(40_000), ..a };
    w.input(Input::Media(MediaEvent::Sampled { call, at, a, b }));
    let fact = w.facts.last().unwrap();
    assert_eq!((fact.at, &fact.what), (at, &What::Sampled { a, b }));
    w.a(a_asks("BYE", 2, &ok, ""));
    w.assert_clean();
    // The relay's last word may come when the call is over.
    let facts = w.facts.len();
    w.input(Input::Media(MediaEvent::Sampled { call, at, a, b }));
    assert_eq!(w.facts.len(), facts);
}

#[test]
fn media_bypassed_descriptions_cross_untouched() {
    let mut w = World::with("bypass", "generic-ip-trunk", "customer-leg");
    let (ok, b_invite) = talking(&mut w);
    assert!(b_invite.ends_with(SDP_A) && ok.ends_with(SDP_B));
    assert!(w.media.is_empty());
    w.a(a_asks("BYE", 2, &ok, ""));
    w.assert_clean();
}
