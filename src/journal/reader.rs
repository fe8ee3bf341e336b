//! Reads the segments in order, and on as they grow: what feeds the database.

use std::fs::File;
use std::path::PathBuf;

use cooee_model::ids::FactId;

use crate::error::JournalError;
use crate::format::{Entry, SEGMENT_HEADER};
use crate::scan::Scanner;
use crate::segment::{self, SegmentFile};

/// A walk over all records on disk after a given one, each once, in the order of their ids.
///
/// It may run beside the journal, in its process or in another.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    after: u64,
    current: Option<(SegmentFile, File)>,
    walk: Scanner,
    torn_segments: u64,
}

impl Reader {
    /// Begins after the record `after` (0: with the first there is).
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn open(disk_dir: impl Into<PathBuf>, after: FactId) -> Result<Self, JournalError> {
        let walk = Scanner::at(SEGMENT_HEADER as u64);
        let dir = disk_dir.into();
        let mut reader = Self { dir, after: after.0, current: None, walk, torn_segments: 0 };
        let segments = reader.segments()?;
        let holds_it = segments.iter().rposition(|segment| segment.first <= after.0);
        reader.enter(segments.into_iter().nth(holds_it.unwrap_or(0)))?;
        Ok(reader)
    }

    /// The next record; `None`: there is none yet. Never waits.
    ///
    /// # Errors
    /// [`JournalError::Io`] if a segment cannot be read, [`JournalError::Newer`] if it is of a
    /// later format; the reader stays where it was.
    pub fn read(&mut self) -> Result<Option<Entry<'_>>, JournalError> {
        while !self.step()? {
            // A segment with one after it does not grow any more; but it may have grown between
            // our look at it and our look at the directory.
            let here = self.current.as_ref().map(|(segment, _)| segment.first);
            let later = self.segments()?.into_iter().find(|s| here.is_none_or(|at| s.first > at));
            if later.is_none() {
                return Ok(None);
            }
            if self.step()? {
                break;
            }
            self.torn_segments += u64::from(self.current.is_some() && self.walk.torn());
            self.enter(later)?;
        }
        Ok(self.walk.record().map(|(raw, _)| raw.entry()))
    }

    /// The last record that was read.
    pub fn last(&self) -> FactId {
        FactId(self.after)
    }

    /// Segments so far whose end was not a whole record.
    pub fn torn_segments(&self) -> u64 {
        self.torn_segments
    }

    /// Goes to the next record with an id that has not been read.
    fn step(&mut self) -> Result<bool, JournalError> {
        let Some((segment, file)) = &self.current else { return Ok(false) };
        loop {
            if !self.walk.step(file).map_err(JournalError::at(&segment.path))? {
                return Ok(false);
            }
            if let Some((raw, _)) = self.walk.record()
                && raw.id > self.after
            {
                self.after = raw.id;
                return Ok(true);
            }
        }
    }

    fn segments(&self) -> Result<Vec<SegmentFile>, JournalError> {
        segment::list(&self.dir).map_err(JournalError::at(&self.dir))
    }

    fn enter(&mut self, segment: Option<SegmentFile>) -> Result<(), JournalError> {
        let Some(segment) = segment else { return Ok(()) };
        let (file, _) = segment::open(&segment.path)?;
        self.walk.seek(SEGMENT_HEADER as u64);
        self.current = Some((segment, file));
        Ok(())
    }
}
