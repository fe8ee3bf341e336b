//! How one direction sounds, interval by interval, and how far away its sender is.

use cooee_model::media::{Quality, StreamStats};

use crate::quality::Way;
use crate::rtcp::{self, Told};
use crate::stats::Reception;

/// Sender reports whose answers are waited for: those of some 20 s.
const REPORTS: usize = 4;

/// A round trip beyond this many nanoseconds (10 s) is a mistake.
const LONGEST_TRIP: u64 = 10_000_000_000;

/// What the samples of one direction are made from.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    /// The figures of the direction at the sample before, and its gaps.
    before: (StreamStats, u64),
    /// The clocks of the last sender reports that were passed on to this peer, and when.
    passed: [Option<(u32, u64)>; REPORTS],
    next: usize,
    round_trip_ns: Option<u64>,
}

impl Sampler {
    /// RTCP was passed on to this peer.
    pub(crate) fn passed(&mut self, compound: &[u8], at_ns: u64) {
        for told in rtcp::read(compound) {
            if let Told::Sent(clock) = told
                && let Some(place) = self.passed.get_mut(self.next)
            {
                *place = Some((clock, at_ns));
                self.next = (self.next + 1) % REPORTS;
            }
        }
    }

    /// RTCP came from this peer: where it answers a report, the way there and back is what has gone
    /// by less what the peer took.
    pub(crate) fn came(&mut self, compound: &[u8], at_ns: u64) {
        for told in rtcp::read(compound) {
            let Told::Heard(report) = told else { continue };
            let known = |(clock, _): &&(u32, u64)| *clock == report.last_clock && *clock != 0;
            let Some((_, sent)) = self.passed.iter().flatten().find(known) else { continue };
            let took = (u64::from(report.since) * 1_000_000_000) >> 16;
            // What the peer says may be a little more than went by: it rounds.
            let trip = at_ns.saturating_sub(*sent).saturating_sub(took);
            if trip <= LONGEST_TRIP {
                self.round_trip_ns = Some(trip);
            }
        }
    }

    /// How it sounded since the sample before.
    pub(crate) fn sample(&mut self, reception: &Reception) -> Quality {
        let now = (reception.stats(), reception.gaps);
        let before = std::mem::replace(&mut self.before, now);
        let since = |figure: fn(&StreamStats) -> u64| {
            u32::try_from(figure(&now.0).saturating_sub(figure(&before.0))).unwrap_or(u32::MAX)
        };
        let (packets, lost) = (since(|s| s.packets), since(|s| s.lost));
        let different = packets.saturating_sub(since(|s| s.duplicate));
        let sent = f64::from(different) + f64::from(lost);
        let loss = if sent > 0.0 { f64::from(lost) / sent } else { 0.0 };
        let gaps = now.1.saturating_sub(before.1).max(1);
        let way = Way {
            payload_type: now.0.payload_type.unwrap_or_default(),
            loss,
            // Losses that know nothing of each other come in runs of 1 / (1 - loss).
            burst: f64::from(lost) / gaps as f64 * (1.0 - loss),
            jitter_ms: f64::from(now.0.jitter_us) / 1000.0,
            round_trip_ms: self.round_trip_ns.map(|ns| ns as f64 / 1e6),
        };
        Quality {
            packets,
            lost,
            duplicate: since(|s| s.duplicate),
            late: since(|s| s.reordered),
            jitter_us: now.0.jitter_us,
            round_trip_us: self.round_trip_ns.and_then(|ns| u32::try_from(ns / 1000).ok()),
            rating_10: (packets > 0).then(|| (way.rating() * 10.0).round() as u16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::RtpHeader;

    const MS: u64 = 1_000_000;

    fn hear(reception: &mut Reception, sequences: impl IntoIterator<Item = u16>) {
        for sequence in sequences {
            let timestamp = u32::from(sequence) * 160;
            let header = RtpHeader { payload_type: 8, sequence, timestamp, ssrc: 1 };
            reception.take(header, 172, u64::from(sequence) * 20 * MS);
        }
    }

    #[test]
    fn a_sample_is_of_its_own_time_alone() {
        let (mut reception, mut sampler) = (Reception::default(), Sampler::default());
        assert_eq!(sampler.sample(&reception), Quality::default(), "nothing came");
        hear(&mut reception, 1..=250);
        let first = sampler.sample(&reception);
        assert_eq!((first.packets, first.lost, first.rating_10), (250, 0, Some(932)));
        // One in ten is missing, each alone; one comes late, one twice.
        hear(&mut reception, (251..=500).filter(|n| n % 10 != 0));
        hear(&mut reception, [490, 489]);
        let second = sampler.sample(&reception);
        assert_eq!(
            (second.packets, second.lost, second.late, second.duplicate),
            (227, 23, 1, 1),
            "the last is not missed yet"
        );
        let loss = 100.0 * 23.0 / 249.0;
        let rating = 93.2 - 95.0 * loss / (loss + 25.1);
        let seen = f64::from(second.rating_10.unwrap()) / 10.0;
        assert!((seen - rating).abs() < 0.11, "{seen}, not {rating}");
        assert_eq!(
            (second.mos().map(|m| (m * 100.0) as u32), second.grade()),
            (Some(348), Some(2))
        );
        assert_eq!(sampler.sample(&reception).packets, 0);
    }

    #[test]
    fn the_round_trip_is_what_went_by_less_what_the_peer_took() {
        let mut sampler = Sampler::default();
        let mut sr = vec![0x80, 200, 0, 6];
        sr.extend([1_u32, 0x0000_1234, 0x5678_0000, 0, 0, 0].iter().flat_map(|w| w.to_be_bytes()));
        let rr = |clock: u32, since: u32| {
            let words = [2, 1, 0, 0, 0, clock, since];
            let head = [0x81, 201, 0, 7].into_iter();
            head.chain(words.into_iter().flat_map(u32::to_be_bytes)).collect::<Vec<u8>>()
        };
        let trip = |sampler: &mut Sampler| sampler.sample(&Reception::default()).round_trip_us;
        sampler.passed(&sr, 1000 * MS);
        sampler.came(&rr(0, 0), 1100 * MS);
        sampler.came(&rr(0x9999_9999, 0), 1100 * MS);
        assert_eq!(trip(&mut sampler), None, "they answer nothing of ours");
        // Half a second it kept it, 80 ms it was under way.
        sampler.came(&rr(0x1234_5678, 0x8000), 1580 * MS);
        assert_eq!(trip(&mut sampler), Some(80_000));
        sampler.came(&rr(0x1234_5678, 0xffff_ffff), 1600 * MS);
        assert_eq!(trip(&mut sampler), Some(0), "it says that it took longer than went by");
        sampler.came(&rr(0x1234_5678, 0), 60_000 * MS);
        assert_eq!(trip(&mut sampler), Some(0), "a minute is a mistake");
    }
}
