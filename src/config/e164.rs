//! Numbers as the configuration writes them: E.164.

use cooee_signalling::profile::number::{Context, Numbers, Reading, read};

/// The digits of an E.164 number written with or without `+`.
///
/// # Errors
/// Why it is none.
pub(crate) fn digits(text: &str) -> Result<String, String> {
    let e164 = Numbers { context: Context::E164, area: String::new() };
    match read(text, &e164) {
        Reading::Number(digits) => Ok(digits),
        Reading::Unparsable(why) => Err(format!("`{text}` is {why}")),
        _ => Err(format!("`{text}` is no E.164 number, as `+61255501234`")),
    }
}
