//! What an INVITE must prove beside its source address (security S5, S12, S25).

use std::time::Duration;

use bytes::Bytes;
use cooee_model::fact::Refusal;
use cooee_signalling::leg::digest::{Challenge, Login};
use cooee_signalling::message::view::Message;

use crate::world::*;

const DIGEST: &str = "allow = [\"192.0.2.10\"]\nauth = { mode = \"digest\", realm = \"us\", \
                      users = \"dialer:s3cret\\nother:word\" }";

fn fenced() -> World {
    World::changed(&[("allow = [\"192.0.2.10\"]", DIGEST)])
}

fn shared(auth: &str) -> World {
    let allow = format!("allow = [\"192.0.2.10\"]\nshared_source = true\n{auth}");
    World::changed(&[("allow = [\"192.0.2.10\"]", &allow)])
}

/// A's next INVITE: another branch and CSeq.
fn again(more: &str, cseq: u32) -> String {
    let branch = format!("z9hG4bKagain{cseq}");
    invite(more, SDP_A).replace("z9hG4bKa1", &branch).replace("1 INVITE", &format!("{cseq} INVITE"))
}

/// The header by which a login answers our 401.
fn answer(refused: &str, (user, secret): (&str, &str), count: u32) -> String {
    let message = Message::read(Bytes::from(refused.to_owned())).unwrap();
    let challenge = Challenge::read(&message, None).unwrap();
    let login = Login { user, secret };
    let uri = b"sip:+61491570156@192.0.2.1";
    let (name, value) = challenge.answer(&login, ("INVITE", uri), count, "cn");
    format!("{}: {value}\r\n", name.text())
}

fn last_refusal(w: &World) -> Option<(u16, Refusal)> {
    w.rejected.last().map(|r| (r.code, r.why))
}

#[test]
fn s12_an_invite_is_challenged_without_state_and_let_in_by_its_proof() {
    let mut w = fenced();
    w.a(invite("", SDP_A));
    let refused = w.last_a("401 INVITE");
    assert!(refused.contains("algorithm=SHA-256") && refused.contains("algorithm=MD5"));
    assert!(refused.find("SHA-256") < refused.find("MD5"), "the better one first");
    assert!(header(&refused, "WWW-Authenticate").starts_with("Digest realm=\"us\", nonce="));
    assert_eq!(last_refusal(&w), Some((401, Refusal::Challenged)));
    assert_eq!(w.switch.gauges().transactions, (0, 0), "nothing is kept");
    assert!(w.heard_b().is_empty());
    w.a(again(&answer(&refused, ("dialer", "s3cret"), 1), 2));
    let b = w.last_b("INVITE");
    assert!(!b.contains("Authorization") && !b.contains("dialer"), "{b}");
    w.last_a("100 INVITE");
    // A copy of it is absorbed as any other.
    w.a(again(&answer(&refused, ("dialer", "s3cret"), 1), 2));
    assert_eq!(w.heard_b(), ["INVITE"]);
}

#[test]
fn md5_alone_is_enough_for_an_old_peer() {
    let mut w = fenced();
    w.a(invite("", SDP_A));
    let refused = w.last_a("401 INVITE");
    let old = refused.replace("algorithm=SHA-256", "algorithm=SHA-512");
    let proof = answer(&old, ("dialer", "s3cret"), 1);
    assert!(proof.contains("algorithm=MD5"), "{proof}");
    w.a(again(&proof, 2));
    w.last_b("INVITE");
}

#[test]
fn a_nonce_is_counted_and_grows_old() {
    let mut w = fenced();
    w.a(invite("", SDP_A));
    let refused = w.last_a("401 INVITE");
    w.a(again(&answer(&refused, ("dialer", "s3cret"), 1), 2));
    assert_eq!(w.heard_b(), ["INVITE"]);
    w.to_a.clear();
    // The same proof under another call: a replay.
    let other = |text: String| text.replace("call-a", "call-b");
    w.a(other(again(&answer(&refused, ("dialer", "s3cret"), 1), 3)));
    assert!(w.last_a("401 INVITE").contains("stale=true"));
    assert_eq!(w.heard_b(), [""; 0]);
    // The nonce counted on is as good as a new one.
    w.a(other(again(&answer(&refused, ("dialer", "s3cret"), 2), 4)));
    assert_eq!(w.heard_b(), ["INVITE"]);
    w.pass(Duration::from_secs(301));
    w.to_a.clear();
    w.to_b.clear();
    let third = |text: String| text.replace("call-a", "call-c");
    w.a(third(again(&answer(&refused, ("dialer", "s3cret"), 3), 5)));
    let stale = w.last_a("401 INVITE");
    assert!(stale.contains("stale=true"), "{stale}");
    w.a(third(again(&answer(&stale, ("dialer", "s3cret"), 1), 6)));
    assert_eq!(w.heard_b(), ["INVITE"]);
}

#[test]
fn who_guesses_is_soon_refused_and_listened_to_less() {
    let mut w = fenced();
    let mut codes = Vec::new();
    let mut refused = String::new();
    for guess in 0..8 {
        w.a(invite("", SDP_A));
        refused = w
            .to_a
            .iter()
            .rev()
            .find(|m| m.code() == 401)
            .map_or(refused, |m| String::from_utf8_lossy(m.bytes()).into_owned());
        w.to_a.clear();
        w.a(again(&answer(&refused, ("dialer", &format!("guess{guess}")), 1), 2));
        codes.push(w.to_a.pop().unwrap().code());
    }
    assert_eq!(codes, [401, 401, 401, 401, 403, 403, 403, 403]);
    assert_eq!(last_refusal(&w), Some((403, Refusal::Unauthorized)));
    // The right word is not heard either, for a while; another user of the source is.
    w.a(again(&answer(&refused, ("dialer", "s3cret"), 1), 20));
    assert_eq!(w.to_a.pop().unwrap().code(), 403);
    w.a(again(&answer(&refused, ("other", "word"), 1), 21));
    assert_eq!(w.heard_b(), ["INVITE"]);
    w.pass(Duration::from_secs(2));
    w.to_b.clear();
    w.a(again(&answer(&refused, ("dialer", "s3cret"), 2), 22).replace("call-a", "call-b"));
    assert_eq!(w.heard_b(), ["INVITE"]);
}

#[test]
fn a_made_up_nonce_a_foreign_realm_and_an_unknown_user_open_nothing() {
    let mut w = fenced();
    w.a(invite("", SDP_A));
    let refused = w.last_a("401 INVITE");
    let proof = answer(&refused, ("dialer", "s3cret"), 1);
    let tamper = |from: &str, to: &str| proof.replacen(from, to, 1);
    let nonce = refused.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    for (place, bad) in [
        tamper("realm=\"us\"", "realm=\"them\""),
        tamper(nonce, &"0".repeat(64)),
        tamper("dialer", "nobody"),
        tamper("Digest", "Basic"),
        answer(&refused, ("nobody", ""), 1),
    ]
    .into_iter()
    .enumerate()
    {
        w.to_a.clear();
        w.a(again(&bad, 2 + u32::try_from(place).unwrap()));
        assert_eq!(w.to_a.pop().unwrap().code(), 401, "{bad}");
        assert!(w.heard_b().is_empty(), "{bad}");
    }
    assert_eq!(w.switch.gauges().calls, 0);
}

#[test]
fn what_is_in_the_dialog_is_not_challenged() {
    let mut w = fenced();
    w.a(invite("", SDP_A));
    let refused = w.last_a("401 INVITE");
    w.a(again(&answer(&refused, ("dialer", "s3cret"), 1), 2));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 2, &ok, ""));
    w.a(a_asks("BYE", 3, &ok, ""));
    w.last_a("200 BYE");
    w.last_b("BYE");
}

#[test]
fn s25_a_shared_source_alone_opens_no_customer_leg() {
    let auth = "auth = { mode = \"identity\", source = \"from.user\", values = [\"acme\"] }";
    let mut w = shared(auth);
    w.a(invite("", SDP_A));
    w.last_a("403 INVITE");
    assert_eq!(last_refusal(&w), Some((403, Refusal::Unauthorized)));
    assert!(w.heard_b().is_empty());
    w.a(invite("", SDP_A).replace("sip:+61280001111@", "sip:acme@").replace("a1", "a2"));
    w.last_b("INVITE");
}

#[test]
fn s25_a_secret_header_lets_in_and_never_crosses() {
    let auth = "auth = { mode = \"header\", name = \"X-Cooee-Key\", \
                value = \"0123456789abcdef\" }";
    let mut w = shared(auth);
    for wrong in ["", "X-Cooee-Key: 0123456789abcdee\r\n", "X-Cooee-Key: 0123456789abcde\r\n"] {
        w.a(invite(wrong, SDP_A));
        assert_eq!(w.to_a.pop().unwrap().code(), 403, "{wrong}");
    }
    assert!(w.heard_b().is_empty());
    w.a(invite("x-cooee-key: 0123456789abcdef\r\n", SDP_A));
    let b = w.last_b("INVITE");
    assert!(!b.to_lowercase().contains("cooee-key") && !b.contains("0123456789abcdef"), "{b}");
}

#[test]
fn s25_a_secret_header_stays_even_where_everything_crosses() {
    let auth = "allow = [\"192.0.2.10\"]\nauth = { mode = \"header\", \
                name = \"X-Cooee-Key\", value = \"0123456789abcdef\" }";
    let mut w = World::changed(&[
        ("allow = [\"192.0.2.10\"]", auth),
        ("profile = \"generic-ip-trunk\"", "profile = \"transparent\""),
        ("PROFILE", "transparent"),
        ("ROLE", "agent-leg"),
    ]);
    w.a(invite("X-Cooee-Key: 0123456789abcdef\r\nX-Meta: 1\r\n", SDP_A));
    let b = w.last_b("INVITE");
    assert!(b.contains("X-Meta: 1") && !b.contains("0123456789abcdef"), "{b}");
}

#[test]
fn s25_a_line_of_the_platform_is_challenged_with_its_login() {
    // Two lines of one account behind one address; calls of the platform come in by a route.
    let second = "secret = \"s3cret\"\n[[trunk]]\nname = \"c\"\nprofile = \"voximplant\"\n\
        peers = [\"udp:198.51.100.20:5060\"]\nsecret = \"0ther\"\n\
        vars = { account_domain = \"b.example\", login = \"sip8\" }";
    let mut w = World::changed(&[
        ("secret = \"s3cret\"", second),
        ("PROFILE", "voximplant"),
        ("ROLE", "agent-leg"),
        ("from = \"a\"\n", ""),
    ]);
    let from_b = |more: &str, cseq: u32| again(more, cseq).replace(A, B);
    for (cseq, login, trunk) in [(2, ("sip7", "s3cret"), "b"), (4, ("sip8", "0ther"), "c")] {
        w.b(from_b("", cseq).replace("call-a", trunk));
        let refused = w.last_b("401 INVITE");
        w.b(from_b(&answer(&refused, login, 1), cseq + 1).replace("call-a", trunk));
        let named = w.facts.iter().rev().find_map(|fact| match &fact.what {
            cooee_model::fact::What::Invited { trunk, .. } => Some(trunk.clone()),
            _ => None,
        });
        assert_eq!(named.as_deref(), Some(trunk));
    }
    w.b(from_b("", 9).replace("call-a", "call-z"));
    let refused = w.last_b("401 INVITE");
    w.to_b.clear();
    w.b(from_b(&answer(&refused, ("sip7", "0ther"), 1), 10).replace("call-a", "call-z"));
    assert_eq!(w.heard_b(), ["401 INVITE"], "the password of another line");
}
