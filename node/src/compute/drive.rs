//! What the messages of a process may read under `/data/` (RULES.md 6.13).
//!
//! That is a fact of its log: the item that it boots from, at every position; an item that has a slot in
//! the log, from that slot on; and, where the process takes from the base layer, a transaction that has one and
//! what an attestation in the log names. Everything else is not found, for everyone. Items with slots
//! are on the disk of whoever has the log; what is only named may have to be looked for.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use weft_protocol::base_layer::attested_key;
use weft_protocol::held::Held;
use weft_protocol::l1::L1Tx;
use weft_protocol::process::Process;
use weft_protocol::seen::item_key;
use weft_protocol::{DataItem, Hash, Id};
use weft_storage::{Reader, Store, StoreError};
use weft_vm::{Opened, Weave};

/// The items of one process.
#[derive(Clone)]
pub struct Drive {
    store: Store,
    process: Id,
    boot: Option<Id>,
    /// The seen list of what takes from the base layer, as far as it is evaluated: what is on disk may be
    /// behind it.
    seen: Option<Arc<RwLock<BTreeMap<Hash, u64>>>>,
}

impl Drive {
    /// The items of a process, as far as they are on this disk.
    pub fn new(store: &Store, process: &Process) -> Self {
        let seen = process.takes_base_layer().then(Arc::default);
        Self { store: store.clone(), process: process.id(), boot: process.boots_from(), seen }
    }

    /// Hears the keys of the seen list, each with its slot, before anything at that slot is evaluated.
    pub fn hear(&self, keys: impl IntoIterator<Item = (Hash, u64)>) {
        if let Some(seen) = &self.seen {
            let mut seen = seen.write().unwrap_or_else(PoisonError::into_inner);
            for (key, slot) in keys {
                seen.entry(key).or_insert(slot);
            }
        }
    }

    /// How many keys it heard.
    pub fn heard(&self) -> usize {
        self.seen.as_ref().map_or(0, |seen| seen.read().unwrap_or_else(PoisonError::into_inner).len())
    }

    /// What may be read at the positions of a slot.
    pub fn at(&self, slot: u64) -> Arc<dyn Weave> {
        Arc::new(At { drive: self.clone(), slot })
    }

    fn find(&self, id: Id, slot: u64) -> Result<Opened, StoreError> {
        let reader = self.store.read()?;
        let seen_at = |key: Hash| {
            let seen = self.seen.as_ref()?.read().unwrap_or_else(PoisonError::into_inner);
            seen.get(&key).copied().filter(|first| *first <= slot)
        };
        let is_item = reader.slot_of_item(&self.process, &id)?.is_some_and(|first| first <= slot);
        let carried = seen_at(item_key(id));
        let is_open = self.boot == Some(id) || is_item || carried.is_some();
        if !is_open && seen_at(attested_key(id)).is_none() {
            return Ok(Opened::NotFound);
        }
        // What is on disk was verified before it came there.
        let held = reader.item(&id)?.and_then(|raw| Held::parse(raw).ok());
        if let Some(held) = held {
            return Ok(Opened::Item(held.claims().data().as_ref().into()));
        }
        let carried = carried.map(|slot| self.carried(&reader, id, slot)).transpose()?.flatten();
        Ok(match carried {
            Some(tx) => Opened::Item(tx.data().as_ref().into()),
            None => Opened::NotHere("it is not on this disk, and is looked for elsewhere".to_owned()),
        })
    }

    /// The transaction that the item at a slot carries.
    fn carried(&self, reader: &Reader, id: Id, slot: u64) -> Result<Option<L1Tx>, StoreError> {
        let Some(row) = reader.slot(&self.process, slot)? else { return Ok(None) };
        let carrier = reader.item(&row.item)?.and_then(|raw| DataItem::parse(raw).ok());
        let tx = carrier.and_then(|carrier| L1Tx::from_bytes(&carrier.claims().data()).ok());
        Ok(tx.map(|tx| tx.claims().clone()).filter(|tx| tx.id() == id))
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
