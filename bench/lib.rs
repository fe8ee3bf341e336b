//! Benchmarks of cooee's rooms.
