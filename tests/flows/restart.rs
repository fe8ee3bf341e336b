//! A crash and what comes after it: answered calls go on, the others are closed, every peer is
//! told, every call has one account.

use std::time::Duration;

use cooee_model::account::{Outcome, Party};
use cooee_model::command::Command;
use cooee_model::fact::What;
use cooee_model::ids::Side;
use cooee_model::media::{MediaCommand, MediaEvent};
use cooee_model::moment::Moment;
use cooee_signalling::call::context::Output;
use cooee_signalling::switch::input::Input;
use cooee_signalling::switch::recover::Recovered;

use crate::world::*;

const DOWN: Duration = Duration::from_millis(700);
const REVIVED: Recovered = Recovered { revived: 1, closed: 0 };
const CLOSED: Recovered = Recovered { revived: 0, closed: 1 };

fn version(sdp: &str) -> String {
    sdp.lines().find(|l| l.starts_with("o=")).unwrap().split(' ').nth(2).unwrap().to_owned()
}

fn cseq(text: &str) -> u32 {
    header(text, "CSeq").split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn an_answered_call_goes_on_and_ends_as_it_would_have() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    let ports = |w: &World| {
        w.media.iter().rev().find_map(|c| match c {
            MediaCommand::Open { a, b, .. } => Some((a.port, b.port)),
            _ => None,
        })
    };
    let had = ports(&w);
    let agent = w.facts.iter().find(|f| matches!(f.what, What::AgentAnswered { .. })).unwrap().at;
    w.media.clear();
    assert_eq!(w.crash(DOWN), REVIVED);
    assert_eq!(ports(&w), had, "the peers send where they sent before");
    assert_eq!((w.heard_a(), w.heard_b()), (vec![], vec![]));
    assert_eq!(w.whats().last(), Some(&"Revived"));
    w.pass(Duration::from_millis(200));
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(w.heard_a(), ["200 BYE"]);
    let bye = w.last_b("BYE");
    assert!(cseq(&bye) > 700, "no number that a lost record may hold: {bye}");
    w.b(b_says(200, &bye, "", ""));
    let (end, account) = (w.now, w.account());
    assert_eq!((account.outcome, account.end_party), (Outcome::Connected, Party::Dialer));
    assert_eq!((account.recovered, account.wall_spans), (true, false));
    assert_eq!((account.times.agent, account.times.end), (Some(agent), Some(end)));
    w.assert_clean();
}

#[test]
fn both_sides_may_ask_after_the_restart_and_are_told_the_same_names() {
    let mut w = World::new();
    let (ok, b_invite) = talking(&mut w);
    let hold = SDP_A.replace("t=0 0", "t=0 0\r\na=sendonly");
    w.a(a_asks("INVITE", 2, &ok, &hold));
    let before = w.last_b("INVITE");
    w.b(b_says(200, &before, "", SDP_B));
    w.a(a_asks("ACK", 2, &ok, ""));
    assert_eq!(w.crash(DOWN), REVIVED);
    let holds = |c: &MediaCommand| matches!(c, MediaCommand::Hold { held: true, .. });
    assert_eq!(w.media.iter().filter(|c| holds(c)).count(), 2, "it is held again");
    (w.to_a, w.to_b) = (vec![], vec![]);
    w.a(a_asks("INVITE", 3, &ok, SDP_A));
    let resumed = w.last_b("INVITE");
    assert!(cseq(&resumed) > cseq(&before));
    let number = |sdp: &str| version(sdp).parse::<u64>().unwrap();
    assert_eq!(number(&resumed), number(&before) + 1);
    w.b(b_says(200, &resumed, "", SDP_B));
    let answer = w.last_a("200 INVITE");
    assert_eq!(version(&answer), version(&ok), "nothing has changed for A");
    w.a(a_asks("ACK", 3, &ok, ""));
    assert_eq!(w.whats().iter().filter(|f| **f == "Resumed").count(), 1);
    w.b(b_asks("INVITE", 1, &b_invite, SDP_B));
    let asked = w.last_a("INVITE");
    assert!(header(&asked, "To").contains("tag=ta"));
    assert_eq!(header(&asked, "From"), header(&ok, "To"));
    w.a(b_says(200, &asked, "", SDP_A).replace(B, A));
    w.b(b_asks("ACK", 1, &b_invite, ""));
    w.b(b_asks("BYE", 2, &b_invite, ""));
    let bye = w.last_a("BYE");
    w.a(b_says(200, &bye, "", ""));
    let account = w.account();
    assert_eq!((account.hold_count, account.hold_ms), (1, 700), "the hold lasted over the gap");
    w.assert_clean();
}

#[test]
fn the_relay_believes_whom_it_believed() {
    let mut w = World::new();
    talking(&mut w);
    let call = w.snapshots[0].0;
    let at = w.now;
    let source = "192.0.2.11:40000".parse().unwrap();
    w.input(Input::Media(MediaEvent::Latched { call, side: Side::A, source, at }));
    w.media.clear();
    assert_eq!(w.crash(DOWN), REVIVED);
    let peers = w.media.iter().filter_map(|c| match c {
        MediaCommand::Peer { side, media, .. } => media.as_ref().map(|m| (*side, m.rtp, m.source)),
        _ => None,
    });
    let peers: Vec<_> = peers.collect();
    let (a, b) = ("192.0.2.11:6000".parse().unwrap(), "198.51.100.21:7000".parse().unwrap());
    assert_eq!(peers, [(Side::A, a, Some(source)), (Side::B, b, None)]);
    assert!(matches!(w.media.last(), Some(MediaCommand::Mark { .. })), "no bridge was seen yet");
    let at = w.now;
    w.input(Input::Media(MediaEvent::Latched { call, side: Side::A, source, at }));
    w.input(Input::Media(MediaEvent::Silent { call, since: at }));
    let started = w.whats().iter().filter(|f| **f == "MediaStarted").count();
    assert_eq!((started, w.account().end_party), (1, Party::Timeout));
}

#[test]
fn a_peer_that_hung_up_meanwhile_is_found_out() {
    for (gone, code) in [(Side::A, 481), (Side::B, 481), (Side::B, 405)] {
        let mut w = World::new();
        let (ok, _) = talking(&mut w);
        assert_eq!(w.crash(Duration::from_secs(40)), REVIVED);
        w.pass(Duration::from_secs(4));
        let (a, b) = (w.last_a("OPTIONS"), w.last_b("OPTIONS"));
        w.a(b_says(if gone == Side::A { code } else { 200 }, &a, "", ""));
        w.b(b_says(if gone == Side::B { code } else { 200 }, &b, "", ""));
        if code == 405 {
            w.pass(Duration::from_secs(60));
            w.a(a_asks("BYE", 2, &ok, ""));
            assert_eq!(w.account().outcome, Outcome::Connected);
        } else {
            let bye = if gone == Side::A { w.last_b("BYE") } else { w.last_a("BYE") };
            assert!(header(&bye, "Reason").contains("hung up during a restart"));
            let account = w.account();
            assert_eq!((account.outcome, account.recovered), (Outcome::Recovered, true));
            assert_eq!(account.reason, format!("{gone} hung up during a restart"));
        }
        w.assert_clean();
    }
}

#[test]
fn a_peer_that_does_not_answer_the_question_keeps_its_call() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    assert_eq!(w.crash(DOWN), REVIVED);
    w.pass(Duration::from_secs(60));
    assert_eq!(w.switch.gauges().calls, 1);
    w.a(a_asks("BYE", 2, &ok, ""));
    w.assert_clean();
}

#[test]
fn a_call_may_outlive_several_crashes() {
    let mut w = World::new();
    let (ok, b_invite) = talking(&mut w);
    for _ in 0..3 {
        assert_eq!(w.crash(DOWN), REVIVED);
    }
    w.b(b_asks("BYE", 1, &b_invite, ""));
    assert_eq!(w.account().end_party, Party::Customer);
    assert_eq!(header(&w.last_a("BYE"), "From"), header(&ok, "To"));
    w.assert_clean();
}

#[test]
fn across_a_reboot_times_are_told_by_the_wall_clock() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    let hold = SDP_A.replace("t=0 0", "t=0 0\r\na=sendonly");
    w.a(a_asks("INVITE", 2, &ok, &hold));
    w.b(b_says(200, &w.last_b("INVITE"), "", SDP_B));
    w.a(a_asks("ACK", 2, &ok, ""));
    // Half a minute later, on a machine that has been up for ten seconds.
    w.now = Moment::new(10_000_000_000, w.now.wall + 30_000_000_000);
    assert_eq!(w.restart(false), REVIVED);
    w.pass(Duration::from_secs(1));
    w.a(a_asks("BYE", 3, &ok, ""));
    let account = w.account();
    assert!(account.wall_spans && account.recovered);
    assert_eq!((account.hold_ms, account.outcome), (31_000, Outcome::Connected));
    let span = account.times.end.unwrap().wall - account.times.agent.unwrap().wall;
    assert_eq!(span, 31_000_000_000);
    assert!(account.times.invite <= account.times.agent.unwrap());
    w.assert_clean();
}

#[test]
fn a_call_whose_ports_or_socket_are_gone_is_closed_on_both_sides() {
    for (is, becomes) in [("10_000", ""), ("192.0.2.1:5060", "192.0.2.1:5070")] {
        let mut w = World::new();
        talking(&mut w);
        let found = match becomes {
            "" => w.restart_with(|node| node.ports[0].evens.retain(|port| *port >= 20_000)),
            _ => w.restart_with(|node| {
                let local = &mut node.setup.locals[0];
                local.sent_by = local.sent_by.replace(is, becomes);
            }),
        };
        assert_eq!(found, CLOSED);
        let (a, b) = (w.last_a("BYE"), w.last_b("BYE"));
        assert!(cseq(&b) > 1);
        assert!(header(&a, "To").contains("tag=ta") && header(&b, "To").contains("tag=tb"));
        assert_eq!((w.account().outcome, w.account().recovered), (Outcome::Recovered, true));
        assert!(w.account().times.agent.is_some());
        w.a(b_says(200, &a, "", ""));
        w.b(b_says(200, &b, "", ""));
        w.assert_clean();
    }
}

#[test]
fn a_ringing_call_gets_503_and_cancel() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, "", ""));
    assert_eq!(w.crash(DOWN), CLOSED);
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
    assert_eq!(w.crash(DOWN), CLOSED);
    w.to_b.clear();
    w.b(b_says(200, &b_invite, "", SDP_B));
    assert_eq!(w.heard_b(), ["ACK", "BYE"]);
    w.assert_clean();
}

/// A re-INVITE of A has gone to B as the node dies; gives A's 200 and the re-INVITE.
fn cut_while_asking(w: &mut World) -> (String, String) {
    let (ok, _) = talking(w);
    w.a(a_asks("INVITE", 2, &ok, &SDP_A.replace("t=0 0", "t=0 0\r\na=sendonly")));
    let asked = w.last_b("INVITE");
    assert_eq!(w.crash(DOWN), REVIVED);
    w.to_a.clear();
    w.to_b.clear();
    (ok, asked)
}

#[test]
fn a_late_481_after_the_restart_is_acknowledged_and_ends_the_call() {
    let mut w = World::new();
    let (_, asked) = cut_while_asking(&mut w);
    w.b(b_says(481, &asked, "", ""));
    let ack = w.last_b("ACK");
    for name in ["Via", "From", "Call-ID"] {
        assert_eq!(header(&ack, name), header(&asked, name), "{ack}");
    }
    assert_eq!(header(&ack, "CSeq"), "2 ACK");
    w.last_a("BYE");
    assert_eq!(w.account().outcome, Outcome::Recovered);
    w.b(b_says(481, &asked, "", ""));
    assert_eq!(w.heard_b().pop().as_deref(), Some("ACK"), "and so is each copy");
}

#[test]
fn another_late_refusal_after_the_restart_is_acknowledged() {
    let mut w = World::new();
    let (ok, asked) = cut_while_asking(&mut w);
    w.b(b_says(488, &asked, "", ""));
    assert_eq!((w.heard_a(), w.heard_b()), (vec![], vec!["ACK".to_owned()]));
    w.a(a_asks("BYE", 3, &ok, ""));
    let bye = w.last_b("BYE");
    w.b(b_says(200, &bye, "", ""));
    assert_eq!(w.account().outcome, Outcome::Connected);
    w.assert_clean();
}

#[test]
fn a_late_2xx_after_the_restart_is_acknowledged_and_points_the_relay() {
    let mut w = World::new();
    let (_, asked) = cut_while_asking(&mut w);
    w.media.clear();
    let moved = SDP_B.replace("c=IN IP4 198.51.100.21", "c=IN IP4 198.51.100.77");
    assert_ne!(moved, SDP_B);
    w.b(b_says(200, &asked, "", &moved));
    assert_eq!((w.heard_a(), w.heard_b()), (vec![], vec!["ACK".to_owned()]));
    assert!(format!("{:?}", w.media).contains("198.51.100.77"), "{:?}", w.media);
}

#[test]
fn numbers_that_a_full_journal_did_not_keep_are_not_used_again() {
    let mut w = World::new();
    let (ok, b_invite) = talking(&mut w);
    let kept = w.snapshots.clone();
    w.a(a_asks("INVITE", 2, &ok, SDP_A));
    let asked = w.last_b("INVITE");
    w.b(b_says(200, &asked, "", SDP_B));
    w.a(a_asks("ACK", 2, &ok, ""));
    w.b(b_asks("INVITE", 7, &b_invite, SDP_B));
    let (at_a, at_b) = (cseq(&w.last_a("INVITE")), cseq(&asked));
    w.snapshots.clone_from(&kept);
    assert_eq!(w.crash(DOWN), REVIVED);
    w.pass(Duration::from_secs(5));
    let (at_a, at_b) = (at_a.max(cseq(&w.last_a("OPTIONS"))), at_b.max(cseq(&w.last_b("OPTIONS"))));
    // Nor were the first words of the second run kept.
    w.snapshots = kept;
    assert_eq!(w.crash(DOWN), REVIVED);
    w.input(Input::Command(Command::Hangup { call: w.snapshots[0].0 }));
    assert!(cseq(&w.last_a("BYE")) > at_a && cseq(&w.last_b("BYE")) > at_b);
}

#[test]
fn a_copy_of_the_invite_that_was_held_back_is_no_new_call() {
    let mut w = World::new();
    talking(&mut w);
    assert_eq!(w.crash(DOWN), REVIVED);
    w.a(invite("", SDP_A));
    assert_eq!((w.heard_a(), w.heard_b(), w.switch.gauges().calls), (vec![], vec![], 1));
    w.a(invite("", SDP_A).replace("tag=ta", "tag=other").replace("z9hG4bKa1", "z9hG4bKa2"));
    assert_eq!(w.switch.gauges().calls, 2, "another of that caller");
}

#[test]
fn a_copy_of_the_invite_of_a_call_that_is_over_is_refused_and_another_try_is_not() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(w.crash(DOWN), CLOSED);
    w.to_a.clear();
    w.a(invite("", SDP_A));
    assert_eq!(w.heard_a(), ["503 INVITE"]);
    let again = invite("", SDP_A).replace("CSeq: 1", "CSeq: 3").replace("z9hG4bKa1", "z9hG4bKa3");
    w.a(again);
    assert_eq!(w.heard_a(), ["100 INVITE"]);
}

#[test]
fn a_call_that_was_ending_has_one_account_only() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(w.whats().iter().filter(|f| **f == "Ended").count(), 1);
    assert_eq!(w.crash(DOWN), CLOSED);
    w.to_a.clear();
    w.last_b("BYE");
    // Its 200 was lost with us.
    w.a(a_asks("BYE", 2, &ok, "").replace("BYE2", "BYE2x"));
    assert_eq!(w.heard_a(), ["200 BYE"]);
    w.pass(Duration::from_secs(60));
    assert_eq!(w.switch.gauges().calls, 0);
    w.assert_clean();
}

#[test]
fn a_late_offer_is_answered_after_the_restart() {
    let mut w = World::new();
    w.a(invite("", ""));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    w.to_a.clear();
    assert_eq!(w.crash(DOWN), REVIVED);
    assert_eq!(w.last_a("200 INVITE"), ok, "sent again until its ACK");
    w.to_b.clear();
    w.b(b_says(200, &b_invite, "", SDP_B));
    assert!(w.heard_b().is_empty(), "the answer has not come yet");
    w.a(a_asks("ACK", 1, &ok, SDP_A));
    let ack = w.last_b("ACK");
    assert!(header(&ack, "CSeq") == "1 ACK" && ack.contains("m=audio"));
    assert_eq!(w.crash(DOWN), REVIVED);
    w.to_b.clear();
    w.b(b_says(200, &b_invite, "", SDP_B));
    assert_eq!(w.last_b("ACK"), ack, "a copy is acknowledged with the same answer");
    w.a(a_asks("BYE", 2, &ok, ""));
    w.assert_clean();
}

#[test]
fn a_damaged_snapshot_is_told_and_harms_nobody() {
    let mut w = World::new();
    talking(&mut w);
    let call = w.snapshots[0].0;
    let bytes = w.switch.snapshot(call).unwrap();
    let mut fresh = World::new();
    let now = fresh.now;
    for length in 0..bytes.len() {
        let mut out = Output::default();
        fresh.switch.recover(now, &[(call, bytes[..length].to_vec())], true, &mut out);
        assert_eq!(out.notes.len(), 1, "{length}");
        assert_eq!(fresh.switch.gauges().calls, 0);
    }
}

#[test]
fn flow_56_the_end_of_a_forks_second_answer_outlives_a_crash() {
    let mut w = World::new();
    let (ok, b_invite) = talking(&mut w);
    let other = b_says(200, &b_invite, "", SDP_B).replace("tag=tb", "tag=other");
    w.b(other.clone());
    let bye = w.last_b("BYE");
    assert!(header(&bye, "To").ends_with("tag=other"), "{bye}");
    w.to_b.clear();
    // Its copy is acknowledged, and not ended once more.
    w.b(other);
    assert_eq!(w.heard_b(), ["ACK"]);
    assert_eq!(w.crash(DOWN), REVIVED);
    let again = w.last_b("BYE");
    assert!(header(&again, "To").ends_with("tag=other"), "{again}");
    w.b(b_says(200, &again, "", ""));
    w.to_b.clear();
    w.pass(Duration::from_millis(200));
    w.a(a_asks("BYE", 2, &ok, ""));
    let bye = w.last_b("BYE");
    assert!(header(&bye, "To").ends_with("tag=tb"), "{bye}");
    w.b(b_says(200, &bye, "", ""));
    w.assert_clean();
}
