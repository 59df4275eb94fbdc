//! What a file takes of the disk, and the limit that it never passes.
//!
//! redb doubles its file, from 4 GiB on by regions of that size, long before it writes there: the
//! system gives no blocks to what was never written. So not the length counts but the pages that were
//! written once: `Meter` keeps a bit for each. A write that would take more pages than the limit allows
//! fails like one on a full disk, before it reaches the file.

use std::fs::File;
use std::io;
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

use crate::mark::Watch;

/// What the system gives at once, and a page of redb.
const PAGE_BYTES: u64 = 4096;
const WORD_BITS: u64 = u64::BITS as u64;

/// Why a write was refused here.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the disk budget is used up")]
struct OverBudget;

/// Counts the pages of one file.
#[derive(Debug)]
pub(crate) struct Meter {
    written: Mutex<Written>,
    /// Bytes of the pages that were written, for readers who do not wait.
    bytes: AtomicU64,
    limit: AtomicU64,
}

/// A bit for every page that was ever written and not cut off again.
#[derive(Debug, Default)]
struct Written {
    words: Vec<u64>,
    pages: u64,
}

impl Written {
    /// The pages that these bytes are in.
    const fn pages(bytes: &Range<u64>) -> Range<u64> {
        bytes.start / PAGE_BYTES..bytes.end.div_ceil(PAGE_BYTES)
    }

    fn has(&self, page: u64) -> bool {
        let word = usize::try_from(page / WORD_BITS).ok().and_then(|word| self.words.get(word));
        word.is_some_and(|word| word >> (page % WORD_BITS) & 1 == 1)
    }

    /// How many of these pages were not written yet.
    fn fresh(&self, pages: Range<u64>) -> u64 {
        pages.map(|page| u64::from(!self.has(page))).sum()
    }

    fn mark(&mut self, pages: Range<u64>) -> io::Result<()> {
        let words = usize::try_from(pages.end.div_ceil(WORD_BITS)).map_err(io::Error::other)?;
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
        for page in pages {
            let Some(word) = usize::try_from(page / WORD_BITS).ok().and_then(|word| self.words.get_mut(word))
            else {
                continue;
            };
            let bit = 1 << (page % WORD_BITS);
            self.pages += u64::from(*word & bit == 0);
            *word |= bit;
        }
        Ok(())
    }

    /// Forgets what lies behind a new end.
    fn cut(&mut self, length: u64) {
        let end = length.div_ceil(PAGE_BYTES);
        let words = usize::try_from(end.div_ceil(WORD_BITS)).unwrap_or(usize::MAX);
        self.words.truncate(words);
        if self.words.len() == words
            && let Some(last) = self.words.last_mut()
            && !end.is_multiple_of(WORD_BITS)
        {
            *last &= (1 << (end % WORD_BITS)) - 1;
        }
        self.pages = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
    }
}

impl Meter {
    fn new(written: Written) -> Arc<Self> {
        let bytes = AtomicU64::new(written.pages * PAGE_BYTES);
        Arc::new(Self { written: Mutex::new(written), bytes, limit: AtomicU64::new(u64::MAX) })
    }

    /// Of a disk of which nobody knows where it has holes.
    pub(crate) fn of_length(length: u64) -> io::Result<Arc<Self>> {
        let mut written = Written::default();
        written.mark(Written::pages(&(0..length)))?;
        Ok(Self::new(written))
    }

    /// Of a file, as the system says where it has holes.
    pub(crate) fn of_file(file: &File) -> io::Result<Arc<Self>> {
        let mut written = Written::default();
        for data in data_ranges(file)? {
            written.mark(Written::pages(&data))?;
        }
        Ok(Self::new(written))
    }

    /// Bytes that the file takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// From now on no page is taken above so many bytes.
    pub(crate) fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    fn write(&self, offset: u64, length: usize) -> io::Result<()> {
        let pages = Written::pages(&(offset..offset.saturating_add(length as u64)));
        let mut written = self.written();
        let fresh = written.fresh(pages.clone());
        if fresh == 0 {
            return Ok(());
        }
        if (written.pages + fresh) * PAGE_BYTES > self.limit.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, OverBudget));
        }
        written.mark(pages)?;
        self.bytes.store(written.pages * PAGE_BYTES, Ordering::Relaxed);
        Ok(())
    }

    fn cut(&self, length: u64) {
        let mut written = self.written();
        written.cut(length);
        self.bytes.store(written.pages * PAGE_BYTES, Ordering::Relaxed);
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a file has bytes. What the file system does not say counts as written.
#[cfg(unix)]
fn data_ranges(file: &File) -> io::Result<Vec<Range<u64>>> {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;
    let length = file.metadata()?.len();
    let (mut ranges, mut at) = (Vec::new(), 0);
    while at < length {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole from here on.
            Err(Errno::NXIO) => break,
            Err(_) => at,
        };
        let end = seek(file, SeekFrom::Hole(start)).unwrap_or(length).clamp(start + 1, length.max(start + 1));
        ranges.push(start..end.min(length));
        at = end;
    }
    Ok(ranges)
}

#[cfg(not(unix))]
fn data_ranges(file: &File) -> io::Result<Vec<Range<u64>>> {
    Ok(vec![0..file.metadata()?.len()])
}

/// What redb writes to, with a meter before it and a watch over its header.
#[derive(Debug)]
pub(crate) struct Metered {
    disk: Box<dyn StorageBackend>,
    meter: Arc<Meter>,
    watch: Option<Arc<Watch>>,
}

impl Metered {
    pub(crate) fn new(disk: impl StorageBackend, meter: Arc<Meter>) -> Self {
        Self { disk: Box::new(disk), meter, watch: None }
    }

    pub(crate) fn watched(self, watch: Arc<Watch>) -> Self {
        Self { watch: Some(watch), ..self }
    }
}

impl StorageBackend for Metered {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.set_len(length)?;
        self.meter.cut(length);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(watch) = &self.watch {
            watch.look(offset, bytes)?;
        }
        self.meter.write(offset, bytes.len())?;
        self.disk.write(offset, bytes)
    }

    fn close(&self) -> io::Result<()> {
        self.disk.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.disk.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.disk.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{Seek as _, Write as _};

    use super::*;

    const PAGE: u64 = PAGE_BYTES;

    #[test]
    fn a_page_counts_once_until_it_is_cut_off() {
        let meter = Meter::of_length(0).unwrap();
        meter.write(0, 1).unwrap();
        meter.write(PAGE - 1, 2).unwrap();
        assert_eq!(meter.bytes(), 2 * PAGE);
        meter.write(200 * PAGE, 3 * PAGE_BYTES as usize).unwrap();
        assert_eq!(meter.bytes(), 5 * PAGE);
        meter.cut(201 * PAGE);
        assert_eq!(meter.bytes(), 3 * PAGE);
        // A file that grows again takes nothing before it is written.
        meter.cut(1_000 * PAGE);
        assert_eq!(meter.bytes(), 3 * PAGE);
        meter.cut(0);
        assert_eq!(meter.bytes(), 0);
    }

    #[test]
    fn nothing_is_taken_above_the_limit() {
        let meter = Meter::of_length(3 * PAGE).unwrap();
        meter.set_limit(4 * PAGE);
        meter.write(7 * PAGE, 1).unwrap();
        let refused = meter.write(8 * PAGE, 1).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::QuotaExceeded);
        // What was taken may be written for ever, also when the limit falls below it.
        meter.set_limit(0);
        meter.write(0, 3 * PAGE_BYTES as usize).unwrap();
        meter.write(7 * PAGE, 1).unwrap();
        assert_eq!(meter.bytes(), 4 * PAGE);
    }

    #[test]
    fn holes_in_a_file_take_nothing() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(1 << 30).unwrap();
        file.seek(io::SeekFrom::Start(512 << 20)).unwrap();
        file.write_all(&[1; 100_000]).unwrap();
        file.sync_all().unwrap();
        let bytes = Meter::of_file(&file).unwrap().bytes();
        assert!((100_000..64 << 20).contains(&bytes), "{bytes}");
        let all = tempfile::tempfile().unwrap();
        assert_eq!(Meter::of_file(&all).unwrap().bytes(), 0);
    }
}
