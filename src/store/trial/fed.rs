//! What is fed is there once, whatever is fed twice and wherever the feed stops.

use cooee_journal::shared::Position;
use cooee_model::fact::{Fact, What};
use cooee_model::ids::FactId;
use cooee_model::moment::Moment;
use cooee_records::cdr::Cdr;
use cooee_records::webhook::Telling;
use proptest::prelude::*;
use rusqlite::TransactionBehavior;

use super::{Ground, SOON, account, dump, ended, measured, new_store, put, sampled, until};
use crate::error::StoreError;
use crate::feed::Feed;
use crate::store::{Sticky, Store, write_group};

/// 40 calls; the figures of every fourth come before its end.
fn facts() -> Vec<Fact> {
    (0..40)
        .flat_map(|n| {
            let both = [ended(n), measured(n)];
            if n % 4 == 0 { both.into_iter().rev().collect() } else { both.to_vec() }
        })
        .collect()
}

#[test]
fn fed_twice_and_in_any_order_gives_one_row() {
    let dir = tempfile::tempdir().unwrap();
    let (mut once, mut twice) = (new_store(dir.path(), "1"), new_store(dir.path(), "2"));
    let facts = facts();
    once.apply(&facts, FactId(80), 30).unwrap();
    twice.apply(facts.iter().rev(), FactId(80), 30).unwrap();
    twice.apply(&facts, FactId(3), 30).unwrap();
    assert_eq!(dump(&once), dump(&twice));
    assert_eq!(twice.position().unwrap(), FactId(80), "a position never goes back");
    let count = |table| {
        let sql = format!("SELECT count(*) FROM {table}");
        once.db.query_row(&sql, [], |row| row.get::<_, u32>(0)).unwrap()
    };
    assert_eq!((count("session"), count("leg"), count("media")), (40, 80, 80));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A feed that stops before its commit, anywhere, and starts again where the database says.
    #[test]
    fn stopped_anywhere_and_begun_again_gives_the_same_database(
        steps in prop::collection::vec((1..30_usize, any::<bool>()), 1..20)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut whole = new_store(dir.path(), "whole");
        let facts = facts();
        whole.apply(&facts, FactId(facts.len() as u64), 30).unwrap();
        let path = dir.path().join("cut");
        for (size, commits) in steps.into_iter().chain([(facts.len(), true)]) {
            let mut store = Store::open(&path).unwrap();
            let from = store.position().unwrap().0 as usize;
            let upto = (from + size).min(facts.len());
            let tx = store.db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
            let (some, upto) = (&facts[from..upto], FactId(upto as u64));
            write_group(&tx, &Telling::default(), some, upto, 30).unwrap();
            if commits {
                tx.commit().unwrap();
            }
        }
        prop_assert_eq!(dump(&whole), dump(&Store::open(&path).unwrap()));
    }
}

#[test]
fn the_feed_brings_the_journal_in_and_goes_on_after_each_stop() {
    let ground = Ground::new();
    let mut journal = ground.journal();
    let facts: Vec<_> = facts().into_iter().chain((0..40).map(sampled)).collect();
    let mut last = FactId(0);
    for (n, some) in facts.chunks(7).enumerate() {
        let feed: Feed = ground.feed();
        last = put(&mut journal, some);
        if n % 3 == 0 {
            assert!(feed.flush_to(last, SOON));
            assert_eq!(feed.counters().position, last);
            assert_eq!(ground.position.get(), last);
        }
    }
    let feed = ground.feed();
    assert!(feed.flush_to(last, SOON));
    assert_eq!((feed.counters().refused, feed.counters().unreadable), (0, 0));
    drop(feed);
    let mut whole = new_store(ground.dir.path(), "whole");
    whole.apply(&facts, last, 30).unwrap();
    assert_eq!(dump(&ground.store()), dump(&whole));
}

#[test]
fn a_record_without_rows_moves_the_position_when_it_is_awaited() {
    let ground = Ground::new();
    let mut journal = ground.journal();
    let feed = ground.feed();
    let call = account(1).id;
    let gone = journal.gone(call);
    let _ = journal.commit();
    assert!(feed.flush_to(gone, SOON));
    assert_eq!(ground.store().position().unwrap(), gone);
    assert_eq!(feed.counters().facts, 0);
}

#[test]
fn a_locked_database_is_tried_again() {
    let ground = Ground::new();
    let mut journal = ground.journal();
    let feed = ground.feed();
    let blocker = ground.store();
    blocker.db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let last = put(&mut journal, &facts());
    until("the database refuses", || feed.counters().errors > 0);
    assert!(ground.position.get() < last);
    blocker.db.execute_batch("ROLLBACK").unwrap();
    assert!(feed.flush_to(last, SOON));
    assert_eq!(feed.counters().facts, 80);
}

#[test]
fn a_full_database_is_tried_again() {
    let ground = Ground::new();
    let mut journal = ground.journal();
    let store = ground.store();
    let pages: u32 = store.db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.db.pragma_update(None, "max_page_count", pages).unwrap();
    let (journal_dir, position) = (ground.journal_dir(), ground.position.clone());
    let settings = crate::feed::Settings { journal_dir, position, sticky_days: 30 };
    let feed = Feed::start(store, settings).unwrap();
    let last = put(&mut journal, &facts());
    until("the database refuses", || feed.counters().errors >= 2);
    drop(feed);
    assert_eq!(ground.store().position().unwrap(), FactId(0));
    assert!(ground.feed().flush_to(last, SOON), "there is room again");
}

#[test]
fn a_fact_that_can_never_be_stored_does_not_hold_up_the_others() {
    let ground = Ground::new();
    let mut journal = ground.journal();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON session WHEN NEW.outcome = 'abandoned'
                  BEGIN SELECT RAISE(ABORT, 'never'); END";
    ground.store().db.execute_batch(refuse).unwrap();
    let feed = ground.feed();
    let all: Vec<Fact> = (0..9).map(ended).collect();
    let last = put(&mut journal, &all);
    assert!(feed.flush_to(last, SOON));
    assert_eq!((feed.counters().refused, feed.counters().facts), (3, 6));
}

#[test]
fn segments_go_once_the_database_has_them() {
    let ground = Ground::new();
    let mut journal = ground.journal();
    let feed = ground.feed();
    for _ in 0..20 {
        let last = put(&mut journal, &facts());
        assert!(feed.flush_to(last, SOON));
    }
    let before = journal.counters();
    assert!(before.segments > 3 && before.segments_deleted == 0, "{before:?}");
    journal.checkpoint(std::iter::empty::<(_, fn(&mut Vec<u8>))>());
    let last = put(&mut journal, &[ended(1)]);
    assert!(feed.flush_to(last, SOON));
    until("segments are deleted", || journal.counters().segments <= 2);
    assert_eq!(feed.counters().errors, 0);
}

#[test]
fn seed_004_is_the_golden_row() {
    let ground = Ground::new();
    let mut store = ground.store();
    store.apply(&[ended(1)], FactId(1), 30).unwrap();
    let metrics = |sql: &str| -> Vec<Option<f64>> {
        let row = store.db.query_row(sql, [], |row| (0..6).map(|n| row.get(n)).collect());
        row.unwrap()
    };
    let seen = metrics(
        "SELECT setup_ms, trunk_queue_ms, connect_ms, talk_ms, bridge_ms, abandoned_ms FROM metric",
    );
    let (s2, s18, s10) = (Some(2_000.0), Some(18_000.0), Some(10_000.0));
    assert_eq!(seen, [s2, s18, s18, s10, None, None]);
    let call = store.show(account(1).id).unwrap().unwrap();
    assert_eq!(call.cdr, Cdr::from_account(&account(1)), "a row reads back as it was made");
    assert_eq!((call.cdr.hold_ms, call.cdr.hold_count), (Some(8000), Some(1)));
    assert_eq!(call.cdr.status_code.as_deref(), Some("200"));
    assert_eq!(call.cdr.sip_final, Some(603));
}

#[test]
fn the_view_and_the_rows_tell_the_same_metrics() {
    let ground = Ground::new();
    let mut store = ground.store();
    let all: Vec<Fact> = (0..9).map(ended).collect();
    store.apply(&all, FactId(1), 0).unwrap();
    for n in 0..9 {
        let cdr = store.show(account(n).id).unwrap().unwrap().cdr;
        let sql = "SELECT setup_ms, trunk_queue_ms, abandoned_ms, bridge_ms, connect_ms, talk_ms
                   FROM metric WHERE id = ?";
        let seen: Vec<Option<f64>> =
            store.db.query_row(sql, [&cdr.id], |row| (0..6).map(|n| row.get(n)).collect()).unwrap();
        let told = [
            cdr.setup_ms,
            cdr.trunk_queue_ms,
            cdr.abandoned_ms,
            cdr.bridge_ms,
            cdr.connect_ms,
            cdr.talk_ms,
        ];
        assert_eq!(seen, told, "call {n}");
    }
}

#[test]
fn a_customer_keeps_the_number_last_seen_until_it_runs_out() {
    let ground = Ground::new();
    let mut store = ground.store();
    let with = |n: u32, did: &str, days_later: i64| {
        let Fact { call, seq, at, what } = ended(n);
        let What::Ended { mut account } = what else { unreachable!() };
        (account.customer, account.did) = ("+61491570156".into(), did.into());
        account.times = cooee_model::account::Times {
            invite: Moment::new(0, at.wall + days_later * 86_400_000_000_000),
            ..Default::default()
        };
        Fact { call, seq, at, what: What::Ended { account } }
    };
    let [first, second] = [with(1, "+61255501234", 0), with(2, "+61370101234", 2)];
    store.apply([&second, &first], FactId(1), 30).unwrap();
    let now_us = 1_767_225_600_000_000;
    let kept = store.sticky(now_us).unwrap();
    let until_us = now_us + 2_000_000 + 32 * 86_400_000_000;
    let (customer, did) = ("+61491570156".to_owned(), "+61370101234".to_owned());
    assert_eq!(kept, [Sticky { customer, did, until_us }]);
    assert_eq!(store.sticky(until_us).unwrap(), []);
    let mut much_later = with(3, "", 90);
    if let What::Ended { account } = &mut much_later.what {
        (account.customer, account.did) = ("+61491570157".into(), "+61255501234".into());
    }
    store.apply([&much_later], FactId(2), 30).unwrap();
    assert_eq!(store.sticky(0).unwrap().len(), 1, "what ran out is deleted");
    store.apply([&first], FactId(3), 0).unwrap();
    assert_eq!(store.sticky(0).unwrap().len(), 1, "0 days: not kept");
}

#[test]
fn a_later_schema_is_refused_and_not_touched() {
    let ground = Ground::new();
    ground.store().db.pragma_update(None, "user_version", 5).unwrap();
    for refused in [Store::open(&ground.db()), Store::open_read_only(&ground.db())] {
        let error = refused.unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 5, known: 4, .. }), "{error}");
    }
}

#[test]
fn what_a_lost_database_had_is_told_to_the_journal_from_the_start() {
    let ground = Ground::new();
    let mut store = ground.store();
    store.apply([], FactId(77), 0).unwrap();
    let position = Position::default();
    let settings = crate::feed::Settings {
        journal_dir: ground.journal_dir(),
        position: position.clone(),
        sticky_days: 0,
    };
    let feed = Feed::start(store, settings).unwrap();
    assert_eq!((position.get(), feed.counters().position), (FactId(77), FactId(77)));
}
