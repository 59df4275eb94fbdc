//! What others show of pushes that have their slot.

use std::sync::Arc;

use weft_protocol::Id;

use super::MessengerTask;
use crate::messenger::machine::PushId;
use crate::messenger::receipts::Receipt;
use crate::shared::SharedRef;

impl MessengerTask {
    /// A receipt was seen on the topic of a source. Strangers cannot make this node look for whatever they name: it is looked at
    /// only where its push waits here, and goes there. Of one that is not known here yet it is kept until it is.
    pub(super) fn told_receipt(&mut self, source: Id, receipt: Receipt) {
        if self.carries(&source).is_none() {
            return;
        }
        if self.machine.entry(&receipt.push_id()).is_none() {
            return self.early.keep(source, receipt.push_id(), receipt);
        }
        self.look_at(source, receipt);
    }

    /// A push is known here from now on: what was shown of it before is looked at.
    pub(super) fn look_at_early(&mut self, source: Id, push: PushId) {
        // One that found no place in memory is read once more.
        if self.machine.entry(&push).is_some() {
            let early = self.early.take(&source, &push);
            early.into_iter().for_each(|receipt| self.look_at(source, receipt));
        }
    }

    /// Looks at receipts that found no place when they came, as many as there are places for now.
    pub(super) fn check_more(&mut self) {
        while self.receipts.available_permits() > 0
            && let Some((source, receipt)) = self.unchecked.take_next()
        {
            self.look_at(source, receipt);
        }
    }

    fn look_at(&mut self, source: Id, receipt: Receipt) {
        let waits = self.machine.entry(&receipt.push_id());
        if waits.is_none_or(|entry| entry.log() != receipt.target()) {
            return;
        }
        // All places are taken by jobs under way, and each that ends looks for more.
        let Ok(permit) = Arc::clone(&self.receipts).try_acquire_owned() else {
            return self.unchecked.keep(source, receipt.push_id(), receipt);
        };
        let shared = SharedRef::clone(&self.shared);
        self.work.spawn(async move {
            let settled = receipt.settles(&shared).await;
            drop(permit);
            settled
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::assignment::AssignmentDraft;
    use weft_protocol::crypto::Signer;
    use weft_protocol::outcome::{EntryKind, OutboxEntry};
    use weft_protocol::process::Process;
    use weft_protocol::push::Source;
    use weft_protocol::time::TimePoint;
    use weft_protocol::{Draft, Hash, Position, wire};
    use weft_storage::{OutboxKey, OutboxRow, OutboxState, Roles, Write};

    use super::*;
    use crate::messenger::task::RECEIPTS_MAX;
    use crate::shared::testing::{NETWORK, in_memory, process_item};
    use crate::submit::Submitter;

    const SCHEDULER: u8 = 4;

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(&[seed; 32])
    }

    fn process(shared: &SharedRef, owner: u8) -> Arc<Process> {
        let item = process_item(&signer(owner), signer(SCHEDULER).address());
        Arc::new(Process::accept(item, None, &shared.terms).unwrap())
    }

    /// The receipt of a push of a place, by the target's scheduler or whoever says that he is.
    fn receipt(source: &Process, target: &Process, index: u32, by: u8) -> Receipt {
        let position = Position::slot(5);
        let place = Source { process: source.id(), position, index };
        let tags = place.tags("Message", "module", None, Id([8; 32]));
        let item = Draft { target: Some(target.id()), tags, ..Draft::default() }.sign(&signer(9)).unwrap();
        let draft = AssignmentDraft {
            network: NETWORK,
            process: target.id(),
            epoch: 0,
            slot: 7,
            hash_chain: Hash([1; 32]),
            time: TimePoint { timestamp: 1_700_000_000_000, height: 0 },
            message: Some(item.id()),
            excludes: Vec::new(),
        };
        let assignment = draft.draft().sign(&signer(by)).unwrap().raw().clone();
        let item = item.raw().clone();
        let receipt = wire::Receipt { position: Some(position.into()), index, assignment, item };
        Receipt::read(source.id(), &receipt, NETWORK).unwrap()
    }

    /// A messenger of a process, and one that this sends to, whose scheduler is [`SCHEDULER`].
    fn messenger() -> (MessengerTask, Arc<Process>, Arc<Process>) {
        let shared = in_memory(signer(1));
        let (source, target) = (process(&shared, 2), process(&shared, 3));
        let roles = Roles { messenges: true, watches: true, ..Roles::default() };
        shared.directory.put(Arc::clone(&source), roles);
        shared.directory.remember(Arc::clone(&target));
        let submitter = Submitter::new(SharedRef::clone(&shared), None);
        let (task, _handle) = MessengerTask::new(shared, submitter).unwrap();
        (task, source, target)
    }

    /// Has the messenger learn that the source sent the target as many messages as this, all at one position.
    async fn sent(
        task: &mut MessengerTask,
        source: &Process,
        target: &Process,
        count: u32,
    ) -> Vec<OutboxKey> {
        let entry = OutboxEntry {
            kind: EntryKind::Message,
            root: None,
            target: Some(target.id()),
            anchor: None,
            tags: Vec::new(),
            data: " ".into(),
        };
        let row = OutboxRow {
            kind: entry.kind as u8,
            entry: entry.to_bytes().into(),
            root: None,
            state: OutboxState::Pending,
            attempts: 0,
            next_try_ms: 0,
        };
        let key = |index| OutboxKey { process: source.id(), position: Position::slot(5), index };
        let keys: Vec<_> = (0..count).map(key).collect();
        let writes = keys.iter().map(|key| Write::Outbox { key: *key, row: row.clone() }).collect();
        task.shared.store.write(writes).await.unwrap();
        task.take_up(source.id(), Position::slot(5)).unwrap();
        keys
    }

    /// Has everything under way end, and what came of it written down; gives how many rows are settled.
    async fn settled(task: &mut MessengerTask, keys: &[OutboxKey]) -> usize {
        while let Some(looked_at) = task.work.join_next().await {
            task.done(looked_at.unwrap());
        }
        task.perform().await;
        task.write_settled().await;
        let reader = task.shared.store.read().unwrap();
        let row = |key: &OutboxKey| reader.outbox_entry(key).unwrap().unwrap();
        keys.iter().filter(|key| matches!(row(key).state, OutboxState::Settled { .. })).count()
    }

    #[tokio::test]
    async fn a_receipt_that_comes_before_what_it_is_of_settles_it() {
        let (mut task, source, target) = messenger();
        // A stranger's comes first, and keeps out nothing.
        task.told_receipt(source.id(), receipt(&source, &target, 0, 6));
        task.told_receipt(source.id(), receipt(&source, &target, 0, SCHEDULER));
        assert!(task.work.is_empty(), "nothing is looked for that does not wait here");
        let keys = sent(&mut task, &source, &target, 1).await;
        assert_eq!((task.machine.pending(), task.work.len()), (1, 2));
        assert_eq!(settled(&mut task, &keys).await, 1);
        assert_eq!(task.machine.pending(), 0);
    }

    #[tokio::test]
    async fn of_more_than_are_checked_at_once_none_is_lost() {
        let (mut task, source, target) = messenger();
        let count = RECEIPTS_MAX as u32;
        for index in 0..count {
            // Forged ones beside it take its place no more than its like do.
            task.told_receipt(source.id(), receipt(&source, &target, index, 6));
            task.told_receipt(source.id(), receipt(&source, &target, index, SCHEDULER));
        }
        let keys = sent(&mut task, &source, &target, count + 1).await;
        assert_eq!((task.machine.pending(), task.work.len()), (keys.len(), RECEIPTS_MAX));
        // One that comes now, while all places are taken, waits too.
        task.told_receipt(source.id(), receipt(&source, &target, count, SCHEDULER));
        assert_eq!(task.work.len(), RECEIPTS_MAX);
        assert_eq!(settled(&mut task, &keys).await, keys.len());
        assert_eq!((task.machine.pending(), task.receipts.available_permits()), (0, RECEIPTS_MAX));
    }
}
