//! re-INVITE: rows 39 to 49.

use std::time::Duration;

use cooee_model::account::Outcome;
use cooee_model::ids::Side;
use cooee_model::media::MediaCommand;

use crate::world::*;

const SECOND: Duration = Duration::from_secs(1);

fn with(sdp: &str, attribute: &str) -> String {
    format!("{sdp}a={attribute}\r\n")
}

fn version(text: &str) -> u64 {
    let origin = text.lines().find(|l| l.starts_with("o=")).unwrap();
    origin.split(' ').nth(2).unwrap().parse().unwrap()
}

/// Where the relay was last told that a side listens.
fn listens(w: &World, side: Side) -> Option<String> {
    w.media.iter().rev().find_map(|c| match c {
        MediaCommand::Peer { side: s, media, .. } if *s == side => {
            Some(media.as_ref().map(|m| m.rtp.to_string()).unwrap_or_default())
        }
        _ => None,
    })
}

#[test]
fn flow_39_a_lost_dialog_ends_both_legs() {
    for code in [408, 481] {
        let mut w = World::new();
        let (ok, _) = talking(&mut w);
        w.a(a_asks("INVITE", 2, &ok, SDP_A));
        let asked = w.last_b("INVITE");
        w.b(b_says(code, &asked, "", ""));
        w.last_a(&format!("{code} INVITE"));
        let (a, b) = (w.last_a("BYE"), w.last_b("BYE"));
        assert_eq!(w.account().reason, format!("dialog lost on B: {code}"));
        w.a(b_says(200, &a, "", ""));
        w.b(b_says(481, &b, "", ""));
        w.assert_clean();
    }
}

#[test]
fn flow_39_silence_on_a_reinvite_ends_both_legs_too() {
    let mut w = World::new();
    let (_, b_invite) = talking(&mut w);
    w.b(b_asks("INVITE", 1, &b_invite, SDP_B));
    w.pass(SECOND * 33);
    w.last_b("408 INVITE");
    w.last_a("BYE");
    w.last_b("BYE");
    w.assert_clean();
}

#[test]
fn flow_40_a_reinvite_of_a_moves_its_media() {
    let mut w = World::new();
    let (ok, b_invite) = talking(&mut w);
    let moved = SDP_A.replace("192.0.2.11", "192.0.2.12").replace("6000", "6100");
    w.a(a_asks("INVITE", 2, &ok, &moved));
    assert_eq!(listens(&w, Side::A).as_deref(), Some("192.0.2.11:6000"), "not before the answer");
    let asked = w.last_b("INVITE");
    assert!(!asked.contains("192.0.2.12"), "{asked}");
    let same = |text: &str| text.lines().find(|l| l.starts_with("m=audio")).unwrap().to_owned();
    assert_eq!(same(&asked), same(&b_invite), "our port stays");
    w.b(b_says(200, &asked, "", &SDP_B.replace("7000", "7100")));
    assert_eq!(header(&w.last_b("ACK"), "CSeq"), "2 ACK");
    assert_eq!(listens(&w, Side::A).as_deref(), Some("192.0.2.12:6100"));
    assert_eq!(listens(&w, Side::B).as_deref(), Some("198.51.100.21:7100"));
    let again = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 2, &again, ""));
    w.pass(SECOND * 60);
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn flow_40_a_reinvite_of_b_passes_to_a() {
    let mut w = World::new();
    let (_, b_invite) = talking(&mut w);
    w.b(b_asks("INVITE", 1, &b_invite, &SDP_B.replace("7000", "7200")));
    assert_eq!(w.heard_b(), ["100 INVITE"]);
    let asked = w.last_a("INVITE");
    assert_eq!(header(&asked, "CSeq"), "1 INVITE");
    w.a(b_says(200, &asked, "", SDP_A).replace(B, A));
    assert!(w.heard_a().contains(&"ACK".to_owned()));
    w.last_b("200 INVITE");
    w.b(b_asks("ACK", 1, &b_invite, ""));
    assert_eq!(listens(&w, Side::B).as_deref(), Some("198.51.100.21:7200"));
    w.pass(SECOND * 60);
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn flow_41_hold_and_resume_pass_in_each_form() {
    let forms = [
        (with(SDP_A, "sendonly"), "a=sendonly", with(SDP_B, "recvonly"), "a=recvonly"),
        (with(SDP_A, "inactive"), "a=inactive", with(SDP_B, "inactive"), "a=inactive"),
        (
            SDP_A.replace("c=IN IP4 192.0.2.11", "c=IN IP4 0.0.0.0"),
            "c=IN IP4 0.0.0.0",
            SDP_B.to_owned(),
            "m=audio",
        ),
    ];
    for (hold, told, answer, back) in forms {
        let mut w = World::new();
        let (ok, b_invite) = talking(&mut w);
        w.a(a_asks("INVITE", 2, &ok, &hold));
        let asked = w.last_b("INVITE");
        assert!(asked.contains(told), "{asked}");
        assert_eq!(version(&asked), version(&b_invite) + 1);
        w.b(b_says(200, &asked, "", &answer));
        assert!(w.last_a("200 INVITE").contains(back));
        w.a(a_asks("ACK", 2, &ok, ""));
        assert!(w.media.contains(&MediaCommand::Hold { call: w.facts[0].call, held: true }));
        w.pass(SECOND * 8);
        w.a(a_asks("INVITE", 3, &ok, SDP_A));
        let resume = w.last_b("INVITE");
        assert_eq!(version(&resume), version(&asked) + 1);
        w.b(b_says(200, &resume, "", SDP_B));
        w.a(a_asks("ACK", 3, &ok, ""));
        assert_eq!(listens(&w, Side::A).as_deref(), Some("192.0.2.11:6000"));
        w.a(a_asks("BYE", 4, &ok, ""));
        assert_eq!((w.account().hold_ms, w.account().hold_count), (8000, 1));
        w.assert_clean();
    }
}

#[test]
fn flow_42_a_refused_reinvite_leaves_everything_as_it_was() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    let before = (listens(&w, Side::A), listens(&w, Side::B));
    w.a(a_asks("INVITE", 2, &ok, &with(SDP_A, "sendonly").replace("6000", "6100")));
    let asked = w.last_b("INVITE");
    w.b(b_says(488, &asked, "", ""));
    w.last_a("488 INVITE");
    w.a(a_asks("ACK", 2, &ok, "").replace("z9hG4bKaACK2", "z9hG4bKaINVITE2"));
    w.pass(SECOND * 60);
    assert_eq!(w.switch.gauges().calls, 1);
    assert!(!w.whats().contains(&"Held"));
    assert_eq!((listens(&w, Side::A), listens(&w, Side::B)), before);
}

#[test]
fn flow_43_reinvites_that_cross_are_491() {
    let mut w = World::new();
    let (ok, b_invite) = talking(&mut w);
    w.a(a_asks("INVITE", 2, &ok, SDP_A));
    w.b(b_asks("INVITE", 1, &b_invite, SDP_B));
    w.last_b("491 INVITE");
    // B's own 491 to ours goes to A, whose timer decides when it tries again.
    let asked = w.last_b("INVITE");
    w.b(b_says(491, &asked, "", ""));
    w.last_a("491 INVITE");
    w.pass(SECOND);
    w.a(a_asks("INVITE", 3, &ok, SDP_A));
    let again = w.last_b("INVITE");
    assert_ne!(header(&again, "CSeq"), header(&asked, "CSeq"));
    w.b(b_says(200, &again, "", SDP_B));
    w.last_a("200 INVITE");
}

#[test]
fn flow_44_a_second_one_is_500_with_retry_after() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("INVITE", 2, &ok, SDP_A));
    w.a(a_asks("INVITE", 3, &ok, SDP_A));
    let refused = w.last_a("500 INVITE");
    assert!(header(&refused, "Retry-After").parse::<u32>().unwrap() <= 10);
    assert_eq!(w.heard_b(), ["INVITE"]);
    // The same while the first INVITE of all is unanswered; B's would cross ours.
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, "", SDP_B));
    let early = w.last_a("183 INVITE");
    w.a(a_asks("INVITE", 2, &early, SDP_A));
    assert!(header(&w.last_a("500 INVITE"), "Retry-After").parse::<u32>().unwrap() <= 10);
    w.b(b_asks("INVITE", 1, &b_invite, SDP_B));
    w.last_b("491 INVITE");
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn flow_45_after_the_end_there_is_no_dialog() {
    let mut w = World::new();
    let (ok, b_invite) = talking(&mut w);
    w.a(a_asks("BYE", 2, &ok, ""));
    // While B's 200 to the BYE is awaited, and after it.
    w.b(b_asks("INVITE", 1, &b_invite, SDP_B));
    let bye = w.last_b("BYE");
    w.b(b_says(200, &bye, "", ""));
    w.to_a.clear();
    w.a(a_asks("INVITE", 3, &ok, SDP_A));
    assert_eq!(w.heard_a(), ["481 INVITE"]);
    w.last_b("481 INVITE");
    w.b(b_asks("BYE", 2, &b_invite, ""));
    w.last_b("481 BYE");
}

#[test]
fn flow_46_a_reinvite_without_ack_ends_the_call() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("INVITE", 2, &ok, ""));
    let asked = w.last_b("INVITE");
    w.b(b_says(200, &asked, "", SDP_B));
    w.last_a("200 INVITE");
    w.pass(Duration::from_millis(31_999));
    assert!(!w.heard_a().contains(&"BYE".to_owned()));
    w.pass(Duration::from_millis(2));
    let (a, b) = (w.last_a("BYE"), w.last_b("BYE"));
    // B's offer is never answered, but its 200 is acknowledged.
    assert_eq!(header(&w.last_b("ACK"), "CSeq"), "2 ACK");
    assert_eq!(
        (w.account().outcome, w.account().reason.as_str()),
        (Outcome::Connected, "ack timeout")
    );
    w.a(b_says(200, &a, "", ""));
    w.b(b_says(200, &b, "", ""));
    w.assert_clean();
}

#[test]
fn flow_47_an_answer_may_take_ten_seconds() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    let again = a_asks("INVITE", 2, &ok, SDP_A);
    w.a(again.clone());
    let asked = w.last_b("INVITE");
    w.b(b_says(100, &asked, "", ""));
    for _ in 0..5 {
        w.pass(SECOND * 2);
        w.a(again.clone());
    }
    assert_eq!(w.heard_a(), ["100 INVITE"; 6], "copies get the 100 again");
    assert_eq!(w.heard_b(), ["INVITE"], "and make no second re-INVITE");
    w.b(b_says(200, &asked, "", SDP_B));
    assert_eq!((w.heard_a(), w.heard_b()), (vec!["200 INVITE".to_owned()], vec!["ACK".to_owned()]));
    w.a(a_asks("ACK", 2, &ok, ""));
    w.pass(SECOND * 60);
    assert!(w.heard_a().is_empty());
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn flow_48_without_a_description_the_answer_is_in_the_ack() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("INVITE", 2, &ok, ""));
    let asked = w.last_b("INVITE");
    assert!(!asked.contains("v=0"), "{asked}");
    w.b(b_says(200, &asked, "", &SDP_B.replace("7000", "7300")));
    let offer = w.last_a("200 INVITE");
    assert!(offer.contains("m=audio 100"));
    // Other requests in between: the ACK keeps the CSeq of its INVITE.
    w.a(a_asks("INFO", 3, &ok, ""));
    w.b(b_says(200, &asked, "", &SDP_B.replace("7000", "7300")));
    assert!(!w.to_b.iter().any(|m| title(m) == "ACK"));
    w.a(a_asks("ACK", 2, &offer, &SDP_A.replace("6000", "6300")));
    let ack = w.last_b("ACK");
    assert!(ack.contains("m=audio 100") && !ack.contains("192.0.2.11"), "{ack}");
    assert_eq!(header(&ack, "CSeq"), "2 ACK");
    assert_eq!(listens(&w, Side::A).as_deref(), Some("192.0.2.11:6300"));
    assert_eq!(listens(&w, Side::B).as_deref(), Some("198.51.100.21:7300"));
    w.to_b.clear();
    w.b(b_says(200, &asked, "", SDP_B));
    assert_eq!(w.heard_b(), ["ACK"], "a copy of the 200 gets a copy of the ACK");
}

#[test]
fn flow_49_requests_out_of_order_are_500() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("INFO", 9, &ok, ""));
    for (cseq, method) in [(5, "INFO"), (8, "INVITE"), (7, "UPDATE"), (6, "BYE")] {
        w.a(a_asks(method, cseq, &ok, ""));
        w.last_a(&format!("500 {method}"));
    }
    assert_eq!(w.heard_b(), ["INFO"]);
    assert_eq!(w.switch.gauges().calls, 1);
    w.a(a_asks("BYE", 10, &ok, ""));
    w.last_b("BYE");
}

#[test]
fn a_reinvite_may_be_given_up() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    let again = a_asks("INVITE", 2, &ok, &with(SDP_A, "sendonly"));
    w.a(again.clone());
    let asked = w.last_b("INVITE");
    w.b(b_says(100, &asked, "", ""));
    w.a(again.replace("INVITE sip", "CANCEL sip").replace("2 INVITE", "2 CANCEL"));
    w.last_a("200 CANCEL");
    let cancel = w.last_b("CANCEL");
    assert_eq!(header(&cancel, "Via"), header(&asked, "Via"));
    w.b(b_says(200, &cancel, "", ""));
    w.b(b_says(487, &asked, "", ""));
    w.last_a("487 INVITE");
    assert!(!w.whats().contains(&"Held"));
    assert_eq!(w.switch.gauges().calls, 1);
}
