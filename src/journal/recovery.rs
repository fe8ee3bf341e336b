//! Reads back what an earlier run left: its segments, then what of its head is in no segment yet.

use std::collections::BTreeMap;
use std::path::Path;

use cooee_model::ids::{CallId, FactId};

use crate::error::JournalError;
use crate::format::{Entry, Kind, Raw, Record, SEGMENT_HEADER, SegmentHeader, Slot};
use crate::ring::Ring;
use crate::scan::Scanner;
use crate::segment::{self, SegmentFile};

/// What an earlier run left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The last state of every call that was not over, by call.
    pub live: Vec<(CallId, Vec<u8>)>,
    /// Whether the earlier run was in this same boot of the machine: monotonic times compare.
    pub same_boot: bool,
    /// The last record found; 0: none.
    pub last_id: FactId,
    /// Records read.
    pub records: u64,
    /// Of these, found in the head alone.
    pub head_records: u64,
    /// Segments whose end is not a whole record (the last one of a power cut, or damage).
    pub torn_segments: u64,
    /// Segments whose header is damaged.
    pub damaged_headers: u64,
    /// Records that the earlier runs had to give up.
    pub lost_records: u64,
}

/// Where the walk over the ring of an earlier run came to a halt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingEnd {
    /// End of the records that are in segments.
    pub(crate) copied: u64,
    /// Id of the first record after that.
    pub(crate) first_uncopied: Option<u64>,
    /// End of the last good record.
    pub(crate) end: u64,
}

/// The state that records add up to, in their order.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    live: BTreeMap<CallId, (u64, Vec<u8>)>,
    boot_id: Option<[u8; 16]>,
    /// The last gap.
    gap: u64,
    /// `first` of the last checkpoint.
    pub(crate) checkpoint: u64,
    /// The journal's identity, if a segment tells it.
    pub(crate) identity: Option<[u8; 16]>,
    found: Recovery,
}

impl Replay {
    /// The result, for a process that runs in the boot `boot_id`.
    pub(crate) fn finish(self, boot_id: [u8; 16]) -> Recovery {
        Recovery {
            live: self.live.into_iter().map(|(call, (_, state))| (call, state)).collect(),
            same_boot: self.boot_id == Some(boot_id),
            ..self.found
        }
    }

    /// Id of the last record so far.
    pub(crate) fn last_id(&self) -> u64 {
        self.found.last_id.0
    }

    /// Reads the segments in `dir` from the last checkpoint on.
    pub(crate) fn segments(&mut self, segments: &[SegmentFile]) -> Result<(), JournalError> {
        let from = match last_checkpoint(segments)? {
            Some(first) => segments.iter().rposition(|segment| segment.first <= first),
            None => None,
        };
        for segment in segments.iter().skip(from.unwrap_or(0)) {
            let (header, torn) = walk(segment, |raw| self.take(raw))?;
            match header {
                Some(header) => self.identity = Some(header.identity),
                None => self.found.damaged_headers += 1,
            }
            self.found.torn_segments += u64::from(torn);
        }
        Ok(())
    }

    /// Reads what the ring of an earlier run holds from `slot` on.
    pub(crate) fn ring(
        &mut self,
        ring: &Ring,
        slot: Slot,
        path: &Path,
    ) -> Result<RingEnd, JournalError> {
        let in_segments = self.last_id();
        let mut halt = RingEnd { copied: slot.position, first_uncopied: None, end: slot.position };
        let mut walk = Scanner::at(slot.position);
        let all = ring.until(slot.position.saturating_add(ring.bytes()));
        let mut last = slot.id;
        while walk.step(&all).map_err(JournalError::at(path))? {
            let position = walk.position();
            // An id that does not grow is of the lap before.
            let Some((raw, _)) = walk.record().filter(|(raw, _)| raw.id > last) else { break };
            last = raw.id;
            halt.end = position;
            if raw.id <= in_segments {
                halt.copied = position;
            } else {
                halt.first_uncopied = halt.first_uncopied.or(Some(raw.id));
                self.found.head_records += 1;
                self.take(raw);
            }
        }
        self.found.last_id = self.found.last_id.max(FactId(last));
        Ok(halt)
    }

    fn take(&mut self, raw: Raw<'_>) {
        if raw.id <= self.last_id() {
            return;
        }
        self.found.last_id = FactId(raw.id);
        self.found.records += 1;
        if raw.kind == Kind::Fact as u8 {
            return;
        }
        let Entry { id, record } = raw.entry();
        match record {
            Record::Boot(boot) => self.boot_id = Some(boot.boot_id),
            Record::Snapshot { call, state } => {
                self.live.insert(call, (id.0, state.to_vec()));
            }
            // What it belongs to may have been lost in a gap, or lie before the checkpoint that is
            // read from: then it means nothing, and a later state has the whole of it.
            Record::Patch { call, change } => {
                let kept = self.live.get_mut(&call).filter(|(id, _)| *id > self.gap);
                if let Some((_, state)) = kept {
                    state.extend_from_slice(change);
                }
            }
            Record::Gone { call } => {
                self.live.remove(&call);
            }
            Record::Checkpoint { first } => {
                self.checkpoint = first.0;
                self.live.retain(|_, (id, _)| *id >= first.0);
            }
            Record::Gap { first } => {
                self.gap = id.0;
                self.found.lost_records += (id.0 + 1).saturating_sub(first.0);
            }
            Record::Fact(_) | Record::Unknown { .. } => {}
        }
    }
}

/// `first` of the last checkpoint in `segments`: nothing before it is needed, so that the time to
/// recover does not grow with what the database has still to read.
fn last_checkpoint(segments: &[SegmentFile]) -> Result<Option<u64>, JournalError> {
    for segment in segments.iter().rev() {
        let mut found = None;
        walk(segment, |raw| found = raw.checkpoint().or(found))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Takes all records of a segment up to its end or its first damage; its header, and whether it
/// ended in damage. A disk that cannot read a place is damage too: a start must not fail of it.
fn walk(
    segment: &SegmentFile,
    mut take: impl FnMut(Raw<'_>),
) -> Result<(Option<SegmentHeader>, bool), JournalError> {
    let (file, header) = segment::open(&segment.path)?;
    let mut walk = Scanner::at(SEGMENT_HEADER as u64);
    loop {
        match walk.next(&file) {
            Ok(Some((raw, _))) => take(raw),
            Ok(None) => return Ok((header, walk.torn())),
            Err(error) => {
                tracing::error!(path = %segment.path.display(), %error, "a segment is unreadable");
                return Ok((header, true));
            }
        }
    }
}
