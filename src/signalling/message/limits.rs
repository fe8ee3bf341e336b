//! Limits of the message room, and what happens at each.

/// Largest message, bytes. A datagram cannot be larger; a stream that announces more is cut off.
pub const MESSAGE_BYTES: usize = 65_535;

/// Largest header part on a stream, bytes. Past it the connection is closed.
pub const HEAD_BYTES: usize = 32_768;

/// Most header lines in one message. Past it: 400 where it can be answered.
pub const HEADERS: usize = 256;

/// Most elements read from one comma-separated header (Via, Route, ...). The rest is not looked at.
pub const LIST_ELEMENTS: usize = 64;

/// Largest CSeq number (RFC 3261, 8.1.1.5: less than 2**31).
pub const CSEQ: u32 = 0x7fff_ffff;

/// Most media descriptions in one session description. Past it: 488.
pub const MEDIA_LINES: usize = 16;
