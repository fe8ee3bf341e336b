//! A small plan and INVITEs for the tests of this room.

use std::sync::Arc;

use bytes::Bytes;
use cooee_model::account::Role;
use cooee_model::ids::CallId;
use cooee_model::moment::Moment;

use crate::message::view::Message;
use crate::profile::caller_id::Shown;
use crate::profile::decision::{AnswerPolicy, Context, Decision, Propagation, Refused};
use crate::profile::filter::{Condition, Field, Test};
use crate::profile::header::Patterns;
use crate::profile::plan::{
    Autodialer, CallerIdRules, Did, Hop, HopTo, Node, Plan, Policy, Retry, Route, Settings, Trunk,
};
use crate::profile::rules::{Behaviour, Kind, Profile, Reading, Writing};
use crate::profile::source::Source;
use crate::profile::template::Template;

/// Monday 2026-03-02, 10:30 in Sydney.
pub(super) const MONDAY: Moment = Moment::new(1_000_000_000_000_000, 1_772_407_800_000_000_000);

pub(super) const DAY_NS: u64 = 86_400_000_000_000;

pub(super) fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

pub(super) fn patterns(texts: &[&str]) -> Patterns {
    let mut patterns = Patterns::default();
    for text in texts {
        patterns.add(text).unwrap();
    }
    patterns
}

fn sources(texts: &[&str]) -> Vec<Source> {
    texts.iter().map(|text| Source::parse(text).unwrap()).collect()
}

/// The dialer's profile: passes everything but `X-Secret*`.
fn dialer() -> Profile {
    Profile {
        name: "dialer".to_owned(),
        kind: Kind::Inbound,
        read: Reading {
            customer: sources(&["pai.user", "from.user"]),
            requested_cli: sources(&["from.user"]),
            autodialer: sources(&["to.user|prefix:9"]),
            external_id: sources(&["header:X-Id", "call-id"]),
            line: Vec::new(),
        },
        behaviour: Behaviour {
            pass: patterns(&["*"]),
            strip: patterns(&["X-Secret*", "Subject"]),
            ..Behaviour::default()
        },
        ..Profile::default()
    }
}

fn line() -> Profile {
    Profile {
        name: "line".to_owned(),
        kind: Kind::Outbound,
        write: Writing {
            request_uri: template("sip:{to.e164}@{peer.host}"),
            to: template("sip:{to.user}@{peer.host}"),
            from_user: template("{did.digits}"),
            from_display: template("{customer.digits}"),
            headers: vec![
                ("X-Customer".to_owned(), template("{customer.e164}")),
                ("X-Id".to_owned(), template("{external.id}")),
            ],
            ..Writing::default()
        },
        ..Profile::default()
    }
}

fn trunk(name: &str, profile: Profile) -> Trunk {
    Trunk { name: name.to_owned(), profile: Arc::new(profile), ..Trunk::default() }
}

fn route(name: &str, role: Role, prefix: &str, to: HopTo) -> Route {
    Route {
        name: name.to_owned(),
        role,
        from: "dialer".to_owned(),
        when: Condition::Test(Field::To, Test::Prefix(prefix.to_owned())),
        chain: vec![Hop { to, timeout_s: 30, agent_timeout_s: 0 }],
        answer_source: AnswerPolicy::Auto,
        propagation: Propagation::Platform,
        override_privacy: false,
    }
}

fn did(digits: &str, state: &str, owned: bool) -> Did {
    Did { digits: digits.to_owned(), state: state.to_owned(), owned, tags: Vec::new() }
}

/// Agents behind 9, customers behind 61; two numbers of ours and one that is not.
pub(super) fn plan() -> Plan {
    let row = |id: &str, did: &str| Autodialer {
        id: id.to_owned(),
        trunk: "line".to_owned(),
        did: did.to_owned(),
        ..Autodialer::default()
    };
    Plan {
        revision: 3,
        node: Node { id: "n".to_owned(), host: "192.0.2.10".to_owned() },
        trunks: vec![trunk("dialer", dialer()), trunk("line", line())],
        routes: vec![
            route("agents", Role::AgentLeg, "9", HopTo::QueueMap),
            route("out", Role::CustomerLeg, "61", HopTo::Trunk("line".to_owned())),
        ],
        dids: vec![
            did("61255501234", "NSW", true),
            did("61370101234", "VIC", true),
            did("61870101234", "SA", false),
        ],
        autodialers: vec![row("7", "61370101234"), row("8", "61870101234")],
        agents: Vec::new(),
        caller_id: CallerIdRules { default: "61255501234".to_owned(), ..CallerIdRules::default() },
        policy: Policy { reject_unparsable: true, ..Policy::default() },
        retry: Retry::default(),
        settings: Settings::default(),
        portals: Vec::new(),
    }
}

/// An INVITE from `from` to `to` with further header lines.
pub(super) fn invite(from: &str, to: &str, more: &str) -> Message {
    let text = format!(
        "INVITE sip:{to}@192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
         From: <sip:{from}@dialer.example>;tag=1\r\nTo: <sip:{to}@192.0.2.10>\r\nCall-ID: c1\r\n\
         CSeq: 1 INVITE\r\n{more}\r\n"
    );
    Message::read(Bytes::from(text)).unwrap()
}

pub(super) fn decide(plan: &Plan, message: &Message) -> Result<Decision, Refused> {
    plan.decide(0, message, MONDAY, &Shown::new(4), None)
}

pub(super) const fn context() -> Context<'static> {
    Context { call: CallId(7), peer_host: "peer.example", own_host: None, attempt: 1 }
}
