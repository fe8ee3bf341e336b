//! What a peer asked us to prove on a leg, and how often we did.
//!
//! Only the realm of our trunk is ever answered: the configured one, or the one that the peer named
//! when it challenged the INVITE that opened the dialog. What is first asked for inside a dialog is
//! asked by somebody else (security S5).

use minicbor::{Decode, Encode};

use crate::leg::digest::{Challenge, Login};
use crate::message::name::Name;
use crate::message::view::Message;

/// The challenges of one leg.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Asked {
    /// The realm that the opening INVITE was challenged for.
    #[n(0)]
    realm: Option<String>,
    /// The nonce in force and how many times we used it.
    #[cbor(skip)]
    nonce: (String, u32),
    /// CSeq of the request that carries our last answer, and the how-manieth it is for one request.
    #[cbor(skip)]
    answered: (u32, u32),
    /// Our last answer to a challenged INVITE, with the CSeq of the INVITE that carries it: its ACK
    /// carries it too (RFC 3261, 13.2.2.4).
    #[cbor(skip)]
    invite: Option<(u32, Name, String)>,
}

/// A request of ours that was challenged.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its Request-URI.
    pub uri: &'a [u8],
    /// It opens the dialog.
    pub opens: bool,
    /// The CSeq that it will have when it is sent again.
    pub next_cseq: u32,
}

impl Asked {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { realm: None, nonce: (String::new(), 0), answered: (0, 0), invite: None }
    }

    /// The header that answers a 401 or 407, for the request to be sent again; `None`: it cannot
    /// or must not be answered.
    ///
    /// `realm` is the configured one. Each request is answered once, and again where the nonce was
    /// only too old.
    pub fn answer(
        &mut self,
        response: &Message,
        realm: Option<&str>,
        login: &Login<'_>,
        request: Request<'_>,
        cnonce: &str,
    ) -> Option<(Name, String)> {
        let wanted = realm.or(self.realm.as_deref());
        if wanted.is_none() && !request.opens {
            return None;
        }
        let challenge = Challenge::read(response, wanted)?;
        let tries = match (response.cseq()?.number, self.answered) {
            (number, (cseq, tries)) if number == cseq => tries,
            _ => 0,
        };
        if tries > 1 || (tries == 1 && !challenge.stale) {
            return None;
        }
        if self.nonce.0 != challenge.nonce {
            self.nonce = (challenge.nonce.clone(), 0);
        }
        self.nonce.1 += 1;
        let about = (request.method, request.uri);
        let (name, value) = challenge.answer(login, about, self.nonce.1, cnonce);
        self.answered = (request.next_cseq, tries + 1);
        if request.method == "INVITE" {
            self.invite = Some((request.next_cseq, name, value.clone()));
        }
        self.realm.get_or_insert(challenge.realm);
        Some((name, value))
    }

    /// What the ACK to the 2xx of the INVITE with this CSeq carries.
    pub fn for_ack(&self, cseq: u32) -> Option<(Name, &str)> {
        let (number, name, value) = self.invite.as_ref()?;
        (*number == cseq).then_some((*name, value.as_str()))
    }
}
