//! One server transaction (RFC 3261, 17.2; RFC 6026, 7.1).
//!
//! ```text
//!  INVITE:  Proceeding --2xx--> Accepted --L--> gone        (the 2xx is sent again until its ACK)
//!               |----300-699--> Completed --ACK--> Confirmed --I--> gone
//!                                   |--H--> gone
//!  other:   Proceeding --final--> Completed --J--> gone
//! ```

use bytes::Bytes;

use crate::transaction::flow::Flow;
use crate::transaction::key::Digest;

/// Where a server transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// No final response yet.
    Proceeding,
    /// A 2xx to an INVITE has been sent, its ACK has not come.
    Accepted,
    /// A 2xx to an INVITE has been acknowledged; copies of the INVITE are still absorbed.
    Acknowledged,
    /// Another final response has been sent.
    Completed,
    /// ... and its ACK has come.
    Confirmed,
}

/// A server transaction and the last response that it sent.
#[derive(Debug)]
pub struct Server<O> {
    /// Who owns it.
    pub owner: O,
    /// Whether the request is an INVITE.
    pub is_invite: bool,
    /// Where it stands.
    pub state: ServerState,
    /// Where responses go.
    pub flow: Flow,
    /// The final status, once sent.
    pub code: u16,
    pub(super) digest: Digest,
    pub(super) merge: Digest,
    /// `None` after a final response: nobody needs it, or a copy of the request says it all.
    pub(super) response: Option<Bytes>,
    /// How many times the final response has been sent again.
    pub(super) resent: u32,
}
