//! What a process sent in a window, as the disk here has it, and where that stands in the logs of its targets.

use futures::future::join_all;
use weft_net::Peer;
use weft_protocol::assignment::Assignment;
use weft_protocol::market::WINDOW_SLOTS;
use weft_protocol::outcome::{EntryKind, OutboxEntry};
use weft_protocol::process::Process;
use weft_protocol::push::Source;
use weft_protocol::{Address, DataItem, Hash, Id, Network, Position};
use weft_storage::{OutboxState, Reader, StoreError};

use super::audit::Sent;
use crate::hosting;
use crate::pushed::{self, Pushed};
use crate::remote;
use crate::shared::Shared;
use crate::supervisor::joined;

/// Pushes that are looked for at once.
const AT_ONCE: usize = 16;
/// Results that are read at once beside outboxes, in bytes.
const READ_BYTES: usize = 8 * 1024 * 1024;
/// Peers beside its scheduler that are asked for one slot of a process.
const SHOWERS_MAX: usize = 3;

/// A push: where it is from and whom it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Push {
    /// Its place.
    pub place: Source,
    /// Its target.
    pub target: Id,
    /// Bytes of its data.
    pub bytes: u64,
    /// The timestamp of the source's slot that let it be known.
    pub at: u64,
}

impl Push {
    /// Its id.
    pub fn id(&self, network: Network) -> Hash {
        self.place.push_id(network)
    }

    /// With what was found of it.
    pub fn with(&self, found: Option<Pushed>, network: Network) -> Sent {
        Sent { push: self.id(network), bytes: self.bytes, at: self.at, found }
    }
}

/// What the disk says of a window's pushes.
#[derive(Debug, Default)]
pub struct Outboxes {
    /// Its messages, by position and index.
    pub pushes: Vec<Push>,
    /// How many spawns it has, which are paid too and not looked at here.
    pub spawns: u64,
    /// Positions that sent something and of which that was pruned here.
    pub pruned: u64,
}

/// What the slots of a window sent, as far as they are evaluated here: the window that begins with slot `first`, up to
/// slot `computed`.
///
/// # Errors
/// The disk.
pub fn outboxes(
    reader: &Reader,
    process: &Process,
    first: u64,
    computed: u64,
) -> Result<Outboxes, StoreError> {
    let id = process.id();
    let last = (first + WINDOW_SLOTS - 1).min(computed);
    let mut found = Outboxes::default();
    let mut from = Position { epoch: 0, slot: first, tick: 0 };
    loop {
        let rows = reader.outcomes_up(&id, from, WINDOW_SLOTS as usize, READ_BYTES)?;
        let Some((newest, _)) = rows.last() else { return Ok(found) };
        let newest = *newest;
        for (position, row) in rows.iter().filter(|(position, _)| position.slot <= last) {
            found.pruned += u64::from(row.is_pruned() && row.outbox_count > 0);
            // A tick is known with the slot after it.
            let told = position.slot + u64::from(position.tick > 0);
            let Some(slot) = reader.slot(&id, told)? else { continue };
            for (index, row) in reader.outbox(&id, *position)? {
                let Ok(entry) = OutboxEntry::from_bytes(&row.entry) else { continue };
                let place = Source { process: id, position: *position, index };
                match (entry.kind, entry.target) {
                    _ if matches!(row.state, OutboxState::Dropped { .. }) => {}
                    (EntryKind::Spawn, _) => found.spawns += 1,
                    (EntryKind::Message, Some(target)) => {
                        let (bytes, at) = (entry.data.len() as u64, slot.timestamp);
                        found.pushes.push(Push { place, target, bytes, at });
                    }
                    _ => {}
                }
            }
        }
        if newest.slot > last {
            return Ok(found);
        }
        from = Position { tick: newest.tick.saturating_add(1), ..newest };
    }
}

/// What is known of a push: its slot, or none where its target has none for it; the error says why nothing is known.
pub type Found = Result<Option<Pushed>, String>;

/// Looks for the slots of pushes, some at once: on the disk here, else as the targets' schedulers show them.
pub async fn look_for(shared: &Shared, pushes: &[Push]) -> Vec<Found> {
    let mut found = Vec::new();
    for some in pushes.chunks(AT_ONCE) {
        found.extend(join_all(some.iter().map(|push| find(shared, push))).await);
    }
    found
}

/// What the scheduler of a process signed for a slot of it, whoever shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stands {
    /// The assignment.
    pub assignment: Id,
    /// Its timestamp, in milliseconds since the Unix epoch.
    pub timestamp: u64,
}

/// The assignment that the scheduler of a process signed for a slot of it, by the log here or as it or a few of those who
/// serve the process show it now; nothing where nobody does. Safe to cancel.
pub async fn stands_at(shared: &Shared, target: Id, slot: u64) -> Option<Stands> {
    let here = shared.store.read().ok()?.slot(&target, slot).ok()?;
    if let Some(row) = here {
        return Some(Stands { assignment: row.assignment_id, timestamp: row.timestamp });
    }
    let found = hosting::find_process(shared, target).await.ok()?;
    let scheduler = found.scheduler();
    let first = remote::with_address(shared, scheduler).await.ok();
    if let Some(peer) = first
        && let Some(stands) = shown_by(shared, peer, (target, scheduler), slot).await
    {
        return Some(stands);
    }
    let others = remote::sources(shared, target, None).await;
    for peer in others.into_iter().filter(|peer| Some(*peer) != first).take(SHOWERS_MAX) {
        if let Some(stands) = shown_by(shared, peer, (target, scheduler), slot).await {
            return Some(stands);
        }
    }
    None
}

/// What a peer shows of a slot, where the scheduler signed it.
async fn shown_by(
    shared: &Shared,
    peer: Peer,
    (target, scheduler): (Id, Address),
    slot: u64,
) -> Option<Stands> {
    let shown = remote::range(shared, peer, target, slot, slot).await.ok()?.into_iter().next()?;
    let read = tokio::task::spawn_blocking(move || {
        let signed = DataItem::verify_bytes(shown.assignment).ok()?;
        let said = Assignment::from_item(&signed).ok()?;
        let is_it = signed.owner() == scheduler && (said.process, said.slot) == (target, slot);
        is_it.then_some(Stands { assignment: said.id, timestamp: said.time.timestamp })
    });
    joined(read.await).flatten()
}

/// Looks for the slot of one push.
pub async fn find(shared: &Shared, asked: &Push) -> Found {
    let target = asked.target;
    let found = hosting::find_process(shared, target).await;
    let found = found.map_err(|_| format!("nobody serves its target {target}"))?;
    let scheduler = found.scheduler();
    let here = {
        let reader = shared.store.read().map_err(|error| error.to_string())?;
        pushed::read(&reader, target, &asked.id(shared.network)).map_err(|error| error.to_string())?
    };
    if let Some((assignment, header)) = here {
        return Ok(pushed::check(assignment, &header, (target, scheduler), &asked.place));
    }
    if scheduler == shared.address {
        return Ok(None);
    }
    let peer = remote::with_address(shared, scheduler).await;
    let peer = peer.map_err(|_| format!("the scheduler of its target {target} is not reached"))?;
    let answer = pushed::ask(shared, peer, &found, asked.place).await;
    answer.map_err(|error| format!("the scheduler of its target {target} gave no answer: {error}"))
}
