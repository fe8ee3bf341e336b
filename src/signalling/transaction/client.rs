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
}
