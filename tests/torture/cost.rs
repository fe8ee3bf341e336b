//! S21: what a message of full size costs, whatever it is made of.

use std::time::Duration;

use crate::wire::{Came, send};
use crate::world::{SDP_A, World, invite};

const FULL: usize = 60_000;

fn filled(unit: &str) -> String {
    unit.repeat(FULL / unit.len())
}

/// CPU time of this thread, so that a busy machine does not count.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// What a message costs, and what came of it. Whatever is too much is tried again: the first try
/// may have met a cold cache.
fn cost(message: &str) -> (Duration, Came) {
    let mut least = (Duration::MAX, Came::default());
    for _ in 0..5 {
        let mut world = World::transparent();
        let began = cpu();
        let came = send(&mut world, message.to_owned());
        least = (least.0.min(cpu() - began), came);
        if least.0 <= limit() {
            break;
        }
    }
    least
}

const HEADERS: &[&str] = &[
    "Via",
    "From",
    "To",
    "Contact",
    "Route",
    "Require",
    "Content-Type",
    "Privacy",
    "X-Any",
    "P-Asserted-Identity",
    "Call-ID",
    "CSeq",
    "Record-Route",
    "Accept",
    "Content-Length",
    "Max-Forwards",
    "Reason",
    "Diversion",
    "History-Info",
    "Subject",
    "Replaces",
    "Supported",
];

const UNITS: &[&str] = &[
    ",",
    ";",
    "(",
    "<",
    "\"",
    "\\",
    "\r\n ",
    "a,",
    "a=b;",
    "<sip:a@b>,",
    "SIP/2.0/UDP a,",
    "%41",
    ")",
    ">",
    "\"\\",
    "\r\n\t,",
    "<a>,",
    "\"a\" <sip:a@b>;q=1,",
    "@",
    ":",
    " ",
    "0",
    "\u{e9}",
    ",\r\n ;",
    "=\"",
    "[",
    "::",
];

/// All of them in a long run, the first ten or so in a short one.
fn some<'a>(all: &'a [&'a str]) -> &'a [&'a str] {
    if std::env::var_os("COOEE_LONG").is_some() { all } else { &all[..10] }
}

#[test]
fn s21_a_message_of_full_size_is_read_in_linear_time() {
    let mut slow = Vec::new();
    for header in some(HEADERS) {
        for unit in some(UNITS) {
            // Beside a good one of its name, and in its place.
            let (value, plain) = (filled(unit), invite("", SDP_A));
            let alone = plain.replace(&format!("{header}: "), &format!("{header}: {value}"));
            for message in [invite(&format!("{header}: {value}\r\n"), SDP_A), alone] {
                let (spent, came) = cost(&message);
                if spent > limit() {
                    slow.push(format!("{header} of {unit:?}: {spent:?}, {}", came.word()));
                }
            }
        }
    }
    assert!(slow.is_empty(), "\n{}\n", slow.join("\n"));
}

#[test]
fn s21_a_body_of_full_size_is_read_in_linear_time() {
    let units = [
        "m=",
        "a=",
        "a=rtpmap:1 a/1\r\n",
        "c=\r\n",
        "m=audio 1 RTP/AVP 8\r\n",
        "\r\n",
        "--b",
        "--b\r\n",
        "\r\n\r\n",
        "--b\r\n\r\n",
        "application/sd",
        " 8",
        "a=fmtp:8 x\r\n",
        "=\n",
    ];
    let mut slow = Vec::new();
    for unit in units {
        for (kind, start) in [
            ("application/sdp", SDP_A),
            ("multipart/mixed;boundary=b", ""),
            ("multipart/mixed;boundary=\"\"", ""),
            ("text/plain", ""),
        ] {
            let body = format!("{start}{}", filled(unit));
            let message = invite("", &body).replace("application/sdp", kind);
            let (spent, came) = cost(&message);
            if spent > limit() {
                slow.push(format!("{kind} of {unit:?}: {spent:?}, {}", came.word()));
            }
        }
    }
    assert!(slow.is_empty(), "\n{}\n", slow.join("\n"));
}

/// 5 ms; without optimisation a generous multiple, which what is quadratic passes by far.
fn limit() -> Duration {
    Duration::from_millis(if cfg!(debug_assertions) { 40 } else { 5 })
}
