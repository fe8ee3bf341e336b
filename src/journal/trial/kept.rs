//! Journals of every format version that was ever written, read for ever (goal R20).

use std::fs;
use std::path::PathBuf;

use super::{Ground, SOON, call};
use crate::format::{Boot, Entry, HEAD_HEADER, Kind, Record, SLOT, SLOT_AT};
use crate::format::{SegmentHeader, Slot, boot_payload, push};
use crate::reader::Reader;
use cooee_model::fact::{Fact, What};
use cooee_model::ids::{CallId, FactId};
use cooee_model::moment::Moment;

const SEGMENT: &str = "00000000000000000001.seg";

fn fixture(name: &str) -> Vec<u8> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1");
    fs::read(dir.join(name)).unwrap()
}

fn invited() -> Fact {
    let what = What::Invited {
        trunk: "unitalk".into(),
        source: "203.0.113.5:5060".into(),
        sip_call_id: "a84b4c76e66710@203.0.113.5".into(),
        customer: "+61491570156".into(),
        called: "901".into(),
        external_id: None,
        autodialer: None,
    };
    let at = Moment::new(5_000_000_001, 1_767_225_600_000_000_001);
    Fact { call: call(1), seq: 0, at, what }
}

/// The journal of the fixture, written by the code as it is today: segment, head.
fn written_today() -> [Vec<u8>; 2] {
    let identity = *b"0123456789abcdef";
    let state = |call: CallId, state: &[u8]| [&call.0.to_be_bytes()[..], state].concat();
    let mut boot = Vec::new();
    let at = Moment::new(5_000_000_000, 1_767_225_600_000_000_000);
    boot_payload(&mut boot, Boot { boot_id: [7; 16], at, software: "0.1.0" });
    let mut fact = Vec::new();
    minicbor::encode(invited(), &mut fact).unwrap();

    let mut segment = SegmentHeader { identity, first: 1 }.bytes();
    let mut id = 0;
    let mut record = |kind, payload: &[u8]| {
        id += 1;
        push(&mut segment, kind, id, payload);
    };
    record(Kind::Boot, &boot);
    record(Kind::Fact, &fact);
    record(Kind::Snapshot, &state(call(1), b"first state"));
    record(Kind::Snapshot, &state(call(2), b"before the checkpoint"));
    record(Kind::Boot, &boot);
    record(Kind::Snapshot, &state(call(1), b"second state"));
    record(Kind::Snapshot, &state(call(3), b"soon gone"));
    record(Kind::Checkpoint, &5_u64.to_le_bytes());
    record(Kind::Gone, &call(3).0.to_be_bytes());
    push(&mut segment, Kind::Gap, 12, &10_u64.to_le_bytes());

    let ring_bytes = (16 << 10) - HEAD_HEADER;
    let mut head = vec![0; HEAD_HEADER as usize];
    for (at, position) in SLOT_AT.into_iter().zip([0, 12_280]) {
        let slot = Slot { identity, ring_bytes, position, id: 12 };
        head[at as usize..at as usize + SLOT].copy_from_slice(&slot.bytes());
    }
    let mut ring = Vec::new();
    push(&mut ring, Kind::Snapshot, 13, &state(call(1), b"third state, over the ring's end"));
    push(&mut ring, Kind::Snapshot, 14, &state(call(4), b"in the head alone"));
    let (end, start) = ring.split_at(8);
    head.extend_from_slice(start);
    head.resize((HEAD_HEADER + ring_bytes) as usize, 0);
    let wrap = head.len() - end.len();
    head[wrap..].copy_from_slice(end);
    [segment, head]
}

#[test]
fn version_1_is_written_bit_for_bit() {
    let [segment, head] = written_today();
    assert!(segment == fixture(SEGMENT), "the segment's bytes have changed");
    assert!(head == fixture("head"), "the head's bytes have changed");
}

#[test]
fn version_1_is_read() {
    let ground = Ground::new();
    fs::write(ground.disk().join(SEGMENT), fixture(SEGMENT)).unwrap();
    fs::write(ground.head.path().join("head"), fixture("head")).unwrap();
    let mut reader = Reader::open(ground.disk(), FactId(1)).unwrap();
    let entry = reader.read().unwrap();
    assert_eq!(entry, Some(Entry { id: FactId(2), record: Record::Fact(Box::new(invited())) }));

    let (journal, recovery) = ground.open();
    let expected = [
        (call(1), b"third state, over the ring's end".to_vec()),
        (call(4), b"in the head alone".to_vec()),
    ];
    assert_eq!(recovery.live, expected);
    assert!(recovery.same_boot);
    assert_eq!((recovery.last_id, recovery.head_records), (FactId(14), 2));
    assert_eq!((recovery.lost_records, recovery.torn_segments), (3, 0));
    assert!(journal.flush(SOON));
    let mut ids = vec![2];
    while let Some(entry) = reader.read().unwrap() {
        ids.push(entry.id.0);
    }
    assert_eq!(ids[..12], [2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 2 << 24]);
}

#[test]
fn a_patch_is_read_behind_the_state_that_it_belongs_to() {
    let ground = Ground::new();
    let mut segment = SegmentHeader { identity: *b"0123456789abcdef", first: 1 }.bytes();
    let of = |call: CallId, bytes: &[u8]| [&call.0.to_be_bytes()[..], bytes].concat();
    let mut write = |kind, id, payload: &[u8]| assert!(push(&mut segment, kind, id, payload));
    write(Kind::Snapshot, 1, &of(call(1), b"one"));
    write(Kind::Patch, 2, &of(call(1), b"+a"));
    write(Kind::Snapshot, 3, &of(call(2), b"replaced"));
    write(Kind::Patch, 4, &of(call(2), b"+lost with it"));
    write(Kind::Snapshot, 5, &of(call(2), b"two"));
    write(Kind::Patch, 6, &of(call(3), b"of nothing"));
    // A state of call 1 may have been lost here: what follows does not belong to the one above.
    write(Kind::Gap, 8, &7_u64.to_le_bytes());
    write(Kind::Patch, 9, &of(call(1), b"+b"));
    write(Kind::Snapshot, 10, &of(call(2), b"two again"));
    write(Kind::Patch, 11, &of(call(2), b"+c"));
    fs::write(ground.disk().join(SEGMENT), segment).unwrap();

    let (_journal, recovery) = ground.open();
    let expected = [(call(1), b"one+a".to_vec()), (call(2), b"two again+c".to_vec())];
    assert_eq!(recovery.live, expected);
}
