//! Whether the node keeps up: by how long new calls have waited when they are looked at.
//!
//! The law, after CoDel (RFC 8289) and what RFC 6357 asks of a server that has to shed:
//!
//! - A burst makes calls wait, and then the queue runs empty: nothing is refused.
//! - Where each call of an [`INTERVAL`] had to wait for longer than [`TARGET`], and the wait does
//!   not get shorter by itself, the queue stands: more comes than can be done. From then on a call
//!   that would have to wait longer than `TARGET` is refused when it comes. So its caller is told
//!   at once, those who wait already are served, and the queue gets and stays short.
//! - However short the spell, nobody is let in who would have to wait for longer than [`LONGEST`].
//! - It is over when the queue has run empty: a call came after the one before it was looked at.
//!
//! How long a call would have to wait is how many wait, times what one took lately.
//!
//! Only new calls are judged. What belongs to a call that is up comes before them ([`goes_first`])
//! and is never refused. A refused INVITE is remembered, since its sender, which may have sent
//! another copy before it heard, has been told: a copy must not become a call.

use std::time::Duration;

use cooee_model::moment::Moment;

use crate::switch::limits::{INTERVAL, LONGEST, OVER, PATIENCE, REFUSED, REFUSED_FOR, TARGET};

/// One look at a call counts as at most so much longer than those before it: a pause of the machine
/// says nothing of what a call takes.
const PACE_GROWS: u32 = 4;

/// What a call may be thought to take however fast those before it were.
const PACE_AT_LEAST: Duration = Duration::from_millis(1);

/// The state of that law. Small, and told the time by its caller.
#[derive(Debug, Default)]
pub struct Overload {
    /// When a new call was last looked at.
    last: Moment,
    /// What a call takes while others wait, smoothed.
    pace: Duration,
    /// Since when each new call has waited for longer than `TARGET`, and the longest wait since.
    late: Option<(Moment, Duration)>,
    /// The queue stands.
    standing: bool,
    refused: Refused,
}

impl Overload {
    /// A new call that was received then is looked at now.
    pub fn look(&mut self, now: Moment, received: Moment) {
        if received > self.last {
            self.standing = false;
            self.late = None;
        } else {
            let took = (now - self.last).min((self.pace * PACE_GROWS).max(PACE_AT_LEAST));
            self.pace = (self.pace * 7 + took) / 8;
        }
        self.last = now;
        let waited = now - received;
        if waited <= TARGET {
            self.late = None;
            return;
        }
        let (since, longest) = self.late.get_or_insert((now, waited));
        *longest = waited.max(*longest);
        if now - *since >= INTERVAL {
            if waited < *longest * 15 / 16 && waited < PATIENCE {
                self.late = Some((now, waited));
            } else {
                self.standing = true;
            }
        }
    }

    /// Whether a new call that comes now, behind so many that wait, is to be refused.
    pub fn sheds(&self, waiting: usize) -> bool {
        let wait = self.pace.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
        wait > if self.standing { TARGET } else { LONGEST }
    }

    /// Whether calls are being refused because the node does not keep up.
    pub fn stands(&self, now: Moment) -> bool {
        self.standing && now - self.last <= OVER
    }

    /// Remembers the INVITE with this digest as refused.
    pub fn refuse(&mut self, now: Moment, invite: u128) {
        self.refused.insert(now, invite);
    }

    /// Whether the INVITE with this digest has been refused already.
    pub fn has_refused(&self, now: Moment, invite: u128) -> bool {
        self.refused.holds(now, invite)
    }
}

/// INVITEs that were refused, each at the one place that its digest leads to. What has to make room
/// is forgotten: a copy of it would be judged anew. Nothing is allocated before the first.
#[derive(Debug, Default)]
struct Refused(Vec<(u64, u64)>);

impl Refused {
    fn place(invite: u128) -> (usize, u64) {
        let place = usize::try_from(invite >> 64).unwrap_or_default() % REFUSED;
        (place, invite as u64)
    }

    fn insert(&mut self, now: Moment, invite: u128) {
        if self.0.is_empty() {
            self.0 = vec![(0, 0); REFUSED];
        }
        let (place, rest) = Self::place(invite);
        if let Some(entry) = self.0.get_mut(place) {
            *entry = (rest, (now + REFUSED_FOR).mono);
        }
    }

    fn holds(&self, now: Moment, invite: u128) -> bool {
        let (place, rest) = Self::place(invite);
        self.0.get(place).is_some_and(|&(known, until)| known == rest && now.mono < until)
    }
}

/// Whether a message belongs to what is under way, by a glance at its bytes: a response, or a
/// request that cannot begin anything. It is to be handled before what begins calls; order is all
/// that hangs on it. A CANCEL keeps its place behind its INVITE.
pub fn goes_first(bytes: &[u8]) -> bool {
    let begins = |with: &[u8]| bytes.starts_with(with);
    if begins(b"INVITE ") {
        return has_to_tag(bytes);
    }
    [&b"SIP/2.0 "[..], b"ACK ", b"BYE ", b"PRACK ", b"UPDATE ", b"INFO "].into_iter().any(begins)
}

/// Whether a message that does not go first asks for a call.
pub fn asks_for_call(bytes: &[u8]) -> bool {
    bytes.starts_with(b"INVITE ")
}

fn has_to_tag(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|&b| b == b'\n');
    let named = |line: &&[u8]| {
        let name = line.split(|&b| b == b':').next().unwrap_or_default().trim_ascii_end();
        name.eq_ignore_ascii_case(b"To") || name.eq_ignore_ascii_case(b"t")
    };
    let to = lines.find(named).unwrap_or_default();
    to.windows(5).any(|at| at.eq_ignore_ascii_case(b";tag="))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What became of the calls of a load: how many were taken and refused, and the longest waits.
    #[derive(Debug, Default)]
    struct Seen {
        taken: u32,
        refused: u32,
        longest: Duration,
        longest_refused: Duration,
        end: Moment,
    }

    /// A single server, which is told of what has come before it looks at the next: each call takes
    /// `work`, a refusal `refusal`.
    fn serve(
        overload: &mut Overload,
        free: Moment,
        arrivals: impl Iterator<Item = Moment>,
        (work, refusal): (Duration, Duration),
    ) -> Seen {
        let (mut now, mut queue, mut seen) = (free, VecDeque::new(), Seen::default());
        let mut arrivals = arrivals.peekable();
        loop {
            while let Some(received) = arrivals.next_if(|at| *at <= now || queue.is_empty()) {
                now = now.max(received);
                if overload.sheds(queue.len()) {
                    seen.refused += 1;
                    seen.longest_refused = seen.longest_refused.max(now - received);
                    now = now + refusal;
                } else {
                    queue.push_back(received);
                }
            }
            let Some(received) = queue.pop_front() else { break };
            overload.look(now, received);
            seen.taken += 1;
            seen.longest = seen.longest.max(now - received);
            now = now + work;
        }
        seen.end = now;
        seen
    }

    fn each(from: Moment, every: Duration, calls: u32) -> impl Iterator<Item = Moment> {
        (0..calls).map(move |n| from + every * n)
    }

    fn start() -> Moment {
        Moment::new(1_000_000_000_000, 0)
    }

    #[test]
    fn a_node_that_keeps_up_refuses_nothing() {
        let mut overload = Overload::default();
        let load = each(start(), MS, 100_000);
        let seen = serve(&mut overload, start(), load, (MS, MS / 20));
        assert_eq!((seen.refused, overload.stands(seen.end)), (0, false));
    }

    #[test]
    fn a_burst_is_no_overload_nor_is_a_pause() {
        let mut overload = Overload::default();
        let burst = each(start(), Duration::ZERO, 400);
        let seen = serve(&mut overload, start(), burst, (MS, MS / 20));
        assert_eq!((seen.taken, seen.refused, seen.longest), (400, 0, MS * 399));
        // A node that stood still for most of a second has the time to catch up.
        let during = each(seen.end, MS * 5, 400);
        let seen = serve(&mut overload, seen.end + MS * 900, during, (MS, MS / 20));
        assert_eq!((seen.taken, seen.refused), (400, 0));
        // At 19 parts of 20 of what it can, a tenth of a second costs two of catching up.
        let start = seen.end + MS * 5000;
        let load = each(start, MS * 20 / 19, 4000);
        let seen = serve(&mut overload, start + MS * 100, load, (MS, MS / 20));
        assert_eq!((seen.taken, seen.refused), (4000, 0));
    }

    #[test]
    fn a_peak_that_is_being_caught_up_with_is_no_overload() {
        let mut overload = Overload::default();
        // For 300 ms half as many again as can be done, then nine tenths.
        let rush = each(start(), MS * 2 / 3, 450);
        let load = rush.chain(each(start() + MS * 300, MS * 10 / 9, 6000));
        let seen = serve(&mut overload, start(), load, (MS, MS / 20));
        assert_eq!(seen.refused, 0);
        assert!(seen.longest > MS * 140, "{:?}", seen.longest);
    }

    #[test]
    fn one_call_that_takes_long_does_not_say_what_the_others_take() {
        let mut overload = Overload::default();
        let burst = each(start(), Duration::ZERO, 100);
        let seen = serve(&mut overload, start(), burst, (MS / 4, MS / 20));
        // It has stood still in the middle of a queue.
        overload.look(seen.end + MS * 2000, start());
        assert!(!overload.sheds(1000), "{:?}", overload.pace);
    }

    #[test]
    fn those_who_wait_are_served_and_those_who_come_are_refused() {
        let mut overload = Overload::default();
        // A little less than can be done, after a pause: it would take eight seconds to catch up.
        let load = each(start(), MS * 20 / 19, 4000);
        let seen = serve(&mut overload, start() + MS * 400, load, (MS, MS / 20));
        assert!((300..450).contains(&seen.refused), "{seen:?}: as many as waited, and no more");
        assert!(seen.longest_refused <= MS, "{seen:?}: told when it came");
        assert!(seen.longest <= MS * 400, "{seen:?}");
    }

    #[test]
    fn what_comes_past_the_capacity_is_refused_at_once_and_the_capacity_is_used() {
        for tenths in [11, 15, 20, 50] {
            let mut overload = Overload::default();
            let load = each(start(), MS * 10 / tenths, 6000 * tenths);
            let seen = serve(&mut overload, start(), load, (MS, MS / 25));
            let ideal =
                1000.0 * (seen.end - start()).as_secs_f64() - f64::from(seen.refused) / 25.0;
            assert!(f64::from(seen.taken) > 0.99 * ideal, "{tenths}: {seen:?} of {ideal}");
            assert!(seen.longest_refused <= MS * 2, "{tenths}: {seen:?}");
            // Refusals take their time as well.
            assert!(seen.longest < LONGEST * 5 / 4, "{tenths}: {seen:?}");
        }
    }

    #[test]
    fn once_the_queue_stands_those_who_are_let_in_hardly_wait() {
        let mut overload = Overload::default();
        let load = || each(start(), MS * 2 / 3, 30_000);
        // Those who came before it stood have to be served first.
        let (mut now, mut queue, mut served) = (start(), VecDeque::new(), 0);
        for received in load() {
            while now <= received {
                let Some(first) = queue.pop_front() else { break };
                overload.look(now, first);
                let since = now - start();
                assert!(since < MS * 2000 || now - first < TARGET + MS * 3, "{since:?}");
                (now, served) = (now + MS, served + 1);
            }
            now = now.max(received);
            if overload.sheds(queue.len()) {
                now = now + MS / 25;
            } else {
                queue.push_back(received);
            }
        }
        assert!(served > 19_000 && overload.stands(now), "{served}");
    }

    #[test]
    fn it_is_over_when_the_queue_has_run_empty_or_nobody_calls() {
        let mut overload = Overload::default();
        let mut now = start();
        for n in 0..700 {
            overload.look(now, start() + MS * n / 2);
            now = now + MS;
        }
        assert!(overload.stands(now) && !overload.stands(now + OVER + MS));
        assert!(overload.sheds(100) && !overload.sheds(10));
        let later = now + TARGET * 2;
        overload.look(later, now + MS);
        assert!(!overload.stands(later) && !overload.sheds(100), "nothing waited when it came");
    }

    #[test]
    fn a_refused_invite_is_remembered_for_as_long_as_copies_come() {
        let mut overload = Overload::default();
        let invite = 0x1234_5678_9abc_def0_1111_2222_3333_4444;
        assert!(!overload.has_refused(start(), invite));
        overload.refuse(start(), invite);
        assert!(overload.has_refused(start() + MS * 31_000, invite));
        assert!(!overload.has_refused(start() + REFUSED_FOR, invite));
        assert!(!overload.has_refused(start(), invite + 1));
        // One that leads to the same place takes it.
        overload.refuse(start(), invite + 1);
        assert!(!overload.has_refused(start(), invite));
    }

    #[test]
    fn what_is_under_way_goes_first() {
        let with =
            |first: &str, to: &str| format!("{first} sip:a@b SIP/2.0\r\nVia: x\r\n{to}\r\n\r\n");
        for first in ["ACK", "BYE", "PRACK", "UPDATE", "INFO"] {
            assert!(goes_first(with(first, "To: <sip:a@b>").as_bytes()), "{first}");
        }
        assert!(goes_first(b"SIP/2.0 200 OK\r\n\r\n"));
        for to in ["To: <sip:a@b>;tag=1", "t:<sip:a@b>;x=y;TAG=1", "TO : \"a\" <sip:a@b> ;tag=1"] {
            assert!(goes_first(with("INVITE", to).as_bytes()), "{to}");
        }
        let from = with("INVITE", "From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>");
        for other in [&from, "", "INVITE ", "OPTIONS sip:a SIP/2.0", "CANCEL x SIP/2.0", "\r\n"] {
            assert!(!goes_first(other.as_bytes()), "{other}");
        }
    }
}
