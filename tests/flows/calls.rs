//! Calls that come up, ring, are cancelled, fail and end.

use std::time::Duration;

use cooee_model::account::{AnswerSource, Outcome, Party};
use cooee_model::media::MediaCommand;

use crate::world::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn flow_1_basic_call_a_hangs_up() {
    let mut w = World::new();
    w.a(invite("Max-Forwards: 70\r\n", SDP_A));
    assert_eq!(w.heard_a(), ["100 INVITE"]);
    let b_invite = w.last_b("INVITE");
    w.b(b_says(100, &b_invite, "", ""));
    w.b(b_says(180, &b_invite, "", ""));
    assert_eq!(w.heard_a(), ["180 INVITE"]);
    w.pass(SECOND * 3);
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    assert_eq!(w.to_b.len(), 2, "one INVITE, one ACK");
    w.a(a_asks("ACK", 1, &ok, ""));
    w.pass(SECOND * 10);
    w.to_a.clear();
    w.to_b.clear();
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(w.heard_a(), ["200 BYE"]);
    let bye = w.last_b("BYE");
    w.b(b_says(200, &bye, "", ""));
    let account = w.account();
    assert_eq!((account.outcome, account.end_party), (Outcome::Connected, Party::Dialer));
    assert_eq!(account.answer_source, AnswerSource::Sip200);
    let times = account.times;
    assert_eq!(times.agent.unwrap() - times.invite, SECOND * 3);
    assert_eq!(times.end.unwrap() - times.agent.unwrap(), SECOND * 10);
    let whats = ["Invited", "Forwarded", "Ringing", "PlatformAnswered", "AgentAnswered", "Ended"];
    assert_eq!(w.whats()[..6], whats);
    w.assert_clean();
}

#[test]
fn nothing_of_a_reaches_b_and_nothing_of_b_reaches_a() {
    let mut w = World::new();
    let more =
        "X-Secret: inside\r\nUser-Agent: dialer\r\nP-Asserted-Identity: <sip:+61280001111@x>\r\n";
    w.a(invite(more, SDP_A));
    let b_invite = w.last_b("INVITE");
    for leak in ["61280001111", "192.0.2.10", "192.0.2.11", "call-a", "tag=ta", "inside", "dialer"]
    {
        assert!(!b_invite.to_lowercase().contains(leak), "{leak} in {b_invite}");
    }
    assert!(header(&b_invite, "From").contains("61255501234"), "{b_invite}");
    w.b(b_says(200, &b_invite, "Server: vox\r\n", SDP_B));
    let ok = w.last_a("200 INVITE");
    for leak in ["198.51.100", "tag=tb", "vox"] {
        assert!(!ok.contains(leak), "{leak} in {ok}");
    }
}

#[test]
fn the_relay_is_told_where_both_peers_listen() {
    let mut w = World::new();
    let (ok, b_invite) = talking(&mut w);
    let opened = w.media.iter().find_map(|c| match c {
        MediaCommand::Open { a, b, .. } => Some((a.port, b.port)),
        _ => None,
    });
    let (a, b) = opened.unwrap();
    assert!(ok.contains(&format!("m=audio {a} RTP/AVP 8 101")), "{ok}");
    assert!(b_invite.contains(&format!("m=audio {b} RTP/AVP 8 101")), "{b_invite}");
    let peers: Vec<_> = w
        .media
        .iter()
        .filter_map(|c| match c {
            MediaCommand::Peer { media: Some(m), .. } => Some(m.rtp.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(peers, ["192.0.2.11:6000", "198.51.100.21:7000"]);
    assert!(w.media.iter().any(|c| matches!(c, MediaCommand::Mark { .. })));
}

#[test]
fn flow_2_b_hangs_up() {
    let mut w = World::new();
    let (_, b_invite) = talking(&mut w);
    w.b(b_asks("BYE", 1, &b_invite, ""));
    assert_eq!(w.heard_b(), ["200 BYE"]);
    let bye = w.last_a("BYE");
    w.a(b_says(200, &bye, "", ""));
    assert_eq!(w.account().end_party, Party::Customer);
    w.assert_clean();
}

#[test]
fn flow_3_cancel_after_180() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, "", ""));
    w.to_a.clear();
    w.a(a_cancels());
    assert_eq!(w.heard_a(), ["200 CANCEL", "487 INVITE"]);
    let cancel = w.last_b("CANCEL");
    assert_eq!(header(&cancel, "Via"), header(&b_invite, "Via"));
    w.b(b_says(200, &cancel, "", ""));
    w.to_b.clear();
    w.b(b_says(487, &b_invite, "", ""));
    assert_eq!(w.heard_b(), ["ACK"]);
    assert_eq!(w.account().outcome, Outcome::Canceled);
    w.assert_clean();
}

#[test]
fn flow_4_cancel_crosses_200_on_b() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, "", ""));
    w.a(a_cancels());
    w.to_b.clear();
    w.b(b_says(200, &b_invite, "", SDP_B));
    assert_eq!(w.heard_b(), ["ACK", "BYE"]);
    assert!(w.heard_a().contains(&"487 INVITE".to_owned()));
    w.assert_clean();
}

#[test]
fn flow_5_cancel_is_held_until_b_has_been_heard() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.a(a_cancels());
    assert_eq!(w.heard_b(), ["INVITE"]);
    w.b(b_says(100, &b_invite, "", ""));
    assert_eq!(w.heard_b(), ["CANCEL"]);
    w.b(b_says(487, &b_invite, "", ""));
    w.assert_clean();
}

#[test]
fn flow_7_cancel_after_200_changes_nothing() {
    let mut w = World::new();
    talking(&mut w);
    w.a(a_cancels());
    assert_eq!(w.heard_a(), ["200 CANCEL"]);
    assert!(w.heard_b().is_empty());
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn flow_8_failures_pass_with_code_and_reason() {
    for (code, outcome) in [(486, Outcome::Busy), (603, Outcome::Declined), (404, Outcome::Invalid)]
    {
        let mut w = World::new();
        w.a(invite("", SDP_A));
        let b_invite = w.last_b("INVITE");
        w.to_b.clear();
        w.b(b_says(code, &b_invite, "Reason: Q.850;cause=17;text=\"busy\"\r\n", ""));
        let ack = w.last_b("ACK");
        assert_eq!(header(&ack, "Via"), header(&b_invite, "Via"));
        let failed = w.last_a(&format!("{code} INVITE"));
        assert_eq!(header(&failed, "Reason"), "Q.850;cause=17;text=\"busy\"");
        assert_eq!((w.account().outcome, w.account().q850), (outcome, 17));
        w.assert_clean();
    }
}

#[test]
fn flow_11_a_dead_trunk_fails_the_call_in_time() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    w.pass(SECOND * 32);
    w.last_a("503 INVITE");
    assert_eq!(w.account().outcome, Outcome::Technical);
    w.assert_clean();
}

#[test]
fn flow_14_a_challenge_is_answered_once_and_a_never_sees_it() {
    let mut w = World::with("relay", "voximplant", "agent-leg");
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.to_a.clear();
    let challenge = "WWW-Authenticate: Digest realm=\"b.example\", nonce=\"n\", qop=\"auth\"\r\n";
    w.b(b_says(401, &first, challenge, ""));
    let second = w.last_b("INVITE");
    assert!(header(&second, "Authorization").starts_with("Digest username=\"sip7\""), "{second}");
    assert_eq!(header(&second, "CSeq"), "2 INVITE");
    assert_eq!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    assert_eq!(header(&second, "From"), header(&first, "From"));
    assert!(w.heard_a().is_empty());
    w.b(b_says(401, &second, challenge, ""));
    assert_eq!(w.heard_a(), ["503 INVITE"]);
    w.assert_clean();
}

#[test]
fn flow_16_a_foreign_realm_is_never_answered_in_the_dialog() {
    let mut w = World::with("relay", "voximplant", "agent-leg");
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.b(b_says(401, &first, "WWW-Authenticate: Digest realm=\"b.example\", nonce=\"n\"\r\n", ""));
    let second = w.last_b("INVITE");
    w.b(b_says(200, &second, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    w.a(a_asks("BYE", 2, &ok, ""));
    let bye = w.last_b("BYE");
    w.to_b.clear();
    w.b(b_says(407, &bye, "Proxy-Authenticate: Digest realm=\"evil\", nonce=\"n\"\r\n", ""));
    assert!(w.heard_b().is_empty());
    w.assert_clean();
}

#[test]
fn flow_18_a_copy_of_the_invite_makes_no_second_call() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    w.a(invite("", SDP_A));
    assert_eq!(w.heard_a(), ["100 INVITE", "100 INVITE"]);
    assert_eq!(w.heard_b(), ["INVITE"]);
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn flow_29_a_lost_ack_ends_both_legs() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, "", SDP_B));
    w.to_b.clear();
    w.pass(SECOND * 33);
    let oks = w.to_a.iter().filter(|m| title(m) == "200 INVITE").count();
    assert_eq!(oks, 11, "at 0, 0.5, 1.5, 3.5, 7.5 and every 4 s to 31.5");
    w.last_a("BYE");
    w.last_b("BYE");
    assert_eq!((w.account().outcome, w.account().end_party), (Outcome::NoAck, Party::Timeout));
    w.assert_clean();
}

#[test]
fn flow_31_every_copy_of_bs_200_is_acknowledged() {
    let mut w = World::new();
    let (_, b_invite) = talking(&mut w);
    w.b(b_says(200, &b_invite, "", SDP_B));
    w.b(b_says(200, &b_invite, "", SDP_B));
    assert_eq!(w.heard_b(), ["ACK", "ACK"]);
    assert!(w.heard_a().is_empty());
}

#[test]
fn flow_37_bye_in_the_early_dialog() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, "", ""));
    let ringing = w.last_a("180 INVITE");
    w.to_a.clear();
    w.a(a_asks("BYE", 2, &ringing, ""));
    assert_eq!(w.heard_a(), ["487 INVITE", "200 BYE"]);
    w.last_b("CANCEL");
    w.b(b_says(487, &b_invite, "", ""));
    w.assert_clean();
}

#[test]
fn b_that_hangs_up_before_a_acknowledged_ends_a_after_its_ack() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    w.b(b_asks("BYE", 1, &b_invite, ""));
    assert!(!w.to_a.iter().any(|m| title(m) == "BYE"));
    w.a(a_asks("ACK", 1, &ok, ""));
    w.last_a("BYE");
    w.assert_clean();
}

#[test]
fn flow_50_early_media_passes_before_the_answer() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, "", SDP_B));
    let early = w.last_a("183 INVITE");
    assert!(early.contains("m=audio 100"), "{early}");
    assert!(!early.contains("198.51.100"), "{early}");
    // A 2xx without a description after it: the early one holds.
    w.b(b_says(200, &b_invite, "", ""));
    assert!(w.last_a("200 INVITE").contains("m=audio 100"));
}

#[test]
fn flow_53_late_offer_is_answered_in_the_ack() {
    let mut w = World::new();
    w.a(invite("", ""));
    let b_invite = w.last_b("INVITE");
    assert!(!b_invite.contains("v=0"));
    w.b(b_says(200, &b_invite, "", SDP_B));
    assert_eq!(w.heard_b(), ["INVITE"], "B's ACK waits for A's answer");
    let ok = w.last_a("200 INVITE");
    assert!(ok.contains("m=audio 100"));
    w.a(a_asks("ACK", 1, &ok, SDP_A));
    let ack = w.last_b("ACK");
    assert!(ack.contains("m=audio 100") && !ack.contains("192.0.2.11"), "{ack}");
}

#[test]
fn flow_53_a_late_offer_that_is_never_answered_is_ended_once() {
    let mut w = World::new();
    w.a(invite("", ""));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    w.to_b.clear();
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(w.heard_b(), ["ACK", "BYE"]);
    w.b(b_says(200, &b_invite, "", SDP_B));
    w.a(a_asks("ACK", 1, &ok, SDP_A));
    assert_eq!(w.heard_b(), ["ACK"], "for the copy");
}

#[test]
fn flow_56_a_second_answer_from_a_fork_is_ended() {
    let mut w = World::new();
    let (_, b_invite) = talking(&mut w);
    let other = b_says(200, &b_invite, "", SDP_B).replace("tag=tb", "tag=other");
    w.b(other);
    assert_eq!(w.heard_b(), ["ACK", "BYE"]);
    assert!(w.heard_a().is_empty());
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn a_ring_that_is_too_long_is_cancelled() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, "", ""));
    w.pass(SECOND * 30);
    w.last_a("480 INVITE");
    w.last_b("CANCEL");
    assert_eq!(w.account().outcome, Outcome::NoAnswer);
    w.assert_clean();
}

#[test]
fn on_a_platform_the_200_is_not_the_agents_answer() {
    let mut w = World::with("relay", "voximplant", "agent-leg");
    let (ok, _) = talking(&mut w);
    w.a(a_asks("BYE", 2, &ok, ""));
    let account = w.account();
    assert_eq!((account.times.agent, account.answer_source), (None, AnswerSource::None));
    assert_eq!(account.outcome, Outcome::UnknownAgent);
    assert!(!w.whats().contains(&"AgentAnswered"));
}
