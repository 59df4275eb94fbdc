//! Which slot an item has: by the seen list, and by an index of its own where that does not say it.

use std::path::Path;

use redb::TableDefinition;
use weft_protocol::seen::item_key;
use weft_protocol::{Id, Position};
use weft_storage::{SlotRow, Store, Write};

use crate::injected::image;
use crate::real;
use crate::rows::{config, id, slot_row};

/// The items of the index.
fn indexed(path: &Path) -> Vec<Vec<u8>> {
    let rows = image(std::fs::read(path).unwrap());
    rows.into_keys().filter(|(table, _)| table == "item-slots/1").map(|(_, key)| key[32..].to_vec()).collect()
}

/// A slot of the process, and what the seen list has of an item at one.
fn slot(slot: u64, item: Id) -> Write {
    let row = SlotRow { item, ..slot_row(slot as u8) };
    Write::Slot { process: id(1), slot, row }
}

fn seen(slot: u64, item: Id) -> Write {
    Write::Seen { process: id(1), key: item_key(item), position: Position::slot(slot) }
}

/// A store of these requests, which a check finds sound.
fn written(path: &Path, requests: Vec<Vec<Write>>) {
    let store = Store::open(path, &config()).unwrap();
    for request in requests {
        store.write_blocking(request).unwrap();
    }
    assert_eq!(missing(&store), Vec::<String>::new());
}

/// Puts a row into a closed store, or takes one out.
fn damage(path: &Path, table: &str, key: &[u8], row: Option<&[u8]>) {
    let database = redb::Database::create(path).unwrap();
    let writing = database.begin_write().unwrap();
    let rows: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
    match row {
        Some(row) => drop(writing.open_table(rows).unwrap().insert(key, row).unwrap()),
        None => drop(writing.open_table(rows).unwrap().remove(key).unwrap().unwrap()),
    }
    writing.commit().unwrap();
}

/// What a check says of slots whose item is not found where readers look.
fn missing(store: &Store) -> Vec<String> {
    let problems = store.read().unwrap().check(&mut |_, _| {}).unwrap().problems;
    problems.into_iter().filter(|problem| problem.contains("the index of items lacks it")).collect()
}

fn missing_at(path: &Path) -> usize {
    missing(&Store::open(path, &config()).unwrap()).len()
}

fn key(item: Id) -> Vec<u8> {
    [id(1).0, item.0].concat()
}

#[test]
fn only_what_the_seen_list_does_not_say_has_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, &config()).unwrap();
    let process = id(1);
    let (listed, unlisted, carried) = (id(0xa1), id(0xa2), id(0xa3));
    store.write_blocking(vec![slot(1, listed), seen(1, listed)]).unwrap();
    store.write_blocking(vec![slot(2, unlisted)]).unwrap();
    store.write_blocking(vec![slot(3, listed)]).unwrap();
    // An item that carries a transaction, which then has a slot as well, and one that it has once more.
    store.write_blocking(vec![slot(4, id(0xa4)), seen(4, id(0xa4)), seen(4, carried)]).unwrap();
    let found = |item: Id| store.read().unwrap().slot_of_item(&process, &item).unwrap();
    assert_eq!(found(carried), Some(4));
    store.write_blocking(vec![slot(5, carried)]).unwrap();
    store.write_blocking(vec![slot(6, carried)]).unwrap();
    // Peers may give a log back in any order.
    store.write_blocking(vec![slot(0, unlisted)]).unwrap();
    assert_eq!((found(listed), found(unlisted), found(carried)), (Some(1), Some(0), Some(5)));
    drop(store);
    assert_eq!(indexed(&path), [unlisted, carried].map(|item| item.0.to_vec()));
}

#[test]
fn an_item_that_nothing_says_the_slot_of_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let log = real::log("one", 10, 100);
    let store = Store::open(&path, &real::config()).unwrap();
    for request in &log.requests {
        store.write_blocking(request.clone()).unwrap();
    }
    let item = store.read().unwrap().slot(&log.process, 5).unwrap().unwrap().item;
    assert!(store.read().unwrap().check(&mut |_, _| {}).unwrap().is_sound());
    drop(store);
    assert_eq!(indexed(&path), Vec::<Vec<u8>>::new());
    let gone = [log.process.0, item_key(item).0].concat();
    damage(&path, "seen/1", &gone, None);
    let store = Store::open(&path, &real::config()).unwrap();
    let check = store.read().unwrap().check(&mut |_, _| {}).unwrap();
    for lacks in ["the index of items lacks it", "the index of seen keys lacks it"] {
        let count = check.problems.iter().filter(|problem| problem.contains(lacks)).count();
        assert_eq!(count, 1, "{lacks}: {:?}", check.problems);
    }
}

#[test]
fn in_a_log_without_a_seen_list_each_item_needs_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let item = |number: u64| id(0xa0 + number as u8);
    written(&path, (0..4).map(|number| vec![slot(number, item(number))]).collect());
    damage(&path, "item-slots/1", &key(item(2)), None);
    assert_eq!(missing_at(&path), 1);
}

#[test]
fn a_slot_is_found_where_readers_look_for_it_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (item, other) = (id(0xa1), id(0xa2));
    // Seen first in an item that carries a transaction: without its own row the item would have that one's slot.
    let carried = vec![slot(0, other), seen(0, other), seen(0, item)];
    written(&path("carried"), vec![carried, vec![slot(1, item)]]);
    damage(&path("carried"), "item-slots/1", &key(item), None);
    assert_eq!(missing_at(&path("carried")), 1);
    // A row that names a later slot of the item hides what the seen list says.
    let twice = |listed: bool| {
        let first = [slot(0, if listed { item } else { other }), seen(0, item)];
        vec![first.into_iter().take(1 + usize::from(listed)).collect(), vec![slot(1, item)]]
    };
    written(&path("row"), twice(false));
    let row =
        image(std::fs::read(path("row")).unwrap()).remove(&("item-slots/1".to_owned(), key(item))).unwrap();
    written(&path("hidden"), twice(true));
    assert_eq!(indexed(&path("hidden")), Vec::<Vec<u8>>::new());
    damage(&path("hidden"), "item-slots/1", &key(item), Some(&row));
    assert_eq!(missing_at(&path("hidden")), 1);
}
