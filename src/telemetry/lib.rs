//! Every metric once: facts become counters, spans become HDR histograms, both become text.
//!
//! [`Telemetry`] is shared by all threads of the node and reads no clock: the shell calls
//! [`Telemetry::tick`] once a second, and whoever measures brings the span.
//!
//! | file | what |
//! |---|---|
//! | `catalog` | one row per metric: name, help, kind, labels, where its value is read |
//! | `row` | the shape of a metric |
//! | `observe` | what a fact counts as |
//! | `callbacks` | events of portals, and how letters to webhooks fare |
//! | `stats` | plain atomics that the planes of the node fill |
//! | `recorder` | the hot end of a histogram: one per thread, one store per sample |
//! | `measure` | the names of the histograms and of the windows |
//! | `latency` | the cold end: windows, percentiles |
//! | `export` | HdrHistogram's text, interval log and CSV |
//! | `live` | the calls that are up, and the last that ended |
//! | `exposition` | the catalogue as OpenMetrics text |

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cooee_model::fact::{Fact, Rejected};
use cooee_model::moment::Moment;
use cooee_model::trunk::TrunkState;

use crate::callbacks::{HookStats, OutboxStats};
use crate::latency::Latency;
use crate::live::Live;
use crate::measure::Measure;
use crate::observe::Observer;
use crate::recorder::Recorder;
use crate::stats::{
    AdminStats, ConfigStats, EngineStats, JournalStats, MediaStats, NamesStats, RejectedStats,
    StoreStats, StreamStats,
};

pub mod callbacks;
pub mod catalog;
pub mod export;
pub mod exposition;
pub mod latency;
pub mod limits;
pub mod live;
pub mod measure;
pub mod observe;
pub mod recorder;
pub mod row;
pub mod stats;
#[cfg(test)]
mod tests;

/// What could not be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An interval log could not be encoded.
    #[error("a histogram could not be encoded: {0}")]
    Encoding(String),
}

/// What the node is, and the names that label series from the start.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The node's id from its configuration.
    pub node: String,
    /// The version of the program.
    pub version: String,
    /// Trunks by name.
    pub trunks: Vec<String>,
    /// Routes by name.
    pub routes: Vec<String>,
    /// Webhooks by name.
    pub webhooks: Vec<String>,
}

/// All that is measured and counted on one node.
pub struct Telemetry {
    /// Filled by the engine.
    pub engine: EngineStats,
    /// Filled by the streams.
    pub streams: StreamStats,
    /// Filled from the RTP plane.
    pub media: MediaStats,
    /// Filled from the journal.
    pub journal: JournalStats,
    /// Filled from the store's feed.
    pub store: StoreStats,
    /// Filled by the admin API.
    pub admin: AdminStats,
    /// Filled by whoever loads configurations.
    pub config: ConfigStats,
    /// Filled by the hooks' listener and by the engine.
    pub hooks: HookStats,
    /// Filled by the look-ups of names.
    pub names: NamesStats,
    /// Filled from the outbox.
    pub outbox: OutboxStats,
    /// The calls that are up.
    pub live: Live,
    /// The histograms.
    pub latency: Latency,
    trunks: Mutex<Arc<Vec<TrunkState>>>,
    identity: Identity,
    started: Moment,
    rejected: RejectedStats,
    observer: Mutex<Observer>,
}

impl Telemetry {
    /// Telemetry of a node that started at `now`; every series of the catalogue exists at zero.
    pub fn new(identity: Identity, now: Moment) -> Self {
        let latency = Latency::new(now);
        let observer = Observer::new(&identity, &latency);
        let names = identity.trunks.iter();
        let trunks = names.map(|name| TrunkState::unknown(name)).collect();
        Self {
            engine: EngineStats::default(),
            streams: StreamStats::default(),
            media: MediaStats::default(),
            journal: JournalStats::default(),
            store: StoreStats::default(),
            admin: AdminStats::default(),
            config: ConfigStats::default(),
            hooks: HookStats::default(),
            names: NamesStats::default(),
            outbox: OutboxStats::new(&identity.webhooks),
            live: Live::default(),
            latency,
            trunks: Mutex::new(Arc::new(trunks)),
            identity,
            started: now,
            rejected: RejectedStats::default(),
            observer: Mutex::new(observer),
        }
    }

    /// Another configuration names these: their series exist at zero from now on, none is lost.
    pub fn know(&self, identity: &Identity) {
        self.observer().know(identity);
        self.outbox.know(&identity.webhooks);
    }

    /// Counts a committed fact and follows its call. Facts of one call come in their order, each
    /// once; the caller is the one reader of the journal, never the engine.
    pub fn observe(&self, fact: &Fact) {
        let media_of_answered = self.live.follow(fact);
        self.observer().observe(fact, media_of_answered);
    }

    /// Follows the call of a fact from before a restart without counting it again.
    pub fn restore(&self, fact: &Fact) {
        self.live.follow(fact);
    }

    /// Counts a refusal. Neither locks nor allocates: a flood of strangers costs one addition each.
    pub fn rejected(&self, rejected: &Rejected) {
        self.rejected.count(rejected.why);
    }

    /// A new hot end of a histogram, for one thread.
    pub fn recorder(&self, measure: Measure) -> Recorder {
        self.latency.recorder(measure)
    }

    /// Gathers what the recorders took and turns the windows; called about once a second.
    pub fn tick(&self, now: Moment) {
        self.latency.tick(now);
    }

    /// How the trunks stand, as the engine last told.
    pub fn trunks(&self) -> Arc<Vec<TrunkState>> {
        Arc::clone(&self.trunks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The engine tells how the trunks stand.
    pub fn tell_trunks(&self, states: Vec<TrunkState>) {
        *self.trunks.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(states);
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// When this node started.
    pub fn started(&self) -> Moment {
        self.started
    }

    /// The catalogue as OpenMetrics 1.0 text.
    pub fn exposition(self: &Arc<Self>) -> String {
        exposition::text(self)
    }

    fn observer(&self) -> MutexGuard<'_, Observer> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
