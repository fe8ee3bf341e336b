//! The calls of the demo: a fixed list that shows each case once at least, and an endless one.

use cooee_sim::clock::Dice;
use cooee_sim::truth::{Answer, Hold, Order, Patience, Word};

/// Numbers that are set aside for fiction: mobiles, and landlines of Sydney, Melbourne, Brisbane.
const CUSTOMERS: [&str; 24] = [
    "61491570156",
    "61255502001",
    "61355502002",
    "61491570006",
    "61755502003",
    "61491570157",
    "61491570158",
    "61355502004",
    "61491570159",
    "61491570110",
    "61255502005",
    "61491570313",
    "61755502006",
    "61491570737",
    "61491571266",
    "61491571491",
    "61355502007",
    "61491571804",
    "61491572549",
    "61255502008",
    "61491572665",
    "61491572983",
    "61755502009",
    "61491573770",
];

/// What the autodialers 7 and 8 dial: the lines sip12 and sip13.
const DIALLED: [&str; 2] = ["97", "98"];

/// The number of ours that a customer is to be shown: of their own state, else the default.
pub fn did_of(customer: &str) -> &'static str {
    match customer.get(..3) {
        Some("613") => "61355501234",
        Some("617") => "61755501234",
        _ => "61255501234",
    }
}

/// The line that is called by what was dialled.
pub fn line_of(dialled: &str) -> &'static str {
    if dialled == "98" { "sip13" } else { "sip12" }
}

/// The calls of `--script`, each of another customer.
pub fn script() -> Vec<Order> {
    let titled = |title| Order { title, ..Order::default() };
    let signalled = |title| Order { hold: Hold::Signalled, ..titled(title) };
    let mut orders = vec![
        titled("as in the log"),
        signalled("hold by re-INVITE"),
        titled("as in the log, landline VIC"),
        Order { patience: Patience::Leaves(14.0), ..titled("leaves in the queue") },
        signalled("hold by re-INVITE, QLD"),
        Order { answer: Answer::Busy, ..titled("busy") },
        Order {
            answer: Answer::Rings,
            patience: Patience::Cancelled(8.0),
            ..titled("no answer, cancelled")
        },
        Order { hold: Hold::Never, ..titled("no hold") },
        Order { start: Word::Lost, ..titled("START lost") },
        Order { start: Word::Twice, ..titled("START twice") },
        Order { forged: true, ..titled("START forged") },
        Order { stray_487: true, ..titled("late stray 487") },
        Order { start: Word::Late, ..titled("START after the hang-up") },
        signalled("hold by re-INVITE"),
        titled("as in the log"),
        Order { patience: Patience::Leaves(29.0), ..titled("customer hangs up, on hold") },
    ];
    for ((order, customer), turn) in orders.iter_mut().zip(CUSTOMERS).zip(0..) {
        address(order, customer, turn);
    }
    orders
}

/// The `turn`-th call of the endless list, from 0.
pub fn endless(turn: usize) -> Order {
    let mut dice = Dice::new(turn as u64);
    let mut order = Order::default();
    match dice.roll() % 20 {
        0 => (order.title, order.answer) = ("busy", Answer::Busy),
        1 => {
            (order.title, order.answer) = ("no answer, cancelled", Answer::Rings);
            order.patience = Patience::Cancelled(8.0);
        }
        2 | 3 => {
            (order.title, order.patience) = ("leaves in the queue", Patience::Leaves(14.0));
        }
        4 => (order.title, order.start) = ("START lost", Word::Lost),
        5 => (order.title, order.start) = ("START after the hang-up", Word::Late),
        6 => (order.title, order.start) = ("START twice", Word::Twice),
        7 => (order.title, order.forged) = ("START forged", true),
        8 => (order.title, order.stray_487) = ("late stray 487", true),
        9..=13 => (order.title, order.hold) = ("hold by re-INVITE", Hold::Signalled),
        14 => (order.title, order.hold) = ("no hold", Hold::Never),
        _ => order.title = "as in the log",
    }
    let customer = CUSTOMERS.get(turn % CUSTOMERS.len()).copied().unwrap_or_default();
    address(&mut order, customer, turn);
    order
}

fn address(order: &mut Order, customer: &str, turn: usize) {
    customer.clone_into(&mut order.customer);
    DIALLED.get(turn % DIALLED.len()).copied().unwrap_or_default().clone_into(&mut order.dialled);
}
