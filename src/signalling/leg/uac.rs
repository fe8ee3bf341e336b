//! The B side: the INVITE that we send.

use bytes::Bytes;

use crate::leg::dialog::{Dialog, Local};
use crate::leg::half::{ALLOW, Leg};
use crate::leg::reliable;
use crate::message::name::Name;
use crate::message::write::quoted;
use crate::profile::decision::Slots;
use crate::profile::session_timer::SessionTimer;

/// The dialog that an INVITE with these slots opens.
pub fn dialog(slots: &Slots, local: &Local, tag: String, call_id: String) -> Dialog {
    let mut from = quoted(&slots.from_display);
    from.extend(["<sip:", &slots.from_user, "@", &slots.from_host, ">"]);
    Dialog {
        call_id: call_id.into_bytes(),
        local_tag: tag,
        local: from.into_bytes(),
        remote: ["<", &slots.to, ">"].concat().into_bytes(),
        remote_target: slots.request_uri.clone().into_bytes(),
        contact: local.uri(&slots.contact_user),
        ..Dialog::default()
    }
}

/// What an INVITE carries besides its dialog.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Identity headers and headers that cross.
    pub slots: &'a Slots,
    /// Max-Forwards.
    pub hops: u32,
    /// User-Agent; empty: none.
    pub user_agent: &'a str,
    /// What its trunk wants of session timers.
    pub timer: &'a SessionTimer,
    /// The answer to a challenge.
    pub authorization: Option<&'a (Name, String)>,
    /// How much reliable provisional responses are wanted: `Supported`, `Require` or not at all.
    pub reliable: Option<Name>,
    /// The session description under our name; empty: none.
    pub sdp: &'a [u8],
}

/// Writes the INVITE; CSeq grows by one.
pub fn invite(leg: &mut Leg, local: &Local, branch: &str, offer: Offer<'_>) -> Bytes {
    leg.dialog.local_cseq += 1;
    let cseq = leg.dialog.local_cseq;
    leg.invite_cseq = cseq;
    let mut writer = leg.dialog.request("INVITE", cseq, offer.hops, (local, branch));
    leg.contact(&mut writer);
    writer.header(Name::Allow, &[ALLOW]);
    if !offer.user_agent.is_empty() {
        writer.header(Name::UserAgent, &[offer.user_agent.as_bytes()]);
    }
    if let Some(name) = offer.reliable {
        writer.header(name, &[reliable::TAG.as_bytes()]);
    }
    leg.session.write_request(offer.timer, true, &mut writer);
    if let Some((name, value)) = offer.authorization {
        writer.header(*name, &[value.as_bytes()]);
    }
    for (name, value) in &offer.slots.headers {
        writer.named(name.as_bytes(), &[value.as_bytes()]);
    }
    for crossing in &offer.slots.crossing {
        writer.named(crossing.name.as_bytes(), &[&crossing.value]);
    }
    writer.finish(if offer.sdp.is_empty() { b"" } else { b"application/sdp" }, offer.sdp)
}
