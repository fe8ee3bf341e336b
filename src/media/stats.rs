//! Loss, order and jitter of one direction (RFC 3550, A.1, A.3 and A.8).
//!
//! A stream is counted in segments: a new SSRC, or two consecutive packets after a jump, begin a
//! new one, and the losses of the segments are added. So neither a peer that restarts nor one that
//! hands over to another host shows as a loss of thousands.

use cooee_model::media::StreamStats;

use crate::packet::RtpHeader;

/// A step forward of this many or more is a jump, not a gap (RFC 3550, A.1: `MAX_DROPOUT`).
const MAX_DROPOUT: u16 = 3000;
/// A packet this many or more behind is a jump, not a late one (RFC 3550, A.1: `MAX_MISORDER`).
const MAX_MISORDER: u16 = 100;
/// Ticks of the RTP clock a second: that of all narrow-band telephony codecs, and of G.722 by
/// decree (RFC 3551, 4.5.2).
const CLOCK_HZ: u64 = 8000;
/// A step of the transit time beyond this many ticks (1 s) is a clock set anew, not jitter.
const MAX_TRANSIT_STEP: u32 = 8000;

/// The figures of one direction.
#[derive(Debug, Default)]
pub(crate) struct Reception {
    /// All but `lost` and `jitter_us`, which [`Reception::stats`] works out.
    pub(crate) counted: StreamStats,
    segment: Option<Segment>,
    /// Losses of the segments before the present one.
    lost_before: u64,
    /// Runs of packets that were missing when the next one came.
    pub(crate) gaps: u64,
    /// 16 times the jitter, ticks.
    jitter_16: u64,
}

/// A run of packets of one source without a jump.
#[derive(Debug)]
struct Segment {
    ssrc: u32,
    /// Sequence number of the first packet, extended.
    first: i64,
    /// The highest seen, extended by the cycles.
    highest: i64,
    /// Different packets seen.
    seen: u64,
    /// Bit `n`: packet `highest - n` was seen.
    recent: u128,
    /// The sequence number after a jump that would prove a restart.
    after_jump: Option<u16>,
    /// Arrival minus timestamp of the last packet, ticks, and its timestamp.
    transit: Option<(u32, u32)>,
}

impl Reception {
    /// Takes an accepted packet of `bytes`, received at `arrival_ns` on any steady clock.
    pub(crate) fn take(&mut self, header: RtpHeader, bytes: usize, arrival_ns: u64) {
        self.counted.packets += 1;
        self.counted.bytes += bytes as u64;
        self.counted.payload_type.get_or_insert(header.payload_type);
        if self.segment.as_ref().is_none_or(|segment| segment.ssrc != header.ssrc) {
            self.lost_before += self.segment.as_ref().map_or(0, Segment::lost);
            self.segment = None;
        }
        let segment = self.segment.get_or_insert_with(|| Segment::new(header));
        match segment.place(header.sequence) {
            Place::InOrder => {}
            Place::Gap => self.gaps += 1,
            Place::Late => self.counted.reordered += 1,
            Place::Duplicate => {
                self.counted.duplicate += 1;
                return;
            }
            Place::Jump => return,
            Place::Restart => {
                self.lost_before += segment.lost();
                // The packet before has proved to be the first of a new segment.
                let sequence = header.sequence.wrapping_sub(1);
                *segment = Segment::new(RtpHeader { sequence, ..header });
                segment.place(sequence);
                segment.place(header.sequence);
            }
        }
        if let Some(step) = segment.transit_step(header.timestamp, arrival_ns) {
            self.jitter_16 = self.jitter_16 + u64::from(step) - ((self.jitter_16 + 8) >> 4);
        }
    }

    /// The figures so far.
    pub(crate) fn stats(&self) -> StreamStats {
        let jitter_us = (self.jitter_16 >> 4) * 1_000_000 / CLOCK_HZ;
        StreamStats {
            lost: self.lost_before + self.segment.as_ref().map_or(0, Segment::lost),
            jitter_us: u32::try_from(jitter_us).unwrap_or(u32::MAX),
            ..self.counted
        }
    }
}

/// Where a packet falls in its segment.
enum Place {
    InOrder,
    /// In order, and others are missing before it.
    Gap,
    Late,
    Duplicate,
    /// Far off, alone so far: not counted for loss.
    Jump,
    /// The second in a row after a jump.
    Restart,
}

impl Segment {
    fn new(header: RtpHeader) -> Self {
        let first = i64::from(header.sequence);
        Self {
            ssrc: header.ssrc,
            first,
            highest: first,
            seen: 0,
            recent: 0,
            after_jump: None,
            transit: None,
        }
    }

    fn place(&mut self, sequence: u16) -> Place {
        let ahead = sequence.wrapping_sub(self.highest as u16);
        let behind = ahead.wrapping_neg();
        if ahead < MAX_DROPOUT && (ahead > 0 || self.seen == 0) {
            self.highest += i64::from(ahead);
            self.recent = self.recent.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
            self.seen += 1;
            return if ahead > 1 { Place::Gap } else { Place::InOrder };
        }
        if behind < MAX_MISORDER {
            let bit = 1 << behind;
            if self.recent & bit != 0 {
                return Place::Duplicate;
            }
            self.recent |= bit;
            self.seen += 1;
            self.first = self.first.min(self.highest - i64::from(behind));
            return Place::Late;
        }
        if self.after_jump == Some(sequence) {
            return Place::Restart;
        }
        self.after_jump = Some(sequence.wrapping_add(1));
        Place::Jump
    }

    /// How far the transit time moved since the packet before, ticks. Packets that share a
    /// timestamp (the updates of an RFC 4733 event) say nothing about it.
    fn transit_step(&mut self, timestamp: u32, arrival_ns: u64) -> Option<u32> {
        let arrival = (arrival_ns / (1_000_000_000 / CLOCK_HZ)) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        match self.transit {
            Some((_, last)) if last == timestamp => None,
            before => {
                self.transit = Some((transit, timestamp));
                let step = (transit.wrapping_sub(before?.0) as i32).unsigned_abs();
                (step <= MAX_TRANSIT_STEP).then_some(step)
            }
        }
    }

    fn lost(&self) -> u64 {
        let expected = u64::try_from(self.highest - self.first + 1).unwrap_or(0);
        expected.saturating_sub(self.seen)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// Voice of 20 ms a packet from one source, each arriving on time.
    fn reception(sequences: impl IntoIterator<Item = u16>) -> StreamStats {
        let mut reception = Reception::default();
        for sequence in sequences {
            let place = u64::from(sequence);
            let timestamp = u32::from(sequence) * 160;
            let header = RtpHeader { payload_type: 8, sequence, timestamp, ssrc: 1 };
            reception.take(header, 172, place * 20 * MS);
        }
        reception.stats()
    }

    #[test]
    fn a_clean_stream_has_no_fault() {
        let stats = reception(100..150);
        let clean = StreamStats {
            packets: 50,
            bytes: 50 * 172,
            payload_type: Some(8),
            ..StreamStats::default()
        };
        assert_eq!(stats, clean);
    }

    #[test]
    fn loss_is_expected_less_seen() {
        let stats = reception([1, 2, 5, 6, 10]);
        assert_eq!((stats.lost, stats.reordered, stats.duplicate), (5, 0, 0));
    }

    #[test]
    fn late_and_repeated_packets_are_told_apart() {
        let stats = reception([1, 2, 4, 3, 3, 4, 5, 5]);
        assert_eq!((stats.lost, stats.reordered, stats.duplicate), (0, 1, 3));
        assert_eq!(stats.packets, 8);
    }

    #[test]
    fn a_packet_before_the_first_stretches_the_stream() {
        let stats = reception([10, 7, 11]);
        assert_eq!((stats.lost, stats.reordered), (2, 1));
    }

    #[test]
    fn the_sequence_number_wraps() {
        let stats = reception([65_533, 65_535, 0, 65_534, 2]);
        assert_eq!((stats.lost, stats.reordered), (1, 1));
    }

    #[test]
    fn a_restart_is_two_in_a_row_after_a_jump() {
        let stats = reception([1, 2, 4, 30_000, 30_001, 30_003]);
        assert_eq!((stats.lost, stats.duplicate, stats.reordered), (2, 0, 0));
        let stray = reception([1, 2, 30_000, 3, 4]);
        assert_eq!((stray.lost, stray.packets), (0, 5));
    }

    #[test]
    fn a_new_ssrc_is_a_new_segment() {
        let mut reception = Reception::default();
        for (ssrc, sequence) in [(1, 5), (1, 7), (2, 60_000), (2, 60_002), (1, 9)] {
            let header = RtpHeader { payload_type: 0, sequence, timestamp: 0, ssrc };
            reception.take(header, 12, 0);
        }
        assert_eq!(reception.stats().lost, 2);
    }

    #[test]
    fn jitter_follows_rfc_3550_a_8() {
        let mut reception = Reception::default();
        let mut by_hand = 0_i64;
        // Every other packet 10 ms (80 ticks) late: each transit step is 80 ticks.
        for n in 0..40_u16 {
            let late_ms = u64::from(n % 2) * 10;
            let timestamp = u32::from(n) * 160;
            let header = RtpHeader { payload_type: 8, sequence: n, timestamp, ssrc: 1 };
            reception.take(header, 172, (u64::from(n) * 20 + late_ms) * MS);
            if n > 0 {
                by_hand += 80 - ((by_hand + 8) >> 4);
            }
        }
        let ticks = u32::try_from(by_hand >> 4).unwrap();
        assert_eq!(reception.stats().jitter_us, ticks * 125);
        assert!((70..80).contains(&ticks), "{ticks}");
    }

    #[test]
    fn flow_94_neither_a_new_source_nor_a_jump_is_jitter_or_loss() {
        let mut reception = Reception::default();
        // Each spell is on time by its own clock; between two of them all numbers jump.
        let spells = [
            (1, 10, 0),
            (2, 60_000, 3_000_000_000),
            (2, 100, 3_000_000_160),
            (2, 110, 5),
            (1, 11, 99_000),
        ];
        let mut arrival = 0;
        for (ssrc, first, start) in spells {
            for n in 0..10_u16 {
                let timestamp = u32::wrapping_add(start, u32::from(n) * 160);
                let sequence = first + n;
                let header = RtpHeader { payload_type: 8, sequence, timestamp, ssrc };
                reception.take(header, 172, arrival);
                arrival += 20 * MS;
            }
        }
        let stats = reception.stats();
        assert_eq!((stats.packets, stats.lost, stats.jitter_us), (50, 0, 0));
        assert_eq!((stats.duplicate, stats.reordered), (0, 0));
    }

    #[test]
    fn an_event_that_keeps_its_timestamp_is_no_jitter() {
        let mut reception = Reception::default();
        for n in 0..20_u16 {
            let header = RtpHeader { payload_type: 101, sequence: n, timestamp: 800, ssrc: 1 };
            reception.take(header, 16, u64::from(n) * 20 * MS);
        }
        assert_eq!(reception.stats().jitter_us, 0);
    }

    proptest! {
        #[test]
        fn any_order_keeps_the_books(
            packets in prop::collection::vec(
                (0..3_u32, any::<u16>(), any::<u32>(), any::<u64>()),
                0..300,
            ),
            step in 1..200_u16,
        ) {
            let mut reception = Reception::default();
            for (n, (ssrc, noise, timestamp, arrival)) in packets.iter().enumerate() {
                let near = (n as u16).wrapping_mul(step).wrapping_add(noise % 50);
                let sequence = if ssrc % 2 == 0 { near } else { *noise };
                let header = RtpHeader {
                    payload_type: 8, sequence, timestamp: *timestamp, ssrc: ssrc / 2,
                };
                reception.take(header, 12, *arrival);
            }
            let stats = reception.stats();
            prop_assert_eq!(stats.packets, packets.len() as u64);
            prop_assert!(stats.duplicate + stats.reordered <= stats.packets);
            prop_assert!(stats.lost <= stats.packets * u64::from(MAX_DROPOUT));
        }

        #[test]
        fn a_shuffled_window_loses_only_what_was_left_out(
            order in Just((0..60_u16).collect::<Vec<_>>()).prop_shuffle(),
            left_out in 1..59_u16, start: u16,
        ) {
            let kept = order.iter().filter(|n| **n != left_out);
            let stats = reception(kept.map(|n| start.wrapping_add(*n)));
            prop_assert_eq!((stats.lost, stats.duplicate), (1, 0));
        }
    }
}
