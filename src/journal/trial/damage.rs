//! A journal cut at every byte and with every bit flipped: it starts, and no good record before
//! the tear is lost (goal R19).

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::{SOON, call, fact};
use crate::format::{
    HEAD_HEADER, Kind, Record, SEGMENT_HEADER, SLOT, SLOT_AT, SegmentHeader, Slot, push,
};
use crate::journal::{Journal, Settings};
use crate::reader::Reader;
use crate::shared::Position;
use cooee_model::ids::{CallId, FactId};
use cooee_model::moment::Moment;

/// One file of the journal: its bytes, and where its records end.
struct Image {
    name: String,
    bytes: Vec<u8>,
    ends: Vec<(u64, usize)>,
}

impl Image {
    fn with(name: String, header: &[u8], ids: std::ops::Range<u64>) -> Self {
        let mut image = Self { name, bytes: header.to_vec(), ends: Vec::new() };
        for id in ids {
            let mut payload = Vec::new();
            let kind = if id % 3 == 0 {
                minicbor::encode(fact(id as u32), &mut payload).unwrap();
                Kind::Fact
            } else {
                payload.extend_from_slice(&call(u128::from(id % 2)).0.to_be_bytes());
                payload.extend_from_slice(&id.to_le_bytes());
                Kind::Snapshot
            };
            push(&mut image.bytes, kind, id, &payload);
            image.ends.push((id, image.bytes.len()));
        }
        image
    }

    fn is_head(&self) -> bool {
        self.name == "head"
    }
}

/// Three segments and a head; the head holds again what is last on disk.
fn images() -> Vec<Image> {
    let identity = [3; 16];
    let segment = |ids: std::ops::Range<u64>| {
        let header = SegmentHeader { identity, first: ids.start }.bytes();
        Image::with(format!("{:020}.seg", ids.start), &header, ids)
    };
    let ring_bytes = (16 << 10) - HEAD_HEADER;
    let mut header = vec![0; HEAD_HEADER as usize];
    for at in SLOT_AT {
        let slot = Slot { identity, ring_bytes, position: 0, id: 8 };
        header[at as usize..at as usize + SLOT].copy_from_slice(&slot.bytes());
    }
    let mut head = Image::with("head".into(), &header, 9..14);
    head.bytes.resize((HEAD_HEADER + ring_bytes) as usize, 0);
    vec![segment(1..5), segment(5..8), segment(8..11), head]
}

struct Ground {
    head: TempDir,
    disk: TempDir,
}

/// Opens a journal of the given files and compares it with what must be there.
fn prove(images: &[Image], damaged: usize, bytes: &[u8], must: &dyn Fn(usize) -> bool, case: &str) {
    let dir = || tempfile::tempdir_in("/dev/shm").unwrap();
    let ground = Ground { head: dir(), disk: dir() };
    let mut expected = Vec::new();
    for (n, image) in images.iter().enumerate() {
        let dir = if image.is_head() { &ground.head } else { &ground.disk };
        let bytes = if n == damaged { bytes } else { &image.bytes };
        fs::write(dir.path().join(&image.name), bytes).unwrap();
        expected.extend(image.ends.iter().filter(|e| n != damaged || must(e.1)).map(|e| e.0));
    }
    let settings = Settings {
        head_dirs: vec![PathBuf::from(ground.head.path())],
        disk_dir: ground.disk.path().into(),
        head_bytes: 16 << 10,
        segment_bytes: 4 << 10,
        sync_every: Duration::ZERO,
        boot_id: [7; 16],
        now: Moment::default(),
        software: String::new(),
        position: Position::default(),
    };
    let (journal, recovery) = Journal::open(settings).expect(case);
    assert!(journal.flush(SOON), "{case}");
    drop(journal);
    let mut reader = Reader::open(ground.disk.path(), FactId(0)).unwrap();
    let mut found = Vec::new();
    let mut live = BTreeMap::<CallId, Vec<u8>>::new();
    while let Some(entry) = reader.read().unwrap() {
        match entry.record {
            Record::Boot(_) => assert!(entry.id.0 > 20, "{case}"),
            Record::Snapshot { call, state } => {
                live.insert(call, state.to_vec());
                found.push(entry.id.0);
            }
            Record::Fact(fact) => {
                assert_eq!(u64::from(fact.seq), entry.id.0, "{case}");
                found.push(entry.id.0);
            }
            other => panic!("{case}: {other:?}"),
        }
    }
    assert!(found.is_sorted_by(|a, b| a < b), "{case}: {found:?}");
    expected.sort_unstable();
    expected.dedup();
    let lost: Vec<_> = expected.iter().filter(|id| !found.contains(id)).collect();
    assert!(lost.is_empty(), "{case}: lost {lost:?}, found {found:?}");
    assert_eq!(recovery.live, live.into_iter().collect::<Vec<_>>(), "{case}");
    assert_eq!(recovery.records, found.len() as u64, "{case}");
}

#[test]
fn cut_at_every_byte_it_starts_and_keeps_what_is_before() {
    let images = images();
    for (n, image) in images.iter().enumerate() {
        let last = image.ends.last().unwrap().1;
        let slots_end = if image.is_head() { SLOT_AT[1] as usize + SLOT } else { 0 };
        for cut in (0..=last).filter(|cut| !image.is_head() || *cut < 100 || *cut > slots_end) {
            let case = format!("{} cut at {cut}", image.name);
            prove(&images, n, &image.bytes[..cut], &|end| end <= cut, &case);
        }
    }
}

#[test]
fn with_any_bit_flipped_it_starts_and_keeps_what_is_before() {
    let images = images();
    for (n, image) in images.iter().enumerate() {
        let last = image.ends.last().unwrap().1;
        let header = if image.is_head() { HEAD_HEADER as usize } else { SEGMENT_HEADER };
        // Of the head's header only the two slots mean anything.
        let in_slot = |byte: &usize| {
            SLOT_AT.iter().any(|at| (*at..at + SLOT as u64).contains(&(*byte as u64)))
        };
        for byte in (0..last).filter(|byte| !image.is_head() || *byte >= header || in_slot(byte)) {
            for bit in 0..8 {
                let mut bytes = image.bytes.clone();
                bytes[byte] ^= 1 << bit;
                let case = format!("{} byte {byte} bit {bit}", image.name);
                prove(&images, n, &bytes, &|end| byte < header || end <= byte, &case);
            }
        }
    }
}
