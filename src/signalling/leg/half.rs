//! The state of one leg: its dialog, its INVITE, its media description, its port lease.

use std::net::SocketAddr;

use bytes::Bytes;
use cooee_model::ids::Side;

use crate::leg::asked::Asked;
use crate::leg::dialog::{Dialog, Local};
use crate::leg::events::{Named, Presses};
use crate::leg::offer_answer::Description;
use crate::leg::session_timer::{Refresh, Session};
use crate::message::name::Name;
use crate::message::view::Message;
use crate::message::write::Writer;
use crate::transaction::flow::Flow;
use crate::transaction::layer::{ClientId, ServerId};

/// The methods that we take in a dialog and out of it.
pub const ALLOW: &[u8] = b"INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE";

/// Where a leg stands.
///
/// ```text
///  Setup --2xx--> Up --BYE--> Ending --200, time-out--> Gone
///    |--CANCEL--> Ending --487--> Gone
///    |--failure--> Gone
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum LegState {
    /// Its INVITE has no final response.
    #[n(0)]
    Setup,
    /// Its INVITE has been answered.
    #[n(1)]
    Up,
    /// Our BYE or CANCEL is under way.
    #[n(2)]
    Ending,
    /// Over.
    #[n(3)]
    Gone,
}

/// The INVITE that a leg began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invite {
    /// It came to us.
    Server(ServerId),
    /// We sent it.
    Client(ClientId),
    /// A restart lies between.
    Lost,
}

/// How far giving up a leg's INVITE has come (RFC 3261, 9.1: not before its first 1xx).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// Not wanted.
    No,
    /// Wanted; waits for a provisional response.
    Wanted,
    /// Sent.
    Sent,
}

/// Half a call.
#[derive(Debug)]
pub struct Leg {
    /// A or B.
    pub side: Side,
    /// The trunk's name.
    pub trunk: String,
    /// The dialog.
    pub dialog: Dialog,
    /// Where the peer was last heard, or is called.
    pub flow: Flow,
    /// Where the leg stands.
    pub state: LegState,
    /// Its first INVITE.
    pub invite: Invite,
    /// B: the INVITE as sent, until its final response: for CANCEL and for a second try.
    pub sent: Bytes,
    /// B: CSeq of that INVITE, which its ACK repeats.
    pub invite_cseq: u32,
    /// B: whether it is being given up.
    pub cancel: Cancel,
    /// A: our 2xx has been acknowledged. B: we have acknowledged its 2xx.
    pub acked: bool,
    /// The last ACK, sent again for each copy of its 2xx; with the CSeq that both have.
    pub ack: Option<(u32, Flow, Bytes)>,
    /// A: our 2xx, until its ACK.
    pub answer: Bytes,
    /// A BYE that must wait for the ACK (RFC 3261, 15), with its Reason.
    pub bye_waits: Option<Vec<u8>>,
    /// What we say about media.
    pub description: Description,
    /// What the peer asked us to prove.
    pub asked: Asked,
    /// Where the peer's description wants its RTP and RTCP.
    pub media: Option<(SocketAddr, SocketAddr)>,
    /// Where the peer's RTP comes from, as the relay believes.
    pub source: Option<SocketAddr>,
    /// Whether any RTP of the peer was believed so far.
    pub heard: bool,
    /// Whether the peer takes RTCP where it takes RTP; `None`: it has described nothing yet.
    pub mux: Option<bool>,
    /// How telephone events are named.
    pub events: Named,
    /// Presses that the peer is to be told of.
    pub presses: Presses,
    /// Whether the peer holds the other side.
    pub holds: bool,
    /// Digest of the peer's description that the relay works by; 0: none.
    pub pointed: u64,
    /// The peer's Allow lists UPDATE.
    pub takes_update: bool,
    /// Our description that was agreed on last; empty: none.
    pub said: Vec<u8>,
    /// Its session timer.
    pub session: Session,
    /// Our refresh that is under way.
    pub refreshing: Option<Refresh>,
    /// Alarms set for its session timer: the last one counts.
    pub wakes: u32,
}

impl Leg {
    /// A leg whose INVITE is under way.
    pub const fn new(
        side: Side,
        trunk: String,
        dialog: Dialog,
        flow: Flow,
        invite: Invite,
        description_id: u64,
    ) -> Self {
        Self {
            side,
            trunk,
            dialog,
            flow,
            state: LegState::Setup,
            invite,
            sent: Bytes::new(),
            invite_cseq: 0,
            cancel: Cancel::No,
            acked: false,
            ack: None,
            answer: Bytes::new(),
            bye_waits: None,
            description: Description::new(description_id),
            asked: Asked::new(),
            media: None,
            source: None,
            heard: false,
            mux: None,
            events: Named::new(),
            presses: Presses::new(),
            holds: false,
            pointed: 0,
            takes_update: false,
            said: Vec::new(),
            session: Session::new(),
            refreshing: None,
            wakes: 0,
        }
    }

    /// Whether the leg is or was answered and not over.
    pub const fn is_up(&self) -> bool {
        matches!(self.state, LegState::Up)
    }

    /// Takes what a re-INVITE, an UPDATE or an answer to one says of the peer: where it is reached
    /// (RFC 3261, 12.2) and what it can.
    pub fn refresh(&mut self, message: &Message) {
        self.dialog.refresh(message);
        self.learn_allow(message);
    }

    /// Takes the peer's Allow, where a message has one.
    pub fn learn_allow(&mut self, message: &Message) {
        if message.value(Name::Allow).is_some() {
            self.takes_update = message.list(Name::Allow).any(|m| m == b"UPDATE");
        }
    }

    /// Begins the next request of the dialog: CSeq grows by one.
    pub fn next_request(&mut self, method: &str, local: &Local, branch: &str) -> Writer {
        self.dialog.local_cseq += 1;
        self.dialog.request(method, self.dialog.local_cseq, 70, (local, branch))
    }

    /// The ACK to the 2xx of the INVITE with this CSeq.
    pub fn write_ack(&self, cseq: u32, local: &Local, branch: &str, sdp: &[u8]) -> Bytes {
        let mut writer = self.dialog.request("ACK", cseq, 70, (local, branch));
        if let Some((name, value)) = self.asked.for_ack(cseq) {
            writer.header(name, &[value.as_bytes()]);
        }
        writer.finish(if sdp.is_empty() { b"" } else { b"application/sdp" }, sdp)
    }

    /// Adds our Contact to a message of this leg.
    pub fn contact(&self, writer: &mut Writer) {
        writer.header(Name::Contact, &[b"<", self.dialog.contact.as_bytes(), b">"]);
    }
}
