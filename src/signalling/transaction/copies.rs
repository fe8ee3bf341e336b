//! Requests that come again, and what is kept to answer them.

use cooee_model::moment::Moment;

use crate::message::reply::response_to;
use crate::message::view::Message;
use crate::transaction::flow::Transmit;
use crate::transaction::key::Digest;
use crate::transaction::layer::{ServerId, Transactions};
use crate::transaction::server::ServerState;

impl<O: Copy> Transactions<O> {
    /// Whether a request, which has this digest, is a copy of one that is known; if so the last
    /// response goes out again.
    pub fn absorb(&mut self, digest: Digest, request: &Message, sends: &mut Vec<Transmit>) -> bool {
        let Some(&slot) = self.by_digest.get(&digest) else { return false };
        let Some(server) = self.servers.get(slot) else { return false };
        self.counts.absorbed += 1;
        let (flow, code) = (server.flow, server.code);
        let bytes = match (server.state, &server.response) {
            // An acknowledged 2xx is not sent again: the caller has it (RFC 6026, 7.1).
            (ServerState::Acknowledged, _) => return true,
            (_, Some(response)) => response.clone(),
            (ServerState::Completed, None) => {
                response_to(request, flow.remote, code, b"", "").finish(b"", b"")
            }
            _ => return true,
        };
        self.counts.resent += 1;
        sends.push(Transmit { flow, bytes, measure: None });
        true
    }

    /// Whether the same request is here already by another path (RFC 3261, 8.2.2.2).
    pub fn is_merged(&self, request: &Message) -> bool {
        request.to_tag().is_empty() && self.by_digest.contains_key(&self.keyed.merge(request))
    }

    /// Answers a request of a dialog other than INVITE by what is copied from it and nothing else.
    /// Such a response is not kept for those 32 s, in which most are never asked for: a copy of the
    /// request says all that it takes to write it again.
    pub fn respond_plainly(
        &mut self,
        now: Moment,
        id: ServerId,
        (code, request): (u16, &Message),
        sends: &mut Vec<Transmit>,
    ) {
        let Some(server) = self.servers.get(id.0) else { return };
        let bytes = response_to(request, server.flow.remote, code, b"", "").finish(b"", b"");
        self.respond(now, id, code, bytes, None, sends);
        if let Some(server) = self.servers.get_mut(id.0)
            && server.state == ServerState::Completed
            && !server.is_invite
        {
            server.response = None;
        }
    }
}
