//! Trunks that are asked whether they are there, and what each may carry.

use std::time::Duration;

use cooee_model::account::Outcome;
use cooee_model::command::Command;
use cooee_model::fact::Refusal;
use cooee_model::trunk::{PeerState, TrunkState};
use cooee_signalling::call::context::Output;
use cooee_signalling::switch::input::Input;

use crate::icmp::returned;
use crate::world::*;

const SECOND: Duration = Duration::from_secs(1);
const NO_PINGS: &str = "options_ping = { interval_s = 0 }";
const PINGS: &str = "options_ping = { interval_s = 10, fail_after = 3, ok_after = 2 }";

fn trunk_b(w: &World) -> TrunkState {
    w.switch.trunks(w.now).remove(1)
}

fn peer_b(w: &World) -> PeerState {
    trunk_b(w).peers.remove(0)
}

/// Time goes by until B is asked again, 11 s at most.
fn asked(w: &mut World) -> String {
    for _ in 0..110 {
        w.pass(Duration::from_millis(100));
        if w.to_b.iter().any(|m| title(m) == "OPTIONS") {
            let options = w.last_b("OPTIONS");
            w.to_b.clear();
            return options;
        }
    }
    panic!("B was not asked");
}

#[test]
fn flow_27_a_trunk_is_down_after_three_failures_and_up_after_two_answers() {
    let mut w = World::changed(&[(NO_PINGS, PINGS)]);
    let first = asked(&mut w);
    assert!(first.starts_with("OPTIONS sip:198.51.100.20 SIP/2.0"), "{first}");
    w.pass(Duration::from_millis(40));
    w.b(b_says(200, &first, "", ""));
    let peer = peer_b(&w);
    assert_eq!((peer.state, peer.judged_by), ("up", "options"));
    assert!(peer.rtt.is_some_and(|rtt| (40..141).contains(&rtt.as_millis())), "{peer:?}");
    for n in 0..3 {
        assert_eq!(peer_b(&w).state, "up", "{n}");
        asked(&mut w);
        w.pass(Duration::from_millis(4100));
        w.to_b.clear();
    }
    assert!(peer_b(&w).state == "down" && !trunk_b(&w).is_up());
    for _ in 0..2 {
        assert_eq!(peer_b(&w).state, "down");
        let options = asked(&mut w);
        // Anything but 503 is an answer of one who is there.
        w.b(b_says(404, &options, "", ""));
    }
    assert_eq!(peer_b(&w).state, "up");
}

#[test]
fn flow_11_a_ping_that_icmp_gives_back_is_a_failure() {
    let mut w = World::changed(&[(NO_PINGS, PINGS)]);
    let options = asked(&mut w);
    w.b(b_says(200, &options, "", ""));
    for _ in 0..3 {
        assert_eq!(peer_b(&w).state, "up");
        let options = asked(&mut w);
        returned(&mut w, B, &options);
    }
    assert_eq!(peer_b(&w).state, "down");
    assert_eq!(w.switch.gauges().transactions, (0, 0));
}

#[test]
fn flow_27_503_is_a_failure_and_a_rest_is_kept() {
    let mut w = World::changed(&[(NO_PINGS, PINGS)]);
    for _ in 0..3 {
        let options = asked(&mut w);
        w.b(b_says(503, &options, "", ""));
    }
    assert_eq!((peer_b(&w).state, peer_b(&w).judged_by), ("down", "options"));
    let options = asked(&mut w);
    w.b(b_says(503, &options, "Retry-After: 30\r\n", ""));
    assert_eq!((peer_b(&w).state, peer_b(&w).rest), ("resting", Some(SECOND * 30)));
}

#[test]
fn flow_27_who_never_answered_options_is_judged_by_invites() {
    let mut w = World::changed(&[(NO_PINGS, PINGS)]);
    w.pass(SECOND * 300);
    assert_eq!((peer_b(&w).state, peer_b(&w).judged_by), ("up", "invites"));
    w.to_b.clear();
    for n in 0..3 {
        assert_eq!(peer_b(&w).state, "up");
        let text = invite("", SDP_A).replace("call-a", &format!("call-{n}"));
        w.a(text.replace("z9hG4bKa1", &format!("z9hG4bKn{n}")));
        w.pass(SECOND * 33);
    }
    assert_eq!(peer_b(&w).state, "down");
    // The only one is called all the same, and one answer is proof enough.
    w.to_b.clear();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(486, &b_invite, "", ""));
    assert_eq!(peer_b(&w).state, "up");
}

#[test]
fn flow_27_many_trunks_are_not_asked_at_once() {
    let more: String = (0..100)
        .map(|n| {
            format!(
                "[[trunk]]\nname = \"t{n}\"\nprofile = \"generic-ip-trunk\"\n\
                 peers = [\"203.0.113.{n}:5060\"]\nvars = {{ login = \"t\" }}\nsecret = \"s\"\n"
            )
        })
        .collect();
    let mut w = World::changed(&[(NO_PINGS, PINGS), ("[[route]]", &format!("{more}[[route]]"))]);
    let mut most = 0;
    let mut all = 0;
    for _ in 0..100 {
        w.pass(Duration::from_millis(100));
        let first_copies = w.elsewhere.iter().filter(|(_, m)| m.cseq().is_some());
        let count = first_copies.count();
        w.elsewhere.clear();
        most = most.max(count);
        all += count;
    }
    assert!(all >= 100, "{all}");
    assert!(most <= 20, "{most} in a tenth of a second, copies among them");
}

#[test]
fn a_trunk_has_an_interval_of_its_own_and_it_can_be_changed() {
    let own = "secret = \"s3cret\"\noptions_ping = { interval_s = 5 }";
    let mut w = World::changed(&[("secret = \"s3cret\"", own)]);
    let options = asked(&mut w);
    w.b(b_says(200, &options, "", ""));
    w.reload(|text| text.replace("{ interval_s = 5 }", "{ interval_s = 0 }"));
    w.pass(SECOND * 60);
    assert!(w.heard_b().is_empty());
    w.reload(|text| text.replace("{ interval_s = 0 }\n[[route]]", "{ interval_s = 5 }\n[[route]]"));
    asked(&mut w);
}

#[test]
fn flow_26_options_of_a_trunk_are_answered_and_an_overloaded_node_says_so() {
    let ask = |n: u32| {
        let text = invite("", "").replace("INVITE", "OPTIONS");
        text.replace("z9hG4bKa1", &format!("z9hG4bKo{n}"))
    };
    let sip = format!("{NO_PINGS}\nmax_sessions = 1");
    let mut w = World::changed(&[(NO_PINGS, &sip)]);
    w.a(ask(1));
    let ok = w.last_a("200 OPTIONS");
    assert!(!header(&ok, "Allow").is_empty() && header(&ok, "Accept").contains("application/sdp"));
    w.a(invite("", SDP_A));
    w.a(ask(2));
    assert_eq!(header(&w.last_a("503 OPTIONS"), "Retry-After"), "5");
}

#[test]
fn flow_98_a_trunk_gets_no_more_calls_in_than_its_limits() {
    let limits = "allow = [\"192.0.2.10\"]\nlimits = { cps = 2, sessions = 3 }";
    let mut w = World::changed(&[("allow = [\"192.0.2.10\"]", limits)]);
    let call = |w: &mut World, n: u32| {
        w.to_a.clear();
        let text = invite("", SDP_A).replace("call-a", &format!("call-{n}"));
        w.a(text.replace("z9hG4bKa1", &format!("z9hG4bKn{n}")));
        w.heard_a().pop()
    };
    assert_eq!(call(&mut w, 1).as_deref(), Some("100 INVITE"));
    assert_eq!(call(&mut w, 2).as_deref(), Some("100 INVITE"));
    assert_eq!(call(&mut w, 3).as_deref(), Some("503 INVITE"), "the third in one second");
    assert_eq!(w.rejected.last().map(|r| (r.code, r.why)), Some((503, Refusal::Limit)));
    w.pass(SECOND);
    assert_eq!(call(&mut w, 4).as_deref(), Some("100 INVITE"));
    w.pass(SECOND);
    assert_eq!(call(&mut w, 5).as_deref(), Some("503 INVITE"), "the fourth at a time");
    assert_eq!(w.switch.trunks(w.now).first().map(|t| t.calls), Some(3));
    w.pass(SECOND * 120);
    assert_eq!(call(&mut w, 6).as_deref(), Some("100 INVITE"));
}

#[test]
fn flow_98_a_trunk_gets_no_more_calls_out_than_its_limits() {
    let limits = "secret = \"s3cret\"\nlimits = { sessions = 1 }";
    let mut w = World::changed(&[("secret = \"s3cret\"", limits)]);
    let (ok, _) = talking(&mut w);
    assert_eq!(trunk_b(&w).calls, 1);
    let second = invite("", SDP_A).replace("call-a", "call-b").replace("z9hG4bKa1", "z9hG4bKn2");
    w.a(second);
    assert_eq!(header(&w.last_a("503 INVITE"), "Retry-After"), "5");
    assert!(w.heard_b().is_empty());
    w.a(a_asks("BYE", 2, &ok, ""));
    let bye = w.last_b("BYE");
    w.b(b_says(200, &bye, "", ""));
    assert_eq!(trunk_b(&w).calls, 0);
}

#[test]
fn flow_17_a_hears_100_at_once_though_b_is_silent() {
    let mut w = World::new();
    let began = w.now;
    w.a(invite("", SDP_A));
    assert_eq!((w.heard_a(), w.now), (vec!["100 INVITE".to_owned()], began));
}

#[test]
fn flow_38_a_dead_b_frees_its_leg_and_the_record_is_closed_once() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(w.account().outcome, Outcome::Connected);
    w.pass(SECOND * 33);
    assert_eq!((w.switch.gauges().calls, trunk_b(&w).calls), (0, 0));
    w.assert_clean();
}

#[test]
fn flow_101_a_long_ring_is_told_to_a_every_minute() {
    let mut w = World::changed(&[("timeout_s = 30", "timeout_s = 200")]);
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, "", SDP_B));
    let first = w.last_a("183 INVITE");
    w.to_a.clear();
    for minute in 1..4 {
        w.pass(SECOND * 60);
        assert_eq!(w.last_a("183 INVITE"), first);
        assert_eq!(w.heard_a(), ["183 INVITE"], "{minute}");
    }
    w.pass(SECOND * 20);
    assert_eq!(w.heard_a(), ["480 INVITE"]);
    w.assert_clean();
}

#[test]
fn flow_101_a_b_that_only_tries_is_told_as_183() {
    let mut w = World::changed(&[("timeout_s = 30", "timeout_s = 200")]);
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(100, &b_invite, "", ""));
    w.to_a.clear();
    w.pass(SECOND * 61);
    let news = w.last_a("183 INVITE");
    assert!(header(&news, "To").contains(";tag=") && !news.contains("v=0"), "{news}");
}

/// B is up, and A waits for the agent's answer with early media.
fn held_back() -> (World, String) {
    let mut w = World::changed(&[
        ("ROLE", "agent-leg"),
        (
            "from = \"a\"",
            "from = \"a\"\nanswer_source = \"b24_event\"\nanswer_propagation = \"agent\"",
        ),
    ]);
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.to_b.clear();
    w.b(b_says(200, &b_invite, "", SDP_B));
    assert_eq!(w.heard_b(), ["ACK"]);
    assert!(w.last_a("183 INVITE").contains("m=audio 100"));
    assert_eq!(w.heard_a(), ["100 INVITE", "183 INVITE"]);
    (w, b_invite)
}

#[test]
fn flow_102_a_cancels_while_b_is_up() {
    let (mut w, _) = held_back();
    w.a(a_cancels());
    assert_eq!(w.heard_a(), ["200 CANCEL", "487 INVITE"]);
    assert_eq!(w.heard_b(), ["BYE"]);
    assert_eq!(w.account().outcome, Outcome::Canceled);
    w.assert_clean();
}

#[test]
fn flow_103_b_ends_while_a_is_early() {
    let (mut w, b_invite) = held_back();
    w.b(b_asks("BYE", 1, &b_invite, ""));
    assert_eq!(w.heard_a(), ["480 INVITE"], "never 200 and BYE");
    assert_eq!(w.heard_b(), ["200 BYE"]);
    w.assert_clean();
}

#[test]
fn flow_103_a_crash_while_a_is_early_refuses_a_and_ends_b() {
    let (w, _) = held_back();
    let mut after = World::new();
    after.now = w.now + SECOND;
    let mut out = Output::default();
    after.switch.recover(after.now, &w.snapshots, true, &mut out);
    after.snapshots.clone_from(&w.snapshots);
    after.take(out);
    assert_eq!(after.heard_a(), ["503 INVITE"]);
    assert_eq!(after.heard_b(), ["BYE"]);
}

#[test]
fn an_answer_that_was_held_back_goes_to_a_with_the_agents() {
    use cooee_model::portal::{PortalEvent, PortalWhat};
    let portal = "[admin]\nhooks_bind = \"127.0.0.1:8061\"\n[[portal]]\nid = \"acme\"\n\
        application_token = \"0123456789abcdef\"\n[[did]]";
    let mut w = World::changed(&[
        ("[[did]]", portal),
        ("PROFILE", "voximplant"),
        ("ROLE", "agent-leg"),
        ("from = \"a\"", "from = \"a\"\nanswer_propagation = \"agent\""),
    ]);
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    let says = |w: &mut World, what: PortalWhat| {
        let (portal, call_id) = ("acme".to_owned(), "one".to_owned());
        let ts = w.now.wall / 1_000_000_000;
        w.input(Input::Portal(PortalEvent { portal, call_id, ts, what }));
    };
    let (line, caller) = ("sip7".to_owned(), "61280001111".to_owned());
    let called = "61255501234".to_owned();
    says(&mut w, PortalWhat::Init { kind: 2, line, caller, called });
    w.b(b_says(200, &b_invite, "", SDP_B));
    let early = w.last_a("183 INVITE");
    assert!(!w.heard_a().contains(&"200 INVITE".to_owned()));
    w.pass(SECOND * 16);
    says(&mut w, PortalWhat::Start { user: "67".to_owned() });
    let ok = w.last_a("200 INVITE");
    assert_eq!(ok.split("\r\n\r\n").nth(1), early.split("\r\n\r\n").nth(1), "the same answer");
    w.a(a_asks("ACK", 1, &ok, ""));
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(w.account().outcome, Outcome::Connected);
}

#[test]
fn flow_27_a_trunk_is_asked_at_once_when_an_operator_wants_it() {
    let mut w = World::changed(&[(NO_PINGS, "options_ping = { interval_s = 0 }")]);
    let order = || Input::Command(Command::Ping { trunk: "b".to_owned() });
    w.input(order());
    let options = w.last_b("OPTIONS");
    w.pass(Duration::from_millis(30));
    w.b(b_says(503, &options, "", ""));
    let peer = peer_b(&w);
    assert_eq!((peer.pings, peer.said, peer.rtt), (1, 503, Some(Duration::from_millis(30))));
    w.input(order());
    w.pass(Duration::from_millis(4100));
    assert_eq!((peer_b(&w).pings, peer_b(&w).said), (2, 0), "it had four seconds");
    w.to_b.clear();
    w.pass(SECOND * 60);
    assert!(w.heard_b().is_empty(), "asked once, for a trunk that is not asked by itself");
    w.input(Input::Command(Command::Ping { trunk: "nobody".to_owned() }));
    assert!(w.heard_b().is_empty());
}
