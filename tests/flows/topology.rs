//! Topology hiding: nothing of one side's network is in any message to the other.

use std::time::Duration;

use crate::world::*;

/// What names A's network, and what names B's, whatever kind of message it stands in.
const OF_A: [&str; 9] = [
    "192.0.2.10",
    "192.0.2.11",
    "call-a",
    "z9hG4bKa1;",
    "z9hG4bKaI",
    "tag=ta",
    "sip:a@",
    "agent-of-a",
    "a.example",
];
const OF_B: [&str; 8] = [
    "198.51.100.20",
    "198.51.100.21",
    "z9hG4bKbI",
    "z9hG4bKbB",
    "tag=tb",
    "sip:b@",
    "agent-of-b",
    "b.example",
];

/// Headers by which a peer tells of itself.
fn gossip(who: &str) -> String {
    format!(
        "User-Agent: agent-of-{who}\r\nServer: agent-of-{who}\r\nOrganization: {who}.example\r\n\
         Warning: 399 {who}.example \"odd\"\r\nCall-Info: <http://{who}.example/x>\r\n\
         Alert-Info: <http://{who}.example/y>\r\nError-Info: <sip:x@{who}.example>\r\n\
         In-Reply-To: x@{who}.example\r\nX-Host: {who}.example\r\n\
         History-Info: <sip:h@{who}.example>\r\nP-Charging-Vector: icid-value={who}.example\r\n"
    )
}

/// Every message that left, by its kind; what it must not name is not in it.
fn check(w: &mut World, kinds: &mut Vec<String>) {
    for (messages, foreign, to) in [(&mut w.to_a, &OF_B[..], "A"), (&mut w.to_b, &OF_A[..], "B")] {
        for message in messages.drain(..) {
            let text = String::from_utf8_lossy(message.bytes()).into_owned();
            // The peer's own words come back to it in a response; that is no secret.
            let found: Vec<_> = foreign.iter().filter(|word| text.contains(**word)).collect();
            assert!(found.is_empty(), "{found:?} in what {to} gets:\n{text}");
            kinds.push(format!("{to} {}", title(&message)));
        }
    }
}

#[test]
fn no_message_of_a_call_names_the_other_side() {
    let mut w = World::new();
    let mut kinds = Vec::new();
    w.a(invite(&gossip("a"), SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(183, &b_invite, &gossip("b"), SDP_B));
    w.b(b_says(200, &b_invite, &gossip("b"), SDP_B));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    check(&mut w, &mut kinds);
    w.a(a_asks("INVITE", 2, &ok, SDP_A));
    let again = w.last_b("INVITE");
    w.b(b_says(200, &again, &gossip("b"), SDP_B));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 2, &ok, ""));
    check(&mut w, &mut kinds);
    w.b(b_asks("INVITE", 1, &b_invite, SDP_B));
    let again = w.last_a("INVITE");
    w.a(b_says(200, &again, &gossip("a"), SDP_A).replace(B, A).replace("sip:b@", "sip:a@"));
    let answered = w.last_b("200 INVITE");
    assert!(answered.contains("m=audio"));
    w.b(b_asks("ACK", 1, &b_invite, ""));
    check(&mut w, &mut kinds);
    w.a(a_asks("INFO", 3, &ok, ""));
    let info = w.last_b("INFO");
    w.b(b_says(200, &info, &gossip("b"), ""));
    w.a(a_asks("OPTIONS", 4, &ok, ""));
    w.a(a_asks("REFER", 5, &ok, ""));
    w.b(b_asks("BYE", 2, &b_invite, ""));
    let bye = w.last_a("BYE");
    w.a(b_says(200, &bye, "", "").replace(B, A));
    check(&mut w, &mut kinds);
    for kind in [
        "A 100 INVITE",
        "A 183 INVITE",
        "A 200 INVITE",
        "A INVITE",
        "A ACK",
        "A BYE",
        "A 200 INFO",
        "B INVITE",
        "B ACK",
        "B 100 INVITE",
        "B 200 INVITE",
        "B INFO",
        "B 200 BYE",
    ] {
        assert!(kinds.iter().any(|k| k == kind), "{kind} is not among {kinds:?}");
    }
}

#[test]
fn no_refusal_and_no_cancel_names_the_other_side() {
    let mut kinds = Vec::new();
    for code in [302, 404, 407, 486, 488, 503, 603] {
        let mut w = World::new();
        w.a(invite(&gossip("a"), SDP_A));
        let b_invite = w.last_b("INVITE");
        w.b(b_says(code, &b_invite, &gossip("b"), ""));
        check(&mut w, &mut kinds);
    }
    let mut w = World::new();
    w.a(invite(&gossip("a"), SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, &gossip("b"), ""));
    w.a(a_cancels());
    w.b(b_says(487, &b_invite, &gossip("b"), ""));
    check(&mut w, &mut kinds);
    w.pass(Duration::from_secs(40));
    check(&mut w, &mut kinds);
    for kind in ["A 486 INVITE", "A 487 INVITE", "A 200 CANCEL", "B CANCEL", "B ACK"] {
        assert!(kinds.iter().any(|k| k == kind), "{kind} is not among {kinds:?}");
    }
}
