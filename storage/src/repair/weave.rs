//! What the embedded weave still has of logs that a damaged store lost.

use bytes::Bytes;
use redb::{ReadableTable as _, WriteTransaction};
use weft_protocol::assignment::Assignment;
use weft_protocol::push::ORIGIN_PROOF;
use weft_protocol::{Address, DataItem, Id};

use super::RepairReport;
use crate::anchor::{AnchorError, LocalWeave};
use crate::contained::Contained;
use crate::error::StoreError;
use crate::key;
use crate::record::{self, Record};
use crate::rows::{Raw, SlotRow};
use crate::tables::Table;

/// Puts slots that this node signed, and items that slots name, back from the weave. What it brings
/// is verified with all the rest afterwards.
pub(super) fn fill(
    weave: &LocalWeave,
    node: Address,
    database: &Contained,
    report: &mut RepairReport,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<(), StoreError> {
    let disk = |error: redb::Error| StoreError::disk("writing the repaired file", error);
    let writing = database.begin_write().map_err(|error| disk(error.into()))?;
    let filled = bring(weave, node, &writing, progress);
    match filled {
        Ok(brought) => {
            report.from_weave = brought;
            writing.commit().map_err(|error| disk(error.into()))
        }
        // The weave is damaged as well: peers are left.
        Err(error) => {
            report.problem(format!("the weave: {error}"));
            writing.abort().map_err(|error| disk(error.into()))
        }
    }
}

type Rows<'a> = redb::Table<'a, &'static [u8], &'static [u8]>;

fn bring(
    weave: &LocalWeave,
    node: Address,
    writing: &WriteTransaction,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<u64, AnchorError> {
    let open = |table: Table| {
        writing.open_table(table.definition()).map_err(|error| StoreError::disk("opening a table", error))
    };
    let (mut slots, mut items) = (open(Table::Slots)?, open(Table::Items)?);
    let (mut looked, mut brought) = (0, 0);
    weave.each_item(&mut |raw| {
        looked += 1;
        progress("reading the weave", looked);
        let Ok(signed) = DataItem::parse(raw) else { return Ok(()) };
        let signed = signed.claims();
        // A stranger's item may look like an assignment; it is not signed by this node.
        let claims = Assignment::from_item(signed).ok().filter(|_| signed.owner() == node);
        let Some(claims) = claims else { return Ok(()) };
        let row = SlotRow {
            epoch: claims.epoch,
            assignment_id: claims.id,
            assignment: signed.raw().clone(),
            item: claims.item(),
            proof: proof_of(weave, &claims.item())?,
            chain: claims.hash_chain,
            timestamp: claims.time.timestamp,
            block_height: claims.time.height,
        };
        let place = key::counted(&claims.process, claims.slot);
        brought += put_missing(&mut slots, Table::Slots, &place, || Ok(Some(row)))?;
        Ok(())
    })?;
    for entry in slots.iter().map_err(|error| StoreError::disk("reading the repaired file", error))? {
        let (place, value) = entry.map_err(|error| StoreError::disk("reading the repaired file", error))?;
        let value = Bytes::copy_from_slice(value.value());
        let row: SlotRow = record::decode(Table::Slots.name(), place.value(), value)?;
        for id in [Some(row.item), row.proof].into_iter().flatten() {
            let raw = || Ok(weave.raw_item(&id)?.map(Raw));
            brought += put_missing(&mut items, Table::Items, &id.0, raw)?;
        }
    }
    Ok(brought)
}

/// Puts a row where there is none, if there is one to put. Answers how many it put.
fn put_missing<R: Record>(
    rows: &mut Rows<'_>,
    table: Table,
    key: &[u8],
    row: impl FnOnce() -> Result<Option<R>, AnchorError>,
) -> Result<u64, AnchorError> {
    let disk = |error| StoreError::disk("writing the repaired file", error);
    if rows.get(key).map_err(disk)?.is_some() {
        return Ok(0);
    }
    let Some(row) = row()? else { return Ok(0) };
    let bytes = record::encode(table.name(), key, &row);
    rows.insert(key, bytes.as_slice()).map_err(disk)?;
    Ok(1)
}

/// The origin proof that an item of the weave names.
fn proof_of(weave: &LocalWeave, item: &Id) -> Result<Option<Id>, AnchorError> {
    let raw = weave.raw_item(item)?;
    let item = raw.and_then(|raw| DataItem::parse(raw).ok());
    Ok(item.and_then(|item| item.claims().tag(ORIGIN_PROOF)?.parse().ok()))
}
