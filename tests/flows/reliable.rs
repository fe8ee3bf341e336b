//! Reliable provisional responses (RFC 3262), each leg by itself.

use std::time::Duration;

use cooee_model::account::{Outcome, Party};
use cooee_model::media::MediaCommand;

use crate::world::*;

const NEEDS: &str = "Require: 100rel\r\n";
const KNOWS: &str = "Supported: timer, 100REL\r\n";

fn reliable(rseq: u32) -> String {
    format!("Require: 100rel\r\nRSeq: {rseq}\r\n")
}

/// A's PRACK of a reliable response that it got.
fn prack(cseq: u32, response: &str, body: &str) -> String {
    let rack = format!("RAck: {} 1 INVITE\r\nContent-", header(response, "RSeq"));
    a_asks("PRACK", cseq, response, body).replacen("Content-", &rack, 1)
}

fn with_sip(key: &str) -> World {
    let mut w = World::new();
    w.reconfigure(|text| text.replace("[media]", &format!("{key}\n[media]")));
    w
}

#[test]
fn flow_57_bs_reliable_18x_are_acknowledged_in_order() {
    let mut w = World::new();
    w.a(invite(KNOWS, SDP_A));
    let b_invite = w.last_b("INVITE");
    assert_eq!(header(&b_invite, "Supported"), "100rel");
    w.to_a.clear();
    w.to_b.clear();
    w.b(b_says(183, &b_invite, &reliable(700), SDP_B));
    let first = w.last_b("PRACK");
    assert_eq!(header(&first, "RAck"), "700 1 INVITE");
    assert_eq!(header(&first, "CSeq"), "2 PRACK");
    assert!(header(&first, "To").ends_with(";tag=tb"), "{first}");
    assert!(first.starts_with("PRACK sip:b@198.51.100.20:5060 SIP/2.0\r\n"), "{first}");
    let early = w.last_a("183 INVITE");
    assert_eq!(header(&early, "RSeq"), "", "A did not ask for it");
    // A copy is answered again with the same PRACK; A hears it once.
    w.b(b_says(183, &b_invite, &reliable(700), SDP_B));
    assert_eq!(w.heard_b(), ["PRACK", "PRACK"]);
    // One is missing: left to come again.
    w.b(b_says(180, &b_invite, &reliable(702), ""));
    assert!(w.heard_b().is_empty());
    assert_eq!(w.heard_a(), ["183 INVITE"]);
    w.b(b_says(180, &b_invite, &reliable(701), ""));
    assert_eq!(header(&w.last_b("PRACK"), "RAck"), "701 1 INVITE");
    w.b(b_says(180, &b_invite, &reliable(702), ""));
    let last = w.last_b("PRACK");
    assert_eq!(
        (header(&last, "RAck"), header(&last, "CSeq")),
        ("702 1 INVITE".into(), "4 PRACK".into())
    );
    assert_eq!(w.heard_a(), ["180 INVITE", "180 INVITE"]);
    w.b(b_says(200, &last, "", ""));
    // The ACK has the INVITE's CSeq, the BYE one of its own.
    w.b(b_says(200, &b_invite, "", SDP_B));
    assert_eq!(header(&w.last_b("ACK"), "CSeq"), "1 ACK");
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(header(&w.last_b("BYE"), "CSeq"), "5 BYE");
    w.assert_clean();
}

#[test]
fn flow_57_a_lost_prack_is_sent_again() {
    let mut w = World::new();
    w.a(invite(KNOWS, SDP_A));
    let b_invite = w.last_b("INVITE");
    w.to_b.clear();
    w.b(b_says(183, &b_invite, &reliable(1), SDP_B));
    w.pass(Duration::from_millis(1600));
    assert_eq!(w.heard_b(), ["PRACK", "PRACK", "PRACK"]);
}

#[test]
fn flow_57_a_gets_reliable_18x_and_the_2xx_waits_for_its_prack() {
    let mut w = World::new();
    w.a(invite(NEEDS, SDP_A));
    let b_invite = w.last_b("INVITE");
    w.to_a.clear();
    w.b(b_says(180, &b_invite, "", ""));
    let ringing = w.last_a("180 INVITE");
    let first: u32 = header(&ringing, "RSeq").parse().unwrap();
    assert!((1..0x8000_0000).contains(&first));
    assert_eq!(header(&ringing, "Require"), "100rel");
    // One at a time: the 183 waits, and so does the 2xx that follows it.
    w.b(b_says(183, &b_invite, "", SDP_B));
    assert_eq!(w.heard_a(), ["180 INVITE"]);
    w.a(prack(2, &ringing, ""));
    assert_eq!(w.to_a.iter().map(title).collect::<Vec<_>>(), ["200 PRACK", "183 INVITE"]);
    let early = w.last_a("183 INVITE");
    assert_eq!(header(&early, "RSeq").parse(), Ok(first + 1));
    assert!(early.contains("m=audio 100"), "{early}");
    w.to_a.clear();
    w.b(b_says(200, &b_invite, "", SDP_B));
    assert!(w.heard_a().is_empty(), "no 2xx before the PRACK of a description");
    w.a(prack(3, &early, ""));
    assert_eq!(w.to_a.iter().map(title).collect::<Vec<_>>(), ["200 PRACK", "200 INVITE"]);
    let ok = w.last_a("200 INVITE");
    assert_eq!(header(&ok, "To"), header(&early, "To"));
    w.a(a_asks("ACK", 1, &ok, ""));
    w.a(a_asks("BYE", 4, &ok, ""));
    w.assert_clean();
}

#[test]
fn a_2xx_need_not_wait_for_a_180_without_a_description() {
    let mut w = World::new();
    w.a(invite(NEEDS, SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, "", ""));
    let ringing = w.last_a("180 INVITE");
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    w.to_a.clear();
    w.pass(Duration::from_millis(400));
    // Its PRACK may still come.
    w.a(prack(2, &ringing, ""));
    w.pass(Duration::from_millis(200));
    assert_eq!(w.heard_a(), ["200 PRACK", "200 INVITE"], "no copy of the 180");
    w.a(a_asks("ACK", 1, &ok, ""));
}

#[test]
fn flow_57_without_a_prack_the_call_is_given_up() {
    let mut w = World::new();
    w.reconfigure(|text| text.replace("timeout_s = 30", "timeout_s = 60"));
    w.a(invite(NEEDS, SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, "", SDP_B));
    w.pass(Duration::from_millis(31_900));
    let copies = w.heard_a().iter().filter(|t| *t == "183 INVITE").count();
    assert_eq!(copies, 7, "at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s");
    w.to_b.clear();
    w.pass(Duration::from_millis(200));
    assert_eq!(w.heard_a(), ["500 INVITE"]);
    assert_eq!(w.heard_b(), ["CANCEL"]);
    w.b(b_says(487, &b_invite, "", ""));
    let account = w.account();
    assert_eq!((account.outcome, account.end_party), (Outcome::Technical, Party::Timeout));
    assert_eq!(account.reason, "prack timeout");
    w.assert_clean();
}

#[test]
fn flow_57_an_answered_b_is_ended_where_the_prack_never_comes() {
    let mut w = World::new();
    w.a(invite(NEEDS, SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, "", SDP_B));
    w.b(b_says(200, &b_invite, "", SDP_B));
    w.to_a.clear();
    w.to_b.clear();
    w.pass(Duration::from_secs(33));
    assert_eq!(w.heard_a().last().map(String::as_str), Some("500 INVITE"));
    assert_eq!(w.heard_b().first().map(String::as_str), Some("BYE"));
    w.assert_clean();
}

#[test]
fn flow_58_a_wrong_rack_is_481_and_changes_nothing() {
    let mut w = World::new();
    w.a(invite(NEEDS, SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, "", SDP_B));
    let early = w.last_a("183 INVITE");
    let rseq = header(&early, "RSeq");
    let right = format!("RAck: {rseq} 1 INVITE");
    for (cseq, wrong) in (2..).zip([
        format!("RAck: {rseq} 2 INVITE"),
        format!("RAck: {rseq}1 1 INVITE"),
        format!("RAck: {rseq} 1 BYE"),
        "RAck: 0 1 INVITE".to_owned(),
        "X-RAck: none".to_owned(),
    ]) {
        w.to_a.clear();
        w.a(prack(cseq, &early, "").replace(&right, &wrong));
        assert_eq!(w.heard_a(), ["481 PRACK"], "{wrong}");
    }
    w.pass(Duration::from_millis(600));
    assert_eq!(w.heard_a(), ["183 INVITE"], "still sent again");
    w.a(prack(9, &early, ""));
    assert_eq!(w.heard_a(), ["200 PRACK"]);
    w.a(prack(10, &early, ""));
    assert_eq!(w.heard_a(), ["481 PRACK"], "it is acknowledged already");
    // B is the called side: it has nothing to acknowledge.
    w.to_b.clear();
    let rack = format!("{right}\r\nContent-");
    w.b(b_asks("PRACK", 1, &b_invite, "").replacen("Content-", &rack, 1));
    assert_eq!(w.heard_b(), ["481 PRACK"]);
}

#[test]
fn flow_59_what_a_requires_ends_here_where_b_lacks_it() {
    let mut w = World::new();
    w.a(invite(NEEDS, SDP_A));
    let b_invite = w.last_b("INVITE");
    assert_eq!(
        (header(&b_invite, "Require"), header(&b_invite, "Supported").as_str()),
        (String::new(), "100rel")
    );
    w.b(b_says(180, &b_invite, "", ""));
    let ringing = w.last_a("180 INVITE");
    assert_eq!(header(&ringing, "Require"), "100rel");
    w.a(prack(2, &ringing, ""));
    w.last_a("200 PRACK");
    assert!(!w.heard_b().contains(&"PRACK".to_owned()));
    w.b(b_says(200, &b_invite, "", SDP_B));
    w.last_a("200 INVITE");
}

#[test]
fn flow_59_switched_off_it_is_420() {
    let mut w = with_sip("reliable = \"off\"");
    w.a(invite(NEEDS, SDP_A));
    assert_eq!(header(&w.last_a("420 INVITE"), "Unsupported"), "100rel");
    w.a(invite(KNOWS, SDP_A).replace("call-a", "call-b").replace("z9hG4bKa1", "z9hG4bKa2"));
    assert!(!w.last_b("INVITE").contains("100rel"));
}

#[test]
fn who_is_offered_reliable_responses() {
    let offered = |w: &mut World, more: &str, body: &str| {
        w.a(invite(more, body));
        let b_invite = w.last_b("INVITE");
        w.b(b_says(180, &b_invite, "", ""));
        let ringing = w.last_a("180 INVITE");
        // Session timers are another matter, in a line of their own.
        let supported = header(&b_invite, "Supported").replace("timer", "");
        (header(&b_invite, "Require") + "/" + &supported, header(&ringing, "Require"))
    };
    let is = |b: &str, a: &str| (b.to_owned(), a.to_owned());
    let supported = || World::new();
    assert_eq!(offered(&mut supported(), "", SDP_A), is("/", ""));
    assert_eq!(offered(&mut supported(), KNOWS, SDP_A), is("/100rel", ""));
    let required = || with_sip("reliable = \"required\"");
    assert_eq!(offered(&mut required(), "", SDP_A), is("/100rel", ""));
    assert_eq!(offered(&mut required(), KNOWS, SDP_A), is("/100rel", "100rel"));
    let of_profile = |trunk| {
        let mut w = World::new();
        w.habits(trunk, |peer| peer.require_100rel = true);
        w
    };
    assert_eq!(offered(&mut of_profile(1), "", SDP_A), is("100rel/", ""));
    assert_eq!(offered(&mut of_profile(0), "", SDP_A), is("/", ""), "A does not know them");
    assert_eq!(offered(&mut of_profile(0), KNOWS, SDP_A), is("/100rel", "100rel"));
    assert_eq!(offered(&mut of_profile(1), "", ""), is("/", ""));
    // B could make its offer in one, and nobody would answer it.
    assert_eq!(offered(&mut required(), "", ""), is("/", ""));
}

#[test]
fn flow_57_a_late_offer_goes_in_the_18x_and_its_answer_in_the_prack() {
    let mut w = World::new();
    w.a(invite(KNOWS, ""));
    let b_invite = w.last_b("INVITE");
    w.to_b.clear();
    w.b(b_says(183, &b_invite, &reliable(5), SDP_B));
    assert!(w.heard_b().is_empty(), "B's PRACK waits for A's answer");
    let offer = w.last_a("183 INVITE");
    assert_eq!(header(&offer, "Require"), "100rel", "an offer has to be reliable");
    assert!(offer.contains("m=audio 100"), "{offer}");
    w.a(prack(2, &offer, SDP_A));
    w.last_a("200 PRACK");
    let answer = w.last_b("PRACK");
    assert_eq!(header(&answer, "RAck"), "5 1 INVITE");
    assert!(answer.contains("m=audio 100") && !answer.contains("192.0.2.11"), "{answer}");
    assert_eq!(peers(&w), ["198.51.100.21:7000", "192.0.2.11:6000"], "media runs both ways");
    w.to_a.clear();
    w.b(b_says(200, &b_invite, "", ""));
    let ok = w.last_a("200 INVITE");
    assert!(!ok.contains("v=0"), "it would be another offer: {ok}");
    assert!(!w.last_b("ACK").contains("v=0"));
    w.a(a_asks("ACK", 1, &ok, ""));
    w.a(a_asks("BYE", 3, &ok, ""));
    w.assert_clean();
}

#[test]
fn a_second_offer_in_the_prack_moves_as_media_and_asks_b_nothing() {
    let mut w = World::new();
    w.a(invite(NEEDS, SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, "", SDP_B));
    let early = w.last_a("183 INVITE");
    w.to_b.clear();
    let moved = SDP_A.replace("192.0.2.11", "192.0.2.12").replace("1 1 IN", "1 2 IN");
    w.a(prack(2, &early, &moved));
    let ok = w.last_a("200 PRACK");
    assert_eq!(ok.split_once("\r\n\r\n").unwrap().1, early.split_once("\r\n\r\n").unwrap().1);
    assert_eq!(peers(&w).last().map(String::as_str), Some("192.0.2.12:6000"));
    assert!(w.heard_b().is_empty());
}

#[test]
fn a_second_offer_that_b_would_have_to_see_is_488_and_the_18x_acknowledged() {
    let mut w = World::new();
    w.a(invite(NEEDS, SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, "", SDP_B));
    let early = w.last_a("183 INVITE");
    w.a(prack(2, &early, &SDP_A.replace("AVP 8 101", "AVP 18 101")));
    w.last_a("488 PRACK");
    w.to_a.clear();
    w.pass(Duration::from_secs(5));
    assert!(w.heard_a().is_empty());
}

#[test]
fn flow_102_a_cancels_while_the_answer_is_held_back() {
    let mut w = World::new();
    w.a(invite(NEEDS, SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, "", SDP_B));
    w.b(b_says(200, &b_invite, "", SDP_B));
    w.to_a.clear();
    w.to_b.clear();
    w.a(a_cancels());
    assert_eq!(w.heard_a(), ["200 CANCEL", "487 INVITE"]);
    assert_eq!(w.heard_b(), ["BYE"]);
    w.assert_clean();
}

#[test]
fn flow_103_b_ends_while_the_answer_is_held_back() {
    let mut w = World::new();
    w.a(invite(NEEDS, SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, "", SDP_B));
    w.b(b_says(200, &b_invite, "", SDP_B));
    w.to_a.clear();
    w.b(b_asks("BYE", 1, &b_invite, ""));
    assert_eq!(w.heard_a(), ["480 INVITE"], "never 200 and BYE");
    w.assert_clean();
}

fn peers(w: &World) -> Vec<String> {
    let named = |c: &MediaCommand| match c {
        MediaCommand::Peer { media: Some(m), .. } => Some(m.rtp.to_string()),
        _ => None,
    };
    w.media.iter().filter_map(named).collect()
}
