//! One compiled module as a file: `magic`, a BLAKE3 of the rest, the ranges of the data segments, wasmtime's artefact.
//!
//! What is read goes piece by piece to the hash and to a file in memory, which is sealed before it is compared: what
//! runs is what was checked, whatever becomes of the file on disk afterwards. Wasmtime maps that file, so that only
//! the pages are taken up that the guest comes to, and the memories of its instances begin with pages of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;

const MAGIC: &[u8; 8] = b"weftcw02";
/// The magic, the checksum, and how many ranges there are.
const HEAD_BYTES: usize = 48;
const RANGE_BYTES: usize = 16;
/// Bytes read, hashed and copied at once: they stay in the processor's cache between the three.
const PIECE_BYTES: usize = 64 * 1024;

/// An entry whose checksum holds.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where the data segments lie.
    pub(super) data: Vec<Range<u64>>,
    pub(super) code: Code,
}

/// An artefact that nobody else can change.
#[derive(Debug)]
pub(super) enum Code {
    /// In a file in memory, sealed.
    #[cfg(target_os = "linux")]
    Sealed(File),
    /// Where there are no such files.
    Bytes(Vec<u8>),
}

/// The bytes of an entry.
pub(super) fn written(code: &[u8], data: &[Range<u64>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + data.len() * RANGE_BYTES + code.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[0; 32]);
    bytes.extend_from_slice(&(data.len() as u64).to_be_bytes());
    for range in data {
        bytes.extend_from_slice(&range.start.to_be_bytes());
        bytes.extend_from_slice(&range.end.to_be_bytes());
    }
    let checksum = checksum(blake3::Hasher::new().update(code), bytes.get(40..).unwrap_or_default());
    if let Some(place) = bytes.get_mut(8..40) {
        place.copy_from_slice(checksum.as_bytes());
    }
    bytes.extend_from_slice(code);
    bytes
}

/// The code comes first, so that its pieces fill the hash's blocks.
fn checksum(code: &mut blake3::Hasher, count_and_ranges: &[u8]) -> blake3::Hash {
    code.update(count_and_ranges).finalize()
}

/// Reads an entry of so many bytes. `None` if it is damaged.
pub(super) fn read(file: impl Read, bytes: u64) -> io::Result<Option<Entry>> {
    let mut file = file.take(bytes);
    let mut head = [0; HEAD_BYTES];
    if !filled(&mut file, &mut head)? {
        return Ok(None);
    }
    let Some((stated, count)) = head.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk::<32>())
    else {
        return Ok(None);
    };
    let Some(count) = number(count).filter(|count| *count <= file.limit() / RANGE_BYTES as u64) else {
        return Ok(None);
    };
    let mut ranges = vec![0; count as usize * RANGE_BYTES];
    if !filled(&mut file, &mut ranges)? {
        return Ok(None);
    }
    let mut hasher = blake3::Hasher::new();
    let mut code = Code::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let part = next(&mut file, &mut piece)?;
        if part.is_empty() {
            break;
        }
        hasher.update(part);
        code.write(part)?;
    }
    code.seal()?;
    hasher.update(head.get(40..).unwrap_or_default());
    if checksum(&mut hasher, &ranges).as_bytes() != stated {
        return Ok(None);
    }
    let range = |range: &[u8]| Some(number(range.get(..8)?)?..number(range.get(8..)?)?);
    let data = ranges.chunks_exact(RANGE_BYTES).map(range).collect::<Option<Vec<_>>>();
    Ok(data.map(|data| Entry { data, code }))
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Fills the whole buffer, or says that the file is too short.
fn filled(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let bytes = buffer.len();
    Ok(next(file, buffer)?.len() == bytes)
}

/// As much as the buffer takes; less only at the end of the file.
fn next<'a>(file: &mut impl Read, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let mut at = 0;
    while let Some(rest) = buffer.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(more) => at += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(buffer.get(..at).unwrap_or_default())
}

impl Code {
    fn new() -> Self {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::MemfdFlags;
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            if let Ok(file) = rustix::fs::memfd_create("weft-code", flags) {
                return Self::Sealed(file.into());
            }
        }
        Self::Bytes(Vec::new())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Sealed(file) => file.write_all(bytes),
            Self::Bytes(all) => all.write_all(bytes),
        }
    }

    /// From here on nobody can write to it, nor make it shorter or longer.
    fn seal(&self) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Sealed(file) => {
                use rustix::fs::SealFlags;
                let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
                Ok(rustix::fs::fcntl_add_seals(file, all)?)
            }
            Self::Bytes(_) => Ok(()),
        }
    }

    /// The module that it is the code of.
    ///
    /// # Safety
    ///
    /// It runs: it must be what wasmtime made on this machine.
    pub(super) unsafe fn module(self, engine: &wasmtime::Engine) -> wasmtime::Result<wasmtime::Module> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Sealed(file) => {
                use std::io::Seek as _;
                let mut again = file.try_clone()?;
                // SAFETY: what the caller promises; a sealed file does not change while it is mapped.
                let mapped = unsafe { wasmtime::Module::deserialize_open_file(engine, file) };
                mapped.or_else(|error| {
                    // Some systems run nothing out of such a file: then out of a copy.
                    let mut bytes = Vec::new();
                    again.rewind()?;
                    again.read_to_end(&mut bytes)?;
                    // SAFETY: what the caller promises.
                    unsafe { wasmtime::Module::deserialize(engine, &bytes) }.map_err(|_| error)
                })
            }
            // SAFETY: what the caller promises.
            Self::Bytes(bytes) => unsafe { wasmtime::Module::deserialize(engine, bytes) },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn parsed(bytes: &[u8]) -> Option<(Vec<Range<u64>>, Vec<u8>)> {
        let entry = read(bytes, bytes.len() as u64).unwrap()?;
        Some((entry.data, code(&entry.code)))
    }

    fn code(code: &Code) -> Vec<u8> {
        match code {
            #[cfg(target_os = "linux")]
            Code::Sealed(file) => {
                use std::os::unix::fs::FileExt;
                let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
                file.read_exact_at(&mut bytes, 0).unwrap();
                bytes
            }
            Code::Bytes(bytes) => bytes.clone(),
        }
    }

    #[test]
    fn an_entry_is_read_as_written() {
        let long: Vec<u8> = (0..3 * PIECE_BYTES + 5).map(|at| (at % 251) as u8).collect();
        for code in [&b""[..], b"code", &long, &long[..2 * PIECE_BYTES]] {
            for data in [&[][..], &[1..2, 70..u64::MAX]] {
                let entry = parsed(&written(code, data));
                assert!(entry == Some((data.to_vec(), code.to_vec())), "{} bytes, {data:?}", code.len());
            }
        }
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let bytes = written(b"code", &[Range { start: 1, end: 2 }]);
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert_eq!(parsed(&damaged), None, "byte {index}");
        }
        for length in 0..bytes.len() {
            assert_eq!(parsed(&bytes[..length]), None, "length {length}");
        }
        assert_eq!(parsed(&[&bytes[..], &[0]].concat()), None, "a byte more");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_was_checked_cannot_be_changed() {
        let entry = read(&written(b"code", &[])[..], 52).unwrap().unwrap();
        let Code::Sealed(mut file) = entry.code else { panic!("no file in memory") };
        assert!(file.write_all(b"more").is_err());
        assert!(file.set_len(1).is_err() && file.set_len(99).is_err());
        assert!(std::os::unix::fs::FileExt::write_all_at(&file, b"x", 0).is_err());
        assert_eq!(code(&Code::Sealed(file)), b"code");
    }
}
