//! Logs that lie on a disk, with a slot that is damaged or not there.
#![allow(clippy::unwrap_used)]

use weft_protocol::crypto::Signer;
use weft_protocol::process::Terms;
use weft_protocol::time::Weave;
use weft_protocol::{Draft, Tag};
use weft_storage::{MemoryDisk, Store, StoreConfig};

use super::*;
use crate::shared::testing::{NETWORK, assigned, process_item, slot_row};

/// A log on a disk in memory.
pub(super) struct Log {
    pub(super) reader: Reader,
    pub(super) process: Arc<Process>,
    _store: Store,
}

impl Log {
    /// A log of so many slots, each with an item of so many bytes; of one of them the signature is broken.
    pub(super) fn new(slots: u64, bytes: usize, broken: Option<u64>) -> Self {
        let signer = Signer::from_seed(&[1; 32]);
        let opening = process_item(&signer, signer.address());
        let tags = vec![Tag::new("Data-Protocol", "ao"), Tag::new("Type", "Message")];
        let data = vec![b'm'; bytes].into();
        let message = Draft { tags, data, ..Draft::default() }.sign(&signer).unwrap();
        let items = [&opening, &message];
        let mut writes: Vec<Write> =
            items.map(|item| Write::Item { id: item.id(), raw: item.raw().clone() }).into();
        let id = opening.id();
        for slot in 0..slots {
            let item = if slot > 0 { message.id() } else { id };
            let mut row = slot_row(&assigned(id, slot, item), item, &signer);
            if broken == Some(slot) {
                let mut raw = row.assignment.to_vec();
                raw[10] ^= 1;
                row.assignment = raw.into();
            }
            writes.extend(slot_writes(id, slot, row, &[]));
        }
        let config = StoreConfig::new(NETWORK, signer.address());
        let store = Store::open_with_backend(MemoryDisk::new(), &config).unwrap();
        store.write_blocking(writes).unwrap();
        let terms = Terms { network: NETWORK, weave: Weave::Clock };
        let process = Arc::new(Process::accept(opening, None, &terms).unwrap());
        Self { reader: store.read().unwrap(), process, _store: store }
    }
}

#[test]
fn a_slot_that_is_not_there_ends_the_reading() {
    let log = Log::new(2, 0, None);
    let error = read_records(&log.reader, &log.process, 3, 5).unwrap_err();
    assert!(matches!(error, NodeError::MissingSlot { slot: 3, .. }), "{error}");
}

#[test]
fn a_slot_that_does_not_verify_is_damage() {
    let log = Log::new(2, 0, Some(1));
    let error = read_records(&log.reader, &log.process, 0, 1).unwrap_err();
    assert!(matches!(error, NodeError::DamagedLog { slot: 1, .. }), "{error}");
    assert_eq!(read_records(&log.reader, &log.process, 0, 0).unwrap().len(), 1);
}
