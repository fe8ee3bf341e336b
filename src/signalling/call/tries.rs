//! Who is called next: the targets of the decision in their order, and of each the addresses of
//! its trunk.

use std::collections::VecDeque;

use crate::call::Call;
use crate::call::context::Cx;
use crate::call::limits::{RETRY_AFTER_S, TRIES};
use crate::call::loads::Loads;
use crate::call::peers::Verdict;
use crate::call::setup::sdp_of;
use crate::leg::half::{Invite, LegState};
use crate::message::codecs::Kept;
use crate::transaction::client::ClientState;
use crate::transaction::flow::Flow;

/// How far the next try lies from the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It may be another address of the same target: the server failed.
    Address,
    /// It must be another target: the server answered for the one who was called.
    Target,
}

impl Scope {
    /// What a final response says of further addresses.
    pub const fn of(code: u16) -> Self {
        match code {
            408 | 500..600 => Self::Address,
            _ => Self::Target,
        }
    }
}

/// How far a call has come through its targets.
#[derive(Debug, Default)]
pub struct Tries {
    /// How many of the decision's targets have been begun.
    begun: usize,
    /// Addresses of the last of them that were not tried yet, best first.
    left: VecDeque<(String, Flow)>,
    /// The trunk that carries the call on its way to B.
    on: String,
    /// A trunk had no room for the call.
    full: bool,
    /// A trunk takes none of the codecs that A offers.
    unfit: bool,
}

impl Tries {
    /// These addresses come before all others of the present target.
    pub(super) fn lead(&mut self, ways: Vec<(String, Flow)>) {
        for way in ways.into_iter().rev() {
            self.left.push_front(way);
        }
    }
}

/// One try.
#[derive(Debug)]
pub struct Way {
    /// Which target of the decision.
    pub target: usize,
    /// Host of the address as URIs write it.
    pub host: String,
    /// Where it is.
    pub flow: Flow,
}

impl Call {
    /// Whether there is somebody else to try.
    pub(super) fn has_next(&self, cx: &Cx<'_>, scope: Scope) -> bool {
        let further = self.decision.targets.iter().skip(self.tries.begun);
        let mut further = further.filter(|t| is_reachable(cx, &t.trunk));
        self.attempt < TRIES
            && (scope == Scope::Address && !self.tries.left.is_empty() || further.next().is_some())
    }

    /// Tries somebody else; there is one. `why`: what the last one did.
    pub(super) fn try_next(&mut self, cx: &mut Cx<'_>, scope: Scope, why: &str) {
        if let Some(leg) = &self.b {
            let (trunk, peer) = (&leg.trunk, leg.flow.remote);
            cx.note(self.id, format!("trunk {trunk} at {peer} {why}: the next is tried"));
        }
        if scope == Scope::Target {
            self.tries.left.clear();
        }
        self.try_target(cx);
    }

    /// The next try; `None`: there is none, and A has been refused.
    pub(super) fn next_way(&mut self, cx: &mut Cx<'_>) -> Option<Way> {
        loop {
            if let Some((host, flow)) = self.tries.left.pop_front() {
                let target = self.tries.begun.saturating_sub(1);
                return Some(Way { target, host, flow });
            }
            let Some(target) = self.decision.targets.get(self.tries.begun) else {
                let (code, why) = match self.tries.unfit {
                    true => (488, "no codec that the trunk takes"),
                    false => (503, "no target left"),
                };
                self.refuse_a(cx, code, why);
                return None;
            };
            self.tries.begun += 1;
            let trunk = target.trunk.clone();
            let offer = self.invite.as_ref().map_or(&b""[..], sdp_of);
            if self.kept_for(&trunk, offer) == Kept::Nothing {
                cx.note(self.id, format!("trunk {trunk} takes none of the codecs offered"));
                self.tries.unfit = true;
                continue;
            }
            self.tries.left = ways(cx, &trunk);
            if !self.tries.left.is_empty() && !self.takes_room(cx, &trunk) {
                cx.note(self.id, format!("trunk {trunk} carries all that it may"));
                self.tries.left.clear();
            } else if self.tries.left.is_empty() {
                cx.note(self.id, format!("trunk {trunk} has no address that we can call"));
                if !cx.core.plan.retry.on_transport {
                    self.refuse_a(cx, 503, "trunk unreachable");
                    return None;
                }
            }
        }
    }

    /// Counts the call on the trunk that it goes to now; `false`: there is no room.
    fn takes_room(&mut self, cx: &mut Cx<'_>, trunk: &str) -> bool {
        let Some(limits) = cx.core.plan.trunk(trunk).map(|t| t.limits) else { return false };
        if self.tries.on == trunk {
            return true;
        }
        let room = cx.core.loads.take(cx.now, trunk, limits);
        if room {
            self.leave_room(&mut cx.core.loads);
            cx.core.loads.begins(trunk);
            trunk.clone_into(&mut self.tries.on);
        }
        self.tries.full |= !room;
        room
    }

    /// The call is on its way to no trunk any more.
    pub fn leave_room(&mut self, loads: &mut Loads) {
        if !self.tries.on.is_empty() {
            loads.over(&std::mem::take(&mut self.tries.on));
        }
    }

    /// After a crash: B is on its trunk again.
    pub fn take_room_again(&mut self, loads: &mut Loads) {
        if let Some(b) = &self.b {
            loads.begins(&b.trunk);
            self.tries.on.clone_from(&b.trunk);
        }
    }

    /// Nothing at all has come from the target for a while: another one is tried, if there is one.
    pub fn was_silent(&mut self, cx: &mut Cx<'_>, attempt: u32) {
        let silent = self.b.as_ref().is_some_and(|b| {
            let Invite::Client(client) = b.invite else { return false };
            let calling =
                |c: &crate::transaction::client::Client<_>| c.state == ClientState::Calling;
            b.state == LegState::Setup && cx.core.tx.client(client).is_some_and(calling)
        });
        let may = cx.core.plan.retry.on_timeout && self.has_next(cx, Scope::Address);
        if silent && may && attempt == self.attempt && !self.ended {
            self.judge_b(cx, Verdict::Failed);
            self.abandon_b(cx, b"");
            self.try_next(cx, Scope::Address, "is silent");
        }
    }

    /// Seconds until the first of the targets has rested; empty where one of them does not rest.
    pub(super) fn rest_of_targets_s(&self, cx: &Cx<'_>) -> String {
        if self.tries.full {
            return RETRY_AFTER_S.to_string();
        }
        let places = self.decision.targets.iter().filter_map(|t| cx.core.plan.trunk_at(&t.trunk));
        let peers = places.flat_map(|at| cx.core.peers.of(at));
        let rests: Option<Vec<_>> = peers.map(|p| p.rest(cx.now)).collect();
        let first = rests.and_then(|rests| rests.into_iter().min());
        first.map(|rest| (rest.as_millis().div_ceil(1000)).to_string()).unwrap_or_default()
    }

    /// Notes what B's INVITE has shown of the address that it went to.
    pub(super) fn judge_b(&self, cx: &mut Cx<'_>, verdict: Verdict) {
        let Some(b) = &self.b else { return };
        let Some(trunk) = cx.core.plan.trunk_at(&b.trunk) else { return };
        let at = (b.flow.transport, b.flow.remote);
        cx.core.judge(cx.now, trunk, at, verdict, &mut cx.out.notes);
    }
}

/// The addresses of a trunk that we can call now, best first.
fn ways(cx: &mut Cx<'_>, trunk: &str) -> VecDeque<(String, Flow)> {
    if cx.core.told.contains_key(trunk) {
        return VecDeque::new();
    }
    let random = cx.core.random();
    let Some(at) = cx.core.plan.trunk_at(trunk) else { return VecDeque::new() };
    let places = cx.core.peers.in_order(at, cx.now, random).into_iter();
    places.filter_map(|p| Some((p.authority(), cx.core.flow_to(p)?))).collect()
}

fn is_reachable(cx: &Cx<'_>, trunk: &str) -> bool {
    if cx.core.told.contains_key(trunk) {
        return false;
    }
    let Some(at) = cx.core.plan.trunk_at(trunk) else { return false };
    let mut peers = cx.core.peers.of(at).iter();
    peers.any(|p| p.rest(cx.now).is_none() && cx.core.flow_to(&p.place).is_some())
}
