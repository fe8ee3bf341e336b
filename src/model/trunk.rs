//! How a trunk stands at a moment: for the API, the page and the metrics.

use std::net::SocketAddr;
use std::time::Duration;

use crate::command::Leave;
use crate::moment::Moment;

/// One trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkState {
    /// Its name.
    pub name: String,
    /// Calls that it carries, in either direction.
    pub calls: u32,
    /// Lines that are kept registered there, and how many of them are.
    pub lines: (u32, u32),
    /// Where its calls may go; none for a trunk that only calls us.
    pub peers: Vec<PeerState>,
    /// Whether calls are sent there at all.
    pub is_called: bool,
    /// What an operator lets it do.
    pub leave: Leave,
}

impl TrunkState {
    /// A trunk of which nothing is known yet: down.
    pub fn unknown(name: &str) -> Self {
        let name = name.to_owned();
        Self {
            name,
            calls: 0,
            lines: (0, 0),
            peers: Vec::new(),
            is_called: true,
            leave: Leave::Enabled,
        }
    }

    /// Whether one of its addresses is called before all others are tried.
    pub fn is_up(&self) -> bool {
        self.peers.iter().any(|peer| peer.state == "up")
    }
}

/// One address of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// The name that led there, and its port where the configuration gives one; empty: none did.
    pub name: String,
    /// By which transport.
    pub transport: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// `up`, `down` or `resting`.
    pub state: &'static str,
    /// Since when.
    pub since: Moment,
    /// How long it still wants rest.
    pub rest: Option<Duration>,
    /// Round trip of the last OPTIONS that was answered.
    pub rtt: Option<Duration>,
    /// Questions (OPTIONS) that have come to their end so far.
    pub pings: u32,
    /// The status that answered the last of them; 0: none in time.
    pub said: u16,
    /// What it is judged by: `options` or `invites`.
    pub judged_by: &'static str,
    /// Lower ones are tried first.
    pub priority: u16,
    /// Share among those of the same priority.
    pub weight: u16,
}
