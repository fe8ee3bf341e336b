//! Audio: one RTP port that talks every 20 ms, listens, and keeps what passed.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::clock::{Dice, now_us};
use crate::limits::PACKETS;

/// Samples of a frame: 20 ms at 8 kHz.
const FRAME: usize = 160;

/// What is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// Nothing: what a platform sends while it waits for digits.
    Silence,
    /// Ringback of 440 and 480 Hz, 2 s on and 4 s off.
    Ringback,
    /// Something like a voice, another one for each seed.
    Voice(u64),
    /// Something like music.
    Music,
}

/// A packet that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Microseconds since the epoch.
    pub at_us: i64,
    /// Its stream.
    pub ssrc: u32,
    /// Its sequence number.
    pub seq: u16,
    /// Begin of the SHA-256 of its payload.
    pub hash: u64,
}

/// What one port has sent and received.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// In order.
    pub sent: Vec<Packet>,
    /// As they came.
    pub received: Vec<Packet>,
}

#[derive(Debug)]
enum Order {
    To(SocketAddr),
    Play(Sound),
    Mute(bool),
    End,
}

/// An RTP port.
#[derive(Debug)]
pub struct Port {
    local: SocketAddr,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<Stream>,
}

impl Port {
    /// Opens a port; it talks once it knows to whom.
    ///
    /// # Errors
    /// No port can be had on this address.
    pub async fn open(ip: IpAddr, seed: u64) -> io::Result<Self> {
        let socket = UdpSocket::bind((ip, 0)).await?;
        let local = socket.local_addr()?;
        let (orders, taken) = mpsc::channel(16);
        Ok(Self { local, orders, task: tokio::spawn(live(socket, taken, seed)) })
    }

    /// Its address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Talks to this address from now on.
    pub async fn to(&self, peer: Option<SocketAddr>) {
        if let Some(peer) = peer {
            let _ = self.orders.send(Order::To(peer)).await;
        }
    }

    /// Lets another sound be heard from now on.
    pub async fn play(&self, sound: Sound) {
        let _ = self.orders.send(Order::Play(sound)).await;
    }

    /// Stops talking, or goes on.
    pub async fn mute(&self, muted: bool) {
        let _ = self.orders.send(Order::Mute(muted)).await;
    }

    /// Stops talking, listens a little longer, and says what has passed.
    pub async fn close(self) -> Stream {
        let _ = self.orders.send(Order::End).await;
        self.task.await.unwrap_or_default()
    }
}

async fn live(socket: UdpSocket, mut orders: mpsc::Receiver<Order>, seed: u64) -> Stream {
    let mut voice = Voice::new(seed);
    let (mut peer, mut muted, mut ended) = (None, false, None);
    let mut stream = Stream::default();
    let mut tick = interval(Duration::from_millis(20));
    let mut room = [0; 2048];
    loop {
        tokio::select! {
            order = orders.recv(), if ended.is_none() => match order {
                Some(Order::To(address)) => peer = Some(address),
                Some(Order::Play(sound)) => voice.play(sound),
                Some(Order::Mute(wanted)) => muted = wanted,
                Some(Order::End) | None => ended = Some(5),
            },
            _ = tick.tick() => {
                let frame = voice.frame();
                match (&mut ended, peer) {
                    (Some(0), _) => return stream,
                    (Some(left), _) => *left -= 1,
                    (None, Some(peer)) if !muted => {
                        let bytes = voice.packet(&frame);
                        keep(&mut stream.sent, &bytes);
                        let _ = socket.send_to(&bytes, peer).await;
                    }
                    (None, _) => {}
                }
            }
            Ok((length, _)) = socket.recv_from(&mut room) => {
                keep(&mut stream.received, room.get(..length).unwrap_or_default());
            }
        }
    }
}

fn keep(packets: &mut Vec<Packet>, bytes: &[u8]) {
    let (Some(header), Some(payload)) = (bytes.first_chunk::<12>(), bytes.get(12..)) else {
        return;
    };
    if packets.len() >= PACKETS {
        return;
    }
    let [_, _, s1, s2, _, _, _, _, c1, c2, c3, c4] = *header;
    let hash = Sha256::digest(payload);
    let hash = hash.first_chunk::<8>().map_or(0, |start| u64::from_be_bytes(*start));
    packets.push(Packet {
        at_us: now_us(),
        ssrc: u32::from_be_bytes([c1, c2, c3, c4]),
        seq: u16::from_be_bytes([s1, s2]),
        hash,
    });
}

/// A source of PCMA packets.
#[derive(Debug)]
struct Voice {
    sound: Sound,
    dice: Dice,
    sample: u64,
    ssrc: u32,
    seq: u16,
    stamp: u32,
    marked: bool,
}

impl Voice {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let (ssrc, seq) = (dice.roll() as u32, dice.roll() as u16);
        let stamp = dice.roll() as u32;
        Self { sound: Sound::Silence, dice, sample: 0, ssrc, seq, stamp, marked: true }
    }

    fn play(&mut self, sound: Sound) {
        (self.sound, self.sample, self.marked) = (sound, 0, true);
    }

    /// The next 20 ms. Time goes on whether they are sent or not.
    fn frame(&mut self) -> [u8; FRAME] {
        let mut frame = [0xd5; FRAME];
        for sample in &mut frame {
            *sample = a_law(self.level());
            self.sample += 1;
        }
        self.stamp = self.stamp.wrapping_add(FRAME as u32);
        frame
    }

    fn level(&mut self) -> i16 {
        let at = self.sample as f64 / 8000.0;
        let wave = |hertz: f64| (at * hertz * std::f64::consts::TAU).sin();
        let level = match self.sound {
            Sound::Silence => 0.0,
            Sound::Ringback if at % 6.0 < 2.0 => 0.2 * (wave(440.0) + wave(480.0)),
            Sound::Ringback => 0.0,
            Sound::Music => 0.15 * (wave(262.0) + wave(330.0) + wave(392.0)),
            // Syllables: a pitch, its overtone, breath, and pauses between.
            Sound::Voice(seed) => {
                let pitch = 90.0 + (seed % 120) as f64;
                let breath = (self.dice.roll() % 2001) as f64 / 1000.0 - 1.0;
                let loud = wave(3.1).max(0.0);
                loud * (0.25 * wave(pitch) + 0.1 * wave(2.0 * pitch) + 0.05 * breath)
            }
        };
        (level * 32_000.0) as i16
    }

    fn packet(&mut self, payload: &[u8]) -> Vec<u8> {
        let marker = if std::mem::take(&mut self.marked) { 0x80 } else { 0 };
        self.seq = self.seq.wrapping_add(1);
        let mut packet = vec![0x80, 8 | marker];
        packet.extend(self.seq.to_be_bytes());
        packet.extend(self.stamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(payload);
        packet
    }
}

/// G.711 A-law of a 16-bit sample.
fn a_law(sample: i16) -> u8 {
    let (level, sign) = if sample < 0 { (!sample, 0x55) } else { (sample, 0xd5) };
    let level = level.unsigned_abs() >> 3;
    let segment = 11_u32.saturating_sub((level | 1).leading_zeros());
    let step = (level >> segment.max(1)) & 0x0f;
    (segment as u8) << 4 ^ step as u8 ^ sign
}

/// How much of what one side sent came to the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crossing {
    /// Packets received.
    pub received: usize,
    /// Sent before the first that came: the way was not open yet.
    pub before: usize,
    /// Sent between the first and the last that came, and lost.
    pub missing: usize,
    /// Sent after the last that came: the call was over.
    pub after: usize,
    /// Received and never sent like that.
    pub foreign: usize,
    /// SHA-256 over the payloads sent from the first to the last that came.
    pub sent_hash: String,
    /// SHA-256 over the payloads received, in the order of their numbers.
    pub received_hash: String,
}

impl Crossing {
    /// Holds what was received against what was sent.
    pub fn of(sent: &[Packet], received: &[Packet]) -> Self {
        let place: BTreeMap<(u32, u16), usize> =
            sent.iter().enumerate().map(|(at, p)| ((p.ssrc, p.seq), at)).collect();
        let mut came: BTreeMap<usize, u64> = BTreeMap::new();
        let mut foreign = 0;
        for packet in received {
            match place.get(&(packet.ssrc, packet.seq)) {
                Some(at) => _ = came.insert(*at, packet.hash),
                None => foreign += 1,
            }
        }
        let first = came.keys().next().copied().unwrap_or(sent.len());
        let end = came.keys().next_back().map_or(first, |last| last + 1);
        let between = sent.get(first..end).unwrap_or_default();
        Self {
            received: received.len(),
            before: first,
            missing: between.len() - came.len(),
            after: sent.len() - end,
            foreign,
            sent_hash: hash_of(between.iter().map(|p| p.hash)),
            received_hash: hash_of(came.into_values()),
        }
    }

    /// Whether everything came that was sent while the way was open, unchanged.
    pub fn is_whole(&self) -> bool {
        self.received > 0
            && (self.missing, self.foreign) == (0, 0)
            && self.sent_hash == self.received_hash
    }
}

fn hash_of(payloads: impl Iterator<Item = u64>) -> String {
    let mut hash = Sha256::new();
    payloads.for_each(|payload| hash.update(payload.to_be_bytes()));
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_is_that_of_g711() {
        for (sample, code) in [(0, 0xd5), (-1, 0x55), (32_767, 0xaa), (-32_768, 0x2a)] {
            assert_eq!(a_law(sample), code, "{sample}");
        }
        // Golden pairs of the recommendation's table: the first step of each segment.
        for (sample, code) in [(16, 0xd4), (256, 0xc5), (512, 0xf5), (16_384, 0xa5)] {
            assert_eq!(a_law(sample), code, "{sample}");
        }
    }

    fn packets(seqs: &[u16]) -> Vec<Packet> {
        seqs.iter().map(|&seq| Packet { at_us: 0, ssrc: 1, seq, hash: seq.into() }).collect()
    }

    #[test]
    fn a_gap_in_the_middle_is_a_loss_and_one_at_the_ends_is_none() {
        let sent = packets(&[65_534, 65_535, 0, 1, 2, 3]);
        let whole = Crossing::of(&sent, &packets(&[65_535, 1, 0, 2]));
        assert_eq!((whole.before, whole.missing, whole.after), (1, 0, 1));
        assert!(whole.is_whole());
        let holed = Crossing::of(&sent, &packets(&[65_535, 2]));
        assert_eq!((holed.missing, holed.is_whole()), (2, false));
        assert!(!Crossing::of(&sent, &[]).is_whole());
    }

    #[test]
    fn a_changed_or_foreign_packet_is_found() {
        let sent = packets(&[1, 2, 3]);
        let mut changed = packets(&[1, 2, 3]);
        changed[1].hash = 7;
        let crossing = Crossing::of(&sent, &changed);
        assert!(!crossing.is_whole() && crossing.sent_hash != crossing.received_hash);
        assert_eq!(Crossing::of(&sent, &packets(&[1, 2, 9])).foreign, 1);
    }

    #[tokio::test]
    async fn two_ports_hear_each_other() {
        let one = Port::open("127.61.0.1".parse().unwrap(), 1).await.unwrap();
        let two = Port::open("127.61.0.2".parse().unwrap(), 2).await.unwrap();
        one.play(Sound::Voice(1)).await;
        one.to(Some(two.local())).await;
        two.to(Some(one.local())).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (one, two) = tokio::join!(one.close(), two.close());
        assert!(Crossing::of(&one.sent, &two.received).is_whole());
        assert!(Crossing::of(&two.sent, &one.received).is_whole());
    }
}
