//! Where the calls of each trunk may go: its addresses, which of them answer, which want rest.
//!
//! ```text
//!  up --N failures in a row--> down --M answers to OPTIONS in a row--> up
//!                               '--judged by INVITEs: after a while--> on trial
//!  up --503 with Retry-After--> resting --that long--> up
//! ```
//!
//! An address that has ever answered OPTIONS is judged by OPTIONS, any other by its INVITEs.
//! An address that is down is called last, when nothing else is left: a false alarm must not turn
//! a call away. One that asked for rest is not called at all until its time is over
//! (RFC 3261, 21.5.4).

use std::net::SocketAddr;
use std::time::Duration;

use cooee_model::moment::Moment;

use crate::call::context::{Alarm, Core, Note};
use crate::call::limits::{ON_TRIAL_AFTER, PLACES};
use crate::message::address::host;
use crate::message::name::Name;
use crate::message::text::number;
use crate::message::transport::Transport;
use crate::message::view::Message;
use crate::profile::plan::Ping;
use crate::transaction::layer::ClientId;

/// One address of a trunk, as names or the configuration gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// By which transport.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// The host that led there, and its port, as URIs write them; empty: the address itself.
    pub host: String,
    /// Lower ones are tried first (RFC 2782).
    pub priority: u16,
    /// Share among those of the same priority (RFC 2782).
    pub weight: u16,
}

impl Place {
    /// An address that stands for itself.
    pub const fn new(transport: Transport, address: SocketAddr) -> Self {
        Self { transport, address, host: String::new(), priority: 0, weight: 0 }
    }

    /// The host as URIs write it.
    pub fn authority(&self) -> String {
        match (self.host.is_empty(), self.address.port()) {
            (false, _) => self.host.clone(),
            (true, 5060) => host(self.address.ip()),
            (true, _) => self.address.to_string(),
        }
    }
}

/// How an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is called.
    Up,
    /// It did not answer: called when nothing else is left.
    Down,
    /// It asked not to be called for a while.
    Resting,
}

impl Standing {
    /// As logs and the API write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Resting => "resting",
        }
    }
}

/// An address and what is known of it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name here, never used again for another.
    pub id: u32,
    /// The address.
    pub place: Place,
    /// Since when it stands as it does.
    pub since: Moment,
    /// Round trip of the last OPTIONS that was answered.
    pub rtt: Option<Duration>,
    /// OPTIONS that have come to their end, and the status that answered the last; 0: none.
    pub pinged: (u32, u16),
    /// It has answered OPTIONS.
    pub answers_pings: bool,
    /// A time is set at which it will be asked.
    pub is_asked: bool,
    /// The OPTIONS under way, and when it was sent.
    pub asked: Option<(ClientId, Moment)>,
    down: bool,
    rests_until: Option<Moment>,
    failures: u32,
    answers: u32,
}

impl Peer {
    /// How it stands.
    pub fn standing(&self, now: Moment) -> Standing {
        match self.rests_until {
            Some(until) if until.mono > now.mono => Standing::Resting,
            _ if self.down => Standing::Down,
            _ => Standing::Up,
        }
    }

    /// How long it still wants rest.
    pub fn rest(&self, now: Moment) -> Option<Duration> {
        self.rests_until.filter(|until| until.mono > now.mono).map(|until| until - now)
    }

    /// It answers OPTIONS: they judge it from now on, and not what INVITEs have begun to find.
    pub fn knows_options(&mut self) {
        if !std::mem::replace(&mut self.answers_pings, true) {
            self.failures = 0;
        }
    }

    /// It was asked and answered. `true`: that changed how it stands.
    pub fn answered(&mut self, now: Moment, patience: Ping) -> bool {
        self.failures = 0;
        self.answers = self.answers.saturating_add(1);
        let up = self.down && self.answers >= patience.ok_after;
        if up {
            (self.down, self.since) = (false, now);
        }
        up
    }

    /// It was asked and did not answer, or not as one who works. `true`: that changed how it
    /// stands.
    pub fn failed(&mut self, now: Moment, patience: Ping) -> bool {
        self.answers = 0;
        self.failures = self.failures.saturating_add(1);
        let down = !self.down && self.failures >= patience.fail_after;
        if down {
            (self.down, self.since) = (true, now);
        }
        down
    }

    /// It asked for rest. `true`: that changed how it stands.
    pub fn rests(&mut self, now: Moment, span: Duration) -> bool {
        let news = self.rest(now).is_none();
        let until = now + span;
        self.rests_until = Some(self.rests_until.map_or(until, |u| u.max(until)));
        if news {
            self.since = now;
        }
        news
    }

    /// Its time is over: a rest that has passed, or a peer that INVITEs found down and that only
    /// another INVITE can find up. `true`: that changed how it stands.
    pub fn look_again(&mut self, now: Moment, patience: Ping) -> bool {
        let rested = self.rests_until.is_some_and(|until| until.mono <= now.mono);
        if rested {
            self.rests_until = None;
            self.since = now;
        }
        let on_trial = self.down && !self.answers_pings && now - self.since >= ON_TRIAL_AFTER;
        if on_trial {
            // One more failure is enough.
            (self.down, self.since) = (false, now);
            self.failures = patience.fail_after.saturating_sub(1);
        }
        rested && !self.down || on_trial
    }
}

/// All addresses of all trunks, by the trunks' places in the plan.
#[derive(Debug, Default)]
pub struct Peers {
    trunks: Vec<Vec<Peer>>,
    named: u32,
}

impl Peers {
    /// No address yet, for so many trunks.
    pub fn new(trunks: usize) -> Self {
        Self { trunks: vec![Vec::new(); trunks], named: 0 }
    }

    /// Takes where a trunk's names lead now. What is known of an address stays; the names of new
    /// ones are given back. Past the limit the last ones are not taken.
    pub fn learn(&mut self, now: Moment, trunk: usize, places: Vec<Place>) -> Vec<u32> {
        let Some(known) = self.trunks.get_mut(trunk) else { return Vec::new() };
        let mut before = std::mem::take(known);
        let mut new = Vec::new();
        for place in places {
            let same =
                |p: &Peer| (p.place.transport, p.place.address) == (place.transport, place.address);
            if known.len() >= PLACES || known.iter().any(same) {
                continue;
            }
            match before.iter().position(same).map(|at| before.swap_remove(at)) {
                Some(peer) => known.push(Peer { place, ..peer }),
                None => {
                    self.named = self.named.wrapping_add(1);
                    new.push(self.named);
                    known.push(Peer {
                        id: self.named,
                        place,
                        since: now,
                        rtt: None,
                        pinged: (0, 0),
                        answers_pings: false,
                        is_asked: false,
                        asked: None,
                        down: false,
                        rests_until: None,
                        failures: 0,
                        answers: 0,
                    });
                }
            }
        }
        new
    }

    /// Another plan with so many trunks: what is known goes from old places to new ones.
    pub fn carry(&mut self, trunks: usize, moved: impl Iterator<Item = (usize, usize)>) {
        let mut known = std::mem::replace(&mut self.trunks, vec![Vec::new(); trunks]);
        for (from, to) in moved {
            if let (Some(from), Some(to)) = (known.get_mut(from), self.trunks.get_mut(to)) {
                *to = std::mem::take(from);
            }
        }
    }

    /// The addresses of a trunk, as they were learnt.
    pub fn of(&self, trunk: usize) -> &[Peer] {
        self.trunks.get(trunk).map_or(&[], Vec::as_slice)
    }

    /// An address by its name, with its trunk.
    pub fn named(&mut self, id: u32) -> Option<(usize, &mut Peer)> {
        let mut all = self.trunks.iter_mut().enumerate();
        all.find_map(|(trunk, peers)| Some((trunk, peers.iter_mut().find(|p| p.id == id)?)))
    }

    /// An address of a trunk for which no time is set to ask it; from now on one is.
    pub fn not_asked(&mut self, trunk: usize) -> Option<u32> {
        let peer = self.trunks.get_mut(trunk)?.iter_mut().find(|p| !p.is_asked)?;
        peer.is_asked = true;
        Some(peer.id)
    }

    /// An address of a trunk.
    pub fn at(
        &mut self,
        trunk: usize,
        transport: Transport,
        address: SocketAddr,
    ) -> Option<&mut Peer> {
        let mut peers = self.trunks.get_mut(trunk)?.iter_mut();
        peers.find(|p| p.place.transport == transport && p.place.address == address)
    }

    /// The addresses of a trunk in the order in which a call tries them: those that are up by
    /// priority, and by weight where that is equal; then those that are down. Those that want rest
    /// are left out.
    pub fn in_order(&self, trunk: usize, now: Moment, random: u64) -> Vec<&Place> {
        let standing = |p: &&Peer| (p.standing(now), p.place.priority);
        let mut left: Vec<&Peer> = self.of(trunk).iter().collect();
        left.retain(|p| p.standing(now) != Standing::Resting);
        left.sort_by_key(standing);
        let mut dice = random;
        let mut order = Vec::with_capacity(left.len());
        while let Some(best) = left.first().map(standing) {
            let alike = left.partition_point(|p| standing(p) == best);
            let lots = left.iter().take(alike).map(|p| share(&p.place));
            let lot = dice % lots.clone().sum::<u64>().max(1);
            dice = dice.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut passed = 0;
            let ends = lots.map(|share| {
                passed += share;
                passed
            });
            let drawn = ends.take_while(|end| *end <= lot).count();
            order.push(&left.remove(drawn.min(alike - 1)).place);
        }
        order
    }
}

/// An address's share among those of its priority. Weight 0 is for the case that all are alike;
/// beside others it is hardly ever drawn (RFC 2782).
fn share(place: &Place) -> u64 {
    u64::from(place.weight) * 256 + 1
}

/// What a request to an address has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered.
    Answered,
    /// It did not, or with 503.
    Failed,
    /// It asked not to be called for so long.
    Rest(Duration),
}

impl Verdict {
    /// What a final response shows. A 503 without `Retry-After` is as good as 500 for the call
    /// (RFC 3261, 21.5.4) and a failure of the address.
    pub fn of(response: &Message, rest_max_s: u32) -> Self {
        if response.code() != 503 {
            return Self::Answered;
        }
        // After the seconds there may be parameters and a comment (RFC 3261, 20.33).
        let value = response.value(Name::RetryAfter).unwrap_or_default();
        let seconds = value.split(|b| !b.is_ascii_digit()).next().and_then(number);
        let asked = seconds.unwrap_or_default();
        match asked.min(rest_max_s) {
            0 => Self::Failed,
            seconds => Self::Rest(Duration::from_secs(seconds.into())),
        }
    }
}

impl Core {
    /// Notes what an INVITE has shown of an address. Only rest counts for one that OPTIONS judge.
    pub fn judge(
        &mut self,
        now: Moment,
        trunk: usize,
        (transport, address): (Transport, SocketAddr),
        verdict: Verdict,
        notes: &mut Vec<Note>,
    ) {
        let Some(peer) = self.peers.at(trunk, transport, address) else { return };
        let (id, rests) = (peer.id, matches!(verdict, Verdict::Rest(_)));
        if rests || !peer.answers_pings {
            // One answered call is proof enough.
            let ping = Ping { ok_after: 1, ..self.plan.ping_of(trunk) };
            self.take_verdict(now, (id, ping), verdict, notes);
        }
    }

    /// Notes what OPTIONS have shown of an address.
    pub fn judge_ping(&mut self, now: Moment, id: u32, verdict: Verdict, notes: &mut Vec<Note>) {
        if let Some((trunk, _)) = self.peers.named(id) {
            self.take_verdict(now, (id, self.plan.ping_of(trunk)), verdict, notes);
        }
    }

    fn take_verdict(
        &mut self,
        now: Moment,
        (id, ping): (u32, Ping),
        verdict: Verdict,
        notes: &mut Vec<Note>,
    ) {
        let Some((_, peer)) = self.peers.named(id) else { return };
        let (changed, wait) = match verdict {
            Verdict::Rest(span) => (peer.rests(now, span), Some(span)),
            Verdict::Answered => (peer.answered(now, ping), None),
            Verdict::Failed => (peer.failed(now, ping), Some(ON_TRIAL_AFTER)),
        };
        if changed {
            if let Some(wait) = wait {
                self.alarms.set(now, wait, Alarm::Rested(id));
            }
            self.tell_standing(now, id, notes);
        }
    }

    /// The rest of an address may be over.
    pub fn peer_rested(&mut self, now: Moment, id: u32, notes: &mut Vec<Note>) {
        let Some((trunk, peer)) = self.peers.named(id) else { return };
        if let Some(left) = peer.rest(now) {
            return self.alarms.set(now, left, Alarm::Rested(id));
        }
        if peer.look_again(now, self.plan.ping_of(trunk)) {
            self.tell_standing(now, id, notes);
        }
    }

    /// A line in the log: an address stands otherwise than before.
    pub fn tell_standing(&mut self, now: Moment, id: u32, notes: &mut Vec<Note>) {
        let Some((trunk, peer)) = self.peers.named(id) else { return };
        let name = self.plan.trunks.get(trunk).map_or("", |t| t.name.as_str());
        let rest = peer.rest(now).map(|r| format!(" for {} s", r.as_secs())).unwrap_or_default();
        let (standing, address) = (peer.standing(now).name(), peer.place.address);
        notes.push(Note {
            call: None,
            text: format!("trunk {name}: {address} is {standing}{rest}"),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Ping = Ping { interval_s: 30, fail_after: 3, ok_after: 2 };

    fn at(s: u64) -> Moment {
        Moment::new(s * 1_000_000_000, 0)
    }

    fn place(last: u8, priority: u16, weight: u16) -> Place {
        let address = SocketAddr::from(([192, 0, 2, last], 5060));
        Place { priority, weight, ..Place::new(Transport::Udp, address) }
    }

    fn first(peers: &Peers, now: Moment, random: u64) -> String {
        let order = peers.in_order(0, now, random);
        order.iter().map(|p| p.address.ip().to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn priority_goes_before_weight_and_weight_is_a_share() {
        let mut peers = Peers::new(1);
        peers.learn(at(0), 0, vec![place(1, 10, 75), place(2, 10, 25), place(3, 0, 0)]);
        let firsts: Vec<_> = (0..4000).map(|n| first(&peers, at(1), n * 7919)).collect();
        assert!(firsts.iter().all(|o| o.starts_with("192.0.2.3 ")));
        let one = firsts.iter().filter(|o| o.contains(".3 192.0.2.1 ")).count();
        assert!((2850..3150).contains(&one), "{one} of 4000, 3000 wanted");
    }

    #[test]
    fn addresses_without_weights_share_evenly() {
        let mut peers = Peers::new(1);
        peers.learn(at(0), 0, vec![place(1, 0, 0), place(2, 0, 0)]);
        let one = (0..4000).filter(|n| first(&peers, at(1), n * 7919).starts_with("192.0.2.1"));
        let one = one.count();
        assert!((1850..2150).contains(&one), "{one}");
    }

    #[test]
    fn down_goes_last_and_resting_not_at_all() {
        let mut peers = Peers::new(1);
        peers.learn(at(0), 0, vec![place(1, 0, 0), place(2, 1, 0), place(3, 2, 0)]);
        let one = peers.at(0, Transport::Udp, "192.0.2.1:5060".parse().unwrap()).unwrap();
        assert!(!one.failed(at(1), PATIENCE) && !one.failed(at(1), PATIENCE));
        assert!(one.failed(at(1), PATIENCE), "the third");
        assert!(!one.failed(at(1), PATIENCE), "no news");
        assert_eq!(first(&peers, at(2), 5), "192.0.2.2 192.0.2.3 192.0.2.1");
        let two = peers.at(0, Transport::Udp, "192.0.2.2:5060".parse().unwrap()).unwrap();
        assert!(two.rests(at(2), Duration::from_secs(10)));
        assert_eq!(first(&peers, at(3), 5), "192.0.2.3 192.0.2.1");
        assert_eq!(first(&peers, at(12), 5), "192.0.2.2 192.0.2.3 192.0.2.1");
    }

    #[test]
    fn what_is_known_survives_a_new_look_up() {
        let mut peers = Peers::new(1);
        assert_eq!(peers.learn(at(0), 0, vec![place(1, 0, 0), place(2, 0, 0)]), [1, 2]);
        for _ in 0..3 {
            peers.named(1).unwrap().1.failed(at(1), PATIENCE);
        }
        let new = peers.learn(at(60), 0, vec![place(3, 0, 0), place(1, 5, 0), place(1, 6, 0)]);
        assert_eq!(new, [3]);
        let one = peers.named(1).unwrap().1;
        assert_eq!(
            (one.standing(at(61)), one.since, one.place.priority),
            (Standing::Down, at(1), 5)
        );
        assert!(peers.named(2).is_none());
        assert_eq!(peers.of(0).len(), 2);
    }

    #[test]
    fn who_never_answered_options_gets_another_trial() {
        let mut peers = Peers::new(1);
        peers.learn(at(0), 0, vec![place(1, 0, 0)]);
        let one = peers.named(1).unwrap().1;
        for _ in 0..3 {
            one.failed(at(1), PATIENCE);
        }
        assert!(!one.look_again(at(2), PATIENCE));
        assert!(one.look_again(at(2) + ON_TRIAL_AFTER, PATIENCE));
        assert_eq!(one.standing(at(200)), Standing::Up);
        assert!(one.failed(at(200), PATIENCE), "one failure is enough now");
        one.answers_pings = true;
        assert!(!one.look_again(at(9000), PATIENCE), "OPTIONS will tell");
        assert!(!one.answered(at(9001), PATIENCE));
        assert!(one.answered(at(9002), PATIENCE), "the second in a row");
    }
}
