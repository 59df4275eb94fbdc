//! The search of a damaged file's pages, for rows that its trees do not lead to any more.
//!
//! A page is taken for one of rows by its looks, and it may lie anywhere: inside an item that a
//! stranger had stored, too. A checksum is no obstacle to him. So only rows that prove themselves
//! are taken: by being named after their content, or by the signature of whoever alone may make
//! them. The others are lost with their tree, and come back by other ways or are computed again.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use weft_protocol::attestation::Attestation;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::evidence::Evidence;
use weft_protocol::limits::MODULE_ITEM_BYTES_MAX;
use weft_protocol::process::{Process, Terms};
use weft_protocol::record::SlotRecord;
use weft_protocol::{Address, DataItem, Id, wire};

use super::RepairReport;
use super::salvage::Target;
use crate::check::{decode_any, key_length};
use crate::error::StoreError;
use crate::key::Parts;
use crate::limits::{BATCH_BYTES_MAX, PAGE_BYTES_MAX};
use crate::record;
use crate::rows::{AttestationRow, EvidenceRow, Raw, SlotRow};
use crate::tables::Table;

/// Pages of the file begin at multiples of it.
const PAGE: u64 = 4096;
/// The first byte of a page of rows, in redb's file format 3.
const LEAF: u8 = 1;
/// Rows of one page: more would not have room for where each of them ends.
const LEAF_ROWS_MAX: usize = PAGE as usize / 8;
/// Bytes beside the content of a row: a checksum, lengths, and for an item its header of tags.
const ROW_OVERHEAD_MAX: usize = 64 * 1024;
/// Bytes of rows longer than their first page that may be read in vain, as a multiple of the file: each byte
/// of a sound one is read about once. Beyond it only rows within one page are read, or else pages that a
/// stranger made, each of which names most of the file, would take days.
const VAIN_BYTES_PART: u64 = 4;
/// And so many bytes more.
const VAIN_BYTES_MORE: u64 = 64 << 20;
/// Processes whose terms are remembered during a search: their rows lie side by side.
const TERMS_KEPT_MAX: usize = 1024;

/// Rows that are named after their content.
const BY_CONTENT: &[Table] = &[Table::Items, Table::Blobs, Table::Pages];
/// Rows that are signed by those whom a Process item names. They are looked for when the items are
/// there.
const BY_SIGNATURE: &[Table] = &[Table::Slots, Table::Attestations, Table::Evidence];

/// Puts rows that prove themselves into the new file, of those tables that lost some. What the
/// trees say is not touched by it.
pub(super) fn run(
    file: &File,
    target: &mut Target<'_>,
    terms: &Terms,
    report: &mut RepairReport,
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<(), StoreError> {
    let length =
        file.metadata().map_err(|error| StoreError::disk("measuring the damaged file", error))?.len();
    let mut vain = length.saturating_mul(VAIN_BYTES_PART).saturating_add(VAIN_BYTES_MORE);
    for tables in [BY_CONTENT, BY_SIGNATURE] {
        let wanted: Vec<Table> = tables.iter().copied().filter(|table| report.missed(*table)).collect();
        if wanted.is_empty() {
            continue;
        }
        let (known, slots) = (BTreeMap::new(), BTreeMap::new());
        let mut search = Search { wanted, terms, target, known, slots, vain, refused: 0 };
        let mut found: BTreeMap<Table, u64> = BTreeMap::new();
        let mut offset = 0;
        while offset < length {
            progress("searching the pages, of bytes", offset);
            let mut inside = offset + PAGE;
            for row in Leaf::read(file, offset, length).into_iter().flat_map(Leaf::rows) {
                let Some((table, is_new)) = search.take(file, &row)? else { continue };
                *found.entry(table).or_default() += u64::from(is_new);
                // What lies inside a row is its content, and no page of the file.
                inside = inside.max((row.value.1 / PAGE) * PAGE);
            }
            offset = inside;
        }
        vain = search.vain;
        if search.refused > 0 {
            let count = search.refused;
            report.problem(format!("{count} rows were not looked for: pages name far more than there is"));
        }
        let doubtful = search.withdraw_doubtful(report)?;
        for (table, count) in found {
            let count = if table == Table::Slots { count - doubtful } else { count };
            if let Some(row) = report.tables.iter_mut().find(|row| row.table == table.name()) {
                row.found += count;
            }
        }
    }
    Ok(())
}

struct Search<'a, 't> {
    wanted: Vec<Table>,
    terms: &'a Terms,
    target: &'a mut Target<'t>,
    /// What the Process items name; none where there is no such item.
    known: BTreeMap<Id, Option<(Process, EpochTerms)>>,
    /// Slots that the search found, and whether pages disagree about them.
    slots: BTreeMap<Vec<u8>, bool>,
    /// Bytes of long rows that may still be read in vain.
    vain: u64,
    /// Long rows that were not read any more.
    refused: u64,
}

impl Search<'_, '_> {
    /// Takes a row if it proves itself. Answers its table, and whether it was not there yet. What a long
    /// one that does not costs to read is counted.
    fn take(&mut self, file: &File, row: &Place) -> Result<Option<(Table, bool)>, StoreError> {
        let length = row.key.1 - row.key.0;
        let fits = |table: &&Table| key_length(**table) == Some(length as usize);
        let bytes = row.value.1 - row.value.0;
        let most = self.wanted.iter().filter(fits).map(|table| bytes_max(*table)).max();
        if most.is_none_or(|most| bytes > most as u64) {
            return Ok(None);
        }
        if !row.is_long {
            return self.try_take(file, row);
        }
        let Some(left) = self.vain.checked_sub(bytes) else {
            self.refused += 1;
            return Ok(None);
        };
        let taken = self.try_take(file, row)?;
        self.vain = if taken.is_none() { left } else { self.vain };
        Ok(taken)
    }

    fn try_take(&mut self, file: &File, row: &Place) -> Result<Option<(Table, bool)>, StoreError> {
        let (Some(key), Some(value)) = (read(file, row.key), read(file, row.value)) else { return Ok(None) };
        let value = Bytes::from(value);
        let fits = |table: Table| key_length(table) == Some(key.len());
        let is_of = |table: &&Table| fits(**table) && decode_any(**table, &key, value.clone()).is_ok();
        let Some(table) = self.wanted.iter().find(is_of).copied() else { return Ok(None) };
        let held = self.target.get(table, &key)?;
        if held.as_ref() == Some(&value) {
            return Ok(Some((table, false)));
        }
        if !self.is_proven(table, &key, &value)? {
            return Ok(None);
        }
        match held {
            None => {
                self.target.put(table, &key, &value)?;
                if table == Table::Slots {
                    self.slots.insert(key, false);
                }
                return Ok(Some((table, true)));
            }
            // A page may be of a commit that never was, and the slot have been signed anew since.
            Some(_) if table == Table::Slots => {
                if let Some(disagree) = self.slots.get_mut(&key) {
                    *disagree = true;
                }
            }
            // Of all others one version is as good as another.
            Some(_) => {}
        }
        Ok(Some((table, false)))
    }

    /// Takes back the slots about which pages disagree. Answers how many.
    fn withdraw_doubtful(self, report: &mut RepairReport) -> Result<u64, StoreError> {
        let mut count = 0;
        for (key, _) in self.slots.into_iter().filter(|(_, disagree)| *disagree) {
            self.target.remove(Table::Slots, &key)?;
            let key = crate::error::hex(&key);
            report.problem(format!(
                "table {}, key {key}: pages hold different rows of it",
                Table::Slots.name()
            ));
            count += 1;
        }
        Ok(count)
    }

    fn is_proven(&mut self, table: Table, key: &[u8], value: &Bytes) -> Result<bool, StoreError> {
        Ok(match table {
            Table::Items => record::decode::<Raw>(table.name(), key, value.clone())
                .ok()
                .and_then(|Raw(raw)| DataItem::verify_bytes(raw).ok())
                .is_some_and(|item| item.id().0 == key),
            // Decoding compares the content with the name.
            Table::Blobs | Table::Pages => true,
            Table::Slots => self.is_slot(key, value)?,
            Table::Attestations => self.is_attestation(key, value)?,
            Table::Evidence => self.is_evidence(key, value)?,
            _ => false,
        })
    }

    /// Whether a slot is signed by the scheduler that its process names, and its item and proof are
    /// there.
    fn is_slot(&mut self, key: &[u8], value: &Bytes) -> Result<bool, StoreError> {
        let mut parts = Parts(key);
        let (Some(process), Some(slot)) = (parts.id(), parts.u64()) else { return Ok(false) };
        let Ok(row) = record::decode::<SlotRow>(Table::Slots.name(), key, value.clone()) else {
            return Ok(false);
        };
        let item = self.item(&row.item)?.unwrap_or_default();
        let proof = match &row.proof {
            Some(proof) => self.item(proof)?.unwrap_or_default(),
            None => Bytes::new(),
        };
        let Some((process, terms)) = self.known(&process)? else { return Ok(false) };
        let record = wire::SlotRecord { assignment: row.assignment.clone(), item, proof };
        let verified = SlotRecord::from_wire(&record).and_then(|record| record.verify(process, terms, None));
        Ok(verified.is_ok_and(|record| record.assignment().slot == slot && SlotRow::of(&record) == row))
    }

    /// Whether an attestation is signed by one of those whom its process names.
    fn is_attestation(&mut self, key: &[u8], value: &Bytes) -> Result<bool, StoreError> {
        let mut parts = Parts(key);
        let (Some(process), Some(position)) = (parts.id(), parts.position()) else { return Ok(false) };
        let attestor = parts.hash().map(|hash| Address(hash.0));
        let network = self.terms.network;
        let Some((known, _)) = self.known(&process)? else { return Ok(false) };
        let verified = record::decode::<AttestationRow>(Table::Attestations.name(), key, value.clone())
            .ok()
            .and_then(|row| Some((row.statement, wire::decode_canonical(&row.bytes, ROW_OVERHEAD_MAX).ok()?)))
            .and_then(|(hash, message)| {
                Some((hash, Attestation::from_wire(&message, network).ok()?.verify().ok()?))
            });
        Ok(verified.is_some_and(|(hash, found)| {
            let said = found.statement();
            (said.process, said.position, said.hash()) == (process, position, hash)
                && Some(found.attestor()) == attestor
                && known.attestors().members.contains(&found.attestor())
        }))
    }

    /// Whether evidence convicts somebody who has an office in its process.
    fn is_evidence(&mut self, key: &[u8], value: &Bytes) -> Result<bool, StoreError> {
        let mut parts = Parts(key);
        let (Some(process), Some(name)) = (parts.id(), parts.hash()) else { return Ok(false) };
        let network = self.terms.network;
        let Some((_, terms)) = self.known(&process)? else { return Ok(false) };
        let verified = record::decode::<EvidenceRow>(Table::Evidence.name(), key, value.clone())
            .ok()
            .and_then(|row| Some((row.culprit, Evidence::decode(&row.bytes, network).ok()?.verify().ok()?)));
        Ok(verified.is_some_and(|(culprit, found)| {
            (found.culprit(), found.name()) == (culprit, name) && found.concerns(terms)
        }))
    }

    fn item(&mut self, id: &Id) -> Result<Option<Bytes>, StoreError> {
        let held = self.target.get(Table::Items, &id.0)?;
        Ok(held.and_then(|bytes| record::decode(Table::Items.name(), &id.0, bytes).ok()).map(|Raw(raw)| raw))
    }

    /// A process and who has an office in it, by its Process item.
    fn known(&mut self, id: &Id) -> Result<Option<&(Process, EpochTerms)>, StoreError> {
        if !self.known.contains_key(id) {
            if self.known.len() >= TERMS_KEPT_MAX {
                self.known.clear();
            }
            let item = self.item(id)?.and_then(|raw| DataItem::verify_bytes(raw).ok());
            let item = item.filter(|item| item.id() == *id);
            // Who asked for it decides nothing of this.
            let process = item.and_then(|item| Process::accept(item, None, self.terms).ok());
            let known = process.and_then(|process| {
                let terms = EpochTerms::of_process(&process).ok()?;
                Some((process, terms))
            });
            self.known.insert(*id, known);
        }
        Ok(self.known.get(id).and_then(Option::as_ref))
    }
}

/// The most bytes that a row of a table has.
const fn bytes_max(table: Table) -> usize {
    let content = match table {
        Table::Items => MODULE_ITEM_BYTES_MAX,
        Table::Blobs => BATCH_BYTES_MAX,
        Table::Pages => PAGE_BYTES_MAX,
        _ => 0,
    };
    content + ROW_OVERHEAD_MAX
}

/// Where the key and the value of a row begin and end in the file.
struct Place {
    key: (u64, u64),
    value: (u64, u64),
    /// Whether it ends beyond the page that it begins in.
    is_long: bool,
}

fn read(file: &File, (from, to): (u64, u64)) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(to.checked_sub(from)?).ok()?];
    file.read_exact_at(&mut bytes, from).ok()?;
    Some(bytes)
}

/// redb's page of rows: its kind, a byte, how many u16, the end of each key u32, the end of each
/// value u32, the keys, the values; all little-endian, ends counted from the page's beginning.
struct Leaf {
    offset: u64,
    key_ends: Vec<u32>,
    value_ends: Vec<u32>,
    /// Bytes from the page's beginning to the file's end.
    room: u64,
}

impl Leaf {
    /// The page at `offset`, if it looks like one of rows.
    fn read(file: &File, offset: u64, length: u64) -> Option<Self> {
        let room = length - offset;
        let head = read(file, (offset, offset + 4)).filter(|_| room >= 4)?;
        let count = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let starts_at = 4 + 8 * count;
        if head[0] != LEAF || count == 0 || count > LEAF_ROWS_MAX || starts_at as u64 > room {
            return None;
        }
        let ends = read(file, (offset + 4, offset + starts_at as u64))?;
        let mut ends: Vec<u32> =
            ends.chunks_exact(4).map(|end| end.try_into().map_or(u32::MAX, u32::from_le_bytes)).collect();
        if ends.first().is_none_or(|first| (*first as usize) < starts_at) || !ends.is_sorted() {
            return None;
        }
        let value_ends = ends.split_off(count);
        Some(Self { offset, key_ends: ends, value_ends, room })
    }

    /// Where its rows lie, as far as the file goes.
    fn rows(self) -> impl Iterator<Item = Place> {
        let Self { offset, key_ends, value_ends, room } = self;
        let starts_at = 4 + 8 * key_ends.len() as u64;
        let values_at = key_ends.last().map_or(starts_at, |end| u64::from(*end));
        let mut from = (starts_at, values_at);
        key_ends.into_iter().zip(value_ends).map_while(move |(key_end, value_end)| {
            let to = (u64::from(key_end), u64::from(value_end));
            let (key, value) = ((from.0, to.0), (from.1, to.1));
            from = to;
            let place = |(start, end): (u64, u64)| (offset + start, offset + end);
            (to.1 <= room).then(|| Place { key: place(key), value: place(value), is_long: to.1 > PAGE })
        })
    }
}
