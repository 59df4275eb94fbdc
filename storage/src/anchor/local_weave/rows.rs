//! The tables of the embedded weave and their rows.

use bytes::Bytes;
use weft_protocol::{Hash, Id};

use crate::anchor::{AnchorError, Batch};
use crate::limits::HEADER_BYTES_MAX;
use crate::record::{Decoder, Encoder, Record};
use crate::tables::tables;

tables! {
    /// height -> Block.
    Blocks = "weave-blocks/1",
    /// block hash -> height.
    Heights = "weave-heights/1",
    /// data root -> BundleRow.
    Bundles = "weave-bundles/1",
    /// order of arrival -> data root, of batches in no block.
    Pending = "weave-pending/1",
    /// data root -> height, of batches in a block.
    Mined = "weave-mined/1",
    /// item id -> raw item.
    Items = "weave-items/1",
    /// item id -> Place, of items in a block.
    Places = "weave-places/1",
    /// height, index in block -> item id.
    Order = "weave-order/1",
    /// term, height, index in block -> nothing.
    Terms = "weave-terms/1",
    /// transaction id -> PostedRow, of what others posted.
    Posted = "weave-posted/1",
    /// data root -> how many of these brought the batch, counted from the build on that limits them.
    PostedCounts = "weave-posted-counts/1",
}

/// A transaction that somebody posted: a batch is held once, however many bring it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostedRow {
    /// The batch that it brought.
    pub data_root: Hash,
    /// The transaction as it was posted, without its data.
    pub header: Bytes,
}

impl PostedRow {
    /// # Errors
    /// [`AnchorError::TooLarge`].
    pub(super) fn new(data_root: Hash, header: Bytes) -> Result<Self, AnchorError> {
        if header.len() > HEADER_BYTES_MAX {
            let what = "bytes of a transaction without its data";
            return Err(AnchorError::TooLarge { what, size: header.len(), max: HEADER_BYTES_MAX });
        }
        Ok(Self { data_root, header })
    }
}

impl Record for PostedRow {
    fn put(&self, out: &mut Encoder) {
        out.name(&self.data_root.0);
        out.bytes(&self.header);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self { data_root: input.hash()?, header: input.bytes()? })
    }
}

/// A bundle without its items, which lie by themselves: many bundles may hold one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BundleRow {
    /// Bytes of the whole bundle.
    pub(super) bytes: u64,
    /// The bundle up to its first item.
    pub(super) header: Bytes,
}

/// Bytes of a bundle's item count; then each entry has a size and an id.
const COUNT_BYTES: usize = 32;
const ENTRY_BYTES: usize = 64;

impl BundleRow {
    pub(super) fn of(batch: &Batch) -> Self {
        let header = COUNT_BYTES + ENTRY_BYTES * batch.items().len();
        Self { bytes: batch.bytes().len() as u64, header: batch.bytes().slice(..header) }
    }

    /// The ids of the items, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        self.entries().map(|(id, _)| id)
    }

    /// The id and the bytes of each item, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Id, u64)> {
        let entries = self.header.get(COUNT_BYTES..).unwrap_or_default();
        entries.chunks_exact(ENTRY_BYTES).filter_map(|entry| {
            // A batch is far shorter than what these eight bytes can say.
            let bytes = u64::from_le_bytes(*entry.first_chunk()?);
            Some((Id::try_from(&entry[32..]).ok()?, bytes))
        })
    }
}

impl Record for BundleRow {
    fn put(&self, out: &mut Encoder) {
        out.u64(self.bytes);
        out.bytes(&self.header);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self { bytes: input.u64()?, header: input.bytes()? })
    }
}

/// Where an item came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) height: u64,
    pub(super) index: u32,
    pub(super) batch: Hash,
}

impl Record for Place {
    fn put(&self, out: &mut Encoder) {
        out.u64(self.height);
        out.u32(self.index);
        out.name(&self.batch.0);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self { height: input.u64()?, index: input.u32()?, batch: input.hash()? })
    }
}
