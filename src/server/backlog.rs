//! What the engine has taken and not handled yet: what is under way first, then what is to be
//! refused, new calls behind it.
//!
//! Sockets are read as soon as there is something, so that the kernel never has to drop a BYE for
//! want of room among INVITEs; what waits, waits here.

use std::collections::VecDeque;

use cooee_signalling::switch::input::Input;
use cooee_signalling::switch::overload::{asks_for_call, goes_first};

/// Most messages that begin something and wait. Past it they are dropped and counted: their senders
/// send them again.
const NEW_WAITING: usize = 8192;

/// Most calls that wait to be refused: some 50 ms. Past it they are dropped and counted, too.
const SURPLUS_WAITING: usize = 1024;

/// Inputs in the order in which they are to be handled.
#[derive(Debug, Default)]
pub struct Backlog {
    under_way: VecDeque<Input>,
    surplus: VecDeque<Input>,
    new: VecDeque<Input>,
}

impl Backlog {
    /// Takes an input; `sheds` says whether a call that comes behind so many is to be refused.
    /// `false`: it was dropped.
    pub fn push(&mut self, input: Input, sheds: impl Fn(usize) -> bool) -> bool {
        let (queue, most, input) = match input {
            Input::Datagram { flow, received, bytes } if !goes_first(&bytes) => {
                if asks_for_call(&bytes) && sheds(self.new.len()) {
                    let input = Input::Surplus { flow, received, bytes };
                    (&mut self.surplus, SURPLUS_WAITING, input)
                } else {
                    (&mut self.new, NEW_WAITING, Input::Datagram { flow, received, bytes })
                }
            }
            other => (&mut self.under_way, usize::MAX, other),
        };
        let fits = queue.len() < most;
        if fits {
            queue.push_back(input);
        }
        fits
    }

    /// The next input that belongs to what is under way.
    pub fn under_way(&mut self) -> Option<Input> {
        self.under_way.pop_front()
    }

    /// The next call that is to be refused.
    pub fn surplus(&mut self) -> Option<Input> {
        self.surplus.pop_front()
    }

    /// The next message that begins something.
    pub fn new_call(&mut self) -> Option<Input> {
        self.new.pop_front()
    }

    /// How many inputs wait.
    pub fn len(&self) -> usize {
        self.under_way.len() + self.surplus.len() + self.new.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cooee_model::moment::Moment;
    use cooee_signalling::message::transport::Transport;
    use cooee_signalling::transaction::flow::Flow;

    use super::*;

    fn datagram(text: &str) -> Input {
        let remote = ([127, 0, 0, 1], 5060).into();
        Input::Datagram {
            flow: Flow { transport: Transport::Udp, socket: 0, remote },
            received: Moment::default(),
            bytes: Bytes::from(text.to_owned()),
        }
    }

    fn text(input: Option<Input>) -> String {
        match input {
            Some(Input::Datagram { bytes, .. }) => String::from_utf8_lossy(&bytes).into_owned(),
            Some(other) => format!("{other:?}"),
            None => String::new(),
        }
    }

    #[test]
    fn what_is_under_way_overtakes_new_calls_and_nothing_else() {
        let mut backlog = Backlog::default();
        for one in ["INVITE a\r\n", "BYE a\r\n", "CANCEL a\r\n", "SIP/2.0 200\r\n", "INVITE b\r\n"]
        {
            assert!(backlog.push(datagram(one), |_| false));
        }
        assert!(backlog.push(Input::Wake, |_| false));
        assert_eq!(backlog.len(), 6);
        let first: Vec<_> = (0..4).map(|_| text(backlog.under_way())).collect();
        assert_eq!(first, ["BYE a\r\n", "SIP/2.0 200\r\n", "Wake", ""]);
        let then: Vec<_> = (0..4).map(|_| text(backlog.new_call())).collect();
        assert_eq!(then, ["INVITE a\r\n", "CANCEL a\r\n", "INVITE b\r\n", ""]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn new_calls_past_the_limit_are_dropped_and_what_is_under_way_is_not() {
        let mut backlog = Backlog::default();
        for _ in 0..NEW_WAITING {
            assert!(backlog.push(datagram("INVITE a\r\n"), |_| false));
        }
        assert!(!backlog.push(datagram("INVITE a\r\n"), |_| false));
        assert!(backlog.push(datagram("BYE a\r\n"), |_| false));
        assert_eq!(backlog.len(), NEW_WAITING + 1);
    }

    #[test]
    fn calls_that_there_are_too_many_of_do_not_wait_for_those_before_them() {
        let mut backlog = Backlog::default();
        let sheds = |waiting| waiting >= 2;
        for one in ["INVITE a\r\n", "OPTIONS a\r\n", "INVITE b\r\n", "CANCEL a\r\n", "BYE c\r\n"] {
            assert!(backlog.push(datagram(one), sheds));
        }
        assert_eq!(backlog.len(), 5);
        assert_eq!(text(backlog.under_way()), "BYE c\r\n");
        let Some(Input::Surplus { bytes, .. }) = backlog.surplus() else { panic!() };
        assert_eq!(&bytes[..], b"INVITE b\r\n");
        let new: Vec<_> = (0..4).map(|_| text(backlog.new_call())).collect();
        assert_eq!(new, ["INVITE a\r\n", "OPTIONS a\r\n", "CANCEL a\r\n", ""]);
        for _ in 0..SURPLUS_WAITING {
            assert!(backlog.push(datagram("INVITE d\r\n"), |_| true));
        }
        assert!(!backlog.push(datagram("INVITE d\r\n"), |_| true));
        assert!(backlog.push(datagram("CANCEL d\r\n"), |_| true));
    }
}
