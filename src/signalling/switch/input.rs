//! What can happen to a switch.

use std::sync::Arc;

use bytes::Bytes;
use cooee_model::command::Command;
use cooee_model::media::{Latch, MediaEvent};
use cooee_model::moment::Moment;
use cooee_model::portal::PortalEvent;

use crate::call::peers::Place;
use crate::profile::plan::Plan;
use crate::transaction::flow::Flow;

/// A configuration to come into force, with what the shell found out for it.
#[derive(Debug)]
pub struct Revision {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Where the calls of each of its trunks may go, by place. Empty: as was known before.
    pub peers: Vec<Vec<Place>>,
    /// Which sources of media are believed where the trunk names no networks.
    pub latch: Latch,
}

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
    /// A message that asks for a call, where [`Switch::sheds`](crate::switch::Switch::sheds) says
    /// that there are more of them than can be done. It is answered as ever where it is none, or a
    /// copy of one that was taken.
    Surplus {
        /// Our socket and who sent it.
        flow: Flow,
        /// Kernel receive time.
        received: Moment,
        /// The bytes.
        bytes: Bytes,
    },
    /// A message was given back, by the transport or by ICMP: nothing takes it where it was to go.
    Unsent {
        /// The way that it was to go.
        flow: Flow,
        /// The message, or its first part.
        bytes: Bytes,
    },
    /// The RTP plane has seen something.
    Media(MediaEvent),
    /// An order.
    Command(Command),
    /// Where a trunk's calls may go now.
    Peers {
        /// The plan by which they were looked up; another than the one in force: they are left.
        revision: u32,
        /// Place of the trunk in the plan.
        trunk: usize,
        /// Addresses.
        peers: Vec<Place>,
    },
    /// A portal speaks of a call.
    Portal(PortalEvent),
    /// Another configuration is in force from now on.
    Plan(Box<Revision>),
    /// Nothing but time.
    Wake,
}
