//! Delivery over real sockets, to receivers that are good, dead, slow, lying or huge.

mod mischief;
mod receiver;
mod tls;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooee_config::Webhook;
use cooee_model::account::{Account, AnswerSource};
use cooee_model::fact::{Fact, What};
use cooee_model::ids::{CallId, FactId};
use cooee_model::sample::{Sample, Unmeasured};
use cooee_store::outbox::{Letter, OutboxFilter};
use cooee_store::store::Store;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::post::{Post, Target, ring};
use super::{Figures, Outbox, telling};
use crate::clock;
use crate::error::Error;
use receiver::{Got, Receiver, Reply, say};

/// `whsec_` and the base64 of this.
const KEY: &[u8] = b"a key that nobody else knows";

fn webhook(name: &str, url: &str) -> Webhook {
    Webhook {
        name: name.to_owned(),
        url: url.to_owned(),
        secret: format!("whsec_{}", STANDARD.encode(KEY)).into(),
        events: vec![],
        timeout_ms: 5000,
        max_in_flight: 32,
        give_up_after_s: 3600,
    }
}

fn id(n: u32) -> CallId {
    CallId::new(1_795_269_600_000 + u64::from(n), u128::from(n))
}

/// Five events of a call that comes about now.
fn call(n: u32) -> Vec<Fact> {
    let (call, at) = (id(n), clock::now());
    let account = Account::new(call, "syd-1", at);
    let whats = [
        What::Ringing { code: 180, early_media: false },
        What::PlatformAnswered {},
        What::AgentAnswered { source: AnswerSource::Sip200, err_ms: 0, agent: None },
        What::Bridged {},
        What::Ended { account: Box::new(account) },
    ];
    (0..).zip(whats).map(|(seq, what)| Fact { call, seq, at, what }).collect()
}

/// A database whose letters are for these webhooks.
struct Ground {
    _dir: TempDir,
    db: PathBuf,
    webhooks: Vec<Webhook>,
    bell: Arc<Notify>,
}

impl Ground {
    fn new(webhooks: Vec<Webhook>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("cooee.db");
        drop(Store::open(&db).unwrap());
        Self { _dir: dir, db, webhooks, bell: Arc::default() }
    }

    fn one(receiver: &Receiver) -> Self {
        Self::new(vec![webhook("ops", &receiver.url())])
    }

    /// Calls come about.
    fn calls(&self, calls: std::ops::Range<u32>) {
        let mut store = Store::open(&self.db).unwrap().telling(telling("syd-1", &self.webhooks));
        for some in calls.collect::<Vec<_>>().chunks(100) {
            let facts: Vec<Fact> = some.iter().flat_map(|n| call(*n)).collect();
            store.apply(&facts, FactId(1), 0).unwrap();
        }
    }

    fn outbox(&self) -> Outbox {
        Outbox::start(&self.db, &self.webhooks, Box::new(Unmeasured), &self.bell).unwrap()
    }

    fn store(&self) -> Store {
        Store::open_beside(&self.db).unwrap()
    }

    fn letters(&self) -> Vec<Letter> {
        let mut rows = self.store().outbox(&OutboxFilter::default()).unwrap().rows;
        rows.reverse();
        rows
    }

    /// How many letters wait, are dead, are delivered.
    fn tally(&self) -> (u64, u64, u64) {
        let all = self.store().outbox_summary().unwrap();
        let sum = |of: fn(&cooee_store::outbox::Summary) -> u64| all.iter().map(of).sum();
        (sum(|s| s.waiting), sum(|s| s.dead), sum(|s| s.delivered))
    }
}

fn figures(outbox: &Outbox, webhook: &str) -> Figures {
    outbox.meter().read().into_iter().find(|figures| figures.webhook == webhook).unwrap()
}

/// Waits until something that others do has come about.
fn until(what: &str, came_about: impl Fn() -> bool) {
    let begun = Instant::now();
    while !came_about() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// HMAC-SHA256 by its definition (RFC 2104), with a key that is shorter than a block.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

/// First occurrences of the events of each call are in order without gaps, repeats are the same
/// bytes, and all is signed.
fn assert_faithful(got: &[Got], calls: u32, events: u64) {
    let mut bodies: BTreeMap<&str, &str> = BTreeMap::new();
    let mut sequences: BTreeMap<String, u64> = BTreeMap::new();
    for one in got {
        let first = *bodies.entry(&one.id).or_insert(&one.body);
        assert_eq!(first, one.body, "a repeat is the same bytes");
        if one.nth == 1 {
            let last = sequences.entry(one.call()).or_default();
            let json = one.json();
            assert_eq!(json["sequence"], *last + 1, "{}", one.body);
            assert_eq!(
                (json["id"].as_str(), json["call_id"].as_str()),
                (Some(&*one.id), Some(&*one.call()))
            );
            *last += 1;
        }
        let stamp = one.header("webhook-timestamp");
        let signed = format!("{}.{stamp}.{}", one.id, one.body);
        let expected = format!("v1,{}", STANDARD.encode(hmac(KEY, signed.as_bytes())));
        assert_eq!(one.header("webhook-signature"), expected);
        let now_s = clock::now().wall / 1_000_000_000;
        assert!((now_s - 120..=now_s).contains(&stamp.parse().unwrap()));
    }
    assert_eq!(sequences.len(), calls as usize);
    assert!(sequences.values().all(|last| *last == events), "{sequences:?}");
}

struct Count(Arc<AtomicU64>);

impl Sample for Count {
    fn record(&mut self, ns: u64) {
        assert!(ns < 60_000_000_000);
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn events_are_delivered_signed_and_in_order() {
    let receiver = Receiver::start(|_| say(204));
    let ground = Ground::one(&receiver);
    ground.calls(0..20);
    let delays = Arc::new(AtomicU64::new(0));
    let count = Box::new(Count(Arc::clone(&delays)));
    let outbox = Outbox::start(&ground.db, &ground.webhooks, count, &ground.bell).unwrap();
    until("a backlog is delivered", || ground.tally() == (0, 0, 100));
    ground.calls(20..40);
    ground.bell.notify_one();
    until("news are delivered", || ground.tally() == (0, 0, 200));
    until("figures are told", || figures(&outbox, "ops").delivered == 200);
    assert_faithful(&receiver.got(), 40, 5);
    assert_eq!(delays.load(Ordering::Relaxed), 200);
    let first = &receiver.got()[0];
    assert!(first.head.starts_with("POST /hook?x=1 HTTP/1.1\r\n"), "{}", first.head);
    assert_eq!(first.header("content-type"), "application/json");
    assert_eq!(first.header("host"), receiver.address.to_string());
    assert!(receiver.busiest.load(Ordering::Acquire) <= 32);
    for letter in ground.letters() {
        assert_eq!((letter.attempts, letter.last_status), (1, Some(204)));
        assert!(letter.delivered_us.unwrap() >= letter.created_us);
    }
}

#[test]
fn the_signature_is_that_of_standard_webhooks() {
    let mut webhook = webhook("ops", "http://127.0.0.1/");
    webhook.secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into();
    let target = Target::new(&webhook).unwrap();
    let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "{\"test\": 2432232314}");
    let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(target.signature(id, 1_614_265_330, body), expected);
    webhook.secret = "sixteen bytes or more".into();
    let signed = Target::new(&webhook).unwrap().signature("a", 1, "b");
    let by_hand = STANDARD.encode(hmac(b"sixteen bytes or more", b"a.1.b"));
    assert_eq!(signed, format!("v1,{by_hand}"));
    assert!(!format!("{target:?}").contains("MfKQ"), "a key is not shown");
}

#[test]
fn what_cannot_be_used_is_refused_at_the_start() {
    let mut bad = vec![webhook("a", "ftp://h/"), webhook("b", "no url"), webhook("c", "http://h")];
    bad[2].secret = "whsec_***".into();
    for webhook in bad {
        let Err(Error::Webhook { name, why }) = Target::new(&webhook) else {
            panic!("{webhook:?}")
        };
        assert_eq!(name, webhook.name);
        assert!(!why.contains("***"));
    }
}

/// Kills the delivery again and again, in the middle of things.
#[test]
fn a_restart_loses_nothing_and_keeps_the_order() {
    let receiver = Receiver::start(|_| {
        std::thread::sleep(Duration::from_millis(2));
        say(200)
    });
    let ground = Ground::one(&receiver);
    let mut starts = 0;
    for n in 0..8 {
        ground.calls(n * 25..(n + 1) * 25);
        let outbox = ground.outbox();
        let before = receiver.events();
        until("some arrive", || receiver.events() > before + 20);
        outbox.stop();
        starts += 1;
    }
    let _outbox = ground.outbox();
    until("the rest arrives", || ground.tally() == (0, 0, 1000));
    assert_faithful(&receiver.got(), 200, 5);
    println!("{starts} restarts: {} posts of 1000 letters", receiver.got().len());
}

/// A feed that comes back in mid-call goes on to count, and the delivery sees what it writes.
#[test]
fn a_restart_of_the_feed_in_mid_call_goes_on_counting() {
    let receiver = Receiver::start(|_| say(200));
    let ground = Ground::one(&receiver);
    let _outbox = ground.outbox();
    let facts = call(7);
    for fact in &facts {
        // A new connection for each, as after a restart; the fact before comes again.
        let mut store = Store::open(&ground.db).unwrap().telling(telling("n", &ground.webhooks));
        let seq = fact.seq as usize;
        store.apply(&facts[seq.saturating_sub(1)..=seq], FactId(1), 0).unwrap();
        ground.bell.notify_one();
    }
    until("all arrive", || ground.tally() == (0, 0, 5));
    assert_faithful(&receiver.got(), 1, 5);
}

#[test]
fn ten_thousand_waiting_letters_are_drained() {
    let receiver = Receiver::start(|_| say(200));
    let ground = Ground::one(&receiver);
    ground.calls(0..2000);
    let begun = Instant::now();
    let _outbox = ground.outbox();
    until("all arrive", || receiver.events() == 10_000);
    let rate = 10_000.0 / begun.elapsed().as_secs_f64();
    println!("{rate:.0} letters a second, 10,000 in {:?}", begun.elapsed());
    until("all is written down", || ground.tally() == (0, 0, 10_000));
    assert_faithful(&receiver.got(), 2000, 5);
}
