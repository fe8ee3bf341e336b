//! A writer killed by SIGKILL at any instant loses nothing that was committed (goals R1, R2).

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::{Ground, SOON, call, fact, put, state, until};
use crate::journal::{Commit, Journal, Settings};
use cooee_model::ids::CallId;

const CHILD: &str = "COOEE_JOURNAL_TRIAL_CHILD";
const SELF: &str = "trial::killed::a_killed_writer_loses_nothing_that_was_committed";

/// Commits for ever, and says after each commit how far it is.
fn write_for_ever(settings: Settings) {
    let (mut journal, recovery) = Journal::open(settings).unwrap();
    let from = recovery
        .live
        .first()
        .map_or(0, |(_, s)| u32::from_le_bytes(s[..4].try_into().unwrap()) + 1);
    let mut out = std::io::stdout().lock();
    for seq in from.. {
        if journal.checkpoint_due() {
            journal.begin_checkpoint();
            if let Some(last) = seq.checked_sub(1) {
                state(&mut journal, 1, &of(last));
            }
            journal.end_checkpoint();
        }
        journal.fact(&fact(seq));
        state(&mut journal, 1, &of(seq));
        state(&mut journal, 1000 + u128::from(seq), b"short-lived");
        journal.gone(call(1000 + u128::from(seq)));
        match journal.commit() {
            Commit::Done => writeln!(out, "committed {seq}").unwrap(),
            Commit::Late | Commit::Lost => writeln!(out, "lost {seq}").unwrap(),
        }
    }
}

/// The state of call 1 at `seq`: of a size that varies.
fn of(seq: u32) -> Vec<u8> {
    let mut state = seq.to_le_bytes().to_vec();
    state.resize(4 + seq as usize % 300, 0xaa);
    state
}

#[test]
fn a_killed_writer_loses_nothing_that_was_committed() {
    if let Ok(dirs) = std::env::var(CHILD) {
        let (head, disk) = dirs.split_once('|').unwrap();
        // The child is killed and cleans nothing up: its own ground goes before it begins.
        let settings = Ground::new().settings();
        write_for_ever(Settings {
            head_dirs: vec![head.into()],
            disk_dir: disk.into(),
            ..settings
        });
    }
    let ground = Ground::new();
    let mut kept: Vec<u32> = Vec::new();
    for round in 0..25_u32 {
        let dirs = format!("{}|{}", ground.head.path().display(), ground.disk().display());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", SELF, "--nocapture"])
            .env(CHILD, dirs)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut before_kill = 1 + round * 37 % 700;
        // What the child had still said when it was killed is read to the end.
        while let Some(Ok(line)) = lines.next() {
            if let Some(seq) = line.strip_prefix("committed ") {
                kept.push(seq.parse().unwrap());
                before_kill = before_kill.saturating_sub(1);
                if before_kill == 0 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();

        let last = *kept.last().unwrap();
        let (mut journal, recovery) = ground.open();
        let one: Vec<&Vec<u8>> =
            recovery.live.iter().filter(|(id, _)| *id == call(1)).map(|(_, s)| s).collect();
        let [state] = one[..] else { panic!("round {round}: {:?}", recovery.live) };
        let at = u32::from_le_bytes(state[..4].try_into().unwrap());
        assert!(at >= last, "round {round}: committed {last}, found {at}");
        assert_eq!(*state, of(at));
        let others: Vec<CallId> =
            recovery.live.iter().map(|(id, _)| *id).filter(|id| *id != call(1)).collect();
        assert!(others.len() <= 1, "only the batch that was cut may be half there: {others:?}");
        // The child had outrun its disk: let the head empty before there is more to come.
        until("the head empties", || journal.counters().head_used_bytes == 0);
        for call in others {
            journal.gone(call);
        }
        put(&mut journal, u32::MAX);
        assert!(journal.flush(SOON));
        drop(journal);
        let found = ground.seqs();
        let lost: Vec<_> = kept.iter().filter(|seq| !found.contains(seq)).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
    }
}
