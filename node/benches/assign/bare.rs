//! redb alone: how many items and slot rows a second it makes durable, whoever decides what is in them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
// tidy-allow(third-party): what bounds a node's store is redb without the store
use redb::{Builder, Database, Durability, TableDefinition};
use weft_protocol::{DataItem, Id};
use weft_storage::limits::CACHE_BYTES_DEFAULT;

const ITEMS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("items");
const SLOTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("slots");
/// What the row of a slot has beside its assignment: three names, numbers and a checksum.
const SLOT_FIELDS_BYTES: usize = 134;

/// The rows of one commit, each table in the order of its keys: the store writes a group so, too.
#[derive(Default)]
struct Group {
    items: Vec<(Id, Bytes)>,
    slots: Vec<Vec<u8>>,
}

/// Writes these messages and a slot row for each to a file of their own, so many in each commit; gives how
/// many that makes a second. Rows that only index these are left out: a bound needs none.
pub fn rate(folder: &Path, items: &[Bytes], assignment_bytes: usize, per_commit: usize) -> f64 {
    let groups = groups(items, per_commit);
    let row = vec![1; SLOT_FIELDS_BYTES + assignment_bytes];
    let file = folder.join("bare.redb");
    let database = Builder::new().set_cache_size(CACHE_BYTES_DEFAULT).create(file).unwrap();
    let started = Instant::now();
    for group in &groups {
        commit(&database, group, &row);
    }
    items.len() as f64 / started.elapsed().as_secs_f64()
}

fn groups(items: &[Bytes], per_commit: usize) -> Vec<Group> {
    let mut slots: BTreeMap<Id, u64> = BTreeMap::new();
    let mut groups = Vec::new();
    for items in items.chunks(per_commit) {
        let mut group = Group::default();
        for raw in items {
            let item = DataItem::parse(raw.clone()).unwrap();
            let process = item.claims().target().unwrap();
            let slot = slots.entry(process).or_default();
            *slot += 1;
            group.slots.push([process.0.as_slice(), &slot.to_be_bytes()].concat());
            group.items.push((item.claims().id(), raw.clone()));
        }
        group.items.sort_unstable_by_key(|(id, _)| *id);
        group.slots.sort_unstable();
        groups.push(group);
    }
    groups
}

fn commit(database: &Database, group: &Group, row: &[u8]) {
    let mut writing = database.begin_write().unwrap();
    writing.set_durability(Durability::Immediate).unwrap();
    {
        let mut items = writing.open_table(ITEMS).unwrap();
        for (id, raw) in &group.items {
            items.insert(id.0.as_slice(), &raw[..]).unwrap();
        }
        let mut slots = writing.open_table(SLOTS).unwrap();
        for key in &group.slots {
            slots.insert(key.as_slice(), row).unwrap();
        }
    }
    writing.commit().unwrap();
}
