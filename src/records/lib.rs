//! The paper plane: what a call leaves on paper. Pure: no clock, no socket, no database.
//!
//! [`cdr`] makes the rows of a call from its sealed account, [`status_code`] says what the CRM is
//! told, [`shown`] renders rows for people. [`webhook`] makes the events that receivers are told,
//! and [`outbox`] judges how their delivery goes.

pub mod cdr;
pub mod outbox;
pub mod shown;
pub mod status_code;
pub mod webhook;
