//! The words that all planes of cooee share: moments, ids, facts, media commands and events.
//!
//! Nothing here behaves. A type is in this crate because two planes that must not see each other
//! (signalling and media, say) have to agree on it.

pub mod account;
pub mod command;
pub mod fact;
pub mod ids;
pub mod ink;
pub mod media;
pub mod moment;
pub mod portal;
pub mod sample;
pub mod trunk;
