//! `[hep]`: copies of every SIP message for a capture server.

use cooee_signalling::message::transport::Transport;
use secrecy::SecretString;

use crate::secrets::Surroundings;
use crate::table::Section;
use crate::trunks::peer;

/// Where copies go.
#[derive(Clone, Debug)]
pub struct Hep {
    /// Host and port of the collector, UDP.
    pub target: String,
    /// Our number among its capture agents.
    pub id: u32,
    /// What the collector wants to know us by.
    pub password: Option<SecretString>,
}

/// Reads `[hep]`, if it is there.
pub(crate) fn hep(root: &mut Section<'_>, around: &Surroundings<'_>) -> Option<Hep> {
    let mut section = root.table("hep")?;
    let text = section.needed("target");
    let target = match peer(&text) {
        Ok(peer) if peer.transport.is_none_or(|t| t == Transport::Udp) => {
            let host = match peer.host.contains(':') {
                true => format!("[{}]", peer.host),
                false => peer.host,
            };
            format!("{host}:{}", peer.port.unwrap_or(9060))
        }
        Ok(_) => {
            section.error("target", "HEP is sent over UDP alone".to_owned());
            String::new()
        }
        Err(_) => {
            section.error("target", format!("`{text}` is no `host:port`"));
            String::new()
        }
    };
    let id = section.int("id", 2001, 0..=u32::MAX);
    let password = section.value("password").and_then(|v| around.secret(&v));
    section.finish();
    Some(Hep { target, id, password })
}
