//! The one thing between a call and its memory.
//!
//! The engine gathers records in a batch and commits them with one write to the *head*, a ring on
//! tmpfs that outlives the process; only then do the messages leave that make the records true for
//! a peer. A spool thread copies the head to *segments* on disk and syncs them. The database is fed
//! from the segments; after a crash the calls come back from the snapshots in segments and head.
//!
//! What holds at every instant, `kill -9` included:
//! 1. A batch that [`Commit::Done`](journal::Commit::Done) was said of is read back after the
//!    process ends, whichever way it ends. A power cut takes at most what was not synced.
//! 2. Ids grow, within a run and over runs; an id is never given to two records.
//! 3. Every record is in a segment or in the head, or in both, until the database has it and no
//!    restart needs it; what is in both is told by its id.
//! 4. Damage ends the walk over one segment, never a start, and costs no record before it.
//! 5. A disk that stalls, or is full, delays nobody: the head fills, then records are lost and
//!    counted, and a gap is recorded. When the disk is back all goes on by itself.
//!
//! The bytes are told in [`mod@format`].

pub mod error;
pub mod format;
mod head;
pub mod journal;
pub mod limits;
pub mod reader;
pub mod recovery;
mod ring;
mod scan;
mod segment;
pub mod shared;
mod spool;

#[cfg(test)]
mod trial;
