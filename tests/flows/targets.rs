//! Where the next request of a dialog goes: rows 66 to 69.

use crate::world::*;

fn request_uri(text: &str) -> String {
    text.split(' ').nth(1).unwrap().to_owned()
}

/// What went to neither A nor B: the last message of this kind and where it went.
fn elsewhere(w: &World, kind: &str) -> (String, String) {
    let found = w.elsewhere.iter().rev().find(|(_, m)| title(m) == kind);
    let (to, message) = found.unwrap_or_else(|| panic!("no {kind} among {:?}", w.elsewhere));
    (to.to_string(), String::from_utf8_lossy(message.bytes()).into_owned())
}

#[test]
fn flow_66_ack_and_bye_go_to_the_contact() {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    let contact = "sip:media@198.51.100.20:5071;x=1";
    let ok = b_says(200, &b_invite, "", SDP_B).replace(&format!("sip:b@{B}"), contact);
    w.b(ok);
    let (to, ack) = elsewhere(&w, "ACK");
    assert_eq!((to.as_str(), request_uri(&ack).as_str()), ("198.51.100.20:5071", contact));
    let ok = w.last_a("200 INVITE");
    w.a(a_asks("ACK", 1, &ok, ""));
    w.a(a_asks("BYE", 2, &ok, ""));
    let (to, bye) = elsewhere(&w, "BYE");
    assert_eq!((to.as_str(), request_uri(&bye).as_str()), ("198.51.100.20:5071", contact));
    w.from("198.51.100.20:5071", b_says(200, &bye, "", ""));
    w.assert_clean();
}

/// B answers through proxies; the ACK that B's side gets, and where.
fn acknowledged_through(record_route: &str) -> (World, String, String) {
    let mut w = World::new();
    w.a(invite("", SDP_A));
    let b_invite = w.last_b("INVITE");
    w.b(b_says(200, &b_invite, record_route, SDP_B));
    let ok = w.last_a("200 INVITE");
    assert!(!ok.contains("Record-Route"), "B's route is no business of A: {ok}");
    w.a(a_asks("ACK", 1, &ok, ""));
    let (to, ack) = elsewhere(&w, "ACK");
    w.a(a_asks("BYE", 2, &ok, ""));
    let (bye_to, bye) = elsewhere(&w, "BYE");
    assert_eq!(bye_to, to);
    assert_eq!(
        (request_uri(&bye), header(&bye, "Route")),
        (request_uri(&ack), header(&ack, "Route"))
    );
    (w, to, ack)
}

#[test]
fn flow_67_the_route_set_of_b_is_used_in_reverse() {
    let through = "Record-Route: <sip:198.51.100.3;lr>, <sip:198.51.100.2;lr>\r\n\
        Record-Route: <sip:198.51.100.1:5080;lr>\r\n";
    let (_, to, ack) = acknowledged_through(through);
    assert_eq!(to, "198.51.100.1:5080", "the nearest proxy");
    assert_eq!(request_uri(&ack), format!("sip:b@{B}"));
    let routes: Vec<_> = ack.lines().filter_map(|l| l.strip_prefix("Route: ")).collect();
    let expected = ["<sip:198.51.100.1:5080;lr>", "<sip:198.51.100.2;lr>", "<sip:198.51.100.3;lr>"];
    assert_eq!(routes, expected);
}

#[test]
fn flow_68_a_strict_router_is_the_request_uri() {
    let through = "Record-Route: <sip:198.51.100.2;lr>, <sip:198.51.100.1:5080>\r\n";
    let (_, to, ack) = acknowledged_through(through);
    assert_eq!(
        (to.as_str(), request_uri(&ack).as_str()),
        ("198.51.100.1:5080", "sip:198.51.100.1:5080")
    );
    let routes: Vec<_> = ack.lines().filter_map(|l| l.strip_prefix("Route: ")).collect();
    assert_eq!(routes, ["<sip:198.51.100.2;lr>".to_owned(), format!("<sip:b@{B}>")]);
}

#[test]
fn flow_69_a_new_contact_is_where_the_next_request_goes() {
    for method in ["INVITE", "UPDATE"] {
        let mut w = World::new();
        let (ok, b_invite) = talking(&mut w);
        let moved = |text: String, from: &str, to: &str| {
            text.replace(&format!("Contact: <sip:{from}>"), &format!("Contact: <sip:{to}>"))
        };
        // A moves by a request of its own, B by its answer.
        let body = if method == "INVITE" { SDP_A } else { "" };
        w.a(moved(a_asks(method, 2, &ok, body), &format!("a@{A}"), "a2@192.0.2.10:5099"));
        if method == "INVITE" {
            let asked = w.last_b("INVITE");
            let answer = b_says(200, &asked, "", SDP_B);
            w.b(moved(answer, &format!("b@{B}"), "b2@198.51.100.20:5098"));
            w.a(a_asks("ACK", 2, &ok, ""));
            let (to, ack) = elsewhere(&w, "ACK");
            assert_eq!(
                (to.as_str(), request_uri(&ack).as_str()),
                ("198.51.100.20:5098", "sip:b2@198.51.100.20:5098")
            );
        } else {
            w.b(moved(
                b_asks(method, 1, &b_invite, ""),
                &format!("b@{B}"),
                "b2@198.51.100.20:5098",
            ));
        }
        w.last_a(&format!("200 {method}"));
        let call = w.facts[0].call;
        w.input(cooee_signalling::switch::input::Input::Command(
            cooee_model::command::Command::Hangup { call },
        ));
        let byes: Vec<_> = w.elsewhere.iter().filter(|(_, m)| title(m) == "BYE").collect();
        let places: Vec<_> = byes
            .iter()
            .map(|(to, m)| (to.to_string(), String::from_utf8_lossy(m.request_uri()).into_owned()))
            .collect();
        let expected = [
            ("192.0.2.10:5099".to_owned(), "sip:a2@192.0.2.10:5099".to_owned()),
            ("198.51.100.20:5098".to_owned(), "sip:b2@198.51.100.20:5098".to_owned()),
        ];
        assert_eq!(places, expected, "{method}");
        w.assert_clean();
    }
}
