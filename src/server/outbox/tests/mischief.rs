//! Receivers that are dead, slow, lying or huge: nothing is lost, nobody else waits.

use std::net::TcpListener;
use std::sync::atomic::AtomicBool;

use cooee_store::outbox::{State, Which};

use super::*;

/// A receiver that does to the first attempt of each letter of call `n` what `first` says.
fn mischievous(first: Vec<Reply>) -> Receiver {
    let calls: Vec<String> = (0..first.len() as u32).map(|n| id(n).to_string()).collect();
    Receiver::start(move |got| {
        let n = calls.iter().position(|call| *call == got.call()).unwrap();
        if got.nth == 1 && got.json()["sequence"] == 1 { first[n].clone() } else { say(200) }
    })
}

#[test]
fn whatever_fails_is_tried_again_and_nothing_overtakes_it() {
    let head = |text: &str| Reply::Say(format!("HTTP/1.1 {text}\r\nContent-Length: 0\r\n\r\n"));
    let receiver = mischievous(vec![
        say(500),
        say(404),
        head("301 Moved\r\nLocation: /elsewhere"),
        head("429 Slow Down\r\nRetry-After: 1"),
        Reply::Stall(String::new()),
        Reply::Drip,
        Reply::Reset,
        Reply::Stall("HTTP/1.1 200".to_owned()),
        Reply::Flood("HTTP/1.1 200 OK\r\n\r\n".replace("\r\n\r\n", "\r\nX: y\r\n")),
        Reply::Say("SMTP 220 hello\r\n".to_owned()),
    ]);
    let mut ground = Ground::one(&receiver);
    ground.webhooks[0].timeout_ms = 300;
    ground.calls(0..10);
    let outbox = ground.outbox();
    until("all arrive", || ground.tally() == (0, 0, 50));
    assert_faithful(&receiver.got(), 10, 5);
    assert!(receiver.got().iter().all(|got| got.head.starts_with("POST /hook?x=1 ")));
    until("figures are told", || figures(&outbox, "ops").waiting == 0);
    let figures = figures(&outbox, "ops");
    assert_eq!((figures.delivered, figures.failed_status), (50, 4));
    assert_eq!(figures.failed_timeout + figures.failed_transport, 6, "{figures:?}");
    assert!(figures.failed_timeout >= 3 && figures.failed_transport >= 2, "{figures:?}");
    let attempts: Vec<u32> =
        ground.letters().iter().filter(|l| l.sequence == 1).map(|l| l.attempts).collect();
    assert_eq!(attempts, [2; 10]);
}

#[test]
fn a_2xx_counts_whatever_its_body() {
    let receiver = mischievous(vec![
        Reply::Stall("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab".to_owned()),
        Reply::Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nno".to_owned()),
        Reply::Say("HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab".to_owned()),
        Reply::Stall("HTTP/1.1 201 OK\r\nContent-Length: 99999999999\r\n\r\n".to_owned()),
        Reply::Flood(format!("HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n{:9000}", "")),
        say(204),
    ]);
    let ground = Ground::one(&receiver);
    ground.calls(0..6);
    let _outbox = ground.outbox();
    until("all arrive", || ground.tally() == (0, 0, 30));
    assert_faithful(&receiver.got(), 6, 5);
    assert_eq!(receiver.got().len(), 30, "none is sent twice");
}

#[test]
fn a_410_is_a_dead_letter_at_once_and_can_be_retried() {
    let gone = Arc::new(AtomicBool::new(true));
    let is_gone = Arc::clone(&gone);
    let receiver = Receiver::start(move |got| {
        let first = got.json()["sequence"] == 1;
        say(if first && is_gone.load(Ordering::Acquire) { 410 } else { 200 })
    });
    let ground = Ground::one(&receiver);
    ground.calls(0..1);
    let _outbox = ground.outbox();
    until("the others arrive", || ground.tally() == (0, 1, 4));
    let dead = &ground.letters()[0];
    assert_eq!((dead.state, dead.attempts, dead.last_status), (State::Dead, 1, Some(410)));
    assert_eq!(dead.last_error.as_deref(), Some("410 Gone"));
    gone.store(false, Ordering::Release);
    assert_eq!(ground.store().outbox_retry(&Which::One(dead.id)).unwrap(), 1);
    until("it arrives too", || ground.tally() == (0, 0, 5));
    let got = receiver.got();
    assert_eq!((&got[0].id, &got[0].body), (&got[5].id, &got[5].body));
}

#[test]
fn who_hangs_is_probed_alone_and_nobody_else_waits() {
    let awake = Arc::new(AtomicBool::new(false));
    let is_awake = Arc::clone(&awake);
    let slow = Receiver::start(move |_| {
        if is_awake.load(Ordering::Acquire) { say(200) } else { Reply::Stall(String::new()) }
    });
    let fast = Receiver::start(|_| say(200));
    let mut ground = Ground::new(vec![webhook("slow", &slow.url()), webhook("fast", &fast.url())]);
    ground.webhooks[0].timeout_ms = 200;
    ground.webhooks[0].max_in_flight = 8;
    ground.calls(0..100);
    let outbox = ground.outbox();
    until("the other has all", || fast.events() == 500);
    until("it is taken for away", || figures(&outbox, "slow").paused);
    until("what was under way is over", || slow.busy() == 0);
    let before = slow.got().len();
    until("it is probed", || slow.got().len() > before);
    assert!(slow.busy() <= 1, "one at a time");
    // Eight places; a connection that was given up is seen as such a little later.
    assert!(slow.busiest.load(Ordering::Acquire) <= 16);
    assert_eq!(figures(&outbox, "slow").waiting, 500);
    awake.store(true, Ordering::Release);
    until("it has all too", || ground.tally() == (0, 0, 1000));
    assert_faithful(&slow.got(), 100, 5);
    assert_faithful(&fast.got(), 100, 5);
    until("it is no longer paused", || !figures(&outbox, "slow").paused);
}

#[test]
fn who_was_dead_gets_everything_when_it_is_back() {
    let listener = TcpListener::bind("127.91.0.2:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let ground = Ground::new(vec![webhook("ops", &format!("http://{address}/hook?x=1"))]);
    ground.calls(0..200);
    let outbox = ground.outbox();
    until("it is taken for away", || figures(&outbox, "ops").paused);
    let letter = ground.letters().into_iter().find(|letter| letter.attempts > 0).unwrap();
    assert_eq!((letter.state, letter.last_status), (State::Waiting, None));
    assert!(letter.last_error.unwrap().contains("refused"));
    assert!(ground.store().failing_since("ops").unwrap().is_some());
    // Not even a restart forgets.
    outbox.stop();
    let receiver = Receiver::at(TcpListener::bind(address).unwrap(), |_| say(200));
    let _outbox = ground.outbox();
    until("all arrive", || ground.tally() == (0, 0, 1000));
    assert_faithful(&receiver.got(), 200, 5);
    until("it is noted", || ground.store().failing_since("ops").unwrap().is_none());
}

#[test]
fn who_fails_for_too_long_makes_dead_letters() {
    let receiver =
        Receiver::start(|got| say(if got.call() == id(0).to_string() { 500 } else { 200 }));
    let mut ground = Ground::one(&receiver);
    ground.webhooks[0].give_up_after_s = 1;
    ground.calls(0..2);
    let _outbox = ground.outbox();
    until("they are given up", || ground.tally() == (0, 5, 5));
    let letters = ground.letters();
    let dead: Vec<u32> =
        letters.iter().filter(|l| l.state == State::Dead).map(|l| l.attempts).collect();
    assert!(dead[0] >= 2 && dead[1..] == [1, 1, 1, 1], "{dead:?}");
}

#[test]
fn the_end_does_not_wait_for_a_receiver_that_hangs() {
    let receiver = Receiver::start(|_| Reply::Stall(String::new()));
    let mut ground = Ground::one(&receiver);
    ground.webhooks[0].timeout_ms = 60_000;
    ground.calls(0..50);
    let outbox = ground.outbox();
    until("all places are taken", || receiver.busy() == 32);
    let begun = Instant::now();
    outbox.stop();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    println!("ended after {:?}", begun.elapsed());
    assert_eq!(ground.tally(), (250, 0, 0), "all wait for the next start");
    until("its connections are closed", || receiver.busy() == 0);
}

#[test]
fn a_webhook_that_is_configured_no_longer_keeps_its_letters() {
    let receiver = Receiver::start(|_| say(200));
    let mut ground =
        Ground::new(vec![webhook("old", "http://127.91.0.3:1/"), webhook("ops", &receiver.url())]);
    ground.calls(0..2);
    ground.webhooks.remove(0);
    let outbox = ground.outbox();
    until("the others arrive", || ground.tally() == (10, 0, 10));
    assert_eq!(outbox.meter().read().len(), 1);
    let old = ground.store().outbox_summary().unwrap().remove(0);
    assert_eq!((old.webhook.as_str(), old.waiting), ("old", 10));
    let all = OutboxFilter { webhook: Some("old".into()), ..OutboxFilter::default() };
    assert_eq!(ground.store().outbox_drop(&Which::All(all)).unwrap(), 10);
}
