//! Digest authentication of a user agent, both ways (RFC 3261, 22). The arithmetic is the core's,
//! which the examples of the RFCs prove; who asks whom, when and how often is written here.

use bytes::Bytes;
use cooee_model::ids::Side;
use cooee_signalling::leg::digest::{Challenge, Login};
use cooee_signalling::message::view::Message;

use crate::sip::Msg;
use crate::ua::{Cx, Ua};

/// What the switch proves itself with to B; `plans` configures the same.
pub const SWITCH_LOGIN: (&str, &str) = ("sip7", "s3cret");
/// What A proves itself with to the switch.
const A_LOGIN: (&str, &str) = ("dialer", "w0rd");
/// Who does not know the password.
const GUESSER: (&str, &str) = ("other", "guess");

/// What a user agent remembers of challenges.
#[derive(Debug, Default)]
pub struct Proof {
    /// A: the switch's challenge, and how often it was answered.
    asked: Option<(Challenge, u32)>,
    /// A: how often it was challenged.
    times: u32,
    /// B: the number of its nonce, and the last count that it was used with.
    nonce: u32,
    count: u32,
    /// B: it has called a good nonce too old.
    pretended: bool,
}

impl Ua {
    // ---------------------------------------------------------------- A, who is asked

    /// Takes a 401 to A's INVITE. `false`: it is enough.
    pub(super) fn challenged(&mut self, m: &Msg<'_>) -> bool {
        let message = Message::read(Bytes::from(m.text.to_owned())).unwrap();
        let challenge = Challenge::read(&message, None);
        self.proof.times += 1;
        self.proof.asked = challenge.map(|c| (c, 0));
        self.proof.times < 5 && self.proof.asked.is_some()
    }

    /// The header that proves A's INVITE.
    pub(super) fn proves(&mut self) -> String {
        let (user, secret) = if self.script.guesses { GUESSER } else { A_LOGIN };
        let Some((challenge, count)) = &mut self.proof.asked else { return String::new() };
        *count += 1;
        let about = ("INVITE", self.target.as_bytes());
        let (name, value) = challenge.answer(&Login { user, secret }, about, *count, "cnonce");
        format!("{}: {value}\r\n", name.text())
    }

    // ---------------------------------------------------------------- B, who asks

    /// Whether B wants this request proven, and it is not: what the challenge says.
    pub(super) fn asks_proof(&mut self, m: &Msg<'_>, cx: &mut Cx<'_>) -> Option<(u16, String)> {
        let asks = self.script.challenges;
        let wanted = match m.method {
            "INVITE" if m.to_tag.is_empty() => asks.invite,
            "INVITE" | "UPDATE" | "INFO" => asks.within,
            "BYE" => asks.bye,
            _ => false,
        };
        if !wanted || self.side == Side::A {
            return None;
        }
        let code = if asks.proxy { 407 } else { 401 };
        let given = m.header(if asks.proxy { "Proxy-Authorization" } else { "Authorization" });
        let Some(given) = given else { return Some((code, self.challenge(code, false))) };
        let nonce = given.split("nonce=\"").nth(1).and_then(|v| v.split('"').next());
        if nonce != Some(&self.nonce()) {
            return Some((code, self.challenge(code, true)));
        }
        if asks.stale && !std::mem::replace(&mut self.proof.pretended, true) {
            (self.proof.nonce, self.proof.count) = (self.proof.nonce + 1, 0);
            return Some((code, self.challenge(code, true)));
        }
        match self.prove(m, given, code, cx) {
            true => None,
            // The switch has begun anew, and counts from the beginning.
            false => {
                (self.proof.nonce, self.proof.count) = (self.proof.nonce + 1, 0);
                Some((code, self.challenge(code, true)))
            }
        }
    }

    fn nonce(&self) -> String {
        format!("n{}x{}", self.local_tag, self.proof.nonce)
    }

    fn challenge(&self, code: u16, stale: bool) -> String {
        let name = if code == 407 { "Proxy-Authenticate" } else { "WWW-Authenticate" };
        let stale = if stale { ", stale=true" } else { "" };
        let nonce = self.nonce();
        format!("{name}: Digest realm=\"b.example\", nonce=\"{nonce}\", qop=\"auth\"{stale}\r\n")
    }

    /// What is given must be right. `false`: its count has not grown.
    fn prove(&mut self, m: &Msg<'_>, given: &str, code: u16, cx: &mut Cx<'_>) -> bool {
        let part = |name: &str| {
            let value = given.split(&format!(" {name}=")).nth(1)?;
            Some(value.split([',', ' ']).next()?.trim_matches('"').to_owned())
        };
        let count = part("nc").and_then(|nc| u32::from_str_radix(&nc, 16).ok()).unwrap_or(0);
        let grown = count > self.proof.count;
        self.proof.count = count;
        let text = format!(
            "SIP/2.0 {code} Prove\r\n{}CSeq: 1 INVITE\r\n\r\n",
            self.challenge(code, false)
        );
        let message = Message::read(Bytes::from(text)).unwrap();
        let challenge = Challenge::read(&message, None).unwrap();
        let (user, secret) = SWITCH_LOGIN;
        let about = (m.method, m.uri.as_bytes());
        let cnonce = part("cnonce").unwrap_or_default();
        let (_, wanted) = challenge.answer(&Login { user, secret }, about, count, &cnonce);
        if wanted != given {
            cx.faults.push(format!("{} proves nothing: {given}, not {wanted}", m.method));
        }
        grown
    }
}
