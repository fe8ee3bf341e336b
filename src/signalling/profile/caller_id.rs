//! Which of our numbers a customer sees (product definition 7.2).

use std::collections::BTreeMap;

use cooee_model::moment::Moment;

use crate::profile::decision::{Decision, Step};
use crate::profile::limits;
use crate::profile::number::{is_presentable, states_of};
use crate::profile::plan::{Did, OnCap, Plan, Strategy};

/// What was shown to whom. It belongs to the caller of [`Plan::decide`], who restores it after a
/// restart and writes to it when a call leaves.
#[derive(Debug)]
pub struct Shown {
    last: BTreeMap<String, (String, Moment)>,
    /// Oldest first: when a customer was last shown a number.
    ages: BTreeMap<(Moment, String), ()>,
    /// Calls of one number on one day.
    calls: BTreeMap<String, ((i32, u8, u8), u32)>,
    room: usize,
    /// Customers forgotten because there was no room.
    pub forgotten: u64,
}

impl Default for Shown {
    fn default() -> Self {
        Self::new(limits::REMEMBERED_CUSTOMERS)
    }
}

impl Shown {
    /// Remembers at most `room` customers.
    pub fn new(room: usize) -> Self {
        Self {
            last: BTreeMap::new(),
            ages: BTreeMap::new(),
            calls: BTreeMap::new(),
            room,
            forgotten: 0,
        }
    }

    /// Takes down that the number of `decision` was shown to its customer at `at`.
    pub fn note(&mut self, plan: &Plan, decision: &Decision, at: Moment) {
        let today = plan.policy.zone.local(at.wall).date;
        let known = plan.dids.iter().any(|d| d.digits == decision.did);
        if known {
            let entry = self.calls.entry(decision.did.clone()).or_insert((today, 0));
            if entry.0 != today {
                *entry = (today, 0);
            }
            entry.1 = entry.1.saturating_add(1);
        }
        if let Some(customer) = decision.customer.digits() {
            self.remember(customer, &decision.did, at);
        }
    }

    /// Takes down that `customer` was shown `did` at `at`.
    pub fn remember(&mut self, customer: &str, did: &str, at: Moment) {
        if did.is_empty() || self.room == 0 {
            return;
        }
        let entry = (did.to_owned(), at);
        if let Some((_, before)) = self.last.insert(customer.to_owned(), entry) {
            self.ages.remove(&(before, customer.to_owned()));
        }
        self.ages.insert((at, customer.to_owned()), ());
        if self.last.len() > self.room
            && let Some(((_, oldest), ())) = self.ages.pop_first()
        {
            self.last.remove(&oldest);
            self.forgotten = self.forgotten.saturating_add(1);
        }
    }

    /// What `customer` was last shown, not longer than `days` before `at`.
    pub fn last(&self, customer: &str, at: Moment, days: u32) -> Option<&str> {
        let (did, shown) = self.last.get(customer)?;
        (at.since(*shown).as_secs() <= u64::from(days) * 86_400).then_some(did.as_str())
    }

    /// Calls that `did` has made on the day of `at` in the plan's zone.
    pub fn calls_today(&self, plan: &Plan, did: &str, at: Moment) -> u32 {
        let today = plan.policy.zone.local(at.wall).date;
        self.calls.get(did).filter(|(day, _)| *day == today).map_or(0, |(_, calls)| *calls)
    }

    /// Customers remembered.
    pub fn len(&self) -> usize {
        self.last.len()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }
}

/// What the choice looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The customer's digits.
    pub(super) customer: Option<&'a str>,
    /// The number of the autodialer's row.
    pub(super) campaign: Option<&'a str>,
    /// What A asked for, as digits.
    pub(super) requested: Option<&'a str>,
    /// Now.
    pub(super) at: Moment,
}

/// Why no number could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoNumber {
    /// No rule yields one of ours.
    None,
    /// The number chosen has made its calls of the day.
    Capped,
}

impl Plan {
    /// The entry of one of our numbers that may be presented.
    pub fn presentable(&self, digits: &str) -> Option<&Did> {
        self.dids.iter().find(|d| d.digits == digits && d.owned && is_presentable(digits))
    }

    /// Goes through the strategy; the first rule that yields wins.
    pub(super) fn choose_number(
        &self,
        asked: Asked<'_>,
        shown: &Shown,
        mut step: impl FnMut(Step),
    ) -> Result<(String, &'static str), NoNumber> {
        let cap = self.caller_id.max_calls_per_did_per_day;
        for &strategy in &self.caller_id.strategy {
            let (found, saw) = self.by_strategy(strategy, asked, shown);
            let rule = format!("caller-id {}", strategy.name());
            let Some(did) = found else {
                step(Step { rule, saw, chose: String::new(), why: "yields nothing".to_owned() });
                continue;
            };
            if cap > 0 && shown.calls_today(self, &did.digits, asked.at) >= cap {
                let why = format!("{} has made its {cap} calls of the day", did.digits);
                step(Step { rule, saw, chose: String::new(), why });
                match self.caller_id.on_cap {
                    OnCap::Next => continue,
                    OnCap::Reject => return Err(NoNumber::Capped),
                }
            }
            let why = "first rule that yields".to_owned();
            step(Step { rule, saw, chose: format!("+{}", did.digits), why });
            return Ok((did.digits.clone(), strategy.name()));
        }
        Err(NoNumber::None)
    }

    /// What one rule yields, and what it looked at.
    fn by_strategy(
        &self,
        strategy: Strategy,
        asked: Asked<'_>,
        shown: &Shown,
    ) -> (Option<&Did>, String) {
        let of = |digits: Option<&str>, what: &str| {
            let saw = digits.map_or_else(|| format!("no {what}"), |d| format!("{what} +{d}"));
            (digits.and_then(|d| self.presentable(d)), saw)
        };
        match strategy {
            Strategy::Sticky => {
                let days = self.caller_id.sticky_days;
                let last = asked.customer.and_then(|c| shown.last(c, asked.at, days));
                of(last, "number last seen")
            }
            Strategy::Campaign => of(asked.campaign, "number of the campaign"),
            Strategy::Requested => of(asked.requested, "number asked for"),
            Strategy::Default => of(Some(&self.caller_id.default), "default"),
            Strategy::LocalPresence => self.local(asked),
        }
    }

    /// A number of the customer's state. A mobile has no state: the campaign's counts, then a
    /// number that is for any state.
    fn local(&self, asked: Asked<'_>) -> (Option<&Did>, String) {
        let Some(customer) = asked.customer else { return (None, "no customer".to_owned()) };
        let of_campaign = || {
            let did = self.presentable(asked.campaign?)?;
            Some(vec![did.state.as_str()])
        };
        let any = || self.dids.iter().find(|d| d.state == "ANY" && self.is_ours(d));
        if let Some(states) = states_of(customer) {
            let found = states
                .iter()
                .find_map(|s| self.dids.iter().find(|d| d.state == *s && self.is_ours(d)));
            return (found, format!("+{customer} of {}", states.join("/")));
        }
        if !customer.starts_with("614") {
            return (None, format!("+{customer} of no Australian state"));
        }
        let by_campaign = of_campaign().and_then(|states| {
            self.dids.iter().find(|d| states.contains(&d.state.as_str()) && self.is_ours(d))
        });
        (by_campaign.or_else(any), format!("+{customer}, a mobile"))
    }

    fn is_ours(&self, did: &Did) -> bool {
        did.owned && is_presentable(&did.digits)
    }
}
