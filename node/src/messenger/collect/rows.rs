//! What is on disk of processes that this node carries for and does not compute.

use std::collections::BTreeMap;

use bytes::Bytes;
use weft_protocol::outcome::Running;
use weft_protocol::outcome::sent::{Since, Stretch};
use weft_protocol::process::Process;
use weft_protocol::{Hash, Id, Position};
use weft_storage::{CarriedRow, OutboxState, Reader, StoreError, Write};

use crate::attestations::write_of;
use crate::messenger::dispatch::{note_wallets, outbox_writes};
use crate::shared::Shared;

/// What starts the name of the setting that says how far what a process sent is here; its id follows. The value is that
/// position and O at it; nothing where it begins with slot 0.
const SETTING: &str = "carried/";
const PLACE_BYTES: usize = 20 + 32;
/// Entries of one process that may wait to be pushed, as many as are held in memory. Beyond that nothing more of it is
/// asked for until some are pushed or given up.
pub(super) const UNSENT_MAX: usize = 65_536;
/// Positions that are kept of a process though all they sent has its receipt, for whoever wants to see them.
pub(super) const KEPT_POSITIONS: usize = 1_024;
/// Positions that are forgotten of a process in one turn.
const FORGOTTEN_MAX: usize = 4_096;

/// Begins with everything that a process ever sent, unless it was begun before.
///
/// # Errors
/// The disk.
pub async fn begin(shared: &Shared, process: Id) -> Result<(), StoreError> {
    let name = setting(&process);
    if shared.store.read()?.setting(&name)?.is_some() {
        return Ok(());
    }
    shared.store.write(vec![Write::Setting { name, value: Bytes::new() }]).await.map(drop)
}

/// Forgets how far what a process sent is here: whoever carries for it again begins with what it sends then. What
/// waits to be pushed stays.
///
/// # Errors
/// The disk.
pub async fn end(shared: &Shared, process: Id) -> Result<(), StoreError> {
    shared.store.write(vec![Write::DropSetting { name: setting(&process) }]).await.map(drop)
}

/// How far what a process sent is here.
pub(super) fn since(reader: &Reader, process: &Id) -> Result<Since, StoreError> {
    let Some(value) = reader.setting(&setting(process))? else { return Ok(Since::Newest) };
    let place = value.split_first_chunk::<20>().filter(|_| value.len() == PLACE_BYTES);
    let place = place.and_then(|(position, running)| {
        Some(Since::After(Position::from_bytes(position), Running(Hash::try_from(running).ok()?)))
    });
    Ok(place.unwrap_or(Since::Start))
}

/// The last position of which what a process sent is here.
///
/// # Errors
/// The disk.
pub fn last(reader: &Reader, process: &Id) -> Result<Option<Position>, StoreError> {
    Ok(match since(reader, process)? {
        Since::After(position, _) => Some(position),
        Since::Start | Since::Newest => None,
    })
}

/// Whether too much of a process waits to be pushed.
pub(super) fn is_full(reader: &Reader, process: &Id) -> Result<bool, StoreError> {
    Ok(reader.outbox_pending(process, UNSENT_MAX)?.len() >= UNSENT_MAX)
}

/// The writes of a stretch and of what attestors signed of it, all of one commit.
pub(super) fn writes(
    shared: &Shared,
    reader: &Reader,
    process: &Process,
    stretch: &Stretch,
) -> Result<Vec<Write>, StoreError> {
    let id = process.id();
    let mut writes = Vec::new();
    for sent in &stretch.sent {
        let position = sent.core.position;
        let slot = if position.tick == 0 { reader.slot(&id, position.slot)? } else { None };
        note_wallets(shared, reader, process, slot.map(|slot| slot.item))?;
        let row = CarriedRow {
            core: Bytes::copy_from_slice(&sent.core.to_bytes()),
            before: sent.before.0,
            running: sent.running.0,
            state_root: sent.state_root,
            outbox_count: sent.outbox.count(),
        };
        writes.push(Write::Carried { process: id, position, row });
        writes.extend(outbox_writes(id, position, &sent.outbox, |id| shared.directory.is_wallet(id)));
    }
    writes.extend(attestations(shared, reader, stretch)?);
    let (position, running) = stretch.end;
    let value = [position.to_bytes().as_slice(), running.0.as_ref()].concat();
    writes.push(Write::Setting { name: setting(&id), value: value.into() });
    Ok(writes)
}

/// Whether a position of a stretch sent something.
pub(super) fn sends(stretch: &Stretch, position: Position) -> bool {
    stretch.sent.binary_search_by_key(&position, |sent| sent.core.position).is_ok()
}

/// The writes of what is held of the positions of a stretch, and of what came with it of those that sent something. One of which the
/// disk has another is not among them: it would keep all of it from being written.
fn attestations(shared: &Shared, reader: &Reader, stretch: &Stretch) -> Result<Vec<Write>, StoreError> {
    let Some(process) = stretch.attestations.first().map(|said| said.statement().process) else {
        return Ok(Vec::new());
    };
    let held = shared.heard.all(&process);
    let held = held.iter().filter(|said| said.statement().position <= stretch.end.0);
    let came = stretch.attestations.iter().filter(|said| sends(stretch, said.statement().position));
    let mut new = BTreeMap::new();
    for said in held.chain(came) {
        let (position, attestor) = (said.statement().position, said.attestor());
        if reader.attestation(&process, position, &attestor)?.is_none() {
            new.entry((position, attestor)).or_insert_with(|| write_of(said));
        }
    }
    Ok(new.into_values().collect())
}

/// The writes that forget the oldest positions of a process all of whose entries have their receipts, but for the newest
/// ones; each is a request of its own.
pub(super) fn forgotten(reader: &Reader, process: &Id) -> Result<Vec<Write>, StoreError> {
    let positions = reader.carried_positions(process, KEPT_POSITIONS + FORGOTTEN_MAX)?;
    let excess = positions.len().saturating_sub(KEPT_POSITIONS);
    let mut writes = Vec::new();
    for position in positions.into_iter().take(excess) {
        let is_done =
            |state: &OutboxState| matches!(state, OutboxState::Settled { .. } | OutboxState::Dropped { .. });
        if reader.outbox(process, position)?.iter().all(|(_, row)| is_done(&row.state)) {
            let attestors = reader.attestations(process, position)?.into_iter().map(|(attestor, _)| attestor);
            writes.push(Write::DropCarried { process: *process, position, attestors: attestors.collect() });
        }
    }
    Ok(writes)
}

/// The name of the setting that says how far what a process sent is here.
pub fn setting(process: &Id) -> String {
    format!("{SETTING}{process}")
}
