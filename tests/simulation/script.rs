//! What the people and machines on both sides of a call will do, drawn from the seed beforehand.

use cooee_model::ids::Side;

use crate::kind::{Dice, Kind};
use crate::rng::Rng;

/// Milliseconds, as nanoseconds of the virtual clock.
pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1000 * MS;
/// RFC 3261, 17.1.1.1.
pub const T1: u64 = 500 * MS;
pub const T2: u64 = 4 * SECOND;
pub const GIVE_UP: u64 = 64 * T1;

/// What a party that is up does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Its part of the call begins: A sends its INVITE.
    Start,
    /// A has changed its mind: CANCEL, or BYE in the early dialog.
    GiveUp {
        by_bye: bool,
    },
    Hold,
    Resume,
    Info,
    /// UPDATE, with an offer or without.
    Update(bool),
    /// A transfer.
    Refer,
    /// How a transfer goes; whether that is its end.
    Notify(bool),
    Bye,
    /// Never heard of again.
    Die,
    /// B: the provisional response with this place in the script.
    Progress(usize),
    /// B: the final response.
    Final,
}

/// One side's part.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// A: counted from the first moment; B: from the arrival of the INVITE.
    pub at_start: Vec<(u64, Act)>,
    /// Counted from its 2xx, sent or received.
    pub once_up: Vec<(u64, Act)>,
    /// How it answers a re-INVITE: when, with what.
    pub reinvite: (u64, u16),
}

impl Part {
    /// It does not die.
    pub fn spare(&mut self) {
        self.at_start.retain(|(_, act)| *act != Act::Die);
        self.once_up.retain(|(_, act)| *act != Act::Die);
    }
}

/// How B answers the INVITE.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Whether 100 is sent at once.
    pub trying: bool,
    /// Whether it sends reliable provisional responses to who knows them.
    pub reliable: bool,
    /// Provisional responses: code, with a description, fork.
    pub progress: Vec<(u16, bool, usize)>,
    /// Zero: never.
    pub code: u16,
    pub retry_after: Option<u32>,
    /// Forks that answer after the first has, this much later each.
    pub forks: Vec<u64>,
}

/// One call.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub begins: u64,
    pub late_offer: bool,
    /// What A says of 100rel: nothing, `Supported`, `Require`.
    pub reliable: &'static str,
    /// Whether each side allows UPDATE.
    pub updates: (bool, bool),
    pub a: Part,
    pub b: Part,
    pub answer: Answer,
    /// What A and B make of session timers.
    pub timers: [Timer; 2],
    /// What B wants proven; A does not know its password.
    pub challenges: Challenges,
    pub guesses: bool,
    /// How a transfer is refused; 0: it is passed on.
    pub refer: u16,
}

/// Which requests B wants proven.
#[derive(Clone, Copy, Debug, Default)]
pub struct Challenges {
    pub invite: bool,
    /// re-INVITE, UPDATE and INFO.
    pub within: bool,
    pub bye: bool,
    /// By 407.
    pub proxy: bool,
    /// A nonce is too old, once.
    pub stale: bool,
}

/// What a side makes of session timers (RFC 4028).
#[derive(Clone, Copy, Debug, Default)]
pub struct Timer {
    pub knows: bool,
    /// The interval that it wants, seconds; 0: none.
    pub asks_s: u32,
    /// Whom it wants to refresh: nobody in particular, `uac`, `uas`.
    pub who: &'static str,
    /// The smallest interval that it bears, seconds.
    pub min_s: u32,
    /// It refreshes by UPDATE, or else by a re-INVITE.
    pub by_update: bool,
    /// It forgets to refresh, and to look whether anybody does.
    pub stops: bool,
}

const REFUSALS: [u16; 12] = [486, 486, 603, 404, 480, 488, 500, 503, 503, 403, 302, 401];

impl Script {
    pub fn draw(rng: &mut Rng, window: u64) -> Self {
        let mut script = Self {
            begins: rng.below(window),
            late_offer: rng.percent(8),
            reliable: "",
            updates: (rng.percent(50), rng.percent(50)),
            a: Part { reinvite: reinvite(rng), ..Part::default() },
            b: Part { reinvite: reinvite(rng), ..Part::default() },
            answer: Answer { trying: !rng.percent(15), ..Answer::default() },
            timers: Default::default(),
            challenges: Challenges::default(),
            guesses: false,
            refer: 0,
        };
        if !script.late_offer {
            script.reliable = rng.one_of(&["", "", "Supported", "Require"]);
        }
        script.answer.reliable = rng.percent(50);
        script.a.at_start.push((0, Act::Start));
        // Nobody listens to a ringing tone for ever.
        script.a.at_start.push((rng.between(60, 140) * SECOND, Act::GiveUp { by_bye: false }));
        let decided = script.ring(rng);
        if rng.percent(18) {
            // Often in the moment of the decision itself.
            let near = decided.saturating_sub(100 * MS) + rng.below(300 * MS);
            let at = if rng.percent(50) { near } else { rng.below(decided + SECOND) };
            script.a.at_start.push((at, Act::GiveUp { by_bye: rng.percent(20) }));
        }
        script.talk(rng);
        script.perish(rng, decided);
        script
    }

    /// How B rings and decides; when it does.
    fn ring(&mut self, rng: &mut Rng) -> u64 {
        let mut at = rng.below(300 * MS);
        let forks = if rng.percent(10) { 3 } else { 1 };
        for place in 0..rng.below(4) {
            let code = rng.one_of(&[180, 180, 183, 181, 182]);
            let fork = usize::try_from(rng.below(forks)).unwrap();
            let place = usize::try_from(place).unwrap();
            self.answer.progress.push((code, code == 183 || rng.percent(10), fork));
            self.b.at_start.push((at, Act::Progress(place)));
            at += rng.between(MS, 2 * SECOND);
        }
        at += match rng.below(10) {
            0 => 0,
            1..=7 => rng.below(8 * SECOND),
            _ => rng.below(33 * SECOND),
        };
        match rng.below(100) {
            0..=69 => self.answer.code = 200,
            70..=92 => self.answer.code = rng.one_of(&REFUSALS),
            _ => {}
        }
        if self.answer.code == 503 && rng.percent(60) {
            self.answer.retry_after = Some(u32::try_from(rng.between(1, 30)).unwrap());
        }
        if self.answer.code == 200 && forks > 1 && rng.percent(60) {
            self.answer.forks = (0..rng.between(1, 3)).map(|_| rng.below(300 * MS)).collect();
        }
        if self.answer.code != 0 {
            self.b.at_start.push((at, Act::Final));
        }
        at
    }

    /// What passes while both talk, and who hangs up.
    fn talk(&mut self, rng: &mut Rng) {
        let length = match rng.below(10) {
            0 => rng.below(600 * MS),
            1..=6 => rng.below(20 * SECOND),
            _ => rng.below(60 * SECOND),
        };
        if rng.percent(35) {
            for _ in 0..rng.between(1, 4) {
                let at = rng.below(length + MS);
                let side = if rng.percent(50) { &mut self.a } else { &mut self.b };
                side.once_up.push((at, Act::Hold));
                side.once_up.push((at + rng.below(6 * SECOND), Act::Resume));
                if rng.percent(40) {
                    // Glare: both at once.
                    let near = at + rng.below(80 * MS);
                    self.a.once_up.push((near, Act::Hold));
                    self.b.once_up.push((at, Act::Resume));
                }
            }
        }
        for _ in 0..rng.below(3) {
            let side = if rng.percent(50) { &mut self.a } else { &mut self.b };
            let act = match rng.below(4) {
                0 => Act::Update(true),
                1 => Act::Update(false),
                _ => Act::Info,
            };
            side.once_up.push((rng.below(length + MS), act));
        }
        let both = rng.percent(15);
        if both || rng.percent(50) {
            self.a.once_up.push((length, Act::Bye));
        }
        if both || self.a.once_up.iter().all(|(_, act)| *act != Act::Bye) {
            self.b.once_up.push((length + rng.below(60 * MS), Act::Bye));
        }
        // Who hears nothing any more hangs up in the end.
        self.a.once_up.push((rng.between(180, 220) * SECOND, Act::Bye));
        self.b.once_up.push((rng.between(180, 220) * SECOND, Act::Bye));
    }

    /// Draws what goes beyond plain calls.
    pub fn extend(&mut self, kind: &Kind, dice: &mut Dice) {
        if kind.timers.is_some() {
            self.timers = [timer(&mut dice.timers), timer(&mut dice.timers)];
            self.go_on(&mut dice.timers);
        }
        if kind.early.is_some() {
            self.begin_anew(&mut dice.early);
        }
        if let Some(knows_realm) = kind.digest {
            let rng = &mut dice.digest;
            self.guesses = rng.percent(5);
            self.challenges = Challenges {
                invite: rng.percent(50),
                within: rng.percent(50),
                bye: rng.percent(50),
                proxy: rng.percent(50),
                stale: rng.percent(30),
            };
            // Whose realm is not known, and who asked for nothing before, is asked by nobody.
            self.challenges.within &= knows_realm || self.challenges.invite;
            self.challenges.bye &= knows_realm || self.challenges.invite;
        }
        if let Some(refer) = kind.refer {
            self.refer = refer.parse().unwrap_or(0);
            let rng = &mut dice.refer;
            for part in [&mut self.a, &mut self.b] {
                if rng.percent(40) {
                    part.once_up.insert(0, (rng.below(20 * SECOND), Act::Refer));
                }
            }
        }
    }

    /// The call is described again before it is answered.
    fn begin_anew(&mut self, rng: &mut Rng) {
        if rng.percent(70) {
            self.updates = (true, true);
            self.reliable = rng.one_of(&["Supported", "Require"]);
            self.answer.reliable = true;
            self.late_offer = false;
        }
        for part in [&mut self.a, &mut self.b] {
            if rng.percent(50) {
                // A counts from the first moment: its call begins at `begins`, as all of its part.
                part.at_start.push((rng.below(5 * SECOND), Act::Update(rng.percent(70))));
            }
        }
        for (_, with_sdp, _) in &mut self.answer.progress {
            *with_sdp |= rng.percent(60);
        }
    }

    /// Some calls last, and nobody hangs up who hears nothing: that is for the timers to find.
    fn go_on(&mut self, rng: &mut Rng) {
        let longer = if rng.percent(50) { rng.between(100, 700) * SECOND } else { 0 };
        for (part, side) in [(&mut self.a, Side::A), (&mut self.b, Side::B)] {
            // The last act is who hears nothing any more.
            if let Some(last) = part.once_up.last_mut() {
                last.0 = rng.between(1000, 1100) * SECOND;
            }
            let byes = part.once_up.len().saturating_sub(1);
            for (at, act) in part.once_up.iter_mut().take(byes) {
                if *act == Act::Bye {
                    *at += longer;
                }
            }
            let (_, code) = &mut part.reinvite;
            if rng.percent(60) {
                *code = 200;
            }
            if rng.percent(8) {
                let die = (rng.below(longer + 20 * SECOND), Act::Die);
                part.once_up.push(die);
            }
            if longer > 0 && rng.percent(40) {
                let at = rng.below(longer);
                let act = rng.one_of(&[Act::Hold, Act::Resume, Act::Update(true), Act::Info]);
                part.once_up.push((at, if side == Side::A { act } else { Act::Hold }));
            }
        }
    }

    /// What this side makes of session timers.
    pub fn timer(&self, side: Side) -> &Timer {
        match side {
            Side::A => &self.timers[0],
            Side::B => &self.timers[1],
        }
    }

    fn perish(&mut self, rng: &mut Rng, decided: u64) {
        if rng.percent(4) {
            self.b.at_start.push((rng.below(decided + 20 * SECOND), Act::Die));
        }
        if rng.percent(3) {
            self.a.at_start.push((rng.below(decided + 20 * SECOND), Act::Die));
        }
    }
}

fn timer(rng: &mut Rng) -> Timer {
    let min_s = if rng.percent(25) { u32::try_from(rng.between(91, 300)).unwrap() } else { 90 };
    let asks_s = match rng.below(10) {
        0..=3 => 0,
        4 => u32::try_from(rng.between(20, 90)).unwrap(),
        _ => min_s + u32::try_from(rng.below(200)).unwrap(),
    };
    Timer {
        knows: rng.percent(80),
        asks_s,
        who: rng.one_of(&["", "uac", "uas"]),
        min_s,
        by_update: rng.percent(50),
        stops: rng.percent(15),
    }
}

fn reinvite(rng: &mut Rng) -> (u64, u16) {
    let delay = match rng.below(10) {
        0..=6 => rng.below(300 * MS),
        7 | 8 => rng.below(3 * SECOND),
        _ => 10 * SECOND,
    };
    (delay, rng.one_of(&[200, 200, 200, 200, 200, 488, 500, 481]))
}
