#![allow(clippy::unwrap_used)]

use weft_protocol::crypto::Signer;
use weft_storage::MemoryDisk;

use super::*;
use crate::shared::testing;

const MB: u64 = 1 << 20;

#[test]
fn limits_and_the_rest_come_to_the_budget() {
    let left = Left::of(100 * MB, 40 * MB, 10 * MB, 1000 * MB);
    let (store, weave) = (left.limits(30 * MB, 1), left.limits(10 * MB, 1));
    assert_eq!((store, weave), ((55 * MB, 55 * MB), (35 * MB, 35 * MB)));
    assert_eq!(store.1 + weave.1 + 10 * MB, 100 * MB);
    // Without a weave that grows all of it is the store's.
    assert_eq!((left.limits(30 * MB, 2), left.limits(10 * MB, 0)), ((80 * MB, 80 * MB), (10 * MB, 10 * MB)));
    // A disk that is fuller than the budget refuses sooner; what fails is a matter of the disk.
    let left = Left::of(100 * MB, 40 * MB, 10 * MB, 84 * MB);
    assert_eq!(left.limits(30 * MB, 1), (40 * MB, 55 * MB));
    let left = Left::of(u64::MAX, 40 * MB, 10 * MB, 84 * MB);
    assert_eq!(left.limits(30 * MB, 1), (40 * MB, u64::MAX));
    // What is over already takes nothing more.
    let left = Left::of(30 * MB, 40 * MB, 10 * MB, 84 * MB);
    assert_eq!(left.limits(30 * MB, 1), (30 * MB, 30 * MB));
    assert_eq!(Left::of(u64::MAX, 1, 1, MB).both, 0);
}

/// Two who write for a while had the same room, and store and weave had it too.
#[tokio::test]
async fn what_is_granted_is_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::from_seed(&[9; 32]);
    let config = StoreConfig::new(testing::NETWORK, signer.address());
    let store = Store::open_with_backend(MemoryDisk::new(), &config).unwrap();
    let shared = testing::shared(folder.path(), signer, store);
    let both = |shared: &Shared| look(shared).unwrap().0.both;
    let before = both(&shared);
    let one = grant(&shared).unwrap();
    let two = grant(&shared).unwrap();
    // Others write to this disk meanwhile.
    let about = |bytes: u64, expected: u64| bytes.abs_diff(expected) < before / 16;
    assert!(about(one.bytes(), before / 2) && about(two.bytes(), before / 4), "{one:?} {two:?} of {before}");
    assert!(about(both(&shared), before / 4));
    // What is written of it counts once.
    std::fs::create_dir(folder.path().join(recover::FOLDER)).unwrap();
    std::fs::write(folder.path().join(recover::FOLDER).join("a"), vec![1; 4 << 20]).unwrap();
    assert!(about(both(&shared), before / 4));
    drop((one, two));
    assert!(about(both(&shared), before));
}

#[test]
fn the_folder_counts_by_its_blocks() {
    let folder = tempfile::tempdir().unwrap();
    for name in [STORE_NAME, WEAVE_NAME] {
        let sparse = std::fs::File::create(folder.path().join(name)).unwrap();
        sparse.set_len(1 << 30).unwrap();
    }
    std::fs::create_dir(folder.path().join(COMPILED)).unwrap();
    std::fs::write(folder.path().join(COMPILED).join("a"), vec![1; 100_000]).unwrap();
    let others = others_in(folder.path(), 0).unwrap();
    assert!((100_000..200_000).contains(&others), "{others}");
    assert_eq!(bytes_in(&folder.path().join("none"), 0).unwrap(), 0);
    assert!(free_bytes(folder.path()).unwrap() > 0);
}

/// A start reads nothing but what it needs: whether compacting is worth it was counted by the node that ran before.
#[test]
fn a_start_compacts_what_was_worth_it_when_it_was_counted_last() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(folder.path());
    config.disk_budget_bytes = 24 * MB;
    let of = StoreConfig::new(testing::NETWORK, Signer::from_seed(&[9; 32]).address());
    let blob = |number: u8| vec![number; 2 * MB as usize];
    let store = open_store(&config, &of).unwrap();
    for number in 0..6 {
        store.write_blocking(vec![Write::Blob(blob(number).into())]).unwrap();
    }
    for number in 0..5 {
        store.write_blocking(vec![Write::DropBlob(weft_storage::blob_name(&blob(number)))]).unwrap();
    }
    drop(store);
    let store = open_store(&config, &of).unwrap();
    let full = store.room();
    assert!(full.bytes > 10 * MB && full.reusable.is_none(), "nothing was counted: {full:?}");
    count(&store);
    let is_noted = |store: &Store| store.read().unwrap().setting(COMPACT_SETTING).unwrap().is_some();
    assert!(is_noted(&store));
    drop(store);
    let store = open_store(&config, &of).unwrap();
    assert!(store.room().bytes < full.bytes / 2 && !is_noted(&store), "{:?}", store.room());
    let blob = weft_storage::blob_name(&blob(5));
    assert!(store.read().unwrap().blob(&blob).unwrap().is_some());
    // What is not worth it any more is noted no more.
    count(&store);
    assert!(!is_noted(&store));
}
