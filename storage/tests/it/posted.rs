//! What strangers post to the embedded weave: it is weighed and bounded, and not in the way of what the node anchors.

use bytes::Bytes;
use proptest::prelude::*;
use redb::TableDefinition;
use weft_protocol::Id;
use weft_storage::limits::{BATCH_TRANSACTIONS_MAX, HEADER_BYTES_MAX};
use weft_storage::{Anchor, AnchorError, AnchorStatus, Batch, LocalWeave, MemoryDisk, StoreError, blob_name};

use crate::rows::hash;
use crate::weave::{T0, assignment, batch, config, item};

const MB: u64 = 1 << 20;
const MOST: u64 = BATCH_TRANSACTIONS_MAX as u64;

fn tx(number: u64) -> Id {
    Id(blob_name(&number.to_be_bytes()).0)
}

fn header(bytes: usize) -> Bytes {
    vec![7; bytes].into()
}

fn open(disk: &MemoryDisk) -> LocalWeave {
    LocalWeave::open_with_backend(disk.clone(), &config()).unwrap()
}

fn bytes_of(batch: &Batch) -> u64 {
    batch.bytes().len() as u64
}

fn is_full(error: &AnchorError) -> bool {
    matches!(error, AnchorError::Store(StoreError::Full { .. }))
}

/// Each is a row of up to 16 KiB that nobody pays for: they were written past the limit, and at the wall the weave ended.
#[test]
fn transactions_for_a_known_batch_are_refused_where_there_is_no_room() {
    let weave = open(&MemoryDisk::new());
    let batch = batch(&[assignment(0)]);
    weave.accept(tx(0), header(HEADER_BYTES_MAX), &batch).unwrap();
    let taken = weave.room().bytes;
    weave.set_room(taken, taken);
    for number in 1..=8 {
        let refused = weave.accept(tx(number), header(HEADER_BYTES_MAX), &batch).unwrap_err();
        assert!(is_full(&refused), "{refused}");
    }
    assert_eq!((weave.room().bytes, weave.room().refused), (taken, 8));
    weave.set_room(u64::MAX, u64::MAX);
    weave.accept(tx(1), header(HEADER_BYTES_MAX), &batch).unwrap();
    weave.mine(T0).unwrap();
}

#[test]
fn only_so_many_transactions_of_one_batch_are_kept() {
    let disk = MemoryDisk::new();
    let weave = open(&disk);
    let (one, other) = (batch(&[assignment(0)]), batch(&[assignment(1)]));
    for number in 0..MOST {
        weave.accept(tx(number), header(9), &one).unwrap();
    }
    weave.mine(T0).unwrap();
    drop(weave);
    let weave = open(&disk);
    let refused = [
        weave.accept(tx(MOST), header(9), &one).unwrap_err(),
        weave.accept_known(tx(MOST), header(9), one.data_root(), bytes_of(&one)).unwrap_err(),
    ];
    for refused in refused {
        assert!(
            matches!(refused, AnchorError::EnoughTransactions { max: BATCH_TRANSACTIONS_MAX }),
            "{refused}"
        );
    }
    assert_eq!(weave.posted(&tx(MOST)).unwrap(), None);
    // One that is kept is nothing new, and each batch is counted by itself.
    weave.accept(tx(0), header(9), &one).unwrap();
    weave.accept(tx(MOST), header(9), &other).unwrap();
    assert_eq!(weave.posted(&tx(MOST)).unwrap().unwrap().data_root, other.data_root());
}

#[tokio::test]
async fn strangers_leave_the_reserve_to_what_the_node_anchors() {
    let weave = open(&MemoryDisk::new());
    let batch = batch(&[assignment(0)]);
    // As much as is reserved at least.
    let limit = weave.room().bytes + MB;
    weave.set_room(limit, limit);
    let refused = weave.accept(tx(0), header(9), &batch).unwrap_err();
    assert!(is_full(&refused) && !weave.room().is_full, "{refused}");
    assert_eq!(weave.submit(batch.clone()).await.unwrap(), AnchorStatus::Pending);
    weave.mine(T0).unwrap();
    let refused = weave.accept(tx(0), header(9), &batch).unwrap_err();
    assert!(is_full(&refused) && !weave.room().is_full, "{refused}");
    weave.set_room(8 * MB, 8 * MB);
    weave.accept(tx(0), header(9), &batch).unwrap();
}

/// Each batch is taken where there is room for its block; where there is none for the block of all of them, it is of fewer.
#[tokio::test]
async fn a_block_has_as_many_batches_as_there_is_room_for() {
    let weave = open(&MemoryDisk::new());
    let items: Vec<_> = (0..40).map(assignment).collect();
    for items in items.chunks(10) {
        weave.submit(batch(items)).await.unwrap();
    }
    // About what the index of ten items takes at worst, twice.
    let limit = weave.room().bytes + 2 * MB;
    weave.set_room(limit, limit);
    let some = weave.mine(T0).unwrap().transactions.len() as u64;
    assert!((1..4).contains(&some) && weave.pending().unwrap() == 4 - some, "{some}");
    weave.set_room(u64::MAX, u64::MAX);
    assert_eq!(weave.mine(T0).unwrap().transactions.len() as u64, 4 - some);
}

/// A bundle may have 64 MiB and 65,536 signatures, and who posts a transaction for it again sends a few KiB.
#[test]
fn no_item_of_a_known_batch_is_read_for_another_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weave");
    let batch = batch(&[assignment(0), assignment(1)]);
    let (root, bytes) = (batch.data_root(), bytes_of(&batch));
    LocalWeave::open(&path, &config()).unwrap().accept(tx(0), header(9), &batch).unwrap();
    {
        const ITEMS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("weave-items/1");
        let database = redb::Database::open(&path).unwrap();
        let writing = database.begin_write().unwrap();
        writing.open_table(ITEMS).unwrap().retain(|_, _| false).unwrap();
        writing.commit().unwrap();
    }
    let weave = LocalWeave::open(&path, &config()).unwrap();
    assert!(weave.fetch_now(&root).is_err(), "the items are gone");
    assert!(weave.accept_known(tx(1), header(9), root, bytes).unwrap());
    assert_eq!(weave.posted(&tx(1)).unwrap().unwrap().data_root, root);
    // Of another size it is not what the transaction names.
    for (root, bytes) in [(root, bytes + 1), (hash(9), bytes)] {
        assert!(!weave.accept_known(tx(2), header(9), root, bytes).unwrap());
    }
    assert_eq!(weave.posted(&tx(2)).unwrap(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whoever brings what in which order: nothing was weighed too low, so that the wall is never met.
    #[test]
    fn the_wall_of_a_weave_is_never_met(
        limit in 3_u64..7,
        steps in prop::collection::vec((0_u8..8, 1_usize..400_000), 20..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let weave = open(&MemoryDisk::new());
        weave.set_room(limit * MB, limit * MB);
        let mut known: Vec<Batch> = Vec::new();
        for (number, (kind, bytes)) in (0..).zip(steps) {
            let new = || batch(&[item(1, None, &[("Type", "Message")], &format!("{number}").repeat(bytes / 2))]);
            let header = header(bytes % HEADER_BYTES_MAX);
            let done = match kind {
                0 | 1 => {
                    let batch = new();
                    runtime.block_on(weave.submit(batch.clone())).map(|_| known.push(batch))
                }
                2 => {
                    let batch = new();
                    weave.accept(tx(number), header, &batch).map(|()| known.push(batch))
                }
                3 => weave.mine(T0).map(drop),
                _ => known.get(bytes % known.len().max(1)).map_or(Ok(()), |batch| {
                    let known = weave.accept_known(tx(number), header, batch.data_root(), bytes_of(batch));
                    known.map(|known| assert!(known))
                }),
            };
            let refused = done.as_ref().err();
            let is_told = |error: &AnchorError| is_full(error) || matches!(error, AnchorError::EnoughTransactions { .. });
            prop_assert!(refused.is_none_or(is_told), "{:?}", refused);
            let room = weave.room();
            prop_assert!(room.bytes <= room.limit, "{:?}", room);
        }
        weave.set_room(u64::MAX, u64::MAX);
        weave.mine(T0).unwrap();
        weave.verify_content().unwrap();
    }
}
