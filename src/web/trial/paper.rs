//! What the API says from the database: finished calls, and the outbox.

use std::collections::BTreeSet;
use std::time::Duration;

use cooee_model::account::{Account, Outcome};
use cooee_model::fact::{Fact, What};
use cooee_model::ids::{CallId, FactId};
use cooee_records::webhook::{Subscription, Telling};
use cooee_store::lane::{Fate, Tried};
use cooee_store::store::Store;
use reqwest::Method;
use serde_json::{Value, json};

use super::{ERROR, Node, START, admin, keys};
use crate::Auth;

/// A database with calls number 0 to 4, one a minute from [`START`] on.
fn database() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let facts: Vec<_> = (0..5_u64)
        .map(|number| {
            let at = START + Duration::from_secs(60 * number);
            let call = CallId::new(1_700_000_000_000 + number, 5);
            let mut account = Account::new(call, "syd-1", at);
            account.outcome = if number == 3 { Outcome::Busy } else { Outcome::Connected };
            account.customer = format!("+6149157015{number}");
            account.agent = (number == 1).then(|| "42".to_owned());
            account.hold_unknown = number == 1;
            account.reason = "said \"bye\", left".to_owned();
            account.times.end = Some(at + Duration::from_secs(30));
            Fact { call, seq: 1, at, what: What::Ended { account: Box::new(account) } }
        })
        .collect();
    let mut store = Store::open(&folder.path().join("cooee.db")).unwrap();
    store.apply(&facts, FactId(5), 0).unwrap();
    folder
}

#[tokio::test]
async fn finished_calls_come_from_the_database() {
    let folder = database();
    let mut with_store = admin(Auth::None);
    with_store.store = Some(folder.path().join("cooee.db"));
    with_store.telemetry.tick(START + Duration::from_secs(300));
    let node = Node::serving(with_store).await;
    let (status, page) = node.json(Method::GET, "/v1/cdr?limit=2").await;
    assert_eq!(status, 200);
    let ids = |page: &Value| -> Vec<u64> {
        let rows = page["rows"].as_array().unwrap();
        let id = |row: &Value| row["id"].as_str().unwrap().parse::<CallId>().unwrap();
        rows.iter().map(|row| id(row).unix_ms() - 1_700_000_000_000).collect()
    };
    assert_eq!(ids(&page), [4, 3]);
    let next = page["next"].as_str().unwrap();
    let (_, page) = node.json(Method::GET, &format!("/v1/cdr?limit=9&cursor={next}")).await;
    assert_eq!((ids(&page), &page["next"]), (vec![2, 1, 0], &Value::Null));
    for (query, want) in [
        ("outcome=busy", vec![3]),
        ("customer=%2B61491570152", vec![2]),
        ("customer=70151", vec![1]),
        ("from=2m", vec![4, 3]),
        ("from=2023-11-14T22:16:00Z&to=2023-11-14T22:17:00Z", vec![3]),
        ("trunk=nobody", vec![]),
    ] {
        let (_, page) = node.json(Method::GET, &format!("/v1/cdr?{query}")).await;
        assert_eq!(ids(&page), want, "{query}");
    }
    let id = CallId::new(1_700_000_000_003, 5);
    let (status, one) = node.json(Method::GET, &format!("/v1/cdr/{id}")).await;
    assert_eq!((status, &one["cdr"]["outcome"]), (200, &json!("busy")));
    assert!(one["legs"].is_array() && one["media"].is_array());
    assert_eq!(node.json(Method::GET, &format!("/v1/calls/{id}")).await, (200, one));
    let id = CallId::new(1_700_000_000_001, 5);
    let (_, one) = node.json(Method::GET, &format!("/v1/cdr/{id}")).await;
    let cdr = &one["cdr"];
    assert_eq!((&cdr["agent"], &cdr["portal_call_id"]), (&json!("42"), &Value::Null));
    assert_eq!((&cdr["hold_ms"], &cdr["hold_count"]), (&Value::Null, &Value::Null));
    for path in ["/v1/cdr/seven".to_owned(), format!("/v1/cdr/{}", CallId::new(1, 1))] {
        assert_eq!(node.json(Method::GET, &path).await.0, 404, "{path}");
    }
    for query in ["from=yesterday", "cursor=x", "limit=-1", "colour=red"] {
        let (status, problem) = node.json(Method::GET, &format!("/v1/cdr?{query}")).await;
        assert_eq!((status, keys(&problem)), (400, ERROR.to_vec()), "{query}");
    }

    let answer = node.ask(Method::GET, "/v1/cdr.csv?limit=2").await;
    let next = answer.headers()["cooee-next"].to_str().unwrap().to_owned();
    let text = answer.text().await.unwrap();
    assert!(text.starts_with("id,node,role,route,"));
    assert!(text.lines().next().unwrap().contains("wall_spans,agent,portal_call_id,setup_ms"));
    assert!(text.contains("\"said \"\"bye\"\", left\""), "{text}");
    assert_eq!(text.lines().count(), 3);
    let (kind, rest) = node.text(&format!("/v1/cdr.csv?cursor={next}")).await;
    assert_eq!((kind.as_str(), rest.lines().count()), ("text/csv; charset=utf-8", 4));
    let (_, none) = node.text("/v1/cdr.csv?trunk=nobody").await;
    assert_eq!(none.lines().count(), 1, "the header alone");
    node.down().await;
}

#[tokio::test]
async fn a_database_that_is_away_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for store in [None, Some(folder.path().join("none.db"))] {
        let mut without = admin(Auth::None);
        without.store = store;
        let node = Node::serving(without).await;
        for path in ["/v1/cdr", "/v1/cdr.csv", "/v1/cdr/00000000000000000000000001", "/v1/outbox"] {
            let (status, problem) = node.json(Method::GET, path).await;
            assert_eq!((status, keys(&problem)), (503, ERROR.to_vec()), "{path}");
        }
        node.down().await;
    }
}

/// The database with letters to `ops` (all) and `crm` (the end): 1 and 2 to call 0 and so on. That
/// of call 0 to `ops` was delivered, that of call 1 is dead.
fn letters() -> tempfile::TempDir {
    let folder = database();
    let webhooks =
        vec![Subscription::new::<&str>("ops", &[]), Subscription::new("crm", &["ended"])];
    let store = Store::open(&folder.path().join("cooee.db")).unwrap();
    let mut store = store.telling(Telling { node: "syd-1".to_owned(), webhooks });
    let facts: Vec<_> = (0..5_u64)
        .map(|number| {
            let at = START + Duration::from_secs(60 * number);
            let call = CallId::new(1_700_000_100_000 + number, 5);
            let account = Box::new(Account::new(call, "syd-1", at));
            Fact { call, seq: 9, at, what: What::Ended { account } }
        })
        .collect();
    assert_eq!(store.apply(&facts, FactId(10), 0).unwrap(), 10);
    let due = store.due("ops", i64::MAX, 2, &BTreeSet::new()).unwrap();
    let fates = [(Fate::Delivered, Some(204), None), (Fate::Dead, Some(410), Some("410 Gone"))];
    for (lane, (fate, status, error)) in due.iter().zip(fates) {
        let (webhook, call) = ("ops".to_owned(), lane.call.clone());
        let (letter, error) = (lane.letters[0].id, error.map(str::to_owned));
        store.settle(&[Tried { webhook, call, letter, at_us: 7, status, error, fate }]).unwrap();
    }
    folder
}

#[tokio::test]
async fn letters_are_listed_shown_tried_again_and_dropped() {
    let folder = letters();
    let mut with_store = admin(Auth::None);
    with_store.store = Some(folder.path().join("cooee.db"));
    let node = Node::serving(with_store).await;
    let list = async |query: &str| {
        let (status, page) = node.json(Method::GET, &format!("/v1/outbox?{query}")).await;
        assert_eq!(status, 200, "{query}: {page}");
        let id = |row: &Value| row["id"].as_i64().unwrap();
        let ids: Vec<_> = page["rows"].as_array().unwrap().iter().map(id).collect();
        (ids, page["next"].clone())
    };
    assert_eq!(list("").await, ((1..=10).rev().collect(), Value::Null));
    let (first, next) = list("limit=4").await;
    assert_eq!((first, &next), (vec![10, 9, 8, 7], &json!(7)));
    assert_eq!(list(&format!("limit=9&cursor={next}")).await.0, [6, 5, 4, 3, 2, 1]);
    assert_eq!(list("webhook=crm&state=waiting").await.0.len(), 5);
    let dead = list("state=dead").await.0;
    assert_eq!((dead.len(), list("state=delivered").await.0.len()), (1, 1));
    let call = CallId::new(1_700_000_100_001, 5);
    assert_eq!(list(&format!("call={call}")).await.0.len(), 2);

    let dead = dead[0];
    let (status, letter) = node.json(Method::GET, &format!("/v1/outbox/{dead}")).await;
    assert_eq!(
        (status, &letter["webhook"], &letter["state"]),
        (200, &json!("ops"), &json!("dead"))
    );
    assert_eq!((&letter["last_status"], &letter["attempts"]), (&json!(410), &json!(1)));
    let payload: Value = serde_json::from_str(letter["payload"].as_str().unwrap()).unwrap();
    assert_eq!((&payload["type"], &payload["id"]), (&json!("cooee.call.ended"), &letter["event"]));

    let order = async |path: &str| node.json(Method::POST, &format!("/v1/outbox/{path}")).await;
    let done = |what: &str, letters: u64| (200, json!({"done": what, "letters": letters}));
    assert_eq!(order(&format!("{dead}/retry")).await, done("retry", 1));
    assert!(list("state=dead").await.0.is_empty());
    assert_eq!(order(&format!("{dead}/drop")).await, done("drop", 1));
    assert_eq!(node.json(Method::GET, &format!("/v1/outbox/{dead}")).await.0, 404);
    let delivered = list("state=delivered").await.0[0];
    for path in [format!("{dead}/retry"), format!("{delivered}/drop"), "seven/drop".to_owned()] {
        let (status, problem) = order(&path).await;
        assert_eq!((status, keys(&problem)), (404, ERROR.to_vec()), "{path}");
    }
    assert_eq!(order("retry?webhook=crm&state=dead").await, done("retry", 0));
    assert_eq!(order("retry?webhook=crm").await, done("retry", 5));
    assert_eq!(order(&format!("drop?call={call}")).await, done("drop", 1));
    assert_eq!(order("drop?webhook=crm&state=waiting").await, done("drop", 4));
    for query in ["drop", "retry", "drop?limit=1&webhook=ops", "drop?state=sent", "drop?all=1"] {
        let (status, problem) = order(query).await;
        assert_eq!((status, keys(&problem)), (400, ERROR.to_vec()), "{query}");
    }
    for query in ["state=lost", "call=seven", "cursor=x", "limit=-1", "colour=red"] {
        let (status, _) = node.json(Method::GET, &format!("/v1/outbox?{query}")).await;
        assert_eq!(status, 400, "{query}");
    }
    assert_eq!(list("").await.0.len(), 4, "what was delivered and three that wait");
    node.down().await;
}
