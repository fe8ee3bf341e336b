//! The shape of a metric: what the catalogue says of it, and how its series are put.

use std::fmt;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

use crate::Telemetry;
use crate::measure::Measure;

/// Reads the series of a row.
pub type Read = fn(&Telemetry, &mut Series<'_>) -> fmt::Result;

/// What a metric is.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Only grows.
    Counter(Read),
    /// Goes both ways.
    Gauge(Read),
    /// A histogram in seconds.
    Histogram(Measure),
}

/// One metric.
#[derive(Clone, Copy)]
pub struct Row {
    /// The full name, as Prometheus shows it.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Its kind and where its value is read.
    pub kind: Kind,
    /// Its labels; each has a bounded set of values.
    pub labels: &'static [&'static str],
}

/// Takes the series of one row.
pub struct Series<'e> {
    encoder: MetricEncoder<'e>,
    row: &'static Row,
}

impl<'e> Series<'e> {
    pub(crate) fn new(encoder: MetricEncoder<'e>, row: &'static Row) -> Self {
        Self { encoder, row }
    }

    /// One series: the values of the row's labels, in their order, and the figure.
    ///
    /// # Errors
    /// [`fmt::Error`] where the text could not be written.
    pub fn put(&mut self, values: &[&str], figure: u64) -> fmt::Result {
        debug_assert_eq!(values.len(), self.row.labels.len(), "{}", self.row.name);
        if values.is_empty() {
            return figure_of(&mut self.encoder, self.row.kind, figure);
        }
        let labels: Vec<_> = self.row.labels.iter().copied().zip(values.iter().copied()).collect();
        figure_of(&mut self.encoder.encode_family(&labels)?, self.row.kind, figure)
    }
}

fn figure_of(encoder: &mut MetricEncoder<'_>, kind: Kind, figure: u64) -> fmt::Result {
    match kind {
        Kind::Counter(_) => encoder.encode_counter::<NoLabelSet, u64, u64>(&figure, None),
        Kind::Gauge(_) | Kind::Histogram(_) => encoder.encode_gauge(&figure),
    }
}
