//! Pruning: whatever is dropped, in whatever order things happened, all checks hold and what anything
//! depends on is as before.

use std::collections::BTreeSet;

use proptest::prelude::*;
use weft_protocol::{Address, Position};
use weft_storage::{
    AnchoredRow, AttestationRow, CarriedRow, Conflict, MemoryDisk, OutboxState, OutcomeRow, ProcessRow,
    Reader, Roles, Store, StoreError, Write,
};

use crate::rows::{address, config, hash, id, outbox_key, outbox_row, outcome_row, slot_row};

const WEAVE: &str = "local:x";

/// One position of a made-up log.
#[derive(Debug, Clone)]
struct Made {
    entries: u32,
    settled: u32,
    attestors: u8,
}

fn made() -> impl Strategy<Value = Made> {
    (0_u32..4, 0_u32..5, 0_u8..3).prop_map(|(entries, settled, attestors)| Made {
        entries,
        settled: settled.min(entries),
        attestors,
    })
}

fn outcome(slot: u64, made: &Made) -> OutcomeRow {
    OutcomeRow { outbox_count: made.entries, ..outcome_row(1 + slot as u8) }
}

fn writes(slot: u64, made: &Made) -> Vec<Write> {
    let (process, position, seed) = (id(1), Position::slot(slot), 1 + slot as u8);
    let row = slot_row(seed);
    let mut writes = vec![
        Write::Item { id: row.item, raw: vec![seed; 100].into() },
        Write::Slot { process, slot, row },
        Write::Seen { process, key: hash(seed), position },
        Write::Outcome { process, position, row: outcome(slot, made) },
    ];
    for index in 0..made.entries {
        let key = outbox_key(1, slot, index);
        writes.push(Write::Outbox { key, row: outbox_row(seed) });
        if index < made.settled {
            let state = OutboxState::Settled { receipt: "receipt".into() };
            writes.push(Write::OutboxState { key, state, attempts: 1, next_try_ms: 0 });
        }
    }
    for attestor in 0..made.attestors {
        let row = AttestationRow { statement: hash(seed), bytes: vec![seed; 120].into() };
        writes.push(Write::Attestation { process, position, attestor: address(attestor), row });
    }
    writes
}

/// What the head and everything that is not pruned depend on.
fn kept(reader: &Reader, slots: u64) -> Vec<String> {
    let process = id(1);
    let mut seen = vec![
        format!("{:?}", reader.head(&process).unwrap()),
        format!("{:?}", reader.outbox_pending(&process, usize::MAX).unwrap()),
        format!("{:?}", reader.seen_keys(&process, 0, usize::MAX).unwrap()),
        format!("{:?}", reader.slots(&process, 0, u64::MAX, usize::MAX).unwrap()),
    ];
    for slot in 0..slots {
        let row = reader.outcome(&process, Position::slot(slot)).unwrap().unwrap();
        seen.push(format!("{:?}", OutcomeRow { result: "".into(), ..row }));
        seen.push(format!("{:?}", reader.item(&slot_row(1 + slot as u8).item).unwrap()));
    }
    seen
}

fn attestors(reader: &Reader, slot: u64) -> Vec<Address> {
    let found = reader.attestations(&id(1), Position::slot(slot)).unwrap();
    found.into_iter().map(|(attestor, _)| attestor).collect()
}

fn prune(store: &Store, slot: u64) -> Result<(), StoreError> {
    let attestors = attestors(&store.read().unwrap(), slot);
    let (process, position) = (id(1), Position::slot(slot));
    store.write_blocking(vec![Write::Prune { process, position, weave: WEAVE.into(), attestors }])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_matters_is_as_before(
        log in prop::collection::vec(made(), 1..12),
        final_slot in prop::option::of(0_u64..12),
        order in prop::collection::vec(0_u64..12, 0..24),
    ) {
        let disk = MemoryDisk::new();
        let store = Store::open_with_backend(disk.clone(), &config()).unwrap();
        for (slot, made) in log.iter().enumerate() {
            store.write_blocking(writes(slot as u64, made)).unwrap();
        }
        if let Some(slot) = final_slot {
            let row = AnchoredRow { slot, batch: hash(9), height: 1 };
            let write = Write::Anchored { process: id(1), weave: WEAVE.into(), row };
            store.write_blocking(vec![write]).unwrap();
        }
        let slots = log.len() as u64;
        let before = kept(&store.read().unwrap(), slots);
        let mut gone = BTreeSet::new();
        for slot in order {
            let made = log.get(slot as usize);
            let pruned = prune(&store, slot);
            if final_slot.is_none_or(|last| last < slot) {
                let error = pruned.unwrap_err();
                let StoreError::Conflict(conflict) = &error else { panic!("{error:?}") };
                let is_refusal = matches!(**conflict, Conflict::NotFinal { .. });
                prop_assert!(is_refusal, "{:?}", error);
            } else if made.is_some_and(|made| made.settled < made.entries) {
                let error = pruned.unwrap_err();
                let StoreError::Conflict(conflict) = &error else { panic!("{error:?}") };
                let is_refusal = matches!(**conflict, Conflict::Unsent { .. });
                prop_assert!(is_refusal, "{:?}", error);
            } else {
                // Again, or where there is nothing: no change.
                pruned.unwrap();
                gone.insert(slot);
            }
        }
        drop(store);
        let store = Store::open_with_backend(disk, &config()).unwrap();
        let reader = store.read().unwrap();
        let check = reader.check(&mut |_, _| {}).unwrap();
        prop_assert!(check.is_sound(), "{:?}", check);
        prop_assert_eq!(kept(&reader, slots), before);
        for (slot, made) in log.iter().enumerate() {
            let (slot, position) = (slot as u64, Position::slot(slot as u64));
            let is_gone = gone.contains(&slot);
            let row = reader.outcome(&id(1), position).unwrap().unwrap();
            prop_assert_eq!(row.is_pruned(), is_gone);
            let entries = reader.outbox(&id(1), position).unwrap().len();
            prop_assert_eq!(entries, if is_gone { 0 } else { made.entries as usize });
            prop_assert_eq!(attestors(&reader, slot).len(), if is_gone { 0 } else { made.attestors.into() });
            drop(reader.outcome_of_item(&id(1), &id(1 + slot as u8)).unwrap().unwrap());
        }
        // Another evaluation still meets what was there.
        let other = OutcomeRow { running: hash(0xee), ..outcome(0, &log[0]) };
        let other = Write::Outcome { process: id(1), position: Position::slot(0), row: other };
        prop_assert!(matches!(store.write_blocking(vec![other]), Err(StoreError::Conflict(_))));
        let same = Write::Outcome { process: id(1), position: Position::slot(0), row: outcome(0, &log[0]) };
        store.write_blocking(vec![same]).unwrap();
    }
}

/// A process that goes back to an old checkpoint, or to slot 0, evaluates again what was pruned.
#[test]
fn what_was_sent_and_pruned_is_not_sent_again() {
    let store = Store::open_with_backend(MemoryDisk::new(), &config()).unwrap();
    let made = Made { entries: 2, settled: 2, attestors: 1 };
    store.write_blocking(writes(0, &made)).unwrap();
    let row = AnchoredRow { slot: 0, batch: hash(9), height: 1 };
    store.write_blocking(vec![Write::Anchored { process: id(1), weave: WEAVE.into(), row }]).unwrap();
    prune(&store, 0).unwrap();
    // All of it in one request, as a computer writes it, and an entry alone.
    let again = writes(0, &made).into_iter().filter(|write| !matches!(write, Write::OutboxState { .. }));
    store.write_blocking(again.collect()).unwrap();
    store.write_blocking(vec![Write::Outbox { key: outbox_key(1, 0, 0), row: outbox_row(1) }]).unwrap();
    let reader = store.read().unwrap();
    assert_eq!(reader.outbox_pending(&id(1), usize::MAX).unwrap(), []);
    assert_eq!(reader.outbox(&id(1), Position::slot(0)).unwrap(), []);
    assert!(reader.check(&mut |_, _| {}).unwrap().is_sound());
    // A position that was never pruned sends as ever, also in the request that evaluates it.
    store.write_blocking(writes(1, &Made { settled: 0, ..made })).unwrap();
    assert_eq!(store.read().unwrap().outbox_pending(&id(1), usize::MAX).unwrap().len(), 2);
}

/// What was attested late was dropped before any batch had it.
#[test]
fn an_attestation_stays_until_a_confirmed_batch_has_it() {
    let store = Store::open_with_backend(MemoryDisk::new(), &config()).unwrap();
    let (process, position) = (id(1), Position::slot(0));
    let row = ProcessRow { module: id(2), roles: Roles { schedules: true, ..Roles::default() } };
    store.write_blocking(vec![Write::Process { process, row }]).unwrap();
    let made = Made { entries: 0, settled: 0, attestors: 2 };
    store.write_blocking(writes(0, &made)).unwrap();
    let row = AnchoredRow { slot: 0, batch: hash(9), height: 1 };
    store.write_blocking(vec![Write::Anchored { process, weave: WEAVE.into(), row }]).unwrap();
    let waiting = |store: &Store| store.read().unwrap().attestations_unanchored(&process, None, 9).unwrap();
    assert_eq!(waiting(&store), [(position, address(0)), (position, address(1))]);
    for left in [1, 0] {
        let StoreError::Conflict(conflict) = prune(&store, 0).unwrap_err() else { panic!("another error") };
        assert!(matches!(*conflict, Conflict::NotFinal { .. }), "{conflict}");
        let attestor = address(left);
        store.write_blocking(vec![Write::AttestationAnchored { process, position, attestor }]).unwrap();
        // The same attestation again is not a new one.
        store.write_blocking(writes(0, &made)).unwrap();
        assert_eq!(waiting(&store).len(), usize::from(left));
    }
    prune(&store, 0).unwrap();
    assert_eq!(attestors(&store.read().unwrap(), 0), []);
    assert!(store.read().unwrap().check(&mut |_, _| {}).unwrap().is_sound());
}

fn carried_row(seed: u8) -> CarriedRow {
    let (core, before) = (vec![seed; 69].into(), hash(seed));
    CarriedRow { core, before, running: hash(seed + 1), state_root: None, outbox_count: 2 }
}

#[test]
fn what_was_carried_goes_once_all_of_it_has_a_receipt() {
    let store = Store::open_with_backend(MemoryDisk::new(), &config()).unwrap();
    let (process, position) = (id(1), Position::slot(5));
    let row = AttestationRow { statement: hash(1), bytes: vec![1; 120].into() };
    let carried = Write::Carried { process, position, row: carried_row(1) };
    let sent = (0..2).map(|index| Write::Outbox { key: outbox_key(1, 5, index), row: outbox_row(1) });
    let attested = Write::Attestation { process, position, attestor: address(2), row };
    store.write_blocking([carried.clone(), attested].into_iter().chain(sent).collect()).unwrap();
    // Again is no change, and another hash is a contradiction.
    store.write_blocking(vec![carried]).unwrap();
    let other = Write::Carried { process, position, row: carried_row(2) };
    let refused = store.write_blocking(vec![other]);
    assert!(matches!(refused, Err(StoreError::Conflict(why)) if matches!(*why, Conflict::Outcome { .. })));
    let drop_it =
        || store.write_blocking(vec![Write::DropCarried { process, position, attestors: vec![address(2)] }]);
    let state = |index, state| {
        let key = outbox_key(1, 5, index);
        store.write_blocking(vec![Write::OutboxState { key, state, attempts: 1, next_try_ms: 0 }]).unwrap();
    };
    for (index, unsent) in [(0, OutboxState::Pending), (1, OutboxState::GivenUp)] {
        state(index, unsent);
        let refused = drop_it();
        let is_unsent = |why: &Conflict| matches!(why, Conflict::Unsent { index: at, .. } if *at == index);
        assert!(matches!(refused, Err(StoreError::Conflict(why)) if is_unsent(&why)), "entry {index}");
        assert_eq!(store.read().unwrap().carried(&process, position).unwrap(), Some(carried_row(1)));
        state(index, OutboxState::Settled { receipt: "receipt".into() });
    }
    drop_it().unwrap();
    let reader = store.read().unwrap();
    assert_eq!(reader.carried(&process, position).unwrap(), None);
    assert!(reader.outbox(&process, position).unwrap().is_empty());
    assert!(reader.attestations(&process, position).unwrap().is_empty());
    assert!(reader.carried_positions(&process, 9).unwrap().is_empty());
    drop_it().unwrap();
}

/// Whoever has an old attestation says it again as he likes: it would be anchored once more, hold up pruning till then,
/// and stay.
#[test]
fn what_was_attested_and_pruned_is_not_new_when_it_is_said_again() {
    let disk = MemoryDisk::new();
    let store = Store::open_with_backend(disk, &config()).unwrap();
    let roles = Roles { schedules: true, ..Roles::default() };
    store
        .write_blocking(vec![Write::Process { process: id(1), row: ProcessRow { module: id(2), roles } }])
        .unwrap();
    let made = Made { entries: 0, settled: 0, attestors: 2 };
    for slot in 0..3 {
        store.write_blocking(writes(slot, &made)).unwrap();
    }
    let unanchored = || store.read().unwrap().attestations_unanchored(&id(1), None, 100).unwrap();
    let all = unanchored();
    assert_eq!(all.len(), 6);
    let row = AnchoredRow { slot: 2, batch: hash(9), height: 1 };
    let mut settled = vec![Write::Anchored { process: id(1), weave: WEAVE.into(), row }];
    settled.extend(all.into_iter().map(|(position, attestor)| Write::AttestationAnchored {
        process: id(1),
        position,
        attestor,
    }));
    store.write_blocking(settled).unwrap();
    prune(&store, 0).unwrap();
    assert_eq!(attestors(&store.read().unwrap(), 0), []);
    store.write_blocking(writes(0, &made).split_off(4)).unwrap();
    assert_eq!(attestors(&store.read().unwrap(), 0), [], "it was pruned");
    assert_eq!(unanchored(), [], "it was anchored");
    // One that is late, of a slot that is still whole, is new.
    let row = AttestationRow { statement: hash(2), bytes: vec![2; 120].into() };
    let (process, position, attestor) = (id(1), Position::slot(1), address(7));
    store.write_blocking(vec![Write::Attestation { process, position, attestor, row }]).unwrap();
    assert_eq!(unanchored(), [(Position::slot(1), address(7))]);
}
