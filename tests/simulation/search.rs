//! Which seeds are run, and what is printed of one that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::world::{Done, World};

/// Calls in one world.
const CALLS: usize = 100;
/// Seeds of the long search.
const SEEDS: u64 = 10_000;

/// One seed; a panic of the core is a fault like any other.
fn run(seed: u64, trace: bool) -> (Done, Option<World>) {
    let ran = catch_unwind(AssertUnwindSafe(|| World::new(seed, CALLS, trace).run()));
    match ran {
        Ok((done, world)) => (done, Some(world)),
        Err(_) => {
            let fault = Some((0, "the switch or a peer panicked".to_owned()));
            (Done { fault, ..Done::default() }, None)
        }
    }
}

/// Runs a seed that failed again, and tells its story.
fn story(seed: u64) -> String {
    let (done, world) = run(seed, true);
    let Some((call, fault)) = done.fault else { return "nothing the second time".to_owned() };
    let told = world
        .as_ref()
        .and_then(|w| w.calls.get(call))
        .map(|met| format!("{:?}\n{}", met.scripts, met.log.ladder()));
    let at = world.as_ref().map_or(0, |w| w.now) as f64 / 1e9;
    format!(
        "seed {seed}, call {call}, at {at:.3}: {fault}\n{}\n\
         COOEE_SEED={seed} cargo test -p cooee-tests --test simulation one_seed -- --nocapture",
        told.unwrap_or_default()
    )
}

/// Runs seeds, on as many threads; gives the stories of the first that fail.
fn search(seeds: &[u64], threads: usize) -> (Vec<String>, u64) {
    let (next, steps) = (AtomicU64::new(0), AtomicU64::new(0));
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    let Some(&seed) = seeds.get(at) else { return };
                    let (done, _) = run(seed, false);
                    steps.fetch_add(done.steps, Ordering::Relaxed);
                    if done.fault.is_some() {
                        let mut failed = failed.lock().unwrap();
                        if failed.len() < 20 {
                            failed.push(story(seed));
                        }
                    }
                }
            });
        }
    });
    (failed.into_inner().unwrap(), steps.into_inner())
}

fn must_hold(seeds: &[u64], threads: usize) {
    let (failed, _) = search(seeds, threads);
    assert!(failed.is_empty(), "{} seeds failed\n{}", failed.len(), failed.join("\n\n"));
}

/// Seeds that found something once.
const FOUND: [u64; 21] = [
    // A description in a 18x without one of B: its version was in no image.
    17_952_990_210_900_049,
    // A crash while the second answer of a fork is being ended.
    11_307,
    13_517,
    101_479,
    // A wall clock put back before the nanosecond of a session timer: the switch never came back.
    12,
    // A refresh that only rang as the call ended: its transaction stayed for ever.
    100_658,
    // A fork of a try that was given up asks for proof of its BYE: it was not given.
    101_166,
    // A journal without room, twice: CSeqs of one run were used again by the next.
    17_953_028_038_600_034,
    // An ACK with an answer in an image, behind which another ACK stood.
    17_953_030_405_502_352,
    // The fork that answered was held to the CSeq of one that had asked before.
    17_953_030_405_503_552,
    // A copy of an INVITE from before a crash became a second call.
    17_953_033_189_680_780,
    // A refresh whose answer a connection took ended a session that another request had renewed.
    17_953_033_189_682_204,
    // An address that answered OPTIONS for the first time was judged by INVITEs of before.
    17_953_028_038_600_976,
    // A late offer that was never answered: a copy of the 2xx was ended by a second BYE.
    17_953_036_091_350_026,
    // A BYE said again after a crash, with the CSeq of one that a full journal had not kept.
    17_953_040_098_620_822,
    // Two forks left, one of which asked for proof in vain: the network, not the switch.
    17_953_155_744_742_854,
    // The answer to an early UPDATE came after that to the INVITE and turned the session timer off.
    17_953_040_098_626_110,
    17_953_049_940_178_200,
    17_953_054_449_957_488,
    // A leg that was answered in spite of its CANCEL was forgotten before the end of its BYE.
    17_953_054_449_955_686,
    // A session was ended while the request that was to refresh it waited for the other side.
    17_953_045_814_993_996,
];

#[test]
fn what_was_found_once_stays_found() {
    must_hold(&FOUND, 1);
}

#[test]
fn forty_seeds_hold() {
    must_hold(&(1..=40).collect::<Vec<_>>(), 2);
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 100..103 {
        let (first, second) = (run(seed, false).0, run(seed, true).0);
        assert_eq!((first.hash, first.steps), (second.hash, second.steps), "seed {seed}");
        assert_ne!(first.hash, 0);
    }
}

#[test]
fn one_seed() {
    let Ok(seed) = std::env::var("COOEE_SEED") else { return };
    let seed = seed.parse().expect("COOEE_SEED is a number");
    let (done, _) = run(seed, false);
    println!("seed {seed}: {} steps, {:016x}", done.steps, done.hash);
    assert!(done.fault.is_none(), "{}", story(seed));
}

#[test]
fn a_million_calls_hold() {
    // Unoptimized it would take an hour, unless fewer are asked for.
    let long = !cfg!(debug_assertions) || number("COOEE_SEEDS").is_some();
    if std::env::var_os("COOEE_LONG").is_none() || !long {
        return;
    }
    let from = number("COOEE_FROM").unwrap_or_else(fresh);
    let count = number("COOEE_SEEDS").unwrap_or(SEEDS);
    let seeds: Vec<u64> = (from..from + count).collect();
    let began = std::time::Instant::now();
    let threads = number("COOEE_THREADS").unwrap_or(2);
    let (failed, steps) = search(&seeds, usize::try_from(threads).unwrap());
    println!(
        "{count} seeds from {from}, {} calls, {steps} steps in {:.1} s; {} failed",
        count * CALLS as u64,
        began.elapsed().as_secs_f64(),
        failed.len()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// A number that the environment gives.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Another stretch of seeds each time.
fn fresh() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_millis() as u64 * SEEDS
}
