//! What a response copies from its request.

use std::net::SocketAddr;

use crate::message::name::Name;
use crate::message::via::Via;
use crate::message::view::Message;
use crate::message::write::Writer;

/// Begins a response: everything that is copied from the request (RFC 3261, 8.2.6.2).
/// `tag` is added to To where the request has none.
pub fn response_to(
    request: &Message,
    source: SocketAddr,
    code: u16,
    reason: &[u8],
    tag: &str,
) -> Writer {
    let mut writer = Writer::response(code, reason);
    let mut via = Vec::with_capacity(128);
    for (place, element) in request.list(Name::Via).enumerate() {
        match Via::read(element) {
            Some(top) if place == 0 => {
                via.clear();
                top.write_received(element, source, &mut via);
                writer.header(Name::Via, &[&via]);
            }
            _ => {
                writer.header(Name::Via, &[element]);
            }
        }
    }
    // What a broken request lacks its answer lacks too: Via leads it back.
    for name in [Name::From, Name::To, Name::CallId, Name::CSeq] {
        let Some(value) = request.value(name) else { continue };
        if name == Name::To && !tag.is_empty() && request.to_tag().is_empty() {
            writer.header(name, &[value, b";tag=", tag.as_bytes()]);
        } else {
            writer.header(name, &[value]);
        }
    }
    if let Some(stamp) = request.value(Name::Timestamp).filter(|_| code == 100) {
        writer.header(Name::Timestamp, &[stamp]);
    }
    writer
}
