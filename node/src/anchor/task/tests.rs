//! The anchor's loop on a disk in memory, where what it did before is on another weave.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use weft_protocol::crypto::Signer;
use weft_protocol::{Draft, Hash, Id};
use weft_storage::anchor::Batch;
use weft_storage::{BatchRow, BatchState, PostingRow, PostingState, Write, blob_name};

use super::*;
use crate::config::Anchoring;
use crate::shared::testing::in_memory;

const OF_A: &str = "weave.A";

fn node(change: impl FnOnce(&mut Shared)) -> SharedRef {
    let mut shared = in_memory(Signer::from_seed(&[3; 32]));
    change(Arc::get_mut(&mut shared).unwrap());
    shared
}

fn posts_to(weave: &str) -> Anchoring {
    Anchoring { backend: Backend::Arweave, weave: weave.into(), ..Anchoring::default() }
}

/// A batch, and how its posting to weave A is.
async fn posted(shared: &Shared, state: PostingState) -> Hash {
    let item = Draft { data: "x".into(), ..Draft::default() }.sign(&Signer::from_seed(&[4; 32])).unwrap();
    let batch = Batch::of_items(vec![item]).unwrap();
    let (data_root, bundle) = (batch.data_root(), blob_name(batch.bytes()));
    let row = BatchRow {
        process: Id([7; 32]),
        from_slot: 0,
        to_slot: 0,
        bundle,
        items: 1,
        bytes: 9,
        state: BatchState::Submitted,
        attempts: 1,
        next_try_ms: 0,
    };
    let posting = PostingRow {
        weave: OF_A.into(),
        parts: vec![data_root],
        bundle,
        items: 1,
        bytes: 9,
        winston: 1,
        signed: 1,
        receipt: Bytes::new(),
        state,
    };
    let blob = Write::Blob(batch.bytes().clone());
    let writes = vec![blob, Write::Batch { data_root, row }, Write::Posting { data_root, row: posting }];
    shared.store.write(writes).await.unwrap();
    data_root
}

/// What one weave has is neither final on another nor on its way there.
#[tokio::test]
async fn a_posting_to_another_weave_says_nothing() {
    let id = Id([5; 32]);
    let signed = PostingState::Signed { id, header: "x".into(), reward: 1, expires: Some(9) };
    let settled = PostingState::Final { id, reward: 1, height: 4, block: "b".into() };
    for state in [signed, settled] {
        for (weave, is_known) in [(OF_A, true), ("weave.B", false)] {
            let shared = node(|shared| shared.config.anchor = posts_to(weave));
            let root = posted(&shared, state.clone()).await;
            let task = AnchorTask::new(SharedRef::clone(&shared)).unwrap();
            let said = task.posted(Id([7; 32]), root).unwrap();
            assert!(matches!(said, Input::Status { known, .. } if known == is_known), "{weave}: {said:?}");
            if !is_known {
                assert!(matches!(said, Input::Status { block: None, .. }), "{said:?}");
            }
        }
    }
}

/// Blocks are made as long as anybody waits for some, and not for ever.
#[tokio::test]
async fn a_shared_weave_makes_empty_blocks_while_somebody_waits() {
    let shared = node(|shared| shared.config.weave_accepts = true);
    let mut task = AnchorTask::new(SharedRef::clone(&shared)).unwrap();
    let height = || shared.weave.newest_block().unwrap().height;
    for _ in 0..2 * EMPTY_BLOCKS_MAX {
        task.mine().await;
    }
    assert_eq!(height(), u64::from(EMPTY_BLOCKS_MAX));
    // A transaction that is to lapse, or one that is to be very deep: its node asks after it.
    for more in 1..=3 {
        shared.board.waits().say();
        for _ in 0..2 * EMPTY_BLOCKS_MAX {
            task.mine().await;
        }
        assert_eq!(height(), u64::from(EMPTY_BLOCKS_MAX) * (1 + more));
    }
}
