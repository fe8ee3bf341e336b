//! Rows of the call-flow table, each on a virtual clock: the number in a test's name is its row's.
// A test that panics has failed: that is what it is for.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod answered;
mod calls;
mod challenged;
mod crashes;
mod failover;
mod fence;
mod lines;
mod midcall;
mod portal;
mod refusals;
mod reinvite;
mod reload;
mod restart;
mod targets;
mod update;
mod world;
