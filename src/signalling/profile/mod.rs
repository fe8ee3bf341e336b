//! A trunk's rules: where identity is read, how it is written, which number is presented, which
//! way a call goes.
//!
//! Everything here is a value without a clock or a socket. A [`plan::Plan`] is the whole
//! configuration of the signalling plane; [`plan::Plan::decide`] turns the INVITE of A into a
//! [`decision::Decision`], which the call pins; [`plan::Plan::compose`] turns the decision into
//! the [`decision::Slots`] of the INVITE towards B. The order inside:
//! `decide, compose -> {caller_id, filter, source, template} -> {number, header} -> rules`.

pub mod caller_id;
pub mod compose;
mod crossing;
pub mod decide;
pub mod decision;
pub mod fence;
pub mod filter;
pub mod header;
mod latin;
pub mod limits;
pub mod number;
mod offered;
pub mod plan;
pub mod policy;
pub mod rewrite;
pub mod rules;
pub mod session_timer;
pub mod settings;
pub mod source;
#[cfg(test)]
mod stage;
pub mod template;
pub mod zone;
