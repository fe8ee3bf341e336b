//! The spine: what has been committed, taken to telemetry and the log by a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{Builder, JoinHandle};

use cooee_model::fact::{Fact, Refusal, Rejected, What};
use cooee_signalling::call::context::Note;
use cooee_telemetry::Telemetry;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::error::Error;

/// Most things that wait to be told. Past it they are dropped here and counted; the journal, and
/// so the CDR, has them all the same.
const WAITING: usize = 65_536;

/// One thing to tell.
#[derive(Debug)]
pub enum Told {
    /// A fact, committed.
    Fact(Box<Fact>),
    /// A request refused, and how many before it are not told.
    Rejected(Rejected, u64),
    /// A line for the log.
    Note(Note),
}

/// The engine's end of the spine.
#[derive(Clone, Debug)]
pub struct Spine {
    sender: Sender<Told>,
    dropped: Arc<AtomicU64>,
}

impl Spine {
    /// Starts the thread that tells.
    ///
    /// # Errors
    /// If the kernel has no thread left.
    pub fn start(telemetry: Arc<Telemetry>) -> Result<(Self, JoinHandle<()>), Error> {
        let (sender, receiver) = bounded(WAITING);
        let thread =
            Builder::new().name("spine".into()).spawn(move || tell_all(&receiver, &telemetry))?;
        Ok((Self { sender, dropped: Arc::default() }, thread))
    }

    /// Tells one thing; never blocks.
    pub fn tell(&self, told: Told) {
        if self.sender.try_send(told).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// How many things were dropped because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

fn tell_all(receiver: &Receiver<Told>, telemetry: &Telemetry) {
    for told in receiver {
        match told {
            Told::Fact(fact) => {
                telemetry.observe(&fact);
                log(&fact);
            }
            Told::Rejected(Rejected { source, code, why, .. }, held_back) => {
                tracing::warn!(%source, code, why = why.name(), held_back, "refused");
            }
            Told::Note(Note { call: Some(call), text }) => tracing::info!(%call, "{text}"),
            Told::Note(Note { call: None, text }) => tracing::info!("{text}"),
        }
    }
}

/// One line per state change, with the call, both Call-IDs and the trunk where they are known.
fn log(fact: &Fact) {
    let (call, seq) = (fact.call, fact.seq);
    match &fact.what {
        What::Invited { trunk, source, sip_call_id, .. } => {
            tracing::info!(%call, seq, trunk, source, sip_call_id, "invited");
        }
        What::Forwarded { trunk, route, role, did_rule, attempt, sip_call_id, .. } => {
            tracing::info!(
                %call, seq, trunk, route, %role, did_rule, attempt, sip_call_id, "forwarded"
            );
        }
        What::Ringing { code, early_media } => {
            tracing::info!(%call, seq, code, early_media, "ringing");
        }
        What::PlatformAnswered {} => tracing::info!(%call, seq, "platform answered"),
        What::AgentAnswered { source, err_ms, agent } => {
            tracing::info!(%call, seq, %source, err_ms, agent, "agent answered");
        }
        What::Bridged {} => tracing::info!(%call, seq, "bridged"),
        What::Held { by } => tracing::info!(%call, seq, %by, "held"),
        What::Resumed { by } => tracing::info!(%call, seq, %by, "resumed"),
        What::Ended { account } => {
            let (outcome, party) = (account.outcome, account.end_party);
            let (code, reason) = (account.sip_final, &account.reason);
            tracing::info!(%call, seq, %outcome, %party, code, reason, "ended");
        }
        What::PortalLinked { portal, portal_call_id } => {
            tracing::info!(%call, seq, portal, portal_call_id, "portal call found");
        }
        What::Amended { account } => {
            let (outcome, source) = (account.outcome, account.answer_source);
            tracing::info!(%call, seq, %outcome, %source, "amended");
        }
        What::Measured { a, b } => {
            tracing::debug!(%call, seq, a.packets, a.lost, b.packets, b.lost, "measured");
        }
        What::Sampled { a, b } => {
            let (a, b) = (a.mos(), b.mos());
            tracing::debug!(%call, seq, mos_a = a, mos_b = b, "sampled");
        }
        What::TransferAsked { side, target } => {
            tracing::info!(%call, seq, %side, target, "transfer asked for");
        }
        What::TransferEnded { code, why } => {
            tracing::info!(%call, seq, code, why, "transfer ended");
        }
        What::Revived { .. } => tracing::info!(%call, seq, "call goes on after a restart"),
        What::MediaStarted { side } => tracing::debug!(%call, seq, %side, "media started"),
    }
}

/// A flood of refusals is one line a second with a count, not a line each: it must not keep the
/// spine's thread busy either.
#[derive(Debug, Default)]
pub struct Refusals {
    second: u64,
    held_back: u64,
}

impl Refusals {
    /// What to tell of one that has been counted: nothing, as a rule.
    pub fn told(&mut self, rejected: Rejected) -> Option<Told> {
        if rejected.why == Refusal::Challenged {
            return None;
        }
        let second = rejected.at.mono / 1_000_000_000;
        if second == self.second {
            self.held_back += 1;
            return None;
        }
        self.second = second;
        Some(Told::Rejected(rejected, std::mem::take(&mut self.held_back)))
    }
}

#[cfg(test)]
mod tests {
    use cooee_model::moment::Moment;

    use super::*;

    #[test]
    fn a_flood_of_refusals_is_a_line_a_second() {
        let mut refusals = Refusals::default();
        let mut told = |ms: u64, why| {
            let at = Moment::new(ms * 1_000_000, 0);
            let source = ([127, 0, 0, 1], 5060).into();
            match refusals.told(Rejected { at, source, code: 503, why }) {
                Some(Told::Rejected(rejected, held_back)) => Some((rejected.why, held_back)),
                _ => None,
            }
        };
        assert_eq!(told(1000, Refusal::Limit), Some((Refusal::Limit, 0)));
        for ms in 1001..1100 {
            assert_eq!(told(ms, Refusal::Overload), None);
        }
        assert_eq!(told(2000, Refusal::Challenged), None, "that is no fault");
        assert_eq!(told(2001, Refusal::Policy), Some((Refusal::Policy, 99)));
    }
}
