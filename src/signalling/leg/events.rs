//! What the descriptions of a leg say of telephone events (RFC 4733), and digits in INFO.

use std::collections::VecDeque;

use cooee_model::media::Events;
use minicbor::{Decode, Encode};

use crate::message::name::Name;
use crate::message::sdp::Session;
use crate::message::sdp::rewrite::EventLines;
use crate::message::text::{lossy, split_outside, trim};
use crate::message::view::Message;
use crate::transaction::layer::ClientId;

/// How long a key is held where an INFO does not say, milliseconds.
const PRESS_MS: u32 = 160;

/// The number that we give to events where nothing else is said.
const USUAL: u8 = 101;

/// How both sides of a leg name events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Named {
    /// The peer has described its media.
    #[n(0)]
    described: bool,
    /// The payload type that the peer gives them, and their clock.
    #[n(1)]
    theirs: Option<(u8, u32)>,
    /// The payload type that we give them, once we have.
    #[n(2)]
    ours: Option<u8>,
}

impl Named {
    /// Nothing was said yet.
    pub const fn new() -> Self {
        Self { described: false, theirs: None, ours: None }
    }

    /// The peer has described its media.
    pub fn hear(&mut self, theirs: Option<(u8, u32)>) {
        (self.described, self.theirs) = (true, theirs);
    }

    /// Whether we have named them.
    pub fn is_ours(&self) -> bool {
        self.ours.is_some()
    }

    /// What we say of events in a description made of `body`: they are always offered, and granted
    /// to a peer that named them. The number that they have stays (RFC 3264, 8.3.2).
    pub fn say(&mut self, body: &[u8]) -> EventLines {
        let Some(session) = Session::read(body) else { return EventLines::AsTheyAre };
        let Some((_, audio)) = session.audio().filter(|(_, m)| m.is_plain()) else {
            return EventLines::AsTheyAre;
        };
        if self.described && self.theirs.is_none() {
            return EventLines::Gone;
        }
        let theirs = audio.events();
        let free = |number: &u8| {
            let is_it = |format: &String| *format == number.to_string();
            !audio.formats.iter().any(is_it) || audio.is_event(*number)
        };
        let known = self.ours.or(self.theirs.map(|t| t.0)).or(theirs.map(|t| t.0));
        let mut numbers = std::iter::once(USUAL).chain(96..=127);
        let Some(payload_type) = known.or_else(|| numbers.find(free)).filter(free) else {
            return EventLines::Gone;
        };
        self.ours = Some(payload_type);
        let clock_hz = self.theirs.map_or(audio.clock_hz(), |t| t.1);
        EventLines::Named { payload_type, clock_hz }
    }

    /// How events travel, if both sides have named them.
    pub fn agreed(&self) -> Option<Events> {
        let ((theirs, clock_hz), ours) = self.theirs.zip(self.ours)?;
        Some(Events { theirs, ours, clock_hz })
    }
}

/// A press: its event (RFC 4733, 3.2), and how many milliseconds the key was held.
pub type Press = (u8, u32);

/// Presses that a leg is to be told of by INFO: one at a time, so that they cannot overtake each
/// other.
#[derive(Debug, Default)]
pub struct Presses {
    /// Not told yet, in order.
    pub waiting: VecDeque<Press>,
    /// The INFO under way.
    pub told: Option<(ClientId, Press)>,
}

impl Presses {
    /// None.
    pub const fn new() -> Self {
        Self { waiting: VecDeque::new(), told: None }
    }
}

/// The press that an INFO tells of: which event (RFC 4733, 3.2), and how many milliseconds the key
/// was held. `None`: it tells of none that we know.
pub fn press_of(info: &Message) -> Option<Press> {
    let kind = info.value(Name::ContentType)?;
    let kind = trim(split_outside(kind, b';').0);
    let body = lossy(info.body());
    if kind.eq_ignore_ascii_case(b"application/dtmf") {
        return Some((event_of(body.trim())?, PRESS_MS));
    }
    if !kind.eq_ignore_ascii_case(b"application/dtmf-relay") {
        return None;
    }
    let value = |key: &str| {
        let mut fields = body.lines().filter_map(|line| line.split_once('='));
        fields.find(|(name, _)| name.trim().eq_ignore_ascii_case(key)).map(|(_, v)| v.trim())
    };
    let held_ms = value("Duration").and_then(|ms| ms.parse().ok()).unwrap_or(PRESS_MS);
    Some((event_of(value("Signal")?)?, held_ms))
}

/// The body of an INFO that tells of a press.
pub fn body_of(event: u8, held_ms: u32) -> String {
    let signal = match event {
        10 => "*".to_owned(),
        11 => "#".to_owned(),
        12..=15 => char::from(b'A' + event - 12).to_string(),
        _ => event.to_string(),
    };
    format!("Signal={signal}\r\nDuration={held_ms}\r\n")
}

/// An event by the name of its key, or by its number.
fn event_of(signal: &str) -> Option<u8> {
    match signal {
        "*" => Some(10),
        "#" => Some(11),
        "!" => Some(16),
        "A" | "B" | "C" | "D" | "a" | "b" | "c" | "d" => {
            signal.bytes().next().map(|key| key.to_ascii_uppercase() - b'A' + 12)
        }
        number => number.parse().ok().filter(|event| *event <= 16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(kind: &str, body: &str) -> Option<(u8, u32)> {
        let text = format!(
            "INFO sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:a@b>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INFO\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        press_of(&Message::read(bytes::Bytes::from(text)).unwrap())
    }

    #[test]
    fn flow_80_presses_in_info_are_read_in_every_dress() {
        let relay = "application/dtmf-relay";
        assert_eq!(press(relay, "Signal=5\r\nDuration=160\r\n"), Some((5, 160)));
        assert_eq!(press(relay, "signal = # \nduration = 80"), Some((11, 80)));
        assert_eq!(press("Application/DTMF-Relay;x=1", "Signal=*\r\n"), Some((10, 160)));
        assert_eq!(press(relay, "Signal=D\r\nDuration=long"), Some((15, 160)));
        assert_eq!(press(relay, "Signal=11\r\n"), Some((11, 160)));
        assert_eq!(press("application/dtmf", "7"), Some((7, 160)));
        assert_eq!(press("application/dtmf", " b\r\n"), Some((13, 160)));
        for (kind, body) in [
            (relay, ""),
            (relay, "Signal=\r\n"),
            (relay, "Signal=17\r\n"),
            (relay, "Duration=160\r\n"),
            ("application/dtmf", "55x"),
            ("text/plain", "5"),
        ] {
            assert_eq!(press(kind, body), None, "{kind}: {body}");
        }
    }

    #[test]
    fn flow_80_what_we_write_reads_back() {
        for event in 0..=16 {
            let read = press("application/dtmf-relay", &body_of(event, 100));
            assert_eq!(read, Some((event, 100)));
        }
    }
}
