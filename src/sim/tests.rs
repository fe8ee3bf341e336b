//! The simulators against each other, with no bridge between them: if they misjudge a straight
//! wire, they cannot judge a node.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::post;

use crate::clock::Pace;
use crate::portal::{self, Portal};
use crate::truth::{Answer, Book, Call, End, Hold, Order, Patience, Word};
use crate::unitalk::{self, Unitalk};
use crate::voximplant::{self, Line, Voximplant};

/// Twenty times as fast: a call of 36 s takes 1.8 s.
const SPEED: f64 = 20.0;

struct World {
    unitalk: Unitalk,
    book: Book,
}

async fn world(block: u8) -> World {
    world_of(block, 0, 0).await
}

/// A world whose portal loses and doubles so many events in a hundred.
async fn world_of(block: u8, loss: u8, twice: u8) -> World {
    let at = |host: u8, port: u16| SocketAddr::from(([127, 61, block, host], port));
    let hook = tokio::net::TcpListener::bind(at(1, 8061)).await.unwrap();
    let router = Router::new().fallback(post(|| async { "ok" }));
    tokio::spawn(async move { _ = axum::serve(hook, router).await });
    let (book, pace) = (Book::default(), Pace::new(SPEED));
    let settings = portal::Settings {
        url: format!("http://{}/hooks/bitrix24", at(1, 8061)),
        token: "token".to_owned(),
        member_id: "member".to_owned(),
        delay_ms: (1, 9),
        loss,
        twice,
        seed: 7,
    };
    let portal = Portal::start(settings, book.clone());
    let settings = voximplant::Settings {
        sip: at(3, 5060),
        media: at(4, 0).ip(),
        realm: "ip.example".to_owned(),
        lines: vec![Line {
            login: "sip12".to_owned(),
            password: "pass".to_owned(),
            challenge: 407,
        }],
        white_list: vec![at(2, 0).ip()],
        users: vec!["67".to_owned()],
        pace,
    };
    Voximplant::start(settings, portal, book.clone()).await.unwrap();
    let (sip, bridge) = (at(2, 5060), at(3, 5060));
    let settings = unitalk::Settings { sip, media: at(5, 0).ip(), bridge, pace };
    let unitalk = Unitalk::bind(settings, book.clone()).await.unwrap();
    World { unitalk, book }
}

/// Places the calls at once and waits until both sides are through with them, and the portal too.
async fn placed(world: &World, orders: Vec<Order>, posts: usize) -> Vec<Call> {
    let numbers: Vec<u32> = orders.into_iter().map(|order| world.unitalk.place(order)).collect();
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let calls = world.book.calls();
        let told: usize = calls.iter().map(|call| call.posts.len()).sum();
        if calls.iter().all(Call::is_over) && told >= posts {
            assert_eq!(calls.iter().map(|call| call.n).collect::<Vec<_>>(), numbers);
            return calls;
        }
    }
    panic!("the calls do not end: {:#?}", world.book.calls());
}

fn order(customer: &str) -> Order {
    Order { customer: customer.to_owned(), dialled: "97".to_owned(), ..Order::default() }
}

fn events(call: &Call) -> Vec<&str> {
    call.posts.iter().map(|post| post.event.trim_start_matches("ONVOXIMPLANTCALL")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seed_004_is_played_second_by_second() {
    let world = world(11).await;
    let signalled = Order { hold: Hold::Signalled, ..order("61491570006") };
    let calls = placed(&world, vec![order("61491570156"), signalled], 6).await;
    for call in &calls {
        let (a, b) = (&call.dialer, &call.platform);
        assert_eq!(a.answer.map(|(_, code)| code), Some(200));
        assert!(matches!(call.end, Some(End::Platform(_))), "{:?}", call.end);
        // Order is asserted, spans are not: the machine may be busy.
        let times = [a.invite_us, b.ringing_us, b.answer_us, b.queue_us, b.agent_us, a.told_us];
        assert!(times.iter().all(Option::is_some), "{times:?}");
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(events(call), ["INIT", "START", "END"]);
        assert!(call.posts.iter().all(|post| post.status == Some(200)));
        let (up, down) = call.crossings();
        assert!(up.is_whole() && down.is_whole(), "{up:?} {down:?}");
    }
    assert!(calls[0].platform.holds.is_empty());
    assert_eq!((calls[1].platform.holds.len(), calls[1].dialer.reinvites), (1, 2));
    assert_eq!(world.book.strays(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_no_agent_takes() {
    let world = world(12).await;
    let leaves = Order { patience: Patience::Leaves(12.0), ..order("61491570156") };
    let busy = Order { answer: Answer::Busy, ..order("61491570006") };
    let patience = Patience::Cancelled(6.0);
    let cancelled = Order { answer: Answer::Rings, patience, ..order("61491570110") };
    let calls = placed(&world, vec![leaves, busy, cancelled], 6).await;
    let codes: Vec<_> = calls.iter().map(|call| call.dialer.answer.map(|(_, c)| c)).collect();
    assert_eq!(codes, [Some(200), Some(486), Some(487)]);
    assert!(matches!(calls[0].end, Some(End::Customer(_))));
    assert!(matches!(calls[1].end, Some(End::Refused(_, 486))));
    assert!(matches!(calls[2].end, Some(End::Cancel(_))));
    for call in &calls {
        assert_eq!(events(call), ["INIT", "END"]);
        assert_eq!(call.platform.agent_us, None);
    }
    assert_eq!(calls[0].platform.told_us.is_some(), calls[2].platform.told_us.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_portals_word_gets_lost_doubled_and_late() {
    let world = world(13).await;
    let fate = |customer: &str, start| Order { start, ..order(customer) };
    let mut forged = fate("61491570157", Word::Twice);
    (forged.forged, forged.stray_487) = (true, true);
    let orders = vec![fate("61491570156", Word::Lost), forged, fate("61491570158", Word::Late)];
    let calls = placed(&world, orders, 3 + 5 + 3).await;
    let lost: Vec<_> = calls[0].posts.iter().map(|post| post.status.is_some()).collect();
    assert_eq!((events(&calls[0]), lost), (vec!["INIT", "START", "END"], vec![true, false, true]));
    assert_eq!(events(&calls[1]), ["INIT", "START", "START", "START", "END"]);
    assert_eq!(calls[1].posts.iter().filter(|post| post.forged).count(), 1);
    assert_eq!(events(&calls[2]), ["INIT", "START", "END"]);
    let end_us = calls[2].end.map(End::at_us);
    assert!(calls[2].posts[1].sent_us > end_us.unwrap_or(i64::MAX));
    // The stray 487 changed nothing.
    assert!(matches!(calls[1].end, Some(End::Platform(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_queue_loses_or_doubles_everything() {
    let losing = world_of(14, 100, 0).await;
    let call = &placed(&losing, vec![order("61491570156")], 3).await[0];
    assert_eq!(events(call), ["INIT", "START", "END"]);
    assert!(call.posts.iter().all(|post| post.status.is_none()));

    let doubling = world_of(15, 0, 100).await;
    let call = &placed(&doubling, vec![order("61491570156")], 6).await[0];
    assert_eq!(events(call), ["INIT", "INIT", "START", "START", "END", "END"]);
}
