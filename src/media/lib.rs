//! The RTP plane: leased port pairs, latching, forwarding, figures. Own threads, no tokio, no SIP.
//!
//! [`pool::Pool`] binds every port at start and keeps it deaf behind a drop-all filter.
//! Signalling leases pairs, and [`relay::Relay`] joins two of them per call when it is told to
//! by a [`MediaCommand`](cooee_model::media::MediaCommand): a packet that the receiving leg's
//! latch believes leaves, byte for byte, from the other leg's port towards that leg's peer.
//! What was seen goes back as [`MediaEvent`](cooee_model::media::MediaEvent).
//!
//! [`socket`] is the only file with `unsafe` code and the only one that reads the clock; the SIP
//! listener uses it too.

mod call;
pub mod counters;
mod digits;
pub mod error;
mod event;
mod history;
mod latch;
pub mod limits;
pub mod pace;
mod packet;
pub mod pool;
mod quality;
pub mod relay;
mod rtcp;
mod sampler;
pub mod socket;
mod splice;
mod stats;
mod worker;
