//! Keeping what other attestors signed.

use std::collections::BTreeMap;

use prost::Message as _;
use weft_protocol::attestation::Attestation;
use weft_protocol::evidence::Evidence;
use weft_protocol::limits::{CRON_INTERVALS_MAX, TICKS_MAX};
use weft_protocol::process::Process;
use weft_protocol::{Address, Hash, Id, Position, Verified, wire};
use weft_storage::{AttestationRow, Conflict, Reader, StoreError, Write};

use crate::messenger::collect::Hold;
use crate::news::News;
use crate::prune;
use crate::shared::Shared;

/// How far ahead of the log an attestation may be and still be kept, in slots.
const AHEAD_SLOTS_MAX: u64 = 4_096;

/// The highest tick that any slot has: every cron interval at its limit.
const TICKS_OF_SLOT_MAX: u64 = TICKS_MAX * CRON_INTERVALS_MAX as u64;

/// What became of an attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is on disk now.
    Yes,
    /// It was on disk before.
    Already,
    /// It is of no use here: not an attestor, too far ahead, of what was pruned, or another process.
    No,
    /// The same key signed something else about the same position: evidence.
    Contradiction,
}

/// Whether an attestation is to be kept here: by one of the process's attestors, of a position that this node may want.
pub fn is_of_use(shared: &Shared, process: &Process, found: &Verified<Attestation>) -> bool {
    let statement = found.statement();
    let (id, position) = (process.id(), statement.position);
    if statement.process != id || !process.attestors().members.contains(&found.attestor()) {
        return false;
    }
    // No log that this build follows has such a place, and a disk has no room for all of them.
    if position.epoch != 0 || u64::from(position.tick) > TICKS_OF_SLOT_MAX {
        return false;
    }
    shared.store.read().and_then(|reader| is_wanted(&reader, &id, position)).unwrap_or_default()
}

/// Holds one that [is of use](is_of_use) in memory, where this node only carries for its process and what it is of is not here
/// yet; says whether that is so.
pub fn hold_attestation(shared: &Shared, found: &Verified<Attestation>) -> bool {
    let statement = found.statement();
    let (process, position, attestor) = (statement.process, statement.position, found.attestor());
    match shared.heard.hold(found) {
        Hold::Yes => {
            shared.news.tell(News::Attested { process, position, attestor });
            true
        }
        Hold::Contradicts(held) => {
            if let Some(evidence) = Evidence::of_attestations(&held, found) {
                shared.witness.found(process, evidence);
            }
            true
        }
        Hold::No => false,
    }
}

/// The write that keeps an attestation.
pub fn write_of(found: &Verified<Attestation>) -> Write {
    let statement = found.statement();
    let row = AttestationRow { statement: statement.hash(), bytes: found.to_wire().encode_to_vec().into() };
    Write::Attestation {
        process: statement.process,
        position: statement.position,
        attestor: found.attestor(),
        row,
    }
}

/// Keeps a verified attestation of one of the process's attestors.
pub async fn keep_attestation(shared: &Shared, process: &Process, found: &Verified<Attestation>) -> Kept {
    if !is_of_use(shared, process, found) {
        return Kept::No;
    }
    let statement = found.statement();
    let (id, position, attestor) = (process.id(), statement.position, found.attestor());
    let held = shared.store.read().and_then(|reader| reader.attestation(&id, position, &attestor));
    if held.is_ok_and(|held| held.is_some_and(|held| held.statement == statement.hash())) {
        // Nobody has to wait for a commit of others for that.
        shared.news.tell(News::Attested { process: id, position, attestor });
        return Kept::Already;
    }
    match shared.store.write(vec![write_of(found)]).await {
        Ok(()) => {
            shared.news.tell(News::Attested { process: id, position, attestor });
            Kept::Yes
        }
        Err(StoreError::Conflict(conflict)) if matches!(*conflict, Conflict::Attestation { .. }) => {
            if let Some(evidence) = contradiction(shared, found) {
                shared.witness.found(id, evidence);
            }
            Kept::Contradiction
        }
        Err(error) => {
            tracing::error!(process = %id, %error, "an attestation was not stored");
            Kept::No
        }
    }
}

/// Whether an attestation of this position is of use: neither too far ahead, nor of what was pruned. Whoever has an old
/// one may say it again at any time; it would be anchored, and paid for, once more, and stay.
fn is_wanted(reader: &Reader, process: &Id, position: Position) -> Result<bool, StoreError> {
    let head = reader.head(process)?.map_or(0, |(slot, _)| slot);
    if position.slot > head.saturating_add(AHEAD_SLOTS_MAX) {
        return Ok(false);
    }
    if position.slot >= prune::pruned_to(reader, process)? {
        return Ok(true);
    }
    // Where a state root is signed others may check a checkpoint against it.
    Ok(reader.outcome(process, position)?.is_some_and(|row| row.state_root.is_some()))
}

/// What a found attestation and the one on disk convict their key of, if they do.
fn contradiction(shared: &Shared, found: &Verified<Attestation>) -> Option<Verified<Evidence>> {
    let statement = found.statement();
    let rows = shared.store.read().ok()?.attestations(&statement.process, statement.position).ok()?;
    let (_, row) = rows.into_iter().find(|(attestor, _)| *attestor == found.attestor())?;
    let held = wire::Attestation::decode(row.bytes).ok()?;
    let held = Attestation::from_wire(&held, shared.network).ok()?.verify().ok()?;
    Evidence::of_attestations(&held, found)
}

/// The attestations of a position on disk, as they travel.
///
/// # Errors
/// The disk.
pub fn read_wire(
    reader: &Reader,
    process: &Id,
    position: Position,
) -> Result<Vec<wire::Attestation>, StoreError> {
    let rows = reader.attestations(process, position)?;
    Ok(rows.iter().filter_map(|(_, row)| wire::Attestation::decode(row.bytes.clone()).ok()).collect())
}

/// Whether a quorum of the process's attestors said one thing of a position, by what is here.
///
/// # Errors
/// The disk.
pub fn is_signed(shared: &Shared, process: &Process, position: Position) -> Result<bool, StoreError> {
    // Those that are kept or held are of attestors; what one of them said first counts.
    let mut said: BTreeMap<Address, Hash> =
        shared.heard.said_of(&process.id(), position).into_iter().collect();
    let rows = shared.store.read()?.attestations(&process.id(), position)?;
    said.extend(rows.into_iter().map(|(attestor, row)| (attestor, row.statement)));
    let agree = |one: &Hash| said.values().filter(|other| *other == one).count();
    let quorum = process.attestors().quorum;
    Ok(said.values().any(|one| agree(one) >= quorum))
}

/// A quorum of attestations of what this node has at a position, as they travel: its running outcome hash and,
/// at a boundary, its state root. None as long as not enough attestors signed it.
///
/// # Errors
/// The disk.
pub fn quorum_wire(
    reader: &Reader,
    process: &Process,
    position: Position,
    (running, state_root): (Hash, Option<Hash>),
) -> Result<Option<Vec<wire::Attestation>>, StoreError> {
    let Some(slot) = reader.slot(&process.id(), position.slot)? else { return Ok(None) };
    let mut all = read_wire(reader, &process.id(), position)?;
    let state_root = state_root.unwrap_or(Hash::ZERO);
    // Whoever gives these to others answers for them: none may be of another statement.
    all.retain(|said| {
        said.running == running.as_ref()
            && said.state_root == state_root.as_ref()
            && said.assignment_id == slot.assignment_id.as_ref()
            && said.rules == process.rules()
    });
    // Those that are kept are of attestors, each once.
    let quorum = process.attestors().quorum;
    all.truncate(quorum);
    Ok((all.len() == quorum).then_some(all))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_storage::{MemoryDisk, PRUNED_SETTING, Store, StoreConfig};

    use super::*;
    use crate::shared::testing::NETWORK;

    #[test]
    fn what_is_too_far_ahead_or_was_pruned_is_not_wanted() {
        let config = StoreConfig::new(NETWORK, Address([1; 32]));
        let store = Store::open_with_backend(MemoryDisk::new(), &config).unwrap();
        let process = Id([2; 32]);
        let is_wanted = |slot| is_wanted(&store.read().unwrap(), &process, Position::slot(slot)).unwrap();
        assert!(is_wanted(0) && is_wanted(AHEAD_SLOTS_MAX) && !is_wanted(AHEAD_SLOTS_MAX + 1));
        let name = format!("{PRUNED_SETTING}{process}");
        let value = 7_u64.to_be_bytes().to_vec().into();
        store.write_blocking(vec![Write::Setting { name, value }]).unwrap();
        assert!(!is_wanted(0) && !is_wanted(6) && is_wanted(7));
    }
}
