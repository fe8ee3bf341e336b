//! Why a node does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A SIP socket cannot be bound.
    #[error("cannot listen for SIP on {address}: {source}")]
    Sip {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No SIP socket at all.
    #[error("[sip] bind names no address to listen on")]
    NoSocket,
    /// TLS for SIP.
    #[error("[sip.tls] {file}: {why}")]
    Tls {
        /// The file that cannot be used.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// The admin API cannot listen.
    #[error("cannot listen for the admin API on {address}: {source}")]
    Admin {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The hooks cannot listen.
    #[error("cannot listen for hooks on {address}: {source}")]
    Hooks {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The RTP ports.
    #[error("RTP ports: {0}")]
    Media(#[from] cooee_media::error::Error),
    /// The journal.
    #[error("journal: {0}")]
    Journal(#[from] cooee_journal::error::JournalError),
    /// The database.
    #[error("database: {0}")]
    Store(#[from] cooee_store::error::StoreError),
    /// A webhook that cannot be used.
    #[error("webhook {name}: {why}")]
    Webhook {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// No https without authorities.
    #[error("webhooks by https need the system's certificates: {0}")]
    Certificates(String),
    /// Calls are up by too many configurations.
    #[error("calls are up by {at_most} configurations: try again when the oldest have ended")]
    Revisions {
        /// The limit.
        at_most: usize,
    },
    /// The engine's queue is full, or it has ended.
    #[error("the engine takes no orders now")]
    Busy,
    /// The data directory.
    #[error("cannot use data_dir {dir}: {source}")]
    Data {
        /// Where.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refuses something else.
    #[error("{0}")]
    System(#[from] io::Error),
}
