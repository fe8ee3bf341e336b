//! What headers may look like, what crosses from A to B, and what never does.

use cooee_config::secrets::Surroundings;
use cooee_model::fact::Refusal;

use crate::world::*;

/// A's own number in the forms in which it could leak.
const OWN: [&str; 3] = ["61280001111", "280001111", "8000 1111"];

/// The header lines of a message, without its start line and body.
fn lines(message: &str) -> Vec<&str> {
    let head = message.split_once("\r\n\r\n").unwrap().0;
    head.split("\r\n").skip(1).collect()
}

fn named<'m>(message: &'m str, name: &str) -> Vec<&'m str> {
    let start = format!("{}:", name.to_ascii_lowercase());
    lines(message).into_iter().filter(|l| l.to_ascii_lowercase().starts_with(&start)).collect()
}

// ------------------------------------------------------------------ reading

#[test]
fn flow_24_proxy_require_is_for_proxies() {
    let mut w = World::new();
    w.a(invite("Proxy-Require: some-extension, another\r\n", SDP_A));
    assert_eq!(w.heard_a(), ["100 INVITE"]);
    assert!(named(&w.last_b("INVITE"), "Proxy-Require").is_empty());
}

/// The same message with compact names, white space and folding wherever they are allowed.
fn odd(text: String) -> String {
    let mut text = text;
    for (long, compact) in [
        ("Via: SIP/2.0/UDP", "v\t: SIP / 2.0 /\r\n  UDP"),
        ("\r\nFrom: ", "\r\nf :\r\n\t "),
        ("\r\nTo: ", "\r\nT: "),
        ("\r\nCall-ID: ", "\r\ni  :  "),
        ("\r\nContact: ", "\r\nM:"),
        ("Content-Type: application/sdp", "c\t:  Application/SDP ; charset=x"),
        ("Content-Length:", "l :"),
        ("CSeq: ", "cSEQ :\r\n 000"),
        (" INVITE\r\nm", "    INVITE\r\nm"),
        ("tag=ta", "tag = -.!%*_+`'~0"),
        ("Max-Forwards: 70", "MAX-FORWARDS :  0070"),
    ] {
        text = text.replace(long, compact);
    }
    text
}

#[test]
fn flow_77_compact_names_white_space_odd_tags_and_leading_zeros() {
    let mut w = World::new();
    w.a(odd(invite("Max-Forwards: 70\r\n", SDP_A)));
    let b_invite = w.last_b("INVITE");
    assert_eq!(header(&b_invite, "Max-Forwards"), "69");
    w.b(odd(b_says(180, &b_invite, "", "")));
    w.b(odd(b_says(200, &b_invite, "", SDP_B)));
    let ok = w.last_a("200 INVITE");
    assert!(header(&ok, "From").contains("-.!%*_+`'~0"), "{ok}");
    w.a(odd(a_asks("ACK", 1, &ok, "")));
    w.to_a.clear();
    w.pass(std::time::Duration::from_secs(2));
    assert!(w.heard_a().is_empty(), "the ACK was one");
    w.a(odd(a_asks("INVITE", 2, &ok, SDP_A)));
    let again = w.last_b("INVITE");
    w.b(odd(b_says(200, &again, "", SDP_B)));
    w.a(odd(a_asks("ACK", 2, &ok, "")));
    w.to_a.clear();
    w.b(odd(b_asks("BYE", 1, &b_invite, "")));
    let bye = w.last_a("BYE");
    assert!(header(&bye, "To").ends_with(";tag=-.!%*_+`'~0"), "{bye}");
    w.a(odd(b_says(200, &bye, "", "")));
    w.assert_clean();
}

#[test]
fn flow_70_contacts_with_names_and_parameters() {
    for (contact, target) in [
        (
            "\"A, \\\"l\\\"\" <sip:a@192.0.2.10:5060;transport=UDP;ob>;expires=60;\
             +sip.instance=\"<urn:x>\"",
            "sip:a@192.0.2.10:5060;transport=UDP;ob",
        ),
        ("SIP:a@192.0.2.10:5060;expires=60", "SIP:a@192.0.2.10:5060"),
        ("Al <sip:a@192.0.2.10:5060>;q=0.5, <sip:second@192.0.2.99>", "sip:a@192.0.2.10:5060"),
        ("<sip:192.0.2.10>", "sip:192.0.2.10"),
    ] {
        let mut w = World::new();
        let plain = format!("Contact: <sip:a@{A}>");
        w.a(invite("", SDP_A).replace(&plain, &format!("Contact: {contact}")));
        let b_invite = w.last_b("INVITE");
        let theirs = "Contact: \"B\" <sip:b@198.51.100.20:5060;Transport=udp;x=\"y\">;q=1";
        let says = |code, sdp| {
            b_says(code, &b_invite, "", sdp).replace(&format!("Contact: <sip:b@{B}>"), theirs)
        };
        w.b(says(200, SDP_B));
        let ack = w.last_b("ACK");
        assert!(
            ack.starts_with("ACK sip:b@198.51.100.20:5060;Transport=udp;x=\"y\" SIP/2.0\r\n"),
            "{ack}"
        );
        let ok = w.last_a("200 INVITE");
        w.a(a_asks("ACK", 1, &ok, ""));
        w.b(b_asks("BYE", 1, &b_invite, ""));
        let bye = w.last_a("BYE");
        assert!(bye.starts_with(&format!("BYE {target} SIP/2.0\r\n")), "{bye}");
    }
}

#[test]
fn flow_71_a_nated_caller_is_answered_where_it_is() {
    let mut w = World::new();
    let natted = |text: String| {
        text.replace(&format!("UDP {A};"), "UDP 10.0.0.5:5062;rport;")
            .replace(&format!("<sip:a@{A}>"), "<sip:a@10.0.0.5:5062>")
    };
    w.a(natted(invite("", SDP_A)));
    let hundred = w.last_a("100 INVITE");
    let via = header(&hundred, "Via");
    assert!(via.contains(";received=192.0.2.10") && via.contains(";rport=5060"), "{via}");
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    w.a(natted(a_asks("ACK", 1, &ok, "")));
    w.b(b_asks("BYE", 1, &b_invite, ""));
    let bye = w.last_a("BYE");
    assert!(bye.starts_with("BYE sip:a@10.0.0.5:5062 SIP/2.0\r\n"), "{bye}");
    assert!(w.elsewhere.is_empty());
    // Without rport: at the source all the same, on the port that Via names (RFC 3261, 18.2.2).
    let mut w = World::new();
    w.a(natted(invite("", SDP_A)).replace("rport;", ""));
    assert_eq!(w.elsewhere[0].0.to_string(), "192.0.2.10:5062");
    assert!(w.to_a.is_empty());
}

#[test]
fn flow_71_a_callee_that_names_a_private_address_is_reached_all_the_same() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    let natted = |text: String| text.replace(&format!("<sip:b@{B}>"), "<sip:b@10.1.1.1:5060>");
    w.b(natted(b_says(200, &b_invite, "", SDP_B)));
    let ack = w.last_b("ACK");
    assert!(ack.starts_with("ACK sip:b@10.1.1.1:5060 SIP/2.0\r\n"), "{ack}");
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    w.a(a_asks("BYE", 2, &ok, ""));
    w.last_b("BYE");
    assert!(w.elsewhere.is_empty());
    // Behind a proxy of its own that records itself, the proxy is the way.
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    let route = "Record-Route: <sip:198.51.100.77;lr>\r\n";
    w.b(natted(b_says(200, &b_invite, route, SDP_B)));
    assert_eq!(w.elsewhere[0].0.to_string(), "198.51.100.77:5060");
}

#[test]
fn flow_72_maddr_and_ttl_lead_nowhere() {
    for maddr in ["224.0.1.75", "255.255.255.255", "198.51.100.99", "[ff02::1]", "evil.example"] {
        let mut w = World::new();
        let via = format!("branch=z9hG4bKa1;maddr={maddr};ttl=16;rport");
        w.a(invite("", SDP_A).replace("branch=z9hG4bKa1", &via));
        let b_invite = w.last_b("INVITE");
        w.b(b_says(486, &b_invite, "", ""));
        assert_eq!(w.heard_a(), ["100 INVITE", "486 INVITE"], "{maddr}");
        assert!(w.elsewhere.is_empty(), "{maddr}");
    }
    // Nor does a maddr in the Contact.
    let mut w = World::new();
    let contact = format!("<sip:a@{A};maddr=224.0.1.75>");
    w.a(invite("", SDP_A).replace(&format!("<sip:a@{A}>"), &contact));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    w.b(b_asks("BYE", 1, &b_invite, ""));
    w.last_a("BYE");
    assert!(w.elsewhere.is_empty());
}

// ------------------------------------------------------------------ Reason

const BUSY: &str =
    "Reason: SIP;cause=486;text=\"Busy, here\"\r\nReason: Q.850;cause=17;text=\"user busy\"\r\n";

#[test]
fn flow_65_reason_crosses_with_a_refusal_and_is_in_the_cdr() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(486, &b_invite, BUSY, ""));
    let reason = header(&w.last_a("486 INVITE"), "Reason");
    assert_eq!(reason, "SIP;cause=486;text=\"Busy, here\", Q.850;cause=17;text=\"user busy\"");
    assert_eq!((w.account().q850, w.account().reason.as_str()), (17, "user busy"));
}

#[test]
fn flow_65_reason_crosses_with_cancel_and_bye_both_ways() {
    let with = |text: String, reason: &str| {
        text.replacen("Content-Length", &format!("{reason}\r\nContent-Length"), 1)
    };
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, "", ""));
    let elsewhere = "Reason: SIP;cause=200;text=\"Call completed elsewhere\", Q.850;cause=26";
    w.a(with(a_cancels(), elsewhere));
    assert_eq!(format!("Reason: {}", header(&w.last_b("CANCEL"), "Reason")), elsewhere);
    assert_eq!(w.account().q850, 26);
    for by_a in [true, false] {
        let mut w = World::new();
        let (ok, b_invite) = talking(&mut w);
        let reason = "Reason: Q.850;cause=31;text=\"normal, unspecified\"";
        let passed = if by_a {
            w.a(with(a_asks("BYE", 2, &ok, ""), reason));
            w.last_b("BYE")
        } else {
            w.b(with(b_asks("BYE", 1, &b_invite, ""), reason));
            w.last_a("BYE")
        };
        assert_eq!(format!("Reason: {}", header(&passed, "Reason")), reason);
        assert_eq!((w.account().q850, w.account().reason.as_str()), (31, "normal, unspecified"));
    }
}

// ------------------------------------------------------------------ identity

const IDENTITY: &str = "P-Asserted-Identity: \"Dialer\" <sip:+61280001111@a.example>\r\n\
    P-Preferred-Identity: <sip:+61280001111@a.example>\r\n\
    Remote-Party-ID: \"+61 2 8000 1111\" <sip:+61280001111@a.example>;party=calling\r\n\
    Diversion: <sip:+61280001111@a.example>;reason=no-answer\r\n\
    History-Info: <sip:+61280001111@a.example>;index=1\r\n";

#[test]
fn flow_89_a_trusted_peers_identity_passes_and_anothers_is_stripped() {
    let names = [
        "P-Asserted-Identity",
        "P-Preferred-Identity",
        "Remote-Party-ID",
        "Diversion",
        "History-Info",
    ];
    let mut w = World::transparent();
    w.a(invite(IDENTITY, SDP_A));
    let passed = w.last_b("INVITE");
    for line in IDENTITY.split("\r\n").filter(|l| !l.is_empty()) {
        assert!(lines(&passed).contains(&line.replace("    ", "").as_str()), "{line} in {passed}");
    }
    // A profile that passes nothing.
    let mut w = World::with("relay", "voximplant", "agent-leg");
    w.a(invite(IDENTITY, SDP_A));
    let stripped = w.last_b("INVITE");
    for name in names.iter().filter(|n| **n != "Diversion") {
        assert!(named(&stripped, name).is_empty(), "{name} in {stripped}");
    }
    assert!(named(&stripped, "Diversion")[0].contains("61255501234"), "ours: {stripped}");
}

#[test]
fn flow_89_privacy_id_withholds_the_caller_unless_the_route_overrides_it() {
    let private = format!("{IDENTITY}Privacy: id\r\n");
    let mut w = World::with("relay", "voximplant", "agent-leg");
    w.a(invite(&private, SDP_A));
    let b_invite = w.last_b("INVITE");
    assert!(header(&b_invite, "From").starts_with("\"Anonymous\" <"), "{b_invite}");
    assert!(OWN.iter().all(|own| !b_invite.contains(own)), "{b_invite}");
    // Not even a trusted peer's assertion crosses then.
    let mut w = World::transparent();
    w.a(invite(&private, SDP_A));
    let b_invite = w.last_b("INVITE");
    assert!(OWN.iter().all(|own| !b_invite.contains(own)), "{b_invite}");
    let mut w = World::with("relay", "voximplant", "agent-leg");
    w.reconfigure(|t| t.replace("from = \"a\"", "from = \"a\"\noverride_privacy = true"));
    w.a(invite(&private, SDP_A));
    assert!(header(&w.last_b("INVITE"), "From").starts_with("\"61280001111\" <"));
}

/// A description that tells who calls wherever it can.
fn telling_sdp() -> String {
    let texts = "s=call of +61280001111\r\ni=61280001111\r\nu=http://a.example/61280001111\r\n\
        e=61280001111@a.example\r\np=+61 2 8000 1111\r\n";
    SDP_A.replace("o=a ", "o=+61280001111 ").replace("s=-\r\n", texts)
}

#[test]
fn flow_90_on_a_customer_leg_our_number_stands_in_every_slot() {
    for profile in ["generic-ip-trunk", "voximplant-app"] {
        let mut w = World::new();
        w.reconfigure(|t| {
            t.replacen(
                "name = \"b\"\nprofile = \"generic-ip-trunk\"",
                &format!("name = \"b\"\nprofile = \"{profile}\""),
                1,
            )
            .replace("vars = {", "vars = { app = \"x\", account = \"y\",")
        });
        let more =
            format!("{IDENTITY}Privacy: none\r\nSubject: 61280001111\r\nX-Caller: 61280001111\r\n");
        w.a(invite(&more, &telling_sdp()));
        let b_invite = w.last_b("INVITE");
        assert!(OWN.iter().all(|own| !b_invite.contains(own)), "{b_invite}");
        for slot in ["From", "Contact"] {
            assert!(header(&b_invite, slot).contains("61255501234"), "{slot} of {b_invite}");
        }
        let asserted = named(&b_invite, "P-Asserted-Identity");
        assert!(asserted.iter().all(|l| l.contains("61255501234")), "{b_invite}");
        assert_eq!(asserted.len(), usize::from(profile == "generic-ip-trunk"));
    }
}

#[test]
fn flow_90_on_an_agent_leg_the_customer_stands_only_where_the_profile_says() {
    let mut w = World::with("relay", "voximplant", "agent-leg");
    w.a(invite(IDENTITY, &telling_sdp()));
    let b_invite = w.last_b("INVITE");
    let telling: Vec<_> =
        lines(&b_invite).into_iter().filter(|l| l.contains("280001111")).collect();
    assert_eq!(telling.len(), 2, "{b_invite}");
    assert!(telling.iter().any(|l| l.starts_with("From: \"61280001111\" <sip:sip7@")));
    assert!(telling.contains(&"X-Customer: +61280001111"));
    let sdp = b_invite.split_once("\r\n\r\n").unwrap().1;
    assert!(OWN.iter().all(|own| !sdp.contains(own)), "{sdp}");
}

#[test]
fn s13_b_carries_only_what_the_profile_writes() {
    let mut w = World::new();
    let spoof = IDENTITY.replace("61280001111", "61499999999");
    let spoof = format!(
        "{spoof}Privacy: id;critical\r\nIdentity: x\r\nP-Charging-Vector: icid-value=61499999999\r\n"
    );
    w.a(invite(&spoof, SDP_A).replace("sip:+61280001111@", "sip:+61499999999@"));
    let b_invite = w.last_b("INVITE");
    assert!(!b_invite.contains("99999999"), "{b_invite}");
    assert_eq!(header(&b_invite, "P-Asserted-Identity"), "<sip:+61255501234@192.0.2.1>");
    let may = [
        "Via",
        "Max-Forwards",
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "Contact",
        "Allow",
        "User-Agent",
        "P-Asserted-Identity",
        "Supported",
        "Session-Expires",
        "Min-SE",
        "Content-Type",
        "Content-Length",
    ];
    for line in lines(&b_invite) {
        let name = line.split_once(':').unwrap().0;
        assert!(may.contains(&name), "{line}");
    }
}

// ------------------------------------------------------------------ injection

#[test]
fn flow_91_escaped_line_breaks_never_become_a_header() {
    let evil = ["%0d%0aX-Evil:%201", "%0D%0AX-Evil:1", "%0aX-Evil:1", "%00%0d%0aX-Evil:1"];
    let plain = invite("X-Meta: m\r\nP-Asserted-Identity: <sip:+61280001111@h>\r\n", SDP_A);
    for (evil, transparent) in evil.iter().flat_map(|e| [(e, false), (e, true)]) {
        let texts = [
            plain.replace("sip:+61280001111@192", &format!("sip:+61280001111{evil}@192")),
            plain.replace("\"Dialer\"", &format!("\"Dialer{evil}\"")),
            plain.replace("sip:+61491570156@", &format!("sip:+61491570156{evil}@")),
            plain.replace("X-Meta: m", &format!("X-Meta: m{evil}")),
            plain.replace("<sip:+61280001111@h>", &format!("<sip:+61280001111{evil}@h>")),
            plain.replace(">;tag=ta", &format!(";user=phone{evil}>;tag=ta")),
            plain.replace("Call-ID: call-a", "Call-ID: call-a%0d%0aX-Evil:1"),
        ];
        for text in texts {
            let mut w = if transparent { World::transparent() } else { World::new() };
            w.a(text);
            for message in w.to_b.iter().chain(&w.to_a) {
                assert!(message.value_of("X-Evil").is_none(), "{message:?}");
                let headers = message.headers().map(|h| String::from_utf8_lossy(h.1).into_owned());
                assert!(headers.filter(|n| n.to_lowercase().contains("evil")).count() == 0);
            }
        }
    }
}

#[test]
fn s11_no_value_of_the_configuration_adds_a_header() {
    let evil = r"\r\nX-Evil:1";
    let keys = [
        ("[sip]\n", format!("[sip]\nuser_agent = \"cooee{evil}\"\n")),
        ("advertise = \"192.0.2.1\"\n[media]", format!("advertise = \"192.0.2.1{evil}\"\n[media]")),
        ("number = \"+61255501234\"", format!("number = \"+61255501234{evil}\"")),
        ("default = \"+61255501234\"", format!("default = \"+61255501234{evil}\"")),
        ("login = \"sip7\"", format!("login = \"sip7{evil}\"")),
        ("account_domain = \"b.example\"", format!("account_domain = \"b.example{evil}\"")),
        ("secret = \"s3cret\"", format!("secret = \"s3cret{evil}\"")),
        (
            "peers = [\"udp:198.51.100.20:5060\"]",
            format!("peers = [\"udp:198.51.100.20:5060{evil}\"]"),
        ),
        ("id = \"test\"", format!("id = \"test{evil}\"")),
        ("name = \"r\"", format!("name = \"r{evil}\"")),
    ];
    let mut sent = 0;
    for (key, value) in keys {
        for value in [
            value.clone(),
            value.replace(r"\r", ""),
            value.replace(r"\r\n", "%0d%0a"),
            value.replace(r"\r\n", r"\u0000"),
        ] {
            let mut w = World::with("relay", "voximplant", "agent-leg");
            assert!(w.text().contains(key), "{key}");
            let text = w.text().replace(key, &value);
            let around = Surroundings::new(std::path::Path::new("."), |_| None);
            if cooee_config::load_str(&text, "test.toml", &around).is_err() {
                continue;
            }
            w.reconfigure(|_| text);
            w.a(invite("", SDP_A));
            let first = w.last_b("INVITE");
            let challenge = "WWW-Authenticate: Digest realm=\"b.example\", nonce=\"n\"\r\n";
            w.b(b_says(401, &first, challenge, ""));
            for message in w.to_b.iter().chain(&w.to_a) {
                assert!(message.value_of("X-Evil").is_none(), "{message:?}");
                sent += 1;
            }
        }
    }
    assert!(sent > 0, "some values are taken, and flattened");
}

// ------------------------------------------------------------------ other methods

#[test]
fn flow_83_s7_methods_that_are_not_for_us_leave_no_state() {
    let methods = [
        ("REGISTER", 405),
        ("SUBSCRIBE", 489),
        ("NOTIFY", 489),
        ("MESSAGE", 405),
        ("PUBLISH", 405),
    ];
    for (method, code) in methods {
        let mut w = World::new();
        let ask = invite("Event: presence\r\n", "hello").replace("INVITE", method);
        w.a(ask.clone());
        assert_eq!(w.heard_a(), [format!("{code} {method}")]);
        assert!(w.heard_b().is_empty() && w.elsewhere.is_empty());
        assert_eq!((w.switch.gauges().calls, w.switch.gauges().transactions), (0, (0, 0)));
        assert_eq!(w.rejected.last().map(|r| r.why), Some(Refusal::Unsupported));
        assert!(w.facts.is_empty() && w.snapshots.is_empty());
        // A stranger does not even hear that.
        w.from(STRANGER, ask.clone());
        assert!(w.elsewhere.is_empty());
        // In a call they are refused as well and go no further.
        let (ok, _) = talking(&mut w);
        w.a(a_asks(method, 2, &ok, "hello"));
        assert_eq!(w.heard_a(), [format!("{code} {method}")]);
        assert!(w.heard_b().is_empty());
    }
}

#[test]
fn s7_message_and_subscribe_are_denied_and_relayed_to_nobody() {
    for method in ["MESSAGE", "SUBSCRIBE"] {
        let mut w = World::transparent();
        for source in [A, B, STRANGER] {
            w.from(source, invite("Event: dialog\r\n", "spam").replace("INVITE", method));
        }
        let answers = w.to_a.iter().chain(&w.to_b);
        assert!(answers.clone().all(|m| !m.is_request() && matches!(m.code(), 405 | 489 | 403)));
        assert!(w.to_b.iter().all(|m| !String::from_utf8_lossy(m.bytes()).contains("spam")));
        assert!(!w.elsewhere.iter().any(|(to, _)| to.ip().to_string() == "203.0.113.66"));
    }
}
