//! Where batches lie among all bytes of the weave, which are those of all batches one after the other
//! in the order of their blocks.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use weft_protocol::Hash;
use weft_protocol::l1::chunk::prove_transactions;

use super::access::Access as _;
use super::block::Block;
use super::rows::{BundleRow, Table};
use super::{LocalWeave, lock};
use crate::anchor::AnchorError;

/// A batch in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The root of its bytes, which is its name.
    pub data_root: Hash,
    /// Which of the weave's bytes are its own, counted from 0.
    pub range: Range<u64>,
    /// Its place in the block, from 0.
    pub index: usize,
    /// The block.
    pub block: Block,
    /// The first of the weave's bytes that are the block's.
    pub block_start: u64,
    /// Blocks from that one to the newest, both included.
    pub confirmations: u64,
}

impl Placed {
    /// The path from the root of the block's transactions to the batch.
    pub fn tx_path(&self) -> Bytes {
        let all: Vec<(Hash, u64)> =
            self.block.transactions.iter().map(|one| (one.data_root, one.bytes)).collect();
        prove_transactions(&all).into_iter().nth(self.index).unwrap_or_default()
    }
}

impl LocalWeave {
    /// Where a batch lies; none while it is in no block.
    ///
    /// # Errors
    /// [`AnchorError::Store`] or [`AnchorError::Chain`].
    pub fn placed(&self, data_root: &Hash) -> Result<Option<Placed>, AnchorError> {
        let height = self.read()?.get::<u64>(Table::Mined, &data_root.0)?;
        let Some(height) = height else { return Ok(None) };
        self.placed_in(height, |one, _| one == data_root)
    }

    /// The batch that holds this byte of the weave; none beyond its end.
    ///
    /// # Errors
    /// As [`placed`](Self::placed).
    pub fn placed_at(&self, byte: u64) -> Result<Option<Placed>, AnchorError> {
        let (height, blocks) = {
            let ends = lock(&self.ends);
            (ends.partition_point(|end| *end <= byte), ends.len())
        };
        if height >= blocks {
            return Ok(None);
        }
        self.placed_in(height as u64, |_, range| range.contains(&byte))
    }

    /// Bytes of all batches in blocks up to a height.
    pub fn bytes_at(&self, height: u64) -> Option<u64> {
        lock(&self.ends).get(usize::try_from(height).ok()?).copied()
    }

    fn placed_in(
        &self,
        height: u64,
        is_it: impl Fn(&Hash, &Range<u64>) -> bool,
    ) -> Result<Option<Placed>, AnchorError> {
        let missing = AnchorError::Chain { height, reason: "the block is missing" };
        let reading = self.read()?;
        let block = reading.block(height)?.ok_or(missing)?;
        let confirmations = reading.length(Table::Blocks)?.saturating_sub(height);
        let block_start = height.checked_sub(1).and_then(|before| self.bytes_at(before)).unwrap_or_default();
        let mut start = block_start;
        for (index, transaction) in block.transactions.iter().enumerate() {
            let range = start..start.saturating_add(transaction.bytes);
            if is_it(&transaction.data_root, &range) {
                let data_root = transaction.data_root;
                return Ok(Some(Placed { data_root, range, index, block, block_start, confirmations }));
            }
            start = range.end;
        }
        Ok(None)
    }

    /// A part of the bundle of a batch, cut at its end; none of an unknown one. Reads the items in it
    /// and no others.
    ///
    /// # Errors
    /// [`AnchorError::Store`].
    pub fn bundle_part(&self, data_root: &Hash, part: Range<u64>) -> Result<Option<Bytes>, AnchorError> {
        let reading = self.read()?;
        let Some(bundle) = reading.get::<BundleRow>(Table::Bundles, &data_root.0)? else {
            return Ok(None);
        };
        let mut found = BytesMut::new();
        let mut take = |start: u64, bytes: &[u8]| {
            let at = |place: u64| usize::try_from(place.saturating_sub(start)).unwrap_or(usize::MAX);
            let (from, to) = (at(part.start).min(bytes.len()), at(part.end).min(bytes.len()));
            found.extend_from_slice(bytes.get(from..to).unwrap_or_default());
        };
        take(0, &bundle.header);
        let mut start = bundle.header.len() as u64;
        for (id, bytes) in bundle.entries() {
            let end = start.saturating_add(bytes);
            if part.start < end && start < part.end {
                take(start, &reading.item(&id)?);
            }
            start = end;
        }
        Ok(Some(found.freeze()))
    }
}
