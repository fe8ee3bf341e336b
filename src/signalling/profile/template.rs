//! Templates of identity slots: `sip:{did.digits}@{vars.account_domain}`.
//!
//! A template is read once, at load: an unknown variable is an error there, never an empty slot in
//! a call.

use crate::profile::limits;
use crate::profile::number::Format;

/// Text with variables. The empty template means that the slot is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it stands.
    Text(String),
    /// To be filled in.
    Variable(Variable),
}

/// What can be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// A number; without a form in the format of the profile.
    Number(Who, Option<Format>),
    /// The extension of the agent, or the direct code of the queue.
    AgentExtension,
    /// The call's id.
    SessionId,
    /// A word of the trunk.
    Vars(String),
    /// The host that the INVITE goes to.
    PeerHost,
    /// Our own host.
    NodeHost,
    /// What A wrote.
    Original(Original),
    /// The peer's own name of the call on A.
    ExternalId,
    /// The autodialer's id.
    Autodialer,
    /// The initiative.
    Campaign,
    /// The queue's name.
    Queue,
    /// The how-manieth try.
    Attempt,
}

/// Whose number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The person outside.
    Customer,
    /// Our own number.
    Did,
    /// What was dialled.
    To,
}

/// What A wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Original {
    FromUser,
    FromDisplay,
    FromHost,
    ToUser,
    ToDisplay,
    RuriUser,
}

/// The names that variables have; `x` stands for any name.
pub const VARIABLES: [&str; 28] = [
    "customer",
    "customer.e164",
    "customer.digits",
    "customer.national",
    "did",
    "did.e164",
    "did.digits",
    "did.national",
    "to",
    "to.e164",
    "to.digits",
    "to.national",
    "to.user",
    "to.display",
    "from.user",
    "from.display",
    "from.host",
    "ruri.user",
    "agent.extension",
    "session.id",
    "vars.x",
    "peer.host",
    "node.host",
    "external.id",
    "autodialer.id",
    "campaign",
    "queue.name",
    "attempt",
];

/// Text that is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// There is no such variable.
    #[error("unknown variable `{{{0}}}`")]
    Unknown(String),
    /// A brace stays open or closes nothing.
    #[error("a brace stays open or closes nothing")]
    Brace,
    /// A character that could end the header.
    #[error("a line break or control character")]
    Control,
    /// More than [`limits::TEMPLATE_PARTS`] pieces.
    #[error("more than {} pieces", limits::TEMPLATE_PARTS)]
    TooLong,
}

impl Template {
    /// Reads the text of a profile.
    ///
    /// # Errors
    /// An unknown variable, an open brace, a control character, or too many pieces.
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        if text.chars().any(char::is_control) {
            return Err(BadTemplate::Control);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if parts.len() >= limits::TEMPLATE_PARTS {
                return Err(BadTemplate::TooLong);
            }
            let (plain, tail) = match rest.split_once('{') {
                Some((plain, tail)) => (plain, Some(tail)),
                None => (rest, None),
            };
            if plain.contains('}') {
                return Err(BadTemplate::Brace);
            }
            if !plain.is_empty() {
                parts.push(Part::Text(plain.to_owned()));
            }
            let Some(tail) = tail else { break };
            let (name, after) = tail.split_once('}').ok_or(BadTemplate::Brace)?;
            let variable = Variable::of(name.trim());
            let variable = variable.ok_or_else(|| BadTemplate::Unknown(name.trim().to_owned()))?;
            parts.push(Part::Variable(variable));
            rest = after;
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// As it stands in the profile.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the slot is not written.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Its pieces.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Its variables.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(variable) => Some(variable),
            Part::Text(_) => None,
        })
    }

    /// Whether it can show the customer's number.
    pub fn names_customer(&self) -> bool {
        self.variables().any(|v| matches!(v, Variable::Number(Who::Customer, _)))
    }
}

impl Variable {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "agent.extension" => Self::AgentExtension,
            "session.id" => Self::SessionId,
            "peer.host" => Self::PeerHost,
            "node.host" => Self::NodeHost,
            "external.id" => Self::ExternalId,
            "autodialer.id" => Self::Autodialer,
            "campaign" => Self::Campaign,
            "queue.name" => Self::Queue,
            "attempt" => Self::Attempt,
            "from.user" => Self::Original(Original::FromUser),
            "from.display" => Self::Original(Original::FromDisplay),
            "from.host" => Self::Original(Original::FromHost),
            "to.user" => Self::Original(Original::ToUser),
            "to.display" => Self::Original(Original::ToDisplay),
            "ruri.user" => Self::Original(Original::RuriUser),
            _ => {
                let (head, tail) = name.split_once('.').unwrap_or((name, ""));
                if head == "vars" && !tail.is_empty() {
                    return Some(Self::Vars(tail.to_owned()));
                }
                let who = match head {
                    "customer" => Who::Customer,
                    "did" => Who::Did,
                    "to" => Who::To,
                    _ => return None,
                };
                let format = match tail {
                    "" if name == head => None,
                    "e164" => Some(Format::E164),
                    "digits" => Some(Format::Digits),
                    "national" => Some(Format::National),
                    _ => return None,
                };
                Self::Number(who, format)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_known_and_no_other() {
        for name in VARIABLES {
            assert!(Template::parse(&format!("a{{{name}}}b")).is_ok(), "{name}");
        }
        for name in ["", "customer.", "customer.e165", "vars.", "vars", "did.user", "x.y", "{did"] {
            assert!(Template::parse(&format!("{{{name}}}")).is_err(), "{name}");
        }
    }

    #[test]
    fn braces_and_line_breaks_are_refused() {
        assert_eq!(Template::parse("a{did"), Err(BadTemplate::Brace));
        assert_eq!(Template::parse("a}"), Err(BadTemplate::Brace));
        assert_eq!(Template::parse("a\r\nX: {did}"), Err(BadTemplate::Control));
        assert_eq!(Template::parse(&"{did}".repeat(65)), Err(BadTemplate::TooLong));
        assert!(Template::parse("").unwrap().is_empty());
    }
}
