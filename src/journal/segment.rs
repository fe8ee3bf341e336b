//! Segment files: their names, their headers, and the one that is being written.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::JournalError;
use crate::format::{Newer, SEGMENT_HEADER, SegmentHeader};

const SUFFIX: &str = "seg";

/// A segment on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    pub(crate) first: u64,
    pub(crate) path: PathBuf,
}

/// All segments in `dir`, oldest first.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let first = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let (Some(first), Some(SUFFIX)) = (first, path.extension().and_then(|e| e.to_str())) {
            found.push(SegmentFile { first, path });
        }
    }
    found.sort_by_key(|segment| segment.first);
    Ok(found)
}

/// Opens a segment and reads its header. No header: damaged, its records may still be whole.
pub(crate) fn open(path: &Path) -> Result<(File, Option<SegmentHeader>), JournalError> {
    let file = File::open(path).map_err(JournalError::at(path))?;
    let mut bytes = [0; SEGMENT_HEADER];
    if file.read_exact_at(&mut bytes, 0).is_err() {
        return Ok((file, None));
    }
    let header = SegmentHeader::read(&bytes)
        .map_err(|Newer(found)| JournalError::Newer { path: path.to_owned(), found })?;
    Ok((file, header))
}

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Tail {
    file: File,
    len: u64,
    synced: u64,
}

impl Tail {
    /// Makes the segment that begins with record `header.first`, and its name durable.
    pub(crate) fn create(dir: &Path, header: SegmentHeader) -> io::Result<(Self, SegmentFile)> {
        let path = dir.join(format!("{:020}.{SUFFIX}", header.first));
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all_at(&header.bytes(), 0)?;
        file.sync_data()?;
        File::open(dir)?.sync_all()?;
        let len = SEGMENT_HEADER as u64;
        Ok((Self { file, len, synced: len }, SegmentFile { first: header.first, path }))
    }

    /// Bytes of header and whole records.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends whole records. After an error nothing is appended: the same bytes may come again.
    pub(crate) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        self.file.write_all_at(records, self.len)?;
        self.len += records.len() as u64;
        Ok(())
    }

    /// Whether something has been appended that is not durable yet.
    pub(crate) fn dirty(&self) -> bool {
        self.len > self.synced
    }

    /// Makes durable what has been appended.
    ///
    /// After an error all that was not durable before counts as not appended: the kernel may have
    /// dropped the pages and will not say so again, so it must be written anew.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let synced = self.file.sync_data();
        match synced {
            Ok(()) => self.synced = self.len,
            Err(_) => self.rewind(),
        }
        synced
    }

    /// Takes back what has been appended since the last sync.
    pub(crate) fn rewind(&mut self) {
        self.len = self.synced;
    }
}
