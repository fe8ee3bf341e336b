//! What a crash must not take: written before each message that changes it, read at a restart.
//!
//! The image of a call is one CBOR map; patches of it may follow ([`crate::call::patch`]). Numbers
//! are never used again for something else and new entries are optional, so that every version
//! reads what an earlier one wrote.

use cooee_model::account::{Account, Outcome, Party};
use cooee_model::ids::{CallId, Family, Side};
use cooee_model::ink;
use minicbor::{Decode, Encode};
use std::net::SocketAddr;

use crate::call::context::{Cx, Owner, Purpose};
use crate::call::early::Early;
use crate::call::late::{LateImage, LateOut};
use crate::call::portal::Word;
use crate::call::revive::{LegLife, Life};
use crate::call::transfer::Transfer;
use crate::call::tries::Tries;
use crate::call::{Call, Path};
use crate::leg::asked::Asked;
use crate::leg::dialog::{Dialog, Local};
use crate::leg::events::Named;
use crate::leg::half::{Invite, Leg, LegState};
use crate::leg::offer_answer::Description;
use crate::leg::session_timer::Session;
use crate::message::text::socket_text;
use crate::message::transport::Transport;
use crate::message::view::Message;
use crate::profile::decision::Decision;
use crate::transaction::flow::Flow;
use crate::transaction::key::Token;
use crate::transaction::layer::Arrival;
use crate::transaction::slots::Slot;

/// A snapshot that cannot be read: written by a later version, or damaged.
#[derive(Debug, thiserror::Error)]
#[error("call {call}: snapshot unreadable: {why}")]
pub struct Unreadable {
    /// The call.
    pub call: CallId,
    /// What the decoder says.
    pub why: String,
}

#[derive(Encode)]
#[cbor(map)]
struct ImageOut<'a> {
    #[n(0)]
    account: &'a Account,
    #[n(1)]
    decision: &'a Decision,
    #[n(2)]
    seq: u32,
    #[n(3)]
    ended: bool,
    #[n(4)]
    a: LegOut<'a>,
    #[n(5)]
    b: Option<LegOut<'a>>,
    #[n(6)]
    ports: Option<(u16, u16)>,
    #[n(77)]
    families: Option<(Family, Family)>,
    #[n(7)]
    word: &'a Word,
    #[n(40)]
    late: Option<LateOut<'a>>,
    #[n(8)]
    life: Life,
    #[n(70)]
    transfer: Option<&'a Transfer>,
}

#[derive(Encode)]
#[cbor(map)]
pub(super) struct LegOut<'a> {
    #[n(0)]
    trunk: &'a str,
    #[n(1)]
    dialog: &'a Dialog,
    #[n(2)]
    state: LegState,
    #[n(3)]
    transport: Transport,
    #[n(4)]
    socket: u16,
    #[n(5)]
    remote: String,
    #[n(6)]
    description: &'a Description,
    #[cbor(n(7), with = "minicbor::bytes")]
    invite: &'a [u8],
    #[n(8)]
    acked: bool,
    #[n(9)]
    holds: bool,
    #[n(20)]
    session: &'a Session,
    /// Only where a refresh may have to repeat it.
    #[cbor(n(21), with = "minicbor::bytes")]
    said: &'a [u8],
    #[n(50)]
    asked: &'a Asked,
    #[n(78)]
    mux: Option<bool>,
    #[n(79)]
    events: Option<Named>,
    #[n(10)]
    life: LegLife,
}

/// The image of a call as it is read.
#[derive(Debug, PartialEq, Decode)]
#[cbor(map)]
pub struct Image {
    #[n(0)]
    pub(super) account: Account,
    #[n(1)]
    decision: Decision,
    #[n(2)]
    pub(super) seq: u32,
    #[n(3)]
    pub(super) ended: bool,
    #[n(4)]
    pub(super) a: LegImage,
    #[n(5)]
    pub(super) b: Option<LegImage>,
    #[n(6)]
    ports: Option<(u16, u16)>,
    /// Those of the ports; `None`: both IPv4.
    #[n(77)]
    families: Option<(Family, Family)>,
    #[n(7)]
    #[cbor(default)]
    word: Word,
    #[n(40)]
    late: Option<LateImage>,
    #[n(8)]
    life: Option<Life>,
    #[n(70)]
    transfer: Option<Transfer>,
}

impl Image {
    /// Reads an image.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(call: CallId, bytes: &[u8]) -> Result<Self, Unreadable> {
        let unreadable = |e: minicbor::decode::Error| Unreadable { call, why: e.to_string() };
        let mut items = minicbor::Decoder::new(bytes);
        let mut image: Self = items.decode().map_err(unreadable)?;
        while items.position() < bytes.len() {
            image.apply(items.decode().map_err(unreadable)?);
        }
        Ok(image)
    }

    /// The call's place, which its tags name.
    pub fn place(&self) -> Option<u32> {
        Token::read(self.a.dialog.local_tag.as_bytes()).map(|token| token.index)
    }

    /// Whether both legs were up: the call can go on.
    pub fn is_up(&self) -> bool {
        let up = |leg: &LegImage| leg.state == LegState::Up;
        !self.ended && self.life.is_some() && up(&self.a) && self.b.as_ref().is_some_and(up)
    }

    /// Whether `whole` leads to the same call: what patches have to keep true. An account that is
    /// sealed has left with its fact.
    pub fn agrees(&self, whole: &Self) -> bool {
        let sealed = whole.ended && !whole.word.settling;
        let parts = (self.seq, self.ended, &self.a, &self.b, &self.word, &self.late);
        parts == (whole.seq, whole.ended, &whole.a, &whole.b, &whole.word, &whole.late)
            && (sealed || self.account == whole.account)
            && (sealed || (self.ports(), &self.life) == (whole.ports(), &whole.life))
    }

    /// The port pairs that A and B send to.
    pub fn ports(&self) -> Option<[(Family, u16); 2]> {
        let (a, b) = self.families.unwrap_or_default();
        self.ports.map(|(port_a, port_b)| [(a, port_a), (b, port_b)])
    }
}

#[derive(Debug, PartialEq, Decode)]
#[cbor(map)]
pub(super) struct LegImage {
    #[n(0)]
    pub(super) trunk: String,
    #[n(1)]
    pub(super) dialog: Dialog,
    #[n(2)]
    pub(super) state: LegState,
    #[n(3)]
    pub(super) transport: Transport,
    #[n(4)]
    pub(super) socket: u16,
    #[n(5)]
    pub(super) remote: String,
    #[n(6)]
    pub(super) description: Description,
    #[cbor(n(7), with = "minicbor::bytes")]
    pub(super) invite: Vec<u8>,
    #[n(8)]
    pub(super) acked: bool,
    #[n(9)]
    pub(super) holds: bool,
    #[n(20)]
    pub(super) session: Option<Session>,
    #[n(21)]
    pub(super) said: Option<minicbor::bytes::ByteVec>,
    #[n(50)]
    pub(super) asked: Option<Asked>,
    #[n(78)]
    mux: Option<bool>,
    #[n(79)]
    events: Option<Named>,
    #[n(10)]
    #[cbor(default)]
    pub(super) life: LegLife,
}

impl Call {
    /// The image of the call.
    pub fn snapshot(&self) -> Vec<u8> {
        let a_invite = self.invite.as_ref().map_or(&b""[..], |i| head_of(i));
        let ports = self.leases.map(|(a, b)| (a.port, b.port));
        let families = self.leases.map(|(a, b)| (a.family, b.family));
        let image = ImageOut {
            account: &self.account,
            decision: &self.decision,
            seq: self.seq,
            ended: self.ended,
            a: leg_out(&self.a, a_invite),
            b: self.b.as_ref().map(|b| leg_out(b, head(&b.sent))),
            ports,
            families: families.filter(|both| *both != Default::default()),
            word: &self.word,
            late: LateOut::of(&self.late),
            life: self.life(),
            transfer: self.transfer.as_deref(),
        };
        let mut bytes = Vec::with_capacity(2048);
        // Writing to memory does not fail.
        let _ = ink::write(&image, &mut bytes);
        bytes
    }

    /// Rebuilds a call from its image. Its media is over until it is revived; its INVITEs are
    /// found again by what the image holds of them.
    pub fn restore(cx: &mut Cx<'_>, id: CallId, slot: Slot, image: Image) -> Self {
        let life = image.life.unwrap_or_default();
        let (a, invite) = restore_a(cx, slot, image.a);
        let b = image.b.map(|b| restore_b(cx, slot, b));
        Self {
            id,
            slot,
            a,
            b,
            decision: image.decision,
            plan: cx.core.plan.clone(),
            account: image.account,
            invite,
            attempt: u32::MAX,
            tries: Tries::default(),
            late: image.late.map(|late| late.restore(cx, slot)).unwrap_or_default(),
            line: life.line,
            path: Path::Over,
            leases: None,
            audio: life.audio,
            events_on: None,
            digits: None,
            slots: None,
            early: Early::default(),
            reliable: None,
            referral: None,
            transfer: Transfer::restore(cx, slot, image.transfer),
            held_back: None,
            relays: Vec::new(),
            ended: image.ended,
            held: life.held,
            forwarded: (None, None),
            word: image.word,
            resting: false,
            seq: image.seq,
            dirty: true,
            moved: false,
        }
    }

    /// Closes a call that a crash cut: both peers are told, the account says so.
    pub fn close_recovered(&mut self, cx: &mut Cx<'_>, same_boot: bool) {
        const REASON: &[u8] = b"Q.850;cause=41;text=\"recovered after restart\"";
        if !self.ended {
            self.cut_by_restart(cx, same_boot);
            self.account.reason = "cut by a restart".to_owned();
        } else {
            self.skip_numbers(cx.now, same_boot);
        }
        if self.a.state == LegState::Setup {
            let passed = crate::leg::uas::Passed {
                code: 503,
                reason: REASON,
                ..crate::leg::uas::Passed::default()
            };
            self.answer_a(cx, passed, None);
            self.a.state = LegState::Gone;
        }
        if self.word.settling {
            self.begin_settling(cx);
        }
        self.over(cx, Party::Unknown, Outcome::Recovered);
        for side in [Side::A, Side::B] {
            let state = self.leg(side).map_or(LegState::Gone, |l| l.state);
            match (side, state) {
                // Its 2xx is sent again until the ACK: the BYE waits for that.
                (Side::A, LegState::Up) => self.end_a(cx, REASON, None),
                (Side::B, LegState::Up) => self.send_bye(cx, side, REASON, None),
                // A BYE or CANCEL was under way: said again, in case it was lost with us.
                (Side::A, LegState::Ending) => self.send_bye(cx, side, REASON, None),
                (Side::B, LegState::Ending) => self.send_bye(cx, side, REASON, None),
                (Side::B, LegState::Setup) => self.cancel_b(cx, REASON),
                _ => {}
            }
        }
    }
}

pub(super) fn leg_out<'a>(leg: &'a Leg, invite: &'a [u8]) -> LegOut<'a> {
    let repeats = leg.session.is_ours() && !leg.takes_update;
    LegOut {
        trunk: &leg.trunk,
        dialog: &leg.dialog,
        state: leg.state,
        transport: leg.flow.transport,
        socket: leg.flow.socket,
        remote: socket_text(leg.flow.remote),
        description: &leg.description,
        invite,
        acked: leg.acked,
        holds: leg.holds,
        session: &leg.session,
        said: if repeats { &leg.said } else { b"" },
        asked: &leg.asked,
        mux: leg.mux,
        events: Some(leg.events).filter(Named::is_ours),
        life: leg.life(),
    }
}

fn head_of(message: &Message) -> &[u8] {
    head(message.bytes())
}

/// A message without its body.
pub(super) fn head(bytes: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 2);
    bytes.get(..end).unwrap_or_default()
}

fn leg_of(side: Side, image: LegImage, locals: &[Local]) -> Leg {
    let remote = image.remote.parse().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 9)));
    let flow = Flow { transport: image.transport, socket: image.socket, remote };
    let mut leg =
        Leg::new(side, image.trunk, image.dialog, flow, Invite::Lost, image.description.id);
    leg.description = image.description;
    leg.state = image.state;
    leg.acked = image.acked;
    leg.holds = image.holds;
    leg.asked = image.asked.unwrap_or_default();
    leg.mux = image.mux;
    leg.events = image.events.unwrap_or_default();
    leg.live_again(image.life, locals);
    leg.session = image.session.unwrap_or_default();
    leg.said = image.said.map(Vec::from).unwrap_or_default();
    leg
}

fn restore_a(cx: &mut Cx<'_>, slot: Slot, image: LegImage) -> (Leg, Option<Message>) {
    let head = [image.invite.as_slice(), b"\r\n"].concat();
    let mut leg = leg_of(Side::A, image, &cx.core.setup.locals);
    let owner = Owner::Leg(slot, Side::A, Purpose::Invite);
    if leg.state != LegState::Setup {
        let answer = (leg.flow, leg.answer.clone());
        let waits = leg.state == LegState::Up && !leg.acked;
        let (tx, sends) = (&mut cx.core.tx, &mut cx.out.sends);
        match waits.then(|| tx.adopt_answer(cx.now, answer, owner, sends)).flatten() {
            Some(server) => leg.invite = Invite::Server(server),
            None => leg.acked = true,
        }
        return (leg, None);
    }
    // Its Content-Length counts a body that is not kept: nobody asks for it any more.
    let Ok(invite) = Message::read(bytes::Bytes::from(head)) else { return (leg, None) };
    if let Arrival::New(server) = cx.core.tx.open(&invite, leg.flow, owner) {
        leg.invite = Invite::Server(server);
    }
    (leg, Some(invite))
}

pub(super) fn restore_b(cx: &mut Cx<'_>, slot: Slot, image: LegImage) -> Leg {
    let sent = bytes::Bytes::from([image.invite.as_slice(), b"\r\n"].concat());
    let mut leg = leg_of(Side::B, image, &cx.core.setup.locals);
    let unanswered = matches!(leg.state, LegState::Setup | LegState::Ending) && !leg.acked;
    if unanswered && sent.len() > 2 {
        let owner = Owner::Leg(slot, Side::B, Purpose::Invite);
        if let Some(client) = cx.core.tx.adopt(cx.now, leg.flow, sent.clone(), owner) {
            leg.invite = Invite::Client(client);
        }
        leg.state = LegState::Setup;
    }
    leg.sent = sent;
    leg
}
