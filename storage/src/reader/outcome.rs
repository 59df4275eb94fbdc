//! Reading outcomes, outboxes, attestations and checkpoints.

use std::ops::ControlFlow;

use bytes::Bytes;
use weft_protocol::{Address, Hash, Id, Position};

use super::{Direction, Reader};
use crate::error::{StoreError, hex};
use crate::key::{self, Parts};
use crate::limits::{CHECKPOINTS_LOOKED_AT_MAX, SCAN_ROWS_MAX};
use crate::rows::{
    AttestationRow, CarriedRow, CheckpointRow, EvidenceRow, OutboxKey, OutboxRow, OutboxState, OutcomeRow,
    PackedPage,
};
use crate::tables::Table;

/// The first and the last position there can be.
pub(super) const FIRST: Position = Position { epoch: 0, slot: 0, tick: 0 };
pub(super) const LAST: Position = Position { epoch: u64::MAX, slot: u64::MAX, tick: u32::MAX };

/// Names an attestation of one process: what it is of, and whose it is.
pub type AttestationKey = (Position, Address);

/// A piece of evidence: against the keys of which process, and its name.
pub(super) type NamedEvidence = (Id, Hash);

/// Where the checkpoints of a process are, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkpoints {
    /// Those that were written to the end.
    pub finished: Vec<Position>,
    /// Those that were not, or not yet, and those whose row is damaged.
    pub of_no_use: Vec<Position>,
}

impl Reader {
    /// The outcome at a position.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn outcome(&self, process: &Id, position: Position) -> Result<Option<OutcomeRow>, StoreError> {
        self.get(Table::Outcomes, &key::position(process, position))
    }

    /// The newest outcome.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn last_outcome(&self, process: &Id) -> Result<Option<(Position, OutcomeRow)>, StoreError> {
        let (from, to) = (key::position(process, FIRST), key::position(process, LAST));
        self.last(Table::Outcomes, &from, &to, position)
    }

    /// The position of the newest outcome, without its result.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn last_computed(&self, process: &Id) -> Result<Option<Position>, StoreError> {
        let (from, to) = (key::position(process, FIRST), key::position(process, LAST));
        let keys = self.keys_down(Table::Outcomes, &from, &to, 1)?;
        let place = |key: &Vec<u8>| position(key).ok_or_else(|| super::bad_key(Table::Outcomes, key));
        keys.first().map(place).transpose()
    }

    /// The newest outcome before a position.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn outcome_before(
        &self,
        process: &Id,
        at: Position,
    ) -> Result<Option<(Position, OutcomeRow)>, StoreError> {
        let (from, to) = (key::position(process, FIRST), key::position(process, at));
        let mut found = None;
        self.scan(Table::Outcomes, Direction::Down, &from, &to, |key, row: OutcomeRow| {
            let place = position(key).ok_or_else(|| super::bad_key(Table::Outcomes, key))?;
            if place == at {
                return Ok(ControlFlow::Continue(()));
            }
            found = Some((place, row));
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// The outcomes from `from` to `to`, both included, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn outcomes(
        &self,
        process: &Id,
        from: Position,
        to: Position,
        limit: usize,
    ) -> Result<Vec<(Position, OutcomeRow)>, StoreError> {
        let (from, to) = (key::position(process, from), key::position(process, to));
        self.rows(Table::Outcomes, &from, &to, limit, position)
    }

    /// The outcomes from `from` upwards, `from` included: at most `limit`, and none after those whose results
    /// have `bytes_max` bytes.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn outcomes_up(
        &self,
        process: &Id,
        from: Position,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Position, OutcomeRow)>, StoreError> {
        let (from, last) = (key::position(process, from), key::position(process, LAST));
        self.some_outcomes(Direction::Up, &from, &last, limit, bytes_max)
    }

    /// As [`outcomes_up`](Self::outcomes_up), downwards.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn outcomes_down(
        &self,
        process: &Id,
        from: Position,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Position, OutcomeRow)>, StoreError> {
        let (first, from) = (key::position(process, FIRST), key::position(process, from));
        self.some_outcomes(Direction::Down, &first, &from, limit, bytes_max)
    }

    fn some_outcomes(
        &self,
        direction: Direction,
        low: &[u8],
        high: &[u8],
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Position, OutcomeRow)>, StoreError> {
        let limit = limit.min(SCAN_ROWS_MAX);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        self.scan(Table::Outcomes, direction, low, high, |key, row: OutcomeRow| {
            bytes += row.result.len();
            if rows.len() < limit {
                rows.push((position(key).ok_or_else(|| super::bad_key(Table::Outcomes, key))?, row));
            }
            let is_full = rows.len() >= limit || bytes >= bytes_max;
            Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(rows)
    }

    /// The first outcome of an item.
    ///
    /// # Errors
    /// As [`process`](Self::process), and [`StoreError::Missing`] when only the index has it.
    pub fn outcome_of_item(
        &self,
        process: &Id,
        item: &Id,
    ) -> Result<Option<(Position, OutcomeRow)>, StoreError> {
        let index = key::pair(process, &item.0);
        let Some(position) = self.get::<Position>(Table::ItemOutcomes, &index)? else {
            return Ok(None);
        };
        let missing = || StoreError::Missing {
            table: Table::Outcomes.name(),
            key: hex(&key::position(process, position)),
        };
        Ok(Some((position, self.outcome(process, position)?.ok_or_else(missing)?)))
    }

    /// What is kept of a position that this node carries and did not evaluate.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn carried(&self, process: &Id, position: Position) -> Result<Option<CarriedRow>, StoreError> {
        self.get(Table::Carried, &key::position(process, position))
    }

    /// The positions that this node carries of a process, in order, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn carried_positions(&self, process: &Id, limit: usize) -> Result<Vec<Position>, StoreError> {
        let (from, to) = (key::position(process, FIRST), key::position(process, LAST));
        let rows = self.rows::<CarriedRow, _>(Table::Carried, &from, &to, limit, position)?;
        Ok(rows.into_iter().map(|(position, _)| position).collect())
    }

    /// The outbox of a position, in index order.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn outbox(&self, process: &Id, position: Position) -> Result<Vec<(u32, OutboxRow)>, StoreError> {
        let from = key::outbox(process, position, 0);
        let to = key::outbox(process, position, u32::MAX);
        self.rows(Table::Outbox, &from, &to, usize::MAX, |key| outbox_key(key).map(|key| key.index))
    }

    /// One outbox entry.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn outbox_entry(&self, key: &OutboxKey) -> Result<Option<OutboxRow>, StoreError> {
        self.get(Table::Outbox, &key::outbox(&key.process, key.position, key.index))
    }

    /// The pending entries of a process in position order, each with its next try in
    /// milliseconds since the Unix epoch, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn outbox_pending(&self, process: &Id, limit: usize) -> Result<Vec<(OutboxKey, u64)>, StoreError> {
        let from = key::outbox(process, FIRST, 0);
        let to = key::outbox(process, LAST, u32::MAX);
        self.rows(Table::OutboxPending, &from, &to, limit, outbox_key)
    }

    /// The pending entries of a process from one on, in position order, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn outbox_pending_from(&self, from: &OutboxKey, limit: usize) -> Result<Vec<OutboxKey>, StoreError> {
        let OutboxKey { process, position, index } = from;
        let (from, to) = (key::outbox(process, *position, *index), key::outbox(process, LAST, u32::MAX));
        let rows = self.rows::<u64, _>(Table::OutboxPending, &from, &to, limit, outbox_key)?;
        Ok(rows.into_iter().map(|(key, _)| key).collect())
    }

    /// How many entries of a process are in a state that `counts`, and whether all were looked at: so many rows are at
    /// most, and none once they came to so many bytes, as each is read whole.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn outbox_count(
        &self,
        process: &Id,
        counts: impl Fn(&OutboxState) -> bool,
        (rows_max, bytes_max): (usize, usize),
    ) -> Result<(usize, bool), StoreError> {
        let from = key::outbox(process, FIRST, 0);
        let to = key::outbox(process, LAST, u32::MAX);
        let (mut count, mut rows, mut bytes, mut is_whole) = (0, 0, 0, true);
        self.scan(Table::Outbox, Direction::Up, &from, &to, |_, row: OutboxRow| {
            is_whole = rows < rows_max && bytes < bytes_max;
            if !is_whole {
                return Ok(ControlFlow::Break(()));
            }
            (rows, bytes) = (rows + 1, bytes + row.entry.len());
            count += usize::from(counts(&row.state));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((count, is_whole))
    }

    /// The entries of a process that have no receipt, those that go nowhere included, in position order, at most
    /// `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn outbox_unsettled(
        &self,
        process: &Id,
        limit: usize,
    ) -> Result<Vec<(OutboxKey, OutboxRow)>, StoreError> {
        let from = key::outbox(process, FIRST, 0);
        let to = key::outbox(process, LAST, u32::MAX);
        let mut rows = Vec::new();
        self.scan(Table::Outbox, Direction::Up, &from, &to, |key, row: OutboxRow| {
            if rows.len() >= limit {
                return Ok(ControlFlow::Break(()));
            }
            if !matches!(row.state, OutboxState::Settled { .. }) {
                let key = outbox_key(key).ok_or_else(|| super::bad_key(Table::Outbox, key))?;
                rows.push((key, row));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    /// One attestor's attestation of a position.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn attestation(
        &self,
        process: &Id,
        position: Position,
        attestor: &Address,
    ) -> Result<Option<AttestationRow>, StoreError> {
        self.get(Table::Attestations, &key::attestation(process, position, &attestor.0))
    }

    /// Evidence about a process, by name, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn evidence(&self, process: &Id, limit: usize) -> Result<Vec<(Hash, EvidenceRow)>, StoreError> {
        let (from, to) = (key::pair(process, &[0; 32]), key::pair(process, &[0xff; 32]));
        self.rows(Table::Evidence, &from, &to, limit, |key| {
            let mut parts = Parts(key);
            parts.id()?;
            parts.hash()
        })
    }

    /// The evidence of all processes, each with its process, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn evidence_of_all(&self, limit: usize) -> Result<Vec<(NamedEvidence, EvidenceRow)>, StoreError> {
        self.rows(Table::Evidence, &[], &[0xff; 64], limit, |key| {
            let mut parts = Parts(key);
            Some((parts.id()?, parts.hash()?))
        })
    }

    /// All attestations of a position, by attestor.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn attestations(
        &self,
        process: &Id,
        position: Position,
    ) -> Result<Vec<(Address, AttestationRow)>, StoreError> {
        let from = key::attestation(process, position, &[0; 32]);
        let to = key::attestation(process, position, &[0xff; 32]);
        self.rows(Table::Attestations, &from, &to, usize::MAX, |key| {
            let mut parts = Parts(key);
            parts.id()?;
            parts.position()?;
            parts.hash().map(|hash| Address(hash.0))
        })
    }

    /// Attestations of a process in position order, those after one of them, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn attestations_after(
        &self,
        process: &Id,
        after: Option<AttestationKey>,
        limit: usize,
    ) -> Result<Vec<(AttestationKey, AttestationRow)>, StoreError> {
        let (position, attestor) = after.unwrap_or((FIRST, Address([0; 32])));
        let mut from = key::attestation(process, position, &attestor.0);
        // The key after `from` is `from` and a zero byte.
        from.extend(after.map(|_| 0));
        let to = key::attestation(process, LAST, &[0xff; 32]);
        self.rows(Table::Attestations, &from, &to, limit, |key| {
            let mut parts = Parts(key);
            parts.id()?;
            Some((parts.position()?, Address(parts.hash()?.0)))
        })
    }

    /// The checkpoint after a position.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn checkpoint(&self, process: &Id, position: Position) -> Result<Option<CheckpointRow>, StoreError> {
        self.get(Table::Checkpoints, &key::position(process, position))
    }

    /// Where the checkpoints of a process are, at most `limit` from the newest at or before a
    /// position on down. The rows are not read: a damaged one is in the list.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn checkpoints_before(
        &self,
        process: &Id,
        at: Position,
        limit: usize,
    ) -> Result<Vec<Position>, StoreError> {
        let (from, to) = (key::position(process, FIRST), key::position(process, at));
        let keys = self.keys_down(Table::Checkpoints, &from, &to, limit)?;
        keys.iter().map(|key| position(key).ok_or_else(|| super::bad_key(Table::Checkpoints, key))).collect()
    }

    /// Where the checkpoints of a process are, at most `limit`, and which of them are of use. Their pages
    /// are not looked for.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn checkpoints(&self, process: &Id, limit: usize) -> Result<Checkpoints, StoreError> {
        let mut found = Checkpoints::default();
        for position in self.checkpoints_before(process, LAST, limit)? {
            let of = match self.checkpoint(process, position) {
                Ok(Some(row)) if !row.state.is_empty() => &mut found.finished,
                Ok(_) | Err(StoreError::Damaged { .. }) => &mut found.of_no_use,
                Err(error) => return Err(error),
            };
            of.push(position);
        }
        Ok(found)
    }

    /// Where the newest checkpoint of a process is that was written to the end and whose row and pages
    /// are there, among the newest [`CHECKPOINTS_LOOKED_AT_MAX`].
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn whole_checkpoint(&self, process: &Id) -> Result<Option<Position>, StoreError> {
        for position in self.checkpoints_before(process, LAST, CHECKPOINTS_LOOKED_AT_MAX)? {
            let row = match self.checkpoint(process, position) {
                Ok(Some(row)) if !row.state.is_empty() => row,
                Ok(_) | Err(StoreError::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            let mut is_whole = true;
            for page in &row.pages {
                is_whole = is_whole && self.has(Table::Pages, &page.hash.0)?;
            }
            if is_whole {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// A page of memory, checked against its name.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn page(&self, name: &Hash) -> Result<Option<Bytes>, StoreError> {
        let Some(packed) = self.get::<PackedPage>(Table::Pages, &name.0)? else {
            return Ok(None);
        };
        let page = packed.unpack(name).ok_or_else(|| StoreError::Damaged {
            table: Table::Pages.name(),
            key: hex(&name.0),
            reason: "the page does not unpack to what its name says",
        })?;
        Ok(Some(page))
    }

    /// A page of memory as it lies on disk. Its bytes are not compared with its name.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn packed_page(&self, name: &Hash) -> Result<Option<PackedPage>, StoreError> {
        self.get(Table::Pages, &name.0)
    }

    /// How many checkpoints name a page.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn page_refs(&self, name: &Hash) -> Result<u64, StoreError> {
        Ok(self.get(Table::PageRefs, &name.0)?.unwrap_or(0))
    }
}

fn position(key: &[u8]) -> Option<Position> {
    let mut parts = Parts(key);
    parts.id()?;
    parts.position()
}

pub(crate) fn outbox_key(key: &[u8]) -> Option<OutboxKey> {
    let mut parts = Parts(key);
    Some(OutboxKey { process: parts.id()?, position: parts.position()?, index: parts.u32()? })
}
