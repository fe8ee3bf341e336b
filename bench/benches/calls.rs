//! So many whole calls through the switch and nothing else, for tools that count instead of time:
//!
//! ```text
//! cargo bench -p cooee-bench --bench calls --no-run
//! valgrind --tool=callgrind target/release/deps/calls-<hash> 3000
//! ```
//!
//! Instructions a call do not depend on who else uses the machine.
#![allow(missing_docs)]

use cooee_bench::Bench;

fn main() {
    // Cargo hands over flags of its own.
    let calls = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(1000_u64);
    let mut bench = Bench::default();
    for n in 1..=calls {
        bench.call(n);
        if n.is_multiple_of(1000) {
            bench.forget();
        }
    }
}
