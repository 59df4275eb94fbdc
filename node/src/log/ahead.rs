//! Going through a log slot by slot, while what comes next is verified on cores that nobody evaluates on.
//!
//! A log is read page by page. Whoever goes through one takes its slots in order and verifies each when it is its turn,
//! unless that is done. Only where another page follows does a helper verify what is left of this one, and then reads and
//! verifies the one after: so a message that comes to a log that is evaluated costs no thread, and ten thousand short logs
//! cost none either. A page has no owner among the two: each slot of it is verified once, by who gets to it first, so who
//! evaluates waits for one slot at most, and at the end of a page for what the helper has in hand (a slot, or reading a page).
//! The helper ends with the page, however that ends. What it did is kept for the next run, within
//! limits.

use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Builder};

use bytes::Bytes;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::process::Process;
use weft_protocol::record::{RecordError, VerifiedRecord};
use weft_storage::{Reader, StoredSlot};

use super::spare::{Help, Kept, Spare};
use super::{damaged, stored, verified};
use crate::error::NodeError;
use crate::threads;

/// Slots of one page: as many as a process evaluates in one run. A log that has no more is verified by who evaluates it.
pub(crate) const PAGE_SLOTS_MAX: u64 = 256;
/// Bytes of one page, as its slots lie on disk. The first slot is always in it, whatever its size.
pub(crate) const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that a verified slot takes beside those that it has on disk: some twenty tags, each of two strings.
const READ_SLOT_BYTES: usize = 4 * 1024;

/// Which slots of which log are gone through.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    /// The log on disk.
    pub(crate) reader: &'a Reader,
    /// Whose it is.
    pub(crate) process: &'a Process,
    /// What may be used to look ahead; without it, each slot is verified when it is its turn.
    pub(crate) spare: Option<&'a Spare>,
    /// The first slot.
    pub(crate) from: u64,
    /// The last slot now.
    pub(crate) to: u64,
    /// The last slot that is to be gone through soon, which may be this one or a later one.
    pub(crate) due: u64,
}

impl<'a> Way<'a> {
    /// Threads to look ahead with, if there is something to look at: none where no page follows on this one.
    fn help(&self, page: &Page, next: u64, coming: Option<&Page>) -> Option<Help<'a>> {
        let is_ready = page.is_verified(next) && coming.is_some_and(|coming| coming.is_verified(0));
        self.spare.filter(|_| page.last() < self.due && !is_ready)?.help()
    }
}

/// Hands each slot to `take`, in order, verified, until it breaks; whether it did not. What is read and not taken is in `ahead`,
/// where the next walk through the same log begins. Blocks.
///
/// # Errors
/// That of `take`; a damaged store, a slot that does not verify any more, which is damage too, or one that is not there:
/// when it is its turn.
pub(crate) fn walk<E: From<NodeError>>(
    way: &Way<'_>,
    ahead: &mut Ahead,
    mut take: impl FnMut(&VerifiedRecord) -> Result<ControlFlow<()>, E>,
) -> Result<ControlFlow<()>, E> {
    let _evaluating = way.spare.map(Spare::evaluate);
    let mut next = way.from;
    while next <= way.to {
        let (page, mut coming) = ahead.turn_to(next);
        let page = match page {
            Some(page) => page,
            None => Page::read(way, next, way.to)?,
        };
        let over = AtomicBool::new(false);
        let taken = thread::scope(|scope| {
            let ends = Ends(&over);
            let help = way.help(&page, next, coming.as_ref());
            let helper = help.and_then(|help| {
                let (page, over, coming) = (&page, &over, coming.take());
                let work = move || look_ahead(way, page, next, coming, &help, over);
                // Where the system has no thread left, each slot is verified when it is its turn.
                Builder::new().name("weft-ahead".into()).spawn_scoped(scope, work).ok()
            });
            let taken = page.take(way, &mut next, &mut take);
            drop(ends);
            if let Some(helper) = helper {
                // Of a panic we hear again when it is the slot's turn.
                coming = helper.join().ok().flatten();
            }
            taken
        });
        ahead.at_hand = Some(page).filter(|page| page.last() >= next);
        ahead.coming = coming;
        if taken?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Verifies what is left of a page and then the one after, until it is over.
fn look_ahead(
    way: &Way<'_>,
    page: &Page,
    next: u64,
    coming: Option<Page>,
    help: &Help<'_>,
    over: &AtomicBool,
) -> Option<Page> {
    page.verify(way.process, next, help.threads(), over);
    let coming = match coming {
        Some(coming) => coming,
        None if over.load(Ordering::Relaxed) => return None,
        // What is wrong with it is said to who comes to it, and reads it again.
        None => Page::read(way, page.last().saturating_add(1), way.due).ok()?,
    };
    coming.verify(way.process, 0, help.threads(), over);
    Some(coming)
}

/// Says that it is over when it is dropped, also by a panic.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What of a log was read and not taken: two pages at most.
#[derive(Default)]
pub(crate) struct Ahead {
    at_hand: Option<Page>,
    /// The one after it.
    coming: Option<Page>,
    kept: Option<Kept>,
}

impl Ahead {
    /// The page that has a slot, and the one after it.
    fn turn_to(&mut self, slot: u64) -> (Option<Page>, Option<Page>) {
        match (self.at_hand.take(), self.coming.take()) {
            (Some(page), coming) if page.has(slot) => (Some(page), coming),
            (_, Some(page)) if page.has(slot) => (Some(page), None),
            _ => (None, None),
        }
    }

    /// Bytes of memory that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.at_hand.iter().chain(&self.coming).map(|page| page.bytes).sum()
    }

    /// Comes to rest until the next walk. Where there is no room for what was read, it is let go.
    pub(crate) fn rest(&mut self, spare: Option<&Spare>) {
        self.kept = None;
        let bytes = self.bytes();
        self.kept = spare.filter(|_| bytes > 0).and_then(|spare| spare.keep(bytes));
        if self.kept.is_none() {
            *self = Self::default();
        }
    }
}

/// A stretch of a log: one slot at least. Each slot is verified by who gets to it first.
struct Page {
    terms: EpochTerms,
    slots: Vec<Slot>,
    bytes: usize,
}

struct Slot {
    stored: StoredSlot,
    record: OnceLock<Result<VerifiedRecord, RecordError>>,
}

/// Bytes of memory that a slot takes, about.
fn bytes_of(StoredSlot { row, item, proof, .. }: &StoredSlot) -> usize {
    let parts = [Some(&row.assignment), item.as_ref(), proof.as_ref()];
    parts.into_iter().flatten().map(Bytes::len).sum::<usize>() + READ_SLOT_BYTES
}

impl Page {
    /// Reads slots from `from` on, as many as fit into a page.
    fn read(way: &Way<'_>, from: u64, to: u64) -> Result<Self, NodeError> {
        let to = to.min(from.saturating_add(PAGE_SLOTS_MAX - 1));
        let (terms, stored) = stored(way.reader, way.process, from, to, PAGE_BYTES_MAX)?;
        let bytes = stored.iter().map(bytes_of).sum();
        let slots = stored.into_iter().map(|stored| Slot { stored, record: OnceLock::new() }).collect();
        Ok(Self { terms, slots, bytes })
    }

    fn last(&self) -> u64 {
        self.slots.last().map_or(0, |slot| slot.stored.slot)
    }

    fn has(&self, slot: u64) -> bool {
        self.slots.binary_search_by_key(&slot, |slot| slot.stored.slot).is_ok()
    }

    /// Its slots from one on.
    fn rest(&self, from: u64) -> &[Slot] {
        let at = self.slots.partition_point(|slot| slot.stored.slot < from);
        self.slots.get(at..).unwrap_or_default()
    }

    fn is_verified(&self, from: u64) -> bool {
        self.rest(from).iter().all(|slot| slot.record.get().is_some())
    }

    /// Verifies its slots from one on, on so many threads, until it is over.
    fn verify(&self, process: &Process, from: u64, threads: usize, over: &AtomicBool) {
        threads::each(threads, self.rest(from), |slot| {
            if !over.load(Ordering::Relaxed) {
                slot.record.get_or_init(|| verified(process, &self.terms, &slot.stored));
            }
        });
    }

    /// Hands out its slots from `next` on, as [`walk`] does.
    fn take<E: From<NodeError>>(
        &self,
        way: &Way<'_>,
        next: &mut u64,
        take: &mut impl FnMut(&VerifiedRecord) -> Result<ControlFlow<()>, E>,
    ) -> Result<ControlFlow<()>, E> {
        for Slot { stored, record } in self.rest(*next).iter().take_while(|slot| slot.stored.slot <= way.to) {
            let record = record.get_or_init(|| verified(way.process, &self.terms, stored));
            let record = record.as_ref().map_err(|why| damaged(way.process, stored.slot, why))?;
            let taken = take(record)?;
            *next = stored.slot.saturating_add(1);
            if taken.is_break() {
                return Ok(taken);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests;
