//! Walks over records in a file or in the ring, from any position, as far as they are whole.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::format::{Found, Raw, find, split};

/// Bytes asked for with one read.
const READ: usize = 64 << 10;

/// Something with bytes at positions.
pub(crate) trait ReadAt {
    /// Reads some bytes at `position`; zero: nothing there (yet).
    fn read_some(&self, position: u64, into: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_some(&self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        self.read_at(into, position)
    }
}

/// A walk over records. It holds no source, so that the same walk can go on in a grown one.
#[derive(Debug)]
pub(crate) struct Scanner {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    position: u64,
    record: Range<usize>,
    torn: bool,
}

impl Scanner {
    /// A walk that begins at `position`.
    pub(crate) fn at(position: u64) -> Self {
        Self { buffer: vec![0; READ], start: 0, end: 0, position, record: 0..0, torn: false }
    }

    /// Where the next record begins.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether there were bytes that are no whole record where the walk came to a halt.
    pub(crate) fn torn(&self) -> bool {
        self.torn
    }

    /// Goes to `position`; what had been read ahead is forgotten.
    pub(crate) fn seek(&mut self, position: u64) {
        self.position = position;
        self.start = 0;
        self.end = 0;
        self.record = 0..0;
    }

    /// Goes to the next whole record. False: there is none, or none yet; the walk stays where it
    /// is and may be tried again.
    pub(crate) fn step(&mut self, source: &impl ReadAt) -> io::Result<bool> {
        let size = loop {
            match find(self.ahead()) {
                Found::Whole(size) => break size,
                Found::Short(need) if self.fill(source, need)? => {}
                Found::Short(_) | Found::Torn => {
                    self.torn = self.end > self.start;
                    self.seek(self.position);
                    return Ok(false);
                }
            }
        };
        self.record = self.start..self.start + size;
        self.start += size;
        self.position += size as u64;
        Ok(true)
    }

    /// The record that the last [`step`](Self::step) went to, and its bytes.
    pub(crate) fn record(&self) -> Option<(Raw<'_>, &[u8])> {
        let bytes = self.buffer.get(self.record.clone())?;
        Some((split(bytes)?, bytes))
    }

    /// [`step`](Self::step) and [`record`](Self::record).
    pub(crate) fn next(&mut self, source: &impl ReadAt) -> io::Result<Option<(Raw<'_>, &[u8])>> {
        Ok(if self.step(source)? { self.record() } else { None })
    }

    fn ahead(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads until `need` bytes are ahead; false if the source has fewer.
    fn fill(&mut self, source: &impl ReadAt, need: usize) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < need {
            self.buffer.resize(need, 0);
        }
        while self.end < need {
            let Some(room) = self.buffer.get_mut(self.end..) else { return Ok(false) };
            let got = source.read_some(self.position + self.end as u64, room)?;
            if got == 0 {
                return Ok(false);
            }
            self.end += got;
        }
        Ok(true)
    }
}
