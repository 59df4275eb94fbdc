//! A mark beside the store: the newest commit whose success anybody was told of.
//!
//! When redb finds the newest commit of a file damaged that was not closed, it falls back to the one
//! before it without a word: after a crash that is right, for nobody was told that the commit was
//! made. If somebody was, slots that were signed and said are gone. So the writer notes each commit
//! before it answers; a store that opens behind its mark has lost something.
//!
//! redb ends such an opening with a commit of its own, which would bring the number back to where the
//! mark is. So what it writes into its header is looked at on the way, and a loss is noted, synced,
//! before the header that would hide it: whoever opens the store after a crash in between still
//! knows.
//!
//! The note of a commit is not synced: that would cost every commit a second wait for the disk. It is
//! exact after the end of the process, however it came, and after a loss of power it may lag, never lead.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::StoreError;
use crate::repair::{beside, remove_if_there};

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
/// Follows a mark while a loss was seen and is not yet under caution.
const LOST: u8 = 1;

/// The mark's file, and the store's, to read its header.
pub(crate) struct Mark {
    mark: File,
    store: File,
}

impl Mark {
    /// The mark of a store that is open, and under caution if it was behind an earlier one.
    pub(crate) fn open(store: &Path) -> io::Result<Self> {
        let mark =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path(store))?;
        let mark = Self { mark, store: File::open(store)? };
        mark.set()?;
        if mark.mark.metadata()?.len() > MARK_BYTES as u64 {
            mark.mark.set_len(MARK_BYTES as u64)?;
            mark.mark.sync_all()?;
        }
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

/// Removes the mark of a store that is gone: it says nothing about the one that takes its place.
///
/// # Errors
/// What the disk says.
pub fn remove_mark(store: &Path) -> Result<(), StoreError> {
    remove_if_there(&path(store))
}

/// Sees whether redb opens a file behind its mark.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The newest commit that was said to be made.
    said: u64,
    is_behind: AtomicBool,
    /// Whether that was noted now and not before.
    has_noted: AtomicBool,
    /// Where a loss is noted; none of a file that is only read.
    note: Option<PathBuf>,
}

impl Watch {
    /// Of a file that is about to be opened.
    pub(crate) fn of(store: &Path) -> Self {
        Self { note: Some(path(store)), ..Self::of_copy(store) }
    }

    /// Of a file that is about to be opened for reading alone.
    pub(crate) fn of_copy(store: &Path) -> Self {
        // What is no mark says nothing.
        let bytes = std::fs::read(path(store)).unwrap_or_default();
        let mark = bytes.get(..MARK_BYTES).and_then(|bytes| bytes.split_first_chunk());
        let said = mark.map(|(number, sum)| (u64::from_be_bytes(*number), sum));
        let said = said.filter(|(said, sum)| checksum(*said).as_slice() == *sum).map_or(0, |(said, _)| said);
        let is_behind = AtomicBool::new(bytes.get(MARK_BYTES) == Some(&LOST));
        Self { said, is_behind, has_noted: AtomicBool::new(false), note: None }
    }

    /// Looks at what is about to be written.
    pub(crate) fn look(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(header) = bytes.first_chunk().filter(|_| offset == 0) else { return Ok(()) };
        if number_in(header) >= self.said || self.is_behind.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let Some(note) = &self.note else { return Ok(()) };
        let mark = OpenOptions::new().write(true).open(note)?;
        mark.write_all_at(&[LOST], MARK_BYTES as u64)?;
        self.has_noted.store(true, Ordering::Relaxed);
        mark.sync_all()
    }

    /// Takes back what was noted while this file was opened: it is not the one that the mark is of.
    pub(crate) fn take_back(&self) -> io::Result<()> {
        let Some(note) = self.note.as_ref().filter(|_| self.has_noted.load(Ordering::Relaxed)) else {
            return Ok(());
        };
        let mark = OpenOptions::new().write(true).open(note)?;
        mark.set_len(MARK_BYTES as u64)?;
        mark.sync_all()
    }

    /// Whether the file lacks commits that were said to be made.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Relaxed)
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use redb::{Database, WriteTransaction};
    use weft_protocol::{Address, Network};

    use super::*;
    use crate::store::table_names;
    use crate::tables::Table;
    use crate::{Caution, Store, StoreConfig, Write, meta};

    const PAGE: usize = 4096;

    fn config() -> StoreConfig {
        StoreConfig { cache_bytes: 1 << 20, ..StoreConfig::new(Network(7), Address([1; 32])) }
    }

    fn commit(database: &Database, work: impl FnOnce(&WriteTransaction)) {
        let writing = database.begin_write().unwrap();
        work(&writing);
        writing.commit().unwrap();
    }

    /// A store as `kill -9` leaves it, whose newest commit was said to be made and is damaged. `first` is
    /// in the commit before.
    fn behind(folder: &Path, first: impl FnOnce(&WriteTransaction)) -> PathBuf {
        let store = folder.join("store.redb");
        drop(Store::open(&store, &config()).unwrap());
        let database = Database::open(&store).unwrap();
        commit(&database, first);
        let mark = Mark::open(&store).unwrap();
        let before = std::fs::read(&store).unwrap();
        commit(&database, |writing| {
            let mut rows = writing.open_table(Table::Blobs.definition()).unwrap();
            rows.insert([7; 32].as_slice(), [7; 3 * PAGE].as_slice()).unwrap();
        });
        mark.set().unwrap();
        let mut after = std::fs::read(&store).unwrap();
        for at in (PAGE..after.len()).step_by(PAGE) {
            if before.get(at..at + PAGE) != after.get(at..at + PAGE) {
                after[at + 100] ^= 0xff;
            }
        }
        let lost = folder.join("lost.redb");
        std::fs::write(&lost, after).unwrap();
        std::fs::copy(path(&store), path(&lost)).unwrap();
        lost
    }

    fn caution(store: &Path) -> Option<Caution> {
        Store::open(store, &config()).unwrap().read().unwrap().caution().unwrap()
    }

    #[test]
    fn a_loss_is_known_also_after_a_crash_before_it_is_under_caution() {
        let folder = tempfile::tempdir().unwrap();
        let lost = behind(folder.path(), |writing| drop(writing.list_tables().unwrap()));
        let owner = config().owner();
        let (database, is_behind) = meta::open_file(&lost, 1 << 20, owner, &table_names()).unwrap();
        assert!(is_behind);
        let killed = folder.path().join("killed.redb");
        std::fs::copy(&lost, &killed).unwrap();
        std::fs::copy(path(&lost), path(&killed)).unwrap();
        drop(database);
        assert_eq!(caution(&killed), Some(Caution::Repaired));
        // It is noted once: who accepts the loss is not told again.
        let store = Store::open(&killed, &config()).unwrap();
        store.write_blocking(vec![Write::lift_openings()]).unwrap();
        drop(store);
        assert_eq!(caution(&killed), None);
    }

    #[test]
    fn a_file_of_another_in_its_place_says_nothing_of_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.redb");
        for number in 0..3 {
            let opened = Store::open(&store, &config()).unwrap();
            let name = format!("setting {number}");
            opened.write_blocking(vec![Write::Setting { name, value: "x".into() }]).unwrap();
        }
        let ours = std::fs::read(&store).unwrap();
        let others = folder.path().join("others.redb");
        let other = StoreConfig { node: Address([2; 32]), ..config() };
        drop(Store::open(&others, &other).unwrap());
        std::fs::copy(&others, &store).unwrap();
        let refused = Store::open(&store, &config()).unwrap_err();
        assert!(matches!(refused, crate::StoreError::OtherNode { .. }), "{refused}");
        std::fs::write(&store, ours).unwrap();
        assert_eq!(caution(&store), None);
    }

    #[test]
    fn a_table_that_is_made_hides_no_loss() {
        let folder = tempfile::tempdir().unwrap();
        let lost = behind(folder.path(), |writing| {
            assert!(writing.delete_table(Table::Anchored.definition()).unwrap());
        });
        assert_eq!(caution(&lost), Some(Caution::Repaired));
    }
}
