//! Looking through logs for what a filter takes, from where a page begins in the order of its edges: the
//! newest messages first unless a client wants the oldest.
//!
//! One query looks at so many slots. What lies beyond them is not on its page, and the cursor of its last edge
//! is where the next query goes on.

use std::collections::BTreeSet;
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
/// Of one log at least: as some may stand in the moment at which a page begins, one more must be new.
const SHARE_MIN: u64 = 8;
/// Bytes of their items, and how long it may take to look at them.
const BYTES_MAX: usize = 64 * 1024 * 1024;
const WAIT: Duration = Duration::from_secs(2);
/// Slots read at once.
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
    // Each log has its share, so that a busy one does not hide the others.
    let share = (SLOTS_MAX / logs.len().max(1) as u64).max(SHARE_MIN);
    for process in logs {
        if scan.is_over() {
            found.cut(order.start());
            break;
        }
        scan.log(&process, share, found)?;
    }
    Ok(())
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

impl Scan<'_> {
    fn is_over(&self) -> bool {
        self.left == 0 || self.bytes > BYTES_MAX || Instant::now() >= self.until
    }

    /// Looks at a share of one log.
    fn log(&mut self, process: &Id, share: u64, found: &mut Findings) -> Result<(), StoreError> {
        let (mut low, mut high) = self.range(process)?;
        let (mut share, mut whole_to) = (share.min(self.left), self.order.start());
        while low <= high {
            let count = share.min(SLOTS_AT_ONCE).min(high - low + 1);
            let (from, to) =
                if self.order.ascending { (low, low + count - 1) } else { (high + 1 - count, high) };
            let Some(edge) = self.slots(process, from, to, found)? else {
                found.cut(whole_to);
                return Ok(());
            };
            whole_to = edge;
            (low, high) = if self.order.ascending { (to + 1, high) } else { (low, from - 1) };
            (share, self.left) = (share - count, self.left.saturating_sub(count));
            if low <= high && (share == 0 || self.is_over()) {
                found.cut(edge);
                return Ok(());
            }
        }
        Ok(())
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

    /// Adds what the filter takes of these slots, and says where the last of them in the order stands;
    /// none if they are not all there, or too much to look at.
    fn slots(
        &mut self,
        process: &Id,
        from: u64,
        to: u64,
        found: &mut Findings,
    ) -> Result<Option<Place>, StoreError> {
        let (mut next, mut first, mut last) = (from, None, None);
        while next <= to {
            if self.bytes > BYTES_MAX {
                return Ok(None);
            }
            let read = self.reader.slot_records(process, next, to, READ_BYTES)?;
            let Some(end) = read.slots.last().map(|stored| stored.slot) else { return Ok(None) };
            for stored in read.slots {
                let place = place_of(&stored.row);
                first = first.or(Some(place));
                last = Some(place);
                self.bytes += stored.item.as_ref().map_or(0, Bytes::len);
                // What is on disk was verified before it came there.
                let item = stored.item.and_then(|raw| DataItem::parse(raw).ok());
                let header = item.map(|item| Header::of(item.claims(), Some(place)));
                found.add(header.filter(|header| self.filter.takes(header)));
            }
            next = end + 1;
        }
        Ok(if self.order.ascending { last } else { first })
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
