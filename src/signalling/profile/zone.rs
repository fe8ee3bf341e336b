//! Time zones, as far as opening hours need them: fixed offsets and two rules of summer time.
//!
//! The core has no clock and no files, so the zones are a short table. A zone that is not in it is
//! a finding of the check.

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    name: &'static str,
    standard_min: i32,
    summer: Summer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Summer {
    Never,
    /// First Sunday of October to the first Sunday of April, 02:00 standard time.
    Australia,
    /// Last Sunday of March to the last Sunday of October, 01:00 UTC.
    Europe,
}

macro_rules! zones {
    ($($name:literal $minutes:literal $summer:ident;)*) => {
        /// All zones that are known.
        pub const ZONES: &[Zone] = &[$(
            Zone { name: $name, standard_min: $minutes, summer: Summer::$summer },
        )*];
    };
}

zones! {
    "UTC" 0 Never;
    "Australia/Sydney" 600 Australia;
    "Australia/Melbourne" 600 Australia;
    "Australia/Hobart" 600 Australia;
    "Australia/Canberra" 600 Australia;
    "Australia/Brisbane" 600 Never;
    "Australia/Adelaide" 570 Australia;
    "Australia/Darwin" 570 Never;
    "Australia/Perth" 480 Never;
    "Europe/London" 0 Europe;
    "Europe/Berlin" 60 Europe;
    "Europe/Warsaw" 60 Europe;
    "Europe/Kyiv" 120 Europe;
    "Europe/Kiev" 120 Europe;
    "Europe/Moscow" 180 Never;
    "Asia/Almaty" 300 Never;
    "Asia/Singapore" 480 Never;
}

impl Default for Zone {
    fn default() -> Self {
        Self { name: "UTC", standard_min: 0, summer: Summer::Never }
    }
}

/// A moment as a calendar and a clock on the wall show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Year, month (1 to 12) and day (1 to 31).
    pub date: (i32, u8, u8),
    /// 0 is Monday.
    pub weekday: u8,
    /// Minutes since midnight.
    pub minute: u16,
}

const DAY_S: i64 = 86_400;

impl Zone {
    /// The zone with this name.
    pub fn named(name: &str) -> Option<Self> {
        ZONES.iter().find(|z| z.name == name).copied()
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Zones in which people of an Australian state live; all of them where the state is unknown.
    pub fn of_states(states: Option<&[&str]>) -> Vec<Self> {
        const HOMES: [(&str, &str); 8] = [
            ("NSW", "Australia/Sydney"),
            ("ACT", "Australia/Canberra"),
            ("VIC", "Australia/Melbourne"),
            ("TAS", "Australia/Hobart"),
            ("QLD", "Australia/Brisbane"),
            ("SA", "Australia/Adelaide"),
            ("WA", "Australia/Perth"),
            ("NT", "Australia/Darwin"),
        ];
        HOMES
            .iter()
            .filter(|(state, _)| states.is_none_or(|s| s.contains(state)))
            .filter_map(|(_, name)| Self::named(name))
            .collect()
    }

    /// What the wall shows at `wall_ns`, nanoseconds since the Unix epoch.
    pub fn local(self, wall_ns: i64) -> Local {
        let utc_s = wall_ns.div_euclid(1_000_000_000);
        let standard_s = utc_s + i64::from(self.standard_min) * 60;
        let summer = match self.summer {
            Summer::Never => false,
            Summer::Australia => {
                let (year, ..) = civil(standard_s.div_euclid(DAY_S));
                let ends = first_sunday(year, 4) * DAY_S + 2 * 3600;
                let begins = first_sunday(year, 10) * DAY_S + 2 * 3600;
                standard_s < ends || standard_s >= begins
            }
            Summer::Europe => {
                let (year, ..) = civil(utc_s.div_euclid(DAY_S));
                // The last Sunday of a month of 31 days is seven days before the next one's first.
                let begins = (first_sunday(year, 4) - 7) * DAY_S + 3600;
                let ends = (first_sunday(year, 11) - 7) * DAY_S + 3600;
                (begins..ends).contains(&utc_s)
            }
        };
        let local_s = standard_s + if summer { 3600 } else { 0 };
        let day = local_s.div_euclid(DAY_S);
        Local {
            date: civil(day),
            weekday: u8::try_from((day + 3).rem_euclid(7)).unwrap_or(0),
            minute: u16::try_from(local_s.rem_euclid(DAY_S) / 60).unwrap_or(0),
        }
    }
}

/// Year, month and day of a day counted from 1970-01-01 (proleptic Gregorian calendar).
fn civil(day: i64) -> (i32, u8, u8) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let slot = (5 * of_year + 2) / 153;
    let month = if slot < 10 { slot + 3 } else { slot - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (
        i32::try_from(year).unwrap_or(i32::MAX),
        u8::try_from(month).unwrap_or(1),
        u8::try_from(of_year - (153 * slot + 2) / 5 + 1).unwrap_or(1),
    )
}

/// The day counted from 1970-01-01.
fn day_of(year: i32, month: u8, day: u8) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month = i64::from(month);
    let slot = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * slot + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn first_sunday(year: i32, month: u8) -> i64 {
    let first = day_of(year, month, 1);
    // Day 0 was a Thursday, so a Sunday has remainder 3.
    first + (3 - first).rem_euclid(7)
}

/// A date written `2026-12-25`.
pub fn parse_date(text: &str) -> Option<(i32, u8, u8)> {
    let mut parts = text.trim().splitn(3, '-');
    let mut part = || parts.next();
    let (year, month, day) = (part()?, part()?, part()?);
    let date = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    let (y, m, d) = date;
    (civil(day_of(y, m, d)) == date).then_some(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(zone: &str, utc_s: i64) -> (String, u8, u16) {
        let l = Zone::named(zone).unwrap().local(utc_s * 1_000_000_000);
        let (y, m, d) = l.date;
        (format!("{y}-{m:02}-{d:02}"), l.weekday, l.minute)
    }

    #[test]
    fn summer_time_begins_and_ends_on_its_sundays() {
        // 2025-10-05 02:00 AEST = 2025-10-04 16:00 UTC; 2026-04-05 03:00 AEDT = 2026-04-04 16:00.
        assert_eq!(shows("Australia/Sydney", 1_759_593_599), ("2025-10-05".into(), 6, 119));
        assert_eq!(shows("Australia/Sydney", 1_759_593_600), ("2025-10-05".into(), 6, 180));
        assert_eq!(shows("Australia/Sydney", 1_775_318_399), ("2026-04-05".into(), 6, 179));
        assert_eq!(shows("Australia/Sydney", 1_775_318_400), ("2026-04-05".into(), 6, 120));
        assert_eq!(shows("Australia/Brisbane", 1_759_593_600), ("2025-10-05".into(), 6, 120));
        // 2026-03-29 01:00 UTC, 2025-10-26 01:00 UTC.
        assert_eq!(shows("Europe/Kyiv", 1_774_745_999), ("2026-03-29".into(), 6, 179));
        assert_eq!(shows("Europe/Kyiv", 1_774_746_000), ("2026-03-29".into(), 6, 240));
        assert_eq!(shows("Europe/London", 1_761_440_400), ("2025-10-26".into(), 6, 60));
        assert_eq!(shows("UTC", -1), ("1969-12-31".into(), 2, 1439));
    }

    #[test]
    fn dates_are_dates() {
        assert_eq!(parse_date("2024-02-29"), Some((2024, 2, 29)));
        for bad in ["2023-02-29", "2024-13-01", "2024-1", "x", "2024-00-10"] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }
}
