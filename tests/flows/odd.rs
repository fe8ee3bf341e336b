//! Calls of peers that write in their own way, and requests that ask for what is not there.

use std::time::Duration;

use cooee_model::fact::Refusal;

use crate::world::*;

/// A request of A with every liberty that the grammar allows; `to` is the To value.
fn oddly(method: &str, uri: &str, cseq: &str, to: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "c:\tApplication/SDP;charset=utf-8\r\n" };
    format!(
        "{method} {uri} SIP/2.0\r\nv :SIP / 2.0 / UDP\r\n\t{A} ;x=\"a;b,c\"\r\n ; BRANCH = z9hG4bKo{method}\r\n\
         f: \"D, \\\"q\\\" <sip:no@no>;tag=no\"<sip:+61280001111@192.0.2.10> ;\r\n\tTAG\t=\r\n !%*_+`'~.-1\r\n\
         T\t: {to}\r\nI : odd%!*_`'~()<>:\\\"/[]?{{}}@a\r\ncseq:\r\n {cseq}\r\n   {method}\r\n\
         M: \"a, b\" <sip:a@{A}>;expires=9\r\n{kind}L:  {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn flow_77_compact_names_white_space_odd_tags_and_leading_zeros() {
    let mut w = World::new();
    let called = "sip:+61491570156@192.0.2.1";
    w.a(oddly("INVITE", called, "0000041", &format!("<{called}>"), SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, "", ""));
    let b_ok = b_says(200, &b_invite, "", SDP_B);
    w.b(b_ok.replace("Call-ID:", "i \t:").replace("CSeq: 1", "CSEQ:001").replace("Via:", "V:\r\n"));
    let ok = w.last_a("200 INVITE");
    let (to, contact) = (header(&ok, "To"), header(&ok, "Contact"));
    let target = contact.trim_matches(['<', '>']);
    // The tag comes back in a parameter of its own line, in capitals.
    let to = to.replace(";tag=", "\r\n ;\tTag =\r\n\t");
    w.a(oddly("ACK", target, "041", &to, ""));
    assert!(w.last_b("ACK").contains("tag=tb"));
    w.pass(Duration::from_secs(3));
    w.a(oddly("BYE", target, "00000000000000000000000042", &to, ""));
    assert_eq!(header(&w.last_a("200 BYE"), "CSeq"), "00000000000000000000000042 BYE");
    let bye = w.last_b("BYE");
    w.b(b_says(200, &bye, "", ""));
    assert_eq!(w.account().sip_final, 200);
    w.assert_clean();
}

#[test]
fn flow_22_a_cascade_of_bridges_ends() {
    let mut text = invite("Max-Forwards: 3\r\n", SDP_A);
    for left in [2, 1, 0] {
        let mut w = World::new();
        w.a(text);
        text = w.last_b("INVITE");
        assert_eq!(header(&text, "Max-Forwards"), left.to_string());
        // Another bridge, whose Via this one does not know for its own.
        text = text.replace("UDP 192.0.2.1:5060", &format!("UDP {A}"));
    }
    let mut w = World::new();
    w.a(text);
    w.last_a("483 INVITE");
    assert!(w.heard_b().is_empty());
    assert_eq!(w.rejected.last().map(|r| r.why), Some(Refusal::MaxForwards));
}

#[test]
fn flow_24_proxy_require_is_not_for_us() {
    let mut w = World::new();
    w.a(invite("Proxy-Require: x-boomerang\r\n", SDP_A));
    assert_eq!(header(&w.last_b("INVITE"), "Proxy-Require"), "");
    let mut w = World::new();
    w.a(invite("Proxy-Require: x-boomerang\r\nRequire: x-other\r\n", SDP_A));
    assert_eq!(header(&w.last_a("420 INVITE"), "Unsupported"), "x-other");
}

#[test]
fn flow_23_an_unknown_extension_is_refused_in_a_dialog_too() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    let text = a_asks("INFO", 2, &ok, "").replace("Max-", "Require: x-boomerang\r\nMax-");
    w.a(text);
    assert_eq!(header(&w.last_a("420 INFO"), "Unsupported"), "x-boomerang");
    assert!(w.heard_b().is_empty());
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn an_answer_that_is_cut_off_is_not_believed() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let asked = w.last_b("INVITE");
    let ok = b_says(200, &asked, "", SDP_B);
    w.b(&ok[..ok.len() - 40]);
    assert!(!w.heard_a().contains(&"200 INVITE".to_owned()));
    assert_eq!(w.rejected.last().map(|r| (r.code, r.why)), Some((0, Refusal::Malformed)));
    w.b(ok);
    w.last_a("200 INVITE");
}

#[test]
fn a_contact_that_is_no_uri_changes_no_target() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let asked = w.last_b("INVITE");
    w.b(b_says(200, &asked, "", SDP_B).replace("Contact: <sip:b@", "Contact: <,ip:b@"));
    let ack = w.last_b("ACK");
    assert!(ack.starts_with("ACK sip:+61491570156@"), "{ack}");
}
