//! What may not be called or taken: the blacklist, opening hours and holidays.

use std::collections::{BTreeMap, BTreeSet};

use crate::profile::number::states_of;
use crate::profile::zone::{Local, Zone};

type Date = (i32, u8, u8);

/// `maps/blacklist.csv`: numbers and beginnings of numbers that are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blacklist {
    numbers: BTreeMap<String, Entry>,
    prefixes: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    until: Option<Date>,
    reason: String,
}

impl Blacklist {
    /// Adds digits; `prefix`: all numbers that begin so. `until`: the last day that it holds.
    pub fn add(&mut self, digits: String, prefix: bool, until: Option<Date>, reason: String) {
        let list = if prefix { &mut self.prefixes } else { &mut self.numbers };
        list.insert(digits, Entry { until, reason });
    }

    /// Why these E.164 digits are refused on this day, if they are.
    pub fn reason(&self, digits: &str, today: Date) -> Option<&str> {
        let holds = |entry: &&Entry| entry.until.is_none_or(|until| today <= until);
        let beginnings = (1..=digits.len())
            .filter_map(|end| digits.get(..end))
            .filter_map(|beginning| self.prefixes.get(beginning));
        let mut entries = self.numbers.get(digits).into_iter().chain(beginnings);
        entries.find(holds).map(|entry| entry.reason.as_str())
    }

    /// Rows that it holds.
    pub fn len(&self) -> usize {
        self.numbers.len() + self.prefixes.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Days on which nobody works: the date and, where it is not everywhere, the state.
pub type Holidays = BTreeSet<(Date, String)>;

/// When the business is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkTime {
    /// On whose clock.
    pub zone: Zone,
    /// Monday to Sunday: from (inclusive) and to (exclusive), minutes since midnight; `None`: shut.
    pub days: [Option<(u16, u16)>; 7],
    /// Days that are shut.
    pub holidays: Holidays,
}

/// Hours that Australia permits telemarketing calls in, on the called party's clock: working days
/// 9 to 20, Saturdays 9 to 17. A ready-made default, to be confirmed with counsel.
const AU_TELEMARKETING: [Option<(u16, u16)>; 7] = {
    let day = Some((9 * 60, 20 * 60));
    [day, day, day, day, day, Some((9 * 60, 17 * 60)), None]
};

impl WorkTime {
    /// Whether it is open at `wall_ns` (nanoseconds since the Unix epoch), or why not.
    pub fn closed(&self, wall_ns: i64) -> Option<String> {
        shut(&self.days, &self.holidays, None, self.zone.local(wall_ns))
            .map(|why| format!("{why} in {}", self.zone.name()))
    }
}

/// Why a telemarketing call to these digits is not permitted at `wall_ns`, if so. A number without
/// a state must be permitted everywhere in the country.
pub fn telemarketing_closed(digits: &str, holidays: &Holidays, wall_ns: i64) -> Option<String> {
    if !digits.starts_with("61") {
        return None;
    }
    let states = states_of(digits);
    Zone::of_states(states).into_iter().find_map(|zone| {
        shut(&AU_TELEMARKETING, holidays, states, zone.local(wall_ns))
            .map(|why| format!("{why} in {}", zone.name()))
    })
}

fn shut(
    days: &[Option<(u16, u16)>; 7],
    holidays: &Holidays,
    states: Option<&[&str]>,
    now: Local,
) -> Option<String> {
    let from = (now.date, String::new());
    let mut of_today = holidays.range(from..).take_while(|(date, _)| *date == now.date);
    let (h, m) = (now.minute / 60, now.minute % 60);
    if of_today.any(|(_, state)| {
        state.is_empty() || states.is_none_or(|states| states.contains(&state.as_str()))
    }) {
        return Some("a holiday".to_owned());
    }
    match days.get(usize::from(now.weekday)).copied().flatten() {
        Some((from, to)) if (from..to).contains(&now.minute) => None,
        Some(_) => Some(format!("{h:02}:{m:02} is outside the hours")),
        None => Some("a day that is shut".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;
    /// Monday 2026-03-02, 10:30 in Sydney (summer time), 07:30 in Perth.
    const MONDAY: i64 = 1_772_407_800 * S;

    #[test]
    fn numbers_and_beginnings_until_their_day() {
        let mut list = Blacklist::default();
        list.add("61491570156".into(), false, Some((2026, 3, 2)), "asked".into());
        list.add("6119".into(), true, None, "premium".into());
        assert_eq!(list.reason("61491570156", (2026, 3, 2)), Some("asked"));
        assert_eq!(list.reason("61491570156", (2026, 3, 3)), None);
        assert_eq!(list.reason("611902222222", (2030, 1, 1)), Some("premium"));
        assert_eq!(list.reason("61491570157", (2026, 3, 2)), None);
    }

    #[test]
    fn hours_of_the_called_party() {
        let none = Holidays::new();
        assert_eq!(telemarketing_closed("61255501234", &none, MONDAY), None);
        let perth = telemarketing_closed("61855501234", &none, MONDAY).unwrap();
        assert!(perth.contains("07:30") && perth.contains("Perth"), "{perth}");
        assert!(telemarketing_closed("61491570156", &none, MONDAY).is_some());
        assert_eq!(telemarketing_closed("4930123456", &none, MONDAY), None);
        let days = Holidays::from([((2026, 3, 2), "TAS".to_owned())]);
        assert_eq!(telemarketing_closed("61255501234", &days, MONDAY), None);
        assert!(telemarketing_closed("61355501234", &days, MONDAY).unwrap().contains("holiday"));
    }

    #[test]
    fn a_business_is_open_or_says_why_not() {
        let zone = Zone::named("Australia/Sydney").unwrap();
        let mut days = [Some((8 * 60, 20 * 60)); 7];
        days[6] = None;
        let mut open = WorkTime { zone, days, holidays: Holidays::new() };
        assert_eq!(open.closed(MONDAY), None);
        assert!(open.closed(MONDAY + 10 * 3600 * S).unwrap().contains("20:30"));
        assert!(open.closed(MONDAY - 24 * 3600 * S).unwrap().contains("shut"));
        open.holidays.insert(((2026, 3, 2), String::new()));
        assert!(open.closed(MONDAY).unwrap().contains("holiday"));
    }
}
