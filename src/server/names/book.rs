//! What is known of peers' names: the last good answers, and when each is to be asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cooee_model::moment::Moment;
use cooee_signalling::call::peers::Place;
use cooee_signalling::profile::plan::{Peer, Plan, Trunk};

use super::locate::Found;

/// How long after a look-up that failed the next one is made.
const AGAIN: Duration = Duration::from_secs(10);

/// What a look-up has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Other addresses than before.
    Moved,
    /// It began to fail: why.
    Failing(String),
    /// It is as before.
    None,
}

#[derive(Debug, Default)]
struct Entry {
    places: Vec<Place>,
    /// When `places` is past its time.
    until: Option<Moment>,
    /// When it is looked up again; `None`: that is under way.
    due: Option<Moment>,
    failing: bool,
}

/// By peer; those of a trunk are merged when they are told.
#[derive(Debug, Default)]
pub(super) struct Book(BTreeMap<Peer, Entry>);

/// All that is looked up for a trunk.
pub(super) fn peers(trunk: &Trunk) -> impl Iterator<Item = &Peer> {
    trunk.peers.iter().chain(trunk.registrations.first().map(|line| &line.registrar))
}

impl Book {
    /// Names that nobody asks for any more are forgotten.
    pub(super) fn keep(&mut self, plan: &Plan) {
        let wanted: BTreeSet<_> = plan.trunks.iter().flat_map(peers).collect();
        self.0.retain(|known, _| wanted.contains(known));
    }

    /// The peers of a plan whose time has come, each once; from now on they are under way.
    /// `all`: whatever the time.
    pub(super) fn due(&mut self, plan: &Plan, now: Moment, all: bool) -> Vec<Peer> {
        let mut due = Vec::new();
        for peer in plan.trunks.iter().flat_map(peers) {
            let is_new = !self.0.contains_key(peer);
            let entry = self.0.entry(peer.clone()).or_default();
            if is_new || entry.due.is_some_and(|at| all || at.mono <= now.mono) {
                entry.due = None;
                due.push(peer.clone());
            }
        }
        due
    }

    /// Whether none of a plan's peers is being looked up.
    pub(super) fn is_settled(&self, plan: &Plan) -> bool {
        let known = |peer: &Peer| self.0.get(peer).is_some_and(|e| e.due.is_some());
        plan.trunks.iter().flat_map(peers).all(known)
    }

    /// How long until the next one is due.
    pub(super) fn wait(&self, now: Moment) -> Option<Duration> {
        self.0.values().filter_map(|entry| entry.due).map(|at| at.since(now)).min()
    }

    /// Look-ups under way that nobody will answer any more are made again.
    pub(super) fn give_up(&mut self, now: Moment) {
        self.0.values_mut().for_each(|entry| entry.due = entry.due.or(Some(now + AGAIN)));
    }

    /// Notes what a look-up has found. What fails, or lacks some of its addresses, leaves the last
    /// good answer as it is.
    pub(super) fn note(&mut self, now: Moment, peer: &Peer, found: Result<Found, String>) -> News {
        let Some(entry) = self.0.get_mut(peer) else { return News::None };
        entry.due = Some(now + AGAIN);
        let (found, why) = match found {
            Ok(found) => match found.lacking.clone() {
                Some(why) => (Some(found).filter(|_| entry.places.is_empty()), Some(why)),
                None => {
                    entry.due = Some(now + found.ttl);
                    entry.until = Some(now + found.ttl);
                    (Some(found), None)
                }
            },
            Err(why) => (None, Some(why)),
        };
        let places = found.map_or_else(|| entry.places.clone(), |found| found.places);
        let moved = places != entry.places;
        entry.places = places;
        let began = why.is_some() && !entry.failing;
        entry.failing = why.is_some();
        match why {
            Some(why) if began => News::Failing(why),
            _ if moved => News::Moved,
            _ => News::None,
        }
    }

    /// The addresses of one peer.
    pub(super) fn of(&self, peer: &Peer) -> &[Place] {
        self.0.get(peer).map_or(&[], |entry| &entry.places)
    }

    /// The addresses of a trunk. Its peers are tried in the order of the configuration, the
    /// addresses of each by the priorities of DNS.
    pub(super) fn places(&self, trunk: &Trunk) -> Vec<Place> {
        let mut places = Vec::new();
        let mut rank = 0_u16;
        for peer in peers(trunk) {
            let mut found = self.0.get(peer).map(|e| e.places.clone()).unwrap_or_default();
            found.sort_by_key(|place| place.priority);
            let mut last = None;
            for place in found {
                if last.is_some_and(|last| last != place.priority) {
                    rank = rank.saturating_add(1);
                }
                last = Some(place.priority);
                places.push(Place { priority: rank, ..place });
            }
            rank = rank.saturating_add(1);
        }
        places
    }

    /// Since when an answer that a trunk rests on is past its time.
    pub(super) fn overdue(&self, trunk: &Trunk) -> Option<Moment> {
        let known = peers(trunk).filter_map(|peer| self.0.get(peer));
        known.filter(|e| e.failing).filter_map(|e| e.until).min_by_key(|until| until.mono)
    }
}
