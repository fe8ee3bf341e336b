//! The world of one seed: the switch, its peers, the network, the clock, the journal.

mod node;
mod peers;
mod pings;
mod plans;
mod wire;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use bytes::Bytes;
use cooee_model::command::Command;
use cooee_model::ids::{CallId, Side};
use cooee_model::media::MediaEvent;
use cooee_model::moment::Moment;
use cooee_signalling::call::context::Output;
use cooee_signalling::profile::plan::Plan;
use cooee_signalling::switch::Switch;
use cooee_signalling::switch::input::Input;
use cooee_signalling::transaction::flow::Flow;

use crate::check::Ledger;
use crate::hosts::{A, Hosts};
use crate::kind::{Dice, Kind};
use crate::log::Log;
use crate::net::Weather;
use crate::pipes::Pipes;
use crate::rng::Rng;
use crate::script::{SECOND, Script};
use crate::sip::Msg;
use crate::ua::{Cx, State, Tick, Ua};
use plans::{Way, node, plan};

/// Most steps a call, on average.
const MOST_STEPS: u64 = 2000;

/// The longest timer that nobody may wait for any more.
const LAST_TIMER: u64 = 130 * SECOND;

/// What is to happen at a moment.
enum Event {
    ToSwitch {
        call: usize,
        entry: usize,
        pipe: u32,
        from: &'static str,
        bytes: Bytes,
    },
    ToPeer {
        call: usize,
        entry: usize,
        pipe: u32,
        bytes: Bytes,
    },
    Tick {
        call: usize,
        leg: usize,
        tick: Tick,
    },
    Fork {
        call: usize,
        leg: usize,
        tag: String,
    },
    /// Of the relay of this life of the node.
    Media(u32, MediaEvent),
    Listen(u32, CallId),
    Verify {
        call: usize,
    },
    /// The session of this leg has run out, unless it was refreshed.
    Interval {
        call: usize,
        leg: usize,
    },
    /// OPTIONS out of dialog reach a host, and its answer the switch.
    Ping {
        host: &'static str,
        pipe: u32,
        bytes: Bytes,
    },
    Pong {
        host: &'static str,
        pipe: u32,
        bytes: Bytes,
    },
    /// The time to answer OPTIONS is over.
    Judge,
    /// No connection took this message of this life of the node.
    Unsent(u32, Flow, Bytes),
    /// The journal has no room; it has room again.
    Full,
    Room,
    /// An operator ends the calls that nobody is left of.
    Operator,
    /// The connection of a host breaks.
    Break(&'static str),
    WallJump,
    /// `kill -9`; with `true` between the journal and the wire of the next step.
    Crash(bool),
    Start,
}

struct Due {
    at: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// One call as its peers see it: A first, then every B that was reached.
pub struct Met {
    /// What A does, and the first target; then what the second target does.
    pub scripts: [Arc<Script>; 2],
    pub legs: Vec<Ua>,
    pub log: Log,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Done {
    pub hash: u64,
    pub steps: u64,
    pub fault: Option<(usize, String)>,
}

pub struct World {
    switch: Switch,
    plan: Arc<Plan>,
    pub now: u64,
    wall: i64,
    /// By then every script has run down.
    end: u64,
    rng: Rng,
    weather: Weather,
    queue: BinaryHeap<Reverse<Due>>,
    order: u64,
    pub calls: Vec<Met>,
    by_call_id: BTreeMap<String, (usize, usize)>,
    relays: BTreeMap<CallId, usize>,
    hosts: Hosts,
    pipes: Pipes,
    pub snapshots: BTreeMap<CallId, Vec<u8>>,
    pub ledger: Ledger,
    out: Output,
    done: Done,
    pub trace: bool,
    /// Whether the node runs.
    up: bool,
    /// What the next step decides is written and not sent.
    dying: bool,
    life: u32,
    /// The journal has no room.
    is_full: bool,
}

impl World {
    pub fn new(seed: u64, calls: usize, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let (kind, mut extra) = Kind::of(seed);
        let ways = [Way::One, Way::One, Way::One, Way::Two, Way::Two, Way::Bypass];
        let plan = plan(rng.one_of(&ways), &kind);
        let node = node(&plan, &mut rng);
        let now = 1000 * SECOND;
        let wall = 1_770_000_000_000_000_000;
        let weather = Weather::draw(&mut rng);
        let mut world = Self {
            switch: Switch::new(node, Moment::new(now, wall)),
            plan,
            now,
            wall: wall - i64::try_from(now).unwrap(),
            end: now + 2000 * SECOND,
            weather,
            queue: BinaryHeap::new(),
            order: 0,
            calls: Vec::new(),
            by_call_id: BTreeMap::new(),
            relays: BTreeMap::new(),
            hosts: Hosts::new(kind.pings),
            pipes: Pipes::default(),
            snapshots: BTreeMap::new(),
            ledger: Ledger::default(),
            out: Output::default(),
            done: Done::default(),
            trace,
            up: true,
            dying: false,
            life: 0,
            is_full: false,
            rng,
        };
        world.ledger.bypass = world.plan.settings.media_bypass;
        world.hosts.draw(now, &mut extra.pings);
        world.plumb(kind.streams, &mut extra.streams);
        world.introduce();
        world.populate(calls, &kind, &mut extra);
        world
    }

    /// Draws what will happen.
    fn populate(&mut self, calls: usize, kind: &Kind, extra: &mut Dice) {
        let window = 60 * SECOND;
        for call in 0..calls {
            let scripts = [0; 2].map(|_| {
                let mut script = Script::draw(&mut self.rng, window);
                script.extend(kind, extra);
                if self.ledger.bypass {
                    // With both sides dead and no media here only a session timer ends the call.
                    script.a.spare();
                    if kind.streams != [false; 2] {
                        // One break takes all that A would have said.
                        script.b.spare();
                    }
                }
                Arc::new(script)
            });
            let script = &scripts[0];
            let tcp = self.pipes.lead_to(A);
            let caller = Ua::caller(call, script.clone(), A, tcp);
            self.by_call_id.insert(caller.call_id.clone(), (call, 0));
            for &(wait, act) in &script.a.at_start {
                let at = self.now + script.begins + wait;
                self.later(at, Event::Tick { call, leg: 0, tick: Tick::Act(act) });
            }
            self.calls.push(Met { scripts, legs: vec![caller], log: Log::default() });
        }
        if kind.full_disk {
            let rng = &mut extra.disk;
            let at = self.now + rng.below(2 * window);
            let until = at + rng.between(1, 40) * SECOND;
            self.later(at, Event::Full);
            self.later(until, Event::Room);
            self.later(at + rng.below(until - at), Event::Crash(rng.percent(50)));
        }
        for _ in 0..self.rng.below(3) {
            let at = self.now + self.rng.below(3 * window);
            self.later(at, Event::WallJump);
        }
        if self.rng.percent(25) {
            for _ in 0..self.rng.between(1, 4) {
                let (wait, amid) = (self.rng.below(3 * window), self.rng.percent(50));
                self.later(self.now + wait, Event::Crash(amid));
            }
        }
    }

    fn later(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Due { at, order: self.order, event }));
    }

    /// Says who speaks TCP, and when connections break.
    fn plumb(&mut self, streams: [bool; 2], rng: &mut Rng) {
        if self.ledger.bypass && streams == [true; 2] {
            self.later(self.end - 200 * SECOND, Event::Operator);
        }
        for (host, side) in self.hosts.all() {
            if streams[usize::from(side == Side::B)] {
                self.pipes.add(host);
                self.ledger.streams.insert(side);
                for _ in 0..rng.below(8) {
                    let at = self.now + rng.below(180 * SECOND);
                    self.later(at, Event::Break(host));
                }
            }
        }
    }

    /// Runs until nothing is left to happen, or something is wrong.
    pub fn run(mut self) -> (Done, Self) {
        loop {
            let next = self.queue.peek().map(|d| d.0.at);
            let alarm = self.switch.next_deadline().map(|d| d.0).filter(|_| self.up);
            let idle = next.is_none() && self.idle();
            let (Some(at), false) = (next.into_iter().chain(alarm).min(), idle) else { break };
            if at > self.end {
                break;
            }
            self.done.steps += 1;
            if self.done.steps > MOST_STEPS * self.calls.len() as u64 {
                self.ledger.faults.push((0, "it turns round and round".to_owned()));
            }
            self.now = self.now.max(at);
            if alarm.is_some_and(|a| next.is_none_or(|n| a < n)) {
                self.input(Input::Wake);
            } else if let Some(Reverse(due)) = self.queue.pop() {
                self.happen(due.event);
            }
            if self.done.steps.is_multiple_of(1000) && self.up {
                self.weigh();
            }
            if let Some(fault) = self.ledger.faults.first() {
                self.done.fault = Some(fault.clone());
                break;
            }
        }
        if self.done.fault.is_none() {
            self.come_to_rest();
            self.done.fault = self.ledger.faults.first().cloned();
        }
        (std::mem::take(&mut self.done), self)
    }

    /// What the switch holds is what its calls need.
    fn weigh(&mut self) {
        let gauges = self.switch.gauges();
        self.ledger.bounded(&gauges, self.calls.len(), &self.snapshots);
        let trunks = self.switch.trunks(self.moment());
        let (a, b) = trunks.split_first().unwrap();
        let carried: usize = b.iter().map(|t| t.calls as usize).sum();
        let dialogs = self.switch.calls().count();
        if a.calls as usize != gauges.calls
            || carried > gauges.calls
            || dialogs != gauges.calls + gauges.settling
        {
            let text = format!("{dialogs} dialogs, {gauges:?}, {trunks:?}");
            self.ledger.faults.push((0, text));
        }
    }

    /// At rest nothing is left: no call, no lease, no transaction, no image, and no timer.
    fn come_to_rest(&mut self) {
        self.weigh();
        let mut gauges = self.switch.gauges();
        gauges.transactions.1 = gauges.transactions.1.saturating_sub(self.hosts.pinged());
        self.ledger.at_rest(&gauges, &self.calls, &self.snapshots);
        let patience = self.now + LAST_TIMER;
        while let Some((at, why)) = self.switch.next_deadline().filter(|_| self.hosts.pinged() == 0)
        {
            if at > patience {
                self.ledger.faults.push((0, format!("at rest: a timer is left, {why}")));
                break;
            }
            self.now = at;
            self.input(Input::Wake);
        }
    }

    /// Nothing is left of any call: what deadlines remain are nobody's.
    fn idle(&self) -> bool {
        let gauges = self.switch.gauges();
        gauges.calls == 0
            && gauges.transactions.0 == 0
            && gauges.transactions.1 <= self.hosts.pinged()
    }

    fn happen(&mut self, event: Event) {
        match event {
            // Nobody reads the socket.
            Event::ToSwitch { .. } if !self.up => {}
            Event::ToSwitch { from, pipe, .. } if !self.pipes.stands(from, pipe) => {}
            Event::ToSwitch { call, entry, from, bytes, .. } => {
                self.calls[call].log.arrived(entry, self.now);
                self.datagram(from, bytes);
            }
            Event::ToPeer { call, entry, pipe, bytes } => {
                self.reach_peer(call, entry, pipe, &bytes);
            }
            Event::Tick { call, leg, tick } => self.peer(call, leg, |ua, cx| ua.tick(tick, cx)),
            Event::Fork { call, leg, tag } => {
                let (now, mut out) = (self.now, Vec::new());
                let leg_of = &self.calls[call].legs[leg];
                if leg_of.dead {
                    return;
                }
                let faults = &mut Vec::new();
                let mut cx = Cx { now, rng: &mut self.rng, out: &mut out, faults };
                let fork = leg_of.fork(tag, now, &mut cx);
                self.calls[call].legs.push(fork);
                self.carry_out(call, self.calls[call].legs.len() - 1, out);
            }
            Event::Media(life, event) if self.up && life == self.life => {
                self.input(Input::Media(event));
            }
            Event::Listen(life, id) if self.up && life == self.life => self.listen(id),
            Event::Media(..) | Event::Listen(..) => {}
            Event::Crash(_) if !self.up => {}
            Event::Crash(true) => self.dying = true,
            Event::Crash(false) => self.crash(),
            Event::Start => self.start(),
            Event::Verify { call } => {
                let (now, met) = (self.now, &self.calls[call]);
                self.ledger.converged(call, met, now);
            }
            Event::Interval { call, leg } => {
                let (now, met) = (self.now, &self.calls[call]);
                self.ledger.interval(call, met, leg, now);
            }
            Event::Ping { host, pipe, bytes } => self.pinged(host, pipe, &bytes),
            Event::Pong { host, pipe, bytes } => self.ponged(host, pipe, &bytes),
            Event::Unsent(life, flow, bytes) if self.up && life == self.life => {
                let m = Msg::read(std::str::from_utf8(&bytes).unwrap()).unwrap();
                self.hosts.unsent(m.branch);
                self.input(Input::Unsent { flow, bytes });
            }
            Event::Unsent(..) => {}
            Event::Full => self.is_full = true,
            Event::Room => self.checkpoint(),
            Event::Operator if self.up => self.clear_up(),
            Event::Operator => {}
            Event::Break(host) => self.pipes.close(host),
            Event::Judge => self.judge(),
            Event::WallJump => {
                let jump = i64::try_from(self.rng.below(7_200_000)).unwrap() - 3_600_000;
                self.wall += jump * 1_000_000;
            }
        }
    }

    /// Where no media is seen and both connections broke, no BYE and no silence tells of the end.
    fn clear_up(&mut self) {
        let is_left = |id: &CallId| {
            let call = self.ledger.call_of(*id).map(|call| &self.calls[call]);
            call.is_some_and(|met| met.legs.iter().all(|leg| leg.state == State::Gone))
        };
        let left: Vec<_> = self.switch.calls().filter(is_left).collect();
        for call in left {
            self.input(Input::Command(Command::Hangup { call }));
        }
    }

    /// The relay hears nobody on either side for a minute.
    fn listen(&mut self, id: CallId) {
        let Some(&call) = self.relays.get(&id) else { return };
        let talks = |ua: &Ua| !ua.dead && matches!(ua.state, State::Up | State::Answered);
        if !self.calls[call].legs.iter().any(talks) {
            self.input(Input::Media(MediaEvent::Silent { call: id, since: self.moment() }));
        }
        self.later(self.now + 60 * SECOND, Event::Listen(self.life, id));
    }
}
