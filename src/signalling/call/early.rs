//! What B says before its answer and with it, and under which To tag A hears it.
//!
//! Towards A the answer of one To tag never changes (RFC 3261, 13.2.1): B may fork, be tried again
//! elsewhere, or just change its mind. A different answer goes under a To tag of its own, as if we
//! had forked, and an answer that A has already heard goes under the tag that it had.

use cooee_model::account::{Outcome, Party};

use crate::call::context::Cx;
use crate::call::setup::sdp_of;
use crate::call::{Call, Path};
use crate::leg::offer_answer::{Description, agree};
use crate::leg::reliable::FORKS;
use crate::leg::uas::Passed;
use crate::message::sdp;
use crate::message::sdp::rewrite::completed;
use crate::transaction::key::Token;

use cooee_model::ids::Side;

/// Descriptions of a call that is coming up.
#[derive(Debug, Default)]
pub struct Early {
    /// B's last description in each of its early dialogs, by its To tag; the newest last.
    said: Vec<(Vec<u8>, Vec<u8>)>,
    /// What A was told, by our To tag.
    told: Vec<Told>,
}

#[derive(Clone, Debug)]
struct Told {
    print: u64,
    tag: String,
    description: Description,
}

impl Early {
    /// Another target is tried: what the last one said is of no use.
    pub fn next_target(&mut self) {
        self.said.clear();
    }

    /// Whether B has described nothing yet: A's offer has no answer.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// Keeps a description of B.
    pub fn note(&mut self, tag: &[u8], sdp: &[u8]) {
        self.said.retain(|(t, _)| t != tag);
        if self.said.len() >= FORKS {
            self.said.remove(0);
        }
        self.said.push((tag.to_vec(), sdp.to_vec()));
    }

    /// What B said in the early dialog with this tag, else what it said last. Empty: nothing.
    pub fn said(&self, tag: &[u8]) -> &[u8] {
        let same = self.said.iter().find(|(t, _)| t == tag);
        same.or(self.said.last()).map_or(&[], |(_, sdp)| sdp)
    }
}

impl Call {
    /// B's description under our name as A is to hear it now, A's To tag chosen.
    pub(super) fn tell_a(&mut self, cx: &mut Cx<'_>, body: &[u8]) -> Vec<u8> {
        // Offer and answer went in a reliable 18x and its PRACK: another one would be a new offer.
        if body.is_empty() || self.is_answered_early() {
            return Vec::new();
        }
        let whole = match &self.invite {
            Some(invite) if self.path != Path::Bypass => completed(sdp_of(invite), body),
            _ => None,
        };
        let body = whole.as_deref().unwrap_or(body);
        let text = self.redescribe(cx, Side::A, body);
        let print = sdp::fingerprint(&text);
        let known = self.early.told.iter().find(|t| t.print == print).cloned();
        match known {
            Some(told) if told.tag == self.a.dialog.local_tag => return text,
            Some(told) => self.speak_as(told.tag, told.description),
            None if self.early.told.is_empty() => {
                self.remember(print);
                return text;
            }
            None => {
                let tag = Token::at(self.slot, cx.core.random()).text();
                let description = Description::new(cx.core.random() >> 2);
                self.speak_as(tag, description);
            }
        }
        let text = self.redescribe(cx, Side::A, body);
        self.remember(print);
        text
    }

    fn speak_as(&mut self, tag: String, description: Description) {
        if let Some(leg) = self.account.legs.first_mut() {
            leg.local_tag.clone_from(&tag);
        }
        self.a.dialog.local_tag = tag;
        self.a.description = description;
        self.dirty = true;
    }

    fn remember(&mut self, print: u64) {
        let tag = self.a.dialog.local_tag.clone();
        self.early.told.retain(|t| t.tag != tag);
        if self.early.told.len() >= FORKS {
            self.early.told.remove(0);
        }
        self.early.told.push(Told { print, tag, description: self.a.description.clone() });
    }

    /// An offer after the first has its answer, before the call is up: what A was told last is
    /// what holds for its To tag.
    pub(super) fn offered_anew(&mut self, by_b: &[u8]) {
        let tag = self.b.as_ref().map(|b| b.dialog.remote_tag.clone()).unwrap_or_default();
        self.early.note(&tag, by_b);
        self.remember(self.a.description.last);
    }

    /// Whether B's answer has no codec that A offered. The call is then over: nothing could be
    /// heard.
    pub(super) fn is_mismatched(&mut self, cx: &mut Cx<'_>, answer: &[u8]) -> bool {
        let offer = self.invite.as_ref().map_or(&b""[..], sdp_of);
        if self.path == Path::Bypass || offer.is_empty() || agree(offer, answer) {
            return false;
        }
        const REASON: &[u8] = b"Q.850;cause=88;text=\"no common codec\"";
        self.account.sip_final = 488;
        self.account.reason = "no common codec".to_owned();
        self.answer_a(cx, Passed { code: 488, reason: REASON, ..Passed::default() }, None);
        self.over(cx, Party::Platform, Outcome::Technical);
        self.end_b(cx, REASON);
        true
    }
}
