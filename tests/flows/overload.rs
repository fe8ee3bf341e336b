//! More calls than the node may take, and than it can do.

use std::time::Duration;

use cooee_model::fact::Refusal;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::switch::input::Input;
use cooee_signalling::transaction::flow::Flow;

use crate::world::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The INVITE of call `n`.
fn call(n: u32) -> String {
    let text = invite("", SDP_A).replace("call-a", &format!("call-{n}"));
    text.replace("z9hG4bKa1", &format!("z9hG4bKn{n}"))
}

fn options(n: u32) -> String {
    let text = invite("", "").replace("INVITE", "OPTIONS");
    text.replace("z9hG4bKa1", &format!("z9hG4bKo{n}"))
}

/// A message from A that has waited for its turn.
fn waited(w: &mut World, text: String, span: Duration) {
    let flow = Flow { transport: Transport::Udp, socket: 0, remote: A.parse().unwrap() };
    let mut received = w.now;
    received.mono -= u64::try_from(span.as_nanos()).unwrap();
    w.input(Input::Datagram { flow, received, bytes: text.into() });
}

/// A world in which `max_cps` is that.
fn limited(max_cps: u32) -> World {
    let limit = format!("bind = [\"udp:192.0.2.1:5060\"]\nmax_cps = {max_cps}");
    let bypass = ("mode = \"relay\"", "mode = \"bypass\"");
    World::changed(&[("bind = [\"udp:192.0.2.1:5060\", \"tcp:192.0.2.1:5060\"]", &limit), bypass])
}

/// A message from A that comes behind so many that wait, as the engine's queue takes it.
fn comes_behind(w: &mut World, text: String, waiting: usize) {
    let flow = Flow { transport: Transport::Udp, socket: 0, remote: A.parse().unwrap() };
    let (received, bytes) = (w.now, text.into());
    w.input(match w.switch.sheds(waiting) {
        true => Input::Surplus { flow, received, bytes },
        false => Input::Datagram { flow, received, bytes },
    });
}

/// New calls have to wait, call after call, until others would be refused. Gives the next one's
/// number.
fn overloaded(w: &mut World) -> u32 {
    for n in 0..200 {
        // Each 10 ms one that came 30 ms before: there is always one that waits.
        waited(w, call(n), MS * 30);
        if w.switch.sheds(10) {
            assert!(w.rejected.is_empty(), "{:?}", w.rejected);
            return n + 1;
        }
        w.pass(MS * 10);
    }
    panic!("nothing would be refused");
}

#[test]
fn flow_98_calls_past_the_limit_get_503_and_the_limit_is_used() {
    let mut w = limited(200);
    let (mut taken, mut refused) = (0, 0);
    for n in 0..5000 {
        w.a(call(n));
        match w.heard_a().as_slice() {
            [one] if one == "100 INVITE" => taken += 1,
            [one] if one == "503 INVITE" => refused += 1,
            other => panic!("{other:?}"),
        }
        w.pass(MS);
    }
    // Five seconds, and the burst that may be taken ahead.
    assert!((1000..=1100).contains(&taken), "{taken} taken, {refused} refused");
    assert!(w.rejected.iter().all(|r| (r.code, r.why) == (503, Refusal::Limit)));
    w.a(call(6000));
    w.a(call(6001));
    assert_eq!(header(&w.last_a("503 INVITE"), "Retry-After"), "5");
}

#[test]
fn flow_98_a_burst_is_taken_and_the_next_second_takes_another() {
    let mut w = limited(50);
    for second in 0..3 {
        for n in 0..80 {
            w.a(call(1000 * second + n));
        }
        let heard = w.heard_a();
        assert_eq!(heard.iter().filter(|m| *m == "100 INVITE").count(), 50, "{second}");
        assert_eq!(heard.iter().filter(|m| *m == "503 INVITE").count(), 30, "{second}");
        w.pass(SECOND);
    }
}

#[test]
fn flow_98_a_copy_of_a_refused_invite_never_becomes_a_call() {
    let mut w = limited(1);
    w.a(call(1));
    w.a(call(2));
    let first = w.last_a("503 INVITE");
    w.to_a.clear();
    for _ in 0..5 {
        w.pass(SECOND * 2);
        w.a(call(2));
        let again = w.last_a("503 INVITE");
        assert_eq!(header(&again, "To"), header(&first, "To"), "one To tag for one INVITE");
        assert_eq!(header(&again, "Retry-After"), "5");
        assert_eq!(w.rejected.last().map(|r| r.why), Some(Refusal::Repeated));
        w.to_a.clear();
    }
    // And it has taken nothing of what others may have.
    w.a(call(3));
    assert_eq!(w.heard_a(), ["100 INVITE"]);
}

#[test]
fn flow_98_the_ack_of_a_refusal_is_the_end_of_it() {
    let mut w = limited(1);
    w.a(call(1));
    w.a(call(2));
    let refusal = w.last_a("503 INVITE");
    w.to_a.clear();
    let (rejected, before) = (w.rejected.len(), w.switch.gauges());
    let ack = call(2).replace("INVITE", "ACK");
    let to = header(&ack, "To");
    w.a(ack.replace(&format!("To: {to}"), &format!("To: {}", header(&refusal, "To"))));
    assert_eq!((w.heard_a(), w.rejected.len()), (vec![], rejected));
    assert_eq!(w.switch.gauges(), before);
}

#[test]
fn flow_98_a_node_that_does_not_keep_up_refuses_those_who_come_and_serves_those_who_wait() {
    let mut w = limited(100_000);
    let n = overloaded(&mut w);
    // Half a second of them went by first.
    assert!((50..55).contains(&n), "{n}");
    w.to_a.clear();
    comes_behind(&mut w, call(n), 10);
    assert_eq!(header(&w.last_a("503 INVITE"), "Retry-After"), "5");
    assert_eq!(w.rejected.last().map(|r| (r.code, r.why)), Some((503, Refusal::Overload)));
    w.to_a.clear();
    waited(&mut w, call(n + 1), MS * 200);
    assert_eq!(w.heard_a(), ["100 INVITE"], "it has waited long enough");
    // Where few wait the next one is taken.
    comes_behind(&mut w, call(n + 2), 1);
    assert_eq!(w.heard_a(), ["100 INVITE"]);
}

#[test]
fn flow_98_whoever_would_have_to_send_again_is_refused_at_once() {
    let mut w = limited(100_000);
    for n in 0..100 {
        waited(&mut w, call(n), MS);
        waited(&mut w, call(1000 + n), MS);
        w.pass(MS / 2);
    }
    w.to_a.clear();
    // Nothing stands, and no call has taken longer than a millisecond.
    comes_behind(&mut w, call(5000), 100);
    assert_eq!(w.heard_a(), ["100 INVITE"]);
    comes_behind(&mut w, call(5001), 8000);
    w.last_a("503 INVITE");
}

#[test]
fn flow_98_what_is_surplus_is_refused_by_what_it_is() {
    let mut w = limited(100_000);
    let n = overloaded(&mut w);
    w.to_a.clear();
    // A copy of a call that was taken is none: it hears what it was told before.
    comes_behind(&mut w, call(n - 1), 10);
    assert_eq!(w.heard_a(), ["100 INVITE"]);
    // A copy of one that was refused stays refused, whoever looks at it.
    comes_behind(&mut w, call(n), 10);
    waited(&mut w, call(n), MS);
    assert_eq!(w.heard_a(), ["503 INVITE", "503 INVITE"]);
    assert_eq!(w.rejected.last().map(|r| r.why), Some(Refusal::Repeated));
    // A stranger hears nothing.
    let flow =
        Flow { transport: Transport::Udp, socket: 0, remote: "203.0.113.9:5060".parse().unwrap() };
    w.input(Input::Surplus { flow, received: w.now, bytes: call(n + 2).into() });
    assert_eq!(w.rejected.last().map(|r| r.why), Some(Refusal::UnknownSource));
}

#[test]
fn flow_98_calls_in_progress_do_not_notice_the_overload() {
    let mut w = limited(100_000);
    let (ok, _) = talking(&mut w);
    let n = overloaded(&mut w);
    w.to_a.clear();
    w.to_b.clear();
    // However long they have waited.
    waited(&mut w, a_asks("INVITE", 2, &ok, SDP_A), MS * 400);
    let refresh = w.last_b("INVITE");
    w.b(b_says(200, &refresh, "", SDP_B));
    let answer = w.last_a("200 INVITE");
    waited(&mut w, a_asks("ACK", 2, &answer, ""), MS * 400);
    w.to_b.clear();
    waited(&mut w, a_asks("BYE", 3, &ok, ""), MS * 400);
    w.last_a("200 BYE");
    let bye = w.last_b("BYE");
    w.b(b_says(200, &bye, "", ""));
    comes_behind(&mut w, call(n), 10);
    w.last_a("503 INVITE");
}

#[test]
fn flow_98_the_node_is_back_when_its_queue_has_run_empty() {
    let mut w = limited(100_000);
    let n = overloaded(&mut w);
    assert!(w.switch.is_overloaded(w.now));
    w.pass(SECOND);
    w.to_a.clear();
    for n in n..n + 100 {
        comes_behind(&mut w, call(n), 1);
        w.pass(MS * 5);
    }
    assert!(!w.heard_a().iter().any(|heard| heard == "503 INVITE"));
    assert!(!w.switch.is_overloaded(w.now));
}

#[test]
fn flow_26_options_are_answered_by_503_while_new_calls_are_refused() {
    let mut w = limited(1);
    w.a(options(1));
    w.last_a("200 OPTIONS");
    w.a(call(1));
    w.a(call(2));
    w.pass(MS * 500);
    w.a(options(2));
    assert_eq!(header(&w.last_a("503 OPTIONS"), "Retry-After"), "5");
    w.to_a.clear();
    w.pass(SECOND);
    w.a(options(3));
    w.last_a("200 OPTIONS");

    let mut w = limited(100_000);
    overloaded(&mut w);
    w.a(options(1));
    w.last_a("503 OPTIONS");
    w.to_a.clear();
    w.pass(SECOND * 2);
    w.a(options(2));
    w.last_a("200 OPTIONS");
}
