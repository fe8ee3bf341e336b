//! The ring that the engine writes and the spool thread reads: in a file on tmpfs, or in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use crate::format::{HEAD_HEADER, SLOT_AT, Slot};
use crate::scan::ReadAt;

/// Bytes at positions that only grow; a position lies at `position mod bytes`.
///
/// Who writes keeps the distance to what is still to be read (see `Journal::commit`); the ring
/// itself does not know it.
#[derive(Debug)]
pub(crate) struct Ring {
    bytes: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(File),
    Memory(Mutex<Box<[u8]>>),
}

impl Ring {
    /// A ring of `bytes` behind the header of `file`.
    pub(crate) fn in_file(file: File, bytes: u64) -> Self {
        Self { bytes, place: Place::File(file) }
    }

    /// A ring of `bytes` that ends with the process.
    pub(crate) fn in_memory(bytes: u64) -> Self {
        let room = vec![0; usize::try_from(bytes).unwrap_or(0)].into_boxed_slice();
        Self { bytes: room.len() as u64, place: Place::Memory(Mutex::new(room)) }
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it outlives the process.
    pub(crate) fn outlives(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// Writes all of `bytes` at `position`: one write, two where the ring wraps.
    pub(crate) fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let at = position % self.bytes;
        let until_wrap = usize::try_from(self.bytes - at).unwrap_or(usize::MAX);
        let (here, wrapped) = bytes.split_at(bytes.len().min(until_wrap));
        self.write_at(at, here)?;
        if wrapped.is_empty() { Ok(()) } else { self.write_at(0, wrapped) }
    }

    /// Writes one copy of the spool thread's position.
    pub(crate) fn publish(&self, turn: usize, slot: Slot) -> io::Result<()> {
        let (Place::File(file), Some(at)) = (&self.place, SLOT_AT.get(turn)) else { return Ok(()) };
        file.write_all_at(&slot.bytes(), *at)
    }

    /// Lets another process have the file.
    pub(crate) fn unlock(&self) {
        if let Place::File(file) = &self.place {
            let _ = file.unlock();
        }
    }

    /// What has been written before `limit`.
    pub(crate) fn until(&self, limit: u64) -> Until<'_> {
        Until { ring: self, limit }
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        match &self.place {
            Place::File(file) => file.write_all_at(bytes, HEAD_HEADER + at),
            Place::Memory(room) => {
                let mut room = room.lock().unwrap_or_else(PoisonError::into_inner);
                let from = usize::try_from(at).unwrap_or(usize::MAX);
                let to = room.get_mut(from..from.saturating_add(bytes.len()));
                to.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        match &self.place {
            Place::File(file) => file.read_at(into, HEAD_HEADER + at),
            Place::Memory(room) => {
                let room = room.lock().unwrap_or_else(PoisonError::into_inner);
                let from = usize::try_from(at).unwrap_or(usize::MAX);
                let source = room.get(from..from.saturating_add(into.len()));
                into.copy_from_slice(source.ok_or(io::ErrorKind::InvalidInput)?);
                Ok(into.len())
            }
        }
    }
}

/// The ring up to a position.
#[derive(Debug)]
pub(crate) struct Until<'a> {
    ring: &'a Ring,
    limit: u64,
}

impl ReadAt for Until<'_> {
    fn read_some(&self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        let at = position % self.ring.bytes;
        let have = self.limit.saturating_sub(position).min(self.ring.bytes - at);
        let have = usize::try_from(have).unwrap_or(usize::MAX).min(into.len());
        match into.get_mut(..have) {
            Some(into) if have > 0 => self.ring.read_at(at, into),
            _ => Ok(0),
        }
    }
}
