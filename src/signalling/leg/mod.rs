//! Half a call: one dialog with one peer, and what we say in it.
//!
//! A leg knows how to write every request and response of its dialog and how to describe media in
//! our name. What to say, and when, is decided by `call`.

pub mod asked;
pub mod credentials;
pub mod dialog;
pub mod digest;
pub mod events;
pub mod half;
pub mod offer_answer;
pub mod reliable;
pub mod session_id;
pub mod session_timer;
pub mod uac;
pub mod uas;
