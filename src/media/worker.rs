//! One RTP thread: waits for packets of its calls, passes them on, carries out orders.
//!
//! Nothing on the way of a packet locks or allocates. Orders are carried out before the sockets of
//! a turn: what it reports of a call that they have ended finds no call, or an empty socket.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use cooee_model::ids::{CallId, Lease, Side};
use cooee_model::media::{MediaCommand, MediaEvent};
use cooee_model::moment::Moment;
use cooee_model::sample::Sample;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;

use crate::call::{Call, Channel, Leg};
use crate::counters::Tally;
use crate::limits::{COMMANDS_PER_TURN, READY_PER_TURN, RTP_BATCH, RTP_DATAGRAM_BYTES, SWEEP};
use crate::pace::{Pace, Rest, Wait};
use crate::packet::Fate;
use crate::pool::Pool;
use crate::socket::{RecvBatch, Socket, boottime_ns, now};

/// The token of the eventfd that announces orders.
const BELL: u64 = u64::MAX;

const CHANNELS: [Channel; 2] = [Channel::Rtp, Channel::Rtcp];

/// What one RTP thread owns.
pub(crate) struct Worker<S, E> {
    pool: Arc<Pool>,
    epoll: Epoll,
    bell: Arc<EventFd>,
    commands: Receiver<MediaCommand>,
    sample: S,
    events: E,
    tally: Arc<Tally>,
    pace: Pace,
    /// From sample to sample of a call's quality.
    sampled_each: Duration,
    /// The open calls, each at the place of its A leg's pair in the pool.
    calls: Vec<Option<Box<Call>>>,
    places: HashMap<CallId, usize>,
    /// The places of calls with a press under way.
    playing: Vec<usize>,
    /// When the first of them has a packet to send.
    play_at: u64,
    batch: RecvBatch,
}

/// What a worker shares with the [`Relay`](crate::relay::Relay) that started it.
pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
    pub(crate) bell: Arc<EventFd>,
    pub(crate) commands: Receiver<MediaCommand>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) wait: Wait,
    pub(crate) sampled_each: Duration,
}

impl<S: Sample, E: Fn(MediaEvent)> Worker<S, E> {
    pub(crate) fn new(shared: Shared, sample: S, events: E) -> Result<Self, Errno> {
        let Shared { pool, bell, commands, tally, wait, sampled_each } = shared;
        let epoll = Epoll::new(nix::sys::epoll::EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        let mut calls = Vec::new();
        calls.resize_with(pool.places(), || None);
        Ok(Self {
            pool,
            epoll,
            bell,
            commands,
            sample,
            events,
            tally,
            pace: Pace::new(wait),
            sampled_each,
            calls,
            places: HashMap::new(),
            playing: Vec::new(),
            play_at: u64::MAX,
            batch: RecvBatch::new(RTP_BATCH, RTP_DATAGRAM_BYTES),
        })
    }

    /// Works until the sender of orders is gone.
    pub(crate) fn run(mut self) {
        let mut ready = vec![EpollEvent::empty(); READY_PER_TURN];
        let mut sweep_at = 0;
        loop {
            let turn = boottime_ns();
            if turn >= sweep_at {
                self.sweep();
                sweep_at = turn.saturating_add(span_ns(SWEEP));
            }
            if turn >= self.play_at {
                self.play(turn);
            }
            let patience = match self.pace.rest(turn) {
                Rest::None => EpollTimeout::ZERO,
                Rest::Nap(span) => {
                    std::thread::sleep(span);
                    EpollTimeout::ZERO
                }
                Rest::Sleep => self.patience(turn),
            };
            let count = match self.epoll.wait(&mut ready, patience) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "an RTP worker cannot wait for packets and ends");
                    return;
                }
            };
            let tokens = || ready.iter().take(count).map(EpollEvent::data);
            if tokens().any(|token| token == BELL) {
                // Taken down before the orders are read: one that comes in between rings again.
                let _ = self.bell.read();
            }
            // Orders first, rung for or not: a packet that is here may be of a peer that was named
            // just before, and epoll may tell of the packet a turn earlier than of the bell.
            if !self.obey() {
                return;
            }
            let mut more = count == ready.len();
            for token in tokens().filter(|token| *token != BELL) {
                more |= self.pass_on(token, turn);
            }
            if count > 0 {
                self.pace.worked(turn, more);
            }
        }
    }

    /// How long the kernel may let the worker sleep.
    fn patience(&self, now_ns: u64) -> EpollTimeout {
        if self.places.is_empty() {
            return EpollTimeout::NONE;
        }
        // The kernel waits whole milliseconds: never less than is meant.
        let due = Duration::from_nanos(self.play_at.saturating_sub(now_ns));
        let due = due.saturating_add(Duration::from_micros(999));
        SWEEP.min(due).try_into().unwrap_or(EpollTimeout::ZERO)
    }

    /// Reads one batch from a socket and passes on what its latch believes. `true`: it may hold
    /// more, and a burst is under way.
    fn pass_on(&mut self, token: u64, turn_ns: u64) -> bool {
        let (place, side, channel) = from_token(token);
        let Some(Some(call)) = self.calls.get_mut(place) else { return false };
        let (id, lease_at) = (call.id, call.at());
        let (from, _) = call.legs(side);
        let asks = from.asks(channel, turn_ns);
        let count = match self.batch.recv_most(from.socket(channel), asks) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(_) => {
                self.tally.recv_failed.add(1);
                return false;
            }
        };
        let read = now();
        let mut fates = [Fate::Stale; RTP_BATCH];
        let Some(fates) = fates.get_mut(..count) else { return false };
        let mut locked = None;
        for (packet, fate) in self.batch.packets().zip(fates.iter_mut()) {
            let received = packet.received(read);
            let (judged, has_locked) = from.accept(channel, &packet, received, lease_at);
            *fate = judged;
            if has_locked {
                locked = Some((packet.source, received));
            }
        }
        if let Some(digits) = &mut call.digits {
            let (events, tally) = (&self.events, &self.tally);
            digits.pass(side, &mut self.batch, fates, read.mono, |event, held| {
                tally.presses_heard.add(1);
                events(MediaEvent::Pressed { call: id, side, event, held });
            });
        }
        let (from, to) = call.legs(side);
        for kind in [Fate::Rtp, Fate::Rtcp] {
            if !fates.contains(&kind) {
                continue;
            }
            let channel = to.channel(kind);
            match to.gate(channel).destination() {
                Some(peer) => send(&self.batch, (fates, kind), to.socket(channel), peer),
                None => replace(fates, kind, Fate::NoPeer),
            }
        }
        let sent_ns = boottime_ns();
        let took = Duration::from_nanos(sent_ns.saturating_sub(read.mono));
        for (packet, fate) in self.batch.packets().zip(fates.iter()) {
            self.tally.count(*fate);
            if fate.passes() {
                match packet.age(read) {
                    Some(age) => self.sample.record(span_ns(took + age)),
                    None => self.tally.unstamped.add(1),
                }
            }
        }
        let rtp = fates.iter().filter(|fate| **fate == Fate::Rtp).count() as u64;
        let rtcp = fates.iter().filter(|fate| **fate == Fate::Rtcp).count() as u64;
        if rtcp > 0 {
            let reports = self.batch.packets().zip(fates.iter()).filter(|(_, f)| **f == Fate::Rtcp);
            for (packet, _) in reports {
                from.sampler.came(packet.bytes, packet.received(read).mono);
                to.sampler.passed(packet.bytes, sent_ns);
            }
        }
        from.reception.counted.forwarded += rtp;
        from.reception.counted.rtcp += rtcp;
        let answer = if rtp > 0 { from.forwarded(read + took) } else { None };
        if let Some((source, at)) = locked {
            (self.events)(MediaEvent::Latched { call: id, side, source, at });
        }
        if let Some(at) = answer {
            (self.events)(MediaEvent::Forwarded { call: id, side, at });
        }
        asks > 1 && count == asks
    }

    /// Carries out the orders that wait; `false`: no more will come.
    fn obey(&mut self) -> bool {
        for _ in 0..COMMANDS_PER_TURN {
            match self.commands.try_recv() {
                Ok(command) => {
                    let call = command.call();
                    if self.carry_out(command).is_none() {
                        (self.events)(MediaEvent::Failed { call });
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        let _ = self.bell.write(1);
        true
    }

    /// `None`: it could not be done.
    fn carry_out(&mut self, command: MediaCommand) -> Option<()> {
        match command {
            MediaCommand::Open { call, a, b, at, timeout } => self.open(call, a, b, at, timeout),
            MediaCommand::Swap { call, b } => self.swap(call, b),
            MediaCommand::Peer { call, side, media } => {
                self.call_mut(call)?.name_peer(side, media, now());
                Some(())
            }
            MediaCommand::Mark { call, at } => {
                for side in [Side::A, Side::B] {
                    if let Some(at) = self.call_mut(call)?.leg_mut(side).mark(at) {
                        (self.events)(MediaEvent::Forwarded { call, side, at });
                    }
                }
                Some(())
            }
            MediaCommand::Digits { call, side, events } => {
                self.call_mut(call)?.name_digits(side, events);
                Some(())
            }
            MediaCommand::Press { call, event, held } => self.press(call, event, held),
            MediaCommand::Hold { call, held } => {
                self.call_mut(call)?.hold(held, now());
                Some(())
            }
            MediaCommand::Close { call } => self.close(call),
        }
    }

    fn call_mut(&mut self, call: CallId) -> Option<&mut Call> {
        self.calls.get_mut(*self.places.get(&call)?)?.as_deref_mut()
    }

    fn open(
        &mut self,
        id: CallId,
        a: Lease,
        b: Lease,
        at: Moment,
        timeout: Duration,
    ) -> Option<()> {
        if self.places.contains_key(&id) {
            return None;
        }
        let (a, b) = (self.pool.claim(a)?, self.pool.claim(b)?);
        let place = a.place();
        let mut call = Box::new(Call::new(id, a, b, at, timeout));
        // A packet that was past the filter when the lease before ended: nothing else tells it
        // from a new one once its stamp is too old to be believed.
        self.drain(&call.a);
        self.drain(&call.b);
        let admitted = self
            .admit(&mut call.a, place, Side::A)
            .and_then(|()| self.admit(&mut call.b, place, Side::B));
        if let Err(error) = admitted {
            tracing::error!(call = %id, %error, "a call's RTP ports cannot be opened");
            self.expel(&call.a);
            self.expel(&call.b);
            return None;
        }
        *self.calls.get_mut(place)? = Some(call);
        self.places.insert(id, place);
        self.tally.active.add(1);
        Some(())
    }

    /// Puts another port pair under the B leg of a call.
    fn swap(&mut self, id: CallId, b: Lease) -> Option<()> {
        let place = *self.places.get(&id)?;
        let claim = self.pool.claim(b)?;
        let mut call = self.calls.get_mut(place)?.take()?;
        self.expel(&call.b);
        call.b.move_to(claim);
        self.drain(&call.b);
        let admitted = self.admit(&mut call.b, place, Side::B);
        *self.calls.get_mut(place)? = Some(call);
        if let Err(error) = &admitted {
            tracing::error!(call = %id, %error, "a call's RTP ports cannot be opened");
        }
        admitted.ok()
    }

    /// Opens both sockets of a leg and waits for packets on them.
    fn admit(&self, leg: &mut Leg, place: usize, side: Side) -> std::io::Result<()> {
        leg.open()?;
        for channel in CHANNELS {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, to_token(place, side, channel));
            self.epoll.add(leg.socket(channel), event)?;
        }
        Ok(())
    }

    /// Makes both sockets of a leg deaf and throws away what they still hold.
    fn expel(&mut self, leg: &Leg) {
        for channel in CHANNELS {
            // Fails only for a socket that was never added.
            let _ = self.epoll.delete(leg.socket(channel));
        }
        self.tally.overrun.add(u64::from(leg.shut()));
        self.drain(leg);
    }

    fn drain(&mut self, leg: &Leg) {
        for channel in CHANNELS {
            let thrown = self.batch.drain(leg.socket(channel)) as u64;
            self.tally.packets_in.add(thrown);
            self.tally.stale.add(thrown);
        }
    }

    fn close(&mut self, id: CallId) -> Option<()> {
        let place = self.places.remove(&id)?;
        let mut call = self.calls.get_mut(place)?.take()?;
        self.expel(&call.a);
        self.expel(&call.b);
        self.tally.active.subtract(1);
        if let Some(sample) = call.last_sample(now(), span_ns(self.sampled_each)) {
            (self.events)(sample);
        }
        let (a, b) = (call.a.reception.stats(), call.b.reception.stats());
        // The pairs are free again before anyone can hear that they are.
        drop(call);
        (self.events)(MediaEvent::Closed { call: id, a, b });
        Some(())
    }

    /// A press; the next turn begins it.
    fn press(&mut self, id: CallId, event: u8, held: Duration) -> Option<()> {
        let place = *self.places.get(&id)?;
        let digits = self.calls.get_mut(place)?.as_deref_mut()?.digits.as_deref_mut();
        if digits.is_some_and(|digits| digits.press(event, held)) {
            self.tally.presses_played.add(1);
            if !self.playing.contains(&place) {
                self.playing.push(place);
            }
            self.play_at = 0;
        } else {
            self.tally.presses_dropped.add(1);
        }
        Some(())
    }

    /// Sends what is due of all presses under way.
    fn play(&mut self, now_ns: u64) {
        let (calls, tally) = (&mut self.calls, &self.tally);
        let mut next = u64::MAX;
        self.playing.retain(|place| {
            let Some(Some(call)) = calls.get_mut(*place) else { return false };
            let (sent, due) = call.play(now_ns);
            tally.press_packets.add(sent);
            next = due.map_or(next, |due| due.min(next));
            due.is_some()
        });
        self.play_at = next;
    }

    fn sweep(&mut self) {
        let (present, sampled_each) = (now(), span_ns(self.sampled_each));
        for call in self.calls.iter_mut().flatten() {
            if let Some(digits) = &mut call.digits {
                let (call, side) = (call.id, digits.side());
                let (events, tally) = (&self.events, &self.tally);
                digits.lapse(present.mono, |event, held| {
                    tally.presses_heard.add(1);
                    events(MediaEvent::Pressed { call, side, event, held });
                });
            }
            if let Some(since) = call.silent_since(present) {
                (self.events)(MediaEvent::Silent { call: call.id, since });
            }
            if let Some(sample) = call.sample(present, sampled_each) {
                (self.events)(sample);
            }
        }
    }
}

/// Sends what is of one kind to `peer`; what the kernel does not take becomes [`Fate::Unsent`].
fn send(
    batch: &RecvBatch,
    (fates, kind): (&mut [Fate], Fate),
    socket: &Socket,
    peer: std::net::SocketAddr,
) {
    let mut done = 0;
    loop {
        let left = batch.packets().zip(fates.iter()).skip(done);
        let passing = left.filter(|(_, fate)| **fate == kind);
        let sent = socket.send(passing.map(|(packet, _)| (packet.bytes, peer)));
        let Some(why) = sent.stopped else { return };
        let passing = fates.iter().enumerate().skip(done).filter(|(_, fate)| **fate == kind);
        let Some((place, _)) = passing.take(sent.count + 1).last() else { return };
        let Some(unsent) = fates.get_mut(place..) else { return };
        if why.kind() == std::io::ErrorKind::WouldBlock {
            return replace(unsent, kind, Fate::Unsent);
        }
        replace(unsent.get_mut(..1).unwrap_or_default(), kind, Fate::Unsent);
        done = place + 1;
    }
}

fn replace(fates: &mut [Fate], kind: Fate, with: Fate) {
    fates.iter_mut().filter(|fate| **fate == kind).for_each(|fate| *fate = with);
}

fn to_token(place: usize, side: Side, channel: Channel) -> u64 {
    (place as u64) << 2 | u64::from(side == Side::B) << 1 | u64::from(channel == Channel::Rtcp)
}

fn from_token(token: u64) -> (usize, Side, Channel) {
    let side = if token & 2 == 0 { Side::A } else { Side::B };
    let channel = if token & 1 == 0 { Channel::Rtp } else { Channel::Rtcp };
    (usize::try_from(token >> 2).unwrap_or(usize::MAX), side, channel)
}

fn span_ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
