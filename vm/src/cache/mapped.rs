//! A sealed file in memory, mapped to be read.

use std::fs::File;
use std::io;
use std::ptr::null_mut;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// All bytes of a file that nobody can change any more.
#[derive(Debug)]
pub(super) struct Mapped {
    start: *mut u8,
    bytes: usize,
}

impl Mapped {
    /// Maps a file that is sealed against writing and shrinking.
    pub(super) fn sealed(file: &File) -> io::Result<Self> {
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if bytes == 0 {
            return Ok(Self { start: null_mut(), bytes });
        }
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        // Private: before Linux 6.7 a sealed file cannot be mapped otherwise.
        // SAFETY: a new mapping, where the system chooses.
        let start = unsafe { mmap(null_mut(), bytes, ProtFlags::READ, flags, file, 0)? };
        Ok(Self { start: start.cast(), bytes })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        if self.bytes == 0 {
            return &[];
        }
        // SAFETY: mapped so long until this is dropped, and the seals keep every byte as it is.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: this mapping alone; no slice of it outlives this.
            let _ = unsafe { munmap(self.start.cast(), self.bytes) };
        }
    }
}
