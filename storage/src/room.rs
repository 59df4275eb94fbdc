//! How much of the disk a store may take, and what is refused when that ends.
//!
//! Every request is weighed before anything of it touches the disk, as the pages that its commit may
//! take at worst: by what it brings, and once it is planned by the rows that it changes. Work that nobody was promised anything about is refused first, what follows from
//! work that was taken goes on, and what makes room is refused last: each leaves a part of the reserve
//! to those after it. A file never becomes smaller while it is open, but redb uses freed pages again.
//! How many there are it does not say, so they are counted now and then (`Store::measure`);
//! near the limit new work is taken on credit of these, and when a commit
//! takes fresh pages in spite of them the credit ends until they are counted again.
//!
//! Limits change while commits are made: what one was admitted to stays its own until it has ended.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::meter::Meter;
use crate::error::StoreError;
use crate::limits::{ROOM_RESERVE_MAX, ROOM_RESERVE_MIN, ROOM_RESERVE_PART};
use crate::plan::Changes;
use crate::tables::Table;
use crate::write::Write;

/// Bytes of redb's smallest page.
const PAGE_BYTES: u64 = 4096;
/// Rows that one write changes on average, its indexes included; how many they are is known when it is
/// planned.
const ROWS_A_WRITE: u64 = 2;
/// Writes of one slot: its item, a proof, the slot, seen keys, a child.
const WRITES_A_SLOT: u64 = 8;
/// Writes that place one item in a block, as many pages as its place and an index row for each tag take.
const PLACE_WRITES: u64 = 2;
/// Pages that one row takes: a copy of its leaf, a second one where that is split or joined, and the
/// branch above where no two rows share one.
const PAGES_A_ROW: u64 = 3;
/// Branch pages above a leaf that are copied once a commit in every table: enough for a billion rows.
const PATH_PAGES: u64 = 4;
/// What a commit takes beside its rows: redb's own tables, and ours of tables.
const COMMIT_PAGES: u64 = 16;
/// A large row takes pages of the next power of two.
const ROUNDING: u64 = 2;
/// Part of the counted free pages that is not given out: pages that no row fits in, and those that wait
/// for a reader.
const UNUSABLE_PART: u64 = 8;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// It makes room.
    Frees,
    /// It follows from work that was taken: outcomes, outboxes, attestations, batches.
    Promised,
    /// It brings new work, or what can be made again.
    New,
}

impl Need {
    pub(crate) fn of(writes: &[Write]) -> Self {
        writes.iter().map(Self::of_write).max().unwrap_or(Self::Frees)
    }

    const fn of_write(write: &Write) -> Self {
        match write {
            Write::DropCheckpoint { .. }
            | Write::CutCheckpoint { .. }
            | Write::Prune { .. }
            | Write::DropLog(_)
            | Write::DropCarried { .. }
            | Write::DropBlob(_)
            | Write::DropPosting { .. }
            | Write::LiftCaution { .. }
            | Write::AttestationAnchored { .. }
            | Write::EvidenceAnchored { .. }
            | Write::DropSetting { .. }
            | Write::DropEarned { .. }
            // Alone it changes what is done for a log that is here, which is how that ends; who takes one up
            // brings its first slot too.
            | Write::Process { .. }
            | Write::Setting { .. } => Self::Frees,
            Write::Seen { .. }
            | Write::Outcome { .. }
            | Write::Carried { .. }
            | Write::Outbox { .. }
            | Write::OutboxState { .. }
            | Write::Attestation { .. }
            | Write::Evidence { .. }
            | Write::AnchorAttestation { .. }
            | Write::AnchorEvidence { .. }
            | Write::Blob(_)
            | Write::Batch { .. }
            | Write::Posting { .. }
            | Write::Anchored { .. }
            | Write::Earned { .. }
            | Write::Claim { .. }
            | Write::Caution { .. } => Self::Promised,
            Write::Item { .. }
            | Write::Slot { .. }
            | Write::Child { .. }
            | Write::Checkpoint { .. }
            | Write::Page(_) => Self::New,
        }
    }

    /// What is left to those after it.
    const fn leaves(self, reserve: u64) -> u64 {
        match self {
            Self::New => reserve,
            Self::Promised => reserve / 2,
            Self::Frees => 0,
        }
    }
}

/// What a group of requests takes at worst.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    rows: u64,
    bytes: u64,
}

impl Cost {
    pub(crate) const fn of(writes: &[Write], weight: usize) -> Self {
        Self { rows: writes.len() as u64 * ROWS_A_WRITE, bytes: weight as u64 }
    }

    /// Of what a request came to: one write may change a row for each page of a checkpoint.
    pub(crate) fn of_changes(changes: &Changes, weight: usize) -> Self {
        if changes.is_empty() {
            return Self::default();
        }
        let (mut rows, mut bytes) = (0, 0);
        for (key, change) in changes.iter() {
            rows += 1;
            bytes += change.as_ref().map_or(0, |bytes| key.len() + bytes.len());
        }
        Self { rows, bytes: bytes.max(weight) as u64 }
    }

    /// Of so many slots, with items of so many bytes together.
    pub(crate) const fn of_items(items: usize, bytes: usize) -> Self {
        Self { rows: items as u64 * WRITES_A_SLOT * ROWS_A_WRITE, bytes: bytes as u64 }
    }

    /// Of a batch on the embedded weave, its block included: nothing is taken that could not be mined.
    pub(crate) const fn of_batch(items: usize, bytes: usize) -> Self {
        let Self { rows, .. } = Self::of_places(items);
        Self { rows: rows + items as u64 * ROWS_A_WRITE, bytes: bytes as u64 }
    }

    /// Of a transaction on the embedded weave, without its data: its row and the count of its batch.
    pub(crate) const fn of_posted(header: usize) -> Self {
        Self { rows: 2, bytes: header as u64 }
    }

    /// Of the block that so many items are placed in.
    pub(crate) const fn of_places(items: usize) -> Self {
        Self { rows: (items as u64 * PLACE_WRITES + 1) * ROWS_A_WRITE, bytes: 0 }
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, bytes: self.bytes + other.bytes }
    }

    pub(crate) const fn is_none(self) -> bool {
        self.rows == 0
    }

    /// Pages that are fresh at worst, in bytes.
    fn worst(self) -> u64 {
        let tables = self.rows.min(Table::ALL.len() as u64);
        let pages = self.rows * PAGES_A_ROW + tables * PATH_PAGES + COMMIT_PAGES;
        (pages * PAGE_BYTES).saturating_add(self.bytes.saturating_mul(ROUNDING))
    }

    /// About what it leaves on the disk for good.
    const fn lasting(self) -> u64 {
        self.bytes.saturating_mul(ROUNDING)
    }
}

/// What a store takes of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoomStats {
    /// Bytes that the file takes.
    pub bytes: u64,
    /// Bytes that it takes at worst once the commit under way has ended.
    pub bound: u64,
    /// What it may take; `u64::MAX` without a limit.
    pub limit: u64,
    /// Of what it takes, free for new rows, when that was counted last.
    pub reusable: Option<u64>,
    /// Whether the last request that brought new work was refused.
    pub is_full: bool,
    /// Requests refused for want of room.
    pub refused: u64,
}

impl RoomStats {
    /// What of the limit new work leaves free for what was promised.
    pub fn reserve(&self) -> u64 {
        reserve(self.limit)
    }
}

/// The room of one store, shared by its writer and those who set and read it.
#[derive(Debug)]
pub(crate) struct Room {
    meter: Option<Arc<Meter>>,
    limit: AtomicU64,
    walls: Mutex<Walls>,
    /// Bytes of free pages that may still be counted on.
    credit: AtomicU64,
    /// Bytes that commits left for good, ever.
    lasting: AtomicU64,
    /// Counted last; `u64::MAX` when never.
    reusable: AtomicU64,
    is_full: AtomicBool,
    refused: AtomicU64,
}

/// What fails a write at last.
#[derive(Debug)]
struct Walls {
    /// As it was set.
    set: u64,
    /// What the commit under way was admitted to; 0 while none is. Lowered beneath it, the wall would fail a commit that
    /// was weighed rightly, and with it the store.
    under_way: u64,
    /// Which one that is.
    number: u64,
}

/// A commit under way: the room that it was admitted to is its own until this is dropped.
#[derive(Debug)]
#[must_use = "what is dropped is under way no longer"]
pub(crate) struct UnderWay<'a> {
    room: &'a Room,
    number: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut walls = self.room.walls();
        // The next one may have begun already.
        if walls.number == self.number {
            walls.under_way = 0;
            self.room.build(&walls);
        }
    }
}

impl Room {
    pub(crate) const fn new(meter: Option<Arc<Meter>>) -> Self {
        Self {
            meter,
            limit: AtomicU64::new(u64::MAX),
            walls: Mutex::new(Walls { set: u64::MAX, under_way: 0, number: 0 }),
            credit: AtomicU64::new(0),
            lasting: AtomicU64::new(0),
            reusable: AtomicU64::new(u64::MAX),
            is_full: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.meter.as_ref().map_or(0, |meter| meter.bytes())
    }

    /// `limit` is kept by refusing; `wall` by failing, should a request have been weighed too low.
    pub(crate) fn set(&self, limit: u64, wall: u64) {
        self.limit.store(limit, Ordering::Relaxed);
        let mut walls = self.walls();
        walls.set = wall;
        self.build(&walls);
    }

    /// Notes what a commit may come to, in place of the one before: it keeps that, whatever is set meanwhile.
    pub(crate) fn begin(&self, cost: Cost) -> UnderWay<'_> {
        let mut walls = self.walls();
        walls.under_way = self.bytes().saturating_add(cost.worst());
        walls.number = walls.number.wrapping_add(1);
        self.build(&walls);
        UnderWay { room: self, number: walls.number }
    }

    fn build(&self, walls: &Walls) {
        if let Some(meter) = &self.meter {
            meter.set_limit(walls.set.max(walls.under_way));
        }
    }

    fn walls(&self) -> MutexGuard<'_, Walls> {
        self.walls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a commit of this cost may be made for this need.
    pub(crate) fn has(&self, need: Need, cost: Cost) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == u64::MAX {
            return true;
        }
        let (leaves, worst) = (need.leaves(reserve(limit)), cost.worst());
        let taken = self.bytes().saturating_add(worst);
        if taken.saturating_add(leaves) <= limit {
            return true;
        }
        let credit = self.credit.load(Ordering::Relaxed);
        credit >= worst.saturating_mul(2) && taken.saturating_add(leaves / 2) <= limit
    }

    /// Notes whether there was room for a request.
    pub(crate) fn note(&self, need: Need, has: bool) {
        if need == Need::New && self.is_full.swap(!has, Ordering::Relaxed) == has {
            let (bytes, limit) = (self.bytes(), self.limit.load(Ordering::Relaxed));
            if has {
                tracing::info!(bytes, limit, "there is room on the disk for new work again");
            } else {
                tracing::warn!(bytes, limit, "there is no room on the disk for new work");
            }
        }
        if !has {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Why a request was refused.
    pub(crate) fn refusal(&self) -> StoreError {
        StoreError::Full { bytes: self.bytes(), limit: self.limit.load(Ordering::Relaxed) }
    }

    /// Notes a commit; `before` is what the file took before it.
    pub(crate) fn committed(&self, cost: Cost, before: u64) {
        let limit = self.limit.load(Ordering::Relaxed);
        self.lasting.fetch_add(cost.lasting(), Ordering::Relaxed);
        let bytes = self.bytes();
        let on_credit = bytes.saturating_add(reserve(limit)) > limit;
        // Fresh pages in spite of free ones: these do not fit, or are none any more.
        let left = if bytes > before && on_credit { 0 } else { self.credit_after(cost.lasting()) };
        self.credit.store(left, Ordering::Relaxed);
    }

    fn credit_after(&self, spent: u64) -> u64 {
        self.credit.load(Ordering::Relaxed).saturating_sub(spent)
    }

    /// What commits left for good until now; to be given to [`counted`](Self::counted).
    pub(crate) fn lasting(&self) -> u64 {
        self.lasting.load(Ordering::Relaxed)
    }

    /// Notes how many bytes of the file were free when `lasting` was what it was.
    pub(crate) fn counted(&self, free: u64, lasting: u64) {
        self.reusable.store(free, Ordering::Relaxed);
        let since = self.lasting().saturating_sub(lasting);
        let usable = (free - free / UNUSABLE_PART).saturating_sub(COMMIT_PAGES * PAGE_BYTES);
        self.credit.store(usable.saturating_sub(since), Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> RoomStats {
        let reusable = self.reusable.load(Ordering::Relaxed);
        let under_way = self.walls().under_way;
        let bytes = self.bytes();
        RoomStats {
            bytes,
            bound: bytes.max(under_way),
            limit: self.limit.load(Ordering::Relaxed),
            reusable: (reusable != u64::MAX).then_some(reusable),
            is_full: self.is_full.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// Kept of a limit for what was promised.
pub(crate) fn reserve(limit: u64) -> u64 {
    (limit / ROOM_RESERVE_PART).clamp(ROOM_RESERVE_MIN, ROOM_RESERVE_MAX)
}
