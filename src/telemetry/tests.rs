//! Facts in, figures out: the catalogue as Prometheus reads it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cooee_model::account::{Account, AnswerSource, Outcome, Party, Role};
use cooee_model::fact::{Refusal, What};
use cooee_model::ids::CallId;
use cooee_model::media::{Quality, StreamStats};
use cooee_model::portal::Heard;

use crate::callbacks::OutboxFigures;
use crate::catalog::ROWS;
use crate::limits::NAMES_MAX;
use crate::measure::Window;
use crate::row::Kind;
use crate::stats::Direction;
use crate::*;

const START: Moment = Moment::new(0, 1_700_000_000_000_000_000);

fn telemetry() -> Arc<Telemetry> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let identity = Identity {
        node: "syd-1".to_owned(),
        version: "0.1.0".to_owned(),
        trunks: names(&["unitalk", "b24"]),
        routes: names(&["dialer-agents"]),
        webhooks: names(&["ops", "crm"]),
    };
    Arc::new(Telemetry::new(identity, START))
}

/// The figure of one series; `None` where it is missing.
fn figure(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.split(' ').next() == Some(series))?;
    line.split(' ').nth(1)?.parse().ok()
}

fn fact(call: u64, seq: u32, what: What) -> Fact {
    let at = START + Duration::from_secs(u64::from(seq));
    Fact { call: CallId::new(call, 0), seq, at, what }
}

fn invited(call: u64, trunk: &str) -> Fact {
    let what = What::Invited {
        trunk: trunk.to_owned(),
        source: String::new(),
        sip_call_id: String::new(),
        customer: "+61491570156".to_owned(),
        called: String::new(),
        external_id: None,
        autodialer: None,
    };
    fact(call, 0, what)
}

fn forwarded(call: u64, did_rule: &str) -> Fact {
    let what = What::Forwarded {
        trunk: "b24".to_owned(),
        route: "dialer-agents".to_owned(),
        role: Role::AgentLeg,
        did: String::new(),
        did_rule: did_rule.to_owned(),
        attempt: 1,
        sip_call_id: String::new(),
    };
    fact(call, 1, what)
}

fn ended(call: u64, set: impl FnOnce(&mut Account)) -> Fact {
    let mut account = Account::new(CallId::new(call, 0), "syd-1", START);
    set(&mut account);
    fact(call, 90, What::Ended { account: Box::new(account) })
}

#[test]
fn flow_80_presses_are_counted_by_what_became_of_them() {
    let telemetry = telemetry();
    let presses = telemetry.media.presses.iter().zip(1..);
    presses.for_each(|(cell, n)| cell.store(n, Ordering::Relaxed));
    telemetry.media.kept.store(10, Ordering::Relaxed);
    let text = telemetry.exposition();
    for (result, n) in [("heard", 1.0), ("played", 2.0), ("dropped", 3.0)] {
        let series = format!("cooee_dtmf_presses_total{{result=\"{result}\"}}");
        assert_eq!(figure(&text, &series), Some(n), "{text}");
    }
    assert_eq!(figure(&text, "cooee_rtp_packets_total{result=\"kept\"}"), Some(10.0));
}

#[test]
fn every_row_is_exposed_at_zero_from_the_start() {
    let text = telemetry().exposition();
    assert!(text.ends_with("# EOF\n"));
    let mut names = BTreeSet::new();
    for row in ROWS {
        assert!(names.insert(row.name), "{} twice", row.name);
        assert!(!row.help.is_empty() && row.name.starts_with("cooee_"), "{}", row.name);
        let (family, kind) = match row.kind {
            Kind::Counter(_) => (row.name.strip_suffix("_total").unwrap(), "counter"),
            Kind::Gauge(_) => (row.name, "gauge"),
            Kind::Histogram(_) => (row.name, "histogram"),
        };
        assert!(text.contains(&format!("# HELP {family} {}", row.help)), "{}", row.name);
        assert!(text.contains(&format!("# TYPE {family} {kind}\n")), "{}", row.name);
        let sample = match row.kind {
            Kind::Histogram(_) => format!("{}_count", row.name),
            _ => row.name.to_owned(),
        };
        let series: Vec<&str> = text
            .lines()
            .filter(|line| {
                line.strip_prefix(&sample).is_some_and(|rest| rest.starts_with([' ', '{']))
            })
            .collect();
        assert!(!series.is_empty(), "{} has no series", row.name);
        for line in series {
            row.labels.iter().for_each(|label| assert!(line.contains(&format!("{label}=\""))));
            let constant = ["cooee_build_info", "cooee_start_time_seconds"];
            assert!(line.ends_with(" 0") != constant.contains(&row.name), "{line}");
        }
    }
    // Nothing is exposed that the catalogue does not name.
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let family = line.split(' ').next().unwrap();
        assert!(ROWS.iter().any(|row| row.name.trim_end_matches("_total") == family));
    }
}

#[test]
fn every_measure_has_its_row() {
    for measure in Measure::ALL {
        let rows = ROWS.iter().filter(|row| matches!(row.kind, Kind::Histogram(m) if m == measure));
        assert_eq!(rows.count(), 1, "{}", measure.name());
    }
}

#[test]
fn facts_become_figures() {
    let telemetry = telemetry();
    telemetry.observe(&invited(1, "unitalk"));
    telemetry.observe(&forwarded(1, "sticky"));
    telemetry.observe(&fact(1, 2, What::PlatformAnswered {}));
    let text = telemetry.exposition();
    let up = "cooee_sessions{state=\"answered\",role=\"agent-leg\"}";
    assert_eq!(figure(&text, up), Some(1.0));
    telemetry.observe(&ended(1, |account| {
        account.route = "dialer-agents".to_owned();
        account.outcome = Outcome::Connected;
        account.end_party = Party::Customer;
        account.answer_source = AnswerSource::Sip200;
        account.times.b_200 = Some(START + Duration::from_secs(2));
        account.times.agent = Some(START + Duration::from_secs(18));
        account.times.end = Some(START + Duration::from_secs(36));
        account.hold_ms = 8000;
    }));
    let from_a = StreamStats { packets: 900, lost: 3, ..StreamStats::default() };
    let from_b = StreamStats { lost: 4, ..StreamStats::default() };
    telemetry.observe(&fact(1, 91, What::Measured { a: from_a, b: from_b }));
    let fine = Quality { packets: 250, rating_10: Some(932), ..Quality::default() };
    let poor = Quality { lost: 100, rating_10: Some(450), ..fine };
    telemetry.observe(&fact(2, 92, What::Sampled { a: fine, b: poor }));
    telemetry.observe(&fact(2, 93, What::Sampled { a: fine, b: Quality::default() }));
    let text = telemetry.exposition();
    for (series, want) in [
        ("cooee_rtp_graded_total{leg=\"A\",grade=\"5\"}", 2.0),
        ("cooee_rtp_graded_total{leg=\"B\",grade=\"1\"}", 1.0),
        ("cooee_rtp_graded_total{leg=\"B\",grade=\"5\"}", 0.0),
        ("cooee_calls_offered_total{trunk=\"unitalk\"}", 1.0),
        ("cooee_call_attempts_total{trunk=\"b24\"}", 1.0),
        (
            "cooee_calls_total{route=\"dialer-agents\",outcome=\"connected\",\
             end_party=\"customer\"}",
            1.0,
        ),
        ("cooee_answer_source_total{source=\"sip200\"}", 1.0),
        ("cooee_callerid_rewrites_total{rule=\"sticky\"}", 1.0),
        ("cooee_rtp_lost_total{leg=\"A\"}", 3.0),
        ("cooee_rtp_lost_total{leg=\"B\"}", 4.0),
        ("cooee_one_way_sessions_total", 1.0),
        ("cooee_zero_packet_streams_total", 1.0),
        ("cooee_queue_seconds_count", 1.0),
        ("cooee_queue_seconds_bucket{le=\"15.0\"}", 0.0),
        ("cooee_queue_seconds_bucket{le=\"20.0\"}", 1.0),
        ("cooee_queue_seconds_bucket{le=\"+Inf\"}", 1.0),
        (up, 0.0),
    ] {
        assert_eq!(figure(&text, series), Some(want), "{series}");
    }
    for (measure, seconds) in
        [(Measure::Setup, 2), (Measure::Queue, 18), (Measure::Connect, 18), (Measure::Talk, 10)]
    {
        let p50 = telemetry.latency.summary(measure, Window::Minute).p50;
        assert!(p50.abs_diff(seconds * 1_000_000_000) < seconds * 1_000_000, "{p50}");
    }
}

#[test]
fn what_becomes_known_after_the_end_is_counted_once() {
    let telemetry = telemetry();
    let ended = ended(1, |account| {
        account.outcome = Outcome::UnknownAgent;
        account.hold_unknown = true;
        account.times.b_200 = Some(START + Duration::from_secs(2));
        account.times.end = Some(START + Duration::from_secs(36));
    });
    telemetry.observe(&ended);
    let What::Ended { mut account } = ended.what else { panic!("{ended:?}") };
    account.answer_source = AnswerSource::B24Event;
    account.outcome = Outcome::Connected;
    account.times.agent = Some(START + Duration::from_secs(18));
    for seq in [91, 92] {
        telemetry.observe(&fact(1, seq, What::Amended { account: account.clone() }));
    }
    let text = telemetry.exposition();
    for (series, want) in [
        ("cooee_calls_amended_total{outcome=\"connected\"}", 2.0),
        ("cooee_answer_source_total{source=\"none\"}", 1.0),
        ("cooee_answer_source_total{source=\"b24_event\"}", 1.0),
        ("cooee_setup_seconds_count", 1.0),
        ("cooee_queue_seconds_count", 1.0),
        ("cooee_connect_seconds_count", 1.0),
        ("cooee_talk_seconds_count", 0.0),
    ] {
        assert_eq!(figure(&text, series), Some(want), "{series}");
    }
}

#[test]
fn callbacks_are_exposed_by_webhook() {
    let telemetry = telemetry();
    telemetry.hooks.heard(Heard::Forged);
    let figures = OutboxFigures {
        depth: 1,
        oldest_s: 2,
        dead: 3,
        delivered: 4,
        failed_status: 5,
        failed_timeout: 6,
        failed_transport: 7,
        paused: true,
    };
    telemetry.outbox.set("ops", figures);
    let text = telemetry.exposition();
    for (name, labels, want) in [
        ("cooee_portal_events_total", "result=\"forged\"", 1.0),
        ("cooee_outbox_depth", "webhook=\"ops\"", 1.0),
        ("cooee_outbox_depth", "webhook=\"crm\"", 0.0),
        ("cooee_outbox_oldest_seconds", "webhook=\"ops\"", 2.0),
        ("cooee_outbox_dead", "webhook=\"ops\"", 3.0),
        ("cooee_callbacks_delivered_total", "webhook=\"ops\"", 4.0),
        ("cooee_callbacks_failed_total", "webhook=\"ops\",reason=\"status\"", 5.0),
        ("cooee_callbacks_failed_total", "webhook=\"ops\",reason=\"timeout\"", 6.0),
        ("cooee_callbacks_failed_total", "webhook=\"ops\",reason=\"transport\"", 7.0),
        ("cooee_callback_paused", "webhook=\"ops\"", 1.0),
    ] {
        assert_eq!(figure(&text, &format!("{name}{{{labels}}}")), Some(want), "{name} {labels}");
    }
}

#[test]
fn spans_that_were_not_seen_are_not_recorded() {
    let telemetry = telemetry();
    let times = |account: &mut Account| {
        account.times.agent = Some(START + Duration::from_secs(9));
        account.times.end = Some(START + Duration::from_secs(99));
    };
    telemetry.observe(&ended(1, |account| {
        times(account);
        account.recovered = true;
        account.outcome = Outcome::Recovered;
    }));
    telemetry.observe(&ended(2, |account| {
        times(account);
        account.wall_spans = true;
    }));
    let count = |measure| telemetry.latency.summary(measure, Window::All).count;
    assert_eq!((count(Measure::Queue), count(Measure::Connect), count(Measure::Talk)), (1, 0, 0));
}

#[test]
fn a_restored_call_is_followed_but_not_counted() {
    let telemetry = telemetry();
    telemetry.restore(&invited(1, "unitalk"));
    let text = telemetry.exposition();
    assert_eq!(figure(&text, "cooee_calls_offered_total{trunk=\"unitalk\"}"), Some(0.0));
    assert!(telemetry.live.is_up(CallId::new(1, 0)));
}

#[test]
fn refusals_and_messages_are_counted_by_their_names() {
    let telemetry = telemetry();
    for (times, why) in Refusal::ALL.into_iter().enumerate() {
        let source = "192.0.2.7:5060".parse().unwrap();
        let rejected = Rejected { at: START, source, code: 403, why };
        (0..=times).for_each(|_| telemetry.rejected(&rejected));
    }
    let messages = &telemetry.engine.messages;
    messages.count(Direction::In, "INVITE", 0);
    messages.count(Direction::Out, "INVITE", 180);
    messages.count(Direction::Out, "BREW", 486);
    messages.count(Direction::Out, "INVITE", 999);
    let text = telemetry.exposition();
    for (times, why) in (1_u32..).zip(Refusal::ALL) {
        let series = format!("cooee_rejected_total{{why=\"{}\"}}", why.name());
        assert_eq!(figure(&text, &series), Some(f64::from(times)));
    }
    let of = |dir, method, class| {
        let labels = format!("dir=\"{dir}\",method=\"{method}\",class=\"{class}\"");
        figure(&text, &format!("cooee_sip_messages_total{{{labels}}}"))
    };
    assert_eq!(of("in", "INVITE", "request"), Some(1.0));
    assert_eq!(of("out", "INVITE", "1xx"), Some(1.0));
    assert_eq!(of("out", "other", "4xx"), Some(1.0));
    assert_eq!(of("out", "INVITE", "2xx"), Some(0.0));
}

#[test]
fn labels_stay_bounded_whatever_comes() {
    let telemetry = telemetry();
    for call in 0..1000_u32 {
        telemetry.observe(&invited(u64::from(call), &format!("trunk-{call}")));
        telemetry.observe(&forwarded(u64::from(call), &format!("rule-{call}")));
        telemetry.observe(&ended(u64::from(call), |account| {
            account.route = format!("route-{call}");
        }));
    }
    let text = telemetry.exposition();
    let count = |prefix: &str| text.lines().filter(|line| line.starts_with(prefix)).count();
    assert!(count("cooee_calls_offered_total{") <= NAMES_MAX + 2);
    assert!(count("cooee_calls_total{") <= (NAMES_MAX + 2) * 12 * 7);
    assert_eq!(count("cooee_callerid_rewrites_total{"), 5);
    let total: f64 = text
        .lines()
        .filter(|line| line.starts_with("cooee_calls_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert!((total - 1000.0).abs() < 0.5, "nothing is lost to the bound: {total}");
    let bytes = text.len();
    assert!(bytes < 2_000_000, "{bytes}");
}

#[test]
fn a_label_cannot_break_its_line() {
    let telemetry = telemetry();
    telemetry.observe(&invited(1, "a\"} 9\nevil 1"));
    let text = telemetry.exposition();
    assert!(!text.lines().any(|line| line.starts_with("evil")), "{text}");
}
