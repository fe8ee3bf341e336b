//! Row 97, signalling: one leg over IPv4 and the other over IPv6. Each peer is told addresses of
//! its own family alone. And loops over IPv6, however an address is written.

use crate::world::*;

const B4: &str = "udp:198.51.100.20:5060";
const B6: &str = "[2001:db8:b::20]:5060";
const A6: &str = "[2001:db8:a::10]:5060";
/// A proxy between us and B.
const PROXY6: &str = "[2001:db8:b::99]:5070";
const OURS6: &str = "[2001:db8::1]:5060";

/// As the peer by IPv6 writes what the other one of these tests would; its requests come through
/// the proxy.
fn at_b6(text: String) -> String {
    let text = text.replace(&format!("sip:b@{B}"), &format!("sip:b@{B6}"));
    text.replace(&format!("UDP {B};"), &format!("UDP {PROXY6};"))
}

/// The head of a message: descriptions of media are not looked at here.
fn head(text: &str) -> &str {
    text.split("\r\n\r\n").next().unwrap()
}

fn assert_v6_alone(text: &str) {
    assert!(!head(text).contains("192.0.2.") && !head(text).contains("198.51.100."), "{text}");
}

#[test]
fn flow_97_signalling_a_by_ipv4_b_by_ipv6() {
    let mut w = World::changed(&[(B4, &format!("udp:{B6}"))]);
    w.a(invite("", SDP_A));
    let b_invite = w.last_at(B6, "INVITE");
    assert!(b_invite.starts_with("INVITE sip:") && head(&b_invite).contains("@[2001:db8:b::20] "));
    assert!(header(&b_invite, "Via").starts_with(&format!("SIP/2.0/UDP {OURS6};")), "{b_invite}");
    assert!(header(&b_invite, "Contact").contains(&format!("@{OURS6}>")), "{b_invite}");
    assert!(header(&b_invite, "From").contains("@[2001:db8::1]>;tag="), "{b_invite}");
    assert_v6_alone(&b_invite);
    assert_eq!(w.ways.last().map(|f| f.socket), Some(0), "A's 100 by IPv4");
    assert!(w.ways.iter().any(|f| f.socket == 2 && f.remote.to_string() == B6));

    let routed = format!("Record-Route: <sip:{PROXY6};lr>\r\n");
    w.from(B6, at_b6(b_says(200, &b_invite, &routed, SDP_B)));
    let ack = w.last_at(PROXY6, "ACK");
    assert_eq!(header(&ack, "Route"), format!("<sip:{PROXY6};lr>"));
    assert!(ack.starts_with(&format!("ACK sip:b@{B6} ")), "{ack}");
    assert!(header(&ack, "Via").starts_with(&format!("SIP/2.0/UDP {OURS6};")), "{ack}");
    let ok = w.last_a("200 INVITE");
    assert_eq!(header(&ok, "Contact"), "<sip:192.0.2.1:5060>");
    assert!(!head(&ok).contains("2001:db8"), "{ok}");
    w.a(a_asks("ACK", 1, &ok, ""));

    // A re-INVITE and a BYE cross in the same way, from either side.
    w.a(a_asks("INVITE", 2, &ok, SDP_A));
    let again = w.last_at(PROXY6, "INVITE");
    assert!(header(&again, "Contact").contains(OURS6), "{again}");
    assert_v6_alone(&again);
    w.from(PROXY6, at_b6(b_says(200, &again, "", SDP_B)));
    w.a(a_asks("ACK", 2, &ok, ""));
    w.to_a.clear();
    w.from(PROXY6, at_b6(b_asks("BYE", 2, &b_invite, "")));
    let bye = w.last_a("BYE");
    assert!(header(&bye, "Via").starts_with("SIP/2.0/UDP 192.0.2.1:5060;"), "{bye}");
    assert!(!head(&bye).contains("2001:db8"), "{bye}");
    w.last_at(PROXY6, "200 BYE");
    w.a(b_says(200, &bye, "", ""));
    assert_eq!(w.account().sip_final, 200);
    w.assert_clean();
}

#[test]
fn flow_97_signalling_a_by_ipv6_b_by_ipv4() {
    let mut w = World::changed(&[("allow = [\"192.0.2.10\"]", "allow = [\"2001:db8:a::10\"]")]);
    let as_a6 = |text: String| {
        text.replace(A, A6)
            .replace("@192.0.2.10", "@[2001:db8:a::10]")
            .replace("@192.0.2.1>", "@[2001:db8::1]>")
    };
    w.from(A6, as_a6(invite("", SDP_A)));
    let b_invite = w.last_b("INVITE");
    assert!(header(&b_invite, "Via").starts_with("SIP/2.0/UDP 192.0.2.1:5060;"), "{b_invite}");
    assert!(!head(&b_invite).contains("2001:db8"), "{b_invite}");
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_at(A6, "200 INVITE");
    assert_eq!(header(&ok, "Contact"), format!("<sip:{OURS6}>"));
    assert_v6_alone(&ok);
    w.from(A6, as_a6(a_asks("ACK", 1, &ok, "")));
    w.b(b_asks("BYE", 2, &b_invite, ""));
    let bye = w.last_at(A6, "BYE");
    assert!(bye.starts_with(&format!("BYE sip:a@{A6} ")), "{bye}");
    assert!(header(&bye, "Via").starts_with(&format!("SIP/2.0/UDP {OURS6};")), "{bye}");
    assert_v6_alone(&bye);
    w.from(A6, b_says(200, &bye, "", ""));
    assert_eq!(w.account().sip_final, 200);
    w.assert_clean();
}

#[test]
fn flow_97_signalling_pings_name_us_by_the_family_of_the_peer() {
    let pings = "options_ping = { interval_s = 10 }";
    let mut w =
        World::changed(&[(B4, &format!("udp:{B6}")), ("options_ping = { interval_s = 0 }", pings)]);
    w.pass(std::time::Duration::from_secs(11));
    let options = w.last_at(B6, "OPTIONS");
    assert!(header(&options, "From").starts_with("<sip:[2001:db8::1]>;tag="), "{options}");
    assert_v6_alone(&options);
}

#[test]
fn flow_20_a_loop_over_ipv6_is_seen_however_our_address_is_written() {
    let mut w = World::changed(&[("allow = [\"192.0.2.10\"]", "allow = [\"2001:db8:a::10\"]")]);
    let passed = |host: &str, number: u32| {
        let branch = format!("z9hG4bK00{:08x}{:016x}", 3, 0xfeed);
        let via = format!("Via: SIP/2.0/UDP {host};branch={branch}\r\n");
        let text = invite(&via, SDP_A).replace("call-a", &format!("call-{number}"));
        text.replace("z9hG4bKa1", &format!("z9hG4bKn{number}")).replace(A, A6)
    };
    let written = [OURS6, "[2001:db8::1]", "[2001:DB8:0::1]:5060", "[2001:0db8:0:0:0:0:0:1]:5060"];
    for (number, host) in (1..).zip(written) {
        w.from(A6, passed(host, number));
        assert_eq!(w.heard_at(A6), ["482 INVITE"], "{host}");
    }
    for (number, host) in (10..).zip(["[2001:db8::2]:5060", "[2001:db8::1]:5070"]) {
        w.from(A6, passed(host, number));
        assert_eq!(w.heard_at(A6), ["100 INVITE"], "{host}");
    }
}
