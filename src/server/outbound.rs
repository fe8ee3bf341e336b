//! What the engine has decided is carried out: records, then messages, with media orders around.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use cooee_journal::journal::Journal;
use cooee_media::relay::Relay;
use cooee_model::media::MediaCommand;
use cooee_model::sample::Sample;
use cooee_signalling::call::context::{Output, Record};
use cooee_signalling::transaction::flow::Transmit;
use cooee_telemetry::measure::Measure;
use cooee_telemetry::recorder::Recorder;
use cooee_telemetry::stats::Direction;
use nix::errno::Errno;

use crate::clock;
use crate::hops::{Hops, nanos};
use crate::inbox::Post;
use crate::spine::{Refusals, Spine, Told};
use crate::streams::Streams;
use crate::udp::Udp;

/// How long the RTP plane may take to have room for the orders of a start, milliseconds.
const START_PATIENCE: u32 = 1000;

/// The way out of the engine.
pub struct Outbound {
    udp: Arc<Udp>,
    streams: Option<Streams>,
    journal: Journal,
    relay: Option<Relay>,
    spine: Spine,
    post: Post,
    hops: Hops,
    append: Recorder,
    trunk_rtt: Recorder,
    losing: bool,
    refusals: Refusals,
}

impl Outbound {
    /// A way out through these.
    pub fn new(
        (udp, streams): (Arc<Udp>, Option<Streams>),
        journal: Journal,
        relay: Option<Relay>,
        spine: Spine,
        post: Post,
    ) -> Self {
        let hops = Hops::new(&post.telemetry);
        let append = post.telemetry.recorder(Measure::JournalAppend);
        let trunk_rtt = post.telemetry.recorder(Measure::TrunkRtt);
        let (losing, refusals) = (false, Refusals::default());
        Self {
            udp,
            streams,
            journal,
            relay,
            spine,
            post,
            hops,
            append,
            trunk_rtt,
            losing,
            refusals,
        }
    }

    /// The journal.
    pub fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// The RTP plane, if there is one.
    pub fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }

    /// Carries everything out. The records are committed before the first message leaves; only a
    /// journal that has no room left lets messages go without them, counted and logged.
    pub fn carry_out(&mut self, out: &mut Output) {
        if !out.records.is_empty() {
            self.append(&out.records);
        }
        // Who is told where to send does so at once, so the relay hears of it before; what opens or
        // closes a relay has time, and no message waits for it.
        if !out.media.iter().any(opens_or_closes) {
            self.order(&mut out.media);
        }
        self.send(&out.sends);
        self.order(&mut out.media);
        for record in out.records.drain(..) {
            if let Record::Fact(fact) = record {
                self.spine.tell(Told::Fact(Box::new(fact)));
            }
        }
        for rejected in out.rejected.drain(..) {
            self.post.telemetry.rejected(&rejected);
            self.refusals.told(rejected).into_iter().for_each(|told| self.spine.tell(told));
        }
        for note in out.notes.drain(..) {
            self.spine.tell(Told::Note(note));
        }
        for heard in out.heard.drain(..) {
            self.post.telemetry.hooks.heard(heard);
        }
        for rtt in out.rtts.drain(..) {
            self.trunk_rtt.record(u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX));
        }
        out.clear();
    }

    fn order(&self, orders: &mut Vec<MediaCommand>) {
        for order in orders.drain(..) {
            let call = order.call();
            if let Some(relay) = &self.relay
                && !relay.send(order)
            {
                tracing::warn!(%call, "the RTP plane takes no orders: its queue is full");
            }
        }
    }

    /// Gives all orders of a start to the RTP plane, as fast as it takes them.
    pub fn order_all(&self, orders: &mut Vec<MediaCommand>) {
        let Some(relay) = &self.relay else { return };
        let mut patience = START_PATIENCE;
        orders.retain(|order| {
            while !relay.send(order.clone()) {
                if patience == 0 {
                    return true;
                }
                patience -= 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            false
        });
    }

    fn append(&mut self, records: &[Record]) {
        for record in records {
            match record {
                Record::Fact(fact) => self.journal.fact(fact),
                Record::Snapshot(call, bytes) => {
                    self.journal.snapshot(*call, |out| out.extend_from_slice(bytes))
                }
                Record::Patch(call, change) => self.journal.patch(*call, change),
                Record::Gone(call) => self.journal.gone(*call),
            };
        }
        let before = clock::now();
        let commit = self.journal.commit();
        self.append.record(nanos(before, clock::now()));
        let lost = commit == cooee_journal::journal::Commit::Lost;
        if lost != self.losing {
            self.losing = lost;
            if lost {
                tracing::error!("the journal has no room: calls go on without their records");
            }
        }
    }

    /// Sends in order, as much of a run on one socket as one system call takes.
    fn send(&mut self, sends: &[Transmit]) {
        // A measured message ends its run, so that its time is its own.
        let together =
            |a: &Transmit, b: &Transmit| a.flow.socket == b.flow.socket && a.measure.is_none();
        for run in sends.chunk_by(together) {
            let Some(number) = run.first().map(|t| usize::from(t.flow.socket)) else { continue };
            let Some(socket) = self.udp.sockets().get(number) else {
                run.iter().for_each(|t| self.by_stream(t));
                continue;
            };
            let mut rest = run;
            while !rest.is_empty() {
                let sent = socket.send(rest.iter().map(|t| (&t.bytes[..], t.flow.remote)));
                let refused = usize::from(sent.stopped.is_some());
                if let Some(error) = sent.stopped {
                    self.refused(&error, rest.get(sent.count));
                }
                rest = rest.get(sent.count + refused..).unwrap_or_default();
            }
            if let Some(measure) = run.last().and_then(|t| t.measure) {
                self.hops.record(measure);
            }
        }
        for transmit in sends {
            let (method, code) = peek(&transmit.bytes);
            self.post.telemetry.engine.messages.count(Direction::Out, method, code);
        }
    }

    /// Sockets behind those of UDP are streams; who writes them closes the measure.
    fn by_stream(&self, transmit: &Transmit) {
        match &self.streams {
            Some(streams) => streams.send(transmit),
            None => self.refused(&io::ErrorKind::NotConnected.into(), Some(transmit)),
        }
    }

    /// A datagram that the kernel does not take. Where it only has no room, or the firewall has
    /// none, it is lost as any datagram may be, and its transaction sends it again; else there is
    /// no way (RFC 3261, 8.1.3.1), and the switch is told.
    fn refused(&self, error: &io::Error, transmit: Option<&Transmit>) {
        use Errno::{EAGAIN, ENOBUFS, ENOMEM, EPERM};
        let Some(transmit) = transmit else { return };
        tracing::warn!(%error, to = %transmit.flow.remote, "a SIP message was not sent");
        match error.raw_os_error().map(Errno::from_raw) {
            Some(EAGAIN | ENOBUFS | ENOMEM | EPERM) => {
                self.post.telemetry.engine.send_errors.fetch_add(1, Relaxed);
            }
            _ => self.post.give_back(transmit.clone()),
        }
    }
}

/// Method and status of a message, for counting: of a response, the method in its CSeq.
pub fn peek(bytes: &[u8]) -> (&str, u16) {
    let text = |b| std::str::from_utf8(b).unwrap_or_default();
    let Some(rest) = bytes.strip_prefix(b"SIP/2.0 ") else {
        let end = bytes.iter().take(32).position(|&b| b == b' ').unwrap_or(0);
        return (text(bytes.get(..end).unwrap_or_default()), 0);
    };
    let code = rest.get(..3).and_then(|c| text(c).parse().ok()).unwrap_or(0);
    let named = |at: &usize| {
        bytes.get(at + 1..at + 6).is_some_and(|name| name.eq_ignore_ascii_case(b"cseq:"))
    };
    let cseq = memchr::memchr_iter(b'\n', bytes).find(named);
    let line = cseq.and_then(|at| bytes.get(at + 1..)).unwrap_or_default();
    let end = memchr::memchr(b'\n', line).unwrap_or(line.len());
    let line = line.get(..end).unwrap_or_default().trim_ascii();
    let method = line.rsplit(|&b| b == b' ').next().unwrap_or_default();
    (text(method), code)
}

/// Whether nobody can send anything that is to be passed on before this is done, or after.
fn opens_or_closes(order: &MediaCommand) -> bool {
    matches!(order, MediaCommand::Open { .. } | MediaCommand::Close { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_method_and_status() {
        assert_eq!(peek(b"INVITE sip:a@b SIP/2.0\r\n"), ("INVITE", 0));
        assert_eq!(
            peek(b"SIP/2.0 180 Ringing\r\nVia: x\r\nCSeq: 1 INVITE\r\n\r\n"),
            ("INVITE", 180)
        );
        assert_eq!(peek(b""), ("", 0));
    }
}
