//! UPDATE in the early and in the confirmed dialog: row 60.

use std::time::Duration;

use cooee_model::media::MediaCommand;

use crate::world::*;

const ALLOWS: &str = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n";

/// A call that rings with early media; who of both knows UPDATE. A's 183 and B's INVITE.
fn ringing(w: &mut World, a: bool, b: bool) -> (String, String) {
    w.a(invite(if a { ALLOWS } else { "" }, SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, if b { ALLOWS } else { "" }, SDP_B));
    let early = w.last_a("183 INVITE");
    w.to_a.clear();
    w.to_b.clear();
    (early, b_invite)
}

/// The same, answered.
fn talking_with(w: &mut World, a: bool, b: bool) -> (String, String) {
    let (early, b_invite) = ringing(w, a, b);
    w.b(b_says(200, &b_invite, if b { ALLOWS } else { "" }, SDP_B));
    w.a(a_asks("ACK", 1, &early, ""));
    w.to_a.clear();
    w.to_b.clear();
    (early, b_invite)
}

fn held(sdp: &str) -> String {
    sdp.replace("1 1 IN", "1 2 IN").replace("5 5 IN", "5 6 IN") + "a=sendonly\r\n"
}

fn origin(text: &str) -> String {
    text.lines().find(|l| l.starts_with("o=")).unwrap().to_owned()
}

#[test]
fn flow_60_without_a_description_it_is_answered_here() {
    let mut w = World::new();
    let (early, b_invite) = ringing(&mut w, true, true);
    w.a(a_asks("UPDATE", 2, &early, ""));
    let ok = w.last_a("200 UPDATE");
    assert!(header(&ok, "Allow").contains("UPDATE") && !header(&ok, "Contact").is_empty(), "{ok}");
    w.b(b_asks("UPDATE", 1, &b_invite, ""));
    assert_eq!((w.heard_a().len(), w.heard_b()), (1, vec!["200 UPDATE".to_owned()]));
    w.b(b_says(200, &b_invite, "", SDP_B));
    w.a(a_asks("ACK", 1, &early, ""));
    w.to_b.clear();
    w.a(a_asks("UPDATE", 3, &early, ""));
    w.last_a("200 UPDATE");
    assert!(w.heard_b().is_empty());
}

#[test]
fn flow_60_in_the_early_dialog_an_offer_passes_both_ways() {
    let mut w = World::new();
    let (early, b_invite) = ringing(&mut w, true, true);
    w.a(a_asks("UPDATE", 2, &early, &held(SDP_A)));
    let asked = w.last_b("UPDATE");
    assert!(asked.contains("a=sendonly") && asked.contains("m=audio 100"), "{asked}");
    assert_eq!(header(&asked, "CSeq"), "2 UPDATE");
    assert_ne!(origin(&asked), origin(&b_invite));
    w.b(b_says(200, &asked, "", &SDP_B.replace("audio 7000", "audio 7100")));
    let ok = w.last_a("200 UPDATE");
    assert!(ok.contains("m=audio 100") && !ok.contains("198.51.100"), "{ok}");
    let port = |c: &MediaCommand| match c {
        MediaCommand::Peer { media: Some(m), .. } => Some(m.rtp.port()),
        _ => None,
    };
    assert!(w.media.iter().filter_map(port).any(|p| p == 7100));
    w.b(b_asks("UPDATE", 1, &b_invite, &held(SDP_B)));
    let asked = w.last_a("UPDATE");
    w.a(b_says(200, &asked, "", SDP_A).replace(B, A));
    w.last_b("200 UPDATE");
    // The 2xx that follows is acknowledged by the CSeq of its INVITE, and describes nothing new.
    w.to_b.clear();
    w.b(b_says(200, &b_invite, "", ""));
    assert_eq!(header(&w.last_b("ACK"), "CSeq"), "1 ACK");
    assert_eq!(origin(&w.last_a("200 INVITE")), origin(&asked), "what A was told last");
    assert_eq!(w.whats().iter().filter(|f| **f == "Held").count(), 0, "nobody talks yet");
    w.a(a_asks("ACK", 1, &early, ""));
    w.a(a_asks("BYE", 3, &early, ""));
    assert_eq!(header(&w.last_b("BYE"), "CSeq"), "3 BYE");
    w.assert_clean();
}

#[test]
fn flow_60_in_the_early_dialog_who_knows_no_update_is_not_asked() {
    let mut w = World::new();
    let (early, _) = ringing(&mut w, true, false);
    w.a(a_asks("UPDATE", 2, &early, SDP_A));
    assert_eq!((w.heard_a(), w.heard_b()), (vec!["488 UPDATE".to_owned()], vec![]));
    // Before there is any answer to the first offer there can be no second.
    let mut w = World::new();
    w.a(invite(ALLOWS, SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, ALLOWS, ""));
    let early = w.last_a("180 INVITE");
    w.a(a_asks("UPDATE", 2, &early, SDP_A));
    assert!(header(&w.last_a("500 UPDATE"), "Retry-After").parse::<u32>().unwrap() <= 10);
    w.b(b_asks("UPDATE", 1, &b_invite, SDP_B));
    w.last_b("491 UPDATE");
}

#[test]
fn flow_60_in_the_confirmed_dialog_hold_passes_by_update() {
    let mut w = World::new();
    let (ok, _) = talking_with(&mut w, true, true);
    w.a(a_asks("UPDATE", 2, &ok, &held(SDP_A)));
    let hold = w.last_b("UPDATE");
    w.b(b_says(200, &hold, "", &SDP_B.replace("m=audio", "a=recvonly\r\nm=audio")));
    assert!(w.last_a("200 UPDATE").contains("a=recvonly"));
    assert!(w.heard_b() == ["UPDATE"], "an UPDATE wants no ACK");
    w.pass(Duration::from_secs(5));
    w.a(a_asks("UPDATE", 3, &ok, SDP_A));
    let resume = w.last_b("UPDATE");
    w.b(b_says(200, &resume, "", SDP_B));
    w.last_a("200 UPDATE");
    w.a(a_asks("BYE", 4, &ok, ""));
    assert_eq!((w.account().hold_count, w.account().hold_ms), (1, 5000));
    w.assert_clean();
}

#[test]
fn flow_60_it_goes_on_as_reinvite_to_a_peer_that_knows_no_update() {
    let mut w = World::new();
    let (ok, _) = talking_with(&mut w, true, false);
    w.a(a_asks("UPDATE", 2, &ok, &held(SDP_A)));
    let asked = w.last_b("INVITE");
    assert!(asked.contains("a=sendonly"), "{asked}");
    w.b(b_says(100, &asked, "", ""));
    w.b(b_says(200, &asked, "", SDP_B));
    w.b(b_says(200, &asked, "", SDP_B));
    assert_eq!(w.heard_b(), ["INVITE", "ACK", "ACK"]);
    assert_eq!(w.heard_a(), ["200 UPDATE"]);
    w.a(a_asks("UPDATE", 3, &ok, SDP_A));
    let asked = w.last_b("INVITE");
    w.b(b_says(488, &asked, "", ""));
    w.last_a("488 UPDATE");
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn flow_60_glare_is_491_or_500_with_retry_after() {
    let mut w = World::new();
    let (ok, b_invite) = talking_with(&mut w, true, true);
    w.a(a_asks("UPDATE", 2, &ok, &held(SDP_A)));
    w.b(b_asks("UPDATE", 1, &b_invite, &held(SDP_B)));
    w.last_b("491 UPDATE");
    w.b(b_asks("INVITE", 2, &b_invite, &held(SDP_B)));
    w.last_b("491 INVITE");
    for (cseq, method) in [(3, "UPDATE"), (4, "INVITE")] {
        w.a(a_asks(method, cseq, &ok, SDP_A));
        let refused = w.last_a(&format!("500 {method}"));
        assert!(header(&refused, "Retry-After").parse::<u32>().unwrap() <= 10);
    }
    // A sign of life is no offer: it collides with nothing.
    w.b(b_asks("UPDATE", 3, &b_invite, ""));
    w.last_b("200 UPDATE");
    let asked = w.last_b("UPDATE");
    w.b(b_says(200, &asked, "", SDP_B));
    w.last_a("200 UPDATE");
    w.a(a_asks("UPDATE", 5, &ok, SDP_A));
    w.last_b("UPDATE");
}

#[test]
fn flow_60_an_update_that_nobody_answers_ends_the_call() {
    let mut w = World::new();
    let (ok, _) = talking_with(&mut w, true, true);
    w.a(a_asks("UPDATE", 2, &ok, &held(SDP_A)));
    w.pass(Duration::from_secs(33));
    w.last_a("408 UPDATE");
    w.last_a("BYE");
    w.last_b("BYE");
    w.assert_clean();
}
