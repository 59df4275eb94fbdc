//! Where entries of the outbox stand, on disk. Receipts come in numbers, and one commit has those of a moment.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use weft_protocol::Id;
use weft_storage::{OutboxKey, OutboxState, StoreError, Write};

use super::machine::{Effect, Entry};
use super::steps::{self, Step};
use crate::shared::Shared;

/// How often receipts are written down. What a kill loses of them is that a push was made: it is made again, and answered with
/// the slot that it has.
pub(super) const SETTLE: Duration = Duration::from_millis(250);
/// Receipts that wait for that; with so many they are written at once.
const SETTLING_MAX: usize = 256;

/// Receipts that are to be written down, each with what asked for it.
#[derive(Debug, Default)]
pub(super) struct Settling(BTreeMap<OutboxKey, (Id, Entry, Effect)>);

impl Settling {
    /// The slot of an entry is to be written down.
    pub(super) fn add(&mut self, entry: &Entry, assignment: Id, effect: Effect) {
        self.0.insert(key_of(entry), (assignment, *entry, effect));
    }

    /// Whether the receipt of an entry is here, which its row does not say yet.
    pub(super) fn has(&self, key: &OutboxKey) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= SETTLING_MAX
    }

    /// Writes all of them down; gives what asked for those that could not be.
    pub(super) async fn write(&mut self, shared: &Shared) -> Vec<Effect> {
        let settling = std::mem::take(&mut self.0);
        if settling.is_empty() {
            return Vec::new();
        }
        let write = |(key, (assignment, ..)): (&OutboxKey, &(Id, Entry, Effect))| {
            let state = settled(assignment);
            Write::OutboxState { key: *key, state, attempts: 0, next_try_ms: 0 }
        };
        if shared.store.write(settling.iter().map(write).collect()).await.is_ok() {
            settling.iter().for_each(|_| steps::reached(Step::Stored));
            return Vec::new();
        }
        // One of them may be what the disk does not take: the others are not to wait for it. They are asked for beside each
        // other, so that they have a commit together: one after another, each would hold up the messenger's loop for its own.
        let each = settling.into_values().map(|(assignment, entry, effect)| async move {
            save(shared, &entry, settled(&assignment), 0, 0).await.is_err().then_some(effect)
        });
        join_all(each).await.into_iter().flatten().collect()
    }
}

/// The state of an entry that has its slot.
pub(super) fn settled(assignment: &Id) -> OutboxState {
    OutboxState::Settled { receipt: Bytes::copy_from_slice(assignment.as_ref()) }
}

const fn key_of(entry: &Entry) -> OutboxKey {
    OutboxKey { process: entry.source, position: entry.position, index: entry.index }
}

/// Writes down where an outbox entry stands. If the row stays as it was, at worst the push is made
/// again after a restart.
pub(super) async fn save(
    shared: &Shared,
    entry: &Entry,
    state: OutboxState,
    attempts: u32,
    next_try_ms: u64,
) -> Result<(), StoreError> {
    let write = Write::OutboxState { key: key_of(entry), state, attempts, next_try_ms };
    let is_settled = matches!(&write, Write::OutboxState { state: OutboxState::Settled { .. }, .. });
    let saved = shared.store.write(vec![write]).await;
    if is_settled && saved.is_ok() {
        steps::reached(Step::Stored);
    }
    saved.inspect_err(|error| tracing::error!(%error, "the outbox was not updated"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::crypto::Signer;
    use weft_protocol::{Hash, Position};
    use weft_storage::OutboxRow;

    use super::*;
    use crate::messenger::machine::{To, Turn};
    use crate::shared::testing::in_memory;

    #[tokio::test]
    async fn one_that_the_disk_refuses_costs_the_others_no_commits_of_their_own() {
        const COUNT: u32 = 100;
        let shared = in_memory(Signer::from_seed(&[1; 32]));
        let entry = |index| Entry {
            push_id: Hash([9; 32]),
            source: Id([2; 32]),
            position: Position::slot(5),
            index,
            to: To::Process(Id([3; 32])),
            turn: Turn::Soft,
        };
        let (state, entry_bytes) = (OutboxState::Pending, Bytes::from_static(b"entry"));
        let row = OutboxRow { kind: 0, entry: entry_bytes, root: None, state, attempts: 0, next_try_ms: 0 };
        let rows = (0..COUNT).map(|index| Write::Outbox { key: key_of(&entry(index)), row: row.clone() });
        shared.store.write(rows.collect()).await.unwrap();
        let mut settling = Settling::default();
        let assignment = Id([4; 32]);
        // The last has no row.
        for index in 0..=COUNT {
            let entry = entry(index);
            settling.add(&entry, assignment, Effect::Settle { entry, assignment, ours: true, child: None });
        }
        let before = shared.store.stats().commits;
        let failed = settling.write(&shared).await;
        assert!(matches!(&failed[..], [Effect::Settle { entry, .. }] if entry.index == COUNT), "{failed:?}");
        let commits = shared.store.stats().commits - before;
        assert!(commits <= u64::from(COUNT / 4), "{commits} commits");
        let reader = shared.store.read().unwrap();
        let is_settled = |index| {
            let row = reader.outbox_entry(&key_of(&entry(index))).unwrap().unwrap();
            row.state == settled(&assignment)
        };
        assert!((0..COUNT).all(is_settled));
    }
}
