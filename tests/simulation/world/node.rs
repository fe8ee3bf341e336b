//! The world's side of the switch: its inputs, its journal, its relay, its crashes.

use cooee_model::ids::{CallId, Side};
use cooee_model::media::{MediaCommand, MediaEvent, StreamStats};
use cooee_model::moment::Moment;
use cooee_signalling::call::context::{Output, Record};
use cooee_signalling::call::peers::Place;
use cooee_signalling::call::snapshot::Image;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::switch::Switch;
use cooee_signalling::switch::input::Input;

use crate::script::{MS, SECOND};
use crate::world::plans::node;
use crate::world::{Event, World};

impl World {
    /// Tells the switch where B is.
    pub(super) fn introduce(&mut self) {
        for trunk in [1, 2] {
            let hosts = self.hosts.of_trunk(trunk);
            let place = |host: &str| {
                let tcp = self.pipes.lead_to(host);
                let transport = if tcp { Transport::Tcp } else { Transport::Udp };
                Place::new(transport, host.parse().unwrap())
            };
            let peers = hosts.map(place).collect();
            self.input(Input::Peers { revision: 1, trunk, peers });
        }
    }

    pub(super) fn moment(&self) -> Moment {
        Moment::new(self.now, self.wall + i64::try_from(self.now).unwrap())
    }

    /// Everything but the journal is lost.
    pub(super) fn crash(&mut self) {
        (self.up, self.dying) = (false, false);
        self.life += 1;
        self.relays.clear();
        self.pipes.close_all();
        self.ledger.crashed(self.now);
        let wait = self.rng.between(100 * MS, 3 * SECOND);
        self.later(self.now + wait, Event::Start);
        if self.trace {
            let now = self.now;
            self.calls.iter_mut().for_each(|met| met.log.note(now, "the node dies".to_owned()));
        }
    }

    /// The journal has room again: all that is alive is written anew.
    pub(super) fn checkpoint(&mut self) {
        self.is_full = false;
        if self.up {
            let image = |id| Some((id, self.switch.snapshot(id)?));
            self.snapshots = self.switch.calls().filter_map(image).collect();
            self.ledger.checkpoint();
        }
    }

    /// The node begins again, on what the journal has.
    pub(super) fn start(&mut self) {
        self.up = true;
        self.hosts.forget();
        let now = self.moment();
        self.switch = Switch::new(node(&self.plan, &mut self.rng), now);
        self.introduce();
        let images: Vec<_> = self.snapshots.iter().map(|(id, i)| (*id, i.clone())).collect();
        let mut out = Output::default();
        self.switch.recover(now, &images, true, &mut out);
        self.take(&mut out);
    }

    pub(super) fn input(&mut self, input: Input) {
        let now = self.moment();
        let mut out = std::mem::take(&mut self.out);
        self.switch.handle(now, input, &mut out);
        if self.dying {
            out.sends.clear();
            out.media.clear();
        }
        self.take(&mut out);
        out.clear();
        self.out = out;
        if self.dying {
            self.crash();
        }
    }

    /// What was kept leads to the same call as an image of now.
    fn assert_patched(&self, call: CallId) {
        let kept = self.snapshots.get(&call).zip(self.switch.snapshot(call));
        let Some((kept, whole)) = kept else { return };
        let image = |bytes: &[u8]| Image::read(call, bytes).expect("an image");
        let (kept, whole) = (image(kept), image(&whole));
        assert!(kept.agrees(&whole), "{kept:?}\n{whole:?}");
    }

    /// What the switch decided: the journal first, then the wire, then the relay.
    pub(super) fn take(&mut self, out: &mut Output) {
        // Only a journal with no room lets messages go without their records.
        let lost = self.is_full;
        let mut patched = Vec::new();
        for record in out.records.drain(..) {
            match &record {
                Record::Fact(fact) => {
                    self.mix(&[fact.seq.to_be_bytes(), [0; 4]].concat());
                    let call = self.ledger.fact(fact, lost);
                    if let Some((call, met)) = call.and_then(|c| Some((c, self.calls.get(c)?))) {
                        self.ledger.timed_out(call, fact, met, self.now);
                    }
                    if self.trace
                        && let Some(met) = call.and_then(|c| self.calls.get_mut(c))
                    {
                        let text = format!("{:?}", fact.what);
                        met.log.note(self.now, text.chars().take(110).collect());
                    }
                }
                Record::Snapshot(call, bytes) => {
                    self.mix(bytes);
                    self.ledger.snapshot(*call, lost);
                    if !lost {
                        self.snapshots.insert(*call, bytes.clone());
                    }
                }
                Record::Patch(call, change) => {
                    self.mix(change);
                    if lost {
                        continue;
                    }
                    let kept = self.snapshots.get_mut(call).expect("a patch follows an image");
                    kept.extend_from_slice(change);
                    patched.push(*call);
                }
                Record::Gone(call) => {
                    self.ledger.gone(*call, lost);
                    if !lost {
                        self.snapshots.remove(call);
                    }
                }
            }
        }
        for call in patched {
            self.assert_patched(call);
        }
        for send in std::mem::take(&mut out.sends) {
            self.mix(&send.bytes);
            let to = send.flow.remote;
            let tcp = send.flow.transport == Transport::Tcp;
            let found = self.hosts.at(to).filter(|h| tcp == self.pipes.lead_to(h.name));
            let Some((side, host)) = found.map(|h| (h.side, h.name)) else {
                self.ledger.faults.push((0, format!("a datagram to a stranger, {to}")));
                continue;
            };
            self.sent(side, host, send.flow, send.bytes);
        }
        for command in std::mem::take(&mut out.media) {
            self.media(command);
        }
    }

    pub(super) fn media(&mut self, command: MediaCommand) {
        match command {
            MediaCommand::Open { call, .. } => {
                let Some(number) = self.ledger.call_of(call) else { return };
                self.relays.insert(call, number);
                self.later(self.now + 60 * SECOND, Event::Listen(self.life, call));
            }
            MediaCommand::Mark { call, .. } => {
                for side in [Side::A, Side::B] {
                    let at = self.now + self.rng.below(200 * MS);
                    let moment = Moment::new(at, 0);
                    let event = MediaEvent::Forwarded { call, side, at: moment };
                    self.later(at, Event::Media(self.life, event));
                }
            }
            MediaCommand::Close { call } => {
                self.relays.remove(&call);
                // Now and then the relay is slow, and now and then it says nothing at all.
                let wait = match self.rng.below(50) {
                    0 => return,
                    1 => self.rng.below(8 * SECOND),
                    _ => self.rng.below(20 * MS),
                };
                let (a, b) = (StreamStats::default(), StreamStats::default());
                let closed = Event::Media(self.life, MediaEvent::Closed { call, a, b });
                self.later(self.now + wait, closed);
            }
            MediaCommand::Digits { .. } | MediaCommand::Press { .. } => {}
            MediaCommand::Peer { .. } | MediaCommand::Hold { .. } | MediaCommand::Swap { .. } => {}
        }
    }

    /// Everything that left the switch goes into the run's fingerprint.
    pub(super) fn mix(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let word = u64::from_le_bytes(word) ^ self.now;
            self.done.hash =
                (self.done.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }
}
