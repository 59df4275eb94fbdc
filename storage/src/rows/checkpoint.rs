//! Checkpoints: a manifest per position, pages shared by content.

use bytes::Bytes;
use weft_protocol::Hash;

use crate::error::StoreError;
use crate::limits::{CHECKPOINT_PAGES_MAX, PAGE_BYTES_MAX};
use crate::record::{Decoder, Encoder, Record};

/// A page of memory that is not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRef {
    /// The page's number: its offset divided by the page size.
    pub number: u32,
    /// Its hash as a leaf of the state tree.
    pub hash: Hash,
}

/// The state of a process after a position, its memory as a list of pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRow {
    /// Bytes of memory, zero pages included.
    pub memory_bytes: u64,
    /// The pages that are not all zero, in ascending order.
    pub pages: Vec<PageRef>,
    /// The other parts of the state, in the caller's encoding.
    pub state: Bytes,
}

impl Record for CheckpointRow {
    fn put(&self, out: &mut Encoder) {
        out.u64(self.memory_bytes);
        out.u32(u32::try_from(self.pages.len()).unwrap_or(u32::MAX));
        for page in &self.pages {
            out.u32(page.number);
            out.name(&page.hash.0);
        }
        out.bytes(&self.state);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        let memory_bytes = input.u64()?;
        let count = usize::try_from(input.u32()?).ok().filter(|&count| count <= CHECKPOINT_PAGES_MAX)?;
        let pages =
            input.list(count, 36, |input| Some(PageRef { number: input.u32()?, hash: input.hash()? }))?;
        Some(Self { memory_bytes, pages, state: input.bytes()? })
    }
}

/// A page hashed and compressed, ready to write. Packing is work for the caller's thread, so
/// that the writer only copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedPage {
    pub(crate) hash: Hash,
    pub(crate) length: u32,
    pub(crate) packed: Bytes,
}

/// Fast, and nearly as small as higher levels on guest memory.
const ZSTD_LEVEL: i32 = 1;

impl PackedPage {
    /// Packs one page.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for more than a page.
    pub fn pack(page: &[u8]) -> Result<Self, StoreError> {
        Self::pack_named(page, Self::hash_of(page))
    }

    /// Packs one page whose [name](Self::hash_of) is known. Under another one it cannot be read.
    ///
    /// # Errors
    /// As [`pack`](Self::pack).
    pub fn pack_named(page: &[u8], hash: Hash) -> Result<Self, StoreError> {
        if page.len() > PAGE_BYTES_MAX {
            return Err(StoreError::TooLarge {
                what: "bytes of a page",
                size: page.len(),
                max: PAGE_BYTES_MAX,
            });
        }
        let packed = zstd::bulk::compress(page, ZSTD_LEVEL)
            .map_err(|error| StoreError::disk("compressing a page", error))?;
        // Checked above to be at most 64 KiB.
        Ok(Self { hash, length: page.len() as u32, packed: packed.into() })
    }

    /// The name of a page: its hash as a leaf of the state tree, so that a list of pages gives the
    /// root of the memory.
    pub fn hash_of(page: &[u8]) -> Hash {
        weft_protocol::state::leaf_hash(page)
    }

    /// The name of this page.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// Its compressed bytes.
    pub const fn packed(&self) -> &Bytes {
        &self.packed
    }

    /// A page from its compressed bytes, under the name that it has; none where they are no page.
    pub fn unpacked(packed: Bytes) -> Option<Self> {
        let page = zstd::bulk::decompress(&packed, PAGE_BYTES_MAX).ok()?;
        // At most a page, which is 64 KiB.
        Some(Self { hash: Self::hash_of(&page), length: page.len() as u32, packed })
    }

    /// The page's bytes; `None` when they do not unpack to what the name says.
    pub(crate) fn unpack(&self, name: &Hash) -> Option<Bytes> {
        let length = usize::try_from(self.length).ok().filter(|&length| length <= PAGE_BYTES_MAX)?;
        let page = zstd::bulk::decompress(&self.packed, length).ok()?;
        (Self::hash_of(&page) == *name).then(|| page.into())
    }
}

impl Record for PackedPage {
    fn put(&self, out: &mut Encoder) {
        out.name(&self.hash.0);
        out.u32(self.length);
        out.bytes(&self.packed);
    }

    fn take(input: &mut Decoder) -> Option<Self> {
        Some(Self { hash: input.hash()?, length: input.u32()?, packed: input.bytes()? })
    }
}
