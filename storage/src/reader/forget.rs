//! Reading what is to be forgotten of a log, and whether other logs name it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use weft_protocol::Id;

use super::{Direction, Reader, bad_key};
use crate::error::StoreError;
use crate::key::Parts;
use crate::rows::{ProcessRow, SeenKey, SlotRow};
use crate::tables::Table;

/// A slot that is to be forgotten.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) key: Vec<u8>,
    pub(crate) number: u64,
    /// None where its row is damaged.
    pub(crate) item: Option<Id>,
    pub(crate) proof: Option<Id>,
    /// Of the row.
    pub(crate) bytes: u64,
}

/// Rows between two questions whether to go on.
const ROWS_A_LOOK: usize = 16_384;

/// The first and the last key that may begin with the id of a process.
fn span(process: &Id) -> (Vec<u8>, Vec<u8>) {
    (process.0.to_vec(), [process.0.as_slice(), &[0xff; crate::limits::NAME_BYTES_MAX]].concat())
}

impl Reader {
    /// The last rows of a process in a table, the last first, at most `limit`: their keys, and the bytes of each.
    pub(crate) fn held_down(
        &self,
        table: Table,
        process: &Id,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, u64)>, StoreError> {
        let (from, to) = span(process);
        let held = |key: &[u8], row: &[u8]| (key.to_vec(), (key.len() + row.len()) as u64);
        self.undecoded_down(table, &from, &to, limit, held)
    }

    /// The newest slots of a log, the newest first, at most `limit`. One whose row is damaged is among them.
    pub(crate) fn slots_down(&self, process: &Id, limit: usize) -> Result<Vec<Held>, StoreError> {
        let mut held = Vec::new();
        for (key, bytes) in self.held_down(Table::Slots, process, limit)? {
            let mut parts = Parts(&key);
            let number = parts.id().and_then(|_| parts.u64()).ok_or_else(|| bad_key(Table::Slots, &key))?;
            let row = match self.get::<SlotRow>(Table::Slots, &key) {
                Err(StoreError::Damaged { .. }) => None,
                row => row?,
            };
            let (item, proof) = row.map_or((None, None), |row| (Some(row.item), row.proof));
            held.push(Held { key, number, item, proof, bytes });
        }
        Ok(held)
    }

    /// Of these items those that something else on disk names than the log of this process: a slot of another one, or a process as its
    /// module or itself.
    pub(crate) fn named_elsewhere(
        &self,
        process: &Id,
        wanted: &BTreeMap<Id, u64>,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<BTreeSet<Id>, StoreError> {
        let (mut named, mut rows) = (BTreeSet::new(), 0_usize);
        if wanted.is_empty() {
            return Ok(named);
        }
        let mut look = |rows: &mut usize| {
            *rows += 1;
            let asks = rows.is_multiple_of(ROWS_A_LOOK);
            if asks && go_on().is_break() { Err(StoreError::Stopped) } else { Ok(ControlFlow::Continue(())) }
        };
        let (first, last) = span(process);
        let all = [(vec![], first), (last, vec![0xff; 64])];
        for (from, to) in &all {
            self.scan(Table::Slots, Direction::Up, from, to, |_, row: SlotRow| {
                let both = [Some(row.item), row.proof].into_iter().flatten();
                named.extend(both.filter(|item| wanted.contains_key(item)));
                look(&mut rows)
            })?;
        }
        self.scan(Table::Processes, Direction::Up, &[], &[0xff; 64], |key, row: ProcessRow| {
            let id = Parts(key).id().filter(|id| id != process);
            let both = [Some(row.module), id].into_iter().flatten();
            named.extend(both.filter(|item| wanted.contains_key(item)));
            look(&mut rows)
        })?;
        Ok(named)
    }

    /// The key at a place of a seen list, by the key of its row.
    pub(crate) fn seen_at(&self, place: &[u8]) -> Result<Option<SeenKey>, StoreError> {
        self.get(Table::SeenList, place)
    }

    /// The slot that the index of items names, by the key of its row; none where that is damaged.
    pub(crate) fn first_slot(&self, index: &[u8]) -> Result<Option<u64>, StoreError> {
        match self.get(Table::ItemSlots, index) {
            Err(StoreError::Damaged { .. }) => Ok(None),
            slot => slot,
        }
    }
}
