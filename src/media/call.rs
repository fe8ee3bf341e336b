//! One relayed call: two legs, each with its port pair, its latches and its figures.

use std::io;
use std::time::Duration;

use cooee_model::ids::{CallId, Side};
use cooee_model::media::{Events, MediaEvent, PeerMedia};
use cooee_model::moment::Moment;

use crate::digits::Digits;
use crate::history::History;
use crate::latch::{Gate, Verdict};
use crate::limits::{BURST_NS, LEAST_SAMPLE, RTP_BATCH};
use crate::packet::{self, Fate, Kind};
use crate::pool::Claim;
use crate::sampler::Sampler;
use crate::socket::{Packet, Socket};
use crate::stats::Reception;

/// Which of a leg's two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    /// The even port: RTP, and RTCP where both share it (RFC 5761).
    Rtp,
    /// The odd port: RTCP alone.
    Rtcp,
}

/// A call between its opening and its close.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) a: Leg,
    pub(crate) b: Leg,
    /// Where digits travel by INFO on one leg and as events on the other.
    pub(crate) digits: Option<Box<Digits>>,
    /// When the leases began.
    at: Moment,
    timeout: Duration,
    held: bool,
    /// From when silence counts, if later than the last packet.
    quiet_from: Moment,
    /// The silence already told, by its beginning.
    told: Option<Moment>,
    /// When the last sample was taken.
    sampled: Moment,
}

/// One leg's half of the relay.
#[derive(Debug)]
pub(crate) struct Leg {
    claim: Claim,
    rtp: Gate,
    rtcp: Gate,
    /// The peer takes RTCP where it takes RTP (RFC 5761).
    muxes: bool,
    pub(crate) reception: Reception,
    pub(crate) sampler: Sampler,
    /// When each port was last looked at, nanoseconds.
    looked: [u64; 2],
    /// When the last RTP packet was accepted.
    last: Option<Moment>,
    /// When packets of this leg were handed to the kernel.
    forwards: History,
    /// A mark not answered yet.
    mark: Option<Moment>,
    /// What the kernel had dropped on both sockets when they were opened.
    drops_before: u32,
}

impl Call {
    pub(crate) fn new(id: CallId, a: Claim, b: Claim, at: Moment, timeout: Duration) -> Self {
        let (a, b) = (Leg::new(a), Leg::new(b));
        Self {
            id,
            a,
            b,
            digits: None,
            at,
            timeout,
            held: false,
            quiet_from: at,
            told: None,
            sampled: at,
        }
    }

    /// The sample of an interval that is over. Each call has its own place in the interval, or all
    /// that were stopped together would be told together.
    pub(crate) fn sample(&mut self, now: Moment, interval_ns: u64) -> Option<MediaEvent> {
        // The low bits of a call id are random.
        let place = u64::try_from(self.id.0 % u128::from(interval_ns.max(1))).unwrap_or_default();
        let turn = |at: Moment| at.mono.saturating_add(place).checked_div(interval_ns);
        if turn(now) == turn(self.sampled) { None } else { self.sounded(now) }
    }

    /// The last sample, where it is of a second or more.
    pub(crate) fn last_sample(&mut self, now: Moment, interval_ns: u64) -> Option<MediaEvent> {
        let says = interval_ns > 0 && now.since(self.sampled) >= LEAST_SAMPLE;
        if says { self.sounded(now) } else { None }
    }

    /// How the call sounded since the sample before, where anything came.
    fn sounded(&mut self, now: Moment) -> Option<MediaEvent> {
        self.sampled = now;
        let [a, b] = [&mut self.a, &mut self.b].map(|leg| leg.sampler.sample(&leg.reception));
        let came = a.packets > 0 || b.packets > 0;
        came.then_some(MediaEvent::Sampled { call: self.id, at: now, a, b })
    }

    pub(crate) fn leg_mut(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// The leg that a packet came from and the one it goes to.
    pub(crate) fn legs(&mut self, from: Side) -> (&mut Leg, &mut Leg) {
        match from {
            Side::A => (&mut self.a, &mut self.b),
            Side::B => (&mut self.b, &mut self.a),
        }
    }

    /// How digits travel from now on.
    pub(crate) fn name_digits(&mut self, side: Side, events: Option<Events>) {
        // A name for a stream of ours, where there is none to join: any will do.
        let ssrc = self.id.0 as u32;
        let digits = self.digits.get_or_insert_with(|| Box::new(Digits::new(side, ssrc)));
        digits.name(side, events);
    }

    /// Sends what is due of presses; how many packets that were, and when the next is due.
    pub(crate) fn play(&mut self, now_ns: u64) -> (u64, Option<u64>) {
        let Some(digits) = self.digits.as_deref_mut() else { return (0, None) };
        let leg = if digits.side() == Side::A { &self.a } else { &self.b };
        let mut sent = 0;
        while let Some(packet) = digits.next(now_ns) {
            let peer = leg.gate(Channel::Rtp).destination();
            let datagram = peer.map(|peer| (&packet[..], peer));
            sent += leg.socket(Channel::Rtp).send(datagram).count as u64;
        }
        (sent, digits.due_ns())
    }

    /// When the leases began.
    pub(crate) fn at(&self) -> Moment {
        self.at
    }

    /// A new peer gets the whole time-out, whatever the one before it did.
    pub(crate) fn name_peer(&mut self, side: Side, media: Option<PeerMedia>, now: Moment) {
        self.leg_mut(side).name_peer(media);
        self.watch_from(now);
    }

    /// A call taken off hold gets the whole time-out.
    pub(crate) fn hold(&mut self, held: bool, now: Moment) {
        self.held = held;
        self.watch_from(now);
    }

    fn watch_from(&mut self, now: Moment) {
        self.quiet_from = now;
        self.told = None;
    }

    /// Since when the call has been silent, said once per silence that outlasts the time-out.
    pub(crate) fn silent_since(&mut self, now: Moment) -> Option<Moment> {
        if self.held || self.timeout.is_zero() {
            return None;
        }
        let since = self.a.last.max(self.b.last).unwrap_or(self.at);
        if now.since(since.max(self.quiet_from)) < self.timeout || self.told == Some(since) {
            return None;
        }
        self.told = Some(since);
        Some(since)
    }
}

impl Leg {
    fn new(claim: Claim) -> Self {
        Self {
            claim,
            rtp: Gate::default(),
            rtcp: Gate::default(),
            muxes: false,
            reception: Reception::default(),
            sampler: Sampler::default(),
            looked: [0; 2],
            last: None,
            forwards: History::default(),
            mark: None,
            drops_before: 0,
        }
    }

    /// Lets packets in. What is dropped by the kernel from now on is an overrun.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        self.claim.rtp().open()?;
        self.claim.rtcp().open()?;
        self.drops_before = self.drops();
        Ok(())
    }

    /// Keeps packets out again; the datagrams that a full receive buffer has cost since
    /// [`Leg::open`].
    pub(crate) fn shut(&self) -> u32 {
        let overrun = self.drops().wrapping_sub(self.drops_before);
        for socket in [self.claim.rtp(), self.claim.rtcp()] {
            if let Err(error) = socket.shut() {
                tracing::error!(%error, "an RTP port stays open after its call");
            }
        }
        overrun
    }

    fn drops(&self) -> u32 {
        self.claim.rtp().kernel_drops().wrapping_add(self.claim.rtcp().kernel_drops())
    }

    pub(crate) fn socket(&self, channel: Channel) -> &Socket {
        match channel {
            Channel::Rtp => self.claim.rtp(),
            Channel::Rtcp => self.claim.rtcp(),
        }
    }

    /// How many packets to ask a port for: one as a rule, since voice comes one by one; as many as
    /// fit where the port was looked at a moment ago and there is something again.
    pub(crate) fn asks(&mut self, channel: Channel, now_ns: u64) -> usize {
        let [rtp, rtcp] = &mut self.looked;
        let looked = if channel == Channel::Rtp { rtp } else { rtcp };
        let before = std::mem::replace(looked, now_ns);
        if now_ns.saturating_sub(before) < BURST_NS { RTP_BATCH } else { 1 }
    }

    pub(crate) fn gate(&self, channel: Channel) -> &Gate {
        match channel {
            Channel::Rtp => &self.rtp,
            Channel::Rtcp => &self.rtcp,
        }
    }

    /// Which of this leg's ports sends what is of this kind.
    pub(crate) fn channel(&self, kind: Fate) -> Channel {
        if kind == Fate::Rtcp && !self.muxes { Channel::Rtcp } else { Channel::Rtp }
    }

    /// Other ports for the same leg: nobody is named there yet.
    pub(crate) fn move_to(&mut self, claim: Claim) {
        self.claim = claim;
        self.name_peer(None);
    }

    fn name_peer(&mut self, media: Option<PeerMedia>) {
        self.muxes = media.as_ref().is_some_and(|m| m.rtp == m.rtcp);
        let source = media.as_ref().and_then(|m| m.source);
        let (rtp, rtcp) = media.map(|m| ((m.rtp, m.latch.clone()), (m.rtcp, m.latch))).unzip();
        self.rtp.name(rtp, source);
        self.rtcp.name(rtcp, None);
    }

    /// Judges a datagram from this leg's peer and keeps the figures. `true`: it is RTP that has
    /// taken the lock.
    pub(crate) fn accept(
        &mut self,
        channel: Channel,
        packet: &Packet<'_>,
        received: Moment,
        lease_at: Moment,
    ) -> (Fate, bool) {
        if received.mono < lease_at.mono {
            return (Fate::Stale, false);
        }
        let gate = match channel {
            Channel::Rtp => &mut self.rtp,
            Channel::Rtcp => &mut self.rtcp,
        };
        let verdict = gate.judge(packet.source);
        match verdict {
            Verdict::Nobody => return (Fate::NoPeer, false),
            Verdict::Foreign => {
                self.reception.counted.foreign += 1;
                return (Fate::Foreign, false);
            }
            Verdict::Known | Verdict::Candidate => {}
        }
        let kind = if packet.truncated { Kind::Neither } else { packet::read(packet.bytes) };
        let is_candidate = verdict == Verdict::Candidate;
        let header = match kind {
            Kind::Rtcp => {
                // Beside RTP it takes no lock: which source of RTP is believed, RTP says.
                if is_candidate && channel == Channel::Rtcp {
                    gate.lock(packet.source);
                }
                return (Fate::Rtcp, false);
            }
            Kind::Rtp(header)
                if channel == Channel::Rtp
                    && (!is_candidate || packet::is_confirmed(packet.bytes, header)) =>
            {
                header
            }
            Kind::Rtp(_) | Kind::Neither => {
                self.reception.counted.malformed += 1;
                return (Fate::Malformed, false);
            }
        };
        if is_candidate {
            gate.lock(packet.source);
        }
        self.reception.take(header, packet.bytes.len(), received.mono);
        self.last = self.last.max(Some(received));
        (Fate::Rtp, is_candidate)
    }

    /// Notes that RTP of this leg was handed to the kernel; the answer to a mark, if it is one.
    pub(crate) fn forwarded(&mut self, at: Moment) -> Option<Moment> {
        self.forwards.push(at);
        let mark = self.mark?;
        if at.mono < mark.mono {
            return None;
        }
        self.mark = None;
        Some(at)
    }

    /// Asks for the first forwarding at or after `at`: answered now if it is past.
    pub(crate) fn mark(&mut self, at: Moment) -> Option<Moment> {
        let answer = self.forwards.first_from(at);
        self.mark = if answer.is_none() { Some(at) } else { None };
        answer
    }
}
