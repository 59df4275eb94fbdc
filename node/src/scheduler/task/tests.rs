//! The whole task over disks that fail and disks that are nearly full.
#![allow(clippy::unwrap_used, clippy::panic)]

mod faults;

use std::path::Path;

use futures::future::join_all;
use weft_protocol::crypto::Signer;
use weft_protocol::market::PushTerms;
use weft_protocol::{DataItem, Draft, Tag, Verified};
use weft_storage::{MemoryDisk, Roles, Store, StoreConfig};

use super::*;
use crate::shared::testing::{NETWORK, shared};

fn signer() -> Signer {
    Signer::from_seed(&[2; 32])
}

fn item(target: Option<Id>, number: usize) -> Verified<DataItem> {
    let tags = vec![Tag::new("Number", number.to_string())];
    Draft { target, tags, ..Draft::default() }.sign(&Signer::from_seed(&[1; 32])).unwrap()
}

/// A Process item of this scheduler.
fn process(more: &[Tag]) -> Verified<DataItem> {
    let scheduler = signer().address().to_string();
    let tags =
        [("Data-Protocol", "ao"), ("Type", "Process"), ("Scheduler", &*scheduler), ("Module", &*scheduler)];
    let tags = tags.map(|(name, value)| Tag::new(name, value)).into_iter().chain(more.iter().cloned());
    Draft { tags: tags.collect(), ..Draft::default() }.sign(&Signer::from_seed(&[1; 32])).unwrap()
}

fn opening(item: &Verified<DataItem>) -> Submission {
    let roles = Some(Roles { schedules: true, ..Roles::default() });
    Submission { roles, ..Submission::plain(item.id(), item.clone()) }
}

/// A scheduler over a store, and what stops it.
fn start(store: &Store) -> (SchedulerHandle, CancellationToken, tokio::task::JoinHandle<()>) {
    let folder = std::path::Path::new("nowhere");
    let (task, handle) = SchedulerTask::new(shared(folder, signer(), store.clone())).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(task.run(stop.clone()));
    (handle, stop, running)
}

async fn submit_all(handle: &SchedulerHandle, items: &[Verified<DataItem>]) -> Vec<Answer> {
    let submit =
        |item: &Verified<DataItem>| handle.submit(Submission::plain(item.target().unwrap(), item.clone()));
    join_all(items.iter().map(submit)).await
}

fn slot(answer: &Answer) -> (u64, bool) {
    match answer {
        Answer::Assigned { slot, duplicate, .. } => (*slot, *duplicate),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn slots_for_which_the_disk_has_room_one_by_one_are_not_refused_together() {
    let config = StoreConfig::new(NETWORK, signer().address());
    let store = Store::open_with_backend(MemoryDisk::new(), &config).unwrap();
    let (handle, stop, running) = start(&store);
    let own = process(&[]);
    let process = own.id();
    assert_eq!(slot(&handle.submit(opening(&own)).await), (0, false));
    // Room for some slots in one commit, and not for all.
    let limit = store.room().bytes + 6 * 1024 * 1024;
    store.set_room(limit, 2 * limit);
    let messages: Vec<_> = (1..=64).map(|number| item(Some(process), number)).collect();
    assert!(store.has_room(0) && !store.has_room_for(messages.len(), 0));
    let slots: Vec<(u64, bool)> = submit_all(&handle, &messages).await.iter().map(slot).collect();
    assert_eq!(slots, (1..=64).map(|slot| (slot, false)).collect::<Vec<_>>());
    // And where there is none at all they are told so.
    store.set_room(1, 2 * limit);
    let answers = submit_all(&handle, &[item(Some(process), 65)]).await;
    assert_eq!(answers, [Answer::Full]);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_too_long_is_told_to_come_back() {
    // Nobody reads this inbox.
    let (sender, _inbox) = mpsc::channel(1);
    let handle = SchedulerHandle(sender);
    let answers = join_all([handle.now(Id([1; 32])), handle.now(Id([2; 32]))]).await;
    assert_eq!(answers, [const { Answer::Busy { retry_ms: LATE_RETRY_MS } }; 2]);
}

#[tokio::test]
async fn a_log_is_read_back_in_hard_mode_before_anybody_was_told_of_its_process() {
    let config = StoreConfig::new(NETWORK, signer().address());
    let store = Store::open_with_backend(MemoryDisk::new(), &config).unwrap();
    let (handle, stop, running) = start(&store);
    let terms = PushTerms { ledger: Id([9; 32]), price_max: 1, kib_max: 1 };
    let cron = Tag::new("Cron-Interval", "10-seconds");
    let (hard, soft) = (process(&[terms.tags(), vec![cron]].concat()), process(&[]));
    for own in [&hard, &soft] {
        assert_eq!(slot(&handle.submit(opening(own)).await), (0, false));
    }
    stop.cancel();
    running.await.unwrap();
    drop(handle);

    // As after a commit that failed: the directory knows neither.
    let (task, _handle) = SchedulerTask::new(shared(Path::new("nowhere"), signer(), store)).unwrap();
    let read = |item: &Verified<DataItem>| task.read_end(item.id()).unwrap().unwrap();
    let end = read(&hard);
    assert_eq!((end.market.map(|market| market.terms), end.schedule.is_some()), (Some(terms), true));
    assert!(read(&soft).market.is_none());
}
