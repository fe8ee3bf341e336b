//! Letters: made once, numbered without gaps, found quickly, changed beside the one who delivers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cooee_journal::shared::Position;
use cooee_model::account::{AnswerSource, Role};
use cooee_model::fact::{Fact, What};
use cooee_model::ids::FactId;
use cooee_records::webhook::{Subscription, Telling};
use rusqlite::TransactionBehavior;

use super::{DAY, Ground, SOON, account, dump, ended, measured, new_store, put};
use crate::feed::{Feed, Settings};
use crate::lane::{Fate, Tried};
use crate::outbox::{OutboxFilter, State, Summary, Which};
use crate::store::{Store, write_group};

const DAY_US: i64 = DAY.wall / 1000;

/// "ops" hears everything, "crm" of the end alone.
fn telling() -> Telling {
    let webhooks = vec![
        Subscription::new::<&str>("ops", &[]),
        Subscription::new("crm", &["ended", "amended"]),
    ];
    Telling { node: "syd-1".into(), webhooks }
}

/// All facts of the call `n`: six events for one who hears everything.
fn call(n: u32) -> Vec<Fact> {
    let id = account(n).id;
    let invited = What::Invited {
        trunk: "unitalk".into(),
        source: String::new(),
        sip_call_id: String::new(),
        customer: format!("+6149157{n:04}"),
        called: "sales".into(),
        external_id: None,
        autodialer: None,
    };
    let forwarded = What::Forwarded {
        trunk: "vox".into(),
        route: "agents".into(),
        role: Role::AgentLeg,
        did: "+61255501234".into(),
        did_rule: String::new(),
        attempt: 1,
        sip_call_id: String::new(),
    };
    let answered = What::AgentAnswered { source: AnswerSource::Sip200, err_ms: 0, agent: None };
    let What::Ended { account } = ended(n).what else { unreachable!() };
    let whats = [
        invited,
        forwarded,
        What::Ringing { code: 180, early_media: false },
        What::PlatformAnswered {},
        answered,
        What::Bridged {},
        What::Ended { account: account.clone() },
        measured(n).what,
        What::Amended { account },
    ];
    let fact = |(seq, what)| Fact { call: id, seq, at: DAY + Duration::from_secs(n.into()), what };
    (0..).zip(whats).map(fact).collect()
}

/// Facts of `calls` calls, in between each other.
fn facts(calls: u32) -> Vec<Fact> {
    let all: Vec<Vec<Fact>> = (0..calls).map(call).collect();
    (0..9).flat_map(|place| all.iter().map(move |call| call[place].clone())).collect()
}

fn store(ground: &Ground) -> Store {
    ground.store().telling(telling())
}

/// Webhook, call, sequence, kind and body of every letter, in order.
fn letters(store: &Store) -> Vec<(String, String, u32, String, String)> {
    let sql = "SELECT webhook, call, sequence, kind, payload FROM letter ORDER BY call, id";
    let mut statement = store.db.prepare(sql).unwrap();
    let rows =
        statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

fn tried(webhook: &str, call: &str, letter: i64, at_us: i64, fate: Fate) -> Tried {
    let (webhook, call) = (webhook.into(), call.into());
    Tried { webhook, call, letter, at_us, status: Some(200), error: None, fate }
}

fn whole_dump(store: &Store) -> Vec<Vec<rusqlite::types::Value>> {
    let mut rows = dump(store);
    for table in ["letter", "lane", "tally", "call_context"] {
        let mut statement =
            store.db.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let width = statement.column_count();
        let found = statement.query_map([], |row| (0..width).map(|n| row.get(n)).collect());
        rows.extend(found.unwrap().map(Result::unwrap));
    }
    rows
}

#[test]
fn each_event_makes_one_letter_for_each_who_wants_it() {
    let ground = Ground::new();
    let mut store = store(&ground);
    assert_eq!(store.apply(&call(1), FactId(9), 0).unwrap(), 8);
    let id = account(1).id.to_string();
    let seen: Vec<_> =
        letters(&store).into_iter().map(|(to, _, n, kind, _)| (to, n, kind)).collect();
    let ops = ["ringing", "platform_answered", "agent_answered", "bridged", "ended", "amended"];
    for (n, kind) in (1..).zip(ops) {
        assert!(seen.contains(&("ops".into(), n, kind.into())), "{seen:?}");
    }
    for (n, kind) in [(1, "ended"), (2, "amended")] {
        assert!(seen.contains(&("crm".into(), n, kind.into())), "{seen:?}");
    }
    assert_eq!(store.apply(&call(1), FactId(9), 0).unwrap(), 0, "what comes again is no news");
    assert_eq!(letters(&store).len(), 8);
    let page = store.outbox(&OutboxFilter::default()).unwrap();
    let first = store.letter(page.rows.last().unwrap().id).unwrap().unwrap();
    assert_eq!((first.event, first.kind.as_str()), (format!("{id}-2"), "ringing"));
    let body = first.payload.unwrap();
    assert!(body.contains("\"trunk_in\":\"unitalk\"") && body.contains("\"sequence\":1"), "{body}");
    assert_eq!(store.letter(99).unwrap(), None);
}

/// A crash can take the count of a call back by a fact that had no snapshot: two facts have one
/// place then, and neither may be lost.
#[test]
fn two_events_with_one_place_are_two_letters() {
    let ground = Ground::new();
    let mut store = store(&ground);
    let mut facts = vec![call(1)[2].clone(), call(1)[6].clone()];
    facts[1].seq = facts[0].seq;
    for letters in [3, 0] {
        assert_eq!(store.apply(&facts, FactId(1), 0).unwrap(), letters);
    }
    let id = account(1).id;
    let events: Vec<(String, u32)> = store
        .outbox(&OutboxFilter { webhook: Some("ops".into()), ..OutboxFilter::default() })
        .unwrap()
        .rows
        .into_iter()
        .map(|letter| (letter.event, letter.sequence))
        .collect();
    assert_eq!(events, [(format!("{id}-2-ended"), 2), (format!("{id}-2"), 1)]);
    let due = store.due("ops", i64::MAX, 1, &BTreeSet::new()).unwrap();
    assert_eq!(due[0].letters.len(), 2);
    assert!(due[0].letters[1].payload.contains(&format!("\"id\":\"{id}-2-ended\"")));
}

#[test]
fn nobody_told_costs_nothing() {
    let ground = Ground::new();
    let mut store = ground.store();
    assert_eq!(store.apply(&facts(3), FactId(9), 0).unwrap(), 0);
    assert_eq!(letters(&store), []);
    let contexts: u32 =
        store.db.query_row("SELECT count(*) FROM call_context", [], |r| r.get(0)).unwrap();
    assert_eq!((contexts, store.outbox_summary().unwrap()), (0, vec![]));
}

#[test]
fn a_feed_cut_anywhere_makes_the_same_letters() {
    let dir = tempfile::tempdir().unwrap();
    let facts = facts(5);
    let mut whole = new_store(dir.path(), "whole").telling(telling());
    whole.apply(&facts, FactId(facts.len() as u64), 30).unwrap();
    let (mut at, mut step) = (0, 1);
    while at < facts.len() {
        // A connection of its own for each group, as after a restart; every third is lost.
        let mut store = new_store(dir.path(), "cut");
        let upto = (at + step % 7 + 1).min(facts.len());
        let tx = store.db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        write_group(&tx, &telling(), &facts[at..upto], FactId(upto as u64), 30).unwrap();
        if step % 3 != 0 {
            tx.commit().unwrap();
            at = upto;
        }
        step += 1;
    }
    assert_eq!(whole_dump(&new_store(dir.path(), "cut")), whole_dump(&whole));
}

#[test]
fn a_lost_context_does_not_begin_to_count_again() {
    let ground = Ground::new();
    let mut store = store(&ground);
    let (first, rest) = (call(1)[..6].to_vec(), call(1)[6..].to_vec());
    store.apply(&first, FactId(6), 0).unwrap();
    store.db.execute("DELETE FROM call_context", []).unwrap();
    store.apply(&rest, FactId(9), 0).unwrap();
    let ops: Vec<u32> =
        letters(&store).iter().filter(|l| l.0 == "ops").map(|(_, _, n, ..)| *n).collect();
    assert_eq!(ops, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn contexts_go_when_nothing_can_follow() {
    let ground = Ground::new();
    let mut store = store(&ground);
    store.apply(&facts(3), FactId(1), 0).unwrap();
    store.apply(&call(4)[..3], FactId(2), 0).unwrap();
    let mut much_later = call(5);
    for fact in &mut much_later {
        fact.at = fact.at + Duration::from_secs(2 * 3600);
    }
    store.apply(&much_later[..3], FactId(3), 0).unwrap();
    let sql = "SELECT count(*) FROM call_context";
    let left: u32 = store.db.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 2, "the one that is still up, and the new one");
}

#[test]
fn the_feed_wakes_the_one_who_delivers() {
    let ground = Ground::new();
    let mut journal = ground.journal();
    let woken = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&woken);
    let (journal_dir, position) = (ground.journal_dir(), Position::default());
    let settings = Settings { journal_dir, position, sticky_days: 0 };
    let wake = Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let feed = Feed::start_waking(store(&ground), settings, wake).unwrap();
    assert!(feed.flush_to(put(&mut journal, &call(1)[..2]), SOON));
    assert_eq!(woken.load(Ordering::Relaxed), 0, "no event yet");
    assert!(feed.flush_to(put(&mut journal, &call(1)[2..]), SOON));
    assert!(woken.load(Ordering::Relaxed) > 0);
    assert_eq!(letters(&ground.store()).len(), 8);
}

#[test]
fn a_lane_gives_its_letters_in_order_and_waits_after_a_failure() {
    let ground = Ground::new();
    store(&ground).apply(&facts(3), FactId(1), 0).unwrap();
    let mut store = Store::open_beside(&ground.db()).unwrap();
    let none = BTreeSet::new();
    let now = DAY_US + 10_000_000;
    let due = store.due("ops", now, 10, &none).unwrap();
    assert_eq!(due.iter().map(|d| d.letters.len()).collect::<Vec<_>>(), [6, 6, 6]);
    assert!(due[0].letters.windows(2).all(|two| two[0].id < two[1].id));
    let held = BTreeSet::from([due[0].call.clone()]);
    assert_eq!(store.due("ops", now, 1, &held).unwrap(), due[1..2], "not what is under way");
    assert_eq!(store.due("ops", DAY_US - 1, 9, &none).unwrap(), [], "not before it came about");

    let (first, second) = (&due[0].letters[0], &due[0].letters[1]);
    let later = Fate::Retry { next_us: now + 4_000_000, away: true };
    let results = [
        tried("ops", &due[0].call, first.id, now, Fate::Delivered),
        tried("ops", &due[0].call, second.id, now, later),
    ];
    store.settle(&results).unwrap();
    let left = store.due("ops", now, 10, &none).unwrap();
    assert_eq!(left, due[1..], "the lane waits");
    assert_eq!(
        store.next_due("ops", &left.iter().map(|d| d.call.clone()).collect()).unwrap(),
        Some(now + 4_000_000)
    );
    let lane = store.due("ops", now + 4_000_000, 10, &none).unwrap().pop().unwrap();
    assert_eq!((lane.letters.len(), lane.failures, lane.failing_since_us), (5, 1, Some(now)));
    store.receiver_back("ops", now).unwrap();
    assert_eq!(store.due("ops", now, 10, &none).unwrap().len(), 3, "nobody is away any more");

    for due in store.due("ops", now, 10, &none).unwrap() {
        let all = due.letters.iter().map(|l| tried("ops", &due.call, l.id, now, Fate::Delivered));
        store.settle(&all.collect::<Vec<_>>()).unwrap();
    }
    assert_eq!(store.next_due("ops", &none).unwrap(), None, "no lane is left");
    let summary = Summary { webhook: "ops".into(), delivered: 18, ..Summary::default() };
    assert_eq!(store.outbox_summary().unwrap()[1], summary);
    assert_eq!(store.prune_letters(now).unwrap(), 0);
    assert_eq!(store.prune_letters(now + 86_400_000_000).unwrap(), 18);
}

#[test]
fn people_look_retry_and_drop_beside_the_node() {
    let ground = Ground::new();
    let mut node = store(&ground);
    node.apply(&facts(4), FactId(1), 0).unwrap();
    let mut store = Store::open_beside(&ground.db()).unwrap();
    let ids = |filter: &OutboxFilter| -> Vec<i64> {
        store.outbox(filter).unwrap().rows.iter().map(|letter| letter.id).collect()
    };
    let all = ids(&OutboxFilter::default());
    assert_eq!(all, (1..=32).rev().collect::<Vec<_>>());
    let page = store.outbox(&OutboxFilter { limit: 20, ..OutboxFilter::default() }).unwrap();
    assert_eq!((page.rows.len(), page.next), (20, Some(13)));
    assert_eq!(ids(&OutboxFilter { cursor: page.next, ..OutboxFilter::default() }), all[20..]);
    let of_call = OutboxFilter { call: Some(account(2).id), ..OutboxFilter::default() };
    assert_eq!(ids(&of_call).len(), 8);
    let crm = OutboxFilter { webhook: Some("crm".into()), ..of_call.clone() };
    assert_eq!(ids(&crm).len(), 2);

    let dead = OutboxFilter { state: Some(State::Dead), ..OutboxFilter::default() };
    let none = BTreeSet::new();
    let now = DAY_US + 10_000_000;
    let lane = store.due("crm", now, 1, &none).unwrap().remove(0);
    let fates = lane.letters.iter().map(|l| tried("crm", &lane.call, l.id, now, Fate::Dead));
    store.settle(&fates.collect::<Vec<_>>()).unwrap();
    assert_eq!(store.outbox_summary().unwrap()[0].dead, 2);
    assert_eq!(store.outbox_retry(&Which::All(dead.clone())).unwrap(), 2);
    assert_eq!(store.outbox_retry(&Which::All(dead)).unwrap(), 0);
    let again = store.due("crm", now, 1, &none).unwrap().remove(0);
    assert_eq!((again.letters, again.failures), (lane.letters, 0));

    assert_eq!(store.outbox_drop(&Which::All(of_call)).unwrap(), 8);
    assert_eq!(store.outbox_drop(&Which::One(1)).unwrap(), 1);
    assert_eq!(store.outbox_drop(&Which::One(1)).unwrap(), 0);
    let left = store.outbox_summary().unwrap();
    assert_eq!((left[0].waiting, left[1].waiting), (6, 17));
    let calls = store.due("ops", now, 10, &none).unwrap();
    assert!(!calls.iter().any(|due| due.call == account(2).id.to_string()), "its lane is gone");
    let delivered = tried("ops", &calls[0].call, calls[0].letters[0].id, now, Fate::Delivered);
    store.settle(std::slice::from_ref(&delivered)).unwrap();
    assert_eq!(store.outbox_drop(&Which::One(delivered.letter)).unwrap(), 0, "it is delivered");
    assert_eq!(store.outbox_retry(&Which::One(delivered.letter)).unwrap(), 0);
}

#[test]
fn a_receiver_that_stays_away_lets_letters_lapse() {
    let ground = Ground::new();
    let mut store = store(&ground);
    store.apply(&facts(4), FactId(1), 0).unwrap();
    store.receiver_away("ops", DAY_US).unwrap();
    store.receiver_away("ops", DAY_US + 9).unwrap();
    assert_eq!(store.failing_since("ops").unwrap(), Some(DAY_US), "since the first time");
    assert_eq!(store.lapse("ops", DAY_US - 1).unwrap(), 0);
    // Letters come about in the order of their ids but for the jumble of these facts.
    assert_eq!(store.lapse("ops", DAY_US + 3_000_000).unwrap(), 24);
    assert_eq!(store.next_due("ops", &BTreeSet::new()).unwrap(), None);
    assert_eq!(store.outbox_summary().unwrap()[1].dead, 24);
    store.outbox_retry(&Which::All(OutboxFilter::default())).unwrap();
    assert_eq!(
        store.failing_since("ops").unwrap(),
        None,
        "who retries gives it all its time again"
    );
}

/// A hundred thousand calls wait for a receiver that is away: a look must not take longer for it.
#[test]
fn a_look_costs_the_same_however_much_waits() {
    let ground = Ground::new();
    let mut node = store(&ground);
    let fill = |from: u32, calls: u32| {
        let sql = "WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
                   INSERT INTO letter (webhook, call, event, kind, sequence, payload, created_us,
                     state, attempts)
                   SELECT 'ops', printf('%026d', i), printf('%026d-5', i), 'ended', 1, '{}', i,
                     'waiting', 0 FROM n";
        let store = Store::open_beside(&ground.db()).unwrap();
        store.db.execute(sql, [from, from + calls - 1]).unwrap();
        let sql = "INSERT INTO lane SELECT webhook, call, created_us, 0, NULL, 0 FROM letter
                   WHERE id >= ?";
        store.db.execute(sql, [from]).unwrap();
    };
    let (held, mut looks) = (BTreeSet::new(), Vec::new());
    let mut look = |store: &mut Store| {
        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(store.due("ops", i64::MAX, 32, &held).unwrap().len(), 32);
            store.next_due("ops", &held).unwrap();
            store.outbox_summary().unwrap();
            assert_eq!(store.prune_letters(DAY_US).unwrap(), 0);
        }
        looks.push(begun.elapsed() / 20);
    };
    fill(1, 1000);
    look(&mut node);
    fill(1001, 99_000);
    look(&mut node);
    let steps = |sql: &str| -> Vec<String> {
        let mut statement = node.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let rows = statement.query_map([], |row| row.get(3)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    println!("a look: {:?} with 1,000 waiting calls, {:?} with 100,000", looks[0], looks[1]);
    let picked =
        steps("SELECT call FROM lane WHERE webhook = 'a' AND next_us <= 1 ORDER BY next_us, call");
    assert!(
        picked.iter().all(|step| step.contains("lane_due") && !step.contains("TEMP")),
        "{picked:?}"
    );
    let lane =
        steps("SELECT id FROM letter WHERE event > 'a-' AND event < 'a.' AND +webhook = 'a'");
    assert!(lane[0].starts_with("SEARCH letter USING"), "{lane:?}");
    assert!(looks[1] < looks[0] * 20, "{looks:?}: a walk of the table would be 100 times as long");
}

#[test]
fn a_database_of_version_1_is_brought_up_to_date() {
    let ground = Ground::new();
    let old = rusqlite::Connection::open(ground.db()).unwrap();
    old.execute_batch(include_str!("../schema.sql")).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    let id = account(1).id.to_string();
    old.execute(
        "INSERT INTO session VALUES (?, 'syd-1', 'agent-leg', 'r', 3, NULL, 'u', '+61', 'sales',
           '+612', 'sticky', 1000000, 1, 2, 3, 4000000, 5, 6000000, 7, 26000000, 'sip200', 0, 8000,
           1, 200, NULL, NULL, 'agent', 'connected', '200', 0, 0)",
        [&id],
    )
    .unwrap();
    old.execute("UPDATE feed SET position = 42", []).unwrap();
    for refused in [Store::open_read_only(&ground.db()), Store::open_beside(&ground.db())] {
        assert!(refused.unwrap_err().to_string().contains("schema version 1"));
    }
    let store = ground.store();
    assert_eq!(store.position().unwrap(), FactId(42));
    let cdr = store.show(account(1).id).unwrap().unwrap().cdr;
    assert_eq!((cdr.hold_ms, cdr.hold_count, cdr.talk_ms), (Some(8000), Some(1), Some(12_000.0)));
    assert_eq!((cdr.agent, cdr.portal_call_id, cdr.wall_spans), (None, None, false));
    assert_eq!(cdr.did_rule.as_deref(), Some("sticky"));
    let fresh = Ground::new();
    let schema = |store: &Store| -> Vec<String> {
        let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
        let mut statement = store.db.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(schema(&store), schema(&fresh.store()));
    drop(store);
    assert!(Store::open_beside(&ground.db()).is_ok());
}

#[test]
fn holds_that_nobody_signals_are_null_and_an_amendment_replaces() {
    let ground = Ground::new();
    let mut store = ground.store();
    let Fact { call, seq, at, what: What::Ended { mut account } } = ended(1) else {
        unreachable!()
    };
    (account.hold_ms, account.hold_count, account.hold_unknown) = (0, 0, true);
    let ended = Fact { call, seq, at, what: What::Ended { account: account.clone() } };
    store.apply([&ended], FactId(1), 0).unwrap();
    let talk = |store: &Store| -> (Option<f64>, Option<f64>) {
        let sql = "SELECT connect_ms, talk_ms FROM metric";
        store.db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    assert_eq!(talk(&store), (Some(18_000.0), None));
    (account.agent, account.portal_call_id) = (Some("7".into()), Some("p".into()));
    account.times.agent = account.times.agent.map(|at| at + Duration::from_secs(8));
    let amended = Fact { call, seq: seq + 1, at, what: What::Amended { account } };
    store.apply([&amended], FactId(2), 0).unwrap();
    let cdr = store.show(call).unwrap().unwrap().cdr;
    assert_eq!((cdr.agent.as_deref(), cdr.portal_call_id.as_deref()), (Some("7"), Some("p")));
    assert_eq!((cdr.hold_ms, talk(&store)), (None, (Some(10_000.0), None)));
}
