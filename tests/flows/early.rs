//! What A hears before the answer, and under which To tag.

use cooee_model::account::{Outcome, Party};
use cooee_model::ids::Side;
use cooee_model::media::MediaCommand;

use crate::world::*;

/// B's media, as the relay was told.
fn pointed_at_b(w: &World) -> Vec<String> {
    let named = |c: &MediaCommand| match c {
        MediaCommand::Peer { side: Side::B, media: Some(m), .. } => Some(m.rtp.to_string()),
        _ => None,
    };
    w.media.iter().filter_map(named).collect()
}

fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").unwrap().1
}

fn moved(sdp: &str, to: &str) -> String {
    sdp.replace("198.51.100.21", to)
}

fn said_by(tag: &str, text: String) -> String {
    text.replace(";tag=tb", &format!(";tag={tag}"))
}

#[test]
fn flow_50_early_media_runs_both_ways_before_the_answer() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    let at = w.now;
    w.b(b_says(183, &b_invite, "", SDP_B));
    let early = w.last_a("183 INVITE");
    assert!(early.contains("m=audio 100") && !early.contains("198.51.100"), "{early}");
    // In the same step the relay has both ends: no packet waits for the answer.
    assert_eq!(w.now, at);
    let sides: Vec<_> = w
        .media
        .iter()
        .filter_map(|c| match c {
            MediaCommand::Peer { side, media: Some(m), .. } => Some((*side, m.rtp.to_string())),
            _ => None,
        })
        .collect();
    let both = [(Side::A, "192.0.2.11:6000".into()), (Side::B, "198.51.100.21:7000".into())];
    assert_eq!(sides, both);
    assert!(matches!(w.media.first(), Some(MediaCommand::Open { .. })));
}

#[test]
fn flow_51_a_180_after_a_183_leaves_the_media_alone() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, "", SDP_B));
    let early = w.last_a("183 INVITE");
    let orders = w.media.len();
    // Without a description, with the same one, and the answer: nothing is reset.
    w.b(b_says(180, &b_invite, "", ""));
    assert_eq!(body(&w.last_a("180 INVITE")), "");
    w.b(b_says(180, &b_invite, "", SDP_B));
    let ringing = w.last_a("180 INVITE");
    assert_eq!((body(&ringing), header(&ringing, "To")), (body(&early), header(&early, "To")));
    assert_eq!(w.media.len(), orders, "{:?}", w.media);
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    assert_eq!((body(&ok), header(&ok, "To")), (body(&early), header(&early, "To")));
    assert_eq!(pointed_at_b(&w).len(), 1);
}

#[test]
fn flow_52_missing_to_tags_are_borne() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    let untagged = |code, sdp| b_says(code, &b_invite, "", sdp).replace(";tag=tb", "");
    w.b(untagged(180, ""));
    let ringing = w.last_a("180 INVITE");
    assert!(header(&ringing, "To").contains(";tag="), "ours is there: {ringing}");
    w.b(untagged(200, SDP_B));
    let ok = w.last_a("200 INVITE");
    assert_eq!(header(&ok, "To"), header(&ringing, "To"));
    assert!(!header(&w.last_b("ACK"), "To").contains("tag="));
    w.a(a_asks("ACK", 1, &ok, ""));
    // The dialog without a tag still works, both ways.
    w.b(b_asks("INFO", 1, &b_invite, "x").replace(";tag=tb", ""));
    w.last_a("INFO");
    w.to_b.clear();
    w.b(b_asks("BYE", 2, &b_invite, "").replace(";tag=tb", ""));
    assert!(w.heard_b().contains(&"200 BYE".to_owned()));
    let bye = w.last_a("BYE");
    w.a(b_says(200, &bye, "", ""));
    w.assert_clean();
}

#[test]
fn flow_53_a_late_offer_is_relayed_and_media_flows() {
    let mut w = World::new();
    w.a(invite("", ""));
    let b_invite = w.last_b("INVITE");
    assert_eq!(body(&b_invite), "");
    w.b(b_says(200, &b_invite, "", SDP_B));
    assert_eq!(w.heard_b(), ["INVITE"], "B's ACK waits for A's answer");
    let ok = w.last_a("200 INVITE");
    assert!(ok.contains("m=audio 100") && !ok.contains("198.51.100"), "{ok}");
    assert_eq!(pointed_at_b(&w), ["198.51.100.21:7000"]);
    w.a(a_asks("ACK", 1, &ok, SDP_A));
    let ack = w.last_b("ACK");
    assert!(ack.contains("m=audio 100") && !ack.contains("192.0.2.11"), "{ack}");
    let a = w.media.iter().any(|c| {
        let listens = |m: &cooee_model::media::PeerMedia| m.rtp.to_string() == "192.0.2.11:6000";
        matches!(c, MediaCommand::Peer { side: Side::A, media: Some(m), .. } if listens(m))
    });
    assert!(a, "{:?}", w.media);
    w.a(a_asks("BYE", 2, &ok, ""));
    w.assert_clean();
}

#[test]
fn flow_54_another_answer_goes_under_another_to_tag() {
    let mut w = World::new();
    w.a(invite("", SDP_A.replace("AVP 8 ", "AVP 8 0 ").as_str()));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, "", SDP_B));
    let early = w.last_a("183 INVITE");
    // The answer proper names another codec and another place.
    let other = moved(SDP_B, "198.51.100.22").replace("AVP 8 ", "AVP 0 ");
    w.b(b_says(200, &b_invite, "", &other));
    let ok = w.last_a("200 INVITE");
    assert_ne!(header(&ok, "To"), header(&early, "To"));
    assert_ne!(body(&ok).lines().nth(1), body(&early).lines().nth(1), "another session too");
    assert!(ok.contains("RTP/AVP 0 101"), "{ok}");
    assert_eq!(pointed_at_b(&w), ["198.51.100.21:7000", "198.51.100.22:7000"], "media follows");
    // The call goes on under the new tag.
    w.a(a_asks("ACK", 1, &ok, ""));
    w.to_a.clear();
    w.pass(std::time::Duration::from_secs(2));
    assert!(w.heard_a().is_empty(), "its ACK was known");
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(w.heard_a(), ["200 BYE"]);
    let account = w.account();
    assert!(header(&ok, "To").ends_with(&account.legs[0].local_tag));
    w.assert_clean();
}

#[test]
fn flow_54_moved_media_alone_changes_nothing_for_a() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, "", SDP_B));
    let early = w.last_a("183 INVITE");
    w.b(b_says(200, &b_invite, "", &moved(SDP_B, "198.51.100.22")));
    let ok = w.last_a("200 INVITE");
    assert_eq!((header(&ok, "To"), body(&ok)), (header(&early, "To"), body(&early)));
    assert_eq!(pointed_at_b(&w).last().map(String::as_str), Some("198.51.100.22:7000"));
}

#[test]
fn flow_55_three_tags_and_the_call_ends_on_the_one_that_answers() {
    let mut w = World::new();
    w.a(invite("", SDP_A.replace("AVP 8 ", "AVP 8 0 3 ").as_str()));
    let b_invite = w.last_b("INVITE");
    let fork = |tag: &str, code, codec: &str, at: &str| {
        let sdp = moved(SDP_B, at).replace("AVP 8 ", &format!("AVP {codec} "));
        said_by(tag, b_says(code, &b_invite, "", &sdp))
    };
    w.b(fork("one", 183, "8", "198.51.100.31"));
    let one = w.last_a("183 INVITE");
    w.b(fork("two", 183, "0", "198.51.100.32"));
    let two = w.last_a("183 INVITE");
    w.b(said_by("three", b_says(180, &b_invite, "", "")));
    let tags = [header(&one, "To"), header(&two, "To")];
    assert_ne!(tags[0], tags[1]);
    // The second answers, without a description: its own holds, and the tag that A knows it by.
    w.b(said_by("two", b_says(200, &b_invite, "", "")));
    let ok = w.last_a("200 INVITE");
    assert_eq!((header(&ok, "To"), body(&ok)), (header(&two, "To"), body(&two)));
    assert_eq!(pointed_at_b(&w).last().map(String::as_str), Some("198.51.100.32:7000"));
    assert!(header(&w.last_b("ACK"), "To").ends_with(";tag=two"));
    w.a(a_asks("ACK", 1, &ok, ""));
    w.a(a_asks("BYE", 2, &ok, ""));
    let bye = w.last_b("BYE");
    assert!(header(&bye, "To").ends_with(";tag=two"), "{bye}");
    assert_eq!(w.account().legs[1].remote_tag, "two");
    w.b(b_says(200, &bye, "", ""));
    w.assert_clean();
}

#[test]
fn flow_86_an_answer_without_a_common_codec_is_488_and_b_is_ended() {
    let other = SDP_B.replace("AVP 8 ", "AVP 18 ");
    for code in [183, 200] {
        let mut w = World::new();
        w.a(invite("", SDP_A));
        let b_invite = w.last_b("INVITE");
        w.to_b.clear();
        w.b(b_says(code, &b_invite, "", &other));
        w.last_a("488 INVITE");
        if code == 183 {
            assert_eq!(w.heard_b(), ["CANCEL"]);
            w.b(b_says(487, &b_invite, "", ""));
        } else {
            assert_eq!(w.heard_b(), ["ACK", "BYE"]);
        }
        let account = w.account();
        assert_eq!((account.outcome, account.end_party), (Outcome::Technical, Party::Platform));
        assert_eq!((account.reason.as_str(), account.sip_final), ("no common codec", 488));
        w.assert_clean();
    }
}

#[test]
fn flow_86_bs_own_488_passes() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(488, &b_invite, "", ""));
    w.last_a("488 INVITE");
    w.assert_clean();
}
