//! Forgetting a log: all of it goes and nothing else does, whenever the disk fails and whoever writes meanwhile; and never
//! what this node works for or has still to send.

mod late;

use std::cell::Cell;
use std::ops::ControlFlow;

use bytes::Bytes;
use proptest::prelude::*;
use weft_protocol::{Id, Position};
use weft_storage::{
    AttestationRow, CheckpointRow, Conflict, Disk as _, EvidenceRow, FORGETTING_SETTING, Forgot, MemoryDisk,
    OutboxKey, OutboxState, OutcomeRow, PRUNED_SETTING, PackedPage, PageRef, ProcessRow, Roles, SlotRow,
    Store, StoreError, Write,
};

use crate::fault_disk::{FAULTS, FaultDisk, chosen};
use crate::format::put;
use crate::injected::{Image, image};
use crate::rows::{address, config, hash, id, outbox_row, outcome_row, slot_row};

/// The log that goes, and the one that stays.
const GOES: u8 = 1;
const STAYS: u8 = 2;
/// A slot of which the other log has the item too, one whose proof it names, and one whose item is to stay.
const SHARED: u64 = 2;
const SHARED_PROOF: u64 = 4;
const KEPT: u64 = 5;
const SLOTS: u64 = 9;
/// Calls that fail in an ordinary run, of each kind of fault.
const SAMPLES: u64 = 8;

fn item(log: u8, slot: u64) -> Id {
    Id([40 * log + slot as u8; 32])
}

fn proof(log: u8, slot: u64) -> Id {
    Id([40 * log + 20 + slot as u8; 32])
}

fn raw(id: &Id) -> Bytes {
    vec![id.0[0]; 300].into()
}

fn row(item: Id, proof: Option<Id>, seed: u8) -> SlotRow {
    SlotRow { item, proof, assignment_id: Id([seed; 32]), ..slot_row(seed) }
}

/// A slot of a log with all that a computer and a messenger write of it, all sent.
fn slot(log: u8, slot: u64) -> Vec<Write> {
    let (process, position, seed) = (id(log), Position::slot(slot), 10 * log + slot as u8);
    let (item, proof) = (item(log, slot), slot.is_multiple_of(2).then(|| proof(log, slot)));
    let key = OutboxKey { process, position, index: 0 };
    let settled = OutboxState::Settled { receipt: "receipt".into() };
    let outcome = OutcomeRow { item: Some(item), outbox_count: 1, ..outcome_row(seed) };
    let mut writes = vec![
        Write::Item { id: item, raw: raw(&item) },
        Write::Slot { process, slot, row: row(item, proof, seed) },
        Write::Seen { process, key: hash(seed), position },
        Write::Outcome { process, position, row: outcome },
        Write::Outbox { key, row: outbox_row(seed) },
        Write::OutboxState { key, state: settled, attempts: 1, next_try_ms: 0 },
        Write::Attestation {
            process,
            position,
            attestor: address(seed),
            row: AttestationRow { statement: hash(seed), bytes: "signed".into() },
        },
    ];
    writes.extend(proof.map(|id| Write::Item { id, raw: raw(&id) }));
    writes
}

/// A checkpoint of a page that both logs have and one of its own.
fn checkpoint(log: u8, slot: u64) -> Vec<Write> {
    let pages = [vec![7; 3_000], vec![log; 3_000]];
    let packed: Vec<_> = pages.iter().map(|page| PackedPage::pack(page).unwrap()).collect();
    let names = (0..).zip(&packed).map(|(number, page)| PageRef { number, hash: page.hash() }).collect();
    let row = CheckpointRow { memory_bytes: 1 << 20, pages: names, state: "state".into() };
    let mut writes: Vec<_> = packed.into_iter().map(Write::Page).collect();
    writes.push(Write::Checkpoint { process: id(log), position: Position::slot(slot), row });
    writes
}

fn process(log: u8, roles: Roles) -> Write {
    Write::Process { process: id(log), row: ProcessRow { module: id(120), roles } }
}

const WATCHES: Roles = Roles {
    schedules: false,
    computes: false,
    messenges: false,
    watches: true,
    keeps_time: false,
    pinned: false,
    on_demand: false,
    for_others: false,
};

/// What stays, whatever of the other log there ever was.
fn what_stays() -> Vec<Vec<Write>> {
    let mut requests = vec![vec![process(STAYS, WATCHES)]];
    requests.extend((0..SLOTS).map(|number| slot(STAYS, number)));
    requests.push(checkpoint(STAYS, 3));
    // It has items of the other log in slots of its own, and a proof that a stranger named again.
    let shared = item(GOES, SHARED);
    let named = row(shared, None, 31);
    requests.push(vec![
        Write::Item { id: shared, raw: raw(&shared) },
        Write::Slot { process: id(STAYS), slot: SLOTS, row: named },
    ]);
    let proof = proof(GOES, SHARED_PROOF);
    let named = row(id(33), Some(proof), 32);
    requests.push(vec![
        Write::Item { id: proof, raw: raw(&proof) },
        Write::Slot { process: id(STAYS), slot: SLOTS + 1, row: named },
    ]);
    let kept = item(GOES, KEPT);
    requests.push(vec![Write::Item { id: kept, raw: raw(&kept) }]);
    let evidence = EvidenceRow { culprit: address(6), bytes: "evidence".into() };
    requests.push(vec![Write::Evidence { process: id(GOES), name: hash(8), row: evidence }]);
    requests
}

fn write_all(store: &Store, requests: Vec<Vec<Write>>) {
    for request in requests {
        store.write_blocking(request).unwrap();
    }
}

/// Settings about a log, which go with it.
fn settings() -> [String; 2] {
    [format!("{PRUNED_SETTING}{}", id(GOES)), format!("about/{}/more", id(GOES))]
}

fn setting(name: &str) -> Write {
    Write::Setting { name: name.to_owned(), value: "value".into() }
}

fn what_goes(store: &Store) {
    write_all(store, vec![settings().iter().map(|name| setting(name)).collect()]);
    write_all(store, (0..SLOTS).map(|number| slot(GOES, number)).collect());
    write_all(store, vec![checkpoint(GOES, 3), checkpoint(GOES, 7), vec![process(GOES, Roles::default())]]);
}

fn goes(id: &Id, bytes: &Bytes) -> bool {
    assert_eq!(*bytes, raw(id));
    *id != item(GOES, KEPT)
}

fn forget(store: &Store) -> Result<Forgot, StoreError> {
    store.forget_log(id(GOES), &settings(), &goes, &mut |_, _| ControlFlow::Continue(()))
}

fn conflict(error: StoreError) -> Conflict {
    match error {
        StoreError::Conflict(conflict) => *conflict,
        other => panic!("{other:?}"),
    }
}

fn is_sound(store: &Store) -> bool {
    store.read().unwrap().check(&mut |_, _| {}).unwrap().is_sound()
}

fn bytes_of(disk: &MemoryDisk) -> Vec<u8> {
    let mut bytes = vec![0; disk.len().unwrap() as usize];
    disk.read(0, &mut bytes).unwrap();
    bytes
}

/// A store that never had the log.
fn expected() -> Image {
    let disk = MemoryDisk::new();
    let store = Store::open_with_backend(disk.clone(), &config()).unwrap();
    write_all(&store, what_stays());
    drop(store);
    image(bytes_of(&disk))
}

/// A store that has both.
fn filled(disk: impl weft_storage::Disk) -> Store {
    let store = Store::open_with_backend(disk, &config()).unwrap();
    // The log that goes comes first, so that what it shares was its own.
    what_goes(&store);
    write_all(&store, what_stays());
    store
}

#[test]
fn nothing_is_left_of_it_and_of_others_everything() {
    let disk = MemoryDisk::new();
    let store = filled(disk.clone());
    let mut heard = Vec::new();
    let forgot = store
        .forget_log(id(GOES), &settings(), &goes, &mut |done, total| {
            heard.push((done, total));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(heard.contains(&(0, SLOTS)) && heard.contains(&(SLOTS, SLOTS)), "{heard:?}");
    // Of nine items and five proofs an item and a proof are named elsewhere, and one item is to stay.
    assert_eq!((forgot.slots, forgot.items), (SLOTS, 14 - 3), "{forgot:?}");
    assert!(forgot.bytes > SLOTS * 600, "{forgot:?}");
    assert!(is_sound(&store));
    drop(store);
    let left = image(bytes_of(&disk));
    let extra: Vec<_> = left.iter().filter(|(key, _)| !expected().contains_key(*key)).collect();
    assert_eq!(extra, []);
    assert_eq!(left, expected());
}

/// What a fault left of the log is forgotten by forgetting it again, and the log that stays is whole. Says whether it had begun.
fn is_begun(case: &str, found: &FaultDisk, is_done: bool, expected: &Image) -> bool {
    let store = Store::open_with_backend(found.clone(), &config());
    let store = store.unwrap_or_else(|error| panic!("{case}: {error}"));
    assert!(is_sound(&store), "{case}");
    let reader = store.read().unwrap();
    let slots = reader.slots(&id(GOES), 0, u64::MAX, 100).unwrap();
    assert!(slots.iter().map(|(slot, _)| *slot).eq(0..slots.len() as u64), "{case}: a hole");
    assert_eq!(reader.head(&id(STAYS)).unwrap().unwrap().0, SLOTS + 1, "{case}");
    let is_begun = !reader.setting_names(FORGETTING_SETTING).unwrap().is_empty();
    assert!(is_begun || slots.is_empty() || slots.len() == SLOTS as usize, "{case}: no mark");
    assert!(!is_done || (slots.is_empty() && !is_begun), "{case}: it was said to be gone");
    drop(reader);
    forget(&store).unwrap();
    drop(store);
    assert_eq!(image(found.bytes()), *expected, "{case}");
    is_begun
}

/// Whatever call of the disk fails, forgetting is done by doing it again, and at no time is the log that stays less than it was.
#[test]
fn whenever_the_disk_fails_it_is_done_by_doing_it_again() {
    let good = FaultDisk::new();
    let store = filled(good.clone());
    let before = good.calls();
    forget(&store).unwrap();
    drop(store);
    let calls = good.calls() - before;
    assert!(calls > 50, "{calls}");
    let expected = expected();
    let mut begun = 0;
    for (offset, fault) in (0..).zip(FAULTS) {
        for call in chosen(calls, SAMPLES, offset) {
            let disk = FaultDisk::new();
            let store = filled(disk.clone());
            disk.fail(disk.calls() + call, fault);
            let is_done = forget(&store).is_ok();
            drop(store);
            for (how, found) in disk.found(call) {
                let case = format!("{fault:?} at call {call} of {calls}, {how}");
                begun += u64::from(is_begun(&case, &found, is_done, &expected));
            }
        }
    }
    assert!(begun > 5, "{begun} of {calls}");
}

#[test]
fn what_is_broken_off_goes_on_where_it_was() {
    let disk = MemoryDisk::new();
    let store = filled(disk.clone());
    let mut most = 0;
    loop {
        most += 1;
        let mut heard = 0;
        let stopped = store.forget_log(id(GOES), &settings(), &goes, &mut |_, _| {
            heard += 1;
            if heard > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match stopped {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, StoreError::Stopped), "{error:?}"),
        }
        assert!(is_sound(&store));
    }
    assert!(most >= 4, "{most}");
    drop(store);
    assert_eq!(image(bytes_of(&disk)), expected());
}

/// What is worked for, and what is still to be sent, stays.
#[test]
fn never_what_this_node_works_for_or_has_to_send() {
    let store = filled(MemoryDisk::new());
    store.write_blocking(vec![process(GOES, WATCHES)]).unwrap();
    let head = |store: &Store| store.read().unwrap().head(&id(GOES)).unwrap().map(|(slot, _)| slot);
    assert_eq!(conflict(forget(&store).unwrap_err()), Conflict::Served { process: id(GOES) });
    assert_eq!(head(&store), Some(SLOTS - 1));
    let key = OutboxKey { process: id(GOES), position: Position::slot(3), index: 1 };
    store.write_blocking(vec![process(GOES, Roles::default())]).unwrap();
    store.write_blocking(vec![Write::Outbox { key, row: outbox_row(5) }]).unwrap();
    let expected = Conflict::Unsent { process: id(GOES), position: key.position, index: 1 };
    assert_eq!(conflict(forget(&store).unwrap_err()), expected);
    // Its log is whole with what is said of it, and the entry waits as before.
    assert_eq!(head(&store), Some(SLOTS - 1));
    let is_said = |name: &String| store.read().unwrap().setting(name).unwrap().is_some();
    assert!(settings().iter().all(is_said));
    assert_eq!(store.read().unwrap().outbox_pending(&id(GOES), 9).unwrap().len(), 1);
    assert!(store.read().unwrap().whole_checkpoint(&id(GOES)).unwrap().is_some());
    let state = OutboxState::Dropped { why: "nobody wants it".into() };
    store.write_blocking(vec![Write::OutboxState { key, state, attempts: 1, next_try_ms: 0 }]).unwrap();
    forget(&store).unwrap();
    assert_eq!(head(&store), None);
}

/// Somebody takes it up meanwhile: from then on nothing of it goes, nor what is said of it.
#[test]
fn whenever_it_is_taken_up_all_that_is_left_stays() {
    for at in 1.. {
        let disk = MemoryDisk::new();
        let store = filled(disk.clone());
        let (mut looks, mut left) = (0, None);
        let forgot = store.forget_log(id(GOES), &settings(), &goes, &mut |_, _| {
            looks += 1;
            if looks == at {
                store.write_blocking(vec![process(GOES, WATCHES)]).unwrap();
                left = Some(image(bytes_of(&disk)));
            }
            ControlFlow::Continue(())
        });
        let Some(left) = left else {
            forgot.unwrap();
            assert!(at > 8, "{at} looks");
            return;
        };
        assert_eq!(conflict(forgot.unwrap_err()), Conflict::Served { process: id(GOES) }, "look {at}");
        assert!(is_sound(&store), "look {at}");
        let stays = image(bytes_of(&disk));
        assert!(left.iter().all(|(key, row)| stays.get(key) == Some(row)), "look {at}");
        store.write_blocking(vec![process(GOES, Roles::default())]).unwrap();
        forget(&store).unwrap();
        assert_eq!(store.read().unwrap().head(&id(GOES)).unwrap(), None);
    }
}

/// A row that cannot be read may name any item: those stay, and all else goes.
#[test]
fn damage_in_another_log_and_of_its_own_row_does_not_keep_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path, &config()).unwrap();
    what_goes(&store);
    write_all(&store, what_stays());
    drop(store);
    let first_slot = [id(STAYS).0.as_slice(), &0_u64.to_be_bytes()].concat();
    put(&path, "slots/1", &first_slot, b"damaged");
    put(&path, "processes/1", &id(GOES).0, b"damaged");
    let store = Store::open(&path, &config()).unwrap();
    let forgot = forget(&store).unwrap();
    assert_eq!((forgot.slots, forgot.items), (SLOTS, 0), "{forgot:?}");
    let reader = store.read().unwrap();
    assert_eq!((reader.head(&id(GOES)).unwrap(), reader.process(&id(GOES)).unwrap()), (None, None));
    assert!(reader.setting_names(FORGETTING_SETTING).unwrap().is_empty());
    assert!(reader.has_item(&item(GOES, 0)).unwrap());
}

/// Items are read whole before anything of the slots goes: whoever stops does not wait for all of them.
#[test]
fn between_items_it_is_asked_whether_to_go_on() {
    const MANY: u64 = 2_000;
    let store = Store::open_with_backend(MemoryDisk::new(), &config()).unwrap();
    let numbered = |number: u64| {
        let mut id = [9; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Id(id)
    };
    let log = (0..MANY).flat_map(|slot| {
        let item = numbered(slot);
        [
            Write::Item { id: item, raw: "raw".into() },
            Write::Slot { process: id(GOES), slot, row: row(item, None, 7) },
        ]
    });
    store.write_blocking(log.chain([process(GOES, Roles::default())]).collect()).unwrap();
    let read = Cell::new(0);
    let stopped = store.forget_log(
        id(GOES),
        &[],
        &|_, _| {
            read.set(read.get() + 1);
            true
        },
        &mut |_, _| if read.get() > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) },
    );
    assert!(matches!(stopped, Err(StoreError::Stopped)), "{stopped:?}");
    assert!(read.get() < MANY / 2, "{} items were read", read.get());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Others come to name its items while it goes: no slot ever lacks one.
    #[test]
    fn an_item_that_is_named_meanwhile_stays(
        named in prop::collection::vec((0_u16..600, any::<bool>(), 0_usize..7), 1..24),
    ) {
        let store = Store::open_with_backend(MemoryDisk::new(), &config()).unwrap();
        let (goes, other) = (id(200), id(201));
        let numbered = |number: u16| {
            let mut id = [9; 32];
            id[..2].copy_from_slice(&number.to_be_bytes());
            Id(id)
        };
        let slot = |process, slot, number| {
            let item = numbered(number);
            Write::Slot { process, slot, row: row(item, None, 7) }
        };
        let bytes = |number: u16| Write::Item { id: numbered(number), raw: number.to_be_bytes().to_vec().into() };
        let log = (0..600).flat_map(|number| [bytes(number), slot(goes, number.into(), number)]);
        let row = ProcessRow { module: id(120), roles: Roles::default() };
        store.write_blocking(log.chain([Write::Process { process: goes, row }]).collect()).unwrap();
        let (mut step, mut slots) = (0, 0);
        store.forget_log(goes, &[], &|_, _| true, &mut |_, _| {
            for (number, with_bytes, at) in &named {
                if *at != step {
                    continue;
                }
                // Whoever brings it, and whoever saw that it is on disk.
                let brings = *with_bytes || !store.read().unwrap().has_item(&numbered(*number)).unwrap();
                let writes = brings.then(|| bytes(*number)).into_iter().chain([slot(other, slots, *number)]);
                store.write_blocking(writes.collect()).unwrap();
                slots += 1;
            }
            step += 1;
            ControlFlow::Continue(())
        }).unwrap();
        prop_assert!(step >= 6, "{} looks", step);
        let reader = store.read().unwrap();
        prop_assert_eq!(reader.head(&goes).unwrap(), None);
        let left = reader.slots(&other, 0, u64::MAX, 100).unwrap();
        prop_assert_eq!(left.len(), usize::try_from(slots).unwrap());
        let mut stays = 0;
        for number in 0..600 {
            let is_named = left.iter().any(|(_, row)| row.item == numbered(number));
            prop_assert_eq!(reader.has_item(&numbered(number)).unwrap(), is_named, "item {}", number);
            stays += u64::from(is_named);
        }
        prop_assert!(slots == 0 || stays > 0);
        let check = reader.check(&mut |_, _| {}).unwrap();
        prop_assert!(check.is_sound(), "{:?}", check);
    }
}
