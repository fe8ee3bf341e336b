//! How much the node and each trunk carry: calls at a time, new calls a second.

use std::collections::BTreeMap;

use cooee_model::moment::Moment;

use crate::profile::plan::Limits;

/// Calls a second and calls at a time, by trunk. A call counts on the trunk that it comes from and
/// on the one that it goes to.
#[derive(Debug, Default)]
pub struct Loads {
    node: Second,
    trunks: BTreeMap<String, (Second, u32)>,
}

#[derive(Debug, Default)]
struct Second {
    at: u64,
    count: u32,
}

impl Second {
    /// How many so far.
    fn so_far(&self, now: Moment) -> u32 {
        if self.at == now.mono / 1_000_000_000 { self.count } else { 0 }
    }

    /// Counts one; `false`: it would be more than `limit` in this second.
    fn take(&mut self, now: Moment, limit: u32) -> bool {
        let count = self.so_far(now).saturating_add(1);
        *self = Self { at: now.mono / 1_000_000_000, count };
        count <= limit
    }
}

impl Loads {
    /// Counts a new call of the node; `false`: more than `limit` in this second.
    pub fn take_node(&mut self, now: Moment, limit: u32) -> bool {
        self.node.take(now, limit)
    }

    /// Whether the node has had more calls in this second than it takes.
    pub fn is_flooded(&self, now: Moment, limit: u32) -> bool {
        self.node.so_far(now) > limit
    }

    /// Counts a new call of a trunk; `false`: the trunk has no room for it.
    pub fn take(&mut self, now: Moment, trunk: &str, limits: Limits) -> bool {
        let (second, calls) = match self.trunks.get_mut(trunk) {
            Some(entry) => entry,
            None => self.trunks.entry(trunk.to_owned()).or_default(),
        };
        let too_fast = limits.cps.is_some_and(|limit| !second.take(now, limit));
        let too_many = limits.sessions.is_some_and(|limit| *calls >= limit);
        !too_fast && !too_many
    }

    /// A call is on this trunk now.
    pub fn begins(&mut self, trunk: &str) {
        match self.trunks.get_mut(trunk) {
            Some((_, calls)) => *calls += 1,
            None => self.trunks.entry(trunk.to_owned()).or_default().1 += 1,
        }
    }

    /// A call is on this trunk no more.
    pub fn over(&mut self, trunk: &str) {
        if let Some((_, calls)) = self.trunks.get_mut(trunk) {
            *calls = calls.saturating_sub(1);
        }
    }

    /// Calls that are on this trunk.
    pub fn calls(&self, trunk: &str) -> u32 {
        self.trunks.get(trunk).map_or(0, |(_, calls)| *calls)
    }
}
