//! A memory as bytes: its size and the leaves that are not zero.
//!
//! Images share leaves. One that is taken after another holds the other's leaf wherever no byte
//! changed, so a series of snapshots costs what changed between them, and each leaf is hashed
//! once: the root of the next image hashes only the leaves that differ.

use std::ops::Range;
use std::sync::Arc;

use weft_protocol::Hash;
use weft_protocol::state::{tree_root, zero_leaf};

mod leaf;
mod resident;

pub(crate) use resident::resident_bytes;

use leaf::{Leaf, PageSet};

/// Granularity of copying: a page of most machines.
pub const PAGE_BYTES: usize = 4096;
/// Granularity of the state tree: one wasm page.
pub const LEAF_BYTES: usize = weft_protocol::state::LEAF_BYTES;

const PAGES_PER_LEAF: usize = LEAF_BYTES / PAGE_BYTES;
const ZERO_PAGE: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// A linear memory, sparse. Cheap to clone; equal exactly when the memories are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryImage(Arc<Leaves>);

#[derive(Debug, PartialEq, Eq)]
struct Leaves {
    /// Length of the memory, a multiple of a leaf.
    bytes: u64,
    /// The leaves that are not zero, by ascending number.
    leaves: Vec<(u32, Arc<Leaf>)>,
}

impl MemoryImage {
    /// An image of `bytes` length with these leaves, each with its hash in the tree, which the
    /// caller has checked. `None` unless the length is whole leaves, the numbers ascend and lie
    /// inside, and each leaf has [`LEAF_BYTES`] bytes. Zero leaves are left out, so equal memories
    /// give equal images.
    pub fn from_leaves<B: AsRef<[u8]>>(
        bytes: u64,
        leaves: impl IntoIterator<Item = (u32, Hash, B)>,
    ) -> Option<Self> {
        if !bytes.is_multiple_of(LEAF_BYTES as u64) {
            return None;
        }
        let mut image = Leaves { bytes, leaves: Vec::new() };
        let mut least = 0;
        for (number, hash, leaf) in leaves {
            let leaf = leaf.as_ref();
            let outside = (u64::from(number) + 1) * LEAF_BYTES as u64 > bytes;
            if u64::from(number) < least || outside || leaf.len() != LEAF_BYTES {
                return None;
            }
            least = u64::from(number) + 1;
            image.leaves.extend(Leaf::of_hash(leaf, hash).map(|leaf| (number, Arc::new(leaf))));
        }
        Some(Self(Arc::new(image)))
    }

    /// Reads a live memory whose data segments lie at `data`, sharing what did not change since
    /// the image `before`.
    pub(crate) fn capture(memory: &[u8], data: &[Range<u64>], before: Option<&Self>) -> Self {
        let mut image = Leaves { bytes: memory.len() as u64, leaves: Vec::new() };
        let mut before = before.map(|before| before.0.leaves.iter().peekable());
        for (number, candidates) in by_leaf(&resident::candidates(memory, data)) {
            let at = number as usize * LEAF_BYTES;
            let Some(bytes) = memory.get(at..at + LEAF_BYTES) else { continue };
            let held = before.as_mut().and_then(|before| {
                while before.next_if(|(held, _)| *held < number).is_some() {}
                before.next_if(|(held, _)| *held == number)
            });
            let leaf = match held {
                Some((_, leaf)) if leaf.equals(bytes, candidates) => Some(Arc::clone(leaf)),
                _ => Leaf::read(bytes, candidates).map(Arc::new),
            };
            image.leaves.extend(leaf.map(|leaf| (number, leaf)));
        }
        Self(Arc::new(image))
    }

    /// Makes a memory of the same length equal to this image. Outside of `data` it must be zero. Where the data
    /// are right as they are nothing is written: such pages stay those that all instances share.
    pub(crate) fn write_to(&self, memory: &mut [u8], data: &[Range<u64>]) {
        let mut of_data: Vec<u32> = data.iter().flat_map(pages_of).collect();
        of_data.dedup();
        let mut of_data = of_data.into_iter().peekable();
        for (number, leaf) in &self.0.leaves {
            for (page, bytes) in leaf.pages() {
                let page = *number * PAGES_PER_LEAF as u32 + page as u32;
                while let Some(zero) = of_data.next_if(|of_data| *of_data < page) {
                    set_page(memory, zero, &ZERO_PAGE);
                }
                let is_held = of_data.next_if_eq(&page).is_some();
                if !is_held || page_of(memory, page).is_some_and(|held| held != bytes) {
                    set_page(memory, page, bytes);
                }
            }
        }
        for zero in of_data {
            set_page(memory, zero, &ZERO_PAGE);
        }
    }

    /// Length of the memory.
    pub fn byte_len(&self) -> u64 {
        self.0.bytes
    }

    /// Bytes that the image itself holds; what it shares with others counts in each of them.
    pub fn stored_bytes(&self) -> usize {
        self.0.leaves.iter().map(|(_, leaf)| leaf.stored_bytes()).sum()
    }

    /// Bytes that it holds beside those that it shares with `other`.
    pub(crate) fn bytes_beside(&self, other: &Self) -> usize {
        let mut others = other.0.leaves.iter().peekable();
        let own = self.0.leaves.iter().filter(|(number, leaf)| {
            while others.next_if(|(held, _)| held < number).is_some() {}
            others.next_if(|(held, _)| held == number).is_none_or(|(_, held)| !Arc::ptr_eq(leaf, held))
        });
        own.map(|(_, leaf)| leaf.stored_bytes()).sum()
    }

    /// The same image, holding `other`'s leaves where they are equal.
    pub(crate) fn sharing(&self, other: &Self) -> Self {
        let mut others = other.0.leaves.iter().peekable();
        let leaves = self.0.leaves.iter().map(|(number, leaf)| {
            while others.next_if(|(held, _)| held < number).is_some() {}
            let held = others.next_if(|(held, _)| held == number);
            let equal = held.filter(|(_, held)| held == leaf);
            (*number, Arc::clone(equal.map_or(leaf, |(_, held)| held)))
        });
        Self(Arc::new(Leaves { bytes: self.0.bytes, leaves: leaves.collect() }))
    }

    /// Number of leaves, zero ones included.
    pub fn leaf_count(&self) -> u64 {
        self.0.bytes / LEAF_BYTES as u64
    }

    /// The root of the memory's tree (rules 6.7). Hashes the leaves that no earlier image that
    /// holds them has hashed.
    pub fn root(&self) -> Hash {
        let count = usize::try_from(self.leaf_count()).unwrap_or(usize::MAX);
        let mut row = vec![zero_leaf(); count];
        for (number, hash) in self.leaf_hashes() {
            if let Some(place) = row.get_mut(number as usize) {
                *place = hash;
            }
        }
        tree_root(row)
    }

    /// Number and hash of every leaf that is not zero, ascending.
    pub fn leaf_hashes(&self) -> impl ExactSizeIterator<Item = (u32, Hash)> {
        self.0.leaves.iter().map(|(number, leaf)| (*number, leaf.hash()))
    }

    /// Number, hash and bytes of every leaf that is not zero and whose hash is wanted, ascending.
    pub fn leaves(&self, wanted: impl Fn(&Hash) -> bool) -> impl Iterator<Item = (u32, Hash, Vec<u8>)> {
        let leaves = self.0.leaves.iter().map(|(number, leaf)| (*number, leaf.hash(), leaf));
        leaves
            .filter(move |(_, hash, _)| wanted(hash))
            .map(|(number, hash, leaf)| (number, hash, leaf.bytes()))
    }
}

fn page_of(memory: &[u8], page: u32) -> Option<&[u8]> {
    let at = page as usize * PAGE_BYTES;
    memory.get(at..at + PAGE_BYTES)
}

fn set_page(memory: &mut [u8], page: u32, bytes: &[u8]) {
    let at = page as usize * PAGE_BYTES;
    if let Some(target) = memory.get_mut(at..at + PAGE_BYTES) {
        target.copy_from_slice(bytes);
    }
}

/// Groups ascending ranges of pages by leaf.
fn by_leaf(ranges: &[Range<u32>]) -> Vec<(u32, PageSet)> {
    let per_leaf = PAGES_PER_LEAF as u32;
    let mut sets: Vec<(u32, PageSet)> = Vec::new();
    for range in ranges {
        let mut page = range.start;
        while page < range.end {
            let (number, first) = (page / per_leaf, page % per_leaf);
            let end = range.end.min((number + 1) * per_leaf);
            let bits = PageSet::MAX >> (per_leaf - (end - page)) << first;
            match sets.last_mut() {
                Some((last, set)) if *last == number => *set |= bits,
                _ => sets.push((number, bits)),
            }
            page = end;
        }
    }
    sets
}

/// The pages that a range of bytes touches.
fn pages_of(range: &Range<u64>) -> Range<u32> {
    let page = PAGE_BYTES as u64;
    (range.start / page) as u32..range.end.div_ceil(page) as u32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use weft_protocol::state::leaf_hash;

    use super::*;

    fn leaf(byte: u8) -> (Hash, Vec<u8>) {
        let bytes = vec![byte; LEAF_BYTES];
        (leaf_hash(&bytes), bytes)
    }

    fn image(bytes: u64, leaves: &[(u32, u8)]) -> Option<MemoryImage> {
        MemoryImage::from_leaves(
            bytes,
            leaves.iter().map(|(number, byte)| {
                let (hash, bytes) = leaf(*byte);
                (*number, hash, bytes)
            }),
        )
    }

    /// A memory with a few bytes set; pages begin where the machine's do.
    fn memory(leaves: usize, set: &[(usize, u8)]) -> Vec<u8> {
        let mut memory = vec![0; leaves * LEAF_BYTES];
        for (at, byte) in set {
            memory[*at] = *byte;
        }
        memory
    }

    #[test]
    fn zero_leaves_do_not_count() {
        let with = image(131_072, &[(0, 1), (1, 0)]).unwrap();
        assert_eq!(with, image(131_072, &[(0, 1)]).unwrap());
        assert_eq!(with.leaf_hashes().len(), 1);
        assert_eq!(with.root(), tree_root(vec![leaf(1).0, zero_leaf()]));
    }

    #[test]
    fn unfit_leaves_are_refused() {
        assert!(image(65_537, &[]).is_none());
        assert!(image(65_536, &[(1, 1)]).is_none());
        assert!(image(131_072, &[(1, 1), (1, 2)]).is_none());
        let (hash, bytes) = leaf(1);
        assert!(MemoryImage::from_leaves(65_536, [(0, hash, &bytes[1..])]).is_none());
    }

    #[test]
    fn capture_and_write_are_inverse() {
        let memory = memory(3, &[(5, 1), (LEAF_BYTES + 77, 2), (3 * LEAF_BYTES - 1, 3)]);
        let image = MemoryImage::capture(&memory, &[], None);
        let mut other = vec![0u8; 3 * LEAF_BYTES];
        other[2 * LEAF_BYTES] = 9;
        let data = Range { start: 2 * LEAF_BYTES as u64, end: 2 * LEAF_BYTES as u64 + 1 };
        image.write_to(&mut other, &[data]);
        assert_eq!(memory, other);
        let leaves: Vec<_> = image.leaves(|_| true).map(|(number, ..)| number).collect();
        assert_eq!(leaves, [0, 1, 2]);
    }

    #[test]
    fn data_that_an_image_has_not_are_zero_again() {
        let image = MemoryImage::capture(&memory(2, &[(LEAF_BYTES + 5, 7)]), &[], None);
        for at in [0, 4 * PAGE_BYTES, LEAF_BYTES, LEAF_BYTES + 3 * PAGE_BYTES - 1, 2 * LEAF_BYTES - 1] {
            let mut held = memory(2, &[(at, 9)]);
            let data = [0..1, at as u64..at as u64 + 1];
            image.write_to(&mut held, &data);
            assert_eq!(held, memory(2, &[(LEAF_BYTES + 5, 7)]), "data at {at}");
        }
    }

    #[test]
    fn what_is_shared_with_another_image_does_not_count() {
        let [one, other] = [memory(3, &[(5, 1), (LEAF_BYTES, 2)]), memory(3, &[(5, 1), (LEAF_BYTES, 3)])]
            .map(|memory| MemoryImage::capture(&memory, &[], None));
        assert_eq!(other.bytes_beside(&one), other.stored_bytes());
        let sharing = other.sharing(&one);
        assert_eq!((&sharing, sharing.root()), (&other, other.root()));
        assert_eq!(sharing.bytes_beside(&one) * 2, other.stored_bytes());
        assert_eq!(sharing.bytes_beside(&sharing), 0);
    }

    #[test]
    fn an_image_shares_the_leaves_that_did_not_change() {
        let mut memory = memory(4, &[(5, 1), (LEAF_BYTES + 77, 2), (3 * LEAF_BYTES, 3)]);
        let first = MemoryImage::capture(&memory, &[], None);
        memory[LEAF_BYTES + 9000] = 7;
        memory[2 * LEAF_BYTES] = 1;
        memory[3 * LEAF_BYTES] = 0;
        let second = MemoryImage::capture(&memory, &[], Some(&first));
        assert_eq!(second, MemoryImage::capture(&memory, &[], None));
        assert_eq!(second.root(), MemoryImage::capture(&memory, &[], None).root());
        let shared = |number| {
            let held = |image: &MemoryImage| {
                image.0.leaves.iter().find(|(of, _)| *of == number).map(|(_, leaf)| Arc::clone(leaf))
            };
            held(&first).zip(held(&second)).is_some_and(|(a, b)| Arc::ptr_eq(&a, &b))
        };
        assert_eq!([0, 1, 2, 3].map(shared), [true, false, false, false]);
    }

    #[test]
    fn pages_are_grouped_by_leaf() {
        let ranges = [1..3, 15..18, 40..41];
        let grouped = [(0, 0b1000_0000_0000_0110), (1, 0b11), (2, 0b1_0000_0000)];
        assert_eq!(by_leaf(&ranges), grouped);
        assert_eq!(by_leaf(&[16..32, 32..49]), [(1, u16::MAX), (2, u16::MAX), (3, 1)]);
    }
}
