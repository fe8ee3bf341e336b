//! Histograms as files that other tools read: `.hgrm`, `.hlog`, `.csv`.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use cooee_model::moment::Moment;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::Error;
use crate::latency::Latency;
use crate::measure::{Measure, Window};

/// Lines per halving of the distance to 100 %, as the tools of HdrHistogram use.
const TICKS_PER_HALF: u32 = 5;
const NS_PER_MS: f64 = 1e6;

impl Latency {
    /// The percentile distribution in HdrHistogram's text format, milliseconds, as its plotter
    /// reads it.
    pub fn hgrm(&self, measure: Measure, window: Window) -> String {
        let histogram = self.span(measure, window).histogram;
        let mut text = String::new();
        let title = ("Value", "Percentile", "TotalCount", "1/(1-Percentile)");
        let _ = writeln!(text, "{:>12} {:>14} {:>10} {:>14}\n", title.0, title.1, title.2, title.3);
        for Point { value_ns, quantile, total } in points(&histogram) {
            let ms = value_ns as f64 / NS_PER_MS;
            let _ = write!(text, "{ms:12.6} {quantile:2.12} {total:10}");
            let _ = match 1.0 - quantile {
                rest if rest > 0.0 => writeln!(text, " {:14.2}", 1.0 / rest),
                _ => writeln!(text),
            };
        }
        let (mean, deviation) = (histogram.mean() / NS_PER_MS, histogram.stdev() / NS_PER_MS);
        let max = histogram.max() as f64 / NS_PER_MS;
        let _ = writeln!(text, "#[Mean    = {mean:12.6}, StdDeviation   = {deviation:12.6}]");
        let _ = writeln!(text, "#[Max     = {max:12.6}, Total count    = {:12}]", histogram.len());
        let sub_buckets = (2 * 10_u32.pow(u32::from(histogram.sigfig()))).next_power_of_two();
        let _ = writeln!(
            text,
            "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]",
            histogram.buckets()
        );
        text
    }

    /// The percentile distribution as comma-separated values; the span in nanoseconds.
    pub fn csv(&self, measure: Measure, window: Window) -> String {
        let mut text = "value_ns,percentile,total_count\n".to_owned();
        for Point { value_ns, quantile, total } in points(&self.span(measure, window).histogram) {
            let _ = writeln!(text, "{value_ns},{:.10},{total}", quantile * 100.0);
        }
        text
    }

    /// The window's slices as an HdrHistogram interval log (V2, compressed), nanoseconds; the
    /// readable maximum of each line is in milliseconds, as its tools expect.
    ///
    /// # Errors
    /// [`Error::Encoding`] where a histogram could not be encoded.
    pub fn hlog(&self, measure: Measure, window: Window) -> Result<String, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Encoding(error.to_string());
        let since = wall(self.span(measure, window).since);
        let mut bytes = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .with_start_time(UNIX_EPOCH + since)
            .with_max_value_divisor(NS_PER_MS)
            .begin_log_with(&mut bytes, &mut serializer)
            .map_err(|e| failed(&e))?;
        let mut written = Ok(());
        self.slices(measure, window, |span| {
            if written.is_ok() {
                let (since, length) = (wall(span.since), span.until.since(span.since));
                written =
                    log.write_histogram(&span.histogram, since, length, Tag::new(measure.name()));
            }
        });
        written.map_err(|e| failed(&e))?;
        String::from_utf8(bytes).map_err(|e| failed(&e))
    }
}

struct Point {
    value_ns: u64,
    quantile: f64,
    total: u64,
}

fn points(histogram: &Histogram<u64>) -> impl Iterator<Item = Point> {
    histogram.iter_quantiles(TICKS_PER_HALF).scan(0, |total, step| {
        *total += step.count_since_last_iteration();
        Some(Point {
            value_ns: step.value_iterated_to(),
            quantile: step.quantile_iterated_to(),
            total: *total,
        })
    })
}

/// Time since the Unix epoch; a wall clock before it counts as it.
fn wall(moment: Moment) -> Duration {
    Duration::from_nanos(u64::try_from(moment.wall).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use cooee_model::sample::Sample;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    const START: Moment = Moment::new(0, 1_700_000_000_000_000_000);

    fn loaded() -> Latency {
        let latency = Latency::new(START);
        let mut recorder = latency.recorder(Measure::RtpForward);
        (1..=10_000).for_each(|us| recorder.record(us * 1000));
        latency
    }

    #[test]
    fn hgrm_has_the_lines_that_the_plotter_wants() {
        let text = loaded().hgrm(Measure::RtpForward, Window::All);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("       Value     Percentile TotalCount 1/(1-Percentile)"));
        assert_eq!(lines.next(), Some(""));
        let rows: Vec<Vec<f64>> = lines
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        let (last, rest) = rows.split_last().unwrap();
        assert!(rest.len() > 30);
        assert!(rest.iter().all(|row| row.len() == 4));
        assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] < b[1] && a[2] <= b[2]));
        let median = rest.iter().find(|row| row[1] == 0.5).unwrap();
        assert!((median[0] - 5.0).abs() < 0.005 && (median[2] - 5000.0).abs() <= 8.0);
        assert_eq!(last.len(), 3);
        assert_eq!((last[1], last[2]), (1.0, 10_000.0));
        let footer = text.lines().rev().take(3).collect::<Vec<_>>();
        assert!(footer[2].starts_with("#[Mean    = ") && footer[2].contains("StdDeviation   = "));
        assert!(footer[1].ends_with("Total count    =        10000]"), "{}", footer[1]);
        assert!(footer[0].ends_with("SubBuckets     =         2048]"), "{}", footer[0]);
    }

    #[test]
    fn an_empty_histogram_exports_too() {
        let latency = Latency::new(START);
        let hgrm = latency.hgrm(Measure::Talk, Window::Minute);
        assert!(hgrm.contains("Total count    =            0]"));
        assert!(latency.csv(Measure::Talk, Window::Minute).starts_with("value_ns,percentile,"));
        assert!(latency.hlog(Measure::Talk, Window::Hour).unwrap().contains("#[StartTime: 17"));
    }

    #[test]
    fn csv_ends_at_the_longest() {
        let text = loaded().csv(Measure::RtpForward, Window::Minute);
        let last = text.lines().last().unwrap();
        let words: Vec<f64> = last.split(',').map(|word| word.parse().unwrap()).collect();
        assert!((words[0] - 10_000_000.0).abs() < 10_000.0);
        assert_eq!(words[1..], [100.0, 10_000.0]);
    }

    #[test]
    fn the_interval_log_reads_back_slice_by_slice() {
        let latency = loaded();
        latency.tick(START + Duration::from_secs(10));
        latency.recorder(Measure::RtpForward).record(777_000);
        latency.tick(START + Duration::from_secs(15));
        let text = latency.hlog(Measure::RtpForward, Window::FiveMinutes).unwrap();
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            let Ok(LogEntry::Interval(interval)) = entry else { continue };
            let bytes = base64_decode(interval.encoded_histogram());
            let histogram: Histogram<u64> =
                Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            assert_eq!(interval.tag().unwrap().as_str(), "rtp_forward");
            found.push((interval.start_timestamp(), interval.duration(), histogram.len()));
        }
        let start = Duration::from_secs(1_700_000_000);
        assert_eq!(
            found,
            [
                (start, Duration::from_secs(10), 10_000),
                (start + Duration::from_secs(10), Duration::from_secs(5), 1),
            ]
        );
    }

    fn base64_decode(text: &str) -> Vec<u8> {
        const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
        for symbol in text.chars().filter(|c| *c != '=') {
            bits = (bits << 6) | u32::try_from(ALPHABET.find(symbol).unwrap()).unwrap();
            held += 6;
            if held >= 8 {
                held -= 8;
                bytes.push(u8::try_from((bits >> held) & 0xff).unwrap());
            }
        }
        bytes
    }
}
