//! Checkpoints and the pages that they share.
//!
//! Every page counts the checkpoints that name it and goes with the last of them, in the same
//! commit. Invariant: a page with a count is on disk.

use std::collections::BTreeSet;

use weft_protocol::Hash;

use super::Plan;
use crate::error::{StoreError, hex};
use crate::rows::{CheckpointRow, PackedPage};
use crate::tables::Table;

/// The pages of a checkpoint, each once however often the memory repeats it.
fn names(row: &CheckpointRow) -> BTreeSet<Hash> {
    row.pages.iter().map(|page| page.hash).collect()
}

impl Plan<'_> {
    /// Writes a checkpoint in place of the one that may be there. A page that is not there
    /// refuses it.
    pub(super) fn checkpoint(&mut self, key: Vec<u8>, row: &CheckpointRow) -> Result<(), StoreError> {
        let held = self.held(&key)?;
        if held.as_ref() == Some(row) {
            return Ok(());
        }
        let old = held.as_ref().map(names).unwrap_or_default();
        let new = names(row);
        for name in new.difference(&old) {
            let count = self.get::<u64>(Table::PageRefs, &name.0)?.unwrap_or(0);
            if count == 0 && self.get::<PackedPage>(Table::Pages, &name.0)?.is_none() {
                return Err(StoreError::Missing { table: Table::Pages.name(), key: hex(&name.0) });
            }
            self.put(Table::PageRefs, name.0.to_vec(), &(count + 1))?;
        }
        self.release(old.difference(&new))?;
        self.put(Table::Checkpoints, key, row)
    }

    /// Forgets a checkpoint, and the pages that no other one names.
    pub(super) fn drop_checkpoint(&mut self, key: Vec<u8>) -> Result<(), StoreError> {
        if let Some(row) = self.held(&key)? {
            self.release(names(&row).iter())?;
        }
        self.remove(Table::Checkpoints, key)
    }

    /// Leaves of a checkpoint that may be there its first pages, as of one that was never finished.
    pub(super) fn cut_checkpoint(&mut self, key: Vec<u8>, pages: usize) -> Result<(), StoreError> {
        let Some(mut row) = self.held(&key)? else { return Ok(()) };
        row.pages.truncate(pages);
        row.state = bytes::Bytes::new();
        self.checkpoint(key, &row)
    }

    fn release<'a>(&mut self, names: impl Iterator<Item = &'a Hash>) -> Result<(), StoreError> {
        for name in names {
            match self.get::<u64>(Table::PageRefs, &name.0) {
                Ok(Some(count)) if count > 1 => {
                    self.put(Table::PageRefs, name.0.to_vec(), &(count - 1))?;
                }
                Ok(_) => {
                    self.remove(Table::PageRefs, name.0.to_vec())?;
                    self.remove(Table::Pages, name.0.to_vec())?;
                }
                // Of a count that cannot be read the page stays: space is lost, never a state.
                Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The checkpoint under a key. What a damaged one names stays counted: space is lost, never
    /// a state.
    fn held(&mut self, key: &[u8]) -> Result<Option<CheckpointRow>, StoreError> {
        match self.get(Table::Checkpoints, key) {
            Err(StoreError::Damaged { .. }) => Ok(None),
            held => held,
        }
    }
}
