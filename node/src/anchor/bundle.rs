//! What a batch holds: each slot's assignment with its item and origin proof, the module beside the first ones, and
//! what is attested and no other batch has, with evidence. So a log can be computed and checked from the weave alone.

use std::collections::BTreeSet;

use prost::Message as _;
use weft_protocol::attestation::Attestation;
use weft_protocol::evidence::Evidence;
use weft_protocol::limits::MODULE_ITEM_BYTES_MAX;
use weft_protocol::wire::FILED_ATTESTATIONS_MAX;
use weft_protocol::{DataItem, Draft, Id, Tag, Verified, wire};
use weft_storage::anchor::{AnchorError, Batch};
use weft_storage::limits::BATCH_BYTES_MAX;
use weft_storage::{Reader, StoreError, Write};

use super::post::holds;
use crate::config::{AnchorCheckpoints, Backend};
use crate::error::NodeError;
use crate::portable::checkpoint::{CHECKPOINT_TYPE, PAGES_TYPE};
use crate::portable::{self, ATTESTATIONS_TYPE, EVIDENCE_TYPE};
use crate::shared::Shared;
use crate::{join, log};

/// Bytes of slots in one batch, and one slot more: with a module of the largest kind they are a batch.
const SLOT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Items of one batch that carry attestations, a thousand each.
const ATTESTATION_ITEMS_MAX: usize = 16;
/// Bytes of the pages of a checkpoint that goes into a batch: beside the slots there is room for so many.
const CHECKPOINT_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Items of one batch that carry evidence.
const EVIDENCE_ITEMS_MAX: usize = 256;
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

/// Bundles slots, each item once: as many of these as one batch has room for, and at least the first; and what waits
/// beside them. Answers the last of them too; nothing where there is nothing.
///
/// # Errors
/// Why there is no batch.
pub(super) fn bundle(
    shared: &Shared,
    process: Id,
    from: u64,
    to: u64,
) -> Result<Option<(u64, Batch)>, BatchError> {
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
    items.extend(beside(shared, &reader, (process, last), room)?);
    if items.is_empty() {
        return Ok(None);
    }
    Ok(Some((last, Batch::of_items(items)?)))
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

/// What is beside the slots: evidence, and what is attested of slots up to this one, as far as no confirmed batch has
/// it and there is room.
fn beside(
    shared: &Shared,
    reader: &Reader,
    (process, to): (Id, u64),
    mut room: usize,
) -> Result<Vec<Verified<DataItem>>, BatchError> {
    let mut items = Vec::new();
    let mut add = |items: &mut Vec<_>, kind: &str, data: Vec<u8>| -> Result<bool, BatchError> {
        let tags = vec![
            Tag::new("Type", kind),
            Tag::new("Process", process.to_string()),
            Tag::new("Network", shared.network.to_string()),
        ];
        let draft = Draft { target: None, anchor: None, tags, data: data.into() };
        let item = draft.sign(&shared.signer)?;
        let Some(left) = room.checked_sub(item.raw().len() + ITEM_ROOM_BYTES) else { return Ok(false) };
        room = left;
        items.push(item);
        Ok(true)
    };
    let mut lost = Vec::new();
    for (_, name) in reader.evidence_unanchored(Some(&process), EVIDENCE_ITEMS_MAX)? {
        let Some(row) = reader.evidence_named(&process, &name)? else {
            lost.push(Write::EvidenceAnchored { process, name });
            continue;
        };
        if !add(&mut items, EVIDENCE_TYPE, row.bytes.to_vec())? {
            return Ok(items);
        }
    }
    checkpoint(shared, reader, (process, to), &mut items, &mut add)?;
    let mut after = None;
    for _ in 0..ATTESTATION_ITEMS_MAX {
        let mut keys = reader.attestations_unanchored(&process, after, FILED_ATTESTATIONS_MAX)?;
        keys.retain(|(position, _)| position.slot <= to);
        let Some(last) = keys.last() else { break };
        after = Some(*last);
        let mut attestations = Vec::with_capacity(keys.len());
        for (position, attestor) in keys {
            let row = reader.attestation(&process, position, &attestor)?;
            match row.and_then(|row| wire::Attestation::decode(row.bytes).ok()) {
                Some(attestation) => attestations.push(attestation),
                None => lost.push(Write::AttestationAnchored { process, position, attestor }),
            }
        }
        if attestations.is_empty() {
            continue;
        }
        let message = wire::AttestationsResponse { attestations };
        if !add(&mut items, ATTESTATIONS_TYPE, message.encode_to_vec())? {
            break;
        }
    }
    forget(shared, lost)?;
    Ok(items)
}

/// Drops marks of what is not there, or is no attestation: a batch would be made for it again and again.
fn forget(shared: &Shared, lost: Vec<Write>) -> Result<(), StoreError> {
    if lost.is_empty() {
        return Ok(());
    }
    tracing::warn!(count = lost.len(), "what was to be anchored is not on disk");
    shared.store.write_blocking(lost)
}

/// Puts items into a batch while there is room; says whether there was.
type Add<'a> = &'a mut dyn FnMut(&mut Vec<Verified<DataItem>>, &str, Vec<u8>) -> Result<bool, BatchError>;

/// The newest checkpoint that a quorum signed and no batch has: all of it, or nothing.
fn checkpoint(
    shared: &Shared,
    reader: &Reader,
    (process, to): (Id, u64),
    items: &mut Vec<Verified<DataItem>>,
    add: Add<'_>,
) -> Result<(), BatchError> {
    let Some(known) = shared.directory.get(&process) else { return Ok(()) };
    if shared.config.anchor_checkpoints == AnchorCheckpoints::Off || !known.roles.schedules {
        return Ok(());
    }
    let anchored = reader.setting(&checkpoint_setting(shared, &process))?;
    let anchored = anchored.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?)));
    let Some(found) = join::checkpoint(reader, &known.process, to)? else { return Ok(()) };
    let slot = slot_of(&found);
    if slot <= anchored {
        return Ok(());
    }
    let Some(parts) = portable::checkpoint::parts(reader, &found, CHECKPOINT_BYTES_MAX)? else {
        return Ok(());
    };
    let before = items.len();
    let mut ids = Vec::with_capacity(parts.len());
    for part in parts {
        if !add(items, PAGES_TYPE, part.to_vec())? {
            items.truncate(before);
            return Ok(());
        }
        ids.extend(items.last().map(|item| item.id()));
    }
    if !add(items, CHECKPOINT_TYPE, portable::checkpoint::manifest(&ids, &found))? {
        items.truncate(before);
    }
    Ok(())
}

fn slot_of(checkpoint: &wire::CheckpointResponse) -> Option<u64> {
    Some(checkpoint.attestations.first()?.position.as_ref()?.slot)
}

/// The setting that says up to which slot this weave has checkpoints of a process.
fn checkpoint_setting(shared: &Shared, process: &Id) -> String {
    format!("anchored-checkpoint/{}/{process}", shared.anchored_on())
}

/// Whether something beside the slots up to this one waits for a batch.
///
/// # Errors
/// The disk.
pub(super) fn has_beside(reader: &Reader, process: &Id, to: Option<u64>) -> Result<bool, StoreError> {
    let first = reader.attestations_unanchored(process, None, 1)?;
    let attested = first.first().is_some_and(|(position, _)| Some(position.slot) <= to);
    Ok(attested || !reader.evidence_unanchored(Some(process), 1)?.is_empty())
}

/// What a confirmed batch holds beside slots: it waits for none any more. Whoever did not make the batch gives what
/// verifies.
pub(super) fn settled(shared: &Shared, process: Id, items: impl Iterator<Item = DataItem>) -> Vec<Write> {
    let mut writes = Vec::new();
    for item in items {
        // What others signed is part of a slot.
        let is_ours = item.owner() == shared.address && item.tag("Process") == Some(&process.to_string());
        match item.tag("Type").filter(|_| is_ours) {
            Some(ATTESTATIONS_TYPE) => {
                let message = wire::AttestationsResponse::decode(item.data());
                let read = message.iter().flat_map(|message| &message.attestations);
                let read = read.filter_map(|one| Attestation::from_wire(one, shared.network).ok());
                writes.extend(read.map(|one| Write::AttestationAnchored {
                    process,
                    position: one.claims().statement().position,
                    attestor: one.claims().attestor(),
                }));
            }
            Some(CHECKPOINT_TYPE) => {
                let read = portable::checkpoint::read_manifest(item.data());
                let slot = read.and_then(|(_, checkpoint)| slot_of(&checkpoint));
                writes.extend(slot.map(|slot| Write::Setting {
                    name: checkpoint_setting(shared, &process),
                    value: slot.to_be_bytes().to_vec().into(),
                }));
            }
            Some(EVIDENCE_TYPE) => {
                let read = Evidence::decode(&item.data(), shared.network).ok();
                writes.extend(read.map(|one| Write::EvidenceAnchored { process, name: one.claims().name() }));
            }
            _ => {}
        }
    }
    writes
}
