//! What others post to the embedded weave, where its operator lets them.

use weft_protocol::Id;

use super::access::Access as _;
use super::rows::{PostedRow, Table};
use super::{AnchorError, Batch, LocalWeave};
use crate::limits::HEADER_BYTES_MAX;

impl LocalWeave {
    /// Takes a batch that a transaction brought, and the transaction without its data. Doing so again changes nothing. Blocks on the disk.
    ///
    /// # Errors
    /// [`AnchorError::TooLarge`] where too many batches wait or the transaction is too long, or
    /// [`AnchorError::Store`].
    pub fn accept(&self, tx: Id, header: bytes::Bytes, batch: &Batch) -> Result<(), AnchorError> {
        if header.len() > HEADER_BYTES_MAX {
            let what = "bytes of a transaction without its data";
            return Err(AnchorError::TooLarge { what, size: header.len(), max: HEADER_BYTES_MAX });
        }
        if self.posted(&tx)?.is_some() {
            return Ok(());
        }
        let writing = self.write()?;
        let _under_way = self.put_batch(&writing, batch)?;
        writing.put(Table::Posted, &tx.0, &PostedRow { data_root: batch.data_root(), header })?;
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
