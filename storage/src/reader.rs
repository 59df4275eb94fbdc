//! Reading: a snapshot that later writes do not change.

mod earned;
mod forget;
mod log;
mod other;
mod outcome;

use std::ops::ControlFlow;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTableMetadata as _};

use crate::contained::contain;
use crate::error::{StoreError, hex};
use crate::limits::SCAN_ROWS_MAX;
use crate::record::{self, Record};
use crate::tables::Table;

pub(crate) use forget::{Held, HeldSeen, Lookup};
pub use log::{StoredSlot, StoredSlots};
pub(crate) use outcome::outbox_key;
pub use outcome::{AttestationKey, Checkpoints};

/// A consistent view of what was durable when it was taken. Holding one keeps old pages on disk,
/// so take it, read, and let it go.
pub struct Reader {
    transaction: ReadTransaction,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

/// A table of a snapshot, open: where it lies is looked up and its types are compared once, not for every row.
type OpenTable = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Which end of a key range a scan starts from.
#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

impl Reader {
    pub(crate) const fn new(transaction: ReadTransaction) -> Self {
        Self { transaction }
    }

    pub(crate) const fn transaction(&self) -> &ReadTransaction {
        &self.transaction
    }

    pub(crate) fn get<R: Record>(&self, table: Table, key: &[u8]) -> Result<Option<R>, StoreError> {
        contain("reading", || read(&self.open(table)?, table, key))
    }

    pub(crate) fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        contain("reading", || {
            let open = self.open(table)?;
            let stored = open.get(key).map_err(|error| StoreError::disk("reading", error))?;
            Ok(stored.is_some())
        })
    }

    fn open(&self, table: Table) -> Result<OpenTable, StoreError> {
        self.transaction
            .open_table(table.definition())
            .map_err(|error| StoreError::disk("opening a table", error))
    }

    /// Bytes of the pages that rows and trees lie in.
    pub(crate) fn allocated_bytes(&self) -> Result<u64, StoreError> {
        let disk = |error| StoreError::disk("measuring", error);
        contain("measuring", || {
            let mut bytes = 0_u64;
            for table in Table::ALL {
                let stats = self.open(*table)?.stats().map_err(disk)?;
                bytes += stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
            }
            Ok(bytes)
        })
    }

    /// Hands every row from `from` to `to`, both included, to `each` until it breaks.
    fn scan<R: Record>(
        &self,
        table: Table,
        direction: Direction,
        from: &[u8],
        to: &[u8],
        mut each: impl FnMut(&[u8], R) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        if from > to {
            return Ok(());
        }
        let disk = |error| StoreError::disk("scanning", error);
        contain("scanning", || {
            let mut range = self.open(table)?.range(from..=to).map_err(disk)?;
            loop {
                let entry = match direction {
                    Direction::Up => range.next(),
                    Direction::Down => range.next_back(),
                };
                let Some(entry) = entry else { return Ok(()) };
                let (key, value) = entry.map_err(disk)?;
                let row = record::decode(table.name(), key.value(), Bytes::copy_from_slice(value.value()))?;
                if each(key.value(), row)?.is_break() {
                    return Ok(());
                }
            }
        })
    }

    /// The rows from `from` to `to`, both included, at most `limit`, each with what `part` reads
    /// off its key.
    fn rows<R: Record, K>(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
        part: impl Fn(&[u8]) -> Option<K>,
    ) -> Result<Vec<(K, R)>, StoreError> {
        let limit = limit.min(SCAN_ROWS_MAX);
        let mut rows = Vec::new();
        if limit == 0 {
            return Ok(rows);
        }
        self.scan(table, Direction::Up, from, to, |key, row| {
            rows.push((part(key).ok_or_else(|| bad_key(table, key))?, row));
            Ok(if rows.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(rows)
    }

    /// The keys from `to` down to `from`, both included, at most `limit`, without their rows.
    fn keys_down(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        self.undecoded_down(table, from, to, limit.min(SCAN_ROWS_MAX), |key, _| key.to_vec())
    }

    /// What `part` makes of the key and the bytes of each row from `to` down to `from`, both included, at most `limit`. Rows
    /// that are damaged are among them.
    fn undecoded_down<T>(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
        part: impl Fn(&[u8], &[u8]) -> T,
    ) -> Result<Vec<T>, StoreError> {
        if from > to {
            return Ok(Vec::new());
        }
        contain("scanning", || {
            let disk = |error| StoreError::disk("scanning", error);
            let range = self.open(table)?.range(from..=to).map_err(disk)?;
            let rows = range.rev().take(limit);
            rows.map(|row| row.map(|(key, value)| part(key.value(), value.value())).map_err(disk)).collect()
        })
    }

    /// The last row from `from` to `to`, both included.
    fn last<R: Record, K>(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        part: impl Fn(&[u8]) -> Option<K>,
    ) -> Result<Option<(K, R)>, StoreError> {
        let mut last = None;
        self.scan(table, Direction::Down, from, to, |key, row| {
            last = Some((part(key).ok_or_else(|| bad_key(table, key))?, row));
            Ok(ControlFlow::Break(()))
        })?;
        Ok(last)
    }
}

/// The row under a key of an open table.
fn read<R: Record>(open: &OpenTable, table: Table, key: &[u8]) -> Result<Option<R>, StoreError> {
    let stored = open.get(key).map_err(|error| StoreError::disk("reading", error))?;
    stored.map(|guard| record::decode(table.name(), key, Bytes::copy_from_slice(guard.value()))).transpose()
}

pub(crate) fn bad_key(table: Table, key: &[u8]) -> StoreError {
    StoreError::Damaged { table: table.name(), key: hex(key), reason: "the key has the wrong length" }
}
