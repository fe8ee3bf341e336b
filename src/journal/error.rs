//! Why a journal cannot be opened or read.

use std::io;
use std::path::PathBuf;

/// Why a journal cannot be opened or read. Once it is open nothing of it fails: it counts.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error("{path} is in use by another process")]
    InUse {
        /// The lock.
        path: PathBuf,
    },
    /// Written by a later version of cooee.
    #[error("{path} has format {found}, this build reads up to {}", crate::format::VERSION)]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u32,
    },
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// What it was about.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
}

impl JournalError {
    /// For `map_err`: names the path that the error belongs to.
    pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error }
    }
}
