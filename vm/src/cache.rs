//! Compiled modules on disk.
//!
//! One file per module, named by a BLAKE3 of everything that decides its code: the module, its
//! format, the pass, wasmtime's version and settings, this CPU ([`entry`]). A file that does not match its
//! checksum is compiled again. Losing the whole folder costs time and nothing else, so no error
//! here stops a node.

use std::fs::{self, File};
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

mod entry;
mod hash;
#[cfg(target_os = "linux")]
mod mapped;

use entry::Entry;

const EXTENSION: &str = "cwasm";
/// Says what the names are hashes of: other contents, another name.
const KEY_OF: &[u8; 8] = b"weftcw02";

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
        hasher.update(KEY_OF);
        hasher.update(&PASS_VERSION.to_be_bytes());
        hasher.update(&[u8::from(guard == Guard::On)]);
        hasher.update(&self.compatibility);
        hasher.update(format.name().as_bytes());
        hasher.update(hash::update(&mut blake3::Hasher::new(), wasm).finalize().as_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// The compiled module, if a sound one is there.
    pub(crate) fn load(
        &self,
        key: &str,
        engine: &wasmtime::Engine,
    ) -> Option<(wasmtime::Module, Vec<Range<u64>>)> {
        let path = self.path(key);
        let Entry { data, code } = match read(&path) {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                tracing::warn!(path = %path.display(), "a compiled module is damaged and is compiled again");
                return None;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled module was not read and is compiled again");
                return None;
            }
        };
        // SAFETY: the code is as `store` wrote it (its checksum holds), in a folder that only this user can write,
        // and nobody can change it any more.
        match unsafe { code.module(engine) } {
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
        let bytes = entry::written(&code, data);
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

fn read(path: &Path) -> io::Result<Option<Entry>> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    entry::read(file, bytes)
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
