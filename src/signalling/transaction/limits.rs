//! Limits and timers of the transaction room.

use std::time::Duration;

/// Most transactions of one kind at a time. Past it a new request gets 503 without state.
pub const TRANSACTIONS: usize = 1 << 20;

/// Places of one kind that a journal may name: more than there are calls or transactions.
pub const PLACES: u32 = 1 << 20;

/// The base values of RFC 3261, table 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Round-trip estimate.
    pub t1: Duration,
    /// Longest interval between retransmissions of anything but an INVITE.
    pub t2: Duration,
    /// Longest time that a message stays in the network.
    pub t4: Duration,
}

impl Clock {
    /// T2 and T4 keep their proportion to T1 of 8 and 10, so that tests can run on a short T1.
    pub fn with_t1(t1: Duration) -> Self {
        Self { t1, t2: t1 * 8, t4: t1 * 10 }
    }

    /// 64*T1: timers B, F, H, J, L and M.
    pub fn give_up(self) -> Duration {
        self.t1 * 64
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::with_t1(Duration::from_millis(500))
    }
}
