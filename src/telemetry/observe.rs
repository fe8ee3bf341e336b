//! What a fact counts as.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cooee_model::account::{Account, AnswerSource, Outcome, Party};
use cooee_model::fact::{Fact, What};
use cooee_model::ids::CallId;
use cooee_model::media::StreamStats;
use cooee_model::sample::Sample;

use crate::Identity;
use crate::latency::Latency;
use crate::limits::{NAMES_MAX, OPEN_MAX};
use crate::measure::Measure;
use crate::recorder::Recorder;

/// Ways a call comes out.
pub const OUTCOMES: [Outcome; 12] = [
    Outcome::Connected,
    Outcome::UnknownAgent,
    Outcome::Abandoned,
    Outcome::Busy,
    Outcome::NoAnswer,
    Outcome::Declined,
    Outcome::Canceled,
    Outcome::Invalid,
    Outcome::Blocked,
    Outcome::Technical,
    Outcome::Recovered,
    Outcome::NoAck,
];

/// Those who end a call.
pub const PARTIES: [Party; 7] = [
    Party::Customer,
    Party::Agent,
    Party::Dialer,
    Party::Platform,
    Party::Bridge,
    Party::Timeout,
    Party::Unknown,
];

/// Ways to know the agent's answer.
pub const SOURCES: [AnswerSource; 5] = [
    AnswerSource::None,
    AnswerSource::Sip200,
    AnswerSource::B24Event,
    AnswerSource::B24EventMedia,
    AnswerSource::Media,
];

/// Rules that choose a number; anything else is `other`.
const RULES: [&str; 5] = ["sticky", "campaign", "local-presence", "default", "other"];

/// The name under which a call is counted that has none, or one too many.
const NO_NAME: &str = "none";
const OTHER: &str = "other";

/// Counters by one bounded name.
pub(crate) type ByName = BTreeMap<String, u64>;

/// How the calls of one route came out, by outcome and by who ended them.
pub(crate) type Ends = BTreeMap<(&'static str, &'static str), u64>;

/// Everything counted from facts.
pub(crate) struct Observer {
    pub(crate) offered: ByName,
    pub(crate) attempts: ByName,
    pub(crate) ended: BTreeMap<String, Ends>,
    pub(crate) sources: BTreeMap<&'static str, u64>,
    pub(crate) amended: BTreeMap<&'static str, u64>,
    pub(crate) rules: BTreeMap<&'static str, u64>,
    /// RTP packets missing from A and from B.
    pub(crate) rtp_lost: [u64; 2],
    /// Samples of how A and B sounded, by grade, 1 first.
    pub(crate) graded: [[u64; 5]; 2],
    pub(crate) one_way: u64,
    pub(crate) zero_packet: u64,
    /// Ended calls that the platform answered and whose agent's answer is not known (yet).
    open: BTreeSet<CallId>,
    setup: Recorder,
    queue: Recorder,
    connect: Recorder,
    talk: Recorder,
}

impl Observer {
    pub(crate) fn new(identity: &Identity, latency: &Latency) -> Self {
        let zeros = |names: &[String]| -> ByName {
            let named = names.iter().take(NAMES_MAX).cloned();
            named.chain([OTHER.to_owned()]).map(|name| (name, 0)).collect()
        };
        let trunks = zeros(&identity.trunks);
        let routes = zeros(&identity.routes).into_keys().chain([NO_NAME.to_owned()]);
        Self {
            offered: trunks.clone(),
            attempts: trunks,
            ended: routes.map(|route| (route, no_ends())).collect(),
            sources: SOURCES.into_iter().map(|source| (source.name(), 0)).collect(),
            amended: OUTCOMES.into_iter().map(|outcome| (outcome.name(), 0)).collect(),
            rules: RULES.into_iter().map(|rule| (rule, 0)).collect(),
            rtp_lost: [0; 2],
            graded: [[0; 5]; 2],
            one_way: 0,
            zero_packet: 0,
            open: BTreeSet::new(),
            setup: latency.recorder(Measure::Setup),
            queue: latency.recorder(Measure::Queue),
            connect: latency.recorder(Measure::Connect),
            talk: latency.recorder(Measure::Talk),
        }
    }

    /// Series of these names exist from now on.
    pub(crate) fn know(&mut self, identity: &Identity) {
        for trunk in &identity.trunks {
            named(&mut self.offered, trunk, || 0);
            named(&mut self.attempts, trunk, || 0);
        }
        for route in &identity.routes {
            named(&mut self.ended, route, no_ends);
        }
    }

    /// Counts one fact. `media_of_answered`: it holds the media figures of an answered call.
    pub(crate) fn observe(&mut self, fact: &Fact, media_of_answered: bool) {
        match &fact.what {
            What::Invited { trunk, .. } => *named(&mut self.offered, trunk, || 0) += 1,
            What::Forwarded { trunk, did_rule, .. } => {
                *named(&mut self.attempts, trunk, || 0) += 1;
                if !did_rule.is_empty() {
                    let rule = RULES.into_iter().find(|rule| rule == did_rule);
                    *self.rules.entry(rule.unwrap_or(OTHER)).or_default() += 1;
                }
            }
            What::Ended { account } => self.ended(account),
            What::Amended { account } => self.amended(account),
            What::Measured { a, b } => self.measured(a, b, media_of_answered),
            What::Sampled { a, b } => {
                for (quality, grades) in [a, b].into_iter().zip(&mut self.graded) {
                    let place = quality.grade().and_then(|g| grades.get_mut(usize::from(g) - 1));
                    *place.unwrap_or(&mut 0) += 1;
                }
            }
            What::Ringing { .. }
            | What::PlatformAnswered {}
            | What::AgentAnswered { .. }
            | What::Bridged {}
            | What::Held { .. }
            | What::Resumed { .. }
            | What::PortalLinked { .. }
            | What::Revived { .. }
            | What::TransferAsked { .. }
            | What::TransferEnded { .. }
            | What::MediaStarted { .. } => {}
        }
    }

    fn ended(&mut self, account: &Account) {
        let route = if account.route.is_empty() { NO_NAME } else { &account.route };
        let ends = named(&mut self.ended, route, no_ends);
        *ends.entry((account.outcome.name(), account.end_party.name())).or_default() += 1;
        *self.sources.entry(account.answer_source.name()).or_default() += 1;
        let times = &account.times;
        if let Some(platform) = times.b_200 {
            if !account.wall_spans {
                self.setup.record(ns(platform.since(times.invite)));
            }
            if times.agent.is_none() {
                self.open.insert(account.id);
                // Ids grow with time: the first is the oldest.
                if self.open.len() > OPEN_MAX {
                    self.open.pop_first();
                }
            }
        }
        self.spans(account);
    }

    /// What became known after the end is counted then, once: a call may be amended again.
    fn amended(&mut self, account: &Account) {
        *self.amended.entry(account.outcome.name()).or_default() += 1;
        if account.times.agent.is_some() && self.open.remove(&account.id) {
            *self.sources.entry(account.answer_source.name()).or_default() += 1;
            self.spans(account);
        }
    }

    /// Records the spans from the agent's answer that were seen whole (product definition 3.3).
    fn spans(&mut self, account: &Account) {
        let times = &account.times;
        // Across a reboot the monotonic readings do not belong together.
        if account.wall_spans {
            return;
        }
        let Some(agent) = times.agent else { return };
        self.queue.record(ns(agent.since(times.invite)));
        // The end of a call that a restart closed was not seen.
        if let Some(end) = times.end
            && account.outcome != Outcome::Recovered
        {
            let connect = end.since(agent);
            self.connect.record(ns(connect));
            // Where holds are not signalled and none was seen, talk is not known.
            if !account.hold_unknown || account.hold_count > 0 {
                let held = Duration::from_millis(account.hold_ms);
                self.talk.record(ns(connect.saturating_sub(held)));
            }
        }
    }

    fn measured(&mut self, a: &StreamStats, b: &StreamStats, answered: bool) {
        let [from_a, from_b] = &mut self.rtp_lost;
        *from_a += a.lost;
        *from_b += b.lost;
        if answered {
            let silent = u64::from(a.packets == 0) + u64::from(b.packets == 0);
            self.zero_packet += silent;
            self.one_way += u64::from(silent == 1);
        }
    }
}

fn no_ends() -> Ends {
    let ends = |outcome: Outcome| {
        PARTIES.into_iter().map(move |party| ((outcome.name(), party.name()), 0))
    };
    OUTCOMES.into_iter().flat_map(ends).collect()
}

/// The counter of a name: its own while there are few names, else that of the others. A label is
/// never wider than the limit, whatever a configuration does.
fn named<'m, T>(map: &'m mut BTreeMap<String, T>, name: &str, zero: fn() -> T) -> &'m mut T {
    // `other` and `none` come on top of the names.
    let known = map.contains_key(name) || map.len() < NAMES_MAX + 2;
    let name = if known { name } else { OTHER };
    map.entry(name.to_owned()).or_insert_with(zero)
}

fn ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
