//! The CPU time of other processes, from `/proc`.

use std::fs;

/// User and system time of all threads that these processes have, nanoseconds; `None` where one
/// cannot be read.
///
/// `schedstat` holds the sum of `utime` and `stime` before it is rounded to ticks of 10 ms.
pub(crate) fn spent_ns(pids: &[u32]) -> Option<u64> {
    let mut sum = 0;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            // A thread may end in between.
            let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) else {
                continue;
            };
            sum += text.split_whitespace().next()?.parse::<u64>().ok()?;
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_spent_is_seen() {
        let own = [std::process::id()];
        let before = spent_ns(&own).unwrap();
        let mut rounds = 0_u64;
        while spent_ns(&own).unwrap() < before + 5_000_000 {
            rounds += 1;
            assert!(rounds < 10_000_000, "no CPU time is counted");
        }
    }

    #[test]
    fn a_process_that_is_not_there_has_no_figure() {
        assert_eq!(spent_ns(&[u32::MAX]), None);
        assert_eq!(spent_ns(&[]), Some(0));
    }
}
