//! What must hold, whatever the network does: of each message, of each call, of the whole at rest.

mod session;

use std::collections::{BTreeMap, BTreeSet};

use cooee_model::account::Account;
use cooee_model::fact::{Fact, What};
use cooee_model::ids::{CallId, Side};
use cooee_signalling::switch::Gauges;

use crate::log::{Group, Way};
use crate::script::{GIVE_UP, SECOND};
use crate::sip::Msg;
use crate::ua::{State, Ua};
use crate::world::Met;

/// How long after the end of one side the other may still believe in the call: 64*T1 for a BYE
/// that has to wait for an ACK, 64*T1 for the BYE itself, and the slowest datagram.
pub const CONVERGE: u64 = 2 * GIVE_UP + 6 * SECOND;

/// How long after its interval a session may still be believed in: a refresh whose answers were
/// all lost is known to one side alone.
pub const WATCH: u64 = GIVE_UP + 6 * SECOND;

/// A request that was sent until its timer has been sent at least this often.
const STUBBORN: u32 = 7;

/// Every mark of A's identity: none may reach B.
const SECRETS: [&str; 4] = ["secret", "Secret", "+612800", "192.0.2.10"];

/// What the journal has of one call.
#[derive(Debug, Default)]
struct Paper {
    call: usize,
    next: u32,
    forwarded: BTreeSet<String>,
    ringing: bool,
    answered: bool,
    ended: bool,
    gone: bool,
    imaged: bool,
    /// What the journal has of the end and of the forgetting; a crash leaves no more.
    kept: (bool, bool),
    /// Records of it were lost, and whether a restart has not shown yet from where it goes on.
    torn: bool,
    loose: bool,
}

/// Final responses by transaction: status, To tag, when.
type Finals = BTreeMap<(bool, String, String), (u16, String, u64)>;

/// What the checkers remember.
#[derive(Debug, Default)]
pub struct Ledger {
    papers: BTreeMap<CallId, Paper>,
    by_call: BTreeMap<usize, Vec<CallId>>,
    finals: Finals,
    /// When the switch was last started anew.
    pub restarted: u64,
    pub bypass: bool,
    /// Sides that speak TCP: there nothing but a 2xx is sent twice.
    pub streams: BTreeSet<Side>,
    pub faults: Vec<(usize, String)>,
}

impl Ledger {
    fn fault(&mut self, call: usize, text: impl Into<String>) {
        self.faults.push((call, text.into()));
    }

    /// The call number that an id stands for.
    pub fn call_of(&self, id: CallId) -> Option<usize> {
        self.papers.get(&id).map(|p| p.call)
    }

    // ---------------------------------------------------------------- the journal

    /// A fact: its place, and that it comes once.
    pub fn fact(&mut self, fact: &Fact, lost: bool) -> Option<usize> {
        if let What::Invited { sip_call_id, .. } = &fact.what {
            let call = sip_call_id.strip_prefix("secret-").and_then(|n| n.parse().ok())?;
            self.by_call.entry(call).or_default().push(fact.call);
            let paper = Paper { call, ..Paper::default() };
            self.papers.insert(fact.call, paper);
            // A copy that comes when a crash has taken the transaction is a call of its own.
            let others = self.by_call[&call].iter().filter(|id| **id != fact.call);
            let twice = |p: &Paper| self.restarted == 0 || !p.ended && !p.torn;
            if others.clone().any(|id| twice(&self.papers[id])) {
                self.fault(call, "one INVITE became two calls");
            }
        }
        let Some(paper) = self.papers.get_mut(&fact.call) else {
            self.fault(0, format!("a fact of a call that never began: {fact:?}"));
            return None;
        };
        let mut faults = Vec::new();
        paper.torn |= lost;
        if fact.seq != paper.next && !std::mem::take(&mut paper.loose) {
            faults.push(format!("fact {} where {} is next", fact.seq, paper.next));
        }
        if paper.gone {
            faults.push("a fact after the call was forgotten".to_owned());
        }
        paper.next = fact.seq + 1;
        match &fact.what {
            What::Forwarded { sip_call_id, .. } => {
                paper.forwarded.insert(sip_call_id.clone());
            }
            What::Ringing { .. } => paper.ringing = true,
            What::PlatformAnswered {} => paper.answered = true,
            What::Ended { account } => {
                if std::mem::replace(&mut paper.ended, true) {
                    faults.push("ended twice: two CDRs".to_owned());
                }
                paper.kept.0 |= !lost;
                faults.extend(moments(account));
            }
            _ => {}
        }
        let call = paper.call;
        self.faults.extend(faults.into_iter().map(|f| (call, f)));
        Some(call)
    }

    pub fn snapshot(&mut self, id: CallId, lost: bool) {
        if let Some(paper) = self.papers.get_mut(&id) {
            paper.imaged = true;
            paper.torn |= lost;
            if paper.gone {
                let call = paper.call;
                self.fault(call, "an image after the call was forgotten");
            }
        }
    }

    pub fn gone(&mut self, id: CallId, lost: bool) {
        let Some(paper) = self.papers.get_mut(&id) else { return };
        let (call, again, early) = (paper.call, paper.gone, !paper.ended);
        paper.gone = true;
        paper.torn |= lost;
        paper.kept.1 |= !lost;
        if again || early {
            self.fault(call, "forgotten twice, or before its end");
        }
    }

    /// The node dies: what was not kept never happened.
    pub fn crashed(&mut self, now: u64) {
        self.restarted = now;
        for paper in self.papers.values_mut().filter(|p| p.torn) {
            (paper.ended, paper.gone) = paper.kept;
            paper.loose = true;
        }
    }

    /// All that is alive is in the journal again; what is over stays so.
    pub fn checkpoint(&mut self) {
        for paper in self.papers.values_mut() {
            paper.kept = (paper.ended, paper.gone);
        }
    }

    /// Whether records of a call were lost.
    fn is_torn(&self, call: usize) -> bool {
        let ids = self.by_call.get(&call).into_iter().flatten();
        ids.filter_map(|id| self.papers.get(id)).any(|p| p.torn)
    }

    // ---------------------------------------------------------------- the wire

    /// A message of the switch. The records of the same step are on paper already.
    pub fn sent(&mut self, call: usize, side: Side, m: &Msg<'_>, now: u64, met: &Met) {
        if side == Side::B {
            let media = (!self.bypass).then_some("192.0.2.11");
            if let Some(mark) = SECRETS.into_iter().chain(media).find(|s| m.text.contains(s)) {
                self.fault(call, format!("B sees {mark} of A: {}", m.text));
            }
        }
        if !m.is_request() {
            self.one_final(call, side, m, (now, met.legs[0].invite_cseq()));
        }
        if let Some(missing) = self.behind(call, side, m, met) {
            self.fault(call, format!("{} left before {missing} was on paper", m.title()));
        }
    }

    /// At most one final response to a request, and nothing provisional after it.
    fn one_final(&mut self, call: usize, side: Side, m: &Msg<'_>, (now, opening): (u64, u32)) {
        let key = (side == Side::A, m.branch.to_owned(), m.method.to_owned());
        let Some((code, tag, at)) = self.finals.get(&key) else {
            if m.code >= 200 {
                self.finals.insert(key, (m.code, m.to_tag.to_owned(), now));
            }
            return;
        };
        // A copy that comes after the transaction's life, or a crash, is a new request.
        // So is one that came before the answer that made the dialog.
        let opens = side == Side::A && m.cseq == opening;
        let late =
            (m.method != "INVITE" || !opens) && (now - at > GIVE_UP - SECOND || *code == 481);
        // A proof holds once: a copy of what was refused without a call is challenged anew.
        let asked = m.method == "INVITE" && (m.code == 401 || *code == 401) && m.code >= 300;
        if late || asked || self.restarted > *at {
            return;
        }
        if (m.code, m.to_tag) != (*code, tag.as_str()) {
            let text = format!("{} after {code} for one {}", m.code, m.method);
            self.fault(call, text);
        }
    }

    /// The write-ahead rule: what a message makes true has been written.
    fn behind(&self, call: usize, side: Side, m: &Msg<'_>, met: &Met) -> Option<&'static str> {
        let id = self.by_call.get(&call).and_then(|ids| ids.last());
        let Some(paper) = id.and_then(|id| self.papers.get(id)) else {
            let stateless = m.code >= 300 || m.code == 200 && m.method != "INVITE";
            return (!stateless).then_some("the call");
        };
        if paper.torn {
            return None;
        }
        // A second answer of a fork is ended without ending the call.
        let one_b = met.legs.len() <= 2 && met.scripts[0].answer.forks.is_empty();
        let missing = |there: bool, what| (!there).then_some(what);
        let opens = m.cseq == met.legs[0].invite_cseq();
        match (side, m.method, m.code) {
            (Side::B, "INVITE", 0) if m.to_tag.is_empty() => {
                missing(paper.forwarded.contains(m.call_id) && paper.imaged, "Forwarded")
            }
            // Where nothing has rung for long, A is told so that it waits (RFC 3261, 13.3.1.1).
            (Side::A, "INVITE", 183) if !rang(met) => None,
            (Side::A, "INVITE", 180..=189) if opens => missing(paper.ringing, "Ringing"),
            (Side::A, "INVITE", 200..=299) if opens => missing(paper.answered, "PlatformAnswered"),
            (Side::A, "INVITE", 300..) if opens => missing(paper.ended, "Ended"),
            (Side::A, "BYE", 0 | 200) => missing(paper.ended, "Ended"),
            (Side::B, "BYE", 0 | 200) if one_b => missing(paper.ended, "Ended"),
            _ => None,
        }
    }

    // ---------------------------------------------------------------- both legs

    /// Some time after one side has ended: so has the other, or the network took every copy of
    /// what would have told it.
    pub fn converged(&mut self, call: usize, met: &Met, now: u64) {
        if self.is_torn(call) {
            // Then each side ends by itself, in the end.
            let talks = |l: &&Ua| l.is_open() && l.state != State::Setup;
            let open = met.legs.iter().find(talks).filter(|_| now == u64::MAX);
            if let Some(leg) = open {
                let (side, state) = (leg.side, leg.state);
                self.fault(call, format!("{side} believes for ever: {state:?}"));
            }
            return;
        }
        self.one_callee(call, met, now);
        let a_gone = met.legs[0].state == State::Gone;
        let b_gone = met.legs.len() > 1 && met.legs[1..].iter().all(|l| l.state == State::Gone);
        let over = |gone: bool, legs: &[Ua]| {
            let last = legs.iter().map(|l| l.since).max().unwrap_or_default();
            // A copy of the INVITE became a call of its own when a crash had taken the first, which
            // was over: that one has to ring and to be given up.
            let calls = self.by_call.get(&call).map_or(1, Vec::len);
            let patience = if calls > 1 { 3 * CONVERGE } else { CONVERGE };
            gone && last.saturating_add(patience) <= now
        };
        if !over(a_gone, &met.legs[..1]) && !over(b_gone, &met.legs[1..]) {
            return;
        }
        for leg in met.legs.iter().filter(|l| l.is_open()) {
            if leg.since + CONVERGE > now && leg.state != State::Up {
                continue;
            }
            let told = |g: &Group| {
                let to_it = g.way == Way::FromSwitch(leg.side) && g.call_id == leg.call_id;
                let from_other = g.way == Way::ToSwitch(leg.side.other());
                let ends = matches!(g.method.as_str(), "BYE" | "CANCEL") && g.code == 0;
                let final_answer = g.method == "INVITE" && g.code >= 200;
                // It has hung up by saying that it knows no such dialog.
                let ends = ends || from_other && final_answer && g.code == 481;
                let answered = from_other && final_answer && leg.state == State::Setup;
                self.is_stubborn(g)
                    && (to_it && (ends || final_answer) || from_other && ends || answered)
            };
            // Without a provisional response no CANCEL may be sent (RFC 3261, 9.1), and one that
            // comes after timer B finds no INVITE.
            let opens = |g: &&Group| {
                g.way == Way::FromSwitch(Side::B)
                    && g.call_id == leg.call_id
                    && g.method == "INVITE"
                    && g.code == 0
            };
            let invite = met.log.groups.iter().rfind(opens);
            let timer_b = invite.map_or(0, |g| g.began + GIVE_UP);
            let heard = |g: &&Group| {
                g.way == Way::ToSwitch(leg.side)
                    && invite.is_some_and(|i| i.branch == g.branch)
                    && g.code >= 100
                    && g.came.is_some_and(|at| at < timer_b)
            };
            let mute = leg.side == Side::B
                && leg.state == State::Setup
                && !met.log.groups.iter().any(|g| heard(&g));
            // A final response that a crash cut short is not sent again: A gives up by itself.
            let cut = leg.state == State::Setup && self.restarted > 0;
            let unproven = met.log.groups.iter().any(|g| self.is_unheard_challenge(g, leg, met));
            if !met.log.took_all(told) && !mute && !cut && !unproven {
                let (side, state) = (leg.side, leg.state);
                return self.fault(call, format!("{side} still believes in the call: {state:?}"));
            }
        }
    }

    /// Whether a message has been sent as often as its sender could.
    fn is_stubborn(&self, g: &Group) -> bool {
        let (Way::ToSwitch(side) | Way::FromSwitch(side)) = g.way;
        g.sent >= STUBBORN || self.streams.contains(&side)
    }

    /// A leg wants proof of the BYE that it heard, and nobody hears that in time.
    fn is_unheard_challenge(&self, g: &Group, leg: &Ua, met: &Met) -> bool {
        let in_vain = |bye: &Group| {
            let until = bye.began + GIVE_UP;
            bye.branch == g.branch
                && bye.code == 0
                && self.is_stubborn(bye)
                && g.came.is_none_or(|at| at >= until)
        };
        g.way == Way::ToSwitch(leg.side)
            && g.method == "BYE"
            && matches!(g.code, 401 | 407)
            && met.log.groups.iter().any(in_vain)
    }

    /// Never are two callees left with an answered call.
    fn one_callee(&mut self, call: usize, met: &Met, now: u64) {
        let talks = |l: &&Ua| {
            l.is_open()
                && matches!(l.state, State::Up | State::Answered)
                && l.since.saturating_add(CONVERGE) <= now
                && !met.log.groups.iter().any(|g| self.is_unheard_challenge(g, l, met))
        };
        let ends = |g: &Group| {
            g.way == Way::FromSwitch(Side::B) && g.method == "BYE" && self.is_stubborn(g)
        };
        if met.legs[1..].iter().filter(talks).count() > 1 && !met.log.took_all(ends) {
            self.fault(call, "two callees are left with one call");
        }
    }

    // ---------------------------------------------------------------- the whole

    /// Nothing grows without bound.
    pub fn bounded(&mut self, gauges: &Gauges, calls: usize, images: &BTreeMap<CallId, Vec<u8>>) {
        let (servers, clients) = gauges.transactions;
        let leases = 2 * (gauges.calls + gauges.settling);
        if gauges.calls > calls || servers + clients > 40 * calls || gauges.leases > leases {
            self.fault(0, format!("out of bounds: {gauges:?}"));
        }
        if images.len() > calls || images.values().any(|i| i.len() > 16_384) {
            self.fault(0, "images out of bounds");
        }
    }

    /// At rest nothing is left, and every call has one account.
    pub fn at_rest(&mut self, gauges: &Gauges, calls: &[Met], images: &BTreeMap<CallId, Vec<u8>>) {
        for (call, met) in calls.iter().enumerate() {
            self.converged(call, met, u64::MAX);
        }
        let open = self.papers.values().filter(|p| !p.torn && (!p.ended || !p.gone));
        let open: Vec<_> = open.map(|p| (p.call, p.ended)).collect();
        for (call, ended) in open {
            let what = if ended { "never forgotten" } else { "no CDR" };
            self.fault(call, format!("at rest: {what}"));
        }
        let left = gauges.calls + gauges.leases + gauges.transactions.0 + gauges.transactions.1;
        if left + images.len() > 0 {
            self.fault(0, format!("at rest: {gauges:?}, {} images", images.len()));
        }
    }
}

/// Whether B has been heard to ring.
fn rang(met: &Met) -> bool {
    let rings = |g: &Group| {
        g.way == Way::ToSwitch(Side::B) && g.method == "INVITE" && (180..190).contains(&g.code)
    };
    met.log.groups.iter().any(|g| rings(g) && g.arrived > 0)
}

/// The moments of an account follow one another.
fn moments(account: &Account) -> Option<String> {
    let t = &account.times;
    let line = [Some(t.invite), t.invite_out, t.b_100, t.b_18x, t.b_200, t.agent, t.bridge, t.end];
    let known: Vec<u64> = line.into_iter().flatten().map(|m| m.mono).collect();
    (!known.is_sorted()).then(|| format!("moments out of order: {t:?}"))
}
