//! What waits to be anchored, for those who ask what it would cost.

use std::collections::BTreeMap;

use weft_protocol::Id;
use weft_storage::{Reader, StoreError};

use super::bundle::bundle;
use super::task::OPEN_MAX;
use crate::config::Backend;
use crate::error::NodeError;
use crate::shared::Shared;

/// Slots of a log that are in no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Of which log.
    pub(crate) process: Id,
    /// The first.
    pub(crate) from: u64,
    /// The last.
    pub(crate) to: u64,
}

/// What a bundle comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Weight {
    pub(crate) slots: u64,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    /// Of its items alone.
    pub(crate) item_bytes: u64,
}

/// What is not final yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rest {
    /// What waits of every log that this node schedules.
    pub(crate) logs: Vec<Waiting>,
    /// Batches in no final block.
    pub(crate) open: u64,
    /// Those of them that are in no posting, where there are postings.
    pub(crate) unposted: u64,
}

/// What is not final yet. Blocks on the disk.
///
/// # Errors
/// A damaged store.
pub(crate) fn waiting(shared: &Shared) -> Result<Rest, StoreError> {
    let reader = shared.store.read()?;
    let mut rest = Rest::default();
    let mut open: BTreeMap<Id, u64> = BTreeMap::new();
    for (root, row) in reader.batches_open(OPEN_MAX)? {
        let next = anchored(shared, &reader, &row.process)?.map_or(0, |slot| slot + 1);
        let has_slots = row.from_slot <= row.to_slot;
        // One that was made for another weave leaves a gap on this one, and does not go there.
        if has_slots && row.from_slot != next {
            continue;
        }
        rest.open += 1;
        if shared.config.anchor.backend != Backend::Local {
            rest.unposted += u64::from(reader.posting_of(&root, shared.anchored_on())?.is_none());
        }
        if has_slots {
            open.insert(row.process, row.to_slot);
        }
    }
    for process in shared.directory.ids(|roles| roles.schedules) {
        rest.logs.extend(of_log(shared, &reader, process, open.get(&process).copied())?);
    }
    Ok(rest)
}

fn anchored(shared: &Shared, reader: &Reader, process: &Id) -> Result<Option<u64>, StoreError> {
    Ok(reader.anchored(process, shared.anchored_on())?.map(|row| row.slot))
}

fn of_log(
    shared: &Shared,
    reader: &Reader,
    process: Id,
    open: Option<u64>,
) -> Result<Option<Waiting>, StoreError> {
    let Some((to, _)) = reader.head(&process)? else { return Ok(None) };
    let from = anchored(shared, reader, &process)?.max(open).map_or(0, |slot| slot + 1);
    Ok((from <= to).then_some(Waiting { process, from, to }))
}

/// What the next batch of a log would weigh. It is made and thrown away: blocks on the disk, and signs attestations.
///
/// # Errors
/// What keeps it from being made.
pub(crate) fn weigh(shared: &Shared, waiting: Waiting) -> Result<Weight, NodeError> {
    let Waiting { process, from, to } = waiting;
    let bundled = bundle(shared, process, from, to)
        .map_err(|error| NodeError::Batch { process, why: error.to_string() })?;
    let Some((last, batch)) = bundled else { return Ok(Weight::default()) };
    Ok(Weight {
        slots: last + 1 - from,
        items: batch.items().len() as u64,
        bytes: batch.bytes().len() as u64,
        item_bytes: batch.items().iter().map(|item| item.raw().len() as u64).sum(),
    })
}
