//! What was on its way to a weave.

use super::Rebuild;
use crate::check::each_row;
use crate::error::StoreError;
use crate::key::Parts;
use crate::record;
use crate::rows::{BatchRow, BatchState, Nothing, PostingRow};
use crate::tables::Table;

impl Rebuild<'_> {
    /// Says again which postings are open, and which batches are in one.
    pub(super) fn postings(&mut self) -> Result<(), StoreError> {
        let Self { reader, out, posted, .. } = self;
        each_row(reader.transaction(), Table::Postings, |key, value| {
            let row: PostingRow = record::decode(Table::Postings.name(), key, value)?;
            if !row.is_final() {
                out.put(Table::PostingsOpen, key.to_vec(), &Nothing)?;
            }
            let Some(root) = Parts(key).hash() else { return Ok(()) };
            for part in row.parts {
                out.put(Table::Posted, part.0.to_vec(), &root)?;
                posted.insert(part);
            }
            Ok(())
        })
    }

    /// Drops open batches whose bundle is gone: their slots become another batch. What was posted may be paid
    /// for, so it stays.
    pub(super) fn batches(&mut self) -> Result<(), StoreError> {
        let Self { reader, out, posted, .. } = self;
        each_row(reader.transaction(), Table::Batches, |key, value| {
            let row: BatchRow = record::decode(Table::Batches.name(), key, value)?;
            if matches!(row.state, BatchState::Confirmed { .. }) {
                return Ok(());
            }
            if reader.has(Table::Blobs, &row.bundle.0)?
                || Parts(key).hash().is_some_and(|root| posted.contains(&root))
            {
                out.put(Table::BatchesOpen, key.to_vec(), &Nothing)
            } else {
                out.remove(Table::Batches, key)
            }
        })
    }
}
