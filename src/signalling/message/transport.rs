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

    /// The transport that this name means, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        let all = [Self::Udp, Self::Tcp, Self::Tls];
        all.into_iter().find(|t| t.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// The port where none is written (RFC 3261, 19.1.2).
    pub const fn port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }

    /// Whether the transport itself retransmits.
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }
}
