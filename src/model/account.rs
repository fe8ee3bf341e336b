//! The account of one call: everything that its CDR says, kept by the call itself.
//!
//! The account travels in the call's snapshot and, sealed, in the `Ended` fact: a CDR needs no
//! other record, so it can be written once and written again without harm.

use std::fmt;

use minicbor::{Decode, Encode};

use crate::ids::{CallId, Side};
use crate::moment::Moment;

/// What a call is for, chosen by its route (product definition 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// The dialer has the customer on the line and calls an agent through us.
    #[n(0)]
    AgentLeg,
    /// The dialer calls the customer through us.
    #[n(1)]
    CustomerLeg,
}

impl Role {
    /// The name that the CDR and the configuration use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AgentLeg => "agent-leg",
            Self::CustomerLeg => "customer-leg",
        }
    }
}

/// How the moment of the agent's answer is known (product definition 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum AnswerSource {
    /// Not known: `t_agent` is empty, never guessed.
    #[n(0)]
    None,
    /// B's 2xx, where the profile says that it means the agent (or the customer).
    #[n(1)]
    Sip200,
    /// The portal's call-start event.
    #[n(2)]
    B24Event,
    /// The portal's event, snapped to a media mark.
    #[n(3)]
    B24EventMedia,
    /// A media mark alone.
    #[n(4)]
    Media,
}

impl AnswerSource {
    /// The name that the CDR uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sip200 => "sip200",
            Self::B24Event => "b24_event",
            Self::B24EventMedia => "b24_event+media",
            Self::Media => "media",
        }
    }
}

/// Who ended the call (product definition 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Party {
    /// The person who was called.
    #[n(0)]
    Customer,
    /// The agent.
    #[n(1)]
    Agent,
    /// The dialer (Unitalk).
    #[n(2)]
    Dialer,
    /// The platform on the B side, before an agent was reached.
    #[n(3)]
    Platform,
    /// cooee itself: a refusal, a limit, an order.
    #[n(4)]
    Bridge,
    /// A timer: no answer, no ACK, no media.
    #[n(5)]
    Timeout,
    /// The end was not seen.
    #[n(6)]
    Unknown,
}

impl Party {
    /// The name that the CDR uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Agent => "agent",
            Self::Dialer => "dialer",
            Self::Platform => "platform",
            Self::Bridge => "bridge",
            Self::Timeout => "timeout",
            Self::Unknown => "unknown",
        }
    }
}

/// How the call came out (product definition 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Outcome {
    /// The agent (or the customer) was reached.
    #[n(0)]
    Connected,
    /// The platform answered and nothing says that an agent did.
    #[n(1)]
    UnknownAgent,
    /// The platform answered, the customer left before an agent came.
    #[n(2)]
    Abandoned,
    /// Busy.
    #[n(3)]
    Busy,
    /// Rang out, or not answered.
    #[n(4)]
    NoAnswer,
    /// Refused by the called side.
    #[n(5)]
    Declined,
    /// Given up by the calling side before the answer.
    #[n(6)]
    Canceled,
    /// The number does not exist or is incomplete.
    #[n(7)]
    Invalid,
    /// Refused by policy, here or there.
    #[n(8)]
    Blocked,
    /// A fault: trunk, codec, server.
    #[n(9)]
    Technical,
    /// Cut by a crash of cooee; closed at the restart.
    #[n(10)]
    Recovered,
    /// The caller never acknowledged our answer.
    #[n(11)]
    NoAck,
}

impl Outcome {
    /// The name that the CDR uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::UnknownAgent => "unknown_agent",
            Self::Abandoned => "abandoned",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Declined => "declined",
            Self::Canceled => "canceled",
            Self::Invalid => "invalid",
            Self::Blocked => "blocked",
            Self::Technical => "technical",
            Self::Recovered => "recovered",
            Self::NoAck => "no_ack",
        }
    }
}

macro_rules! shown_by_name {
    ($($kind:ty),*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    )*};
}
shown_by_name!(Role, AnswerSource, Party, Outcome);

/// The moments of a call (product definition 3.1). `None`: did not happen, or was not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Times {
    /// First byte of the INVITE that made the call: kernel receive time.
    #[n(0)]
    pub invite: Moment,
    /// First INVITE towards B handed out.
    #[n(1)]
    pub invite_out: Option<Moment>,
    /// First 100 from B.
    #[n(2)]
    pub b_100: Option<Moment>,
    /// First 18x from B.
    #[n(3)]
    pub b_18x: Option<Moment>,
    /// First 2xx from the B leg that won: the platform's answer.
    #[n(4)]
    pub b_200: Option<Moment>,
    /// Greeting over, waiting starts.
    #[n(5)]
    pub queue: Option<Moment>,
    /// The agent's answer (product definition 3.2).
    #[n(6)]
    pub agent: Option<Moment>,
    /// First moment at which RTP has been forwarded both ways at or after `agent`.
    #[n(7)]
    pub bridge: Option<Moment>,
    /// First BYE, CANCEL, final error or time-out.
    #[n(8)]
    pub end: Option<Moment>,
}

/// One leg in the account.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LegAccount {
    /// A or B.
    #[n(0)]
    pub side: Side,
    /// The trunk's name.
    #[n(1)]
    pub trunk: String,
    /// Where the peer signals from or to.
    #[n(2)]
    pub peer: String,
    /// Call-ID of the leg's dialog.
    #[n(3)]
    pub sip_call_id: String,
    /// Our tag.
    #[n(4)]
    pub local_tag: String,
    /// The peer's tag, once known.
    #[n(5)]
    pub remote_tag: String,
    /// Final status code of the leg's INVITE: received on B, sent on A. Zero: none.
    #[n(6)]
    pub result: u16,
    /// When the leg's INVITE came in or went out.
    #[n(7)]
    pub invite: Option<Moment>,
    /// First 18x on this leg.
    #[n(8)]
    pub ringing: Option<Moment>,
    /// 2xx on this leg.
    #[n(9)]
    pub answer: Option<Moment>,
    /// When the leg ended.
    #[n(10)]
    pub end: Option<Moment>,
    /// The codec agreed on, as `PCMA/8000`; empty where no answer was seen.
    #[n(11)]
    pub codec: String,
}

/// Everything that the CDR of one call says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Account {
    /// The call.
    #[n(0)]
    pub id: CallId,
    /// The node's id from its configuration.
    #[n(1)]
    pub node: String,
    /// What the call was for; `None` until a route was found.
    #[n(2)]
    pub role: Option<Role>,
    /// The route's name.
    #[n(3)]
    pub route: String,
    /// Revision of the configuration that the call was decided by.
    #[n(4)]
    pub config_rev: u32,
    /// The customer's number as E.164, or what the caller gave where it is none; empty: withheld.
    #[n(5)]
    pub customer: String,
    /// The number or user that was dialled.
    #[n(6)]
    pub called: String,
    /// The owned number presented or named on B, E.164.
    #[n(7)]
    pub did: String,
    /// Which rule chose it: sticky, campaign, local-presence, default.
    #[n(8)]
    pub did_rule: String,
    /// The dialer's campaign, as its profile reads it.
    #[n(9)]
    pub autodialer: String,
    /// The dialer's own id of the call, as its profile reads it.
    #[n(10)]
    pub external_id: String,
    /// The moments.
    #[n(11)]
    pub times: Times,
    /// How the agent's answer is known.
    #[n(12)]
    pub answer_source: AnswerSource,
    /// Half width of its uncertainty, milliseconds.
    #[n(13)]
    pub answer_err_ms: Option<u32>,
    /// Whole time on hold, milliseconds.
    #[n(14)]
    pub hold_ms: u64,
    /// How many times it was held.
    #[n(15)]
    pub hold_count: u32,
    /// Final status code of B's INVITE, or the code we refused with; zero: none.
    #[n(16)]
    pub sip_final: u16,
    /// Q.850 cause from a Reason header; zero: none.
    #[n(17)]
    pub q850: u16,
    /// Reason text, or why cooee ended the call.
    #[n(18)]
    pub reason: String,
    /// Who ended it.
    #[n(19)]
    pub end_party: Party,
    /// How it came out.
    #[n(20)]
    pub outcome: Outcome,
    /// True where a restart fell into the call, whether it went on or was closed.
    #[n(21)]
    pub recovered: bool,
    /// True where the spans had to be told by the wall clock (a reboot lay between).
    #[n(22)]
    pub wall_spans: bool,
    /// The legs, A first; every B try has its own.
    #[n(23)]
    pub legs: Vec<LegAccount>,
    /// The portal's id of the agent (`USER_ID`), where the portal said it.
    #[n(24)]
    pub agent: Option<String>,
    /// The portal's id of the call, where one was found.
    #[n(25)]
    pub portal_call_id: Option<String>,
    /// The platform that answered does not signal its holds: `hold_ms` 0 then says nothing.
    #[n(26)]
    #[cbor(default)]
    pub hold_unknown: bool,
}

impl Account {
    /// The account of a call that has just been offered.
    pub fn new(id: CallId, node: &str, invite: Moment) -> Self {
        Self {
            id,
            node: node.to_owned(),
            role: None,
            route: String::new(),
            config_rev: 0,
            customer: String::new(),
            called: String::new(),
            did: String::new(),
            did_rule: String::new(),
            autodialer: String::new(),
            external_id: String::new(),
            times: Times { invite, ..Times::default() },
            answer_source: AnswerSource::None,
            answer_err_ms: None,
            hold_ms: 0,
            hold_count: 0,
            sip_final: 0,
            q850: 0,
            reason: String::new(),
            end_party: Party::Unknown,
            outcome: Outcome::Technical,
            recovered: false,
            wall_spans: false,
            legs: Vec::new(),
            agent: None,
            portal_call_id: None,
            hold_unknown: false,
        }
    }
}
