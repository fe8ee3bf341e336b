//! The session timer of a user agent (RFC 4028).

use cooee_model::ids::Side;

use crate::script::{SECOND, Timer};
use crate::sip::{Msg, param};
use crate::ua::{Cx, Do, State, Tick, Ua};

/// What was agreed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Session {
    /// Zero: no timer.
    pub expires: u64,
    /// When it was last refreshed.
    pub since: u64,
    /// It is this side's to refresh.
    pub ours: bool,
    /// How often it has been agreed on.
    pub(super) nth: u32,
    /// It was agreed on otherwise while an answer was under way: the sides may differ.
    crossed: bool,
    /// The largest Min-SE that was asked for, seconds.
    min_s: u32,
    /// It ended because nobody refreshed it.
    pub ran_out: bool,
}

impl Session {
    /// When nobody who watches it believes in it any more (RFC 4028, 10).
    fn limit(&self) -> u64 {
        self.since + self.expires - (32 * SECOND).min(self.expires / 3)
    }
}

impl Ua {
    fn timer(&self) -> Timer {
        *self.script.timer(self.side)
    }

    /// What a request says that opens or refreshes the session.
    pub(super) fn session_asks(&self, opens: bool) -> String {
        let timer = self.timer();
        if !timer.knows {
            return String::new();
        }
        let mut text = "Supported: timer\r\n".to_owned();
        let (expires_s, who) = match (opens, self.session.expires) {
            (true, _) if timer.asks_s > 0 => (timer.asks_s.max(self.session.min_s), timer.who),
            (false, 1..) => {
                let agreed = u32::try_from(self.session.expires / SECOND).unwrap();
                (agreed.max(self.session.min_s), if self.session.ours { "uac" } else { "uas" })
            }
            _ => return text,
        };
        let who = if who.is_empty() { String::new() } else { format!(";refresher={who}") };
        text += &format!("Session-Expires: {expires_s}{who}\r\n");
        let least = timer.min_s.max(self.session.min_s);
        if least > 90 {
            text += &format!("Min-SE: {least}\r\n");
        }
        text
    }

    /// Why a request that says this of the session is refused.
    pub(super) fn session_refuses(&self, m: &Msg<'_>) -> Option<(u16, String)> {
        let timer = self.timer();
        if !timer.knows {
            let wanted = m.lists("Require", "timer");
            return wanted.then(|| (420, "Unsupported: timer\r\n".to_owned()));
        }
        let too_small = expires(m).is_some_and(|(asked, _)| asked < u64::from(timer.min_s));
        too_small.then(|| (422, format!("Min-SE: {}\r\n", timer.min_s)))
    }

    /// The 2xx to a request that opens or refreshes the session leaves; what it says of it.
    pub(super) fn session_answers(&mut self, m: &Msg<'_>, cx: &mut Cx<'_>) -> String {
        let timer = self.timer();
        let (expires, ours) = match expires(m) {
            _ if !timer.knows => (0, false),
            Some((asked, Some(who))) => (asked, who == "uas"),
            Some((asked, None)) => (asked, timer.who != "uac"),
            None if m.lists("Supported", "timer") => {
                let wanted = if timer.asks_s > 0 { timer.asks_s.max(timer.min_s) } else { 0 };
                (wanted.into(), timer.who != "uac")
            }
            None => (0, false),
        };
        self.agree(expires, ours, cx);
        if expires == 0 {
            return String::new();
        }
        let who = if ours { "uas" } else { "uac" };
        format!("Require: timer\r\nSession-Expires: {expires};refresher={who}\r\n")
    }

    /// The 2xx to such a request of ours has come.
    pub(super) fn session_taken(&mut self, m: &Msg<'_>, nth: u32, cx: &mut Cx<'_>) {
        let crossed = nth != self.session.nth;
        match expires(m).filter(|_| self.timer().knows) {
            Some((expires, who)) => self.agree(expires, who != Some("uas"), cx),
            None => self.agree(0, false, cx),
        }
        self.session.crossed = crossed;
    }

    fn agree(&mut self, expires_s: u64, ours: bool, cx: &mut Cx<'_>) {
        let nth = self.session.nth + 1;
        let (expires, since) = (expires_s * SECOND, cx.now);
        self.session = Session { expires, since, ours, nth, crossed: false, ..self.session };
        if expires == 0 {
            return;
        }
        // Who refuses to be refreshed is there: the session goes on for another interval.
        let patience = if self.refuses_reinvites() { 3 } else { 1 };
        cx.out.push(Do::Watch(since + patience * expires));
        if self.timer().stops {
            return;
        }
        if ours {
            cx.later(expires / 2, Tick::Refresh(nth));
        }
        cx.later(self.session.limit() - since, Tick::RunOut(nth));
    }

    /// A 422: the interval is too small. `false`: it is not tried again.
    pub(super) fn raise(&mut self, m: &Msg<'_>) -> bool {
        let least = m.header("Min-SE").and_then(|v| v.parse().ok()).unwrap_or(0);
        let more = least > self.session.min_s;
        self.session.min_s = self.session.min_s.max(least);
        more
    }

    /// A request that might have refreshed the session was refused.
    pub(super) fn not_refreshed(&mut self, m: &Msg<'_>, cx: &mut Cx<'_>) {
        let Session { expires, since, ours, nth, .. } = self.session;
        if m.code == 422 {
            self.raise(m);
        }
        if expires > 0 && ours && cx.now >= since + expires / 2 && !self.timer().stops {
            let wait = if m.code == 422 { 0 } else { cx.rng.between(2, 4) * SECOND };
            cx.later(wait, Tick::Refresh(nth));
        }
    }

    pub(super) fn refresh(&mut self, nth: u32, cx: &mut Cx<'_>) {
        if nth != self.session.nth || self.state != State::Up {
            return;
        }
        let updates = self.clients.iter().any(|c| c.method == "UPDATE" && c.code < 200 && !c.over);
        if self.timer().by_update && !updates {
            let more = self.session_asks(false);
            self.ask("UPDATE", &more, "", cx);
        } else if updates || self.is_busy() {
            // What is under way refreshes too, if it is taken.
            cx.later(2 * SECOND, Tick::Refresh(nth));
        } else {
            let body = self.media(if self.holding { "sendonly" } else { "sendrecv" });
            let more = self.session_asks(false);
            let id = self.ask("INVITE", &more, &body, cx);
            self.clients[id].hold = self.holding;
        }
    }

    /// Nobody has refreshed the session.
    pub(super) fn ran_out(&mut self, nth: u32, cx: &mut Cx<'_>) {
        if nth == self.session.nth && self.state == State::Up {
            self.session.ran_out = true;
            self.bye(cx);
        }
    }

    /// Whether this side refreshes its session by a re-INVITE, which the other side may refuse.
    pub fn leans_on_other(&self) -> bool {
        self.session.ours && !self.timer().by_update
    }

    /// Whether nothing can be asked of this side: it is gone for good, or cares for no timer.
    pub fn lets_it_run_out(&self) -> bool {
        self.dead || self.session.crossed || self.timer().stops || self.state != State::Up
    }

    /// Whether it believes in a session of its own, for the checkers.
    pub fn has_session(&self) -> bool {
        self.session.expires > 0 && self.state == State::Up && !self.is_fork
    }

    /// Whether it refuses re-INVITEs by its script.
    pub fn refuses_reinvites(&self) -> bool {
        let part = if self.side == Side::A { &self.script.a } else { &self.script.b };
        part.reinvite.1 != 200
    }
}

/// `Session-Expires`: seconds, and who refreshes.
fn expires<'a>(m: &Msg<'a>) -> Option<(u64, Option<&'a str>)> {
    let value = m.header("Session-Expires")?;
    let seconds = value.split(';').next()?.trim().parse().ok()?;
    Some((seconds, param(value, "refresher")))
}
