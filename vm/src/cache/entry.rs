//! One compiled module as a file: `magic`, a BLAKE3 of the rest, the ranges of the data segments, wasmtime's artefact.
//!
//! The code goes to a file in memory, which is sealed before it is hashed: what runs is what was checked, whatever
//! becomes of the file on disk afterwards. Wasmtime maps that file, so that only the pages are taken up that the guest
//! comes to, and the memories of its instances begin with pages of it.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

use super::hash::update;

const MAGIC: &[u8; 8] = b"weftcw02";
/// The magic, the checksum, and how many ranges there are.
const HEAD_BYTES: usize = 48;
const RANGE_BYTES: usize = 16;

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
    let checksum = checksum(code, bytes.get(40..).unwrap_or_default());
    if let Some(place) = bytes.get_mut(8..40) {
        place.copy_from_slice(checksum.as_bytes());
    }
    bytes.extend_from_slice(code);
    bytes
}

/// The code comes first, so that its bytes fill the hash's blocks.
fn checksum(code: &[u8], count_and_ranges: &[u8]) -> blake3::Hash {
    update(&mut blake3::Hasher::new(), code).update(count_and_ranges).finalize()
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
    let code = Code::copied(&mut file)?;
    let rest = [head.get(40..).unwrap_or_default(), &ranges].concat();
    if code.with_bytes(|code| checksum(code, &rest))?.as_bytes() != stated {
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
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

impl Code {
    /// What is left of the file, where nobody can change it any more.
    fn copied(from: &mut impl Read) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{MemfdFlags, SealFlags};
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            if let Ok(file) = rustix::fs::memfd_create("weft-code", flags) {
                let mut file = File::from(file);
                // From one file to the other within the kernel.
                io::copy(from, &mut file)?;
                let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
                rustix::fs::fcntl_add_seals(&file, all)?;
                return Ok(Self::Sealed(file));
            }
        }
        let mut all = Vec::new();
        from.read_to_end(&mut all)?;
        Ok(Self::Bytes(all))
    }

    fn with_bytes<T>(&self, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Sealed(file) => {
                let mapped = super::mapped::Mapped::sealed(file)?;
                Ok(look(mapped.bytes()))
            }
            Self::Bytes(bytes) => Ok(look(bytes)),
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
    use std::io::Write as _;

    use super::*;

    fn parsed(bytes: &[u8]) -> Option<(Vec<Range<u64>>, Vec<u8>)> {
        let entry = read(bytes, bytes.len() as u64).unwrap()?;
        Some((entry.data, entry.code.with_bytes(<[u8]>::to_vec).unwrap()))
    }

    #[test]
    fn an_entry_is_read_as_written() {
        let long: Vec<u8> = (0..200_005).map(|at| (at % 251) as u8).collect();
        for code in [&b""[..], b"code", &long, &long[..131_072]] {
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
        Code::Sealed(file).with_bytes(|code| assert_eq!(code, b"code")).unwrap();
    }
}
