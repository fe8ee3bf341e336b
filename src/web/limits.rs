//! Every limit of this room, with what happens at it.

use std::time::Duration;

/// Connections served at once; more wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 64;

/// A connection to which nothing has been written for this long is closed: an idle one quietly, one
/// that was sending a request or not taking its answer is counted as stalled.
pub const STALL: Duration = Duration::from_secs(30);

/// A request that is not answered by then is answered with 503.
pub const ANSWER: Duration = Duration::from_secs(10);

/// After an order to stop, open connections have this long to end.
pub const GRACE: Duration = Duration::from_secs(5);

/// Largest request body; a larger one is answered with 413.
pub const BODY_MAX_BYTES: usize = 64 << 10;

/// Connections of portals served at once; more wait in the kernel's backlog.
pub const HOOK_CONNECTIONS_MAX: usize = 256;

/// As [`STALL`], for portals: an event is one short request.
pub const HOOK_STALL: Duration = Duration::from_secs(15);

/// An event that is not read and dealt with by then is answered with 408.
pub const HOOK_READ: Duration = Duration::from_secs(10);

/// An event that the engine does not have in its journal by then is answered with 503.
pub const HOOK_COMMIT: Duration = Duration::from_secs(2);

/// Fields of one event; a body with more is answered with 400.
pub const FIELDS_MAX: usize = 256;

/// Longest id of a call that a portal may use; longer ones are answered with 400.
pub const CALL_ID_MAX_BYTES: usize = 128;

/// Longest other value of an event; longer ones are answered with 400.
pub const VALUE_MAX_BYTES: usize = 64;

/// Rows of one CSV; where there are more, the header `cooee-next` holds the cursor to go on with.
pub const CSV_ROWS_MAX: usize = 50_000;
