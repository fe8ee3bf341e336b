//! Verdicts and the breaker on a clock of the test's own.

use super::*;

const S: u64 = 1_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const DAYS: Duration = Duration::from_secs(72 * 3600);

fn status(code: u16) -> Answer {
    Answer::Status { code, retry_after: None }
}

fn asked(code: u16, seconds: u64) -> Answer {
    Answer::Status { code, retry_after: Some(Duration::from_secs(seconds)) }
}

fn at_once(answer: Answer) -> Verdict {
    verdict(answer, 1, 0, Duration::ZERO, DAYS)
}

#[test]
fn each_answer_has_its_verdict() {
    for code in [200, 201, 202, 204, 299] {
        assert_eq!(at_once(status(code)), Verdict::Delivered, "{code}");
    }
    assert_eq!(at_once(asked(200, 9)), Verdict::Delivered);
    assert_eq!(at_once(status(410)), Verdict::Dead);
    let others = [100, 199, 300, 301, 302, 307, 400, 401, 404, 408, 409, 429, 500, 503, 599, 999];
    for answer in others.map(status).into_iter().chain([Answer::TimedOut, Answer::Unreachable]) {
        assert_eq!(at_once(answer), Verdict::Retry(back_off(1, 0)), "{answer:?}");
        assert_eq!(verdict(answer, 1, 9, DAYS, DAYS), Verdict::Dead, "{answer:?}");
    }
    assert_eq!(verdict(status(204), 1, 9, DAYS * 2, DAYS), Verdict::Delivered, "never too late");
}

#[test]
fn waits_double_up_to_five_minutes_and_differ_between_letters() {
    for failures in 0..64 {
        let waits: Vec<Duration> = (0..100).map(|letter| back_off(letter, failures)).collect();
        let least = Duration::from_secs(1 << failures.min(20)).min(Duration::from_secs(240));
        for wait in &waits {
            assert!((least..=least.mul_f64(1.25)).contains(wait), "{failures}: {wait:?}");
            assert!(*wait <= BACK_OFF.1);
        }
        let different: std::collections::BTreeSet<_> = waits.iter().collect();
        assert!(different.len() > 90, "{failures}: {}", different.len());
    }
    assert_eq!(back_off(7, 3), back_off(7, 3));
}

#[test]
fn a_receiver_that_names_a_time_is_heard_up_to_an_hour() {
    let minute = Duration::from_secs(60);
    assert_eq!(at_once(asked(429, 60)), Verdict::Retry(minute));
    assert_eq!(at_once(asked(503, 86_400)), Verdict::Retry(HOUR));
    assert_eq!(at_once(asked(503, 0)), Verdict::Retry(back_off(1, 0)), "never sooner");
    let late = verdict(asked(429, 60), 1, 20, HOUR, DAYS);
    assert_eq!(late, Verdict::Retry(back_off(1, 20)));
}

#[test]
fn retry_after_is_read_in_both_forms() {
    let now_s = 784_111_777 - 90;
    for (text, seconds) in [
        ("120", Some(120)),
        (" 0 ", Some(0)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(90)),
        ("Sun, 06 Nov 1993 08:49:37 GMT", Some(0)),
        ("Sun, 06 Nov 1994 08:49:37 AEST", None),
        ("Sun, 06 ovD 1994 08:49:37 GMT", None),
        ("-1", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("99999999999999999999", None),
    ] {
        assert_eq!(retry_after(text, now_s), seconds.map(Duration::from_secs), "{text}");
    }
}

#[test]
fn one_who_is_away_is_probed_one_at_a_time_until_one_succeeds() {
    let mut breaker = Breaker::default();
    assert_eq!(breaker.room(0, 30, 32), 2);
    let said: Vec<_> = (0..5).map(|_| breaker.answered(0, Answer::TimedOut)).collect();
    assert_eq!(said, [None, None, Some(Change::Fails), None, None], "said once");
    assert_eq!(breaker.room(0, 0, 32), 0);
    // What was under way when the gate fell is no probe.
    assert_eq!(breaker.answered(S / 2, Answer::TimedOut), None);
    assert_eq!(breaker.paused_until_ns(), Some(S));
    let (mut now, mut waits) = (0, Vec::new());
    for _ in 0..8 {
        let at = breaker.paused_until_ns().unwrap();
        waits.push((at - now) / S);
        now = at;
        assert_eq!((breaker.room(now - 1, 0, 32), breaker.room(now, 0, 32)), (0, 1));
        assert_eq!(breaker.room(now, 1, 32), 0, "one at a time");
        assert_eq!(breaker.answered(now, Answer::Unreachable), None);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(breaker.answered(now, status(200)), Some(Change::Works));
    assert_eq!((breaker.room(now, 0, 32), breaker.paused_until_ns()), (32, None));
    assert_eq!(breaker.answered(now, status(200)), None);
}

#[test]
fn one_who_answers_badly_is_there() {
    let mut breaker = Breaker::default();
    for n in 0..100 {
        let change = breaker.answered(n, status(500));
        assert_eq!(change.is_some(), n == 2);
        assert_eq!(breaker.room(n, 0, 32), 32);
    }
    for _ in 0..5 {
        breaker.answered(0, status(502));
    }
    assert_eq!(breaker.room(0, 0, 32), 0, "a gateway says that nobody is there");
    breaker.answered(S, status(400));
    assert_eq!(breaker.room(S, 0, 32), 32);
    for _ in 0..20 {
        breaker.answered(S, asked(503, 60));
    }
    assert_eq!(breaker.room(S, 0, 32), 32, "each letter waits as long as it was told");
    assert_eq!(breaker.answered(S, status(204)), Some(Change::Works));
}

#[test]
fn a_success_in_between_begins_the_count_again() {
    let mut breaker = Breaker::default();
    for _ in 0..50 {
        for _ in 0..2 {
            assert_eq!(breaker.answered(0, Answer::TimedOut), None);
        }
        assert_eq!(breaker.answered(0, status(200)), None);
    }
    assert_eq!(breaker.room(0, 0, 32), 32);
}
