//! What firing a callback costs the engine: the fact that the callback is made of, in the journal
//! before the message leaves. Everything else happens on other threads, from the journal.
#![allow(missing_docs)]
// A benchmark that panics says so at once: it has no caller to tell.
#![allow(clippy::expect_used)]

use std::time::{Duration, Instant};

use cooee_journal::journal::{Commit, Journal, Settings};
use cooee_journal::shared::Position;
use cooee_model::fact::{Fact, What};
use cooee_model::ids::{CallId, FactId};
use cooee_model::moment::Moment;
use criterion::{Criterion, criterion_group, criterion_main};

/// Appends between two rests, in which the spool catches up: 20 MB, a third of the head.
const RUN: u64 = 4_000;

/// What the switch writes with a fact: the call's snapshot is about this long.
const SNAPSHOT_BYTES: usize = 2_500;

fn fact(n: u64) -> Fact {
    let call = CallId::new(1_770_000_000_000 + n, u128::from(n));
    let at = Moment::new(n, 1_770_000_000_000_000_000);
    Fact { call, seq: 3, at, what: What::Ringing { code: 180, early_media: true } }
}

/// Times `step` alone; between runs the spool empties the head, as it does under any real load.
fn timed(journal: &mut Journal, iterations: u64, step: impl Fn(&mut Journal, u64)) -> Duration {
    let (mut took, mut done) = (Duration::ZERO, 0);
    while done < iterations {
        let run = RUN.min(iterations - done);
        let began = Instant::now();
        (done..done + run).for_each(|n| step(journal, n));
        took += began.elapsed();
        done += run;
        assert!(journal.flush(Duration::from_secs(30)), "the disk does not keep up");
    }
    assert_eq!(journal.counters().lost_records, 0);
    took
}

fn fire(c: &mut Criterion) {
    let head = tempfile::tempdir_in("/dev/shm").expect("a place on tmpfs");
    let disk = tempfile::tempdir().expect("a place on disk");
    let (journal, _) = Journal::open(Settings {
        head_dirs: vec![head.path().join("head")],
        disk_dir: disk.path().join("journal"),
        head_bytes: 64 << 20,
        segment_bytes: 64 << 20,
        sync_every: Duration::from_millis(20),
        boot_id: [1; 16],
        now: Moment::new(1, 1),
        software: "bench".to_owned(),
        // Nobody reads: segments go as they fill.
        position: Position::new(FactId(u64::MAX)),
    })
    .expect("a journal");
    let mut journal = journal;
    let call = CallId::new(1, 1);
    let snapshot = vec![0x5a_u8; SNAPSHOT_BYTES];
    c.bench_function("fire/fact_alone", |b| {
        b.iter_custom(|n| {
            timed(&mut journal, n, |journal, n| {
                journal.fact(&fact(n));
                assert_eq!(journal.commit(), Commit::Done);
            })
        });
    });
    // The difference of these two is what a fact adds to the step that it belongs to.
    c.bench_function("fire/step_without_fact", |b| {
        b.iter_custom(|n| {
            timed(&mut journal, n, |journal, _| {
                journal.snapshot(call, |out| out.extend_from_slice(&snapshot));
                assert_eq!(journal.commit(), Commit::Done);
            })
        });
    });
    c.bench_function("fire/step_with_fact", |b| {
        b.iter_custom(|n| {
            timed(&mut journal, n, |journal, n| {
                journal.fact(&fact(n));
                journal.snapshot(call, |out| out.extend_from_slice(&snapshot));
                assert_eq!(journal.commit(), Commit::Done);
            })
        });
    });
}

criterion_group!(benches, fire);
criterion_main!(benches);
