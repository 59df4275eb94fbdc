//! What others post to the embedded weave, where its operator lets them. Nobody pays for it, so everything that a
//! transaction leaves here is weighed, and of one batch only so many are kept.

use bytes::Bytes;
use weft_protocol::{Hash, Id};

use super::access::Access as _;
use super::rows::{BundleRow, PostedRow, Table};
use super::{AnchorError, Batch, LocalWeave};
use crate::limits::BATCH_TRANSACTIONS_MAX;
use crate::room::{Cost, Need};

impl LocalWeave {
    /// Takes a batch that a transaction brought, and the transaction without its data. Doing so again changes nothing.
    /// New work of strangers: it leaves the reserve to what this node anchors. Blocks on the disk.
    ///
    /// # Errors
    /// [`AnchorError::TooLarge`] where too many batches wait or the transaction is too long,
    /// [`AnchorError::EnoughTransactions`], or [`AnchorError::Store`], in it [`StoreError::Full`](crate::StoreError::Full).
    pub fn accept(&self, tx: Id, header: Bytes, batch: &Batch) -> Result<(), AnchorError> {
        self.take(tx, &PostedRow::new(batch.data_root(), header)?, Some(batch))
    }

    /// Takes a transaction for a batch of this root and so many bytes that is here already, none of whose items is read for it.
    /// Answers whether there is such a batch. Blocks on the disk.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn accept_known(
        &self,
        tx: Id,
        header: Bytes,
        data_root: Hash,
        bytes: u64,
    ) -> Result<bool, AnchorError> {
        let row = PostedRow::new(data_root, header)?;
        // What is here stays, so nothing changes between this look and the commit.
        let held: Option<BundleRow> = self.read()?.get(Table::Bundles, &data_root.0)?;
        if held.is_none_or(|held| held.bytes != bytes) {
            return Ok(false);
        }
        self.take(tx, &row, None)?;
        Ok(true)
    }

    /// Commits a transaction, and the batch that it brought unless that is known.
    fn take(&self, tx: Id, row: &PostedRow, batch: Option<&Batch>) -> Result<(), AnchorError> {
        let writing = self.write()?;
        if writing.has(Table::Posted, &tx.0)? {
            return Ok(());
        }
        let root = &row.data_root.0;
        let brought: u64 = writing.get(Table::PostedCounts, root)?.unwrap_or_default();
        if brought >= BATCH_TRANSACTIONS_MAX as u64 {
            return Err(AnchorError::EnoughTransactions { max: BATCH_TRANSACTIONS_MAX });
        }
        let cost = Cost::of_posted(row.header.len());
        let _under_way = match batch {
            Some(batch) if !writing.has(Table::Bundles, root)? => {
                self.put_batch(&writing, batch, Need::New, cost)?
            }
            Some(_) | None => self.check_room(Need::New, cost)?,
        };
        writing.put(Table::Posted, &tx.0, row)?;
        writing.put(Table::PostedCounts, root, &(brought + 1))?;
        writing.commit()?;
        Ok(())
    }

    /// What a transaction brought that somebody posted. Blocks on the disk.
    ///
    /// # Errors
    /// [`AnchorError::Store`].
    pub fn posted(&self, tx: &Id) -> Result<Option<PostedRow>, AnchorError> {
        Ok(self.read()?.get(Table::Posted, &tx.0)?)
    }
}
