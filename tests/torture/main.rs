//! Messages that try a parser: the project's own, mutations of them, and the published ones where
//! they are at hand.
// A test that panics has failed: that is what it is for.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod cases;
mod corpus;
mod cost;
mod guesses;
mod mutations;
mod wire;
#[allow(dead_code, reason = "the flows use the rest of it")]
#[path = "../flows/world.rs"]
mod world;
