//! Row 80: digits between INFO on one leg and events in the RTP of the other.

use std::time::Duration;

use cooee_model::ids::Side;
use cooee_model::media::{Events, MediaCommand, MediaEvent};
use cooee_signalling::profile::rules::Dtmf;
use cooee_signalling::switch::input::Input;

use crate::world::*;

const EVENTS: &str = "a=rtpmap:101 telephone-event/8000\r\n";

/// A description without events.
fn plain(sdp: &str) -> String {
    sdp.replace("RTP/AVP 8 101", "RTP/AVP 8").replace(EVENTS, "")
}

/// The trunk at this place sends and takes digits by INFO.
fn by_info(trunk: usize) -> World {
    let mut w = World::new();
    w.profile(trunk, |profile| profile.media.dtmf = Dtmf::Info);
    w
}

/// The call comes up with these descriptions: A's 200 and B's INVITE.
fn up(w: &mut World, a: &str, b: &str) -> (String, String) {
    w.a(invite("", a));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, "", b));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    w.to_a.clear();
    w.to_b.clear();
    (ok, b_invite)
}

fn as_info(request: String) -> String {
    request.replace("application/sdp", "application/dtmf-relay")
}

/// How the relay was told that digits travel, last.
fn told(w: &World) -> Option<(Side, Option<Events>)> {
    w.media.iter().rev().find_map(|c| match *c {
        MediaCommand::Digits { side, events, .. } => Some((side, events)),
        _ => None,
    })
}

fn pressed(w: &World) -> Vec<(u8, u128)> {
    let press = |c: &MediaCommand| match *c {
        MediaCommand::Press { event, held, .. } => Some((event, held.as_millis())),
        _ => None,
    };
    w.media.iter().filter_map(press).collect()
}

/// A key is pressed in the RTP of a side.
fn press(w: &mut World, side: Side, event: u8) {
    let (call, held) = (w.facts[0].call, Duration::from_millis(120));
    w.input(Input::Media(MediaEvent::Pressed { call, side, event, held }));
}

fn says_events(message: &str) -> bool {
    message.contains(" RTP/AVP 8 101\r\n") && message.contains(EVENTS)
}

#[test]
fn flow_80_an_info_of_b_is_one_press_towards_a() {
    let mut w = by_info(1);
    let (ok, b_invite) = up(&mut w, SDP_A, &plain(SDP_B));
    assert!(!b_invite.contains("101") && !b_invite.contains("telephone-event"), "{b_invite}");
    assert!(says_events(&ok), "{ok}");
    let events = Events { theirs: 101, ours: 101, clock_hz: 8000 };
    assert_eq!(told(&w), Some((Side::A, Some(events))));
    let info = as_info(b_asks("INFO", 1, &b_invite, "Signal=5\r\nDuration=160\r\n"));
    w.b(info.clone());
    w.b(info);
    assert_eq!(w.heard_b(), ["200 INFO", "200 INFO"], "the copy is answered as the first");
    assert_eq!(pressed(&w), [(5, 160)]);
    w.b(as_info(b_asks("INFO", 2, &b_invite, "Signal=#\r\n")));
    assert_eq!(pressed(&w), [(5, 160), (11, 160)]);
    assert!(w.heard_a().is_empty());
    // What is no press passes as it is.
    w.b(as_info(b_asks("INFO", 3, &b_invite, "Hello\r\n")));
    assert_eq!(w.heard_a(), ["INFO"]);
    assert_eq!(pressed(&w).len(), 2);
}

#[test]
fn flow_80_presses_of_a_are_told_to_b_one_after_the_other() {
    let mut w = by_info(1);
    let (ok, _) = up(&mut w, SDP_A, &plain(SDP_B));
    for event in [5, 11, 12] {
        press(&mut w, Side::A, event);
    }
    for (signal, code) in [("5", 200), ("#", 415), ("A", 200)] {
        let info = w.last_b("INFO");
        assert_eq!(w.heard_b(), ["INFO"], "one at a time");
        assert!(info.ends_with(&format!("\r\n\r\nSignal={signal}\r\nDuration=120\r\n")), "{info}");
        assert_eq!(header(&info, "Content-Type"), "application/dtmf-relay");
        w.b(b_says(code, &info, "", ""));
    }
    assert!(w.heard_b().is_empty() && w.heard_a().is_empty());
    // Lost, it is sent again until it is answered.
    press(&mut w, Side::A, 0);
    w.pass(Duration::from_millis(600));
    assert_eq!(w.heard_b(), ["INFO", "INFO"]);
    w.a(a_asks("BYE", 2, &ok, ""));
    w.b(b_says(200, &w.last_b("BYE"), "", ""));
    w.assert_clean();
}

#[test]
fn flow_80_a_by_info_and_b_by_events_with_numbers_of_its_own() {
    let mut w = by_info(0);
    let theirs = SDP_B.replace("101", "96");
    let (ok, b_invite) = up(&mut w, &plain(SDP_A), &theirs);
    assert!(says_events(&b_invite), "offered to B, though A has none: {b_invite}");
    assert!(!ok.contains("telephone-event") && !ok.contains("96"), "{ok}");
    let events = Events { theirs: 96, ours: 101, clock_hz: 8000 };
    assert_eq!(told(&w), Some((Side::B, Some(events))));
    w.a(as_info(a_asks("INFO", 2, &ok, "Signal=1\r\nDuration=90\r\n")));
    assert_eq!(w.heard_a(), ["200 INFO"]);
    assert_eq!(pressed(&w), [(1, 90)]);
    press(&mut w, Side::B, 7);
    assert!(w.last_a("INFO").ends_with("Signal=7\r\nDuration=120\r\n"));
    // A later offer keeps the number, and is no news to the relay.
    let orders = w.media.len();
    w.a(a_asks("INVITE", 3, &ok, &format!("{}a=sendonly\r\n", plain(SDP_A))));
    let hold = w.last_b("INVITE");
    assert!(says_events(&hold), "{hold}");
    w.b(b_says(200, &hold, "", &theirs));
    assert!(!w.media[orders..].iter().any(|c| matches!(c, MediaCommand::Digits { .. })));
}

#[test]
fn flow_80_without_events_in_the_answer_info_passes_as_it_is() {
    let mut w = by_info(0);
    let (ok, _) = up(&mut w, &plain(SDP_A), &plain(SDP_B));
    assert_eq!(told(&w), None);
    w.a(as_info(a_asks("INFO", 2, &ok, "Signal=1\r\nDuration=90\r\n")));
    assert!(w.last_b("INFO").ends_with("Signal=1\r\nDuration=90\r\n"));
    assert!(pressed(&w).is_empty());
    // Nor where both profiles say the same: row 78.
    let mut w = by_info(0);
    w.profile(1, |profile| profile.media.dtmf = Dtmf::Info);
    let (_, b_invite) = up(&mut w, SDP_A, SDP_B);
    assert!(says_events(&b_invite));
    assert_eq!(told(&w), None);
}

#[test]
fn flow_80_a_press_before_the_call_is_up_waits_for_it() {
    let mut w = by_info(1);
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, "", &plain(SDP_B)));
    assert!(told(&w).is_some());
    press(&mut w, Side::A, 3);
    w.b(b_says(200, &b_invite, "", &plain(SDP_B)));
    assert!(!w.heard_b().contains(&"INFO".to_owned()));
    w.a(a_asks("ACK", 1, &w.last_a("200 INVITE"), ""));
    assert_eq!(w.heard_b(), ["INFO"]);
}

#[test]
fn flow_80_a_lost_dialog_and_silence_end_the_call() {
    for code in [Some(481), None] {
        let mut w = by_info(1);
        up(&mut w, SDP_A, &plain(SDP_B));
        press(&mut w, Side::A, 3);
        let info = w.last_b("INFO");
        match code {
            Some(code) => w.b(b_says(code, &info, "", "")),
            None => w.pass(Duration::from_secs(33)),
        }
        w.last_a("BYE");
        assert!(w.account().reason.starts_with("dialog lost on B"), "{}", w.account().reason);
    }
}

#[test]
fn flow_80_digits_travel_on_after_a_crash() {
    let mut w = by_info(0);
    let theirs = SDP_B.replace("101", "96");
    let (ok, _) = up(&mut w, &plain(SDP_A), &theirs);
    let (plan, had) = (w.switch.plan().clone(), told(&w));
    w.media.clear();
    assert_eq!(w.restart_with(|node| node.plan = plan).revived, 1);
    assert_eq!(told(&w), had);
    let info = as_info(a_asks("INFO", 2, &ok, "Signal=1\r\nDuration=90\r\n"));
    w.a(info.clone());
    w.last_a("200 INFO");
    assert_eq!(pressed(&w), [(1, 90)]);
    // A press that was ordered before a crash is not ordered again by its copy after it.
    let plan = w.switch.plan().clone();
    assert_eq!(w.restart_with(|node| node.plan = plan).revived, 1);
    w.a(info);
    w.a(as_info(a_asks("INFO", 3, &ok, "Signal=2\r\nDuration=90\r\n")));
    assert_eq!(pressed(&w), [(1, 90), (2, 90)]);
}

#[test]
fn flow_80_the_next_try_agrees_anew() {
    const ONE: &str = "[\"udp:198.51.100.20:5060\"]";
    const TWO: &str = "[\"198.51.100.20:5060\", \"198.51.100.22:5060\"]";
    let mut w = World::changed(&[(ONE, TWO)]);
    w.profile(0, |profile| profile.media.dtmf = Dtmf::Info);
    w.a(invite("", &plain(SDP_A)));
    let first = w.last_b("INVITE");
    w.b(b_says(183, &first, "", SDP_B));
    assert!(matches!(told(&w), Some((Side::B, Some(_)))));
    w.b(b_says(503, &first, "", ""));
    assert_eq!(told(&w), Some((Side::B, None)), "the second has named none");
    let second = w.last_at(B2, "INVITE");
    assert!(says_events(&second), "{second}");
    // Late, it is of the first: nobody hears of it.
    press(&mut w, Side::B, 4);
    let there = |text: String| text.replace("sip:b@198.51.100.20:5060", &format!("sip:b@{B2}"));
    w.from(B2, there(b_says(200, &second, "", &plain(SDP_B))));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    assert_eq!(told(&w), Some((Side::B, None)));
    assert!(!w.heard_a().contains(&"INFO".to_owned()));
    w.a(as_info(a_asks("INFO", 2, &ok, "Signal=1\r\nDuration=90\r\n")));
    assert!(w.last_at(B2, "INFO").ends_with("Signal=1\r\nDuration=90\r\n"));
    assert!(pressed(&w).is_empty());
}
