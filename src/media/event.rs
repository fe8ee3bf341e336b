//! Telephone events (RFC 4733): one press of a key written as packets, and packets read as presses.
//!
//! Plain values: who owns them brings the time and carries the packets.

use std::time::Duration;

use crate::limits::{EVENT_COPIES, EVENT_LAPSE, EVENT_STEP, PRESS_MAX, PRESS_MIN};
use crate::packet::RtpHeader;

/// Length of an event packet: an RTP header and one event.
const PACKET: usize = 16;

/// The last event that a telephone's key makes: 0 to 9, *, #, A to D, flash.
const LAST_KEY: u8 = 16;

/// How loud the tone is that an event stands for, -dBm0.
const VOLUME: u8 = 10;

/// A press that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Press {
    /// RFC 4733, 3.2.
    pub(crate) event: u8,
    /// How long the key was held, ticks of the event's clock.
    pub(crate) ticks: u32,
}

/// One press being written. Its packets have one timestamp, that of its beginning, and a duration
/// that grows; the last is sent three times (RFC 4733, 2.5.1.4).
#[derive(Debug)]
pub(crate) struct Tone {
    event: u8,
    payload_type: u8,
    ssrc: u32,
    timestamp: u32,
    /// Ticks from packet to packet.
    step: u32,
    /// Ticks in all.
    length: u32,
    sent: u32,
}

impl Tone {
    /// A press of `event` that begins at `timestamp` of the stream `ssrc`.
    pub(crate) fn new(
        (event, length): (u8, Duration),
        (payload_type, clock_hz): (u8, u32),
        (ssrc, timestamp): (u32, u32),
    ) -> Self {
        let length = ticks(length.clamp(PRESS_MIN, PRESS_MAX), clock_hz);
        // A longer event would have to be cut in segments (RFC 4733, 2.5.1.3).
        let length = length.clamp(1, u32::from(u16::MAX));
        let step = ticks(EVENT_STEP, clock_hz).max(1);
        Self { event, payload_type, ssrc, timestamp, step, length, sent: 0 }
    }

    /// The next packet, under a number of its stream.
    pub(crate) fn packet(&mut self, sequence: u16) -> [u8; PACKET] {
        let first = self.sent == 0;
        self.sent += 1;
        let duration = self.step.saturating_mul(self.sent).min(self.length);
        let ended = duration == self.length;
        let [s1, s0] = sequence.to_be_bytes();
        let [t3, t2, t1, t0] = self.timestamp.to_be_bytes();
        let [i3, i2, i1, i0] = self.ssrc.to_be_bytes();
        let [d1, d0] = u16::try_from(duration).unwrap_or(u16::MAX).to_be_bytes();
        let second = self.payload_type & 0x7f | if first { 0x80 } else { 0 };
        let volume = VOLUME | if ended { 0x80 } else { 0 };
        [0x80, second, s1, s0, t3, t2, t1, t0, i3, i2, i1, i0, self.event, volume, d1, d0]
    }

    /// Whether the last copy of the end has been written.
    pub(crate) fn is_over(&self) -> bool {
        self.sent >= self.length.div_ceil(self.step) + EVENT_COPIES
    }
}

/// Ticks of a clock in a span.
pub(crate) fn ticks(span: Duration, clock_hz: u32) -> u32 {
    // Wraps around as timestamps do.
    (span.as_nanos() * u128::from(clock_hz) / 1_000_000_000) as u32
}

/// Reads presses: each is told once, at its end, whatever of its packets is lost or doubled.
#[derive(Debug, Default)]
pub(crate) struct Detector {
    current: Option<Heard>,
    /// Stream and timestamp of the press that was told last.
    told: Option<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    ssrc: u32,
    timestamp: u32,
    event: u8,
    /// Ticks of the present segment.
    ticks: u32,
    /// Ticks of the segments before it.
    before: u32,
    at_ns: u64,
}

impl Heard {
    fn press(self) -> Press {
        Press { event: self.event, ticks: self.before + self.ticks }
    }

    /// How long this segment was, if `next` is of the next one of the same press (RFC 4733,
    /// 2.5.1.3).
    fn segment_before(&self, next: &Self) -> Option<u32> {
        const LONGEST: u32 = 0xffff;
        let at = next.timestamp.wrapping_sub(self.timestamp);
        let same = (self.ssrc, self.event) == (next.ssrc, next.event);
        (same && (LONGEST - 4_800..=LONGEST).contains(&at)).then_some(at)
    }
}

impl Detector {
    /// Takes the payload of an event packet that came at `at_ns`; `told` hears of presses that are
    /// over. `false`: it is no key's event, and none of our business.
    pub(crate) fn take(
        &mut self,
        (header, marker): (RtpHeader, bool),
        payload: &[u8],
        at_ns: u64,
        mut told: impl FnMut(Press),
    ) -> bool {
        let Some(&[event, flags, high, low]) = payload.first_chunk::<4>() else { return false };
        if event > LAST_KEY {
            return false;
        }
        let (ended, ticks) = (flags & 0x80 != 0, u32::from(u16::from_be_bytes([high, low])));
        let RtpHeader { ssrc, timestamp, .. } = header;
        if self.is_past(ssrc, timestamp) {
            return true;
        }
        let new = Heard { ssrc, timestamp, event, ticks, before: 0, at_ns };
        let heard = match self.current {
            Some(heard) if (heard.ssrc, heard.timestamp) == (ssrc, timestamp) => {
                Heard { ticks: heard.ticks.max(ticks), at_ns, ..heard }
            }
            Some(heard) => match heard.segment_before(&new).filter(|_| !marker) {
                Some(segment) => Heard { before: heard.before + segment, ..new },
                // The end of the one before was lost.
                None => {
                    self.end(&mut told);
                    new
                }
            },
            None => new,
        };
        self.current = Some(heard);
        if ended {
            self.end(&mut told);
        }
        true
    }

    /// Tells of a press whose end never came.
    pub(crate) fn lapse(&mut self, now_ns: u64, mut told: impl FnMut(Press)) {
        let lapse_ns = EVENT_LAPSE.as_nanos();
        let old = |h: &Heard| u128::from(now_ns.saturating_sub(h.at_ns)) >= lapse_ns;
        if self.current.as_ref().is_some_and(old) {
            self.end(&mut told);
        }
    }

    fn end(&mut self, told: &mut impl FnMut(Press)) {
        if let Some(heard) = self.current.take() {
            self.told = Some((heard.ssrc, heard.timestamp));
            told(heard.press());
        }
    }

    /// A copy of an end that was told, or what was overtaken by it.
    fn is_past(&self, ssrc: u32, timestamp: u32) -> bool {
        // So far behind it is late; further, and the sender has set its clock.
        const LATE: u32 = 48_000;
        self.told.is_some_and(|(of, at)| of == ssrc && at.wrapping_sub(timestamp) < LATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// The packets of a press as a peer gets them.
    fn written(event: u8, ms: u64, timestamp: u32) -> Vec<[u8; PACKET]> {
        let press = (event, Duration::from_millis(ms));
        let mut tone = Tone::new(press, (101, 8000), (7, timestamp));
        let mut packets = Vec::new();
        while !tone.is_over() {
            packets.push(tone.packet(packets.len() as u16));
        }
        packets
    }

    fn read(detector: &mut Detector, packet: &[u8], at_ms: u64) -> Vec<Press> {
        let mut presses = Vec::new();
        let timestamp = u32::from_be_bytes(packet[4..8].try_into().unwrap());
        let header = RtpHeader { payload_type: 101, sequence: 0, timestamp, ssrc: 7 };
        let marked = (header, packet[1] & 0x80 != 0);
        assert!(detector.take(marked, &packet[12..], at_ms * MS, |press| presses.push(press)));
        presses
    }

    #[test]
    fn flow_80_a_press_is_written_as_the_rfc_says() {
        let packets = written(5, 100, 160_000);
        assert_eq!(packets.len(), 7);
        for (n, packet) in packets.iter().enumerate() {
            assert_eq!(
                packet[1],
                if n == 0 { 101 | 0x80 } else { 101 },
                "the marker is the first's"
            );
            assert_eq!(packet[2..4], (n as u16).to_be_bytes());
            assert_eq!(packet[4..8], 160_000_u32.to_be_bytes());
            assert_eq!(packet[12], 5);
            assert_eq!(packet[13] & 0x80 != 0, n >= 4, "the end is said three times");
            assert_eq!(packet[14..], (160 * (n as u16 + 1).min(5)).to_be_bytes());
        }
        // Not a whole number of steps; too short to be heard; too long for one segment.
        assert_eq!(written(0, 50, 0).last().unwrap()[14..], 400_u16.to_be_bytes());
        assert_eq!(written(0, 0, 0).last().unwrap()[14..], 320_u16.to_be_bytes());
        assert_eq!(written(0, 60_000, 0).last().unwrap()[14..], 40_000_u16.to_be_bytes());
    }

    #[test]
    fn flow_80_each_press_is_read_once_at_its_end() {
        let mut detector = Detector::default();
        let mut presses = Vec::new();
        // The same key twice, then another.
        for (event, timestamp) in [(5, 800), (5, 4000), (11, 8000)] {
            for packet in written(event, 100, timestamp) {
                presses.extend(read(&mut detector, &packet, 0));
            }
        }
        let told: Vec<_> = presses.iter().map(|p| (p.event, p.ticks)).collect();
        assert_eq!(told, [(5, 800), (5, 800), (11, 800)]);
    }

    #[test]
    fn flow_80_loss_and_disorder_make_no_press_and_lose_none() {
        let mut detector = Detector::default();
        let (one, two) = (written(1, 100, 800), written(2, 100, 4000));
        // All ends of the first are lost: the second ends it. Then a late packet of the first.
        assert_eq!(read(&mut detector, &one[2], 0), []);
        assert_eq!(read(&mut detector, &two[1], 60), [Press { event: 1, ticks: 480 }]);
        assert_eq!(read(&mut detector, &one[5], 61), []);
        // An end before an update of its own press, and its copies.
        assert_eq!(read(&mut detector, &two[4], 100), [Press { event: 2, ticks: 800 }]);
        assert_eq!(read(&mut detector, &two[3], 101), []);
        assert_eq!(read(&mut detector, &two[6], 102), []);
        // One end is all that is left of a press.
        let three = written(3, 100, 8000);
        assert_eq!(read(&mut detector, &three[6], 200), [Press { event: 3, ticks: 800 }]);
        // The line goes dead in a press.
        let four = written(4, 100, 120_000);
        assert_eq!(read(&mut detector, &four[0], 300), []);
        let mut presses = Vec::new();
        detector.lapse(301 * MS, |press| presses.push(press));
        assert_eq!(presses, []);
        detector.lapse(2000 * MS, |press| presses.push(press));
        detector.lapse(4000 * MS, |press| presses.push(press));
        assert_eq!(presses, [Press { event: 4, ticks: 160 }]);
        // The sender begins its clock anew.
        let again = written(6, 100, 5);
        assert_eq!(read(&mut detector, &again[4], 5000).len(), 1);
    }

    #[test]
    fn flow_80_a_long_press_in_segments_is_one() {
        let mut detector = Detector::default();
        let packet = |timestamp: u32, flags, ticks: u16, marker: u8| {
            let mut packet = vec![0x80, 101 | marker, 0, 1];
            packet.extend(timestamp.to_be_bytes());
            packet.extend([0, 0, 0, 7, 9, flags]);
            packet.extend(ticks.to_be_bytes());
            packet
        };
        assert_eq!(read(&mut detector, &packet(100, 10, 0xffff, 0x80), 0), []);
        assert_eq!(read(&mut detector, &packet(100 + 0xffff, 10, 160, 0), 20), []);
        let end = read(&mut detector, &packet(100 + 0xffff, 0x8a, 320, 0), 40);
        assert_eq!(end, [Press { event: 9, ticks: 0xffff + 320 }]);
    }

    #[test]
    fn what_is_no_key_is_left_alone() {
        let mut detector = Detector::default();
        let header = RtpHeader { payload_type: 101, sequence: 0, timestamp: 0, ssrc: 7 };
        for payload in [&[32, 0x80, 0, 1][..], &[5, 0x80, 0], &[]] {
            assert!(!detector.take((header, true), payload, 0, |_| panic!("no press")));
        }
    }
}
