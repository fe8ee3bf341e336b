//! The portal's word: when the agent answered, and how a call came out that nobody saw answered.

use std::time::Duration;

use cooee_model::account::{AnswerSource, Outcome, Party};
use cooee_model::fact::What;
use cooee_model::ids::Side;
use cooee_model::media::{MediaCommand, MediaEvent};
use cooee_model::moment::Moment;
use cooee_model::portal::{Heard, PortalEvent, PortalWhat};
use cooee_signalling::call::context::Output;
use cooee_signalling::switch::input::Input;

use crate::world::*;

const MS: Duration = Duration::from_millis(1);
const CALL: &str = "1A2B3C4D5E6F7081.1770000050.9000001";

/// The caller of `invite`, as Bitrix24 writes a number.
const CALLER: &str = "61280001111";

impl World {
    /// The portal says it now: the stamp is the whole second of its clock, which is right.
    fn says(&mut self, what: PortalWhat) {
        self.says_of(CALL, self.now.wall / 1_000_000_000, what);
    }

    fn says_of(&mut self, call_id: &str, ts: i64, what: PortalWhat) {
        let (portal, call_id) = ("acme".to_owned(), call_id.to_owned());
        self.input(Input::Portal(PortalEvent { portal, call_id, ts, what }));
    }

    fn forwards(&mut self, side: Side, at: Moment) {
        let call = self.facts[0].call;
        self.input(Input::Media(MediaEvent::Forwarded { call, side, at }));
    }

    fn agent(&self) -> Option<(Moment, u32)> {
        self.facts.iter().find_map(|f| match &f.what {
            What::AgentAnswered { source: AnswerSource::B24Event, err_ms, .. } => {
                Some((f.at, *err_ms))
            }
            _ => None,
        })
    }
}

fn init() -> PortalWhat {
    init_of("sip7", CALLER)
}

fn init_of(line: &str, caller: &str) -> PortalWhat {
    let (line, caller) = (line.to_owned(), caller.to_owned());
    PortalWhat::Init { kind: 2, line, caller, called: "61255501234".to_owned() }
}

fn start() -> PortalWhat {
    PortalWhat::Start { user: "67".to_owned() }
}

fn end(code: &str) -> PortalWhat {
    PortalWhat::End { user: "67".to_owned(), code: code.to_owned(), duration_s: 34 }
}

/// A call that waits for an agent: the platform answered 2 s after the INVITE.
fn queued(w: &mut World) -> (String, String) {
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.pass(MS * 300);
    w.says(init());
    w.b(b_says(183, &b_invite, "", SDP_B));
    w.pass(MS * 1700);
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    w.to_a.clear();
    w.to_b.clear();
    (ok, b_invite)
}

fn b_hangs_up(w: &mut World, b_invite: &str) {
    w.b(b_asks("BYE", 1, b_invite, "").replace(
        "Max-Forwards: 70\r\n",
        "Max-Forwards: 70\r\nReason: SIP;cause=603;text=\"Decline\"\r\n",
    ));
    let bye = w.last_a("BYE");
    w.a(b_says(200, &bye, "", ""));
}

fn a_hangs_up(w: &mut World, ok: &str) {
    w.a(a_asks("BYE", 2, ok, ""));
    let bye = w.last_b("BYE");
    w.b(b_says(200, &bye, "", ""));
}

/// R4-22, R4-30: the seed's call: queue 18 s, connect 18 s, ended by 603, and a good call.
#[test]
fn the_seeds_call_has_its_true_queue_and_connect_time() {
    let mut w = World::with_a_portal();
    let (_, b_invite) = queued(&mut w);
    w.pass(MS * 16_000);
    let answered = w.now;
    w.pass(MS * 400);
    w.says_of(CALL, answered.wall / 1_000_000_000, start());
    let (at, err_ms) = w.agent().expect("the agent's answer");
    assert!(at.since(answered).max(answered.since(at)) <= MS * err_ms, "{at:?} {answered:?}");
    assert!(err_ms <= 1000, "{err_ms}");
    w.pass(MS * 17_600);
    b_hangs_up(&mut w, &b_invite);
    w.says(end("200"));
    let account = w.account().clone();
    assert_eq!((account.outcome, account.end_party), (Outcome::Connected, Party::Agent));
    assert_eq!(account.answer_source, AnswerSource::B24Event);
    assert_eq!(account.agent.as_deref(), Some("67"));
    assert_eq!(account.portal_call_id.as_deref(), Some(CALL));
    let times = account.times;
    assert_eq!(times.queue, times.b_200);
    let near = |span: Duration, s: u64| span.as_millis().abs_diff(u128::from(s) * 1000) <= 1000;
    assert!(near(at - times.invite, 18) && near(times.end.unwrap() - at, 18));
    assert_eq!(times.b_200.unwrap() - times.invite, MS * 2000);
    // The platform holds without telling: that it was never on hold is not known.
    assert_eq!((account.hold_count, account.hold_unknown), (0, true));
    assert_eq!(w.heard, [Heard::Matched; 3]);
    assert!(w.amended().is_none());
    w.assert_clean();
}

#[test]
fn the_answer_lies_inside_its_error_wherever_in_the_second_it_fell() {
    for offset in (0..1000).step_by(37) {
        for delay in [0, 30, 400, 1900, 3500] {
            let mut w = World::with_a_portal();
            w.pass(MS * offset);
            queued(&mut w);
            w.pass(MS * 4321);
            let answered = w.now;
            w.pass(MS * delay);
            w.says_of(CALL, answered.wall.div_euclid(1_000_000_000), start());
            let (at, err_ms) = w.agent().unwrap();
            let apart = at.since(answered).max(answered.since(at));
            assert!(apart <= MS * err_ms, "offset {offset} delay {delay}: {apart:?} > {err_ms}");
            assert!(err_ms <= 1000);
            assert_eq!(w.heard.last(), Some(&Heard::Matched));
        }
    }
}

#[test]
fn the_bridge_is_found_after_the_answer_although_it_is_told_late() {
    let mut w = World::with_a_portal();
    queued(&mut w);
    w.pass(MS * 5000);
    w.says(start());
    let at = w.agent().unwrap().0;
    assert!(w.media.iter().any(|c| matches!(c, MediaCommand::Mark { at: m, .. } if *m == at)));
    w.forwards(Side::A, at + MS * 12);
    w.forwards(Side::B, at + MS * 4);
    let bridged = w.facts.iter().find(|f| matches!(f.what, What::Bridged {})).unwrap();
    assert_eq!(bridged.at, at + MS * 12);
}

#[test]
fn a_customer_who_leaves_the_queue_has_abandoned_it_when_the_portal_says_so() {
    let mut w = World::with_a_portal();
    let (ok, _) = queued(&mut w);
    w.pass(MS * 6000);
    a_hangs_up(&mut w, &ok);
    assert_eq!(w.account().outcome, Outcome::UnknownAgent);
    assert_eq!(w.switch.gauges().calls, 0, "a call that only settles is no live call");
    assert_eq!(w.switch.gauges().settling, 1);
    w.pass(MS * 900);
    w.says(end("304"));
    let amended = w.amended().unwrap();
    assert_eq!((amended.outcome, amended.end_party), (Outcome::Abandoned, Party::Customer));
    assert_eq!((amended.times.agent, &amended.agent), (None, &None));
    assert_eq!(w.switch.gauges().settling, 0);
    w.assert_clean();
}

#[test]
fn a_platform_that_gives_up_the_queue_was_not_answered() {
    let mut w = World::with_a_portal();
    let (_, b_invite) = queued(&mut w);
    w.pass(MS * 6000);
    b_hangs_up(&mut w, &b_invite);
    w.says(end("304"));
    assert_eq!(w.amended().unwrap().outcome, Outcome::NoAnswer);
    w.assert_clean();
}

/// R4-31: what comes after the end may still set agent, answer and outcome, for a while.
#[test]
fn an_answer_heard_after_the_end_amends_the_account() {
    let mut w = World::with_a_portal();
    let (_, b_invite) = queued(&mut w);
    w.pass(MS * 3000);
    let answered = w.now;
    w.pass(MS * 2000);
    b_hangs_up(&mut w, &b_invite);
    assert_eq!(w.account().end_party, Party::Platform);
    w.pass(MS * 5000);
    w.says_of(CALL, answered.wall / 1_000_000_000, start());
    let amended = w.amended().unwrap().clone();
    assert_eq!((amended.outcome, amended.end_party), (Outcome::Connected, Party::Agent));
    let at = amended.times.agent.unwrap();
    let apart = at.since(answered).max(answered.since(at));
    assert!(apart <= MS * amended.answer_err_ms.unwrap());
    assert!(at <= amended.times.end.unwrap());
    let facts = w.facts.len();
    w.says(start());
    w.says(end("200"));
    w.says(end("200"));
    assert_eq!(w.facts.len(), facts, "the end confirms what is known");
    assert_eq!(w.heard[2..], [Heard::Repeated, Heard::Matched, Heard::Late]);
    w.assert_clean();
}

#[test]
fn after_settling_the_account_is_sealed() {
    let mut w = World::with_a_portal();
    let (ok, _) = queued(&mut w);
    w.pass(MS * 3000);
    a_hangs_up(&mut w, &ok);
    w.pass(MS * 29_900);
    assert_eq!(w.switch.gauges().settling, 1);
    w.pass(MS * 200);
    assert_eq!(w.switch.gauges().settling, 0);
    let facts = w.facts.len();
    w.says(start());
    w.says(end("200"));
    assert_eq!((w.facts.len(), w.amended()), (facts, None));
    assert_eq!(w.heard[1..], [Heard::Late, Heard::Late]);
    assert_eq!(w.account().outcome, Outcome::UnknownAgent);
    w.assert_clean();
}

#[test]
fn a_lost_start_leaves_the_time_unknown_and_the_end_tells_the_outcome() {
    let mut w = World::with_a_portal();
    let (_, b_invite) = queued(&mut w);
    w.pass(MS * 9000);
    b_hangs_up(&mut w, &b_invite);
    w.says(end("200"));
    let amended = w.amended().unwrap();
    assert_eq!((amended.outcome, amended.times.agent), (Outcome::Connected, None));
    assert_eq!(amended.agent.as_deref(), Some("67"));
    assert_eq!(amended.answer_source, AnswerSource::None);
    w.assert_clean();
}

#[test]
fn events_in_any_order_come_to_the_same() {
    let mut w = World::with_a_portal();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    let began = w.now.wall / 1_000_000_000;
    w.pass(MS * 2000);
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    w.pass(MS * 3000);
    w.says(start());
    assert!(w.agent().is_none());
    w.pass(MS * 1000);
    w.says_of(CALL, began, init());
    assert!(w.agent().is_some());
    assert_eq!(w.heard, [Heard::Early, Heard::Matched]);
}

#[test]
fn what_fits_no_call_changes_nothing() {
    let mut w = World::with_a_portal();
    let began = w.now.wall / 1_000_000_000;
    queued(&mut w);
    let facts = w.facts.len();
    let other = |n: u8| format!("{n}A2B3C4D5E6F7081.1770000050.9000002");
    w.says_of(&other(1), began, init_of("sip8", CALLER));
    w.says_of(&other(2), began, init_of("sip7", "61491570999"));
    w.says_of(&other(3), began - 60, init());
    w.says_of(&other(4), began, init());
    w.says_of(&other(4), began, init());
    w.says_of(&other(4), began, start());
    w.says_of(
        &other(5),
        began,
        PortalWhat::Init {
            kind: 1,
            line: "sip7".into(),
            caller: CALLER.into(),
            called: "1".into(),
        },
    );
    w.says_of(CALL, began, init());
    let unmatched = [Heard::Unmatched; 4];
    assert_eq!(w.heard[1..5], unmatched);
    assert_eq!(w.heard[5..], [Heard::Repeated, Heard::Unmatched, Heard::Ignored, Heard::Repeated]);
    assert_eq!(w.facts.len(), facts);
}

#[test]
fn a_second_start_changes_nothing() {
    let mut w = World::with_a_portal();
    queued(&mut w);
    w.pass(MS * 2000);
    w.says(start());
    let first = w.agent().unwrap();
    w.pass(MS * 4000);
    w.says(PortalWhat::Start { user: "99".into() });
    assert_eq!(w.facts.iter().filter(|f| matches!(f.what, What::AgentAnswered { .. })).count(), 1);
    assert_eq!((w.agent(), w.heard.last()), (Some(first), Some(&Heard::Repeated)));
}

#[test]
fn a_stamp_that_contradicts_the_call_is_held_to_what_the_call_knows() {
    for wrong in [-3600, 3600] {
        let mut w = World::with_a_portal();
        queued(&mut w);
        w.pass(MS * 4000);
        let ts = w.now.wall / 1_000_000_000 + wrong;
        w.says_of(CALL, ts, start());
        let (at, err_ms) = w.agent().unwrap();
        assert_eq!((w.heard.last(), err_ms), (Some(&Heard::Skewed), 2000));
        assert_eq!(w.now.since(at), MS * 2000, "all that is known: between the 200 and now");
    }
}

#[test]
fn a_call_that_rang_and_was_refused_waits_for_no_portal() {
    let mut w = World::with_a_portal();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.says(init());
    w.b(b_says(486, &b_invite, "", ""));
    assert_eq!((w.account().outcome, w.switch.gauges().settling), (Outcome::Busy, 0));
    w.pass(MS * 40_000);
    w.says(end("486"));
    assert_eq!(w.heard, [Heard::Matched, Heard::Late]);
    w.assert_clean();
}

#[test]
fn a_restart_between_the_end_and_the_portals_word_loses_neither() {
    let mut before = World::with_a_portal();
    let (_, b_invite) = queued(&mut before);
    before.pass(MS * 3000);
    let answered = before.now;
    before.pass(MS * 1000);
    b_hangs_up(&mut before, &b_invite);
    let mut after = World::with_a_portal();
    after.now = before.now + MS * 700;
    let (now, mut out) = (after.now, Output::default());
    after.switch.recover(now, &before.snapshots, true, &mut out);
    after.take(out);
    assert_eq!((after.switch.gauges().calls, after.switch.gauges().settling), (0, 1));
    after.says_of(CALL, answered.wall / 1_000_000_000, start());
    let amended = after.amended().unwrap();
    assert_eq!(amended.outcome, Outcome::Connected);
    assert!(amended.times.agent.is_some() && !amended.recovered);
    let seq = before.facts.last().unwrap().seq;
    assert_eq!(after.facts[0].seq, seq + 1, "facts go on without a gap");
    after.says(end("200"));
    assert_eq!(after.switch.gauges().settling, 0);
}

#[test]
fn the_same_customer_twice_on_a_line_is_told_apart_by_time() {
    let mut w = World::with_a_portal();
    queued(&mut w);
    w.pass(MS * 5000);
    let again = invite("", SDP_A).replace("call-a", "call-b").replace("z9hG4bKa1", "z9hG4bKa9");
    w.a(again);
    w.pass(MS * 300);
    w.says_of("2B.1770000057.1", w.now.wall / 1_000_000_000, init());
    // The first call has its portal call; so there is no doubt.
    assert_eq!(w.heard, [Heard::Matched, Heard::Matched]);
    let linked: Vec<_> = w
        .facts
        .iter()
        .filter_map(|f| match &f.what {
            What::PortalLinked { portal_call_id, .. } => Some((f.call, portal_call_id.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(linked.len(), 2);
    assert_ne!(linked[0].0, linked[1].0);
    assert_eq!(linked[1].1, "2B.1770000057.1");
}
