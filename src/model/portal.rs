//! What a portal (Bitrix24) says of a call that it carries, and what came of hearing it.
//!
//! The portal speaks by HTTP, late, once, in any order, and names no SIP Call-ID: its words are
//! matched to a call by line, number and time (Bitrix24 REST, telephony events).

/// One event of a portal, checked for who sent it and not for what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalEvent {
    /// The portal's id in our configuration.
    pub portal: String,
    /// The portal's id of the call (`CALL_ID`).
    pub call_id: String,
    /// When the portal says that it happened: whole seconds since 1970 on its clock (`ts`).
    pub ts: i64,
    /// What happened.
    pub what: PortalWhat,
}

/// What happened at the portal. Values are the portal's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortalWhat {
    /// A call began (`ONVOXIMPLANTCALLINIT`).
    Init {
        /// `CALL_TYPE`: 1 outgoing, 2 incoming, 3 redirected, 4 callback, 5 info-call.
        kind: u8,
        /// `ACCOUNT_SEARCH_ID`: the line, as `sip12`; empty where none is named.
        line: String,
        /// `CALLER_ID`: on an incoming call the customer's number.
        caller: String,
        /// `PHONE_NUMBER`: on an incoming call the number that was dialled.
        called: String,
    },
    /// An agent answered (`ONVOXIMPLANTCALLSTART`).
    Start {
        /// `USER_ID` of the agent.
        user: String,
    },
    /// The call ended and is in the portal's history (`ONVOXIMPLANTCALLEND`).
    End {
        /// `PORTAL_USER_ID`; empty: none.
        user: String,
        /// `CALL_FAILED_CODE`: 200, 304, 603 and so on; empty: not said.
        code: String,
        /// `CALL_DURATION`, seconds.
        duration_s: u32,
    },
}

/// What came of one portal event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Heard {
    /// It belongs to a call and was used.
    Matched,
    /// Several calls fitted; the one nearest in time was taken.
    Ambiguous,
    /// It has been heard before.
    Repeated,
    /// It belongs to a call that is settled.
    Late,
    /// It came before the event that names its call; kept for a while.
    Early,
    /// It fits no call of ours.
    Unmatched,
    /// Its time contradicts the call's own: used as far as the call's times allow.
    Skewed,
    /// Of a kind that is not for us.
    Ignored,
    /// It does not carry the portal's token. Answered 403.
    Forged,
    /// It cannot be read. Answered 400.
    Malformed,
    /// The engine could not take it. Answered 503.
    Refused,
}

impl Heard {
    /// All of them, so that a metric exists before its first event.
    pub const ALL: [Self; 11] = [
        Self::Matched,
        Self::Ambiguous,
        Self::Repeated,
        Self::Late,
        Self::Early,
        Self::Unmatched,
        Self::Skewed,
        Self::Ignored,
        Self::Forged,
        Self::Malformed,
        Self::Refused,
    ];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Ambiguous => "ambiguous",
            Self::Repeated => "repeated",
            Self::Late => "late",
            Self::Early => "early",
            Self::Unmatched => "unmatched",
            Self::Skewed => "skewed",
            Self::Ignored => "ignored",
            Self::Forged => "forged",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
        }
    }
}
