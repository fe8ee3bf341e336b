//! The A side of an INVITE: what we answer.

use bytes::Bytes;

use crate::leg::dialog::copy_record_route;
use crate::leg::half::{ALLOW, Leg};
use crate::leg::reliable;
use crate::message::name::Name;
use crate::message::reply::response_to;
use crate::message::view::{Message, Method};

/// What is passed on from the other leg's answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed<'a> {
    /// The status code.
    pub code: u16,
    /// The reason phrase; empty: the standard one.
    pub phrase: &'a [u8],
    /// `Reason`, where there is one (RFC 3326).
    pub reason: &'a [u8],
    /// `Retry-After`, where there is one.
    pub retry_after: &'a [u8],
    /// RSeq of a reliable provisional response; zero: it is not reliable.
    pub rseq: u32,
    /// The session description under our name; empty: none.
    pub sdp: &'a [u8],
}

/// 100 Trying: no tag, no Contact, nothing that makes a dialog.
pub fn trying(request: &Message, leg_source: std::net::SocketAddr) -> Bytes {
    response_to(request, leg_source, 100, b"", "").finish(b"", b"")
}

/// Any other response to the INVITE or re-INVITE of this leg.
pub fn answer(leg: &Leg, request: &Message, server: &str, passed: Passed<'_>) -> Bytes {
    let tag = &leg.dialog.local_tag;
    let mut writer = response_to(request, leg.flow.remote, passed.code, passed.phrase, tag);
    if passed.code < 300 {
        copy_record_route(request, &mut writer);
        leg.contact(&mut writer);
        writer.header(Name::Allow, &[ALLOW]);
    }
    if let Some(id) = &leg.dialog.session_id {
        id.write(&mut writer);
    }
    if passed.rseq != 0 {
        writer.header(Name::Require, &[reliable::TAG.as_bytes()]);
        writer.number(Name::RSeq, passed.rseq);
    }
    let refreshes = matches!(request.method(), Method::Invite | Method::Update);
    if refreshes && (200..300).contains(&passed.code) {
        leg.session.write_answer(&mut writer);
    }
    if !passed.reason.is_empty() {
        writer.header(Name::Reason, &[passed.reason]);
    }
    if !passed.retry_after.is_empty() {
        writer.header(Name::RetryAfter, &[passed.retry_after]);
    }
    if !server.is_empty() {
        writer.header(Name::Server, &[server.as_bytes()]);
    }
    writer.finish(if passed.sdp.is_empty() { b"" } else { b"application/sdp" }, passed.sdp)
}
