//! What the messages of a process may read under `/data/` (rules.md 6.13).
//!
//! That is a fact of its log: the item that it boots from, at every position, and an item that has a
//! slot in the log, from that slot on. Everything else is not found, for everyone. Items with slots
//! are on the disk of whoever has the log; the one to boot from may have to be looked for.

use std::sync::Arc;

use weft_protocol::process::Process;
use weft_protocol::{DataItem, Id};
use weft_storage::{Store, StoreError};
use weft_vm::{Opened, Weave};

/// The items of one process.
#[derive(Clone)]
pub struct Drive {
    store: Store,
    process: Id,
    boot: Option<Id>,
}

impl Drive {
    /// The items of a process, as far as they are on this disk.
    pub fn new(store: &Store, process: &Process) -> Self {
        Self { store: store.clone(), process: process.id(), boot: process.boots_from() }
    }

    /// What may be read at the positions of a slot.
    pub fn at(&self, slot: u64) -> Arc<dyn Weave> {
        Arc::new(At { drive: self.clone(), slot })
    }

    fn find(&self, id: Id, slot: u64) -> Result<Opened, StoreError> {
        let reader = self.store.read()?;
        let first = reader.slot_of_item(&self.process, &id)?;
        if self.boot != Some(id) && first.is_none_or(|first| first > slot) {
            return Ok(Opened::NotFound);
        }
        let item = reader.item(&id)?.and_then(|raw| DataItem::parse(raw).ok());
        Ok(match item {
            Some(item) => Opened::Item(item.claims().data().as_ref().into()),
            None => Opened::NotHere("it is not on this disk".to_owned()),
        })
    }
}

/// A drive at a slot.
struct At {
    drive: Drive,
    slot: u64,
}

impl std::fmt::Debug for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/data/ of {} at slot {}", self.drive.process, self.slot)
    }
}

impl Weave for At {
    fn open(&self, id: &str) -> Opened {
        // What is no id names nothing; a disk that fails says nothing about the item.
        let Ok(id) = id.parse() else { return Opened::NotFound };
        self.drive.find(id, self.slot).unwrap_or_else(|error| Opened::NotHere(error.to_string()))
    }
}
