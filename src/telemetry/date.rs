//! Wall clock readings as text.

use std::time::Duration;

use cooee_model::moment::Moment;

/// Time since the Unix epoch; a wall clock before it counts as it.
pub(crate) fn wall(moment: Moment) -> Duration {
    Duration::from_nanos(u64::try_from(moment.wall).unwrap_or_default())
}

/// A wall clock reading as RFC 3339 in UTC, to the millisecond.
pub fn rfc3339(moment: Moment) -> String {
    const DAY_S: u64 = 86_400;
    let since_epoch = wall(moment);
    let (seconds, ms) = (since_epoch.as_secs(), since_epoch.subsec_millis());
    let (days, second) = (seconds / DAY_S, seconds % DAY_S);
    // Civil date from days (H. Hinnant): years begin in March, so the leap day comes last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(Moment::new(0, seconds * 1_000_000_000)), text);
        }
        assert_eq!(rfc3339(Moment::new(0, 1_789_000)), "1970-01-01T00:00:00.001Z");
    }
}
