//! Repair: a new file of every row of a damaged one that verifies.
//!
//! The damaged file is only read. Its trees are walked from both ends as far as they go; where one
//! breaks off, every page of the file is searched for rows that prove themselves. Then indexes are
//! made anew, and every log is cut where it no longer verifies: what follows comes back from peers
//! as any slot does. The new file takes the old one's name in one step, and the old one stays
//! beside it.
//!
//! A log that this node schedules may have lost its end, or the end that a page still shows was
//! never committed. Signing there again could give a slot two signatures, so a repaired store may
//! be under [caution](crate::caution).

mod rebuild;
mod salvage;
mod search;
mod weave;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Builder, ReadableDatabase as _};
use weft_protocol::Id;
use weft_protocol::process::Terms;

use crate::anchor::LocalWeave;
use crate::caution::{self, Caution};
use crate::contained::{Contained, contain};
use crate::error::StoreError;
use crate::limits::PROBLEMS_SHOWN_MAX;
use crate::mark;
use crate::meta;
use crate::reader::Reader;
use crate::store::StoreConfig;
use crate::tables::Table;

/// What a repair did, or would do.
#[derive(Debug, Clone, Default)]
pub struct RepairReport {
    /// Every table of the file.
    pub tables: Vec<RepairedTable>,
    /// Logs that end earlier than before.
    pub cuts: Vec<CutLog>,
    /// Processes whose slot 0 is gone: `weft host` takes them up again.
    pub lost_openings: Vec<Id>,
    /// Rows that came back from the embedded weave.
    pub from_weave: u64,
    /// What went wrong, the first of it.
    pub problems: Vec<String>,
    /// Logs of this node's own in which it signs nothing until they are whole again, each with how
    /// many slots that takes, if it is known.
    pub cautions: BTreeMap<Id, Option<u64>>,
    /// Whether it opens no new process, because one of which nothing is left might be opened again.
    pub caution_openings: bool,
    /// Where the damaged file is now; none after a dry run, or when nothing was wrong.
    pub kept_as: Option<PathBuf>,
}

/// What became of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairedTable {
    /// Its name.
    pub table: &'static str,
    /// Rows read in order.
    pub kept: u64,
    /// Rows found only by searching the pages.
    pub found: u64,
    /// Rows that were read and do not verify.
    pub lost: u64,
    /// Rows that verify and were left out, because what they belong to is gone.
    pub dropped: u64,
    /// Whether its tree could not be walked to the end, so that rows may be missing unseen.
    pub broken: bool,
}

/// A log that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutLog {
    /// The process.
    pub process: Id,
    /// Whether this node schedules it.
    pub own: bool,
    /// Slots that are left.
    pub slots: u64,
    /// Slots after them that were dropped.
    pub slots_dropped: u64,
    /// Outcomes that were dropped; they are computed again.
    pub outcomes_dropped: u64,
    /// Why it ends there.
    pub why: String,
}

impl RepairReport {
    /// Whether the file had nothing wrong with it.
    pub fn is_intact(&self) -> bool {
        let is_whole = |table: &RepairedTable| (table.lost, table.found, table.dropped) == (0, 0, 0);
        self.problems.is_empty()
            && self.cuts.is_empty()
            && self.lost_openings.is_empty()
            && self.tables.iter().all(|table| is_whole(table) && !table.broken)
    }

    pub(crate) fn problem(&mut self, text: String) {
        if self.problems.len() < PROBLEMS_SHOWN_MAX {
            self.problems.push(text);
        }
    }

    /// Whether rows of a table may be missing.
    fn missed(&self, table: Table) -> bool {
        let of = |found: &&RepairedTable| found.table == table.name();
        self.tables.iter().find(of).is_none_or(|table| table.lost > 0 || table.broken || table.found > 0)
    }
}

/// Whether a repair changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairMode {
    /// Only look.
    DryRun,
    /// Put the repaired file in place of the damaged one.
    Replace,
}

/// Repairs the store in a file that no node has open. `terms` are those of every process; what the
/// `weave` of the same node still has of its logs comes back from there;
/// `progress` hears what is being done and how much of it.
///
/// An intact file is left as it is.
///
/// # Errors
/// [`StoreError::InUse`], another owner's file, or what the disk says; the file is then as before.
pub fn repair(
    path: &Path,
    config: &StoreConfig,
    terms: &Terms,
    weave: Option<&LocalWeave>,
    mode: RepairMode,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<RepairReport, StoreError> {
    let file = open_alone(path)?;
    let unfinished = beside(path, ".repair");
    // What an earlier attempt left: nobody uses it.
    remove_if_there(&unfinished)?;
    let made = make(path, &file, &unfinished, config, terms, weave, progress);
    let mut report = match made {
        Ok(report) => report,
        Err(error) => {
            remove_if_there(&unfinished)?;
            return Err(error);
        }
    };
    if mode == RepairMode::DryRun || report.is_intact() {
        remove_if_there(&unfinished)?;
        return Ok(report);
    }
    report.kept_as = Some(replace(path, &unfinished)?);
    Ok(report)
}

/// Opens a file for reading that no node may open meanwhile.
///
/// # Errors
/// [`StoreError::InUse`], or what the disk says.
pub(crate) fn open_alone(path: &Path) -> Result<File, StoreError> {
    let cannot = |source| StoreError::CannotOpen { path: path.to_owned(), source: Arc::new(source) };
    let file = File::open(path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

/// Makes the repaired file under another name.
fn make(
    path: &Path,
    file: &File,
    unfinished: &Path,
    config: &StoreConfig,
    terms: &Terms,
    weave: Option<&LocalWeave>,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<RepairReport, StoreError> {
    let mut report = RepairReport::default();
    let opened = Builder::new().set_cache_size(config.cache_bytes).create(unfinished);
    let database = Contained::new(opened.map_err(|error| meta::open_error(unfinished, error))?);
    meta::claim(&database, unfinished, config.owner(), &crate::store::table_names())?;
    salvage::all(path, file, config, terms, &database, &mut report, progress)?;
    if let Some(weave) = weave.filter(|_| report.missed(Table::Slots) || report.missed(Table::Items)) {
        weave::fill(weave, config.node, &database, &mut report, progress)?;
    }
    let own = rebuild::indexes(&database, config, terms, &mut report, progress)?;
    // Where the slots were all read, what was signed is known for certain though not all of it is
    // here. Where not, what is gone does not show whose it was: every log may have lost its end.
    // An earlier caution may be among what is lost.
    let is_known = !report.missed(Table::Slots) && !report.missed(Table::Cautions);
    let cautious = own.iter().filter(|(_, log)| !is_known || log.slots < log.said);
    report.cautions = cautious.map(|(id, log)| (*id, is_known.then_some(log.said))).collect();
    // Of a log without its beginning nobody knows which spawn it came of.
    report.caution_openings =
        !is_known || report.missed(Table::Settings) || own.values().any(|log| log.slots == 0);
    caution::raise(&database, Caution::Repaired, &report.cautions, report.caution_openings)?;
    verify(&database, path, progress)?;
    Ok(report)
}

/// The result has to pass the check that any store passes: what does not is not put in place.
fn verify(
    database: &Contained,
    path: &Path,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<(), StoreError> {
    let check = read(database)?.check(&mut |_, rows| progress("checking the result", rows))?;
    let Some(first) = check.problems.first() else { return Ok(()) };
    let count = check.problem_count;
    let reason = format!("what a repair makes of it contradicts itself in {count} rows; the first: {first}");
    Err(StoreError::Unreadable { path: path.to_owned(), reason })
}

fn read(database: &Contained) -> Result<Reader, StoreError> {
    let transaction = database.begin_read().map_err(|error| StoreError::disk("beginning to read", error))?;
    Ok(Reader::new(transaction))
}

/// Gives the repaired file the name of the damaged one, which stays under another. There is a
/// file under the name at every instant: a node that found none would begin a new store.
fn replace(path: &Path, repaired: &Path) -> Result<PathBuf, StoreError> {
    let disk = |error| StoreError::disk("putting the repaired file in place", error);
    let kept = free_name(path);
    if std::fs::hard_link(path, &kept).is_err() {
        // Some file systems have no second names.
        std::fs::copy(path, &kept).map_err(disk)?;
        File::open(&kept).and_then(|copy| copy.sync_all()).map_err(disk)?;
    }
    meta::sync_folder(path)?;
    std::fs::rename(repaired, path).map_err(disk)?;
    // It counts the commits of the damaged file, which until now had need of it.
    mark::remove_mark(path)?;
    meta::sync_folder(path)?;
    Ok(kept)
}

/// Gives a damaged file another name beside its own, under which nothing is left.
///
/// # Errors
/// What the disk says.
pub fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let kept = free_name(path);
    std::fs::rename(path, &kept).map_err(|error| StoreError::disk("setting a damaged file aside", error))?;
    meta::sync_folder(path)?;
    Ok(kept)
}

/// A name for a damaged file that no other has.
fn free_name(path: &Path) -> PathBuf {
    (1_u32..)
        .map(|number| beside(path, &format!(".damaged-{number}")))
        .find(|kept| !kept.exists())
        .unwrap_or_else(|| beside(path, ".damaged"))
}

/// The path with something after its name.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

pub(crate) fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::disk("removing an unfinished file", error))
        }
        _ => Ok(()),
    }
}

/// Runs a step that reads the damaged file; its panic or error is a problem and not the end.
fn attempt(report: &mut RepairReport, what: &str, step: impl FnOnce() -> Result<(), StoreError>) -> bool {
    match contain("reading the damaged file", step) {
        Ok(()) => true,
        Err(error) => {
            report.problem(format!("{what}: {error}"));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::{Address, Network};

    use super::*;
    use crate::record;

    #[test]
    fn a_result_that_contradicts_itself_is_no_result() {
        let config = StoreConfig::new(Network(7), Address([1; 32]));
        let database = Builder::new().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let database = Contained::new(database);
        let path = Path::new("store.redb");
        meta::claim(&database, path, config.owner(), &crate::store::table_names()).unwrap();
        verify(&database, path, &mut |_, _| {}).unwrap();
        let writing = database.begin_write().unwrap();
        {
            // An index entry of a slot that is not there.
            let mut rows = writing.open_table(Table::ItemSlots.definition()).unwrap();
            let key = [7; 64];
            let bytes = record::encode(Table::ItemSlots.name(), &key, &3_u64);
            rows.insert(key.as_slice(), bytes.as_slice()).unwrap();
        }
        writing.commit().unwrap();
        let error = verify(&database, path, &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("in 1 rows"), "{error}");
    }
}
