//! One leaf of an image: the pages of 64 KiB that are not zero, and its hash once asked for.

use std::sync::OnceLock;

use weft_protocol::Hash;
use weft_protocol::state::leaf_hash;

use super::{LEAF_BYTES, PAGE_BYTES, PAGES_PER_LEAF, ZERO_PAGE};

/// A set of pages of a leaf, the first in the lowest bit.
pub(super) type PageSet = u16;

const _: () = assert!(PAGES_PER_LEAF == PageSet::BITS as usize);

/// A leaf that is not all zero.
#[derive(Debug)]
pub(super) struct Leaf {
    /// The pages that are not zero.
    present: PageSet,
    /// Their bytes, one after the other.
    data: Box<[u8]>,
    hash: OnceLock<Hash>,
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        self.present == other.present && self.data == other.data
    }
}

impl Eq for Leaf {}

impl Leaf {
    /// Reads a leaf of which only the `candidates` can be other than zero; none if all are zero.
    pub(super) fn read(bytes: &[u8], candidates: PageSet) -> Option<Self> {
        let mut present: PageSet = 0;
        for (index, page) in pages(bytes, candidates) {
            if page != ZERO_PAGE {
                present |= 1 << index;
            }
        }
        if present == 0 {
            return None;
        }
        let mut data = Vec::with_capacity(present.count_ones() as usize * PAGE_BYTES);
        for (_, page) in pages(bytes, present) {
            data.extend_from_slice(page);
        }
        Some(Self { present, data: data.into(), hash: OnceLock::new() })
    }

    /// Reads a leaf whose hash is known.
    pub(super) fn of_hash(bytes: &[u8], hash: Hash) -> Option<Self> {
        let mut leaf = Self::read(bytes, PageSet::MAX)?;
        leaf.hash = OnceLock::from(hash);
        Some(leaf)
    }

    /// Whether these bytes, of which only the `candidates` can be other than zero, are this leaf.
    pub(super) fn equals(&self, bytes: &[u8], candidates: PageSet) -> bool {
        if self.present & !candidates != 0 {
            return false;
        }
        let mut held = self.data.chunks_exact(PAGE_BYTES);
        pages(bytes, candidates).all(|(index, page)| {
            if self.present & (1 << index) == 0 { page == ZERO_PAGE } else { held.next() == Some(page) }
        })
    }

    /// The pages that are not zero: number within the leaf and bytes.
    pub(super) fn pages(&self) -> impl Iterator<Item = (usize, &[u8])> {
        set_bits(self.present).zip(self.data.chunks_exact(PAGE_BYTES))
    }

    pub(super) fn stored_bytes(&self) -> usize {
        size_of::<Self>() + self.data.len()
    }

    /// Its hash in the tree, computed once.
    pub(super) fn hash(&self) -> Hash {
        *self.hash.get_or_init(|| leaf_hash(&self.bytes()))
    }

    /// All of its bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; LEAF_BYTES];
        for (index, page) in self.pages() {
            let at = index * PAGE_BYTES;
            if let Some(target) = bytes.get_mut(at..at + PAGE_BYTES) {
                target.copy_from_slice(page);
            }
        }
        bytes
    }
}

/// The pages of a set, ascending.
fn set_bits(set: PageSet) -> impl Iterator<Item = usize> {
    (0..PAGES_PER_LEAF).filter(move |index| set & (1 << index) != 0)
}

fn pages(bytes: &[u8], set: PageSet) -> impl Iterator<Item = (usize, &[u8])> {
    set_bits(set).filter_map(|index| {
        let at = index * PAGE_BYTES;
        Some((index, bytes.get(at..at + PAGE_BYTES)?))
    })
}
