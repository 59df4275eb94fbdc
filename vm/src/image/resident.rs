//! Which pages of a memory can be other than zero.
//!
//! A guest's memory is mostly pages that nobody ever touched: reading them all would fault each
//! one in and cost 50 times the message. The kernel knows which pages exist
//! (`/proc/self/pagemap`); all others are zero, save those of the data segments, which lie in a
//! copy-on-write file until they are touched. Where the kernel does not say, every page is read.

use std::ops::Range;

use super::{PAGE_BYTES, pages_of};

/// Ranges of page numbers, ascending and not overlapping, outside of which the memory is zero.
pub(super) fn candidates(memory: &[u8], data: &[Range<u64>]) -> Vec<Range<u32>> {
    let all = (memory.len() / PAGE_BYTES) as u32;
    let Some(mut ranges) = existing(memory, PRESENT | SWAPPED, 0) else {
        return vec![Range { start: 0, end: all }];
    };
    ranges.extend(data.iter().map(pages_of));
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u32>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Bytes of a memory that take up memory of the machine, but those that it has in common with others of its
/// module: pages of the data that nobody wrote to. All of them where the kernel does not say.
pub(crate) fn resident_bytes(memory: &[u8]) -> u64 {
    let Some(ranges) = existing(memory, PRESENT | SWAPPED, OF_A_FILE) else { return memory.len() as u64 };
    ranges.iter().map(|range| u64::from(range.end - range.start) * PAGE_BYTES as u64).sum()
}

// What the kernel tells of a page.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_A_FILE: u64 = 1 << 61;

/// Pages of which the kernel tells any of `some` and none of `none`.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn existing(memory: &[u8], some: u64, none: u64) -> Option<Vec<Range<u32>>> {
    use std::os::unix::fs::FileExt;

    const ENTRY_BYTES: usize = 8;
    /// Entries read at once: what 64 MiB of memory need.
    const BATCH: usize = 16_384;

    // A guest's memory begins on a page; a slice of something else may not.
    let first = memory.as_ptr().addr();
    if !first.is_multiple_of(PAGE_BYTES) {
        return None;
    }
    let file = std::fs::File::open("/proc/self/pagemap").ok()?;
    let count = memory.len() / PAGE_BYTES;
    let mut ranges: Vec<Range<u32>> = Vec::new();
    let mut buffer = vec![0u8; BATCH.min(count) * ENTRY_BYTES];
    for start in (0..count).step_by(BATCH) {
        let entries = BATCH.min(count - start);
        let part = buffer.get_mut(..entries * ENTRY_BYTES)?;
        let offset = (first / PAGE_BYTES + start) * ENTRY_BYTES;
        file.read_exact_at(part, offset as u64).ok()?;
        for (index, entry) in part.chunks_exact(ENTRY_BYTES).enumerate() {
            let entry = u64::from_le_bytes(entry.try_into().ok()?);
            if entry & some == 0 || entry & none != 0 {
                continue;
            }
            let number = (start + index) as u32;
            match ranges.last_mut() {
                Some(last) if last.end == number => last.end += 1,
                _ => ranges.push(number..number + 1),
            }
        }
    }
    Some(ranges)
}

/// Pages that are in memory or swapped out: not known here.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn existing(_memory: &[u8], _some: u64, _none: u64) -> Option<Vec<Range<u32>>> {
    None
}
