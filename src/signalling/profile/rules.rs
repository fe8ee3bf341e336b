//! One profile as data: what `sip-profiles/<name>.toml` says about a kind of trunk.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cooee_model::account::Role;

use crate::message::transport::Transport;
use crate::profile::header::Patterns;
use crate::profile::number::{Context, Format};
use crate::profile::rewrite::Rewrite;
use crate::profile::session_timer::SessionTimer;
use crate::profile::source::Source;
use crate::profile::template::Template;

/// The rules of one kind of trunk.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Which way calls go.
    pub kind: Kind,
    /// What the authors could check: `verified`, `observed` or `unverified`.
    pub status: String,
    /// The roles that it can serve as a target; empty: both.
    pub roles: Vec<Role>,
    /// Transports in the order of preference.
    pub prefer: Vec<Transport>,
    /// The address family of its peers.
    pub ip_family: IpFamily,
    /// Who proves what to whom.
    pub auth: Auth,
    /// Where facts are read.
    pub read: Reading,
    /// How facts are written.
    pub write: Writing,
    /// How bare numbers are read.
    pub context: Context,
    /// How `{customer}`, `{did}` and `{to}` without a form are written.
    pub format: Format,
    /// What it can and wants in SDP.
    pub media: MediaRules,
    /// Its habits.
    pub behaviour: Behaviour,
    /// How we register there, if we do.
    pub register: Option<RegisterRules>,
}

impl Profile {
    /// Whether calls can come from it.
    pub fn takes_calls(&self) -> bool {
        self.kind != Kind::Outbound
    }

    /// Whether calls can go to it.
    pub fn makes_calls(&self) -> bool {
        matches!(self.kind, Kind::Outbound | Kind::Both)
    }

    /// Whether it can serve `role` as a target.
    pub fn serves(&self, role: Role) -> bool {
        self.roles.is_empty() || self.roles.contains(&role)
    }
}

/// Which way calls go on a trunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// It calls us.
    Inbound,
    /// We call it.
    Outbound,
    /// Both.
    #[default]
    Both,
    /// It calls us as a registered line of its own.
    RegisterInbound,
}

impl Kind {
    /// The name that profiles use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "peer-inbound",
            Self::Outbound => "peer-outbound",
            Self::Both => "peer-both",
            Self::RegisterInbound => "register-inbound",
        }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpFamily {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Either.
    #[default]
    Any,
}

impl IpFamily {
    /// Whether an address is of this family.
    pub fn holds(self, ip: IpAddr) -> bool {
        match self {
            Self::V4 => ip.to_canonical().is_ipv4(),
            Self::V6 => ip.to_canonical().is_ipv6(),
            Self::Any => true,
        }
    }
}

/// Who proves what to whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// The peer's calls are challenged by digest with the trunk's login and secret, unless the
    /// trunk says otherwise.
    pub challenge: bool,
    /// We answer its digest challenges with the trunk's login and secret.
    pub answer: bool,
    /// Its addresses serve all customers of the carrier, so an address proves nothing.
    pub shared_source: bool,
}

/// Where facts are read in the peer's INVITE; the first source that is present wins.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The person outside.
    pub customer: Vec<Source>,
    /// The number that the peer wants to be presented.
    pub requested_cli: Vec<Source>,
    /// The autodialer, key of the map.
    pub autodialer: Vec<Source>,
    /// The peer's own name of the call.
    pub external_id: Vec<Source>,
    /// Our registered line that was called.
    pub line: Vec<Source>,
}

/// How facts are written into our INVITE. An empty template: the header is not sent.
#[derive(Clone, Debug, Default)]
pub struct Writing {
    /// Request-URI.
    pub request_uri: Template,
    /// The To URI.
    pub to: Template,
    /// The user part of From.
    pub from_user: Template,
    /// The display name of From.
    pub from_display: Template,
    /// The host part of From; empty: our own host.
    pub from_host: Template,
    /// The user part of Contact; empty: our own number.
    pub contact_user: Template,
    /// P-Asserted-Identity.
    pub pai: Template,
    /// Remote-Party-ID.
    pub rpid: Template,
    /// Diversion.
    pub diversion: Template,
    /// Privacy.
    pub privacy: Template,
    /// Further headers, in the order of their names.
    pub headers: Vec<(String, Template)>,
    /// What is done to all headers at the end, in order.
    pub rewrite: Vec<Rewrite>,
}

impl Writing {
    /// Every slot that the INVITE always has or may have, with the name that profiles use.
    pub fn slots(&self) -> impl Iterator<Item = (&str, &Template)> {
        [
            ("request_uri", &self.request_uri),
            ("to", &self.to),
            ("from_user", &self.from_user),
            ("from_display", &self.from_display),
            ("from_host", &self.from_host),
            ("contact_user", &self.contact_user),
            ("pai", &self.pai),
            ("rpid", &self.rpid),
            ("diversion", &self.diversion),
            ("privacy", &self.privacy),
        ]
        .into_iter()
        .chain(self.headers.iter().map(|(name, template)| (name.as_str(), template)))
        .chain(self.rewrite.iter().filter_map(|verb| match verb {
            Rewrite::Set { name, value } => Some((name.as_str(), value)),
            _ => None,
        }))
    }
}

/// What a trunk can and wants in SDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRules {
    /// Codecs that may be offered, by their SDP names; empty: whatever the other side has.
    pub codecs: Vec<String>,
    /// Packet length, milliseconds.
    pub ptime_ms: u16,
    /// How digits travel.
    pub dtmf: Dtmf,
    /// Media before the answer crosses.
    pub early_media: bool,
    /// Where its media may come from.
    pub source: MediaSource,
}

impl Default for MediaRules {
    fn default() -> Self {
        Self {
            codecs: Vec::new(),
            ptime_ms: 20,
            dtmf: Dtmf::Rfc4733,
            early_media: true,
            source: MediaSource::Sdp,
        }
    }
}

/// How digits travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dtmf {
    /// As telephone-event packets.
    #[default]
    Rfc4733,
    /// By INFO.
    Info,
    /// As tones in the audio.
    Inband,
}

/// Where a peer's media may come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaSource {
    /// Signalling and media come from different networks: only the SDP names the address, and it
    /// may be any.
    Any,
    /// The address that the SDP names.
    #[default]
    Sdp,
}

/// Who has answered when the peer gives its 2xx.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerMeans {
    /// A platform that then looks for an agent.
    Platform,
    /// The agent.
    #[default]
    Agent,
    /// The person who was called.
    Customer,
}

/// Whether the peer's Reason header is believed over its status code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrustReason {
    /// Always.
    #[default]
    Always,
    /// Never.
    Never,
    /// Only when nobody had answered.
    UnlessAnswered,
}

/// Digits sent into the peer's greeting to reach one agent.
#[derive(Clone, Debug)]
pub struct DirectCode {
    /// After the answer, milliseconds.
    pub after_ms: u32,
    /// Which digits.
    pub digits: Template,
}

/// The habits of a peer.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Who has answered when it gives its 2xx.
    pub answer_means: AnswerMeans,
    /// It signals a hold by re-INVITE; else a hold may be heard in the media alone.
    pub signals_hold: bool,
    /// Whether its Reason is believed.
    pub trust_reason: TrustReason,
    /// Status codes that are told to it as another code.
    pub error_map: BTreeMap<u16, u16>,
    /// It takes `Require: 100rel` and wants it.
    pub require_100rel: bool,
    /// Its session timers, where they are not the node's.
    pub session_timer: Option<SessionTimer>,
    /// It may transfer calls by REFER.
    pub accept_refer: bool,
    /// It carries out a REFER of ours, so that an operator may transfer its calls.
    pub takes_refer: bool,
    /// Its messages carry Session-ID (RFC 7989), and what it says of itself there crosses.
    pub session_id: bool,
    /// A 487 may come seconds after the end.
    pub late_487_ok: bool,
    /// It answers OPTIONS, so its silence means that it is down.
    pub options_ping: bool,
    /// Longest display name that it bears, characters; 0: any.
    pub display_name_max: usize,
    /// It shows ASCII alone: names are written in Latin letters.
    pub display_name_ascii: bool,
    /// How long its greeting lasts, milliseconds; 0: not known.
    pub greeting_expected_ms: u32,
    /// Headers of its messages that cross to the other leg.
    pub pass: Patterns,
    /// Headers of its messages that never cross, whatever `pass` says.
    pub strip: Patterns,
    /// Digits sent into its greeting, if that is on.
    pub direct_code: Option<DirectCode>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            answer_means: AnswerMeans::Agent,
            signals_hold: true,
            trust_reason: TrustReason::Always,
            error_map: BTreeMap::new(),
            require_100rel: false,
            session_timer: None,
            accept_refer: false,
            takes_refer: false,
            session_id: false,
            late_487_ok: false,
            options_ping: true,
            display_name_max: 0,
            display_name_ascii: false,
            greeting_expected_ms: 0,
            pass: Patterns::default(),
            strip: Patterns::default(),
            direct_code: None,
        }
    }
}

/// How we register with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterRules {
    /// Asked for, seconds.
    pub expires_s: u32,
    /// Spread of the refresh, per cent.
    pub jitter_pct: u8,
    /// Calls that one line carries at a time.
    pub max_calls_per_line: u32,
}
