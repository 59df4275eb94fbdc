//! What a batch holds: each slot's assignment with its item and origin proof, the module beside the first ones, and
//! what is attested so far. So a log can be computed and checked from the weave alone.

use std::collections::BTreeSet;

use prost::Message as _;
use weft_protocol::limits::MODULE_ITEM_BYTES_MAX;
use weft_protocol::wire::FILED_ATTESTATIONS_MAX;
use weft_protocol::{Address, DataItem, Draft, Id, Position, Tag, Verified, wire};
use weft_storage::anchor::{AnchorError, Batch};
use weft_storage::limits::BATCH_BYTES_MAX;
use weft_storage::{Reader, StoreError};

use super::post::holds;
use crate::config::Backend;
use crate::error::NodeError;
use crate::log;
use crate::portable::ATTESTATIONS_TYPE;
use crate::shared::Shared;

/// Bytes of slots in one batch, and one slot more: with a module of the largest kind they are a batch.
const SLOT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Items of one batch that carry attestations, a thousand each.
const ATTESTATION_ITEMS_MAX: usize = 16;
/// Bytes that each item takes in a bundle beside its own.
const ITEM_ROOM_BYTES: usize = 64;

/// Why a batch was not made or submitted.
#[derive(Debug, thiserror::Error)]
pub(super) enum BatchError {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    #[error("an item does not verify or cannot be signed: {0}")]
    Item(#[from] weft_protocol::data_item::ItemError),
    #[error("process {0} is not known")]
    UnknownProcess(Id),
}

/// Bundles slots, each item once: as many of these as one batch has room for, and at least the first. Answers
/// the last of them too.
///
/// # Errors
/// Why there is no batch.
pub(super) fn bundle(shared: &Shared, process: Id, from: u64, to: u64) -> Result<(u64, Batch), BatchError> {
    let known = shared.directory.get(&process).ok_or(BatchError::UnknownProcess(process))?;
    let reader = shared.store.read()?;
    let mut items: Vec<Verified<DataItem>> = Vec::new();
    let mut have = BTreeSet::new();
    let (mut next, mut bytes) = (from, 0);
    while next <= to && bytes < SLOT_BYTES_MAX {
        for record in log::read_records(&reader, &known.process, next, to)? {
            next = record.assignment().slot + 1;
            let parts = [Some(record.assignment_item()), Some(record.item()), record.proof()];
            for part in parts.into_iter().flatten() {
                if have.insert(part.id()) {
                    bytes += part.raw().len();
                    items.push(part.clone());
                }
            }
            if bytes >= SLOT_BYTES_MAX {
                break;
            }
        }
    }
    let last = next - 1;
    items
        .extend(module(shared, &reader, known.process.module(), from)?.filter(|item| have.insert(item.id())));
    let taken: usize = items.iter().map(|item| item.raw().len() + ITEM_ROOM_BYTES).sum();
    let room = BATCH_BYTES_MAX.saturating_sub(taken + ITEM_ROOM_BYTES);
    items.extend(attestations(shared, &reader, (process, from, last), room)?);
    Ok((last, Batch::of_items(items)?))
}

/// The module, with the first slots of its first process on this weave.
fn module(
    shared: &Shared,
    reader: &Reader,
    module: Id,
    from: u64,
) -> Result<Option<Verified<DataItem>>, BatchError> {
    let is_there = || match shared.config.anchor.backend {
        Backend::Local => Ok::<_, BatchError>(shared.weave.item_now(&module)?.is_some()),
        Backend::Arweave | Backend::Bundler => Ok(holds(shared, &module)?),
    };
    if from > 0 || is_there()? {
        return Ok(None);
    }
    // A node that does not compute the process may not have it.
    let raw = reader.item(&module)?.filter(|raw| raw.len() <= MODULE_ITEM_BYTES_MAX);
    Ok(raw.map(DataItem::verify_bytes).transpose()?)
}

/// What is attested of these slots, and of those in the batch before: attestations come later than their slots. As much
/// as there is room for.
fn attestations(
    shared: &Shared,
    reader: &Reader,
    (process, from, to): (Id, u64, u64),
    mut room: usize,
) -> Result<Vec<Verified<DataItem>>, BatchError> {
    let before = reader.anchored(&process, shared.anchored_on())?;
    let before = before.map(|row| reader.batch(&row.batch)).transpose()?.flatten();
    let since = before.map_or(from, |row| row.from_slot.min(from));
    let mut after =
        since.checked_sub(1).map(|slot| (Position { epoch: 0, slot, tick: u32::MAX }, Address([0xff; 32])));
    let mut items = Vec::new();
    while items.len() < ATTESTATION_ITEMS_MAX {
        let mut rows = reader.attestations_after(&process, after, FILED_ATTESTATIONS_MAX)?;
        rows.retain(|((position, _), _)| position.slot <= to);
        let Some((last, _)) = rows.last() else { break };
        after = Some(*last);
        let decoded = rows.iter().filter_map(|(_, row)| wire::Attestation::decode(row.bytes.clone()).ok());
        let message = wire::AttestationsResponse { attestations: decoded.collect() };
        let tags = vec![
            Tag::new("Type", ATTESTATIONS_TYPE),
            Tag::new("Process", process.to_string()),
            Tag::new("Network", shared.network.to_string()),
        ];
        let draft = Draft { target: None, anchor: None, tags, data: message.encode_to_vec().into() };
        let item = draft.sign(&shared.signer)?;
        let Some(left) = room.checked_sub(item.raw().len() + ITEM_ROOM_BYTES) else { break };
        room = left;
        items.push(item);
    }
    Ok(items)
}
