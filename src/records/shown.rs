//! Rows as people read them: instants in UTC, spans, and tables for a terminal.

use crate::cdr::{Cdr, Leg, Media, Sample};

/// Microseconds since the Unix epoch as `2026-01-01T00:00:00.000Z`; rounded down.
pub fn iso_utc(us: i64) -> String {
    let (second, us) = whole_second(us);
    format!("{second}.{:03}Z", us / 1000)
}

/// Microseconds since the Unix epoch as `2026-01-01T00:00:00.000000Z` (RFC 3339).
pub fn rfc3339(us: i64) -> String {
    let (second, us) = whole_second(us);
    format!("{second}.{us:06}Z")
}

/// The second in UTC, and the microseconds past it.
fn whole_second(us: i64) -> (String, i64) {
    let (s, us) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000));
    let (days, s) = (s.div_euclid(86_400), s.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
    (format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}"), us)
}

/// Milliseconds as seconds with three places; empty where there is no span.
pub fn seconds(ms: Option<f64>) -> String {
    ms.map_or_else(String::new, |ms| format!("{:.3}", ms / 1000.0))
}

/// A text that is no instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAnInstant;

impl std::fmt::Display for NotAnInstant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an instant is 90s, 15m, 1h, 7d (ago), 2026-01-31 or 2026-01-31T08:00:00Z")
    }
}

impl std::error::Error for NotAnInstant {}

/// Reads `90s`, `15m`, `1h`, `7d` (that long before `now_us`), or a day or second in UTC.
/// Microseconds since the Unix epoch.
///
/// # Errors
/// [`NotAnInstant`].
pub fn instant(text: &str, now_us: i64) -> Result<i64, NotAnInstant> {
    ago(text, now_us).or_else(|| day_or_second(text)).ok_or(NotAnInstant)
}

fn ago(text: &str, now_us: i64) -> Option<i64> {
    let (count, unit_s) = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))?;
    let count: u32 = count.parse().ok()?;
    now_us.checked_sub(i64::from(count).checked_mul(unit_s * 1_000_000)?)
}

fn day_or_second(text: &str) -> Option<i64> {
    let (day, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let [year, month, dom] = numbers(day, '-')?;
    let time = time.strip_suffix('Z').unwrap_or(time);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [h, m, s] = numbers(time, ':').or_else(|| numbers(&format!("{time}:00"), ':'))?;
    let fraction_us: i64 = format!("{fraction:0<6}").parse().ok().filter(|us| *us < 1_000_000)?;
    let days = days_from(year, month, dom);
    let real = civil(days) == (year, month, dom) && h < 24 && m < 60 && s < 60 && year > 1969;
    real.then(|| ((days * 24 + h) * 60 + m) * 60 + s)?
        .checked_mul(1_000_000)?
        .checked_add(fraction_us)
}

fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let mut parts = text.split(between).map(|part| {
        let digits = !part.is_empty() && part.len() < 5 && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<i64>().ok()).flatten()
    });
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

/// Year, month and day of a day since the epoch (proleptic Gregorian calendar; years are counted
/// from March, so that the leap day is the last of its year).
fn civil(days: i64) -> (i64, i64, i64) {
    let since = days + 719_468;
    let (era, of_era) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`] for dates that exist.
fn days_from(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The list of calls, one line each.
pub fn calls(rows: &[Cdr]) -> String {
    let titles = [
        "invite (UTC)",
        "id",
        "customer",
        "number",
        "route",
        "outcome",
        "status",
        "waited s",
        "connect s",
        "talk s",
        "ended by",
    ];
    let cells: Vec<[String; 11]> = rows
        .iter()
        .map(|cdr| {
            [
                iso_utc(cdr.t_invite_us),
                cdr.id.clone(),
                text(&cdr.customer),
                text(&cdr.did),
                text(&cdr.route),
                cdr.outcome.clone(),
                text(&cdr.status_code),
                seconds(cdr.trunk_queue_ms.or(cdr.abandoned_ms)),
                seconds(cdr.connect_ms),
                seconds(cdr.talk_ms),
                cdr.end_party.clone(),
            ]
        })
        .collect();
    table(titles, &cells)
}

/// One call in full: what it was, its moments with their distance from the INVITE, its spans, its
/// legs, its media and how they sounded.
pub fn call(cdr: &Cdr, legs: &[Leg], media: &[Media], quality: &[Sample]) -> String {
    [about(cdr), moments(cdr), spans(cdr), of_legs(cdr, legs), of_media(media, quality)].join("\n")
}

fn about(cdr: &Cdr) -> String {
    let code = |code: Option<u16>| code.map_or_else(String::new, |code| code.to_string());
    let flags = match (cdr.recovered, cdr.wall_spans) {
        (true, true) => "a restart fell into it; spans by the wall clock",
        (true, false) => "a restart fell into it; media figures since then",
        _ => "",
    };
    let lines = [
        ("call", cdr.id.clone()),
        ("node", cdr.node.clone()),
        ("role", text(&cdr.role)),
        ("route", text(&cdr.route)),
        ("revision", cdr.config_rev.to_string()),
        ("customer", text(&cdr.customer)),
        ("called", text(&cdr.called)),
        ("number", text(&cdr.did)),
        ("chosen by", text(&cdr.did_rule)),
        ("autodialer", text(&cdr.autodialer_id)),
        ("dialer's id", text(&cdr.unitalk_call_id)),
        ("agent", text(&cdr.agent)),
        ("portal's id", text(&cdr.portal_call_id)),
        ("outcome", cdr.outcome.clone()),
        ("STATUS_CODE", text(&cdr.status_code)),
        ("ended by", cdr.end_party.clone()),
        ("SIP", code(cdr.sip_final)),
        ("Q.850", code(cdr.q850)),
        ("reason", text(&cdr.reason_text)),
        ("note", flags.to_owned()),
    ];
    let said = lines.into_iter().filter(|(_, value)| !value.is_empty());
    let shown = |value: String| value.chars().map(printable).collect::<String>();
    said.map(|(name, value)| format!("{name:<12} {}\n", shown(value))).collect()
}

fn moments(cdr: &Cdr) -> String {
    let agent = match cdr.t_agent_err_ms {
        Some(err_ms) => format!("agent ({}, +-{err_ms} ms)", cdr.t_agent_src),
        None => format!("agent ({})", cdr.t_agent_src),
    };
    let rows: Vec<[String; 3]> = [
        ("INVITE", Some(cdr.t_invite_us)),
        ("INVITE out", cdr.t_invite_out_us),
        ("100", cdr.t_b_100_us),
        ("18x", cdr.t_b_18x_us),
        ("platform 2xx", cdr.t_b_200_us),
        ("queue", cdr.t_queue_us),
        (agent.as_str(), cdr.t_agent_us),
        ("bridge", cdr.t_bridge_us),
        ("end", cdr.t_end_us),
    ]
    .into_iter()
    .filter_map(|(name, us)| Some([name.to_owned(), iso_utc(us?), since(cdr, us)]))
    .collect();
    table(["moment", "UTC", "s"], &rows)
}

fn spans(cdr: &Cdr) -> String {
    let held = cdr.hold_ms.filter(|_| cdr.hold_count.is_some_and(|count| count > 0));
    let rows: Vec<[String; 2]> = [
        ("set-up", cdr.setup_ms),
        ("queue, trunk view", cdr.trunk_queue_ms),
        ("abandoned after", cdr.abandoned_ms),
        ("bridge", cdr.bridge_ms),
        ("connect", cdr.connect_ms),
        ("hold", held.map(|ms| ms as f64)),
        ("talk", cdr.talk_ms),
    ]
    .into_iter()
    .filter_map(|(name, ms)| Some([name.to_owned(), seconds(Some(ms?))]))
    .collect();
    table(["span", "s"], &rows)
}

fn of_legs(cdr: &Cdr, legs: &[Leg]) -> String {
    let titles =
        ["leg", "trunk", "peer", "code", "INVITE s", "18x s", "2xx s", "end s", "codec", "Call-ID"];
    let cells: Vec<[String; 10]> = legs
        .iter()
        .map(|leg| {
            [
                leg.side.clone(),
                leg.trunk.clone(),
                text(&leg.peer),
                leg.result.map_or_else(String::new, |code| code.to_string()),
                since(cdr, leg.t_invite_us),
                since(cdr, leg.t_18x_us),
                since(cdr, leg.t_200_us),
                since(cdr, leg.t_end_us),
                text(&leg.codec),
                leg.sip_call_id.clone(),
            ]
        })
        .collect();
    table(titles, &cells)
}

fn of_media(media: &[Media], quality: &[Sample]) -> String {
    let titles = [
        "from",
        "packets",
        "lost",
        "duplicate",
        "reordered",
        "jitter us",
        "foreign",
        "type",
        "MOS",
        "worst",
        "there and back ms",
    ];
    let cells: Vec<[String; 11]> = media
        .iter()
        .map(|side| {
            let counts = [side.packets, side.lost, side.duplicate, side.reordered];
            let [packets, lost, duplicate, reordered] = counts.map(|count| count.to_string());
            let jitter_us = side.jitter_us.to_string();
            let payload = side.payload_type.map_or_else(String::new, |t| t.to_string());
            let foreign = side.foreign_packets.to_string();
            let [mean, worst, trip_ms] = sounded(quality, &side.side);
            [
                side.side.clone(),
                packets,
                lost,
                duplicate,
                reordered,
                jitter_us,
                foreign,
                payload,
                mean,
                worst,
                trip_ms,
            ]
        })
        .collect();
    table(titles, &cells)
}

/// The mean score of a side by packets, its worst, and the last round trip known.
fn sounded(quality: &[Sample], side: &str) -> [String; 3] {
    let of_side = || quality.iter().filter(|sample| sample.side == side);
    let scores = of_side().filter_map(|sample| Some((sample.mos?, f64::from(sample.packets))));
    let (sum, packets) =
        scores.fold((0.0, 0.0), |(sum, n), (mos, packets)| (sum + mos * packets, n + packets));
    let worst = of_side().filter_map(|sample| sample.mos).min_by(f64::total_cmp);
    let score = |mos: Option<f64>| mos.map_or_else(String::new, |mos| format!("{mos:.2}"));
    let trip = of_side().filter_map(|sample| sample.rtt_us).next_back();
    let trip_ms = trip.map_or_else(String::new, |us| format!("{:.1}", f64::from(us) / 1000.0));
    [score((packets > 0.0).then(|| sum / packets)), score(worst), trip_ms]
}

/// Seconds from the INVITE on.
fn since(cdr: &Cdr, us: Option<i64>) -> String {
    seconds(us.map(|us| us.saturating_sub(cdr.t_invite_us) as f64 / 1000.0))
}

fn text(text: &Option<String>) -> String {
    text.clone().unwrap_or_default()
}

/// A table for a terminal: columns as wide as their widest cell, numbers to the right, two spaces
/// between, nothing at the end of a line. A column counts as numbers if all its cells do.
pub fn table<const N: usize>(titles: [&str; N], rows: &[[String; N]]) -> String {
    let mut out = String::new();
    let columns: Vec<(usize, bool)> = titles
        .iter()
        .enumerate()
        .map(|(n, title)| {
            let cells = || rows.iter().filter_map(move |row| row.get(n));
            let width = cells().map(|cell| cell.chars().count()).max().unwrap_or(0);
            let number = |cell: &String| cell.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            (width.max(title.chars().count()), cells().all(number))
        })
        .collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, (width, number)) in cells.zip(&columns) {
            let cell: String = cell.chars().map(printable).collect();
            let width = *width;
            text +=
                &if *number { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut titles.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    out
}

/// What a peer put into a name must not steer the terminal.
fn printable(c: char) -> char {
    if c.is_control() { '\u{fffd}' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_told_in_utc() {
        for (us, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000Z"),
            (1_767_225_599_999_999, "2025-12-31T23:59:59.999Z"),
            (1_767_225_600_123_456, "2026-01-01T00:00:00.123Z"),
            (4_102_444_800_000_000, "2100-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(iso_utc(us), text);
            if us >= 0 {
                assert_eq!(instant(text, 0), Ok(us / 1000 * 1000));
            }
        }
    }

    #[test]
    fn every_day_of_four_centuries_reads_back() {
        for days in 0..146_097 {
            let (year, month, day) = civil(days);
            assert_eq!(days_from(year, month, day), days);
        }
    }

    #[test]
    fn instants_are_read_as_people_write_them() {
        let now = 1_767_225_600_000_000;
        for (text, us) in [
            ("90s", now - 90_000_000),
            ("1h", now - 3_600_000_000),
            ("7d", now - 604_800_000_000),
            ("2026-01-01", now),
            ("2026-01-01T00:01", now + 60_000_000),
            ("2026-01-01 00:00:01.5Z", now + 1_500_000),
        ] {
            assert_eq!(instant(text, now), Ok(us), "{text}");
        }
        for text in ["", "h", "-1h", "1y", "2026-02-30", "2026-13-01", "2026-01-01T24:00", "x-y-z"]
        {
            assert_eq!(instant(text, now), Err(NotAnInstant), "{text}");
        }
    }

    fn row() -> Cdr {
        Cdr {
            id: "01KDVDGR000000000000000004".into(),
            node: "syd-1".into(),
            route: Some("dialer-agents".into()),
            customer: Some("+61491570156".into()),
            did: Some("+61255501234".into()),
            t_invite_us: 1_767_225_600_000_000,
            t_b_200_us: Some(1_767_225_602_000_000),
            t_agent_us: Some(1_767_225_618_000_000),
            t_end_us: Some(1_767_225_636_000_000),
            t_agent_src: "b24_event".into(),
            t_agent_err_ms: Some(500),
            hold_ms: Some(8000),
            hold_count: Some(1),
            outcome: "connected".into(),
            status_code: Some("200".into()),
            end_party: "agent".into(),
            reason_text: Some("good\nbye".into()),
            ..Cdr::default()
        }
        .measured()
    }

    #[test]
    fn a_list_has_one_line_a_call() {
        let expected = "\
invite (UTC)              id                          customer      number        route          \
outcome    status  waited s  connect s  talk s  ended by
2026-01-01T00:00:00.000Z  01KDVDGR000000000000000004  +61491570156  +61255501234  dialer-agents  \
connected     200    18.000     18.000  10.000  agent
";
        assert_eq!(calls(&[row()]), expected);
    }

    #[test]
    fn one_call_is_told_in_full() {
        let leg = Leg {
            side: "B".into(),
            trunk: "vox".into(),
            sip_call_id: "x@y".into(),
            t_200_us: Some(1_767_225_602_000_000),
            ..Leg::default()
        };
        let media = Media { side: "A".into(), packets: 900, ..Media::default() };
        let expected = "\
call         01KDVDGR000000000000000004
node         syd-1
route        dialer-agents
revision     0
customer     +61491570156
number       +61255501234
outcome      connected
STATUS_CODE  200
ended by     agent
reason       good\u{fffd}bye

moment                       UTC                            s
INVITE                       2026-01-01T00:00:00.000Z   0.000
platform 2xx                 2026-01-01T00:00:02.000Z   2.000
agent (b24_event, +-500 ms)  2026-01-01T00:00:18.000Z  18.000
end                          2026-01-01T00:00:36.000Z  36.000

span                    s
set-up              2.000
queue, trunk view  18.000
connect            18.000
hold                8.000
talk               10.000

leg  trunk  peer  code  INVITE s  18x s  2xx s  end s  codec  Call-ID
B    vox                                 2.000                x@y

from  packets  lost  duplicate  reordered  jitter us  foreign  type   MOS  worst  there and back ms
A         900     0          0          0          0        0        4.20   3.80               21.5
";
        let sample = |mos, packets, rtt_us| Sample {
            side: "A".into(),
            mos: Some(mos),
            packets,
            rtt_us,
            ..Sample::default()
        };
        let quality = [sample(3.8, 100, Some(21_480)), sample(4.3, 400, None), Sample::default()];
        assert_eq!(call(&row(), &[leg], &[media], &quality), expected);
    }

    #[test]
    fn a_table_lines_up() {
        let rows = [
            ["a".to_owned(), "1.5".to_owned(), "x".to_owned()],
            ["long".to_owned(), "20".to_owned(), "\u{1b}[2J".to_owned()],
        ];
        let shown = table(["name", "s", "note"], &rows);
        assert_eq!(shown, "name    s  note\na     1.5  x\nlong   20  \u{fffd}[2J\n");
    }
}
