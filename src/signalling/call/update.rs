//! UPDATE (RFC 3311): a new offer or only a sign of life, without the three ways of an INVITE; and
//! who has to wait while an offer is under way.

use cooee_model::ids::Side;

use crate::call::Call;
use crate::call::context::Cx;
use crate::call::setup::sdp_of;
use crate::leg::half::LegState;
use crate::leg::offer_answer::described;
use crate::leg::session_timer::Session;
use crate::leg::uas::{Passed, answer};
use crate::message::view::{Message, Method};
use crate::transaction::layer::ServerId;

impl Call {
    /// An UPDATE of one side. Without a description it is between that side and us; with one it
    /// is passed on: as UPDATE where the other side knows it, else as re-INVITE.
    pub(super) fn updated(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        server: ServerId,
        request: Message,
    ) {
        let offers = !sdp_of(&request).is_empty();
        if let Some(code) = Session::refuses(&self.terms(side), &request, false) {
            return self.reply(cx, side, server, &request, code);
        }
        if let Some(code) = self.refuses_update(side, &request, offers) {
            return self.reply(cx, side, server, &request, code);
        }
        if let Some(leg) = self.leg_mut(side) {
            leg.refresh(&request);
        }
        self.dirty = true;
        if offers {
            let by_update = self.leg(side.other()).is_some_and(|l| l.takes_update);
            let across = if by_update { Method::Update } else { Method::Invite };
            let offer = described(sdp_of(&request));
            return self.pass_on(cx, side, (server, request), across, offer);
        }
        self.agree_as_uas(cx, side, &request);
        let Some(leg) = self.leg(side) else { return };
        let name = &cx.core.plan.settings.user_agent;
        let bytes = answer(leg, &request, name, Passed { code: 200, ..Passed::default() });
        cx.core.tx.respond(cx.now, server, 200, bytes, None, &mut cx.out.sends);
    }

    /// Why an UPDATE cannot be taken now (RFC 3311, 5.2), as a status code.
    fn refuses_update(&self, side: Side, request: &Message, offers: bool) -> Option<u16> {
        let own = |r: &&super::midcall::Relay| r.from == side && r.offers();
        let pending = self.relays.iter().find(own).map(|r| r.request.method());
        if pending == Some(Method::Update) {
            return Some(500);
        }
        if !offers {
            return (!request.body().is_empty()).then_some(415);
        }
        if let Some(code) = self.glare(side) {
            return Some(code);
        }
        if self.is_agreed() {
            return None;
        }
        let setup = |leg: Option<&crate::leg::half::Leg>| leg.map(|l| l.state);
        let both = [setup(Some(&self.a)), setup(self.b.as_ref())];
        if both != [Some(LegState::Setup); 2] {
            // The answer is on its way, or the end.
            return Some(491);
        }
        // While the first offer has no answer there can be no second.
        match (self.early.is_empty(), side) {
            (true, Side::A) => Some(500),
            (true, Side::B) => Some(491),
            // No re-INVITE in the early dialog: who knows no UPDATE cannot be asked.
            (false, _) => {
                let knows = self.leg(side.other()).is_some_and(|l| l.takes_update);
                (!knows).then_some(488)
            }
        }
    }

    /// What a new offer of `side` hears while another is under way: 500 where it is its own, 491
    /// where it is ours towards it (RFC 3261, 14.2; RFC 3311, 5.2).
    pub(super) fn glare(&self, side: Side) -> Option<u16> {
        let own = self.relays.iter().any(|r| r.offers() && r.from == side);
        let other = self.relays.iter().any(|r| r.offers() && r.from != side);
        match (own, other || self.refreshes_by_offer()) {
            (true, _) => Some(500),
            (false, true) => Some(491),
            _ => None,
        }
    }

    /// Whether both legs are up and every first offer has its answer.
    pub(super) fn is_agreed(&self) -> bool {
        let up = |leg: &crate::leg::half::Leg| leg.is_up() && leg.acked;
        up(&self.a) && self.b.as_ref().is_some_and(up)
    }
}
