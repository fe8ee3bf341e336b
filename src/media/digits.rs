//! Digits of one call that travel by INFO on one leg and as events in the RTP of the other.
//!
//! Events that come are taken out of the stream and told; a press that is ordered is written into
//! the stream towards that leg, in the place of the voice that comes meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

use cooee_model::ids::Side;
use cooee_model::media::Events;

use crate::event::{Detector, Press, Tone, ticks};
use crate::limits::{EVENT_STEP, PRESS_PAUSE, PRESSES_WAITING};
use crate::packet::{self, Fate, Kind, RtpHeader};
use crate::socket::RecvBatch;
use crate::splice::Splice;

/// Newest voice towards the leg with events: its source, its timestamp and when it came.
type Voice = (u32, u32, u64);

/// The digits of one call.
#[derive(Debug)]
pub(crate) struct Digits {
    /// The leg whose RTP carries digits as events.
    side: Side,
    /// How they are named there; `None`: nothing is read or written any more.
    events: Option<Events>,
    detector: Detector,
    /// The stream from that leg, and the one towards it.
    from: Splice,
    to: Splice,
    voice: Option<Voice>,
    waiting: VecDeque<(u8, Duration)>,
    tone: Option<Tone>,
    /// When the next packet is due, nanoseconds of the monotonic clock.
    due_ns: u64,
    /// The source that we are where no voice was heard yet.
    ssrc: u32,
}

impl Digits {
    /// Nothing is read or written yet.
    pub(crate) fn new(side: Side, ssrc: u32) -> Self {
        Self {
            side,
            events: None,
            detector: Detector::default(),
            from: Splice::default(),
            to: Splice::default(),
            voice: None,
            waiting: VecDeque::new(),
            tone: None,
            due_ns: 0,
            ssrc,
        }
    }

    /// The leg whose RTP carries digits as events.
    pub(crate) fn side(&self) -> Side {
        self.side
    }

    /// How events are named from now on, and on which leg. The streams go on as they were.
    pub(crate) fn name(&mut self, side: Side, events: Option<Events>) {
        if self.side != side {
            self.side = side;
            std::mem::swap(&mut self.from, &mut self.to);
            (self.voice, self.tone) = (None, None);
            self.detector = Detector::default();
        }
        self.events = events;
    }

    /// Takes events out of a batch from a leg, and keeps back what a press of ours speaks over;
    /// what stays goes out under numbers without a gap. `told` hears of presses that are over,
    /// with how long the key was held.
    pub(crate) fn pass(
        &mut self,
        side: Side,
        batch: &mut RecvBatch,
        fates: &mut [Fate],
        now_ns: u64,
        mut told: impl FnMut(u8, Duration),
    ) {
        for (place, fate) in fates.iter_mut().enumerate().filter(|(_, fate)| **fate == Fate::Rtp) {
            let Some(bytes) = batch.bytes_mut(place) else { continue };
            let Kind::Rtp(header) = packet::read(bytes) else { continue };
            let number = if side == self.side {
                self.heard(bytes, header, now_ns, &mut told)
            } else {
                self.spoken(header, now_ns)
            };
            match number {
                Some(number) => packet::renumber(bytes, number),
                None => *fate = Fate::Kept,
            }
        }
    }

    /// A packet from the leg with events: the number under which it goes on.
    fn heard(
        &mut self,
        bytes: &[u8],
        header: RtpHeader,
        now_ns: u64,
        told: &mut impl FnMut(u8, Duration),
    ) -> Option<u16> {
        if let Some(events) = self.events.filter(|e| e.ours == header.payload_type)
            && self.detector.take(
                (header, packet::is_marked(bytes)),
                packet::payload(bytes),
                now_ns,
                |press| tell(press, events, told),
            )
        {
            self.from.take(header.ssrc);
            return None;
        }
        self.from.pass(header.ssrc, header.sequence)
    }

    /// A packet towards the leg with events: the number under which it goes on.
    fn spoken(&mut self, header: RtpHeader, now_ns: u64) -> Option<u16> {
        self.voice = Some((header.ssrc, header.timestamp, now_ns));
        if self.tone.is_some() {
            self.to.take(header.ssrc);
            return None;
        }
        self.to.pass(header.ssrc, header.sequence)
    }

    /// Tells of a press whose end never came.
    pub(crate) fn lapse(&mut self, now_ns: u64, mut told: impl FnMut(u8, Duration)) {
        if let Some(events) = self.events {
            self.detector.lapse(now_ns, |press| tell(press, events, &mut told));
        }
    }

    /// Orders a press. `false`: too many wait, or the leg takes no events.
    pub(crate) fn press(&mut self, event: u8, held: Duration) -> bool {
        let takes = self.events.is_some() && self.waiting.len() < PRESSES_WAITING;
        if takes {
            self.waiting.push_back((event, held));
        }
        takes
    }

    /// When the next packet of a press is due; `None`: there is none.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        let busy = self.tone.is_some() || !self.waiting.is_empty();
        (busy && self.events.is_some()).then_some(self.due_ns)
    }

    /// The packet that is due now, if one is.
    pub(crate) fn next(&mut self, now_ns: u64) -> Option<[u8; 16]> {
        let events = self.events.filter(|_| now_ns >= self.due_ns)?;
        let mut tone = match self.tone.take() {
            Some(tone) => tone,
            None => {
                let press = self.waiting.pop_front()?;
                self.begin(press, events, now_ns)
            }
        };
        let packet = tone.packet(self.to.put());
        // A worker that was late does not hurry after the packets that it missed.
        self.due_ns = self.due_ns.saturating_add(nanoseconds(EVENT_STEP)).max(now_ns);
        if tone.is_over() {
            self.due_ns = now_ns.saturating_add(nanoseconds(PRESS_PAUSE));
        } else {
            self.tone = Some(tone);
        }
        Some(packet)
    }

    /// A press that begins now, in the stream and at the time of the voice.
    fn begin(&mut self, press: (u8, Duration), events: Events, now_ns: u64) -> Tone {
        let since =
            |at_ns: u64| ticks(Duration::from_nanos(now_ns.saturating_sub(at_ns)), events.clock_hz);
        let (ssrc, timestamp) = match self.voice {
            Some((ssrc, timestamp, at_ns)) => (ssrc, timestamp.wrapping_add(since(at_ns))),
            None => (self.ssrc, since(0)),
        };
        if self.to.ssrc() != Some(ssrc) {
            self.to = Splice::of(ssrc);
        }
        self.due_ns = now_ns;
        Tone::new(press, (events.theirs, events.clock_hz), (ssrc, timestamp))
    }
}

fn tell(press: Press, events: Events, told: &mut impl FnMut(u8, Duration)) {
    let ns = u64::from(press.ticks) * 1_000_000_000 / u64::from(events.clock_hz.max(1));
    told(press.event, Duration::from_nanos(ns));
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
