//! Reliable provisional responses (RFC 3262): both halves as values.
//!
//! As UAS we send one at a time, again and again until its PRACK ([`Sent`]). As UAC we take them in
//! order, each early dialog with numbers of its own ([`Got`]). The two legs of a call know nothing
//! of each other here.

use std::time::Duration;

use bytes::Bytes;

use crate::message::text::{elements, is_space, number, trim};
use crate::transaction::flow::Flow;
use crate::transaction::limits::Clock;

/// The option tag.
pub const TAG: &str = "100rel";

/// Most early dialogs of one INVITE that are told apart. Past it the oldest is forgotten.
pub const FORKS: usize = 8;

/// Which response a PRACK acknowledges: its RSeq, and the CSeq of its INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RAck {
    /// RSeq of the response.
    pub rseq: u32,
    /// CSeq of the INVITE.
    pub cseq: u32,
}

impl RAck {
    /// Reads `RAck: 776656 1 INVITE`.
    pub fn read(value: &[u8]) -> Option<Self> {
        let flat: Vec<u8> = value.iter().map(|&b| if is_space(b) { b' ' } else { b }).collect();
        let mut words = elements(&flat, b' ');
        let (rseq, cseq) = (number(words.next()?)?, number(words.next()?)?);
        (trim(words.next()?) == b"INVITE" && words.next().is_none()).then_some(Self { rseq, cseq })
    }

    /// The header's value.
    pub fn text(self) -> String {
        format!("{} {} INVITE", self.rseq, self.cseq)
    }
}

/// What we have sent reliably. One response waits at a time; after the first PRACK more could be
/// under way (RFC 3262, 3), but nobody gains by it.
#[derive(Debug, Default)]
pub struct Sent {
    last: u32,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    rack: RAck,
    bytes: Bytes,
    described: bool,
    wait: Duration,
    passed: Duration,
    silent: bool,
}

/// What a wake-up means.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing: acknowledged meanwhile, or the INVITE has its final response.
    Nothing,
    /// Send it again, and wake up after that long.
    Again(Bytes, Duration),
    /// 64*T1 without a PRACK: the INVITE is to be refused with a 5xx.
    GivenUp,
}

impl Sent {
    /// The RSeq of the next response: a random start from 1 to 2**31 - 1, then one more each.
    pub fn next(&mut self, random: u64) -> u32 {
        self.last = match self.last {
            0 => u32::try_from(random % 0x7fff_ffff).unwrap_or_default() + 1,
            last => last.wrapping_add(1),
        };
        self.last
    }

    /// A response with this number has been sent. How long to wait for its PRACK at first.
    /// `described`: it carries a session description.
    pub fn wait(&mut self, cseq: u32, bytes: Bytes, described: bool, clock: Clock) -> Duration {
        let rack = RAck { rseq: self.last, cseq };
        let (wait, passed) = (clock.t1, Duration::ZERO);
        self.waiting = Some(Waiting { rack, bytes, described, wait, passed, silent: false });
        wait
    }

    /// The wait for the response with this RSeq is over.
    pub fn due(&mut self, rseq: u32, clock: Clock) -> Due {
        let open = |w: &&mut Waiting| w.rack.rseq == rseq && !w.silent;
        let Some(waiting) = self.waiting.as_mut().filter(open) else { return Due::Nothing };
        waiting.passed += waiting.wait;
        let left = clock.give_up().saturating_sub(waiting.passed);
        if left.is_zero() {
            waiting.silent = true;
            return Due::GivenUp;
        }
        // No T2 here: the interval doubles to the end (RFC 3262, 3).
        waiting.wait = (waiting.wait * 2).min(left);
        Due::Again(waiting.bytes.clone(), waiting.wait)
    }

    /// Takes a PRACK. `None`: it fits nothing (481); else whether the response was described.
    pub fn acknowledged(&mut self, rack: RAck) -> Option<bool> {
        self.waiting.take_if(|w| w.rack == rack).map(|w| w.described)
    }

    /// The INVITE has its final response: no more copies, but a late PRACK is still taken.
    pub fn hush(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            waiting.silent = true;
        }
    }

    /// Whether a response waits for its PRACK.
    pub const fn is_open(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether that one carries a session description: no 2xx may overtake it.
    pub fn is_described(&self) -> bool {
        self.waiting.as_ref().is_some_and(|w| w.described)
    }
}

/// What we have got reliably, by early dialog.
#[derive(Debug, Default)]
pub struct Got {
    forks: Vec<Fork>,
}

#[derive(Debug)]
struct Fork {
    tag: Vec<u8>,
    rseq: u32,
    prack: Option<(Flow, Bytes)>,
}

/// What a reliable response is.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// The next one: to be looked at and acknowledged.
    Next,
    /// A copy: its PRACK, if that has been sent, goes out again.
    Copy(Option<(Flow, Bytes)>),
    /// One is missing before it: not acknowledged, it will come again.
    TooEarly,
}

impl Got {
    /// Takes a response of the early dialog with this To tag.
    pub fn take(&mut self, tag: &[u8], rseq: u32) -> Taken {
        let Some(fork) = self.forks.iter_mut().find(|f| f.tag == tag) else {
            if self.forks.len() >= FORKS {
                self.forks.remove(0);
            }
            self.forks.push(Fork { tag: tag.to_vec(), rseq, prack: None });
            return Taken::Next;
        };
        match rseq.checked_sub(fork.rseq) {
            Some(1) => {
                (fork.rseq, fork.prack) = (rseq, None);
                Taken::Next
            }
            Some(0) => Taken::Copy(fork.prack.clone()),
            Some(_) => Taken::TooEarly,
            None => Taken::Copy(None),
        }
    }

    /// The PRACK of the last response of this early dialog, for copies of that response.
    pub fn acknowledged(&mut self, tag: &[u8], flow: Flow, prack: Bytes) {
        if let Some(fork) = self.forks.iter_mut().find(|f| f.tag == tag) {
            fork.prack = Some((flow, prack));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection, num};

    const CLOCK: Clock = Clock {
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
    };

    #[test]
    fn rack_in_every_dress() {
        let rack = Some(RAck { rseq: 776_656, cseq: 1 });
        assert_eq!(RAck::read(b"776656 1 INVITE"), rack);
        assert_eq!(RAck::read(b"  776656 \r\n\t0001   INVITE "), rack);
        for bad in ["", "1 INVITE", "1 2 BYE", "1 2 INVITE x", "-1 2 INVITE", "1,2 INVITE"] {
            assert_eq!(RAck::read(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(RAck { rseq: 7, cseq: 2 }.text(), "7 2 INVITE");
    }

    #[test]
    fn flow_57_rseq_begins_below_2_31_and_grows_by_one() {
        for random in [0, 1, 0x7fff_fffe, 0x7fff_ffff, u64::MAX] {
            let mut sent = Sent::default();
            let first = sent.next(random);
            assert!((1..0x8000_0000).contains(&first));
            assert_eq!(sent.next(random), first + 1);
        }
    }

    #[test]
    fn flow_57_copies_double_to_64_t1() {
        let mut sent = Sent::default();
        let rseq = sent.next(41);
        let mut wait = sent.wait(1, Bytes::from_static(b"183"), true, CLOCK);
        let mut at = Vec::new();
        let mut now = Duration::ZERO;
        loop {
            now += wait;
            let Due::Again(_, next) = sent.due(rseq, CLOCK) else { break };
            at.push(now.as_millis());
            wait = next;
        }
        assert_eq!(at, [500, 1500, 3500, 7500, 15_500, 31_500]);
        assert_eq!(now, Duration::from_secs(32));
        assert_eq!(sent.due(rseq, CLOCK), Due::Nothing);
    }

    #[test]
    fn flow_58_only_the_right_rack_is_taken_and_only_once() {
        let mut sent = Sent::default();
        let rseq = sent.next(9);
        sent.wait(3, Bytes::new(), false, CLOCK);
        assert_eq!(sent.acknowledged(RAck { rseq: rseq + 1, cseq: 3 }), None);
        assert_eq!(sent.acknowledged(RAck { rseq, cseq: 4 }), None);
        assert!(sent.is_open() && !sent.is_described());
        assert_eq!(sent.acknowledged(RAck { rseq, cseq: 3 }), Some(false));
        assert_eq!(sent.acknowledged(RAck { rseq, cseq: 3 }), None);
        assert_eq!(sent.due(rseq, CLOCK), Due::Nothing);
    }

    #[test]
    fn responses_are_taken_in_order_each_dialog_by_itself() {
        let mut got = Got::default();
        assert_eq!(got.take(b"a", 100), Taken::Next);
        assert_eq!(got.take(b"a", 102), Taken::TooEarly);
        assert_eq!(got.take(b"a", 100), Taken::Copy(None));
        assert_eq!(got.take(b"b", 7), Taken::Next);
        assert_eq!(got.take(b"a", 101), Taken::Next);
        assert_eq!(got.take(b"a", 99), Taken::Copy(None));
        assert_eq!(got.take(b"b", 8), Taken::Next);
    }

    proptest::proptest! {
        #[test]
        fn in_any_order_each_is_taken_once(
            seen in collection::vec((0_u8..3, num::u32::ANY), 0..200),
        ) {
            let mut got = Got::default();
            let mut taken = std::collections::BTreeSet::new();
            for (tag, rseq) in seen {
                if got.take(&[tag], rseq % 8) == Taken::Next {
                    assert!(taken.insert((tag, rseq % 8)));
                }
            }
        }
    }
}
