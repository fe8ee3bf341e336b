//! What came of the packets: delays, and for each stream what was lost, overtaken or doubled.

use hdrhistogram::{CreationError, Histogram};
use serde_json::{Value, json};

/// Longest delay told apart, nanoseconds.
const LONGEST_NS: u64 = 60_000_000_000;
/// How far behind its stream's newest packet a packet is still known to be new or seen before.
const REMEMBERED: u32 = u128::BITS;

/// A histogram of spans.
pub(crate) struct Spans(Histogram<u64>);

impl Spans {
    pub(crate) fn new() -> Result<Self, CreationError> {
        Histogram::new_with_bounds(1, LONGEST_NS, 3).map(Self)
    }

    /// Records one span, nanoseconds.
    pub(crate) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    /// Percentiles in microseconds.
    pub(crate) fn json(&self) -> Value {
        let us = |ns: u64| (ns as f64 / 10.0).round() / 100.0;
        let q = |share| us(self.0.value_at_quantile(share));
        json!({
            "count": self.0.len(), "min_us": us(self.0.min()), "p50_us": q(0.5),
            "p90_us": q(0.9), "p99_us": q(0.99), "p99_9_us": q(0.999), "max_us": us(self.0.max()),
        })
    }
}

/// What a stream's packet was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// Newer than all before.
    InOrder,
    /// Overtaken by a newer one on the way (RFC 4737).
    Reordered,
    /// Seen before.
    Duplicate,
}

/// The receiving end of one stream.
#[derive(Clone, Copy, Default)]
struct Stream {
    /// The next number that would be in order.
    next: u32,
    /// Which of the numbers below `next` have come: bit 0 for `next - 1`, and so on.
    seen: u128,
}

impl Stream {
    fn arrive(&mut self, number: u32) -> Arrival {
        if let Some(ahead) = number.checked_sub(self.next) {
            self.seen = self.seen.checked_shl(ahead.saturating_add(1)).unwrap_or(0) | 1;
            self.next = number.saturating_add(1);
            return Arrival::InOrder;
        }
        let behind = self.next - 1 - number;
        if behind >= REMEMBERED {
            // Too old to tell; a packet that is doubled so late is not seen in practice.
            return Arrival::Reordered;
        }
        let bit = 1 << behind;
        if self.seen & bit != 0 {
            return Arrival::Duplicate;
        }
        self.seen |= bit;
        Arrival::Reordered
    }
}

/// Everything about one phase.
pub(crate) struct Tally {
    streams: Vec<Stream>,
    /// Packets that the kernel took.
    pub(crate) sent: u64,
    /// Packets that the kernel did not take: the tool's own limit, no loss of the relay.
    pub(crate) unsent: u64,
    /// Packets that came, each counted once.
    pub(crate) received: u64,
    /// Of these, overtaken ones.
    pub(crate) reordered: u64,
    /// Packets that came again.
    pub(crate) duplicates: u64,
    /// Packets that came at the wrong side or from elsewhere.
    pub(crate) stray: u64,
    /// Packets without the kernel's stamp, which have no delay.
    pub(crate) unstamped: u64,
    /// From the stamp in the packet to the kernel's receive stamp.
    pub(crate) delay: Spans,
    /// How late packets were sent behind the plan.
    pub(crate) late: Spans,
}

impl Tally {
    pub(crate) fn new(streams: usize) -> Result<Self, CreationError> {
        Ok(Self {
            streams: vec![Stream::default(); streams],
            sent: 0,
            unsent: 0,
            received: 0,
            reordered: 0,
            duplicates: 0,
            stray: 0,
            unstamped: 0,
            delay: Spans::new()?,
            late: Spans::new()?,
        })
    }

    /// A packet of this phase has come, after `delay_ns` where that is known.
    pub(crate) fn arrive(&mut self, stream: u32, number: u32, delay_ns: Option<u64>) {
        let stream = usize::try_from(stream).ok().and_then(|at| self.streams.get_mut(at));
        match stream.map(|stream| stream.arrive(number)) {
            None => return self.stray += 1,
            Some(Arrival::Duplicate) => return self.duplicates += 1,
            Some(Arrival::Reordered) => self.reordered += 1,
            Some(Arrival::InOrder) => {}
        }
        self.received += 1;
        match delay_ns {
            Some(ns) => self.delay.record(ns),
            None => self.unstamped += 1,
        }
    }

    /// Packets sent and never received.
    pub(crate) fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// The counts and spans.
    pub(crate) fn json(&self) -> Value {
        json!({
            "sent": self.sent, "received": self.received, "lost": self.lost(),
            "reordered": self.reordered, "duplicates": self.duplicates, "stray": self.stray,
            "unsent": self.unsent, "unstamped": self.unstamped,
            "delay": self.delay.json(), "late": self.late.json(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(value: &Value, wanted: f64) -> bool {
        (value.as_f64().unwrap() - wanted).abs() <= wanted / 1000.0
    }

    #[test]
    fn percentiles_of_known_delays() {
        let mut spans = Spans::new().unwrap();
        // 1 us to 10 ms, each once.
        (1..=10_000_u64).for_each(|us| spans.record(us * 1000));
        let seen = spans.json();
        assert_eq!(seen["count"], 10_000);
        for (key, wanted) in [
            ("min_us", 1.0),
            ("p50_us", 5000.0),
            ("p90_us", 9000.0),
            ("p99_us", 9900.0),
            ("p99_9_us", 9990.0),
            ("max_us", 10_000.0),
        ] {
            assert!(within(&seen[key], wanted), "{key}: {} is not {wanted}", seen[key]);
        }
    }

    #[test]
    fn one_slow_packet_in_a_hundred_moves_the_tail_alone() {
        let mut spans = Spans::new().unwrap();
        for n in 0..10_000 {
            spans.record(if n % 100 == 0 { 900_000 } else { 20_000 });
        }
        let seen = spans.json();
        assert!(within(&seen["p50_us"], 20.0));
        assert!(within(&seen["p99_us"], 20.0));
        assert!(within(&seen["p99_9_us"], 900.0));
    }

    #[test]
    fn order_gaps_and_doubles_are_told_apart() {
        use Arrival::{Duplicate, InOrder, Reordered};
        let mut stream = Stream::default();
        let seen = [0, 1, 3, 2, 2, 3, 9, 8, 0, 10].map(|number| stream.arrive(number));
        assert_eq!(
            seen,
            [
                InOrder, InOrder, InOrder, Reordered, Duplicate, Duplicate, InOrder, Reordered,
                Duplicate, InOrder
            ]
        );
    }

    #[test]
    fn a_gap_wider_than_the_memory_is_survived() {
        let mut stream = Stream::default();
        assert_eq!(stream.arrive(500), Arrival::InOrder, "the first 500 are lost or late");
        assert_eq!(stream.arrive(373), Arrival::Reordered, "the oldest remembered");
        assert_eq!(stream.arrive(373), Arrival::Duplicate);
        assert_eq!(stream.arrive(372), Arrival::Reordered, "too old to tell");
        assert_eq!(stream.arrive(501), Arrival::InOrder);
        assert_eq!(stream.arrive(500), Arrival::Duplicate);
        assert_eq!(stream.arrive(u32::MAX), Arrival::InOrder);
    }

    #[test]
    fn loss_is_what_never_came_however_it_came() {
        let mut tally = Tally::new(2).unwrap();
        tally.sent = 12;
        for number in [0, 2, 1, 1, 5] {
            tally.arrive(0, number, Some(1000));
        }
        for number in [0, 1, 2, 3] {
            tally.arrive(1, number, None);
        }
        tally.arrive(2, 0, Some(1));
        assert_eq!((tally.received, tally.lost()), (8, 4));
        assert_eq!((tally.reordered, tally.duplicates, tally.stray), (1, 1, 1));
        assert_eq!(tally.unstamped, 4);
        assert_eq!(tally.json()["delay"]["count"], 4);
    }
}
