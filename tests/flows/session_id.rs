//! Session-ID (RFC 7989): both legs carry one pair of UUIDs.

use std::time::Duration;

use crate::world::*;

const OF_A: &str = "ab30317f1a784dc48ff824d0d3715d86";
const OF_B: &str = "47755a9de7794ba387653f2099600ef2";
const NIL: &str = "00000000000000000000000000000000";

fn world(a: bool, b: bool) -> World {
    let mut w = World::new();
    w.habits(0, |habits| habits.session_id = a);
    w.habits(1, |habits| habits.session_id = b);
    w
}

fn says(local: &str, remote: &str) -> String {
    format!("Session-ID: {local};remote={remote}\r\n")
}

fn id(text: &str) -> String {
    header(text, "Session-ID")
}

#[test]
fn what_each_side_calls_itself_is_told_to_the_other() {
    let mut w = world(true, true);
    w.a(invite(&says(OF_A, NIL), SDP_A));
    let b_invite = w.last_b("INVITE");
    assert_eq!(id(&b_invite), format!("{OF_A};remote={NIL}"));
    w.b(b_says(180, &b_invite, &says(OF_B, OF_A), ""));
    assert_eq!(id(&w.last_a("180 INVITE")), format!("{OF_B};remote={OF_A}"));
    w.b(b_says(200, &b_invite, &says(OF_B, OF_A), SDP_B));
    let ok = w.last_a("200 INVITE");
    assert_eq!(id(&ok), format!("{OF_B};remote={OF_A}"));
    assert_eq!(id(&w.last_b("ACK")), format!("{OF_A};remote={OF_B}"));
    w.a(a_asks("ACK", 1, &ok, ""));
    // A restart forgets nothing of it.
    assert_eq!(w.crash(Duration::from_secs(1)).revived, 1);
    w.a(a_asks("BYE", 2, &ok, ""));
    assert_eq!(id(&w.last_a("200 BYE")), format!("{OF_B};remote={OF_A}"));
    let bye = w.last_b("BYE");
    assert_eq!(id(&bye), format!("{OF_A};remote={OF_B}"));
    w.b(b_says(200, &bye, "", ""));
    w.assert_clean();
}

#[test]
fn who_has_no_uuid_gets_one_that_stays() {
    let mut w = world(true, true);
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    let of_a = id(&b_invite).split(';').next().unwrap().to_owned();
    assert!(of_a.len() == 32 && of_a != NIL, "{of_a}");
    w.b(b_says(200, &b_invite, "", SDP_B));
    let ok = w.last_a("200 INVITE");
    let of_b = id(&ok).split(';').next().unwrap().to_owned();
    assert!(of_b.len() == 32 && of_b != NIL && of_b != of_a, "{of_b}");
    assert_eq!(id(&ok), format!("{of_b};remote={of_a}"));
    assert_eq!(id(&w.last_b("ACK")), format!("{of_a};remote={of_b}"));
    w.a(a_asks("ACK", 1, &ok, ""));
    w.b(b_asks("BYE", 1, &b_invite, ""));
    let bye = w.last_a("BYE");
    assert_eq!(id(&bye), format!("{of_b};remote={of_a}"));
    w.a(b_says(200, &bye, "", "").replace(B, A));
    w.assert_clean();
}

#[test]
fn a_cancelled_call_and_another_name_of_a_side_keep_the_pair() {
    let mut w = world(true, true);
    w.a(invite(&says(OF_A, NIL), SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(180, &b_invite, "", ""));
    w.a(a_cancels());
    assert_eq!(id(&w.last_b("CANCEL")), id(&b_invite));
    w.b(b_says(487, &b_invite, "", ""));
    w.assert_clean();

    let mut w = world(true, true);
    let (ok, _) = talking(&mut w);
    let body = SDP_A.replace("a 1 1 IN", "a 1 2 IN");
    let again = a_asks("INVITE", 2, &ok, &body);
    w.a(again.replacen("Content-Length", &(says(OF_A, NIL) + "Content-Length"), 1));
    assert!(id(&w.last_b("INVITE")).starts_with(OF_A), "A was transferred: another party speaks");
}

#[test]
fn only_where_the_profile_wants_it() {
    let mut w = world(false, false);
    w.a(invite(&says(OF_A, NIL), SDP_A));
    let b_invite = w.last_b("INVITE");
    assert_eq!(id(&b_invite), "");
    w.b(b_says(200, &b_invite, &says(OF_B, OF_A), SDP_B));
    assert_eq!(id(&w.last_a("200 INVITE")), "");

    let mut w = world(false, true);
    w.a(invite(&says(OF_A, NIL), SDP_A));
    let told = id(&w.last_b("INVITE"));
    assert!(told.ends_with(&format!(";remote={NIL}")) && !told.contains(OF_A), "{told}");

    let mut w = world(true, false);
    w.a(invite(&says(OF_A, NIL), SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, &says(OF_B, OF_A), SDP_B));
    let told = id(&w.last_a("200 INVITE"));
    assert!(told.ends_with(&format!(";remote={OF_A}")), "{told}");
    assert!(!told.contains(OF_B) && !told.starts_with(NIL), "{told}");
    assert_eq!(id(&b_invite), "");
}
