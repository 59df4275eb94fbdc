//! What becomes due, and when.
//!
//! A period is so many slots of the ledger and so much of the time that its assignments show. Both have to pass: slots
//! alone pass as fast as anybody sends messages, and time alone passes while the ledger takes none. The time is what
//! the ledger's scheduler writes; whoever computes the ledger waits for a slot that is ahead of the clocks.

use std::collections::BTreeMap;

use weft_protocol::{Address, Id};

use super::Terms;
use super::claims::ClaimKey;

/// A point of the ledger's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// The slot.
    pub slot: u64,
    /// Its timestamp, in milliseconds.
    pub time: u64,
}

impl Moment {
    /// Whether it has come: in slots and in time.
    pub const fn has_come(self, now: Self) -> bool {
        self.slot <= now.slot && self.time <= now.time
    }

    pub(super) const fn after(self, wait: Wait, terms: &Terms) -> Self {
        let periods = wait.periods();
        Self {
            slot: self.slot.saturating_add(periods * terms.challenge_slots),
            time: self.time.saturating_add(periods * terms.challenge_ms),
        }
    }
}

/// How long something waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// A claim for a challenge, a challenge for its answer.
    Challenge,
    /// A bond or an escrow before it is given back: a claim that is made when that is asked for, and its challenge,
    /// come before.
    Leave,
    /// The windows before one that was claimed, for what is not claimed of them yet.
    Window,
}

impl Wait {
    const ALL: [Self; 3] = [Self::Challenge, Self::Leave, Self::Window];

    pub(super) const fn periods(self) -> u64 {
        match self {
            Self::Challenge => 1,
            Self::Leave => 2,
            Self::Window => 4,
        }
    }
}

/// What becomes due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A claim is paid.
    Claim(ClaimKey),
    /// Nobody answered the challenge of this leaf.
    Challenge(ClaimKey, u32),
    /// An escrow is released.
    Release(Id),
    /// A bond is given back.
    Unbond(Address),
    /// The windows of a source before this one close.
    Window(Id, u64),
}

/// Where it is noted. What it is about keeps this, and takes the note away when it does not hold any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) due: Moment,
    wait: Wait,
    number: u64,
}

/// All that becomes due: no more notes than there are claims, challenges, escrows, bonds and open windows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dues {
    /// By wait. What waits as long becomes due in the order in which it was noted, so of each the first is the only
    /// one to look at.
    waiting: [BTreeMap<(Moment, u64), Due>; Wait::ALL.len()],
    noted: u64,
}

impl Dues {
    pub(super) const fn new() -> Self {
        Self { waiting: [const { BTreeMap::new() }; Wait::ALL.len()], noted: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.iter().map(BTreeMap::len).sum()
    }

    /// Notes something that waits from now on.
    pub(super) fn note(&mut self, now: Moment, wait: Wait, terms: &Terms, due: Due) -> Note {
        let note = Note { due: now.after(wait, terms), wait, number: self.noted };
        self.noted += 1;
        self.waiting[wait as usize].insert((note.due, note.number), due);
        note
    }

    /// Takes a note away.
    pub(super) fn drop(&mut self, note: Note) {
        self.waiting[note.wait as usize].remove(&(note.due, note.number));
    }

    /// Takes the next thing whose time has come: what waits short before what waits long, the oldest first.
    pub(super) fn take(&mut self, now: Moment) -> Option<Due> {
        let has_come = |waiting: &&mut BTreeMap<(Moment, u64), Due>| {
            waiting.first_key_value().is_some_and(|((due, _), _)| due.has_come(now))
        };
        let waiting = self.waiting.iter_mut().find(has_come)?;
        waiting.pop_first().map(|(_, due)| due)
    }
}
