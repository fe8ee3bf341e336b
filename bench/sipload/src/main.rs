//! Batched SIP load tool.
fn main() {}
