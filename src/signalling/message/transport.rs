//! Transport protocols by their names.

use minicbor::{Decode, Encode};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Transport {
    /// Datagrams: lost, doubled and out of order.
    #[n(0)]
    Udp,
    /// A stream.
    #[n(1)]
    Tcp,
    /// A stream inside TLS.
    #[n(2)]
    Tls,
}

impl Transport {
    /// As `Via` writes it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// As URIs and the configuration write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Whether the transport itself retransmits.
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }
}
