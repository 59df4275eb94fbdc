//! The seam below the store: where its bytes lie. Files by default; memory for tests, with what
//! was not synced lost on demand.

pub(crate) mod meter;
pub(crate) mod overlay;

use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A growable array of bytes with an explicit sync. What a fault-injecting test wraps.
pub trait Disk: Debug + Send + Sync + 'static {
    /// The length in bytes.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn len(&self) -> io::Result<u64>;

    /// Whether nothing was ever written.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|length| length == 0)
    }

    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// When the range is not all there, or the disk fails.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` at `offset`; durable only after [`sync`](Self::sync).
    ///
    /// # Errors
    /// When the disk fails; any part may have been written.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or extends with zeros.
    ///
    /// # Errors
    /// When the disk fails.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Makes everything written before durable.
    ///
    /// # Errors
    /// When the disk fails; what is durable is then unknown.
    fn sync(&self) -> io::Result<()>;
}

/// Carries a [`Disk`] to redb.
#[derive(Debug)]
pub(crate) struct Backend(pub(crate) Box<dyn Disk>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(offset, bytes)
    }
}

/// A disk in memory. Clones are the same disk, so a test can close a store and open it again.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Memory>);

#[derive(Debug, Default)]
struct Memory {
    contents: Mutex<Contents>,
    syncs: Mutex<Syncs>,
    /// Told when nobody holds them any more.
    released: Condvar,
}

#[derive(Debug, Default)]
struct Contents {
    current: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug, Default)]
struct Syncs {
    holders: usize,
    waiting: usize,
}

/// Syncs of a [`MemoryDisk`] wait as long as somebody has one of these.
#[derive(Debug)]
#[must_use = "syncs are held until this is dropped"]
pub struct HeldSyncs(MemoryDisk);

impl Drop for HeldSyncs {
    fn drop(&mut self) {
        self.0.syncs().holders -= 1;
        self.0.0.released.notify_all();
    }
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// The disk as it would be found after losing power now: only what was synced.
    #[must_use]
    pub fn after_power_loss(&self) -> Self {
        let synced = self.contents().synced.clone();
        let contents = Mutex::new(Contents { current: synced.clone(), synced });
        Self(Arc::new(Memory { contents, ..Memory::default() }))
    }

    /// Holds up the syncs to come: what is committed meanwhile is on its way to the disk, and nobody is answered.
    pub fn hold_syncs(&self) -> HeldSyncs {
        self.syncs().holders += 1;
        HeldSyncs(self.clone())
    }

    /// Whether somebody waits for a sync that is held up.
    pub fn has_sync_waiting(&self) -> bool {
        self.syncs().waiting > 0
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn syncs(&self) -> MutexGuard<'_, Syncs> {
        self.0.syncs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn range(offset: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    let end = start.checked_add(length).ok_or_else(|| io::Error::other("the range wraps"))?;
    Ok(start..end)
}

impl Disk for MemoryDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.contents().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let contents = self.contents();
        let bytes = contents
            .current
            .get(range(offset, out.len())?)
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let range = range(offset, bytes.len())?;
        let mut contents = self.contents();
        if contents.current.len() < range.end {
            contents.current.resize(range.end, 0);
        }
        contents.current[range].copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.contents().current.resize(length, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut syncs = self.syncs();
        syncs.waiting += 1;
        while syncs.holders > 0 {
            syncs = self.0.released.wait(syncs).unwrap_or_else(PoisonError::into_inner);
        }
        syncs.waiting -= 1;
        drop(syncs);
        let mut contents = self.contents();
        let Contents { current, synced } = &mut *contents;
        synced.clone_from(current);
        Ok(())
    }
}
