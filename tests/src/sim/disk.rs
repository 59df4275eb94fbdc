//! A virtual disk: what is written counts when its commit ends, and a crash loses the rest.

use std::collections::{BTreeMap, VecDeque};

use weft_protocol::attestation::Attestation;
use weft_protocol::evidence::Evidence;
use weft_protocol::fold::Closed;
use weft_protocol::outcome::EntryKind;
use weft_protocol::process::Process;
use weft_protocol::record::VerifiedRecord;
use weft_protocol::seen::SeenList;
use weft_protocol::{Address, Hash, Id, Position, Verified};
use weft_storage::CautionRow;

use super::roles::Done;

/// Where an outbox entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboxState {
    /// To be pushed, after so many failed tries.
    Pending(u32),
    /// The target assigned it.
    Settled,
    /// The target never will.
    GivenUp,
}

/// Names an outbox entry of a disk.
pub type OutboxKey = (Id, Position, u32);

/// A batch for the weave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRow {
    /// Of which log.
    pub process: Id,
    /// The first slot.
    pub from: u64,
    /// The last slot.
    pub to: u64,
    /// The weave has it for good.
    pub confirmed: bool,
}

/// One row to write.
#[derive(Debug, Clone)]
pub enum Write {
    /// A slot and the seen keys that it adds.
    Slot(Box<VerifiedRecord>, Vec<Hash>),
    /// What a position came to; its outbox entries start as pending.
    Outcome(Id, Box<Closed>),
    /// How far an outbox entry is.
    Outbox(OutboxKey, OutboxState),
    /// What an attestor said.
    Attestation(Box<Verified<Attestation>>),
    /// Evidence, by its name.
    Evidence(Id, Hash, Box<Verified<Evidence>>),
    /// A batch, by its data root.
    Batch(Hash, BatchRow),
    /// The newest anchored slot.
    Anchored(Id, u64),
}

/// What is on the disk.
#[derive(Debug, Default)]
pub struct Rows {
    /// Slots by process and slot.
    pub slots: BTreeMap<Id, BTreeMap<u64, VerifiedRecord>>,
    /// Seen keys by process and slot.
    pub seen: BTreeMap<Id, BTreeMap<u64, Vec<Hash>>>,
    /// Outcomes by process and position.
    pub outcomes: BTreeMap<Id, BTreeMap<Position, Closed>>,
    /// Outbox entries.
    pub outbox: BTreeMap<OutboxKey, OutboxState>,
    /// Attestations by process, position and attestor.
    pub attestations: BTreeMap<(Id, Position), BTreeMap<Address, Verified<Attestation>>>,
    /// Evidence by process and name.
    pub evidence: BTreeMap<(Id, Hash), Verified<Evidence>>,
    /// Batches by data root.
    pub batches: BTreeMap<Hash, BatchRow>,
    /// The newest anchored slots.
    pub anchored: BTreeMap<Id, u64>,
    /// Logs of this node's own that lost their end.
    pub cautions: BTreeMap<Id, CautionRow>,
}

impl Rows {
    /// The newest slot of a log.
    pub fn head(&self, process: &Id) -> Option<&VerifiedRecord> {
        self.slots.get(process)?.last_key_value().map(|(_, record)| record)
    }

    /// One slot of a log.
    pub fn slot(&self, process: &Id, slot: u64) -> Option<&VerifiedRecord> {
        self.slots.get(process)?.get(&slot)
    }

    /// What a position came to.
    pub fn outcome(&self, process: &Id, position: Position) -> Option<&Closed> {
        self.outcomes.get(process)?.get(&position)
    }

    /// The newest position with an outcome.
    pub fn last_outcome(&self, process: &Id) -> Option<&Closed> {
        self.outcomes.get(process)?.last_key_value().map(|(_, closed)| closed)
    }

    /// Loses a log from this slot on, with what was seen and computed of it.
    pub fn lose(&mut self, process: Id, from: u64) {
        self.slots.entry(process).or_default().split_off(&from);
        self.seen.entry(process).or_default().split_off(&from);
        self.outcomes.entry(process).or_default().retain(|position, _| position.slot < from);
        self.outbox.retain(|(of, position, _), _| *of != process || position.slot < from);
    }

    /// Lists the keys of slots that came back without them.
    pub fn relist(&mut self, process: &Process) {
        let id = process.id();
        let (slots, listed) = (self.slots.entry(id).or_default(), self.seen.entry(id).or_default());
        let mut seen = SeenList::default();
        listed.iter().flat_map(|(slot, keys)| keys.iter().map(|key| (*key, *slot))).for_each(
            |(key, slot)| {
                seen.push(key, slot);
            },
        );
        let next = listed.last_key_value().map_or(0, |(slot, _)| slot + 1);
        for (slot, record) in slots.range(next..) {
            let before = seen.len();
            seen.admit(*slot, &record.seen_keys(process));
            let keys: Vec<Hash> = seen.iter().skip(before).map(|(key, _)| key).collect();
            if !keys.is_empty() {
                listed.insert(*slot, keys);
            }
        }
    }

    /// Whether a row contradicts one that is there.
    fn conflicts(&self, write: &Write) -> bool {
        match write {
            Write::Slot(record, _) => {
                let assignment = record.assignment();
                let there = self.slot(&assignment.process, assignment.slot);
                there.is_some_and(|there| there.assignment().id != assignment.id)
            }
            Write::Attestation(said) => {
                let statement = said.statement();
                let there = self.attestations.get(&(statement.process, statement.position));
                let there = there.and_then(|by| by.get(&said.attestor()));
                there.is_some_and(|there| there.statement() != statement)
            }
            _ => false,
        }
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::Slot(record, keys) => {
                let (process, slot) = (record.assignment().process, record.assignment().slot);
                self.slots.entry(process).or_default().insert(slot, *record);
                if !keys.is_empty() {
                    self.seen.entry(process).or_default().insert(slot, keys);
                }
            }
            Write::Outcome(process, closed) => {
                let position = closed.outcome.position;
                for (index, entry) in closed.outcome.outbox.live() {
                    if matches!(entry.kind, EntryKind::Message | EntryKind::Spawn) {
                        let key = (process, position, index);
                        self.outbox.entry(key).or_insert(OutboxState::Pending(0));
                    }
                }
                self.outcomes.entry(process).or_default().insert(position, *closed);
            }
            Write::Outbox(key, state) => {
                self.outbox.insert(key, state);
            }
            Write::Attestation(said) => {
                let place = (said.statement().process, said.statement().position);
                self.attestations.entry(place).or_default().insert(said.attestor(), *said);
            }
            Write::Evidence(process, name, evidence) => {
                self.evidence.insert((process, name), *evidence);
            }
            Write::Batch(root, row) => {
                self.batches.insert(root, row);
            }
            Write::Anchored(process, slot) => {
                self.anchored.insert(process, slot);
            }
        }
    }
}

/// How a commit ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is durable.
    Durable,
    /// It failed and nothing of it is there.
    Failed,
    /// It failed and all of it is there, and the store takes no more writes until a restart.
    Broken,
}

/// Why a write did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// The disk.
    Disk,
    /// A row contradicts one that is there.
    Conflict,
}

struct Commit {
    writes: Vec<Write>,
    done: Done,
}

/// The disk of one node: one writer, commits in order.
#[derive(Default)]
pub struct Disk {
    /// What survives a crash.
    pub rows: Rows,
    queue: VecDeque<Commit>,
    broken: bool,
    free_at: u64,
}

impl Disk {
    /// Queues a commit that takes `cost` milliseconds; says when it ends.
    pub fn write(&mut self, writes: Vec<Write>, done: Done, now: u64, cost: u64) -> u64 {
        self.queue.push_back(Commit { writes, done });
        self.free_at = self.free_at.max(now) + cost;
        self.free_at
    }

    /// Ends the oldest commit.
    pub fn end(&mut self, fate: Fate) -> Option<(Done, Result<(), WriteError>)> {
        let Commit { writes, done } = self.queue.pop_front()?;
        if self.broken || fate == Fate::Failed {
            return Some((done, Err(WriteError::Disk)));
        }
        if writes.iter().any(|write| self.rows.conflicts(write)) {
            return Some((done, Err(WriteError::Conflict)));
        }
        writes.into_iter().for_each(|write| self.rows.apply(write));
        self.broken = fate == Fate::Broken;
        let result = if self.broken { Err(WriteError::Disk) } else { Ok(()) };
        Some((done, result))
    }

    /// Whether it takes no more writes until a restart.
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Loses what is not durable, but for the oldest commit if that one just made it.
    pub fn crash(&mut self, landed: bool) {
        if landed {
            self.end(Fate::Durable);
        }
        self.queue.clear();
        self.broken = false;
    }
}
