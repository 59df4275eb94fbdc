//! Walking the outcomes of a process in either direction, each with its time.

use weft_protocol::Position;
use weft_protocol::cron::{self, Tick};
use weft_protocol::process::Process;
use weft_protocol::time::TimePoint;
use weft_storage::{OutcomeRow, Reader, SlotRow, StoreError};

use super::{Cursor, Sort};

/// Outcomes read at once, and bytes of their results.
const CHUNK: usize = 64;
const CHUNK_BYTES: usize = 1024 * 1024;
/// The end of all positions.
const LAST: Position = Position { epoch: u64::MAX, slot: u64::MAX, tick: u32::MAX };

/// Where an entry stands and when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: Position,
    pub(super) timestamp: u64,
    /// Of a tick: which cron, in tag order.
    pub(super) cron: Option<usize>,
}

impl Place {
    fn key(&self) -> (u64, u64, u32) {
        (self.timestamp, self.position.slot, self.position.tick)
    }
}

/// The rest of a walk.
pub(super) struct Scan<'a> {
    reader: &'a Reader,
    process: &'a Process,
    origin: TimePoint,
    sort: Sort,
    /// Entries not after (ascending) or not before (descending) this are passed over.
    after: Option<(u64, u64, u32)>,
    /// The walk ends behind this.
    until: Option<(u64, u64, u32)>,
    chunk: std::vec::IntoIter<(Position, OutcomeRow)>,
    /// Where the next chunk begins; none at the end.
    next: Option<Position>,
    /// The ticks after the slot that was met last.
    ticks: Option<(u64, Vec<Tick>)>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        reader: &'a Reader,
        process: &'a Process,
        sort: Sort,
        from: Option<&Cursor>,
        to: Option<&Cursor>,
    ) -> Result<Self, StoreError> {
        let origin = reader.slot(&process.id(), 0)?.as_ref().map_or(ZERO, time_of);
        let (after, until) = (from.map(|from| from.key(sort)), to.map(|to| to.key(sort)));
        let mut scan = Self {
            reader,
            process,
            origin,
            sort,
            after,
            until,
            chunk: Vec::new().into_iter(),
            next: None,
            ticks: None,
        };
        scan.next = match (sort, after) {
            (Sort::Asc, None) => Some(Position::slot(0)),
            (Sort::Desc, None) => Some(LAST),
            (Sort::Asc, Some(key)) => scan.slot_at(key)?.map(|(slot, row)| tick(&row, slot, 0)),
            (Sort::Desc, Some(key)) => scan.slot_at(key)?.map(|(slot, row)| tick(&row, slot, u32::MAX)),
        };
        Ok(scan)
    }

    /// The next entry, without those that `after` and `until` leave out.
    pub(super) fn next(&mut self) -> Result<Option<(Place, OutcomeRow)>, StoreError> {
        while let Some((position, row)) = self.next_row()? {
            let Some(place) = self.place(position)? else { continue };
            let key = place.key();
            let (is_before, is_past) = match self.sort {
                Sort::Asc => {
                    (self.after.is_some_and(|after| key <= after), self.until.is_some_and(|u| key > u))
                }
                Sort::Desc => {
                    (self.after.is_some_and(|after| key >= after), self.until.is_some_and(|u| key < u))
                }
            };
            if is_past {
                return Ok(None);
            }
            if !is_before {
                return Ok(Some((place, row)));
            }
        }
        Ok(None)
    }

    fn next_row(&mut self) -> Result<Option<(Position, OutcomeRow)>, StoreError> {
        if let Some(row) = self.chunk.next() {
            return Ok(Some(row));
        }
        let Some(from) = self.next.take() else { return Ok(None) };
        let id = self.process.id();
        let rows = match self.sort {
            Sort::Asc => self.reader.outcomes_up(&id, from, CHUNK, CHUNK_BYTES)?,
            Sort::Desc => self.reader.outcomes_down(&id, from, CHUNK, CHUNK_BYTES)?,
        };
        let last = rows.last().map(|(position, _)| *position);
        self.next = last.and_then(|last| if self.sort == Sort::Asc { above(last) } else { below(last) });
        self.chunk = rows.into_iter();
        Ok(self.chunk.next())
    }

    /// When a position was; none for one whose slot the log does not have any more.
    fn place(&mut self, position: Position) -> Result<Option<Place>, StoreError> {
        let id = self.process.id();
        if position.tick == 0 {
            let row = self.reader.slot(&id, position.slot)?;
            return Ok(row.map(|row| Place { position, timestamp: row.timestamp, cron: None }));
        }
        if self.ticks.as_ref().is_none_or(|(slot, _)| *slot != position.slot) {
            let rows = self.reader.slots(&id, position.slot, position.slot.saturating_add(1), 2)?;
            let [(_, from), (_, to)] = rows.as_slice() else { return Ok(None) };
            let ticks = cron::ticks(self.process.crons(), self.origin, time_of(from), time_of(to));
            self.ticks = Some((position.slot, ticks.run));
        }
        let found = self.ticks.as_ref().and_then(|(_, ticks)| ticks.get(position.tick as usize - 1));
        let place = |tick: &Tick| {
            let (timestamp, cron) = (tick.time.timestamp, Some(tick.cron));
            Place { position, timestamp, cron }
        };
        Ok(found.map(place))
    }

    /// The last slot that is not after this moment, by halving: timestamps never decrease along a
    /// log. Its ticks may lie on both sides of the moment. Slot 0 where every slot is later.
    fn slot_at(&self, (timestamp, slot, _): (u64, u64, u32)) -> Result<Option<(u64, SlotRow)>, StoreError> {
        let id = self.process.id();
        let Some((head, _)) = self.reader.head(&id)? else { return Ok(None) };
        let (mut low, mut high) = (0, head);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let row = self.reader.slot(&id, middle)?;
            if row.is_some_and(|row| (row.timestamp, middle) <= (timestamp, slot)) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(self.reader.slot(&id, low)?.map(|row| (low, row)))
    }
}

const ZERO: TimePoint = TimePoint { timestamp: 0, height: 0 };

const fn time_of(row: &SlotRow) -> TimePoint {
    TimePoint { timestamp: row.timestamp, height: row.block_height }
}

const fn tick(row: &SlotRow, slot: u64, tick: u32) -> Position {
    Position { epoch: row.epoch, slot, tick }
}

/// The position after this one in key order.
fn above(at: Position) -> Option<Position> {
    let mut bytes = at.to_bytes();
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(Position::from_bytes(&bytes));
        }
    }
    None
}

/// The position before this one in key order.
fn below(at: Position) -> Option<Position> {
    let mut bytes = at.to_bytes();
    for byte in bytes.iter_mut().rev() {
        let was = *byte;
        *byte = was.wrapping_sub(1);
        if was != 0 {
            return Some(Position::from_bytes(&bytes));
        }
    }
    None
}
