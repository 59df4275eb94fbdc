//! Looking through logs for what a filter takes, from where a page begins in the order of its edges: the
//! newest messages first unless a client wants the oldest. All logs are gone through together, whichever is next
//! in time, so that however many there are, what was looked at has no holes.
//!
//! One query looks at so many slots. What lies beyond them is not on its page, and the cursor of its last edge
//! is where the next query goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use weft_protocol::{DataItem, Id};
use weft_storage::{Reader, SlotRow, StoreError};

use super::find::{Filter, Findings, Header, Order, Place};
use super::lookup::Headers;
use crate::directory::Directory;
use crate::shared::Shared;

/// Slots of logs that one query looks at.
const SLOTS_MAX: u64 = 5_000;
/// Bytes of their items, and how long it may take to look at them.
const BYTES_MAX: usize = 64 * 1024 * 1024;
const WAIT: Duration = Duration::from_secs(2);
/// Slots of a log read at once, where it was the next in time again and again.
const SLOTS_AT_ONCE: u64 = 32;
/// Bytes of them.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// Where a slot stands.
pub(super) const fn place_of(row: &SlotRow) -> Place {
    Place { height: row.block_height, timestamp: row.timestamp }
}

/// Adds the processes that this node knows; says whether it came through all of them in time. Their headers are
/// remembered, so that the next search comes further.
pub(super) fn processes(
    shared: &Shared,
    reader: &Reader,
    headers: &Headers,
    filter: &Filter,
    found: &mut Findings,
) -> Result<bool, StoreError> {
    let until = Instant::now() + WAIT;
    for id in shared.directory.ids(|_| true) {
        if Instant::now() >= until {
            return Ok(false);
        }
        let header = match headers.get(&id) {
            Some(header) => header,
            None => {
                let Some(header) = process(reader, &id)? else { continue };
                headers.keep(&header);
                header
            }
        };
        found.add(Some(header).filter(|header| filter.takes(header)));
    }
    Ok(true)
}

/// The header of a process on disk; what was verified before it came there.
fn process(reader: &Reader, id: &Id) -> Result<Option<Header>, StoreError> {
    let Some(raw) = reader.item(id)? else { return Ok(None) };
    let Some(place) = reader.slot(id, 0)?.as_ref().map(place_of) else { return Ok(None) };
    Ok(DataItem::parse(raw).ok().map(|item| Header::of(item.claims(), Some(place))))
}

/// Adds the messages of the logs that can hold what is looked for.
pub(super) fn messages(
    directory: &Directory,
    reader: &Reader,
    filter: &Filter,
    found: &mut Findings,
) -> Result<(), StoreError> {
    let order = found.order();
    let named: BTreeSet<Id> = filter.recipients.iter().filter_map(|id| id.parse().ok()).collect();
    let mut logs = directory.ids(|_| true);
    logs.retain(|log| filter.recipients.is_empty() || named.contains(log));
    let mut scan = Scan { reader, filter, order, left: SLOTS_MAX, bytes: 0, until: Instant::now() + WAIT };
    scan.logs(logs, found)
}

/// A look through logs.
struct Scan<'a> {
    reader: &'a Reader,
    filter: &'a Filter,
    order: Order,
    /// Slots that may still be looked at.
    left: u64,
    /// Bytes that were.
    bytes: usize,
    until: Instant,
}

/// What is left of a log.
struct Rest {
    low: u64,
    high: u64,
    /// Slots that are read of it when it is next in time.
    at_once: u64,
}

impl Scan<'_> {
    fn is_over(&self) -> bool {
        self.left == 0 || self.bytes > BYTES_MAX || Instant::now() >= self.until
    }

    fn logs(&mut self, logs: Vec<Id>, found: &mut Findings) -> Result<(), StoreError> {
        let mut next: BTreeMap<(Place, Id), Rest> = BTreeMap::new();
        for process in logs {
            if Instant::now() >= self.until {
                // Of those that are left nothing is known.
                found.cut(self.order.start());
                break;
            }
            let (low, high) = self.range(&process)?;
            self.wait(&mut next, process, Rest { low, high, at_once: 1 })?;
        }
        while let Some(((place, process), rest)) =
            if self.order.ascending { next.pop_first() } else { next.pop_last() }
        {
            if found.is_full_before(place) {
                break;
            }
            if self.is_over() {
                found.cut(place);
                break;
            }
            match self.some(&process, rest, found)? {
                Some(rest) => self.wait(&mut next, process, rest)?,
                None => found.cut(place),
            }
        }
        Ok(())
    }

    /// Has a log wait until its next slot is the next of all.
    fn wait(
        &self,
        next: &mut BTreeMap<(Place, Id), Rest>,
        process: Id,
        rest: Rest,
    ) -> Result<(), StoreError> {
        if rest.low <= rest.high {
            let slot = if self.order.ascending { rest.low } else { rest.high };
            if let Some(row) = self.reader.slot(&process, slot)? {
                next.insert((place_of(&row), process), rest);
            }
        }
        Ok(())
    }

    /// Looks at the next slots of a log, and gives the rest of it; none if they are not all there, or too much
    /// to look at.
    fn some(&mut self, process: &Id, rest: Rest, found: &mut Findings) -> Result<Option<Rest>, StoreError> {
        let Rest { low, high, at_once } = rest;
        let count = at_once.min(self.left).min(high - low + 1);
        let (from, to) = if self.order.ascending { (low, low + count - 1) } else { (high + 1 - count, high) };
        if !self.slots(process, from, to, found)? {
            return Ok(None);
        }
        self.left -= count;
        let (low, high) = if self.order.ascending { (to + 1, high) } else { (low, from - 1) };
        Ok(Some(Rest { low, high, at_once: (2 * at_once).min(SLOTS_AT_ONCE) }))
    }

    /// The slots of a log that can be on the page, the process itself excepted.
    fn range(&self, process: &Id) -> Result<(u64, u64), StoreError> {
        let Some((head, _)) = self.reader.head(process)? else { return Ok((1, 0)) };
        let first = |is_beyond: &dyn Fn(&SlotRow) -> bool| first_of(self.reader, process, head, is_beyond);
        let (mut low, mut next) = (1, head + 1);
        if let Some(min) = self.filter.min {
            low = low.max(first(&|row| row.block_height >= min)?);
        }
        if let Some(max) = self.filter.max {
            next = next.min(first(&|row| row.block_height > max)?);
        }
        if let Some(after) = self.order.after.map(|key| key.place()) {
            if self.order.ascending {
                low = low.max(first(&|row| place_of(row) >= after)?);
            } else {
                next = next.min(first(&|row| place_of(row) > after)?);
            }
        }
        Ok((low, next - 1))
    }

    /// Adds what the filter takes of these slots; whether they are all there, and not too much to look at.
    fn slots(&mut self, process: &Id, from: u64, to: u64, found: &mut Findings) -> Result<bool, StoreError> {
        let mut next = from;
        while next <= to {
            if self.bytes > BYTES_MAX {
                return Ok(false);
            }
            let read = self.reader.slot_records(process, next, to, READ_BYTES)?;
            let Some(end) = read.slots.last().map(|stored| stored.slot) else { return Ok(false) };
            for stored in read.slots {
                let place = place_of(&stored.row);
                self.bytes += stored.item.as_ref().map_or(0, Bytes::len);
                // What is on disk was verified before it came there.
                let item = stored.item.and_then(|raw| DataItem::parse(raw).ok());
                let header = item.map(|item| Header::of(item.claims(), Some(place)));
                found.add(header.filter(|header| self.filter.takes(header)));
            }
            next = end + 1;
        }
        Ok(true)
    }
}

/// The first slot after the process itself of which this is true, or the one after the head: heights and
/// times never decrease.
fn first_of(
    reader: &Reader,
    process: &Id,
    head: u64,
    is_beyond: &dyn Fn(&SlotRow) -> bool,
) -> Result<u64, StoreError> {
    let (mut low, mut high) = (1, head + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if reader.slot(process, middle)?.as_ref().is_some_and(is_beyond) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests;
