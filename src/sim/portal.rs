//! The portal's event queue: posts what happened, late, once, without an order and without a
//! second try, as the forms that Bitrix24 sends.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::clock::{Dice, now_us};
use crate::limits::INBOX;
use crate::truth::{Book, Post, Word};

/// Where a portal posts to, and how well.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of the hook.
    pub url: String,
    /// `auth[application_token]`.
    pub token: String,
    /// `auth[member_id]`.
    pub member_id: String,
    /// Shortest and longest delay, milliseconds. Delays of their own are what reorders events.
    pub delay_ms: (u64, u64),
    /// Events that are lost, in a hundred.
    pub loss: u8,
    /// Events that come twice, in a hundred.
    pub twice: u8,
    /// What the dice start from.
    pub seed: u64,
}

/// What happened to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It began on a line.
    Init {
        /// `sip12`.
        line: String,
        /// The customer's digits.
        customer: String,
        /// The number that was dialled.
        called: String,
    },
    /// An agent answered.
    Start {
        /// Which.
        user: String,
    },
    /// It is in the history.
    End {
        /// `sip12`.
        line: String,
        /// The customer's digits.
        customer: String,
        /// The agent, or empty.
        user: String,
        /// Seconds.
        duration_s: i64,
        /// `CALL_FAILED_CODE`.
        code: u16,
        /// When it began, seconds since the epoch.
        began: i64,
    },
}

/// A message for the queue.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The call's number in the book.
    pub n: u32,
    /// The portal's id of the call.
    pub call_id: String,
    /// When it happened.
    pub at_us: i64,
    /// What.
    pub event: Event,
    /// What becomes of it; `Late` is as `Once`: whoever posts it has waited.
    pub fate: Word,
    /// With a token that is not the portal's.
    pub forged: bool,
}

/// The queue; it works until it is dropped.
#[derive(Clone, Debug)]
pub struct Portal(mpsc::Sender<Letter>);

impl Portal {
    /// Starts the queue.
    pub fn start(settings: Settings, book: Book) -> Self {
        let (sender, letters) = mpsc::channel(INBOX);
        tokio::spawn(work(settings, book, letters));
        Self(sender)
    }

    /// Takes a letter.
    pub async fn post(&self, letter: Letter) {
        let _ = self.0.send(letter).await;
    }
}

async fn work(settings: Settings, book: Book, mut letters: mpsc::Receiver<Letter>) {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
    let Ok(client) = client else { return };
    let mut dice = Dice::new(settings.seed);
    let mut ways = JoinSet::new();
    while let Some(letter) = letters.recv().await {
        while ways.try_join_next().is_some() {}
        let lost = letter.fate == Word::Lost || dice.falls(settings.loss);
        let twice = letter.fate == Word::Twice || dice.falls(settings.twice);
        let copies = if lost { 0 } else { 1 + u32::from(twice) };
        if lost {
            book.posted(letter.n, record(&letter, now_us(), None));
        }
        for _ in 0..copies {
            let delay = dice.between(settings.delay_ms.0, settings.delay_ms.1);
            let encoded = dice.falls(50);
            let body = form(&settings, &letter, encoded);
            let request = client
                .post(&settings.url)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body);
            let (book, letter) = (book.clone(), letter.clone());
            ways.spawn(async move {
                sleep(Duration::from_millis(delay)).await;
                let sent_us = now_us();
                let status = request.send().await.ok().map(|answer| answer.status().as_u16());
                book.posted(letter.n, record(&letter, sent_us, status));
            });
        }
    }
    while ways.join_next().await.is_some() {}
}

fn record(letter: &Letter, sent_us: i64, status: Option<u16>) -> Post {
    Post {
        event: name(&letter.event),
        call_id: letter.call_id.clone(),
        ts: letter.at_us.div_euclid(1_000_000),
        sent_us,
        status,
        forged: letter.forged,
    }
}

/// The event's name.
fn name(event: &Event) -> &'static str {
    match event {
        Event::Init { .. } => "ONVOXIMPLANTCALLINIT",
        Event::Start { .. } => "ONVOXIMPLANTCALLSTART",
        Event::End { .. } => "ONVOXIMPLANTCALLEND",
    }
}

/// The body as Bitrix24 writes it: PHP brackets, raw or percent-encoded; `ts` in whole seconds.
fn form(settings: &Settings, letter: &Letter, encoded: bool) -> String {
    let mut data = vec![("CALL_ID", letter.call_id.clone())];
    let text = str::to_owned;
    match &letter.event {
        Event::Init { line, customer, called } => data.extend([
            ("CALL_TYPE", text("2")),
            ("ACCOUNT_SEARCH_ID", line.clone()),
            ("PHONE_NUMBER", called.clone()),
            ("CALLER_ID", customer.clone()),
        ]),
        Event::Start { user } => data.push(("USER_ID", user.clone())),
        Event::End { line, customer, user, duration_s, code, began } => data.extend([
            ("CALL_TYPE", text("2")),
            ("PHONE_NUMBER", customer.clone()),
            ("PORTAL_NUMBER", line.clone()),
            ("PORTAL_USER_ID", user.clone()),
            ("CALL_DURATION", duration_s.to_string()),
            ("CALL_START_DATE", iso(*began)),
            ("COST", text("0.0000")),
            ("COST_CURRENCY", text("USD")),
            ("CALL_FAILED_CODE", code.to_string()),
            (
                "CALL_FAILED_REASON",
                text(if *code == 200 { "Success call" } else { "Skipped call" }),
            ),
            ("CRM_ACTIVITY_ID", (1000 + letter.n).to_string()),
        ]),
    }
    let token = if letter.forged { "not-the-portals-token" } else { &settings.token };
    let auth = [
        ("access_token", "simulated"),
        ("expires_in", "3600"),
        ("scope", "telephony"),
        ("domain", "portal.example"),
        ("server_endpoint", "https://oauth.example/rest/"),
        ("status", "L"),
        ("client_endpoint", "https://portal.example/rest/"),
        ("member_id", settings.member_id.as_str()),
        ("application_token", token),
    ];
    let key = |part: &str, name: &str| match encoded {
        true => format!("{part}%5B{name}%5D"),
        false => format!("{part}[{name}]"),
    };
    let mut pairs =
        vec![format!("event={}", name(&letter.event)), "event_handler_id=31".to_owned()];
    pairs.extend(
        data.iter().map(|(name, value)| format!("{}={}", key("data", name), escape(value))),
    );
    pairs.push(format!("ts={}", letter.at_us.div_euclid(1_000_000)));
    pairs.extend(
        auth.iter().map(|(name, value)| format!("{}={}", key("auth", name), escape(value))),
    );
    pairs.join("&")
}

fn escape(value: &str) -> String {
    let mut escaped = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// A moment as `2026-01-31T08:00:00+00:00`.
fn iso(seconds: i64) -> String {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil from days, with years that begin in March (Hinnant).
    let z = days + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}+00:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            url: String::new(),
            token: "aa11&bb22".to_owned(),
            member_id: "m1".to_owned(),
            delay_ms: (0, 0),
            loss: 0,
            twice: 0,
            seed: 1,
        }
    }

    #[test]
    fn a_form_is_as_bitrix24_writes_it() {
        let event = Event::Start { user: "42".to_owned() };
        let letter = Letter {
            n: 1,
            call_id: "1A2B.1770000050.9000001".to_owned(),
            at_us: 1_770_000_070_999_999,
            event,
            fate: Word::Once,
            forged: false,
        };
        let body = form(&settings(), &letter, true);
        assert!(body.starts_with(
            "event=ONVOXIMPLANTCALLSTART&event_handler_id=31\
             &data%5BCALL_ID%5D=1A2B.1770000050.9000001&data%5BUSER_ID%5D=42&ts=1770000070&auth%5B"
        ));
        assert!(body.ends_with("&auth%5Bapplication_token%5D=aa11%26bb22"));
        let forged = form(&settings(), &Letter { forged: true, ..letter }, false);
        assert!(forged.ends_with("&auth[application_token]=not-the-portals-token"));
    }

    #[test]
    fn dates_are_told_right() {
        assert_eq!(iso(0), "1970-01-01T00:00:00+00:00");
        assert_eq!(iso(1_767_225_599), "2025-12-31T23:59:59+00:00");
        assert_eq!(iso(1_709_164_800), "2024-02-29T00:00:00+00:00");
    }
}
