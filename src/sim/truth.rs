//! The book of calls: what each is to do, and what the simulators saw of it, each with its own
//! clock. Whatever the node says is held against this.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::{DONE, POSTS};
use crate::rtp::{Crossing, Stream};

/// A call that is to be placed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Order {
    /// What the call is to show.
    pub title: &'static str,
    /// The customer's number, digits.
    pub customer: String,
    /// What the dialer dials.
    pub dialled: String,
    /// What the customer does.
    pub patience: Patience,
    /// What the platform does.
    pub answer: Answer,
    /// How an agent holds the customer.
    pub hold: Hold,
    /// What becomes of the portal's word that an agent answered.
    pub start: Word,
    /// Somebody else claims at once, with a wrong token, that an agent has answered.
    pub forged: bool,
    /// A late 487 comes for the INVITE that was answered, as in the log.
    pub stray_487: bool,
}

/// What the customer does. Seconds are those of the scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Patience {
    /// Stays until the agent hangs up.
    #[default]
    Stays,
    /// Hangs up after so many seconds.
    Leaves(f64),
    /// The dialer cancels after so many seconds without an answer.
    Cancelled(f64),
}

/// What the platform does with the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// Greeting, queue, agent: the log of seed 004.
    #[default]
    Queue,
    /// 486.
    Busy,
    /// It rings and nobody answers.
    Rings,
}

/// How an agent holds the customer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// Not at all.
    Never,
    /// The platform plays music and signals nothing, as in the log.
    #[default]
    Silent,
    /// By re-INVITE: sendonly, then sendrecv.
    Signalled,
}

/// What becomes of an event on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Word {
    /// It arrives.
    #[default]
    Once,
    /// It is lost.
    Lost,
    /// It arrives twice.
    Twice,
    /// It arrives after the hang-up.
    Late,
}

/// Who ended a call, and when its message left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The customer, by BYE.
    Customer(i64),
    /// The dialer, by CANCEL.
    Cancel(i64),
    /// The platform, by BYE.
    Platform(i64),
    /// The platform, by a final code.
    Refused(i64, u16),
    /// Nobody: it broke.
    Broken(i64),
}

impl End {
    /// When, microseconds.
    pub fn at_us(self) -> i64 {
        match self {
            Self::Customer(at) | Self::Cancel(at) | Self::Platform(at) => at,
            Self::Refused(at, _) | Self::Broken(at) => at,
        }
    }
}

/// What the simulated Unitalk saw: its own sends and what came to it, microseconds.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    /// Its INVITE left.
    pub invite_us: Option<i64>,
    /// The INVITE's text.
    pub invite: String,
    /// First 18x came.
    pub ringing_us: Option<i64>,
    /// The final response came, and its code.
    pub answer: Option<(i64, u16)>,
    /// The call's other end told it that the call is over.
    pub told_us: Option<i64>,
    /// Re-INVITEs that it answered.
    pub reinvites: u32,
    /// Its audio.
    pub media: Stream,
    /// It is through with the call.
    pub done: bool,
}

/// What the simulated Voximplant saw and did.
#[derive(Clone, Debug, Default)]
pub struct Platform {
    /// The first INVITE came: the one that was challenged.
    pub offered_us: Option<i64>,
    /// The INVITE that was accepted, its text.
    pub invite: String,
    /// The line that it was for: login.
    pub line: String,
    /// `X-Cooee-Call` of the INVITE.
    pub cooee_call: String,
    /// The digest of the INVITE was right.
    pub authenticated: bool,
    /// 100 left.
    pub trying_us: Option<i64>,
    /// 183 left.
    pub ringing_us: Option<i64>,
    /// 200 left.
    pub answer_us: Option<i64>,
    /// The greeting was over, the customer waits.
    pub queue_us: Option<i64>,
    /// The agent answered.
    pub agent_us: Option<i64>,
    /// Holds that were signalled: both re-INVITEs left.
    pub holds: Vec<(i64, i64)>,
    /// The call's other end told it that the call is over.
    pub told_us: Option<i64>,
    /// The portal's id of the call.
    pub portal_call_id: String,
    /// The agent.
    pub user: String,
    /// Its audio.
    pub media: Stream,
    /// It is through with the call.
    pub done: bool,
}

/// One call: what was ordered and what was seen of it.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// From 1.
    pub n: u32,
    /// What it is to do.
    pub order: Order,
    /// The dialer's own id.
    pub external_id: String,
    /// On A.
    pub dialer: Dialer,
    /// On B.
    pub platform: Platform,
    /// Who ended it.
    pub end: Option<End>,
    /// Events of the portal.
    pub posts: Vec<Post>,
}

impl Call {
    /// Both simulators are through with it. A call that never reached B is over with A.
    pub fn is_over(&self) -> bool {
        self.dialer.done && (self.platform.done || self.platform.invite.is_empty())
    }

    /// How the customer's voice came to the platform, and the platform's to the customer.
    pub fn crossings(&self) -> (Crossing, Crossing) {
        let (a, b) = (&self.dialer.media, &self.platform.media);
        (Crossing::of(&a.sent, &b.received), Crossing::of(&b.sent, &a.received))
    }
}

/// An event that was posted, and what came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// `ONVOXIMPLANT...`.
    pub event: &'static str,
    /// The portal's id of the call.
    pub call_id: String,
    /// Its stamp, whole seconds.
    pub ts: i64,
    /// When it was sent.
    pub sent_us: i64,
    /// What was answered; `None`: lost on the way, or no answer.
    pub status: Option<u16>,
    /// Its token is wrong.
    pub forged: bool,
}

/// The book; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Book(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    next: u32,
    calls: BTreeMap<u32, Call>,
    strays: u32,
}

impl Book {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a call; its number. The oldest that are over leave when there are too many.
    pub fn open(&self, order: Order) -> u32 {
        let mut pages = self.pages();
        pages.next += 1;
        let n = pages.next;
        let excess = pages.calls.len().saturating_sub(DONE);
        let over = pages.calls.values().filter(|c| c.is_over()).map(|c| c.n);
        let leaving: Vec<u32> = over.take(excess).collect();
        leaving.iter().for_each(|n| _ = pages.calls.remove(n));
        pages.calls.insert(n, Call { n, order, ..Call::default() });
        n
    }

    /// Notes something of a call.
    pub fn note(&self, n: u32, note: impl FnOnce(&mut Call)) {
        if let Some(call) = self.pages().calls.get_mut(&n) {
            note(call);
        }
    }

    /// The last call of a customer that has not come to the platform yet, or else a new one that
    /// nobody ordered.
    pub fn offered(&self, customer: &str) -> Call {
        let mut pages = self.pages();
        let mut waiting = pages.calls.values().rev().filter(|c| c.platform.invite.is_empty());
        if let Some(call) = waiting.find(|c| c.order.customer == customer) {
            return call.clone();
        }
        pages.strays += 1;
        drop(pages);
        let order = Order { customer: customer.to_owned(), ..Order::default() };
        let n = self.open(order.clone());
        Call { n, order, ..Call::default() }
    }

    /// Calls that came to the platform and that nobody had placed.
    pub fn strays(&self) -> u32 {
        self.pages().strays
    }

    /// An event of a call was posted.
    pub fn posted(&self, n: u32, post: Post) {
        self.note(n, |call| {
            if call.posts.len() < POSTS {
                call.posts.push(post);
            }
        });
    }

    /// All calls, in the order in which they were entered.
    pub fn calls(&self) -> Vec<Call> {
        self.pages().calls.values().cloned().collect()
    }

    /// Whether both simulators are through with every call, and the portal has told its end.
    pub fn all_over(&self) -> bool {
        let told = |call: &Call| {
            call.platform.invite.is_empty() || call.posts.iter().any(|p| p.event.ends_with("END"))
        };
        self.pages().calls.values().all(|call| call.is_over() && told(call))
    }

    /// Reads the calls where they lie, without copying their audio.
    pub fn each(&self, mut read: impl FnMut(&Call)) {
        self.pages().calls.values().for_each(&mut read);
    }

    /// Forgets the packets of calls that are over, once they have been looked at.
    pub fn forget_audio(&self, n: u32) {
        self.note(n, |call| {
            call.dialer.media = Stream::default();
            call.platform.media = Stream::default();
        });
    }
}
