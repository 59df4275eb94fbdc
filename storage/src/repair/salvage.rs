//! Getting rows out of a damaged file.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redb::{
    Builder, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    WriteTransaction,
};
use weft_protocol::process::Terms;

use super::{RepairReport, RepairedTable, attempt, search};
use crate::check::decode_any;
use crate::contained::{Contained, contain};
use crate::disk::meter::{Meter, Metered};
use crate::disk::overlay::Overlay;
use crate::disk::{Backend, Disk as _};
use crate::error::StoreError;
use crate::mark::{self, Watch};
use crate::meta;
use crate::reader::Reader;
use crate::store::StoreConfig;
use crate::tables::Table;

/// The first schema that has every table of this build, with the same rows: all that came after it is that an index went.
const WHOLE_SCHEMA: u32 = 3;

/// The tables whose rows say something of their own. The others follow from them and are made anew.
pub(super) const PRIMARY: &[Table] = &[
    Table::Settings,
    Table::Processes,
    Table::Items,
    Table::Slots,
    Table::Outcomes,
    Table::Carried,
    Table::Outbox,
    Table::Attestations,
    Table::AttestationsUnanchored,
    Table::Evidence,
    Table::EvidenceUnanchored,
    Table::Checkpoints,
    Table::Pages,
    Table::Blobs,
    Table::Batches,
    Table::Postings,
    Table::Anchored,
    Table::Cautions,
    Table::Earned,
    Table::Claims,
];

/// Puts every row that verifies into the new file.
pub(super) fn all(
    path: &Path,
    file: &File,
    config: &StoreConfig,
    terms: &Terms,
    new: &Contained,
    report: &mut RepairReport,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<(), StoreError> {
    let disk = |error| StoreError::disk("writing the repaired file", error);
    let writing = new.begin_write().map_err(|error| StoreError::disk("beginning a commit", error))?;
    {
        let old = open(path, file, config, report)?;
        let mut target = Target { writing: &writing, open: BTreeMap::new(), read: BTreeMap::new() };
        for table in Table::ALL {
            let mut found = RepairedTable {
                table: table.name(),
                kept: 0,
                found: 0,
                lost: 0,
                dropped: 0,
                broken: old.as_ref().is_none_or(|old| old.is_earlier),
            };
            if let Some(Old { reader, schema, .. }) = &old
                && !(schema.is_some_and(|schema| schema < WHOLE_SCHEMA)
                    && is_later(*table, reader.transaction()))
            {
                walk(reader.transaction(), *table, &mut target, &mut found, report, progress)?;
            }
            report.tables.push(found);
        }
        if let Some(Old { reader, schema: Some(WHOLE_SCHEMA..), .. }) = &old {
            contradictions(reader, report, progress);
        }
        drop(old);
        search::run(file, &mut target, terms, report, progress)?;
    }
    writing.commit().map_err(disk)
}

/// The damaged file, opened.
struct Old {
    reader: Reader,
    /// Its schema, if that can be read.
    schema: Option<u32>,
    /// Whether the newest commit cannot be read, and this is one before it.
    is_earlier: bool,
    _database: Contained,
}

/// Of a file in which every row can be read, what does not agree with what.
fn contradictions(reader: &Reader, report: &mut RepairReport, progress: &mut dyn FnMut(&'static str, u64)) {
    if report.tables.iter().any(|table| table.lost > 0 || table.broken) {
        return;
    }
    let mut found = None;
    attempt(report, "the whole of it", || {
        found = Some(reader.check(&mut |_, rows| progress("comparing rows", rows))?);
        Ok(())
    });
    for problem in found.into_iter().flat_map(|check| check.problems) {
        report.problem(problem);
    }
}

/// Whether a store of an earlier build never had this table.
fn is_later(table: Table, reading: &ReadTransaction) -> bool {
    let later = matches!(
        table,
        Table::Checkpoints
            | Table::Pages
            | Table::PageRefs
            | Table::Children
            | Table::Cautions
            | Table::Postings
            | Table::PostingsOpen
            | Table::Posted
            | Table::AttestationsUnanchored
            | Table::EvidenceUnanchored
            | Table::Carried
            | Table::Earned
            | Table::Claims
    );
    later && matches!(reading.open_table(table.definition()), Err(redb::TableError::TableDoesNotExist(_)))
}

/// Opens the damaged file, if redb can, without writing to it.
fn open(
    path: &Path,
    file: &File,
    config: &StoreConfig,
    report: &mut RepairReport,
) -> Result<Option<Old>, StoreError> {
    let disk = |error| StoreError::disk("reading the damaged file", error);
    let opened = contain("opening the damaged file", || {
        let overlay = Overlay::new(file.try_clone().map_err(disk)?).map_err(disk)?;
        let meter = Meter::of_length(overlay.len().map_err(disk)?).map_err(disk)?;
        let watch = Arc::new(Watch::of_copy(path));
        let watched = Metered::new(Backend(Box::new(overlay)), meter).watched(Arc::clone(&watch));
        let database = Builder::new().set_cache_size(config.cache_bytes).create_with_backend(watched);
        let database = database.map(Contained::new).map_err(|error| meta::open_error(path, error))?;
        let schema = match meta::check_owner(&database, path, config.owner()) {
            Ok(owner) => owner.map(|(_, schema)| schema),
            // Whose it is cannot be read; the rows say it by what they verify as.
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let reading = database.begin_read().map_err(|error| StoreError::disk("beginning to read", error))?;
        Ok(Old { reader: Reader::new(reading), schema, is_earlier: watch.is_behind(), _database: database })
    });
    match opened {
        Ok(opened) => {
            if opened.is_earlier {
                report.problem(mark::BEHIND.to_owned());
            }
            inspect(path, file, config, report);
            Ok(Some(opened))
        }
        // Somebody else's file is not to be repaired into ours.
        Err(
            error @ (StoreError::OtherNetwork { .. }
            | StoreError::OtherNode { .. }
            | StoreError::NewerSchema { .. }),
        ) => Err(error),
        Err(error) => {
            report.problem(format!("the file cannot be opened: {error}"));
            Ok(None)
        }
    }
}

/// Lets redb check its own pages, those that say which are free among them: rows may be whole and
/// the next commit still write over them.
fn inspect(path: &Path, file: &File, config: &StoreConfig, report: &mut RepairReport) {
    attempt(report, "the file's own pages", || {
        let disk = |error| StoreError::disk("reading the damaged file", error);
        let overlay = Overlay::new(file.try_clone().map_err(disk)?).map_err(disk)?;
        let mut database = Builder::new()
            .set_cache_size(config.cache_bytes)
            .create_with_backend(Backend(Box::new(overlay)))
            .map(Contained::new)
            .map_err(|error| meta::open_error(path, error))?;
        let sound = database.check_integrity().map_err(|error| meta::open_error(path, error))?;
        let reason = "a checksum or a list of free pages is wrong".to_owned();
        if sound { Ok(()) } else { Err(StoreError::Unreadable { path: path.to_owned(), reason }) }
    });
}

/// Copies a table as far as its tree can be walked, from the front and then from the back. Of an
/// index it only sees whether it is sound.
fn walk(
    reading: &ReadTransaction,
    table: Table,
    target: &mut Target<'_>,
    found: &mut RepairedTable,
    report: &mut RepairReport,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<(), StoreError> {
    let (mut failed, mut walked, mut hidden) = (None, 0_u64, 0_u64);
    let mut lost = Vec::new();
    for backwards in [false, true] {
        let whole = attempt(report, table.name(), || {
            let disk = |error: redb::Error| StoreError::disk("walking a table", error);
            let open = reading.open_table(table.definition()).map_err(|error| disk(error.into()))?;
            let mut rows = open.range::<&[u8]>(..).map_err(|error| disk(error.into()))?;
            while let Some(row) = if backwards { rows.next_back() } else { rows.next() } {
                let (key, value) = row.map_err(|error| disk(error.into()))?;
                let (key, value) = (key.value(), Bytes::copy_from_slice(value.value()));
                if backwards && target.was_read(table, key) {
                    // The front came as far as here.
                    return Ok(());
                }
                match decode_any(table, key, value.clone()) {
                    Ok(()) => {
                        if let Err(error) = target.take(table, key, &value) {
                            failed = Some(error);
                            return Ok(());
                        }
                        walked += 1;
                        // A wrong signpost above a sound page hides its rows from whoever looks them up.
                        let stands = open.get(key).map_err(|error| disk(error.into()))?;
                        hidden += u64::from(stands.is_none_or(|guard| guard.value() != value));
                        found.kept += 1;
                        progress(table.name(), found.kept);
                    }
                    Err(error) => {
                        found.lost += 1;
                        lost.push(error.to_string());
                    }
                }
            }
            // A pointer that leads to another sound page skips rows without a sign of it.
            let said = open.len().map_err(|error| disk(error.into()))?;
            if !backwards && (hidden > 0 || said != walked + lost.len() as u64) {
                let reason =
                    format!("{said} rows are said to be there, {walked} are, {hidden} not where they belong");
                return Err(StoreError::disk("walking a table", std::io::Error::other(reason)));
            }
            Ok(())
        });
        if let Some(error) = failed.take() {
            return Err(error);
        }
        if whole && !backwards {
            break;
        }
        found.broken = true;
    }
    for text in lost {
        report.problem(text);
    }
    Ok(())
}

/// The file that rows go into.
pub(super) struct Target<'a> {
    writing: &'a WriteTransaction,
    open: BTreeMap<Table, redb::Table<'a, &'static [u8], &'static [u8]>>,
    /// The last key that the walk from the front read of each table.
    read: BTreeMap<Table, Vec<u8>>,
}

impl<'a> Target<'a> {
    fn table(
        &mut self,
        table: Table,
    ) -> Result<&mut redb::Table<'a, &'static [u8], &'static [u8]>, StoreError> {
        Ok(match self.open.entry(table) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let opened = self.writing.open_table(table.definition());
                entry.insert(opened.map_err(|error| StoreError::disk("opening a table", error))?)
            }
        })
    }

    fn was_read(&self, table: Table, key: &[u8]) -> bool {
        self.read.get(&table).is_some_and(|last| key <= last.as_slice())
    }

    /// A row of the tree: what the file says now.
    fn take(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if !self.was_read(table, key) {
            self.read.insert(table, key.to_vec());
        }
        if PRIMARY.contains(&table) { self.put(table, key, value) } else { Ok(()) }
    }

    /// Puts a row, whatever was there.
    pub(super) fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let inserted = self.table(table)?.insert(key, value);
        inserted.map(drop).map_err(|error| StoreError::disk("writing the repaired file", error))
    }

    /// Forgets a row.
    pub(super) fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        let removed = self.table(table)?.remove(key);
        removed.map(drop).map_err(|error| StoreError::disk("writing the repaired file", error))
    }

    /// The bytes of a row.
    pub(super) fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self.table(table)?.get(key);
        let found = found.map_err(|error| StoreError::disk("reading the repaired file", error))?;
        Ok(found.map(|guard| Bytes::copy_from_slice(guard.value())))
    }
}
