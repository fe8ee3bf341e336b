//! Requests that are given back on their way: by a connection that does not come up, by the kernel,
//! by ICMP. Such a request has failed (RFC 3261, 8.1.3.1), or goes by another way (18.1.1).

use bytes::Bytes;
use cooee_model::moment::Moment;

use crate::message::view::Message;
use crate::transaction::client::{Client, ClientState};
use crate::transaction::flow::{Flow, Transmit};
use crate::transaction::layer::{ClientId, Tick, Transactions};

/// What became of a message that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned<O> {
    /// A request of this owner has failed.
    Failed(O, ClientId),
    /// It has been sent by its other way.
    SentInstead,
    /// No request of ours waits for it.
    Stray,
}

impl<O: Copy> Transactions<O> {
    /// Another way for a request that is on its way, should this one not take it.
    pub fn or_else(&mut self, id: ClientId, instead: (Flow, Bytes)) {
        if let Some(client) = self.clients.get_mut(id.0) {
            client.instead = Some(Box::new(instead));
        }
    }

    /// A request is not wanted any more: it is not sent by another way.
    pub fn not_else(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id.0) {
            client.instead = None;
        }
    }

    /// Takes a request that was given back on its way: it has failed and is forgotten, or goes by
    /// its other way. One that has been heard goes on: then it was a copy that was given back. Of
    /// the request its method and branch are enough.
    pub fn unsent(
        &mut self,
        now: Moment,
        flow: Flow,
        request: &Message,
        sends: &mut Vec<Transmit>,
    ) -> Returned<O> {
        let Some(slot) = self.client_of(request) else { return Returned::Stray };
        let calling = |c: &&mut Client<O>| c.state == ClientState::Calling && c.flow == flow;
        let Some(client) = self.clients.get_mut(slot).filter(calling) else {
            return Returned::Stray;
        };
        let Some(instead) = client.instead.take() else {
            let owner = client.owner;
            self.clients.remove(slot);
            return Returned::Failed(owner, ClientId(slot));
        };
        (client.flow, client.bytes) = *instead;
        sends.push(Transmit { flow: client.flow, bytes: client.bytes.clone(), measure: None });
        self.timers.set(now, self.clock.t1, Tick::SendRequest(slot));
        Returned::SentInstead
    }
}
