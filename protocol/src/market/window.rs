//! Windows: 256 slots of a process in hard mode with one set of offers and one seed.

use super::rank;
use super::set::{self, Entry, OfferSet, SetError};
use super::terms::Market;
use crate::assignment::Assignment;
use crate::data_item::DataItem;
use crate::hash_chain;
use crate::id::{Address, Hash};
use crate::process::Process;
use crate::record::VerifiedRecord;
use crate::verify::Verified;

/// Slots of one window.
pub const WINDOW_SLOTS: u64 = 256;

/// The window of a slot.
pub const fn window_of(slot: u64) -> u64 {
    slot / WINDOW_SLOTS
}

/// The slot that holds the offers of a window: the last one before it. None for window 0, which
/// has no offers, and for windows beyond the last slot.
pub const fn set_slot(window: u64) -> Option<u64> {
    match window.checked_mul(WINDOW_SLOTS) {
        Some(first) => first.checked_sub(1),
        None => None,
    }
}

/// The window whose offers stand at this slot, if it is such a slot.
pub const fn window_set_at(slot: u64) -> Option<u64> {
    match slot.checked_add(1) {
        Some(next) if next % WINDOW_SLOTS == 0 => Some(next / WINDOW_SLOTS),
        Some(_) | None => None,
    }
}

/// The offers of a window and what orders them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    number: u64,
    seed: Hash,
    set: OfferSet,
}

impl Window {
    /// Reads a window from the item at its [`set_slot`], with the assignment of that slot; the
    /// caller has verified both, that one as the scheduler's of its epoch. A window of which this fails has
    /// no ranks and no pay: its pushes are carried as in soft mode.
    ///
    /// # Errors
    /// Why the slot holds no valid set.
    pub fn read(
        market: &Market,
        assignment: &Assignment,
        item: &Verified<DataItem>,
    ) -> Result<Self, SetError> {
        let number = window_set_at(assignment.slot).ok_or(SetError::NotASet(assignment.slot))?;
        if assignment.process != market.process
            || assignment.item() != item.id()
            || !set::is_set_of(market.process, assignment.scheduler, item, number)
        {
            return Err(SetError::NotASet(assignment.slot));
        }
        let set = OfferSet::read(market, assignment.time.timestamp, &item.data())?;
        // The hash chain at the window's first slot: it commits to the assignment of the set, so
        // nobody knows it before the set is fixed.
        let seed = hash_chain::next(assignment.id, assignment.hash_chain);
        Ok(Self { number, seed, set })
    }

    /// Reads the window that begins after a verified slot; none if the process is not in hard mode
    /// or the slot is not the last of a window.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of_record(process: &Process, record: &VerifiedRecord) -> Option<Result<Self, SetError>> {
        let market = process.market()?;
        window_set_at(record.assignment().slot)?;
        Some(Self::read(&market, record.assignment(), record.item()))
    }

    /// The window's number.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The hash chain at the window's first slot.
    pub const fn seed(&self) -> Hash {
        self.seed
    }

    /// The offers.
    pub const fn set(&self) -> &OfferSet {
        &self.set
    }

    /// The messengers in the order in which they carry a push of so many bytes of data, the one at
    /// rank 0 first. Those whose offer is for smaller pushes are left out.
    pub fn order(&self, push: &Hash, bytes: u64) -> Vec<&Entry> {
        rank::order(self.set.entries(), &self.seed, push, bytes)
    }

    /// The rank of a messenger for a push of so many bytes of data, with its entry; none if it has
    /// no offer for it.
    pub fn rank(&self, push: &Hash, bytes: u64, messenger: &Address) -> Option<(usize, &Entry)> {
        let found = |(_, entry): &(usize, &Entry)| entry.messenger() == *messenger;
        self.order(push, bytes).into_iter().enumerate().find(found)
    }
}
