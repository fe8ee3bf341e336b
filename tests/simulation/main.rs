//! The signalling core in a simulated world: two carriers, a bad network, a clock that jumps, all
//! drawn from a seed. The same seed is the same run, byte for byte. Worlds of even seeds have
//! extras: session timers, hosts that go and come back under OPTIONS, UPDATE before the answer,
//! challenges, transfers, TCP connections that break, a journal without room.
//!
//! `COOEE_SEED=7 cargo test -p cooee-tests --test simulation one_seed -- --nocapture` runs one seed
//! and draws the call that failed. `COOEE_LONG=1` with `--release` searches
//! ten thousand fresh seeds.
// A test that panics has failed: that is what it is for.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod check;
mod hosts;
mod kind;
mod log;
mod net;
mod pipes;
mod rng;
mod script;
mod search;
mod sip;
mod ua;
mod world;
