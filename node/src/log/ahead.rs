//! Going through a log slot by slot, while what comes next is verified on cores that nobody evaluates on.
//!
//! A log is read page by page, by who goes through it. Only where another page follows, and a core is to spare, is that one
//! read too, and helpers verify what is open in both; they go on while what was evaluated goes to disk. So a message that comes
//! to a log that is evaluated costs no thread and no look at the disk more than it would, and ten thousand short logs cost none
//! either. Helpers and who goes through a page take its slots from the front, each the next that nobody has; so every
//! slot is verified once, and nobody waits while there is something to verify. Nothing is done ahead that finds no room. Helpers
//! stop within a few slots when others evaluate on all cores, and within one when nobody goes through the log any more. They hold
//! nothing but pages.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Builder;

use bytes::Bytes;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::process::Process;
use weft_protocol::record::{RecordError, VerifiedRecord};
use weft_storage::{Reader, StoredSlot};

use super::spare::{Help, Kept, Spare};
use super::{damaged, stored, verified};
use crate::error::NodeError;

/// Slots of one page: as many as a process evaluates in one run. A log that has no more is verified by who evaluates it.
pub(crate) const PAGE_SLOTS_MAX: u64 = 256;
/// Bytes of one page, as its slots lie on disk. The first slot is always in it, whatever its size.
pub(crate) const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Pages of one log that are in memory at once: the one at hand and the one after it.
const PAGES_MAX: usize = 2;
/// Bytes that a verified slot takes beside those that it has on disk: some twenty tags, each of two strings.
const READ_SLOT_BYTES: usize = 4 * 1024;
/// Bytes of memory that the pages of one log take, about, unless a slot alone has more.
const ROOM_BYTES: usize = PAGES_MAX * (PAGE_BYTES_MAX + PAGE_SLOTS_MAX as usize * READ_SLOT_BYTES);
/// Slots after which a helper looks whether others need its core, and who evaluates whether one is to spare: two milliseconds.
const TURN_SLOTS: usize = 16;

/// Which slots of which log are gone through.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    /// The log on disk.
    pub(crate) reader: &'a Reader,
    /// Whose it is.
    pub(crate) process: &'a Arc<Process>,
    /// What may be used to look ahead; without it, each slot is verified when it is its turn.
    pub(crate) spare: Option<&'a Spare>,
    /// The first slot.
    pub(crate) from: u64,
    /// The last slot now.
    pub(crate) to: u64,
    /// The last slot that is to be gone through soon, which may be this one or a later one.
    pub(crate) due: u64,
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
        let page = ahead.page_of(way, next)?;
        let mut count = 0_usize;
        let taken = page.take(way.to, &mut next, &mut |record: &VerifiedRecord| {
            if count.is_multiple_of(TURN_SLOTS) {
                ahead.look_on(way, page.last());
            }
            count += 1;
            take(record)
        });
        ahead.forget_before(next);
        if taken?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// What of a log was read and not taken, and who verifies it.
#[derive(Default)]
pub(crate) struct Ahead {
    /// The page at hand, and the one after it.
    pages: VecDeque<Arc<Page>>,
    crew: Arc<Crew>,
    /// Room for the pages, also from one walk to the next.
    room: Option<Kept>,
    /// The end of the page at hand, if the one after it was found to be not to be had.
    alone: Option<u64>,
}

impl Ahead {
    /// The page that has a slot.
    fn page_of(&mut self, way: &Way<'_>, slot: u64) -> Result<Arc<Page>, NodeError> {
        while self.pages.front().is_some_and(|page| !page.has(slot)) {
            self.pages.pop_front();
        }
        if let Some(page) = self.pages.front() {
            return Ok(Arc::clone(page));
        }
        let page = Arc::new(Page::read(way, slot, way.to)?);
        self.pages.push_back(Arc::clone(&page));
        Ok(page)
    }

    /// Has what comes after the page at hand, which ends there, made ready, if there is anything and a core to spare for it.
    fn look_on(&mut self, way: &Way<'_>, last: u64) {
        let Some(spare) = way.spare.filter(|_| last < way.due) else { return };
        // What is verified and finds no room at the end of a run would be verified again in the next, and again.
        if !(spare.has_some() || self.crew.has_helpers()) || !self.has_room(spare, ROOM_BYTES) {
            return;
        }
        if self.pages.len() < PAGES_MAX && self.alone != Some(last) {
            // What is wrong with that page is said when it is its turn, and it is read again.
            let coming = Page::read(way, last.saturating_add(1), way.due).ok();
            let coming = coming.filter(|page| self.has_room(spare, self.bytes() + page.bytes));
            self.alone = coming.is_none().then_some(last);
            self.pages.extend(coming.map(Arc::new));
        }
        self.crew.hand_over(&self.pages);
        self.crew.grow(spare);
    }

    /// Takes room for so many bytes, if it has not as much; whether there is.
    fn has_room(&mut self, spare: &Spare, bytes: usize) -> bool {
        if self.room.as_ref().is_none_or(|room| room.bytes() < bytes) {
            self.room = None;
            self.room = spare.keep(bytes);
        }
        self.room.is_some()
    }

    /// Lets go of pages of which all is taken.
    fn forget_before(&mut self, slot: u64) {
        self.pages.retain(|page| page.last() >= slot);
        self.crew.hand_over(&self.pages);
    }

    /// Bytes of memory that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.pages.iter().map(|page| page.bytes).sum()
    }

    /// Waits for the next walk. Where there is no room for what was read, it is let go.
    pub(crate) fn pause(&mut self, spare: Option<&Spare>) {
        let bytes = self.bytes();
        if bytes == 0 || !spare.is_some_and(|spare| self.has_room(spare, bytes)) {
            *self = Self::default();
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.crew.over.store(true, Ordering::Relaxed);
    }
}

/// Those who verify the pages of one log, and which they are.
#[derive(Default)]
struct Crew {
    work: Mutex<Work>,
    /// Nobody goes through the log any more.
    over: AtomicBool,
}

#[derive(Default)]
struct Work {
    pages: VecDeque<Arc<Page>>,
    helpers: usize,
}

impl Crew {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_over(&self, pages: &VecDeque<Arc<Page>>) {
        self.work().pages.clone_from(pages);
    }

    fn has_helpers(&self) -> bool {
        self.work().helpers > 0
    }

    /// Gets as many helpers as may be, if there is something for them to do.
    fn grow(self: &Arc<Self>, spare: &Spare) {
        loop {
            let mut work = self.work();
            let help = work.page().and_then(|_| spare.help(work.helpers));
            let Some(help) = help else { return };
            work.helpers += 1;
            drop(work);
            let mut helper = Helper { crew: Arc::clone(self), help, has_left: false };
            let thread = Builder::new().name("weft-ahead".into()).spawn(move || helper.work());
            // Nobody need join it: it ends within a slot of the last walk, and holds nothing but pages. Where the system has no
            // thread left, each slot is verified when it is its turn.
            if thread.is_err() {
                return;
            }
        }
    }
}

impl Work {
    /// The first page with something to do.
    fn page(&self) -> Option<&Arc<Page>> {
        self.pages.iter().find(|page| page.has_work())
    }
}

/// One who verifies.
struct Helper {
    crew: Arc<Crew>,
    help: Help,
    has_left: bool,
}

impl Helper {
    /// Verifies until there is nothing left, or others need the core.
    fn work(&mut self) {
        while let Some(page) = self.page() {
            for _ in 0..TURN_SLOTS {
                if self.crew.over.load(Ordering::Relaxed) || !page.verify_next() {
                    break;
                }
            }
        }
    }

    /// The page to go on with. Leaves the crew where there is none, in one step: so whoever gives it another one sees
    /// whether it is still there.
    fn page(&mut self) -> Option<Arc<Page>> {
        let mut work = self.crew.work();
        let is_over = self.crew.over.load(Ordering::Relaxed) || self.help.is_in_the_way(work.helpers);
        let page = work.page().filter(|_| !is_over).map(Arc::clone);
        if page.is_none() {
            work.helpers -= 1;
            self.has_left = true;
        }
        page
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if !self.has_left {
            self.crew.work().helpers -= 1;
        }
    }
}

/// A stretch of a log: one slot at least.
struct Page {
    process: Arc<Process>,
    terms: EpochTerms,
    slots: Vec<Slot>,
    /// How many of its slots somebody has verified, or has in hand.
    claimed: AtomicUsize,
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
        Ok(Self { process: Arc::clone(way.process), terms, slots, claimed: AtomicUsize::new(0), bytes })
    }

    fn last(&self) -> u64 {
        self.slots.last().map_or(0, |slot| slot.stored.slot)
    }

    fn has(&self, slot: u64) -> bool {
        self.slots.binary_search_by_key(&slot, |slot| slot.stored.slot).is_ok()
    }

    /// Its slots from one on.
    fn remaining(&self, from: u64) -> &[Slot] {
        let at = self.slots.partition_point(|slot| slot.stored.slot < from);
        self.slots.get(at..).unwrap_or_default()
    }

    /// Whether it has a slot that nobody has verified or in hand.
    fn has_work(&self) -> bool {
        self.claimed.load(Ordering::Relaxed) < self.slots.len()
    }

    /// Verifies the next slot that nobody has, if there is one.
    fn verify_next(&self) -> bool {
        let next = self.slots.get(self.claimed.fetch_add(1, Ordering::Relaxed));
        next.map(|slot| self.verify(slot)).is_some()
    }

    /// A slot, once it is verified: where another one has it in hand, he is waited for.
    fn verify<'a>(&self, slot: &'a Slot) -> &'a Result<VerifiedRecord, RecordError> {
        slot.record.get_or_init(|| verified(&self.process, &self.terms, &slot.stored))
    }

    /// Hands out its slots from `next` to `to`, as [`walk`] does.
    fn take<E: From<NodeError>>(
        &self,
        to: u64,
        next: &mut u64,
        take: &mut impl FnMut(&VerifiedRecord) -> Result<ControlFlow<()>, E>,
    ) -> Result<ControlFlow<()>, E> {
        for slot in self.remaining(*next).iter().take_while(|slot| slot.stored.slot <= to) {
            // Another one may have it in hand, and what comes after it must be verified, too: a page at most, which
            // is what a run may pass its slice by where that one does not get a core.
            while slot.record.get().is_none() && self.verify_next() {}
            let record = self.verify(slot).as_ref();
            let record = record.map_err(|why| damaged(&self.process, slot.stored.slot, why))?;
            let taken = take(record)?;
            *next = slot.stored.slot.saturating_add(1);
            if taken.is_break() {
                return Ok(taken);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests;
