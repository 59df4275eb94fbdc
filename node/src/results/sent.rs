//! What a process sent after a position, for a messenger that does not compute it: outcomes, outboxes and what
//! attestors signed, as they are here. The messenger sees for itself whether that is all (`outcome/sent.rs`).

use weft_protocol::attestation::BOUNDARY_SLOTS;
use weft_protocol::outcome::sent::OUTCOME_BYTES;
use weft_protocol::outcome::{OutcomeCore, Running};
use weft_protocol::process::Process;
use weft_protocol::wire::{SENT_ATTESTATIONS_MAX, SENT_ENTRIES_MAX, SENT_OUTCOMES_MAX};
use weft_protocol::{Id, Position, wire};
use weft_storage::{OutcomeRow, Reader, StoreError};

use crate::attestations;
use crate::shared::Shared;

/// Outcomes read at once, and the bytes of their results.
const PAGE: usize = 256;
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Outcomes from the newest one down among which one that a quorum signed is looked for: attestors sign every boundary.
const NEWEST_MAX: usize = BOUNDARY_SLOTS as usize + PAGE;
/// Bytes that an answer keeps for its framing.
const FRAMING_BYTES: usize = 1024;

/// Answers a messenger; none where there is nothing to give it. `most` is about how many bytes may go out at once.
///
/// # Errors
/// The disk.
pub fn answer(
    shared: &Shared,
    ask: &wire::SentRequest,
    most: usize,
) -> Result<Option<wire::SentResponse>, StoreError> {
    let known = wire::id("process", &ask.process).ok().and_then(|process| shared.directory.get(&process));
    let Some(known) = known else { return Ok(None) };
    let reader = shared.store.read()?;
    if ask.newest {
        return newest(&reader, &known.process);
    }
    let after = ask.after.map(|wire::Position { epoch, slot, tick }| Position { epoch, slot, tick });
    of(&reader, &known.process, after, most)
}

/// What this node has of it, about as many bytes as `most`, up to the next position that a quorum signed at least; none
/// where it has nothing newer, or does not have all of it.
///
/// # Errors
/// The disk.
fn of(
    reader: &Reader,
    process: &Process,
    after: Option<Position>,
    most: usize,
) -> Result<Option<wire::SentResponse>, StoreError> {
    let id = process.id();
    let before = match after {
        None => Some(Running::before(id).0),
        Some(after) => reader.outcome(&id, after)?.map(|row| row.running),
    };
    let Some(before) = before else { return Ok(None) };
    let mut answer = wire::SentResponse { before: wire::bytes(before), ..wire::SentResponse::default() };
    let mut taken = Taken { most, ..Taken::default() };
    let mut from = after.map_or(Position::slot(0), following);
    loop {
        let rows = reader.outcomes_up(&id, from, PAGE, PAGE_BYTES)?;
        let Some((last, _)) = rows.last() else { break };
        let next = following(*last);
        let mut goes_on = true;
        for (position, row) in rows {
            goes_on = goes_on && taken.add(reader, process, (position, &row), &mut answer)?;
        }
        if !goes_on {
            break;
        }
        from = next;
    }
    let Taken { outcomes, .. } = taken;
    Ok((!outcomes.is_empty()).then(|| wire::SentResponse { outcomes: outcomes.into(), ..answer }))
}

/// The newest position that a quorum signed here; none where none did.
///
/// # Errors
/// The disk.
fn newest(reader: &Reader, process: &Process) -> Result<Option<wire::SentResponse>, StoreError> {
    let id = process.id();
    let mut from = Position { epoch: u64::MAX, slot: u64::MAX, tick: u32::MAX };
    let mut seen = 0;
    while seen < NEWEST_MAX {
        let rows = reader.outcomes_down(&id, from, PAGE, PAGE_BYTES)?;
        seen += rows.len();
        let Some((last, _)) = rows.last() else { return Ok(None) };
        let lowest = *last;
        for (position, row) in rows {
            let said = (row.running, row.state_root);
            if attestations::quorum_wire(reader, process, position, said)?.is_none() {
                continue;
            }
            // One that is not whole here would show nothing.
            let before = reader.outcome_before(&id, position)?.map(|(before, _)| before);
            return of(reader, process, before, 0);
        }
        match preceding(lowest) {
            Some(next) => from = next,
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// What an answer has so far.
#[derive(Default)]
struct Taken {
    most: usize,
    bytes: usize,
    outcomes: Vec<u8>,
    entries: usize,
    attestations: usize,
    /// Whether a quorum signed one of its positions here.
    is_signed: bool,
}

impl Taken {
    /// Adds a position; says whether there is room for more, and all of it was here.
    fn add(
        &mut self,
        reader: &Reader,
        process: &Process,
        (position, row): (Position, &OutcomeRow),
        answer: &mut wire::SentResponse,
    ) -> Result<bool, StoreError> {
        let id = process.id();
        if row.core.len() != OutcomeCore::BYTES {
            return Ok(false);
        }
        let outbox = match row.outbox_count {
            0 => None,
            count => match whole_outbox(reader, &id, position, count, self.outcomes.len() / OUTCOME_BYTES)? {
                Some(outbox) => Some(outbox),
                None => return Ok(false),
            },
        };
        let attestations = attestations::read_wire(reader, &id, position)?;
        let entries = outbox.as_ref().map_or(0, |outbox| outbox.entries.len());
        let said: usize = attestations.iter().map(prost::Message::encoded_len).sum();
        let bytes = OUTCOME_BYTES + said + outbox.as_ref().map_or(0, prost::Message::encoded_len);
        let most = if self.is_signed { self.most } else { wire::RESPONSE_BYTES_MAX - FRAMING_BYTES };
        if self.bytes + bytes > most
            || self.outcomes.len() == SENT_OUTCOMES_MAX * OUTCOME_BYTES
            || self.entries + entries > SENT_ENTRIES_MAX
            || self.attestations + attestations.len() > SENT_ATTESTATIONS_MAX
        {
            return Ok(false);
        }
        let said = (row.running, row.state_root);
        self.is_signed |= attestations::quorum_wire(reader, process, position, said)?.is_some();
        self.bytes += bytes;
        self.entries += entries;
        self.attestations += attestations.len();
        self.outcomes.extend_from_slice(&row.core);
        self.outcomes.extend_from_slice(row.outbox_root.as_ref());
        answer.outboxes.extend(outbox);
        answer.attestations.extend(attestations);
        Ok(true)
    }
}

/// The outbox of a position; none where it was pruned.
fn whole_outbox(
    reader: &Reader,
    process: &Id,
    position: Position,
    count: u32,
    at: usize,
) -> Result<Option<wire::SentOutbox>, StoreError> {
    let rows = reader.outbox(process, position)?;
    let entries: Vec<_> = rows.into_iter().map(|(_, row)| row.entry).collect();
    let kept = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    let at = u32::try_from(at).unwrap_or(u32::MAX);
    Ok((kept > 0).then(|| wire::SentOutbox { at, entries, excess: count.saturating_sub(kept) }))
}

/// The next position that there can be.
fn following(position: Position) -> Position {
    match position.tick.checked_add(1) {
        Some(tick) => Position { tick, ..position },
        None => Position { slot: position.slot.saturating_add(1), tick: 0, ..position },
    }
}

/// The last position that there can be before it.
fn preceding(position: Position) -> Option<Position> {
    match position.tick.checked_sub(1) {
        Some(tick) => Some(Position { tick, ..position }),
        None => Some(Position { slot: position.slot.checked_sub(1)?, tick: u32::MAX, ..position }),
    }
}
