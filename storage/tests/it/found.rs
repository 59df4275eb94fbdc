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

#[test]
fn only_what_the_seen_list_does_not_say_has_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, &config()).unwrap();
    let process = id(1);
    let slot = |slot: u64, item: Id| {
        let row = SlotRow { item, ..slot_row(slot as u8) };
        Write::Slot { process, slot, row }
    };
    let seen =
        |slot: u64, item: Id| Write::Seen { process, key: item_key(item), position: Position::slot(slot) };
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
    let database = redb::Database::create(&path).unwrap();
    let writing = database.begin_write().unwrap();
    let seen: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("seen/1");
    writing.open_table(seen).unwrap().remove(gone.as_slice()).unwrap().unwrap();
    writing.commit().unwrap();
    drop(database);
    let store = Store::open(&path, &real::config()).unwrap();
    let check = store.read().unwrap().check(&mut |_, _| {}).unwrap();
    for lacks in ["the index of items lacks it", "the index of seen keys lacks it"] {
        let count = check.problems.iter().filter(|problem| problem.contains(lacks)).count();
        assert_eq!(count, 1, "{lacks}: {:?}", check.problems);
    }
}
