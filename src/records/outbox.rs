//! How letters are delivered: what an answer means, when to try again, when to spare a receiver.
//!
//! Nothing here reads a clock or sends: moments come in, verdicts go out.

use std::time::Duration;

/// What came of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The receiver answered.
    Status {
        /// The HTTP status.
        code: u16,
        /// How long it asks us to wait (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// It did not answer in time.
    TimedOut,
    /// It could not be spoken to: name, connection, TLS, no HTTP.
    Unreachable,
}

impl Answer {
    /// Whether the receiver has the letter.
    pub const fn is_delivered(self) -> bool {
        matches!(self, Self::Status { code: 200..=299, .. })
    }

    /// Whether nobody was there: not the letter is to blame, and every other would fare the same.
    /// A gateway that says so without naming a time counts too.
    pub const fn is_away(self) -> bool {
        match self {
            Self::Status { code, retry_after } => {
                matches!(code, 502..=504) && retry_after.is_none()
            }
            Self::TimedOut | Self::Unreachable => true,
        }
    }
}

/// What to do with the letter after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// It is tried again after this.
    Retry(Duration),
    /// It is given up.
    Dead,
}

/// The first wait, and the longest.
pub const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// The longest wait that a receiver may ask for.
pub const RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The verdict on `letter`, whose attempts have failed `failures` times before this one, over the
/// span of `failing`; they may do so for `give_up`.
pub fn verdict(
    answer: Answer,
    letter: i64,
    failures: u32,
    failing: Duration,
    give_up: Duration,
) -> Verdict {
    match answer {
        _ if answer.is_delivered() => Verdict::Delivered,
        Answer::Status { code: 410, .. } => Verdict::Dead,
        _ if failing >= give_up => Verdict::Dead,
        Answer::Status { retry_after: Some(asked), .. } => {
            Verdict::Retry(asked.min(RETRY_AFTER).max(back_off(letter, failures)))
        }
        _ => Verdict::Retry(back_off(letter, failures)),
    }
}

/// 1, 2, 4 s and so on up to five minutes, and up to a quarter more: letters that failed together
/// do not come back together. The same for the same letter and count.
pub fn back_off(letter: i64, failures: u32) -> Duration {
    let doubled = BACK_OFF.0.saturating_mul(1 << failures.min(20));
    let span = doubled.min(BACK_OFF.1.mul_f64(0.8));
    let seed = letter.cast_unsigned() ^ u64::from(failures).rotate_left(32);
    span + span.mul_f64(0.25 * unit(seed))
}

/// A number from 0 to 1 that looks random (splitmix64).
fn unit(seed: u64) -> f64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
}

/// Reads a `Retry-After`: seconds, or the instant of an HTTP date (RFC 9110, 10.2.3) told at
/// `now_s`, seconds since the epoch.
pub fn retry_after(text: &str, now_s: i64) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    // "Sun, 06 Nov 1994 08:49:37 GMT"; the two obsolete forms are not read.
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words.as_slice() else { return None };
    let names = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = names.find(month).filter(|at| month.len() == 3 && at % 3 == 0)? / 3 + 1;
    let at_us = crate::shown::instant(&format!("{year}-{month}-{day}T{time}Z"), 0).ok()?;
    let wait_s = at_us.div_euclid(1_000_000).saturating_sub(now_s);
    Some(Duration::from_secs(u64::try_from(wait_s).unwrap_or(0)))
}

/// Failures in a row, for want of a receiver, after which it is taken for away.
pub const AWAY_AFTER: u32 = 5;

/// Failures of any kind in a row after which a webhook is said to fail.
pub const SAID_AFTER: u32 = 3;

/// The first wait between two probes of a receiver that is away, and the longest.
pub const PROBE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What is known of one receiver. While it is away only one attempt at a time is made, so that it
/// costs nothing; the first that succeeds opens the gate for all that waits.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    /// Failures in a row, of any kind.
    failures: u32,
    /// Failures in a row for want of a receiver.
    absences: u32,
    /// Away: when it may be probed next, nanoseconds of the caller's clock.
    probe_ns: Option<u64>,
    /// Probes that failed.
    probes: u32,
    /// Whether it has been said that the webhook fails.
    said: bool,
}

/// What has become of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It fails: worth a warning.
    Fails,
    /// It works again.
    Works,
}

impl Breaker {
    /// How many more attempts may be begun at `now_ns`, where `in_flight` of at most `limit` are
    /// under way.
    pub fn room(&self, now_ns: u64, in_flight: usize, limit: usize) -> usize {
        match self.probe_ns {
            None => limit.saturating_sub(in_flight),
            Some(at) if at <= now_ns => usize::from(in_flight == 0),
            Some(_) => 0,
        }
    }

    /// Whether the receiver is away, and from when on it may be probed.
    pub const fn paused_until_ns(&self) -> Option<u64> {
        self.probe_ns
    }

    /// Takes the answer to an attempt that ended at `now_ns`.
    pub fn answered(&mut self, now_ns: u64, answer: Answer) -> Option<Change> {
        if answer.is_delivered() {
            let said = self.said;
            *self = Self::default();
            return said.then_some(Change::Works);
        }
        self.failures = self.failures.saturating_add(1);
        if answer.is_away() {
            self.absences = self.absences.saturating_add(1);
            if self.absences >= AWAY_AFTER {
                let wait = PROBE.0.saturating_mul(1 << self.probes.min(10)).min(PROBE.1);
                let at = now_ns.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
                // Attempts that were under way when the gate fell are no probes.
                let fell_before = self.probe_ns.is_some_and(|probe| probe > now_ns);
                if !fell_before {
                    self.probe_ns = Some(at);
                    self.probes = self.probes.saturating_add(1);
                }
            }
        } else {
            // It answers, if not well: the letters wait, each for itself, and not the receiver.
            (self.absences, self.probe_ns, self.probes) = (0, None, 0);
        }
        let says = self.failures >= SAID_AFTER && !self.said;
        self.said |= says;
        says.then_some(Change::Fails)
    }
}

#[cfg(test)]
mod tests;
