//! A store of the first schema, opened by this build.
//!
//! `tests/format/schema-1.txt.zst` holds the rows of a real node's store, in hex: a counter that
//! spawned another one, both scheduled and computed here, on rules 1, whose processes were never written
//! in the first schema; so what a later build wrote is given as the first schema has it: no list of
//! children, and one checkpoint and page of its layout. Nothing in it may ever change.

use std::path::Path;

use redb::{ReadableDatabase as _, TableDefinition, TableHandle as _};
use weft_protocol::process::Terms;
use weft_protocol::record::SlotRecord;
use weft_protocol::time::Weave;
use weft_protocol::{Address, Id, Network, origin, wire};
use weft_storage::{RepairMode, Store, StoreConfig, repair};

use crate::fault_disk::{FAULTS, FaultDisk, chosen};
use crate::injected::{Image, image};

const FIXTURE: &[u8] = include_bytes!("../format/schema-1.txt.zst");
const NETWORK: Network = Network(0x8d5f_d36a);
/// What the second schema forgets, and the fourth.
const DEAD: [&str; 3] = ["checkpoints/1", "pages/1", "outbox-due/1"];
/// Tables of the first schema in which this store had no rows.
const EMPTY: [&str; 8] = [
    "outbox-pending/1",
    "outbox-due/1",
    "evidence/1",
    "blobs/1",
    "batches/1",
    "batches-open/1",
    "anchored/1",
    "peers/1",
];
/// Calls that fail in an ordinary run, of each kind of fault.
const SAMPLES: u64 = 10;

fn node() -> Address {
    "NHEuOLYYfcLSMsREP8BYghsSLST0CyG7ygXo1nLSp3o".parse().unwrap()
}

fn parent() -> Id {
    "3BEu-3_mkKBkcjAXBxnoQiEsj_rCEtQoRzktB7hkZcg".parse().unwrap()
}

fn child() -> Id {
    "cjWArPfC_7rUXDFVpZvG_iCjfq0tMqYH_Ff_5GekX_M".parse().unwrap()
}

fn config() -> StoreConfig {
    StoreConfig { cache_bytes: 4 * 1024 * 1024, ..StoreConfig::new(NETWORK, node()) }
}

fn rows() -> Image {
    let text = zstd::decode_all(FIXTURE).unwrap();
    let unhex = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let lines = std::str::from_utf8(&text).unwrap().lines();
    let fields = lines.map(|line| line.split(' ').collect::<Vec<_>>());
    fields.map(|fields| ((fields[0].to_owned(), unhex(fields[1])), unhex(fields[2]))).collect()
}

/// The store's file.
fn write(path: &Path) -> Vec<u8> {
    let database = redb::Database::create(path).unwrap();
    let writing = database.begin_write().unwrap();
    for table in EMPTY {
        writing.open_table::<&[u8], &[u8]>(TableDefinition::new(table)).unwrap();
    }
    for ((table, key), value) in rows() {
        let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(&table);
        writing.open_table(definition).unwrap().insert(key.as_slice(), value.as_slice()).unwrap();
    }
    writing.commit().unwrap();
    drop(database);
    std::fs::read(path).unwrap()
}

/// What an image says beside whose file it is.
fn without_meta(image: Image) -> Image {
    image.into_iter().filter(|((table, _), _)| table != "meta/1").collect()
}

/// What the migration makes of the rows: those of dead tables go, and the child is listed.
fn migrated() -> Image {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    write(&path);
    drop(Store::open(&path, &config()).unwrap());
    image(std::fs::read(path).unwrap())
}

#[test]
fn a_store_of_the_first_schema_keeps_every_row_that_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    write(&path);
    let store = Store::open(&path, &config()).unwrap();
    let reader = store.read().unwrap();
    let check = reader.check(&mut |_, _| {}).unwrap();
    assert!(check.is_sound(), "{check:?}");
    // Both logs verify from their first slot to the last.
    let terms = Terms { network: NETWORK, weave: Weave::Clock };
    let mut spawn = None;
    for (process, slots) in [(parent(), 6), (child(), 2)] {
        let stored = reader.slot_records(&process, 0, u64::MAX, usize::MAX).unwrap();
        assert_eq!(stored.slots.len(), slots);
        let mut records = stored.slots.into_iter().map(|slot| {
            let (item, proof) = (slot.item.unwrap_or_default(), slot.proof.unwrap_or_default());
            SlotRecord::from_wire(&wire::SlotRecord { assignment: slot.row.assignment, item, proof }).unwrap()
        });
        let (process, opening) = records.next().unwrap().open(&terms).unwrap();
        let epoch = weft_protocol::epoch::EpochTerms::of_process(&process).unwrap();
        let mut link = opening.link();
        for record in records {
            link = record.verify(&process, &epoch, Some(&link)).unwrap().link();
        }
        if let Some(proof) = opening.proof() {
            spawn = Some(origin::verify(opening.item(), proof, NETWORK).unwrap().sender.push);
        }
        assert_eq!(reader.last_outcome(&process.id()).unwrap().unwrap().0.slot, slots as u64 - 1);
    }
    // A second item of the spawn finds the first child, as it did before.
    assert_eq!(reader.child(&spawn.unwrap()).unwrap(), Some(child()));
    drop(reader);
    drop(store);
    let mut left = without_meta(image(std::fs::read(&path).unwrap()));
    let listed = left.extract_if(.., |(table, _), _| table == "children/1").count();
    assert_eq!(listed, 1);
    let before: Image = without_meta(rows());
    let kept: Image = before.into_iter().filter(|((table, _), _)| !DEAD.contains(&table.as_str())).collect();
    assert!(left == kept, "rows changed");
    let database = redb::Database::open(&path).unwrap();
    let reading = database.begin_read().unwrap();
    let dead = reading.list_tables().unwrap().filter(|table| DEAD.contains(&table.name())).count();
    assert_eq!(dead, 0);
}

#[test]
fn a_crash_while_a_store_is_migrated_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = write(&folder.path().join("store.redb"));
    let (before, after) = (image(bytes.clone()), migrated());
    let good = FaultDisk::of(bytes.clone());
    drop(Store::open_with_backend(good.clone(), &config()).unwrap());
    let (mut old, mut new) = (0, 0);
    for (offset, fault) in (0..).zip(FAULTS) {
        for number in chosen(good.calls(), SAMPLES, offset) {
            let disk = FaultDisk::of(bytes.clone());
            disk.fail(number, fault);
            let opens = Store::open_with_backend(disk.clone(), &config()).is_ok();
            for (how, found) in disk.found(number) {
                let case = format!("{fault:?} at call {number}, {how}");
                let here = image(found.bytes());
                if here == before {
                    assert!(!opens, "{case}: it was open, and nothing is there");
                    old += 1;
                } else {
                    assert!(without_meta(here) == without_meta(after.clone()), "{case}: half of it");
                    new += 1;
                }
                let opened = Store::open_with_backend(found.clone(), &config());
                drop(opened.unwrap_or_else(|error| panic!("{case}: {error}")));
                assert!(image(found.bytes()) == after, "{case}: it is not taken up again");
            }
        }
    }
    assert!(old > 0 && new > 0, "{old} before, {new} after");
}

#[test]
fn a_repair_of_an_old_store_misses_no_table_that_it_never_had() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let bytes = write(&path);
    let terms = Terms { network: NETWORK, weave: Weave::Clock };
    let look = |mode| repair(&path, &config(), &terms, None, mode, &mut |_, _| {}).unwrap();
    let report = look(RepairMode::DryRun);
    assert!(report.is_intact(), "{report:?}");
    // With a row gone it becomes a store of this build, child and all.
    let store = rows().into_iter().find(|((table, _), _)| table == "outbox/1").unwrap().1;
    let mut damaged = bytes;
    let place = damaged.windows(store.len()).position(|window| window == store).unwrap();
    damaged[place + 20] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let report = look(RepairMode::Replace);
    assert!(!report.is_intact() && report.cuts.is_empty() && report.cautions.is_empty(), "{report:?}");
    let repaired = image(std::fs::read(&path).unwrap());
    let children = |image: &Image| -> Vec<Vec<u8>> {
        image.iter().filter(|((table, _), _)| table == "children/1").map(|(_, value)| value.clone()).collect()
    };
    assert_eq!(children(&repaired), children(&migrated()));
}
