//! Rows of RFC 3261 section 17 and RFC 6026 on a virtual clock.

use std::time::Duration;

use bytes::Bytes;
use cooee_model::moment::Moment;

use super::*;
use crate::message::transport::Transport;

const FLOW: Flow = Flow {
    transport: Transport::Udp,
    socket: 0,
    remote: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5060),
};

fn at(ms: u64) -> Moment {
    Moment::new(ms * 1_000_000, 0)
}

fn layer() -> Transactions<u8> {
    Transactions::new(Keyed::new([1; 16]), Clock::default())
}

/// Whether a request is taken for a copy.
fn copy(layer: &mut Transactions<u8>, request: &Message, sends: &mut Vec<Transmit>) -> bool {
    layer.absorb(Keyed::new([1; 16]).server(request, request.method()), request, sends)
}

fn message(text: &str) -> Message {
    Message::read(Bytes::from(text.to_owned())).unwrap()
}

fn request(method: &str, branch: &str) -> Message {
    let rest = "From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x";
    message(&format!(
        "{method} sip:c@d SIP/2.0\r\nVia: SIP/2.0/UDP h;branch={branch}\r\n{rest}\r\nCSeq: 1 {method}\r\n\r\n"
    ))
}

fn response(code: u16, branch: &str, method: &str) -> Message {
    message(&format!(
        "SIP/2.0 {code} X\r\nVia: SIP/2.0/UDP h;branch={branch}\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 {method}\r\n\r\n"
    ))
}

/// Runs the clock to `end` and returns when something was sent, in milliseconds, and what expired.
fn run(layer: &mut Transactions<u8>, end: u64) -> (Vec<u64>, Vec<Expired<u8>>) {
    let (mut sent, mut expired) = (Vec::new(), Vec::new());
    while let Some(next) = layer.next_deadline().filter(|&n| n <= end * 1_000_000) {
        let mut sends = Vec::new();
        while let Some(what) = layer.expire(Moment::new(next, 0), &mut sends) {
            expired.extend(what);
        }
        sent.extend(sends.iter().map(|_| next / 1_000_000));
    }
    (sent, expired)
}

#[test]
fn an_answer_of_an_earlier_run_is_sent_until_its_ack_and_absorbs_copies() {
    let mut layer = layer();
    let mut sends = Vec::new();
    let bytes = response(200, "z9hG4bKa", "INVITE").bytes().clone();
    let id = layer.adopt_answer(at(0), (FLOW, bytes), 9, &mut sends).unwrap();
    assert_eq!(sends.len(), 1);
    assert!(copy(&mut layer, &request("INVITE", "z9hG4bKa"), &mut sends));
    assert_eq!(sends.len(), 2);
    assert_eq!(run(&mut layer, 2000).0, [500, 1500]);
    layer.acknowledged(id);
    assert_eq!(run(&mut layer, 40_000), (vec![], vec![]));
    assert_eq!(layer.len(), (0, 0));
}

fn open(layer: &mut Transactions<u8>, method: &str) -> ServerId {
    match layer.open(&request(method, "z9hG4bKa"), FLOW, 9) {
        Arrival::New(id) => id,
        other => panic!("{other:?}"),
    }
}

fn call(layer: &mut Transactions<u8>, method: &str) -> (String, ClientId) {
    let token = layer.reserve(0xabc);
    let bytes = request(method, &token.branch()).bytes().clone();
    let invite = method == "INVITE";
    let id = layer.request(at(0), token, (FLOW, bytes), (invite, 5), None, &mut Vec::new());
    (token.branch(), id)
}

#[test]
fn invite_client_doubles_until_timer_b() {
    let mut layer = layer();
    let (_, client) = call(&mut layer, "INVITE");
    let (sent, expired) = run(&mut layer, 40_000);
    assert_eq!(sent, [500, 1500, 3500, 7500, 15_500, 31_500]);
    assert_eq!(expired, [Expired::NoAnswer { owner: 5, client, heard: false }]);
    assert_eq!(layer.len(), (0, 0));
}

#[test]
fn non_invite_client_is_capped_at_t2_until_timer_f() {
    let mut layer = layer();
    call(&mut layer, "BYE");
    let (sent, expired) = run(&mut layer, 40_000);
    assert_eq!(sent, [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert_eq!(expired.len(), 1);
}

#[test]
fn a_ringing_invite_is_not_sent_again_and_never_times_out() {
    let mut layer = layer();
    let (branch, client) = call(&mut layer, "INVITE");
    let heard = layer.hear(at(100), &response(180, &branch, "INVITE"), &mut Vec::new());
    assert_eq!(heard, Heard::For(5, client));
    assert_eq!(run(&mut layer, 100_000), (vec![], vec![]));
    assert_eq!(layer.len(), (0, 1));
}

#[test]
fn each_copy_of_a_failure_is_acked_in_the_invites_branch_until_timer_d() {
    let mut layer = layer();
    let (branch, client) = call(&mut layer, "INVITE");
    let mut sends = Vec::new();
    let busy = response(486, &branch, "INVITE");
    assert_eq!(layer.hear(at(100), &busy, &mut sends), Heard::For(5, client));
    assert_eq!(layer.hear(at(600), &busy, &mut sends), Heard::Absorbed);
    assert_eq!(sends.len(), 2);
    let ack = Message::read(sends[1].bytes.clone()).unwrap();
    assert_eq!(ack.check(), Ok(()));
    assert_eq!((ack.method(), ack.via().unwrap().branch()), (Method::Ack, branch.as_bytes()));
    assert_eq!(ack.to_tag(), b"2");
    run(&mut layer, 33_000);
    assert_eq!(layer.hear(at(34_000), &busy, &mut sends), Heard::Stray);
}

#[test]
fn flow_32_each_copy_of_a_2xx_goes_up_until_timer_m() {
    let mut layer = layer();
    let (branch, client) = call(&mut layer, "INVITE");
    let ok = response(200, &branch, "INVITE");
    let mut sends = Vec::new();
    for ms in [100, 600, 1600] {
        assert_eq!(layer.hear(at(ms), &ok, &mut sends), Heard::For(5, client));
    }
    assert!(sends.is_empty());
    assert_eq!(run(&mut layer, 40_000), (vec![], vec![]));
    assert_eq!(layer.hear(at(40_000), &ok, &mut sends), Heard::Stray);
}

#[test]
fn a_guessed_branch_finds_nothing() {
    let mut layer = layer();
    call(&mut layer, "INVITE");
    let guessed = Token { index: 0, secret: 1 }.branch();
    let heard = layer.hear(at(1), &response(200, &guessed, "INVITE"), &mut Vec::new());
    assert_eq!(heard, Heard::Stray);
}

#[test]
fn the_answer_to_a_cancel_is_told_apart_from_that_to_its_invite() {
    let mut layer = layer();
    let (branch, invite) = call(&mut layer, "INVITE");
    let bytes = request("CANCEL", &branch).bytes().clone();
    layer.cancel(at(10), invite, bytes, 6, &mut Vec::new());
    let ok = response(200, &branch, "CANCEL");
    assert!(matches!(layer.hear(at(20), &ok, &mut Vec::new()), Heard::For(6, _)));
    let terminated = response(487, &branch, "INVITE");
    assert_eq!(layer.hear(at(21), &terminated, &mut Vec::new()), Heard::For(5, invite));
}

#[test]
fn flow_18_a_copy_of_an_invite_gets_the_last_response_again() {
    let mut layer = layer();
    let invite = request("INVITE", "z9hG4bKa");
    let id = open(&mut layer, "INVITE");
    let mut sends = Vec::new();
    assert!(copy(&mut layer, &invite, &mut sends));
    assert!(sends.is_empty());
    layer.respond(at(1), id, 180, Bytes::from_static(b"ringing"), None, &mut sends);
    assert!(copy(&mut layer, &invite, &mut sends));
    assert_eq!(sends.len(), 2);
    assert_eq!(sends[1].bytes, &b"ringing"[..]);
}

#[test]
fn flow_28_a_2xx_is_sent_again_until_its_ack() {
    let mut layer = layer();
    let id = open(&mut layer, "INVITE");
    layer.respond(at(0), id, 200, Bytes::from_static(b"ok"), None, &mut Vec::new());
    let (sent, expired) = run(&mut layer, 8000);
    assert_eq!((sent, expired), (vec![500, 1500, 3500, 7500], vec![]));
    layer.acknowledged(id);
    assert_eq!(run(&mut layer, 40_000), (vec![], vec![]));
    assert_eq!(layer.len(), (0, 0));
}

#[test]
fn flow_29_no_ack_for_64_t1_is_told_once() {
    let mut layer = layer();
    let server = open(&mut layer, "INVITE");
    layer.respond(at(0), server, 200, Bytes::from_static(b"ok"), None, &mut Vec::new());
    let (sent, expired) = run(&mut layer, 40_000);
    assert_eq!(sent, [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert_eq!(expired, [Expired::NoAck { owner: 9, server }]);
}

#[test]
fn a_failure_is_sent_again_until_its_ack_and_acks_are_absorbed() {
    let mut layer = layer();
    let id = open(&mut layer, "INVITE");
    layer.respond(at(0), id, 486, Bytes::from_static(b"busy"), None, &mut Vec::new());
    assert_eq!(run(&mut layer, 2000).0, [500, 1500]);
    let ack = request("ACK", "z9hG4bKa");
    assert!(layer.ack(at(2000), &ack));
    assert!(layer.ack(at(2100), &ack));
    assert_eq!(run(&mut layer, 40_000), (vec![], vec![]));
    assert!(!layer.ack(at(40_000), &ack));
}

#[test]
fn a_second_final_response_is_never_sent() {
    let mut layer = layer();
    let id = open(&mut layer, "BYE");
    let mut sends = Vec::new();
    layer.respond(at(0), id, 200, Bytes::from_static(b"ok"), None, &mut sends);
    layer.respond(at(1), id, 481, Bytes::from_static(b"no"), None, &mut sends);
    assert_eq!(sends.len(), 1);
    run(&mut layer, 33_000);
    assert_eq!(layer.len(), (0, 0));
}

#[test]
fn a_plain_answer_is_written_again_for_each_copy_and_not_kept() {
    let mut layer = layer();
    let bye = request("BYE", "z9hG4bKa");
    let id = open(&mut layer, "BYE");
    let mut sends = Vec::new();
    layer.respond_plainly(at(0), id, (200, &bye), &mut sends);
    assert!(layer.servers.get(id.0).unwrap().response.is_none());
    assert!(copy(&mut layer, &bye, &mut sends));
    assert!(sends[0].bytes.starts_with(b"SIP/2.0 200 OK\r\nVia: "));
    assert_eq!((&sends[1].bytes, sends[1].flow), (&sends[0].bytes, sends[0].flow));
    layer.respond(at(1), id, 500, Bytes::from_static(b"no"), None, &mut sends);
    assert_eq!(sends.len(), 2, "it was final");
    run(&mut layer, 32_000);
    assert!(!copy(&mut layer, &bye, &mut sends), "timer J");
}

#[test]
fn flow_19_the_same_request_by_another_path_is_merged() {
    let mut layer = layer();
    open(&mut layer, "INVITE");
    assert!(layer.is_merged(&request("INVITE", "z9hG4bKother")));
    assert!(!copy(&mut layer, &request("INVITE", "z9hG4bKother"), &mut Vec::new()));
    assert!(!layer.is_merged(&request("OPTIONS", "z9hG4bKother")));
}

#[test]
fn short_timers_keep_their_proportions() {
    let clock = Clock::with_t1(Duration::from_millis(50));
    assert_eq!(clock.t2, Duration::from_millis(400));
    assert_eq!(clock.give_up(), Duration::from_millis(3200));
}
