//! One connection, from its first byte to its last.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use cooee_signalling::message::stream::{Broken, Frame, Framer, PONG};
use cooee_signalling::message::view::Message;
use cooee_signalling::switch::input::Input;
use cooee_signalling::transaction::flow::{Flow, Transmit};
use cooee_telemetry::stats::Cut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::clock;
use crate::streams::Office;
use crate::streams::desk::{Number, Out};

/// Room for one read, bytes.
const READ: usize = 4096;

/// How long a stream that cannot be read any more stays for the answers that are under way, unless
/// its peer closes it before.
const LINGER: Duration = Duration::from_millis(500);

/// How often, and how long between, a message is offered to an engine whose queue is full.
const OFFERS: u32 = 200;
const OFFER_REST: Duration = Duration::from_millis(5);

/// What a connection leaves behind.
pub(super) struct Rest {
    /// Why we ended it; `None`: its peer did, or the node.
    pub cut: Option<Cut>,
    /// What was not written.
    pub messages: Vec<Transmit>,
    /// Whether the connection ever carried anything: then another one may carry the rest.
    pub of_use: bool,
}

impl Rest {
    /// Of a connection that never came up.
    pub(super) fn none(cut: Cut, waiting: mpsc::Receiver<Out>) -> Self {
        Self { cut: Some(cut), messages: left_over(waiting), of_use: false }
    }
}

/// What was not written.
fn left_over(mut waiting: mpsc::Receiver<Out>) -> Vec<Transmit> {
    waiting.close();
    let rest = std::iter::from_fn(|| waiting.try_recv().ok());
    rest.filter_map(|out| match out {
        Out::Message(message) => Some(message),
        Out::Pong => None,
    })
    .collect()
}

/// What both directions of a connection know.
struct Both {
    flow: Flow,
    number: Number,
    /// Its peer opened it.
    by_peer: bool,
    /// When something last went either way.
    last: Cell<Instant>,
    carried: Cell<bool>,
}

impl Both {
    fn alive(&self) {
        self.last.set(Instant::now());
        self.carried.set(true);
    }
}

impl Office {
    /// Reads and writes until one of both ends.
    pub(super) async fn live<S>(
        &self,
        stream: S,
        flow: Flow,
        (number, by_peer): (Number, bool),
        mut waiting: mpsc::Receiver<Out>,
    ) -> Rest
    where
        S: AsyncRead + AsyncWrite,
    {
        let (mut reader, mut writer) = split(stream);
        let last = Cell::new(Instant::now());
        let both = Both { flow, number, by_peer, last, carried: Cell::new(false) };
        let mut unwritten = None;
        let mut cut = None;
        {
            let writing = self.write(&mut writer, &both, &mut waiting, &mut unwritten);
            tokio::pin!(writing);
            tokio::select! {
                stopped = self.read(&mut reader, &both) => {
                    cut = stopped;
                    if cut == Some(Cut::Framing) {
                        let rest = async {
                            tokio::select! {
                                _ = &mut writing => {}
                                () = discard(&mut reader) => {}
                            }
                        };
                        let _ = timeout(LINGER, rest).await;
                    }
                }
                stopped = &mut writing => cut = stopped.or(cut),
            }
        }
        self.forget(number);
        let _ = timeout(LINGER, writer.shutdown()).await;
        let mut messages: Vec<Transmit> = unwritten.into_iter().collect();
        messages.append(&mut left_over(waiting));
        let of_use = both.carried.get() && cut != Some(Cut::Full);
        Rest { cut, messages, of_use }
    }

    async fn read<S: AsyncRead>(&self, reader: &mut ReadHalf<S>, both: &Both) -> Option<Cut> {
        let mut framer = Framer::default();
        // A peer that has opened a connection owes a message.
        let mut owed = both.by_peer.then(|| Instant::now() + self.settings.message);
        loop {
            let idle = both.last.get() + self.settings.idle;
            let until = owed.map_or(idle, |owed| owed.min(idle));
            framer.room().reserve(READ);
            match timeout_at(until, reader.read_buf(framer.room())).await {
                Ok(Ok(0) | Err(_)) => return None,
                Ok(Ok(_)) => {}
                Err(_) if owed.is_some_and(|owed| owed <= Instant::now()) => {
                    return Some(Cut::Stalled);
                }
                Err(_) if both.last.get() + self.settings.idle <= Instant::now() => {
                    return Some(Cut::Idle);
                }
                Err(_) => continue,
            }
            let mut cut_out = false;
            loop {
                match framer.next_frame() {
                    Ok(Some(frame)) => {
                        self.take(frame, both).await;
                        cut_out = true;
                    }
                    Ok(None) => break,
                    Err(broken) => {
                        self.note(both, broken);
                        return Some(Cut::Framing);
                    }
                }
            }
            if cut_out {
                both.alive();
                owed = None;
            }
            if framer.is_partial() && owed.is_none() {
                owed = Some(Instant::now() + self.settings.message);
            }
        }
    }

    async fn take(&self, frame: Frame, both: &Both) {
        match frame {
            Frame::Ping => {
                let queue = self.desk.borrow().queue(both.number);
                if let Some(queue) = queue.and_then(|q| q.upgrade()) {
                    let _ = queue.try_send(Out::Pong);
                }
            }
            Frame::Message(bytes) => {
                if both.by_peer && !both.carried.get() {
                    self.name_by_via(both, &bytes);
                }
                self.deliver(both.flow, bytes).await;
            }
        }
    }

    /// The peer is reached on this connection under the port that its `Via` names, too.
    fn name_by_via(&self, both: &Both, bytes: &Bytes) {
        let Ok(message) = Message::read(bytes.clone()) else { return };
        let Some(via) = message.via().filter(|_| message.is_request()) else { return };
        let (transport, mut alias) = (both.flow.transport, both.flow.remote);
        alias.set_port(via.port.unwrap_or(transport.port()));
        self.desk.borrow_mut().name(both.number, (transport, alias));
    }

    /// Hands a message to the engine. While its queue is full nothing is read, and the peer waits.
    async fn deliver(&self, flow: Flow, bytes: Bytes) {
        let received = clock::now();
        for _ in 0..OFFERS {
            let bytes = bytes.clone();
            if self.post.inbox.push(Input::Datagram { flow, received, bytes }) {
                return;
            }
            sleep(OFFER_REST).await;
        }
        self.post.telemetry.engine.queue_full.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    async fn write<S: AsyncWrite>(
        &self,
        writer: &mut WriteHalf<S>,
        both: &Both,
        waiting: &mut mpsc::Receiver<Out>,
        unwritten: &mut Option<Transmit>,
    ) -> Option<Cut> {
        while let Some(out) = waiting.recv().await {
            let bytes = match &out {
                Out::Message(message) => &message.bytes[..],
                Out::Pong => PONG,
            };
            let written = timeout(self.settings.message, put(writer, bytes)).await;
            let message = match out {
                Out::Message(message) => Some(message),
                Out::Pong => None,
            };
            match written {
                Ok(Ok(())) => {
                    both.alive();
                    if let Some(measure) = message.and_then(|m| m.measure) {
                        self.hops.borrow_mut().record(measure);
                    }
                }
                failed => {
                    *unwritten = message;
                    return failed.is_err().then_some(Cut::Full);
                }
            }
        }
        None
    }

    fn note(&self, both: &Both, broken: Broken) {
        tracing::debug!(from = %both.flow.remote, %broken, "a SIP connection is cut");
    }
}

async fn put<S: AsyncWrite>(writer: &mut WriteHalf<S>, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// Reads and forgets: a stream closed with bytes unread would take our last answer with it.
async fn discard<S: AsyncRead>(reader: &mut ReadHalf<S>) {
    let mut room = [0; READ];
    while matches!(reader.read(&mut room).await, Ok(1..)) {}
}
