//! The paper plane: what a call leaves on paper. Pure: no clock, no socket, no database.
//!
//! [`cdr`] makes the rows of a call from its sealed account, [`status_code`] says what the CRM is
//! told, [`shown`] renders rows for people.

pub mod cdr;
pub mod shown;
pub mod status_code;
