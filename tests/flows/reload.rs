//! Another configuration comes into force while calls are up.

use std::sync::Arc;
use std::time::Duration;

use cooee_model::media::Latch;
use cooee_signalling::switch::input::{Input, Revision};

use crate::world::*;

#[test]
fn a_call_that_is_up_goes_on_when_its_trunks_and_route_leave() {
    let mut w = World::new();
    let (ok, _) = talking(&mut w);
    w.reload(|text| {
        let text =
            text.replace("name = \"a\"", "name = \"c\"").replace("from = \"a\"", "from = \"c\"");
        let text = text.replace("name = \"b\"", "name = \"d\"").replace("trunk:b", "trunk:d");
        text.replace("192.0.2.10\"", "192.0.2.77\"")
    });
    w.a(a_asks("INVITE", 2, &ok, &SDP_A.replace("t=0 0", "t=0 0\r\na=sendonly")));
    let hold = w.last_b("INVITE");
    w.b(b_says(200, &hold, "", SDP_B));
    let held = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 2, &held, ""));
    w.a(a_asks("BYE", 3, &ok, ""));
    let bye = w.last_b("BYE");
    w.b(b_says(200, &bye, "", ""));
    w.last_a("200 BYE");
    assert_eq!(w.account().hold_count, 1);
    w.assert_clean();
    // Whoever is on no list any more is a stranger.
    w.to_a.clear();
    w.a(invite("", SDP_A).replace("call-a", "call-2").replace("z9hG4bKa1", "z9hG4bKa9"));
    assert!(w.heard_a().is_empty());
}

#[test]
fn the_next_call_is_decided_by_the_new_configuration_and_one_that_rings_by_its_own() {
    let mut w = World::with("relay", "voximplant", "agent-leg");
    let (one, other) = ("61255501234", "61355509876");
    w.a(invite("", SDP_A));
    let first = w.last_b("INVITE");
    assert!(first.contains(one), "{first}");
    w.reload(|text| text.replace(one, other));
    w.b(b_says(401, &first, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n", ""));
    let again = w.last_b("INVITE");
    assert!(again.contains("Authorization: Digest"), "{again}");
    assert!(again.contains(one) && !again.contains(other), "{again}");
    w.to_b.clear();
    w.a(invite("", SDP_A).replace("call-a", "call-2").replace("z9hG4bKa1", "z9hG4bKa9"));
    let second = w.last_b("INVITE");
    assert!(second.contains(other) && !second.contains(one), "{second}");
}

#[test]
fn what_names_led_to_stays_known_where_the_peers_stay() {
    let mut w = World::new();
    // Another trunk before it: every place moves, nothing is forgotten.
    let new = "[[trunk]]\nname = \"new\"\nprofile = \"generic-ip-trunk\"\n[[trunk]]";
    w.reload(|text| text.replacen("[[trunk]]", new, 1));
    w.a(invite("", SDP_A));
    w.last_b("INVITE");
    // Peers that are others have to be looked up anew.
    w.reload(|text| text.replace("udp:198.51.100.20:5060", "udp:198.51.100.21:5060"));
    w.a(invite("", SDP_A).replace("call-a", "call-2").replace("z9hG4bKa1", "z9hG4bKa9"));
    w.last_a("503 INVITE");
}

#[test]
fn a_line_that_stays_keeps_its_registration_and_one_that_leaves_is_unregistered() {
    let mut w = World::with_a_line();
    w.pass(Duration::from_millis(1100));
    let register = w.last_a("REGISTER");
    w.a(b_says(200, &register, "Expires: 300\r\n", "").replace(B, A));
    w.to_a.clear();
    let plan = Arc::clone(w.switch.plan());
    let revision = |plan| Box::new(Revision { plan, peers: Vec::new(), latch: Latch::Strict });
    w.input(Input::Plan(revision(Arc::clone(&plan))));
    assert_eq!(w.switch.gauges().registered, 1);
    w.pass(Duration::from_secs(100));
    assert!(w.heard_a().is_empty(), "a reload is no reason to register");

    let mut without = plan.as_ref().clone();
    without.trunks.iter_mut().for_each(|t| t.registrations.clear());
    w.input(Input::Plan(revision(Arc::new(without))));
    let gone = w.last_a("REGISTER");
    assert_eq!(header(&gone, "Expires"), "0");
    w.a(b_says(200, &gone, "", "").replace(B, A));
    w.to_a.clear();
    w.pass(Duration::from_secs(3600));
    assert!(w.heard_a().is_empty());
    assert_eq!(w.switch.gauges().registered, 0);
}
