//! The routing pipeline (product definition 7.4): from A's INVITE to what the call pins.
//!
//! The order is fixed: read, normalise, blacklist, work time, route, called number, targets,
//! caller number, headers that cross. Each step says what it saw, what it chose and why.

use cooee_model::account::Role;
use cooee_model::fact::Refusal;
use cooee_model::moment::Moment;

use crate::message::address::{Address, Uri};
use crate::message::name::Name;
use crate::message::text::lossy;
use crate::message::view::Message;
use crate::profile::caller_id::{Asked, NoNumber, Shown};
use crate::profile::decision::{Crossing, Decision, Identity, Original, Refused, Step, Target};
use crate::profile::filter::{Field, Subject};
use crate::profile::header::{is_identity, long_form, may_cross};
use crate::profile::limits;
use crate::profile::number::{self, Numbers, Reading, states_of};
use crate::profile::plan::{Agent, Assert, Autodialer, HopTo, Plan, Route, Trunk};
use crate::profile::policy::telemarketing_closed;
use crate::profile::source::{Source, first, flat};
use crate::profile::template::{Template, Variable, Who};

impl Plan {
    /// Decides where a call goes and as whom.
    ///
    /// `trunk` is the place in [`Plan::trunks`] of the trunk that the INVITE came from. With a
    /// `trail`, every step is written down.
    ///
    /// # Errors
    /// The status to refuse the INVITE with, and why.
    pub fn decide(
        &self,
        trunk: usize,
        request: &Message,
        at: Moment,
        shown: &Shown,
        trail: Option<&mut Vec<Step>>,
    ) -> Result<Decision, Refused> {
        let mut trail = Trail(trail);
        let Some(trunk) = self.trunks.get(trunk) else {
            return Err(refused(403, Refusal::UnknownSource, "no such trunk"));
        };
        let call = Offered::read(self, trunk, request, at, &mut trail);
        self.check_blacklist(&call, &mut trail)?;
        self.check_work_time(&call, &mut trail)?;
        let route = self.match_route(&call, &mut trail)?;
        let (called, customer) = self.parties(&call, route, &mut trail)?;
        let foreign_cli = self.check_cli(&call, route, &mut trail)?;
        let targets = self.targets(&call, route, &mut trail)?;
        let asked = Asked {
            customer: customer.digits(),
            campaign: call.row.map(|row| row.did.as_str()).filter(|did| !did.is_empty()),
            requested: call.requested.as_deref(),
            at,
        };
        let chosen = self.choose_number(asked, shown, |step| trail.push(|| step));
        let (did, did_rule) = match chosen {
            Ok((did, rule)) => (did, rule),
            Err(NoNumber::None) if !self.needs_number(&targets) => (String::new(), "none"),
            Err(NoNumber::None) => {
                return Err(refused(403, Refusal::Policy, "no number of ours to present"));
            }
            Err(NoNumber::Capped) => {
                return Err(refused(503, Refusal::Limit, "the number made its calls of the day"));
            }
        };
        let mut decision = Decision {
            revision: self.revision,
            trunk: trunk.name.clone(),
            route: route.name.clone(),
            role: route.role,
            targets,
            customer_state: customer.digits().and_then(states_of).map(|s| s.join("/")),
            private: route.role == Role::AgentLeg && call.private && !route.override_privacy,
            customer,
            called,
            did,
            did_rule: did_rule.to_owned(),
            autodialer: call.autodialer.clone(),
            campaign: call.row.map(|row| row.initiative.clone()).filter(|i| !i.is_empty()),
            external_id: call.external_id.clone(),
            original: original(request),
            crossing: Vec::new(),
            answer_source: route.answer_source,
            propagation: route.propagation,
            foreign_cli,
            hidden: Vec::new(),
        };
        if route.role == Role::CustomerLeg {
            decision.hidden = shown_by(request, decision.customer.text(), &decision.did);
        }
        decision.crossing = crossing(trunk, request, &decision, &mut trail);
        Ok(decision)
    }

    fn check_blacklist(&self, call: &Offered<'_>, trail: &mut Trail<'_>) -> Result<(), Refused> {
        let today = self.policy.zone.local(call.at.wall).date;
        for reading in [&call.called, &call.customer] {
            let Reading::Number(digits) = reading else { continue };
            let found = self.policy.blacklist.reason(digits, today);
            trail.push(|| Step {
                rule: "blacklist".to_owned(),
                saw: format!("+{digits}"),
                chose: if found.is_some() { "refused" } else { "passes" }.to_owned(),
                why: found.unwrap_or("not listed").to_owned(),
            });
            if let Some(reason) = found {
                let reason = format!("+{digits} is on the blacklist: {reason}");
                return Err(refused(403, Refusal::Policy, &reason));
            }
        }
        Ok(())
    }

    fn check_work_time(&self, call: &Offered<'_>, trail: &mut Trail<'_>) -> Result<(), Refused> {
        let Some(open) = &self.policy.work_time else { return Ok(()) };
        let closed = open.closed(call.at.wall);
        trail.push(|| Step {
            rule: "work time".to_owned(),
            saw: open.zone.name().to_owned(),
            chose: if closed.is_some() { "refused" } else { "passes" }.to_owned(),
            why: closed.clone().unwrap_or_else(|| "open".to_owned()),
        });
        match closed {
            Some(why) => Err(refused(403, Refusal::Policy, &format!("shut: {why}"))),
            None => Ok(()),
        }
    }

    fn match_route(&self, call: &Offered<'_>, trail: &mut Trail<'_>) -> Result<&Route, Refused> {
        for route in &self.routes {
            let from = route.from.is_empty() || route.from == call.trunk.name;
            let failing = if from {
                route.when.failing(&Judged { call, route })
            } else {
                Some(format!("is for calls from {}", route.from))
            };
            trail.push(|| Step {
                rule: format!("route {}", route.name),
                saw: format!("to {} from {}", call.dialled, call.trunk.name),
                chose: if failing.is_none() { route.role.name() } else { "" }.to_owned(),
                why: failing.clone().unwrap_or_else(|| "first route that matches".to_owned()),
            });
            if failing.is_none() {
                return Ok(route);
            }
        }
        if let Reading::Emergency(digits) = &call.called {
            return Err(emergency(digits));
        }
        let reason = format!("no route takes {} from {}", call.dialled, call.trunk.name);
        Err(refused(403, Refusal::NoRoute, &reason))
    }

    /// Who is called and who is the customer. On a customer-leg both are the number dialled; on an
    /// agent-leg what is dialled is a label and is never normalised.
    fn parties(
        &self,
        call: &Offered<'_>,
        route: &Route,
        trail: &mut Trail<'_>,
    ) -> Result<(Identity, Identity), Refused> {
        if route.role == Role::AgentLeg {
            let customer = identity(&call.customer, &call.customer_text);
            return Ok((Identity::Label(call.dialled.clone()), customer));
        }
        let number = match &call.called {
            Reading::Number(digits) => digits.clone(),
            Reading::Emergency(digits) => return Err(emergency(digits)),
            other if self.policy.reject_unparsable => {
                let why = match other {
                    Reading::Unparsable(why) => why,
                    _ => "not a telephone number",
                };
                let reason = format!("{} cannot be called: {why}", call.dialled);
                return Err(refused(484, Refusal::Policy, &reason));
            }
            _ => {
                let label = Identity::Label(call.dialled.clone());
                return Ok((label.clone(), label));
            }
        };
        if self.policy.au_telemarketing {
            let none = Default::default();
            let holidays = self.policy.work_time.as_ref().map_or(&none, |w| &w.holidays);
            let closed = telemarketing_closed(&number, holidays, call.at.wall);
            trail.push(|| Step {
                rule: "telemarketing hours".to_owned(),
                saw: format!("+{number}"),
                chose: if closed.is_some() { "refused" } else { "passes" }.to_owned(),
                why: closed.clone().unwrap_or_else(|| "within the hours".to_owned()),
            });
            if let Some(why) = closed {
                return Err(refused(403, Refusal::Policy, &format!("not permitted now: {why}")));
            }
        }
        Ok((Identity::Number(number.clone()), Identity::Number(number)))
    }

    /// Whether the caller number that A asks for is foreign and worth a word.
    fn check_cli(
        &self,
        call: &Offered<'_>,
        route: &Route,
        trail: &mut Trail<'_>,
    ) -> Result<bool, Refused> {
        let asked = call.requested.as_deref();
        if route.role == Role::AgentLeg || asked.is_some_and(|a| self.presentable(a).is_some()) {
            return Ok(false);
        }
        let assert = self.caller_id.assert;
        trail.push(|| Step {
            rule: "caller-id assert".to_owned(),
            saw: asked.map_or_else(|| "no number".to_owned(), |a| format!("+{a}")),
            chose: match assert {
                Assert::Rewrite | Assert::Log => "rewritten",
                Assert::Reject => "refused",
            }
            .to_owned(),
            why: "the number asked for is not ours".to_owned(),
        });
        match assert {
            Assert::Rewrite => Ok(false),
            Assert::Log => Ok(true),
            Assert::Reject => {
                Err(refused(403, Refusal::Policy, "the caller number asked for is not ours"))
            }
        }
    }

    fn targets(
        &self,
        call: &Offered<'_>,
        route: &Route,
        trail: &mut Trail<'_>,
    ) -> Result<Vec<Target>, Refused> {
        let mut targets: Vec<Target> = Vec::new();
        for hop in &route.chain {
            let (trunk, row, why) = match &hop.to {
                HopTo::Trunk(name) => (Some(name.as_str()), None, "named by the route".to_owned()),
                HopTo::QueueMap => match call.row {
                    Some(row) => {
                        let why = format!("row {} of the autodialer map", row.id);
                        (Some(row.trunk.as_str()), Some(row), why)
                    }
                    None => (None, None, "no row of the autodialer map fits".to_owned()),
                },
                HopTo::PassedOver(what) => (None, None, format!("{what} is not used yet")),
            };
            let known = trunk.and_then(|name| self.trunk(name));
            let serves = known.is_some_and(|t| t.profile.serves(route.role));
            let twice = targets.iter().any(|t| Some(t.trunk.as_str()) == trunk);
            let taken = serves && !twice && targets.len() < limits::TARGETS;
            trail.push(|| Step {
                rule: "target".to_owned(),
                saw: trunk.unwrap_or("none").to_owned(),
                chose: if taken { format!("try {}", targets.len() + 1) } else { String::new() },
                why: match (known, serves, twice) {
                    (Some(_), false, _) => "its profile does not serve this role".to_owned(),
                    (Some(_), _, true) => "already in the list".to_owned(),
                    _ => why,
                },
            });
            if let (true, Some(name)) = (taken, trunk) {
                let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                targets.push(Target {
                    trunk: name.to_owned(),
                    timeout_s: hop.timeout_s,
                    agent_timeout_s: hop.agent_timeout_s,
                    queue: row.and_then(|row| some(&row.queue)),
                    direct_code: row.and_then(|row| some(&row.direct_code)),
                    extension: call.agent.map(|agent| agent.extension.clone()),
                });
            }
        }
        if targets.is_empty() {
            let reason = format!("route {} leads to no target", route.name);
            return Err(refused(480, Refusal::NoRoute, &reason));
        }
        Ok(targets)
    }

    fn needs_number(&self, targets: &[Target]) -> bool {
        let names_did = |template: &Template| {
            template.variables().any(|v| matches!(v, Variable::Number(Who::Did, _)))
        };
        targets
            .iter()
            .filter_map(|target| self.trunk(&target.trunk))
            .any(|trunk| trunk.profile.write.slots().any(|(_, template)| names_did(template)))
    }
}

/// A call as it is offered: what the profile of its trunk reads in the INVITE.
struct Offered<'a> {
    plan: &'a Plan,
    trunk: &'a Trunk,
    request: &'a Message,
    at: Moment,
    /// The user part of the Request-URI (or of To), as text.
    dialled: String,
    called: Reading,
    customer: Reading,
    customer_text: String,
    requested: Option<String>,
    autodialer: Option<String>,
    row: Option<&'a Autodialer>,
    agent: Option<&'a Agent>,
    external_id: Option<String>,
    private: bool,
}

impl<'a> Offered<'a> {
    fn read(
        plan: &'a Plan,
        trunk: &'a Trunk,
        request: &'a Message,
        at: Moment,
        trail: &mut Trail<'_>,
    ) -> Self {
        let reading = &trunk.profile.read;
        let mut fact = |name: &str, sources: &[Source]| {
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
        let autodialer = autodialer.or_else(|| line.clone());
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
struct Judged<'a> {
    call: &'a Offered<'a>,
    route: &'a Route,
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

/// Where steps go, if anywhere: without a trail nothing is formatted.
struct Trail<'t>(Option<&'t mut Vec<Step>>);

impl Trail<'_> {
    fn push(&mut self, step: impl FnOnce() -> Step) {
        if let Some(steps) = &mut self.0 {
            steps.push(step());
        }
    }
}

fn refused(code: u16, why: Refusal, reason: &str) -> Refused {
    Refused { code, why, reason: reason.to_owned() }
}

fn emergency(digits: &str) -> Refused {
    refused(403, Refusal::Policy, &format!("{digits} is an emergency number"))
}

/// A reading as an identity; digits that are no number stay as they were written.
fn identity(reading: &Reading, written: &str) -> Identity {
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

fn original(request: &Message) -> Original {
    let address = |name| request.address(name);
    let user = |a: Option<Address<'_>>| {
        a.and_then(|a| Uri::read(a.uri)).map(|u| flat(&lossy(u.user))).unwrap_or_default()
    };
    let display = |a: Option<Address<'_>>| a.map(|a| flat(&a.display_text())).unwrap_or_default();
    let from = address(Name::From);
    let host = from.and_then(|a| Uri::read(a.uri)).map(|u| flat(&lossy(u.host)));
    Original {
        from_user: user(from),
        from_display: display(from),
        from_host: host.unwrap_or_default(),
        to_user: user(address(Name::To)),
        to_display: display(address(Name::To)),
        ruri_user: Uri::read(request.request_uri())
            .map(|u| flat(&lossy(u.user)))
            .unwrap_or_default(),
    }
}

/// Ends of the numbers by which A names the caller, apart from those that B gets anyway.
fn shown_by(request: &Message, customer: &str, did: &str) -> Vec<String> {
    let names = [Name::From, Name::AssertedIdentity, Name::PreferredIdentity, Name::RemotePartyId];
    let mut ends: Vec<String> = Vec::new();
    for address in names.into_iter().flat_map(|n| request.list(n)).filter_map(Address::read) {
        let user = Uri::read(address.uri).map(|u| u.user_text()).unwrap_or_default();
        for text in [user, address.display_text()] {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            let end = digits.get(digits.len().saturating_sub(8)..).unwrap_or_default().to_owned();
            let known = customer.ends_with(&end) || did.ends_with(&end);
            if end.len() >= 5 && !known && !ends.contains(&end) {
                ends.push(end);
            }
        }
    }
    ends
}

/// Headers of A that cross: what the profile passes and does not strip, nothing that names the
/// caller on a customer-leg.
fn crossing(
    trunk: &Trunk,
    request: &Message,
    decision: &Decision,
    trail: &mut Trail<'_>,
) -> Vec<Crossing> {
    let habits = &trunk.profile.behaviour;
    let mut crossing: Vec<Crossing> = Vec::new();
    for (name, written, value) in request.headers() {
        if !habits.pass.hold(name, written) || !may_cross(name, written) {
            continue;
        }
        let why = if habits.strip.hold(name, written) {
            "stripped by the profile"
        } else if decision.role == Role::CustomerLeg
            && (is_identity(name, written) || decision.hides(value))
        {
            "names the caller"
        } else if decision.private && is_identity(name, written) {
            "the caller withholds its number"
        } else if crossing.len() >= limits::CROSSING_HEADERS || value.len() > limits::CROSSING_BYTES
        {
            "over the limit"
        } else {
            "passed by the profile"
        };
        let passes = why == "passed by the profile";
        trail.push(|| Step {
            rule: "header".to_owned(),
            saw: long_form(name, written),
            chose: if passes { "crosses" } else { "stays" }.to_owned(),
            why: why.to_owned(),
        });
        if passes {
            let name = if name == Name::Other { lossy(written) } else { name.text().to_owned() };
            crossing.push(Crossing { name, value: value.to_vec() });
        }
    }
    crossing
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
