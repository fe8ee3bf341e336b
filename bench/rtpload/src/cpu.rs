//! What processes have had of their cores, and what they waited for, from `/proc`.

use std::fs;
use std::ops::Sub;

/// Times of all threads of some processes since they began, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// User and system time, before it is rounded to ticks.
    pub(crate) ran: u64,
    /// How long a thread was ready and another, ours or a stranger's, had the core.
    pub(crate) waited: u64,
}

impl Times {
    /// The present times; `None` where a process cannot be read.
    pub(crate) fn of(pids: &[u32]) -> Option<Self> {
        let mut sum = Self::default();
        for pid in pids {
            for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
                // A thread may end in between.
                let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) else {
                    continue;
                };
                let mut fields = text.split_whitespace().map(str::parse::<u64>);
                sum.ran += fields.next()?.ok()?;
                sum.waited += fields.next()?.ok()?;
            }
        }
        Some(sum)
    }
}

impl Sub for Times {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            ran: self.ran.saturating_sub(before.ran),
            waited: self.waited.saturating_sub(before.waited),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_spent_is_seen() {
        let own = [std::process::id()];
        let before = Times::of(&own).unwrap();
        let mut rounds = 0_u64;
        while (Times::of(&own).unwrap() - before).ran < 5_000_000 {
            rounds += 1;
            assert!(rounds < 10_000_000, "no CPU time is counted");
        }
    }

    #[test]
    fn a_process_that_is_not_there_has_no_times() {
        assert_eq!(Times::of(&[u32::MAX]), None);
        assert_eq!(Times::of(&[]), Some(Times::default()));
    }
}
