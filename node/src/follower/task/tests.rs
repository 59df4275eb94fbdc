//! The whole task over a disk that is nearly full.
#![allow(clippy::unwrap_used)]

use weft_protocol::crypto::Signer;
use weft_protocol::epoch::EpochTerms;
use weft_protocol::process::{Process, Terms};
use weft_protocol::record::{self, SlotRecord};
use weft_protocol::time::Weave;
use weft_protocol::{DataItem, Draft, Tag, Unverified, Verified};
use weft_storage::{MemoryDisk, Roles, Store, StoreConfig};

use super::*;
use crate::shared::testing::{NETWORK, assigned, process_item, shared};

const WAIT: Duration = Duration::from_secs(60);
const TERMS: Terms = Terms { network: NETWORK, weave: Weave::Clock };

fn scheduler() -> Signer {
    Signer::from_seed(&[2; 32])
}

fn key() -> Signer {
    Signer::from_seed(&[1; 32])
}

/// The slot after this end of a log.
fn next(process: Id, end: Option<Link>, item: &Verified<DataItem>) -> Unverified<SlotRecord> {
    let mut draft = assigned(process, end.map_or(0, |end| end.slot + 1), item.id());
    draft.hash_chain = end.map_or(draft.hash_chain, |end| end.next());
    let assignment = draft.draft().sign(&scheduler()).unwrap();
    SlotRecord::from_wire(&record::to_wire(&assignment, item, None)).unwrap()
}

/// A process and its first slots.
fn log(slots: u64) -> (Process, Vec<VerifiedRecord>) {
    let own = process_item(&key(), scheduler().address());
    let (process, opening) = next(own.id(), None, &own).open(&TERMS).unwrap();
    let epoch = EpochTerms::of_process(&process).unwrap();
    let mut records = vec![opening];
    for number in 1..slots {
        let end = records.last().map(VerifiedRecord::link);
        let tags = vec![Tag::new("Number", number.to_string())];
        let draft = Draft { target: Some(process.id()), tags, ..Draft::default() };
        let message = draft.sign(&key()).unwrap();
        let record = next(process.id(), end, &message);
        records.push(record.verify(&process, &epoch, end.as_ref()).unwrap());
    }
    (process, records)
}

#[tokio::test]
async fn slots_for_which_the_disk_has_room_one_by_one_are_not_refused_together() {
    const SLOTS: u64 = 100;
    let node = Signer::from_seed(&[5; 32]);
    let store = Store::open_with_backend(MemoryDisk::new(), &StoreConfig::new(NETWORK, node.address()));
    let store = store.unwrap();
    let (process, records) = log(SLOTS);
    let id = process.id();
    let shared = shared(std::path::Path::new("nowhere"), node, store.clone());
    shared.directory.put(std::sync::Arc::new(process), Roles { computes: true, ..Roles::default() });
    let mut news = shared.news.listen();
    let (task, handle) = FollowerTask::new(SharedRef::clone(&shared)).unwrap();
    // Room for some slots in one commit, and not for all.
    let limit = store.room().bytes + 6 * 1024 * 1024;
    store.set_room(limit, 2 * limit);
    assert!(store.has_room(0) && !store.has_room_for(SLOTS as usize, 0));
    // All wait when the task begins, so that they are one group.
    for record in records {
        handle.record(id, record).await;
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(task.run(stop.clone()));
    let grown =
        async { while !matches!(news.recv().await, Ok(News::Grew { head, .. }) if head == SLOTS - 1) {} };
    tokio::time::timeout(WAIT, grown).await.unwrap();
    assert_eq!(store.read().unwrap().head(&id).unwrap().map(|(slot, _)| slot), Some(SLOTS - 1));
    stop.cancel();
    running.await.unwrap();
}
