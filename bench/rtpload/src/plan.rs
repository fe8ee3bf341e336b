//! When each packet is due: on absolute times, so that a late one does not shift those after it.

/// A packet later than this is not caught up with: the machine stood still, and a burst of what
/// was missed would measure that and not the relay.
const STALL_NS: u64 = 2_000_000;
const SECOND_NS: u128 = 1_000_000_000;

/// Packets at a fixed rate from a moment on.
pub(crate) struct Plan {
    start_ns: u64,
    rate: u64,
    given: u64,
    stalls: u64,
}

/// Packets to send now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// How many.
    pub(crate) count: u64,
    /// How late the first of them is.
    pub(crate) late_ns: u64,
}

impl Plan {
    /// `rate` packets a second, the first one at `start_ns`.
    pub(crate) fn new(start_ns: u64, rate: u64) -> Self {
        Self { start_ns, rate: rate.max(1), given: 0, stalls: 0 }
    }

    /// When the next packet is due.
    pub(crate) fn next_ns(&self) -> u64 {
        let offset = u128::from(self.given) * SECOND_NS / u128::from(self.rate);
        self.start_ns.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
    }

    /// Takes what is due at `now_ns`, at most `most`.
    pub(crate) fn take(&mut self, now_ns: u64, most: u64) -> Option<Due> {
        let mut late_ns = now_ns.checked_sub(self.next_ns())?;
        if late_ns > STALL_NS {
            self.start_ns = self.start_ns.saturating_add(late_ns);
            self.stalls += 1;
            late_ns = 0;
        }
        let elapsed = u128::from(now_ns.saturating_sub(self.start_ns));
        let due = u64::try_from(elapsed * u128::from(self.rate) / SECOND_NS).unwrap_or(u64::MAX);
        let count = due.saturating_add(1).saturating_sub(self.given).clamp(1, most.max(1));
        self.given += count;
        Some(Due { count, late_ns })
    }

    /// How often it was too late to catch up.
    pub(crate) fn stalls(&self) -> u64 {
        self.stalls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_are_absolute_and_do_not_drift() {
        // 3 packets a second do not divide a second: rounding must not add up.
        let mut plan = Plan::new(1000, 3);
        let mut at = Vec::new();
        for _ in 0..7 {
            at.push(plan.next_ns());
            assert_eq!(plan.take(plan.next_ns(), 9), Some(Due { count: 1, late_ns: 0 }));
        }
        assert_eq!(at[0], 1000);
        assert_eq!(at[1], 1000 + 333_333_333);
        assert_eq!(at[3], 1000 + 1_000_000_000);
        assert_eq!(at[6], 1000 + 2_000_000_000);
    }

    #[test]
    fn nothing_is_due_early_and_what_was_missed_is_caught_up_with() {
        let mut plan = Plan::new(0, 100_000);
        assert_eq!(plan.take(0, 64), Some(Due { count: 1, late_ns: 0 }));
        assert_eq!(plan.take(9_999, 64), None);
        assert_eq!(plan.take(55_000, 64), Some(Due { count: 5, late_ns: 45_000 }));
        assert_eq!(plan.take(55_001, 64), None);
        assert_eq!(plan.next_ns(), 60_000);
        assert_eq!(plan.stalls(), 0);
    }

    #[test]
    fn a_batch_is_cut_and_the_rest_stays_due() {
        let mut plan = Plan::new(0, 1_000_000);
        assert_eq!(plan.take(99_000, 64), Some(Due { count: 64, late_ns: 99_000 }));
        assert_eq!(plan.take(99_000, 64), Some(Due { count: 36, late_ns: 35_000 }));
        assert_eq!(plan.take(99_000, 64), None);
    }

    #[test]
    fn a_stall_shifts_the_plan_and_is_counted() {
        let mut plan = Plan::new(0, 1000);
        assert!(plan.take(0, 64).is_some());
        assert_eq!(plan.take(10_000_000, 64), Some(Due { count: 1, late_ns: 0 }));
        assert_eq!(plan.stalls(), 1);
        assert_eq!(plan.next_ns(), 11_000_000, "the rate goes on from the late packet");
    }

    #[test]
    fn a_second_holds_as_many_packets_as_the_rate_says() {
        for rate in [1, 50, 99_991, 200_000] {
            let mut plan = Plan::new(7, rate);
            let mut sent = 0;
            for us in 0..1_000_000 {
                while let Some(due) = plan.take(7 + us * 1000, 64) {
                    sent += due.count;
                }
            }
            assert_eq!(sent, rate);
        }
    }
}
