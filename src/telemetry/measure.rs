//! The names of the histograms and of the windows over them.

use std::fmt;
use std::str::FromStr;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// INVITE read on A to INVITE handed out on B.
    InviteForward,
    /// A response above 100 read on B to its counterpart handed out on A.
    ResponseForward,
    /// BYE read on one leg to BYE handed out on the other.
    ByeForward,
    /// INVITE read to our 100 handed out.
    Sip100,
    /// RTP packet received by the kernel to the send that forwards it returning.
    RtpForward,
    /// One append of a batch to the journal.
    JournalAppend,
    /// INVITE to the agent's answer (trunk view); answered calls only.
    Queue,
    /// The agent's answer to the end.
    Connect,
    /// INVITE to the platform's answer.
    Setup,
    /// Connect time without the time on hold.
    Talk,
    /// A fact to the 2xx of the webhook that was told of it.
    CallbackDone,
    /// An event of a portal read to its answer handed out.
    Hook,
    /// OPTIONS handed to the kernel to the answer of the trunk received.
    TrunkRtt,
}

impl Measure {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 13] = [
        Self::InviteForward,
        Self::ResponseForward,
        Self::ByeForward,
        Self::Sip100,
        Self::RtpForward,
        Self::JournalAppend,
        Self::Setup,
        Self::Queue,
        Self::Connect,
        Self::Talk,
        Self::CallbackDone,
        Self::Hook,
        Self::TrunkRtt,
    ];

    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InviteForward => "invite_forward",
            Self::ResponseForward => "response_forward",
            Self::ByeForward => "bye_forward",
            Self::Sip100 => "sip_100",
            Self::RtpForward => "rtp_forward",
            Self::JournalAppend => "journal_append",
            Self::Queue => "queue",
            Self::Connect => "connect",
            Self::Setup => "setup",
            Self::Talk => "talk",
            Self::CallbackDone => "callback_done",
            Self::Hook => "hook",
            Self::TrunkRtt => "trunk_rtt",
        }
    }

    /// Upper bounds of the Prometheus buckets, nanoseconds: spans of people for calls, of networks
    /// that come and go for callbacks, of machines for the rest.
    pub(crate) const fn bounds_ns(self) -> &'static [u64] {
        const US: u64 = 1_000;
        const MS: u64 = 1_000_000;
        const S: u64 = 1_000_000_000;
        match self {
            Self::Queue | Self::Connect | Self::Setup | Self::Talk => &[
                100 * MS,
                250 * MS,
                500 * MS,
                S,
                2 * S,
                5 * S,
                10 * S,
                15 * S,
                20 * S,
                30 * S,
                45 * S,
                60 * S,
                120 * S,
                300 * S,
                600 * S,
                1800 * S,
                3600 * S,
            ],
            Self::CallbackDone => &[
                5 * MS,
                10 * MS,
                25 * MS,
                50 * MS,
                100 * MS,
                250 * MS,
                500 * MS,
                S,
                2 * S + 500 * MS,
                5 * S,
                10 * S,
                30 * S,
                60 * S,
                300 * S,
                900 * S,
                3600 * S,
            ],
            _ => &[
                US,
                2 * US + 500,
                5 * US,
                10 * US,
                25 * US,
                50 * US,
                100 * US,
                250 * US,
                500 * US,
                MS,
                2 * MS + 500 * US,
                5 * MS,
                10 * MS,
                25 * MS,
                50 * MS,
                100 * MS,
                S,
            ],
        }
    }
}

/// A name that names nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such name")]
pub struct Unknown;

impl FromStr for Measure {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        Self::ALL.into_iter().find(|measure| measure.name() == text).ok_or(Unknown)
    }
}

/// How far back to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last minute, in slices of 10 s.
    Minute,
    /// The last five minutes, in slices of 10 s.
    FiveMinutes,
    /// The last hour, in slices of a minute.
    Hour,
    /// Since the start of the node or the last reset.
    All,
}

impl Window {
    /// All of them, shortest first.
    pub const ALL: [Self; 4] = [Self::Minute, Self::FiveMinutes, Self::Hour, Self::All];

    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::All => "all",
        }
    }
}

impl FromStr for Window {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        Self::ALL.into_iter().find(|window| window.name() == text).ok_or(Unknown)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
