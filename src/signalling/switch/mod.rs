//! All calls of the node: which call a message belongs to, and who may begin one.

pub mod admit;
pub mod fence;
pub mod input;
pub mod limits;
pub mod lines;
pub mod overload;
pub mod pings;
pub mod portal;
pub mod recover;
pub mod reload;
pub mod replaces;
pub mod route;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cooee_model::command::Command;
use cooee_model::ids::CallId;
use cooee_model::moment::Moment;

use crate::call::Call;
use crate::call::context::{Alarm, Core, Cx, Ids, Note, Output, Owner, Setup};
use crate::call::hangup::Silence;
use crate::call::loads::Loads;
use crate::call::peers::Peers;
use crate::call::pool::{Pool, Ports};
use crate::leg::half::Invite;
use crate::profile::caller_id::Shown;
use crate::profile::plan::Plan;
use crate::switch::fence::Proofs;
use crate::switch::input::Input;
use crate::switch::lines::{Line, Paces};
use crate::switch::overload::Overload;
use crate::switch::portal::Portals;
use crate::switch::recover::Before;
use crate::transaction::key::{Keyed, Token};
use crate::transaction::layer::{Expired, Transactions};
use crate::transaction::limits::Clock;
use crate::transaction::slots::{Slot, Slots};
use crate::transaction::timers::Timers;

/// What a node is made of.
#[derive(Debug)]
pub struct Node {
    /// The configuration in force.
    pub plan: Arc<Plan>,
    /// Our sockets, and whose media is believed.
    pub setup: Setup,
    /// The RTP ports that were bound at start, by address family.
    pub ports: Vec<Ports>,
    /// How long a port pair rests after a call.
    pub quarantine: Duration,
    /// 24 random bytes: what strangers must not guess.
    pub seed: [u8; 24],
}

/// Counts and gauges of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Calls, those that are ending included.
    pub calls: usize,
    /// Calls that are over and wait for the portal's last word.
    pub settling: usize,
    /// Server and client transactions.
    pub transactions: (usize, usize),
    /// Port pairs leased.
    pub leases: usize,
    /// Messages sent again, and copies absorbed.
    pub resent: u64,
    /// Copies absorbed.
    pub absorbed: u64,
    /// Registered lines.
    pub registered: usize,
    /// Lines that are being unregistered.
    pub leaving: usize,
}

/// The signalling plane as a value.
#[derive(Debug)]
pub struct Switch {
    core: Core,
    calls: Slots<Call>,
    by_id: BTreeMap<CallId, Slot>,
    /// Addresses that trunks' names led to, with the trunk and until when they are believed.
    sources: BTreeMap<IpAddr, (usize, Moment)>,
    proofs: Proofs,
    shown: Shown,
    lines: Vec<Line>,
    paces: Paces,
    portals: Portals,
    /// Calls that are over and only wait for the portal's last word.
    resting: usize,
    draining: bool,
    overload: Overload,
    before: Before,
    /// The process is to end: the drain is for good.
    ending: bool,
}

impl Switch {
    /// A switch without calls. Lines begin to register at their first wake-up.
    pub fn new(node: Node, now: Moment) -> Self {
        let (key, rest) = node.seed.split_at(16);
        let keyed = Keyed::new(key.try_into().unwrap_or_default());
        let start = u64::from_be_bytes(rest.try_into().unwrap_or_default());
        let t1 = Duration::from_millis(node.plan.settings.t1_ms.max(1).into());
        let peers = Peers::new(node.plan.trunks.len());
        let mut switch = Self {
            core: Core {
                tx: Transactions::new(keyed, Clock::with_t1(t1)),
                keyed,
                ids: Ids::new(start),
                alarms: Timers::default(),
                pool: Pool::new(node.ports, node.quarantine),
                told: BTreeMap::new(),
                no_tcp: BTreeMap::new(),
                plan: node.plan,
                peers,
                loads: Loads::default(),
                setup: node.setup,
            },
            calls: Slots::default(),
            by_id: BTreeMap::new(),
            sources: BTreeMap::new(),
            proofs: Proofs::default(),
            shown: Shown::default(),
            lines: Vec::new(),
            paces: Paces::new(),
            portals: Portals::default(),
            resting: 0,
            draining: false,
            overload: Overload::default(),
            before: Before::default(),
            ending: false,
        };
        switch.begin_lines(now);
        switch
    }

    /// Takes one input and writes what has to happen.
    pub fn handle(&mut self, now: Moment, input: Input, out: &mut Output) {
        match input {
            Input::Datagram { flow, received, bytes } => {
                self.datagram(now, received, flow, bytes, false, out);
            }
            Input::Surplus { flow, received, bytes } => {
                self.datagram(now, received, flow, bytes, true, out);
            }
            Input::Unsent { flow, bytes } => self.unsent(now, flow, bytes, out),
            Input::Media(event) => {
                self.step(now, now, event.call(), out, |call, cx| call.media_seen(cx, &event));
            }
            Input::Command(Command::Hangup { call }) => {
                self.step(now, now, call, out, |call, cx| call.hang_up(cx));
            }
            Input::Command(Command::Transfer { call, side, target }) => {
                self.step(now, now, call, out, |call, cx| call.transfer(cx, side, target));
            }
            Input::Command(order @ (Command::Drain | Command::End)) => {
                self.draining = true;
                self.ending |= order == Command::End;
                self.leave_lines(now);
            }
            Input::Command(Command::Ping { trunk }) => self.ping_now(now, &trunk, out),
            Input::Command(Command::Undrain) => self.undrain(now, out),
            Input::Command(Command::Trunk { name, leave }) => self.tell_trunk(name, leave),
            Input::Peers { revision, trunk, peers } => {
                if revision == self.core.plan.revision {
                    self.learn_peers(now, trunk, peers);
                }
            }
            Input::Portal(event) => self.portal_event(now, event, out),
            Input::Plan(revision) => self.adopt(now, *revision),
            Input::Wake => {}
        }
        self.wake(now, out);
    }

    /// New calls are taken again, unless the process is to end.
    fn undrain(&mut self, now: Moment, out: &mut Output) {
        if self.ending {
            let text = "the node is about to end: its drain is not taken back".to_owned();
            return out.notes.push(Note { call: None, text });
        }
        if std::mem::take(&mut self.draining) {
            self.resume_lines(now);
        }
    }

    /// When the switch next wants to be woken, nanoseconds of the monotonic clock, and why.
    pub fn next_deadline(&self) -> Option<(u64, &'static str)> {
        let tx = self.core.tx.next_deadline().map(|at| (at, "transaction"));
        let alarm = self.core.alarms.next().map(|at| (at, "alarm"));
        [tx, alarm].into_iter().flatten().min()
    }

    /// Counts and gauges.
    pub fn gauges(&self) -> Gauges {
        let counts = self.core.tx.counts();
        Gauges {
            calls: self.live(),
            settling: self.resting,
            transactions: self.core.tx.len(),
            leases: self.core.pool.leased(),
            resent: counts.resent,
            absorbed: counts.absorbed,
            registered: self.lines.iter().filter(|l| l.is_registered()).count(),
            leaving: self.lines.iter().filter(|l| l.is_leaving()).count(),
        }
    }

    /// The calls that a checkpoint of the journal has to hold.
    pub fn calls(&self) -> impl Iterator<Item = CallId> {
        self.by_id.keys().copied()
    }

    /// What a call needs to go on after a crash; nothing, if it is over.
    pub fn snapshot(&self, call: CallId) -> Option<Vec<u8>> {
        self.by_id.get(&call).and_then(|slot| self.calls.get(*slot)).map(Call::snapshot)
    }

    /// The plan in force.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.core.plan
    }

    /// What callers were shown, to be filled from the store at start.
    pub fn shown(&mut self) -> &mut Shown {
        &mut self.shown
    }

    // ---------------------------------------------------------------- time

    fn wake(&mut self, now: Moment, out: &mut Output) {
        while let Some(expired) = self.core.tx.expire(now, &mut out.sends) {
            match expired {
                Some(Expired::NoAnswer { owner, client, heard }) => {
                    let why = if heard { Silence::AfterTrying } else { Silence::Complete };
                    self.unanswered(now, owner, client, why, out);
                }
                Some(Expired::NoAck { owner: Owner::Leg(slot, ..), server }) => {
                    self.step_at(now, now, slot, out, |call, cx| call.not_acknowledged(cx, server));
                }
                _ => {}
            }
        }
        while let Some(alarm) = self.core.alarms.due(now) {
            match alarm {
                Alarm::Ring(slot, attempt) => {
                    self.step_at(now, now, slot, out, |call, cx| call.rang_out(cx, attempt));
                }
                Alarm::Silent(slot, attempt) => {
                    self.step_at(now, now, slot, out, |call, cx| call.was_silent(cx, attempt));
                }
                Alarm::Ping(peer) => self.ping(now, peer, out),
                Alarm::PingLate(peer, client) => self.ping_failed(now, (peer, client), out),
                Alarm::Early(slot) => {
                    self.step_at(now, now, slot, out, |call, cx| call.say_early_again(cx));
                }
                Alarm::Rested(peer) => self.core.peer_rested(now, peer, &mut out.notes),
                Alarm::Cancelled(slot, client) => {
                    self.step_at(now, now, slot, out, |call, cx| call.cancel_ran_out(cx, client));
                }
                Alarm::Unacknowledged(slot, rseq) => {
                    self.step_at(now, now, slot, out, |call, cx| call.unacknowledged(cx, rseq));
                }
                Alarm::MediaGone(slot) => {
                    self.step_at(now, now, slot, out, |call, cx| call.media_over(cx));
                }
                Alarm::Ask(slot) => {
                    self.step_at(now, now, slot, out, |call, cx| call.ask_after_peers(cx));
                }
                Alarm::Settled(slot) => {
                    self.step_at(now, now, slot, out, |call, _| call.settled());
                }
                Alarm::Session(slot, side, nth) => {
                    self.step_at(now, now, slot, out, |call, cx| call.session_woke(cx, side, nth));
                }
                Alarm::Transfer(slot, mark) => {
                    self.step_at(now, now, slot, out, |call, cx| {
                        call.transfer_is_silent(cx, mark);
                    });
                }
                Alarm::Register(line) => self.register(now, line, out),
            }
        }
    }

    // ---------------------------------------------------------------- one step of one call

    fn step(
        &mut self,
        now: Moment,
        received: Moment,
        call: CallId,
        out: &mut Output,
        what: impl FnOnce(&mut Call, &mut Cx<'_>),
    ) {
        if let Some(&slot) = self.by_id.get(&call) {
            self.step_at(now, received, slot, out, what);
        }
    }

    fn step_at(
        &mut self,
        now: Moment,
        received: Moment,
        slot: Slot,
        out: &mut Output,
        what: impl FnOnce(&mut Call, &mut Cx<'_>),
    ) {
        let Some(call) = self.calls.get_mut(slot) else { return };
        let mut cx = Cx { now, received, core: &mut self.core, out };
        what(call, &mut cx);
        call.settle(&mut cx);
        self.put_to_rest(slot);
    }

    /// Forgets a call that is over; one that only waits for the portal is counted no more.
    fn put_to_rest(&mut self, slot: Slot) {
        let Some(call) = self.calls.get_mut(slot) else { return };
        if call.is_over() {
            self.forget(slot);
        } else if call.is_done() && !call.resting {
            call.resting = true;
            self.resting += 1;
            self.core.loads.over(&call.a.trunk);
            call.leave_room(&mut self.core.loads);
        }
    }

    /// Calls that have legs or media.
    fn live(&self) -> usize {
        self.calls.len().saturating_sub(self.resting)
    }

    fn forget(&mut self, slot: Slot) {
        if let Some(mut call) = self.calls.remove(slot) {
            self.by_id.remove(&call.id);
            if let Some(Invite::Client(client)) = call.b.as_ref().map(|b| b.invite) {
                self.core.tx.over(client);
            }
            if call.resting {
                self.resting = self.resting.saturating_sub(1);
            } else {
                self.core.loads.over(&call.a.trunk);
                call.leave_room(&mut self.core.loads);
            }
            if !call.plan.portals.is_empty() {
                let portal_call = call.word.portal.zip(call.account.portal_call_id);
                let numbers = &call.plan.policy.numbers;
                self.portals.forget(&call.account.customer, slot, numbers, portal_call);
            }
        }
    }

    /// The call that a local tag of ours names.
    fn call_of_tag(&self, tag: &[u8]) -> Option<Slot> {
        let token = Token::read(tag)?;
        let own = |call: &Call| {
            let named = |t: &String| t.as_bytes() == tag;
            named(&call.a.dialog.local_tag)
                || call.b.as_ref().is_some_and(|b| named(&b.dialog.local_tag))
        };
        self.calls.at(token.index).filter(|(_, call)| own(call)).map(|(slot, _)| slot)
    }
}
