//! Telephone numbers: read in the manner of a country, written in the format of a profile.
//!
//! Reading is total: whatever comes is a number, a label, an emergency call, or not told. A number
//! is kept as its E.164 digits without `+`; reading a written number yields it again.

use crate::message::address::unescape;
use crate::message::text::lossy;

/// How bare national numbers are read, and where "national" is when one is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Context {
    /// International digits, with or without `+`, `00` in front allowed.
    #[default]
    E164,
    /// As `E164`; what is written carries no `+`.
    E164NoPlus,
    /// Australia.
    Au,
    /// Russia.
    Ru,
    /// Kazakhstan.
    Kz,
    /// United States, Canada and their neighbours.
    Nanp,
}

impl Context {
    /// All of them by their names in the configuration.
    pub const ALL: [(&'static str, Self); 6] = [
        ("e164", Self::E164),
        ("e164-noplus", Self::E164NoPlus),
        ("au", Self::Au),
        ("ru", Self::Ru),
        ("kz", Self::Kz),
        ("nanp", Self::Nanp),
    ];

    /// The format in which a profile of this context writes, unless it says otherwise.
    pub const fn format(self) -> Format {
        match self {
            Self::E164 => Format::E164,
            Self::E164NoPlus => Format::Digits,
            Self::Au | Self::Ru | Self::Nanp => Format::National,
            Self::Kz => Format::Kz,
        }
    }
}

/// How a number is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `+61255501234`
    #[default]
    E164,
    /// `61255501234`
    Digits,
    /// As one dials it at home: `0255501234`; other countries with the international prefix.
    National,
    /// As one dials it in Kazakhstan: `8` and ten digits, `810` for abroad.
    Kz,
}

impl Format {
    /// All of them by their names in the configuration.
    pub const ALL: [(&'static str, Self); 4] = [
        ("e164", Self::E164),
        ("e164-noplus", Self::Digits),
        ("national", Self::National),
        ("kz", Self::Kz),
    ];
}

/// How bare numbers are read where a profile leaves it open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The country.
    pub context: Context,
    /// The area code (without 0) of Australian numbers of eight digits; empty: such are refused.
    pub area: String,
}

/// What a piece of text is, as a telephone number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// E.164 digits without `+`.
    Number(String),
    /// A caller that is not told.
    Withheld,
    /// A call for help; the digits dialled.
    Emergency(String),
    /// No number by design: a login, a name, a service code.
    Label(String),
    /// Digits that are no number here, and why.
    Unparsable(&'static str),
}

/// Reads one number.
///
/// `text` may be a bare number with separators, a `tel:` or a `sip:` URI.
pub fn read(text: &str, numbers: &Numbers) -> Reading {
    // What dialers send, nearly always.
    let digits = text.strip_prefix('+').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return of_digits(digits, digits.len() < text.len(), numbers);
    }
    let plain = bare(text);
    let folded: String = plain.trim().chars().map(fold).collect();
    if folded.is_empty() || is_withheld(&folded) {
        return Reading::Withheld;
    }
    let letters = folded.chars().filter(|c| c.is_alphabetic()).count();
    if letters >= 10 && !folded.chars().any(|c| c.is_ascii_digit()) {
        return Reading::Withheld;
    }
    if letters > 0 {
        return Reading::Label(folded);
    }
    if folded.contains(['*', '#']) {
        return Reading::Unparsable("a service code");
    }
    // "+61 (0)2": the zero in brackets is the one that is left out from abroad.
    let international = folded.starts_with('+') || folded.starts_with("00");
    let folded = if international { folded.replacen("(0)", "", 1) } else { folded };
    let plus = folded.starts_with('+');
    let rest = folded.strip_prefix('+').unwrap_or(&folded);
    if rest.chars().any(|c| !c.is_ascii_digit() && !is_separator(c)) {
        return Reading::Label(folded);
    }
    let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
    if digits.is_empty() {
        return Reading::Label(folded);
    }
    of_digits(&digits, plus, numbers)
}

fn of_digits(digits: &str, plus: bool, numbers: &Numbers) -> Reading {
    if !plus && is_emergency(digits, numbers.context) {
        return Reading::Emergency(digits.to_owned());
    }
    // "anonymous", spelt on a telephone's keys.
    if digits == "266696687" {
        return Reading::Withheld;
    }
    if plus { international_number(digits) } else { dialled(digits, numbers) }
}

/// The number inside a URI; other text as it is.
fn bare(text: &str) -> String {
    let lower = text.trim_start().to_ascii_lowercase();
    let scheme = ["sip:", "sips:", "tel:"].into_iter().find(|s| lower.starts_with(s));
    let Some(scheme) = scheme else { return text.to_owned() };
    let rest = text.trim_start().get(scheme.len()..).unwrap_or_default();
    let user = rest.rsplit_once('@').map_or(rest, |(user, _)| user);
    let (number, params) = user.split_once(';').unwrap_or((user, ""));
    let number = lossy(&unescape(number.as_bytes()));
    // A local number says what stands in front of it (RFC 3966, 5.1.5).
    let context = params.split(';').find_map(|p| p.trim().strip_prefix("phone-context="));
    // A call for help is one whatever is said to stand in front of it.
    let helps = Context::ALL.iter().any(|(_, context)| is_emergency(&number, *context));
    match context {
        Some(prefix) if prefix.starts_with('+') && !number.starts_with('+') && !helps => {
            let prefix = prefix.split('@').next().unwrap_or_default();
            let own = number.strip_prefix('0').unwrap_or(&number);
            format!("{prefix}{own}")
        }
        _ => number,
    }
}

/// A character with the digits and the plus of other scripts made ASCII.
fn fold(c: char) -> char {
    if c == '\u{ff0b}' {
        return '+';
    }
    for zero in [0x0660_u32, 0x06f0, 0x0966, 0xff10] {
        let digit = u32::from(c).wrapping_sub(zero);
        if digit < 10 {
            return char::from_digit(digit, 10).unwrap_or(c);
        }
    }
    c
}

fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '-' | '.' | '(' | ')' | '/' | '\u{2010}'
                ..='\u{2015}' | '\u{200e}' | '\u{202c}' | '\u{202d}'
        )
}

fn is_withheld(text: &str) -> bool {
    let lower = text.to_lowercase();
    let name = lower.split('@').next().unwrap_or_default();
    matches!(
        name,
        "anonymous" | "unavailable" | "restricted" | "unknown" | "withheld" | "private" | "blocked"
    )
}

fn is_emergency(digits: &str, context: Context) -> bool {
    match digits {
        "000" | "106" | "112" | "911" | "999" => true,
        "101" | "102" | "103" | "104" => matches!(context, Context::Ru | Context::Kz),
        _ => false,
    }
}

/// Digits dialled without `+`.
fn dialled(digits: &str, numbers: &Numbers) -> Reading {
    let length = digits.len();
    let abroad = |prefix: &str| digits.strip_prefix(prefix).filter(|rest| rest.len() >= 5);
    match numbers.context {
        Context::E164 | Context::E164NoPlus => match abroad("00") {
            Some(rest) => international_number(rest),
            None if digits.starts_with('0') => Reading::Unparsable("not an international number"),
            None => international_number(digits),
        },
        Context::Au => {
            if let Some(rest) = abroad("0011").or_else(|| abroad("00")) {
                return international_number(rest);
            }
            match digits.as_bytes() {
                [b'0', ..] if length == 10 => of_country("61", digits.get(1..)),
                [b'6', b'1', ..] if length >= 11 => international_number(digits),
                [b'1', ..] => of_country("61", Some(digits)),
                [b'2' | b'3' | b'4' | b'5' | b'7' | b'8', ..] if length == 9 => {
                    of_country("61", Some(digits))
                }
                _ if length == 8 && !numbers.area.is_empty() => {
                    international_number(&format!("61{}{digits}", numbers.area))
                }
                _ if length == 8 => Reading::Unparsable("eight digits without an area code"),
                _ => Reading::Unparsable("not an Australian number"),
            }
        }
        Context::Ru | Context::Kz => {
            let rest = abroad("810").or_else(|| abroad("00")).or_else(|| abroad("011"));
            if let Some(rest) = rest {
                return international_number(rest);
            }
            match digits.as_bytes() {
                [b'8', ..] if length == 11 => of_country("7", digits.get(1..)),
                [b'7', ..] if length == 11 => international_number(digits),
                _ if length == 10 => of_country("7", Some(digits)),
                _ => Reading::Unparsable("not a number of country code 7"),
            }
        }
        Context::Nanp => {
            if let Some(rest) = abroad("011") {
                return international_number(rest);
            }
            match digits.as_bytes() {
                [b'1', ..] if length == 11 => international_number(digits),
                _ if length == 10 => of_country("1", Some(digits)),
                _ => Reading::Unparsable("not a North American number"),
            }
        }
    }
}

fn of_country(code: &str, national: Option<&str>) -> Reading {
    international_number(&format!("{code}{}", national.unwrap_or_default()))
}

/// Checks digits that begin with a country code.
fn international_number(digits: &str) -> Reading {
    if !(5..=15).contains(&digits.len()) || digits.starts_with('0') {
        return Reading::Unparsable("not 5 to 15 digits with a country code");
    }
    if let Some(national) = digits.strip_prefix("61") {
        if is_emergency(national, Context::Au) {
            return Reading::Emergency(national.to_owned());
        }
        // "61 02 5550 1234": a trunk zero that should have been left out.
        let national = national.strip_prefix('0').filter(|n| n.len() == 9).unwrap_or(national);
        return match au_kind(national) {
            Some(_) => Reading::Number(format!("61{national}")),
            None => Reading::Unparsable("not an Australian number"),
        };
    }
    let fixed = match digits.as_bytes() {
        [b'7', ..] | [b'1', b'2'..=b'9', ..] => digits.len() == 11,
        [b'1', ..] => false,
        _ => true,
    };
    if fixed {
        Reading::Number(digits.to_owned())
    } else {
        Reading::Unparsable("wrong length for its country code")
    }
}

/// Kinds of Australian numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AuKind {
    Geographic,
    Mobile,
    Independent,
    /// 13, 1300, 180, 1800, 190: can be called in the country, never presented.
    NationalOnly,
}

fn au_kind(national: &str) -> Option<AuKind> {
    let length = national.len();
    match national.as_bytes() {
        [b'2' | b'3' | b'7' | b'8', ..] if length == 9 => Some(AuKind::Geographic),
        [b'4', ..] if length == 9 => Some(AuKind::Mobile),
        [b'5', ..] if length == 9 => Some(AuKind::Independent),
        [b'1', b'3', b'0', b'0', ..] | [b'1', b'8', b'0', b'0', ..] | [b'1', b'9', b'0', ..]
            if length == 10 =>
        {
            Some(AuKind::NationalOnly)
        }
        [b'1', b'3', b'0'..=b'9', ..] if length == 6 => Some(AuKind::NationalOnly),
        [b'1', b'8', b'0', ..] if length == 7 => Some(AuKind::NationalOnly),
        _ => None,
    }
}

/// Whether networks accept the number as a caller's: never 13, 1300, 180, 1800 and 190.
pub fn is_presentable(digits: &str) -> bool {
    match digits.strip_prefix("61") {
        Some(national) => au_kind(national).is_some_and(|k| k != AuKind::NationalOnly),
        None => (8..=15).contains(&digits.len()),
    }
}

/// Whether the number can be called only inside its country (`nat-only`).
pub fn is_national_only(digits: &str) -> bool {
    digits.strip_prefix("61").and_then(au_kind) == Some(AuKind::NationalOnly)
}

/// The Australian states that a geographic number belongs to; `None` for mobiles and abroad.
pub fn states_of(digits: &str) -> Option<&'static [&'static str]> {
    let national = digits.strip_prefix("61")?;
    if au_kind(national)? != AuKind::Geographic {
        return None;
    }
    match national.as_bytes().first()? {
        b'2' => Some(&["NSW", "ACT"]),
        b'3' => Some(&["VIC", "TAS"]),
        b'7' => Some(&["QLD"]),
        _ => Some(&["SA", "WA", "NT"]),
    }
}

/// Writes E.164 digits; `home` says where "national" is.
pub fn write(digits: &str, format: Format, home: Context) -> String {
    match format {
        Format::E164 => format!("+{digits}"),
        Format::Digits => digits.to_owned(),
        Format::National => national(digits, home),
        Format::Kz => national(digits, Context::Kz),
    }
}

fn national(digits: &str, home: Context) -> String {
    let (code, prefix, trunk) = match home {
        Context::Au => ("61", "0011", "0"),
        Context::Ru | Context::Kz => ("7", "810", "8"),
        Context::Nanp => ("1", "011", ""),
        // No home: each number as in its own country, where that is known.
        Context::E164 | Context::E164NoPlus => match digits.as_bytes() {
            [b'6', b'1', ..] => ("61", "", "0"),
            [b'7', ..] => ("7", "", "8"),
            [b'1', ..] => ("1", "", ""),
            _ => return format!("+{digits}"),
        },
    };
    match digits.strip_prefix(code) {
        Some(own) if code == "61" && is_national_only(digits) => own.to_owned(),
        Some(own) => format!("{trunk}{own}"),
        None => format!("{prefix}{digits}"),
    }
}

#[cfg(test)]
#[path = "number_tests.rs"]
mod tests;
