//! Bytes and messages: a byte-preserving view of what came, a writer for what leaves, SDP lines.
//!
//! A [`view::Message`] keeps the datagram as it arrived and an index of its headers. Nothing is
//! decoded until it is read, and what is passed on is passed on byte by byte. Room for every
//! oddity that RFC 3261 allows: folding, compact names, white space before the colon, bare LF,
//! any method, values that are not UTF-8.

pub mod address;
pub mod codecs;
pub mod index;
pub mod limits;
pub mod name;
pub mod reply;
pub mod sdp;
pub mod stream;
pub mod text;
pub mod transport;
pub mod via;
pub mod view;
pub mod write;
