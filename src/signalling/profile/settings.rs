//! Timers, limits and habits of the node as a whole.

use crate::profile::session_timer::SessionTimer;

/// Timers and limits of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// T1 (RFC 3261, 17.1.1.1), milliseconds.
    pub t1_ms: u32,
    /// New calls a second; above: 503.
    pub max_cps: u32,
    /// Calls at a time; above: 503.
    pub max_sessions: u32,
    /// What we write as User-Agent and Server; empty: nothing.
    pub user_agent: String,
    /// SDP crosses untouched, no relay.
    pub media_bypass: bool,
    /// No media either way for this long ends the call, seconds; 0: never.
    pub media_timeout_s: u32,
    /// How long a target rings where its link in the chain does not say, seconds.
    pub ring_timeout_s: u32,
    /// Session timer (RFC 4028).
    pub session_timer: SessionTimer,
    /// Reliable provisional responses (RFC 3262).
    pub reliable: Reliable,
    /// What becomes of a REFER.
    pub refer: Refer,
    /// How trunks are asked whether they are there, where they do not say.
    pub options_ping: Ping,
    /// The longest request that is sent over UDP, bytes; 0: any.
    pub udp_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            t1_ms: 500,
            max_cps: 200,
            max_sessions: 2000,
            user_agent: "cooee".to_owned(),
            media_bypass: false,
            media_timeout_s: 60,
            ring_timeout_s: 60,
            session_timer: SessionTimer::default(),
            reliable: Reliable::default(),
            refer: Refer::default(),
            options_ping: Ping::default(),
            udp_max: 0,
        }
    }
}

/// How the addresses of a trunk are asked whether they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Between two OPTIONS to an address, seconds; 0: none.
    pub interval_s: u32,
    /// Failures in a row until an address is down.
    pub fail_after: u32,
    /// Answers in a row until it is up again.
    pub ok_after: u32,
}

impl Default for Ping {
    fn default() -> Self {
        Self { interval_s: 30, fail_after: 3, ok_after: 2 }
    }
}

/// How much reliable provisional responses (100rel) are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reliable {
    /// Never: a peer that requires them gets 420.
    Off,
    /// Given to a peer that requires them; offered to B where A knows them too.
    #[default]
    Supported,
    /// Given to every peer that knows them, and offered to B always.
    Required,
}

/// What becomes of a REFER in a call. It is never carried out by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refer {
    /// Refused with this code.
    Refused(u16),
    /// Passed on to the other side.
    Relayed,
}

impl Default for Refer {
    fn default() -> Self {
        Self::Refused(603)
    }
}
