//! Pruning: what a final position only shows goes; what anything is checked against stays.
//!
//! An outcome keeps its row with every hash in it and loses its result. Its outbox entries go once
//! all of them are settled, and attestations that are named. So no index changes, no later
//! evaluation can contradict what is gone unseen, and a replay is still compared at every position.

use bytes::Bytes;
use weft_protocol::{Address, Id, Position};

use super::Plan;
use crate::error::{Conflict, StoreError};
use crate::key;
use crate::rows::{AnchoredRow, CarriedRow, Nothing, OutboxRow, OutboxState, OutcomeRow};
use crate::tables::Table;

impl Plan<'_> {
    /// Refuses a position that the weave does not hold, or one that still has something to send; and attestations
    /// that are in no confirmed batch.
    pub(super) fn prune(
        &mut self,
        process: Id,
        position: Position,
        weave: &str,
        attestors: &[Address],
    ) -> Result<(), StoreError> {
        let anchored = self.get::<AnchoredRow>(Table::Anchored, &key::weave(&process, weave))?;
        if anchored.is_none_or(|row| row.slot < position.slot) {
            return Err(Conflict::NotFinal { process, position }.into());
        }
        let outcome = key::position(&process, position);
        let Some(row) = self.get::<OutcomeRow>(Table::Outcomes, &outcome)? else { return Ok(()) };
        for index in 0..row.outbox_count {
            let entry = key::outbox(&process, position, index);
            match self.get::<OutboxRow>(Table::Outbox, &entry)? {
                Some(row) if row.state == OutboxState::Pending => {
                    return Err(Conflict::Unsent { process, position, index }.into());
                }
                Some(_) => self.remove(Table::Outbox, entry)?,
                // Entries over the limit were never kept; others went with an earlier pruning.
                None => break,
            }
        }
        for attestor in attestors {
            let key = key::attestation(&process, position, &attestor.0);
            if self.get::<Nothing>(Table::AttestationsUnanchored, &key)?.is_some() {
                return Err(Conflict::NotFinal { process, position }.into());
            }
            self.remove(Table::Attestations, key)?;
        }
        if row.is_pruned() {
            return Ok(());
        }
        self.put(Table::Outcomes, outcome, &OutcomeRow { result: Bytes::new(), ..row })
    }

    /// Refuses a position that still has something to send, or something that was given up and may be taken up again.
    pub(super) fn drop_carried(
        &mut self,
        process: Id,
        position: Position,
        attestors: &[Address],
    ) -> Result<(), StoreError> {
        let carried = key::position(&process, position);
        let Some(row) = self.get::<CarriedRow>(Table::Carried, &carried)? else { return Ok(()) };
        self.remove(Table::Carried, carried)?;
        if self.get::<OutcomeRow>(Table::Outcomes, &key::position(&process, position))?.is_some() {
            // Computed here since: what it sent is kept as long as its outcome.
            return Ok(());
        }
        for index in 0..row.outbox_count {
            let entry = key::outbox(&process, position, index);
            match self.get::<OutboxRow>(Table::Outbox, &entry)?.map(|row| row.state) {
                Some(OutboxState::Pending | OutboxState::GivenUp) => {
                    return Err(Conflict::Unsent { process, position, index }.into());
                }
                Some(OutboxState::Settled { .. } | OutboxState::Dropped { .. }) => {
                    self.remove(Table::Outbox, entry)?;
                }
                None => break,
            }
        }
        for attestor in attestors {
            let key = key::attestation(&process, position, &attestor.0);
            // One that no batch has yet stays: pruning takes it later.
            if self.get::<Nothing>(Table::AttestationsUnanchored, &key)?.is_none() {
                self.remove(Table::Attestations, key)?;
            }
        }
        Ok(())
    }

    /// Whether what was attested of a position went with its result: where a state root is signed it stays. As in
    /// [`Self::is_pruned`] only the disk is asked.
    pub(super) fn has_lost_attestations(
        &mut self,
        process: Id,
        position: Position,
    ) -> Result<bool, StoreError> {
        if !self.is_pruned(process, position)? {
            return Ok(false);
        }
        let row = self.get::<OutcomeRow>(Table::Outcomes, &key::position(&process, position))?;
        Ok(row.is_some_and(|row| row.state_root.is_none()))
    }

    /// Whether the outbox of a position went with its result. What this request writes itself was
    /// just evaluated, so only the disk is asked.
    pub(super) fn is_pruned(&mut self, process: Id, position: Position) -> Result<bool, StoreError> {
        let key = key::position(&process, position);
        if matches!(self.changes.get(Table::Outcomes, &key), Some(Some(_))) {
            return Ok(false);
        }
        Ok(self.get::<OutcomeRow>(Table::Outcomes, &key)?.is_some_and(|row| row.is_pruned()))
    }
}
