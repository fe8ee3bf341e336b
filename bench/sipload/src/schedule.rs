//! When calls are due: some that are held all along, then one step of a steady rate after another.

use std::str::FromStr;
use std::time::{Duration, Instant};

/// How fast held calls are begun, calls a second.
const HELD_RATE: f64 = 100.0;
/// What lies between the last held call and the first step, and between the last step and the
/// first held call that is hung up: time for what was begun to settle.
const SETTLE: Duration = Duration::from_secs(2);
/// How fast held calls are hung up, calls a second.
const RELEASE_RATE: f64 = 250.0;

/// So many calls a second for so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    rate: f64,
    seconds: f64,
}

impl Step {
    /// A steady rate until there were so many calls.
    pub(crate) fn of_calls(rate: f64, calls: u64) -> Self {
        Self { rate, seconds: calls as f64 / rate }
    }

    fn calls(self) -> u64 {
        (self.rate * self.seconds).round() as u64
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read =
            |part: &str| part.parse().ok().filter(|n: &f64| *n > 0.0 && n.is_finite() && *n < 1e9);
        let parts = text.split_once('x').and_then(|(r, s)| Some((read(r)?, read(s)?)));
        let (rate, seconds) = parts.ok_or("wanted RATExSECONDS, as 500x10")?;
        Ok(Self { rate, seconds })
    }
}

/// The moments of all calls of a run; the first `held` are held.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    start: Instant,
    held: u64,
    steps: Vec<Step>,
}

impl Schedule {
    /// Begins now.
    pub(crate) fn new(held: u64, steps: Vec<Step>) -> Self {
        Self { start: Instant::now(), held, steps }
    }

    /// How many calls there are.
    pub(crate) fn calls(&self) -> u64 {
        self.held + self.steps.iter().map(|step| step.calls()).sum::<u64>()
    }

    /// When the first step begins.
    pub(crate) fn base(&self) -> Instant {
        if self.held == 0 {
            return self.start;
        }
        self.start + Duration::from_secs_f64(self.held as f64 / HELD_RATE) + SETTLE
    }

    fn span(&self) -> Duration {
        Duration::from_secs_f64(self.steps.iter().map(|step| step.seconds).sum())
    }

    /// When call `n` is due.
    pub(crate) fn due(&self, n: u64) -> Instant {
        if n < self.held {
            return self.start + Duration::from_secs_f64(n as f64 / HELD_RATE);
        }
        let (mut n, mut at) = (n - self.held, 0.0);
        for step in &self.steps {
            if n < step.calls() {
                return self.base() + Duration::from_secs_f64(at + n as f64 / step.rate);
            }
            n -= step.calls();
            at += step.seconds;
        }
        self.base() + self.span()
    }

    /// When call `n` is refreshed by a re-INVITE and when it is hung up, if it is one of those
    /// that are held: refreshed while the steps run, hung up after them.
    pub(crate) fn held(&self, n: u64) -> Option<(Instant, Instant)> {
        let share = (n < self.held).then(|| n as f64 / self.held as f64)?;
        let after = SETTLE + Duration::from_secs_f64(n as f64 / RELEASE_RATE);
        Some((self.base() + self.span().mul_f64(share), self.base() + self.span() + after))
    }

    /// The second of the steps in which call `n` is due; `None` for one that is held.
    pub(crate) fn second(&self, n: u64) -> Option<usize> {
        let at = self.due(n).saturating_duration_since(self.base());
        (n >= self.held).then(|| usize::try_from(at.as_secs()).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other_and_held_calls_go_round_them() {
        let steps = ["10x2", "100x0.5"].map(|text| text.parse().unwrap());
        let plain = Schedule::new(0, steps.to_vec());
        let after = |s: &Schedule, n| s.due(n).duration_since(s.base()).as_millis();
        assert_eq!(plain.calls(), 70);
        let dues = [0, 1, 19, 20, 21, 69].map(|n| after(&plain, n));
        assert_eq!(dues, [0, 100, 1900, 2000, 2010, 2490]);
        assert_eq!(
            (plain.second(0), plain.second(19), plain.second(20)),
            (Some(0), Some(1), Some(2))
        );
        assert_eq!(plain.held(0), None);

        let held = Schedule::new(50, steps.to_vec());
        assert_eq!((held.calls(), after(&held, 50), held.second(49)), (120, 0, None));
        assert!(held.due(49) < held.base());
        let (refresh, release) = held.held(25).unwrap();
        assert_eq!(refresh.duration_since(held.base()).as_millis(), 1250);
        assert_eq!(release.duration_since(held.base()).as_millis(), 2500 + 2000 + 100);
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for text in ["", "10", "x", "0x1", "10x-1", "10xinf", "ax1"] {
            assert!(text.parse::<Step>().is_err(), "{text}");
        }
        assert_eq!(Step::of_calls(50.0, 100), "50x2".parse().unwrap());
    }
}
