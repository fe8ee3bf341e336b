//! What we prove when a peer asks, and to whom (flow rows 14 to 16, security S5).

use crate::world::*;

fn line() -> World {
    World::with("relay", "voximplant", "agent-leg")
}

/// A challenge of the line's own platform.
fn ask(nonce: &str, more: &str) -> String {
    format!("Proxy-Authenticate: Digest realm=\"b.example\", nonce=\"{nonce}\"{more}\r\n")
}

const QOP: &str = ", qop=\"auth\", algorithm=SHA-256";

/// The call is up after one challenge: A's 200 and B's second INVITE.
fn up(w: &mut World) -> (String, String) {
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.b(b_says(407, &first, &ask("n1", QOP), ""));
    let second = w.last_b("INVITE");
    w.b(b_says(200, &second, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    (ok, second)
}

#[test]
fn flow_14_the_ack_carries_what_its_invite_proved() {
    let mut w = line();
    let (_, second) = up(&mut w);
    let acks: Vec<String> = w
        .to_b
        .iter()
        .filter(|m| title(m) == "ACK")
        .map(|m| header(&String::from_utf8_lossy(m.bytes()), "Proxy-Authorization"))
        .collect();
    let proof = header(&second, "Proxy-Authorization");
    assert!(proof.contains("nc=00000001"), "{proof}");
    assert_eq!(acks, [String::new(), proof], "that of the 407, that of the 200");
}

#[test]
fn flow_15_a_stale_nonce_is_renewed_once_and_then_a_hears_503() {
    let mut w = line();
    w.a(invite("", SDP_A));
    let mut asked = w.last_b("INVITE");
    w.to_a.clear();
    w.b(b_says(407, &asked, &ask("n1", QOP), ""));
    asked = w.last_b("INVITE");
    let proof = header(&asked, "Proxy-Authorization");
    for part in ["algorithm=SHA-256", "nonce=\"n1\"", "qop=auth", "nc=00000001", "cnonce="] {
        assert!(proof.contains(part), "{part}: {proof}");
    }
    w.b(b_says(407, &asked, &ask("n2", &format!("{QOP}, stale=true")), ""));
    asked = w.last_b("INVITE");
    assert_eq!(header(&asked, "CSeq"), "3 INVITE");
    assert!(header(&asked, "Proxy-Authorization").contains("nonce=\"n2\""));
    assert!(w.heard_a().is_empty());
    w.to_b.clear();
    w.b(b_says(407, &asked, &ask("n3", &format!("{QOP}, stale=true")), ""));
    assert_eq!(w.heard_a(), ["503 INVITE"]);
    assert_eq!(w.heard_b(), ["ACK"], "no fourth INVITE");
    w.assert_clean();
}

#[test]
fn flow_15_a_wrong_password_is_not_sent_again() {
    let mut w = line();
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.to_a.clear();
    w.b(b_says(407, &first, &ask("n1", QOP), ""));
    let second = w.last_b("INVITE");
    w.to_b.clear();
    w.b(b_says(407, &second, &ask("n2", QOP), ""));
    assert_eq!(w.heard_a(), ["503 INVITE"]);
    assert_eq!(w.heard_b(), ["ACK"]);
}

#[test]
fn flow_16_requests_in_the_dialog_are_proven_to_the_same_realm() {
    let mut w = line();
    let (ok, _) = up(&mut w);
    w.a(a_asks("INVITE", 2, &ok, SDP_A));
    let asked = w.last_b("INVITE");
    assert!(header(&asked, "Proxy-Authorization").is_empty());
    w.b(b_says(407, &asked, &ask("n1", QOP), ""));
    let again = w.last_b("INVITE");
    let proof = header(&again, "Proxy-Authorization");
    assert!(proof.contains("nc=00000002"), "the same nonce is counted on: {proof}");
    w.b(b_says(200, &again, "", SDP_B));
    assert_eq!(header(&w.last_b("ACK"), "Proxy-Authorization"), proof);
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 2, &ok, ""));
    w.a(a_asks("BYE", 3, &ok, ""));
    let bye = w.last_b("BYE");
    w.b(b_says(407, &bye, &ask("n9", QOP), ""));
    let again = w.last_b("BYE");
    assert!(header(&again, "Proxy-Authorization").contains("nonce=\"n9\""));
    w.b(b_says(200, &again, "", ""));
    w.assert_clean();
}

#[test]
fn flow_16_the_bye_of_a_second_answer_is_proven_too() {
    let mut w = line();
    let (_, second) = up(&mut w);
    w.to_b.clear();
    w.b(b_says(200, &second, "", SDP_B).replace("tag=tb", "tag=other"));
    let bye = w.last_b("BYE");
    w.b(b_says(407, &bye, &ask("n2", QOP), ""));
    let again = w.last_b("BYE");
    assert!(header(&again, "Proxy-Authorization").contains("nonce=\"n2\""), "{again}");
    w.b(b_says(200, &again, "", ""));
    assert_eq!(w.switch.gauges().calls, 1);
}

#[test]
fn flow_16_a_foreign_realm_beside_our_own_is_passed_over() {
    let mut w = line();
    let (ok, _) = up(&mut w);
    w.a(a_asks("BYE", 2, &ok, ""));
    let bye = w.last_b("BYE");
    let evil = "Proxy-Authenticate: Digest realm=\"evil\", nonce=\"e\", algorithm=SHA-256\r\n";
    w.b(b_says(407, &bye, &format!("{evil}{}", ask("n2", "")), ""));
    let proof = header(&w.last_b("BYE"), "Proxy-Authorization");
    assert!(proof.contains("realm=\"b.example\"") && !proof.contains("evil"), "{proof}");
}

#[test]
fn flow_16_the_configured_realm_is_the_only_one() {
    let mut w = World::changed(&[
        ("PROFILE", "voximplant"),
        ("ROLE", "agent-leg"),
        ("secret = \"s3cret\"", "secret = \"s3cret\"\nrealm = \"mine\""),
    ]);
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    w.to_a.clear();
    w.b(b_says(407, &first, &ask("n1", QOP), ""));
    assert_eq!(w.heard_a(), ["503 INVITE"]);
    assert!(!w.to_b.iter().any(|m| m.value_of("Proxy-Authorization").is_some()));
}

#[test]
fn s5_a_call_that_was_not_challenged_proves_nothing_later() {
    for method in ["BYE", "INVITE"] {
        let mut w = line();
        let (ok, _) = talking(&mut w);
        w.a(a_asks(method, 2, &ok, if method == "BYE" { "" } else { SDP_A }));
        let asked = w.last_b(method);
        w.to_b.clear();
        w.b(b_says(407, &asked, &ask("n1", QOP), ""));
        assert!(!w.heard_b().contains(&method.to_owned()), "{method}");
    }
}

#[test]
fn s5_the_pinned_realm_outlives_a_crash() {
    let mut w = line();
    up(&mut w);
    let bytes: Vec<u8> = w.snapshots.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|w| w == text);
    assert!(holds(b"b.example") && !holds(b"s3cret"));
}
