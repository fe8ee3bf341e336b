//! Writing: a decision and a target's profile become the identity of the INVITE towards B.

use crate::message::name::Name;
use crate::profile::decision::{Context, Decision, Identity, Slots, Target};
use crate::profile::header::long_form;
use crate::profile::latin::latin;
use crate::profile::limits;
use crate::profile::number;
use crate::profile::plan::{Plan, Trunk};
use crate::profile::rewrite;
use crate::profile::source::{flat, is_plain};
use crate::profile::template::{Original, Part, Template, Variable, Who};

/// What stands where a caller must be named and is not told.
const ANONYMOUS: &str = "Anonymous";

impl Plan {
    /// Writes the identity of the INVITE to `decision.targets[target]`.
    ///
    /// `None` where there is no such target or its trunk has left the plan.
    pub fn compose(
        &self,
        decision: &Decision,
        target: usize,
        context: Context<'_>,
    ) -> Option<Slots> {
        let target = decision.targets.get(target)?;
        let trunk = self.trunk(&target.trunk)?;
        let pen = Pen { plan: self, decision, target, trunk, context };
        let write = &trunk.profile.write;
        let own_host = || pen.own_host().to_owned();
        let from_user = pen.user(&write.from_user).unwrap_or_else(|| "anonymous".to_owned());
        let contact_user = pen.user(&write.contact_user).unwrap_or_else(|| pen.own_user());
        let mut slots = Slots {
            request_uri: pen.uri(&write.request_uri).unwrap_or_else(|| pen.fallback_uri()),
            to: pen.uri(&write.to).unwrap_or_else(|| pen.fallback_uri()),
            from_display: pen.display(&write.from_display),
            from_host: pen.plain(&write.from_host).unwrap_or_else(own_host),
            from_user,
            contact_user,
            headers: Vec::new(),
            crossing: Vec::new(),
        };
        let mut header = |name: &str, value: Option<String>| {
            if let Some(value) = value.filter(|v| !v.is_empty()) {
                slots.headers.push((name.to_owned(), value));
            }
        };
        let asserted = pen.uri(&write.pai).map(|uri| bracketed(&uri, ""));
        header(Name::AssertedIdentity.text(), asserted);
        let party = ";party=calling;screen=yes;privacy=off";
        header(Name::RemotePartyId.text(), pen.uri(&write.rpid).map(|u| bracketed(&u, party)));
        let diverted = ";reason=unconditional;counter=1";
        let diversion = pen.uri(&write.diversion).map(|uri| bracketed(&uri, diverted));
        header(Name::Diversion.text(), diversion);
        header(Name::Privacy.text(), pen.plain(&write.privacy));
        for (name, template) in &write.headers {
            header(name, pen.plain(template).map(|value| cut(name, value)));
        }
        let written: Vec<String> = slots
            .headers
            .iter()
            .map(|(name, _)| long_form(Name::of(name.as_bytes()), name.as_bytes()))
            .collect();
        slots.crossing = decision
            .crossing
            .iter()
            .filter(|c| {
                let name = c.name.as_bytes();
                !written.contains(&long_form(Name::of(name), name))
            })
            .cloned()
            .collect();
        rewrite::apply(&write.rewrite, &mut slots, |name, template| {
            pen.plain(template).map(|value| cut(name, value))
        });
        Some(slots)
    }

    /// The digits to send into the greeting of a target that takes a direct code, and after how
    /// many milliseconds; `None` where the profile or the map has none.
    pub fn direct_code(
        &self,
        decision: &Decision,
        target: usize,
        context: Context<'_>,
    ) -> Option<(String, u32)> {
        let target = decision.targets.get(target)?;
        let trunk = self.trunk(&target.trunk)?;
        let code = trunk.profile.behaviour.direct_code.as_ref()?;
        let pen = Pen { plan: self, decision, target, trunk, context };
        let digits = pen.plain(&code.digits)?;
        Some((digits, code.after_ms))
    }
}

/// Fills templates in for one attempt.
struct Pen<'a> {
    plan: &'a Plan,
    decision: &'a Decision,
    target: &'a Target,
    trunk: &'a Trunk,
    context: Context<'a>,
}

impl Pen<'_> {
    /// Our own host, as this peer is told it.
    fn own_host(&self) -> &str {
        self.context.own_host.unwrap_or(&self.plan.node.host)
    }

    /// A slot whose values stand in a URI: what comes from a peer is escaped.
    fn uri(&self, template: &Template) -> Option<String> {
        self.fill(template, true)
    }

    /// A user part.
    fn user(&self, template: &Template) -> Option<String> {
        self.fill(template, true).map(|user| escape_user(&user)).filter(|user| !user.is_empty())
    }

    fn plain(&self, template: &Template) -> Option<String> {
        self.fill(template, false)
    }

    /// The display name: a caller who is not told is "Anonymous", never nobody.
    fn display(&self, template: &Template) -> String {
        if template.is_empty() {
            return String::new();
        }
        let wants_name = template.variables().any(|v| !matches!(v, Variable::Original(_)));
        let name = match self.fill(template, false) {
            Some(name) => name,
            None if wants_name || self.decision.private => ANONYMOUS.to_owned(),
            None => String::new(),
        };
        let habits = &self.trunk.profile.behaviour;
        let name = if habits.display_name_ascii { latin(&name) } else { name };
        match habits.display_name_max {
            0 => name,
            max => name.chars().take(max).collect::<String>().trim_end().to_owned(),
        }
    }

    /// Who we are to a peer whose profile does not say: our number, never the customer's.
    fn own_user(&self) -> String {
        match self.decision.did.as_str() {
            "" => "cooee".to_owned(),
            did => number::write(did, self.trunk.profile.format, self.trunk.profile.context),
        }
    }

    /// Where a URI cannot be written, the peer itself is addressed: it will refuse, and say so.
    fn fallback_uri(&self) -> String {
        format!("sip:{}", self.context.peer_host)
    }

    /// The text, or `None` if the template is empty, a variable has no value, or nothing is left.
    fn fill(&self, template: &Template, in_uri: bool) -> Option<String> {
        if template.is_empty() {
            return None;
        }
        let mut text = String::new();
        for part in template.parts() {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Variable(variable) => {
                    let value = self.value(variable)?;
                    let foreign = !is_ours(variable);
                    if foreign && self.decision.hides(value.as_bytes()) {
                        return None;
                    }
                    if in_uri && foreign {
                        text.push_str(&escape_user(&value));
                    } else {
                        text.push_str(&value);
                    }
                }
            }
        }
        let text = flat_line(text);
        (!text.is_empty()).then_some(text)
    }

    /// The value of a variable; `None` where there is none or it must not be told.
    fn value(&self, variable: &Variable) -> Option<String> {
        let decision = self.decision;
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        match variable {
            Variable::Number(who, format) => {
                let format = format.unwrap_or(self.trunk.profile.format);
                let home = self.trunk.profile.context;
                let write = |digits: &str| number::write(digits, format, home);
                let identity = match who {
                    Who::Did => return some(&decision.did).map(|did| write(&did)),
                    Who::Customer if decision.private => return None,
                    Who::Customer => &decision.customer,
                    Who::To => &decision.called,
                };
                match identity {
                    Identity::Number(digits) => Some(write(digits)),
                    Identity::Label(label) => some(&flat(label)),
                    Identity::Withheld => None,
                }
            }
            Variable::AgentExtension => {
                self.target.direct_code.clone().or_else(|| self.target.extension.clone())
            }
            Variable::SessionId => Some(self.context.call.to_string()),
            Variable::Vars(name) => self.trunk.vars.get(name).and_then(|value| some(value)),
            Variable::PeerHost => some(self.context.peer_host),
            Variable::NodeHost => some(self.own_host()),
            Variable::ExternalId => decision.external_id.clone(),
            Variable::Autodialer => decision.autodialer.clone(),
            Variable::Campaign => decision.campaign.clone(),
            Variable::Queue => self.target.queue.clone(),
            Variable::Attempt => Some(self.context.attempt.to_string()),
            Variable::Original(which) => {
                let original = &decision.original;
                let names_caller = matches!(which, Original::FromUser | Original::FromDisplay);
                if decision.private && names_caller {
                    return None;
                }
                some(match which {
                    Original::FromUser => &original.from_user,
                    Original::FromDisplay => &original.from_display,
                    Original::FromHost => &original.from_host,
                    Original::ToUser => &original.to_user,
                    Original::ToDisplay => &original.to_display,
                    Original::RuriUser => &original.ruri_user,
                })
            }
        }
    }
}

/// Whether a value comes from our own configuration: such values may hold hosts and ports and are
/// not escaped.
const fn is_ours(variable: &Variable) -> bool {
    matches!(
        variable,
        Variable::Vars(_)
            | Variable::PeerHost
            | Variable::NodeHost
            | Variable::SessionId
            | Variable::Attempt
            | Variable::Number(Who::Did, _)
    )
}

/// A user part with everything but its own characters escaped (RFC 3261, 25.1). Escapes that are
/// there already stay.
fn escape_user(user: &str) -> String {
    let bytes = user.as_bytes();
    if bytes.iter().all(|&b| is_user_byte(b)) {
        return user.to_owned();
    }
    let mut escaped = String::with_capacity(user.len());
    for (at, &byte) in bytes.iter().enumerate() {
        let hex = |n: usize| bytes.get(at + n).is_some_and(u8::is_ascii_hexdigit);
        if is_user_byte(byte) || (byte == b'%' && hex(1) && hex(2)) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Whether a byte may stand in a user part as it is (RFC 3261, 25.1).
const fn is_user_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'_'
                | b'.'
                | b'!'
                | b'~'
                | b'*'
                | b'\''
                | b'('
                | b')'
                | b'&'
                | b'='
                | b'+'
                | b'$'
                | b','
                | b';'
                | b'?'
                | b'/'
        )
}

/// Angle brackets and parameters, unless the template has written brackets itself.
fn bracketed(uri: &str, params: &str) -> String {
    if uri.contains('<') { uri.to_owned() } else { format!("<{uri}>{params}") }
}

/// The last gate: no line break, NUL or other control character passes.
fn flat_line(text: String) -> String {
    if is_plain(&text) && text.trim().len() == text.len() {
        return text;
    }
    text.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

/// A value of an `X-` header within the limit.
fn cut(name: &str, mut value: String) -> String {
    let private = name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"));
    if private {
        value.truncate(value.floor_char_boundary(limits::X_HEADER_BYTES));
    }
    value
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
