//! What can happen to a switch.

use std::net::SocketAddr;

use bytes::Bytes;
use cooee_model::command::Command;
use cooee_model::media::MediaEvent;
use cooee_model::moment::Moment;
use cooee_model::portal::PortalEvent;

use crate::message::transport::Transport;
use crate::transaction::flow::Flow;

/// One input.
#[derive(Debug)]
pub enum Input {
    /// A message, or what looks like one.
    Datagram {
        /// Our socket and who sent it.
        flow: Flow,
        /// Kernel receive time.
        received: Moment,
        /// The bytes.
        bytes: Bytes,
    },
    /// The RTP plane has seen something.
    Media(MediaEvent),
    /// An order.
    Command(Command),
    /// Where a trunk's peers are now, best first.
    Peers {
        /// Place of the trunk in the plan.
        trunk: usize,
        /// Addresses.
        peers: Vec<(Transport, SocketAddr)>,
    },
    /// A portal speaks of a call.
    Portal(PortalEvent),
    /// Nothing but time.
    Wake,
}
