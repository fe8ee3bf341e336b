//! Changed copies of good messages: nothing breaks, nothing is answered twice or at length, nobody
//! else hears of it.

use std::sync::LazyLock;

use bytes::Bytes;
use cooee_signalling::message::address::{Address, Uri};
use cooee_signalling::message::name::Name;
use cooee_signalling::message::sdp::rewrite::{EventLines, Origin, Ours, rewrite};
use cooee_signalling::message::sdp::{Session, find};
use cooee_signalling::message::via::Via;
use cooee_signalling::message::view::Message;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::cases;
use crate::wire::{Came, send};
use crate::world::{World, b_says, invite};

/// Bytes that mean something to a reader of SIP or SDP.
const TELLING: &[u8] = b"\r\n\t ,;:=<>\"\\@/?%[]()*{}\0\x7f\xff0129azSv";

/// One change of a message.
#[derive(Clone, Debug)]
enum Change {
    Put(Index, u8),
    Insert(Index, u8),
    Delete(Index, usize),
    Double(Index, usize),
    Swap(Index, Index, usize),
    Cut(Index),
    Repeat(Index, u8, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let byte = prop_oneof![3 => proptest::sample::select(TELLING), 1 => any::<u8>()];
    let at = any::<Index>;
    prop_oneof![
        (at(), byte.clone()).prop_map(|(at, byte)| Change::Put(at, byte)),
        (at(), byte.clone()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        (at(), 1..40_usize).prop_map(|(at, length)| Change::Delete(at, length)),
        (at(), 1..80_usize).prop_map(|(at, length)| Change::Double(at, length)),
        (at(), at(), 1..60_usize).prop_map(|(a, b, length)| Change::Swap(a, b, length)),
        at().prop_map(Change::Cut),
        (at(), byte, 1..3000_usize).prop_map(|(at, byte, times)| Change::Repeat(at, byte, times)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let length = bytes.len();
        if length == 0 {
            return bytes;
        }
        let piece = |at: &Index, long: usize| {
            let at = at.index(length);
            at..(at + long).min(length)
        };
        match change {
            Change::Put(at, byte) => bytes[at.index(length)] = *byte,
            Change::Insert(at, byte) => bytes.insert(at.index(length), *byte),
            Change::Delete(at, long) => drop(bytes.drain(piece(at, *long))),
            Change::Double(at, long) => {
                let copy = bytes[piece(at, *long)].to_vec();
                let at = at.index(length);
                bytes.splice(at..at, copy);
            }
            Change::Swap(a, b, long) => {
                let copy = bytes[piece(a, *long)].to_vec();
                let at = piece(b, *long);
                bytes.splice(at, copy);
            }
            Change::Cut(at) => bytes.truncate(at.index(length)),
            Change::Repeat(at, byte, times) => {
                let at = at.index(length);
                bytes.splice(at..at, std::iter::repeat_n(*byte, *times));
            }
        }
    }
    bytes
}

/// The good and bad messages that are changed.
fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: LazyLock<Vec<Vec<u8>>> =
        LazyLock::new(|| cases::all().into_iter().map(|case| case.bytes).collect());
    &SEEDS
}

/// What holds of every message, whatever it is.
fn judged(came: &Came, length: usize) -> Result<(), TestCaseError> {
    prop_assert!(came.finals() <= 1, "{came:?}");
    prop_assert!(came.elsewhere == 0, "{came:?}");
    prop_assert!(came.dialled.len() <= 1, "{came:?}");
    let answered: usize = came.answers.iter().map(Bytes::len).sum();
    prop_assert!(answered <= 3 * length, "{answered} bytes for {length}: {came:?}");
    Ok(())
}

fn config() -> ProptestConfig {
    let long = std::env::var_os("COOEE_LONG").is_some();
    ProptestConfig {
        cases: if long { 20_000 } else { 150 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    /// S8, S15: a request to the switch, changed.
    #[test]
    fn no_change_of_a_request_breaks_the_switch(
        which: Index,
        changes in proptest::collection::vec(change(), 1..8),
    ) {
        let bytes = changed(which.get(seeds()).clone(), &changes);
        let mut world = World::transparent();
        let came = send(&mut world, bytes.clone());
        judged(&came, bytes.len())?;
        // A call that was begun is still one, and the next caller is served.
        let next = send(&mut world, invite("Max-Forwards: 0\r\n", ""));
        prop_assert_eq!(next.word(), "483");
    }

    /// S8: B's answer to our INVITE, changed. The call goes on or ends; nothing else happens.
    #[test]
    fn no_change_of_an_answer_breaks_the_call(
        code in proptest::sample::select(&[100_u16, 180, 183, 200, 302, 401, 486, 503][..]),
        changes in proptest::collection::vec(change(), 1..8),
    ) {
        let mut world = World::transparent();
        world.a(invite("", crate::world::SDP_A));
        let asked = world.last_b("INVITE");
        let said = b_says(code, &asked, "", crate::world::SDP_B).into_bytes();
        let came = crate::wire::send_from(&mut world, crate::world::B, changed(said, &changes));
        prop_assert!(came.dialled.len() <= 1, "{came:?}");
        world.b(b_says(200, &asked, "", crate::world::SDP_B));
        world.pass(std::time::Duration::from_secs(200));
        prop_assert_eq!(world.switch.gauges().transactions, (0, 0));
    }

    /// Every reader on every value of every changed message.
    #[test]
    fn no_change_of_a_message_breaks_a_reader(
        which: Index,
        changes in proptest::collection::vec(change(), 1..12),
    ) {
        let bytes = Bytes::from(changed(which.get(seeds()).clone(), &changes));
        let Ok(message) = Message::read(bytes.clone()) else { return Ok(()) };
        let _ = (message.check(), message.cseq(), message.max_forwards(), message.content_type());
        let within = |value: &[u8]| {
            value.is_empty() || bytes.as_ptr_range().contains(&value.as_ptr())
        };
        for (name, written, value) in message.headers() {
            prop_assert!(within(written) && within(value) && !written.is_empty());
            let _ = (Via::read(value).map(|via| via.branch().len()), message.list(name).count());
            if let Some(address) = Address::read(value) {
                prop_assert!(within(address.uri) && within(address.params));
                let _ = (address.tag(), address.display_text());
                let _ = Uri::read(address.uri).map(|uri| uri.user_text());
            }
        }
        prop_assert!(within(message.body()));
        let kind = message.value(Name::ContentType).unwrap_or_default();
        for body in [Some(message.body()), find(kind, message.body())].into_iter().flatten() {
            let origin = Origin { id: 1, version: 1, address: [192, 0, 2, 1].into() };
            let named = Ours { port: 10_000, mux: None, events: EventLines::Gone };
            let ours = rewrite(body, origin, Some(0), named);
            // What we write about media reads back, with as many sections.
            if let Some(session) = Session::read(body) {
                let again = Session::read(&ours).map(|s| s.media.len());
                prop_assert_eq!(again, Some(session.media.len()));
            }
        }
    }
}
