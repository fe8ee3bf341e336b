//! The database: one SQLite file with the CDRs, fed from the journal.
//!
//! [`store::Store`] is the file, [`feed::Feed`] the thread that alone writes to it, [`query`] what
//! others ask of it. It also holds the letters of the webhooks: [`outbox`] for people, [`lane`] for
//! who delivers them. It is never on a call's path: while it is away the journal is the spool.

pub mod error;
pub mod feed;
pub mod lane;
mod leave;
mod letters;
pub mod limits;
pub mod outbox;
pub mod query;
mod row;
pub mod store;

#[cfg(test)]
mod trial;
