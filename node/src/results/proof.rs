//! What proves a result to others, from what this node holds: the signatures of its attestors, at its position
//! or the next one that they signed.

use weft_protocol::outcome::proof::{self, OUTCOMES_AFTER_MAX};
use weft_protocol::outcome::{Code, OutboxEntry, Outcome, Running};
use weft_protocol::process::Process;
use weft_protocol::{Address, Hash, Id, Position, wire};
use weft_storage::{OutcomeRow, Reader, StoreError};

use crate::attestations;

/// Attestations that are looked at for the next quorum.
const LOOKED_AT_MAX: usize = 64;
/// Bytes of results that are passed on the way to it.
const PASSED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The proof of a result that is here whole; none as long as no quorum signed for it, or where the one that did
/// is far behind it.
pub fn of(
    reader: &Reader,
    process: &Process,
    position: Position,
    row: &OutcomeRow,
) -> Result<Option<wire::ResultProof>, StoreError> {
    let id = process.id();
    let Some(slot) = reader.slot(&id, position.slot)? else { return Ok(None) };
    let root = root(reader, process, position)?;
    if !is_shown(position, row, root) {
        return Ok(None);
    }
    let Some(Signed { after, attestations }) = signed(reader, process, position, row)? else {
        return Ok(None);
    };
    let before = reader.outcome_before(&id, position)?;
    let before = before.map_or_else(|| Running::before(id).0, |(_, row)| row.running);
    Ok(Some(wire::ResultProof {
        assignment: slot.assignment,
        root: root.map(wire::bytes).unwrap_or_default(),
        before: wire::bytes(before),
        skipped: row.skipped,
        after: after.concat().into(),
        attestations,
    }))
}

/// Whether reading what is shown gives what was hashed: not of results that are larger than JavaScript's numbers, at
/// their limits, or only known by their hash.
fn is_shown(position: Position, row: &OutcomeRow, root: Option<Id>) -> bool {
    let outcome =
        Code::from_number(row.code).and_then(|code| proof::shown(position, code, &row.result, root));
    outcome.is_some_and(|outcome| Outcome { skipped: row.skipped, ..outcome }.hash() == row.outcome)
}

/// The root that the entries of an outbox share; none where no entry has one.
fn root(reader: &Reader, process: &Process, position: Position) -> Result<Option<Id>, StoreError> {
    let rows = reader.outbox(&process.id(), position)?;
    Ok(rows.iter().find_map(|(_, row)| OutboxEntry::from_bytes(&row.entry).ok()?.root))
}

/// What a quorum signed.
struct Signed {
    /// The hashes of the outcomes after the result, up to the one that was signed.
    after: Vec<[u8; 32]>,
    attestations: Vec<wire::Attestation>,
}

/// A quorum that signed for a position, or the next one that a quorum signed for.
fn signed(
    reader: &Reader,
    process: &Process,
    position: Position,
    row: &OutcomeRow,
) -> Result<Option<Signed>, StoreError> {
    if let Some(attestations) = attestations::quorum_wire(reader, process, position, said(row))? {
        return Ok(Some(Signed { after: Vec::new(), attestations }));
    }
    let id = process.id();
    let behind = Some((position, Address([0xff; 32])));
    let mut candidates: Vec<Position> = Vec::new();
    for ((at, _), _) in reader.attestations_after(&id, behind, LOOKED_AT_MAX)? {
        if candidates.last() != Some(&at) {
            candidates.push(at);
        }
    }
    for candidate in candidates {
        let Some(last) = reader.outcome(&id, candidate)? else { continue };
        if let Some(attestations) = attestations::quorum_wire(reader, process, candidate, said(&last))? {
            let after = between(reader, process, position, candidate)?;
            // Where it joined from a checkpoint, a node knows no outcomes before that.
            let fold = |after: &Vec<[u8; 32]>| {
                after.iter().fold(Running(row.running), |running, hash| running.then(&Hash(*hash)))
            };
            let after = after.filter(|after| fold(after).0 == last.running);
            return Ok(after.map(|after| Signed { after, attestations }));
        }
    }
    Ok(None)
}

/// What attestors say of an outcome.
const fn said(row: &OutcomeRow) -> (Hash, Option<Hash>) {
    (row.running, row.state_root)
}

/// The hashes of the outcomes after one position up to another; none where that is too far.
fn between(
    reader: &Reader,
    process: &Process,
    from: Position,
    to: Position,
) -> Result<Option<Vec<[u8; 32]>>, StoreError> {
    let mut hashes = Vec::new();
    let (mut next, mut bytes) = (from, 0);
    loop {
        let rows = reader.outcomes_up(&process.id(), next, OUTCOMES_AFTER_MAX + 1, PASSED_BYTES_MAX)?;
        let Some((last, _)) = rows.last().filter(|(last, _)| *last > next) else { return Ok(None) };
        let last = *last;
        for (at, row) in rows.into_iter().filter(|(at, _)| *at > next && *at <= to) {
            bytes += if at == to { 0 } else { row.result.len() };
            hashes.push(row.outcome.0);
        }
        if hashes.len() > OUTCOMES_AFTER_MAX || bytes > PASSED_BYTES_MAX {
            return Ok(None);
        }
        if last >= to {
            return Ok(Some(hashes));
        }
        next = last;
    }
}
