//! Backup and restore: whole copies of a store or a weave, as it was at one moment.
//!
//! A copy is made from a snapshot, so the node writes on meanwhile. It is a file of its own, written
//! row by row and read back before it counts as made. Every copy of a store is under
//! [caution](crate::Caution) from the start, wherever it is put: the node may have signed slots
//! since, and none of them may get a second signature.

use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase as _, ReadableTableMetadata as _, TableDefinition,
    TableHandle as _,
};
use weft_protocol::Address;

use crate::anchor::WEAVE_SCHEMA;
use crate::caution::{self, Caution};
use crate::check::Check;
use crate::contained::{Contained, contain};
use crate::disk::overlay::Overlay;
use crate::disk::{Backend, Disk as _};
use crate::error::StoreError;
use crate::limits::{COPY_CACHE_BYTES, COPY_CHUNK_BYTES};
use crate::meta::{self, open_error};
use crate::migrate::STORE_SCHEMA;
use crate::reader::Reader;
use crate::repair::open_alone;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes of the new file.
    pub bytes: u64,
}

/// Hears how many of how many rows are done, those read back included; says whether to go on.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// Which file of a node is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// The store: its copy is under caution.
    Store,
    /// The weave.
    Weave,
}

impl Copy {
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Weave => "weave",
        }
    }

    pub(crate) const fn schema(self) -> u32 {
        match self {
            Self::Store => STORE_SCHEMA,
            Self::Weave => WEAVE_SCHEMA,
        }
    }
}

impl Reader {
    /// Copies what this snapshot shows into a new file.
    ///
    /// # Errors
    /// That the file exists, what the disk says, or [`StoreError::Stopped`]; there is no new file
    /// then.
    pub fn back_up(&self, to: &Path, progress: Progress<'_>) -> Result<Copied, StoreError> {
        copy(self.transaction(), Copy::Store, to, progress)
    }
}

/// Copies the file of a node that does not run, and changes nothing in it. It may have been left by a crash.
///
/// # Errors
/// [`StoreError::InUse`], or as [`Reader::back_up`].
pub fn back_up_closed(
    from: &Path,
    what: Copy,
    to: &Path,
    progress: Progress<'_>,
) -> Result<Copied, StoreError> {
    with_snapshot(from, what, |reading| copy(reading, what, to, progress))
}

/// Puts a backup of `node` back, as a new file. Every row of a store is checked first.
///
/// # Errors
/// [`StoreError::OtherNode`], a backup that is damaged, or as [`Reader::back_up`].
pub fn restore(
    from: &Path,
    what: Copy,
    node: Address,
    to: &Path,
    progress: Progress<'_>,
) -> Result<Copied, StoreError> {
    with_snapshot(from, what, |reading| {
        let found = meta::owner(reading, from, what.kind(), what.schema())?.node;
        if found != node {
            return Err(StoreError::OtherNode { found, expected: node });
        }
        copy(reading, what, to, progress)
    })
}

/// Reads a file of this schema that no node has open, as it is.
fn with_snapshot<T>(
    from: &Path,
    what: Copy,
    read: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    read_closed(from, |reading| {
        let schema = meta::owner(reading, from, what.kind(), what.schema())?.schema;
        if schema < what.schema() {
            let reason =
                format!("it has the earlier schema {schema}: run a node on it once, which renews it");
            return Err(StoreError::Unreadable { path: from.to_owned(), reason });
        }
        read(reading)
    })
}

/// Reads a file that no node has open, as it is.
pub(crate) fn read_closed<T>(
    from: &Path,
    read: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let cannot = |source| StoreError::CannotOpen { path: from.to_owned(), source: Arc::new(source) };
    let overlay = Overlay::new(open_alone(from)?).map_err(cannot)?;
    if overlay.is_empty().map_err(cannot)? {
        return Err(StoreError::NotAStore { path: from.to_owned(), reason: "it is empty".to_owned() });
    }
    contain("reading a closed file", || {
        // redb repairs what a crash left. In the file itself that would hide from its node that commits
        // are gone of which somebody was told.
        let backend = Backend(Box::new(overlay));
        let database = Builder::new().set_cache_size(COPY_CACHE_BYTES).create_with_backend(backend);
        let database = database.map(Contained::new).map_err(|error| open_error(from, error))?;
        read(&begin(&database)?)
    })
}

fn begin(database: &Database) -> Result<ReadTransaction, StoreError> {
    database.begin_read().map_err(|error| StoreError::disk("beginning to read", error))
}

pub(crate) fn copy(
    reading: &ReadTransaction,
    what: Copy,
    to: &Path,
    progress: Progress<'_>,
) -> Result<Copied, StoreError> {
    // Whoever is there is left alone, so it must not be removed by the clean-up below either.
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(to);
    let file = file.map_err(|error| StoreError::disk("making the new file", error))?;
    let copied = contain("copying", || {
        let database = Builder::new().set_cache_size(COPY_CACHE_BYTES).create_file(file);
        let database = database.map(Contained::new).map_err(|error| open_error(to, error))?;
        let tables = tables(reading)?;
        let rows = tables.iter().map(|(_, rows)| rows).sum::<u64>();
        let mut count = Count { done: 0, total: 2 * rows, progress };
        let written = write_all(reading, &tables, &database, &mut count)?;
        drop(database);
        // Closed and opened again: what is compared has been through the file.
        let database = Builder::new().set_cache_size(COPY_CACHE_BYTES).open(to);
        let database = database.map(Contained::new).map_err(|error| open_error(to, error))?;
        let read = digest(&begin(&database)?, &tables, &mut count)?;
        if read != written {
            let reason = "what was written reads back differently".to_owned();
            return Err(StoreError::Unreadable { path: to.to_owned(), reason });
        }
        if what == Copy::Store {
            check(&database, to)?;
            caution::raise_all(&database, Caution::Restored)?;
        }
        drop(database);
        let bytes = to.metadata().map_err(|error| StoreError::disk("measuring the new file", error))?.len();
        Ok(Copied { rows, bytes })
    });
    if copied.is_err() {
        // The copy failed already; what is left of it is told by the error's path at most.
        let _ = std::fs::remove_file(to);
    }
    copied
}

/// Refuses a store that contradicts itself: a backup is of use only if it can be started from.
fn check(database: &Database, path: &Path) -> Result<(), StoreError> {
    let Check { problems, problem_count, .. } = Reader::new(begin(database)?).check(&mut |_, _| {})?;
    let Some(first) = problems.first() else { return Ok(()) };
    let reason =
        format!("what is copied has {problem_count} damaged or contradicting rows; the first: {first}");
    Err(StoreError::Unreadable { path: path.to_owned(), reason })
}

type Definition<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

/// The tables by name, each with the number of its rows.
fn tables(reading: &ReadTransaction) -> Result<Vec<(String, u64)>, StoreError> {
    let disk = |error: redb::Error| StoreError::disk("reading its tables", error);
    let mut names: Vec<String> = reading
        .list_tables()
        .map_err(|error| disk(error.into()))?
        .map(|table| table.name().to_owned())
        .collect();
    names.sort_unstable();
    let rows = |name: String| {
        let table = reading.open_table(Definition::new(&name)).map_err(|error| disk(error.into()))?;
        let rows = table.len().map_err(|error| disk(error.into()))?;
        Ok((name, rows))
    };
    names.into_iter().map(rows).collect()
}

struct Count<'a> {
    done: u64,
    total: u64,
    progress: Progress<'a>,
}

impl Count<'_> {
    /// Rows between two calls of `progress`.
    const STRIDE: u64 = 1024;

    fn one(&mut self) -> Result<(), StoreError> {
        self.done += 1;
        let due = self.done.is_multiple_of(Self::STRIDE) || self.done == self.total;
        if due && (self.progress)(self.done, self.total).is_break() {
            return Err(StoreError::Stopped);
        }
        Ok(())
    }
}

/// A digest of rows in order, of all tables in order.
#[derive(Default)]
struct Digest(blake3::Hasher);

impl Digest {
    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes()).update(bytes);
    }
}

fn each(
    reading: &ReadTransaction,
    name: &str,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let disk = |error: redb::Error| StoreError::disk("reading all of a table", error);
    let table = reading.open_table(Definition::new(name)).map_err(|error| disk(error.into()))?;
    for row in table.range::<&[u8]>(..).map_err(|error| disk(error.into()))? {
        let (key, value) = row.map_err(|error| disk(error.into()))?;
        each(key.value(), value.value())?;
    }
    Ok(())
}

fn write_all(
    reading: &ReadTransaction,
    tables: &[(String, u64)],
    to: &Database,
    count: &mut Count<'_>,
) -> Result<blake3::Hash, StoreError> {
    let mut digest = Digest::default();
    for (name, _) in tables {
        digest.part(name.as_bytes());
        let mut chunk = Chunk { name, rows: Vec::new(), bytes: 0 };
        each(reading, name, |key, value| {
            digest.part(key);
            digest.part(value);
            chunk.rows.push((key.to_vec(), Bytes::copy_from_slice(value)));
            chunk.bytes += key.len() + value.len();
            if chunk.bytes >= COPY_CHUNK_BYTES {
                chunk.write(to)?;
            }
            count.one()
        })?;
        // Also of an empty table: opening a store of which one is missing takes it for an older one.
        chunk.write(to)?;
    }
    Ok(digest.0.finalize())
}

fn digest(
    reading: &ReadTransaction,
    tables: &[(String, u64)],
    count: &mut Count<'_>,
) -> Result<blake3::Hash, StoreError> {
    let mut digest = Digest::default();
    for (name, _) in tables {
        digest.part(name.as_bytes());
        each(reading, name, |key, value| {
            digest.part(key);
            digest.part(value);
            count.one()
        })?;
    }
    Ok(digest.0.finalize())
}

/// Rows of one table on their way to the disk.
struct Chunk<'a> {
    name: &'a str,
    rows: Vec<(Vec<u8>, Bytes)>,
    bytes: usize,
}

impl Chunk<'_> {
    fn write(&mut self, to: &Database) -> Result<(), StoreError> {
        let disk = |error: redb::Error| StoreError::disk("writing the copy", error);
        let writing = to.begin_write().map_err(|error| disk(error.into()))?;
        {
            let mut table =
                writing.open_table(Definition::new(self.name)).map_err(|error| disk(error.into()))?;
            for (key, value) in self.rows.drain(..) {
                table.insert(key.as_slice(), &*value).map_err(|error| disk(error.into()))?;
            }
        }
        self.bytes = 0;
        writing.commit().map_err(|error| disk(error.into()))
    }
}
