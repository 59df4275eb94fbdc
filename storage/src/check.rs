//! The check of a whole store: every row decodes, and every index agrees with what it indexes.
//!
//! It reads a snapshot, so it may run beside the writer. Signatures are not its affair: what was
//! written had been verified, and a checksum stands over every row since.

use bytes::Bytes;
use redb::ReadTransaction;
use weft_protocol::seen::item_key;
use weft_protocol::{Hash, Id, Position};

use crate::caution::CautionRow;
use crate::contained::contain;
use crate::error::{StoreError, hex};
use crate::forget::FORGETTING_SETTING;
use crate::key::{self, Parts};
use crate::limits::PROBLEMS_SHOWN_MAX;
use crate::reader::Reader;
use crate::record::{self, Record};
use crate::rows::{
    AnchoredRow, AttestationRow, BatchRow, BatchState, CarriedRow, CheckpointRow, ClaimRow, EarnedRow,
    EvidenceRow, Nothing, OutboxRow, OutboxState, OutcomeRow, PackedPage, PostingRow, ProcessRow, Raw,
    SeenKey, SeenMark, SlotRow,
};
use crate::tables::Table;

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct Check {
    /// Every table, in the order of the file.
    pub tables: Vec<TableCheck>,
    /// What is wrong, the first [`PROBLEMS_SHOWN_MAX`].
    pub problems: Vec<String>,
    /// How much is wrong.
    pub problem_count: u64,
}

/// What a check found in one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCheck {
    /// Its name.
    pub table: &'static str,
    /// Rows that decode.
    pub rows: u64,
    /// Their bytes, keys included.
    pub bytes: u64,
    /// Rows that do not.
    pub damaged: u64,
}

impl Check {
    /// Whether nothing is wrong.
    pub const fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    fn problem(&mut self, text: impl FnOnce() -> String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_SHOWN_MAX {
            self.problems.push(text());
        }
    }
}

impl Reader {
    /// Reads every row. `progress` hears the table and how many of its rows were read, now and
    /// then.
    ///
    /// # Errors
    /// [`StoreError::Disk`] when a table cannot be read on; what merely does not fit is a problem
    /// in the answer.
    pub fn check(&self, progress: &mut dyn FnMut(&'static str, u64)) -> Result<Check, StoreError> {
        let mut check = Check::default();
        for table in Table::ALL {
            contain("checking", || self.check_table(*table, &mut check, progress))?;
        }
        Ok(check)
    }

    fn check_table(
        &self,
        table: Table,
        check: &mut Check,
        progress: &mut dyn FnMut(&'static str, u64),
    ) -> Result<(), StoreError> {
        let mut found = TableCheck { table: table.name(), rows: 0, bytes: 0, damaged: 0 };
        let mut order = Order::default();
        each_row(self.transaction(), table, |key, value| {
            progress(table.name(), found.rows);
            let bytes = (key.len() + value.len()) as u64;
            match decode_any(table, key, value.clone()) {
                Ok(()) => {
                    (found.rows, found.bytes) = (found.rows + 1, found.bytes + bytes);
                    if let Some(why) = self.contradiction(table, key, value, &mut order)? {
                        check.problem(|| format!("table {}, key {}: {why}", table.name(), hex(key)));
                    }
                }
                Err(error) => {
                    found.damaged += 1;
                    check.problem(|| error.to_string());
                }
            }
            Ok(())
        })?;
        check.tables.push(found);
        Ok(())
    }

    /// What contradicts a row that decodes, if anything.
    fn contradiction(
        &self,
        table: Table,
        key: &[u8],
        value: Bytes,
        order: &mut Order,
    ) -> Result<Option<&'static str>, StoreError> {
        match table {
            Table::Slots | Table::ItemSlots => self.log_contradiction(table, key, value, order),
            Table::Seen | Table::SeenList | Table::SeenCounts => {
                self.seen_contradiction(table, key, value, order)
            }
            Table::Outbox | Table::OutboxPending => self.outbox_contradiction(table, key, value),
            Table::ItemOutcomes => {
                let mut parts = Parts(key);
                let (process, item) = (process(&mut parts), parts.id());
                let position: Position = record::decode(table.name(), key, value)?;
                let row: Option<OutcomeRow> =
                    self.sound(Table::Outcomes, &key::position(&process, position))?;
                says(row.and_then(|row| row.item) != item, "it names an outcome of another item, or none")
            }
            Table::Batches => {
                let row: BatchRow = record::decode(table.name(), key, value)?;
                let open = self.sound::<Nothing>(Table::BatchesOpen, key)?.is_some();
                let confirmed = matches!(row.state, BatchState::Confirmed { .. });
                says(open == confirmed, "the index of open batches says otherwise")
            }
            Table::Postings => {
                let row: PostingRow = record::decode(table.name(), key, value)?;
                let open = self.sound::<Nothing>(Table::PostingsOpen, key)?.is_some();
                says(open == row.is_final(), "the index of open postings says otherwise")
            }
            Table::PostingsOpen => {
                says(self.sound::<PostingRow>(Table::Postings, key)?.is_none(), "its posting is missing")
            }
            Table::Posted => self.posted_contradiction(key, value),
            Table::Checkpoints => {
                let row: CheckpointRow = record::decode(table.name(), key, value)?;
                for page in &row.pages {
                    if self.sound::<u64>(Table::PageRefs, &page.hash.0)?.is_none() {
                        return Ok(Some("a page of it is not counted"));
                    }
                }
                Ok(None)
            }
            Table::PageRefs => says(!self.has(Table::Pages, key)?, "its page is missing"),
            Table::BatchesOpen => {
                says(self.sound::<BatchRow>(Table::Batches, key)?.is_none(), "its batch is missing")
            }
            Table::Children => {
                let child: Id = record::decode(table.name(), key, value)?;
                let opening: Option<SlotRow> = self.sound(Table::Slots, &key::counted(&child, 0))?;
                says(opening.is_none(), "the child has no slot 0")
            }
            Table::Settings
            | Table::Processes
            | Table::Items
            | Table::Outcomes
            | Table::Carried
            | Table::Attestations
            | Table::AttestationsUnanchored
            | Table::Evidence
            | Table::EvidenceUnanchored
            | Table::Pages
            | Table::Blobs
            | Table::Cautions
            | Table::Earned
            | Table::Claims
            | Table::Anchored => Ok(None),
        }
    }

    fn posted_contradiction(&self, key: &[u8], value: Bytes) -> Result<Option<&'static str>, StoreError> {
        let posting: Hash = record::decode(Table::Posted.name(), key, value)?;
        let (batch, weave) = key.split_at_checked(posting.0.len()).unwrap_or((key, &[]));
        let key = [posting.0.as_slice(), weave].concat();
        let row: Option<PostingRow> = self.sound(Table::Postings, &key)?;
        let names = row.is_some_and(|row| row.parts.iter().any(|part| part.0 == batch));
        says(!names, "the posting that it names has not got this batch")
    }

    fn log_contradiction(
        &self,
        table: Table,
        key: &[u8],
        value: Bytes,
        order: &mut Order,
    ) -> Result<Option<&'static str>, StoreError> {
        let mut parts = Parts(key);
        let process = process(&mut parts);
        if table == Table::ItemSlots {
            let slot = record::decode::<u64>(table.name(), key, value)?;
            let row: Option<SlotRow> = self.sound(Table::Slots, &key::counted(&process, slot))?;
            return says(row.map(|row| row.item) != parts.id(), "it names a slot of another item, or none");
        }
        let slot = parts.u64().unwrap_or(0);
        let row: SlotRow = record::decode(table.name(), key, value)?;
        if !order.follows(process, slot) {
            return Ok(Some("the slot before it is missing"));
        }
        says(!self.is_indexed(&process, &row.item, slot)?, "the index of items lacks it")
    }

    /// Whether the item of a slot is found where readers look: in its own index, or, where that has no row, in the seen
    /// list. A log that is being forgotten loses that list before its slots.
    fn is_indexed(&self, process: &Id, item: &Id, slot: u64) -> Result<bool, StoreError> {
        let first: Option<u64> = self.sound(Table::ItemSlots, &key::pair(process, &item.0))?;
        let is_found = match first {
            Some(first) => first <= slot,
            None => self.is_seen_by(process, item, slot)?,
        };
        Ok(is_found || self.has(Table::Settings, format!("{FORGETTING_SETTING}{process}").as_bytes())?)
    }

    /// Whether the seen list has an item at this slot, or at one before it that is the item's too and not that of one that
    /// carries it.
    fn is_seen_by(&self, process: &Id, item: &Id, slot: u64) -> Result<bool, StoreError> {
        let seen: Option<SeenMark> = self.sound(Table::Seen, &key::pair(process, &item_key(*item).0))?;
        let Some(first) = seen.map(|mark| mark.position.slot).filter(|first| *first < slot) else {
            return Ok(seen.is_some_and(|mark| mark.position.slot == slot));
        };
        let row: Option<SlotRow> = self.sound(Table::Slots, &key::counted(process, first))?;
        Ok(row.is_some_and(|row| row.item == *item))
    }

    fn seen_contradiction(
        &self,
        table: Table,
        key: &[u8],
        value: Bytes,
        order: &mut Order,
    ) -> Result<Option<&'static str>, StoreError> {
        let mut parts = Parts(key);
        let process = process(&mut parts);
        let listed = |place| self.sound::<SeenKey>(Table::SeenList, &key::counted(&process, place));
        if table == Table::SeenList {
            let place = parts.u64().unwrap_or(0);
            let row: SeenKey = record::decode(table.name(), key, value)?;
            let mark: Option<SeenMark> = self.sound(Table::Seen, &key::pair(&process, &row.key.0))?;
            if mark.map(|mark| (mark.number, mark.position)) != Some((place, row.position)) {
                return Ok(Some("the index of seen keys lacks it"));
            }
            return says(!order.follows(process, place), "the place before it is missing");
        }
        let mark: SeenMark = record::decode(table.name(), key, value)?;
        if table == Table::Seen {
            let row = listed(mark.number)?;
            return says(row.map(|row| row.key) != parts.hash(), "the list of seen keys lacks it");
        }
        let last = listed(mark.number.wrapping_sub(1))?;
        let fits = last.map(|last| last.position) == Some(mark.position) && listed(mark.number)?.is_none();
        says(!fits, "the list of seen keys has another length")
    }

    fn outbox_contradiction(
        &self,
        table: Table,
        key: &[u8],
        value: Bytes,
    ) -> Result<Option<&'static str>, StoreError> {
        if table == Table::OutboxPending {
            return says(self.sound::<OutboxRow>(Table::Outbox, key)?.is_none(), "its entry is missing");
        }
        let row: OutboxRow = record::decode(table.name(), key, value)?;
        let due: Option<u64> = self.sound(Table::OutboxPending, key)?;
        let expected = (row.state == OutboxState::Pending).then_some(row.next_try_ms);
        says(due != expected, "the index of pending entries says otherwise")
    }

    /// A row, or none when it is missing or damaged: damage is told where the row itself is read.
    fn sound<R: Record>(&self, table: Table, key: &[u8]) -> Result<Option<R>, StoreError> {
        match self.get(table, key) {
            Err(StoreError::Damaged { .. }) => Ok(None),
            other => other,
        }
    }
}

/// The process that a key begins with; lengths were checked before.
fn process(parts: &mut Parts<'_>) -> Id {
    parts.id().unwrap_or(Id([0; 32]))
}

/// An answer about a contradiction.
fn says(wrong: bool, why: &'static str) -> Result<Option<&'static str>, StoreError> {
    Ok(wrong.then_some(why))
}

/// Whether counters of each process come without a gap.
#[derive(Debug, Default)]
struct Order(Option<(Id, u64)>);

impl Order {
    fn follows(&mut self, process: Id, counter: u64) -> bool {
        let fits = match self.0 {
            Some((last, before)) if last == process => before.checked_add(1) == Some(counter),
            // Where a log begins is for pruning to say.
            _ => true,
        };
        self.0 = Some((process, counter));
        fits
    }
}

/// Hands every row of a table to `each`.
pub(crate) fn each_row(
    transaction: &ReadTransaction,
    table: Table,
    mut each: impl FnMut(&[u8], Bytes) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let disk = |error: redb::Error| StoreError::disk("reading all of a table", error);
    let open = transaction.open_table(table.definition()).map_err(|error| disk(error.into()))?;
    let rows = open.range::<&[u8]>(..).map_err(|error| disk(error.into()))?;
    for row in rows {
        let (key, value) = row.map_err(|error| disk(error.into()))?;
        each(key.value(), Bytes::copy_from_slice(value.value()))?;
    }
    Ok(())
}

/// Decodes a row of any table, its key included.
pub(crate) fn decode_any(table: Table, key: &[u8], value: Bytes) -> Result<(), StoreError> {
    let name = table.name();
    // A repair reads stores of the second schema, which had one posting of some bytes, whatever the weave.
    let is_earlier =
        matches!(table, Table::Postings | Table::PostingsOpen | Table::Posted) && key.len() == 32;
    let fits = is_earlier || key_length(table).is_none_or(|length| length == key.len());
    if !fits {
        return Err(StoreError::Damaged {
            table: name,
            key: hex(key),
            reason: "the key has the wrong length",
        });
    }
    match table {
        Table::Settings => record::decode::<Raw>(name, key, value).map(drop),
        Table::Items => record::decode::<Raw>(name, key, value).map(drop),
        Table::Blobs => {
            let Raw(bytes) = record::decode(name, key, value)?;
            content(name, key, Hash(blake3::hash(&bytes).into()).0 == key)
        }
        Table::Processes => record::decode::<ProcessRow>(name, key, value).map(drop),
        Table::Children => record::decode::<Id>(name, key, value).map(drop),
        Table::Slots => record::decode::<SlotRow>(name, key, value).map(drop),
        Table::ItemSlots | Table::OutboxPending | Table::PageRefs => {
            record::decode::<u64>(name, key, value).map(drop)
        }
        Table::Seen | Table::SeenCounts => record::decode::<SeenMark>(name, key, value).map(drop),
        Table::SeenList => record::decode::<SeenKey>(name, key, value).map(drop),
        Table::Outcomes => record::decode::<OutcomeRow>(name, key, value).map(drop),
        Table::Carried => record::decode::<CarriedRow>(name, key, value).map(drop),
        Table::ItemOutcomes => record::decode::<Position>(name, key, value).map(drop),
        Table::Outbox => record::decode::<OutboxRow>(name, key, value).map(drop),
        Table::BatchesOpen
        | Table::PostingsOpen
        | Table::AttestationsUnanchored
        | Table::EvidenceUnanchored => record::decode::<Nothing>(name, key, value).map(drop),
        Table::Attestations => record::decode::<AttestationRow>(name, key, value).map(drop),
        Table::Evidence => record::decode::<EvidenceRow>(name, key, value).map(drop),
        Table::Checkpoints => record::decode::<CheckpointRow>(name, key, value).map(drop),
        Table::Pages => {
            let page: PackedPage = record::decode(name, key, value)?;
            content(name, key, page.hash().0 == key && page.unpack(&page.hash()).is_some())
        }
        Table::Batches => record::decode::<BatchRow>(name, key, value).map(drop),
        Table::Postings => record::decode::<PostingRow>(name, key, value).map(drop),
        Table::Posted => record::decode::<Hash>(name, key, value).map(drop),
        Table::Cautions => record::decode::<CautionRow>(name, key, value).map(drop),
        Table::Anchored => record::decode::<AnchoredRow>(name, key, value).map(drop),
        Table::Earned => record::decode::<EarnedRow>(name, key, value).map(drop),
        Table::Claims => record::decode::<ClaimRow>(name, key, value).map(drop),
    }
}

fn content(table: &'static str, key: &[u8], fits: bool) -> Result<(), StoreError> {
    let reason = "the bytes are not what the name says";
    if fits { Ok(()) } else { Err(StoreError::Damaged { table, key: hex(key), reason }) }
}

/// The length of a table's keys; none where they are names.
pub(crate) const fn key_length(table: Table) -> Option<usize> {
    /// Epoch, slot and tick.
    const POSITION: usize = 8 + 8 + 4;
    Some(match table {
        Table::Settings | Table::Anchored => return None,
        Table::Processes
        | Table::Items
        | Table::Children
        | Table::SeenCounts
        | Table::Pages
        | Table::PageRefs
        | Table::Blobs
        | Table::Batches
        | Table::BatchesOpen
        | Table::Cautions => 32,
        Table::Slots | Table::SeenList => 32 + 8,
        Table::ItemSlots
        | Table::Seen
        | Table::ItemOutcomes
        | Table::Postings
        | Table::PostingsOpen
        | Table::Posted
        | Table::Evidence
        | Table::EvidenceUnanchored => 32 + 32,
        Table::Outcomes | Table::Carried | Table::Checkpoints => 32 + POSITION,
        Table::Outbox | Table::OutboxPending | Table::Earned => 32 + POSITION + 4,
        Table::Claims => 32 + 8 + 4,
        Table::Attestations | Table::AttestationsUnanchored => 32 + POSITION + 32,
    })
}
