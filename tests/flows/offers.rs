//! Descriptions with more or less than one audio section, and digits.

use cooee_model::media::MediaCommand;

use crate::world::*;

fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").unwrap().1
}

/// The `m=` lines of a message's description, ours written `P`.
fn sections(message: &str) -> Vec<String> {
    let lines = body(message).lines().filter(|l| l.starts_with("m="));
    lines
        .map(|line| {
            let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            if words[1].parse::<u16>().unwrap() >= 10_000 {
                words[1] = "P".to_owned();
            }
            words.join(" ")
        })
        .collect()
}

const VIDEO: &str = "m=video 6002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
const NO_VIDEO: &str = "m=video 0 RTP/AVP 96\r\n";

#[test]
fn flow_84_of_two_sections_one_is_refused_and_both_stay() {
    let mut w = World::new();
    w.a(invite("", &format!("{SDP_A}{VIDEO}")));
    let b_invite = w.last_b("INVITE");
    let both = ["m=audio P RTP/AVP 8 101", "m=video 0 RTP/AVP 96"];
    assert_eq!(sections(&b_invite), both);
    w.b(b_says(200, &b_invite, "", &format!("{SDP_B}{NO_VIDEO}")));
    let ok = w.last_a("200 INVITE");
    assert_eq!(sections(&ok), both);
    assert!(!ok.contains("198.51.100"), "{ok}");
}

#[test]
fn flow_84_the_order_stays_and_what_b_forgets_is_refused() {
    // Video first: the audio that is relayed is the second section.
    let mut w = World::new();
    let audio = SDP_A.find("m=audio").unwrap();
    w.a(invite("", &format!("{}{VIDEO}{}", &SDP_A[..audio], &SDP_A[audio..])));
    let b_invite = w.last_b("INVITE");
    let both = ["m=video 0 RTP/AVP 96", "m=audio P RTP/AVP 8 101"];
    assert_eq!(sections(&b_invite), both);
    let audio = SDP_B.find("m=audio").unwrap();
    w.b(b_says(200, &b_invite, "", &format!("{}{NO_VIDEO}{}", &SDP_B[..audio], &SDP_B[audio..])));
    assert_eq!(sections(&w.last_a("200 INVITE")), both);
    // B answers the first section alone, against the rules.
    let mut w = World::new();
    w.a(invite("", &format!("{SDP_A}{VIDEO}m=audio 6004 RTP/AVP 0\r\n")));
    let b_invite = w.last_b("INVITE");
    assert_eq!(sections(&b_invite).len(), 3);
    w.b(b_says(200, &b_invite, "", SDP_B));
    let three = ["m=audio P RTP/AVP 8 101", "m=video 0 RTP/AVP 96", "m=audio 0 RTP/AVP 0"];
    assert_eq!(sections(&w.last_a("200 INVITE")), three);
}

#[test]
fn flow_85_a_refused_audio_section_leaks_no_port() {
    // In the offer: no call, no lease.
    let mut w = World::new();
    w.a(invite("", &SDP_A.replace("m=audio 6000", "m=audio 0")));
    w.last_a("488 INVITE");
    assert_eq!(w.switch.gauges().leases, 0);
    assert!(w.heard_b().is_empty());
    // In the answer: it stays refused.
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, "", &SDP_B.replace("m=audio 7000", "m=audio 0")));
    let ok = w.last_a("200 INVITE");
    assert_eq!(sections(&ok), ["m=audio 0 RTP/AVP 8 101"]);
    w.a(a_asks("ACK", 1, &ok, ""));
    w.a(a_asks("BYE", 2, &ok, ""));
    w.assert_clean();
}

const T38: &str = "v=0\r\no=b 5 6 IN IP4 198.51.100.21\r\ns=-\r\nc=IN IP4 198.51.100.21\r\n\
    t=0 0\r\nm=image 7010 udptl t38\r\na=T38FaxVersion:0\r\n";

#[test]
fn flow_87_a_change_to_fax_is_488_and_audio_goes_on() {
    for from_a in [true, false] {
        let mut w = World::new();
        let (ok, b_invite) = talking(&mut w);
        let orders = w.media.len();
        if from_a {
            w.a(a_asks("INVITE", 2, &ok, T38));
            w.last_a("488 INVITE");
            assert!(w.heard_b().is_empty(), "B is not troubled");
        } else {
            w.b(b_asks("INVITE", 1, &b_invite, T38));
            w.last_b("488 INVITE");
            assert!(w.heard_a().is_empty(), "A is not troubled");
        }
        assert_eq!(w.media.len(), orders, "the relay heard nothing of it");
        // The call is as it was: a hold goes through.
        w.to_b.clear();
        w.a(a_asks("INVITE", 3, &ok, &format!("{SDP_A}a=sendonly\r\n")));
        let hold = w.last_b("INVITE");
        assert_eq!(sections(&hold), ["m=audio P RTP/AVP 8 101"]);
        w.b(b_says(200, &hold, "", SDP_B));
        w.a(a_asks("ACK", 3, &ok, ""));
        w.a(a_asks("BYE", 4, &ok, ""));
        w.assert_clean();
    }
}

#[test]
fn flow_87_fax_beside_audio_is_refused_alone() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.a(a_asks("INVITE", 2, &ok, &format!("{SDP_A}m=image 6010 udptl t38\r\n")));
    let asked = w.last_b("INVITE");
    assert_eq!(sections(&asked), ["m=audio P RTP/AVP 8 101", "m=image 0 udptl t38"]);
}

/// A body of three parts, the description in the middle.
fn multipart(text: String, sdp: &str) -> String {
    let parts = format!(
        "--=_x\r\nContent-Type: text/plain\r\n\r\nsecret note\r\n--=_x\r\n\
         Content-Disposition: session\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--=_x\r\n\
         Content-Type: application/pidf+xml\r\nContent-Disposition: render;handling=optional\r\n\
         \r\n<presence>sip:+61280001111@h</presence>\r\n--=_x--\r\n"
    );
    let (head, _) = text.split_once("Content-Type").unwrap();
    format!(
        "{head}Content-Type: multipart/mixed ; boundary=\"=_x\"\r\nMIME-Version: 1.0\r\n\
         Content-Length: {}\r\n\r\n{parts}",
        parts.len()
    )
}

#[test]
fn flow_88_the_description_is_found_among_other_parts() {
    let mut w = World::new();
    w.a(multipart(invite("", SDP_A), SDP_A));
    let b_invite = w.last_b("INVITE");
    assert_eq!(header(&b_invite, "Content-Type"), "application/sdp");
    assert_eq!(sections(&b_invite), ["m=audio P RTP/AVP 8 101"]);
    assert!(!b_invite.contains("secret") && !b_invite.contains("presence"), "{b_invite}");
    w.b(multipart(b_says(200, &b_invite, "", SDP_B), SDP_B));
    let ok = w.last_a("200 INVITE");
    assert_eq!(header(&ok, "Content-Type"), "application/sdp");
    assert_eq!(sections(&ok), ["m=audio P RTP/AVP 8 101"]);
    let named: Vec<_> = w
        .media
        .iter()
        .filter_map(|c| match c {
            MediaCommand::Peer { media: Some(m), .. } => Some(m.rtp.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(named, ["192.0.2.11:6000", "198.51.100.21:7000"]);
    // Parts without a description are no offer that we could take.
    let mut w = World::new();
    let text = multipart(invite("", SDP_A), SDP_A).replace("application/sdp", "application/xxx");
    w.a(text);
    w.last_a("415 INVITE");
}

#[test]
fn flow_79_each_leg_is_told_the_payload_types_of_the_other() {
    // A offers events as 101; B wants them as 96. Each sends by the other's number (RFC 3264, 5.1),
    // so the numbers cross untouched and the packets with them (`src/media/tests/events.rs`).
    let mut w = World::new();
    let fmtp = "a=fmtp:101 0-16\r\n";
    w.a(invite("", &format!("{SDP_A}{fmtp}")));
    let b_invite = w.last_b("INVITE");
    let events = |message: &str| {
        let lines = body(message).lines().filter(|l| l.starts_with("m=") || l.starts_with("a="));
        lines.skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(sections(&b_invite), ["m=audio P RTP/AVP 8 101"]);
    assert_eq!(events(&b_invite), ["a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16"]);
    w.b(b_says(200, &b_invite, "", &format!("{SDP_B}{fmtp}").replace("101", "96")));
    let ok = w.last_a("200 INVITE");
    assert_eq!(sections(&ok), ["m=audio P RTP/AVP 8 96"]);
    assert_eq!(events(&ok), ["a=rtpmap:96 telephone-event/8000", "a=fmtp:96 0-16"]);
}

#[test]
fn flow_78_digits_by_info_pass_both_ways() {
    let mut w = World::new();
    let (ok, b_invite) = talking(&mut w);
    let relay = "Signal=5\r\nDuration=160\r\n";
    w.a(a_asks("INFO", 2, &ok, relay).replace("application/sdp", "application/dtmf-relay"));
    let passed = w.last_b("INFO");
    assert_eq!(
        (header(&passed, "Content-Type").as_str(), body(&passed)),
        ("application/dtmf-relay", relay)
    );
    assert!(header(&passed, "Call-ID") != "call-a", "in B's dialog");
    w.b(b_says(200, &passed, "", ""));
    w.last_a("200 INFO");
    // From B, as a package (RFC 6086).
    let packaged = b_asks("INFO", 1, &b_invite, "#").replace("application/sdp", "application/dtmf");
    w.b(packaged.replace("Content-Type", "Info-Package: dtmf\r\nContent-Type"));
    let passed = w.last_a("INFO");
    assert_eq!((header(&passed, "Info-Package").as_str(), body(&passed)), ("dtmf", "#"));
    w.a(b_says(415, &passed, "", "").replace(B, A));
    w.last_b("415 INFO");
    assert_eq!(w.switch.gauges().calls, 1);
}

/// A talks to B by a trunk whose profile lists PCMA, PCMU and digits.
fn listing() -> World {
    World::with("relay", "generic-ip-trunk", "agent-leg")
}

const MANY: &str = "m=audio 6000 RTP/AVP 18 8 96 101\r\na=rtpmap:96 opus/48000/2\r\n\
    a=fmtp:96 useinbandfec=1\r\n";

fn many() -> String {
    SDP_A.replace("m=audio 6000 RTP/AVP 8 101\r\n", MANY)
}

#[test]
fn flow_86_b_is_offered_what_its_profile_lists() {
    let mut w = listing();
    w.a(invite("", &many()));
    let b_invite = w.last_b("INVITE");
    assert!(b_invite.contains(" RTP/AVP 8 101\r\n"), "{b_invite}");
    assert!(b_invite.contains("a=rtpmap:101 telephone-event/8000"), "{b_invite}");
    assert!(!b_invite.contains("opus") && !b_invite.contains("fmtp:96"), "{b_invite}");
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    assert!(ok.contains(" RTP/AVP 8 101\r\n"), "{ok}");
    w.a(a_asks("ACK", 1, &ok, ""));
    // So with a later offer; one that leaves nothing is refused, and the call goes on.
    w.a(a_asks("INVITE", 2, &ok, &many().replace("a 1 1 IN", "a 1 2 IN")));
    assert!(!w.last_b("INVITE").contains("opus"));
    w.b(b_says(200, &w.last_b("INVITE"), "", SDP_B));
    let again = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 2, &again, ""));
    w.to_b.clear();
    w.a(a_asks("INVITE", 3, &ok, &SDP_A.replace("AVP 8 101", "AVP 18 101")));
    w.last_a("488 INVITE");
    assert!(w.heard_b().is_empty());
    w.a(a_asks("BYE", 4, &ok, ""));
    let bye = w.last_b("BYE");
    w.b(b_says(200, &bye, "", ""));
    w.assert_clean();
}

#[test]
fn flow_86_without_a_listed_codec_nobody_is_called() {
    let mut w = listing();
    w.a(invite("", &SDP_A.replace("AVP 8 101", "AVP 18 101")));
    w.last_a("488 INVITE");
    assert!(w.heard_b().is_empty());
    assert_eq!(w.account().sip_final, 488);
    w.assert_clean();
}

#[test]
fn flow_86_in_bypass_an_offer_is_untouched() {
    let mut w = World::with("bypass", "generic-ip-trunk", "agent-leg");
    w.a(invite("", &many()));
    assert!(w.last_b("INVITE").ends_with(&many()));
}
