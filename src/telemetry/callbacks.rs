//! What portals told us, and how the letters to the webhooks fare.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cooee_model::portal::Heard;
use serde::Serialize;

/// Events of portals, by what came of them.
#[derive(Debug, Default)]
pub struct HookStats([AtomicU64; Heard::ALL.len()]);

impl HookStats {
    /// Counts one event. What is refused for want of time may still be counted by the engine.
    pub fn heard(&self, heard: Heard) {
        let place = Heard::ALL.iter().position(|known| *known == heard);
        if let Some(cell) = place.and_then(|place| self.0.get(place)) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every result: name, count.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let cells = self.0.iter().map(|cell| cell.load(Ordering::Relaxed));
        Heard::ALL.into_iter().map(Heard::name).zip(cells)
    }
}

/// How the letters to one webhook fare. Counts are since the start of the node; the first three
/// and the last are as of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OutboxFigures {
    /// Events that wait to be delivered, those under way among them.
    pub depth: u64,
    /// Age of the oldest of them, seconds; 0: none waits.
    pub oldest_s: u64,
    /// Events that were given up.
    pub dead: u64,
    /// Deliveries that were confirmed.
    pub delivered: u64,
    /// Attempts answered with anything but a 2xx.
    pub failed_status: u64,
    /// Attempts that took too long.
    pub failed_timeout: u64,
    /// Attempts that reached no one: name, connection, TLS.
    pub failed_transport: u64,
    /// The receiver is away: one event at a time is tried, with pauses.
    pub paused: bool,
}

/// The figures of each webhook, known at 0 from the start.
#[derive(Debug, Default)]
pub struct OutboxStats(Mutex<BTreeMap<String, OutboxFigures>>);

impl OutboxStats {
    pub(crate) fn new(webhooks: &[String]) -> Self {
        let zeros = webhooks.iter().map(|name| (name.clone(), OutboxFigures::default()));
        Self(Mutex::new(zeros.collect()))
    }

    pub(crate) fn know(&self, webhooks: &[String]) {
        let mut all = self.all();
        for name in webhooks {
            all.entry(name.clone()).or_default();
        }
    }

    /// Sets what is known of a webhook; one that no configuration has named is left out.
    pub fn set(&self, webhook: &str, figures: OutboxFigures) {
        if let Some(known) = self.all().get_mut(webhook) {
            *known = figures;
        }
    }

    /// The figures of every webhook, by name.
    pub fn each(&self) -> Vec<(String, OutboxFigures)> {
        self.all().iter().map(|(name, figures)| (name.clone(), *figures)).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, OutboxFigures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_is_counted_by_its_name() {
        let stats = HookStats::default();
        for (times, heard) in Heard::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| stats.heard(heard));
        }
        for (times, (heard, found)) in (0..).zip(Heard::ALL.into_iter().zip(stats.each())) {
            assert_eq!(found, (heard.name(), times));
        }
    }

    #[test]
    fn only_webhooks_of_the_node_have_figures() {
        let stats = OutboxStats::new(&["ops".to_owned()]);
        let figures = OutboxFigures { depth: 3, paused: true, ..OutboxFigures::default() };
        stats.set("ops", figures);
        stats.set("nobody", figures);
        assert_eq!(stats.each(), [("ops".to_owned(), figures)]);
    }
}
