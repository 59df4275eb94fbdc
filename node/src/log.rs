//! Logs as typed records: from the disk, and on the way to it.

use std::sync::Arc;

use weft_protocol::assignment::Assignment;
use weft_protocol::cron::Schedule;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::origin::ProvenKind;
use weft_protocol::process::Process;
use weft_protocol::record::{Link, RecordError, SlotRecord, VerifiedRecord};
use weft_protocol::seen::SeenList;
use weft_protocol::time::TimePoint;
use weft_protocol::{Address, DataItem, Hash, Id, Position, Verified, wire};
use weft_storage::{Reader, SeenKey, SlotRow, StoreError, StoredSlot, Write};

use crate::error::NodeError;

mod ahead;
mod spare;

pub(crate) use ahead::{Ahead, Way, walk};
pub use spare::Spare;

/// Bytes that one read of a log brings into memory.
pub const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Seen keys read at once.
const SEEN_PAGE: usize = 50_000;

/// The writes that put a slot on disk.
pub fn slot_writes(process: Id, slot: u64, row: SlotRow, items: &[&Verified<DataItem>]) -> Vec<Write> {
    let mut writes: Vec<Write> =
        items.iter().map(|item| Write::Item { id: item.id(), raw: item.raw().clone() }).collect();
    writes.push(Write::Slot { process, slot, row });
    writes
}

/// The writes of the seen keys that a position adds.
pub fn seen_writes(process: Id, position: Position, keys: &[Hash]) -> impl Iterator<Item = Write> {
    keys.iter().map(move |key| Write::Seen { process, key: *key, position })
}

/// The writes of the seen keys that verified slots add to a list, which takes them as well.
pub fn seen_of(process: &Process, seen: &mut SeenList, records: &[VerifiedRecord]) -> Vec<Write> {
    let mut writes = Vec::new();
    for record in records {
        let Assignment { epoch, slot, .. } = record.assignment();
        let before = seen.len();
        seen.admit(*slot, &record.seen_keys(process));
        let keys: Vec<Hash> = seen.iter().skip(before).map(|(key, _)| key).collect();
        writes.extend(seen_writes(process.id(), Position { epoch: *epoch, slot: *slot, tick: 0 }, &keys));
    }
    writes
}

/// The seen list of a log, up to and including a slot.
///
/// # Errors
/// A damaged store.
pub fn read_seen(reader: &Reader, process: Id, last_slot: u64) -> Result<SeenList, StoreError> {
    let mut seen = SeenList::default();
    loop {
        let page = reader.seen_keys(&process, seen.len() as u64, SEEN_PAGE)?;
        let last = page.len() < SEEN_PAGE;
        for SeenKey { key, position } in page {
            if position.slot > last_slot {
                return Ok(seen);
            }
            seen.push(key, position.slot);
        }
        if last {
            return Ok(seen);
        }
    }
}

/// The write that says whose spawn a process came of, where slot 0 of one that `node` schedules comes
/// back: without it the same spawn could be given a second child. None where another child is known.
///
/// # Errors
/// A damaged store.
pub fn child_write(
    reader: &Reader,
    process: &Process,
    opening: &VerifiedRecord,
    node: Address,
) -> Result<Option<Write>, StoreError> {
    let spawn = opening.proven().filter(|proven| proven.kind == ProvenKind::Spawn);
    let Some(spawn) = spawn.filter(|_| process.scheduler() == node).map(|proven| proven.sender.push) else {
        return Ok(None);
    };
    Ok(reader.child(&spawn)?.is_none().then(|| Write::Child { spawn, process: process.id() }))
}

/// The wire form of a slot on disk.
pub fn wire_slot(stored: StoredSlot) -> wire::SlotRecord {
    wire::SlotRecord {
        assignment: stored.row.assignment,
        item: stored.item.unwrap_or_default(),
        proof: stored.proof.unwrap_or_default(),
    }
}

/// Reads slots `from..=to` back as verified records, as many as fit in [`READ_BYTES_MAX`] and at
/// least one, so that whoever reads on always gets on.
///
/// # Errors
/// A damaged store, a slot that does not verify any more, which is damage too, or that the first
/// slot is not there.
pub fn read_records(
    reader: &Reader,
    process: &Process,
    from: u64,
    to: u64,
) -> Result<Vec<VerifiedRecord>, NodeError> {
    let (terms, stored) = stored(reader, process, from, to, READ_BYTES_MAX)?;
    let records = stored
        .iter()
        .map(|stored| verified(process, &terms, stored).map_err(|why| damaged(process, stored.slot, &why)));
    records.collect()
}

/// Slots from `from` on as they lie on disk, as many as fit into so many bytes and at least one, and what their assignments
/// are held against.
fn stored(
    reader: &Reader,
    process: &Process,
    from: u64,
    to: u64,
    bytes_max: usize,
) -> Result<(EpochTerms, Vec<StoredSlot>), NodeError> {
    let id = process.id();
    let terms = EpochTerms::of_process(process);
    let terms = terms.map_err(|why| NodeError::DamagedLog { process: id, slot: 0, why: why.to_string() })?;
    let stored = reader.slot_records(&id, from, to, bytes_max)?.slots;
    if stored.first().is_none_or(|first| first.slot != from) {
        return Err(NodeError::MissingSlot { process: id, slot: from });
    }
    Ok((terms, stored))
}

fn verified(
    process: &Process,
    terms: &EpochTerms,
    stored: &StoredSlot,
) -> Result<VerifiedRecord, RecordError> {
    SlotRecord::from_wire(&wire_slot(stored.clone()))?.verify(process, terms, None)
}

/// What was verified before it was written does not verify now.
fn damaged(process: &Process, slot: u64, why: &RecordError) -> NodeError {
    NodeError::DamagedLog { process: process.id(), slot, why: why.to_string() }
}

/// The end of a log on disk.
///
/// # Errors
/// A damaged store.
pub fn read_link(reader: &Reader, process: &Id) -> Result<Option<Link>, StoreError> {
    Ok(reader.head(process)?.map(|(slot, row)| link_of(slot, &row)))
}

/// What falls due in a log as time passes; none without crons or slots.
///
/// # Errors
/// A damaged store.
pub fn read_schedule(reader: &Reader, process: &Process) -> Result<Option<Schedule>, StoreError> {
    let opening = reader.slot(&process.id(), 0)?;
    Ok(opening.and_then(|row| Schedule::new(process.crons(), link_of(0, &row).time)))
}

/// A slot's place in its log.
pub const fn link_of(slot: u64, row: &SlotRow) -> Link {
    Link {
        slot,
        assignment: row.assignment_id,
        hash_chain: row.chain,
        time: TimePoint { timestamp: row.timestamp, height: row.block_height },
    }
}

/// The accepted Process item of a process on disk: with the proof beside it, which says whose child
/// it is.
///
/// # Errors
/// A damaged store.
pub fn read_process(
    reader: &Reader,
    process: &Id,
    terms: &weft_protocol::process::Terms,
) -> Result<Option<Arc<Process>>, NodeError> {
    let stored = reader.slot_records(process, 0, 0, READ_BYTES_MAX)?;
    let Some(first) = stored.slots.into_iter().next() else { return Ok(None) };
    let opened = SlotRecord::from_wire(&wire_slot(first)).and_then(|record| record.open(terms));
    let damaged = |why: String| NodeError::DamagedLog { process: *process, slot: 0, why };
    let (accepted, _) = opened.map_err(|error| damaged(error.to_string()))?;
    Ok(Some(Arc::new(accepted)))
}

#[cfg(test)]
mod tests;
