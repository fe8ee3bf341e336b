//! Header names: the ones that code reads, by their long or compact form, in any case.

macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident $text:literal $($compact:literal)?;)*) => {
        /// A header that code reads. Everything else is `Other` and is kept by its bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
            /// Any other header.
            Other,
        }

        impl Name {
            /// The long form as RFCs write it; empty for `Other`.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* Self::Other => "" }
            }

            fn of_length(name: &[u8]) -> Self {
                match name.len() {
                    $(n if n == $text.len() && name.eq_ignore_ascii_case($text.as_bytes()) => {
                        Self::$variant
                    })*
                    _ => Self::Other,
                }
            }

            fn of_compact(letter: u8) -> Self {
                match letter {
                    $($(c if c == $compact => Self::$variant,)?)*
                    _ => Self::Other,
                }
            }
        }
    };
}

names! {
    Via "Via" b'v';
    From "From" b'f';
    To "To" b't';
    CallId "Call-ID" b'i';
    CSeq "CSeq";
    Contact "Contact" b'm';
    MaxForwards "Max-Forwards";
    ContentLength "Content-Length" b'l';
    ContentType "Content-Type" b'c';
    ContentEncoding "Content-Encoding" b'e';
    ContentDisposition "Content-Disposition";
    RecordRoute "Record-Route";
    Route "Route";
    Require "Require";
    ProxyRequire "Proxy-Require";
    Supported "Supported" b'k';
    Unsupported "Unsupported";
    Allow "Allow";
    Accept "Accept";
    Expires "Expires";
    Authorization "Authorization";
    ProxyAuthorization "Proxy-Authorization";
    WwwAuthenticate "WWW-Authenticate";
    ProxyAuthenticate "Proxy-Authenticate";
    AuthenticationInfo "Authentication-Info";
    Reason "Reason";
    RetryAfter "Retry-After";
    AssertedIdentity "P-Asserted-Identity";
    PreferredIdentity "P-Preferred-Identity";
    RemotePartyId "Remote-Party-ID";
    Diversion "Diversion";
    HistoryInfo "History-Info";
    Privacy "Privacy";
    UserToUser "User-to-User";
    UserAgent "User-Agent";
    Server "Server";
    Date "Date";
    Timestamp "Timestamp";
    Subject "Subject" b's';
    SessionExpires "Session-Expires" b'x';
    MinSe "Min-SE";
    MinExpires "Min-Expires";
    RSeq "RSeq";
    RAck "RAck";
    ReferTo "Refer-To" b'r';
    ReferredBy "Referred-By" b'b';
    Replaces "Replaces";
    Event "Event" b'o';
    AllowEvents "Allow-Events" b'u';
    Identity "Identity" b'y';
    SessionId "Session-ID";
    Warning "Warning";
    MimeVersion "MIME-Version";
}

impl Name {
    /// The header that `name` means, long or compact, in any case.
    pub fn of(name: &[u8]) -> Self {
        match name {
            [letter] => Self::of_compact(letter.to_ascii_lowercase()),
            _ => Self::of_length(name),
        }
    }

    /// Whether the header belongs to one hop, dialog or transaction and so never crosses from one
    /// leg to the other by copying.
    pub const fn is_of_one_leg(self) -> bool {
        matches!(
            self,
            Self::Via
                | Self::From
                | Self::To
                | Self::CallId
                | Self::CSeq
                | Self::Contact
                | Self::MaxForwards
                | Self::ContentLength
                | Self::ContentType
                | Self::ContentEncoding
                | Self::ContentDisposition
                | Self::RecordRoute
                | Self::Route
                | Self::Require
                | Self::ProxyRequire
                | Self::Supported
                | Self::Unsupported
                | Self::Allow
                | Self::Accept
                | Self::Expires
                | Self::Authorization
                | Self::ProxyAuthorization
                | Self::WwwAuthenticate
                | Self::ProxyAuthenticate
                | Self::AuthenticationInfo
                | Self::SessionExpires
                | Self::MinSe
                | Self::MinExpires
                | Self::RSeq
                | Self::RAck
                | Self::ReferTo
                | Self::ReferredBy
                | Self::Replaces
                | Self::Event
                | Self::AllowEvents
                | Self::Timestamp
                | Self::UserAgent
                | Self::Server
                | Self::MimeVersion
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_compact_and_any_case() {
        assert_eq!(Name::of(b"Via"), Name::Via);
        assert_eq!(Name::of(b"V"), Name::Via);
        assert_eq!(Name::of(b"cALL-id"), Name::CallId);
        assert_eq!(Name::of(b"l"), Name::ContentLength);
        assert_eq!(Name::of(b"X-Meta"), Name::Other);
        assert_eq!(Name::of(b""), Name::Other);
        assert_eq!(Name::of(b"z"), Name::Other);
    }
}
