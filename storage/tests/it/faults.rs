//! A disk that fails at its n-th call, for every n of a short life: what was acknowledged before
//! is there after the power went, and the store says that the disk failed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use weft_storage::{Disk, MemoryDisk, Store, StoreError, Write};

use crate::rows::{config, id, slot_row};

/// Fails every call from the one that brings `left` below zero.
#[derive(Debug, Clone)]
struct FailingDisk {
    disk: MemoryDisk,
    left: Arc<AtomicI64>,
}

impl FailingDisk {
    fn call(&self) -> io::Result<&MemoryDisk> {
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            Ok(&self.disk)
        } else {
            Err(io::Error::other("the disk is broken"))
        }
    }
}

impl Disk for FailingDisk {
    fn len(&self) -> io::Result<u64> {
        self.call()?.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.call()?.read(offset, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // Half of a failing write still gets through.
        let written = self.call();
        if written.is_err() {
            self.disk.write(offset, &bytes[..bytes.len() / 2])?;
        }
        written?.write(offset, bytes)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.call()?.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.call()?.sync()
    }
}

/// Writes slots until the disk fails; answers how many were acknowledged.
fn write_until_failure(store: &Store, slots: u64) -> u64 {
    for slot in 0..slots {
        let write = || Write::Slot { process: id(1), slot, row: slot_row(slot as u8) };
        if let Err(error) = store.write_blocking(vec![write()]) {
            assert!(matches!(error, StoreError::Disk { .. }), "{error:?}");
            let again = store.write_blocking(vec![write()]).unwrap_err();
            assert!(matches!(again, StoreError::Disk { .. }), "{again:?}");
            return slot;
        }
    }
    slots
}

#[test]
fn any_call_may_fail_and_nothing_acknowledged_is_lost() {
    const SLOTS: u64 = 6;
    let mut failed = 0;
    for calls in 1_i64.. {
        let disk = MemoryDisk::new();
        let left = Arc::new(AtomicI64::new(calls));
        let opened =
            Store::open_with_backend(FailingDisk { disk: disk.clone(), left: left.clone() }, &config());
        let acknowledged = opened.as_ref().map_or(0, |store| write_until_failure(store, SLOTS));
        failed += u64::from(opened.is_ok() && acknowledged < SLOTS);
        if opened.is_err() {
            // Nobody was told that there is a store.
            continue;
        }
        drop(opened);

        let store = Store::open_with_backend(disk.after_power_loss(), &config()).unwrap();
        let held = store.read().unwrap().slots(&id(1), 0, u64::MAX, 100).unwrap();
        let expected: Vec<_> = (0..held.len() as u64).map(|slot| (slot, slot_row(slot as u8))).collect();
        assert_eq!(held, expected, "failing at call {calls}");
        assert!(held.len() as u64 >= acknowledged, "failing at call {calls}");
        if acknowledged == SLOTS {
            break;
        }
    }
    assert!(failed > SLOTS, "the disk failed in the middle of only {failed} lives");
}

#[tokio::test]
async fn a_failed_commit_is_told_to_whoever_watches() {
    let left = Arc::new(AtomicI64::new(i64::MAX));
    let disk = FailingDisk { disk: MemoryDisk::new(), left: left.clone() };
    let store = Store::open_with_backend(disk, &config()).unwrap();
    let write = |slot| vec![Write::Slot { process: id(1), slot, row: slot_row(slot as u8) }];
    store.write(write(0)).await.unwrap();
    left.store(0, Ordering::SeqCst);
    let refused = store.write(write(1)).await.unwrap_err();
    assert_eq!(store.failure().await.to_string(), refused.to_string());
    assert!(refused.to_string().starts_with("the disk failed while the store was"), "{refused}");
}
