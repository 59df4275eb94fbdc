//! Making a file of salvaged rows whole: logs are verified and cut where they end, indexes made.

mod batches;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadableDatabase as _, ReadableTable as _, WriteTransaction};
use weft_protocol::epoch::EpochTerms;
use weft_protocol::held::Held;
use weft_protocol::origin::ProvenKind;
use weft_protocol::outcome::Running;
use weft_protocol::process::{Process, Terms};
use weft_protocol::record::{Link, RecordError, SlotRecord, VerifiedRecord};
use weft_protocol::seen::SeenList;
use weft_protocol::time::TimePoint;
use weft_protocol::{Address, DataItem, Hash, Id, Position, wire};

use super::{CutLog, RepairReport};
use crate::check::each_row;
use crate::contained::Contained;
use crate::error::StoreError;
use crate::key::{self, Parts};
use crate::reader::Reader;
use crate::record::{self, Record};
use crate::rows::{
    CheckpointRow, OutboxRow, OutboxState, OutcomeRow, ProcessRow, Raw, Roles, SeenKey, SeenMark, SlotRow,
};
use crate::store::StoreConfig;
use crate::tables::Table;
use crate::write::PRUNED_SETTING;

/// Verifies what was salvaged and makes the indexes.
pub(super) fn indexes(
    database: &Contained,
    config: &StoreConfig,
    terms: &Terms,
    report: &mut RepairReport,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<BTreeMap<Id, OwnLog>, StoreError> {
    let reading = database.begin_read().map_err(|error| StoreError::disk("beginning to read", error))?;
    let writing = database.begin_write().map_err(|error| StoreError::disk("beginning a commit", error))?;
    let reader = Reader::new(reading);
    let mut work = Rebuild {
        reader: &reader,
        out: Out { writing: &writing, open: BTreeMap::new(), dropped: BTreeMap::new() },
        logs: BTreeMap::new(),
        posted: BTreeSet::new(),
    };
    work.items(report)?;
    work.slots(config, terms, progress)?;
    work.outcomes(progress)?;
    work.pruned(report)?;
    work.checkpoints()?;
    work.outbox()?;
    work.postings()?;
    work.marks()?;
    work.batches()?;
    work.processes(config, report)?;
    report.cuts = work.cuts();
    let own = work.own();
    for table in &mut report.tables {
        table.dropped = work.out.dropped.get(table.table).copied().unwrap_or(0);
    }
    drop(work);
    writing.commit().map_err(|error| StoreError::disk("writing the repaired file", error))?;
    Ok(own)
}

/// What became of a log that this node schedules.
pub(super) struct OwnLog {
    /// Slots that it had, by the last of which a row was found.
    pub(super) said: u64,
    /// Slots that are there.
    pub(super) slots: u64,
}

/// One log on the way.
struct Log {
    id: Id,
    own: bool,
    /// How it is verified; none when this build refuses the process, and its slots are kept as they
    /// are.
    process: Option<(Process, EpochTerms)>,
    last: Option<Link>,
    /// Slots that it had, by the last of which a row was found.
    said: u64,
    /// Slots that verify.
    slots: u64,
    slots_dropped: u64,
    /// Positions from this slot on are computed again.
    computed: u64,
    running: Running,
    newest: Option<Position>,
    outcomes_dropped: u64,
    why: Option<String>,
}

struct Rebuild<'a> {
    reader: &'a Reader,
    out: Out<'a>,
    logs: BTreeMap<Id, Log>,
    /// Batches that are in a posting.
    posted: BTreeSet<Hash>,
}

impl Rebuild<'_> {
    /// Drops what is no item of the name it has.
    fn items(&mut self, report: &mut RepairReport) -> Result<(), StoreError> {
        let Self { reader, out, .. } = self;
        each_row(reader.transaction(), Table::Items, |key, value| {
            let Raw(raw) = record::decode(Table::Items.name(), key, value)?;
            let fits = Held::parse(raw).is_ok_and(|held| held.claims().id().0 == *key);
            if fits {
                return Ok(());
            }
            report.problem(format!("table items/1, key {}: not the item of this id", crate::error::hex(key)));
            out.remove(Table::Items, key)
        })
    }

    /// Verifies each log from its first slot on, drops what comes after the first failure, and
    /// lists the seen keys of what stays.
    fn slots(
        &mut self,
        config: &StoreConfig,
        terms: &Terms,
        progress: &mut dyn FnMut(&'static str, u64),
    ) -> Result<(), StoreError> {
        let Self { reader, out, logs, .. } = self;
        let mut count = 0;
        let mut seen = (None, SeenList::default());
        each_row(reader.transaction(), Table::Slots, |key, value| {
            count += 1;
            progress("verifying slots", count);
            let (process, slot) = counted(key);
            if seen.0 != Some(process) {
                seen = (Some(process), SeenList::default());
            }
            let row: SlotRow = record::decode(Table::Slots.name(), key, value)?;
            let log = logs.entry(process).or_insert_with(|| Log::new(process));
            log.own = log.own || is_signed_by(&row, config.node);
            log.said = slot + 1;
            let verified =
                if log.why.is_some() { Err(String::new()) } else { log.verify(reader, &row, slot, terms) };
            let verified = match verified {
                Ok(verified) => verified,
                Err(why) => {
                    log.why.get_or_insert(why);
                    log.slots_dropped += 1;
                    return out.remove(Table::Slots, key);
                }
            };
            log.slots = slot + 1;
            log.last = Some(link(slot, &row));
            if let (Some(record), Some((accepted, _))) = (verified, &log.process) {
                out.list_seen(process, row.epoch, &mut seen.1, &record, accepted)?;
                let spawn = record.proven().filter(|proven| proven.kind == ProvenKind::Spawn);
                if let Some(proven) = spawn.filter(|_| slot == 0 && accepted.scheduler() == config.node) {
                    out.put_first(Table::Children, proven.sender.push.0.to_vec(), &process)?;
                }
            }
            let by_item = key::pair(&process, &row.item.0);
            out.put_first(Table::ItemSlots, by_item, &slot)
        })?;
        for log in logs.values_mut() {
            log.computed = log.slots;
        }
        Ok(())
    }

    /// Keeps the outcomes whose running hash continues from slot 0.
    fn outcomes(&mut self, progress: &mut dyn FnMut(&'static str, u64)) -> Result<(), StoreError> {
        let Self { reader, out, logs, .. } = self;
        let mut count = 0;
        each_row(reader.transaction(), Table::Outcomes, |key, value| {
            count += 1;
            progress("verifying outcomes", count);
            let (process, position) = placed(key);
            let row: OutcomeRow = record::decode(Table::Outcomes.name(), key, value)?;
            let Some(log) = logs.get_mut(&process) else { return out.remove(Table::Outcomes, key) };
            let running = log.running.then(&row.outcome);
            if position.slot >= log.computed || running.0 != row.running {
                log.computed = log.computed.min(position.slot);
                log.outcomes_dropped += 1;
                return out.remove(Table::Outcomes, key);
            }
            (log.running, log.newest) = (running, Some(position));
            match row.item {
                Some(item) => out.put_first(Table::ItemOutcomes, key::pair(&process, &item.0), &position),
                None => Ok(()),
            }
        })
    }

    /// Forgets how far results are pruned of logs that are computed again: those results are whole.
    fn pruned(&mut self, report: &RepairReport) -> Result<(), StoreError> {
        let Self { reader, out, logs, .. } = self;
        let all = report.missed(Table::Outcomes);
        each_row(reader.transaction(), Table::Settings, |key, _| {
            let Some(process) = key.strip_prefix(PRUNED_SETTING.as_bytes()) else { return Ok(()) };
            let process = std::str::from_utf8(process).ok().and_then(|id| id.parse::<Id>().ok());
            let log = process.and_then(|process| logs.get(&process));
            let is_kept = !all && log.is_some_and(|log| log.outcomes_dropped == 0);
            if is_kept { Ok(()) } else { out.put_away(Table::Settings, key) }
        })
    }

    /// Drops checkpoints of states that are no longer known to be right, or that lack a page, and
    /// counts anew which pages the others name. What a crash left of one that was being written is no
    /// loss, and is written before the outcome that it is after.
    fn checkpoints(&mut self) -> Result<(), StoreError> {
        let Self { reader, out, logs, .. } = self;
        let mut counts: BTreeMap<Hash, u64> = BTreeMap::new();
        let mut unfinished: BTreeSet<Hash> = BTreeSet::new();
        each_row(reader.transaction(), Table::Checkpoints, |key, value| {
            let (process, position) = placed(key);
            let row: CheckpointRow = record::decode(Table::Checkpoints.name(), key, value)?;
            let newest = logs.get(&process).and_then(|log| log.newest);
            let names: BTreeSet<Hash> = row.pages.iter().map(|page| page.hash).collect();
            if row.state.is_empty() {
                unfinished.extend(names);
                return out.put_away(Table::Checkpoints, key);
            }
            let mut whole = newest.is_some_and(|newest| position <= newest);
            for name in &names {
                whole = whole && reader.has(Table::Pages, &name.0)?;
            }
            if !whole {
                return out.remove(Table::Checkpoints, key);
            }
            for name in names {
                *counts.entry(name).or_default() += 1;
            }
            Ok(())
        })?;
        each_row(reader.transaction(), Table::Pages, |key, _| {
            let name = Parts(key).hash().unwrap_or(Hash::ZERO);
            match counts.get(&name) {
                Some(count) => out.put(Table::PageRefs, key.to_vec(), count),
                None if unfinished.contains(&name) => out.put_away(Table::Pages, key),
                None => out.remove(Table::Pages, key),
            }
        })
    }

    fn outbox(&mut self) -> Result<(), StoreError> {
        let Self { reader, out, .. } = self;
        each_row(reader.transaction(), Table::Outbox, |key, value| {
            let row: OutboxRow = record::decode(Table::Outbox.name(), key, value)?;
            if row.state == OutboxState::Pending {
                out.put(Table::OutboxPending, key.to_vec(), &row.next_try_ms)?;
            }
            Ok(())
        })
    }

    /// What this node does for a process that lost its row: whatever its own signatures show that it
    /// did. Of others nobody knows that it did anything: a log alone may be somebody's who wants it
    /// to.
    fn processes(&mut self, config: &StoreConfig, report: &mut RepairReport) -> Result<(), StoreError> {
        let attested = if report.missed(Table::Processes) { self.attested(config)? } else { BTreeSet::new() };
        for (id, log) in &self.logs {
            let Some((process, _)) = &log.process else { continue };
            if !report.missed(Table::Processes) || self.reader.process(id)?.is_some() {
                continue;
            }
            let own = process.scheduler() == config.node;
            if !own && !attested.contains(id) {
                report.problem(format!(
                    "process {id}: what this node does for it was lost; `weft host {id}` takes it up again"
                ));
                continue;
            }
            let roles =
                Roles { schedules: own, computes: true, messenges: true, watches: !own, ..Roles::default() };
            let row = ProcessRow { module: process.module(), roles };
            self.out.put(Table::Processes, id.0.to_vec(), &row)?;
            report.problem(format!("process {id}: what this node does for it was lost and is made anew"));
        }
        each_row(self.reader.transaction(), Table::Processes, |key, value| {
            let row: ProcessRow = record::decode(Table::Processes.name(), key, value)?;
            let Some(id) = Parts(key).id() else { return Ok(()) };
            let log = self.logs.entry(id).or_insert_with(|| Log::new(id));
            log.own = log.own || row.roles.schedules;
            if log.slots == 0 {
                report.lost_openings.push(id);
            }
            Ok(())
        })
    }

    /// The processes of which this node attested an outcome.
    fn attested(&self, config: &StoreConfig) -> Result<BTreeSet<Id>, StoreError> {
        let mut attested = BTreeSet::new();
        each_row(self.reader.transaction(), Table::Attestations, |key, _| {
            if key.ends_with(&config.node.0) {
                attested.extend(Parts(key).id());
            }
            Ok(())
        })?;
        Ok(attested)
    }

    /// The logs of this node's own.
    fn own(&self) -> BTreeMap<Id, OwnLog> {
        let own = self.logs.iter().filter(|(_, log)| log.own);
        own.map(|(process, log)| (*process, OwnLog { said: log.said, slots: log.slots })).collect()
    }

    fn cuts(&self) -> Vec<CutLog> {
        let cut = self.logs.iter().filter(|(_, log)| log.slots_dropped > 0 || log.outcomes_dropped > 0);
        cut.map(|(process, log)| CutLog {
            process: *process,
            own: log.own,
            slots: log.slots,
            slots_dropped: log.slots_dropped,
            outcomes_dropped: log.outcomes_dropped,
            why: log.why.clone().unwrap_or_else(|| "an outcome before them is lost".to_owned()),
        })
        .collect()
    }
}

impl Log {
    fn new(process: Id) -> Self {
        Self {
            id: process,
            own: false,
            process: None,
            last: None,
            said: 0,
            slots: 0,
            slots_dropped: 0,
            computed: 0,
            running: Running::before(process),
            newest: None,
            outcomes_dropped: 0,
            why: None,
        }
    }

    /// Verifies one slot with its item and proof: ids, signatures, and the link to the one before.
    fn verify(
        &mut self,
        reader: &Reader,
        row: &SlotRow,
        slot: u64,
        terms: &Terms,
    ) -> Result<Option<VerifiedRecord>, String> {
        if self.slots != slot {
            return Err(format!("slot {} is lost", self.slots));
        }
        let item = |id: &Id| reader.item(id).ok().flatten().unwrap_or_default();
        let record = wire::SlotRecord {
            assignment: row.assignment.clone(),
            item: item(&row.item),
            proof: row.proof.as_ref().map(item).unwrap_or_default(),
        };
        let failed = |error: RecordError| format!("slot {slot} does not verify: {error}");
        let record = SlotRecord::from_wire(&record).map_err(failed)?;
        let as_stored = |verified: VerifiedRecord| {
            let differs = || format!("the row of slot {slot} says what its assignment does not");
            (SlotRow::of(&verified) == *row).then_some(verified).ok_or_else(differs)
        };
        if slot == 0 {
            return match record.open(terms) {
                Ok((process, _)) if process.id() != self.id => Err("slot 0 is another process's".to_owned()),
                Ok((process, verified)) => {
                    let verified = as_stored(verified)?;
                    let epoch = EpochTerms::of_process(&process).map_err(|error| error.to_string())?;
                    self.process = Some((process, epoch));
                    Ok(Some(verified))
                }
                // Another build may know it.
                Err(RecordError::Refused(_)) => Ok(None),
                Err(error) => Err(failed(error)),
            };
        }
        let Some((process, epoch)) = &self.process else { return Ok(None) };
        let verified = record.verify(process, epoch, self.last.as_ref()).map_err(failed)?;
        as_stored(verified).map(Some)
    }
}

/// Whether the assignment says that this key signed it: what does not verify may still show whose
/// log it is of.
fn is_signed_by(row: &SlotRow, node: Address) -> bool {
    DataItem::parse(row.assignment.clone()).is_ok_and(|item| item.claims().owner() == node)
}

const fn link(slot: u64, row: &SlotRow) -> Link {
    Link {
        slot,
        assignment: row.assignment_id,
        hash_chain: row.chain,
        time: TimePoint { timestamp: row.timestamp, height: row.block_height },
    }
}

/// The process and counter of a key whose length was checked.
fn counted(key: &[u8]) -> (Id, u64) {
    let mut parts = Parts(key);
    (parts.id().unwrap_or(Id([0; 32])), parts.u64().unwrap_or(0))
}

/// The process and position of a key whose length was checked.
fn placed(key: &[u8]) -> (Id, Position) {
    let mut parts = Parts(key);
    (parts.id().unwrap_or(Id([0; 32])), parts.position().unwrap_or(Position::slot(0)))
}

/// Changes to the repaired file.
struct Out<'a> {
    writing: &'a WriteTransaction,
    open: BTreeMap<Table, redb::Table<'a, &'static [u8], &'static [u8]>>,
    /// Rows removed from each table.
    dropped: BTreeMap<&'static str, u64>,
}

impl<'a> Out<'a> {
    fn table(
        &mut self,
        table: Table,
    ) -> Result<&mut redb::Table<'a, &'static [u8], &'static [u8]>, StoreError> {
        Ok(match self.open.entry(table) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let opened = self.writing.open_table(table.definition());
                entry.insert(opened.map_err(|error| StoreError::disk("opening a table", error))?)
            }
        })
    }

    fn put<R: Record>(&mut self, table: Table, key: Vec<u8>, row: &R) -> Result<(), StoreError> {
        let bytes = record::encode(table.name(), &key, row);
        let inserted = self.table(table)?.insert(key.as_slice(), bytes.as_slice());
        inserted.map(drop).map_err(|error| StoreError::disk("writing the repaired file", error))
    }

    /// Puts a row where there is none: rows come in order, so the first stays.
    fn put_first<R: Record>(&mut self, table: Table, key: Vec<u8>, row: &R) -> Result<(), StoreError> {
        let held = self.table(table)?.get(key.as_slice());
        let held = held.map_err(|error| StoreError::disk("reading the repaired file", error))?.is_some();
        if held { Ok(()) } else { self.put(table, key, row) }
    }

    /// Adds the keys of a slot to the seen list of its log.
    fn list_seen(
        &mut self,
        process: Id,
        epoch: u64,
        seen: &mut SeenList,
        record: &VerifiedRecord,
        accepted: &Process,
    ) -> Result<(), StoreError> {
        let slot = record.assignment().slot;
        let position = Position { epoch, slot, tick: 0 };
        let before = seen.len();
        seen.admit(slot, &record.seen_keys(accepted));
        for (number, (key, _)) in seen.iter().enumerate().skip(before) {
            let number = number as u64;
            self.put(Table::SeenList, key::counted(&process, number), &SeenKey { key, position })?;
            self.put(Table::Seen, key::pair(&process, &key.0), &SeenMark { position, number })?;
        }
        let mark = SeenMark { position, number: seen.len() as u64 };
        if seen.len() > before { self.put(Table::SeenCounts, process.0.to_vec(), &mark) } else { Ok(()) }
    }

    fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        *self.dropped.entry(table.name()).or_default() += 1;
        self.put_away(table, key)
    }

    /// Removes a row that is no loss.
    fn put_away(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        let removed = self.table(table)?.remove(key);
        removed.map(drop).map_err(|error| StoreError::disk("writing the repaired file", error))
    }
}
