//! Every limit of the store, and what happens when it is reached.

use std::time::Duration;

/// Facts that go into one transaction. More wait for the next one.
pub const GROUP_FACTS: usize = 512;

/// Records without anything for the database after which its position is stored all the same, so
/// that the journal can delete segments.
pub const IDLE_RECORDS: u64 = 8192;

/// How long the feed rests when there is nothing to read: doubled from the first to the second.
pub const REST: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));

/// How long the feed waits after an error: doubled from the first to the second.
pub const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How long a statement waits for a lock before it is an error (which the feed retries).
pub const LOCK_WAIT: Duration = Duration::from_millis(500);

/// Rows of one page. A larger wish is lowered to it.
pub const PAGE_ROWS: u32 = 1000;

/// Letters that one order (retry, drop) changes in one transaction.
pub const CHUNK_LETTERS: u32 = 1000;

/// How long it rests between two of them, so that who waits for the lock gets it.
pub const CHUNK_PAUSE: Duration = Duration::from_millis(5);

/// How long what a call's events have said is kept after the last of them, microseconds of their
/// own times: while the call lives, and after its end.
pub const CONTEXT_US: (i64, i64) = (7 * 86_400_000_000, 3_600_000_000);

/// How long delivered letters are kept, microseconds: to show when a receiver heard of a call.
pub const DELIVERED_US: i64 = 86_400_000_000;

/// How far the feed stands back where threads compete for a processor: about a tenth of it.
pub const NICE: i32 = 10;
