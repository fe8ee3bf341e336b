//! All transactions of the node: matching, retransmission, time-outs.

use std::collections::BTreeMap;

use bytes::Bytes;
use cooee_model::moment::Moment;

use crate::message::view::{Message, Method};
use crate::transaction::client::{Client, ClientState, ack_of_failure};
use crate::transaction::flow::{Flow, Measure, Transmit};
use crate::transaction::key::{Keyed, Token};
use crate::transaction::limits::{Clock, TRANSACTIONS};
use crate::transaction::server::{Server, ServerState};
use crate::transaction::slots::{Slot, Slots};
use crate::transaction::timers::Timers;

/// Names a server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub Slot);

/// Names a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub Slot);

#[derive(Clone, Copy, Debug)]
pub(super) enum Tick {
    /// Timers A, E.
    SendRequest(Slot),
    /// Timers B, F.
    GiveUpRequest(Slot),
    /// Timers D, K, M.
    ForgetClient(Slot),
    /// Timer G, and the same for a 2xx.
    SendResponse(Slot),
    /// Timer H, and the same for a 2xx.
    GiveUpResponse(Slot),
    /// Timers I, J, L.
    ForgetServer(Slot),
}

/// What a passed deadline means to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired<O> {
    /// No final response came (timers B and F): as if 408 had come.
    NoAnswer {
        /// The owner of the request.
        owner: O,
        /// The request.
        client: ClientId,
        /// Whether any provisional response came.
        heard: bool,
    },
    /// No ACK came for a 2xx: the dialog has to be ended (RFC 3261, 13.3.1.4).
    NoAck {
        /// The owner of the INVITE.
        owner: O,
        /// The INVITE.
        server: ServerId,
    },
}

/// What became of a request that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It opened this transaction.
    New(ServerId),
    /// A copy of one that is known: the last response has been sent again.
    Absorbed,
    /// Too many transactions: to be refused without state.
    Full,
}

/// What became of a response that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<O> {
    /// It is for this owner.
    For(O, ClientId),
    /// A copy: absorbed, acknowledged again where it has to be.
    Absorbed,
    /// It belongs to nothing that we sent.
    Stray,
}

/// Counts that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests and responses sent again.
    pub resent: u64,
    /// Requests and responses that came again.
    pub absorbed: u64,
}

/// The transactions of one node. `O` tells an owner its own.
#[derive(Debug)]
pub struct Transactions<O> {
    pub(super) keyed: Keyed,
    pub(super) clock: Clock,
    pub(super) servers: Slots<Server<O>>,
    pub(super) clients: Slots<Client<O>>,
    pub(super) by_digest: BTreeMap<u128, Slot>,
    /// INVITEs of an earlier run, by the place and the secret in their branch.
    adopted: BTreeMap<(u32, u64), Slot>,
    pub(super) timers: Timers<Tick>,
    pub(super) counts: Counts,
}

impl<O: Copy> Transactions<O> {
    /// No transactions yet.
    pub fn new(keyed: Keyed, clock: Clock) -> Self {
        Self {
            keyed,
            clock,
            servers: Slots::default(),
            clients: Slots::default(),
            by_digest: BTreeMap::new(),
            adopted: BTreeMap::new(),
            timers: Timers::default(),
            counts: Counts::default(),
        }
    }

    /// The timers in force.
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Counts so far.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// How many server and client transactions there are.
    pub const fn len(&self) -> (usize, usize) {
        (self.servers.len(), self.clients.len())
    }

    /// The earliest deadline, nanoseconds of the monotonic clock.
    pub fn next_deadline(&self) -> Option<u64> {
        self.timers.next()
    }

    /// A server transaction.
    pub fn server(&self, id: ServerId) -> Option<&Server<O>> {
        self.servers.get(id.0)
    }

    /// A client transaction.
    pub fn client(&self, id: ClientId) -> Option<&Client<O>> {
        self.clients.get(id.0)
    }

    /// Gives a server transaction to another owner.
    pub fn hand_over(&mut self, id: ServerId, owner: O) {
        if let Some(server) = self.servers.get_mut(id.0) {
            server.owner = owner;
        }
    }

    // ---------------------------------------------------------------- server side

    /// Opens a transaction for a request that is no copy.
    pub fn open(&mut self, request: &Message, flow: Flow, owner: O) -> Arrival {
        if self.servers.len() >= TRANSACTIONS {
            return Arrival::Full;
        }
        let method = request.method();
        let digest = self.keyed.server(request, method);
        let merge = if request.to_tag().is_empty() { self.keyed.merge(request) } else { digest };
        let slot = self.servers.insert(Server {
            owner,
            is_invite: method == Method::Invite,
            state: ServerState::Proceeding,
            flow,
            code: 0,
            digest,
            merge,
            response: None,
            resent: 0,
        });
        self.by_digest.insert(digest, slot);
        self.by_digest.insert(merge, slot);
        Arrival::New(ServerId(slot))
    }

    /// The INVITE that a CANCEL or ACK means, by its branch.
    pub fn invite_of(&self, request: &Message) -> Option<(ServerId, O)> {
        let digest = self.keyed.server(request, Method::Invite);
        let slot = *self.by_digest.get(&digest)?;
        self.servers.get(slot).map(|s| (ServerId(slot), s.owner))
    }

    /// Takes an ACK to a final response other than 2xx. `false`: it is none of those.
    pub fn ack(&mut self, now: Moment, request: &Message) -> bool {
        let Some((id, _)) = self.invite_of(request) else { return false };
        let Some(server) = self.servers.get_mut(id.0) else { return false };
        match server.state {
            ServerState::Completed => {
                server.state = ServerState::Confirmed;
                server.response = None;
                let wait = if server.flow.transport.is_reliable() {
                    std::time::Duration::ZERO
                } else {
                    self.clock.t4
                };
                self.timers.set(now, wait, Tick::ForgetServer(id.0));
                true
            }
            ServerState::Confirmed => true,
            _ => false,
        }
    }

    /// Takes the ACK to a 2xx, which comes in the dialog: the 2xx is not sent again.
    pub fn acknowledged(&mut self, id: ServerId) {
        if let Some(server) = self.servers.get_mut(id.0)
            && server.state == ServerState::Accepted
        {
            server.state = ServerState::Acknowledged;
            server.response = None;
        }
    }

    /// Takes over an INVITE that an earlier run answered with the 2xx `bytes` and whose ACK is not
    /// known to have come: the 2xx is sent again until it does.
    pub fn adopt_answer(
        &mut self,
        now: Moment,
        (flow, bytes): (Flow, Bytes),
        owner: O,
        sends: &mut Vec<Transmit>,
    ) -> Option<ServerId> {
        let answer = Message::read(bytes.clone()).ok()?;
        // The answer has the Via, tags and CSeq of its request, so it is found by the same names.
        let Arrival::New(id) = self.open(&answer, flow, owner) else { return None };
        self.respond(now, id, answer.code(), bytes, None, sends);
        Some(id)
    }

    /// Sends a response. After a final one, further calls do nothing.
    pub fn respond(
        &mut self,
        now: Moment,
        id: ServerId,
        code: u16,
        bytes: Bytes,
        measure: Option<Measure>,
        sends: &mut Vec<Transmit>,
    ) {
        let Some(server) = self.servers.get_mut(id.0) else { return };
        if server.state != ServerState::Proceeding {
            return;
        }
        sends.push(Transmit { flow: server.flow, bytes: bytes.clone(), measure });
        server.response = Some(bytes);
        if code < 200 {
            return;
        }
        server.code = code;
        let reliable = server.flow.transport.is_reliable();
        let give_up = self.clock.give_up();
        if !server.is_invite {
            server.state = ServerState::Completed;
            let wait = if reliable { std::time::Duration::ZERO } else { give_up };
            self.timers.set(now, wait, Tick::ForgetServer(id.0));
            return;
        }
        server.state = if code < 300 { ServerState::Accepted } else { ServerState::Completed };
        // The end-to-end 2xx is sent again on every transport (RFC 3261, 13.3.1.4).
        if !reliable || code < 300 {
            self.timers.set(now, self.clock.t1, Tick::SendResponse(id.0));
        }
        self.timers.set(now, give_up, Tick::GiveUpResponse(id.0));
    }

    /// The last provisional response above 100, to be sent once more.
    pub fn last_said(&self, id: ServerId) -> Option<Transmit> {
        let server = self.servers.get(id.0).filter(|s| s.state == ServerState::Proceeding)?;
        let bytes = server.response.clone().filter(|b| !b.starts_with(b"SIP/2.0 100"))?;
        Some(Transmit { flow: server.flow, bytes, measure: None })
    }

    // ---------------------------------------------------------------- client side

    /// The token of the next client transaction: to be put into the request's branch and given to
    /// [`Transactions::request`] with nothing in between.
    pub fn reserve(&self, secret: u64) -> Token {
        Token::at(self.clients.next(), secret)
    }

    /// Sends a request.
    pub fn request(
        &mut self,
        now: Moment,
        token: Token,
        (flow, bytes): (Flow, Bytes),
        (is_invite, owner): (bool, O),
        measure: Option<Measure>,
        sends: &mut Vec<Transmit>,
    ) -> ClientId {
        sends.push(Transmit { flow, bytes: bytes.clone(), measure });
        self.start(now, token.secret, (flow, bytes), is_invite, owner, false)
    }

    /// Sends the CANCEL of an INVITE; it shares the INVITE's branch (RFC 3261, 9.1).
    pub fn cancel(
        &mut self,
        now: Moment,
        invite: ClientId,
        bytes: Bytes,
        owner: O,
        sends: &mut Vec<Transmit>,
    ) {
        let Some(client) = self.clients.get(invite.0) else { return };
        let flow = client.flow;
        sends.push(Transmit { flow, bytes: bytes.clone(), measure: None });
        let id = self.start(now, 0, (flow, bytes), false, owner, true);
        if let Some(client) = self.clients.get_mut(invite.0) {
            client.cancel = Some(id.0);
        }
    }

    fn start(
        &mut self,
        now: Moment,
        secret: u64,
        (flow, bytes): (Flow, Bytes),
        is_invite: bool,
        owner: O,
        is_cancel: bool,
    ) -> ClientId {
        let slot = self.clients.insert(Client {
            owner,
            is_invite,
            state: ClientState::Calling,
            flow,
            secret,
            bytes,
            resent: 0,
            cancel: None,
            is_cancel,
            instead: None,
        });
        if flow.transport.is_reliable() {
            self.timers.set(now, self.clock.give_up(), Tick::GiveUpRequest(slot));
        } else {
            // The end is set with the first copy: most requests have been answered by then.
            self.timers.set(now, self.clock.t1, Tick::SendRequest(slot));
        }
        ClientId(slot)
    }

    /// Takes over an INVITE that an earlier run of the node sent and that had no final response:
    /// its responses find it by the branch that it has. It is not sent again.
    pub fn adopt(&mut self, now: Moment, flow: Flow, bytes: Bytes, owner: O) -> Option<ClientId> {
        let invite = Message::read(bytes.clone()).ok()?;
        let token = Token::of_branch(invite.via()?.branch())?;
        let id = self.start(now, token.secret, (flow, bytes), true, owner, false);
        self.clients.get_mut(id.0)?.state = ClientState::Proceeding;
        self.adopted.insert((token.index, token.secret), id.0);
        Some(id)
    }

    /// Finds the request that a response answers.
    pub fn hear(&mut self, now: Moment, response: &Message, sends: &mut Vec<Transmit>) -> Heard<O> {
        let Some(slot) = self.client_of(response) else { return Heard::Stray };
        let clock = self.clock;
        let Some(client) = self.clients.get_mut(slot) else { return Heard::Stray };
        let code = response.code();
        let id = ClientId(slot);
        match (client.state, code) {
            (ClientState::Calling | ClientState::Proceeding, ..200) => {
                client.state = ClientState::Proceeding;
                Heard::For(client.owner, id)
            }
            (ClientState::Calling | ClientState::Proceeding, 200..300) if client.is_invite => {
                client.state = ClientState::Accepted;
                client.bytes = Bytes::new();
                self.timers.set(now, clock.give_up(), Tick::ForgetClient(slot));
                Heard::For(client.owner, id)
            }
            (ClientState::Calling | ClientState::Proceeding, _) => {
                client.state = ClientState::Completed;
                let reliable = client.flow.transport.is_reliable();
                let wait = match (reliable, client.is_invite) {
                    (true, _) => std::time::Duration::ZERO,
                    // Timer D is at least 32 s at the default T1.
                    (false, true) => clock.give_up(),
                    (false, false) => clock.t4,
                };
                if client.is_invite {
                    client.bytes = ack_of_failure(&client.bytes, response);
                    let bytes = client.bytes.clone();
                    sends.push(Transmit { flow: client.flow, bytes, measure: None });
                } else {
                    client.bytes = Bytes::new();
                }
                self.timers.set(now, wait, Tick::ForgetClient(slot));
                Heard::For(client.owner, id)
            }
            (ClientState::Accepted, 200..300) => Heard::For(client.owner, id),
            (ClientState::Completed, 300..) if client.is_invite => {
                self.counts.absorbed += 1;
                self.counts.resent += 1;
                let bytes = client.bytes.clone();
                sends.push(Transmit { flow: client.flow, bytes, measure: None });
                Heard::Absorbed
            }
            _ => {
                self.counts.absorbed += 1;
                Heard::Absorbed
            }
        }
    }

    /// The request that a response answers, or that was given back.
    pub(super) fn client_of(&self, response: &Message) -> Option<Slot> {
        let token = Token::of_branch(response.via()?.branch())?;
        // The secret also tells apart an earlier request that had this place.
        let named = |c: &Client<O>| c.secret == token.secret && !c.is_cancel;
        let adopted = || {
            let slot = *self.adopted.get(&(token.index, token.secret))?;
            self.clients.get(slot).map(|client| (slot, client))
        };
        let here = self.clients.at(token.index).filter(|(_, c)| named(c));
        let (slot, client) = here.or_else(adopted)?;
        let method = response.method();
        match method {
            Method::Cancel => client.cancel,
            Method::Invite => client.is_invite.then_some(slot),
            _ => (!client.is_invite).then_some(slot),
        }
    }

    /// An INVITE as it was sent, until its final response: what its CANCEL is written from.
    pub fn invite(&self, id: ClientId) -> Option<&Bytes> {
        let waits = |s| matches!(s, ClientState::Calling | ClientState::Proceeding);
        self.clients.get(id.0).filter(|c| c.is_invite && waits(c.state)).map(|c| &c.bytes)
    }

    /// An INVITE that a provisional response has come for, and no final one: it may be cancelled.
    pub fn unanswered(&self, id: ClientId) -> Option<&Bytes> {
        let client = self.clients.get(id.0)?;
        let rings = client.is_invite && client.state == ClientState::Proceeding;
        (rings && client.cancel.is_none()).then_some(&client.bytes)
    }

    /// Nobody waits for the answer of a request any more. One that comes is still acknowledged;
    /// where none comes the request is forgotten after 64*T1, which nothing else sees to once an
    /// INVITE has had a provisional response.
    pub fn let_go(&mut self, now: Moment, id: ClientId) {
        self.timers.set(now, self.clock.give_up(), Tick::ForgetClient(id.0));
    }

    /// Forgets an answered INVITE whose call is over: nothing comes of a copy of its answer.
    pub fn over(&mut self, id: ClientId) {
        if self.clients.get(id.0).is_some_and(|client| client.state == ClientState::Accepted) {
            self.clients.remove(id.0);
        }
    }

    /// Forgets a request whose answer nobody waits for any more.
    pub fn abandon(&mut self, id: ClientId) {
        self.clients.remove(id.0);
    }

    // ---------------------------------------------------------------- time

    /// Carries out one deadline that has passed. `None`: there is none left.
    /// `Some(None)`: one was, and its owner need not know.
    pub fn expire(&mut self, now: Moment, sends: &mut Vec<Transmit>) -> Option<Option<Expired<O>>> {
        let tick = self.timers.due(now)?;
        Some(match tick {
            Tick::SendRequest(slot) => {
                self.send_request_again(now, slot, sends);
                None
            }
            Tick::GiveUpRequest(slot) => self.give_up_request(slot),
            Tick::ForgetClient(slot) => {
                self.clients.remove(slot);
                None
            }
            Tick::SendResponse(slot) => {
                self.send_response_again(now, slot, sends);
                None
            }
            Tick::GiveUpResponse(slot) => self.give_up_response(slot),
            Tick::ForgetServer(slot) => {
                self.forget_server(slot);
                None
            }
        })
    }

    fn send_request_again(&mut self, now: Moment, slot: Slot, sends: &mut Vec<Transmit>) {
        let clock = self.clock;
        let Some(client) = self.clients.get_mut(slot) else { return };
        let wait = match (client.state, client.is_invite) {
            (ClientState::Calling, true) => clock.t1 * (2 << client.resent.min(6)),
            (ClientState::Calling, false) => (clock.t1 * (2 << client.resent.min(6))).min(clock.t2),
            (ClientState::Proceeding, false) => clock.t2,
            _ => return,
        };
        if client.resent == 0 {
            let rest = clock.give_up().saturating_sub(clock.t1);
            self.timers.set(now, rest, Tick::GiveUpRequest(slot));
        }
        client.resent += 1;
        self.counts.resent += 1;
        sends.push(Transmit { flow: client.flow, bytes: client.bytes.clone(), measure: None });
        self.timers.set(now, wait, Tick::SendRequest(slot));
    }

    fn give_up_request(&mut self, slot: Slot) -> Option<Expired<O>> {
        let client = self.clients.get(slot)?;
        let heard = client.state == ClientState::Proceeding;
        match client.state {
            // An INVITE that rings waits as long as its owner likes (RFC 3261, 17.1.1.2).
            ClientState::Proceeding if client.is_invite => None,
            ClientState::Calling | ClientState::Proceeding => {
                let (owner, told) = (client.owner, !client.is_cancel);
                self.clients.remove(slot);
                told.then_some(Expired::NoAnswer { owner, client: ClientId(slot), heard })
            }
            ClientState::Accepted | ClientState::Completed => None,
        }
    }

    fn send_response_again(&mut self, now: Moment, slot: Slot, sends: &mut Vec<Transmit>) {
        let clock = self.clock;
        let Some(server) = self.servers.get_mut(slot) else { return };
        if !matches!(server.state, ServerState::Accepted | ServerState::Completed) {
            return;
        }
        let Some(response) = &server.response else { return };
        sends.push(Transmit { flow: server.flow, bytes: response.clone(), measure: None });
        let wait = (clock.t1 * (2 << server.resent.min(6))).min(clock.t2);
        server.resent += 1;
        self.counts.resent += 1;
        self.timers.set(now, wait, Tick::SendResponse(slot));
    }

    fn give_up_response(&mut self, slot: Slot) -> Option<Expired<O>> {
        let server = self.servers.get(slot)?;
        let expired = match server.state {
            ServerState::Accepted => {
                Some(Expired::NoAck { owner: server.owner, server: ServerId(slot) })
            }
            ServerState::Confirmed => return None,
            _ => None,
        };
        self.forget_server(slot);
        expired
    }

    fn forget_server(&mut self, slot: Slot) {
        if let Some(server) = self.servers.remove(slot) {
            for digest in [server.digest, server.merge] {
                if self.by_digest.get(&digest) == Some(&slot) {
                    self.by_digest.remove(&digest);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
