//! What can go wrong with the database.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Written by a later version of cooee.
    #[error("{path} has schema version {found}, this build knows up to {known}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// The newest that this build knows.
        known: u32,
    },
    /// Written by an earlier version of cooee, and opened by one who may not change it.
    #[error("{path} has schema version {found}; `cooee run` brings it to {known}")]
    Older {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// The one that this build works on.
        known: u32,
    },
    /// SQLite refused.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The thread of the feed could not be started.
    #[error("the feed's thread: {0}")]
    Thread(std::io::Error),
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] cooee_journal::error::JournalError),
}

impl StoreError {
    /// Whether the same may succeed later: locked, disk full, disk away. What may not is a fault of
    /// the row, or of the schema.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Sqlite(error) => !matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::ConstraintViolation
                        | ErrorCode::TypeMismatch
                        | ErrorCode::TooBig
                        | ErrorCode::ParameterOutOfRange
                )
            ),
            Self::Journal(_) | Self::Thread(_) => true,
            Self::Newer { .. } | Self::Older { .. } => false,
        }
    }
}
