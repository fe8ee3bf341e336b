//! Transactions: RFC 3261 section 17 with the corrections of RFC 6026, for any transport.
//!
//! [`layer::Transactions`] owns them all. Requests and responses come in from the switch, what has
//! to be sent goes into the caller's list, what the owner has to know comes back as a value.

pub mod client;
pub mod copies;
pub mod flow;
pub mod key;
pub mod layer;
pub mod limits;
pub mod returned;
pub mod server;
pub mod slots;
pub mod timers;
