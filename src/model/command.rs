//! What the admin plane asks of the engine.

use crate::ids::{CallId, Side};

/// An order from the HTTP API or a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Ends one call on both legs.
    Hangup {
        /// The call.
        call: CallId,
    },
    /// Asks one side of a call to go on with somebody else (blind transfer, RFC 5589, 6.1).
    Transfer {
        /// The call.
        call: CallId,
        /// Who is asked; `None`: the side of the customer.
        side: Option<Side>,
        /// A `sip:` or `sips:` URI, or a user at that side's own host.
        target: String,
    },
    /// Takes no new calls; those up run to their end.
    Drain,
    /// Takes a drain back: new calls are taken again.
    Undrain,
    /// The process is to end: a drain that cannot be taken back.
    End,
    /// Asks each address of a trunk now whether it is there.
    Ping {
        /// The trunk.
        trunk: String,
    },
    /// What a trunk may do from now on. Calls that are up go on.
    Trunk {
        /// The trunk.
        name: String,
        /// What it may do.
        leave: Leave,
    },
}

/// What an operator lets a trunk do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leave {
    /// Everything.
    #[default]
    Enabled,
    /// No new calls either way; its INVITEs are asked to come again later (503).
    Draining,
    /// No new calls either way; its INVITEs are refused (403).
    Disabled,
}

impl Leave {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Enabled, Self::Draining, Self::Disabled];

    /// As the API and the database write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}
