//! The packet of the load: RTP as 20 ms of G.711 make it, with what the measurement needs in it.

/// Bytes of a packet: 12 of RTP header, 160 of payload.
pub(crate) const BYTES: usize = 172;

const MAGIC: [u8; 4] = *b"RTPL";
const VERSION_2: u8 = 0x80;
const PCMA: u8 = 8;
const SAMPLES: u32 = 160;

/// What a packet tells its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Which run of the tool and which phase of it sent the packet.
    pub(crate) phase: u32,
    /// Place of the stream: twice the flow's, one more from side B.
    pub(crate) stream: u32,
    /// Number within the stream and phase, from 0.
    pub(crate) number: u32,
    /// When it was sent, wall clock, nanoseconds since the Unix epoch.
    pub(crate) sent_ns: i64,
}

impl Packet {
    /// Writes the packet over the head of `room`; `sequence` counts over all phases.
    pub(crate) fn write(&self, sequence: u32, room: &mut [u8; BYTES]) {
        let mut rest = room.as_mut_slice();
        put(&mut rest, [VERSION_2, PCMA]);
        // RTP's own number is the low half: relays look at it.
        put(&mut rest, (sequence as u16).to_be_bytes());
        put(&mut rest, sequence.wrapping_mul(SAMPLES).to_be_bytes());
        put(&mut rest, (self.phase.rotate_left(16) ^ self.stream).to_be_bytes());
        put(&mut rest, MAGIC);
        put(&mut rest, self.phase.to_be_bytes());
        put(&mut rest, self.stream.to_be_bytes());
        put(&mut rest, self.number.to_be_bytes());
        put(&mut rest, self.sent_ns.to_be_bytes());
    }

    /// Reads a packet; `None` for what no such tool sent.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != BYTES {
            return None;
        }
        let mut rest = bytes.get(12..)?;
        if take::<4>(&mut rest)? != MAGIC {
            return None;
        }
        Some(Self {
            phase: u32::from_be_bytes(take(&mut rest)?),
            stream: u32::from_be_bytes(take(&mut rest)?),
            number: u32::from_be_bytes(take(&mut rest)?),
            sent_ns: i64::from_be_bytes(take(&mut rest)?),
        })
    }
}

/// Writes `bytes` and moves on behind them.
fn put<const N: usize>(rest: &mut &mut [u8], bytes: [u8; N]) {
    if let Some((room, after)) = std::mem::take(rest).split_first_chunk_mut() {
        *room = bytes;
        *rest = after;
    }
}

/// Reads `N` bytes and moves on behind them.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_is_rtp() {
        let packet = Packet { phase: 0xdead_0001, stream: 1999, number: 70_000, sent_ns: 1 << 60 };
        let mut room = [0xd5; BYTES];
        packet.write(70_003, &mut room);
        assert_eq!(Packet::read(&room), Some(packet));
        assert_eq!(room[..4], [0x80, 8, 0x11, 0x73], "version 2, PCMA, 70003 modulo 65536");
        assert_eq!(room[4..8], (70_003_u32 * 160).to_be_bytes());
        assert_eq!(room[171], 0xd5, "the rest is silence");
    }

    #[test]
    fn other_bytes_are_no_packet() {
        let mut room = [0; BYTES];
        assert_eq!(Packet::read(&room), None);
        Packet { phase: 1, stream: 2, number: 3, sent_ns: 4 }.write(0, &mut room);
        assert_eq!(Packet::read(&room[..171]), None, "cut");
        assert!(Packet::read(&room).is_some());
    }
}
