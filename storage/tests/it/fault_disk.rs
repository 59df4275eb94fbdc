//! A disk that fails on command: any call by its number, once or for good, half-way through a
//! write or for want of space; and that shows what a loss of power would leave of it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weft_storage::Disk;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This call fails and the next ones work.
    Once,
    /// This call and every later one fails: the device is gone.
    Gone,
    /// A write puts half of its bytes down before it fails; other calls just fail.
    Short,
    /// Writing and growing fail for want of space from this call on; reading and syncing work.
    Full,
    /// From this call on a sync says that it is done and does nothing.
    Lying,
}

/// Every fault of a disk that keeps what it said it has.
pub const FAULTS: [Fault; 4] = [Fault::Once, Fault::Gone, Fault::Short, Fault::Full];

/// The calls, of so many, that fail one after another: all of them with `WEFT_FULL=1`. Otherwise so many
/// samples, spread over all, at other places for every offset.
pub fn chosen(calls: u64, samples: u64, offset: u64) -> Vec<u64> {
    if std::env::var("WEFT_FULL").is_ok_and(|value| value == "1") {
        return (0..calls).collect();
    }
    (0..samples).map(|sample| (sample * calls / samples + offset).min(calls - 1)).collect()
}

/// What of the bytes that were never synced is found after a loss of power.
#[derive(Debug, Clone, Copy)]
pub enum Unsynced {
    /// Nothing.
    Lost,
    /// Some writes, whole or torn, in any order: a disk's cache promises no more.
    Some {
        /// Chooses them.
        seed: u64,
    },
}

/// A disk in memory with faults. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct FaultDisk(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    current: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    calls: u64,
    plan: Option<(u64, Fault)>,
    capacity: Option<u64>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// Which kind of call it is.
#[derive(Clone, Copy, PartialEq)]
enum Call {
    Read,
    Write,
    Sync,
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => bytes.resize(*length, 0),
        Change::Write(at, written) => {
            let end = at + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(written);
        }
    }
}

fn no_space() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

impl Contents {
    /// Counts the call; an error when it is to fail, and whether half of a write is done before.
    fn call(&mut self, kind: Call) -> Result<(), (io::Error, bool)> {
        let number = self.calls;
        self.calls += 1;
        let Some((from, fault)) = self.plan else { return Ok(()) };
        let now = number == from;
        let fails = match fault {
            Fault::Once | Fault::Short => now,
            Fault::Gone => number >= from,
            Fault::Full => number >= from && kind == Call::Write,
            Fault::Lying => false,
        };
        if !fails {
            return Ok(());
        }
        let error = if fault == Fault::Full { no_space() } else { io::Error::other("an injected fault") };
        Err((error, fault == Fault::Short))
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.current, &change);
        self.unsynced.push(change);
    }
}

impl FaultDisk {
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk that holds these bytes, synced.
    pub fn of(bytes: Vec<u8>) -> Self {
        let contents = Contents { current: bytes.clone(), durable: bytes, ..Contents::default() };
        Self(Arc::new(Mutex::new(contents)))
    }

    /// Makes the call of this number, counted from the beginning, fail.
    pub fn fail(&self, number: u64, fault: Fault) {
        self.contents().plan = Some((number, fault));
    }

    /// Lets every call work again.
    pub fn heal(&self) {
        let mut contents = self.contents();
        (contents.plan, contents.capacity) = (None, None);
    }

    /// Whether it fails for want of space.
    pub fn is_full(&self) -> bool {
        matches!(self.contents().plan, Some((_, Fault::Full)))
    }

    /// Refuses to grow beyond so many bytes.
    pub fn set_capacity(&self, bytes: u64) {
        self.contents().capacity = Some(bytes);
    }

    /// Calls made so far.
    pub fn calls(&self) -> u64 {
        self.contents().calls
    }

    /// The bytes as a process sees them now.
    pub fn bytes(&self) -> Vec<u8> {
        self.contents().current.clone()
    }

    /// The disk as it would be found after losing power now.
    pub fn after_power_loss(&self, unsynced: Unsynced) -> Self {
        let contents = self.contents();
        let mut bytes = contents.durable.clone();
        if let Unsynced::Some { seed } = unsynced {
            let mut state = seed;
            for change in &contents.unsynced {
                state = next(state);
                match (state >> 32) % 3 {
                    0 => {}
                    1 => apply(&mut bytes, change),
                    _ => apply(&mut bytes, &torn(change, state)),
                }
            }
        }
        Self::of(bytes)
    }

    /// The disk as the next process finds it now, and as it may be found after losing power now.
    pub fn found(&self, seed: u64) -> [(&'static str, Self); 3] {
        [
            ("as it is", Self::of(self.bytes())),
            ("power lost", self.after_power_loss(Unsynced::Lost)),
            ("power lost, some of it written", self.after_power_loss(Unsynced::Some { seed })),
        ]
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of a write, cut at a sector.
fn torn(change: &Change, state: u64) -> Change {
    const SECTOR: usize = 512;
    match change {
        Change::Write(at, bytes) => {
            let sectors = bytes.len() / SECTOR;
            let kept = if sectors == 0 { 0 } else { state as usize % (sectors + 1) * SECTOR };
            Change::Write(*at, bytes[..kept].to_vec())
        }
        Change::Length(length) => Change::Length(*length),
    }
}

/// The next state of a small generator: Knuth's multiplier, an odd increment.
pub fn next(state: u64) -> u64 {
    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

impl Disk for FaultDisk {
    fn len(&self) -> io::Result<u64> {
        let mut contents = self.contents();
        contents.call(Call::Read).map_err(|(error, _)| error)?;
        Ok(contents.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut contents = self.contents();
        contents.call(Call::Read).map_err(|(error, _)| error)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let range = start..start.saturating_add(out.len());
        let found = contents.current.get(range);
        out.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut contents = self.contents();
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        match contents.call(Call::Write) {
            Ok(()) => {}
            Err((error, short)) => {
                if short {
                    contents.change(Change::Write(at, bytes[..bytes.len() / 2].to_vec()));
                }
                return Err(error);
            }
        }
        if contents.capacity.is_some_and(|capacity| offset + bytes.len() as u64 > capacity) {
            return Err(no_space());
        }
        contents.change(Change::Write(at, bytes.to_vec()));
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut contents = self.contents();
        contents.call(Call::Write).map_err(|(error, _)| error)?;
        if contents.capacity.is_some_and(|capacity| length > capacity) {
            return Err(no_space());
        }
        contents.change(Change::Length(usize::try_from(length).map_err(io::Error::other)?));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut contents = self.contents();
        contents.call(Call::Sync).map_err(|(error, _)| error)?;
        let Contents { current, durable, unsynced, calls, plan, .. } = &mut *contents;
        if !matches!(plan, Some((from, Fault::Lying)) if *calls > *from) {
            durable.clone_from(current);
            unsynced.clear();
        }
        Ok(())
    }
}
