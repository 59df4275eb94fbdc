//! Turns one request into raw changes, or refuses it, before anything of it touches the disk.
//!
//! A group of requests shares one transaction, and redb cannot undo a part of one. So each
//! request is first planned against the transaction and its own earlier writes; only a complete
//! plan is applied, and applying can fail for no other reason than the disk.

mod checkpoint;
mod forget;
mod prune;

use std::collections::BTreeMap;

use bytes::Bytes;
use weft_protocol::seen::item_key;
use weft_protocol::{Address, Hash, Id, Position};

use crate::error::{Conflict, StoreError, hex};
use crate::key;
use crate::record::{self, Record};
use crate::rows::{
    AttestationRow, BatchRow, BatchState, CarriedRow, EarnedRow, Nothing, OutboxKey, OutboxRow, OutboxState,
    OutcomeRow, PostingRow, ProcessRow, Raw, SeenKey, SeenMark, SlotRow,
};
use crate::tables::Table;
use crate::write::{Write, blob_name};

/// Where a plan reads what is already written.
pub(crate) trait Base {
    /// The stored bytes of a key.
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;
}

/// The raw changes of one request, by table and key.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<Table, BTreeMap<Vec<u8>, Change>>);

/// New bytes, or none to remove the key.
pub(crate) type Change = Option<Vec<u8>>;

impl Changes {
    fn get(&self, table: Table, key: &[u8]) -> Option<&Change> {
        self.0.get(&table)?.get(key)
    }

    fn insert(&mut self, table: Table, key: Vec<u8>, change: Change) {
        self.0.entry(table).or_default().insert(key, change);
    }

    /// Whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Vec<u8>, &Change)> {
        self.0.values().flatten()
    }

    /// Those of each table, in the order of keys.
    pub(crate) fn into_tables(self) -> impl Iterator<Item = (Table, BTreeMap<Vec<u8>, Change>)> {
        self.0.into_iter()
    }
}

/// Plans one request.
pub(crate) fn plan(base: &mut dyn Base, writes: Vec<Write>) -> Result<Changes, StoreError> {
    let mut plan = Plan { base, changes: Changes::default(), slots: Vec::new(), seen: BTreeMap::new() };
    for write in writes {
        plan.add(write)?;
    }
    plan.end()
}

struct Plan<'a> {
    base: &'a mut dyn Base,
    changes: Changes,
    /// New slots by process and item: all seen keys of the request are to be known before an index needs a row.
    slots: Vec<(Id, Id, u64)>,
    /// The ends of seen lists that grew.
    seen: BTreeMap<Id, SeenMark>,
}

impl Plan<'_> {
    fn end(mut self) -> Result<Changes, StoreError> {
        for (process, item, slot) in std::mem::take(&mut self.slots) {
            self.index_item(process, item, slot)?;
        }
        for (process, end) in std::mem::take(&mut self.seen) {
            self.put(Table::SeenCounts, process.0.to_vec(), &end)?;
        }
        Ok(self.changes)
    }

    fn add(&mut self, write: Write) -> Result<(), StoreError> {
        match write {
            Write::Item { id, raw } => self.put_content(Table::Items, &id.0, &Raw(raw)),
            Write::Process { process, row } => self.put(Table::Processes, process.0.to_vec(), &row),
            Write::Slot { process, slot, row } => self.slot(process, slot, &row),
            Write::Child { spawn, process } => match self.get::<Id>(Table::Children, &spawn.0)? {
                None => self.put(Table::Children, spawn.0.to_vec(), &process),
                Some(held) if held == process => Ok(()),
                Some(held) => Err(Conflict::Child { spawn, held, offered: process }.into()),
            },
            Write::Seen { process, key, position } => self.seen(process, key, position),
            Write::Outcome { process, position, row } => self.outcome(process, position, &row),
            Write::Carried { process, position, row } => self.carried(process, position, &row),
            Write::DropCarried { process, position, attestors } => {
                self.drop_carried(process, position, &attestors)
            }
            Write::Outbox { key, row } => self.outbox(key, &row),
            Write::OutboxState { key, state, attempts, next_try_ms } => {
                self.outbox_state(key, state, attempts, next_try_ms)
            }
            Write::Attestation { process, position, attestor, row } => {
                self.attestation((process, position, attestor), &row)
            }
            Write::Evidence { process, name, row } => {
                self.put_content(Table::Evidence, &key::pair(&process, &name.0), &row)
            }
            Write::AnchorEvidence { process, name } => {
                self.put(Table::EvidenceUnanchored, key::pair(&process, &name.0), &Nothing)
            }
            Write::AnchorAttestation { process, position, attestor } => {
                let key = key::attestation(&process, position, &attestor.0);
                self.put(Table::AttestationsUnanchored, key, &Nothing)
            }
            Write::AttestationAnchored { process, position, attestor } => {
                let key = key::attestation(&process, position, &attestor.0);
                self.remove(Table::AttestationsUnanchored, key)
            }
            Write::EvidenceAnchored { process, name } => {
                self.remove(Table::EvidenceUnanchored, key::pair(&process, &name.0))
            }
            Write::Checkpoint { process, position, row } => {
                self.checkpoint(key::position(&process, position), &row)
            }
            Write::DropCheckpoint { process, position } => {
                self.drop_checkpoint(key::position(&process, position))
            }
            Write::CutCheckpoint { process, position, pages } => {
                self.cut_checkpoint(key::position(&process, position), pages)
            }
            Write::Prune { process, position, weave, attestors } => {
                self.prune(process, position, &weave, &attestors)
            }
            Write::DropLog(part) => self.drop_log(part),
            Write::Page(page) => self.put_content(Table::Pages, &page.hash.0, &page),
            Write::Blob(bytes) => self.put_content(Table::Blobs, &blob_name(&bytes).0, &Raw(bytes)),
            Write::DropBlob(name) => self.remove(Table::Blobs, name.0.to_vec()),
            Write::Batch { data_root, row } => self.batch(data_root, &row),
            Write::Posting { data_root, row } => self.posting(data_root, &row),
            Write::DropPosting { data_root, weave } => self.drop_posting(data_root, &weave),
            Write::Anchored { process, weave, row } => {
                self.put(Table::Anchored, key::weave(&process, &weave), &row)
            }
            Write::Earned { key, row } => self.earned(&key, &row),
            Write::DropEarned { key } => self.drop_earned(&key),
            Write::Claim { key, row } => self.put(Table::Claims, key::claim(&key), &row),
            Write::Caution { process, row } => self.put(Table::Cautions, process.0.to_vec(), &row),
            Write::LiftCaution { process } => self.remove(Table::Cautions, process.0.to_vec()),
            Write::Setting { name, value } => self.put(Table::Settings, name.into_bytes(), &Raw(value)),
            Write::DropSetting { name } => self.remove(Table::Settings, name.into_bytes()),
        }
    }

    fn slot(&mut self, process: Id, slot: u64, row: &SlotRow) -> Result<(), StoreError> {
        let key = key::counted(&process, slot);
        if let Some(held) = self.get::<SlotRow>(Table::Slots, &key)? {
            if held.assignment_id != row.assignment_id {
                let (held, offered) = (held.assignment_id, row.assignment_id);
                return Err(Conflict::Slot { process, slot, held, offered }.into());
            }
            // One assignment has one meaning: a row that reads it otherwise is a fault of ours.
            return if held == *row { Ok(()) } else { Err(content(Table::Slots, &key)) };
        }
        self.slots.push((process, row.item, slot));
        self.put(Table::Slots, key, row)
    }

    /// Lets the slot of an item be found: by the seen list, and where that does not have it there, by a row of its own.
    fn index_item(&mut self, process: Id, item: Id, slot: u64) -> Result<(), StoreError> {
        let by_item = key::pair(&process, &item.0);
        let is_known = match self.get::<u64>(Table::ItemSlots, &by_item)? {
            Some(first) => first <= slot,
            None => self.is_seen_by(process, item, slot)?,
        };
        if is_known { Ok(()) } else { self.put(Table::ItemSlots, by_item, &slot) }
    }

    /// Whether the seen list has an item at this slot, or at one before it that is the item's too.
    fn is_seen_by(&mut self, process: Id, item: Id, slot: u64) -> Result<bool, StoreError> {
        let seen = self.get::<SeenMark>(Table::Seen, &key::pair(&process, &item_key(item).0))?;
        let Some(first) = seen.map(|mark| mark.position.slot).filter(|first| *first <= slot) else {
            return Ok(false);
        };
        if first == slot {
            return Ok(true);
        }
        // It may have been an item that carries a transaction of this id.
        let row = self.get::<SlotRow>(Table::Slots, &key::counted(&process, first))?;
        Ok(row.is_some_and(|row| row.item == item))
    }

    fn seen(&mut self, process: Id, key: Hash, position: Position) -> Result<(), StoreError> {
        let by_key = key::pair(&process, &key.0);
        if let Some(held) = self.get::<SeenMark>(Table::Seen, &by_key)? {
            return if held.position == position {
                Ok(())
            } else {
                Err(Conflict::Seen { process, key, held: held.position, offered: position }.into())
            };
        }
        let end = match self.seen.get(&process) {
            Some(end) => Some(*end),
            None => self.get::<SeenMark>(Table::SeenCounts, &process.0)?,
        };
        if let Some(end) = end.filter(|end| end.position > position) {
            return Err(Conflict::SeenOrder { process, last: end.position, offered: position }.into());
        }
        let number = end.map_or(0, |end| end.number);
        self.put(Table::Seen, by_key, &SeenMark { position, number })?;
        self.put(Table::SeenList, key::counted(&process, number), &SeenKey { key, position })?;
        self.seen.insert(process, SeenMark { position, number: number + 1 });
        Ok(())
    }

    fn outcome(&mut self, process: Id, position: Position, row: &OutcomeRow) -> Result<(), StoreError> {
        let key = key::position(&process, position);
        if let Some(held) = self.get::<OutcomeRow>(Table::Outcomes, &key)? {
            return if held.running == row.running {
                Ok(())
            } else {
                let (held, offered) = (held.running, row.running);
                Err(Conflict::Outcome { process, position, held, offered }.into())
            };
        }
        if let Some(item) = &row.item {
            let by_item = key::pair(&process, &item.0);
            if self.get::<Position>(Table::ItemOutcomes, &by_item)?.is_none_or(|first| first > position) {
                self.put(Table::ItemOutcomes, by_item, &position)?;
            }
        }
        self.put(Table::Outcomes, key, row)
    }

    fn earned(&mut self, key: &OutboxKey, row: &EarnedRow) -> Result<(), StoreError> {
        self.put(Table::Earned, key::outbox(&key.process, key.position, key.index), row)
    }

    fn drop_earned(&mut self, key: &OutboxKey) -> Result<(), StoreError> {
        self.remove(Table::Earned, key::outbox(&key.process, key.position, key.index))
    }

    /// A new attestation. Whoever schedules the process anchors it, and it is not pruned before. One that would have
    /// gone with its outcome is not new: its batch was confirmed then, and who has it sends it again as he likes.
    fn attestation(
        &mut self,
        (process, position, attestor): (Id, Position, Address),
        row: &AttestationRow,
    ) -> Result<(), StoreError> {
        let key = key::attestation(&process, position, &attestor.0);
        match self.get::<AttestationRow>(Table::Attestations, &key)? {
            None => {}
            Some(held) if held.statement == row.statement => return Ok(()),
            Some(_) => return Err(Conflict::Attestation { process, position, attestor }.into()),
        }
        if self.has_lost_attestations(process, position)? {
            return Ok(());
        }
        let known = self.get::<ProcessRow>(Table::Processes, &process.0)?;
        if known.is_some_and(|known| known.roles.schedules) {
            self.put(Table::AttestationsUnanchored, key.clone(), &Nothing)?;
        }
        self.put(Table::Attestations, key, row)
    }

    fn carried(&mut self, process: Id, position: Position, row: &CarriedRow) -> Result<(), StoreError> {
        let key = key::position(&process, position);
        match self.get::<CarriedRow>(Table::Carried, &key)? {
            Some(held) if held.running != row.running => {
                let (held, offered) = (held.running, row.running);
                Err(Conflict::Outcome { process, position, held, offered }.into())
            }
            _ => self.put(Table::Carried, key, row),
        }
    }

    fn outbox(&mut self, key: OutboxKey, row: &OutboxRow) -> Result<(), StoreError> {
        let raw = key::outbox(&key.process, key.position, key.index);
        if let Some(held) = self.get::<OutboxRow>(Table::Outbox, &raw)? {
            let same = (held.kind, &held.entry, held.root) == (row.kind, &row.entry, row.root);
            return if same { Ok(()) } else { Err(content(Table::Outbox, &raw)) };
        }
        if self.is_pruned(key.process, key.position)? {
            // It was settled before it went: coming back as pending it would be sent again.
            return Ok(());
        }
        self.index_outbox(&raw, None, row)?;
        self.put(Table::Outbox, raw, row)
    }

    fn outbox_state(
        &mut self,
        key: OutboxKey,
        state: OutboxState,
        attempts: u32,
        next_try_ms: u64,
    ) -> Result<(), StoreError> {
        let raw = key::outbox(&key.process, key.position, key.index);
        let Some(held) = self.get::<OutboxRow>(Table::Outbox, &raw)? else {
            return Err(StoreError::Missing { table: Table::Outbox.name(), key: hex(&raw) });
        };
        if matches!(held.state, OutboxState::Settled { .. }) {
            return Ok(());
        }
        let row = OutboxRow { state, attempts, next_try_ms, ..held.clone() };
        self.index_outbox(&raw, Some(&held), &row)?;
        self.put(Table::Outbox, raw, &row)
    }

    /// Keeps the index of pending entries in step with a row.
    fn index_outbox(
        &mut self,
        raw: &[u8],
        held: Option<&OutboxRow>,
        row: &OutboxRow,
    ) -> Result<(), StoreError> {
        if held.is_some_and(|held| held.state == OutboxState::Pending) {
            self.remove(Table::OutboxPending, raw.to_vec())?;
        }
        if row.state == OutboxState::Pending {
            self.put(Table::OutboxPending, raw.to_vec(), &row.next_try_ms)?;
        }
        Ok(())
    }

    fn batch(&mut self, data_root: Hash, row: &BatchRow) -> Result<(), StoreError> {
        let key = data_root.0.to_vec();
        let held = self.get::<BatchRow>(Table::Batches, &key)?;
        if held.is_some_and(|held| !held.same_content(row)) {
            return Err(content(Table::Batches, &key));
        }
        match row.state {
            BatchState::Building | BatchState::Submitted => {
                self.put(Table::BatchesOpen, key.clone(), &Nothing)?;
            }
            BatchState::Confirmed { .. } => self.remove(Table::BatchesOpen, key.clone())?,
        }
        self.put(Table::Batches, key, row)
    }

    fn posting(&mut self, data_root: Hash, row: &PostingRow) -> Result<(), StoreError> {
        let key = key::on_weave(&data_root, &row.weave);
        let held = self.get::<PostingRow>(Table::Postings, &key)?;
        if held.is_some_and(|held| !held.same_content(row) || (held.is_final() && held.state != row.state)) {
            return Err(content(Table::Postings, &key));
        }
        // A batch that were in two postings to one weave would be paid for twice.
        for part in &row.parts {
            let key = key::on_weave(part, &row.weave);
            match self.get::<Hash>(Table::Posted, &key)? {
                None => self.put(Table::Posted, key, &data_root)?,
                Some(held) if held == data_root => {}
                Some(_) => return Err(content(Table::Posted, &key)),
            }
        }
        if row.is_final() {
            self.remove(Table::PostingsOpen, key.clone())?;
        } else {
            self.put(Table::PostingsOpen, key.clone(), &Nothing)?;
        }
        self.put(Table::Postings, key, row)
    }

    fn drop_posting(&mut self, data_root: Hash, weave: &str) -> Result<(), StoreError> {
        let key = key::on_weave(&data_root, weave);
        let Some(held) = self.get::<PostingRow>(Table::Postings, &key)? else { return Ok(()) };
        if held.is_final() {
            return Err(content(Table::Postings, &key));
        }
        for part in &held.parts {
            let key = key::on_weave(part, weave);
            if self.get::<Hash>(Table::Posted, &key)? == Some(data_root) {
                self.remove(Table::Posted, key)?;
            }
        }
        self.remove(Table::PostingsOpen, key.clone())?;
        self.remove(Table::Postings, key)
    }

    /// Writes what is named by its content. An intact copy heals a damaged record.
    fn put_content<R: Record + PartialEq>(
        &mut self,
        table: Table,
        key: &[u8],
        row: &R,
    ) -> Result<(), StoreError> {
        match self.get::<R>(table, key) {
            Ok(Some(held)) if held == *row => Ok(()),
            Ok(Some(_)) => Err(content(table, key)),
            Ok(None) | Err(StoreError::Damaged { .. }) => self.put(table, key.to_vec(), row),
            Err(error) => Err(error),
        }
    }

    fn get<R: Record>(&mut self, table: Table, key: &[u8]) -> Result<Option<R>, StoreError> {
        let bytes = match self.changes.get(table, key) {
            Some(change) => change.as_deref().map(Bytes::copy_from_slice),
            None => self.base.get(table, key)?,
        };
        bytes.map(|bytes| record::decode(table.name(), key, bytes)).transpose()
    }

    fn put<R: Record>(&mut self, table: Table, key: Vec<u8>, row: &R) -> Result<(), StoreError> {
        let bytes = record::encode(table.name(), &key, row);
        self.changes.insert(table, key, Some(bytes));
        Ok(())
    }

    fn remove(&mut self, table: Table, key: Vec<u8>) -> Result<(), StoreError> {
        self.changes.insert(table, key, None);
        Ok(())
    }
}

fn content(table: Table, key: &[u8]) -> StoreError {
    Conflict::Content { table: table.name(), key: hex(key) }.into()
}
