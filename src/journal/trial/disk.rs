//! A disk that stalls, is full, forgets, or comes without tmpfs.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Ground, SOON, call, fact, facts, put, state, until};
use crate::format::Record;
use crate::journal::{Commit, Journal, Settings};
use crate::reader::Reader;
use crate::shared::Mode;
use crate::spool::fault;
use cooee_model::ids::FactId;

/// Commits facts until one is lost; how many were kept.
fn fill(journal: &mut Journal, from: u32) -> u32 {
    for seq in from.. {
        journal.fact(&fact(seq));
        match journal.commit() {
            Commit::Done => {}
            Commit::Lost => return seq,
            Commit::Late => panic!("late on tmpfs"),
        }
    }
    unreachable!("the head is finite")
}

#[test]
fn a_stalled_disk_fills_the_head_then_loses_counts_and_recovers() {
    let ground = Ground::new();
    let (mut journal, _) = ground.open();
    put(&mut journal, 0);
    fault::set(&journal.shared, fault::STALLED);
    let kept = fill(&mut journal, 1);
    assert!(kept > 500, "64 KiB hold many facts, not {kept}");
    for seq in 1..10 {
        journal.fact(&fact(kept + seq));
        assert_eq!(journal.commit(), Commit::Lost);
    }
    let counters = journal.counters();
    assert_eq!((counters.lost_records, counters.lost_episodes), (10, 1));
    assert!(counters.head_used_bytes > counters.head_bytes - 200);
    assert!(!journal.checkpoint_due(), "not while there is no room for it");

    fault::set(&journal.shared, fault::NONE);
    assert!(journal.flush(SOON));
    until("the head empties", || journal.counters().head_used_bytes == 0);
    let after = put(&mut journal, kept + 10);
    assert!(journal.checkpoint_due(), "snapshots may have been among the lost");
    assert!(journal.flush(SOON));
    let expected: Vec<u32> = (0..kept).chain([kept + 10]).collect();
    assert_eq!(ground.seqs(), expected);
    let mut reader = Reader::open(ground.disk(), FactId(0)).unwrap();
    let mut gaps = Vec::new();
    while let Some(entry) = reader.read().unwrap() {
        if let Record::Gap { first } = entry.record {
            gaps.push((first, entry.id));
        }
    }
    assert_eq!(gaps, [(FactId(after.0 - 10), FactId(after.0 - 1))]);
    drop(journal);
    assert_eq!(ground.open().1.lost_records, 10);
}

#[test]
fn a_checkpoint_with_a_loss_in_it_is_none() {
    let ground = Ground::new();
    let (mut journal, _) = ground.open();
    state(&mut journal, 1, b"alive");
    assert_eq!(journal.commit(), Commit::Done);
    journal.begin_checkpoint();
    fault::set(&journal.shared, fault::STALLED);
    fill(&mut journal, 0);
    fault::set(&journal.shared, fault::NONE);
    assert!(journal.flush(SOON));
    journal.end_checkpoint();
    assert_eq!(journal.commit(), Commit::Done);
    drop(journal);
    let (_journal, recovery) = ground.open();
    assert_eq!(recovery.live, [(call(1), b"alive".to_vec())]);
}

#[test]
fn a_full_disk_is_tried_again_and_nothing_is_lost_meanwhile() {
    for kind in [fault::FULL, fault::SYNC] {
        let ground = Ground::new();
        let (mut journal, _) = ground.open();
        put(&mut journal, 0);
        assert!(journal.flush(SOON));
        fault::set(&journal.shared, kind);
        for seq in 1..100 {
            put(&mut journal, seq);
        }
        until("the disk refuses", || journal.counters().disk_errors >= 2);
        assert!(!journal.flush(Duration::ZERO));
        fault::set(&journal.shared, fault::NONE);
        assert!(journal.flush(SOON));
        assert_eq!(ground.seqs(), (0..100).collect::<Vec<_>>());
        assert_eq!(journal.counters().lost_records, 0);
    }
}

#[test]
fn a_directory_that_goes_away_and_comes_back_costs_nothing() {
    let ground = Ground::new();
    let disk_dir = ground.disk().join("journal");
    let away = ground.disk().join("away");
    let settings = Settings { disk_dir: disk_dir.clone(), segment_bytes: 0, ..ground.settings() };
    let (mut journal, _) = Journal::open(settings).unwrap();
    put(&mut journal, 0);
    assert!(journal.flush(SOON));
    fs::rename(&disk_dir, &away).unwrap();
    for seq in 1..400 {
        put(&mut journal, seq);
    }
    until("the disk refuses", || journal.counters().disk_errors > 0);
    fs::rename(&away, &disk_dir).unwrap();
    assert!(journal.flush(SOON));
    let mut reader = Reader::open(&disk_dir, FactId(0)).unwrap();
    let seqs: Vec<u32> = facts(&mut reader).into_iter().map(|(_, seq)| seq).collect();
    assert_eq!(seqs, (0..400).collect::<Vec<_>>());
}

#[test]
fn an_old_journal_opens_while_its_disk_stalls() {
    let ground = Ground::new();
    let (mut journal, _) = ground.open();
    put(&mut journal, 0);
    fault::set(&journal.shared, fault::STALLED);
    put(&mut journal, 1);
    state(&mut journal, 1, b"in the head alone");
    drop(journal);
    assert!(ground.seqs().len() < 2);

    let (mut journal, recovery) = ground.open();
    assert!(recovery.head_records >= 2);
    assert_eq!(recovery.live, [(call(1), b"in the head alone".to_vec())]);
    put(&mut journal, 2);
    assert!(journal.flush(SOON));
    assert_eq!(ground.seqs(), [0, 1, 2], "what only the head had is in a segment now");
}

#[test]
fn without_tmpfs_the_spool_thread_writes_before_the_commit_is_done() {
    let ground = Ground::new();
    let on_disk = tempfile::tempdir().unwrap();
    let head_dirs = vec![on_disk.path().join("head")];
    let (mut journal, _) = Journal::open(Settings { head_dirs, ..ground.settings() }).unwrap();
    assert_eq!(journal.counters().mode, Mode::Thread);
    assert!(!on_disk.path().join("head").exists(), "nothing is left where it is of no use");
    let before = journal.counters().late_commits;
    let mut done = 0;
    for seq in 0..2000 {
        until("the head empties", || journal.counters().head_used_bytes <= 40_000);
        journal.fact(&fact(seq));
        match journal.commit() {
            Commit::Done => {
                done += 1;
                let copied = journal.shared.copied.load(Ordering::Acquire);
                assert_eq!(copied, journal.shared.written.load(Ordering::Acquire));
            }
            Commit::Late => {}
            Commit::Lost => panic!("the disk answers"),
        }
    }
    assert_eq!(done + journal.counters().late_commits - before, 2000);
    assert!(done > 0, "no commit at all was in time");
    assert!(journal.flush(SOON));
    assert_eq!(ground.seqs(), (0..2000).collect::<Vec<_>>());
}

#[test]
fn without_tmpfs_a_stalled_disk_delays_one_commit_and_the_rest_are_late_at_once() {
    let ground = Ground::new();
    let (mut journal, _) =
        Journal::open(Settings { head_dirs: vec![], ..ground.settings() }).unwrap();
    assert!(journal.flush(SOON));
    let before = journal.counters().late_commits;
    fault::set(&journal.shared, fault::STALLED);
    for seq in 0..50 {
        journal.fact(&fact(seq));
        assert_eq!(journal.commit(), Commit::Late);
    }
    assert_eq!(journal.counters().late_commits, before + 50);
    fault::set(&journal.shared, fault::NONE);
    assert!(journal.flush(SOON));
    assert_eq!(ground.seqs(), (0..50).collect::<Vec<_>>());
}
