//! Rows of the call-flow table, each on a virtual clock: the number in a test's name is its row's.

mod calls;
mod midcall;
mod refusals;
mod restart;
mod world;
