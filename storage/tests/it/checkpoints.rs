//! Checkpoints share pages, and a page goes with the last checkpoint that names it.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use weft_protocol::state::leaf_hash;
use weft_protocol::{Hash, Id, Position};
use weft_storage::{CheckpointRow, MemoryDisk, PackedPage, PageRef, Store, StoreError, Write};

use crate::rows::{config, id};

/// What a checkpoint's memory holds: byte of each page by its number.
type Memory = BTreeMap<u32, u8>;

fn page(byte: u8) -> Vec<u8> {
    vec![byte; 65_536]
}

fn name(byte: u8) -> Hash {
    leaf_hash(&page(byte))
}

fn row(memory: &Memory) -> CheckpointRow {
    let pages = memory.iter().map(|(number, byte)| PageRef { number: *number, hash: name(*byte) });
    CheckpointRow { memory_bytes: 1 << 20, pages: pages.collect(), state: "state".into() }
}

fn checkpoint(process: Id, slot: u64, memory: &Memory) -> Write {
    Write::Checkpoint { process, position: Position::slot(slot), row: row(memory) }
}

fn pages(memory: &Memory) -> impl Iterator<Item = Write> {
    memory.values().map(|byte| Write::Page(PackedPage::pack(&page(*byte)).unwrap()))
}

#[test]
fn a_checkpoint_whose_page_is_not_there_is_refused() {
    let store = Store::open_with_backend(MemoryDisk::new(), &config()).unwrap();
    let memory = Memory::from([(0, 1), (3, 1)]);
    let refused = store.write_blocking(vec![checkpoint(id(1), 5, &memory)]);
    assert!(matches!(refused, Err(StoreError::Missing { table: "pages/2", .. })), "{refused:?}");
    let mut writes: Vec<Write> = pages(&memory).collect();
    writes.push(checkpoint(id(1), 5, &memory));
    store.write_blocking(writes).unwrap();
    // Another process may share the page without bringing it again.
    store.write_blocking(vec![checkpoint(id(2), 0, &memory)]).unwrap();
    assert_eq!(store.read().unwrap().page_refs(&name(1)).unwrap(), 2);
    // A request that drops the last one that named it cannot name it again without bringing it.
    let drop = |process| Write::DropCheckpoint { process, position: Position::slot(5) };
    store
        .write_blocking(vec![Write::DropCheckpoint { process: id(2), position: Position::slot(0) }])
        .unwrap();
    let refused = store.write_blocking(vec![drop(id(1)), checkpoint(id(2), 7, &memory)]);
    assert!(matches!(refused, Err(StoreError::Missing { .. })), "{refused:?}");
    assert_eq!(store.read().unwrap().page_refs(&name(1)).unwrap(), 1);
}

#[test]
fn the_newest_checkpoints_come_first_and_only_up_to_a_position() {
    let store = Store::open_with_backend(MemoryDisk::new(), &config()).unwrap();
    let memory = Memory::from([(0, 1)]);
    store.write_blocking(pages(&memory).collect()).unwrap();
    for (process, slot) in [(1, 3), (1, 9), (1, 70), (2, 8)] {
        store.write_blocking(vec![checkpoint(id(process), slot, &memory)]).unwrap();
    }
    let reader = store.read().unwrap();
    let before = |slot, limit| {
        let found = reader.checkpoints_before(&id(1), Position::slot(slot), limit).unwrap();
        found.into_iter().map(|position| position.slot).collect::<Vec<_>>()
    };
    assert_eq!(before(1000, 9), [70, 9, 3]);
    assert_eq!(before(1000, 2), [70, 9]);
    assert_eq!(before(9, 9), [9, 3]);
    assert_eq!(before(2, 9), [0; 0]);
    assert_eq!(before(9, 0), [0; 0]);
}

#[derive(Debug, Clone)]
enum Op {
    Keep(u8, u64, Memory),
    Drop(u8, u64),
}

fn op() -> impl Strategy<Value = Op> {
    let memory = btree_map(0u32..6, 1u8..9, 0..5);
    prop_oneof![
        3 => (1u8..3, 0u64..4, memory).prop_map(|(process, slot, memory)| Op::Keep(process, slot, memory)),
        1 => (1u8..3, 0u64..4).prop_map(|(process, slot)| Op::Drop(process, slot)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever is kept and dropped, in whatever groups: the pages on disk are exactly those that
    /// a checkpoint names, each with its count.
    #[test]
    fn pages_stay_exactly_as_long_as_a_checkpoint_names_them(requests in vec(vec(op(), 1..4), 1..12)) {
        let store = Store::open_with_backend(MemoryDisk::new(), &config()).unwrap();
        let mut model: BTreeMap<(u8, u64), Memory> = BTreeMap::new();
        for request in requests {
            let mut writes = Vec::new();
            for op in request {
                match op {
                    Op::Keep(process, slot, memory) => {
                        writes.extend(pages(&memory));
                        writes.push(checkpoint(id(process), slot, &memory));
                        model.insert((process, slot), memory);
                    }
                    Op::Drop(process, slot) => {
                        writes.push(Write::DropCheckpoint { process: id(process), position: Position::slot(slot) });
                        model.remove(&(process, slot));
                    }
                }
            }
            store.write_blocking(writes).unwrap();
            let reader = store.read().unwrap();
            for byte in 1u8..9 {
                let count = model.values().filter(|memory| memory.values().any(|held| *held == byte)).count();
                prop_assert_eq!(reader.page_refs(&name(byte)).unwrap(), count as u64);
                let held = reader.page(&name(byte)).unwrap();
                prop_assert_eq!(held.is_some(), count > 0, "page {} with {} checkpoints", byte, count);
            }
            for ((process, slot), memory) in &model {
                let found = reader.checkpoint(&id(*process), Position::slot(*slot)).unwrap();
                prop_assert_eq!(found, Some(row(memory)));
            }
        }
    }
}
