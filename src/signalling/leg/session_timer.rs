//! The session timer of one leg (RFC 4028): what was agreed, who refreshes, what is due when.
//!
//! ```text
//!  agreed        half of it          limit: before the end by 32 s, at most a third
//!    |---------------|-------------------------|--------------|
//!              we refresh, or:           the peer has not: BYE      the peer would
//! ```
//!
//! Each leg has its own: towards A we answer, towards B we ask.

use std::time::Duration;

use cooee_model::moment::Moment;
use minicbor::{Decode, Encode};

use crate::message::name::Name;
use crate::message::text::{number, param, split_outside, trim};
use crate::message::view::Message;
use crate::message::write::Writer;
use crate::profile::session_timer::{SessionTimer as Terms, SessionTimerMode as Mode};
use crate::transaction::layer::ClientId;

/// Refreshes that a peer may refuse, and 422s in a row, before we let it be.
const TRIES: u32 = 3;
/// Nearer to the limit than this no refresh that did not leave is tried again.
const AT_LEAST: Duration = Duration::from_secs(4);
/// The longest Min-SE that we bow to, seconds.
const LONGEST_MIN_SE: u32 = 86_400;
/// Min-SE where nobody names one (RFC 4028, 5), seconds.
const DEFAULT_MIN_SE: u32 = 90;

/// What has to happen to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// We refresh it.
    Refresh,
    /// It ends: nobody has refreshed it.
    End,
}

/// Our refresh of a leg that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// The request.
    pub client: ClientId,
    /// It is a re-INVITE, with this CSeq; else an UPDATE.
    pub invite: Option<u32>,
}

/// The session timer of one leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Session {
    /// The interval agreed on, seconds; 0: none.
    #[n(0)]
    expires_s: u32,
    /// It is ours to refresh.
    #[n(1)]
    ours: bool,
    /// The last refresh.
    #[n(2)]
    since: Moment,
    /// The largest Min-SE that the peer has asked for, seconds.
    #[n(3)]
    min_se_s: u32,
    /// Refreshes refused since the last one that was not.
    #[n(4)]
    refused: u32,
    /// When a refused one is tried again.
    #[n(5)]
    again: Option<Moment>,
    /// Times that the peer found our interval too small, in a row.
    #[n(6)]
    raised: u32,
    /// We list `timer` in what we answer.
    #[n(7)]
    told: bool,
}

impl Session {
    /// No session timer yet.
    pub const fn new() -> Self {
        Self {
            expires_s: 0,
            ours: false,
            since: Moment::new(0, 0),
            min_se_s: 0,
            refused: 0,
            again: None,
            raised: 0,
            told: false,
        }
    }

    /// Whether an interval is agreed on.
    pub const fn is_on(&self) -> bool {
        self.expires_s > 0
    }

    /// Whether we are the refresher.
    pub const fn is_ours(&self) -> bool {
        self.is_on() && self.ours
    }

    /// Whether the session was agreed upon, or refreshed, after that moment.
    pub fn is_newer_than(&self, at: Moment) -> bool {
        self.is_on() && self.since > at
    }

    // ---------------------------------------------------------------- as the asking side

    /// What a request of ours that refreshes the session says of it.
    pub fn write_request(&self, terms: &Terms, opens: bool, writer: &mut Writer) {
        if terms.mode == Mode::Off {
            return;
        }
        writer.header(Name::Supported, &[b"timer"]);
        if opens && terms.mode == Mode::Require {
            writer.header(Name::Require, &[b"timer"]);
        }
        let asks = matches!(terms.mode, Mode::Prefer | Mode::Require);
        match opens {
            true if asks => {
                writer.number(Name::SessionExpires, terms.expires_s.max(self.min_se_s));
            }
            false if self.is_on() => {
                let who = if self.ours { "uac" } else { "uas" };
                let text = format!("{};refresher={who}", self.expires_s.max(self.min_se_s));
                writer.header(Name::SessionExpires, &[text.as_bytes()]);
            }
            _ => return,
        }
        let least = terms.min_se_s.max(self.min_se_s);
        if least != DEFAULT_MIN_SE {
            writer.number(Name::MinSe, least);
        }
    }

    /// Takes the 2xx to such a request. Without Session-Expires there is no timer any more.
    pub fn as_uac(&mut self, terms: &Terms, response: &Message, now: Moment) {
        let agreed = expires(response).filter(|_| terms.mode != Mode::Off);
        let Some((expires_s, refresher)) = agreed else {
            return self.agree(terms, 0, false, now);
        };
        let ours = refresher != Some(Refresher::Uas);
        // A peer that goes below what we bear is not refreshed more often for it.
        self.agree(terms, if ours { expires_s.max(terms.min_se_s) } else { expires_s }, ours, now);
    }

    /// Takes a 422: the peer wants a longer interval. `false`: not one that we would try.
    pub fn raise(&mut self, response: &Message) -> bool {
        let least = response.value(Name::MinSe).and_then(seconds).unwrap_or_default();
        self.raised += 1;
        let fits = least > self.min_se_s && least <= LONGEST_MIN_SE && self.raised <= TRIES;
        if fits {
            self.min_se_s = least;
        }
        fits
    }

    // ---------------------------------------------------------------- as the answering side

    /// Why a request cannot be taken, as a status code. 421 only opens no dialog.
    pub fn refuses(terms: &Terms, request: &Message, opens: bool) -> Option<u16> {
        if terms.mode == Mode::Off {
            return None;
        }
        if expires(request).is_some_and(|(expires_s, _)| expires_s < terms.min_se_s) {
            return Some(422);
        }
        (opens && terms.mode == Mode::Require && !knows_timer(request)).then_some(421)
    }

    /// Takes a request that refreshes the session, as its 2xx leaves (RFC 4028, 9).
    pub fn as_uas(&mut self, terms: &Terms, request: &Message, now: Moment) {
        let knows = knows_timer(request);
        let least = request.value(Name::MinSe).and_then(seconds).unwrap_or_default();
        let own = terms.expires_s.max(least);
        let (expires_s, ours) = match (expires(request), terms.mode) {
            (_, Mode::Off) => (0, false),
            (Some((asked, refresher)), mode) => {
                // It may be made shorter, never longer, and not below the asker's Min-SE.
                let agreed = if mode == Mode::Accept { asked } else { asked.min(own) };
                (agreed.max(terms.min_se_s), !knows || refresher == Some(Refresher::Uas))
            }
            (None, Mode::Prefer | Mode::Require) if knows => {
                (own.max(terms.min_se_s), self.ours || !self.is_on())
            }
            (None, _) => (0, false),
        };
        self.agree(terms, expires_s, ours, now);
    }

    /// What the 2xx to it says. A peer that is to refresh has to know that it must.
    pub fn write_answer(&self, writer: &mut Writer) {
        if self.told {
            writer.header(Name::Supported, &[b"timer"]);
        }
        if !self.is_on() {
            return;
        }
        if !self.ours {
            writer.header(Name::Require, &[b"timer"]);
        }
        let who = if self.ours { "uas" } else { "uac" };
        let text = format!("{};refresher={who}", self.expires_s);
        writer.header(Name::SessionExpires, &[text.as_bytes()]);
    }

    fn agree(&mut self, terms: &Terms, expires_s: u32, ours: bool, now: Moment) {
        let told = terms.mode != Mode::Off;
        *self =
            Self { expires_s, ours, since: now, min_se_s: self.min_se_s, told, ..Self::default() };
    }

    // ---------------------------------------------------------------- time

    /// What is due next, and when; `refreshing`: our refresh is under way.
    pub fn next(&self, refreshing: bool) -> Option<(Moment, Due)> {
        if !self.is_on() {
            return None;
        }
        if self.ours && !refreshing {
            let half = self.since + self.span() / 2;
            return Some((self.again.unwrap_or(half), Due::Refresh));
        }
        Some((self.limit(), Due::End))
    }

    /// Whether the whole interval has passed, and not only what is left of it for a BYE.
    pub fn is_over(&self, now: Moment) -> bool {
        now - self.since >= self.span()
    }

    /// Our refresh was refused, though the dialog stands: it is tried again after `wait`, or half
    /// way to the limit; in the end the session goes on without.
    pub fn refused(&mut self, now: Moment, wait: Option<Duration>) {
        self.refused += 1;
        if self.refused > TRIES {
            (self.refused, self.again, self.since) = (0, None, now);
            return;
        }
        let rest = self.limit() - now;
        self.again = Some(now + wait.unwrap_or(rest / 2).min(self.span()));
    }

    /// Our refresh never left: tried again half way to the limit. `false`: that is too near, the
    /// session ends there.
    pub fn unsent(&mut self, now: Moment) -> bool {
        let rest = self.limit() - now;
        self.again = Some(now + rest / 2);
        rest > AT_LEAST
    }

    /// Tells its moments on the clock of this boot.
    pub fn across_reboot(&mut self, now: Moment) {
        self.since = self.since.across_reboot(now);
        self.again = self.again.map(|at| at.across_reboot(now));
    }

    fn span(&self) -> Duration {
        Duration::from_secs(self.expires_s.into())
    }

    /// When a session that nobody has refreshed is ended (RFC 4028, 10).
    fn limit(&self) -> Moment {
        let early = Duration::from_secs(32).min(self.span() / 3);
        self.since + self.span().saturating_sub(early)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refresher {
    Uac,
    Uas,
}

/// `Session-Expires`: seconds, and who refreshes.
fn expires(message: &Message) -> Option<(u32, Option<Refresher>)> {
    let value = message.value(Name::SessionExpires)?;
    let (head, params) = split_outside(value, b';');
    let refresher = params.and_then(|p| param(p, "refresher")).and_then(|who| match who {
        w if w.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
        w if w.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
        _ => None,
    });
    Some((seconds(head)?, refresher))
}

/// Delta-seconds at the start of a value.
fn seconds(value: &[u8]) -> Option<u32> {
    number(trim(split_outside(value, b';').0))
}

fn knows_timer(message: &Message) -> bool {
    message.lists(Name::Supported, "timer") || message.lists(Name::Require, "timer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const PREFER: Terms = Terms { mode: Mode::Prefer, expires_s: 1800, min_se_s: 90 };

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    fn request(lines: &str) -> Message {
        let text = format!("INVITE sip:x SIP/2.0\r\n{lines}CSeq: 1 INVITE\r\n\r\n");
        Message::read(Bytes::from(text)).unwrap()
    }

    fn ok(lines: &str) -> Message {
        let text = format!("SIP/2.0 200 OK\r\n{lines}CSeq: 1 INVITE\r\n\r\n");
        Message::read(Bytes::from(text)).unwrap()
    }

    /// What the answer to these lines says, and the same after it.
    fn answered(terms: Terms, lines: &str) -> (Session, String) {
        let mut session = Session::new();
        session.as_uas(&terms, &request(lines), at(100));
        let mut writer = Writer::response(200, b"");
        session.write_answer(&mut writer);
        let text = String::from_utf8(writer.finish(b"", b"").to_vec()).unwrap();
        let told = text.lines().find_map(|l| l.strip_prefix("Session-Expires: "));
        (session, told.unwrap_or_default().to_owned())
    }

    #[test]
    fn the_table_of_refreshers() {
        // RFC 4028, table 2: whether the asker knows the timer, and whom it names.
        for (lines, told) in [
            ("Session-Expires: 600\r\n", "600;refresher=uas"),
            ("Session-Expires: 600;refresher=uas\r\n", "600;refresher=uas"),
            ("Supported: timer\r\nSession-Expires: 600\r\n", "600;refresher=uac"),
            ("k: x, timer\r\nx: 600 ; Refresher=UAS\r\n", "600;refresher=uas"),
            ("Require: timer\r\nSession-Expires: 600;refresher=uac\r\n", "600;refresher=uac"),
            ("Supported: timer\r\n", "1800;refresher=uas"),
            ("Supported: timer\r\nMin-SE: 3600\r\n", "3600;refresher=uas"),
            ("Supported: timer\r\nSession-Expires: 7200\r\n", "1800;refresher=uac"),
            ("Supported: timer\r\nSession-Expires: 7200\r\nMin-SE: 3600\r\n", "3600;refresher=uac"),
            ("Session-Expires: soon\r\n", ""),
            ("", ""),
        ] {
            assert_eq!(answered(PREFER, lines).1, told, "{lines}");
        }
        let accept = Terms { mode: Mode::Accept, ..PREFER };
        assert_eq!(answered(accept, "Supported: timer\r\n").1, "");
        assert_eq!(answered(accept, "k: timer\r\nx: 7200\r\n").1, "7200;refresher=uac");
        let off = Terms { mode: Mode::Off, ..PREFER };
        assert_eq!(answered(off, "Supported: timer\r\nSession-Expires: 600\r\n").1, "");
    }

    #[test]
    fn flow_63_the_limit_is_32_seconds_or_a_third_before_the_end() {
        for (expires_s, half, limit) in [(90, 45, 60), (96, 48, 64), (1800, 900, 1768)] {
            let lines = format!("Session-Expires: {expires_s};refresher=uac\r\n");
            let mut session = Session::new();
            session.as_uac(&PREFER, &ok(&lines), at(100));
            assert_eq!(session.next(false), Some((at(100 + half), Due::Refresh)));
            assert_eq!(session.next(true), Some((at(100 + limit), Due::End)));
            let (session, _) = answered(PREFER, &format!("k: timer\r\nx: {expires_s}\r\n"));
            assert_eq!(session.next(false), Some((at(100 + limit), Due::End)));
        }
        let mut session = Session::new();
        session.as_uac(&PREFER, &ok(""), at(100));
        assert_eq!(session.next(false), None);
    }

    #[test]
    fn a_refused_refresh_is_tried_three_times_and_then_let_be() {
        let mut session = Session::new();
        session.as_uac(&PREFER, &ok("Session-Expires: 90\r\n"), at(0));
        session.refused(at(45), Some(Duration::from_secs(2)));
        assert_eq!(session.next(false), Some((at(47), Due::Refresh)));
        session.refused(at(48), None);
        assert_eq!(session.next(false), Some((at(54), Due::Refresh)));
        session.refused(at(54), None);
        session.refused(at(57), None);
        assert_eq!(session.next(false), Some((at(102), Due::Refresh)), "a whole interval later");
    }

    #[test]
    fn flow_62_a_422_is_followed_up_to_a_day_and_three_times() {
        let too_small = |least: u32| ok(&format!("Min-SE: {least}\r\n"));
        let mut session = Session::new();
        assert!(!session.raise(&ok("")) && !session.raise(&too_small(86_401)));
        assert!(session.raise(&too_small(2000)));
        assert!(!session.raise(&too_small(2001)), "enough");
        let mut session = Session::new();
        assert!(session.raise(&too_small(2000)) && !session.raise(&too_small(2000)));
        let mut writer = Writer::request(b"INVITE", b"sip:x");
        session.write_request(&PREFER, true, &mut writer);
        let text = String::from_utf8(writer.finish(b"", b"").to_vec()).unwrap();
        assert!(text.contains("Session-Expires: 2000\r\nMin-SE: 2000\r\n"), "{text}");
    }
}
