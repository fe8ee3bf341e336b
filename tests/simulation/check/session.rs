//! What must hold of session timers, and of requests that want an answer.

use cooee_model::fact::{Fact, What};
use cooee_model::ids::Side;

use crate::check::Ledger;
use crate::log::{Group, Way};
use crate::ua::Ua;
use crate::world::Met;

impl Ledger {
    /// The switch has ended a call: if by a session timer, then because a side was gone or was not
    /// heard.
    pub fn timed_out(&mut self, call: usize, fact: &Fact, met: &Met, now: u64) {
        if matches!(fact.what, What::Invited { .. }) && met.scripts[0].guesses {
            self.fault(call, "who does not know the password was let in");
        }
        let What::Ended { account } = &fact.what else { return };
        let Some(rest) = account.reason.strip_prefix("session timer: ") else { return };
        let side = if rest.starts_with('A') { Side::A } else { Side::B };
        let mut legs = met.legs.iter().enumerate();
        let Some((leg, _)) = legs.rfind(|(_, ua)| ua.side == side && !ua.is_fork) else { return };
        self.starved(call, met, leg, now, &account.reason);
    }

    /// A session has run out. Somebody did not care for it, or the network took what would have
    /// refreshed it.
    pub fn starved(&mut self, call: usize, met: &Met, leg: usize, now: u64, why: &str) {
        let ua = &met.legs[leg];
        let since = ua.session.since;
        let refused = (ua.leans_on_other() || ua.refuses_reinvites())
            && met.legs.iter().any(Ua::refuses_reinvites);
        // A re-INVITE, and what comes while an offer is under way, waits for the other side.
        let slow = met.legs.iter().any(|l| l.dead || lost_a_refresh(met, l, since));
        // An answer to what a crash forgot is taken by one side alone.
        let forgotten = self.restarted > 0 && self.restarted + super::WATCH >= since;
        let excused = ua.lets_it_run_out() || forgotten || refused || slow;
        if !excused && !hung_up(met, ua) {
            let at = now.saturating_sub(since) as f64 / 1e9;
            self.fault(call, format!("a healthy session was ended after {at:.1} s: {why}"));
        }
    }

    /// This long after its interval nobody believes in a session that was not refreshed.
    pub fn interval(&mut self, call: usize, met: &Met, leg: usize, now: u64) {
        let ua = &met.legs[leg];
        // A refresh that a connection took is known to one side alone.
        let patience = match ua.refuses_reinvites() {
            true => 3,
            false => 1 + u64::from(lost_a_refresh(met, ua, ua.session.since)),
        };
        let due = ua.session.since + patience * ua.session.expires + super::WATCH;
        let refuses = ua.refuses_reinvites() && !ua.dead;
        let refuses = refuses || self.is_torn(call);
        if !ua.has_session() || now < due || refuses || hung_up(met, ua) {
            return;
        }
        let ids = self.by_call.get(&call).into_iter().flatten();
        if ids.filter_map(|id| self.papers.get(id)).any(|paper| !paper.ended) {
            self.fault(call, format!("{} outlives its session", ua.side));
        }
    }

    /// A request that was given up: the switch never heard it, or its answers were lost.
    pub fn unheard(&mut self, call: usize, met: &Met, leg: usize, (method, branch): (&str, &str)) {
        let side = met.legs[leg].side;
        let same = |g: &&Group| g.method == method && g.branch == branch;
        let mut groups = met.log.groups.iter().filter(same);
        let asked = groups.clone().find(|g| g.way == Way::ToSwitch(side) && g.code == 0);
        let answered = groups.any(|g| g.way == Way::FromSwitch(side) && g.code >= 200);
        let heard = asked.is_some_and(|g| g.arrived > 0 && g.began > self.restarted);
        if heard && !answered {
            self.fault(call, format!("{method} of {side} got no answer"));
        }
    }
}

/// Whether the network took something of a refresh of this leg in its last interval.
fn lost_a_refresh(met: &Met, ua: &Ua, since: u64) -> bool {
    let ours = |g: &&Group| {
        matches!(g.way, Way::ToSwitch(s) | Way::FromSwitch(s) if s == ua.side)
            && g.call_id == ua.call_id
            && matches!(g.method.as_str(), "INVITE" | "UPDATE" | "ACK")
            && (g.began >= since || g.came.is_some_and(|at| at >= since))
    };
    met.log.groups.iter().filter(ours).any(|g| g.arrived < g.sent)
}

/// Whether somebody has hung up on this leg.
fn hung_up(met: &Met, ua: &Ua) -> bool {
    let bye = |g: &Group| g.method == "BYE" && g.code == 0 && g.call_id == ua.call_id;
    met.log.groups.iter().any(bye)
}
