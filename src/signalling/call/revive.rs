//! How an answered call goes on after a crash.
//!
//! ```text
//!  last snapshot: both legs up --> leases taken again, relay opened towards the same peers,
//!     A's 2xx sent until its ACK; fact `Revived`
//!       |  within seconds: OPTIONS in both dialogs
//!       |    481: the peer hung up while we were away --> the other side is ended, `recovered`
//!       v    anything else, or nothing: the call is up; the media time-out began anew
//!      up
//! ```
//!
//! A request that was on its way across at the crash is lost with its transaction: who asked hears
//! 500 for its copies and may ask again. What the other side says to it late is heard all the same:
//! an answer to an INVITE is acknowledged by its dialog, a 2xx renews the session, 481 ends the
//! call.

use std::net::SocketAddr;
use std::time::Duration;

use cooee_model::account::{Account, Outcome, Party};
use cooee_model::fact::What;
use cooee_model::ids::{Lease, Side};
use cooee_model::media::MediaCommand;
use cooee_model::moment::Moment;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::call::context::{Alarm, Cx, Purpose};
use crate::call::{Call, Path};
use crate::leg::dialog::Local;
use crate::leg::half::{Leg, LegState};
use crate::message::name::Name;
use crate::message::view::{Message, Method};
use crate::transaction::flow::Transmit;

/// Calls ask after their peers in so many groups, one after the other: thousands of calls must not
/// all ask at once.
const GROUPS: u64 = 8;

/// From group to group.
const GROUP_EVERY: Duration = Duration::from_millis(500);

/// What an answered call needs to go on, beside what its account and its legs say.
#[derive(Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Life {
    /// The registered line that was called.
    #[n(0)]
    pub line: String,
    /// The section offered as audio.
    #[n(1)]
    pub audio: Option<usize>,
    /// Held since, and by whom.
    #[n(2)]
    pub held: Option<(Moment, Side)>,
}

/// What a leg needs to go on, beside its dialog and its description.
#[derive(Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LegLife {
    #[n(0)]
    media: Option<(SocketAddr, SocketAddr)>,
    #[n(1)]
    source: Option<SocketAddr>,
    #[n(2)]
    heard: bool,
    /// Our 2xx, while its ACK is waited for.
    #[n(3)]
    answer: Option<ByteVec>,
    /// The Reason of a BYE that waits for that ACK.
    #[n(4)]
    bye_waits: Option<ByteVec>,
    /// Our last ACK and its CSeq, if it carries an answer: it could not be written again.
    #[n(5)]
    ack: Option<(u32, ByteVec)>,
    /// B: CSeq of its first INVITE.
    #[n(6)]
    invite_cseq: u32,
    #[n(7)]
    takes_update: bool,
    #[n(8)]
    pointed: u64,
}

impl LegLife {
    /// Takes what a patch says: an answer that was acknowledged is not said again.
    pub(super) fn acknowledge(&mut self, acked: bool, takes_update: bool) {
        self.answer = self.answer.take().filter(|_| !acked);
        self.takes_update = takes_update;
    }
}

impl Leg {
    /// What a snapshot keeps of the leg's life.
    pub(super) fn life(&self) -> LegLife {
        let waits = !self.acked && !self.answer.is_empty();
        let ack = self.ack.as_ref().filter(|(.., bytes)| !bytes.ends_with(b"\r\n\r\n"));
        LegLife {
            media: self.media,
            source: self.source,
            heard: self.heard,
            answer: waits.then(|| self.answer.to_vec().into()),
            bye_waits: self.bye_waits.clone().map(ByteVec::from),
            ack: ack.map(|(cseq, _, bytes)| (*cseq, bytes.to_vec().into())),
            invite_cseq: self.invite_cseq,
            takes_update: self.takes_update,
            pointed: self.pointed,
        }
    }

    /// Takes up what a snapshot kept.
    pub(super) fn live_again(&mut self, life: LegLife, locals: &[Local]) {
        (self.media, self.source, self.heard) = (life.media, life.source, life.heard);
        self.invite_cseq = life.invite_cseq;
        (self.takes_update, self.pointed) = (life.takes_update, life.pointed);
        self.answer = life.answer.map(|a| Vec::from(a).into()).unwrap_or_default();
        self.bye_waits = life.bye_waits.map(Vec::from);
        let flow = self.dialog.next_hop(self.flow, locals);
        self.ack = life.ack.map(|(cseq, bytes)| (cseq, flow, Vec::from(bytes).into()));
    }
}

impl Call {
    /// What a snapshot keeps of the call's life.
    pub(super) fn life(&self) -> Life {
        Life { line: self.line.clone(), audio: self.audio, held: self.held }
    }

    /// A restart fell into the call: the account says so, and times of another boot are told by
    /// the wall clock.
    pub(super) fn cut_by_restart(&mut self, cx: &Cx<'_>, same_boot: bool) {
        self.account.recovered = true;
        self.skip_numbers(cx.now, same_boot);
        if !same_boot {
            self.account.wall_spans = true;
            moments_of(&mut self.account, |at| *at = at.across_reboot(cx.now));
            self.held = self.held.map(|(since, by)| (since.across_reboot(cx.now), by));
        }
    }

    /// Goes on with CSeqs that no request of an earlier run can have: where the journal has no
    /// room, requests leave without a record. One is left out for each millisecond of the call, so
    /// that each run has numbers of its own; peers take any that is higher (RFC 3261, 12.2.2).
    pub(super) fn skip_numbers(&mut self, now: Moment, same_boot: bool) {
        let began = self.account.times.invite;
        let began = if same_boot { began } else { began.across_reboot(now) };
        let skipped = u32::try_from((now - began).as_millis()).unwrap_or(u32::MAX / 4);
        for side in [Side::A, Side::B] {
            if let Some(leg) = self.leg_mut(side) {
                leg.dialog.local_cseq = leg.dialog.local_cseq.saturating_add(skipped);
            }
        }
    }

    /// Whether both peers can still be spoken to from where they know us.
    pub fn is_reachable(&self, cx: &Cx<'_>) -> bool {
        let has_socket = |leg: &Leg| {
            cx.core.local(leg.flow).is_some_and(|l| {
                l.transport == leg.flow.transport && leg.dialog.contact.contains(&l.sent_by)
            })
        };
        has_socket(&self.a) && self.b.as_ref().is_some_and(has_socket)
    }

    /// Goes on with a call whose legs are up. `leases`: its port pairs, which it has again.
    pub fn revive(&mut self, cx: &mut Cx<'_>, leases: Option<(Lease, Lease)>, same_boot: bool) {
        self.cut_by_restart(cx, same_boot);
        self.path = if leases.is_some() { Path::Relayed } else { Path::Bypass };
        self.leases = leases;
        if let Some((a, b)) = leases {
            self.open_relay(cx, (a, b));
        }
        self.wake_sessions(cx, same_boot);
        let account = Box::new(self.account.clone());
        self.fact(cx, cx.now, What::Revived { account, held_by: self.held.map(|h| h.1) });
        let group = u32::try_from(cx.core.random() % GROUPS).unwrap_or(0) + 1;
        cx.core.alarms.set(cx.now, GROUP_EVERY * group, Alarm::Ask(self.slot));
    }

    fn open_relay(&mut self, cx: &mut Cx<'_>, (a, b): (Lease, Lease)) {
        let (call, at) = (self.id, cx.now);
        let timeout = Duration::from_secs(cx.core.plan.settings.media_timeout_s.into());
        cx.out.media.push(MediaCommand::Open { call, a, b, at, timeout });
        self.weigh_digits(cx);
        self.tell_relay(cx, Side::A);
        self.tell_relay(cx, Side::B);
        if self.held.is_some() {
            cx.out.media.push(MediaCommand::Hold { call, held: true });
        }
        // The bridge was not seen before the crash: it is what is seen first now.
        if let (Some(at), None) = (self.account.times.agent, self.account.times.bridge) {
            cx.out.media.push(MediaCommand::Mark { call, at });
        }
    }

    /// Asks both peers whether they still know the dialog.
    pub fn ask_after_peers(&mut self, cx: &mut Cx<'_>) {
        for side in [Side::A, Side::B] {
            // Before the ACK the peer is known to be there, or found not to be.
            if self.ended || !self.leg(side).is_some_and(|l| l.is_up() && l.acked) {
                continue;
            }
            let agent = cx.core.plan.settings.user_agent.clone();
            self.send(cx, side, ("OPTIONS", Purpose::Ask), None, |_, mut writer| {
                writer.header(Name::Accept, &[b"application/sdp"]);
                if !agent.is_empty() {
                    writer.header(Name::UserAgent, &[agent.as_bytes()]);
                }
                writer.finish(b"", b"")
            });
        }
    }

    /// What a peer says when asked. Only one that does not know the dialog has hung up: any other
    /// answer, and none, says that the peer does not care for the question (RFC 5057, 5.1).
    pub fn peer_said(&mut self, cx: &mut Cx<'_>, side: Side, response: &Message) {
        if response.code() == 481 && !self.ended {
            // When it hung up is not known: the end was not seen.
            const REASON: &[u8] = b"Q.850;cause=41;text=\"hung up during a restart\"";
            self.leg_gone(side);
            self.account.reason = format!("{side} hung up during a restart");
            self.over(cx, Party::Unknown, Outcome::Recovered);
            self.end_a(cx, REASON, None);
            self.end_b(cx, REASON);
        }
    }

    /// A final answer to a request of an earlier run, whose transaction went with that.
    pub fn answered_before(&mut self, cx: &mut Cx<'_>, response: &Message) {
        let Some(side) = self.side_of(response).filter(|_| self.account.recovered) else { return };
        let cseq = response.cseq().map_or(0, |c| c.number);
        let is_ours = |l: &Leg| l.acked && l.state != LegState::Gone && cseq <= l.dialog.local_cseq;
        if !self.leg(side).is_some_and(is_ours) {
            return;
        }
        match (response.method(), response.code()) {
            (Method::Invite, 200..300) => self.accepted_before(cx, side, cseq, response),
            (Method::Invite, _) => self.refused_before(cx, side, cseq, response),
            _ => {}
        }
        self.peer_said(cx, side, response);
    }

    /// A 2xx to such an INVITE: our ACK was lost, or we were before we sent it.
    fn accepted_before(&mut self, cx: &mut Cx<'_>, side: Side, cseq: u32, response: &Message) {
        if self.acknowledge_again(cx, response) {
            return;
        }
        self.send_ack(cx, side, cseq, b"");
        if !self.ended && self.leg(side).is_some_and(Leg::is_up) {
            self.refreshed(cx, side, true, response);
        }
    }

    /// The ACK to a refusal has the branch of its INVITE (RFC 3261, 17.1.1.3), which the refusal
    /// brings back.
    fn refused_before(&mut self, cx: &mut Cx<'_>, side: Side, cseq: u32, response: &Message) {
        let Some(leg) = self.leg(side) else { return };
        let Some((flow, local)) = cx.core.next_hop(&leg.dialog, leg.flow) else { return };
        let branch = response.via().map(|via| String::from_utf8_lossy(via.branch()));
        let bytes = leg.write_ack(cseq, local, &branch.unwrap_or_default(), b"");
        cx.out.sends.push(Transmit { flow, bytes, measure: None });
    }
}

fn moments_of(account: &mut Account, mut change: impl FnMut(&mut Moment)) {
    let times = &mut account.times;
    change(&mut times.invite);
    let of_call = [
        &mut times.invite_out,
        &mut times.b_100,
        &mut times.b_18x,
        &mut times.b_200,
        &mut times.queue,
        &mut times.agent,
        &mut times.bridge,
        &mut times.end,
    ];
    of_call.into_iter().flatten().for_each(&mut change);
    for leg in &mut account.legs {
        let of_leg = [&mut leg.invite, &mut leg.ringing, &mut leg.answer, &mut leg.end];
        of_leg.into_iter().flatten().for_each(&mut change);
    }
}
