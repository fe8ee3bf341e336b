//! What descriptions say of RTP and RTCP, and what the relay is told: rows 92 and 95 to 97.

use std::net::SocketAddr;
use std::time::Duration;

use cooee_model::ids::{Family, Lease, Side};
use cooee_model::media::{Latch, MediaCommand, PeerMedia};

use crate::world::*;

const B6: &str = "[2001:db8:2::20]:5060";

/// A world with IPv6 ports, and B there.
fn world_of_both(changes: &[(&str, &str)]) -> World {
    let mut all = vec![("mode = \"relay\"", "mode = \"relay\"\nbind6 = \"::1\"")];
    all.extend(changes);
    World::changed(&all)
}

fn world6() -> World {
    world_of_both(&[("udp:198.51.100.20:5060", "udp:[2001:db8:2::20]:5060")])
}

/// A description in IPv6.
fn in_v6(sdp: &str) -> String {
    sdp.replace("IP4 192.0.2.11", "IP6 2001:db8:a::11").replace("IP4 198.51.100.21", B6_MEDIA)
}

const B6_MEDIA: &str = "IP6 2001:db8:2::21";

fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").unwrap().1
}

/// The address lines of a message's description.
fn addresses(message: &str) -> Vec<String> {
    let lines = body(message).lines().filter(|l| l.starts_with("o=") || l.starts_with("c="));
    let told = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        words[words.len() - 2..].join(" ")
    };
    lines.map(told).collect()
}

const OURS: &str = "IP4 192.0.2.1";
const OURS6: &str = "IP6 2001:db8::1";

fn port(message: &str) -> u16 {
    let line = body(message).lines().find(|l| l.starts_with("m=audio")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The port pairs that the relay works with now.
fn leases(w: &World) -> (Lease, Lease) {
    let mut now = None;
    for command in &w.media {
        match *command {
            MediaCommand::Open { a, b, .. } => now = Some((a, b)),
            MediaCommand::Swap { b, .. } => now = now.map(|(a, _)| (a, b)),
            _ => {}
        }
    }
    now.unwrap()
}

/// What the relay was last told of a side.
fn told(w: &World, side: Side) -> PeerMedia {
    let media = w.media.iter().rev().find_map(|c| match c {
        MediaCommand::Peer { side: s, media, .. } if *s == side => media.clone(),
        _ => None,
    });
    media.expect("the relay knows the peer")
}

fn b6_says(w: &mut World, code: u16, request: &str, sdp: &str) {
    w.from(B6, b_says(code, request, "", sdp).replace(&format!("b@{B}"), &format!("b@{B6}")));
}

/// A call that is up between an IPv4 A and an IPv6 B: A's 200 and B's INVITE.
fn talking6(w: &mut World) -> (String, String) {
    w.a(invite("", SDP_A));
    let b_invite = w.last_at(B6, "INVITE");
    b6_says(w, 200, &b_invite, &in_v6(SDP_B));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    (ok, b_invite)
}

#[test]
fn flow_97_each_leg_is_described_in_its_own_family() {
    let mut w = world6();
    let (ok, b_invite) = talking6(&mut w);
    assert_eq!(addresses(&b_invite), [OURS6, OURS6]);
    assert_eq!(addresses(&ok), [OURS, OURS]);
    let (a, b) = leases(&w);
    assert_eq!((a.family, b.family), (Family::V4, Family::V6));
    assert_eq!((a.port, b.port), (port(&ok), port(&b_invite)));
    let media: SocketAddr = "[2001:db8:2::21]:7000".parse().unwrap();
    assert_eq!(told(&w, Side::B).rtp, media);
    assert_eq!(w.switch.gauges().leases, 2);
    // A hold of old means nowhere in either family.
    w.a(a_asks("INVITE", 2, &ok, &SDP_A.replace("c=IN IP4 192.0.2.11", "c=IN IP4 0.0.0.0")));
    assert_eq!(addresses(&w.last_at(B6, "INVITE")), [OURS6, "IP6 ::"]);
    let held = w.last_at(B6, "INVITE");
    b6_says(&mut w, 200, &held, &in_v6(SDP_B));
    w.a(a_asks("ACK", 2, &ok, ""));
    w.a(a_asks("BYE", 3, &ok, ""));
    let bye = w.last_at(B6, "BYE");
    b6_says(&mut w, 200, &bye, "");
    w.assert_clean();
}

#[test]
fn flow_97_what_the_offer_names_counts_and_not_how_it_came() {
    let mut w = world_of_both(&[]);
    w.a(invite("", &in_v6(SDP_A)));
    let b_invite = w.last_b("INVITE");
    assert_eq!(addresses(&b_invite), [OURS, OURS]);
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    assert_eq!(addresses(&ok), [OURS6, OURS6]);
    w.a(a_asks("ACK", 1, &ok, ""));
    // The ports stay: an offer in the other family is refused, and the call goes on.
    w.a(a_asks("INVITE", 2, &ok, SDP_A));
    w.last_a("488 INVITE");
    w.a(a_asks("BYE", 3, &ok, ""));
    w.b(b_says(200, &w.last_b("BYE"), "", ""));
    w.assert_clean();
}

#[test]
fn flow_97_a_family_that_we_do_not_have_is_488() {
    let mut w = World::new();
    w.a(invite("", &in_v6(SDP_A)));
    w.last_a("488 INVITE");
    assert!(w.heard_b().is_empty());
    assert_eq!(w.switch.gauges().leases, 0);
    // A late offer: we describe ourselves in what we have.
    let mut w = World::changed(&[("udp:198.51.100.20:5060", "udp:[2001:db8:2::20]:5060")]);
    w.a(invite("", SDP_A));
    assert_eq!(addresses(&w.last_at(B6, "INVITE")), [OURS, OURS]);
}

#[test]
fn flow_97_the_next_target_gets_ports_of_its_family() {
    let second = "{ target = \"trunk:b\", timeout_s = 30 }, { target = \"trunk:c\" }";
    let trunk = "[[trunk]]\nname = \"c\"\nprofile = \"generic-ip-trunk\"\n\
        peers = [\"udp:[2001:db8:2::20]:5060\"]\n[[route]]";
    let mut w = world_of_both(&[
        ("{ target = \"trunk:b\", timeout_s = 30 }", second),
        ("[[route]]", trunk),
    ]);
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    let had = leases(&w);
    w.b(b_says(503, &first, "", ""));
    let b_invite = w.last_at(B6, "INVITE");
    assert_eq!(addresses(&b_invite), [OURS6, OURS6]);
    let has = leases(&w);
    assert_eq!((has.0, has.1.family), (had.0, Family::V6));
    assert_eq!(w.switch.gauges().leases, 2);
    b6_says(&mut w, 486, &b_invite, "");
    w.last_a("486 INVITE");
    w.a(a_asks("ACK", 1, &w.last_a("486 INVITE"), ""));
    w.assert_clean();
}

#[test]
fn flow_97_without_ports_in_the_family_of_b_there_is_no_call() {
    let mut w = world6();
    let call = |w: &mut World, n: u32, sdp: &str| {
        let text = invite("", sdp).replace("call-a", &format!("call-{n}"));
        let text = text.replace("tag=ta", &format!("tag=t{n}"));
        w.a(text.replace("z9hG4bKa1", &format!("z9hG4bK{n}")));
    };
    (0..10).for_each(|n| call(&mut w, n, &in_v6(SDP_A)));
    assert_eq!((w.switch.gauges().calls, w.switch.gauges().leases), (10, 20));
    w.to_a.clear();
    call(&mut w, 20, SDP_A);
    w.last_a("503 INVITE");
    assert_eq!(w.switch.gauges().leases, 20, "nothing of the refused call is left");
    // A pair that was leased for B in the wrong family, and never used, needs no rest.
    let mut w = world6();
    (0..19).for_each(|n| call(&mut w, n, SDP_A));
    assert_eq!(w.switch.gauges().calls, 19);
}

#[test]
fn flow_97_a_crash_forgets_no_family() {
    let mut w = world6();
    let (ok, _) = talking6(&mut w);
    let plain = |(a, b): (Lease, Lease)| [(a.family, a.port), (b.family, b.port)];
    let had = plain(leases(&w));
    w.media.clear();
    assert_eq!(w.crash(Duration::from_secs(1)).revived, 1);
    assert_eq!(plain(leases(&w)), had);
    assert_eq!(told(&w, Side::B).rtp, "[2001:db8:2::21]:7000".parse().unwrap());
    // What B hears next names the same place.
    w.a(a_asks("INVITE", 2, &ok, &format!("{SDP_A}a=sendonly\r\n")));
    let hold = w.last_at(B6, "INVITE");
    assert_eq!((addresses(&hold), port(&hold)), (vec![OURS6.into(), OURS6.into()], had[1].1));
}

const MUX: &str = "a=rtcp-mux\r\n";

fn muxes(message: &str) -> bool {
    body(message).contains(MUX)
}

fn rtcp(w: &World, side: Side) -> String {
    told(w, side).rtcp.to_string()
}

#[test]
fn flow_95_each_leg_shares_a_port_or_not_by_itself() {
    // A shares, B does not.
    let mut w = World::new();
    w.a(invite("", &format!("{SDP_A}{MUX}a=rtcp:6009\r\n")));
    let b_invite = w.last_b("INVITE");
    assert!(muxes(&b_invite) && !b_invite.contains("a=rtcp:"), "{b_invite}");
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    assert!(muxes(&ok), "we do, whatever B does: {ok}");
    assert_eq!(
        (rtcp(&w, Side::A), rtcp(&w, Side::B)),
        ("192.0.2.11:6000".into(), "198.51.100.21:7001".into())
    );
    w.a(a_asks("ACK", 1, &ok, ""));
    // B asks anew, after a crash: A is offered what it had, B gets no more than it asked for.
    w.crash(Duration::from_secs(1));
    w.b(b_asks("INVITE", 1, &b_invite, &SDP_B.replace("7000", "7002")));
    let asked = w.last_a("INVITE");
    assert!(muxes(&asked), "{asked}");
    w.a(b_says(200, &asked, "", &format!("{SDP_A}{MUX}")).replace(B, A));
    assert!(!muxes(&w.last_b("200 INVITE")));
    // A does not ask for it: it is not offered to B, and not passed on if B says it all the same.
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    assert!(!muxes(&b_invite));
    w.b(b_says(200, &b_invite, "", &format!("{SDP_B}{MUX}")));
    assert!(!muxes(&w.last_a("200 INVITE")));
    assert_eq!(
        (rtcp(&w, Side::A), rtcp(&w, Side::B)),
        ("192.0.2.11:6001".into(), "198.51.100.21:7000".into())
    );
}

#[test]
fn flow_95_a_named_rtcp_port_and_address_are_honoured() {
    let mut w = World::new();
    w.a(invite("", &format!("{SDP_A}a=rtcp:6009\r\n")));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, "", &format!("{SDP_B}a=rtcp:7009 IN IP4 198.51.100.29\r\n")));
    let ok = w.last_a("200 INVITE");
    assert_eq!(
        (rtcp(&w, Side::A), rtcp(&w, Side::B)),
        ("192.0.2.11:6009".into(), "198.51.100.29:7009".into())
    );
    // Ours is on the next port, which needs no word.
    assert!(!b_invite.contains("a=rtcp") && !ok.contains("a=rtcp"));
    assert!(!ok.contains("198.51.100.29"));
}

#[test]
fn flow_92_a_reinvite_frees_the_lock_and_a_refresh_does_not() {
    let nat = (
        "allow = [\"192.0.2.10\"]",
        "allow = [\"192.0.2.10\"]\nmedia_allow = [\"203.0.113.0/24\"]",
    );
    let mut w = World::changed(&[nat]);
    let (ok, _) = talking(&mut w);
    assert!(matches!(told(&w, Side::A).latch, Latch::Networks(n) if n.len() == 1));
    assert_eq!(told(&w, Side::B).latch, Latch::Strict);
    let orders = w.media.len();
    let again = |w: &mut World, cseq, sdp: &str| {
        w.a(a_asks("INVITE", cseq, &ok, sdp));
        let asked = w.last_b("INVITE");
        w.b(b_says(200, &asked, "", SDP_B));
        w.a(a_asks("ACK", cseq, &ok, ""));
    };
    again(&mut w, 2, SDP_A);
    assert_eq!(w.media.len(), orders, "nothing new is named");
    again(&mut w, 3, &SDP_A.replace("6000", "6100"));
    let PeerMedia { rtp, source, .. } = told(&w, Side::A);
    assert_eq!((rtp.port(), source, w.media.len()), (6100, None, orders + 1));
}

#[test]
fn flow_96_packet_lengths_and_comfort_noise_are_described_unchanged() {
    for ptime in [10, 20, 30, 60] {
        let said = format!("a=ptime:{ptime}\r\na=maxptime:{ptime}\r\na=silenceSupp:on - - - -\r\n");
        let noise =
            |sdp: &str| format!("{}{said}", sdp.replace("RTP/AVP 8 101", "RTP/AVP 8 13 101"));
        let mut w = World::new();
        w.a(invite("", &noise(SDP_A)));
        let b_invite = w.last_b("INVITE");
        w.b(b_says(200, &b_invite, "", &noise(SDP_B)));
        for message in [&b_invite, &w.last_a("200 INVITE")] {
            assert!(message.ends_with(&said), "{message}");
            assert!(body(message).contains(" RTP/AVP 8 13 101\r\n"), "{message}");
        }
    }
}
