//! The plan: the whole configuration of the signalling plane as one immutable value.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cooee_model::account::Role;
use ipnet::IpNet;
use secrecy::SecretString;

use crate::message::transport::Transport;
use crate::profile::decision::{AnswerPolicy, Propagation};
use crate::profile::fence::Fence;
use crate::profile::filter::Condition;
use crate::profile::number::Numbers;
use crate::profile::policy::{Blacklist, WorkTime};
use crate::profile::rules::Profile;
use crate::profile::session_timer::SessionTimer;
pub use crate::profile::settings::{Ping, Refer, Reliable, Settings};
use crate::profile::zone::Zone;

/// The configuration of the signalling plane. A call keeps to the profiles of the plan that it was
/// decided by; secrets, access lists and limits are always those of the plan in force.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Grows with each change.
    pub revision: u32,
    /// Who we are.
    pub node: Node,
    /// Peers, by the order of the configuration; names are unique.
    pub trunks: Vec<Trunk>,
    /// Routes, first match wins; names are unique.
    pub routes: Vec<Route>,
    /// The numbers that we may present.
    pub dids: Vec<Did>,
    /// `maps/autodialers.csv`, active rows.
    pub autodialers: Vec<Autodialer>,
    /// `maps/agents.csv`, active rows.
    pub agents: Vec<Agent>,
    /// How a number to present is chosen.
    pub caller_id: CallerIdRules,
    /// What may not be called or taken, and when.
    pub policy: Policy,
    /// When the next target is tried.
    pub retry: Retry,
    /// Timers and limits of the node.
    pub settings: Settings,
    /// Portals that speak of our calls.
    pub portals: Vec<Portal>,
}

impl Plan {
    /// The trunk whose allow list holds `source`. Where lists overlap, the narrowest network wins.
    pub fn trunk_of(&self, source: IpAddr) -> Option<usize> {
        let source = source.to_canonical();
        let mut best: Option<(u8, usize)> = None;
        for (at, trunk) in self.trunks.iter().enumerate() {
            for net in trunk.allow.iter().filter(|net| net.contains(&source)) {
                if best.is_none_or(|(length, _)| net.prefix_len() > length) {
                    best = Some((net.prefix_len(), at));
                }
            }
        }
        best.map(|(_, at)| at)
    }

    /// Whether a trunk's allow list holds `source`.
    pub fn allows(&self, trunk: usize, source: IpAddr) -> bool {
        let trunk = self.trunks.get(trunk);
        trunk.is_some_and(|t| t.allow.iter().any(|net| net.contains(&source)))
    }

    /// Whether any customer of its carrier can call by this trunk: its addresses are shared and
    /// nothing else fences it.
    pub fn is_anybody(&self, trunk: usize) -> bool {
        self.trunks.get(trunk).is_some_and(|t| t.shared_source && t.fence.is_open())
    }

    /// The trunk with this name.
    pub fn trunk(&self, name: &str) -> Option<&Trunk> {
        self.trunks.iter().find(|t| t.name == name)
    }

    /// How a trunk is asked whether it is there.
    pub fn ping_of(&self, trunk: usize) -> Ping {
        let own = self.trunks.get(trunk).and_then(|t| t.options_ping);
        own.unwrap_or(self.settings.options_ping)
    }

    /// The longest request that a trunk is sent over UDP, bytes; 0: any.
    pub fn udp_max(&self, trunk: &str) -> usize {
        let own = self.trunk(trunk).and_then(|t| t.udp_max);
        usize::try_from(own.unwrap_or(self.settings.udp_max)).unwrap_or(usize::MAX)
    }

    /// What a trunk wants of session timers: its profile's word, else the node's.
    pub fn session_timer(&self, trunk: &str) -> SessionTimer {
        let own = self.trunk(trunk).and_then(|t| t.profile.behaviour.session_timer);
        own.unwrap_or(self.settings.session_timer)
    }

    /// The place of the trunk with this name in [`Plan::trunks`].
    pub fn trunk_at(&self, name: &str) -> Option<usize> {
        self.trunks.iter().position(|t| t.name == name)
    }
}

/// Who we are towards peers.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// The node's name in CDRs and metrics.
    pub id: String,
    /// What we write as our own host in identity headers: the advertised address.
    pub host: String,
}

/// One peer.
#[derive(Clone, Debug, Default)]
pub struct Trunk {
    /// Its name.
    pub name: String,
    /// Its rules.
    pub profile: Arc<Profile>,
    /// Its own words in the profile's templates.
    pub vars: BTreeMap<String, String>,
    /// Where its signalling comes from.
    pub allow: Vec<IpNet>,
    /// Those addresses serve others too: by themselves they open no customer-leg.
    pub shared_source: bool,
    /// What its calls must prove beside their address.
    pub fence: Fence,
    /// Where its media may come from beside the address in its SDP: NATed peers.
    pub media_allow: Arc<[IpNet]>,
    /// Where its calls are sent, in order.
    pub peers: Vec<Peer>,
    /// The user that answers its challenges.
    pub login: Option<String>,
    /// The password of `login`.
    pub secret: Option<SecretString>,
    /// The realm whose challenges are answered; `None`: pinned at the first challenge.
    pub realm: Option<String>,
    /// Lines that we keep registered there.
    pub registrations: Vec<Registration>,
    /// What it may use.
    pub limits: Limits,
    /// How it is asked whether it is there; `None`: as the node's settings say.
    pub options_ping: Option<Ping>,
    /// The longest request that it is sent over UDP; `None`: as the node's settings say.
    pub udp_max: Option<u32>,
    /// The portal whose line this trunk is; `None`: no portal speaks of its calls.
    pub portal: Option<PortalLine>,
}

/// A line of a portal: what its events name (`ACCOUNT_SEARCH_ID`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalLine {
    /// The portal's id.
    pub portal: String,
    /// The line, as `sip12`.
    pub line: String,
}

/// A portal that speaks of our calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// Its id.
    pub id: String,
    /// How long after the end of a call its events are still taken.
    pub settle: Duration,
    /// How far before its stamp an event may have happened: the portal's own delay.
    pub slack: Duration,
}

/// Where a trunk's calls are sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// By which transport; `None`: as DNS says (RFC 3263, 4.1), else UDP.
    pub transport: Option<Transport>,
    /// Host name or address; IPv6 without brackets.
    pub host: String,
    /// `None`: as DNS says (RFC 3263, 4.2), else the transport's own.
    pub port: Option<u16>,
}

impl Peer {
    /// Host, and port where it is given, as a URI writes them.
    pub fn authority(&self) -> String {
        let v6 = self.host.contains(':');
        let (open, close) = if v6 { ("[", "]") } else { ("", "") };
        match self.port {
            Some(port) if port != 5060 => format!("{open}{}{close}:{port}", self.host),
            _ => format!("{open}{}{close}", self.host),
        }
    }
}

/// A line that we keep registered with a trunk.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The address of record's user, the digest user, and our Contact user.
    pub user: String,
    /// Its password.
    pub secret: SecretString,
    /// Where REGISTER goes.
    pub registrar: Peer,
    /// Asked for, seconds.
    pub expires_s: u32,
    /// Spread of the refresh, per cent.
    pub jitter_pct: u8,
    /// Calls that it carries at a time.
    pub max_calls: u32,
}

/// What one trunk may use; `None`: only the node's own limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// New calls a second.
    pub cps: Option<u32>,
    /// Calls at a time.
    pub sessions: Option<u32>,
}

/// A number that we may present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Did {
    /// E.164 digits without `+`.
    pub digits: String,
    /// `NSW`, `ACT`, `VIC`, `TAS`, `QLD`, `SA`, `WA`, `NT`, or `ANY`.
    pub state: String,
    /// We hold the rights to it; without them it is never presented.
    pub owned: bool,
    /// Free words.
    pub tags: Vec<String>,
}

/// A row of `maps/autodialers.csv`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Autodialer {
    /// Its id at the dialer; `*`: any other.
    pub id: String,
    /// The initiative (campaign) behind it.
    pub initiative: String,
    /// The trunk of its queue.
    pub trunk: String,
    /// E.164 digits of its number; empty: none of its own.
    pub did: String,
    /// The queue's name.
    pub queue: String,
    /// Digits that reach one agent; empty: none.
    pub direct_code: String,
    /// The portal that it works for.
    pub portal: String,
}

/// A row of `maps/agents.csv`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// Inner number.
    pub extension: String,
    /// The user's id in Bitrix24.
    pub bitrix24_user_id: u64,
    /// The agent's line at the dialer.
    pub unitalk_line: String,
    /// The agent's name.
    pub name: String,
    /// The agent's state.
    pub state: String,
}

/// A route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// What its calls are for.
    pub role: Role,
    /// Name of the trunk that it takes calls from; empty: any.
    pub from: String,
    /// Which of those calls.
    pub when: Condition,
    /// Who is tried, in order.
    pub chain: Vec<Hop>,
    /// How the agent's answer is found out.
    pub answer_source: AnswerPolicy,
    /// When A gets its 200.
    pub propagation: Propagation,
    /// The customer's number is written although A asked for it to be withheld.
    pub override_privacy: bool,
}

/// One link of a route's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Who.
    pub to: HopTo,
    /// How long it may ring, seconds.
    pub timeout_s: u32,
    /// How long it may take from its answer to the agent's, seconds; 0: any time.
    pub agent_timeout_s: u32,
}

/// Who a link of a chain names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HopTo {
    /// The trunk with this name.
    Trunk(String),
    /// The trunk of the autodialer's row in the map.
    QueueMap,
    /// A target that needs a part that is not built into the signalling plane; it is passed over.
    PassedOver(String),
}

impl fmt::Display for HopTo {
    /// As the configuration writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trunk(name) => write!(f, "trunk:{name}"),
            Self::QueueMap => f.write_str("queue:map"),
            Self::PassedOver(what) => write!(f, "{what} (not used yet)"),
        }
    }
}

/// How a number to present is chosen (product definition 7.2).
#[derive(Clone, Debug)]
pub struct CallerIdRules {
    /// E.164 digits of the number that is presented when no other rule yields.
    pub default: String,
    /// The rules in their order.
    pub strategy: Vec<Strategy>,
    /// What happens when the caller number that A asks for is not ours.
    pub assert: Assert,
    /// How long a customer keeps seeing the same number, days.
    pub sticky_days: u32,
    /// Calls one number may make a day; 0: any.
    pub max_calls_per_did_per_day: u32,
    /// What happens past that.
    pub on_cap: OnCap,
}

impl Default for CallerIdRules {
    fn default() -> Self {
        Self {
            default: String::new(),
            strategy: vec![
                Strategy::Sticky,
                Strategy::Campaign,
                Strategy::LocalPresence,
                Strategy::Default,
            ],
            assert: Assert::Rewrite,
            sticky_days: 30,
            max_calls_per_did_per_day: 0,
            on_cap: OnCap::Next,
        }
    }
}

/// One rule that may yield a number to present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// What this customer last saw.
    Sticky,
    /// The number of the autodialer's row.
    Campaign,
    /// A number of the customer's state.
    LocalPresence,
    /// What A asked for, if it is ours.
    Requested,
    /// The default.
    Default,
}

impl Strategy {
    /// The name in the configuration and in CDRs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sticky => "sticky",
            Self::Campaign => "campaign",
            Self::LocalPresence => "local-presence",
            Self::Requested => "requested",
            Self::Default => "default",
        }
    }
}

/// What happens when the caller number that A asks for is not ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assert {
    /// Ours is written in its place.
    #[default]
    Rewrite,
    /// The call is refused.
    Reject,
    /// As `Rewrite`, and the log says so.
    Log,
}

/// What happens when a number has made its calls of the day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCap {
    /// The next rule is asked.
    #[default]
    Next,
    /// The call is refused.
    Reject,
}

/// What may not be called or taken, and when.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// How bare national numbers are read where the profile does not say.
    pub numbers: Numbers,
    /// A customer-leg call to what is no number is refused.
    pub reject_unparsable: bool,
    /// Numbers that are refused.
    pub blacklist: Blacklist,
    /// When the business is open; `None`: always.
    pub work_time: Option<WorkTime>,
    /// Customer-leg calls keep the hours that Australian telemarketing permits.
    pub au_telemarketing: bool,
    /// The zone of `weekday` and `hour` in conditions.
    pub zone: Zone,
}

/// When the next target is tried, by the result of the B leg before any answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Status codes that lead to the next target.
    pub next_target_on: Vec<u16>,
    /// No answer in time leads to the next target.
    pub on_timeout: bool,
    /// A fault of the transport leads to the next target.
    pub on_transport: bool,
    /// Status codes that end the call whatever else is said.
    pub give_up_on: Vec<u16>,
    /// Networks that a redirection (3xx) may lead to; empty: none is followed.
    pub redirect_allow: Vec<IpNet>,
    /// A target from which nothing has come for so long is given up for the next one, seconds.
    pub no_response_s: u32,
    /// Longest rest that a 503 with `Retry-After` may ask for, seconds; 0: it asks in vain.
    pub retry_after_max_s: u32,
}

impl Retry {
    /// Whether the next target is tried after this final code.
    pub fn after(&self, code: u16) -> bool {
        self.next_target_on.contains(&code) && !self.give_up_on.contains(&code)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            next_target_on: vec![408, 480, 500, 502, 503, 504],
            on_timeout: true,
            on_transport: true,
            give_up_on: vec![403, 404, 484, 486, 603, 604, 607, 608],
            redirect_allow: Vec::new(),
            no_response_s: 4,
            retry_after_max_s: 3600,
        }
    }
}
