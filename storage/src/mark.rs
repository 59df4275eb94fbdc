//! A mark beside the store: the newest commit whose success anybody was told of.
//!
//! When redb finds the newest commit of a file damaged that was not closed, it falls back to the one
//! before it without a word: after a crash that is right, for nobody was told that the commit was
//! made. If somebody was, slots that were signed and said are gone. So the writer notes each commit
//! before it answers; a store that opens behind its mark has lost something.
//!
//! The note is not synced: that would cost every commit a second wait for the disk. It is exact after
//! the end of the process, however it came, and after a loss of power it may lag, never lead.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Builder, Database, DatabaseError};

use crate::contained::Contained;
use crate::disk::Disk;
use crate::repair::beside;

/// What a store has lost that is behind its mark.
pub(crate) const BEHIND: &str = "the newest commits are damaged or gone, and with them what they wrote";

/// redb's header, in its file format 3: the byte whose lowest bit says which of two slots holds the
/// newest commit; where the first slot begins, how long each is, and where in one its number stands.
const NEWEST_AT: usize = 9;
const SLOTS_AT: usize = 64;
const SLOT_BYTES: usize = 128;
const NUMBER_AT: usize = 104;
const HEADER_BYTES: usize = SLOTS_AT + 2 * SLOT_BYTES;

const CHECKSUM_BYTES: usize = 8;
const MARK_BYTES: usize = 8 + CHECKSUM_BYTES;

/// The mark's file, and the store's, to read its header.
pub(crate) struct Mark {
    mark: File,
    store: File,
}

impl Mark {
    /// The mark of a store that is open and not behind an earlier mark.
    pub(crate) fn open(store: &Path) -> io::Result<Self> {
        let mark =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path(store))?;
        let mark = Self { mark, store: File::open(store)? };
        mark.set()?;
        Ok(mark)
    }

    /// Notes the newest commit.
    pub(crate) fn set(&self) -> io::Result<()> {
        let mut header = [0; HEADER_BYTES];
        self.store.read_exact_at(&mut header, 0)?;
        let number = number_in(&header);
        let bytes = [number.to_be_bytes(), checksum(number)].concat();
        self.mark.write_all_at(&bytes, 0)
    }
}

/// Where the mark of a store lies.
pub(crate) fn path(store: &Path) -> PathBuf {
    beside(store, ".mark")
}

/// Which commit a file was found at when it was opened.
pub(crate) struct Found {
    was_repaired: Arc<AtomicBool>,
}

impl Found {
    /// Its number, by the header as it is after the opening.
    pub(crate) fn of(&self, disk: &impl Disk) -> Option<u64> {
        let mut header = [0; HEADER_BYTES];
        disk.read(0, &mut header).ok()?;
        self.number(&header)
    }

    /// As [`of`](Self::of), of a file.
    pub(crate) fn of_file(&self, path: &Path) -> Option<u64> {
        let mut header = [0; HEADER_BYTES];
        File::open(path).and_then(|file| file.read_exact_at(&mut header, 0)).ok()?;
        self.number(&header)
    }

    fn number(&self, header: &[u8; HEADER_BYTES]) -> Option<u64> {
        // Its own repair ends with a commit.
        let repairs = u64::from(self.was_repaired.load(Ordering::Relaxed));
        number_in(header).checked_sub(repairs)
    }
}

/// Opens a database and sees whether redb repairs it.
pub(crate) fn watched(
    cache_bytes: usize,
    open: impl FnOnce(&mut Builder) -> Result<Database, DatabaseError>,
) -> Result<(Contained, Found), DatabaseError> {
    let was_repaired = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&was_repaired);
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes).set_repair_callback(move |_| noted.store(true, Ordering::Relaxed));
    let database = open(&mut builder).map(Contained::new)?;
    Ok((database, Found { was_repaired }))
}

/// Whether a store that was found at this commit lacks some that were said to be made.
pub(crate) fn is_behind(store: &Path, found: Option<u64>) -> bool {
    let Ok(bytes) = std::fs::read(path(store)) else { return false };
    let Some((number, sum)) = bytes.get(..MARK_BYTES).and_then(|bytes| bytes.split_first_chunk()) else {
        return false;
    };
    let said = u64::from_be_bytes(*number);
    // What is no mark says nothing.
    checksum(said).as_slice() == sum && found.is_some_and(|found| said > found)
}

/// The number of the newest commit, as the header has it.
fn number_in(header: &[u8; HEADER_BYTES]) -> u64 {
    let at = SLOTS_AT + SLOT_BYTES * usize::from(header[NEWEST_AT] & 1) + NUMBER_AT;
    header.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn checksum(number: u64) -> [u8; CHECKSUM_BYTES] {
    let hash = blake3::hash(&number.to_be_bytes());
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}
