//! Calls over streams: what is named where, what is sent again, what is given back.

use std::time::Duration;

use bytes::Bytes;
use cooee_model::account::Outcome;
use cooee_signalling::call::peers::Place;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::switch::input::Input;
use cooee_signalling::transaction::flow::Flow;

use crate::world::*;

/// A's connection: from a port of its own, while its Via and Contact name 5060.
const A_STREAM: &str = "192.0.2.10:40001";

fn contact_of_a(text: String) -> String {
    text.replace(&format!("<sip:a@{A}>"), &format!("<sip:a@{A};transport=tcp>"))
}

/// B is called by TCP.
fn b_by_tcp() -> World {
    let mut world = World::new();
    let peers = vec![Place::new(Transport::Tcp, B.parse().unwrap())];
    world.input(Input::Peers { revision: 1, trunk: 1, peers });
    world
}

/// The transport gives the last message that went to `to` back.
fn unsent(to: &str, message: &str) -> Input {
    let flow = Flow { transport: Transport::Tcp, socket: 1, remote: to.parse().unwrap() };
    Input::Unsent { flow, bytes: Bytes::from(message.to_owned()) }
}

fn way(world: &World) -> String {
    let flow = world.ways.last().unwrap();
    format!("{} {} {}", flow.transport.name(), flow.socket, flow.remote)
}

#[test]
fn flow_73_a_by_tcp_b_by_udp() {
    let mut world = World::new();
    world.by_tcp(A_STREAM, contact_of_a(invite("", SDP_A)));
    let b_invite = world.last_b("INVITE");
    assert!(header(&b_invite, "Via").starts_with("SIP/2.0/UDP "), "{b_invite}");
    assert!(!header(&b_invite, "Contact").contains("transport"), "{b_invite}");
    world.b(b_says(200, &b_invite, "", SDP_B));
    // The answer goes on the connection, and names our own address on it.
    assert_eq!(way(&world), format!("tcp 1 {A_STREAM}"));
    let ok = last_to(&world, A_STREAM, "200 INVITE");
    assert_eq!(header(&ok, "Contact"), "<sip:192.0.2.1:5060;transport=tcp>");
    world.by_tcp(A_STREAM, contact_of_a(a_asks("ACK", 1, &ok, "")));
    world.b(b_asks("BYE", 2, &b_invite, ""));
    // What we ask of A goes to its Contact, by the transport that it names.
    let bye = world.last_a("BYE");
    assert!(header(&bye, "Via").starts_with("SIP/2.0/TCP 192.0.2.1:5060;"), "{bye}");
    assert!(world.ways.iter().any(|f| f.transport == Transport::Tcp && f.remote.to_string() == A));
    world.by_tcp(A_STREAM, b_says(200, &bye, "", ""));
    assert_eq!(world.account().sip_final, 200);
    world.assert_clean();
}

#[test]
fn flow_73_nothing_but_the_2xx_is_sent_again_on_a_stream() {
    let mut world = b_by_tcp();
    world.by_tcp(A_STREAM, contact_of_a(invite("", SDP_A)));
    let b_invite = world.last_b("INVITE");
    assert!(header(&b_invite, "Via").starts_with("SIP/2.0/TCP "), "{b_invite}");
    assert!(header(&b_invite, "Contact").ends_with(";transport=tcp>"), "{b_invite}");
    world.pass(Duration::from_secs(3));
    assert_eq!(world.heard_b(), ["INVITE"]);
    world.by_tcp(B, b_says(180, &b_invite, "", ""));
    world.by_tcp(B, b_says(200, &b_invite, "", SDP_B));
    assert_eq!(world.heard_b(), ["ACK"]);
    world.elsewhere.clear();
    world.pass(Duration::from_secs(3));
    // Our 2xx is end to end: no hop promises that A has it (RFC 3261, 13.3.1.4).
    let again: Vec<_> = world.elsewhere.iter().map(|(_, m)| title(m)).collect();
    assert_eq!(again, ["200 INVITE", "200 INVITE"]);
    let ok = last_to(&world, A_STREAM, "200 INVITE");
    world.by_tcp(A_STREAM, contact_of_a(a_asks("ACK", 1, &ok, "")));
    world.by_tcp(A_STREAM, contact_of_a(a_asks("BYE", 2, &ok, "")));
    let bye = world.last_b("BYE");
    world.to_b.clear();
    world.pass(Duration::from_secs(3));
    assert!(world.to_b.is_empty());
    world.by_tcp(B, b_says(200, &bye, "", ""));
    world.assert_clean();
}

#[test]
fn flow_73_transactions_on_a_stream_are_over_at_once() {
    let mut world = b_by_tcp();
    world.by_tcp(A_STREAM, contact_of_a(invite("", SDP_A)));
    let b_invite = world.last_b("INVITE");
    world.by_tcp(B, b_says(486, &b_invite, "", ""));
    let refused = last_to(&world, A_STREAM, "486 INVITE");
    let ack = a_asks("ACK", 1, &refused, "").replace("aACK1", "a1");
    world.by_tcp(A_STREAM, ack.replace("ACK  SIP", "ACK sip:x@192.0.2.1 SIP"));
    world.pass(Duration::from_millis(1));
    // Timers D, I: zero (RFC 3261, 17.1.1.2, 17.2.1).
    assert_eq!(world.switch.gauges().transactions, (0, 0));
    world.assert_clean();
}

#[test]
fn flow_75_a_connection_lost_in_a_call_ends_nothing() {
    let mut world = b_by_tcp();
    world.by_tcp(A_STREAM, contact_of_a(invite("", SDP_A)));
    let b_invite = world.last_b("INVITE");
    world.by_tcp(B, b_says(200, &b_invite, "", SDP_B));
    let ok = last_to(&world, A_STREAM, "200 INVITE");
    // The 2xx came back unsent once: it is sent again in its time, and the call goes on.
    world.input(unsent(A_STREAM, &ok));
    world.by_tcp(A_STREAM, contact_of_a(a_asks("ACK", 1, &ok, "")));
    assert_eq!(world.switch.gauges().calls, 1);
    // A comes back by another connection.
    world.by_tcp("192.0.2.10:40002", contact_of_a(a_asks("BYE", 2, &ok, "")));
    last_to(&world, "192.0.2.10:40002", "200 BYE");
    let bye = world.last_b("BYE");
    world.by_tcp(B, b_says(200, &bye, "", ""));
    assert_eq!(world.account().sip_final, 200);
    world.assert_clean();
}

#[test]
fn what_could_not_be_sent_fails_at_once() {
    let mut world = b_by_tcp();
    world.a(invite("", SDP_A));
    let b_invite = world.last_b("INVITE");
    world.input(unsent(B, &b_invite));
    assert_eq!(world.heard_a().last().unwrap(), "503 INVITE");
    let account = world.account();
    assert_eq!((account.outcome, account.sip_final), (Outcome::Technical, 503));
    assert_eq!(account.reason, "the trunk cannot be reached");
    // A copy that comes back after B was heard means nothing.
    let mut world = b_by_tcp();
    world.a(invite("", SDP_A));
    let b_invite = world.last_b("INVITE");
    world.by_tcp(B, b_says(180, &b_invite, "", ""));
    world.input(unsent(B, &b_invite));
    assert_eq!(world.switch.gauges().calls, 1);
    assert_eq!(world.heard_a(), ["100 INVITE", "180 INVITE"]);
}

#[test]
fn s9_a_caller_that_cannot_be_told_has_left() {
    let mut world = World::new();
    world.by_tcp(A_STREAM, contact_of_a(invite("", SDP_A)));
    let b_invite = world.last_b("INVITE");
    let trying = last_to(&world, A_STREAM, "100 INVITE");
    world.b(b_says(180, &b_invite, "", ""));
    world.input(unsent(A_STREAM, &trying));
    assert_eq!(world.heard_b(), ["INVITE", "CANCEL"]);
    let cancel = b_invite.replace("CSeq: 1 INVITE", "CSeq: 1 CANCEL");
    world.b(b_says(200, &cancel, "", ""));
    world.b(b_says(487, &b_invite, "", ""));
    assert_eq!(world.account().outcome, Outcome::Canceled);
    world.assert_clean();
}

#[test]
fn flow_74_no_content_length_on_a_stream_is_refused() {
    let mut world = World::new();
    let text = invite("", "").replace("Content-Length: 0\r\n", "");
    world.by_tcp(A_STREAM, text.clone());
    last_to(&world, A_STREAM, "400 INVITE");
    // A datagram has an end of its own.
    world.a(text);
    world.last_a("100 INVITE");
}

/// The last message of this kind that went to an address.
fn last_to(world: &World, to: &str, kind: &str) -> String {
    let to = to.parse().unwrap();
    let found = world.elsewhere.iter().rev().find(|(at, m)| *at == to && title(m) == kind);
    let seen: Vec<_> = world.elsewhere.iter().map(|(at, m)| (at, title(m))).collect();
    let (_, message) = found.unwrap_or_else(|| panic!("no {kind} for {to} among {seen:?}"));
    String::from_utf8_lossy(message.bytes()).into_owned()
}
