//! Asking the trunks' addresses whether they are there: OPTIONS, spread out in time, so that many
//! trunks are not asked in one burst; and telling how each trunk stands.

use std::time::Duration;

use cooee_model::moment::Moment;
use cooee_model::trunk::{PeerState, TrunkState};

use crate::call::context::{Alarm, Output, Owner};
use crate::call::peers::{Peer, Verdict};
use crate::leg::dialog::Dialog;
use crate::message::name::Name;
use crate::message::view::Message;
use crate::switch::Switch;
use crate::transaction::key::Token;
use crate::transaction::layer::ClientId;

impl Switch {
    /// Lets the asking begin for each address that is not asked yet, at a time of its own.
    pub(super) fn begin_pings(&mut self, now: Moment) {
        let plan = self.core.plan.clone();
        for trunk in 0..plan.trunks.len() {
            let interval = Duration::from_secs(plan.ping_of(trunk).interval_s.into());
            while let Some(id) = self.core.peers.not_asked(trunk).filter(|_| !interval.is_zero()) {
                let wait = share_of(interval, self.core.random());
                self.core.alarms.set(now, wait, Alarm::Ping(id));
            }
        }
    }

    /// Asks an address, and sets the time of the next question.
    pub(super) fn ping(&mut self, now: Moment, id: u32, out: &mut Output) {
        let random = self.core.random();
        let Some((trunk, peer)) = self.core.peers.named(id) else { return };
        let ping = self.core.plan.ping_of(trunk);
        if ping.interval_s == 0 {
            peer.is_asked = false;
            return;
        }
        // A tenth of the time more or less, so that what fell together once does not stay so.
        let interval = Duration::from_secs(ping.interval_s.into());
        let wait = interval * 9 / 10 + share_of(interval / 5, random);
        self.core.alarms.set(now, wait, Alarm::Ping(id));
        self.ask(now, id, out);
    }

    /// Asks every address of a trunk now, whatever the time.
    pub(super) fn ping_now(&mut self, now: Moment, trunk: &str, out: &mut Output) {
        let Some(trunk) = self.core.plan.trunk_at(trunk) else { return };
        let ids: Vec<u32> = self.core.peers.of(trunk).iter().map(|peer| peer.id).collect();
        ids.into_iter().for_each(|id| self.ask(now, id, out));
    }

    fn ask(&mut self, now: Moment, id: u32, out: &mut Output) {
        let Some((trunk, peer)) = self.core.peers.named(id) else { return };
        let ping = self.core.plan.ping_of(trunk);
        let place = peer.place.clone();
        let Some(flow) = self.core.flow_to(&place) else { return };
        let Some(local) = self.core.local(flow).cloned() else { return };
        let (secret, name) = (self.core.random(), self.core.random());
        let token = self.core.tx.reserve(secret);
        let usual = &self.core.plan.node.host;
        let own_host = local.other_host(usual).unwrap_or_else(|| usual.clone());
        let dialog = Dialog {
            call_id: Token { index: 0, secret: name }.text().into_bytes(),
            local_tag: format!("{:016x}", self.core.random()),
            local: format!("<sip:{own_host}>").into_bytes(),
            remote: format!("<sip:{}>", place.authority()).into_bytes(),
            remote_target: format!("sip:{}", place.authority()).into_bytes(),
            ..Dialog::default()
        };
        let mut writer = dialog.request("OPTIONS", 1, 70, (&local, &token.branch()));
        writer.header(Name::Contact, &[b"<sip:", local.sent_by.as_bytes(), b">"]);
        writer.header(Name::Accept, &[b"application/sdp"]);
        let user_agent = &self.core.plan.settings.user_agent;
        if !user_agent.is_empty() {
            writer.header(Name::UserAgent, &[user_agent.as_bytes()]);
        }
        let message = (flow, writer.finish(b"", b""));
        let kind = (false, Owner::Ping(id));
        let client = self.core.tx.request(now, token, message, kind, None, &mut out.sends);
        if let Some((_, peer)) = self.core.peers.named(id) {
            peer.asked = Some((client, now));
        }
        // Four copies have been sent by then; timer F is too late to tell.
        let interval = Duration::from_secs(ping.interval_s.into());
        let patience = self.core.tx.clock().t1 * 8;
        let patience = if interval.is_zero() { patience } else { patience.min(interval) };
        self.core.alarms.set(now, patience, Alarm::PingLate(id, client));
    }

    /// An address has answered.
    pub(super) fn ping_answered(
        &mut self,
        received: Moment,
        (id, client): (u32, ClientId),
        response: &Message,
        out: &mut Output,
    ) {
        if response.code() < 200 {
            return;
        }
        let rest_max_s = self.core.plan.retry.retry_after_max_s;
        let verdict = Verdict::of(response, rest_max_s);
        let Some((_, peer)) = self.core.peers.named(id) else { return };
        let Some((_, sent)) = peer.asked.take_if(|(asked, _)| *asked == client) else { return };
        peer.knows_options();
        peer.pinged = (peer.pinged.0.wrapping_add(1), response.code());
        peer.rtt = Some(received - sent);
        if verdict == Verdict::Answered {
            out.rtts.push(received - sent);
        }
        self.core.judge_ping(received, id, verdict, &mut out.notes);
    }

    /// An address has not answered in time.
    pub(super) fn ping_failed(
        &mut self,
        now: Moment,
        (id, client): (u32, ClientId),
        out: &mut Output,
    ) {
        let Some((_, peer)) = self.core.peers.named(id) else { return };
        if peer.asked.take_if(|(asked, _)| *asked == client).is_none() {
            return;
        }
        peer.pinged = (peer.pinged.0.wrapping_add(1), 0);
        self.core.tx.abandon(client);
        // Who never answered OPTIONS may not know them: its INVITEs tell (RFC 3261, 11).
        if self.core.peers.named(id).is_some_and(|(_, peer)| peer.answers_pings) {
            self.core.judge_ping(now, id, Verdict::Failed, &mut out.notes);
        }
    }

    /// How each trunk of the plan stands.
    pub fn trunks(&self, now: Moment) -> Vec<TrunkState> {
        let plan = &self.core.plan;
        let state = |(at, trunk): (usize, &crate::profile::plan::Trunk)| TrunkState {
            name: trunk.name.clone(),
            calls: self.core.loads.calls(&trunk.name),
            lines: self.lines_of(at),
            peers: self.core.peers.of(at).iter().map(|peer| peer_state(peer, now)).collect(),
            is_called: !trunk.peers.is_empty(),
            leave: self.leave_of(at),
        };
        plan.trunks.iter().enumerate().map(state).collect()
    }
}

fn peer_state(peer: &Peer, now: Moment) -> PeerState {
    PeerState {
        name: peer.place.host.clone(),
        transport: peer.place.transport.name(),
        address: peer.place.address,
        state: peer.standing(now).name(),
        since: peer.since,
        rest: peer.rest(now),
        rtt: peer.rtt,
        pings: peer.pinged.0,
        said: peer.pinged.1,
        judged_by: if peer.answers_pings { "options" } else { "invites" },
        priority: peer.place.priority,
        weight: peer.place.weight,
    }
}

/// A part of a span, drawn by `random`.
fn share_of(span: Duration, random: u64) -> Duration {
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random % ms.max(1))
}
