//! Giving checkpoints to others: what lies on disk, signed by a quorum.

use bytes::Bytes;
use weft_protocol::attestation::BOUNDARY_SLOTS;
use weft_protocol::process::Process;
use weft_protocol::{Hash, Position, wire};
use weft_storage::{CheckpointRow, OutcomeRow, Reader, StoreError};

use super::CHUNK_PAGES;
use super::manifest::REF_BYTES;
use crate::attestations;
use crate::compute::checkpoint::decode;

/// Checkpoints that are looked at for one that may be given.
const LOOKED_AT_MAX: usize = 32;

/// The newest checkpoint at a boundary up to this slot that a quorum signed, if there is one here.
pub(crate) fn checkpoint(
    reader: &Reader,
    process: &Process,
    to: u64,
) -> Result<Option<wire::CheckpointResponse>, StoreError> {
    let id = process.id();
    let newest = Position { epoch: 0, slot: to, tick: u32::MAX };
    for position in reader.checkpoints_before(&id, newest, LOOKED_AT_MAX)? {
        let Position { slot, tick, .. } = position;
        if tick != 0 || slot == 0 || !slot.is_multiple_of(BOUNDARY_SLOTS) {
            continue;
        }
        // The row of a checkpoint has megabytes: first it is looked whether anybody signed for it.
        let Some(OutcomeRow { running, state_root, .. }) = reader.outcome(&id, position)? else { continue };
        let signed = attestations::quorum_wire(reader, process, position, (running, state_root))?;
        let Some(attestations) = signed else { continue };
        // A damaged one is none.
        let Ok(Some(row)) = reader.checkpoint(&id, position) else { continue };
        let Some(summary) = decode(&row.state, id, position, row.memory_bytes) else { continue };
        if (summary.running.0, Some(summary.root())) == (running, state_root) {
            let state = Some(wire::StateSummary::from(&summary));
            return Ok(Some(wire::CheckpointResponse { attestations, state, pages: listed(&row) }));
        }
    }
    Ok(None)
}

fn listed(row: &CheckpointRow) -> Bytes {
    let mut out = Vec::with_capacity(row.pages.len() * REF_BYTES);
    for page in &row.pages {
        out.extend_from_slice(&page.number.to_be_bytes());
        out.extend_from_slice(&page.hash.0);
    }
    out.into()
}

/// Leaves by their hashes, in this order, at most so many, up to the first that is not here; none where the list
/// makes no sense.
pub(crate) fn pages(reader: &Reader, hashes: &[u8], most: usize) -> Result<Option<Vec<Bytes>>, StoreError> {
    let (hashes, rest) = hashes.as_chunks::<32>();
    if !rest.is_empty() || hashes.is_empty() || hashes.len() > CHUNK_PAGES {
        return Ok(None);
    }
    let mut pages = Vec::with_capacity(hashes.len());
    for hash in hashes.iter().take(most) {
        let Some(page) = reader.page(&Hash(*hash))? else { break };
        pages.push(page);
    }
    Ok(Some(pages))
}
