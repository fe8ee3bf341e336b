//! The catalogue: one row per metric, with all that is known about it.
//!
//! A new metric is a row here and, where it counts facts, an arm in `observe`. The exposition walks
//! the rows, so a metric cannot be documented and missing, or there and undocumented.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Telemetry;
use crate::callbacks::OutboxFigures;
use crate::live::State;
use crate::measure::Measure;
use crate::row::{Kind, Read, Row, Series};

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: Read,
) -> Row {
    Row { name, help, kind: Kind::Counter(read), labels }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: Read,
) -> Row {
    Row { name, help, kind: Kind::Gauge(read), labels }
}

const fn histogram(name: &'static str, measure: Measure, help: &'static str) -> Row {
    Row { name, help, kind: Kind::Histogram(measure), labels: &[] }
}

/// Every metric of cooee.
pub const ROWS: &[Row] = &[
    gauge("cooee_build_info", &["version", "node"], "Always 1; says what runs", |t, series| {
        series.put(&[&t.identity.version, &t.identity.node], 1)
    }),
    gauge("cooee_start_time_seconds", &[], "Unix time of the start", |t, series| {
        series.put(&[], u64::try_from(t.started.wall / 1_000_000_000).unwrap_or_default())
    }),
    // Calls.
    gauge("cooee_sessions", &["state", "role"], "Calls that are up", sessions),
    counter("cooee_calls_offered_total", &["trunk"], "Calls offered by a trunk", |t, series| {
        by_name(series, &t.observer().offered)
    }),
    counter("cooee_call_attempts_total", &["trunk"], "INVITEs sent to a trunk", |t, series| {
        by_name(series, &t.observer().attempts)
    }),
    counter("cooee_calls_total", &["route", "outcome", "end_party"], "Calls that ended", calls),
    counter(
        "cooee_answer_source_total",
        &["source"],
        "How the agent's answer was known: at the end of each call, and once more if after it",
        |t, series| t.observer().sources.iter().try_for_each(|(k, v)| series.put(&[k], *v)),
    ),
    counter(
        "cooee_calls_amended_total",
        &["outcome"],
        "Accounts of ended calls that a portal's word changed, by their outcome then",
        |t, series| t.observer().amended.iter().try_for_each(|(k, v)| series.put(&[k], *v)),
    ),
    counter(
        "cooee_callerid_rewrites_total",
        &["rule"],
        "Numbers presented, by the rule that chose them",
        |t, series| t.observer().rules.iter().try_for_each(|(k, v)| series.put(&[k], *v)),
    ),
    counter(
        "cooee_rejected_total",
        &["why"],
        "Requests refused, or datagrams dropped, before they became a call",
        |t, series| t.rejected.each().try_for_each(|(why, count)| series.put(&[why], count)),
    ),
    counter(
        "cooee_untracked_calls_total",
        &[],
        "Calls that the live table had no room for",
        |t, series| series.put(&[], t.live.untracked()),
    ),
    histogram("cooee_setup_seconds", Measure::Setup, "INVITE to the platform's answer"),
    histogram("cooee_queue_seconds", Measure::Queue, "INVITE to the agent's answer"),
    histogram("cooee_connect_seconds", Measure::Connect, "The agent's answer to the end"),
    histogram("cooee_talk_seconds", Measure::Talk, "Connect time without the time on hold"),
    // Trunks.
    gauge(
        "cooee_trunk_up",
        &["trunk"],
        "1: an address of the trunk takes calls; trunks that are called",
        |t, series| {
            let states = t.trunks();
            let mut called = states.iter().filter(|trunk| trunk.is_called);
            called.try_for_each(|trunk| series.put(&[&trunk.name], trunk.is_up().into()))
        },
    ),
    gauge(
        "cooee_trunk_calls",
        &["trunk"],
        "Calls that a trunk carries, in either direction",
        |t, series| {
            let states = t.trunks();
            states.iter().try_for_each(|trunk| series.put(&[&trunk.name], trunk.calls.into()))
        },
    ),
    counter(
        "cooee_name_lookups_total",
        &["result"],
        "Look-ups of the names of trunks' peers, by result",
        |t, series| {
            series.put(&["found"], t.names.found.load(Ordering::Relaxed))?;
            series.put(&["failed"], t.names.failed.load(Ordering::Relaxed))
        },
    ),
    gauge(
        "cooee_name_overdue_seconds",
        &["trunk"],
        "For how long a trunk rests on an answer of DNS that is past its time; 0: on none",
        |t, series| {
            let overdue = t.names.overdue();
            t.trunks().iter().try_for_each(|trunk| {
                let named = overdue.iter().find(|(name, _)| *name == trunk.name);
                series.put(&[&trunk.name], named.map_or(0, |(_, seconds)| *seconds))
            })
        },
    ),
    histogram("cooee_trunk_rtt_seconds", Measure::TrunkRtt, "OPTIONS to a trunk to its answer"),
    // Signalling.
    counter(
        "cooee_sip_messages_total",
        &["dir", "method", "class"],
        "SIP messages, retransmissions among them",
        |t, series| t.engine.messages.each().try_for_each(|(d, m, c, n)| series.put(&[d, m, c], n)),
    ),
    counter("cooee_sip_retransmits_total", &[], "SIP messages that we sent again", |t, series| {
        one(series, &t.engine.retransmits)
    }),
    counter("cooee_sip_parse_errors_total", &[], "Messages that are no SIP", |t, series| {
        one(series, &t.engine.parse_errors)
    }),
    counter(
        "cooee_sip_send_errors_total",
        &[],
        "SIP sends that the kernel refused",
        |t, series| one(series, &t.engine.send_errors),
    ),
    counter(
        "cooee_sip_icmp_total",
        &["says"],
        "ICMP errors that came for our SIP datagrams",
        |t, series| {
            let [unreachable, other] = &t.engine.icmp;
            series.put(&["unreachable"], unreachable.load(Ordering::Relaxed))?;
            series.put(&["other"], other.load(Ordering::Relaxed))
        },
    ),
    gauge("cooee_sip_connections", &["transport"], "SIP connections", |t, series| {
        let [tcp, tls] = &t.streams.connections_now;
        series.put(&["tcp"], tcp.load(Ordering::Relaxed))?;
        series.put(&["tls"], tls.load(Ordering::Relaxed))
    }),
    counter(
        "cooee_sip_connections_opened_total",
        &["by"],
        "SIP connections that came up, by who opened them",
        |t, series| {
            let [peer, us] = &t.streams.opened;
            series.put(&["peer"], peer.load(Ordering::Relaxed))?;
            series.put(&["us"], us.load(Ordering::Relaxed))
        },
    ),
    counter(
        "cooee_sip_connections_cut_total",
        &["why"],
        "SIP connections refused, not opened, or ended by us",
        |t, series| t.streams.each().try_for_each(|(why, count)| series.put(&[why], count)),
    ),
    counter(
        "cooee_engine_queue_full_total",
        &[],
        "Inputs lost because the engine's queue was full",
        |t, series| one(series, &t.engine.queue_full),
    ),
    counter(
        "cooee_overload_dropped_total",
        &[],
        "New calls and the like lost unread because too many waited for the engine",
        |t, series| one(series, &t.engine.backlog_full),
    ),
    gauge(
        "cooee_overload",
        &[],
        "1: new calls are refused; too many a second or at a time, or more than can be done",
        |t, series| one(series, &t.engine.overloaded_now),
    ),
    counter(
        "cooee_untold_total",
        &[],
        "Facts that these metrics miss, because too many waited",
        |t, series| one(series, &t.engine.untold),
    ),
    gauge("cooee_engine_calls", &[], "Calls that the switch holds", |t, series| {
        one(series, &t.engine.calls_now)
    }),
    gauge("cooee_leases", &[], "RTP port pairs on lease or in quarantine", |t, series| {
        one(series, &t.engine.leases_now)
    }),
    counter(
        "cooee_hep_packets_total",
        &["result"],
        "Copies of SIP messages for the HEP collector, by their fate",
        |t, series| {
            let count = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
            series.put(&["sent"], count(&t.engine.hep_sent))?;
            series.put(&["dropped"], count(&t.engine.hep_dropped))
        },
    ),
    gauge("cooee_lines_registered", &[], "Lines that are registered", |t, series| {
        one(series, &t.engine.lines_now)
    }),
    histogram(
        "cooee_sip_invite_forward_seconds",
        Measure::InviteForward,
        "INVITE read on A to INVITE handed out on B",
    ),
    histogram(
        "cooee_sip_response_forward_seconds",
        Measure::ResponseForward,
        "Response read on B to its counterpart handed out on A",
    ),
    histogram(
        "cooee_sip_bye_forward_seconds",
        Measure::ByeForward,
        "BYE read on one leg to BYE handed out on the other",
    ),
    histogram("cooee_sip_100_seconds", Measure::Sip100, "INVITE read to our 100 handed out"),
    // Media.
    counter(
        "cooee_rtp_packets_total",
        &["result"],
        "RTP and RTCP packets on leased ports, by their fate",
        rtp,
    ),
    counter(
        "cooee_dtmf_presses_total",
        &["result"],
        "Digits between INFO and RFC 4733: read in RTP, written into it, dropped",
        |t, series| {
            let mut each = ["heard", "played", "dropped"].into_iter().zip(&t.media.presses);
            each.try_for_each(|(result, n)| series.put(&[result], n.load(Ordering::Relaxed)))
        },
    ),
    counter(
        "cooee_rtp_unmeasured_total",
        &[],
        "Packets forwarded without a believable receive stamp",
        |t, series| one(series, &t.media.unstamped),
    ),
    counter(
        "cooee_rtp_lost_total",
        &["leg"],
        "RTP packets missing from a leg, counted when the relay ends",
        |t, series| {
            let lost = t.observer().rtp_lost;
            ["A", "B"].into_iter().zip(lost).try_for_each(|(leg, n)| series.put(&[leg], n))
        },
    ),
    counter(
        "cooee_rtp_graded_total",
        &["leg", "grade"],
        "Samples of how a leg sounded (each 5 s as a rule), by ITU-T G.109: 5 best, 1 worst",
        |t, series| {
            let graded = t.observer().graded;
            ["A", "B"].into_iter().zip(graded).try_for_each(|(leg, grades)| {
                let mut each = ["1", "2", "3", "4", "5"].into_iter().zip(grades);
                each.try_for_each(|(grade, n)| series.put(&[leg, grade], n))
            })
        },
    ),
    counter(
        "cooee_one_way_sessions_total",
        &[],
        "Answered calls with RTP from one side only",
        |t, series| series.put(&[], t.observer().one_way),
    ),
    counter(
        "cooee_zero_packet_streams_total",
        &[],
        "Sides of answered calls that sent no RTP",
        |t, series| series.put(&[], t.observer().zero_packet),
    ),
    counter(
        "cooee_media_timeouts_total",
        &[],
        "Calls ended because no RTP came from either side",
        |t, series| one(series, &t.engine.media_timeouts),
    ),
    histogram(
        "cooee_rtp_forward_seconds",
        Measure::RtpForward,
        "RTP packet received by the kernel to its send returning",
    ),
    // Journal and store.
    counter("cooee_journal_records_total", &[], "Journal records appended", |t, series| {
        one(series, &t.journal.records)
    }),
    counter("cooee_journal_bytes_total", &[], "Journal bytes appended", |t, series| {
        one(series, &t.journal.bytes)
    }),
    counter(
        "cooee_journal_late_commits_total",
        &[],
        "Journal batches committed past the deadline",
        |t, series| one(series, &t.journal.late_commits),
    ),
    counter(
        "cooee_journal_lost_total",
        &["why"],
        "Journal records not written: no room, or too long",
        |t, series| {
            series.put(&["full"], t.journal.lost.load(Ordering::Relaxed))?;
            series.put(&["too_long"], t.journal.unwritable.load(Ordering::Relaxed))
        },
    ),
    counter(
        "cooee_journal_spool_errors_total",
        &[],
        "Writes, syncs and deletions of journal segments that the disk refused",
        |t, series| one(series, &t.journal.spool_errors),
    ),
    gauge(
        "cooee_journal_spool_lag_bytes",
        &[],
        "Bytes of the journal's head not yet in a segment",
        |t, series| one(series, &t.journal.spool_lag_bytes_now),
    ),
    histogram(
        "cooee_journal_append_seconds",
        Measure::JournalAppend,
        "One append of a batch to the journal",
    ),
    counter("cooee_store_facts_total", &[], "Facts written to the database", |t, series| {
        one(series, &t.store.facts)
    }),
    counter("cooee_store_errors_total", &[], "Errors of the database, retried", |t, series| {
        one(series, &t.store.errors)
    }),
    counter(
        "cooee_store_skipped_total",
        &["why"],
        "Journal records that the database does not take: refused, or unreadable",
        |t, series| {
            series.put(&["refused"], t.store.refused.load(Ordering::Relaxed))?;
            series.put(&["unreadable"], t.store.unreadable.load(Ordering::Relaxed))
        },
    ),
    gauge(
        "cooee_store_lag_records",
        &[],
        "Journal records that the database has not seen yet",
        |t, series| one(series, &t.store.lag_records_now),
    ),
    // Callbacks.
    counter(
        "cooee_portal_events_total",
        &["result"],
        "Events that came from portals, by what came of them",
        |t, series| t.hooks.each().try_for_each(|(result, count)| series.put(&[result], count)),
    ),
    histogram("cooee_hook_seconds", Measure::Hook, "An event of a portal read to its answer"),
    gauge("cooee_outbox_depth", &["webhook"], "Events that wait to be delivered", |t, series| {
        by_webhook(t, series, |figures| figures.depth)
    }),
    gauge(
        "cooee_outbox_oldest_seconds",
        &["webhook"],
        "Age of the oldest event that waits",
        |t, series| by_webhook(t, series, |figures| figures.oldest_s),
    ),
    gauge("cooee_outbox_dead", &["webhook"], "Events that were given up", |t, series| {
        by_webhook(t, series, |figures| figures.dead)
    }),
    gauge(
        "cooee_callback_paused",
        &["webhook"],
        "1 while the receiver is away: one event at a time is tried, with pauses",
        |t, series| by_webhook(t, series, |figures| figures.paused.into()),
    ),
    counter(
        "cooee_callbacks_delivered_total",
        &["webhook"],
        "Events that a webhook confirmed",
        |t, series| by_webhook(t, series, |figures| figures.delivered),
    ),
    counter(
        "cooee_callbacks_failed_total",
        &["webhook", "reason"],
        "Attempts that failed: a status but 2xx, no answer in time, nobody reached",
        callbacks_failed,
    ),
    histogram(
        "cooee_callback_done_seconds",
        Measure::CallbackDone,
        "A fact to the 2xx of the webhook that was told of it",
    ),
    // The configuration.
    gauge("cooee_config_revision", &[], "Number of the configuration in force", |t, series| {
        one(series, &t.config.revision)
    }),
    counter("cooee_config_reloads_total", &["result"], "Reloads by result", |t, series| {
        series.put(&["loaded"], t.config.loaded.load(Ordering::Relaxed))?;
        series.put(&["refused"], t.config.refused.load(Ordering::Relaxed))
    }),
    // The admin API.
    counter("cooee_admin_answers_total", &["class"], "Answers of the admin API", |t, series| {
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        classes
            .into_iter()
            .zip(&t.admin.answers)
            .try_for_each(|(class, cell)| series.put(&[class], cell.load(Ordering::Relaxed)))
    }),
    counter(
        "cooee_admin_stalled_total",
        &[],
        "Connections of the admin API and of hooks closed because the client stalled",
        |t, series| one(series, &t.admin.stalled),
    ),
];

fn one(series: &mut Series<'_>, cell: &AtomicU64) -> std::fmt::Result {
    series.put(&[], cell.load(Ordering::Relaxed))
}

fn by_name(series: &mut Series<'_>, counts: &crate::observe::ByName) -> std::fmt::Result {
    counts.iter().try_for_each(|(name, count)| series.put(&[name], *count))
}

fn calls(t: &Telemetry, series: &mut Series<'_>) -> std::fmt::Result {
    for (route, ends) in &t.observer().ended {
        for ((outcome, party), count) in ends {
            series.put(&[route, outcome, party], *count)?;
        }
    }
    Ok(())
}

fn sessions(t: &Telemetry, series: &mut Series<'_>) -> std::fmt::Result {
    const ROLES: [&str; 3] = ["agent-leg", "customer-leg", "none"];
    let mut counts = [[0_u64; ROLES.len()]; State::UP.len()];
    t.live.each_state(|state, role| {
        let role = ROLES.iter().position(|r| *r == role).unwrap_or(ROLES.len() - 1);
        let row = counts.get_mut(state as usize);
        if let Some(count) = row.and_then(|roles| roles.get_mut(role)) {
            *count += 1;
        }
    });
    for (state, roles) in State::UP.into_iter().zip(counts) {
        for (role, count) in ROLES.into_iter().zip(roles) {
            series.put(&[state.name(), role], count)?;
        }
    }
    Ok(())
}

fn by_webhook(
    t: &Telemetry,
    series: &mut Series<'_>,
    figure: fn(&OutboxFigures) -> u64,
) -> std::fmt::Result {
    let all = t.outbox.each();
    all.iter().try_for_each(|(webhook, figures)| series.put(&[webhook], figure(figures)))
}

fn callbacks_failed(t: &Telemetry, series: &mut Series<'_>) -> std::fmt::Result {
    for (webhook, figures) in t.outbox.each() {
        series.put(&[&webhook, "status"], figures.failed_status)?;
        series.put(&[&webhook, "timeout"], figures.failed_timeout)?;
        series.put(&[&webhook, "transport"], figures.failed_transport)?;
    }
    Ok(())
}

fn rtp(t: &Telemetry, series: &mut Series<'_>) -> std::fmt::Result {
    let media = &t.media;
    for (result, cell) in [
        ("forwarded", &media.forwarded),
        ("foreign", &media.foreign),
        ("malformed", &media.malformed),
        ("stale", &media.stale),
        ("no_peer", &media.no_peer),
        ("kept", &media.kept),
        ("send_failed", &media.send_failed),
        ("overrun", &media.overrun),
    ] {
        series.put(&[result], cell.load(Ordering::Relaxed))?;
    }
    Ok(())
}
