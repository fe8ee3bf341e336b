//! The catalogue as OpenMetrics text, written by prometheus-client.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::Telemetry;
use crate::catalog::ROWS;
use crate::latency::Buckets;
use crate::measure::Measure;
use crate::row::{Kind, Series};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const NS_PER_S: f64 = 1e9;

pub(crate) fn text(telemetry: &Arc<Telemetry>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Catalog(Arc::clone(telemetry))));
    let mut text = String::new();
    // Writing to a string does not fail; a row that broke off would miss its end mark.
    match text::encode(&mut text, &registry) {
        Ok(()) => text,
        Err(fmt::Error) => String::new(),
    }
}

struct Catalog(Arc<Telemetry>);

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Catalog")
    }
}

impl Collector for Catalog {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        for row in ROWS {
            let (name, kind) = match row.kind {
                // The encoder puts the suffix back.
                Kind::Counter(_) => (row.name.trim_end_matches("_total"), MetricType::Counter),
                Kind::Gauge(_) => (row.name, MetricType::Gauge),
                Kind::Histogram(_) => (row.name, MetricType::Histogram),
            };
            let mut encoder = out.encode_descriptor(name, row.help, None, kind)?;
            match row.kind {
                Kind::Counter(read) | Kind::Gauge(read) => {
                    read(&self.0, &mut Series::new(encoder, row))?;
                }
                Kind::Histogram(measure) => {
                    put_histogram(&mut encoder, measure, &self.0.latency.buckets(measure))?;
                }
            }
        }
        Ok(())
    }
}

fn put_histogram(
    encoder: &mut MetricEncoder<'_>,
    measure: Measure,
    buckets: &Buckets,
) -> fmt::Result {
    let bounds = measure.bounds_ns().iter().map(|ns| *ns as f64 / NS_PER_S);
    let bounds = bounds.chain([f64::INFINITY]);
    let counts: Vec<_> = bounds.zip(buckets.counts.iter().copied()).collect();
    let sum = buckets.sum_ns as f64 / NS_PER_S;
    encoder.encode_histogram::<NoLabelSet>(sum, buckets.count, &counts, None)
}
