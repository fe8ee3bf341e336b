//! Whether the node keeps up: by how long new calls have waited when they are looked at.
//!
//! The law, after CoDel (RFC 8289) and what RFC 6357 asks of a server that has to shed:
//!
//! - A burst makes calls wait, and then the queue runs empty: nothing is refused.
//! - Where each call of an [`INTERVAL`] had to wait for longer than [`TARGET`], and the wait is not
//!   getting shorter by itself, the queue stands: more comes than can be done. From then on a call
//!   that has waited longer than `TARGET` is refused, which takes a small part of the work of a
//!   call. So the queue stays that short, what is accepted is accepted in time, and nobody has a
//!   reason to send it again.
//! - It is over when the queue has run empty: a call came after the one before it was looked at.
//!
//! Only new calls are judged. What belongs to a call that is up comes before them ([`goes_first`])
//! and is never refused. A refused INVITE is remembered, since its sender, which may have sent
//! another copy before it heard, has been told: a copy must not become a call.

use std::time::Duration;

use cooee_model::moment::Moment;

use crate::switch::limits::{INTERVAL, OVER, PATIENCE, REFUSED, REFUSED_FOR, TARGET};

/// The state of that law. Small, and told the time by its caller.
#[derive(Debug, Default)]
pub struct Overload {
    /// When a new call was last looked at.
    last: Moment,
    /// Since when each new call has waited for longer than `TARGET`, and the longest wait since.
    late: Option<(Moment, Duration)>,
    /// The queue stands.
    standing: bool,
    refused: Refused,
}

impl Overload {
    /// A new call that was received then is looked at now. `false`: the node does not keep up,
    /// and the call is to be refused.
    pub fn admits(&mut self, now: Moment, received: Moment) -> bool {
        if received > self.last {
            self.standing = false;
            self.late = None;
        }
        self.last = now;
        let waited = now - received;
        if waited <= TARGET {
            self.late = None;
            return true;
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
        !self.standing
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
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A single server: each call takes `work`, a refusal `refusal`; one comes every `every`. Gives
    /// the longest waits of those admitted and of those refused, and how many of each.
    fn serve(
        overload: &mut Overload,
        from: Moment,
        (every, calls): (Duration, u32),
        (work, refusal): (Duration, Duration),
    ) -> (Moment, [(u32, Duration); 2]) {
        let (mut now, mut seen) = (from, [(0, Duration::ZERO); 2]);
        for n in 0..calls {
            let received = from + every * n;
            now = now.max(received);
            let admitted = overload.admits(now, received);
            let (count, longest) = &mut seen[usize::from(!admitted)];
            (*count, *longest) = (*count + 1, (*longest).max(now - received));
            now = now + if admitted { work } else { refusal };
        }
        (now, seen)
    }

    fn start() -> Moment {
        Moment::new(1_000_000_000_000, 0)
    }

    #[test]
    fn a_node_that_keeps_up_refuses_nothing() {
        let mut overload = Overload::default();
        let (end, [_, (refused, _)]) = serve(&mut overload, start(), (MS, 100_000), (MS, MS / 20));
        assert_eq!((refused, overload.stands(end)), (0, false));
    }

    #[test]
    fn a_burst_is_no_overload_nor_is_a_pause() {
        let mut overload = Overload::default();
        let burst = (Duration::ZERO, 200);
        let (end, [(admitted, longest), _]) = serve(&mut overload, start(), burst, (MS, MS / 20));
        assert_eq!((admitted, longest), (200, MS * 199));
        // A node that stood still for most of a second has the time to catch up.
        for n in 0..200 {
            assert!(overload.admits(end + MS * 900 + MS * n, end + MS * n * 5));
        }
        // At 19 parts of 20 of what it can, a tenth of a second costs two of catching up.
        let (start, every) = (end + MS * 5000, MS * 20 / 19);
        let mut now = start + MS * 100;
        for n in 0..4000 {
            let received = start + every * n;
            now = now.max(received);
            assert!(overload.admits(now, received), "{n}");
            now = now + MS;
        }
    }

    #[test]
    fn a_peak_that_is_being_caught_up_with_is_no_overload() {
        let mut overload = Overload::default();
        // For 300 ms half as many again as can be done, then nine tenths.
        let rush = (0..450).map(|n| MS * 2 / 3 * n);
        let rest = (0..6000).map(|n| MS * 300 + MS * 10 / 9 * n);
        let (mut now, mut longest) = (start(), Duration::ZERO);
        for after in rush.chain(rest) {
            let received = start() + after;
            now = now.max(received);
            longest = longest.max(now - received);
            assert!(overload.admits(now, received), "{after:?}");
            now = now + MS;
        }
        assert!(longest > MS * 140, "{longest:?}");
    }

    #[test]
    fn a_queue_that_shrinks_too_slowly_for_those_who_wait_stands() {
        let mut overload = Overload::default();
        let (start, every) = (start(), MS * 20 / 19);
        let mut now = start + MS * 700;
        let mut refused = 0;
        for n in 0..4000 {
            let received = start + every * n;
            now = now.max(received);
            let admitted = overload.admits(now, received);
            refused += u32::from(!admitted);
            now = now + if admitted { MS } else { MS / 20 };
        }
        assert!((500..800).contains(&refused), "{refused}: what had waited, and no more");
    }

    #[test]
    fn what_comes_past_the_capacity_is_refused_and_the_capacity_is_used() {
        for tenths in [11, 15, 20, 50] {
            let mut overload = Overload::default();
            let (calls, every) = (6000 * tenths, MS * 10 / tenths);
            let load = (every, calls);
            let (end, [(admitted, _), (refused, longest)]) =
                serve(&mut overload, start(), load, (MS, MS / 25));
            let ideal = 1000.0 * (end - start()).as_secs_f64() - f64::from(refused) / 25.0;
            assert!(f64::from(admitted) > 0.99 * ideal, "{tenths}: {admitted} of {ideal}");
            // The first refusals are of the backlog that told.
            assert!(longest < TARGET + INTERVAL + MS * 2, "{tenths}: {longest:?}");
        }
    }

    #[test]
    fn once_the_queue_stands_a_refusal_does_not_take_longer_than_the_target() {
        let mut overload = Overload::default();
        let every = MS * 2 / 3;
        let (mut now, _) = serve(&mut overload, start(), (every, 3000), (MS, MS / 25));
        assert!(overload.stands(now));
        for n in 3000..33_000 {
            let received = start() + every * n;
            now = now.max(received);
            let admitted = overload.admits(now, received);
            assert!(now - received < TARGET + MS * 2, "{:?}", now - received);
            now = now + if admitted { MS } else { MS / 25 };
        }
        assert!(overload.stands(now));
    }

    #[test]
    fn it_is_over_when_the_queue_has_run_empty_or_nobody_calls() {
        let mut overload = Overload::default();
        let (now, _) = serve(&mut overload, start(), (MS / 2, 2000), (MS, MS / 25));
        assert!(overload.stands(now) && !overload.stands(now + OVER + MS));
        let later = now + TARGET * 2;
        assert!(overload.admits(later, now + MS), "nothing waited when it came");
        assert!(!overload.stands(later));
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
