//! Getting rows out of a damaged file.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::Bytes;
use redb::{
    Builder, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    WriteTransaction,
};

use super::overlay::Overlay;
use super::{RepairReport, RepairedTable, attempt};
use crate::caution::CautionRow;
use crate::check::{decode_any, key_length};
use crate::contained::{Contained, contain};
use crate::disk::Backend;
use crate::error::StoreError;
use crate::limits::NAME_BYTES_MAX;
use crate::meta;
use crate::record;
use crate::rows::{
    AnchoredRow, AttestationRow, BatchRow, BatchState, OutboxRow, OutboxState, OutcomeRow, PeerRow,
    ProcessRow, Roles,
};
use crate::store::StoreConfig;
use crate::tables::Table;

/// Pages of the file begin at multiples of it.
const PAGE: u64 = 4096;
/// The first byte of a page of rows, in redb's file format 3.
const LEAF: u8 = 1;

/// The tables whose rows say something of their own. The others follow from them and are made anew.
pub(super) const PRIMARY: &[Table] = &[
    Table::Settings,
    Table::Processes,
    Table::Items,
    Table::Slots,
    Table::Outcomes,
    Table::Outbox,
    Table::Attestations,
    Table::Evidence,
    Table::Checkpoints,
    Table::Pages,
    Table::Blobs,
    Table::Batches,
    Table::Anchored,
    Table::Cautions,
    Table::Peers,
];

/// Puts every row that verifies into the new file.
pub(super) fn all(
    path: &Path,
    file: &File,
    config: &StoreConfig,
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
                broken: old.is_none(),
            };
            if let Some(Old { reading, schema, .. }) = &old
                && !(*schema == Some(1) && is_later(*table, reading))
            {
                walk(reading, *table, &mut target, &mut found, report, progress)?;
            }
            report.tables.push(found);
        }
        drop(old);
        if PRIMARY.iter().any(|table| report.missed(*table)) {
            search(file, &mut target, report, progress)?;
        }
    }
    writing.commit().map_err(disk)
}

/// The damaged file, opened.
struct Old {
    reading: ReadTransaction,
    /// Its schema, if that can be read.
    schema: Option<u32>,
    _database: Contained,
}

/// Whether a store of schema 1 never had this table.
fn is_later(table: Table, reading: &ReadTransaction) -> bool {
    let later = matches!(
        table,
        Table::Checkpoints | Table::Pages | Table::PageRefs | Table::Children | Table::Cautions
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
        let database = Builder::new()
            .set_cache_size(config.cache_bytes)
            .create_with_backend(Backend(Box::new(overlay)))
            .map(Contained::new)
            .map_err(|error| meta::open_error(path, error))?;
        let schema = match meta::check_owner(&database, path, config.owner()) {
            Ok(owner) => owner.map(|(_, schema)| schema),
            // Whose it is cannot be read; the rows say it by what they verify as.
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let reading = database.begin_read().map_err(|error| StoreError::disk("beginning to read", error))?;
        Ok(Old { reading, schema, _database: database })
    });
    match opened {
        Ok(opened) => {
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
struct Target<'a> {
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

    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let inserted = self.table(table)?.insert(key, value);
        inserted.map(drop).map_err(|error| StoreError::disk("writing the repaired file", error))
    }

    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self.table(table)?.get(key);
        let found = found.map_err(|error| StoreError::disk("reading the repaired file", error))?;
        Ok(found.map(|guard| Bytes::copy_from_slice(guard.value())))
    }
}

/// Searches every page for rows of the tables that lost some. A page may be of an earlier commit,
/// or of one that never was: what the trees say is not touched by it.
fn search(
    file: &File,
    target: &mut Target<'_>,
    report: &mut RepairReport,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<(), StoreError> {
    let wanted: Vec<Table> = PRIMARY.iter().copied().filter(|table| report.missed(*table)).collect();
    // Rows that the search found, and whether pages disagree about them.
    let mut found: BTreeMap<(Table, Vec<u8>), bool> = BTreeMap::new();
    let length =
        file.metadata().map_err(|error| StoreError::disk("measuring the damaged file", error))?.len();
    for offset in (0..length).step_by(PAGE as usize) {
        progress("searching the pages, of bytes", offset);
        for (key, value) in leaf(file, offset, length) {
            let Some(table) = table_of(&wanted, &key, &value) else { continue };
            let place = (table, key);
            match target.get(table, &place.1)? {
                None if !found.contains_key(&place) => {
                    target.put(table, &place.1, &value)?;
                    found.insert(place, false);
                }
                Some(held) if held != value && found.contains_key(&place) => {
                    match newer(table, &place.1, &held, &value) {
                        Some(true) => target.put(table, &place.1, &value)?,
                        Some(false) => {}
                        None => {
                            found.insert(place, true);
                        }
                    }
                }
                _ => {}
            }
        }
    }
    for ((table, key), ambiguous) in found {
        let row = report.tables.iter_mut().find(|row| row.table == table.name());
        if ambiguous {
            let removed = target.table(table)?.remove(key.as_slice());
            removed.map_err(|error| StoreError::disk("writing the repaired file", error))?;
            let key = crate::error::hex(&key);
            report.problem(format!("table {}, key {key}: pages hold different rows of it", table.name()));
        } else if let Some(row) = row {
            row.found += 1;
        }
    }
    Ok(())
}

/// The rows of the page at `offset`, if it is one of rows.
fn leaf(file: &File, offset: u64, length: u64) -> Vec<(Vec<u8>, Bytes)> {
    read_leaf(file, offset, length).unwrap_or_default()
}

/// redb's page of rows: its kind, a byte, how many u16, the end of each key u32, the end of each
/// value u32, the keys, the values; all little-endian, ends counted from the page's beginning.
fn read_leaf(file: &File, offset: u64, length: u64) -> Option<Vec<(Vec<u8>, Bytes)>> {
    let room = length - offset;
    let read = |from: usize, to: usize| {
        let count = to.checked_sub(from).filter(|_| to as u64 <= room)?;
        let mut bytes = vec![0; count];
        file.read_exact_at(&mut bytes, offset + from as u64).ok()?;
        Some(bytes)
    };
    let head = read(0, 4)?;
    let count = usize::from(u16::from_le_bytes([head[2], head[3]]));
    if head[0] != LEAF || count == 0 {
        return None;
    }
    let ends = read(4, 4 + 8 * count)?;
    let ends: Vec<usize> = ends
        .chunks_exact(4)
        .map(|end| end.try_into().map_or(usize::MAX, |end| u32::from_le_bytes(end) as usize))
        .collect();
    let starts_at = 4 + 8 * count;
    if ends.first().is_none_or(|first| *first < starts_at) || !ends.is_sorted() {
        return None;
    }
    let (key_ends, value_ends) = ends.split_at(count);
    let mut rows = Vec::with_capacity(count);
    for at in 0..count {
        let key_start = if at == 0 { starts_at } else { key_ends[at - 1] };
        let value_start = if at == 0 { key_ends[count - 1] } else { value_ends[at - 1] };
        let (Some(key), Some(value)) = (read(key_start, key_ends[at]), read(value_start, value_ends[at]))
        else {
            break;
        };
        rows.push((key, Bytes::from(value)));
    }
    Some(rows)
}

/// The table whose row it is: the checksum says so.
fn table_of(wanted: &[Table], key: &[u8], value: &Bytes) -> Option<Table> {
    let may_be = |table: &Table| {
        key_length(*table).map_or(key.len() <= NAME_BYTES_MAX + 32, |length| length == key.len())
    };
    let mut candidates = wanted.iter().copied().filter(may_be);
    candidates.find(|table| decode_any(*table, key, value.clone()).is_ok())
}

/// Of two versions of a row, whether the second is the later one; none when that cannot be known.
fn newer(table: Table, key: &[u8], held: &Bytes, other: &Bytes) -> Option<bool> {
    fn both<R: record::Record>(table: Table, key: &[u8], held: &Bytes, other: &Bytes) -> Option<(R, R)> {
        let read = |bytes: &Bytes| record::decode(table.name(), key, bytes.clone()).ok();
        Some((read(held)?, read(other)?))
    }
    match table {
        Table::Outbox => {
            let (held, other) = both::<OutboxRow>(table, key, held, other)?;
            let rank = |row: &OutboxRow| match row.state {
                OutboxState::Pending => (0, row.attempts),
                OutboxState::GivenUp => (1, row.attempts),
                OutboxState::Dropped { .. } => (2, 0),
                OutboxState::Settled { .. } => (3, 0),
            };
            (held.entry == other.entry).then(|| rank(&other) > rank(&held))
        }
        Table::Batches => {
            let (held, other) = both::<BatchRow>(table, key, held, other)?;
            let rank = |row: &BatchRow| match row.state {
                BatchState::Building => (0, row.attempts),
                BatchState::Submitted => (1, row.attempts),
                BatchState::Confirmed { .. } => (2, 0),
            };
            held.same_content(&other).then(|| rank(&other) > rank(&held))
        }
        Table::Anchored => {
            let (held, other) = both::<AnchoredRow>(table, key, held, other)?;
            Some(other.slot > held.slot)
        }
        Table::Peers => {
            let (held, other) = both::<PeerRow>(table, key, held, other)?;
            Some(other.last_seen_ms > held.last_seen_ms)
        }
        Table::Processes => {
            // Roles are taken on far more often than laid down.
            let (held, other) = both::<ProcessRow>(table, key, held, other)?;
            let duties = |Roles {
                              schedules,
                              computes,
                              messenges,
                              watches,
                              keeps_time,
                              pinned,
                              on_demand: _,
                              for_others: _,
                          }: Roles| {
                [schedules, computes, messenges, watches, keeps_time, pinned]
                    .into_iter()
                    .filter(|is| *is)
                    .count()
            };
            Some(duties(other.roles) > duties(held.roles))
        }
        Table::Cautions => {
            let (held, other) = both::<CautionRow>(table, key, held, other)?;
            Some(held.with(other) != held)
        }
        // The first attestation of a statement is as good as the second.
        Table::Attestations => {
            let (held, other) = both::<AttestationRow>(table, key, held, other)?;
            (held.statement == other.statement).then_some(false)
        }
        Table::Outcomes => {
            let (held, other) = both::<OutcomeRow>(table, key, held, other)?;
            (held.running == other.running).then_some(false)
        }
        _ => None,
    }
}
