//! What reaches the engine from other threads: a bounded queue and a bell.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use cooee_signalling::switch::input::Input;
use cooee_signalling::transaction::flow::Transmit;
use cooee_telemetry::Telemetry;
use crossbeam_channel::{Receiver, Sender, bounded};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::oneshot;

/// Most inputs that wait. Past it they are refused, and whoever sent them counts that.
pub const INPUTS_WAITING: usize = 65_536;

/// An input, and who wants to hear that it has been carried out: told by letting go of it.
pub type Letter = (Input, Option<oneshot::Sender<()>>);

/// The sending side; cheap to clone.
#[derive(Clone, Debug)]
pub struct Inbox {
    sender: Sender<Letter>,
    bell: Arc<EventFd>,
}

impl Inbox {
    /// Hands an input over; never blocks. `false`: the queue is full, or the engine has ended.
    pub fn push(&self, input: Input) -> bool {
        self.put((input, None))
    }

    /// Hands an input over; what comes back is done when its records are in the journal (or the
    /// engine has ended). `None`: as `false` of [`push`](Self::push).
    pub fn register(&self, input: Input) -> Option<oneshot::Receiver<()>> {
        let (carried_out, receipt) = oneshot::channel();
        self.put((input, Some(carried_out))).then_some(receipt)
    }

    fn put(&self, letter: Letter) -> bool {
        // The bell fails only where it has rung 2^64 - 1 times unheard.
        self.sender.try_send(letter).is_ok() && self.bell.write(1).is_ok()
    }

    /// Wakes the engine without an input.
    pub fn ring(&self) {
        let _ = self.bell.write(1);
    }
}

/// The way back to the engine, for messages that cannot be sent.
#[derive(Clone)]
pub struct Post {
    /// Where they go.
    pub inbox: Inbox,
    /// Where they are counted.
    pub telemetry: Arc<Telemetry>,
}

impl Post {
    /// Gives a message back.
    pub fn give_back(&self, message: Transmit) {
        self.telemetry.engine.send_errors.fetch_add(1, Relaxed);
        let Transmit { flow, bytes, .. } = message;
        if !self.inbox.push(Input::Unsent { flow, bytes }) {
            self.telemetry.engine.queue_full.fetch_add(1, Relaxed);
        }
    }
}

/// The engine's side.
#[derive(Debug)]
pub struct Letters {
    receiver: Receiver<Letter>,
    bell: Arc<EventFd>,
}

impl Letters {
    /// The next input, if one waits.
    pub fn next(&self) -> Option<Letter> {
        self.receiver.try_recv().ok()
    }

    /// Silences the bell; to be called before the inputs are taken.
    pub fn heard(&self) {
        let _ = self.bell.read();
    }
}

impl AsFd for Letters {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// A queue.
///
/// # Errors
/// If the kernel has no descriptor left.
pub fn inbox() -> io::Result<(Inbox, Letters)> {
    let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
    let bell = Arc::new(EventFd::from_flags(flags).map_err(io::Error::from)?);
    let (sender, receiver) = bounded(INPUTS_WAITING);
    Ok((Inbox { sender, bell: Arc::clone(&bell) }, Letters { receiver, bell }))
}
