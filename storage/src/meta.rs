//! Whose file it is: a store or a weave belongs to one node on one network, for ever.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase as _, StorageError, TableDefinition,
    TableHandle as _, WriteTransaction,
};
use weft_protocol::{Address, Network};

use crate::backup::{Copy, read_closed};
use crate::contained::{Contained, contain};
use crate::disk::meter::{Meter, Metered};
use crate::disk::{Backend, Disk};
use crate::error::StoreError;
use crate::mark::{self, Watch};
use crate::record;
use crate::rows::MetaRow;
use crate::tables::{Definition, META};

/// What the file must be, and whose. The meta table has one row, under the kind; its layout
/// never changes, so that every version can tell what it looks at.
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) kind: &'static str,
    pub(crate) network: Network,
    pub(crate) node: Address,
    /// The schema this build writes.
    pub(crate) schema: u32,
    /// Brings a file of an earlier schema, given by its number, to this one.
    pub(crate) migrate: fn(&Database, Self, u32) -> Result<(), StoreError>,
}

/// Checks that the file is the owner's; a new one becomes it, with these tables.
pub(crate) fn claim(
    database: &Database,
    path: &Path,
    owner: Owner,
    tables: &[&'static str],
) -> Result<(), StoreError> {
    let Some((present, schema)) = check_owner(database, path, owner)? else {
        return create_tables(database, tables, Some(owner));
    };
    if schema < owner.schema {
        (owner.migrate)(database, owner, schema)?;
    }
    // Tables that a later build of the same schema added.
    if tables.iter().all(|table| present.iter().any(|name| name == table)) {
        return Ok(());
    }
    create_tables(database, tables, None)
}

/// Checks that the file is the owner's. Answers the tables that it has and its schema; none when it
/// is new.
pub(crate) fn check_owner(
    database: &Database,
    path: &Path,
    owner: Owner,
) -> Result<Option<(Vec<String>, u32)>, StoreError> {
    let disk = |error: redb::Error| StoreError::disk("reading its tables", error);
    let reading = database.begin_read().map_err(|error| disk(error.into()))?;
    let present = table_names(&reading)?;
    if present.is_empty() {
        return Ok(None);
    }
    let found = self::owner(&reading, path, owner.kind, owner.schema)?;
    if found.network != owner.network {
        return Err(StoreError::OtherNetwork { found: found.network, expected: owner.network });
    }
    if found.node != owner.node {
        return Err(StoreError::OtherNode { found: found.node, expected: owner.node });
    }
    Ok(Some((present, found.schema)))
}

fn table_names(reading: &ReadTransaction) -> Result<Vec<String>, StoreError> {
    let tables = reading.list_tables().map_err(|error| StoreError::disk("reading its tables", error))?;
    Ok(tables.map(|table| table.name().to_owned()).collect())
}

/// Whose file it is, if it is one of this kind and this version can read it.
pub(crate) fn owner(
    reading: &ReadTransaction,
    path: &Path,
    kind: &'static str,
    known: u32,
) -> Result<MetaRow, StoreError> {
    let disk = |error: redb::Error| StoreError::disk("reading its tables", error);
    if !table_names(reading)?.iter().any(|name| name == META) {
        let reason = "it has tables of another program".to_owned();
        return Err(StoreError::NotAStore { path: path.to_owned(), reason });
    }
    let key = kind.as_bytes();
    let meta = reading.open_table(definition(META)).map_err(|error| disk(error.into()))?;
    let stored = meta.get(key).map_err(|error| disk(error.into()))?;
    let Some(stored) = stored else {
        let reason = format!("it is not a {kind}");
        return Err(StoreError::NotAStore { path: path.to_owned(), reason });
    };
    let found: MetaRow = record::decode(META, key, Bytes::copy_from_slice(stored.value()))?;
    if found.schema > known {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found: found.schema, known });
    }
    Ok(found)
}

/// The network of the store in this file, which no node has open.
///
/// # Errors
/// [`StoreError::InUse`], or why it cannot be read.
pub fn network_of(path: &Path) -> Result<Network, StoreError> {
    let kind = Copy::Store;
    read_closed(path, |reading| Ok(owner(reading, path, kind.kind(), kind.schema())?.network))
}

/// Creates the tables that are missing, and the meta row of a new file.
fn create_tables(database: &Database, tables: &[&'static str], new: Option<Owner>) -> Result<(), StoreError> {
    let disk = |error: redb::Error| StoreError::disk("creating its tables", error);
    let transaction = database.begin_write().map_err(|error| disk(error.into()))?;
    for table in tables {
        transaction.open_table(definition(table)).map_err(|error| disk(error.into()))?;
    }
    if let Some(owner) = new {
        put(&transaction, owner)?;
    }
    transaction.commit().map_err(|error| disk(error.into()))
}

/// Writes whose file it is, and of which schema.
pub(crate) fn put(transaction: &WriteTransaction, owner: Owner) -> Result<(), StoreError> {
    let disk = |error: redb::Error| StoreError::disk("saying whose file it is", error);
    let row = MetaRow { schema: owner.schema, network: owner.network, node: owner.node };
    let bytes = record::encode(META, owner.kind.as_bytes(), &row);
    let mut meta = transaction.open_table(definition(META)).map_err(|error| disk(error.into()))?;
    meta.insert(owner.kind.as_bytes(), bytes.as_slice()).map(drop).map_err(|error| disk(error.into()))
}

const fn definition(table: &'static str) -> Definition {
    TableDefinition::new(table)
}

/// Opens the owner's file, or makes it; says whether one that was there is behind its mark. A new file gets
/// its name only when it is complete, so that no crash leaves half a file in its place.
pub(crate) fn open_file(
    path: &Path,
    cache_bytes: usize,
    owner: Owner,
    tables: &[&'static str],
) -> Result<(Contained, bool), StoreError> {
    let open = |path: &Path| create(path, cache_bytes).map_err(|error| open_error(path, error));
    let disk = |error| StoreError::disk("creating its file", error);
    let not_a_store = |reason: &str| StoreError::NotAStore { path: path.to_owned(), reason: reason.into() };
    if path.try_exists().map_err(disk)? {
        let metadata = path.metadata().map_err(disk)?;
        if metadata.is_dir() {
            return Err(not_a_store("it is a folder"));
        }
        // We never leave one: whatever emptied it must not pass for a first start.
        if metadata.len() == 0 {
            return Err(not_a_store("it is empty"));
        }
        // Of a damaged file redb finds some contradictions by an assertion of its own.
        return contain(OPENING, || {
            let (database, watch) = open(path)?;
            let claimed = claim(&database, path, owner, tables);
            if let Err(
                StoreError::OtherNode { .. } | StoreError::OtherNetwork { .. } | StoreError::NotAStore { .. },
            ) = claimed
            {
                // It took the place of the file that the mark is of, which may come back whole.
                watch.take_back().map_err(disk)?;
            }
            claimed.map(|()| (database, watch.is_behind()))
        })
        .map_err(|error| match error {
            StoreError::Disk { during: OPENING, source } => unreadable(path, &source),
            error => error,
        });
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    let database = match open(unfinished) {
        // What a crash left of an earlier attempt; nobody was told that it is a store.
        Err(StoreError::NotAStore { .. } | StoreError::Unreadable { .. }) => {
            std::fs::remove_file(unfinished).map_err(disk)?;
            open(unfinished)?
        }
        opened => opened?,
    };
    let (database, _) = database;
    claim(&database, unfinished, owner, tables)?;
    // It is of a store that is gone.
    mark::remove_mark(path)?;
    std::fs::rename(unfinished, path).map_err(disk)?;
    sync_folder(path)?;
    Ok((database, false))
}

/// Opens a file or makes it, and measures what it takes; beside it what saw whether it is behind its mark.
fn create(path: &Path, cache_bytes: usize) -> Result<(Contained, Arc<Watch>), DatabaseError> {
    let io = |error: std::io::Error| DatabaseError::from(StorageError::Io(error));
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
    let meter = Meter::of_file(&file).map_err(io)?;
    // After the lock that this takes: another node may be writing the mark.
    let backend = FileBackend::new(file)?;
    let watch = Arc::new(Watch::of(path));
    let metered = Metered::new(backend, Arc::clone(&meter)).watched(Arc::clone(&watch));
    let database = redb::Builder::new().set_cache_size(cache_bytes).create_with_backend(metered);
    Ok((Contained::new(database?).with_meter(meter), watch))
}

/// Makes the name of a file durable, which syncing the file does not.
pub(crate) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        .map_err(|error| StoreError::disk("making the name of a file durable", error))
}

/// Opens the owner's file on a disk of the caller's, or makes it there.
pub(crate) fn open_disk(
    disk: impl Disk,
    cache_bytes: usize,
    owner: Owner,
    tables: &[&'static str],
) -> Result<Contained, StoreError> {
    let path = Path::new("(backend)");
    let io = |error: std::io::Error| open_error(path, StorageError::Io(error).into());
    let meter = Meter::of_length(disk.len().map_err(io)?).map_err(io)?;
    let metered = Metered::new(Backend(Box::new(disk)), Arc::clone(&meter));
    let database = redb::Builder::new().set_cache_size(cache_bytes).create_with_backend(metered);
    let database = database.map(Contained::new).map_err(|error| open_error(path, error))?.with_meter(meter);
    claim(&database, path, owner, tables)?;
    Ok(database)
}

/// What the store does while it opens a file that is there.
const OPENING: &str = "opening its file";

fn unreadable(path: &Path, reason: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unreadable { path: path.to_owned(), reason: reason.to_string() }
}

/// Says what to do about a file that does not open.
pub(crate) fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path },
        DatabaseError::UpgradeRequired(version) => {
            StoreError::NotAStore { path, reason: format!("it has the old file format {version}") }
        }
        DatabaseError::Storage(StorageError::Corrupted(reason)) => StoreError::Unreadable { path, reason },
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() == std::io::ErrorKind::InvalidData =>
        {
            StoreError::NotAStore { path, reason: error.to_string() }
        }
        DatabaseError::Storage(StorageError::Io(source)) => {
            StoreError::CannotOpen { path, source: Arc::new(source) }
        }
        error => StoreError::disk("opening", error),
    }
}
