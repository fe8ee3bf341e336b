//! A body of `application/x-www-form-urlencoded` with PHP's brackets: `data[CALL_ID]=..`, or
//! `data%5BCALL_ID%5D=..`.

use std::borrow::Cow;

use crate::limits::FIELDS_MAX;

/// The fields of a form in their order, undone of their escapes.
pub(crate) struct Form(Vec<(Vec<u8>, Vec<u8>)>);

/// A form with more fields than anybody has use for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Form {
    /// Reads a body; an escape that is broken stands for itself.
    pub(crate) fn read(body: &[u8]) -> Result<Self, TooMany> {
        let mut fields = Vec::new();
        for field in body.split(|byte| *byte == b'&').filter(|field| !field.is_empty()) {
            if fields.len() == FIELDS_MAX {
                return Err(TooMany);
            }
            let equals = field.iter().position(|byte| *byte == b'=').unwrap_or(field.len());
            let (key, value) = field.split_at(equals);
            fields.push((plain(key), plain(value.get(1..).unwrap_or_default())));
        }
        Ok(Self(fields))
    }

    /// The value of a field that is there once. What is there twice is not there: which of the two
    /// is meant would be a guess.
    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        let mut found = self.0.iter().filter(|(name, _)| name == key.as_bytes());
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// Whether a field is there more than once.
    pub(crate) fn repeats(&self, key: &str) -> bool {
        self.0.iter().filter(|(name, _)| name == key.as_bytes()).nth(1).is_some()
    }
}

fn plain(escaped: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'+', _) => plain.push(b' '),
            (b'%', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    plain.push(high << 4 | low);
                    rest = tail;
                }
                _ => plain.push(b'%'),
            },
            (byte, _) => plain.push(*byte),
        }
    }
    plain
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The media type of a Content-Type, without its parameters.
pub(crate) fn media_type(value: &str) -> Cow<'_, str> {
    let kind = value.split(';').next().unwrap_or_default().trim();
    if kind.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(kind.to_ascii_lowercase())
    } else {
        Cow::Borrowed(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_come_plain_or_escaped() {
        for body in ["data[CALL_ID]=1A.2&ts=7", "data%5BCALL_ID%5d=1%41.2&&ts=7&"] {
            let form = Form::read(body.as_bytes()).unwrap();
            assert_eq!(form.get("data[CALL_ID]"), Some(&b"1A.2"[..]), "{body}");
            assert_eq!(form.get("ts"), Some(&b"7"[..]));
            assert_eq!(form.get("data"), None);
        }
    }

    #[test]
    fn what_is_broken_stands_for_itself() {
        let form = Form::read(b"a=%&b=%4&c=%zz&d&=e&f=1=2&g=a+b%2B").unwrap();
        for (key, value) in [
            ("a", "%"),
            ("b", "%4"),
            ("c", "%zz"),
            ("d", ""),
            ("", "e"),
            ("f", "1=2"),
            ("g", "a b+"),
        ] {
            assert_eq!(form.get(key), Some(value.as_bytes()), "{key}");
        }
    }

    #[test]
    fn what_is_there_twice_is_not_there() {
        let form = Form::read(b"a=1&b=2&a=1").unwrap();
        assert_eq!((form.get("a"), form.repeats("a"), form.repeats("b")), (None, true, false));
    }

    #[test]
    fn fields_are_bounded() {
        assert!(Form::read("a&".repeat(FIELDS_MAX).as_bytes()).is_ok());
        assert_eq!(Form::read("a&".repeat(FIELDS_MAX + 1).as_bytes()).err(), Some(TooMany));
    }

    #[test]
    fn media_types_have_parameters_and_cases() {
        assert_eq!(media_type("Text/Plain; charset=x"), "text/plain");
        assert_eq!(media_type("text/plain"), "text/plain");
    }
}
