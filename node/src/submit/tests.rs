//! Processes that are opened while their disk is slow.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::pin::pin;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weft_protocol::crypto::Signer;
use weft_protocol::{Draft, Tag};
use weft_storage::{MemoryDisk, Store, StoreConfig};

use super::*;
use crate::news::News;
use crate::scheduler::SchedulerTask;
use crate::shared::testing::{NETWORK, in_memory, process_item, shared};

const WAIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_process_whose_sender_hung_up_is_taken_up_once_it_is_on_disk() {
    let signer = Signer::from_seed(&[2; 32]);
    let disk = MemoryDisk::new();
    let store = Store::open_with_backend(disk.clone(), &StoreConfig::new(NETWORK, signer.address())).unwrap();
    let folder = std::path::Path::new("nowhere");
    let item = process_item(&signer, signer.address());
    let shared = shared(folder, signer, store);
    let mut news = shared.news.listen();
    let (task, handle) = SchedulerTask::new(SharedRef::clone(&shared)).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(task.run(stop.clone()));
    let submitter = Submitter::new(SharedRef::clone(&shared), Some(handle));

    let accepted = Arc::new(Process::accept(item.clone(), None, &shared.terms).unwrap());
    let roles = Roles { schedules: true, ..Roles::default() };
    let id = accepted.id();
    let submission = Submission { roles: Some(roles), ..Submission::plain(id, item) };
    let held = disk.hold_syncs();
    {
        let mut opening =
            pin!(submitter.open(submission, Some(New { process: accepted, roles, _place: None })));
        let mut look = tokio::time::interval(Duration::from_millis(1));
        while !disk.has_sync_waiting() {
            tokio::select! {
                _ = &mut opening => panic!("it is answered before it is on disk"),
                _ = look.tick() => {}
            }
        }
    }
    assert_eq!(shared.directory.roles(&id), None);
    drop(held);
    let taken_up =
        async { while !matches!(news.recv().await, Ok(News::Hosted { process }) if process == id) {} };
    tokio::time::timeout(WAIT, taken_up).await.unwrap();
    assert_eq!(shared.directory.roles(&id), Some(roles));
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn strangers_have_a_log_grow_by_so_much_an_hour_and_its_owner_by_more() {
    let signer = Signer::from_seed(&[2; 32]);
    let (owner, stranger) = (Signer::from_seed(&[3; 32]), Signer::from_seed(&[4; 32]));
    let scheduler = signer.address();
    let mut shared = in_memory(signer);
    Arc::get_mut(&mut shared).unwrap().config.others_messages_bytes = 2_000;
    let (task, handle) = SchedulerTask::new(SharedRef::clone(&shared)).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(task.run(stop.clone()));
    let submitter = Submitter::new(SharedRef::clone(&shared), Some(handle));

    let item = process_item(&owner, scheduler);
    let accepted = Arc::new(Process::accept(item.clone(), None, &shared.terms).unwrap());
    let roles = Roles { schedules: true, for_others: true, ..Roles::default() };
    let (id, new) = (accepted.id(), New { process: Arc::clone(&accepted), roles, _place: None });
    let submission = Submission { roles: Some(roles), ..Submission::plain(id, item) };
    submitter.open(submission, Some(new)).await.unwrap();

    let message = |signer: &Signer, data: usize| {
        let tags = [("Data-Protocol", "ao"), ("Type", "Message")].map(|(name, value)| Tag::new(name, value));
        let draft =
            Draft { target: Some(id), tags: tags.to_vec(), data: vec![7; data].into(), ..Draft::default() };
        draft.sign(signer).unwrap().raw().clone()
    };
    let submit = async |raw: Bytes| submitter.submit_local(raw, Bytes::new()).await;
    let large = message(&stranger, 1_000);
    let slot = submit(large.clone()).await.unwrap().slot;
    // What has its slot takes no more room, however often it comes, and is told of it where there is none.
    for _ in 0..4 {
        assert_eq!(submit(message(&stranger, 100)).await.unwrap().slot, slot + 1);
        assert_eq!(submit(large.clone()).await.unwrap().slot, slot);
    }
    submit(message(&stranger, 200)).await.unwrap();
    let Err(SubmitError::Grown(wait_ms)) = submit(message(&Signer::from_seed(&[5; 32]), 600)).await else {
        panic!("another key is another stranger")
    };
    assert!(wait_ms > 0 && wait_ms <= 3_600_000, "{wait_ms}");
    let refusal = SubmitError::Grown(wait_ms).to_refusal();
    assert_eq!((refusal.code(), refusal.retry_ms), (wire::refusal::Code::Busy, wait_ms));
    submit(message(&owner, 5_000)).await.unwrap();
    submit(message(&Signer::from_seed(&[2; 32]), 5_000)).await.unwrap();
    stop.cancel();
    running.await.unwrap();
}
