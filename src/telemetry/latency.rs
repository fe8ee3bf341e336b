//! The cold end of the histograms: windows of time, percentiles, Prometheus buckets.
//!
//! Samples are gathered from the recorders and added to an open slice of 10 s, one of a minute and
//! the whole. A closed slice keeps only the cells that were hit, so three significant digits over
//! an hour cost kilobytes, not the 270 KB that a whole histogram takes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cooee_model::moment::Moment;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::limits::{DIGITS, HIGHEST_NS, LOWEST_NS};
use crate::measure::{Measure, Window};
use crate::recorder::{Recorder, SLOTS, Tap, lowest_of};

/// One histogram over one window. Spans are nanoseconds; all are 0 where nothing was recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Which histogram.
    pub name: &'static str,
    /// Always `ns`.
    pub unit: &'static str,
    /// Which window.
    pub window: &'static str,
    /// Start of what is counted, microseconds since the Unix epoch: the window rounded up to whole
    /// slices.
    pub since_us: i64,
    /// Samples.
    pub count: u64,
    /// Shortest.
    pub min: u64,
    /// Median.
    pub p50: u64,
    /// 90 % are at most this.
    pub p90: u64,
    /// 99 % are at most this.
    pub p99: u64,
    /// 99.9 % are at most this.
    pub p99_9: u64,
    /// 99.99 % are at most this.
    pub p99_99: u64,
    /// Longest.
    pub max: u64,
    /// Mean.
    pub mean: f64,
}

/// What was recorded between two moments.
pub struct Span {
    /// From here.
    pub since: Moment,
    /// To here.
    pub until: Moment,
    /// Merged samples, nanoseconds.
    pub histogram: Histogram<u64>,
}

/// The Prometheus view of a histogram: it only ever grows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buckets {
    /// Samples per bound of [`Measure::bounds_ns`], not cumulative; the last is above all bounds.
    pub(crate) counts: Vec<u64>,
    /// Samples.
    pub(crate) count: u64,
    /// Sum of the samples, nanoseconds.
    pub(crate) sum_ns: u128,
}

/// All histograms of the node.
pub struct Latency {
    tracks: Vec<Mutex<Track>>,
}

impl Latency {
    /// Empty histograms that start at `now`.
    pub fn new(now: Moment) -> Self {
        Self { tracks: Measure::ALL.iter().map(|m| Mutex::new(Track::new(*m, now))).collect() }
    }

    /// A new hot end, for one thread.
    pub fn recorder(&self, measure: Measure) -> Recorder {
        let (recorder, tap) = Recorder::new();
        if let Some(mut track) = self.track(measure) {
            track.taps.push(tap);
        }
        recorder
    }

    /// Gathers samples and closes the slices whose time is over.
    pub fn tick(&self, now: Moment) {
        for measure in Measure::ALL {
            if let Some(mut track) = self.track(measure) {
                track.gather();
                track.roll(now);
            }
        }
    }

    /// When the last tick was.
    pub fn last_tick(&self) -> Moment {
        let track = self.tracks.first();
        let track = track.map(|track| track.lock().unwrap_or_else(PoisonError::into_inner));
        track.map(|track| track.now).unwrap_or_default()
    }

    /// The percentiles of one histogram, up to this very sample.
    pub fn summary(&self, measure: Measure, window: Window) -> Summary {
        let span = self.span(measure, window);
        let quantile = |q| span.histogram.value_at_quantile(q);
        Summary {
            name: measure.name(),
            unit: "ns",
            window: window.name(),
            since_us: span.since.wall_us_on(span.since),
            count: span.histogram.len(),
            min: span.histogram.min(),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
            p99_99: quantile(0.9999),
            max: span.histogram.max(),
            mean: span.histogram.mean(),
        }
    }

    /// Everything recorded in the window, merged.
    pub fn span(&self, measure: Measure, window: Window) -> Span {
        match self.track(measure) {
            Some(mut track) => {
                track.gather();
                track.span(window)
            }
            None => Span {
                since: Moment::default(),
                until: Moment::default(),
                histogram: empty_histogram(),
            },
        }
    }

    /// Hands over the slices of the window one by one, oldest first; the last is still open.
    pub fn slices(&self, measure: Measure, window: Window, mut take: impl FnMut(&Span)) {
        let Some(mut track) = self.track(measure) else { return };
        track.gather();
        let now = track.now;
        let Some((ring, reach)) = track.ring(window) else { return take(&track.span(window)) };
        for slice in ring.within(now, reach) {
            let mut span = Span::empty(slice.since, slice.until);
            slice.counts.iter().for_each(|(slot, count)| span.add(*slot as usize, *count));
            take(&span);
        }
        take(&ring.open(now));
    }

    /// Forgets every sample of one histogram, or of all. Prometheus' view is not touched.
    pub fn reset(&self, only: Option<Measure>) {
        for measure in Measure::ALL {
            if only.is_none_or(|only| only == measure)
                && let Some(mut track) = self.track(measure)
            {
                track.gather();
                track.forget();
            }
        }
    }

    pub(crate) fn buckets(&self, measure: Measure) -> Buckets {
        self.track(measure)
            .map(|mut track| {
                track.gather();
                track.buckets.clone()
            })
            .unwrap_or_default()
    }

    fn track(&self, measure: Measure) -> Option<MutexGuard<'_, Track>> {
        let place = Measure::ALL.iter().position(|m| *m == measure)?;
        Some(self.tracks.get(place)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One histogram: its recorders, its rings of slices, its whole.
struct Track {
    bounds_ns: &'static [u64],
    taps: Vec<Tap>,
    now: Moment,
    tens: Ring,
    minutes: Ring,
    whole: Span,
    buckets: Buckets,
}

impl Track {
    fn new(measure: Measure, now: Moment) -> Self {
        let bounds_ns = measure.bounds_ns();
        let counts = vec![0; bounds_ns.len() + 1];
        Self {
            bounds_ns,
            taps: Vec::new(),
            now,
            tens: Ring::new(Duration::from_secs(10), Duration::from_secs(300), now),
            minutes: Ring::new(Duration::from_secs(60), Duration::from_secs(3600), now),
            whole: Span::empty(now, now),
            buckets: Buckets { counts, ..Buckets::default() },
        }
    }

    fn gather(&mut self) {
        let Self { bounds_ns, taps, tens, minutes, whole, buckets, .. } = self;
        taps.retain_mut(|tap| {
            // Asked before the drain: what a recorder did before it went is then seen by the drain.
            let orphan = tap.is_orphan();
            tap.drain(|slot, count| {
                tens.add(slot, count);
                minutes.add(slot, count);
                whole.add(slot, count);
                let ns = lowest_of(slot);
                let bucket = bounds_ns.partition_point(|bound| *bound < ns);
                if let Some(bucket) = buckets.counts.get_mut(bucket) {
                    *bucket += u64::from(count);
                }
                buckets.count += u64::from(count);
                let middle = u128::from(ns) + u128::from(lowest_of(slot + 1) - ns) / 2;
                buckets.sum_ns += middle * u128::from(count);
            });
            !orphan
        });
    }

    fn roll(&mut self, now: Moment) {
        self.now = now;
        self.whole.until = now;
        self.tens.roll(now);
        self.minutes.roll(now);
    }

    fn forget(&mut self) {
        self.tens.forget(self.now);
        self.minutes.forget(self.now);
        self.whole = Span::empty(self.now, self.now);
    }

    fn ring(&self, window: Window) -> Option<(&Ring, Duration)> {
        match window {
            Window::Minute => Some((&self.tens, Duration::from_secs(60))),
            Window::FiveMinutes => Some((&self.tens, Duration::from_secs(300))),
            Window::Hour => Some((&self.minutes, Duration::from_secs(3600))),
            Window::All => None,
        }
    }

    fn span(&self, window: Window) -> Span {
        let Some((ring, reach)) = self.ring(window) else {
            let Span { since, until, histogram } = &self.whole;
            return Span { since: *since, until: *until, histogram: histogram.clone() };
        };
        let mut span = ring.open(self.now);
        for slice in ring.within(self.now, reach) {
            slice.counts.iter().for_each(|(slot, count)| span.add(*slot as usize, *count));
            span.since = span.since.min(slice.since);
        }
        span
    }
}

impl Span {
    fn empty(since: Moment, until: Moment) -> Self {
        Self { since, until, histogram: empty_histogram() }
    }

    fn add(&mut self, slot: usize, count: u32) {
        // The bounds are those of the recorder's cells, so nothing is ever out of them.
        self.histogram.saturating_record_n(lowest_of(slot), u64::from(count));
    }
}

/// Slices of one length, as many as a reach needs.
struct Ring {
    each: Duration,
    reach: Duration,
    since: Moment,
    open: Vec<u32>,
    is_hit: bool,
    closed: VecDeque<Slice>,
}

/// A closed slice: only the cells that were hit.
struct Slice {
    since: Moment,
    until: Moment,
    counts: Box<[(u32, u32)]>,
}

impl Ring {
    fn new(each: Duration, reach: Duration, now: Moment) -> Self {
        Self {
            each,
            reach,
            since: now,
            open: vec![0; SLOTS],
            is_hit: false,
            closed: VecDeque::new(),
        }
    }

    fn add(&mut self, slot: usize, count: u32) {
        if let Some(cell) = self.open.get_mut(slot) {
            *cell = cell.saturating_add(count);
            self.is_hit = true;
        }
    }

    /// Closes the open slice if its time is over and lets go what nobody can ask for any more. A
    /// tick that comes late makes one long slice, never many.
    fn roll(&mut self, now: Moment) {
        if now.since(self.since) >= self.each {
            // Most slices of a quiet node are empty, and need no look at each cell.
            let counts = if self.is_hit {
                let hit = self.open.iter().zip(0_u32..).filter(|(count, _)| **count > 0);
                hit.map(|(count, slot)| (slot, *count)).collect()
            } else {
                Box::default()
            };
            self.closed.push_back(Slice { since: self.since, until: now, counts });
            self.open.fill(0);
            self.is_hit = false;
            self.since = now;
        }
        while self.closed.front().is_some_and(|slice| now.since(slice.until) >= self.reach) {
            self.closed.pop_front();
        }
    }

    fn forget(&mut self, now: Moment) {
        self.closed.clear();
        self.open.fill(0);
        self.is_hit = false;
        self.since = now;
    }

    fn within(&self, now: Moment, reach: Duration) -> impl Iterator<Item = &Slice> {
        self.closed.iter().filter(move |slice| now.since(slice.until) < reach)
    }

    fn open(&self, now: Moment) -> Span {
        let mut span = Span::empty(self.since, now);
        for (slot, count) in self.open.iter().enumerate().filter(|(_, count)| **count > 0) {
            span.add(slot, *count);
        }
        span
    }
}

fn empty_histogram() -> Histogram<u64> {
    let Ok(histogram) = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS) else {
        unreachable!("the bounds are constants that HdrHistogram takes")
    };
    histogram
}

#[cfg(test)]
mod tests {
    use cooee_model::sample::Sample;

    use super::*;

    const START: Moment = Moment::new(7_000_000_000, 1_700_000_000_000_000_000);

    fn at(seconds: u64) -> Moment {
        START + Duration::from_secs(seconds)
    }

    fn close(got: u64, want: u64) {
        assert!(got.abs_diff(want) * 1000 <= want, "{got} is not {want} to three digits");
    }

    #[test]
    fn percentiles_of_known_samples() {
        let latency = Latency::new(START);
        let mut one = latency.recorder(Measure::InviteForward);
        let mut two = latency.recorder(Measure::InviteForward);
        for ns in 1..=100_000_u64 {
            if ns % 2 == 0 { one.record(ns * 10) } else { two.record(ns * 10) }
        }
        for window in Window::ALL {
            let summary = latency.summary(Measure::InviteForward, window);
            assert_eq!((summary.name, summary.unit), ("invite_forward", "ns"));
            assert_eq!((summary.window, summary.count, summary.min), (window.name(), 100_000, 10));
            close(summary.p50, 500_000);
            close(summary.p90, 900_000);
            close(summary.p99, 990_000);
            close(summary.p99_9, 999_000);
            close(summary.p99_99, 999_900);
            close(summary.max, 1_000_000);
            close(summary.mean as u64, 500_005);
            assert_eq!(summary.since_us, 1_700_000_000_000_000);
        }
        assert_eq!(latency.summary(Measure::ByeForward, Window::All).count, 0);
    }

    #[test]
    fn spans_out_of_range_count_at_its_ends() {
        let latency = Latency::new(START);
        let mut recorder = latency.recorder(Measure::Talk);
        recorder.record(0);
        recorder.record(u64::MAX);
        let summary = latency.summary(Measure::Talk, Window::All);
        assert_eq!((summary.count, summary.min), (2, 0));
        close(summary.max, HIGHEST_NS);
    }

    #[test]
    fn windows_forget_and_the_whole_does_not() {
        let latency = Latency::new(START);
        let mut recorder = latency.recorder(Measure::RtpForward);
        let counts =
            || Window::ALL.map(|window| latency.summary(Measure::RtpForward, window).count);
        // One sample every ten seconds for two hours, in virtual time.
        for second in (10..=7200).step_by(10) {
            recorder.record(second);
            latency.tick(at(second));
        }
        // The tick at a slice's end closes it: an empty open slice and whole closed ones.
        assert_eq!(counts(), [6, 30, 360, 720]);
        recorder.record(1);
        latency.tick(at(7205));
        assert_eq!(counts(), [7, 31, 361, 721]);
        let summary = latency.summary(Measure::RtpForward, Window::Minute);
        assert_eq!(summary.since_us, 1_700_000_000_000_000 + 7140 * 1_000_000);
        // The node sleeps: the windows empty by age, and a late tick closes one long slice.
        latency.tick(at(7205 + 600));
        assert_eq!(counts(), [1, 1, 301, 721]);
        latency.tick(at(7205 + 670));
        assert_eq!(counts(), [0, 1, 295, 721]);
        latency.tick(at(100_000));
        latency.tick(at(200_000));
        assert_eq!(counts(), [0, 0, 0, 721]);
    }

    #[test]
    fn a_wall_clock_that_jumps_moves_no_window() {
        let latency = Latency::new(START);
        latency.recorder(Measure::Queue).record(5);
        latency.tick(Moment::new(at(11).mono, 0));
        assert_eq!(latency.summary(Measure::Queue, Window::Minute).count, 1);
        latency.tick(Moment::new(at(72).mono, i64::MAX));
        assert_eq!(latency.summary(Measure::Queue, Window::Minute).count, 0);
    }

    #[test]
    fn samples_of_a_dropped_recorder_stay_and_its_cells_go() {
        let latency = Latency::new(START);
        for _ in 0..100 {
            latency.recorder(Measure::Setup).record(1_000_000);
        }
        assert_eq!(latency.summary(Measure::Setup, Window::Minute).count, 100);
        assert_eq!(latency.track(Measure::Setup).unwrap().taps.len(), 0);
    }

    #[test]
    fn a_reset_forgets_but_prometheus_does_not() {
        let latency = Latency::new(START);
        let mut queue = latency.recorder(Measure::Queue);
        let mut setup = latency.recorder(Measure::Setup);
        queue.record(4_000_000_000);
        setup.record(2_000_000_000);
        latency.tick(at(30));
        latency.reset(Some(Measure::Queue));
        let summary = latency.summary(Measure::Queue, Window::All);
        assert_eq!((summary.count, summary.max), (0, 0));
        assert_eq!(summary.since_us, 1_700_000_000_000_000 + 30 * 1_000_000);
        assert_eq!(latency.summary(Measure::Setup, Window::All).count, 1);
        queue.record(1);
        latency.reset(None);
        assert_eq!(latency.summary(Measure::Queue, Window::Hour).count, 0);
        assert_eq!(latency.summary(Measure::Setup, Window::Hour).count, 0);
        let buckets = latency.buckets(Measure::Queue);
        assert_eq!((buckets.count, buckets.counts.iter().sum::<u64>()), (2, 2));
        close(u64::try_from(buckets.sum_ns).unwrap(), 4_000_000_001);
    }

    #[test]
    fn a_sample_on_a_bound_belongs_below_it() {
        let latency = Latency::new(START);
        let mut recorder = latency.recorder(Measure::Sip100);
        recorder.record(1_000);
        recorder.record(1_001);
        recorder.record(2_000_000_000);
        let buckets = latency.buckets(Measure::Sip100);
        assert_eq!(buckets.counts.first(), Some(&1));
        assert_eq!(buckets.counts.get(1), Some(&1));
        assert_eq!(buckets.counts.last(), Some(&1));
    }

    #[test]
    fn names_read_back() {
        for measure in Measure::ALL {
            assert_eq!(measure.name().parse(), Ok(measure));
        }
        for window in Window::ALL {
            assert_eq!(window.to_string().parse(), Ok(window));
        }
        assert!("2m".parse::<Window>().is_err() && "rtp".parse::<Measure>().is_err());
    }
}
