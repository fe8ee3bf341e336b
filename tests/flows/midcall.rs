//! What passes while a call is up.

use std::time::Duration;

use cooee_model::media::{MediaCommand, MediaEvent};
use cooee_signalling::switch::input::Input;

use crate::world::*;

fn held(sdp: &str) -> String {
    format!("{sdp}a=sendonly\r\n")
}

#[test]
fn flow_41_hold_and_resume_pass_and_are_measured() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("INVITE", 2, &ok, &held(SDP_A)));
    let hold = w.last_b("INVITE");
    assert!(hold.contains("a=sendonly") && hold.contains("o=- "), "{hold}");
    w.b(b_says(200, &hold, "", &SDP_B.replace("m=audio", "a=recvonly\r\nm=audio")));
    w.last_a("200 INVITE");
    w.a(a_asks("ACK", 2, &ok, ""));
    assert!(w.media.contains(&MediaCommand::Hold { call: w.facts[0].call, held: true }));
    w.pass(Duration::from_secs(8));
    w.a(a_asks("INVITE", 3, &ok, SDP_A));
    let resume = w.last_b("INVITE");
    w.b(b_says(200, &resume, "", SDP_B));
    w.a(a_asks("ACK", 3, &ok, ""));
    w.a(a_asks("BYE", 4, &ok, ""));
    assert_eq!((w.account().hold_ms, w.account().hold_count), (8000, 1));
    let version = |text: &str| text.lines().find(|l| l.starts_with("o=")).unwrap().to_owned();
    assert_ne!(version(&hold), version(&resume));
    w.assert_clean();
}

#[test]
fn flow_40_b_may_ask_too() {
    let mut w = World::new();
    let (_, b_invite) = talking(&mut w);
    w.b(b_asks("INVITE", 1, &b_invite, &held(SDP_B)));
    let asked = w.last_a("INVITE");
    w.a(b_says(200, &asked, "", SDP_A).replace(B, A));
    assert!(w.heard_a().contains(&"ACK".to_owned()));
    w.last_b("200 INVITE");
    w.b(b_asks("ACK", 1, &b_invite, ""));
    assert!(w.whats().contains(&"Held"));
}

#[test]
fn flow_42_a_refused_reinvite_leaves_the_call_up() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("INVITE", 2, &ok, &held(SDP_A)));
    let asked = w.last_b("INVITE");
    w.b(b_says(488, &asked, "", ""));
    w.last_a("488 INVITE");
    assert_eq!(w.switch.gauges().calls, 1);
    assert!(!w.whats().contains(&"Held"));
}

#[test]
fn flow_43_glare_is_491_and_flow_44_a_second_one_is_500() {
    let mut w = World::new();
    let (ok, b_invite) = talking(&mut w);
    w.a(a_asks("INVITE", 2, &ok, SDP_A));
    w.b(b_asks("INVITE", 1, &b_invite, SDP_B));
    w.last_b("491 INVITE");
    w.a(a_asks("INVITE", 3, &ok, SDP_A));
    let again = w.last_a("500 INVITE");
    assert!(header(&again, "Retry-After").parse::<u32>().unwrap() <= 10);
}

#[test]
fn flow_48_reinvite_without_sdp_is_answered_in_the_ack() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("INVITE", 2, &ok, ""));
    let asked = w.last_b("INVITE");
    w.b(b_says(200, &asked, "", SDP_B));
    let offer = w.last_a("200 INVITE");
    assert!(offer.contains("m=audio 100"));
    assert!(!w.heard_b().contains(&"ACK".to_owned()));
    w.a(a_asks("ACK", 2, &offer, SDP_A));
    assert!(w.last_b("ACK").contains("m=audio 100"));
}

#[test]
fn flow_39_a_lost_dialog_ends_the_call() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("INVITE", 2, &ok, SDP_A));
    let asked = w.last_b("INVITE");
    w.b(b_says(481, &asked, "", ""));
    w.last_a("481 INVITE");
    w.last_a("BYE");
    w.assert_clean();
}

#[test]
fn flow_45_and_34_after_the_end_there_is_no_dialog() {
    let mut w = World::new();
    let (ok, b_invite) = talking(&mut w);
    w.a(a_asks("BYE", 2, &ok, ""));
    let bye = w.last_b("BYE");
    w.b(b_says(200, &bye, "", ""));
    w.to_a.clear();
    w.a(a_asks("INVITE", 3, &ok, SDP_A));
    assert_eq!(w.heard_a(), ["481 INVITE"]);
    w.b(b_asks("BYE", 1, &b_invite, ""));
    w.last_b("481 BYE");
}

#[test]
fn flow_49_requests_out_of_order_are_500() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("INFO", 9, &ok, ""));
    w.to_a.clear();
    w.a(a_asks("INFO", 5, &ok, ""));
    w.last_a("500 INFO");
}

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
fn media_bypassed_descriptions_cross_untouched() {
    let mut w = World::with("bypass", "generic-ip-trunk", "customer-leg");
    let (ok, b_invite) = talking(&mut w);
    assert!(b_invite.ends_with(SDP_A) && ok.ends_with(SDP_B));
    assert!(w.media.is_empty());
    w.a(a_asks("BYE", 2, &ok, ""));
    w.assert_clean();
}
