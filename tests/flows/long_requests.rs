//! Row 76: requests that are too long for UDP go by TCP, where that is wanted and spoken.

use std::time::Duration;

use bytes::Bytes;
use cooee_signalling::message::transport::Transport;
use cooee_signalling::switch::input::Input;
use cooee_signalling::transaction::flow::Flow;

use crate::world::*;

const SECOND: Duration = Duration::from_secs(1);
/// INVITEs of this world are longer, BYE and ACK are not.
const SHORT: (&str, &str) = ("bind = [\"udp", "udp_max = 600\nbind = [\"udp");

/// Requests above 600 bytes go by TCP.
fn strict() -> World {
    World::changed(&[SHORT])
}

/// The way of the last message, as `tcp 1 192.0.2.10:5060`.
fn way(w: &World) -> String {
    let flow = w.ways.last().unwrap();
    format!("{} {} {}", flow.transport.name(), flow.socket, flow.remote)
}

/// B's address takes no TCP.
fn refused(w: &mut World, message: &str) {
    let flow = Flow { transport: Transport::Tcp, socket: 1, remote: B.parse().unwrap() };
    w.input(Input::Unsent { flow, bytes: Bytes::from(message.to_owned()) });
}

fn branch(message: &str) -> String {
    header(message, "Via").split_once(";branch=").unwrap().1.to_owned()
}

/// Another call of A: B's INVITE.
fn called_again(w: &mut World, number: u32) -> String {
    let text = invite("", SDP_A).replace("call-a", &format!("call-{number}"));
    w.a(text.replace("z9hG4bKa1", &format!("z9hG4bKn{number}")));
    w.last_b("INVITE")
}

#[test]
fn flow_76_udp_is_kept_unless_asked_otherwise() {
    let long =
        SDP_A.replace("a=rtpmap:101", &format!("{}a=rtpmap:101", "a=note:x\r\n".repeat(200)));
    let mut w = World::new();
    w.a(invite("", &long));
    let b_invite = w.last_b("INVITE");
    assert!(b_invite.len() > 1500 && header(&b_invite, "Via").starts_with("SIP/2.0/UDP "));
    assert!(w.ways.iter().all(|f| f.transport == Transport::Udp));
    // The same where a limit is set and not reached, or not for this trunk.
    let own = ("secret = \"s3cret\"", "secret = \"s3cret\"\nudp_max = 0");
    for changes in [&[("bind = [\"udp", "udp_max = 1300\nbind = [\"udp")][..], &[SHORT, own]] {
        let mut w = World::changed(changes);
        w.a(invite("", SDP_A));
        w.last_b("INVITE");
        assert!(w.ways.iter().all(|f| f.transport == Transport::Udp));
    }
}

#[test]
fn flow_76_a_long_invite_goes_by_tcp_and_its_dialog_stays_on_udp() {
    let mut w = strict();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    assert!(w.ways.iter().any(|f| f.transport == Transport::Tcp && f.remote.to_string() == B));
    assert!(header(&b_invite, "Via").starts_with("SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK"));
    assert!(!header(&b_invite, "Contact").contains("transport"), "{b_invite}");
    w.pass(SECOND * 3);
    assert_eq!(w.heard_b(), ["INVITE"], "a stream sends nothing again");
    w.by_tcp(B, b_says(180, &b_invite, "", ""));
    w.by_tcp(B, b_says(200, &b_invite, "", SDP_B));
    assert_eq!(way(&w), format!("udp 0 {A}"));
    let ack = w.last_b("ACK");
    assert!(header(&ack, "Via").starts_with("SIP/2.0/UDP 192.0.2.1:5060;"), "{ack}");
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    // A long re-INVITE goes the same way.
    w.to_b.clear();
    w.a(a_asks("INVITE", 2, &ok, SDP_A));
    let again = w.last_b("INVITE");
    assert!(header(&again, "Via").starts_with("SIP/2.0/TCP "), "{again}");
    w.by_tcp(B, b_says(200, &again, "", SDP_B));
    w.a(a_asks("ACK", 2, &ok, ""));
    w.a(a_asks("BYE", 3, &ok, ""));
    let bye = w.last_b("BYE");
    assert!(header(&bye, "Via").starts_with("SIP/2.0/UDP "), "{bye}");
    w.b(b_says(200, &bye, "", ""));
    assert_eq!(w.account().sip_final, 200);
    w.assert_clean();
}

#[test]
fn flow_76_who_takes_no_tcp_is_sent_the_same_request_by_udp() {
    let mut w = strict();
    w.a(invite("", SDP_A));
    let by_tcp = w.last_b("INVITE");
    w.heard_b();
    refused(&mut w, &by_tcp);
    let by_udp = w.last_b("INVITE");
    assert_eq!(way(&w), format!("udp 0 {B}"));
    assert!(header(&by_udp, "Via").starts_with("SIP/2.0/UDP 192.0.2.1:5060;"), "{by_udp}");
    assert_eq!(branch(&by_udp), branch(&by_tcp));
    assert_eq!(header(&by_udp, "CSeq"), "1 INVITE");
    w.to_b.clear();
    w.pass(Duration::from_millis(1600));
    assert_eq!(w.heard_b(), ["INVITE", "INVITE"], "T1 and 2 T1 later");
    // What comes back of TCP now is nothing.
    refused(&mut w, &by_tcp);
    w.b(b_says(180, &by_udp, "", ""));
    assert_eq!(w.heard_a(), ["100 INVITE", "180 INVITE"]);
    // For a while nobody asks that address again.
    let second = called_again(&mut w, 2);
    assert!(header(&second, "Via").starts_with("SIP/2.0/UDP "), "{second}");
    w.pass(SECOND * 600);
    let third = called_again(&mut w, 3);
    assert!(header(&third, "Via").starts_with("SIP/2.0/TCP "), "{third}");
}

#[test]
fn flow_76_both_ways_closed_is_a_failure() {
    let mut w = strict();
    w.a(invite("", SDP_A));
    let by_tcp = w.last_b("INVITE");
    refused(&mut w, &by_tcp);
    let by_udp = w.last_b("INVITE");
    crate::icmp::returned(&mut w, B, &by_udp);
    assert_eq!(w.heard_a(), ["100 INVITE", "503 INVITE"]);
    w.assert_clean();
}

#[test]
fn flow_76_cancel_and_ack_go_the_way_of_their_invite() {
    let mut w = strict();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.by_tcp(B, b_says(180, &b_invite, "", ""));
    w.a(a_cancels());
    let cancel = w.last_b("CANCEL");
    assert_eq!(header(&cancel, "Via"), header(&b_invite, "Via"));
    assert_eq!(way(&w), format!("tcp 1 {B}"));
    w.by_tcp(B, b_says(200, &cancel, "", ""));
    w.by_tcp(B, b_says(487, &b_invite, "", ""));
    let ack = w.last_b("ACK");
    assert_eq!(header(&ack, "Via"), header(&b_invite, "Via"));
    assert_eq!(way(&w), format!("tcp 1 {B}"));
    w.assert_clean();
}

#[test]
fn flow_76_who_has_been_given_up_is_not_called_by_udp() {
    let mut w = strict();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.a(a_cancels());
    w.to_b.clear();
    refused(&mut w, &b_invite);
    assert!(w.heard_b().is_empty());
    w.assert_clean();
}
