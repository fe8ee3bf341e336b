//! What is asked of the database.

use cooee_model::ids::FactId;
use cooee_records::cdr::Sample;

use super::{DAY, Ground, account, ended, measured, sampled};
use crate::query::{Cursor, Filter, NotACursor};
use crate::store::Store;

/// A database of ten calls, asked by a connection that cannot write.
fn ten() -> (Ground, Store) {
    let ground = Ground::new();
    let facts: Vec<_> =
        (0..10).map(ended).chain((0..5).map(measured)).chain((0..5).map(sampled)).collect();
    ground.store().apply(&facts, FactId(1), 30).unwrap();
    let store = Store::open_read_only(&ground.db()).unwrap();
    (ground, store)
}

fn numbers(store: &Store, filter: Filter) -> Vec<u32> {
    let found: Vec<String> = store.export(filter).map(|cdr| cdr.unwrap().id).collect();
    let number = |id: &String| (0..10).find(|n| account(*n).id.to_string() == *id).unwrap();
    found.iter().map(number).collect()
}

#[test]
fn calls_are_listed_newest_first_page_by_page() {
    let (_ground, store) = ten();
    let page = store.list(&Filter { limit: 4, ..Filter::default() }).unwrap();
    assert_eq!((page.rows.len(), page.rows[0].id.clone()), (4, account(9).id.to_string()));
    let next = page.next.unwrap();
    assert_eq!(next.to_string().parse::<Cursor>().unwrap(), next);
    let filter = Filter { cursor: Some(next), ..Filter::default() };
    assert_eq!(numbers(&store, filter), [5, 4, 3, 2, 1, 0]);
    for limit in [0, 1, 3, 5, 10, 5000] {
        let all = numbers(&store, Filter { limit, ..Filter::default() });
        assert_eq!(all, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], "pages of {limit}");
    }
}

#[test]
fn each_filter_restricts() {
    let (_ground, store) = ten();
    let some = |text: &str| Some(text.to_owned());
    let us = |n: i64| Some(1_767_225_600_000_000 + n * 1_000_000);
    let none = Filter::default();
    for (filter, expected) in [
        (Filter { from_us: us(7), ..none.clone() }, vec![9, 8, 7]),
        (Filter { to_us: us(2), ..none.clone() }, vec![1, 0]),
        (Filter { customer: some("+61491570003"), ..none.clone() }, vec![3]),
        (Filter { customer: some("0004"), ..none.clone() }, vec![4]),
        (Filter { customer: some("%"), ..none.clone() }, (0..10).rev().collect()),
        (Filter { did: some("+61370101234"), ..none.clone() }, vec![9, 7, 5, 3, 1]),
        (Filter { outcome: some("abandoned"), ..none.clone() }, vec![9, 6, 3, 0]),
        (Filter { trunk: some("vox"), ..none.clone() }, vec![4, 3, 2, 1, 0]),
        (Filter { trunk: some("unitalk"), to_us: us(1), ..none.clone() }, vec![0]),
        (Filter { outcome: some("' OR 1 --"), ..none }, vec![]),
    ] {
        assert_eq!(numbers(&store, filter.clone()), expected, "{filter:?}");
    }
}

#[test]
fn one_call_is_shown_with_its_legs_and_media() {
    let (_ground, store) = ten();
    let call = store.show(account(2).id).unwrap().unwrap();
    let sides: Vec<&str> = call.legs.iter().map(|leg| leg.side.as_str()).collect();
    assert_eq!(sides, ["A", "B"]);
    assert_eq!(call.legs[1].trunk, "vox");
    let media: Vec<_> = call.media.iter().map(|m| (m.side.as_str(), m.packets, m.lost)).collect();
    assert_eq!(media, [("A", 2, 0), ("B", 2, 1)]);
    let sounded = |s: &Sample| (s.side.clone(), s.t_us, s.rtt_us, s.mos, s.grade);
    let at_us = DAY.wall / 1000;
    let expected = [
        ("A".to_owned(), at_us, None, Some(4.41), Some(5)),
        ("B".to_owned(), at_us, Some(21_450), None, None),
    ];
    assert_eq!(call.quality.iter().map(sounded).collect::<Vec<_>>(), expected);
    assert_eq!(store.show(account(7).id).unwrap().unwrap().media, []);
    assert_eq!(store.show(cooee_model::ids::CallId(1 << 100)).unwrap(), None);
}

#[test]
fn one_who_asks_cannot_write_and_does_not_hinder_who_writes() {
    let (ground, mut store) = ten();
    assert!(store.apply(&[ended(1)], FactId(2), 0).is_err());
    let mut export = store.export(Filter { limit: 2, ..Filter::default() });
    assert!(export.next().unwrap().is_ok());
    ground.store().apply(&[ended(11)], FactId(2), 0).unwrap();
    assert_eq!(export.count(), 9, "a call that came meanwhile is newer, so not in it");
    assert!(Store::open_read_only(&ground.dir.path().join("none")).is_err());
}

#[test]
fn what_is_no_cursor_is_refused() {
    for text in ["", "-", "1", "1-2", "x-00000000000000000000000000"] {
        assert_eq!(text.parse::<Cursor>(), Err(NotACursor), "{text}");
    }
}
