//! A memory as bytes: its size and the pages that are not zero.

use std::ops::Range;
use std::sync::Arc;

mod resident;

/// Granularity of an image.
pub const PAGE_BYTES: usize = 4096;
/// Granularity of the state tree: one wasm page.
pub const LEAF_BYTES: usize = 64 * 1024;

const ZERO_PAGE: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
const PAGES_PER_LEAF: usize = LEAF_BYTES / PAGE_BYTES;

/// A linear memory, sparse. Cheap to clone; equal exactly when the memories are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryImage(Arc<Pages>);

#[derive(Debug, PartialEq, Eq)]
struct Pages {
    /// Length of the memory, a multiple of a leaf.
    bytes: u64,
    /// Numbers of the pages that are not zero, ascending.
    numbers: Vec<u32>,
    /// Their bytes, one after the other.
    data: Vec<u8>,
}

impl MemoryImage {
    /// An image of `bytes` length with these pages; `None` unless the length is whole leaves, the
    /// numbers ascend and lie inside, and each page has [`PAGE_BYTES`] bytes. Zero pages are left
    /// out, so equal memories give equal images.
    pub fn from_pages<'a>(bytes: u64, pages: impl IntoIterator<Item = (u32, &'a [u8])>) -> Option<Self> {
        if !bytes.is_multiple_of(LEAF_BYTES as u64) {
            return None;
        }
        let mut image = Pages { bytes, numbers: Vec::new(), data: Vec::new() };
        let mut least = 0u64;
        for (number, page) in pages {
            let outside = (u64::from(number) + 1) * PAGE_BYTES as u64 > bytes;
            if u64::from(number) < least || outside || page.len() != PAGE_BYTES {
                return None;
            }
            least = u64::from(number) + 1;
            image.push(number, page);
        }
        Some(Self(Arc::new(image)))
    }

    /// Reads a live memory whose data segments lie at `data`.
    pub(crate) fn capture(memory: &[u8], data: &[Range<u64>]) -> Self {
        let mut image = Pages { bytes: memory.len() as u64, numbers: Vec::new(), data: Vec::new() };
        for range in resident::candidates(memory, data) {
            for number in range {
                let at = number as usize * PAGE_BYTES;
                if let Some(page) = memory.get(at..at + PAGE_BYTES) {
                    image.push(number, page);
                }
            }
        }
        Self(Arc::new(image))
    }

    /// Makes a memory of the same length equal to this image. Outside of `data` it must be zero.
    pub(crate) fn write_to(&self, memory: &mut [u8], data: &[Range<u64>]) {
        for number in data.iter().flat_map(pages_of) {
            let at = number as usize * PAGE_BYTES;
            if self.0.numbers.binary_search(&number).is_err()
                && let Some(page) = memory.get_mut(at..at + PAGE_BYTES)
            {
                page.fill(0);
            }
        }
        for (number, page) in self.pages() {
            let at = number as usize * PAGE_BYTES;
            if let Some(target) = memory.get_mut(at..at + PAGE_BYTES) {
                target.copy_from_slice(page);
            }
        }
    }

    /// Length of the memory.
    pub fn byte_len(&self) -> u64 {
        self.0.bytes
    }

    /// Bytes that the image itself holds.
    pub fn stored_bytes(&self) -> usize {
        self.0.data.len() + self.0.numbers.len() * size_of::<u32>()
    }

    /// The pages that are not zero: number and bytes, ascending.
    pub fn pages(&self) -> impl ExactSizeIterator<Item = (u32, &[u8])> {
        self.0.numbers.iter().copied().zip(self.0.data.chunks_exact(PAGE_BYTES))
    }

    /// Number of leaves, zero ones included.
    pub fn leaf_count(&self) -> u64 {
        self.0.bytes / LEAF_BYTES as u64
    }

    /// Gives every leaf that is not zero to `visit`, ascending. All others are zero.
    pub fn for_each_leaf(&self, mut visit: impl FnMut(u64, &[u8; LEAF_BYTES])) {
        let mut leaf = Box::new([0u8; LEAF_BYTES]);
        let mut current = None;
        for (number, page) in self.pages() {
            let index = number as usize / PAGES_PER_LEAF;
            if current != Some(index) {
                if let Some(done) = current {
                    visit(done as u64, &leaf);
                }
                leaf.fill(0);
                current = Some(index);
            }
            let at = number as usize % PAGES_PER_LEAF * PAGE_BYTES;
            if let Some(target) = leaf.get_mut(at..at + PAGE_BYTES) {
                target.copy_from_slice(page);
            }
        }
        if let Some(done) = current {
            visit(done as u64, &leaf);
        }
    }
}

impl Pages {
    /// Adds a page unless it is zero.
    fn push(&mut self, number: u32, page: &[u8]) {
        if page != ZERO_PAGE {
            self.numbers.push(number);
            self.data.extend_from_slice(page);
        }
    }
}

/// The pages that a range of bytes touches.
fn pages_of(range: &Range<u64>) -> Range<u32> {
    let page = PAGE_BYTES as u64;
    (range.start / page) as u32..range.end.div_ceil(page) as u32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn page(byte: u8) -> Vec<u8> {
        vec![byte; PAGE_BYTES]
    }

    #[test]
    fn zero_pages_do_not_count() {
        let (a, zero) = (page(1), page(0));
        let with = MemoryImage::from_pages(131_072, [(3, &a[..]), (4, &zero[..])]).unwrap();
        let without = MemoryImage::from_pages(131_072, [(3, &a[..])]).unwrap();
        assert_eq!(with, without);
        assert_eq!(with.pages().len(), 1);
    }

    #[test]
    fn unfit_pages_are_refused() {
        let a = page(1);
        assert!(MemoryImage::from_pages(65_537, []).is_none());
        assert!(MemoryImage::from_pages(65_536, [(16, &a[..])]).is_none());
        assert!(MemoryImage::from_pages(65_536, [(2, &a[..]), (2, &a[..])]).is_none());
        assert!(MemoryImage::from_pages(65_536, [(2, &a[1..])]).is_none());
    }

    #[test]
    fn capture_and_write_are_inverse() {
        let mut memory = vec![0u8; 3 * LEAF_BYTES];
        memory[5] = 1;
        memory[LEAF_BYTES + 77] = 2;
        memory[3 * LEAF_BYTES - 1] = 3;
        let image = MemoryImage::capture(&memory, &[]);
        let mut other = vec![0u8; 3 * LEAF_BYTES];
        other[2 * LEAF_BYTES] = 9;
        let data = Range { start: 2 * LEAF_BYTES as u64, end: 2 * LEAF_BYTES as u64 + 1 };
        image.write_to(&mut other, &[data]);
        assert_eq!(memory, other);
    }

    #[test]
    fn leaves_hold_their_pages() {
        let (a, b) = (page(1), page(2));
        let image = MemoryImage::from_pages(4 * LEAF_BYTES as u64, [(0, &a[..]), (15, &b[..]), (48, &a[..])])
            .unwrap();
        let mut seen = Vec::new();
        image.for_each_leaf(|index, leaf| seen.push((index, leaf[0], leaf[LEAF_BYTES - 1])));
        assert_eq!(seen, [(0, 1, 2), (3, 1, 0)]);
        assert_eq!(image.leaf_count(), 4);
    }
}
