//! The ordinary life of a journal: open, write, close, open again.

use std::fs;

use super::{Ground, SOON, call, fact, facts, put, state, until};
use crate::error::JournalError;
use crate::format::Record;
use crate::journal::{Commit, Journal, Settings};
use crate::limits::ID_STRIDE;
use crate::reader::Reader;
use crate::shared::Mode;
use crate::spool::fault;
use cooee_model::ids::FactId;

#[test]
fn what_was_committed_comes_back() {
    let ground = Ground::new();
    let (mut journal, recovery) = ground.open();
    assert_eq!((recovery.last_id, recovery.same_boot), (FactId(0), false));
    assert_eq!(journal.counters().mode, Mode::Head);
    let first = put(&mut journal, 0);
    assert_eq!(first, FactId(2), "after the boot record");
    state(&mut journal, 1, b"one");
    state(&mut journal, 2, b"two");
    state(&mut journal, 1, b"one again");
    journal.gone(call(2));
    assert_eq!(journal.commit(), Commit::Done);
    drop(journal);

    let (mut journal, recovery) = ground.open();
    assert_eq!(recovery.live, [(call(1), b"one again".to_vec())]);
    assert!(recovery.same_boot);
    assert_eq!(recovery.last_id, FactId(6));
    assert_eq!((recovery.torn_segments, recovery.lost_records), (0, 0));
    assert!(put(&mut journal, 1).0 > ID_STRIDE, "ids of a later run lie above");
    drop(journal);
    assert_eq!(ground.seqs(), [0, 1]);

    let settings = Settings { boot_id: [8; 16], ..ground.settings() };
    let (_journal, recovery) = Journal::open(settings).unwrap();
    assert!(!recovery.same_boot);
    assert_eq!(recovery.live.len(), 1);
}

#[test]
fn two_cannot_have_one_journal_nor_one_head() {
    let ground = Ground::new();
    let (journal, _) = ground.open();
    assert!(matches!(Journal::open(ground.settings()), Err(JournalError::InUse { .. })));
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Settings { disk_dir: elsewhere.path().into(), ..ground.settings() };
    assert!(matches!(Journal::open(other), Err(JournalError::InUse { .. })));
    drop(journal);
    ground.open();
}

#[test]
fn the_head_of_another_journal_is_not_taken_for_ours() {
    let ground = Ground::new();
    let (mut journal, _) = ground.open();
    put(&mut journal, 0);
    state(&mut journal, 1, b"theirs");
    drop(journal);
    let elsewhere = tempfile::tempdir().unwrap();
    let now = cooee_model::moment::Moment::new(9, 9);
    let other = Settings { disk_dir: elsewhere.path().into(), now, ..ground.settings() };
    let (_journal, recovery) = Journal::open(other).unwrap();
    assert_eq!((recovery.records, recovery.live.len()), (0, 0));
}

#[test]
fn what_only_the_head_of_another_journal_has_is_not_written_over() {
    let ground = Ground::new();
    let (mut journal, _) = ground.open();
    fault::set(&journal.shared, fault::STALLED);
    put(&mut journal, 7);
    drop(journal);
    let elsewhere = tempfile::tempdir().unwrap();
    let now = cooee_model::moment::Moment::new(9, 9);
    let other = Settings { disk_dir: elsewhere.path().into(), now, ..ground.settings() };
    let (other, _) = Journal::open(other).unwrap();
    assert_eq!(other.counters().mode, Mode::Thread);
    let (journal, _) = ground.open();
    assert!(journal.flush(SOON));
    assert_eq!(ground.seqs(), [7]);
}

#[test]
fn a_head_behind_a_link_is_not_touched() {
    let ground = Ground::new();
    let link = ground.head.path().join("link");
    let real = ground.head.path().join("real");
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let (journal, _) =
        Journal::open(Settings { head_dirs: vec![link], ..ground.settings() }).unwrap();
    assert_eq!(journal.counters().mode, Mode::Thread);
    assert_eq!(fs::read_dir(&real).unwrap().count(), 0);
}

#[test]
fn the_ring_wraps_and_segments_roll() {
    let ground = Ground::new();
    let (mut journal, _) = ground.open();
    let rounds = 4000_u32;
    for seq in 0..rounds {
        state(&mut journal, 1, &[seq.to_le_bytes()[0]; 90]);
        journal.fact(&fact(seq));
        until("the head empties", || journal.counters().head_used_bytes <= 40_000);
        assert_eq!(journal.commit(), Commit::Done);
    }
    assert!(journal.flush(SOON));
    let counters = journal.counters();
    assert!(counters.bytes > 5 * counters.head_bytes, "the ring was gone round: {counters:?}");
    assert!(counters.segments > 5);
    assert_eq!(ground.seqs(), (0..rounds).collect::<Vec<_>>());
    drop(journal);
    let (_journal, recovery) = ground.open();
    assert_eq!(recovery.live, [(call(1), vec![(rounds - 1).to_le_bytes()[0]; 90])]);
}

#[test]
fn a_reader_follows_and_begins_anywhere() {
    let ground = Ground::new();
    let (mut journal, _) = ground.open();
    let mut follower = Reader::open(ground.disk(), FactId(0)).unwrap();
    let mut followed = Vec::new();
    let mut ids = Vec::new();
    for seq in 0..600 {
        ids.push((put(&mut journal, seq), seq));
        if seq % 50 == 0 {
            assert!(journal.flush(SOON));
        }
        followed.extend(facts(&mut follower));
    }
    assert!(journal.flush(SOON));
    followed.extend(facts(&mut follower));
    assert_eq!(followed, ids);
    for (at, (id, _)) in ids.iter().enumerate().step_by(37) {
        let mut reader = Reader::open(ground.disk(), *id).unwrap();
        assert_eq!(facts(&mut reader), ids[at + 1..]);
    }
}

#[test]
fn a_segment_stays_until_the_database_and_a_checkpoint_are_past_it() {
    let ground = Ground::new();
    let (mut journal, _) = ground.open();
    assert!(journal.checkpoint_due(), "a new run begins with one");
    journal.checkpoint([(call(1), |out: &mut Vec<u8>| out.extend_from_slice(b"old"))]);
    assert_eq!(journal.commit(), Commit::Done);
    assert!(!journal.checkpoint_due());
    let mut last = FactId(0);
    let fill = |journal: &mut Journal| {
        let mut last = FactId(0);
        for seq in 0..300 {
            state(journal, 2, &[1; 400]);
            last = put(journal, seq);
            assert!(journal.flush(SOON));
        }
        last
    };
    last = last.max(fill(&mut journal));
    let rolled = journal.counters().segments;
    assert!(rolled > 3 && journal.checkpoint_due());

    ground.position.advance(last);
    put(&mut journal, 1);
    assert!(journal.flush(SOON));
    assert_eq!(journal.counters().segments, rolled, "the only snapshot of call 1 is in the oldest");

    journal.begin_checkpoint();
    state(&mut journal, 1, b"new");
    assert_eq!(journal.commit(), Commit::Done);
    journal.end_checkpoint();
    assert_eq!(journal.commit(), Commit::Done);
    assert!(!journal.checkpoint_due());
    drop(journal);
    assert!(ground.segments().len() < rolled as usize, "past the database, before the checkpoint");

    let (mut journal, recovery) = ground.open();
    assert_eq!(recovery.live, [(call(1), b"new".to_vec())], "call 2 had no part in it");
    journal.checkpoint(
        recovery
            .live
            .iter()
            .map(|(call, state)| (*call, |out: &mut Vec<u8>| out.extend_from_slice(state))),
    );
    fill(&mut journal);
    let unread = journal.counters().segments;
    assert!(unread > 3, "the database has not seen them: {unread}");
}

#[test]
fn a_boot_record_opens_each_run_and_each_checkpoint() {
    let ground = Ground::new();
    let (mut journal, _) = ground.open();
    journal.checkpoint(std::iter::empty::<(_, fn(&mut Vec<u8>))>());
    drop(journal);
    let mut reader = Reader::open(ground.disk(), FactId(0)).unwrap();
    let mut kinds = Vec::new();
    while let Some(entry) = reader.read().unwrap() {
        kinds.push(match entry.record {
            Record::Boot(boot) => {
                assert_eq!((boot.boot_id, boot.software), ([7; 16], "0.1.0"));
                assert_eq!((boot.at.mono, boot.at.wall), (1_000, 2_000));
                "boot"
            }
            Record::Checkpoint { first } => {
                assert_eq!(first, FactId(2));
                "checkpoint"
            }
            _ => "other",
        });
    }
    assert_eq!(kinds, ["boot", "boot", "checkpoint"]);
}

#[test]
fn ids_lie_above_what_the_database_has_even_when_the_journal_was_lost() {
    let ground = Ground::new();
    ground.position.advance(FactId(5 * ID_STRIDE + 3));
    let (mut journal, _) = ground.open();
    assert!(put(&mut journal, 0).0 > 5 * ID_STRIDE + 3);
}

#[test]
fn a_later_format_is_refused_and_not_touched() {
    let ground = Ground::new();
    let mut bytes = crate::format::SegmentHeader { identity: [1; 16], first: 1 }.bytes();
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..36]);
    bytes[36..].copy_from_slice(&crc.to_le_bytes());
    let path = ground.disk().join(format!("{:020}.seg", 1));
    fs::write(&path, &bytes).unwrap();
    let refused = Journal::open(ground.settings()).unwrap_err();
    assert!(matches!(refused, JournalError::Newer { found: 2, .. }), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert!(Reader::open(ground.disk(), FactId(0)).is_err());
}

#[test]
fn a_record_past_the_limit_costs_only_itself() {
    let ground = Ground::new();
    let (mut journal, _) = ground.open();
    state(&mut journal, 1, &vec![0; crate::limits::MAX_PAYLOAD]);
    put(&mut journal, 3);
    assert_eq!(journal.counters().unwritable, 1);
    drop(journal);
    assert_eq!(ground.seqs(), [3]);
}

#[test]
fn a_steady_batch_grows_no_buffer() {
    let ground = Ground::new();
    let (mut journal, _) = ground.open();
    let batch = |journal: &mut Journal| {
        for seq in 0..30 {
            state(journal, 1, &[0; 90]);
            journal.fact(&fact(seq));
        }
        assert!(journal.flush(SOON));
        assert_eq!(journal.commit(), Commit::Done);
        journal.room()
    };
    let settled = batch(&mut journal);
    for _ in 0..50 {
        assert_eq!(batch(&mut journal), settled);
    }
}
