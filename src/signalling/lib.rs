//! The B2BUA as a value that is driven from outside: no socket, clock, thread or file.
//!
//! One entry, [`switch::Switch::handle`], takes a moment and an input and writes what has to happen
//! into the caller's [`call::context::Output`]; one question, [`switch::Switch::next_deadline`],
//! tells when it wants to be woken and why. Imports run one way:
//! `switch -> call -> leg -> {transaction, profile} -> message`.

pub mod call;
pub mod leg;
pub mod message;
pub mod profile;
pub mod switch;
pub mod transaction;
