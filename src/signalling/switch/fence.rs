//! Whether an INVITE proves what its trunk wants proven (RFC 3261, 22.2; RFC 8760).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use cooee_model::fact::{Refusal, Rejected};
use cooee_model::moment::Moment;
use secrecy::ExposeSecret;

use crate::call::context::Output;
use crate::leg::credentials::{Credentials, Nonce, challenges};
use crate::message::name::Name;
use crate::message::reply::response_to;
use crate::message::view::Message;
use crate::profile::fence::{DigestFence, Fence};
use crate::switch::Switch;
use crate::switch::limits::{
    GUESS_BACKOFF, GUESSERS, GUESSES, LONGEST_GUESS_BACKOFF, NONCE_LIFETIME, NONCES,
};
use crate::transaction::flow::Flow;

/// What is remembered of proofs: how far each nonce has been counted, and who guesses.
#[derive(Debug, Default)]
pub struct Proofs {
    /// Nonces that proved something, oldest first, with their last count.
    counted: BTreeMap<Nonce, u32>,
    /// Nonces from then and before are refused as stale: their counts may be forgotten.
    forgotten: Option<Nonce>,
    /// Wrong answers in succession, by source and user.
    guesses: BTreeMap<(IpAddr, String), Guesses>,
}

#[derive(Clone, Copy, Debug)]
struct Guesses {
    wrong: u32,
    until: Moment,
}

/// What came of a look at some credentials.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Proven,
    Ask { stale: bool },
    Refuse,
}

impl Proofs {
    /// Notes that a nonce is used for the `count`th time. `false`: it is too old, or was used so
    /// often before.
    fn count(&mut self, now: Moment, nonce: Nonce, count: u32) -> bool {
        let oldest = (now.mono / 1_000_000).saturating_sub(as_ms(NONCE_LIFETIME));
        while let Some(entry) = self.counted.first_entry()
            && entry.key().given_ms < oldest
        {
            entry.remove();
        }
        let known = self.counted.get(&nonce).copied().unwrap_or(0);
        let forgotten = self.forgotten.is_some_and(|f| nonce <= f);
        if nonce.given_ms < oldest || forgotten || count <= known {
            return false;
        }
        self.counted.insert(nonce, count);
        if self.counted.len() > NONCES {
            self.forgotten = self.counted.pop_first().map(|(nonce, _)| nonce);
        }
        true
    }

    /// Whether this user of this source has guessed too often to be listened to now.
    fn shuts_out(&self, now: Moment, source: IpAddr, user: &str) -> bool {
        let key = (source, user.to_owned());
        self.guesses.get(&key).is_some_and(|g| g.wrong >= GUESSES && now < g.until)
    }

    /// A wrong answer. `true`: the limit is reached.
    fn wrong(&mut self, now: Moment, source: IpAddr, user: &str) -> bool {
        if self.guesses.len() >= GUESSERS {
            self.guesses.retain(|_, g| now < g.until);
        }
        if self.guesses.len() >= GUESSERS {
            self.guesses.pop_first();
        }
        let none = Guesses { wrong: 0, until: now };
        let found = self.guesses.entry((source, user.to_owned())).or_insert(none);
        found.wrong = found.wrong.saturating_add(1);
        let over = found.wrong.saturating_sub(GUESSES).min(16);
        let wait = (GUESS_BACKOFF * (1 << over)).min(LONGEST_GUESS_BACKOFF);
        // Below the limit it is only how long the guess is remembered.
        found.until = now + if found.wrong < GUESSES { LONGEST_GUESS_BACKOFF } else { wait };
        found.wrong >= GUESSES
    }
}

fn as_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Switch {
    /// The trunk that an INVITE from the addresses of `trunk` has proven to come from. `None`: it
    /// has not, and has been answered.
    pub(super) fn proven(
        &mut self,
        now: Moment,
        received: Moment,
        flow: Flow,
        invite: &Message,
        trunk: usize,
        out: &mut Output,
    ) -> Option<usize> {
        let plan = self.core.plan.clone();
        let fence = plan.trunks.get(trunk).map(|t| &t.fence)?;
        let Fence::Digest(rules) = fence else {
            if fence.holds(invite) {
                return Some(trunk);
            }
            self.refuse(received, flow, invite, (403, Refusal::Unauthorized), out);
            return None;
        };
        let Some(given) = Credentials::read(invite, &rules.realm) else {
            self.challenge(now, received, flow, (invite, rules, false), out);
            return None;
        };
        // Lines of one carrier share its addresses: the login says which line it is.
        let line = self.line_of(&given.user, &rules.realm, flow.remote.ip(), trunk);
        let found = line.and_then(|at| plan.trunks.get(at)).map(|t| &t.fence);
        let rules = if let Some(Fence::Digest(rules)) = found { rules } else { rules };
        match self.judge(now, flow, invite, &given, rules) {
            Verdict::Proven => return line,
            Verdict::Ask { stale } => {
                self.challenge(now, received, flow, (invite, rules, stale), out);
            }
            Verdict::Refuse => {
                self.refuse(received, flow, invite, (403, Refusal::Unauthorized), out);
            }
        }
        None
    }

    fn judge(
        &mut self,
        now: Moment,
        flow: Flow,
        invite: &Message,
        given: &Credentials,
        rules: &DigestFence,
    ) -> Verdict {
        let source = flow.remote.ip().to_canonical();
        if self.proofs.shuts_out(now, source, &given.user) {
            return Verdict::Refuse;
        }
        let Some(nonce) = Nonce::read(&given.nonce, &self.core.keyed, &rules.realm) else {
            // Made up, or given before a restart.
            return Verdict::Ask { stale: true };
        };
        // A user that is not there costs the same time as one that is.
        let secret = rules.secret_of(&given.user).map_or("", |s| s.expose_secret());
        if !given.prove(secret, invite, rules) || secret.is_empty() {
            let over = self.proofs.wrong(now, source, &given.user);
            return if over { Verdict::Refuse } else { Verdict::Ask { stale: false } };
        }
        self.proofs.guesses.remove(&(source, given.user.clone()));
        match self.proofs.count(now, nonce, given.count) {
            true => Verdict::Proven,
            false => Verdict::Ask { stale: true },
        }
    }

    /// The trunk whose line a user is: `first`, or another one behind the same address.
    fn line_of(&self, user: &str, realm: &str, source: IpAddr, first: usize) -> Option<usize> {
        let knows = |at: &usize| {
            let fence = self.core.plan.trunks.get(*at).map(|t| &t.fence);
            matches!(fence, Some(Fence::Digest(rules))
                if rules.realm == realm && rules.secret_of(user).is_some())
        };
        let behind = |at: &usize| {
            let mut peers = self.core.peers.of(*at).iter();
            peers.any(|p| p.place.address.ip().to_canonical() == source)
        };
        let source = source.to_canonical();
        let others = (0..self.core.plan.trunks.len()).filter(|at| *at != first);
        let same_source = others.filter(|at| behind(at) || self.core.plan.allows(*at, source));
        std::iter::once(first).chain(same_source).find(knows)
    }

    /// 401 with a challenge; nothing is kept of it.
    fn challenge(
        &mut self,
        now: Moment,
        at: Moment,
        flow: Flow,
        (invite, rules, stale): (&Message, &DigestFence, bool),
        out: &mut Output,
    ) {
        let nonce = Nonce { given_ms: now.mono / 1_000_000, salt: self.core.random() };
        let nonce = nonce.text(&self.core.keyed, &rules.realm);
        let why = if stale || invite.value(Name::Authorization).is_none() {
            Refusal::Challenged
        } else {
            Refusal::Unauthorized
        };
        out.rejected.push(Rejected { at, source: flow.remote, code: 401, why });
        let tag = self.core.keyed.stateless_tag(invite);
        let mut writer = response_to(invite, flow.remote, 401, b"", &tag);
        for challenge in challenges(rules, &nonce, stale) {
            writer.header(Name::WwwAuthenticate, &[challenge.as_bytes()]);
        }
        let bytes = writer.finish(b"", b"");
        self.answer_stateless(flow, invite, bytes, out);
    }
}
