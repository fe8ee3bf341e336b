//! A stream from which packets are taken, and into which packets are put: its sequence numbers go
//! on without a gap (RFC 3550, 5.1), so that what we do is no loss to who listens.

/// Packets after a cut among which one from before it may still come.
const UNSETTLED: u8 = 50;

/// The numbers of one direction.
#[derive(Debug, Default)]
pub(crate) struct Splice {
    ssrc: Option<u32>,
    /// What is added to the sender's numbers.
    offset: u16,
    /// The highest number that went out.
    last: u16,
    /// Something was taken or put: the next packet follows the last one.
    cut: bool,
    /// The sender's number of the first packet after the last cut.
    from: u16,
    /// Packets since then, as far as it matters.
    since: u8,
}

impl Splice {
    /// The number under which a packet of the sender goes out; `None`: it comes from before the
    /// last cut, and has no place any more. Another source begins with its own numbers.
    pub(crate) fn pass(&mut self, ssrc: u32, sequence: u16) -> Option<u16> {
        if self.ssrc != Some(ssrc) {
            let last = sequence;
            *self = Self { ssrc: Some(ssrc), last, since: UNSETTLED, ..Self::default() };
            return Some(sequence);
        }
        if std::mem::take(&mut self.cut) {
            self.offset = self.last.wrapping_add(1).wrapping_sub(sequence);
            (self.from, self.since) = (sequence, 0);
        }
        if self.since < UNSETTLED {
            self.since += 1;
            if is_before(sequence, self.from) {
                return None;
            }
        }
        let out = sequence.wrapping_add(self.offset);
        if is_before(self.last, out) {
            self.last = out;
        }
        Some(out)
    }

    /// A packet of the sender was taken. A source of which nothing has gone out yet has no gap.
    pub(crate) fn take(&mut self, ssrc: u32) {
        self.cut |= self.ssrc == Some(ssrc);
    }

    /// A stream of ours, before a packet of its source was heard.
    pub(crate) fn of(ssrc: u32) -> Self {
        Self { ssrc: Some(ssrc), ..Self::default() }
    }

    /// The number of a packet that we put in.
    pub(crate) fn put(&mut self) -> u16 {
        self.last = self.last.wrapping_add(1);
        self.cut = true;
        self.last
    }

    /// The source that goes out now.
    pub(crate) fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }
}

fn is_before(one: u16, other: u16) -> bool {
    one.wrapping_sub(other) >= 0x8000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(splice: &mut Splice, numbers: &[u16]) -> Vec<u16> {
        numbers.iter().filter_map(|n| splice.pass(7, *n)).collect()
    }

    #[test]
    fn flow_80_numbers_go_on_without_a_gap() {
        let mut splice = Splice::default();
        assert_eq!(pass(&mut splice, &[65_533, 65_534]), [65_533, 65_534], "untouched at first");
        // Two are put in, three of the sender's kept back meanwhile.
        assert_eq!([splice.put(), splice.put()], [65_535, 0]);
        (0..3).for_each(|_| splice.take(7));
        assert_eq!(pass(&mut splice, &[2, 3, 5]), [1, 2, 4], "a loss of the sender's stays one");
        // One is taken.
        splice.take(7);
        assert_eq!(pass(&mut splice, &[7, 8]), [5, 6]);
    }

    #[test]
    fn flow_80_order_is_kept_and_what_is_too_late_is_not_sent() {
        let mut splice = Splice::default();
        assert_eq!(pass(&mut splice, &[10, 12, 11]), [10, 12, 11]);
        splice.take(7);
        // 9 and 13 were overtaken by the cut: their numbers are others' by now.
        assert_eq!(pass(&mut splice, &[14, 9, 13, 16, 15]), [13, 15, 14]);
        // Long after it nothing is too late: the sender may count anew.
        let on: Vec<u16> = (17..100).collect();
        assert_eq!(pass(&mut splice, &on).len(), 83);
        assert_eq!(pass(&mut splice, &[3]), [2]);
    }

    #[test]
    fn flow_80_another_source_has_its_own_numbers() {
        let mut splice = Splice::of(1);
        assert_eq!([splice.put(), splice.put()], [1, 2], "nothing was heard yet");
        assert_eq!(pass(&mut splice, &[500, 501]), [500, 501]);
        splice.take(7);
        assert_eq!(splice.pass(8, 40), Some(40));
        splice.take(9);
        assert_eq!(splice.pass(9, 41), Some(41));
        assert_eq!(splice.pass(9, 42), Some(42));
        assert_eq!(splice.ssrc(), Some(9));
    }
}
