//! What A hears while its call is coming up for long: its last provisional response again every
//! minute, and, where the route wants it so, no 200 before the agent's answer.

use crate::call::Call;
use crate::call::context::{Alarm, Cx};
use crate::call::limits::EARLY_AGAIN;
use crate::leg::half::{Invite, LegState};
use crate::leg::uas::Passed;
use crate::profile::decision::Propagation;

impl Call {
    /// A proxy on A's side gives up after three minutes without news (RFC 3261, 13.3.1.1; 16.7).
    pub fn say_early_again(&mut self, cx: &mut Cx<'_>) {
        let Invite::Server(server) = self.a.invite else { return };
        if self.a.state != LegState::Setup || self.ended {
            return;
        }
        match cx.core.tx.last_said(server) {
            Some(again) => cx.out.sends.push(again),
            None => self.answer_a(cx, Passed { code: 183, ..Passed::default() }, None),
        }
        cx.core.alarms.set(cx.now, EARLY_AGAIN, Alarm::Early(self.slot));
    }

    /// Whether B's 2xx is kept from A until the agent answers. A late offer cannot wait: A's answer
    /// to it comes with the ACK.
    pub(super) fn holds_back(&self, offered: bool) -> bool {
        offered
            && self.decision.propagation == Propagation::Agent
            && self.account.times.agent.is_none()
    }

    /// The agent has answered: A gets the answer that was held back, word for word.
    pub(super) fn let_answer_go(&mut self, cx: &mut Cx<'_>) {
        let up = self.b.as_ref().is_some_and(|b| b.state == LegState::Up);
        let Some(sdp) = self.held_back.take().filter(|_| up && !self.ended) else { return };
        // Where a reliable 183 carried it, it has been given already.
        let sdp = if self.is_answered_early() { Vec::new() } else { sdp };
        self.answer_a(cx, Passed { code: 200, sdp: &sdp, ..Passed::default() }, None);
    }
}
