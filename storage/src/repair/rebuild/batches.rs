//! What was on its way to a weave.

use super::Rebuild;
use crate::check::each_row;
use crate::error::StoreError;
use crate::key::{self, Parts};
use crate::record;
use crate::rows::{BatchRow, BatchState, Nothing, PostingRow, PostingState};
use crate::tables::Table;

impl Rebuild<'_> {
    /// Says again which postings are open, and which batches are in one.
    pub(super) fn postings(&mut self) -> Result<(), StoreError> {
        let Self { reader, out, posted, .. } = self;
        each_row(reader.transaction(), Table::Postings, |key, value| {
            let row: PostingRow = record::decode(Table::Postings.name(), key, value)?;
            let Some(root) = Parts(key).hash() else { return Ok(()) };
            let here = key::on_weave(&root, &row.weave);
            let is_signed = row.state != PostingState::Built;
            if !is_signed && !reader.has(Table::Blobs, &row.bundle.0)? {
                // It could never be signed. Its batches go into another one.
                return out.remove(Table::Postings, key);
            }
            if here != key {
                // It is of a store of the second schema.
                out.put_away(Table::Postings, key)?;
                out.put(Table::Postings, here.clone(), &row)?;
            }
            if !row.is_final() {
                out.put(Table::PostingsOpen, here, &Nothing)?;
            }
            for part in row.parts {
                out.put(Table::Posted, key::on_weave(&part, &row.weave), &root)?;
                posted.insert(part);
            }
            Ok(())
        })
    }

    /// Drops marks of what is not there: a batch would be made for it, again and again.
    pub(super) fn marks(&mut self) -> Result<(), StoreError> {
        let Self { reader, out, .. } = self;
        for (marks, of) in [
            (Table::AttestationsUnanchored, Table::Attestations),
            (Table::EvidenceUnanchored, Table::Evidence),
        ] {
            each_row(reader.transaction(), marks, |key, _| {
                if reader.has(of, key)? { Ok(()) } else { out.put_away(marks, key) }
            })?;
        }
        Ok(())
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
