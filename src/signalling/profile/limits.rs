//! Limits of the profile room, and what happens at each.

/// Longest value of an `X-` header that is written, bytes: Voximplant takes up to 200. A longer
/// value is cut.
pub const X_HEADER_BYTES: usize = 199;

/// Longest value that is read from a peer for identity, bytes. The rest is not looked at.
pub const VALUE_BYTES: usize = 256;

/// Most headers that cross from A to B by copying. The rest stays on A, and the trail says so.
pub const CROSSING_HEADERS: usize = 32;

/// Longest value of a header that crosses, bytes. A longer one stays on A.
pub const CROSSING_BYTES: usize = 4095;

/// Most targets that one decision names. The rest of the chain is not tried.
pub const TARGETS: usize = 16;

/// Deepest nesting of a route's condition. Deeper: a finding of the check.
pub const CONDITION_DEPTH: usize = 16;

/// Most variables and pieces of text in one template. More: a finding of the check.
pub const TEMPLATE_PARTS: usize = 64;

/// Most rows of one map file. More: a finding of the check.
pub const MAP_ROWS: usize = 1_000_000;

/// Most customers whose last shown number is remembered. Past it the oldest is forgotten.
pub const REMEMBERED_CUSTOMERS: usize = 1_000_000;
