//! How long a message took through the node: from the receipt of its cause to the end of its
//! sending.

use cooee_model::moment::Moment;
use cooee_model::sample::Sample;
use cooee_signalling::transaction::flow::{self, Hop};
use cooee_telemetry::Telemetry;
use cooee_telemetry::measure::Measure;
use cooee_telemetry::recorder::Recorder;

use crate::clock;

/// The histograms of messages that leave; each thread that sends has its own.
pub struct Hops([Recorder; 4]);

impl Hops {
    /// Recorders for one thread.
    pub fn new(telemetry: &Telemetry) -> Self {
        Self([
            telemetry.recorder(Measure::Sip100),
            telemetry.recorder(Measure::InviteForward),
            telemetry.recorder(Measure::ResponseForward),
            telemetry.recorder(Measure::ByeForward),
        ])
    }

    /// Closes a measure: its message has been sent just now.
    pub fn record(&mut self, measure: flow::Measure) {
        let place = match measure.hop {
            Hop::Trying => 0,
            Hop::InviteForward => 1,
            Hop::ResponseForward => 2,
            Hop::ByeForward => 3,
        };
        if let Some(hop) = self.0.get_mut(place) {
            hop.record(nanos(measure.since, clock::now()));
        }
    }
}

/// Nanoseconds from one moment to another.
pub fn nanos(since: Moment, until: Moment) -> u64 {
    u64::try_from((until - since).as_nanos()).unwrap_or(u64::MAX)
}
