//! What a store refuses, and that a refused request leaves nothing behind.

use bytes::Bytes;

use crate::rows::{address, config, hash, id, outbox_key, outbox_row, outcome_row, slot_row};
use weft_protocol::{Network, Position};
use weft_storage::{
    AttestationRow, BatchRow, BatchState, Conflict, MemoryDisk, OutboxRow, OutboxState, PostingRow,
    PostingState, Store, StoreConfig, StoreError, Write,
};

fn open() -> Store {
    Store::open_with_backend(MemoryDisk::new(), &config()).unwrap()
}

fn conflict(result: Result<(), StoreError>) -> Conflict {
    match result {
        Err(StoreError::Conflict(conflict)) => *conflict,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

#[test]
fn a_taken_slot_refuses_another_assignment_and_the_whole_request() {
    let store = open();
    let process = id(1);
    let slot = |seed| Write::Slot { process, slot: 5, row: slot_row(seed) };
    store.write_blocking(vec![slot(1)]).unwrap();
    store.write_blocking(vec![slot(1)]).unwrap();
    let other = Write::Setting { name: "left".into(), value: "behind".into() };
    let found = conflict(store.write_blocking(vec![other, slot(2)]));
    assert_eq!(
        found,
        Conflict::Slot {
            process,
            slot: 5,
            held: slot_row(1).assignment_id,
            offered: slot_row(2).assignment_id,
        }
    );
    let reader = store.read().unwrap();
    assert_eq!(reader.slot(&process, 5).unwrap(), Some(slot_row(1)));
    assert_eq!(reader.setting("left").unwrap(), None);
}

#[test]
fn one_request_cannot_fill_a_slot_twice() {
    let store = open();
    let slot = |seed| Write::Slot { process: id(1), slot: 0, row: slot_row(seed) };
    conflict(store.write_blocking(vec![slot(1), slot(2)]));
    assert_eq!(store.read().unwrap().head(&id(1)).unwrap(), None);
}

#[test]
fn a_position_refuses_another_running_hash() {
    let store = open();
    let position = Position::slot(3);
    let write = |seed| Write::Outcome { process: id(1), position, row: outcome_row(seed) };
    store.write_blocking(vec![write(1)]).unwrap();
    let mut again = outcome_row(1);
    again.elapsed_us += 1;
    store.write_blocking(vec![Write::Outcome { process: id(1), position, row: again }]).unwrap();
    assert!(matches!(conflict(store.write_blocking(vec![write(2)])), Conflict::Outcome { .. }));
    assert_eq!(store.read().unwrap().outcome(&id(1), position).unwrap(), Some(outcome_row(1)));
}

#[test]
fn a_spawn_has_one_child() {
    let store = open();
    let child = |process| Write::Child { spawn: hash(1), process: id(process) };
    store.write_blocking(vec![child(2)]).unwrap();
    store.write_blocking(vec![child(2)]).unwrap();
    assert!(matches!(conflict(store.write_blocking(vec![child(3)])), Conflict::Child { .. }));
    let reader = store.read().unwrap();
    assert_eq!(reader.child(&hash(1)).unwrap(), Some(id(2)));
    assert_eq!(reader.child(&hash(2)).unwrap(), None);
}

#[test]
fn the_seen_list_keeps_its_order_and_its_first_positions() {
    let store = open();
    let seen = |key, slot| Write::Seen { process: id(1), key: hash(key), position: Position::slot(slot) };
    store.write_blocking(vec![seen(1, 1), seen(2, 1), seen(3, 4)]).unwrap();
    store.write_blocking(vec![seen(2, 1)]).unwrap();
    assert!(matches!(conflict(store.write_blocking(vec![seen(1, 5)])), Conflict::Seen { .. }));
    assert!(matches!(conflict(store.write_blocking(vec![seen(9, 3)])), Conflict::SeenOrder { .. }));
    let reader = store.read().unwrap();
    let keys: Vec<_> = reader.seen_keys(&id(1), 1, 10).unwrap().into_iter().map(|seen| seen.key).collect();
    assert_eq!(keys, [hash(2), hash(3)]);
    assert_eq!(reader.seen_count(&id(1)).unwrap(), 3);
    assert_eq!(reader.seen(&id(1), &hash(3)).unwrap(), Some(Position::slot(4)));
}

#[test]
fn an_attestor_states_one_thing_per_position() {
    let store = open();
    let write = |statement, bytes: &'static str| Write::Attestation {
        process: id(1),
        position: Position::slot(1),
        attestor: address(7),
        row: AttestationRow { statement: hash(statement), bytes: bytes.into() },
    };
    store.write_blocking(vec![write(1, "first")]).unwrap();
    store.write_blocking(vec![write(1, "same statement, other salt")]).unwrap();
    assert!(matches!(conflict(store.write_blocking(vec![write(2, "other")])), Conflict::Attestation { .. }));
    let held = store.read().unwrap().attestations(&id(1), Position::slot(1)).unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].1.bytes, "first");
}

#[test]
fn a_settled_entry_stays_settled_and_leaves_the_queue() {
    let store = open();
    let key = outbox_key(1, 2, 0);
    let state = |state| Write::OutboxState { key, state, attempts: 1, next_try_ms: 50 };
    assert!(matches!(
        store.write_blocking(vec![state(OutboxState::Pending)]),
        Err(StoreError::Missing { .. })
    ));
    store.write_blocking(vec![Write::Outbox { key, row: outbox_row(1) }]).unwrap();
    store.write_blocking(vec![state(OutboxState::Pending)]).unwrap();
    let reader = store.read().unwrap();
    assert_eq!(reader.outbox_pending(&id(1), 10).unwrap(), [(key, 50)]);
    store.write_blocking(vec![state(OutboxState::Settled { receipt: "slot 9".into() })]).unwrap();
    store.write_blocking(vec![state(OutboxState::GivenUp)]).unwrap();
    // The computer writes the entry again after a restart: delivery is where it was.
    store.write_blocking(vec![Write::Outbox { key, row: outbox_row(1) }]).unwrap();
    let reader = store.read().unwrap();
    let row = reader.outbox_entry(&key).unwrap().unwrap();
    assert_eq!(row.state, OutboxState::Settled { receipt: "slot 9".into() });
    assert_eq!(reader.outbox_pending(&id(1), 10).unwrap(), []);
    conflict(store.write_blocking(vec![Write::Outbox { key, row: outbox_row(2) }]));
}

#[test]
fn no_more_of_an_outbox_is_read_than_is_asked_for() {
    let store = open();
    let rows = (0..6).map(|slot| {
        let state = OutboxState::Settled { receipt: "slot 9".into() };
        let state = if slot == 2 { OutboxState::GivenUp } else { state };
        let row = OutboxRow { entry: vec![7; 1_000].into(), state, ..outbox_row(1) };
        Write::Outbox { key: outbox_key(1, slot, 0), row }
    });
    store.write_blocking(rows.collect()).unwrap();
    let count = |rows, bytes| {
        let is_settled = |state: &OutboxState| matches!(state, OutboxState::Settled { .. });
        store.read().unwrap().outbox_count(&id(1), is_settled, (rows, bytes)).unwrap()
    };
    assert_eq!(count(6, usize::MAX), (5, true));
    assert_eq!(count(4, usize::MAX), (3, false));
    assert_eq!(count(0, usize::MAX), (0, false));
    // The entry with which it comes to so much is the last one.
    assert_eq!(count(usize::MAX, 1_500), (2, false));
    assert_eq!(count(usize::MAX, 6_000), (5, true));
}

#[test]
fn a_batch_never_changes_its_slots() {
    let store = open();
    let row = BatchRow {
        process: id(1),
        from_slot: 0,
        to_slot: 9,
        bundle: hash(3),
        items: 2,
        bytes: 9,
        state: BatchState::Building,
        attempts: 0,
        next_try_ms: 0,
    };
    let write = |row: &BatchRow| Write::Batch { data_root: hash(8), row: row.clone() };
    store.write_blocking(vec![write(&row)]).unwrap();
    assert_eq!(store.read().unwrap().batches_open(10).unwrap(), [(hash(8), row.clone())]);
    conflict(store.write_blocking(vec![write(&BatchRow { to_slot: 10, ..row.clone() })]));
    let confirmed = BatchRow { state: BatchState::Confirmed { height: 4, block: hash(4) }, ..row };
    store.write_blocking(vec![write(&confirmed)]).unwrap();
    let reader = store.read().unwrap();
    assert_eq!(reader.batches_open(10).unwrap(), []);
    assert_eq!(reader.batch(&hash(8)).unwrap(), Some(confirmed));
}

/// What the disk refuses nobody pays for twice.
#[test]
fn a_batch_is_in_one_posting_and_a_final_one_stays() {
    let store = open();
    let row = PostingRow {
        weave: "arweave.N.1".into(),
        parts: vec![hash(1), hash(2)],
        bundle: hash(3),
        items: 2,
        bytes: 9,
        winston: 0,
        signed: 0,
        receipt: Bytes::new(),
        state: PostingState::Built,
    };
    let write = |root: u8, row: &PostingRow| Write::Posting { data_root: hash(root), row: row.clone() };
    store.write_blocking(vec![write(8, &row)]).unwrap();
    let other = PostingRow { parts: vec![hash(2)], ..row.clone() };
    conflict(store.write_blocking(vec![write(9, &other)]));
    conflict(store.write_blocking(vec![write(8, &other)]));
    assert_eq!(store.read().unwrap().posting_of(&hash(2), "arweave.N.1").unwrap(), Some(hash(8)));
    assert_eq!(store.read().unwrap().posting(&hash(9), "arweave.N.1").unwrap(), None);
    let state = PostingState::Signed { id: id(5), header: "header".into(), reward: 7, expires: Some(50) };
    let signed = PostingRow { winston: 7, signed: 1, state, ..row.clone() };
    store.write_blocking(vec![write(8, &signed)]).unwrap();
    assert_eq!(store.read().unwrap().postings_open("arweave.N.1", 9).unwrap(), [(hash(8), signed.clone())]);
    let state = PostingState::Final { id: id(5), reward: 7, height: 40, block: "block".into() };
    let stays = PostingRow { state, ..signed.clone() };
    store.write_blocking(vec![write(8, &stays)]).unwrap();
    assert_eq!(store.read().unwrap().postings_open("arweave.N.1", 9).unwrap(), []);
    conflict(store.write_blocking(vec![write(8, &signed)]));
    store.write_blocking(vec![write(8, &stays)]).unwrap();
    // Another weave knows nothing of it.
    let elsewhere = PostingRow { weave: "another".into(), ..row.clone() };
    store.write_blocking(vec![write(8, &elsewhere)]).unwrap();
    assert_eq!(store.read().unwrap().posting(&hash(8), "another").unwrap(), Some(elsewhere.clone()));
    assert_eq!(store.read().unwrap().postings_open("another", 9).unwrap(), [(hash(8), elsewhere)]);
    assert_eq!(store.read().unwrap().posting(&hash(8), "arweave.N.1").unwrap(), Some(stays.clone()));
    let long = PostingState::Signed { id: id(5), header: vec![0; 17_000].into(), reward: 7, expires: None };
    let error = store.write_blocking(vec![write(8, &PostingRow { state: long, ..row.clone() })]).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { size: 17_000, .. }), "{error}");
    // One that is not final can be forgotten: its batches may be in another one then. A final one stays.
    let drop = |weave: &str| vec![Write::DropPosting { data_root: hash(8), weave: weave.into() }];
    conflict(store.write_blocking(drop("arweave.N.1")));
    for _ in 0..2 {
        store.write_blocking(drop("another")).unwrap();
    }
    let reader = store.read().unwrap();
    assert_eq!(reader.posting(&hash(8), "another").unwrap(), None);
    assert_eq!(reader.posting_of(&hash(2), "another").unwrap(), None);
    assert_eq!(reader.postings_open("another", 9).unwrap(), []);
    assert_eq!(reader.posting_of(&hash(2), "arweave.N.1").unwrap(), Some(hash(8)));
    store.write_blocking(vec![write(9, &PostingRow { weave: "another".into(), ..other })]).unwrap();
}

#[test]
fn a_store_is_one_networks_and_one_nodes() {
    let disk = MemoryDisk::new();
    drop(Store::open_with_backend(disk.clone(), &config()).unwrap());
    let error =
        |config: StoreConfig| Store::open_with_backend(disk.clone(), &config).unwrap_err().to_string();
    let network = error(StoreConfig { network: Network(9), ..config() });
    assert!(network.contains("network 00000001") && network.contains("00000009"), "{network}");
    let node = error(StoreConfig { node: address(9), ..config() });
    assert!(node.contains(&address(9).to_string()), "{node}");
    Store::open_with_backend(disk.clone(), &config()).unwrap();
}

#[test]
fn an_open_file_is_not_opened_twice_and_a_foreign_one_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, &config()).unwrap();
    let error = Store::open(&path, &config()).unwrap_err();
    assert!(matches!(&error, StoreError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("in use by another node"));
    drop(store);
    drop(Store::open(&path, &config()).unwrap());

    let text = folder.path().join("text");
    std::fs::write(&text, "not a database, and longer than any header could be ".repeat(100)).unwrap();
    let error = Store::open(&text, &config()).unwrap_err();
    assert!(matches!(&error, StoreError::NotAStore { .. }), "{error:?}");
}

#[test]
fn what_a_crash_left_of_a_first_start_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let unfinished = folder.path().join("store.redb.new");
    std::fs::write(&unfinished, vec![0; 10_000]).unwrap();
    drop(Store::open(&path, &config()).unwrap());
    assert!(!unfinished.exists());
    // Complete, but not yet under its name.
    std::fs::rename(&path, &unfinished).unwrap();
    drop(Store::open(&path, &config()).unwrap());
    assert!(path.exists() && !unfinished.exists());
}

#[test]
fn after_shutdown_writes_are_refused_and_reads_go_on() {
    let store = open();
    let setting = || Write::Setting { name: "a".into(), value: "b".into() };
    store.write_blocking(vec![setting()]).unwrap();
    store.shutdown();
    assert!(matches!(store.write_blocking(vec![setting()]), Err(StoreError::Closed)));
    assert_eq!(store.read().unwrap().setting("a").unwrap().unwrap(), "b");
    store.shutdown();
}

#[test]
fn limits_are_named() {
    let store = open();
    let error =
        store.write_blocking(vec![Write::Setting { name: "x".repeat(257), value: "".into() }]).unwrap_err();
    assert_eq!(error.to_string(), "bytes of a setting's name: 257, at most 256 allowed");
}
