//! The network between: loses, doubles, delays and so reorders, by the seed.

use crate::rng::Rng;
use crate::script::MS;

/// How bad the network is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub lost_pct: u64,
    pub doubled_pct: u64,
    /// Most of the time a datagram takes this long, nanoseconds.
    pub delay: u64,
    /// One in a hundred of these takes up to three seconds.
    pub straggler_pct: u64,
}

impl Weather {
    pub fn draw(rng: &mut Rng) -> Self {
        if rng.percent(20) {
            // A quiet day: what goes wrong here is nobody's fault but ours.
            return Self { delay: rng.between(1, 40) * MS, ..Self::default() };
        }
        Self {
            lost_pct: rng.one_of(&[1, 5, 10, 20, 30, 30]),
            doubled_pct: rng.one_of(&[0, 2, 10]),
            delay: rng.between(1, 200) * MS,
            straggler_pct: rng.one_of(&[0, 1, 5]),
        }
    }

    /// When the copies of one datagram arrive, counted from now; none: it is lost.
    pub fn fate(&self, rng: &mut Rng) -> [Option<u64>; 2] {
        let doubled = rng.percent(self.doubled_pct);
        let mut copies = [None; 2];
        for (place, copy) in copies.iter_mut().enumerate() {
            if place == 1 && !doubled || rng.percent(self.lost_pct) {
                continue;
            }
            let slow = rng.percent(self.straggler_pct);
            let extra = if slow { rng.below(3000 * MS) } else { 0 };
            *copy = Some(self.delay / 2 + rng.below(self.delay + 1) + extra);
        }
        copies
    }
}
