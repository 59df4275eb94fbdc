//! Forgetting a part of a log: whether it may go is looked at where it goes.

use super::Plan;
use crate::error::{Conflict, StoreError};
use crate::forget::LogPart;
use crate::reader::{bad_key, outbox_key};
use crate::rows::{OutboxKey, ProcessRow, Roles};
use crate::tables::Table;

impl Plan<'_> {
    /// Refuses a part of a log that this node works for, and one with an entry that is still to be sent.
    pub(super) fn drop_log(&mut self, part: LogPart) -> Result<(), StoreError> {
        let LogPart { process, rows, items, .. } = part;
        let known = match self.get::<ProcessRow>(Table::Processes, &process.0) {
            // What it says is lost, and nothing is done for it since the start.
            Err(StoreError::Damaged { .. }) => None,
            known => known?,
        };
        if known.is_some_and(|row| row.roles != Roles::default()) {
            return Err(Conflict::Served { process }.into());
        }
        for (table, key) in rows {
            if table == Table::Outbox && self.get::<u64>(Table::OutboxPending, &key)?.is_some() {
                let OutboxKey { process, position, index } =
                    outbox_key(&key).ok_or_else(|| bad_key(Table::Outbox, &key))?;
                return Err(Conflict::Unsent { process, position, index }.into());
            }
            self.remove(table, key)?;
        }
        for item in items {
            self.remove(Table::Items, item.0.to_vec())?;
        }
        Ok(())
    }
}
