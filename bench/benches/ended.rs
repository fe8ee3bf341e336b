//! What the switch keeps of a call that is over, until its last timer and after it.
//!
//! ```text
//! cargo bench -p cooee-bench --bench ended
//! ```
#![allow(missing_docs, clippy::print_stdout, clippy::expect_used)]

use cooee_bench::Bench;

/// Calls that are over at one time.
const CALLS: u64 = 20_000;

fn main() {
    let mut bench = Bench::default();
    (1..=1000).for_each(|n| _ = bench.call(n));
    bench.forget();
    let empty = resident_kb();
    let per_call = |round: u64, what: &str| {
        let full = resident_kb();
        let bytes = full.saturating_sub(empty) * 1024 / CALLS;
        println!("round {round}: {what}: {bytes} B a call");
    };
    for round in 1..=3 {
        (1..=CALLS).for_each(|n| _ = bench.call(round * 1_000_000 + n));
        per_call(round, "until the last timer");
        bench.forget();
        per_call(round, "after it");
    }
}

/// Resident memory of this process, kB.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("a line of it");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}
