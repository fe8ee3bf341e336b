//! The routing pipeline (product definition 7.4): from A's INVITE to what the call pins.
//!
//! The order is fixed: read, normalise, blacklist, work time, route, called number, targets,
//! caller number, headers that cross. Each step says what it saw, what it chose and why.

use cooee_model::account::Role;
use cooee_model::fact::Refusal;
use cooee_model::moment::Moment;

use crate::message::view::Message;
use crate::profile::caller_id::{Asked, NoNumber, Shown};
use crate::profile::crossing::{crossing, original, shown_by};
use crate::profile::decision::{Decision, Identity, Refused, Step, Target};
use crate::profile::limits;
use crate::profile::number::{Reading, states_of};
use crate::profile::offered::{Judged, Offered, Trail, identity};
use crate::profile::plan::{Assert, HopTo, Plan, Route};
use crate::profile::policy::telemarketing_closed;
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
            campaign: call.campaign_number(route),
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

fn refused(code: u16, why: Refusal, reason: &str) -> Refused {
    Refused { code, why, reason: reason.to_owned() }
}

fn emergency(digits: &str) -> Refused {
    refused(403, Refusal::Policy, &format!("{digits} is an emergency number"))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
