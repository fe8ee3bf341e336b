//! How a worker waits for the next packet: what a wake-up costs is the price of sleeping.
//!
//! | wait | a packet that comes | the processor |
//! |---|---|---|
//! | [`Wait::Spin`] | is seen at once | is busy while voice flows |
//! | [`Wait::Block`] | wakes the thread, some 20 us | sleeps between packets |
//! | [`Wait::Tick`] | waits for the tick, half of one on average | wakes once a tick for many packets |
//!
//! A worker without packets sleeps until the next, whichever it is.

use std::time::Duration;

use crate::limits::TICK_LINGERS;

/// What a worker does while no packet is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// It looks again and again, and for so long after the last packet.
    Spin(Duration),
    /// It sleeps until the kernel wakes it.
    #[default]
    Block,
    /// It sleeps so long, whatever comes.
    Tick(Duration),
}

/// What is to be done before the next look at the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing: look at once.
    None,
    /// Sleep that long, then look.
    Nap(Duration),
    /// Look, and sleep in the kernel until something is there.
    Sleep,
}

/// The state of one worker's waiting; told the time by its caller.
#[derive(Debug)]
pub(crate) struct Pace {
    wait: Wait,
    /// Until when packets are expected, nanoseconds.
    busy_until: u64,
    /// There was more than one look takes.
    more: bool,
}

impl Pace {
    pub(crate) fn new(wait: Wait) -> Self {
        Self { wait, busy_until: 0, more: false }
    }

    /// Something was there at `now_ns`; `more`: perhaps not all of it was seen.
    pub(crate) fn worked(&mut self, now_ns: u64, more: bool) {
        let lingers = match self.wait {
            Wait::Spin(lingers) => lingers,
            Wait::Tick(_) => TICK_LINGERS,
            Wait::Block => Duration::ZERO,
        };
        let lingers = u64::try_from(lingers.as_nanos()).unwrap_or(u64::MAX);
        (self.busy_until, self.more) = (now_ns.saturating_add(lingers), more);
    }

    pub(crate) fn rest(&self, now_ns: u64) -> Rest {
        match self.wait {
            Wait::Spin(_) | Wait::Tick(_) if now_ns >= self.busy_until => Rest::Sleep,
            Wait::Tick(span) if !self.more => Rest::Nap(span),
            Wait::Block => Rest::Sleep,
            Wait::Spin(_) | Wait::Tick(_) => Rest::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const TICK: Duration = Duration::from_micros(200);
    const SPIN: Wait = Wait::Spin(Duration::from_secs(1));

    #[test]
    fn all_sleep_until_the_first_packet() {
        for wait in [SPIN, Wait::Block, Wait::Tick(TICK)] {
            assert_eq!(Pace::new(wait).rest(SECOND), Rest::Sleep, "{wait:?}");
        }
    }

    #[test]
    fn each_waits_in_its_way_while_packets_come() {
        let rests = [SPIN, Wait::Block, Wait::Tick(TICK)].map(|wait| {
            let mut pace = Pace::new(wait);
            pace.worked(SECOND, false);
            let soon = pace.rest(SECOND + 20_000_000);
            (soon, pace.rest(SECOND * 10))
        });
        let soon = [Rest::None, Rest::Sleep, Rest::Nap(TICK)];
        assert_eq!(rests, soon.map(|rest| (rest, Rest::Sleep)), "and sleeps when none come");
    }

    #[test]
    fn a_tick_that_saw_as_much_as_it_can_looks_again() {
        let mut pace = Pace::new(Wait::Tick(TICK));
        pace.worked(SECOND, true);
        assert_eq!(pace.rest(SECOND), Rest::None);
        pace.worked(SECOND, false);
        assert_eq!(pace.rest(SECOND), Rest::Nap(TICK));
    }
}
