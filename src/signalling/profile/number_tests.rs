//! Tests of `number`: the golden table, writing, idempotence.

use proptest::prelude::*;

use super::*;

const TABLE: &str = include_str!("../../../tests/golden/profiles/numbers.csv");
const WRITTEN: &str = include_str!("../../../tests/golden/profiles/numbers-out.csv");

fn context(name: &str) -> Context {
    Context::ALL.into_iter().find(|(n, _)| *n == name).unwrap().1
}

fn shown(reading: &Reading) -> String {
    match reading {
        Reading::Number(digits) => format!("+{digits}"),
        Reading::Withheld => "withheld".to_owned(),
        Reading::Emergency(_) => "emergency".to_owned(),
        Reading::Label(_) => "label".to_owned(),
        Reading::Unparsable(_) => "unparsable".to_owned(),
    }
}

#[test]
fn the_golden_table() {
    let rows = TABLE.lines().filter(|l| !l.starts_with('#')).skip(1);
    let mut seen = 0;
    let mut wrong = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.split(',').collect();
        let [name, area, input, wanted] = cells[..] else { panic!("{row}") };
        let numbers = Numbers { context: context(name), area: area.to_owned() };
        let got = shown(&read(input, &numbers));
        if got != wanted {
            wrong.push(format!("{row}: got {got}"));
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 60, "{seen} rows");
}

#[test]
fn numbers_are_written_in_the_format_of_the_profile() {
    let rows = WRITTEN.lines().filter(|l| !l.starts_with('#')).skip(1);
    let mut seen = 0;
    for row in rows {
        let cells: Vec<&str> = row.split(',').collect();
        let [digits, name, home, wanted] = cells[..] else { panic!("{row}") };
        let format = Format::ALL.into_iter().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!(write(digits, format, context(home)), wanted, "{row}");
        seen += 1;
    }
    assert!(seen >= 18, "{seen} rows");
}

#[test]
fn what_networks_block_is_never_presentable() {
    for digits in ["61131114", "611300975707", "611802222", "611800555123", "611900555123", "61255"]
    {
        assert!(!is_presentable(digits), "{digits}");
    }
    for digits in ["61255501234", "61491570156", "61855501234", "380505557182"] {
        assert!(is_presentable(digits), "{digits}");
    }
    assert!(is_national_only("61131114") && !is_national_only("61255501234"));
    assert_eq!(states_of("61255501234"), Some(&["NSW", "ACT"][..]));
    assert_eq!(states_of("61855501234"), Some(&["SA", "WA", "NT"][..]));
    assert_eq!(states_of("61491570156"), None);
    assert_eq!(states_of("611300975707"), None);
}

fn contexts() -> impl Strategy<Value = Numbers> {
    (0..Context::ALL.len(), prop_oneof![Just(""), Just("2")])
        .prop_map(|(at, area)| Numbers { context: Context::ALL[at].1, area: area.to_owned() })
}

proptest! {
    /// A number that was read and is written reads again as itself, in every context.
    #[test]
    fn reading_is_idempotent(text in "[+0-9() -]{0,22}", numbers in contexts()) {
        if let Reading::Number(digits) = read(&text, &numbers) {
            prop_assert!(digits.bytes().all(|b| b.is_ascii_digit()));
            prop_assert!((5..=15).contains(&digits.len()));
            let written = write(&digits, Format::E164, numbers.context);
            prop_assert_eq!(read(&written, &numbers), Reading::Number(digits));
        }
    }

    /// What is written in the national format of a country reads again as itself there.
    #[test]
    fn national_writing_reads_back(text in "[+0-9]{5,16}", at in 2..6_usize) {
        let context = Context::ALL[at].1;
        let numbers = Numbers { context, area: String::new() };
        if let Reading::Number(digits) = read(&text, &numbers) {
            let written = write(&digits, Format::National, context);
            prop_assert_eq!(read(&written, &numbers), Reading::Number(digits), "{}", written);
        }
    }

    #[test]
    fn no_text_breaks_reading(text in "\\PC{0,40}", numbers in contexts()) {
        let _ = read(&text, &numbers);
    }
}
