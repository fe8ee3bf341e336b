//! Rows of the call-flow table, each on a virtual clock: the number in a test's name is its row's.
// A test that panics has failed: that is what it is for.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod answered;
mod calls;
mod challenged;
mod crashes;
mod digits;
mod early;
mod failover;
mod families;
mod fence;
mod found;
mod headers;
mod icmp;
mod lines;
mod long_requests;
mod media;
mod midcall;
mod odd;
mod offers;
mod orders;
mod overload;
mod portal;
mod refer;
mod refusals;
mod reinvite;
mod reliable;
mod reload;
mod restart;
mod session_id;
mod session_timer;
mod targets;
mod topology;
mod transfer;
mod transports;
mod trunks;
mod update;
mod world;
