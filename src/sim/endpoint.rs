//! One SIP address: a UDP socket, and who hears what comes on it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::clock::now_us;
use crate::limits::{DATAGRAM, FRESH, INBOX};
use crate::wire::Message;

/// A message with the moment at which it was read.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Microseconds since the epoch.
    pub at_us: i64,
    /// Who sent it.
    pub from: SocketAddr,
    /// What.
    pub message: Message,
}

/// What comes for one call.
pub type Inbox = mpsc::Receiver<Arrived>;

/// A SIP address; clones are the same one. The socket closes when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Endpoint {
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    calls: Calls,
    _reader: Arc<Reader>,
}

type Calls = Arc<Mutex<BTreeMap<String, mpsc::Sender<Arrived>>>>;

#[derive(Debug)]
struct Reader(AbortHandle);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Endpoint {
    /// Binds an address; what comes for no open call is heard on the inbox.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(address: SocketAddr) -> io::Result<(Self, Inbox)> {
        let socket = Arc::new(UdpSocket::bind(address).await?);
        let local = socket.local_addr()?;
        let calls = Calls::default();
        let (fresh, inbox) = mpsc::channel(FRESH);
        let reader = tokio::spawn(read(Arc::clone(&socket), Arc::clone(&calls), fresh));
        let reader = Arc::new(Reader(reader.abort_handle()));
        Ok((Self { socket, local, calls, _reader: reader }, inbox))
    }

    /// Its address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Opens a call: what carries its Call-ID is heard here from now on.
    pub fn open(&self, call_id: &str) -> Inbox {
        let (sender, inbox) = mpsc::channel(INBOX);
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.insert(call_id.to_owned(), sender);
        inbox
    }

    /// Closes a call.
    pub fn close(&self, call_id: &str) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(call_id);
    }

    /// Sends; the moment just before it left. What cannot be sent is lost, as on any UDP way.
    pub async fn send(&self, to: SocketAddr, bytes: &[u8]) -> i64 {
        let at_us = now_us();
        let _ = self.socket.send_to(bytes, to).await;
        at_us
    }
}

async fn read(socket: Arc<UdpSocket>, calls: Calls, fresh: mpsc::Sender<Arrived>) {
    let mut room = vec![0; DATAGRAM];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut room).await else { continue };
        let at_us = now_us();
        let Some(message) = Message::read(room.get(..length).unwrap_or_default()) else { continue };
        let call = {
            let calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.get(message.one("Call-ID")).cloned()
        };
        // A full inbox loses the message: SIP repeats what matters.
        let _ = call.as_ref().unwrap_or(&fresh).try_send(Arrived { at_us, from, message });
    }
}
