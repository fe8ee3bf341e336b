//! Reading of RTCP (RFC 3550, 6): what its reports say of the way, and nothing else. Reports are
//! relayed as they came; no bytes make this panic.

/// Sender report, receiver report.
const SR: u8 = 200;
const RR: u8 = 201;

/// Bytes of a report block.
const BLOCK: usize = 24;

/// What figures are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A sender's clock when it sent this: the middle 32 bits of its NTP time, units of 1/65536 s.
    Sent(u32),
    /// What the answer to such a report says (RFC 3550, 6.4.1).
    Heard(Report),
}

/// What a report block says of the way there and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The clock of the last [`Told::Sent`] that came; 0: none has.
    pub(crate) last_clock: u32,
    /// Since then, units of 1/65536 s.
    pub(crate) since: u32,
}

/// Gives all that the packets of a compound tell. What is broken ends it: nothing behind it is to
/// be believed. Packets of other kinds are stepped over.
pub(crate) fn read(compound: &[u8]) -> impl Iterator<Item = Told> {
    Packets { rest: compound }.flat_map(|packet| {
        let sent = packet.sent();
        sent.into_iter().chain(packet.blocks())
    })
}

struct Packets<'a> {
    rest: &'a [u8],
}

/// One packet of a compound, without its header.
struct Packet<'a> {
    kind: u8,
    count: usize,
    body: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let (&[first, kind, high, low], rest) = self.rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([high, low])) * 4;
        self.rest = &[];
        if first >> 6 != 2 {
            return None;
        }
        let (body, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(Packet { kind, count: usize::from(first & 31), body })
    }
}

impl<'a> Packet<'a> {
    fn sent(&self) -> Option<Told> {
        let (seconds, fraction) = (word(self.body, 4)?, word(self.body, 8)?);
        (self.kind == SR).then_some(Told::Sent(seconds << 16 | fraction >> 16))
    }

    fn blocks(&self) -> impl Iterator<Item = Told> + use<'a> {
        // A sender's report has 20 bytes of its own first, and each its sender's SSRC.
        let (skip, count) = match self.kind {
            SR => (24, self.count),
            RR => (4, self.count),
            _ => (0, 0),
        };
        let blocks = self.body.get(skip..).unwrap_or_default().chunks_exact(BLOCK);
        blocks.take(count).filter_map(|block| {
            Some(Told::Heard(Report { last_clock: word(block, 16)?, since: word(block, 20)? }))
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(kind: u8, count: u8, words: &[u32]) -> Vec<u8> {
        let length = u16::try_from(words.len()).unwrap();
        let head = [0x80 | count, kind].into_iter().chain(length.to_be_bytes());
        head.chain(words.iter().flat_map(|word| word.to_be_bytes())).collect()
    }

    const HEARD: Report = Report { last_clock: 0x1234_5678, since: 0x8000 };

    fn block() -> [u32; 6] {
        [7, 64 << 24 | 0x00ff_fffe, 99, 160, 0x1234_5678, 0x8000]
    }

    #[test]
    fn a_compound_tells_of_its_sender_and_of_what_it_heard() {
        let mut sr = vec![1, 0xaaaa_5678, 0x9abc_dddd, 3, 4, 5];
        sr.extend(block());
        let mut bytes = packet(SR, 1, &sr);
        bytes.extend(packet(202, 1, &[1, 0x0100_0000]));
        bytes.extend(packet(RR, 1, &[&[2][..], &block()].concat()));
        let told: Vec<_> = read(&bytes).collect();
        let sent = Told::Sent(0x5678_9abc);
        assert_eq!(told, [sent, Told::Heard(HEARD), Told::Heard(HEARD)]);
    }

    #[test]
    fn what_is_cut_or_broken_tells_nothing_more() {
        let good = packet(RR, 1, &[&[2][..], &block()].concat());
        assert_eq!(read(&good).count(), 1);
        for cut in 0..good.len() {
            assert_eq!(read(&good[..cut]).count(), 0, "{cut}");
        }
        // More blocks promised than there are; another version; nothing behind either.
        assert_eq!(read(&packet(RR, 3, &[&[2][..], &block()].concat())).count(), 1);
        let mut broken = packet(204, 0, &[1]);
        broken[0] = 0x40;
        broken.extend(good);
        assert_eq!(read(&broken).count(), 0);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_go_on(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(read(&bytes).count() <= bytes.len());
        }
    }
}
