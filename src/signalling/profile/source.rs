//! Where a fact is read in a peer's INVITE: `header:X-Meta`, `pai.user`, `to.user|prefix:9`.

use regex::Regex;

use crate::message::address::{Address, Uri};
use crate::message::name::Name;
use crate::message::text::{is_token, lossy, param};
use crate::message::view::Message;
use crate::profile::limits;

/// One place to read from, with what is then done to the value.
#[derive(Clone, Debug)]
pub struct Source {
    text: String,
    origin: Origin,
    filters: Vec<Filter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Address(Name, Part),
    RuriUser,
    UriParam(String),
    Header(String),
    CallId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    User,
    Display,
    Host,
}

#[derive(Clone, Debug)]
enum Filter {
    /// Keeps what begins so, without the beginning.
    Prefix(String),
    /// Keeps what matches: the first group, or the whole match.
    Regex(Regex),
}

/// The names that sources have; `x` stands for any name.
pub const SOURCES: [&str; 14] = [
    "from.user",
    "from.display",
    "from.host",
    "to.user",
    "to.display",
    "pai.user",
    "pai.display",
    "rpid.user",
    "diversion.user",
    "contact.user",
    "ruri.user",
    "uri-param:x",
    "header:x",
    "call-id",
];

/// Text that names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSource {
    /// There is no such place.
    #[error("unknown source `{0}`")]
    Unknown(String),
    /// There is no such filter.
    #[error("unknown filter `{0}`: there are `prefix:` and `regex:`")]
    Filter(String),
    /// The regular expression is none.
    #[error("bad regular expression: {0}")]
    Regex(String),
}

impl Source {
    /// Reads the text of a profile.
    ///
    /// # Errors
    /// The source, a filter or a regular expression is unknown or broken.
    pub fn parse(text: &str) -> Result<Self, BadSource> {
        let mut parts = text.splitn(2, '|');
        let place = parts.next().unwrap_or_default().trim();
        let origin = Origin::parse(place).ok_or_else(|| BadSource::Unknown(place.to_owned()))?;
        let filters = parts.next().map_or(Ok(Vec::new()), filters)?;
        Ok(Self { text: text.to_owned(), origin, filters })
    }

    /// As it stands in the profile.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value in this message; `None` where it is missing, empty or filtered away.
    pub fn read(&self, message: &Message) -> Option<String> {
        let mut value = flat(&self.origin.read(message)?);
        for filter in &self.filters {
            value = match filter {
                Filter::Prefix(prefix) => value.strip_prefix(prefix.as_str())?.to_owned(),
                Filter::Regex(regex) => {
                    let found = regex.captures(&value)?;
                    found.get(1).or_else(|| found.get(0))?.as_str().to_owned()
                }
            };
        }
        (!value.is_empty()).then_some(value)
    }
}

/// The first of `sources` that is present, and where it was.
pub fn first<'s>(sources: &'s [Source], message: &Message) -> Option<(&'s Source, String)> {
    sources.iter().find_map(|source| source.read(message).map(|value| (source, value)))
}

/// Whether `text` is ASCII without control characters, as nearly all that peers send.
pub fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, b| plain & matches!(b, b' '..=b'~'))
}

/// `text` without control characters, white space at the ends, and what is past the limit.
pub fn flat(text: &str) -> String {
    if is_plain(text) && text.len() <= limits::VALUE_BYTES {
        return text.trim().to_owned();
    }
    let mut flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    flat.truncate(flat.floor_char_boundary(limits::VALUE_BYTES));
    flat.trim().to_owned()
}

/// Filters are separated by `|`; a regular expression is the last one and may hold `|` itself.
fn filters(text: &str) -> Result<Vec<Filter>, BadSource> {
    let mut filters = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(pattern) = rest.strip_prefix("regex:") {
            let regex = Regex::new(pattern).map_err(|e| BadSource::Regex(e.to_string()))?;
            filters.push(Filter::Regex(regex));
            break;
        }
        let (filter, tail) = rest.split_once('|').unwrap_or((rest, ""));
        match filter.strip_prefix("prefix:") {
            Some(prefix) if !prefix.is_empty() => filters.push(Filter::Prefix(prefix.to_owned())),
            _ => return Err(BadSource::Filter(filter.to_owned())),
        }
        rest = tail;
    }
    Ok(filters)
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        use Part::{Display, Host, User};
        Some(match text {
            "from.user" => Self::Address(Name::From, User),
            "from.display" => Self::Address(Name::From, Display),
            "from.host" => Self::Address(Name::From, Host),
            "to.user" => Self::Address(Name::To, User),
            "to.display" => Self::Address(Name::To, Display),
            "pai.user" => Self::Address(Name::AssertedIdentity, User),
            "pai.display" => Self::Address(Name::AssertedIdentity, Display),
            "rpid.user" => Self::Address(Name::RemotePartyId, User),
            "diversion.user" => Self::Address(Name::Diversion, User),
            "contact.user" => Self::Address(Name::Contact, User),
            "ruri.user" => Self::RuriUser,
            "call-id" => Self::CallId,
            _ => {
                let (kind, name) = text.split_once(':')?;
                if !is_token(name.as_bytes()) {
                    return None;
                }
                match kind {
                    "header" => Self::Header(name.to_owned()),
                    "uri-param" => Self::UriParam(name.to_owned()),
                    _ => return None,
                }
            }
        })
    }

    fn read(&self, message: &Message) -> Option<String> {
        match self {
            Self::Address(name, part) => {
                message.list(*name).filter_map(Address::read).find_map(|a| part.read(&a))
            }
            Self::RuriUser => Uri::read(message.request_uri()).map(|u| u.user_text()),
            Self::UriParam(name) => {
                let uri = Uri::read(message.request_uri())?;
                // A parameter may stand in the user part too (RFC 3261, 19.1.1).
                let user = uri.user.iter().position(|&b| b == b';');
                param(uri.params, name)
                    .or_else(|| param(uri.user.get(user? + 1..)?, name))
                    .map(lossy)
            }
            Self::Header(name) => message.value_of(name).map(lossy),
            Self::CallId => Some(lossy(message.call_id())),
        }
    }
}

impl Part {
    fn read(self, address: &Address<'_>) -> Option<String> {
        let value = match self {
            Self::User => Uri::read(address.uri)?.user_text(),
            Self::Display => address.display_text(),
            Self::Host => lossy(Uri::read(address.uri)?.host),
        };
        (!value.is_empty()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const INVITE: &str = "INVITE sip:97;autodialer=8@h;autodialer=7 SIP/2.0\r\n\
        f: \"Ann \\\"A\\\"\" <sip:0491%20570@unitalk.example>;tag=1\r\nt: <sip:97@h>\r\n\
        P-Asserted-Identity: <sip:h.example>, <tel:+61491570156;x=1>\r\ni: abc@h\r\n\
        x-meta :  a\r\n\tb\r\n\r\n";

    fn read(text: &str) -> Option<String> {
        let message = Message::read(Bytes::from_static(INVITE.as_bytes())).unwrap();
        Source::parse(text).unwrap().read(&message)
    }

    #[test]
    fn every_place_is_read() {
        for (source, value) in [
            ("from.user", "0491 570"),
            ("from.display", "Ann \"A\""),
            ("from.host", "unitalk.example"),
            ("to.user", "97"),
            ("to.user|prefix:9", "7"),
            ("to.user|regex:^9(\\d)$|x", "7"),
            ("pai.user", "+61491570156"),
            ("uri-param:AUTODIALER", "7"),
            ("header:X-Meta", "a   b"),
            ("call-id", "abc@h"),
        ] {
            assert_eq!(read(source).as_deref(), Some(value), "{source}");
        }
        for missing in ["rpid.user", "header:X-None", "to.user|prefix:8", "uri-param:x"] {
            assert_eq!(read(missing), None, "{missing}");
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for bad in ["from", "header:", "header:a b", "to.user|upper", "to.user|regex:(", "x:y"] {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
        for name in SOURCES {
            assert!(Source::parse(name).is_ok(), "{name}");
        }
    }
}
