//! The store against a model: the same random requests go to both, the store is closed, cut off
//! or reopened at random, and both must agree on every answer and every row.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use weft_protocol::seen::item_key;
use weft_protocol::{Hash, Position};
use weft_storage::{
    Conflict, MemoryDisk, OutboxKey, OutboxRow, OutboxState, OutcomeRow, SeenKey, SlotRow, Store, StoreError,
    Write,
};

use crate::rows::{config, id, outbox_key, outbox_row, outcome_row, slot_row};

/// One change of a small world: two processes, few slots, so that collisions are frequent.
#[derive(Debug, Clone)]
enum Op {
    Item { item: u8, bytes: u8 },
    Slot { process: u8, slot: u64, seed: u8 },
    Seen { process: u8, key: u8, slot: u64 },
    Outcome { process: u8, slot: u64, seed: u8 },
    Outbox { process: u8, slot: u64, seed: u8 },
    State { process: u8, slot: u64, state: OutboxState, due: u64 },
    Setting { name: u8, value: Option<u8> },
}

#[derive(Debug, Clone)]
enum Step {
    Request(Vec<Op>),
    Reopen,
    LosePower,
}

/// What the store must hold.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    items: BTreeMap<u8, Bytes>,
    slots: BTreeMap<(u8, u64), SlotRow>,
    seen: BTreeMap<u8, Vec<SeenKey>>,
    outcomes: BTreeMap<(u8, u64), OutcomeRow>,
    outbox: BTreeMap<OutboxKey, OutboxRow>,
    settings: BTreeMap<u8, u8>,
}

impl Model {
    /// Applies one operation; false when the store must refuse it.
    fn apply(&mut self, op: &Op) -> bool {
        match op {
            Op::Item { item, bytes } => {
                let bytes = item_bytes(*bytes);
                *self.items.entry(*item).or_insert_with(|| bytes.clone()) == bytes
            }
            Op::Slot { process, slot, seed } => {
                let row = slot_row(*seed);
                *self.slots.entry((*process, *slot)).or_insert_with(|| row.clone()) == row
            }
            Op::Seen { process, key, slot } => self.see(*process, seen_key(*key), Position::slot(*slot)),
            Op::Outcome { process, slot, seed } => {
                let row = outcome_row(*seed);
                *self.outcomes.entry((*process, *slot)).or_insert_with(|| row.clone()) == row
            }
            Op::Outbox { process, slot, seed } => {
                let row = outbox_row(*seed);
                let held = self.outbox.entry(outbox_key(*process, *slot, 0)).or_insert_with(|| row.clone());
                held.entry == row.entry
            }
            Op::State { process, slot, state, due } => {
                let Some(row) = self.outbox.get_mut(&outbox_key(*process, *slot, 0)) else { return false };
                if !matches!(row.state, OutboxState::Settled { .. }) {
                    (row.state, row.attempts, row.next_try_ms) = (state.clone(), 1, *due);
                }
                true
            }
            Op::Setting { name, value: Some(value) } => {
                self.settings.insert(*name, *value);
                true
            }
            Op::Setting { name, value: None } => {
                self.settings.remove(name);
                true
            }
        }
    }

    fn see(&mut self, process: u8, key: Hash, position: Position) -> bool {
        let list = self.seen.entry(process).or_default();
        if let Some(held) = list.iter().find(|held| held.key == key) {
            return held.position == position;
        }
        if list.last().is_some_and(|last| last.position > position) {
            return false;
        }
        list.push(SeenKey { key, position });
        true
    }
}

/// The key of the item of a slot: where the seen list has that, nothing else need say where it stands.
fn seen_key(seed: u8) -> Hash {
    item_key(slot_row(seed).item)
}

fn item_bytes(seed: u8) -> Bytes {
    vec![seed; 64].into()
}

fn write(op: &Op) -> Write {
    match op.clone() {
        Op::Item { item, bytes } => Write::Item { id: id(item), raw: item_bytes(bytes) },
        Op::Slot { process, slot, seed } => Write::Slot { process: id(process), slot, row: slot_row(seed) },
        Op::Seen { process, key, slot } => {
            Write::Seen { process: id(process), key: seen_key(key), position: Position::slot(slot) }
        }
        Op::Outcome { process, slot, seed } => {
            Write::Outcome { process: id(process), position: Position::slot(slot), row: outcome_row(seed) }
        }
        Op::Outbox { process, slot, seed } => {
            Write::Outbox { key: outbox_key(process, slot, 0), row: outbox_row(seed) }
        }
        Op::State { process, slot, state, due } => {
            Write::OutboxState { key: outbox_key(process, slot, 0), state, attempts: 1, next_try_ms: due }
        }
        Op::Setting { name, value: Some(value) } => {
            Write::Setting { name: name.to_string(), value: vec![value].into() }
        }
        Op::Setting { name, value: None } => Write::DropSetting { name: name.to_string() },
    }
}

/// Reads everything back and compares, the indexes too.
fn compare(store: &Store, model: &Model) {
    let reader = store.read().unwrap();
    for item in 0..4 {
        assert_eq!(reader.item(&id(item)).unwrap(), model.items.get(&item).cloned());
    }
    for process in 0..2 {
        let slots: Vec<_> = model
            .slots
            .range((process, 0)..=(process, u64::MAX))
            .map(|((_, slot), row)| (*slot, row.clone()))
            .collect();
        assert_eq!(reader.slots(&id(process), 0, u64::MAX, 100).unwrap(), slots);
        assert_eq!(reader.head(&id(process)).unwrap(), slots.last().cloned());
        for (_, row) in &slots {
            let first = slots.iter().find(|(_, other)| other.item == row.item).map(|(slot, _)| *slot);
            assert_eq!(reader.slot_of_item(&id(process), &row.item).unwrap(), first);
        }
        let seen = model.seen.get(&process).cloned().unwrap_or_default();
        assert_eq!(reader.seen_keys(&id(process), 0, 100).unwrap(), seen);
        let outcomes: Vec<_> = model
            .outcomes
            .range((process, 0)..=(process, u64::MAX))
            .map(|((_, slot), row)| (Position::slot(*slot), row.clone()))
            .collect();
        let all = reader.outcomes(&id(process), Position::slot(0), Position::slot(u64::MAX), 100).unwrap();
        assert_eq!(all, outcomes);
        let pending: Vec<_> = pending(model).filter(|(_, key)| key.process == id(process)).collect();
        let found = reader.outbox_pending(&id(process), 100).unwrap();
        assert_eq!(found.into_iter().map(|(key, due)| (due, key)).collect::<Vec<_>>(), pending);
    }
    for name in 0..3 {
        let value = reader.setting(&name.to_string()).unwrap();
        assert_eq!(value.map(|value| value[0]), model.settings.get(&name).copied());
    }
}

fn pending(model: &Model) -> impl Iterator<Item = (u64, OutboxKey)> {
    model
        .outbox
        .iter()
        .filter(|(_, row)| row.state == OutboxState::Pending)
        .map(|(key, row)| (row.next_try_ms, *key))
}

fn op() -> impl Strategy<Value = Op> {
    let state = prop_oneof![
        Just(OutboxState::Pending),
        Just(OutboxState::GivenUp),
        Just(OutboxState::Settled { receipt: "receipt".into() }),
        Just(OutboxState::Dropped { why: "too large".into() }),
    ];
    prop_oneof![
        (0..4_u8, 0..8_u8).prop_map(|(item, bytes)| Op::Item { item, bytes: bytes.max(item) }),
        (0..2_u8, 0..8_u64, 0..4_u8).prop_map(|(process, slot, seed)| Op::Slot { process, slot, seed }),
        (0..2_u8, 0..9_u8, 0..9_u64).prop_map(|(process, key, slot)| Op::Seen { process, key, slot }),
        (0..2_u8, 0..8_u64, 0..4_u8).prop_map(|(process, slot, seed)| Op::Outcome { process, slot, seed }),
        (0..2_u8, 0..4_u64, 0..2_u8).prop_map(|(process, slot, seed)| Op::Outbox { process, slot, seed }),
        (0..2_u8, 0..4_u64, state, 0..9_u64).prop_map(|(process, slot, state, due)| Op::State {
            process,
            slot,
            state,
            due
        }),
        (0..3_u8, any::<Option<u8>>()).prop_map(|(name, value)| Op::Setting { name, value }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => vec(op(), 1..4).prop_map(Step::Request),
        1 => Just(Step::Reopen),
        1 => Just(Step::LosePower),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn store_and_model_agree(steps in vec(step(), 1..60)) {
        let mut disk = MemoryDisk::new();
        let mut store = Store::open_with_backend(disk.clone(), &config()).unwrap();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Request(ops) => {
                    let mut next = model.clone();
                    let accepted = ops.iter().all(|op| next.apply(op));
                    let result = store.write_blocking(ops.iter().map(write).collect());
                    prop_assert_eq!(result.is_ok(), accepted, "{:?} gave {:?}", ops, result);
                    if accepted {
                        model = next;
                    } else {
                        let refused = matches!(&result, Err(StoreError::Missing { .. }))
                            || matches!(&result, Err(StoreError::Conflict(conflict))
                                if !matches!(**conflict, Conflict::Attestation { .. }));
                        prop_assert!(refused, "{:?}", result);
                    }
                }
                Step::Reopen => {
                    drop(store);
                    store = Store::open_with_backend(disk.clone(), &config()).unwrap();
                    compare(&store, &model);
                }
                Step::LosePower => {
                    disk = disk.after_power_loss();
                    store = Store::open_with_backend(disk.clone(), &config()).unwrap();
                    compare(&store, &model);
                }
            }
        }
        compare(&store, &model);
    }
}
