//! What webhooks are told: which facts are events, and the body of each.
//!
//! A body is made once, from the fact and from what earlier facts of the call said ([`Context`]),
//! and is kept: every attempt sends the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use cooee_model::account::Account;
use cooee_model::fact::{Fact, What};
use cooee_model::ids::Side;
use cooee_model::moment::Moment;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cdr::Cdr;
use crate::shown::rfc3339;

/// What comes before the kind in an event's type.
const TYPE: &str = "cooee.call.";

/// What webhooks can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// B rings.
    Ringing,
    /// B gave its 2xx.
    PlatformAnswered,
    /// The agent (or, on a customer-leg, the customer) answered.
    AgentAnswered,
    /// RTP goes both ways.
    Bridged,
    /// The call is over.
    Ended,
    /// What is known of a call that is over has changed.
    Amended,
}

impl Kind {
    /// All of them, in the order in which a call has them.
    pub const ALL: [Self; 6] = [
        Self::Ringing,
        Self::PlatformAnswered,
        Self::AgentAnswered,
        Self::Bridged,
        Self::Ended,
        Self::Amended,
    ];

    /// The name in the configuration and in the outbox.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ringing => "ringing",
            Self::PlatformAnswered => "platform_answered",
            Self::AgentAnswered => "agent_answered",
            Self::Bridged => "bridged",
            Self::Ended => "ended",
            Self::Amended => "amended",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What a fact is to a webhook; `None`: nothing.
    pub const fn of(what: &What) -> Option<Self> {
        match what {
            What::Ringing { .. } => Some(Self::Ringing),
            What::PlatformAnswered {} => Some(Self::PlatformAnswered),
            What::AgentAnswered { .. } => Some(Self::AgentAnswered),
            What::Bridged {} => Some(Self::Bridged),
            What::Ended { .. } => Some(Self::Ended),
            What::Amended { .. } => Some(Self::Amended),
            What::Invited { .. }
            | What::Forwarded { .. }
            | What::Held { .. }
            | What::Resumed { .. }
            | What::Measured { .. }
            | What::Sampled { .. }
            | What::MediaStarted { .. }
            | What::Revived { .. }
            | What::TransferAsked { .. }
            | What::TransferEnded { .. }
            | What::PortalLinked { .. } => None,
        }
    }
}

/// Who is told what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telling {
    /// The node's id.
    pub node: String,
    /// The webhooks.
    pub webhooks: Vec<Subscription>,
}

/// What one webhook is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The webhook's name.
    pub webhook: String,
    /// What it wants to hear.
    pub kinds: BTreeSet<Kind>,
}

impl Subscription {
    /// What `webhook` wants by the names of its kinds; no names: everything.
    pub fn new<N: AsRef<str>>(webhook: &str, names: &[N]) -> Self {
        let named = names.iter().filter_map(|name| Kind::from_name(name.as_ref()));
        let kinds = if names.is_empty() { Kind::ALL.into() } else { named.collect() };
        Self { webhook: webhook.to_owned(), kinds }
    }
}

/// What the events of a call need of its earlier facts. Kept in the database while the call lives,
/// so that a restart in the middle changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The INVITE, on both clocks: times of a call are told on the wall clock of its beginning.
    invite: Option<(u64, i64)>,
    customer: Option<String>,
    called: Option<String>,
    did: Option<String>,
    trunk_in: Option<String>,
    trunk_out: Option<String>,
    route: Option<String>,
    role: Option<String>,
    external_id: Option<String>,
    autodialer: Option<String>,
    /// Whether the call has ended.
    over: bool,
    /// The last sequence of each webhook.
    told: BTreeMap<String, u32>,
}

impl Context {
    /// Whether [`learn`](Self::learn) has to see such a fact.
    pub const fn heeds(what: &What) -> bool {
        matches!(what, What::Invited { .. } | What::Forwarded { .. }) || Kind::of(what).is_some()
    }

    /// Takes what a fact says of its call.
    pub fn learn(&mut self, fact: &Fact) {
        match &fact.what {
            What::Invited { trunk, customer, called, external_id, autodialer, .. } => {
                self.invite = Some((fact.at.mono, fact.at.wall));
                self.trunk_in = text(trunk);
                self.customer = text(customer);
                self.called = text(called);
                self.external_id.clone_from(external_id);
                self.autodialer.clone_from(autodialer);
            }
            What::Forwarded { trunk, route, role, did, .. } => {
                self.trunk_out = text(trunk);
                self.route = text(route);
                self.role = Some(role.name().to_owned());
                self.did = text(did);
            }
            What::Ended { account } | What::Amended { account } => self.learn_all(account),
            _ => {}
        }
    }

    /// The account of a call that is over knows everything, whatever was missed before.
    fn learn_all(&mut self, account: &Account) {
        let last = |side| account.legs.iter().rfind(|leg| leg.side == side);
        let trunk = |side| last(side).and_then(|leg| text(&leg.trunk));
        *self = Self {
            invite: Some((account.times.invite.mono, account.times.invite.wall)),
            customer: text(&account.customer),
            called: text(&account.called),
            did: text(&account.did),
            trunk_in: trunk(Side::A),
            trunk_out: trunk(Side::B),
            route: text(&account.route),
            role: account.role.map(|role| role.name().to_owned()),
            external_id: text(&account.external_id),
            autodialer: text(&account.autodialer),
            over: true,
            told: std::mem::take(&mut self.told),
        };
    }

    /// Whether the call has ended: only an amendment may follow.
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// How many events of the call `webhook` has been told.
    pub fn told(&self, webhook: &str) -> u32 {
        self.told.get(webhook).copied().unwrap_or(0)
    }

    /// Notes that `webhook` is told the event with this sequence.
    pub fn tell(&mut self, webhook: &str, sequence: u32) {
        self.told.insert(webhook.to_owned(), sequence);
    }

    /// The same call's moment on the wall clock of its INVITE, microseconds.
    fn wall_us(&self, at: Moment) -> i64 {
        let anchor = self.invite.map_or(at, |(mono, wall)| Moment::new(mono, wall));
        at.wall_us_on(anchor)
    }
}

/// One event, for whichever webhook.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its id, the key of the receiver: the call and the place of the fact in it.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    call: String,
    node: String,
    time: String,
    data: Map<String, Value>,
}

/// A body, in the order of its members.
#[derive(Serialize)]
struct Body<'e> {
    id: &'e str,
    #[serde(rename = "type")]
    kind: String,
    time: &'e str,
    node: &'e str,
    call_id: &'e str,
    sequence: u32,
    data: &'e Map<String, Value>,
}

impl Event {
    /// What `fact` is to a webhook, where `context` has learnt it already; `None`: nothing.
    pub fn of(fact: &Fact, context: &Context, node: &str) -> Option<Self> {
        let kind = Kind::of(&fact.what)?;
        let mut data = common(context);
        let mut time_us = context.wall_us(fact.at);
        match &fact.what {
            What::Ringing { code, early_media } => {
                data.insert("code".into(), json!(code));
                data.insert("early_media".into(), json!(early_media));
            }
            What::AgentAnswered { source, err_ms, agent } => {
                data.insert("answer_source".into(), json!(source.name()));
                data.insert("answer_err_ms".into(), json!(err_ms));
                data.insert("agent".into(), json!(agent));
            }
            What::Ended { account } | What::Amended { account } => {
                if account.wall_spans {
                    time_us = fact.at.wall.div_euclid(1000);
                }
                data.extend(columns(&Cdr::from_account(account)));
            }
            _ => {}
        }
        Some(Self {
            id: format!("{}-{}", fact.call, fact.seq),
            kind,
            call: fact.call.to_string(),
            node: node.to_owned(),
            time: rfc3339(time_us),
            data,
        })
    }

    /// The same event under an id of its own, where another event of the call has its id: a crash
    /// can take the count of a call back by a fact that needed no snapshot.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { id: format!("{}-{}", self.id, self.kind.name()), ..self.clone() }
    }

    /// The body for a webhook to which this is the `sequence`th event of the call.
    pub fn body(&self, sequence: u32) -> String {
        let body = Body {
            id: &self.id,
            kind: format!("{TYPE}{}", self.kind.name()),
            time: &self.time,
            node: &self.node,
            call_id: &self.call,
            sequence,
            data: &self.data,
        };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

/// What every event says of its call; null: not known.
fn common(context: &Context) -> Map<String, Value> {
    [
        ("customer", &context.customer),
        ("called", &context.called),
        ("did", &context.did),
        ("trunk_in", &context.trunk_in),
        ("trunk_out", &context.trunk_out),
        ("route", &context.route),
        ("role", &context.role),
        ("external_id", &context.external_id),
        ("autodialer", &context.autodialer),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), json!(value)))
    .collect()
}

/// The columns of a CDR by their names; a time `t_*_us` is `t_*`, written out.
fn columns(cdr: &Cdr) -> Map<String, Value> {
    let Ok(Value::Object(columns)) = serde_json::to_value(cdr) else { return Map::new() };
    let shown = columns.into_iter().map(|(name, value)| {
        let time = name.strip_suffix("_us").filter(|name| name.starts_with("t_"));
        let Some(time) = time else { return (name, value) };
        (time.to_owned(), value.as_i64().map_or(Value::Null, |us| json!(rfc3339(us))))
    });
    shown.collect()
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
