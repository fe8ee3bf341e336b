//! The shell round the values: sockets, threads, clock, journal, database, admin API.
//!
//! [`node::Node`] puts a configuration to work. The [`engine`] runs the signalling value on a
//! thread of its own; [`spine`] takes what it has committed to everyone who reads.

mod backlog;
mod built;
pub mod clock;
pub mod engine;
pub mod error;
pub mod hep;
pub mod hops;
pub mod icmp;
pub mod inbox;
pub mod names;
pub mod node;
pub mod outbound;
pub mod outbox;
pub mod reload;
pub mod spine;
pub mod streams;
pub mod udp;
