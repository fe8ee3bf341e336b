#![allow(missing_docs)]
use cooee_bench::Bench;
fn main() {
    let n: u64 = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(2000);
    let mut bench = Bench::default();
    for k in 1..=n {
        bench.call(k);
        if k.is_multiple_of(1000) {
            bench.forget();
        }
    }
}
