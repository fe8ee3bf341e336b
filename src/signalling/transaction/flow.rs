//! Where a message came from or goes to, and what has to be sent.

use std::net::SocketAddr;

use bytes::Bytes;
use cooee_model::moment::Moment;

use crate::message::transport::Transport;

/// One of our sockets and one remote address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The protocol.
    pub transport: Transport,
    /// Which of our listening sockets, by its place in the configuration.
    pub socket: u16,
    /// The peer.
    pub remote: SocketAddr,
}

/// What a message that leaves is measured as: from the kernel's receipt of its cause to the end
/// of its sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// INVITE in to 100 out.
    Trying,
    /// INVITE in to INVITE out.
    InviteForward,
    /// Response in to response out.
    ResponseForward,
    /// BYE in to BYE out.
    ByeForward,
}

/// The measure that a message closes when it has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Which histogram.
    pub hop: Hop,
    /// When the cause was received.
    pub since: Moment,
}

/// A message to send.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// From where to where.
    pub flow: Flow,
    /// The whole message.
    pub bytes: Bytes,
    /// What it closes.
    pub measure: Option<Measure>,
}
