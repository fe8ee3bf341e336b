//! The world of one seed: the switch, its peers, the network, the clock, the journal.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cooee_config::secrets::Surroundings;
use cooee_model::ids::{CallId, Side};
use cooee_model::media::{Latch, MediaCommand, MediaEvent, StreamStats};
use cooee_model::moment::Moment;
use cooee_signalling::call::context::{Output, Record, Setup};
use cooee_signalling::call::peers::Place;
use cooee_signalling::leg::dialog::Local;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::profile::plan::Plan;
use cooee_signalling::switch::input::Input;
use cooee_signalling::switch::{Node, Switch};
use cooee_signalling::transaction::flow::Flow;

use crate::check::Ledger;
use crate::log::{Entry, Log, Way};
use crate::net::Weather;
use crate::rng::Rng;
use crate::script::{Act, MS, SECOND, Script};
use crate::sip::Msg;
use crate::ua::{Cx, Do, State, Tick, Ua};

pub const A: &str = "192.0.2.10:5060";
pub const B: &str = "198.51.100.20:5060";
/// The second target, where the plan has one.
pub const C: &str = "198.51.100.30:5060";

const CONFIG: &str = include_str!("node.toml");

/// What is to happen at a moment.
enum Event {
    ToSwitch {
        call: usize,
        entry: usize,
        from: &'static str,
        bytes: Bytes,
    },
    ToPeer {
        call: usize,
        entry: usize,
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
}

/// The plans that seeds draw from: one target, media anchored; two targets; media bypassed.
pub fn plans() -> [Arc<Plan>; 3] {
    let (b, c) =
        ("{ target = \"trunk:b\", timeout_s = 30 }", "{ target = \"trunk:c\", timeout_s = 20 }");
    let both = format!("{b}, {c}");
    [plan("relay", b), plan("relay", &both), plan("bypass", b)]
}

fn plan(mode: &str, chain: &str) -> Arc<Plan> {
    let text = CONFIG.replace("MODE", mode).replace("CHAIN", chain);
    let around = Surroundings::new(Path::new("."), |_| None);
    let loaded = cooee_config::load_str(&text, "node.toml", &around)
        .unwrap_or_else(|findings| panic!("{findings}"));
    Arc::new(loaded.plan)
}

fn node(plan: &Arc<Plan>, rng: &mut Rng) -> Node {
    let mut seed = [0; 24];
    for chunk in seed.chunks_mut(8) {
        chunk.copy_from_slice(&rng.next().to_be_bytes());
    }
    Node {
        plan: plan.clone(),
        setup: Setup {
            locals: vec![Local::new(Transport::Udp, crate::ua::SWITCH.parse().unwrap())],
            media: "192.0.2.1".parse().unwrap(),
            latch: Latch::Strict,
        },
        ports: (10_000..12_000).step_by(2).collect(),
        quarantine: Duration::from_secs(5),
        seed,
    }
}

impl World {
    pub fn new(seed: u64, calls: usize, plans: &[Arc<Plan>; 3], trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let plan = plans[rng.one_of(&[0, 0, 0, 1, 1, 2])].clone();
        let node = node(&plan, &mut rng);
        let now = 1000 * SECOND;
        let wall = 1_770_000_000_000_000_000;
        let weather = Weather::draw(&mut rng);
        let mut world = Self {
            switch: Switch::new(node, Moment::new(now, wall)),
            plan,
            now,
            wall: wall - i64::try_from(now).unwrap(),
            end: now + 900 * SECOND,
            weather,
            queue: BinaryHeap::new(),
            order: 0,
            calls: Vec::new(),
            by_call_id: BTreeMap::new(),
            relays: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            ledger: Ledger::default(),
            out: Output::default(),
            done: Done::default(),
            trace,
            up: true,
            dying: false,
            life: 0,
            rng,
        };
        world.ledger.bypass = world.plan.settings.media_bypass;
        world.introduce();
        world.populate(calls);
        world
    }

    /// Draws what will happen.
    fn populate(&mut self, calls: usize) {
        let window = 60 * SECOND;
        for call in 0..calls {
            let scripts = [0; 2].map(|_| Arc::new(Script::draw(&mut self.rng, window)));
            let script = &scripts[0];
            let caller = Ua::caller(call, script.clone(), A);
            self.by_call_id.insert(caller.call_id.clone(), (call, 0));
            for &(wait, act) in &script.a.at_start {
                // With both sides dead and no media here only a session timer ends the call.
                if act == Act::Die && self.ledger.bypass {
                    continue;
                }
                let at = self.now + script.begins + wait;
                self.later(at, Event::Tick { call, leg: 0, tick: Tick::Act(act) });
            }
            self.calls.push(Met { scripts, legs: vec![caller], log: Log::default() });
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

    /// Tells the switch where B is.
    fn introduce(&mut self) {
        for (trunk, host) in [(1, B), (2, C)] {
            let peers = vec![Place::new(Transport::Udp, host.parse().unwrap())];
            self.input(Input::Peers { trunk, peers });
        }
    }

    fn moment(&self) -> Moment {
        Moment::new(self.now, self.wall + i64::try_from(self.now).unwrap())
    }

    fn later(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Due { at, order: self.order, event }));
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
            self.now = self.now.max(at);
            if alarm.is_some_and(|a| next.is_none_or(|n| a < n)) {
                self.input(Input::Wake);
            } else if let Some(Reverse(due)) = self.queue.pop() {
                self.happen(due.event);
            }
            if self.done.steps.is_multiple_of(1000) {
                let gauges = self.switch.gauges();
                self.ledger.bounded(&gauges, self.calls.len(), &self.snapshots);
            }
            if let Some(fault) = self.ledger.faults.first() {
                self.done.fault = Some(fault.clone());
                break;
            }
        }
        if self.done.fault.is_none() {
            let gauges = self.switch.gauges();
            self.ledger.at_rest(&gauges, &self.calls, &self.snapshots);
            self.done.fault = self.ledger.faults.first().cloned();
        }
        (std::mem::take(&mut self.done), self)
    }

    /// Nothing is left of any call: what deadlines remain are nobody's.
    fn idle(&self) -> bool {
        let gauges = self.switch.gauges();
        gauges.calls == 0 && gauges.transactions == (0, 0)
    }

    fn happen(&mut self, event: Event) {
        match event {
            // Nobody reads the socket.
            Event::ToSwitch { .. } if !self.up => {}
            Event::ToSwitch { call, entry, from, bytes } => {
                self.calls[call].log.arrived(entry, self.now);
                let remote = from.parse().unwrap();
                let flow = Flow { transport: Transport::Udp, socket: 0, remote };
                let received = self.moment();
                self.input(Input::Datagram { flow, received, bytes });
            }
            Event::ToPeer { call, entry, bytes } => self.reach_peer(call, entry, &bytes),
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
            Event::WallJump => {
                let jump = i64::try_from(self.rng.below(7_200_000)).unwrap() - 3_600_000;
                self.wall += jump * 1_000_000;
            }
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

    // ---------------------------------------------------------------- the switch

    /// Everything but the journal is lost.
    fn crash(&mut self) {
        (self.up, self.dying) = (false, false);
        self.life += 1;
        self.relays.clear();
        self.ledger.restarted = self.now;
        let wait = self.rng.between(100 * MS, 3 * SECOND);
        self.later(self.now + wait, Event::Start);
        if self.trace {
            let now = self.now;
            self.calls.iter_mut().for_each(|met| met.log.note(now, "the node dies".to_owned()));
        }
    }

    /// The node begins again, on what the journal has.
    fn start(&mut self) {
        self.up = true;
        let now = self.moment();
        self.switch = Switch::new(node(&self.plan, &mut self.rng), now);
        self.introduce();
        let images: Vec<_> = self.snapshots.iter().map(|(id, i)| (*id, i.clone())).collect();
        let mut out = Output::default();
        self.switch.recover(now, &images, true, &mut out);
        self.take(&mut out);
    }

    fn input(&mut self, input: Input) {
        let now = self.moment();
        let mut out = std::mem::take(&mut self.out);
        self.switch.handle(now, input, &mut out);
        if self.dying {
            out.sends.clear();
            out.media.clear();
        }
        self.take(&mut out);
        out.clear();
        self.out = out;
        if self.dying {
            self.crash();
        }
    }

    /// What the switch decided: the journal first, then the wire, then the relay.
    fn take(&mut self, out: &mut Output) {
        for record in out.records.drain(..) {
            match &record {
                Record::Fact(fact) => {
                    self.mix(&[fact.seq.to_be_bytes(), [0; 4]].concat());
                    let call = self.ledger.fact(fact);
                    if self.trace
                        && let Some(met) = call.and_then(|c| self.calls.get_mut(c))
                    {
                        let text = format!("{:?}", fact.what);
                        met.log.note(self.now, text.chars().take(110).collect());
                    }
                }
                Record::Snapshot(call, bytes) => {
                    self.mix(bytes);
                    self.ledger.snapshot(*call);
                    self.snapshots.insert(*call, bytes.clone());
                }
                Record::Gone(call) => {
                    self.ledger.gone(*call);
                    self.snapshots.remove(call);
                }
            }
        }
        for send in std::mem::take(&mut out.sends) {
            self.mix(&send.bytes);
            let to = send.flow.remote.to_string();
            let (side, host) = match to.as_str() {
                A => (Side::A, A),
                B => (Side::B, B),
                C => (Side::B, C),
                _ => {
                    self.ledger.faults.push((0, format!("a datagram to a stranger, {to}")));
                    continue;
                }
            };
            self.sent(side, host, send.bytes);
        }
        for command in std::mem::take(&mut out.media) {
            self.media(command);
        }
    }

    fn media(&mut self, command: MediaCommand) {
        match command {
            MediaCommand::Open { call, .. } => {
                let Some(number) = self.ledger.call_of(call) else { return };
                self.relays.insert(call, number);
                self.later(self.now + 60 * SECOND, Event::Listen(self.life, call));
            }
            MediaCommand::Mark { call, .. } => {
                for side in [Side::A, Side::B] {
                    let at = self.now + self.rng.below(200 * MS);
                    let moment = Moment::new(at, 0);
                    let event = MediaEvent::Forwarded { call, side, at: moment };
                    self.later(at, Event::Media(self.life, event));
                }
            }
            MediaCommand::Close { call } => {
                self.relays.remove(&call);
                // Now and then the relay is slow, and now and then it says nothing at all.
                let wait = match self.rng.below(50) {
                    0 => return,
                    1 => self.rng.below(8 * SECOND),
                    _ => self.rng.below(20 * MS),
                };
                let (a, b) = (StreamStats::default(), StreamStats::default());
                let closed = Event::Media(self.life, MediaEvent::Closed { call, a, b });
                self.later(self.now + wait, closed);
            }
            MediaCommand::Peer { .. } | MediaCommand::Hold { .. } => {}
        }
    }

    /// A datagram of the switch is on the wire.
    fn sent(&mut self, side: Side, host: &'static str, bytes: Bytes) {
        let text = std::str::from_utf8(&bytes).unwrap();
        let m = match Msg::read(text) {
            Ok(m) => m,
            Err(why) => {
                self.ledger.faults.push((0, format!("{why}: {text}")));
                return;
            }
        };
        let call = match self.by_call_id.get(m.call_id) {
            Some(&(call, _)) => call,
            // A crash took the INVITE before it left: the CANCEL after it means nothing to B.
            None if m.method == "CANCEL" && self.life > 0 => return,
            None => match self.meet(host, &m) {
                Some(call) => call,
                None => {
                    self.ledger.faults.push((0, format!("to nobody: {text}")));
                    return;
                }
            },
        };
        self.ledger.sent(call, side, &m, self.now, &self.calls[call]);
        let entry = Entry::new(self.now, Way::FromSwitch(side), bytes.clone());
        let entry = self.calls[call].log.push(entry, &m);
        for wait in self.weather.fate(&mut self.rng).into_iter().flatten() {
            let bytes = bytes.clone();
            self.later(self.now + wait, Event::ToPeer { call, entry, bytes });
        }
    }

    /// B's INVITE, seen for the first time: the number that it calls names the script.
    fn meet(&mut self, host: &'static str, m: &Msg<'_>) -> Option<usize> {
        let digits = m.uri.strip_prefix("sip:+614915")?.split('@').next()?;
        let call: usize = digits.parse().ok()?;
        let met = self.calls.get_mut(call)?;
        if m.method != "INVITE" || !m.is_request() || !m.to_tag.is_empty() {
            return None;
        }
        let serial = met.legs.len();
        let script = met.scripts[usize::from(host == C)].clone();
        met.legs.push(Ua::callee(m, call, script, host, serial));
        self.by_call_id.insert(m.call_id.to_owned(), (call, serial));
        Some(call)
    }

    // ---------------------------------------------------------------- the peers

    fn reach_peer(&mut self, call: usize, entry: usize, bytes: &Bytes) {
        let m = Msg::read(std::str::from_utf8(bytes).unwrap()).unwrap();
        let (_, first) = self.by_call_id[m.call_id];
        let tag = if m.is_request() { m.to_tag } else { m.from_tag };
        let met = &self.calls[call];
        let named = met.legs.iter().position(|l| l.call_id == m.call_id && l.local_tag == tag);
        let leg = named.unwrap_or(first);
        if self.calls[call].legs[leg].dead {
            return;
        }
        self.calls[call].log.arrived(entry, self.now);
        self.peer(call, leg, |ua, cx| ua.hear(&m, cx));
    }

    fn peer(&mut self, call: usize, leg: usize, what: impl FnOnce(&mut Ua, &mut Cx<'_>)) {
        let (now, mut out, mut faults) = (self.now, Vec::new(), Vec::new());
        let ua = &mut self.calls[call].legs[leg];
        let was = ua.state;
        let mut cx = Cx { now, rng: &mut self.rng, out: &mut out, faults: &mut faults };
        what(ua, &mut cx);
        let is = ua.state;
        self.ledger.faults.extend(faults.into_iter().map(|f| (call, f)));
        if was != is {
            if self.trace {
                let side = self.calls[call].legs[leg].side;
                self.calls[call].log.note(now, format!("{side} leg {leg}: {was:?} -> {is:?}"));
            }
            if matches!(is, State::Gone | State::Up) {
                self.later(now + crate::check::CONVERGE, Event::Verify { call });
            }
        }
        self.carry_out(call, leg, out);
    }

    fn carry_out(&mut self, call: usize, leg: usize, out: Vec<Do>) {
        for what in out {
            match what {
                Do::Later(at, tick) => self.later(at, Event::Tick { call, leg, tick }),
                Do::Fork(at, tag) => self.later(at, Event::Fork { call, leg, tag }),
                Do::Send(bytes) => {
                    let ua = &self.calls[call].legs[leg];
                    let (side, from) = (ua.side, ua.host);
                    let entry = Entry::new(self.now, Way::ToSwitch(side), bytes.clone());
                    let m = Msg::read(std::str::from_utf8(&bytes).unwrap()).unwrap();
                    let entry = self.calls[call].log.push(entry, &m);
                    for wait in self.weather.fate(&mut self.rng).into_iter().flatten() {
                        let bytes = bytes.clone();
                        let at = self.now + wait;
                        self.later(at, Event::ToSwitch { call, entry, from, bytes });
                    }
                }
            }
        }
    }

    /// Everything that left the switch goes into the run's fingerprint.
    fn mix(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let word = u64::from_le_bytes(word) ^ self.now;
            self.done.hash =
                (self.done.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }
}
