//! Reading what is to be forgotten of a log, and whether other logs name it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use weft_protocol::{Hash, Id};

use super::{Direction, OpenTable, Reader, bad_key, read};
use crate::contained::contain;
use crate::error::StoreError;
use crate::key::Parts;
use crate::record::{self, Record};
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

/// A place of a seen list that is to be forgotten.
#[derive(Debug, Clone)]
pub(crate) struct HeldSeen {
    pub(crate) place: Vec<u8>,
    /// None where its row is damaged.
    pub(crate) key: Option<Hash>,
    /// Of the row.
    pub(crate) bytes: u64,
}

/// An open table of a snapshot.
pub(crate) struct Lookup {
    table: Table,
    open: OpenTable,
}

/// Rows between two questions whether to go on.
const ROWS_A_LOOK: usize = 16_384;

/// The first and the last key that may begin with the id of a process.
fn span(process: &Id) -> (Vec<u8>, Vec<u8>) {
    (process.0.to_vec(), [process.0.as_slice(), &[0xff; crate::limits::NAME_BYTES_MAX]].concat())
}

impl Reader {
    /// The last rows of a process in a table, the last first, at most `limit`, as `read` makes them of key and value.
    fn rows_down<T>(
        &self,
        table: Table,
        process: &Id,
        limit: usize,
        read: impl Fn(&[u8], &[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let (from, to) = span(process);
        self.undecoded_down(table, &from, &to, limit, read)?.into_iter().collect()
    }

    /// The last rows of a process in a table, the last first, at most `limit`: their keys, and the bytes of each.
    pub(crate) fn held_down(
        &self,
        table: Table,
        process: &Id,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, u64)>, StoreError> {
        self.rows_down(table, process, limit, |key, value| Ok((key.to_vec(), bytes_of(key, value))))
    }

    /// The newest slots of a log, the newest first, at most `limit`. One whose row is damaged is among them.
    pub(crate) fn slots_down(&self, process: &Id, limit: usize) -> Result<Vec<Held>, StoreError> {
        self.rows_down(Table::Slots, process, limit, |key, value| {
            let mut parts = Parts(key);
            let number = parts.id().and_then(|_| parts.u64()).ok_or_else(|| bad_key(Table::Slots, key))?;
            let row: Option<SlotRow> = undamaged(Table::Slots, key, value)?;
            let (item, proof) = row.map_or((None, None), |row| (Some(row.item), row.proof));
            Ok(Held { key: key.to_vec(), number, item, proof, bytes: bytes_of(key, value) })
        })
    }

    /// The last places of a seen list, the last first, at most `limit`.
    pub(crate) fn seen_down(&self, process: &Id, limit: usize) -> Result<Vec<HeldSeen>, StoreError> {
        self.rows_down(Table::SeenList, process, limit, |place, value| {
            let seen: Option<SeenKey> = undamaged(Table::SeenList, place, value)?;
            let key = seen.map(|seen| seen.key);
            Ok(HeldSeen { place: place.to_vec(), key, bytes: bytes_of(place, value) })
        })
    }

    /// A table in which many rows are looked up.
    pub(crate) fn lookup(&self, table: Table) -> Result<Lookup, StoreError> {
        Ok(Lookup { table, open: contain("reading", || self.open(table))? })
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
}

impl Lookup {
    /// The row under a key; none where there is none or it is damaged.
    pub(crate) fn undamaged<R: Record>(&self, key: &[u8]) -> Result<Option<R>, StoreError> {
        match contain("reading", || read(&self.open, self.table, key)) {
            Err(StoreError::Damaged { .. }) => Ok(None),
            row => row,
        }
    }
}

const fn bytes_of(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

/// A row; none where it is damaged.
fn undamaged<R: Record>(table: Table, key: &[u8], value: &[u8]) -> Result<Option<R>, StoreError> {
    match record::decode(table.name(), key, Bytes::copy_from_slice(value)) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        row => row.map(Some),
    }
}
