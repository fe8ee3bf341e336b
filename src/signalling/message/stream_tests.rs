//! Streams cut in every way.

use proptest::prelude::*;

use super::*;
use crate::message::index::Malformed;

const OPTIONS: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\n\
    Call-ID: x\r\nCSeq: 1 OPTIONS\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nl: 0\r\n\r\n";
const INVITE: &str = "INVITE sip:a@b SIP/2.0\r\nContent-Length :\r\n 10\r\n\r\nv=0\r\n\r\n\r\nx";

fn all(framer: &mut Framer) -> (Vec<Frame>, Option<Broken>) {
    let mut frames = Vec::new();
    loop {
        match framer.next_frame() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(broken) => return (frames, Some(broken)),
        }
    }
}

/// What comes out of pieces that are looked at one by one.
fn cut<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<Broken>) {
    let mut framer = Framer::default();
    let mut found = Vec::new();
    for piece in pieces {
        framer.push(piece);
        let (mut frames, broken) = all(&mut framer);
        found.append(&mut frames);
        if broken.is_some() {
            return (found, broken);
        }
    }
    (found, None)
}

fn whole(text: &str) -> Frame {
    Frame::Message(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn flow_74_split_at_each_byte_pipelined_and_kept_alive() {
    let stream = format!("\r\n\r\n{OPTIONS}\r\n{INVITE}{INVITE}\r\n\r\n{OPTIONS}\r\n\r\n\r\n");
    let expected = vec![
        Frame::Ping,
        whole(OPTIONS),
        whole(INVITE),
        whole(INVITE),
        Frame::Ping,
        whole(OPTIONS),
        Frame::Ping,
    ];
    let bytes = stream.as_bytes();
    assert_eq!(cut([bytes]), (expected.clone(), None));
    assert_eq!(cut(bytes.chunks(1)), (expected.clone(), None));
    for at in 0..bytes.len() {
        let (front, back) = bytes.split_at(at);
        assert_eq!(cut([front, back]), (expected.clone(), None), "cut at {at}");
    }
}

#[test]
fn a_bare_line_feed_ends_lines_too() {
    let text = "OPTIONS sip:a@b SIP/2.0\nContent-Length: 2\n\nhi";
    assert_eq!(cut(text.as_bytes().chunks(3)), (vec![whole(text)], None));
}

#[test]
fn without_a_content_length_the_head_is_told_and_then_nothing() {
    for (lengths, fault) in [
        ("", Broken::ContentLength),
        ("Content-Length: -1\r\n", Broken::ContentLength),
        ("Content-Length: 1\r\nl: 2\r\n", Broken::ContentLength),
        ("Content-Length: 65536\r\n", Broken::TooLarge),
        ("Content-Length: 99999999999999999999\r\n", Broken::ContentLength),
    ] {
        let head = format!("BYE sip:a@b SIP/2.0\r\n{lengths}\r\n");
        let stream = format!("{head}{OPTIONS}");
        assert_eq!(cut([stream.as_bytes()]), (vec![whole(&head)], Some(fault)), "{lengths}");
    }
    let said = Message::read(Bytes::from("BYE sip:a@b SIP/2.0\r\nl: 9\r\n\r\n")).unwrap();
    assert_eq!(said.check(), Err(Malformed::ContentLength));
}

#[test]
fn nothing_grows_without_end() {
    let endless = vec![b'x'; HEAD_BYTES + 1];
    assert_eq!(cut(endless.chunks(1000)), (vec![], Some(Broken::HeadTooLarge)));
    let lines = format!("BYE sip:a@b SIP/2.0\r\n{}", "X: y\r\n".repeat(HEAD_BYTES / 6));
    assert_eq!(cut([lines.as_bytes()]), (vec![], Some(Broken::HeadTooLarge)));
    let web = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(cut(web.chunks(1)), (vec![], Some(Broken::NoSip)));
    let mut framer = Framer::default();
    framer.push(web);
    assert_eq!(framer.next_frame(), Err(Broken::NoSip));
    assert_eq!((framer.next_frame(), framer.is_partial()), (Err(Broken::NoSip), false));
}

#[test]
fn s21_a_stream_of_single_bytes_is_read_once() {
    let head = format!("BYE sip:a@b SIP/2.0\r\nX: {}\r\nl: 0\r\n\r\n", "(,".repeat(15_000));
    let mut framer = Framer::default();
    let mut looked_at = 0;
    for byte in head.as_bytes() {
        let before = framer.lines + framer.scanned;
        framer.push(std::slice::from_ref(byte));
        if framer.next_frame() == Ok(None) {
            looked_at += framer.lines + framer.scanned - before;
        }
    }
    assert_eq!(looked_at, head.len() - 1);
}

proptest! {
    #[test]
    fn however_it_is_cut_the_same_comes_out(
        pieces in prop::collection::vec(prop_oneof![
            Just(OPTIONS.to_owned()),
            Just(INVITE.to_owned()),
            Just("\r\n\r\n".to_owned()),
            Just("\r\n".to_owned()),
            Just("\n".to_owned()),
            "[ -~\r\n]{0,40}",
        ], 0..12),
        cuts in prop::collection::vec(1_usize..200, 1..20),
    ) {
        let stream = pieces.concat().into_bytes();
        let whole = cut([&stream[..]]);
        let mut rest = &stream[..];
        let mut parts = Vec::new();
        for length in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (front, back) = rest.split_at((*length).min(rest.len()));
            parts.push(front);
            rest = back;
        }
        prop_assert_eq!(cut(parts), whole);
    }

    #[test]
    fn no_bytes_make_it_panic_or_grow(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut framer = Framer::default();
        framer.push(&bytes);
        let (frames, broken) = all(&mut framer);
        let taken: usize = frames.iter().map(|f| match f {
            Frame::Message(bytes) => bytes.len(),
            Frame::Ping => 4,
        }).sum();
        prop_assert!(taken <= bytes.len() + 2);
        prop_assert!(broken.is_none() || !framer.is_partial());
    }
}
