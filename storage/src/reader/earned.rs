//! Reading what this node carried for pay, and its claims.

use weft_protocol::Position;

use super::Reader;
use super::outcome::outbox_key;
use crate::error::StoreError;
use crate::key::{self, Parts};
use crate::rows::{ClaimKey, ClaimRow, EarnedRow, OutboxKey};
use crate::tables::Table;

impl Reader {
    /// One push that was carried for pay.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn earned(&self, key: &OutboxKey) -> Result<Option<EarnedRow>, StoreError> {
        self.get(Table::Earned, &key::outbox(&key.process, key.position, key.index))
    }

    /// Pushes that were carried for pay, from one on, by source, position and index, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn earned_from(
        &self,
        from: &OutboxKey,
        limit: usize,
    ) -> Result<Vec<(OutboxKey, EarnedRow)>, StoreError> {
        let from = key::outbox(&from.process, from.position, from.index);
        self.rows(Table::Earned, &from, &[0xff; 56], limit, outbox_key)
    }

    /// Pushes of one source that were carried for pay, from one on up to a slot, that included, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn earned_in(
        &self,
        from: &OutboxKey,
        last: u64,
        limit: usize,
    ) -> Result<Vec<(OutboxKey, EarnedRow)>, StoreError> {
        let end = Position { slot: last, tick: u32::MAX, ..from.position };
        let to = key::outbox(&from.process, end, u32::MAX);
        let from = key::outbox(&from.process, from.position, from.index);
        self.rows(Table::Earned, &from, &to, limit, outbox_key)
    }

    /// A claim of this node.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn claim(&self, key: &ClaimKey) -> Result<Option<ClaimRow>, StoreError> {
        self.get(Table::Claims, &key::claim(key))
    }

    /// The claims of this node after one of them, by source, window and number, at most `limit`.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn claims_after(
        &self,
        after: Option<&ClaimKey>,
        limit: usize,
    ) -> Result<Vec<(ClaimKey, ClaimRow)>, StoreError> {
        let mut from = after.map(key::claim).unwrap_or_default();
        // The key after `from` is `from` and a zero byte.
        from.extend(after.map(|_| 0));
        self.rows(Table::Claims, &from, &[0xff; 44], limit, |key| {
            let mut parts = Parts(key);
            Some(ClaimKey { source: parts.id()?, window: parts.u64()?, number: parts.u32()? })
        })
    }
}
