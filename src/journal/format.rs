//! The bytes of the journal, format version 1. Kept for ever: later versions still read it.
//!
//! All numbers are little-endian unless said otherwise. CRC is CRC-32C (Castagnoli, RFC 3720).
//!
//! **Record**, the unit of both the head and the segments; records follow each other without gaps:
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 4 | length of the payload, at most 1 MiB |
//! | 4 | 1 | type |
//! | 5 | 4 | CRC of bytes 0..5 and of all bytes from 9 to the end of the payload |
//! | 9 | 8 | id, strictly growing over the life of the journal, with gaps |
//! | 17 | length | payload |
//!
//! **Payloads** by type:
//!
//! | type | name | payload |
//! |---:|---|---|
//! | 1 | boot | boot id, 16 bytes; monotonic ns, u64; wall ns, i64; software's version, the rest |
//! | 2 | fact | `cooee_model::fact::Fact` in CBOR |
//! | 3 | snapshot | call id, 16 bytes, big-endian; the state of the call, opaque, the rest |
//! | 4 | gone | call id, 16 bytes, big-endian: nothing of this call is needed any more |
//! | 5 | checkpoint | first, u64: from that id on there is a snapshot of every live call |
//! | 6 | gap | first, u64: the records from that id to this record's own id were lost |
//!
//! A checkpoint begins with a boot record at its `first`. A reader skips a type that it does not
//! know. A call is live if its last snapshot at or after the
//! `first` of the last checkpoint has no `gone` after it.
//!
//! **Segment**, `<id of its first record, 20 digits>.seg`: a header, then records.
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 8 | `cooeeseg` |
//! | 8 | 4 | format version |
//! | 12 | 16 | identity of the journal |
//! | 28 | 8 | id of the first record |
//! | 36 | 4 | CRC of bytes 0..36 |
//!
//! **Head**: 4096 bytes with the spool thread's position twice (at 0 and at 2048, written in
//! turns, so that one of them is whole at any instant), then the ring. A *position* counts all
//! bytes ever written to the ring; it lies at `4096 + position mod ring`. Space is given back up
//! to the older of the two positions, so that either is a good place to start reading. Reading
//! stops at the first broken record and at the first id that does not grow (the lap before).
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 8 | `cooeehed` |
//! | 8 | 4 | format version |
//! | 12 | 16 | identity of the journal, as in its segments |
//! | 28 | 8 | bytes of the ring |
//! | 36 | 8 | position up to which segments hold the records, synced |
//! | 44 | 8 | id of the last record before that position; 0: none |
//! | 52 | 4 | CRC of bytes 0..52 |

use cooee_model::fact::Fact;
use cooee_model::ids::{CallId, FactId};
use cooee_model::moment::Moment;

use crate::limits::MAX_PAYLOAD;

/// The version that this build writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// Bytes before the payload of a record.
pub(crate) const RECORD_HEADER: usize = 17;
/// Bytes before the first record of a segment.
pub(crate) const SEGMENT_HEADER: usize = 40;
/// Bytes before the ring in the head.
pub(crate) const HEAD_HEADER: u64 = 4096;
/// Where the two copies of the head's position lie.
pub(crate) const SLOT_AT: [u64; 2] = [0, 2048];
/// Bytes of one copy of the head's position.
pub(crate) const SLOT: usize = 56;

const SEGMENT_MAGIC: &[u8; 8] = b"cooeeseg";
const HEAD_MAGIC: &[u8; 8] = b"cooeehed";

/// The type byte of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Boot = 1,
    Fact = 2,
    Snapshot = 3,
    Gone = 4,
    Checkpoint = 5,
    Gap = 6,
    Patch = 7,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let (calls, journal) = (
            [Self::Fact, Self::Snapshot, Self::Patch, Self::Gone],
            [Self::Boot, Self::Checkpoint, Self::Gap],
        );
        calls.into_iter().chain(journal).find(|&kind| kind as u8 == byte)
    }
}

/// Who wrote the records that follow, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot<'a> {
    /// The kernel's boot id: monotonic times of two runs compare only within one.
    pub boot_id: [u8; 16],
    /// When the journal was opened.
    pub at: Moment,
    /// Version of the software.
    pub software: &'a str,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// The journal was opened (repeated by each checkpoint).
    Boot(Boot<'a>),
    /// Something came about in a call.
    Fact(Box<Fact>),
    /// The state of a call, opaque to the journal.
    Snapshot {
        /// The call.
        call: CallId,
        /// Its state.
        state: &'a [u8],
    },
    /// What has changed of that state since: to be read behind it.
    Patch {
        /// The call.
        call: CallId,
        /// The change.
        change: &'a [u8],
    },
    /// Nothing of this call is needed any more.
    Gone {
        /// The call.
        call: CallId,
    },
    /// Every live call has a snapshot at or after `first`.
    Checkpoint {
        /// The id meant.
        first: FactId,
    },
    /// The records from `first` to this one's own id were lost.
    Gap {
        /// The first lost one.
        first: FactId,
    },
    /// A whole record of a type, or with a payload, that this build cannot read.
    Unknown {
        /// Its type byte.
        kind: u8,
    },
}

/// One record of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<'a> {
    /// Its id.
    pub id: FactId,
    /// What it says.
    pub record: Record<'a>,
}

/// A whole record whose payload has not been looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raw<'a> {
    pub(crate) kind: u8,
    pub(crate) id: u64,
    pub(crate) payload: &'a [u8],
}

/// What stands at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A whole record of this many bytes.
    Whole(usize),
    /// The start of a record of this many bytes, or of at least this many.
    Short(usize),
    /// No record.
    Torn,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    field(bytes, at).map(u64::from_le_bytes)
}

fn call_at(bytes: &[u8], at: usize) -> Option<CallId> {
    field(bytes, at).map(|b| CallId(u128::from_be_bytes(b)))
}

/// Appends one record to `out`; false if the payload is too long.
pub(crate) fn push(out: &mut Vec<u8>, kind: Kind, id: u64, payload: &[u8]) -> bool {
    let Some(length) = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_PAYLOAD)
    else {
        return false;
    };
    let [l0, l1, l2, l3] = length.to_le_bytes();
    let lead = [l0, l1, l2, l3, kind as u8];
    let id = id.to_le_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&lead), &id), payload);
    out.extend_from_slice(&lead);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&id);
    out.extend_from_slice(payload);
    true
}

/// Looks for a whole record at the start of `bytes`.
pub(crate) fn find(bytes: &[u8]) -> Found {
    let Some(length) = field(bytes, 0).map(u32::from_le_bytes) else {
        return Found::Short(RECORD_HEADER);
    };
    let length = length as usize;
    if length > MAX_PAYLOAD {
        return Found::Torn;
    }
    let whole = RECORD_HEADER + length;
    let (Some(lead), Some(crc), Some(rest)) =
        (bytes.get(..5), field(bytes, 5).map(u32::from_le_bytes), bytes.get(9..whole))
    else {
        return Found::Short(whole);
    };
    if crc32c::crc32c_append(crc32c::crc32c(lead), rest) == crc {
        Found::Whole(whole)
    } else {
        Found::Torn
    }
}

/// The parts of a record that [`find`] has found whole.
pub(crate) fn split(record: &[u8]) -> Option<Raw<'_>> {
    let kind = *record.get(4)?;
    Some(Raw { kind, id: u64_at(record, 9)?, payload: record.get(RECORD_HEADER..)? })
}

impl<'a> Raw<'a> {
    pub(crate) fn entry(self) -> Entry<'a> {
        let record = self.record().unwrap_or(Record::Unknown { kind: self.kind });
        Entry { id: FactId(self.id), record }
    }

    /// The `first` of a checkpoint.
    pub(crate) fn checkpoint(self) -> Option<u64> {
        (self.kind == Kind::Checkpoint as u8).then(|| u64_at(self.payload, 0)).flatten()
    }

    fn record(self) -> Option<Record<'a>> {
        let payload = self.payload;
        Some(match Kind::of(self.kind)? {
            Kind::Boot => Record::Boot(Boot {
                boot_id: field(payload, 0)?,
                at: Moment::new(u64_at(payload, 16)?, i64::from_le_bytes(field(payload, 24)?)),
                software: std::str::from_utf8(payload.get(32..)?).ok()?,
            }),
            Kind::Fact => Record::Fact(Box::new(minicbor::decode(payload).ok()?)),
            Kind::Snapshot => {
                Record::Snapshot { call: call_at(payload, 0)?, state: payload.get(16..)? }
            }
            Kind::Patch => Record::Patch { call: call_at(payload, 0)?, change: payload.get(16..)? },
            Kind::Gone => Record::Gone { call: call_at(payload, 0)? },
            Kind::Checkpoint => Record::Checkpoint { first: FactId(u64_at(payload, 0)?) },
            Kind::Gap => Record::Gap { first: FactId(u64_at(payload, 0)?) },
        })
    }
}

/// The payload of a boot record.
pub(crate) fn boot_payload(out: &mut Vec<u8>, boot: Boot<'_>) {
    out.extend_from_slice(&boot.boot_id);
    out.extend_from_slice(&boot.at.mono.to_le_bytes());
    out.extend_from_slice(&boot.at.wall.to_le_bytes());
    out.extend_from_slice(boot.software.as_bytes());
}

/// The first bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) identity: [u8; 16],
    pub(crate) first: u64,
}

/// A header that is whole, but of a later format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Newer(pub(crate) u32);

impl SegmentHeader {
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut out = start(SEGMENT_MAGIC, self.identity);
        out.extend_from_slice(&self.first.to_le_bytes());
        sealed(out)
    }

    /// `None`: damaged.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, Newer> {
        let Some(body) = opened(bytes, SEGMENT_MAGIC, SEGMENT_HEADER)? else { return Ok(None) };
        let parts = (field(body, 12), u64_at(body, 28));
        let (Some(identity), Some(first)) = parts else { return Ok(None) };
        Ok(Some(Self { identity, first }))
    }
}

/// The spool thread's position, as it stands in the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) identity: [u8; 16],
    pub(crate) ring_bytes: u64,
    pub(crate) position: u64,
    pub(crate) id: u64,
}

impl Slot {
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut out = start(HEAD_MAGIC, self.identity);
        for number in [self.ring_bytes, self.position, self.id] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        sealed(out)
    }

    /// `None`: damaged, or torn.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, Newer> {
        let Some(body) = opened(bytes, HEAD_MAGIC, SLOT)? else { return Ok(None) };
        let parts = (field(body, 12), u64_at(body, 28), u64_at(body, 36), u64_at(body, 44));
        let (Some(identity), Some(ring_bytes), Some(position), Some(id)) = parts else {
            return Ok(None);
        };
        Ok(Some(Self { identity, ring_bytes, position, id }))
    }
}

fn start(magic: &[u8; 8], identity: [u8; 16]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SLOT);
    out.extend_from_slice(magic);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&identity);
    out
}

fn sealed(mut out: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The header of `size` bytes without its CRC, if it is whole and of a version that we read.
fn opened<'a>(bytes: &'a [u8], magic: &[u8; 8], size: usize) -> Result<Option<&'a [u8]>, Newer> {
    let (Some(body), Some(crc)) = (bytes.get(..size - 4), field(bytes, size - 4)) else {
        return Ok(None);
    };
    if !body.starts_with(magic) || crc32c::crc32c(body) != u32::from_le_bytes(crc) {
        return Ok(None);
    }
    match field(body, 8).map(u32::from_le_bytes) {
        Some(VERSION) => Ok(Some(body)),
        Some(newer) => Err(Newer(newer)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_reads_back(id: u64, payload in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut out = Vec::new();
            prop_assert!(push(&mut out, Kind::Snapshot, id, &payload));
            prop_assert_eq!(find(&out), Found::Whole(out.len()));
            let raw = split(&out).unwrap();
            prop_assert_eq!(raw, Raw { kind: 3, id, payload: &payload });
            for short in 0..out.len() {
                prop_assert!(matches!(find(&out[..short]), Found::Short(need) if need > short));
            }
        }

        #[test]
        fn no_flipped_bit_passes(payload in prop::collection::vec(any::<u8>(), 0..60), bit: usize) {
            let mut out = Vec::new();
            push(&mut out, Kind::Fact, 7, &payload);
            let bit = bit % (out.len() * 8);
            out[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!matches!(find(&out), Found::Whole(_)));
        }

        #[test]
        fn noise_is_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let raw = Raw { kind: bytes.first().copied().unwrap_or(0) % 8, id: 1, payload: &bytes };
            let _ = raw.entry();
            let _ = find(&bytes);
            prop_assert_eq!(SegmentHeader::read(&bytes), Ok(None));
            prop_assert_eq!(Slot::read(&bytes), Ok(None));
        }

        #[test]
        fn headers_read_back(identity: [u8; 16], numbers: [u64; 3]) {
            let [ring_bytes, position, id] = numbers;
            let slot = Slot { identity, ring_bytes, position, id };
            prop_assert_eq!(Slot::read(&slot.bytes()), Ok(Some(slot)));
            prop_assert_eq!(slot.bytes().len(), SLOT);
            let segment = SegmentHeader { identity, first: id };
            prop_assert_eq!(SegmentHeader::read(&segment.bytes()), Ok(Some(segment)));
            prop_assert_eq!(segment.bytes().len(), SEGMENT_HEADER);
        }
    }

    #[test]
    fn a_payload_past_the_limit_is_refused() {
        let mut out = Vec::new();
        assert!(!push(&mut out, Kind::Snapshot, 1, &vec![0; MAX_PAYLOAD + 1]));
        assert!(out.is_empty());
        assert_eq!(find(&[0xff; 40]), Found::Torn);
    }

    #[test]
    fn a_later_format_is_told_from_damage() {
        let mut bytes = SegmentHeader { identity: [1; 16], first: 1 }.bytes();
        bytes[8] = 2;
        assert_eq!(SegmentHeader::read(&bytes), Ok(None));
        bytes.truncate(36);
        assert_eq!(SegmentHeader::read(&sealed(bytes)), Err(Newer(2)));
    }
}
