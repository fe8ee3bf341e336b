//! One switch and what it does with bytes that may be anything: no assertion on what it sends.

use bytes::Bytes;
use cooee_signalling::call::context::{Output, Record};
use cooee_signalling::message::transport::Transport;
use cooee_signalling::message::view::{Message, Method};
use cooee_signalling::switch::input::Input;
use cooee_signalling::transaction::flow::Flow;

use crate::world::{A, B, World};

/// What came of one message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Came {
    /// Status codes towards the sender's address, in order.
    pub codes: Vec<u16>,
    /// What was sent to the sender's address.
    pub answers: Vec<Bytes>,
    /// INVITEs towards B.
    pub dialled: Vec<Bytes>,
    /// Messages to anybody else.
    pub elsewhere: usize,
    /// Records for the journal.
    pub records: usize,
}

impl Came {
    /// In one word: `dial`, `drop` or the final code (the last one, where there are several).
    pub fn word(&self) -> String {
        let last = self.codes.iter().rev().find(|code| **code >= 200);
        match (last, self.dialled.is_empty(), self.codes.is_empty()) {
            (Some(code), ..) => code.to_string(),
            (None, false, _) => "dial".to_owned(),
            (None, true, true) => "drop".to_owned(),
            (None, true, false) => "pending".to_owned(),
        }
    }

    /// How many final answers were given.
    pub fn finals(&self) -> usize {
        self.codes.iter().filter(|code| **code >= 200).count()
    }
}

/// Sends bytes from A's address.
pub fn send(world: &mut World, bytes: impl Into<Bytes>) -> Came {
    send_from(world, A, bytes)
}

/// Sends bytes from any address.
pub fn send_from(world: &mut World, source: &str, bytes: impl Into<Bytes>) -> Came {
    let flow = Flow { transport: Transport::Udp, socket: 0, remote: source.parse().unwrap() };
    let mut out = Output::default();
    let input = Input::Datagram { flow, received: world.now, bytes: bytes.into() };
    world.switch.handle(world.now, input, &mut out);
    let mut came = Came {
        records: out.records.iter().filter(|r| matches!(r, Record::Fact(_))).count(),
        ..Came::default()
    };
    for send in out.sends {
        let message = Message::read(send.bytes.clone()).unwrap();
        if send.flow.remote.ip() == flow.remote.ip() {
            came.codes.push(message.code());
            came.answers.push(send.bytes);
        } else if send.flow.remote == B.parse().unwrap() && message.method() == Method::Invite {
            assert_eq!(message.check(), Ok(()), "{message:?}");
            came.dialled.push(send.bytes);
        } else {
            came.elsewhere += 1;
        }
    }
    came
}
