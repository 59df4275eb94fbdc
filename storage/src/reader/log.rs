//! Reading processes, items, slots and the seen list.

use std::ops::ControlFlow;

use bytes::Bytes;
use weft_protocol::seen::item_key;
use weft_protocol::{Hash, Id, Position};

use super::{Direction, Reader};
use crate::contained::contain;
use crate::error::StoreError;
use crate::key::{self, Parts};
use crate::rows::{ProcessRow, Raw, SeenKey, SeenMark, SlotRow};
use crate::tables::Table;

/// One slot with everything that a slot record on the wire holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSlot {
    /// The `Nonce`.
    pub slot: u64,
    /// The row.
    pub row: SlotRow,
    /// The raw item, if this store has it.
    pub item: Option<Bytes>,
    /// The raw origin proof, if the slot names one and this store has it.
    pub proof: Option<Bytes>,
}

/// A stretch of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredSlots {
    /// The slots in order.
    pub slots: Vec<StoredSlot>,
    /// Whether the range holds more than the limit let through.
    pub more: bool,
}

impl Reader {
    /// What this node does for a process.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or [`StoreError::Disk`], as all reads.
    pub fn process(&self, process: &Id) -> Result<Option<ProcessRow>, StoreError> {
        self.get(Table::Processes, &process.0)
    }

    /// The processes after `after` in id order, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn processes(&self, after: Option<&Id>, limit: usize) -> Result<Vec<(Id, ProcessRow)>, StoreError> {
        // The first key after an id is the id with one more byte.
        let from = after.map_or_else(Vec::new, |id| [id.0.as_slice(), &[0]].concat());
        self.rows(Table::Processes, &from, &[0xff; 32], limit, |key| Parts(key).id())
    }

    /// A raw item.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn item(&self, id: &Id) -> Result<Option<Bytes>, StoreError> {
        Ok(self.get::<Raw>(Table::Items, &id.0)?.map(|raw| raw.0))
    }

    /// Whether the store has an item, without reading all of it.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn has_item(&self, id: &Id) -> Result<bool, StoreError> {
        self.has(Table::Items, &id.0)
    }

    /// One slot.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn slot(&self, process: &Id, slot: u64) -> Result<Option<SlotRow>, StoreError> {
        self.get(Table::Slots, &key::counted(process, slot))
    }

    /// The newest slot.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn head(&self, process: &Id) -> Result<Option<(u64, SlotRow)>, StoreError> {
        let (from, to) = (key::counted(process, 0), key::counted(process, u64::MAX));
        self.last(Table::Slots, &from, &to, counter)
    }

    /// The slots from `from` to `to`, both included, at most `limit`, without their items.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn slots(
        &self,
        process: &Id,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<Vec<(u64, SlotRow)>, StoreError> {
        let (from, to) = (key::counted(process, from), key::counted(process, to));
        self.rows(Table::Slots, &from, &to, limit, counter)
    }

    /// The slots from `from` to `to`, both included, with items and proofs, until their bytes
    /// reach `max_bytes`. The first is always among them, whatever its size.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn slot_records(
        &self,
        process: &Id,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<StoredSlots, StoreError> {
        let (from, to) = (key::counted(process, from), key::counted(process, to));
        let (mut found, mut bytes) = (StoredSlots::default(), 0_usize);
        let items = contain("reading", || self.open(Table::Items))?;
        // The scan contains what this does.
        let item_of = |id: &Id| -> Result<Option<Bytes>, StoreError> {
            Ok(super::read::<Raw>(&items, Table::Items, &id.0)?.map(|raw| raw.0))
        };
        self.scan(Table::Slots, Direction::Up, &from, &to, |key, row: SlotRow| {
            let slot = counter(key).ok_or_else(|| super::bad_key(Table::Slots, key))?;
            let item = item_of(&row.item)?;
            let proof = row.proof.as_ref().map(item_of).transpose()?.flatten();
            bytes += row.assignment.len()
                + item.as_ref().map_or(0, Bytes::len)
                + proof.as_ref().map_or(0, Bytes::len);
            if bytes > max_bytes && !found.slots.is_empty() {
                found.more = true;
                return Ok(ControlFlow::Break(()));
            }
            found.slots.push(StoredSlot { slot, row, item, proof });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// The first slot that an item was assigned to, or one that carries a transaction of this id: that is known
    /// where the seen list is.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn slot_of_item(&self, process: &Id, item: &Id) -> Result<Option<u64>, StoreError> {
        match self.get(Table::ItemSlots, &key::pair(process, &item.0))? {
            Some(slot) => Ok(Some(slot)),
            None => Ok(self.seen(process, &item_key(*item))?.map(|position| position.slot)),
        }
    }

    /// The child that a spawn has in a log of this node's scheduler.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn child(&self, spawn: &Hash) -> Result<Option<Id>, StoreError> {
        self.get(Table::Children, &spawn.0)
    }

    /// The position that holds a seen key.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn seen(&self, process: &Id, key: &Hash) -> Result<Option<Position>, StoreError> {
        let mark = self.get::<SeenMark>(Table::Seen, &key::pair(process, &key.0))?;
        Ok(mark.map(|mark| mark.position))
    }

    /// How many keys the seen list holds.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn seen_count(&self, process: &Id) -> Result<u64, StoreError> {
        Ok(self.get::<SeenMark>(Table::SeenCounts, &process.0)?.map_or(0, |mark| mark.number))
    }

    /// The seen list from place `from` on, in order, at most `limit` keys.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn seen_keys(&self, process: &Id, from: u64, limit: usize) -> Result<Vec<SeenKey>, StoreError> {
        let (from, to) = (key::counted(process, from), key::counted(process, u64::MAX));
        let rows = self.rows(Table::SeenList, &from, &to, limit, counter)?;
        Ok(rows.into_iter().map(|(_, key)| key).collect())
    }
}

/// The counter in the key of a slot or of a place in the seen list.
fn counter(key: &[u8]) -> Option<u64> {
    let mut parts = Parts(key);
    parts.id()?;
    parts.u64()
}
