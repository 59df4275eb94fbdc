//! Bringing the stores of earlier builds to the schema of this one.
//!
//! The row that says whose file it is also says its schema. Each step is one commit, which writes
//! the next number along: a crash leaves the file before a step or after it, never between.
//! A store that is newer than this build is refused before anything is written.

use bytes::Bytes;
use redb::{Database, ReadableTable as _, WriteTransaction};
use weft_protocol::origin::{self, ProvenKind};
use weft_protocol::{DataItem, Hash, Id};

use crate::error::StoreError;
use crate::key::{self, Parts};
use crate::meta::{self, Owner};
use crate::record::{self, Record};
use crate::rows::{Nothing, PostingRow, ProcessRow, Raw, SlotRow};
use crate::tables::{Definition, Table};

/// The schema of stores that this build writes.
pub(crate) const STORE_SCHEMA: u32 = 4;

/// One step from a schema to the next.
struct Step {
    /// The schema that it gives.
    to: u32,
    /// What it does, for the log.
    what: &'static str,
    run: fn(&WriteTransaction, Owner) -> Result<(), StoreError>,
}

/// Every step, in order.
const STEPS: &[Step] = &[
    Step {
        to: 2,
        what: "forgetting checkpoints of the earlier layout, and listing the children of spawns",
        run: to_2,
    },
    Step { to: 3, what: "keeping postings by their weave", run: to_3 },
    Step { to: 4, what: "forgetting an index of what is to be sent that nobody read", run: to_4 },
];

/// Does every step that a store of schema `found` lacks.
pub(crate) fn run(database: &Database, owner: Owner, found: u32) -> Result<(), StoreError> {
    for step in STEPS.iter().filter(|step| step.to > found) {
        tracing::info!(schema = step.to, "migrating the store: {}", step.what);
        let writing = database.begin_write().map_err(|error| failed(error.into()))?;
        (step.run)(&writing, owner)?;
        meta::put(&writing, Owner { schema: step.to, ..owner })?;
        writing.commit().map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

fn failed(error: redb::Error) -> StoreError {
    StoreError::disk("migrating it", error)
}

/// Schema 1 had checkpoints by the plain hash of their pages, which nobody reads any more; and its
/// scheduler found the children of spawns in its logs, where now a table names them.
fn to_2(writing: &WriteTransaction, owner: Owner) -> Result<(), StoreError> {
    for dead in ["checkpoints/1", "pages/1"] {
        forget(writing, dead)?;
    }
    // A build between the two may have listed some.
    let mut children = Vec::new();
    let processes = open(writing, Table::Processes)?;
    for entry in processes.iter().map_err(|error| failed(error.into()))? {
        let (key, value) = entry.map_err(|error| failed(error.into()))?;
        let value = Bytes::copy_from_slice(value.value());
        let row: ProcessRow = record::decode(Table::Processes.name(), key.value(), value)?;
        let process = Parts(key.value()).id();
        if let Some(process) = process.filter(|_| row.roles.schedules)
            && let Some(spawn) = spawn_of(writing, owner, &process)?
        {
            children.push((spawn, process));
        }
    }
    let mut listed = open(writing, Table::Children)?;
    for (spawn, process) in children {
        let bytes = record::encode(Table::Children.name(), &spawn.0, &process);
        listed.insert(spawn.0.as_slice(), bytes.as_slice()).map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

/// Schema 2 had one posting of some bytes, whatever the weave.
fn to_3(writing: &WriteTransaction, _: Owner) -> Result<(), StoreError> {
    let mut postings = open(writing, Table::Postings)?;
    let (mut open_ones, mut posted) = (open(writing, Table::PostingsOpen)?, open(writing, Table::Posted)?);
    let mut rows = Vec::new();
    for entry in postings.iter().map_err(|error| failed(error.into()))? {
        let (key, value) = entry.map_err(|error| failed(error.into()))?;
        let value = Bytes::copy_from_slice(value.value());
        let row: PostingRow = record::decode(Table::Postings.name(), key.value(), value)?;
        rows.extend(Parts(key.value()).hash().map(|root| (root, row)));
    }
    for (root, row) in rows {
        let key = key::on_weave(&root, &row.weave);
        take(&mut postings, &root.0)?;
        put(&mut postings, Table::Postings, &key, &row)?;
        take(&mut open_ones, &root.0)?;
        if !row.is_final() {
            put(&mut open_ones, Table::PostingsOpen, &key, &Nothing)?;
        }
        for part in &row.parts {
            take(&mut posted, &part.0)?;
            put(&mut posted, Table::Posted, &key::on_weave(part, &row.weave), &root)?;
        }
    }
    Ok(())
}

/// Schema 3 listed the pending entries of all outboxes by the time of their next try, for messengers that ask each
/// process instead: two more rows to write for each push.
fn to_4(writing: &WriteTransaction, _: Owner) -> Result<(), StoreError> {
    forget(writing, "outbox-due/1")
}

/// The push id of the spawn that a process came of, by the proof beside its item.
fn spawn_of(writing: &WriteTransaction, owner: Owner, process: &Id) -> Result<Option<Hash>, StoreError> {
    let slots = open(writing, Table::Slots)?;
    let opening = key::counted(process, 0);
    let row: Option<SlotRow> = get(&slots, Table::Slots, &opening)?;
    let Some((item, proof)) = row.and_then(|row| Some((row.item, row.proof?))) else { return Ok(None) };
    let items = open(writing, Table::Items)?;
    let verified = |id: &Id| -> Result<_, StoreError> {
        let raw: Option<Raw> = get(&items, Table::Items, &id.0)?;
        Ok(raw.and_then(|Raw(raw)| DataItem::verify_bytes(raw).ok()))
    };
    let (Some(item), Some(proof)) = (verified(&item)?, verified(&proof)?) else { return Ok(None) };
    // A proof that shows nothing makes nobody a parent.
    let shown = origin::verify(&item, &proof, owner.network).ok();
    Ok(shown.filter(|proven| proven.kind == ProvenKind::Spawn).map(|proven| proven.sender.push))
}

fn forget(writing: &WriteTransaction, table: &'static str) -> Result<(), StoreError> {
    writing.delete_table(Definition::new(table)).map(drop).map_err(|error| failed(error.into()))
}

type Rows<'a> = redb::Table<'a, &'static [u8], &'static [u8]>;

fn open(writing: &WriteTransaction, table: Table) -> Result<Rows<'_>, StoreError> {
    writing.open_table(table.definition()).map_err(|error| failed(error.into()))
}

fn put(rows: &mut Rows<'_>, table: Table, key: &[u8], row: &impl Record) -> Result<(), StoreError> {
    let bytes = record::encode(table.name(), key, row);
    rows.insert(key, bytes.as_slice()).map(drop).map_err(|error| failed(error.into()))
}

fn take(rows: &mut Rows<'_>, key: &[u8]) -> Result<(), StoreError> {
    rows.remove(key).map(drop).map_err(|error| failed(error.into()))
}

fn get<R: Record>(rows: &Rows<'_>, table: Table, key: &[u8]) -> Result<Option<R>, StoreError> {
    let stored = rows.get(key).map_err(|error| failed(error.into()))?;
    let stored = stored.map(|guard| Bytes::copy_from_slice(guard.value()));
    stored.map(|bytes| record::decode(table.name(), key, bytes)).transpose()
}
