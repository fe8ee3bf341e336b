//! What a world can beside plain calls, drawn from its seed.
//!
//! Worlds of odd seeds are plain: nothing hides what goes wrong with INVITE, CANCEL and BYE. Each
//! extra has a chance of its own, so that one more leaves the others' draws as they were.

use crate::rng::Rng;

/// The extras of one world.
#[derive(Clone, Debug, Default)]
pub struct Kind {
    /// Session timers: what the node wants of them.
    pub timers: Option<Timers>,
    /// OPTIONS to the trunks, whose hosts go and come back.
    pub pings: Option<Pings>,
    /// UPDATE before the answer; `sip.reliable`.
    pub early: Option<&'static str>,
    /// Challenges both ways; whether the switch knows B's realm beforehand.
    pub digest: Option<bool>,
    /// A's side, and B's, speak TCP.
    pub streams: [bool; 2],
    /// Transfers are asked for; `sip.refer`.
    pub refer: Option<&'static str>,
    /// The journal has no room for a while.
    pub full_disk: bool,
}

/// How trunks are asked whether they are there.
#[derive(Clone, Copy, Debug)]
pub struct Pings {
    pub interval_s: u64,
    pub fail_after: u64,
    pub ok_after: u64,
}

/// What the node wants of session timers.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    mode: &'static str,
    expires_s: u64,
}

/// The chance of each extra.
#[derive(Clone, Debug)]
pub struct Dice {
    pub timers: Rng,
    pub pings: Rng,
    pub early: Rng,
    pub digest: Rng,
    pub streams: Rng,
    pub refer: Rng,
    pub disk: Rng,
}

impl Dice {
    fn of(seed: u64) -> Self {
        let rng = |n: u32| Rng::new(seed.rotate_left(8 * n));
        Self {
            timers: rng(1),
            pings: rng(2),
            early: rng(3),
            digest: rng(4),
            streams: rng(5),
            refer: rng(6),
            disk: rng(7),
        }
    }
}

impl Kind {
    /// The kind of a seed's world, and the chance that draws its extras.
    pub fn of(seed: u64) -> (Self, Dice) {
        let mut dice = Dice::of(seed);
        if !seed.is_multiple_of(2) {
            return (Self::default(), dice);
        }
        let Dice { timers, pings, early, digest, streams, refer, disk } = &mut dice;
        let kind = Self {
            timers: timers.percent(50).then(|| Timers {
                mode: timers.one_of(&["accept", "prefer", "prefer", "require"]),
                expires_s: timers.between(90, 240),
            }),
            pings: pings.percent(30).then(|| Pings {
                interval_s: pings.between(6, 30),
                fail_after: pings.between(1, 4),
                ok_after: pings.between(1, 4),
            }),
            early: early.percent(30).then(|| early.one_of(&["supported", "required"])),
            digest: digest.percent(25).then(|| digest.percent(50)),
            streams: [streams.percent(20), streams.percent(20)],
            refer: refer.percent(25).then(|| refer.one_of(&["603", "405", "relay", "relay"])),
            full_disk: disk.percent(10),
        };
        (kind, dice)
    }

    /// What the configuration's `[sip]` says of it.
    pub fn sip(&self) -> String {
        let mut text = match self.pings {
            Some(Pings { interval_s, fail_after, ok_after }) => format!(
                "options_ping = {{ interval_s = {interval_s}, fail_after = {fail_after}, \
                 ok_after = {ok_after} }}\n"
            ),
            None => "options_ping = { interval_s = 0 }\n".to_owned(),
        };
        if let Some(Timers { mode, expires_s }) = self.timers {
            text += &format!("session_timer = {{ mode = \"{mode}\", expires = {expires_s} }}\n");
        }
        if let Some(mode) = self.early {
            text += &format!("reliable = \"{mode}\"\n");
        }
        if let Some(refer) = self.refer {
            text += &format!("refer = \"{refer}\"\n");
        }
        text
    }
}
