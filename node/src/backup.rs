//! Backups: a folder with everything a node needs to be itself again, made while it runs.
//!
//! A backup is laid out like a data folder, and its store is under caution: neither `weft restore`
//! nor a node started right on it signs slots before its operator says that no newer copy exists.
//! It appears under its name only when it is whole.

use std::fs::{DirBuilder, File, OpenOptions};
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
/// What a backup is called until it is whole.
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
    copy_small(data_dir, to, config::FILE_NAME)?;
    if with_key && !copy_small(data_dir, to, keyring::KEY_NAME)? {
        return Err(KeyError::Missing(keyring::key_path(data_dir)).into());
    }
    sync(to)?;
    Ok(Copied { rows: store.rows + weave.rows, bytes: store.bytes + weave.bytes })
}

/// Puts the backup in the folder `from` into `data_dir`, which has no store yet. Blocks on the disk.
///
/// # Errors
/// Why it was not put back; then there is no store in `data_dir`.
pub fn restore(from: &Path, data_dir: &Path, progress: Progress<'_>) -> Result<BackupReport, BackupError> {
    let (store, weave) = (data_dir.join(STORE_NAME), data_dir.join(WEAVE_NAME));
    for path in [&store, &weave] {
        if exists(path)? {
            return Err(BackupError::Exists(path.clone()));
        }
    }
    if !exists(&from.join(STORE_NAME))? {
        return Err(BackupError::NoStore(from.to_owned()));
    }
    keyring::make_data_dir(data_dir)?;
    let (node, new_key) = key_of(from, data_dir)?;
    // The store gets its name last: until then nothing that is there can be taken for a node.
    let unfinished = data_dir.join([STORE_NAME, UNFINISHED].concat());
    if exists(&unfinished)? {
        return Err(BackupError::Unfinished(unfinished));
    }
    let copied = backup::restore(&from.join(STORE_NAME), Copy::Store, node, &unfinished, progress)?;
    let mut rest = || {
        let weave = match exists(&from.join(WEAVE_NAME))? {
            true => backup::restore(&from.join(WEAVE_NAME), Copy::Weave, node, &weave, progress)?,
            false => Copied::default(),
        };
        if new_key {
            copy_small(from, data_dir, keyring::KEY_NAME)?;
        }
        if !exists(&data_dir.join(config::FILE_NAME))? {
            copy_small(from, data_dir, config::FILE_NAME)?;
        }
        std::fs::rename(&unfinished, &store).map_err(io("rename", &unfinished))?;
        sync(data_dir)?;
        Ok(weave)
    };
    let weave: Copied = rest().inspect_err(|_: &BackupError| {
        // The error that is told is the first one.
        let _ = std::fs::remove_file(&unfinished);
    })?;
    let (rows, bytes) = (copied.rows + weave.rows, copied.bytes + weave.bytes);
    Ok(BackupReport { folder: data_dir.to_owned(), rows, bytes, with_key: new_key })
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
fn copy_small(from: &Path, to: &Path, name: &str) -> Result<bool, BackupError> {
    let (from, to) = (from.join(name), to.join(name));
    let bytes = match std::fs::read(&from) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        read => read.map_err(io("read", &from))?,
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to);
    let mut file = file.map_err(io("make", &to))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io("write", &to))?;
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
