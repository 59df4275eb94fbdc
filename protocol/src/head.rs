//! Heads: the newest slot that a node holds, shown by the scheduler's own assignment.
//!
//! Whoever passes a head on can make a reader at most older, never wrong (RULES.md 6.17).

use crate::assignment::Assignment;
use crate::data_item::{DataItem, ItemError};
use crate::epoch::EpochTerms;
use crate::record::{RecordError, signed_assignment};
use crate::verify::{Unverified, Verified};
use crate::wire::{self, ASSIGNMENT_BYTES_MAX, WireError};

/// An assignment that is the newest somebody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    assignment: Assignment,
    item: DataItem,
}

impl Head {
    /// Reads the wire form.
    ///
    /// # Errors
    /// An assignment that is none, is over its limit, or says other than the message around it.
    pub fn from_wire(message: &wire::Head) -> Result<Unverified<Self>, RecordError> {
        if message.assignment.len() > ASSIGNMENT_BYTES_MAX {
            return Err(RecordError::TooLong("assignment"));
        }
        let failed = |error: ItemError| RecordError::Item { part: "assignment", error };
        let item = DataItem::parse(message.assignment.clone()).map_err(failed)?.0;
        let assignment = Assignment::from_item(&item)?;
        let said = (wire::id("process", &message.process)?, message.epoch, message.slot);
        if said != (assignment.process, assignment.epoch, assignment.slot) {
            return Err(WireError::Field("assignment").into());
        }
        Ok(Unverified(Self { assignment, item }))
    }

    /// The wire form.
    pub fn to_wire(&self) -> wire::Head {
        wire::Head {
            process: wire::bytes(self.assignment.process),
            epoch: self.assignment.epoch,
            slot: self.assignment.slot,
            assignment: self.item.raw().clone(),
        }
    }

    /// What the assignment says.
    pub const fn assignment(&self) -> &Assignment {
        &self.assignment
    }
}

impl Verified<Head> {
    /// The head that is this slot.
    pub fn of(record: &crate::record::VerifiedRecord) -> Self {
        let item = record.assignment_item();
        Self(Head { assignment: record.assignment().clone(), item: DataItem::clone(item) })
    }
}

impl Unverified<Head> {
    /// Checks that the epoch's scheduler signed the assignment.
    ///
    /// # Errors
    /// Another process or epoch than that of `terms`, another signer, a bad signature.
    pub fn verify(self, terms: &EpochTerms) -> Result<Verified<Head>, RecordError> {
        let Head { assignment, item } = self.0;
        let (item, assignment) = signed_assignment(item, assignment, terms)?;
        Ok(Verified(Head { assignment, item: item.into_inner() }))
    }
}
