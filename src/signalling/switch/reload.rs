//! Another configuration comes into force while calls are up.
//!
//! What a call was decided by stays with the call. Everything that is found by a trunk's place in
//! the plan is carried over by the trunk's name.

use std::collections::BTreeMap;
use std::sync::Arc;

use cooee_model::moment::Moment;

use crate::profile::plan::{Peer, Plan, Trunk};
use crate::switch::Switch;
use crate::switch::input::Revision;

impl Switch {
    /// Works by another plan from now on.
    pub(super) fn adopt(&mut self, now: Moment, revision: Revision) {
        let Revision { plan, peers, latch } = revision;
        let old = std::mem::replace(&mut self.core.plan, Arc::clone(&plan));
        let moved = places(&old, &plan);
        self.core.setup.latch = latch;
        self.carry_addresses(&old, &plan, &moved);
        for (trunk, peers) in peers.into_iter().enumerate() {
            if !peers.is_empty() {
                self.learn_peers(now, trunk, peers);
            }
        }
        self.carry_lines(now, &old);
        self.begin_pings(now);
    }

    /// What names led to stays known while the trunk's peers are the same.
    fn carry_addresses(&mut self, old: &Plan, plan: &Plan, moved: &BTreeMap<usize, usize>) {
        let same = |from: usize, to: usize| -> bool {
            match (old.trunks.get(from), plan.trunks.get(to)) {
                (Some(one), Some(other)) => peers(one).eq(peers(other)),
                _ => false,
            }
        };
        self.sources.retain(|_, (trunk, _)| match moved.get(trunk) {
            Some(&to) if same(*trunk, to) => {
                *trunk = to;
                true
            }
            _ => false,
        });
        let stay =
            moved.iter().filter(|&(&from, &to)| same(from, to)).map(|(&from, &to)| (from, to));
        self.core.peers.carry(plan.trunks.len(), stay);
    }
}

/// All that is looked up for a trunk.
fn peers(trunk: &Trunk) -> impl Iterator<Item = &Peer> {
    trunk.peers.iter().chain(trunk.registrations.iter().map(|line| &line.registrar))
}

/// From the place of each trunk in one plan to its place in another.
fn places(old: &Plan, plan: &Plan) -> BTreeMap<usize, usize> {
    let place = |(at, trunk): (usize, &Trunk)| Some((at, plan.trunk_at(&trunk.name)?));
    old.trunks.iter().enumerate().filter_map(place).collect()
}
