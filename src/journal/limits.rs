//! Every limit of the journal, and what happens when it is reached.

use std::time::Duration;

/// Longest payload of one record, bytes. A longer one is not written: counted as `unwritable`.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Smallest head, bytes: a smaller wish is raised to it.
pub const MIN_HEAD: u64 = 16 << 10;

/// Largest head, bytes: a larger wish is lowered to it. A head of this size holds fewer than
/// [`ID_STRIDE`] records, which is what keeps ids from being given twice after a power cut.
pub const MAX_HEAD: u64 = 256 << 20;

/// Smallest segment, bytes: a smaller wish is raised to it.
pub const MIN_SEGMENT: u64 = 4 << 10;

/// Each opening of the journal starts its ids at the second next multiple of this, above everything
/// that an earlier run can have given to a record that was lost since.
pub const ID_STRIDE: u64 = 1 << 24;

/// How much the spool thread copies with one write, bytes.
pub(crate) const SPOOL_CHUNK: usize = 256 << 10;

/// How long a commit waits for the spool thread where there is no tmpfs. After that it is `Late`.
pub const COMMIT_DEADLINE: Duration = Duration::from_millis(5);

/// How long the spool thread rests after the disk refused.
pub(crate) const DISK_RETRY: Duration = Duration::from_millis(100);
