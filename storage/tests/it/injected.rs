//! Every fault of the disk, at every call: nothing acknowledged is lost, nothing is there by
//! halves, what is there is what was written, and nothing panics.
//!
//! The same script of requests runs on a good disk first, which gives the state after each
//! request. Then it runs once for each call that can fail; what the disk holds afterwards, as the
//! next process or the next boot finds it, must be one of those states, and none before the last
//! acknowledgement. Ordinarily a sample of the calls fails; all of them with `WEFT_FULL=1`.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition, TableHandle as _};
use weft_protocol::crypto::Signer;
use weft_protocol::{Draft, Position, Tag};
use weft_storage::anchor::{Batch, LocalWeave, LocalWeaveConfig};
use weft_storage::{
    AnchoredRow, AttestationRow, BatchRow, BatchState, CheckpointRow, Disk as _, EvidenceRow, OutboxState,
    PackedPage, PageRef, ProcessRow, Roles, Store, StoreError, Write,
};

use crate::fault_disk::{FAULTS, Fault, FaultDisk, Unsynced, chosen, next};
use crate::rows::{address, config, hash, id, outbox_key, outbox_row, outcome_row, slot_row};

/// Calls that fail in an ordinary run, of each kind of fault.
const SAMPLES: u64 = 40;
/// Slots of the script, beside its other requests.
const SLOTS: u64 = 4;

/// Every row of every table: what a file says, whatever its pages look like.
pub type Image = BTreeMap<(String, Vec<u8>), Vec<u8>>;

pub fn image(bytes: Vec<u8>) -> Image {
    let mut image = Image::new();
    let database = redb::Builder::new().create_with_backend(Bare(FaultDisk::of(bytes))).unwrap();
    let reading = database.begin_read().unwrap();
    for table in reading.list_tables().unwrap() {
        let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table.name());
        for row in reading.open_table(definition).unwrap().iter().unwrap() {
            let (key, value) = row.unwrap();
            image.insert((table.name().to_owned(), key.value().to_vec()), value.value().to_vec());
        }
    }
    image
}

/// A disk as redb itself takes one.
#[derive(Debug)]
struct Bare(FaultDisk);

impl redb::StorageBackend for Bare {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.0.set_len(length)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync()
    }
    fn write(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, bytes)
    }
}

/// What a node writes as it takes up a process, assigns, computes, pushes and anchors.
fn script() -> Vec<Vec<Write>> {
    let process = id(1);
    let row =
        ProcessRow { module: id(2), roles: Roles { schedules: true, computes: true, ..Roles::default() } };
    let mut requests = vec![
        vec![Write::Item { id: id(2), raw: vec![7; 100_000].into() }, Write::Process { process, row }],
        vec![Write::Setting { name: "name".into(), value: "value".into() }],
    ];
    for slot in 0..SLOTS {
        let (seed, position) = (10 + slot as u8, Position::slot(slot));
        requests.push(vec![
            Write::Item { id: slot_row(seed).item, raw: vec![seed; 1_200].into() },
            Write::Slot { process, slot, row: slot_row(seed) },
            Write::Seen { process, key: hash(seed), position },
        ]);
        let key = outbox_key(1, slot, 0);
        requests.push(vec![
            Write::Outcome { process, position, row: outcome_row(seed) },
            Write::Outbox { key, row: outbox_row(seed) },
        ]);
        let settled = OutboxState::Settled { receipt: "receipt".into() };
        requests.push(vec![Write::OutboxState { key, state: settled, attempts: 1, next_try_ms: 1 }]);
    }
    requests.extend(the_rest());
    requests
}

fn the_rest() -> Vec<Vec<Write>> {
    let (process, position) = (id(1), Position::slot(3));
    let page = [9_u8; 5_000];
    let pages = vec![PageRef { number: 0, hash: PackedPage::hash_of(&page) }];
    let other = [8_u8; 5_000];
    let more = [&pages[..], &[PageRef { number: 3, hash: PackedPage::hash_of(&other) }]].concat();
    let checkpoint = |pages, state: &'static str| {
        let row = CheckpointRow { memory_bytes: 1 << 20, pages, state: state.into() };
        Write::Checkpoint { process, position, row }
    };
    let bundle = Bytes::from(vec![5; 40_000]);
    let batch = |state| BatchRow {
        process,
        from_slot: 0,
        to_slot: 3,
        bundle: weft_storage::blob_name(&bundle),
        items: 8,
        bytes: 40_000,
        state,
        attempts: 0,
        next_try_ms: 0,
    };
    let batch = |state| Write::Batch { data_root: hash(3), row: batch(state) };
    let attestation = AttestationRow { statement: hash(1), bytes: "signed".into() };
    let evidence = EvidenceRow { culprit: address(6), bytes: "evidence".into() };
    let anchored = AnchoredRow { slot: 3, batch: hash(3), height: 8 };
    vec![
        vec![Write::Attestation { process, position, attestor: address(6), row: attestation }],
        vec![Write::Evidence { process, name: hash(7), row: evidence }],
        // In two parts: only the second makes it a checkpoint.
        vec![Write::Page(PackedPage::pack(&page).unwrap()), checkpoint(pages, "")],
        vec![Write::Page(PackedPage::pack(&other).unwrap()), checkpoint(more, "state")],
        vec![Write::Blob(bundle.clone()), batch(BatchState::Building)],
        vec![
            batch(BatchState::Confirmed { height: 8, block: hash(4) }),
            Write::Anchored { process, weave: "local:x".into(), row: anchored },
            Write::DropBlob(weft_storage::blob_name(&bundle)),
        ],
        vec![Write::DropSetting { name: "name".into() }],
        vec![Write::DropCheckpoint { process, position }],
    ]
}

/// Opens a store on the disk and writes the script until something fails. Answers how many
/// requests were acknowledged, and how many were tried; none when the store was never made.
fn run(disk: &FaultDisk, script: &[Vec<Write>]) -> Option<(usize, usize)> {
    let store = Store::open_with_backend(disk.clone(), &config()).ok()?;
    for (number, request) in script.iter().enumerate() {
        if let Err(error) = store.write_blocking(request.clone()) {
            assert!(matches!(error, StoreError::Disk { .. }), "a fault became {error:?}");
            assert_eq!(error.is_full(), disk.is_full(), "{error:?}");
            let again = store.write_blocking(request.clone()).expect_err("a store wrote on after a fault");
            assert!(matches!(again, StoreError::Disk { .. }), "{again:?}");
            return Some((number, number + 1));
        }
        // A reader meets the same disk, and gets an error at worst.
        if number % 3 == 0
            && let Err(error) = store.read().and_then(|reader| reader.head(&id(1)))
        {
            assert!(matches!(error, StoreError::Disk { .. }), "a fault became {error:?}");
        }
    }
    drop(store);
    Some((script.len(), script.len()))
}

/// The state after each number of requests, and the calls of a run in which none fails.
fn good_run(script: &[Vec<Write>]) -> (Vec<Image>, u64) {
    let disk = FaultDisk::new();
    let store = Store::open_with_backend(disk.clone(), &config()).unwrap();
    let mut states = vec![image(disk.after_power_loss(Unsynced::Lost).bytes())];
    for request in script {
        store.write_blocking(request.clone()).unwrap();
        states.push(image(disk.after_power_loss(Unsynced::Lost).bytes()));
    }
    drop(store);
    let good = FaultDisk::new();
    assert_eq!(run(&good, script), Some((script.len(), script.len())));
    (states, good.calls())
}

/// The store that the next process opens must hold one of the states that may be there.
fn judge(case: &str, disk: &FaultDisk, states: &[Image], ran: Option<(usize, usize)>) {
    let store = match Store::open_with_backend(disk.clone(), &config()) {
        Ok(store) => store,
        // Half a file that nobody was told of. In a folder it has no name yet, and is made anew.
        Err(StoreError::NotAStore { .. } | StoreError::Unreadable { .. }) if ran.is_none() => return,
        Err(error) => panic!("{case}: the store does not open again: {error}"),
    };
    let (acknowledged, tried) = ran.unwrap_or((0, 0));
    let check = store.read().unwrap().check(&mut |_, _| {}).unwrap();
    assert!(check.is_sound(), "{case}: {check:?}");
    drop(store);
    let found = image(disk.bytes());
    let state = states.iter().position(|state| *state == found);
    let Some(state) = state else { panic!("{case}: a state that no request left") };
    assert!(
        (acknowledged..=tried).contains(&state),
        "{case}: the state after {state} requests; {acknowledged} were acknowledged, {tried} tried"
    );
}

fn every_call(fault: Fault, offset: u64) {
    let script = script();
    let (states, calls) = good_run(&script);
    for number in chosen(calls, SAMPLES, offset) {
        let case = format!("{fault:?} at call {number} of {calls}");
        let disk = FaultDisk::new();
        disk.fail(number, fault);
        let ran = catch_unwind(AssertUnwindSafe(|| run(&disk, &script)));
        let ran = ran.unwrap_or_else(|_| panic!("{case}: a panic"));
        disk.heal();
        // The process ends and another opens what the system still has of it.
        judge(&case, &FaultDisk::of(disk.bytes()), &states, ran);
        // The machine loses power: what was not synced is gone, or some of it is there.
        let lost = disk.after_power_loss(Unsynced::Lost);
        judge(&format!("{case}, power lost"), &lost, &states, ran);
        for seed in [number, next(number)] {
            let some = disk.after_power_loss(Unsynced::Some { seed });
            judge(&format!("{case}, seed {seed}"), &some, &states, ran);
        }
    }
}

#[test]
fn a_call_that_fails_once_loses_nothing() {
    every_call(Fault::Once, 0);
}

#[test]
fn a_device_that_goes_away_loses_nothing() {
    every_call(Fault::Gone, 1);
}

#[test]
fn a_write_that_ends_half_way_loses_nothing() {
    every_call(Fault::Short, 2);
}

#[test]
fn a_full_disk_loses_nothing() {
    every_call(Fault::Full, 3);
}

/// The judge itself: on a disk that lies about syncs something acknowledged is lost, and is missed.
#[test]
fn a_disk_that_lies_is_caught() {
    let script = script();
    let (states, calls) = good_run(&script);
    let disk = FaultDisk::new();
    disk.fail(calls / 2, Fault::Lying);
    let ran = run(&disk, &script);
    assert_eq!(ran, Some((script.len(), script.len())));
    let lost = disk.after_power_loss(Unsynced::Lost);
    catch_unwind(AssertUnwindSafe(|| judge("a lie", &lost, &states, ran)))
        .expect_err("nobody missed anything");
}

#[test]
fn a_store_goes_on_where_it_was_when_space_returns() {
    let disk = FaultDisk::new();
    let store = Store::open_with_backend(disk.clone(), &config()).unwrap();
    let slot = |number: u64| {
        let raw: Bytes = vec![number as u8; 200_000].into();
        let row = slot_row(number as u8);
        vec![Write::Item { id: row.item, raw }, Write::Slot { process: id(1), slot: number, row }]
    };
    store.write_blocking(slot(0)).unwrap();
    disk.set_capacity(disk.bytes().len() as u64);
    let (refused, error) =
        (1..).find_map(|number| Some((number, store.write_blocking(slot(number)).err()?))).unwrap();
    assert!(error.is_full(), "{error:?}");
    drop(store);
    // Still full: whatever opens has all that was acknowledged.
    if let Ok(store) = Store::open_with_backend(disk.clone(), &config()) {
        assert_eq!(store.read().unwrap().head(&id(1)).unwrap().unwrap().0, refused - 1);
    }
    disk.heal();
    let store = Store::open_with_backend(disk.clone(), &config()).unwrap();
    assert_eq!(store.read().unwrap().head(&id(1)).unwrap().unwrap().0, refused - 1);
    store.write_blocking(slot(refused)).unwrap();
    assert!(store.read().unwrap().check(&mut |_, _| {}).unwrap().is_sound());
}

fn weave_config() -> LocalWeaveConfig {
    LocalWeaveConfig { network: config().network, node: address(1), now_ms: 1_700_000_000_000 }
}

/// Submits and mines three batches; answers how many steps were acknowledged, the opening
/// included.
fn run_weave(disk: &FaultDisk, batches: &[Batch]) -> usize {
    let Ok(weave) = LocalWeave::open_with_backend(disk.clone(), &weave_config()) else { return 0 };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut done = 1;
    for (number, batch) in batches.iter().enumerate() {
        if runtime.block_on(weft_storage::Anchor::submit(&weave, batch.clone())).is_err() {
            return done;
        }
        done += 1;
        if weave.mine(1_700_000_000_001 + number as u64).is_err() {
            return done;
        }
        done += 1;
    }
    done
}

#[test]
fn a_weave_loses_nothing_either() {
    let signer = Signer::from_seed(&[1; 32]);
    let batches: Vec<Batch> = (0..3)
        .map(|number: u8| {
            let tags = vec![Tag::new("Type", "Assignment")];
            let draft = Draft { target: Some(id(9)), anchor: None, tags, data: vec![number; 3_000].into() };
            Batch::of_items(vec![draft.sign(&signer).unwrap()]).unwrap()
        })
        .collect();
    let good = FaultDisk::new();
    assert_eq!(run_weave(&good, &batches), 7);
    let calls = good.calls();
    for number in chosen(calls, SAMPLES, 0) {
        for fault in FAULTS {
            let case = format!("{fault:?} at call {number} of {calls}");
            let disk = FaultDisk::new();
            disk.fail(number, fault);
            let ran = catch_unwind(AssertUnwindSafe(|| run_weave(&disk, &batches)));
            let done = ran.unwrap_or_else(|_| panic!("{case}: a panic"));
            disk.heal();
            for (how, disk) in disk.found(number) {
                // Opening walks the chain of blocks.
                let weave = match LocalWeave::open_with_backend(disk, &weave_config()) {
                    Ok(weave) => weave,
                    Err(_) if done == 0 => continue,
                    Err(error) => panic!("{case}, {how}: {error}"),
                };
                let blocks = weave.newest_block().unwrap().height as usize;
                let least = done.saturating_sub(1) / 2;
                assert!(blocks >= least, "{case}, {how}: {blocks} blocks after {done} steps");
            }
        }
    }
}
