//! Backups: a folder with everything a node needs to be itself again, made while it runs.
//!
//! A backup is laid out like a data folder, and its store is under caution: neither `weft restore`
//! nor a node started right on it signs slots before its operator says that no newer copy exists.
//! It appears under its name only when it is whole. Of a restore all files are copied under other
//! names first; where it is broken off no node starts until it was finished.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weft_protocol::Address;
use weft_storage::anchor::LocalWeave;
use weft_storage::backup::{self, Copied, Copy};
use weft_storage::{Store, StoreError};

use crate::config;
use crate::keyring::{self, KeyError};

/// The store's file in a data folder and in a backup.
pub const STORE_NAME: &str = "store.redb";
/// The weave's.
pub const WEAVE_NAME: &str = "weave.redb";
/// What a backup, and each file of a restore, is called until all is there.
const UNFINISHED: &str = ".unfinished";

/// Why there is no backup, or why it was not put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Something is there already.
    #[error("{} exists and is never overwritten: move it away or choose another name", .0.display())]
    Exists(PathBuf),
    /// Left by a backup that was broken off.
    #[error("{} is left over from a backup that was broken off: remove it, then try again", .0.display())]
    Unfinished(PathBuf),
    /// Left by a restore that was broken off.
    #[error(
        "{} is left over from a restore that was broken off: run `weft restore` with the same backup again, \
         which finishes it", .0.display()
    )]
    HalfRestored(PathBuf),
    /// The path has no name in it.
    #[error("{} cannot be the name of a backup", .0.display())]
    NoName(PathBuf),
    /// There is no store in the folder.
    #[error("there is no store in {}: it is no backup and no data folder", .0.display())]
    NoStore(PathBuf),
    /// No key says whose store this is.
    #[error(
        "there is no key in {} nor in the backup: put the node's key there first (`weft key import-seed` or \
         `import-jwk`)", .0.display()
    )]
    NoKey(PathBuf),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store or the weave.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// What a backup or a restored folder holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BackupReport {
    pub folder: PathBuf,
    pub rows: u64,
    pub bytes: u64,
    /// Whether the node's key is in it.
    pub with_key: bool,
}

/// Where the rows of a backup come from.
pub enum Source<'a> {
    /// A node that runs.
    Open(&'a Store, &'a LocalWeave),
    /// A folder that no node uses.
    Closed,
}

/// Hears how many of how many steps are done; says whether to go on.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// Makes a backup of `data_dir` in the new folder `to`. Blocks on the disk.
///
/// # Errors
/// Why there is none; nothing is left behind then.
pub fn back_up(
    source: &Source<'_>,
    data_dir: &Path,
    to: &Path,
    with_key: bool,
    progress: Progress<'_>,
) -> Result<BackupReport, BackupError> {
    if exists(to)? {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let name = to.file_name().ok_or_else(|| BackupError::NoName(to.to_owned()))?;
    let unfinished = to.with_file_name([name.to_string_lossy().as_ref(), UNFINISHED].concat());
    match DirBuilder::new().mode(0o700).create(&unfinished) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(BackupError::Unfinished(unfinished));
        }
        made => made.map_err(io("make", &unfinished))?,
    }
    let made = fill(source, data_dir, &unfinished, with_key, progress).and_then(|copied| {
        std::fs::rename(&unfinished, to).map_err(io("rename", &unfinished))?;
        sync_parent(to)?;
        Ok(copied)
    });
    if made.is_err() {
        // The error that is told is the first one.
        let _ = std::fs::remove_dir_all(&unfinished);
    }
    let Copied { rows, bytes } = made?;
    Ok(BackupReport { folder: to.to_owned(), rows, bytes, with_key })
}

fn fill(
    source: &Source<'_>,
    data_dir: &Path,
    to: &Path,
    with_key: bool,
    progress: Progress<'_>,
) -> Result<Copied, BackupError> {
    // The weave after the store: it then has every batch that the store takes for written.
    let (store, weave) = match source {
        Source::Open(store, weave) => {
            let snapshot = store.read()?;
            let copied = snapshot.back_up(&to.join(STORE_NAME), progress)?;
            drop(snapshot);
            (copied, weave.back_up(&to.join(WEAVE_NAME), progress)?)
        }
        Source::Closed => {
            let from = data_dir.join(STORE_NAME);
            if !exists(&from)? {
                return Err(BackupError::NoStore(data_dir.to_owned()));
            }
            let copied = backup::back_up_closed(&from, Copy::Store, &to.join(STORE_NAME), progress)?;
            let from = data_dir.join(WEAVE_NAME);
            let weave = match exists(&from)? {
                true => backup::back_up_closed(&from, Copy::Weave, &to.join(WEAVE_NAME), progress)?,
                false => Copied::default(),
            };
            (copied, weave)
        }
    };
    let small = |name| copy_small(&data_dir.join(name), &to.join(name));
    small(config::NETWORK_FILE_NAME)?;
    small(config::FILE_NAME)?;
    if with_key && !small(keyring::KEY_NAME)? {
        return Err(KeyError::Missing(keyring::key_path(data_dir)).into());
    }
    sync(to)?;
    Ok(Copied { rows: store.rows + weave.rows, bytes: store.bytes + weave.bytes })
}

/// The files that a restore brings, in the order in which they get their names: with the store, under
/// caution, before anything that a node could sign with.
const RESTORED: [&str; 5] =
    [STORE_NAME, WEAVE_NAME, keyring::KEY_NAME, config::NETWORK_FILE_NAME, config::FILE_NAME];

/// Refuses a data folder in which a restore was broken off: a node that began a new store there
/// could sign again what it signed before.
///
/// # Errors
/// What is left over, and what to do about it.
pub fn check_restored(data_dir: &Path) -> Result<(), BackupError> {
    for name in RESTORED {
        let path = unfinished(data_dir, name);
        if exists(&path)? {
            return Err(BackupError::HalfRestored(path));
        }
    }
    Ok(())
}

/// Puts the backup in the folder `from` into `data_dir`, which has no store yet; or finishes a restore
/// that was broken off there. Blocks on the disk.
///
/// Everything is there, whole, under another name before the first file gets its own.
///
/// # Errors
/// Why it was not put back; then there is no store in `data_dir`.
pub fn restore(from: &Path, data_dir: &Path, progress: Progress<'_>) -> Result<BackupReport, BackupError> {
    let is_half = || matches!(check_restored(data_dir), Err(BackupError::HalfRestored(_)));
    if exists(&data_dir.join(STORE_NAME))? && is_half() {
        return name_all(data_dir, Copied::default());
    }
    for path in [STORE_NAME, WEAVE_NAME].map(|name| data_dir.join(name)) {
        if exists(&path)? {
            return Err(BackupError::Exists(path));
        }
    }
    if !exists(&from.join(STORE_NAME))? {
        return Err(BackupError::NoStore(from.to_owned()));
    }
    keyring::make_data_dir(data_dir)?;
    let (node, new_key) = key_of(from, data_dir)?;
    remove_unfinished(data_dir)?;
    let copied = bring(from, data_dir, node, new_key, progress);
    if copied.is_err() {
        // The error that is told is the first one.
        let _ = remove_unfinished(data_dir);
    }
    name_all(data_dir, copied?)
}

/// Copies everything that is to be put back, under other names.
fn bring(
    from: &Path,
    data_dir: &Path,
    node: Address,
    new_key: bool,
    progress: Progress<'_>,
) -> Result<Copied, BackupError> {
    let mut copied = Copied::default();
    for (name, what) in [(STORE_NAME, Copy::Store), (WEAVE_NAME, Copy::Weave)] {
        if exists(&from.join(name))? {
            let part = backup::restore(&from.join(name), what, node, &unfinished(data_dir, name), progress)?;
            (copied.rows, copied.bytes) = (copied.rows + part.rows, copied.bytes + part.bytes);
        }
    }
    if new_key {
        copy_small(&from.join(keyring::KEY_NAME), &unfinished(data_dir, keyring::KEY_NAME))?;
    }
    for name in [config::NETWORK_FILE_NAME, config::FILE_NAME] {
        if !exists(&data_dir.join(name))? {
            copy_small(&from.join(name), &unfinished(data_dir, name))?;
        }
    }
    sync(data_dir)?;
    Ok(copied)
}

/// Gives what was brought its names.
fn name_all(data_dir: &Path, copied: Copied) -> Result<BackupReport, BackupError> {
    let mut with_key = false;
    for name in RESTORED {
        let path = unfinished(data_dir, name);
        if exists(&path)? {
            if name == STORE_NAME {
                // It counts the commits of a store that was here before.
                weft_storage::remove_mark(&data_dir.join(name))?;
                sync(data_dir)?;
            }
            std::fs::rename(&path, data_dir.join(name)).map_err(io("rename", &path))?;
            with_key |= name == keyring::KEY_NAME;
            // One after the other on the disk, too.
            sync(data_dir)?;
        }
    }
    let Copied { rows, bytes } = copied;
    Ok(BackupReport { folder: data_dir.to_owned(), rows, bytes, with_key })
}

/// Removes what a restore that was broken off had copied; none of it has its name yet.
fn remove_unfinished(data_dir: &Path) -> Result<(), BackupError> {
    for path in RESTORED.map(|name| unfinished(data_dir, name)) {
        if exists(&path)? {
            let file = File::open(&path).map_err(io("open", &path))?;
            if let Err(TryLockError::WouldBlock) = file.try_lock() {
                // Another restore is copying.
                return Err(StoreError::InUse { path }.into());
            }
            std::fs::remove_file(&path).map_err(io("remove", &path))?;
        }
    }
    Ok(())
}

/// What a file is called while it is being restored.
fn unfinished(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join([name, UNFINISHED].concat())
}

/// Whose store it must be: the key that is there, else the one in the backup, and whether that one
/// is to be copied.
fn key_of(from: &Path, data_dir: &Path) -> Result<(Address, bool), BackupError> {
    for (folder, is_new) in [(data_dir, false), (from, true)] {
        match keyring::load(folder) {
            Ok(key) => return Ok((key.signer.address(), is_new)),
            Err(KeyError::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(BackupError::NoKey(data_dir.to_owned()))
}

/// Copies a file of a few kilobytes, readable by its user alone; says whether it was there.
fn copy_small(from: &Path, to: &Path) -> Result<bool, BackupError> {
    let bytes = match std::fs::read(from) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        read => read.map_err(io("read", from))?,
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let mut file = file.map_err(io("make", to))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io("write", to))?;
    Ok(true)
}

fn exists(path: &Path) -> Result<bool, BackupError> {
    path.try_exists().map_err(io("look for", path))
}

/// Makes the names in a folder durable.
fn sync(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync", folder))
}

fn sync_parent(path: &Path) -> Result<(), BackupError> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => sync(folder),
        None => sync(Path::new(".")),
    }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { action, path, source }
}
