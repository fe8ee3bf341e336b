//! What a call works with: the node's transactions, clocks, ports and plan, and where its
//! decisions go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cooee_model::command::Leave;
use cooee_model::fact::{Fact, Rejected};
use cooee_model::ids::CallId;
use cooee_model::media::{Latch, MediaCommand};
use cooee_model::moment::Moment;
use cooee_model::portal::Heard;

use crate::call::limits::{NO_TCP_MEMORY, NO_TCP_PLACES, UDP_SURE};
use crate::call::loads::Loads;
use crate::call::peers::{Peers, Place};
use crate::call::pool::Pool;
use crate::leg::dialog::{Dialog, Local, flow_to};
use crate::message::transport::Transport;
use crate::profile::plan::{Plan, Trunk};
use crate::transaction::flow::{Flow, Measure, Transmit};
use crate::transaction::key::{Keyed, Token};
use crate::transaction::layer::{ClientId, Transactions};
use crate::transaction::slots::Slot;
use crate::transaction::timers::Timers;

use cooee_model::ids::Side;

/// Whose a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A leg of a call.
    Leg(Slot, Side, Purpose),
    /// One registered line, by its place.
    Line(u32),
    /// An address of a trunk that is asked whether it is there, by its name.
    Ping(u32),
    /// Nobody: answered on the spot.
    Nobody,
}

/// What a leg's transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The INVITE that began the leg.
    Invite,
    /// Its CANCEL.
    Cancel,
    /// A BYE.
    Bye,
    /// A request passed on from the other leg.
    Relay,
    /// The BYE of a try that was answered after it had been given up.
    Late,
    /// The question whether the peer still knows the dialog, after a restart.
    Ask,
    /// The PRACK of a reliable 18x.
    Prack,
    /// A refresh of the session (RFC 4028).
    Refresh,
    /// An INFO of ours that tells of a press.
    Press,
    /// A transfer that an operator ordered.
    Transfer,
}

/// What a call or a line wants to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// The target has rung long enough; the try that is meant.
    Ring(Slot, u32),
    /// Nothing at all has come from the target for a while; the try that is meant.
    Silent(Slot, u32),
    /// An address of a trunk, by its name: its rest may be over.
    Rested(u32),
    /// An address of a trunk is to be asked whether it is there.
    Ping(u32),
    /// It has had its time to answer this question.
    PingLate(u32, ClientId),
    /// A has heard nothing new for a while, and B may ring for long.
    Early(Slot),
    /// A cancelled INVITE has had its 64*T1.
    Cancelled(Slot, ClientId),
    /// A reliable response with this RSeq still waits for its PRACK.
    Unacknowledged(Slot, u32),
    /// The relay has not reported its end.
    MediaGone(Slot),
    /// The portal has had its time to speak of a call that is over.
    Settled(Slot),
    /// Both peers are to be asked whether they are still there, after a restart.
    Ask(Slot),
    /// A leg's session timer; the alarm that is meant.
    Session(Slot, Side, u32),
    /// A side that was asked to go on with somebody else has told nothing of it.
    Transfer(Slot, u32),
    /// A line's registration is due.
    Register(u32),
}

/// Where everything that has to happen is written. The caller owns it and carries it out: records
/// first, in one write; then the messages and the media orders.
#[derive(Debug, Default)]
pub struct Output {
    /// For the journal, in order.
    pub records: Vec<Record>,
    /// To be sent, in order.
    pub sends: Vec<Transmit>,
    /// For the RTP plane, in order.
    pub media: Vec<MediaCommand>,
    /// Requests refused.
    pub rejected: Vec<Rejected>,
    /// Things worth a line in the log.
    pub notes: Vec<Note>,
    /// What came of portals' events.
    pub heard: Vec<Heard>,
    /// Round trips to trunks.
    pub rtts: Vec<Duration>,
}

impl Output {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.sends.clear();
        self.media.clear();
        self.rejected.clear();
        self.notes.clear();
        self.heard.clear();
        self.rtts.clear();
    }
}

/// One record for the journal.
#[derive(Debug)]
pub enum Record {
    /// A fact.
    Fact(Fact),
    /// What is needed to go on with a call after a crash.
    Snapshot(CallId, Vec<u8>),
    /// What has changed of that since.
    Patch(CallId, Vec<u8>),
    /// Nothing of this call is needed any more.
    Gone(CallId),
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The call, if it is about one.
    pub call: Option<CallId>,
    /// What happened.
    pub text: String,
}

/// Random numbers and names, from a seed given at construction.
#[derive(Debug)]
pub struct Ids {
    state: u64,
}

impl Ids {
    /// A generator that begins at `seed`, which has to be unguessable outside tests.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits. A keyed SipHash over a counter: outputs do not tell their successors.
    pub fn next(&mut self, keyed: &Keyed) -> u64 {
        self.state = self.state.wrapping_add(1);
        keyed.number(self.state)
    }
}

/// How the node speaks to the world.
#[derive(Debug)]
pub struct Setup {
    /// Our sockets in the order of `Flow::socket`.
    pub locals: Vec<Local>,
    /// Which sources of media are believed where the trunk names no networks.
    pub latch: Latch,
}

/// What all calls share.
#[derive(Debug)]
pub struct Core {
    /// Transactions.
    pub tx: Transactions<Owner>,
    /// The hash that strangers do not know.
    pub keyed: Keyed,
    /// Random numbers.
    pub ids: Ids,
    /// Wake-ups.
    pub alarms: Timers<Alarm>,
    /// RTP port pairs.
    pub pool: Pool,
    /// Trunks that an operator has told to rest, by name.
    pub told: BTreeMap<String, Leave>,
    /// Addresses that took no TCP, and until when that is believed.
    pub no_tcp: BTreeMap<SocketAddr, Moment>,
    /// The configuration in force.
    pub plan: Arc<Plan>,
    /// Where each trunk's calls may go.
    pub peers: Peers,
    /// How much each trunk carries.
    pub loads: Loads,
    /// How we speak to the world.
    pub setup: Setup,
}

impl Core {
    /// 64 random bits.
    pub fn random(&mut self) -> u64 {
        self.ids.next(&self.keyed)
    }

    /// How a socket of ours is named.
    pub fn local(&self, flow: Flow) -> Option<&Local> {
        self.setup.locals.get(usize::from(flow.socket))
    }

    /// A trunk of the plan, with where it is called.
    pub fn trunk(&self, name: &str) -> Option<(&Trunk, Option<Flow>)> {
        let at = self.plan.trunk_at(name)?;
        let trunk = self.plan.trunks.get(at)?;
        let places = self.peers.of(at).iter().map(|p| &p.place);
        Some((trunk, places.filter_map(|place| self.flow_to(place)).next()))
    }

    /// By which of our sockets an address is reached.
    pub fn flow_to(&self, place: &Place) -> Option<Flow> {
        flow_to(place.transport, place.address, 0, &self.setup.locals)
    }

    /// Notes that an address took no TCP.
    pub fn takes_no_tcp(&mut self, now: Moment, address: SocketAddr) {
        self.no_tcp.retain(|_, until| *until > now);
        if self.no_tcp.len() >= NO_TCP_PLACES {
            self.no_tcp.pop_first();
        }
        self.no_tcp.insert(address, now + NO_TCP_MEMORY);
    }

    /// A request for a trunk as it goes by TCP, if it is too long for UDP and TCP is spoken on
    /// both sides. Its Contact still is that of its dialog.
    fn by_tcp(
        &self,
        now: Moment,
        trunk: &str,
        (flow, bytes): &(Flow, Bytes),
    ) -> Option<(Flow, Bytes)> {
        if flow.transport != Transport::Udp || bytes.len() <= UDP_SURE {
            return None;
        }
        let most = self.plan.udp_max(trunk);
        if most == 0 || bytes.len() <= most {
            return None;
        }
        if self.no_tcp.get(&flow.remote).is_some_and(|until| *until > now) {
            return None;
        }
        let ip = self.local(*flow)?.address.ip();
        let beside = |l: &Local| l.transport == Transport::Tcp && l.address.ip() == ip;
        let near = self.setup.locals.iter().position(beside).unwrap_or(0);
        let near = u16::try_from(near).unwrap_or(0);
        let way = flow_to(Transport::Tcp, flow.remote, near, &self.setup.locals)?;
        Some((way, self.local(way)?.leaving_here(bytes)?))
    }

    /// Where the next request of a dialog goes, and how we are named there; the peer was last
    /// heard on `last`.
    pub fn next_hop(&self, dialog: &Dialog, last: Flow) -> Option<(Flow, &Local)> {
        let flow = dialog.next_hop(last, &self.setup.locals);
        Some((flow, self.local(flow)?))
    }
}

/// One step of a call.
pub struct Cx<'a> {
    /// Now.
    pub now: Moment,
    /// When the cause of the step was received; `now` where there is none.
    pub received: Moment,
    /// What all calls share.
    pub core: &'a mut Core,
    /// Where decisions go.
    pub out: &'a mut Output,
}

impl Cx<'_> {
    /// Sends a request of a call's leg on `trunk`. One that is too long for UDP goes by TCP, and by
    /// UDP after all where no connection comes up (RFC 3261, 18.1.1).
    pub fn request(
        &mut self,
        trunk: &str,
        token: Token,
        message: (Flow, Bytes),
        kind: (bool, Owner),
        measure: Option<Measure>,
    ) -> ClientId {
        let by_tcp = self.core.by_tcp(self.now, trunk, &message);
        let (tx, sends) = (&mut self.core.tx, &mut self.out.sends);
        let Some(by_tcp) = by_tcp else {
            return tx.request(self.now, token, message, kind, measure, sends);
        };
        let client = tx.request(self.now, token, by_tcp, kind, measure, sends);
        tx.or_else(client, message);
        client
    }

    /// A line for the log about a call.
    pub fn note(&mut self, call: CallId, text: impl Into<String>) {
        self.out.notes.push(Note { call: Some(call), text: text.into() });
    }
}
