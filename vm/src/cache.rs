//! Compiled modules on disk.
//!
//! One file per module, named by a BLAKE3 of everything that decides its code: the module, its
//! format, the pass, wasmtime's version and settings, this CPU. A file is `magic`, a BLAKE3 of the
//! rest, the ranges of the data segments, and wasmtime's artefact. A file that does not match its
//! checksum is compiled again. Losing the whole folder costs time and nothing else, so no error
//! here stops a node.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::engine::Guard;
use crate::error::VmError;
use crate::format::Format;
use crate::meter::PASS_VERSION;

const MAGIC: &[u8; 8] = b"weftcw01";
const EXTENSION: &str = "cwasm";

/// The folder of compiled modules.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    /// What wasmtime says two hosts must share to share code.
    compatibility: [u8; 32],
    /// Makes the names of unfinished files differ.
    unfinished: AtomicU64,
    bytes_max: u64,
}

/// One writer at a time, so that what two keep never comes to more than the limit: the engines of one
/// node share a folder.
static WRITING: Mutex<()> = Mutex::new(());

impl Cache {
    pub(crate) fn open(folder: PathBuf, bytes_max: u64, engine: &wasmtime::Engine) -> Result<Self, VmError> {
        fs::create_dir_all(&folder)
            .and_then(|()| restrict(&folder))
            .map_err(|source| VmError::CacheFolder { folder: folder.display().to_string(), source })?;
        let mut hasher = Blake3Hasher(blake3::Hasher::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let cache = Self {
            folder,
            compatibility: hasher.0.finalize().into(),
            unfinished: AtomicU64::new(0),
            bytes_max,
        };
        // What a lower limit allows no more.
        if let Err(error) = cache.trim(0) {
            tracing::warn!(folder = %cache.folder.display(), %error, "old compiled modules were not removed");
        }
        Ok(cache)
    }

    /// Name of the entry of this module.
    pub(crate) fn key(&self, wasm: &[u8], format: Format, guard: Guard) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(MAGIC);
        hasher.update(&PASS_VERSION.to_be_bytes());
        hasher.update(&[u8::from(guard == Guard::On)]);
        hasher.update(&self.compatibility);
        hasher.update(format.name().as_bytes());
        hasher.update(blake3::hash(wasm).as_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// The compiled module, if a sound one is there.
    pub(crate) fn load(
        &self,
        key: &str,
        engine: &wasmtime::Engine,
    ) -> Option<(wasmtime::Module, Vec<Range<u64>>)> {
        let path = self.path(key);
        let bytes = fs::read(&path).ok()?;
        let Some((data, code)) = parse(&bytes) else {
            tracing::warn!(path = %path.display(), "a compiled module is damaged and is compiled again");
            return None;
        };
        // SAFETY: `deserialize` runs what it is given. The bytes are as `store` wrote them (their
        // checksum holds), in a folder that only this user can write.
        match unsafe { wasmtime::Module::deserialize(engine, code) } {
            Ok(module) => Some((module, data)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled module cannot be used");
                None
            }
        }
    }

    /// Writes a compiled module. The file appears whole or not at all.
    pub(crate) fn store(&self, key: &str, code: &wasmtime::Module, data: &[Range<u64>]) {
        if let Err(error) = self.try_store(key, code, data) {
            tracing::warn!(folder = %self.folder.display(), %error, "a compiled module was not kept");
        }
    }

    fn try_store(&self, key: &str, code: &wasmtime::Module, data: &[Range<u64>]) -> io::Result<()> {
        let code = code.serialize().map_err(|error| io::Error::other(format!("{error:#}")))?;
        let bytes = assemble(&code, data);
        let size = bytes.len() as u64;
        if size > self.bytes_max {
            return Ok(());
        }
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        // Before it is written: the limit holds at every moment.
        self.trim(size)?;
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.folder.join(format!("{key}.{}.{number}.tmp", std::process::id()));
        let done = fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, self.path(key)));
        if done.is_err() {
            // What cannot be removed is found by the next clean-up.
            let _ = fs::remove_file(&unfinished);
        }
        done
    }

    /// Removes the oldest entries until so many bytes more are within the limit.
    fn trim(&self, more: u64) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let facts = entry.metadata()?;
            if facts.is_file() {
                entries.push((facts.modified()?, facts.len(), entry.path()));
            }
        }
        let mut total = more + entries.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
        entries.sort();
        for (_, bytes, path) in entries {
            if total <= self.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            total -= bytes;
        }
        Ok(())
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(key).with_extension(EXTENSION)
    }
}

#[cfg(unix)]
fn restrict(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn restrict(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn assemble(code: &[u8], data: &[Range<u64>]) -> Vec<u8> {
    let mut rest = Vec::with_capacity(code.len() + 8 + data.len() * 16);
    rest.extend_from_slice(&(data.len() as u64).to_be_bytes());
    for range in data {
        rest.extend_from_slice(&range.start.to_be_bytes());
        rest.extend_from_slice(&range.end.to_be_bytes());
    }
    rest.extend_from_slice(code);
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(blake3::hash(&rest).as_bytes());
    bytes.extend_from_slice(&rest);
    bytes
}

fn parse(bytes: &[u8]) -> Option<(Vec<Range<u64>>, &[u8])> {
    let (checksum, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<32>()?;
    if blake3::hash(rest).as_bytes() != checksum {
        return None;
    }
    let (count, rest) = rest.split_first_chunk::<8>()?;
    let bytes = usize::try_from(u64::from_be_bytes(*count)).ok()?.checked_mul(16)?;
    let (ranges, code) = rest.split_at_checked(bytes)?;
    let number = |part: &[u8]| Some(u64::from_be_bytes(part.try_into().ok()?));
    let data = ranges
        .chunks_exact(16)
        .map(|range| Some(number(range.get(..8)?)?..number(range.get(8..)?)?))
        .collect::<Option<Vec<_>>>()?;
    Some((data, code))
}

/// Feeds `Hash` into BLAKE3: the standard hasher may change with the toolchain.
struct Blake3Hasher(blake3::Hasher);

impl Hasher for Blake3Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let mut first = [0; 8];
        self.0.finalize_xof().fill(&mut first);
        u64::from_be_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_entry_is_read_as_written() {
        let bytes = assemble(b"code", &[1..2, 70..u64::MAX]);
        assert_eq!(parse(&bytes), Some((vec![1..2, 70..u64::MAX], &b"code"[..])));
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let bytes = assemble(b"code", &[Range { start: 1, end: 2 }]);
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert_eq!(parse(&damaged), None, "byte {index}");
        }
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), None, "length {length}");
        }
    }
}
