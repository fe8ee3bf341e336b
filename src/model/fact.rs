//! Everything worth recording about a call, in the past tense.
//!
//! Facts are written to the journal before the message that they belong to leaves, and are read by
//! everyone else (CDR, telemetry, console, callbacks) only from there. The CBOR shape is kept for
//! ever: numbers are never reused, new fields are optional.

use std::net::SocketAddr;

use minicbor::{Decode, Encode};

use crate::account::{Account, AnswerSource, Role};
use crate::ids::{CallId, Side};
use crate::media::{Quality, StreamStats};
use crate::moment::Moment;

/// One fact of one call.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Fact {
    /// The call.
    #[n(0)]
    pub call: CallId,
    /// Place of the fact in its call, from 0 without gaps.
    #[n(1)]
    pub seq: u32,
    /// When it came about.
    #[n(2)]
    pub at: Moment,
    /// What came about.
    #[n(3)]
    pub what: What,
}

/// What can come about.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum What {
    /// A trunk offered a call.
    #[n(0)]
    Invited {
        /// The trunk's name.
        #[n(0)]
        trunk: String,
        /// Where the INVITE came from.
        #[n(1)]
        source: String,
        /// Call-ID on A.
        #[n(2)]
        sip_call_id: String,
        /// The caller as the profile reads it.
        #[n(3)]
        customer: String,
        /// The user dialled.
        #[n(4)]
        called: String,
        /// The dialer's own id of the call, where its profile reads one.
        #[n(5)]
        external_id: Option<String>,
        /// The dialer's campaign, where its profile reads one.
        #[n(6)]
        autodialer: Option<String>,
    },
    /// An INVITE towards B was handed out.
    #[n(1)]
    Forwarded {
        /// The target trunk's name.
        #[n(0)]
        trunk: String,
        /// The route's name.
        #[n(1)]
        route: String,
        /// What the call is for.
        #[n(2)]
        role: Role,
        /// The owned number presented or named.
        #[n(3)]
        did: String,
        /// Which rule chose it.
        #[n(4)]
        did_rule: String,
        /// The how-manieth try, from 1.
        #[n(5)]
        attempt: u32,
        /// Call-ID on B.
        #[n(6)]
        sip_call_id: String,
    },
    /// B rang.
    #[n(2)]
    Ringing {
        /// 180 to 189.
        #[n(0)]
        code: u16,
        /// It carried SDP: early media.
        #[n(1)]
        early_media: bool,
    },
    /// B gave its 2xx.
    #[n(3)]
    PlatformAnswered {},
    /// The agent (or, on a customer-leg, the customer) answered.
    #[n(4)]
    AgentAnswered {
        /// How that is known.
        #[n(0)]
        source: AnswerSource,
        /// Half width of the uncertainty, milliseconds.
        #[n(1)]
        err_ms: u32,
        /// The portal's id of the agent, where the portal said it.
        #[n(2)]
        agent: Option<String>,
    },
    /// RTP has been forwarded both ways at or after the agent's answer.
    #[n(5)]
    Bridged {},
    /// A side put the other on hold.
    #[n(6)]
    Held {
        /// Who did.
        #[n(0)]
        by: Side,
    },
    /// The hold ended.
    #[n(7)]
    Resumed {
        /// Who had held.
        #[n(0)]
        by: Side,
    },
    /// The call is over; its account is complete but for the media figures.
    #[n(8)]
    Ended {
        /// The sealed account.
        #[n(0)]
        account: Box<Account>,
    },
    /// The relay's figures, after the end.
    #[n(9)]
    Measured {
        /// From A.
        #[n(0)]
        a: StreamStats,
        /// From B.
        #[n(1)]
        b: StreamStats,
    },
    /// How the call has sounded for some seconds.
    #[n(36)]
    Sampled {
        /// From A.
        #[n(0)]
        a: Quality,
        /// From B.
        #[n(1)]
        b: Quality,
    },
    /// The first packet of a side was accepted.
    #[n(10)]
    MediaStarted {
        /// Whose.
        #[n(0)]
        side: Side,
    },
    /// The portal's call that this call is was found.
    #[n(11)]
    PortalLinked {
        /// The portal's id in our configuration.
        #[n(0)]
        portal: String,
        /// The portal's id of the call.
        #[n(1)]
        portal_call_id: String,
    },
    /// A restart fell into an answered call, and it goes on.
    #[n(35)]
    Revived {
        /// The account so far.
        #[n(0)]
        account: Box<Account>,
        /// Who holds, if it is held.
        #[n(1)]
        held_by: Option<Side>,
    },
    /// An operator had one side asked to go on with somebody else.
    #[n(49)]
    TransferAsked {
        /// Who was asked.
        #[n(0)]
        side: Side,
        /// The URI that it was given.
        #[n(1)]
        target: String,
    },
    /// What came of a transfer that an operator ordered.
    #[n(50)]
    TransferEnded {
        /// The last status that the side told; 0: it was not asked, or told none.
        #[n(0)]
        code: u16,
        /// In words.
        #[n(1)]
        why: String,
    },
    /// The portal's word changed the account after the end: this one replaces it.
    #[n(12)]
    Amended {
        /// The account as it is now.
        #[n(0)]
        account: Box<Account>,
    },
}

/// A request refused before it became a call; counted, logged, never a CDR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// When.
    pub at: Moment,
    /// Who asked.
    pub source: SocketAddr,
    /// The status sent; zero: dropped without an answer.
    pub code: u16,
    /// Why.
    pub why: Refusal,
}

/// Why a request was refused (or a datagram dropped) before it became a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The source belongs to no trunk.
    UnknownSource,
    /// Not SIP, or broken.
    Malformed,
    /// A limit was reached: calls a second, sessions, ports.
    Limit,
    /// The node does not keep up with the calls that come.
    Overload,
    /// A copy of an INVITE that has been refused with 503.
    Repeated,
    /// The node is draining.
    Draining,
    /// No route takes it.
    NoRoute,
    /// The policy forbids it (caller-ID, blacklist, emergency).
    Policy,
    /// Max-Forwards was zero.
    MaxForwards,
    /// Our own request came back.
    Loop,
    /// The same request by another path (RFC 3261, 8.2.2.2).
    Merged,
    /// A method or extension that we do not support.
    Unsupported,
    /// In no dialog or transaction that we know.
    NoDialog,
    /// The media cannot be agreed on.
    Media,
    /// Asked to prove who it is, as is usual: no fault.
    Challenged,
    /// Did not prove who it is.
    Unauthorized,
    /// An operator has disabled its trunk.
    Disabled,
}

impl Refusal {
    /// All of them, so that a metric exists before its first event.
    pub const ALL: [Self; 17] = [
        Self::UnknownSource,
        Self::Malformed,
        Self::Limit,
        Self::Overload,
        Self::Repeated,
        Self::Draining,
        Self::NoRoute,
        Self::Policy,
        Self::MaxForwards,
        Self::Loop,
        Self::Merged,
        Self::Unsupported,
        Self::NoDialog,
        Self::Media,
        Self::Challenged,
        Self::Unauthorized,
        Self::Disabled,
    ];

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownSource => "unknown_source",
            Self::Malformed => "malformed",
            Self::Limit => "limit",
            Self::Overload => "overload",
            Self::Repeated => "repeated",
            Self::Draining => "draining",
            Self::NoRoute => "no_route",
            Self::Policy => "policy",
            Self::MaxForwards => "max_forwards",
            Self::Loop => "loop",
            Self::Merged => "merged",
            Self::Unsupported => "unsupported",
            Self::NoDialog => "no_dialog",
            Self::Media => "media",
            Self::Challenged => "challenged",
            Self::Unauthorized => "unauthorized",
            Self::Disabled => "disabled",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_reads_back_from_its_bytes() {
        let call = CallId::new(1, 2);
        let at = Moment::new(3, 4);
        let account = Box::new(Account::new(call, "syd-1", at));
        let fact = Fact { call, seq: 7, at, what: What::Ended { account } };
        let bytes = minicbor::to_vec(&fact).unwrap();
        assert_eq!(minicbor::decode::<Fact>(&bytes).unwrap(), fact);
    }
}
