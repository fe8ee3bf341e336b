//! What is wanted of session timers (RFC 4028); what became of it on a leg is known to `leg`.

/// Session timer (RFC 4028).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimer {
    /// How much we want it.
    pub mode: SessionTimerMode,
    /// Session-Expires, seconds.
    pub expires_s: u32,
    /// Min-SE, seconds.
    pub min_se_s: u32,
}

impl Default for SessionTimer {
    fn default() -> Self {
        Self { mode: SessionTimerMode::Prefer, expires_s: 1800, min_se_s: 90 }
    }
}

/// How much a session timer is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionTimerMode {
    /// Neither offered nor answered.
    Off,
    /// Answered when asked.
    Accept,
    /// Offered to peers that know it.
    #[default]
    Prefer,
    /// Insisted on: who does not know it is not spoken with.
    Require,
}
