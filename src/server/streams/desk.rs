//! Which connections there are, by the names that a message may be sent under.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use cooee_signalling::message::transport::Transport;
use cooee_signalling::transaction::flow::Transmit;
use cooee_telemetry::stats::Cut;
use tokio::sync::mpsc;

/// Messages that wait for one connection. Past it the peer does not read, and is cut off.
pub const WAITING: usize = 256;

/// Where a connection leads.
pub type Place = (Transport, SocketAddr);

/// What a connection writes.
#[derive(Debug)]
pub enum Out {
    /// A message.
    Message(Transmit),
    /// The answer to a keep-alive.
    Pong,
}

/// The number of one connection, never used twice.
pub type Number = u64;

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// That one address has opened.
    pub per_address: usize,
    /// In all.
    pub total: usize,
}

#[derive(Debug)]
struct Line {
    place: Place,
    alias: Option<Place>,
    queue: mpsc::Sender<Out>,
    /// The address that opened it; `None`: we did.
    by: Option<IpAddr>,
}

/// The connections. Each is found by its remote address and, where its peer's `Via` names another
/// port, by that one too: what we ask of the peer goes on the connection that it opened (as RFC
/// 5923 has it, for the address alone that the connection comes from).
#[derive(Debug)]
pub struct Desk {
    room: Room,
    lines: BTreeMap<Number, Line>,
    places: BTreeMap<Place, Number>,
    callers: BTreeMap<IpAddr, usize>,
    last: Number,
}

impl Desk {
    /// No connections.
    pub fn new(room: Room) -> Self {
        let (lines, places, callers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { room, lines, places, callers, last: 0 }
    }

    /// Adds a connection to or from `place`; what is sent to it is read from the receiver.
    ///
    /// # Errors
    /// Why there is no room for it.
    pub fn add(
        &mut self,
        place: Place,
        by_peer: bool,
    ) -> Result<(Number, mpsc::Receiver<Out>), Cut> {
        let by = by_peer.then(|| place.1.ip().to_canonical());
        if by.is_some_and(|ip| self.callers.get(&ip).is_some_and(|n| *n >= self.room.per_address)) {
            return Err(Cut::Address);
        }
        if self.lines.len() >= self.room.total {
            return Err(Cut::Total);
        }
        if let Some(ip) = by {
            *self.callers.entry(ip).or_default() += 1;
        }
        self.last += 1;
        let (queue, waiting) = mpsc::channel(WAITING);
        self.lines.insert(self.last, Line { place, alias: None, queue, by });
        self.places.insert(place, self.last);
        Ok((self.last, waiting))
    }

    /// Gives a connection that its peer opened the further name under which the peer is reached.
    /// The newest connection has the name.
    pub fn name(&mut self, number: Number, alias: Place) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        if line.place != alias {
            line.alias = Some(alias);
            self.places.insert(alias, number);
        }
    }

    /// Whether a connection leads there.
    pub fn leads_to(&self, place: Place) -> bool {
        self.places.contains_key(&place)
    }

    /// Queues a message.
    ///
    /// # Errors
    /// The message comes back: no connection leads there, or (`Some`) this one takes no more.
    pub fn send(&self, place: Place, message: Transmit) -> Result<(), (Transmit, Option<Number>)> {
        let number = self.places.get(&place).copied();
        let Some(line) = number.and_then(|n| self.lines.get(&n)) else {
            return Err((message, None));
        };
        match line.queue.try_reserve() {
            Ok(place) => place.send(Out::Message(message)),
            Err(_) => return Err((message, number)),
        }
        Ok(())
    }

    /// A way to a connection's queue that does not keep it open.
    pub fn queue(&self, number: Number) -> Option<mpsc::WeakSender<Out>> {
        self.lines.get(&number).map(|line| line.queue.downgrade())
    }

    /// Forgets a connection: nothing more is sent to it.
    pub fn remove(&mut self, number: Number) {
        let Some(line) = self.lines.remove(&number) else { return };
        for place in [Some(line.place), line.alias].into_iter().flatten() {
            if self.places.get(&place) == Some(&number) {
                self.places.remove(&place);
            }
        }
        if let Some(ip) = line.by
            && let Some(count) = self.callers.get_mut(&ip)
        {
            *count -= 1;
            if *count == 0 {
                self.callers.remove(&ip);
            }
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self { last: self.last, ..Self::new(self.room) };
    }

    /// How many connections there are by this transport.
    pub fn count(&self, transport: Transport) -> usize {
        self.lines.values().filter(|line| line.place.0 == transport).count()
    }
}
