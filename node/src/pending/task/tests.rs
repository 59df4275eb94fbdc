//! A message that waits is one that is on disk.
#![allow(clippy::unwrap_used)]

use weft_protocol::crypto::Signer;

use super::*;
use crate::pending::Pending;
use crate::shared::testing::in_memory;

#[tokio::test]
async fn what_the_disk_refuses_is_not_said_to_wait() {
    let shared = in_memory(Signer::from_seed(&[7; 32]));
    let (pending, inbox) = Pending::new(&shared.metrics);
    let task =
        PendingTask::new(SharedRef::clone(&shared), Submitter::new(SharedRef::clone(&shared), None), inbox);
    let stop = CancellationToken::new();
    let running = tokio::spawn(task.unwrap().run(stop.clone()));
    let letter = || Letter::new(Id([2; 32]), "item".into(), false, shared.clock.now());
    let why = || "it is away".to_owned();
    let kept = pending.send(Id([1; 32]), letter(), why()).await.unwrap();
    assert_eq!(kept.end, None);
    let store = shared.store.clone();
    tokio::task::spawn_blocking(move || store.shutdown()).await.unwrap();
    let refused = pending.send(Id([3; 32]), letter(), why()).await;
    assert!(matches!(refused, Err(NoLetter::Disk(_))), "{refused:?}");
    let sent: Vec<Id> = pending.letters().await.into_iter().map(|shown| shown.item).collect();
    assert_eq!(sent, [Id([1; 32])]);
    stop.cancel();
    running.await.unwrap();
}
