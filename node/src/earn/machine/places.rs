//! Which messages are under way: so many at once, of each ledger and in all.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::Id;
use weft_storage::ClaimKey;

/// Answers under way at once at one ledger.
pub const ANSWERS_EACH: usize = 16;
/// Answers under way at once at all ledgers.
pub const ANSWERS_MAX: usize = 64;
/// Other messages under way at once at one ledger.
pub const SENDS_EACH: usize = 4;
/// Other messages under way at once at all ledgers.
pub const SENDS_MAX: usize = 16;

/// A message to a ledger, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sending {
    /// A claim.
    Claim(ClaimKey),
    /// The answer for a leaf of a claim.
    Answer(ClaimKey, u32),
    /// One that lets slots pass.
    Settle,
}

impl Sending {
    const fn is_answer(&self) -> bool {
        matches!(self, Self::Answer(..))
    }
}

/// The messages under way. One to a ledger that does not answer holds its place for long: it takes none of other
/// ledgers, and none of answers, without which a bond is lost.
#[derive(Debug, Default)]
pub(super) struct Places {
    under_way: BTreeMap<Id, BTreeSet<Sending>>,
}

impl Places {
    pub(super) const fn new() -> Self {
        Self { under_way: BTreeMap::new() }
    }

    /// Takes a place for a message, if one is free and the message is not under way.
    pub(super) fn take(&mut self, ledger: Id, sending: Sending) -> bool {
        self.has_room(&ledger, sending.is_answer())
            && self.under_way.entry(ledger).or_default().insert(sending)
    }

    /// Whether a place for an answer, or for another message, is free.
    pub(super) fn has_room(&self, ledger: &Id, is_answer: bool) -> bool {
        let (each, all) = if is_answer { (ANSWERS_EACH, ANSWERS_MAX) } else { (SENDS_EACH, SENDS_MAX) };
        let alike = |sendings: &BTreeSet<Sending>| {
            sendings.iter().filter(|other| other.is_answer() == is_answer).count()
        };
        let here = self.under_way.get(ledger).map_or(0, alike);
        here < each && self.under_way.values().map(alike).sum::<usize>() < all
    }

    /// Gives the place of a message back.
    pub(super) fn give(&mut self, ledger: Id, sending: Sending) {
        if let Some(sendings) = self.under_way.get_mut(&ledger) {
            sendings.remove(&sending);
            if sendings.is_empty() {
                self.under_way.remove(&ledger);
            }
        }
    }
}
