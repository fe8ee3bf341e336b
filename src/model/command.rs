//! What the admin plane asks of the engine.

use crate::ids::CallId;

/// An order from the HTTP API or a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Ends one call on both legs.
    Hangup {
        /// The call.
        call: CallId,
    },
    /// Takes no new calls; those up run to their end.
    Drain,
}
