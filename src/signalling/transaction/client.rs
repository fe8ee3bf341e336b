//! One client transaction (RFC 3261, 17.1; RFC 6026, 7.2).
//!
//! ```text
//!  INVITE:  Calling --1xx--> Proceeding --2xx--> Accepted --M--> gone   (each 2xx goes up)
//!               |--300-699, ACK sent--> Completed --D--> gone           (each copy is ACKed)
//!               |--B--> timed out
//!  other:   Calling --1xx--> Proceeding --final--> Completed --K--> gone
//!               |--F--> timed out
//! ```

use bytes::Bytes;

use crate::message::name::Name;
use crate::message::view::Message;
use crate::message::write::Writer;
use crate::transaction::flow::Flow;
use crate::transaction::slots::Slot;

/// Where a client transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// Sent; nothing has come back.
    Calling,
    /// A provisional response has come.
    Proceeding,
    /// A 2xx to an INVITE has come.
    Accepted,
    /// Another final response has come.
    Completed,
}

/// A client transaction and what it needs to send again.
#[derive(Debug)]
pub struct Client<O> {
    /// Who owns it.
    pub owner: O,
    /// Whether the request is an INVITE.
    pub is_invite: bool,
    /// Where it stands.
    pub state: ClientState,
    /// Where the request went.
    pub flow: Flow,
    pub(super) secret: u64,
    /// The request while it may have to be sent again; then the ACK to its final response.
    pub(super) bytes: Bytes,
    pub(super) resent: u32,
    /// The CANCEL of this INVITE, which shares its branch.
    pub(super) cancel: Option<Slot>,
    /// True for that CANCEL: it is found through its INVITE only.
    pub(super) is_cancel: bool,
    /// The request by another way, for the case that this one does not take it.
    pub(super) instead: Option<Box<(Flow, Bytes)>>,
}

/// The ACK to a final response other than 2xx (RFC 3261, 17.1.1.3): the INVITE's Request-URI, top
/// Via, From, Call-ID and Route, the response's To.
pub(super) fn ack_of_failure(invite: &Bytes, response: &Message) -> Bytes {
    let Ok(invite) = Message::read(invite.clone()) else { return Bytes::new() };
    let mut ack = Writer::request(b"ACK", invite.request_uri());
    ack.header(Name::Via, &[invite.top_via().unwrap_or_default()]);
    for route in invite.values(Name::Route) {
        ack.header(Name::Route, &[route]);
    }
    ack.number(Name::MaxForwards, 70);
    ack.header(Name::From, &[invite.value(Name::From).unwrap_or_default()]);
    ack.header(Name::To, &[response.value(Name::To).unwrap_or_default()]);
    ack.header(Name::CallId, &[invite.call_id()]);
    ack.cseq(invite.cseq().map_or(0, |c| c.number), b"ACK");
    ack.finish(b"", b"")
}
