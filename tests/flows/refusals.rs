//! What never becomes a call.

use cooee_model::fact::Refusal;

use crate::world::*;

fn refused(w: &mut World, code: u16, why: Refusal) {
    assert_eq!(w.rejected.last().map(|r| (r.code, r.why)), Some((code, why)));
    assert_eq!(w.switch.gauges().calls, 0);
    assert_eq!(w.switch.gauges().transactions, (0, 0));
    assert!(w.heard_b().is_empty());
}

#[test]
fn s12_a_stranger_is_not_answered() {
    let mut w = World::new();
    w.from(STRANGER, invite("", SDP_A));
    w.from(STRANGER, "OPTIONS sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKq\r\n\r\n");
    w.from(STRANGER, "\r\n\r\n");
    assert!(w.elsewhere.is_empty() && w.to_a.is_empty());
    assert!(w.rejected.iter().all(|r| r.why == Refusal::UnknownSource && r.code == 0));
    assert_eq!(w.rejected.len(), 2, "an empty line is a keep-alive");
}

#[test]
fn a_stranger_that_knows_the_dialog_is_believed() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.from(STRANGER, a_asks("BYE", 2, &ok, ""));
    w.last_b("BYE");
}

#[test]
fn s24_a_guessed_tag_ends_nothing() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    let guessed = ok.replace(";tag=00", ";tag=01");
    w.from(STRANGER, a_asks("BYE", 2, &guessed, ""));
    assert!(w.heard_b().is_empty());
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn flow_21_and_22_max_forwards() {
    let mut w = World::new();
    w.a(invite("Max-Forwards: 0\r\n", SDP_A));
    w.last_a("483 INVITE");
    refused(&mut w, 483, Refusal::MaxForwards);
    w.a(invite("Max-Forwards: 10\r\n", SDP_A));
    assert_eq!(header(&w.last_b("INVITE"), "Max-Forwards"), "9");
}

#[test]
fn flow_23_an_unknown_extension_is_420() {
    let mut w = World::new();
    w.a(invite("Require: nothingSupportsThis\r\n", SDP_A));
    assert_eq!(header(&w.last_a("420 INVITE"), "Unsupported"), "nothingSupportsThis");
    refused(&mut w, 420, Refusal::Unsupported);
}

#[test]
fn flow_19_and_20_merged_and_looped() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let ours = header(&w.last_b("INVITE"), "Via");
    w.a(invite("", SDP_A).replace("z9hG4bKa1", "z9hG4bKother"));
    w.last_a("482 INVITE");
    let looped = invite("", SDP_A).replace("call-a", "call-b").replace("z9hG4bKa1", "z9hG4bKc");
    w.a(looped.replace("From:", &format!("Via: {ours}\r\nFrom:")));
    assert_eq!(w.rejected.last().map(|r| r.why), Some(Refusal::Loop));
}

#[test]
fn flow_25_26_and_83_other_methods() {
    let mut w = World::new();
    let ask = |method: &str| {
        invite("", "").replace("INVITE", method).replace("z9hG4bKa1", &format!("z9hG4bK{method}"))
    };
    w.a(ask("OPTIONS"));
    assert!(header(&w.last_a("200 OPTIONS"), "Allow").contains("INVITE"));
    for (method, code) in
        [("REGISTER", 405), ("SUBSCRIBE", 489), ("MESSAGE", 405), ("PUBLISH", 405), ("JUMP", 501)]
    {
        w.a(ask(method));
        w.last_a(&format!("{code} {method}"));
    }
    for method in ["BYE", "INFO", "UPDATE", "PRACK"] {
        w.a(ask(method));
        w.last_a(&format!("481 {method}"));
    }
    w.a(ask("ACK"));
    assert!(!w.to_a.iter().any(|m| title(m).ends_with(" ACK")));
}

#[test]
fn flow_6_cancel_of_nothing_is_481() {
    let mut w = World::new();
    w.a(a_cancels());
    w.last_a("481 CANCEL");
}

#[test]
fn broken_requests_get_400_and_change_nothing() {
    let mut w = World::new();
    w.a(invite("", SDP_A).replace("CSeq: 1 INVITE", "CSeq: 1 BYE"));
    assert_eq!(w.to_a.pop().map(|m| m.code()), Some(400));
    refused(&mut w, 400, Refusal::Malformed);
    w.a("not sip at all");
    assert_eq!(w.rejected.last().map(|r| (r.code, r.why)), Some((0, Refusal::Malformed)));
    assert!(w.to_a.is_empty());
}

#[test]
fn flow_85_audio_that_is_off_is_488() {
    let mut w = World::new();
    w.a(invite("", &SDP_A.replace("m=audio 6000", "m=audio 0")));
    w.last_a("488 INVITE");
    refused(&mut w, 488, Refusal::Media);
    assert_eq!(w.switch.gauges().leases, 0);
}

#[test]
fn flow_100_without_ports_there_is_no_call_and_it_recovers() {
    let mut w = World::new();
    for n in 0..11 {
        let text = invite("", SDP_A).replace("call-a", &format!("call-{n}"));
        w.a(text.replace("z9hG4bKa1", &format!("z9hG4bKn{n}")));
    }
    assert_eq!(w.switch.gauges().leases, 20);
    assert_eq!(w.rejected.last().map(|r| (r.code, r.why)), Some((503, Refusal::Limit)));
    assert_eq!(header(&w.last_a("503 INVITE"), "Retry-After"), "5");
    w.pass(std::time::Duration::from_secs(100));
    assert_eq!(w.switch.gauges().leases, 0);
}

#[test]
fn s15_answers_go_to_the_source_and_never_to_via() {
    let mut w = World::new();
    w.a(invite("Max-Forwards: 0\r\n", "").replace(&format!("UDP {A}"), "UDP 198.51.100.99:7"));
    assert!(w.elsewhere.iter().all(|(to, _)| to.ip().to_string() == "192.0.2.10"));
    assert_eq!(w.elsewhere.len(), 1);
}

#[test]
fn s10_no_spelling_of_a_header_gets_it_across() {
    let names =
        ["Authorization", "Route", "Record-Route", "Contact", "Require", "Join", "Identity"];
    let forms = ["{}: ", "{} : ", "{}\t:", "{}:\r\n ", "{} \t :\r\n\t"];
    for name in names.iter().chain(&["m", "k", "x", "y", "r", "e", "Proxy-Authorization"]) {
        for form in forms {
            for name in [name.to_ascii_lowercase(), name.to_ascii_uppercase()] {
                let line = form.replace("{}", &name) + "<sip:smuggled@h>\r\n";
                let mut w = World::transparent();
                w.a(invite("X-Known: 1\r\n", SDP_A).replace("X-Known", &format!("{line}X-Known")));
                let sent: Vec<_> = w.to_b.iter().map(|m| format!("{m:?}")).collect();
                assert!(sent.iter().all(|m| !m.contains("smuggled")), "{line}: {sent:?}");
                assert!(sent.iter().all(|m| m.contains("X-Known: 1")), "{line}: {sent:?}");
            }
        }
    }
    // The caller withholds its number, however that is spelt, and whatever names it.
    for privacy in ["Privacy: id", "pRIVACY\t: ID", "PRIVACY :\r\n id"] {
        for name in ["P-Asserted-Identity ", "p-asserted-identity\t", "REMOTE-PARTY-ID", "b "] {
            let mut w = World::transparent();
            w.a(invite(&format!("{privacy}\r\n{name}:\r\n <sip:secret@h>\r\n"), SDP_A));
            assert!(!w.last_b("INVITE").contains("secret"), "{privacy} {name}");
        }
    }
}
