//! A call as it is offered: what the profile of its trunk reads in the INVITE.

use cooee_model::account::Role;
use cooee_model::moment::Moment;

use crate::message::address::Uri;
use crate::message::name::Name;
use crate::message::text::lossy;
use crate::message::view::Message;
use crate::profile::decision::{Identity, Step};
use crate::profile::filter::{Field, Subject};
use crate::profile::number::{self, Numbers, Reading, states_of};
use crate::profile::plan::{Agent, Autodialer, Plan, Route, Trunk};
use crate::profile::source::{Source, first, flat};

/// Where steps go, if anywhere: without a trail nothing is formatted.
pub(super) struct Trail<'t>(pub(super) Option<&'t mut Vec<Step>>);

impl Trail<'_> {
    pub(super) fn push(&mut self, step: impl FnOnce() -> Step) {
        if let Some(steps) = &mut self.0 {
            steps.push(step());
        }
    }
}

/// A call as it is offered: what the profile of its trunk reads in the INVITE.
pub(super) struct Offered<'a> {
    pub(super) plan: &'a Plan,
    pub(super) trunk: &'a Trunk,
    pub(super) request: &'a Message,
    pub(super) at: Moment,
    /// The user part of the Request-URI (or of To), as text.
    pub(super) dialled: String,
    pub(super) called: Reading,
    pub(super) customer: Reading,
    pub(super) customer_text: String,
    pub(super) requested: Option<String>,
    pub(super) autodialer: Option<String>,
    pub(super) row: Option<&'a Autodialer>,
    pub(super) agent: Option<&'a Agent>,
    pub(super) external_id: Option<String>,
    pub(super) private: bool,
}

impl<'a> Offered<'a> {
    pub(super) fn read(
        plan: &'a Plan,
        trunk: &'a Trunk,
        request: &'a Message,
        at: Moment,
        trail: &mut Trail<'_>,
    ) -> Self {
        let reading = &trunk.profile.read;
        let mut fact = |name: &str, sources: &[Source]| {
            if sources.is_empty() {
                return None;
            }
            let found = first(sources, request);
            trail.push(|| Step {
                rule: format!("read {name}"),
                saw: match &found {
                    Some((source, _)) => source.text().to_owned(),
                    None => sources.iter().map(Source::text).collect::<Vec<_>>().join(", "),
                },
                chose: found.as_ref().map(|(_, value)| value.clone()).unwrap_or_default(),
                why: if found.is_some() { "first that is present" } else { "none is present" }
                    .to_owned(),
            });
            found.map(|(_, value)| value)
        };
        let customer_text = fact("customer", &reading.customer).unwrap_or_default();
        let requested = fact("requested_cli", &reading.requested_cli);
        let autodialer = fact("autodialer", &reading.autodialer);
        let external_id = fact("external_id", &reading.external_id);
        let line = fact("line", &reading.line);
        // A registered line stands for an autodialer where the map says so.
        let mapped = |line: &&String| plan.autodialers.iter().any(|row| row.id == **line);
        let autodialer = autodialer.or_else(|| line.as_ref().filter(mapped).cloned());
        let row = plan.row_of(autodialer.as_deref());
        let agent = line.and_then(|l| plan.agents.iter().find(|a| a.unitalk_line == l));
        let numbers = trunk.numbers(plan);
        let dialled = dialled(request);
        let called = number::read(&dialled, &numbers);
        let customer = number::read(&customer_text, &numbers);
        let requested = requested.and_then(|text| match number::read(&text, &numbers) {
            Reading::Number(digits) => Some(digits),
            _ => None,
        });
        for (rule, saw, got) in
            [("normalise to", &dialled, &called), ("normalise customer", &customer_text, &customer)]
        {
            trail.push(|| Step {
                rule: rule.to_owned(),
                saw: saw.clone(),
                chose: identity(got, saw).to_string(),
                why: kind(got).to_owned(),
            });
        }
        let private = request
            .list(Name::Privacy)
            .flat_map(|v| v.split(|&b| b == b';'))
            .map(|v| lossy(v).trim().to_ascii_lowercase())
            .any(|v| matches!(v.as_str(), "id" | "user" | "header" | "session"));
        Self {
            plan,
            trunk,
            request,
            at,
            dialled,
            called,
            customer,
            customer_text,
            requested,
            autodialer,
            row,
            agent,
            external_id,
            private,
        }
    }
}

impl<'a> Offered<'a> {
    /// The number of the autodialer's row. The row `*` names a line to call, not a campaign that a
    /// customer should recognise: on a customer-leg it has no say.
    pub(super) fn campaign_number(&self, route: &Route) -> Option<&'a str> {
        let row = self.row.filter(|row| row.id != "*" || route.role == Role::AgentLeg)?;
        (!row.did.is_empty()).then_some(row.did.as_str())
    }
}

impl Plan {
    /// The row of the autodialer map for this id; the row `*` where there is none.
    pub fn row_of(&self, autodialer: Option<&str>) -> Option<&Autodialer> {
        let row = |id: &str| self.autodialers.iter().find(|row| row.id == id);
        autodialer.and_then(row).or_else(|| row("*"))
    }
}

impl Trunk {
    /// How its numbers are read.
    pub fn numbers(&self, plan: &Plan) -> Numbers {
        let area = self.vars.get("area").unwrap_or(&plan.policy.numbers.area);
        Numbers { context: self.profile.context, area: area.clone() }
    }
}

/// A call in the light of one route: the customer of a customer-leg is who is dialled.
pub(super) struct Judged<'a> {
    pub(super) call: &'a Offered<'a>,
    pub(super) route: &'a Route,
}

impl Judged<'_> {
    fn customer(&self) -> &Reading {
        match self.route.role {
            Role::AgentLeg => &self.call.customer,
            Role::CustomerLeg => &self.call.called,
        }
    }
}

impl Subject for Judged<'_> {
    fn value(&self, field: &Field) -> Option<String> {
        let call = self.call;
        let value = match field {
            // An extension such as 112 is a label here and is compared as it was dialled.
            Field::To => match &call.called {
                Reading::Number(digits) => digits.clone(),
                _ => call.dialled.clone(),
            },
            Field::From => {
                let from = call.request.address(Name::From)?;
                let user = flat(&Uri::read(from.uri)?.user_text());
                match number::read(&user, &call.trunk.numbers(call.plan)) {
                    Reading::Number(digits) => digits,
                    _ => user,
                }
            }
            Field::Customer => identity(self.customer(), &call.customer_text).text().to_owned(),
            Field::Did => call.row?.did.clone(),
            Field::Autodialer => call.autodialer.clone()?,
            Field::Campaign => call.row?.initiative.clone(),
            Field::Trunk => call.trunk.name.clone(),
            Field::Role => self.route.role.name().to_owned(),
            Field::Direction => match self.route.role {
                Role::AgentLeg => "in".to_owned(),
                Role::CustomerLeg => "out".to_owned(),
            },
            Field::Weekday => {
                let day = call.plan.policy.zone.local(call.at.wall).weekday;
                let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
                names.get(usize::from(day)).copied().unwrap_or_default().to_owned()
            }
            Field::Hour => (call.plan.policy.zone.local(call.at.wall).minute / 60).to_string(),
            Field::State => match self.customer() {
                Reading::Number(digits) => states_of(digits)?.join("/"),
                _ => return None,
            },
            Field::Header(name) => flat(&lossy(call.request.value_of(name)?)),
        };
        (!value.is_empty()).then_some(value)
    }

    fn is_blacklisted(&self, digits: &str) -> bool {
        let policy = &self.call.plan.policy;
        policy.blacklist.reason(digits, policy.zone.local(self.call.at.wall).date).is_some()
    }
}

/// A reading as an identity; digits that are no number stay as they were written.
pub(super) fn identity(reading: &Reading, written: &str) -> Identity {
    match reading {
        Reading::Number(digits) => Identity::Number(digits.clone()),
        Reading::Label(label) => Identity::Label(label.clone()),
        Reading::Emergency(digits) => Identity::Label(digits.clone()),
        Reading::Unparsable(_) => Identity::Label(written.to_owned()),
        Reading::Withheld => Identity::Withheld,
    }
}

fn kind(reading: &Reading) -> &'static str {
    match reading {
        Reading::Number(digits) if number::is_national_only(digits) => {
            "a number that can be called only in Australia"
        }
        Reading::Number(_) => "a number",
        Reading::Label(_) => "not a number",
        Reading::Emergency(_) => "an emergency number",
        Reading::Unparsable(why) => why,
        Reading::Withheld => "not told",
    }
}

/// The user that was dialled: of the Request-URI, else of To.
fn dialled(request: &Message) -> String {
    let ruri = Uri::read(request.request_uri()).map(|u| u.user_text()).unwrap_or_default();
    let user = if ruri.is_empty() {
        let to = request.address(Name::To).and_then(|a| Uri::read(a.uri));
        to.map(|u| u.user_text()).unwrap_or_default()
    } else {
        ruri
    };
    // Parameters inside the user part are no part of the number.
    flat(user.split(';').next().unwrap_or_default())
}
