//! REFER (RFC 3515) by policy: refused, or passed on to the other side with the NOTIFYs that tell
//! how it went. We never call anybody for a peer.

use cooee_model::ids::Side;

use crate::call::Call;
use crate::call::context::Cx;
use crate::message::address::Address;
use crate::message::name::Name;
use crate::message::text::{lossy, split_outside, trim};
use crate::message::view::{Message, Method};
use crate::profile::plan::Refer;
use crate::transaction::layer::ServerId;

/// How a REFER is refused that policy would pass on.
const DECLINED: u16 = 603;

impl Call {
    /// A REFER of one side.
    pub(super) fn referred(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        server: ServerId,
        request: Message,
    ) {
        let trunk = self.leg(side).and_then(|l| self.plan.trunk(&l.trunk));
        let accepted = trunk.is_some_and(|t| t.profile.behaviour.accept_refer);
        let refusal = match cx.core.plan.settings.refer {
            Refer::Refused(code) if !accepted => Some(code),
            _ => self.refuses_referral(&request),
        };
        if let Some(code) = refusal {
            return self.reply(cx, side, server, &request, code);
        }
        self.referral = Some(side);
        self.pass_on(cx, side, (server, request), Method::Refer, None);
    }

    /// Why a REFER is not passed on although it might be. One transfer at a time; and one that
    /// names a dialog to be replaced (an attended transfer) means nothing on the other leg.
    fn refuses_referral(&self, request: &Message) -> Option<u16> {
        let mut targets = request.list(Name::ReferTo).filter_map(Address::read);
        let (Some(target), None) = (targets.next(), targets.next()) else { return Some(400) };
        let names_a_dialog = lossy(target.uri).to_ascii_lowercase().contains("replaces=");
        (self.referral.is_some() || names_a_dialog).then_some(DECLINED)
    }

    /// A NOTIFY: news of a transfer that an operator or the other side asked for, or nothing that
    /// we know.
    pub(super) fn notified(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        server: ServerId,
        request: Message,
    ) {
        let head = |name| trim(split_outside(request.value(name).unwrap_or_default(), b';').0);
        if self.transfer_told(cx, side, server, &request) {
            return;
        }
        let wanted = self.referral == Some(side.other());
        if !wanted || !head(Name::Event).eq_ignore_ascii_case(b"refer") {
            return self.reply(cx, side, server, &request, 489);
        }
        let state = request.value_of("Subscription-State").unwrap_or_default();
        if trim(split_outside(state, b';').0).eq_ignore_ascii_case(b"terminated") {
            self.referral = None;
        }
        self.pass_on(cx, side, (server, request), Method::Notify, None);
    }
}
