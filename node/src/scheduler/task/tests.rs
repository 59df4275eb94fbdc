//! The whole task over disks that fail and disks that are nearly full.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use weft_protocol::crypto::Signer;
use weft_protocol::market::PushTerms;
use weft_protocol::{DataItem, Draft, Tag, Verified};
use weft_storage::{Disk, MemoryDisk, Roles, Store, StoreConfig};

use super::*;
use crate::shared::testing::{NETWORK, shared};

/// A disk that takes nothing any more once it is told to.
#[derive(Debug, Clone, Default)]
struct Failing {
    disk: MemoryDisk,
    fails: Arc<AtomicBool>,
}

impl Failing {
    fn check(&self) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) { Err(io::Error::other("worn out")) } else { Ok(()) }
    }
}

impl Disk for Failing {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        self.disk.write(offset, bytes)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.check()?;
        self.disk.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.check()?;
        self.disk.sync()
    }
}

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
async fn a_disk_that_fails_is_said_to_all_and_no_slot_is_signed_twice() {
    let (disk, config) = (Failing::default(), StoreConfig::new(NETWORK, signer().address()));
    let store = Store::open_with_backend(disk.clone(), &config).unwrap();
    let (handle, stop, running) = start(&store);
    let own = process(&[]);
    let process = own.id();
    assert_eq!(slot(&handle.submit(opening(&own)).await), (0, false));
    let messages: Vec<_> = (1..=20).map(|number| item(Some(process), number)).collect();
    assert_eq!(slot(&submit_all(&handle, &messages[..1]).await[0]), (1, false));
    disk.fails.store(true, Ordering::SeqCst);
    for answer in submit_all(&handle, &messages[1..]).await {
        assert!(matches!(answer, Answer::Fault(_) | Answer::Busy { .. }), "{answer:?}");
    }
    // What is on disk is known still.
    let known = submit_all(&handle, &messages[..1]).await.remove(0);
    assert!(
        matches!(known, Answer::Assigned { slot: 1, duplicate: true, .. } | Answer::Busy { .. }),
        "{known:?}"
    );
    stop.cancel();
    running.await.unwrap();
    drop((handle, store));

    // The disk is mended, and the node starts again: every item gets one slot, and they go on from there.
    disk.fails.store(false, Ordering::SeqCst);
    let store = Store::open_with_backend(disk, &config).unwrap();
    let (handle, stop, running) = start(&store);
    let mut slots: Vec<(u64, bool)> = submit_all(&handle, &messages).await.iter().map(slot).collect();
    assert_eq!(slots.remove(0), (1, true));
    slots.sort_unstable();
    assert_eq!(slots, (2..=20).map(|slot| (slot, false)).collect::<Vec<_>>());
    stop.cancel();
    running.await.unwrap();
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
