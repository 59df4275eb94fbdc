//! A file that is only read, as redb may have it: what it writes stays in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::Disk;

const BLOCK: u64 = 4096;

/// A file that is read, and changes to it that are kept apart.
/// Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Overlay {
    file: Arc<File>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Of the file: beyond it there are zeros.
    file_length: u64,
    length: u64,
    changed: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let state = State { file_length: length, length, changed: BTreeMap::new() };
        Ok(Self { file: Arc::new(file), state: Arc::new(Mutex::new(state)) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One block as it is now.
    fn block(&self, state: &State, number: u64) -> io::Result<Vec<u8>> {
        if let Some(changed) = state.changed.get(&number) {
            return Ok(changed.clone());
        }
        let mut block = vec![0; BLOCK as usize];
        let start = number * BLOCK;
        let there = state.file_length.saturating_sub(start).min(BLOCK);
        self.file.read_exact_at(&mut block[..there as usize], start)?;
        Ok(block)
    }
}

/// The parts of `offset..offset + length` by block: its number, where in it, and how much.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + length as u64;
    let first = offset / BLOCK;
    (first..).map_while(move |number| {
        let from = offset.max(number * BLOCK);
        let to = end.min((number + 1) * BLOCK);
        (from < to).then(|| (number, (from - number * BLOCK) as usize, (to - from) as usize))
    })
}

impl Disk for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > state.length) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let there = state.file_length.saturating_sub(offset).min(out.len() as u64) as usize;
        let (of_file, beyond) = out.split_at_mut(there);
        self.file.read_exact_at(of_file, offset)?;
        beyond.fill(0);
        let mut done = 0;
        for (number, at, count) in parts(offset, out.len()) {
            if let Some(changed) = state.changed.get(&number) {
                out[done..done + count].copy_from_slice(&changed[at..at + count]);
            }
            done += count;
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let mut done = 0;
        for (number, at, count) in parts(offset, bytes.len()) {
            let mut block = self.block(&state, number)?;
            block[at..at + count].copy_from_slice(&bytes[done..done + count]);
            state.changed.insert(number, block);
            done += count;
        }
        state.length = state.length.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        let kept = length.div_ceil(BLOCK);
        state.changed.retain(|number, _| *number < kept);
        // What is cut off is zero when the file grows again.
        state.file_length = state.file_length.min(length);
        if !length.is_multiple_of(BLOCK)
            && let Some(last) = state.changed.get_mut(&(length / BLOCK))
        {
            last[(length % BLOCK) as usize..].fill(0);
        }
        state.length = length;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
