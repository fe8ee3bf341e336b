//! What ICMP says of our requests over UDP: a dead port is noticed at once (RFC 3261, 18.4).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cooee_model::account::Outcome;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::switch::input::Input;
use cooee_signalling::transaction::flow::Flow;

use crate::world::*;

const SECOND: Duration = Duration::from_secs(1);

/// ICMP gives back a message that went from our socket to `to`: its first 300 bytes.
pub fn returned(w: &mut World, to: &str, message: &str) {
    let remote: SocketAddr = to.parse().unwrap();
    let flow = Flow { transport: Transport::Udp, socket: 0, remote };
    let bytes = Bytes::from(message.as_bytes()[..message.len().min(300)].to_vec());
    w.input(Input::Unsent { flow, bytes });
}

#[test]
fn flow_11_a_dead_port_of_the_only_trunk_is_told_at_once() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.heard_b();
    returned(&mut w, B, &b_invite);
    assert_eq!(w.heard_a(), ["100 INVITE", "503 INVITE"]);
    let account = w.account();
    assert_eq!((account.outcome, account.sip_final), (Outcome::Technical, 503));
    assert_eq!(account.reason, "the trunk cannot be reached");
    assert!(w.heard_b().is_empty());
    w.assert_clean();
}

#[test]
fn flow_11_the_next_address_is_called_at_once() {
    let two = "[\"198.51.100.20:5060\", \"198.51.100.22:5060\"]";
    let mut w = World::changed(&[("[\"udp:198.51.100.20:5060\"]", two)]);
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    returned(&mut w, B, &first);
    assert_eq!(w.heard_at(B2), ["INVITE"]);
    // Its copy on the way is given back too, and means nothing any more.
    returned(&mut w, B, &first);
    assert!(w.heard_at(B2).is_empty());
    assert_eq!(w.heard_a(), ["100 INVITE"]);
}

#[test]
fn flow_11_a_forged_error_ends_nothing() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    let branch = header(&b_invite, "Via").split("branch=").nth(1).unwrap()[..33].to_owned();
    let last = if branch.ends_with('0') { "1" } else { "0" };
    let guessed = b_invite.replace(&branch, &format!("{}{last}", &branch[..32]));
    assert_ne!(guessed, b_invite);
    returned(&mut w, B, &guessed);
    returned(&mut w, C, &b_invite);
    // No branch: as little as RFC 792 asks for, or cut within it.
    for quoted in
        ["", "INVITE sip:x SIP/2.0\r\n", &b_invite[..b_invite.find(&branch).unwrap() + 20]]
    {
        returned(&mut w, B, quoted);
    }
    assert_eq!(w.heard_a(), ["100 INVITE"]);
    // Who has answered is there, whatever is said of a copy.
    w.b(b_says(100, &b_invite, "", ""));
    returned(&mut w, B, &b_invite);
    assert_eq!((w.heard_a().len(), w.switch.gauges().calls), (0, 1));
}

#[test]
fn flow_11_errors_for_answers_and_acks_are_ignored() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let trying = w.last_a("100 INVITE");
    returned(&mut w, A, &trying);
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, "", SDP_B));
    let (ack, ok) = (w.last_b("ACK"), w.last_a("200 INVITE"));
    w.to_b.clear();
    returned(&mut w, B, &ack);
    returned(&mut w, A, &ok);
    assert!(w.heard_b().is_empty());
    w.a(a_asks("ACK", 1, &ok, ""));
    assert_eq!(w.switch.gauges().calls, 1);
    // The ACK to a refusal has the branch of its INVITE.
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(486, &b_invite, "", ""));
    let ack = w.last_b("ACK");
    returned(&mut w, B, &ack);
    assert_eq!(w.heard_a(), ["100 INVITE", "486 INVITE"]);
    w.assert_clean();
}

#[test]
fn flow_11_a_re_invite_that_comes_back_fails_and_the_call_stays() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("INVITE", 2, &ok, SDP_A));
    let across = w.last_b("INVITE");
    returned(&mut w, B, &across);
    let refused = w.last_a("503 INVITE");
    w.a(a_asks("ACK", 2, &refused, "").replace("z9hG4bKACK2", "z9hG4bKINVITE2"));
    assert_eq!(w.switch.gauges().calls, 1);
    w.a(a_asks("INFO", 3, &ok, ""));
    let info = w.last_b("INFO");
    returned(&mut w, B, &info);
    w.last_a("503 INFO");
    // A BYE that comes back has told who was to be told.
    w.a(a_asks("BYE", 4, &ok, ""));
    let bye = w.last_b("BYE");
    w.to_b.clear();
    returned(&mut w, B, &bye);
    w.pass(SECOND * 3);
    assert!(w.heard_b().is_empty(), "it is not sent again");
    w.assert_clean();
}

#[test]
fn flow_11_a_cancel_that_comes_back_leaves_the_invite_to_its_time() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, "", ""));
    w.a(a_cancels());
    let cancel = w.last_b("CANCEL");
    w.to_b.clear();
    returned(&mut w, B, &cancel);
    w.pass(SECOND);
    assert!(w.heard_b().is_empty(), "it is not sent again");
    w.b(b_says(487, &b_invite, "", ""));
    assert_eq!(w.heard_b(), ["ACK"]);
    w.assert_clean();
}

#[test]
fn flow_11_a_refresh_that_comes_back_is_tried_until_the_session_ends() {
    let timer = "session_timer = { mode = \"prefer\", expires = 90, min_se = 90 }\nbind = [\"udp";
    let mut w = World::changed(&[("bind = [\"udp", timer)]);
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    let more = "Session-Expires: 90;refresher=uac\r\nAllow: INVITE, ACK, BYE, UPDATE\r\n";
    w.b(b_says(200, &b_invite, more, SDP_B));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    w.to_b.clear();
    w.pass(SECOND * 45);
    let mut refreshes = 0;
    for _ in 0..15 {
        if w.to_b.iter().any(|m| title(m) == "UPDATE") {
            let refresh = w.last_b("UPDATE");
            w.to_b.clear();
            returned(&mut w, B, &refresh);
            refreshes += 1;
            assert_eq!(w.switch.gauges().calls, 1);
        }
        w.pass(SECOND);
    }
    assert_eq!(refreshes, 3, "at 45, 52.5 and 56.25 of 60 s");
    w.last_b("BYE");
    assert_eq!(w.account().reason, "session timer: B did not answer the refresh");
}
