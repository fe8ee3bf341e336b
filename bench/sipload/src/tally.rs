//! What a run has counted and measured.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Longest span told apart, microseconds: beyond it a call has failed long ago.
const LONGEST_US: u64 = 120_000_000;

/// One measured span.
pub(crate) struct Span(Histogram<u64>);

impl Span {
    fn new() -> Result<Self, hdrhistogram::CreationError> {
        Histogram::new_with_bounds(1, LONGEST_US, 3).map(Self)
    }

    /// Records one span.
    pub(crate) fn record(&mut self, span: Duration) {
        let us = u64::try_from(span.as_nanos().div_ceil(1000)).unwrap_or(LONGEST_US);
        self.0.saturating_record(us.max(1));
    }

    fn json(&self) -> Value {
        let q = |share| self.0.value_at_quantile(share);
        json!({
            "count": self.0.len(), "min_us": self.0.min(), "p50_us": q(0.5), "p90_us": q(0.9),
            "p99_us": q(0.99), "p99_9_us": q(0.999), "max_us": self.0.max(),
        })
    }
}

/// What became of the calls that were due in one second.
#[derive(Clone, Copy, Default)]
pub(crate) struct Second {
    /// Calls begun.
    pub(crate) started: u64,
    /// Calls that went well to their end.
    pub(crate) ok: u64,
    /// Of those, calls whose answer took longer than T1.
    pub(crate) slow: u64,
    /// Calls refused by 503.
    pub(crate) refused: u64,
    /// Calls that failed in any other way.
    pub(crate) failed: u64,
    /// Requests of them that were sent again.
    pub(crate) retransmits: u64,
    /// The longest time to a 503, microseconds.
    pub(crate) refused_max_us: u64,
}

impl Second {
    fn json(&self) -> Value {
        let Self { started, ok, slow, refused, failed, retransmits, refused_max_us } = self;
        json!({
            "started": started, "ok": ok, "slow": slow, "refused": refused, "failed": failed,
            "retransmits": retransmits, "refused_max_us": refused_max_us,
        })
    }
}

/// Counters and spans of one run.
pub(crate) struct Tally {
    /// Calls begun by the caller.
    pub(crate) started: u64,
    /// Calls that went INVITE to 200 to BYE to 200.
    pub(crate) ok: u64,
    /// Calls that failed, by why: a status code, `timeout`, `hung up`.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Held calls that were refreshed and hung up as they should.
    pub(crate) held_ok: u64,
    /// Held calls that failed, by why.
    pub(crate) held_failed: BTreeMap<String, u64>,
    /// 503s that do not say when to try again.
    pub(crate) without_retry_after: u64,
    /// Calls by the second in which they were due, those that are held left out.
    seconds: Vec<Second>,
    /// Requests sent again by the caller.
    pub(crate) uac_retransmits: u64,
    /// Answers sent again by the callee for want of an ACK.
    pub(crate) uas_retransmits: u64,
    /// Requests that reached the callee more than once.
    pub(crate) uas_duplicates: u64,
    /// Calls that the callee took.
    pub(crate) uas_calls: u64,
    /// Re-INVITEs that the callee was asked.
    pub(crate) uas_refreshed: u64,
    /// Calls whose end the callee was told.
    pub(crate) uas_ended: u64,
    /// Answers that the callee never saw acknowledged.
    pub(crate) uas_unacknowledged: u64,
    /// Datagrams that are no SIP or belong to no call.
    pub(crate) stray: u64,
    /// How late a call began behind its schedule.
    pub(crate) behind: Span,
    /// INVITE to 100.
    pub(crate) to_100: Span,
    /// INVITE to the first 180 or 183.
    pub(crate) to_180: Span,
    /// INVITE to 200.
    pub(crate) to_200: Span,
    /// INVITE out of the caller to INVITE in at the callee.
    pub(crate) a_to_b: Span,
    /// INVITE to its refusal by 503, from the sending: what the node took.
    pub(crate) to_503: Span,
    /// Re-INVITE of a held call to its 200.
    pub(crate) refresh: Span,
    /// BYE to its 200.
    pub(crate) bye: Span,
}

impl Tally {
    /// All zero.
    pub(crate) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            started: 0,
            ok: 0,
            failed: BTreeMap::new(),
            held_ok: 0,
            held_failed: BTreeMap::new(),
            without_retry_after: 0,
            seconds: Vec::new(),
            uac_retransmits: 0,
            uas_retransmits: 0,
            uas_duplicates: 0,
            uas_calls: 0,
            uas_refreshed: 0,
            uas_ended: 0,
            uas_unacknowledged: 0,
            stray: 0,
            behind: Span::new()?,
            to_100: Span::new()?,
            to_180: Span::new()?,
            to_200: Span::new()?,
            a_to_b: Span::new()?,
            to_503: Span::new()?,
            refresh: Span::new()?,
            bye: Span::new()?,
        })
    }

    /// The row of a second; of none, one that is thrown away.
    pub(crate) fn second(&mut self, second: Option<usize>, count: impl FnOnce(&mut Second)) {
        let Some(second) = second else { return };
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, Second::default());
        }
        if let Some(row) = self.seconds.get_mut(second) {
            count(row);
        }
    }

    /// How many calls have failed, held ones among them.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().chain(self.held_failed.values()).sum()
    }

    /// What became of the calls of each second.
    pub(crate) fn by_second(&self) -> Value {
        self.seconds.iter().map(Second::json).collect()
    }

    /// Everything, with the seconds that the arrivals took.
    pub(crate) fn json(&self, seconds: f64) -> Value {
        let rate = if seconds > 0.0 { self.started as f64 / seconds } else { 0.0 };
        json!({
            "started": self.started, "ok": self.ok, "failed": self.failures(),
            "failed_by": self.failed, "held_ok": self.held_ok, "held_failed_by": self.held_failed,
            "without_retry_after": self.without_retry_after, "uas_refreshed": self.uas_refreshed,
            "seconds": seconds, "rate": rate,
            "uac_retransmits": self.uac_retransmits, "uas_retransmits": self.uas_retransmits,
            "uas_duplicates": self.uas_duplicates, "uas_calls": self.uas_calls,
            "uas_ended": self.uas_ended, "uas_unacknowledged": self.uas_unacknowledged,
            "stray": self.stray, "behind_schedule": self.behind.json(),
            "invite_to_100": self.to_100.json(), "invite_to_180": self.to_180.json(),
            "invite_to_200": self.to_200.json(), "invite_a_to_b": self.a_to_b.json(),
            "invite_to_503": self.to_503.json(), "reinvite_to_200": self.refresh.json(),
            "bye_to_200": self.bye.json(),
        })
    }
}

/// The same as lines for a person.
pub(crate) fn table(report: &Value) -> String {
    let mut text = String::new();
    let mut spans = String::new();
    for (name, value) in report.as_object().into_iter().flatten() {
        if let Some(span) = value.as_object().filter(|span| span.contains_key("p50_us")) {
            let cell = |key: &str| span.get(key).and_then(Value::as_u64).unwrap_or(0);
            if cell("count") > 0 {
                spans += &format!("{name:18}{:>10}", cell("count"));
                for key in ["p50_us", "p90_us", "p99_us", "p99_9_us", "max_us"] {
                    spans += &format!("{:>11.3}", cell(key) as f64 / 1000.0);
                }
                spans.push('\n');
            }
        } else if value.as_object().is_none_or(|inner| !inner.is_empty()) {
            text += &format!("{name:20}{value}\n");
        }
    }
    let head = ["count", "p50", "p90", "p99", "p99.9", "max"];
    text += &format!("\n{:18}", "milliseconds");
    for (place, name) in head.iter().enumerate() {
        text += &format!("{name:>width$}", width = if place == 0 { 10 } else { 11 });
    }
    format!("{text}\n{spans}")
}
