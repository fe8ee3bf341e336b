//! What was decided about a call, what is written of it, and how it came to be.

use std::fmt;

use cooee_model::account::Role;
use cooee_model::fact::Refusal;
use cooee_model::ids::CallId;
use minicbor::{Decode, Encode};

/// What a call pins: it travels in the call's snapshot and outlives the plan that it came from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Decision {
    /// Revision of the plan that decided.
    #[n(0)]
    pub revision: u32,
    /// The trunk that the call came from.
    #[n(1)]
    pub trunk: String,
    /// The route's name.
    #[n(2)]
    pub route: String,
    /// What the call is for.
    #[n(3)]
    pub role: Role,
    /// Who is tried, in order; never empty.
    #[n(4)]
    pub targets: Vec<Target>,
    /// The person outside.
    #[n(5)]
    pub customer: Identity,
    /// What was dialled: a number on a customer-leg, a label on an agent-leg.
    #[n(6)]
    pub called: Identity,
    /// The owned number that is presented or names the line: E.164 digits without `+`.
    #[n(7)]
    pub did: String,
    /// Which rule chose it: `sticky`, `campaign`, `local-presence`, `requested`, `default`.
    #[n(8)]
    pub did_rule: String,
    /// The autodialer, as the map knows it.
    #[n(9)]
    pub autodialer: Option<String>,
    /// The initiative of the autodialer.
    #[n(10)]
    pub campaign: Option<String>,
    /// The state of the customer's number: `NSW/ACT`, `VIC/TAS`, `QLD`, `SA/WA/NT`.
    #[n(11)]
    pub customer_state: Option<String>,
    /// The peer's own name of the call.
    #[n(12)]
    pub external_id: Option<String>,
    /// What A wrote, for profiles that change nothing.
    #[n(13)]
    pub original: Original,
    /// Headers of A's INVITE that cross to B.
    #[n(14)]
    pub crossing: Vec<Crossing>,
    /// How the agent's answer is found out.
    #[n(15)]
    pub answer_source: AnswerPolicy,
    /// When A gets its 200.
    #[n(16)]
    pub propagation: Propagation,
    /// A asked for its number to be withheld, and the route follows.
    #[n(17)]
    pub private: bool,
    /// The incoming caller number was not one of ours and the plan wants that logged.
    #[n(18)]
    pub foreign_cli: bool,
    /// Ends of numbers that A showed and that must appear nowhere on B (customer-leg).
    #[n(19)]
    pub hidden: Vec<String>,
}

impl Decision {
    /// Whether `text` holds a number that must not appear on B, however it is separated.
    pub fn hides(&self, text: &[u8]) -> bool {
        if self.hidden.is_empty() {
            return false;
        }
        let digits: String =
            text.iter().filter(|b| b.is_ascii_digit()).map(|&b| char::from(b)).collect();
        self.hidden.iter().any(|end| digits.contains(end.as_str()))
    }
}

/// One attempt of a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Target {
    /// The trunk's name.
    #[n(0)]
    pub trunk: String,
    /// How long it may ring, seconds.
    #[n(1)]
    pub timeout_s: u32,
    /// How long it may take from its answer to the agent's, seconds; 0: any time.
    #[n(2)]
    pub agent_timeout_s: u32,
    /// The queue's name, where the map gives one.
    #[n(3)]
    pub queue: Option<String>,
    /// The code that reaches one agent through the greeting, where the map gives one.
    #[n(4)]
    pub direct_code: Option<String>,
    /// The extension of the agent, where it is known.
    #[n(5)]
    pub extension: Option<String>,
}

/// Who somebody is on the telephone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Identity {
    /// An E.164 number: digits without `+`.
    #[n(0)]
    Number(#[n(0)] String),
    /// Something that is no number: a login, an extension, a service.
    #[n(1)]
    Label(#[n(0)] String),
    /// Not told.
    #[n(2)]
    Withheld,
}

impl Identity {
    /// Digits or label; empty where withheld.
    pub fn text(&self) -> &str {
        match self {
            Self::Number(text) | Self::Label(text) => text,
            Self::Withheld => "",
        }
    }

    /// The digits, if it is a number.
    pub fn digits(&self) -> Option<&str> {
        match self {
            Self::Number(digits) => Some(digits),
            Self::Label(_) | Self::Withheld => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(digits) => write!(f, "+{digits}"),
            Self::Label(label) => f.write_str(label),
            Self::Withheld => f.write_str("withheld"),
        }
    }
}

/// What A wrote. User parts are as written, escapes kept; nothing here can hold a line break.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Original {
    /// The user part of From.
    #[n(0)]
    pub from_user: String,
    /// The display name of From, escapes undone.
    #[n(1)]
    pub from_display: String,
    /// The host part of From.
    #[n(2)]
    pub from_host: String,
    /// The user part of To.
    #[n(3)]
    pub to_user: String,
    /// The display name of To, escapes undone.
    #[n(4)]
    pub to_display: String,
    /// The user part of the Request-URI.
    #[n(5)]
    pub ruri_user: String,
}

/// A header that crosses from A to B byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Crossing {
    /// Its name, in its long form where it has one.
    #[n(0)]
    pub name: String,
    /// Its value; folding may still be inside.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

/// How the agent's answer is found out (product definition 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum AnswerPolicy {
    /// By the portal's event with a media mark; without one, as the profile says.
    #[default]
    #[n(0)]
    Auto,
    /// By the portal's event alone.
    #[n(1)]
    B24Event,
    /// By B's 2xx.
    #[n(2)]
    Sip200,
    /// By the media alone.
    #[n(3)]
    Media,
}

/// When A gets its 200 (product definition 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Propagation {
    /// When B gives its 2xx.
    #[default]
    #[n(0)]
    Platform,
    /// When the agent answers; until then A hears early media.
    #[n(1)]
    Agent,
}

/// What composing needs beside the decision.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The call.
    pub call: CallId,
    /// Host (and port, where the trunk names one) of the peer that the INVITE goes to.
    pub peer_host: &'a str,
    /// Our own host in identity headers, where it is not the node's: a peer that is reached by
    /// the other IP family is told an address of its own.
    pub own_host: Option<&'a str>,
    /// The how-manieth try, from 1.
    pub attempt: u32,
}

/// The identity of the INVITE towards B. No value can hold CR, LF or NUL, and user parts and URIs
/// are escaped already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Request-URI.
    pub request_uri: String,
    /// The To URI, without angle brackets.
    pub to: String,
    /// The display name of From, plain text: to be quoted when written; empty: none.
    pub from_display: String,
    /// The user part of From, never empty.
    pub from_user: String,
    /// The host part of From.
    pub from_host: String,
    /// The user part of Contact, never empty.
    pub contact_user: String,
    /// Identity headers and the profile's own headers, ready to be written, in a stable order.
    pub headers: Vec<(String, String)>,
    /// Headers of A that cross as they are; none has a name that `headers` or the message itself
    /// writes.
    pub crossing: Vec<Crossing>,
}

impl Slots {
    /// The From URI, without angle brackets.
    pub fn from_uri(&self) -> String {
        format!("sip:{}@{}", self.from_user, self.from_host)
    }
}

/// Why an INVITE is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} {}: {reason}", .why.name())]
pub struct Refused {
    /// The status to answer with.
    pub code: u16,
    /// The kind of refusal.
    pub why: Refusal,
    /// For the log and the trail; names numbers only as far as the rule needs it.
    pub reason: String,
}

/// One step of a decision, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which rule.
    pub rule: String,
    /// What it looked at.
    pub saw: String,
    /// What it yielded.
    pub chose: String,
    /// Why.
    pub why: String,
}
