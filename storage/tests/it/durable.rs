//! What was acknowledged is there: after reopening, after kill -9, with many writers at once.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use weft_storage::{MemoryDisk, Store, Write};

use crate::rows::{config, id, slot_row};

/// Set in the child that writes until it is killed: the file to write to.
const CHILD_STORE: &str = "WEFT_STORAGE_TEST_CHILD";
const WRITERS: u8 = 32;
const WRITES: u64 = 40;

fn slot(writer: u8, slot: u64) -> Write {
    Write::Slot { process: id(writer), slot, row: slot_row(writer) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_share_commits_and_lose_nothing() {
    let disk = MemoryDisk::new();
    let store = Store::open_with_backend(disk.clone(), &config()).unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            // All are queued before the first is awaited: order holds and groups form.
            let mut tickets = Vec::new();
            for number in 0..WRITES {
                tickets.push(store.enqueue(vec![slot(writer, number)]).await.unwrap());
            }
            for ticket in tickets {
                ticket.await.unwrap();
            }
        });
    }
    while let Some(joined) = writers.join_next().await {
        joined.unwrap();
    }
    let stats = store.stats();
    assert_eq!(stats.requests, u64::from(WRITERS) * WRITES);
    assert!(stats.commits < stats.requests / 2, "{stats:?}");

    let after = Store::open_with_backend(disk.after_power_loss(), &config()).unwrap();
    let reader = after.read().unwrap();
    for writer in 0..WRITERS {
        assert_eq!(reader.slots(&id(writer), 0, u64::MAX, 1_000).unwrap().len() as u64, WRITES);
    }
}

#[test]
fn a_full_queue_makes_callers_wait_and_dropping_the_store_commits_it() {
    let disk = MemoryDisk::new();
    let store = Arc::new(Store::open_with_backend(disk.clone(), &config()).unwrap());
    // Each request outweighs a third of the queue's bytes, so most of these must wait.
    let blob = |seed: u8| vec![seed; weft_storage::limits::QUEUE_BYTES_MAX / 3];
    std::thread::scope(|scope| {
        for seed in 0..6 {
            let store = store.clone();
            scope.spawn(move || store.write_blocking(vec![Write::Blob(blob(seed).into())]).unwrap());
        }
    });
    assert_eq!(store.stats().requests, 6);
    drop(store);
    let store = Store::open_with_backend(disk, &config()).unwrap();
    let reader = store.read().unwrap();
    for seed in 0..6 {
        let name = weft_protocol::Hash(blake3::hash(&blob(seed)).into());
        assert!(reader.blob(&name).unwrap().is_some());
    }
}

/// Runs only as the child of the next test: writes slots and prints each number once it is
/// acknowledged, until it is killed.
#[test]
fn child_writes_until_killed() {
    let Some(path) = std::env::var_os(CHILD_STORE) else { return };
    let store = Store::open(Path::new(&path), &config()).unwrap();
    let first = store.read().unwrap().head(&id(1)).unwrap().map_or(0, |(slot, _)| slot + 1);
    for number in first.. {
        store.write_blocking(vec![slot(1, number)]).unwrap();
        println!("acknowledged {number}");
    }
}

#[test]
fn kill_at_any_instant_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let mut acknowledged = None;
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "durable::child_writes_until_killed", "--nocapture"])
            .env(CHILD_STORE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Another number of acknowledgements each round, so that the kill falls elsewhere.
        let mut left = 1 + 7 * round;
        let mut take = |line: String| {
            let number = line.split("acknowledged ").nth(1).and_then(|number| number.parse::<u64>().ok());
            acknowledged = acknowledged.max(number);
            number.is_some()
        };
        while left > 0 {
            left -= usize::from(take(lines.next().expect("the child ended by itself").unwrap()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            take(line.unwrap());
        }
        let store = Store::open(&path, &config()).unwrap();
        let (head, _) = store.read().unwrap().head(&id(1)).unwrap().unwrap();
        assert!(Some(head) >= acknowledged, "round {round}: {acknowledged:?} acknowledged, head {head}");
        let slots = store.read().unwrap().slots(&id(1), 0, head, usize::MAX).unwrap();
        assert_eq!(slots.len() as u64, head + 1, "round {round}: a gap");
    }
}
