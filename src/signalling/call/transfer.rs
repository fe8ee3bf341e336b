//! A transfer that an operator orders: one side is asked by REFER to go on with somebody else
//! (RFC 3515; RFC 5589, 6.1), and what comes of it is watched by its NOTIFYs.
//!
//! ```text
//!  order --REFER--> asked --2xx--> accepted --NOTIFY 2xx--> done: both legs are ended
//!                     |               '--NOTIFY 3xx and up, silence--> failed: the call goes on
//!                     '--3xx and up, silence--> failed
//! ```
//!
//! We call nobody: who is asked does, or refuses.

use std::time::Duration;

use cooee_model::account::{Party, Role};
use cooee_model::fact::What;
use cooee_model::ids::Side;
use minicbor::{Decode, Encode};

use crate::call::Call;
use crate::call::context::{Alarm, Cx, Purpose};
use crate::message::address::{Address, Uri};
use crate::message::name::Name;
use crate::message::text::{lossy, number, split_outside, trim};
use crate::message::view::Message;
use crate::transaction::layer::ServerId;
use crate::transaction::slots::Slot;

/// How long the side may tell nothing of a transfer that it has accepted.
pub const SILENCE: Duration = Duration::from_secs(60);

/// Longest target, bytes.
const TARGET_MAX: usize = 256;

/// What is under way.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Transfer {
    /// Who was asked.
    #[n(0)]
    side: Side,
    /// The URI that it was given.
    #[n(1)]
    target: String,
    /// The last alarm that was set for it.
    #[cbor(skip)]
    mark: u32,
}

impl Transfer {
    /// As a snapshot has it: the side may still tell how it went.
    pub(super) fn restore(cx: &mut Cx<'_>, slot: Slot, kept: Option<Self>) -> Option<Box<Self>> {
        let mut kept = Box::new(kept?);
        kept.wait(cx, slot);
        Some(kept)
    }

    /// From now on nothing may be told for a while.
    fn wait(&mut self, cx: &mut Cx<'_>, slot: Slot) {
        self.mark = u32::try_from(cx.core.random() >> 32).unwrap_or_default();
        cx.core.alarms.set(cx.now, SILENCE, Alarm::Transfer(slot, self.mark));
    }
}

impl Call {
    /// An operator wants one side to go on with somebody else; `None`: the side of the customer.
    pub fn transfer(&mut self, cx: &mut Cx<'_>, side: Option<Side>, target: String) {
        let side = side.unwrap_or(match self.decision.role {
            Role::AgentLeg => Side::A,
            Role::CustomerLeg => Side::B,
        });
        if self.ended {
            return;
        }
        if self.transfer.is_some() || self.referral.is_some() {
            // What is under way keeps its result.
            return cx.note(self.id, "another transfer is under way: this one is dropped");
        }
        if let Some(why) = self.refuses_transfer(side, &target) {
            return self.fact(cx, cx.now, What::TransferEnded { code: 0, why });
        }
        let Some(target) = self.target_at(side, target) else {
            let why = "the target makes no URI at that side".to_owned();
            return self.fact(cx, cx.now, What::TransferEnded { code: 0, why });
        };
        self.fact(cx, cx.now, What::TransferAsked { side, target: target.clone() });
        self.transfer = Some(Box::new(Transfer { side, target, mark: 0 }));
        self.send_refer(cx, None);
    }

    fn refuses_transfer(&self, side: Side, target: &str) -> Option<String> {
        let odd = |c: char| c.is_control() || c.is_whitespace() || "<>\"\\".contains(c);
        if target.is_empty() || target.len() > TARGET_MAX || target.contains(odd) {
            return Some("the target is no URI and no user".to_owned());
        }
        let up = self.a.is_up() && self.b.as_ref().is_some_and(|b| b.is_up());
        if !up || !self.is_agreed() {
            return Some("the call is not answered on both legs".to_owned());
        }
        let trunk = self.leg(side).and_then(|leg| self.plan.trunk(&leg.trunk))?;
        (!trunk.profile.behaviour.takes_refer).then(|| {
            format!("profile `{}` of leg {side} takes no REFER (takes_refer)", trunk.profile.name)
        })
    }

    /// The target as a URI: one as it is, else a user at the peer's host.
    fn target_at(&self, side: Side, target: String) -> Option<String> {
        let scheme =
            |name: &str| target.get(..name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name));
        if scheme("sip:") || scheme("sips:") {
            return Uri::read(target.as_bytes()).is_some().then_some(target);
        }
        let remote = Address::read(&self.leg(side)?.dialog.remote)?;
        let host = lossy(Uri::read(remote.uri)?.host);
        let uri = format!("sip:{target}@{host}");
        let user = Uri::read(uri.as_bytes())?.user;
        (user == target.as_bytes()).then_some(uri)
    }

    fn send_refer(&mut self, cx: &mut Cx<'_>, authorization: Option<(Name, String)>) {
        let Some(Transfer { side, target, .. }) = self.transfer.as_deref().cloned() else { return };
        let agent = cx.core.plan.settings.user_agent.clone();
        let what = ("REFER", Purpose::Transfer);
        let sent = self.send(cx, side, what, None, |leg, mut writer| {
            leg.contact(&mut writer);
            writer.named(b"Refer-To", &[b"<", target.as_bytes(), b">"]);
            writer.named(b"Referred-By", &[b"<", leg.dialog.contact.as_bytes(), b">"]);
            if !agent.is_empty() {
                writer.header(Name::UserAgent, &[agent.as_bytes()]);
            }
            if let Some((name, value)) = &authorization {
                writer.header(*name, &[value.as_bytes()]);
            }
            writer.finish(b"", b"")
        });
        if sent.is_none() {
            self.transfer_over(cx, 0, "the leg cannot be reached");
        }
    }

    /// What the side says to being asked.
    pub fn transfer_responded(&mut self, cx: &mut Cx<'_>, response: &Message) {
        let Some(side) = self.transfer.as_ref().map(|t| t.side) else { return };
        match response.code() {
            ..200 => {}
            200..300 => self.await_news(cx),
            401 | 407 => match self.authorize(cx, side, response, "REFER") {
                Some(authorization) => self.send_refer(cx, Some(authorization)),
                None => self.transfer_over(cx, response.code(), "a challenge was not answered"),
            },
            code => {
                let phrase = lossy(response.reason_phrase());
                self.transfer_over(cx, code, &phrase);
                if matches!(code, 408 | 481) {
                    self.dialog_lost(cx, side, code);
                }
            }
        }
    }

    /// A NOTIFY of the side that was asked: the status line of its own call is in the body.
    /// `false`: it is of something else.
    pub(super) fn transfer_told(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
    ) -> bool {
        let head = |value: &[u8]| trim(split_outside(value, b';').0).to_ascii_lowercase();
        let event = head(request.value(Name::Event).unwrap_or_default());
        if self.transfer.as_ref().is_none_or(|t| t.side != side) || event != b"refer" {
            return false;
        }
        self.reply(cx, side, server, request, 200);
        let state = head(request.value_of("Subscription-State").unwrap_or_default());
        let mut words = request.body().splitn(3, |b| *b == b' ');
        let is_status = words.next().is_some_and(|w| w.eq_ignore_ascii_case(b"SIP/2.0"));
        let code = words.next().filter(|_| is_status).and_then(number).unwrap_or_default();
        let code = u16::try_from(code).unwrap_or_default();
        match code {
            200..300 => self.transferred(cx, code),
            300.. => self.transfer_over(cx, code, "the target was not reached"),
            _ if state == b"terminated" => self.transfer_over(cx, code, "it told no result"),
            _ => self.await_news(cx),
        }
        true
    }

    /// The side talks to the target: nobody needs us any more.
    fn transferred(&mut self, cx: &mut Cx<'_>, code: u16) {
        let target = self.transfer.as_ref().map(|t| t.target.clone()).unwrap_or_default();
        self.transfer_over(cx, code, "transferred");
        if !self.ended {
            self.account.reason = format!("transferred to {target}");
            self.cut(cx, Party::Bridge, b"Q.850;cause=16;text=\"transferred\"");
        }
    }

    fn await_news(&mut self, cx: &mut Cx<'_>) {
        let slot = self.slot;
        if let Some(transfer) = &mut self.transfer {
            transfer.wait(cx, slot);
        }
    }

    /// Nothing has been told for too long, if no other alarm was set since.
    pub fn transfer_is_silent(&mut self, cx: &mut Cx<'_>, mark: u32) {
        if self.transfer.as_ref().is_some_and(|transfer| transfer.mark == mark) {
            self.transfer_over(cx, 408, "no word of its result");
        }
    }

    /// A transfer is over; unless it is done the call goes on.
    pub fn transfer_over(&mut self, cx: &mut Cx<'_>, code: u16, why: &str) {
        if self.transfer.take().is_some() && !self.ended {
            self.fact(cx, cx.now, What::TransferEnded { code, why: why.to_owned() });
        }
    }
}
