//! The embedded weave: its chain, what goes in and what is found again.

use bytes::Bytes;
use proptest::prelude::*;
use redb::{ReadableDatabase as _, TableDefinition};
use weft_protocol::crypto::Signer;
use weft_protocol::{DataItem, Draft, Id, Network, Tag, Verified};
use weft_storage::anchor::{Cursor, ItemRef, TagFilter, TagQuery, data_root};
use weft_storage::{
    Anchor, AnchorError, AnchorStatus, Batch, LocalWeave, LocalWeaveConfig, MemoryDisk, StoreError,
};

use crate::rows::{address, id};

pub const T0: u64 = 1_700_000_000_000;

pub fn config() -> LocalWeaveConfig {
    LocalWeaveConfig { network: Network(1), node: address(1), now_ms: T0 }
}

fn signer(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

pub fn item(seed: u8, target: Option<Id>, tags: &[(&str, &str)], data: &str) -> Verified<DataItem> {
    let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    let data = Bytes::copy_from_slice(data.as_bytes());
    Draft { target, anchor: None, tags, data }.sign(&signer(seed)).unwrap()
}

pub fn assignment(nonce: u32) -> Verified<DataItem> {
    let nonce = nonce.to_string();
    item(1, Some(id(9)), &[("Type", "Assignment"), ("Process", "p"), ("Nonce", &nonce)], "")
}

pub fn batch(items: &[Verified<DataItem>]) -> Batch {
    Batch::of_items(items.to_vec()).unwrap()
}

async fn ids(weave: &LocalWeave, query: &TagQuery) -> Vec<Id> {
    weave.find(query.clone(), None, 1000).await.unwrap().items.into_iter().map(|item| item.id).collect()
}

fn tagged(tags: &[(&str, &str)]) -> TagQuery {
    TagQuery {
        tags: tags.iter().map(|(name, value)| TagFilter::new(*name, *value)).collect(),
        ..TagQuery::default()
    }
}

#[tokio::test]
async fn what_is_posted_is_held_once_and_found_by_each_transaction() {
    let disk = MemoryDisk::new();
    let weave = LocalWeave::open_with_backend(disk.clone(), &config()).unwrap();
    let batch = batch(&[assignment(0)]);
    for tx in [1, 2, 1] {
        weave.accept(id(tx), Bytes::from(vec![tx; 9]), &batch).unwrap();
    }
    assert_eq!(weave.pending().unwrap(), 1);
    weave.mine(T0 + 5).unwrap();
    // A second one for the same bytes brings nothing into a block.
    weave.accept(id(3), "header".into(), &batch).unwrap();
    assert_eq!((weave.pending().unwrap(), weave.mine(T0 + 6).unwrap().transactions.len()), (0, 0));
    let long = weave.accept(id(4), vec![0; 17_000].into(), &batch).unwrap_err();
    assert!(matches!(long, AnchorError::TooLarge { size: 17_000, .. }), "{long}");
    drop(weave);
    let weave = LocalWeave::open_with_backend(disk, &config()).unwrap();
    for tx in [1, 2, 3] {
        let row = weave.posted(&id(tx)).unwrap().unwrap();
        assert_eq!(row.data_root, batch.data_root());
    }
    assert_eq!(weave.posted(&id(1)).unwrap().unwrap().header, vec![1; 9]);
    assert_eq!(weave.posted(&id(4)).unwrap(), None);
}

#[tokio::test]
async fn a_batch_goes_in_by_data_root_and_comes_out_whole() {
    let disk = MemoryDisk::new();
    let weave = LocalWeave::open_with_backend(disk.clone(), &config()).unwrap();
    let items = [assignment(0), item(2, None, &[("Type", "Message")], "hello"), assignment(1)];
    let batch = batch(&items);
    let root = batch.data_root();
    assert_eq!(weave.status(root).await.unwrap(), AnchorStatus::Unknown);
    for _ in 0..3 {
        assert_eq!(weave.submit(batch.clone()).await.unwrap(), AnchorStatus::Pending);
    }
    assert_eq!(weave.pending().unwrap(), 1);
    assert_eq!(weave.item(items[0].id()).await.unwrap(), None);
    assert_eq!(weave.fetch(root).await.unwrap().as_ref(), Some(batch.bytes()));

    let block = weave.mine(T0 + 5).unwrap();
    assert_eq!((block.height, block.timestamp_ms, block.transactions.len()), (1, T0 + 5, 1));
    weave.mine(T0 + 1).unwrap();
    let mined = AnchorStatus::Mined { height: 1, block: block.hash(), confirmations: 2 };
    assert_eq!(weave.status(root).await.unwrap(), mined);
    assert!(mined.is_final(weave.finality()));
    assert_eq!(weave.submit(batch.clone()).await.unwrap(), mined);
    assert_eq!(weave.height().await.unwrap(), 2);
    assert_eq!(weave.newest_block().unwrap().timestamp_ms, T0 + 5, "time went backwards");

    let name = weave.name().to_owned();
    assert!(name.starts_with("local:") && name.len() == 6 + 43, "{name}");
    assert_eq!(name, format!("local:{}", weave.block(0).unwrap().unwrap().hash()));
    drop(weave);
    let later = LocalWeaveConfig { now_ms: T0 + 99, ..config() };
    let weave = LocalWeave::open_with_backend(disk, &later).unwrap();
    assert_eq!(weave.name(), name);
    weave.verify_content().unwrap();
    assert_eq!(weave.block_by_hash(&block.hash()).unwrap(), Some(block));
    assert_eq!(weave.block_by_hash(&root).unwrap(), None);
    assert_eq!(weave.item(items[1].id()).await.unwrap().as_ref(), Some(items[1].raw()));
    let bytes = weave.fetch(root).await.unwrap().unwrap();
    assert_eq!(Batch::parse(bytes).unwrap().items(), items);
}

#[tokio::test]
async fn items_are_found_by_any_mixture_of_terms_in_weave_order() {
    let weave = LocalWeave::open_with_backend(MemoryDisk::new(), &config()).unwrap();
    let message = |seed, data| item(seed, Some(id(seed)), &[("Type", "Message"), ("Process", "p")], data);
    let (a0, a1, a2) = (assignment(0), assignment(1), assignment(2));
    let (m0, m1) = (message(2, "zero"), message(3, "one"));
    weave.submit(batch(&[a0.clone(), m0.clone()])).await.unwrap();
    weave.submit(batch(&[a1.clone(), a0.clone()])).await.unwrap();
    weave.mine(T0).unwrap();
    weave.submit(batch(&[m1.clone(), a2.clone(), a0.clone()])).await.unwrap();
    assert_eq!(ids(&weave, &TagQuery::default()).await.len(), 3, "what is in no block is not found");
    weave.mine(T0).unwrap();

    let assignments = tagged(&[("Process", "p"), ("Type", "Assignment")]);
    assert_eq!(ids(&weave, &assignments).await, [a0.id(), a1.id(), a2.id()]);
    assert_eq!(ids(&weave, &tagged(&[("Type", "Message")])).await, [m0.id(), m1.id()]);
    assert_eq!(ids(&weave, &tagged(&[("type", "Message")])).await, []);
    assert_eq!(ids(&weave, &tagged(&[("Type", "Message"), ("Nonce", "1")])).await, []);
    let either = TagFilter { name: "Nonce".into(), values: vec!["2".into(), "0".into(), "7".into()] };
    assert_eq!(ids(&weave, &TagQuery { tags: vec![either], ..tagged(&[]) }).await, [a0.id(), a2.id()]);
    let owners = vec![signer(3).address(), signer(2).address()];
    assert_eq!(ids(&weave, &TagQuery { owners, ..tagged(&[]) }).await, [m0.id(), m1.id()]);
    assert_eq!(ids(&weave, &TagQuery { targets: vec![id(3)], ..tagged(&[]) }).await, [m1.id()]);
    assert_eq!(ids(&weave, &TagQuery { min_height: 2, ..assignments.clone() }).await, [a2.id()]);
    let none = TagFilter { name: "Type".into(), values: vec![] };
    assert_eq!(ids(&weave, &TagQuery { tags: vec![none], ..tagged(&[]) }).await, []);

    let found = weave.find(tagged(&[("Nonce", "2")]), None, 1).await.unwrap().items;
    let block = weave.newest_block().unwrap();
    let expected = ItemRef {
        place: "2.1".parse().unwrap(),
        id: a2.id(),
        owner: a2.owner(),
        target: a2.target(),
        tags: a2.tags().to_vec(),
        data_bytes: 0,
        batch: block.transactions[0].data_root,
        height: 2,
        block: block.hash(),
    };
    assert_eq!(found, [expected]);
    let many = TagFilter { name: "Nonce".into(), values: vec!["x".into(); 101] };
    let refused = weave.find(TagQuery { tags: vec![many], ..tagged(&[]) }, None, 1).await;
    assert!(matches!(refused, Err(AnchorError::TooLarge { size: 101, max: 100, .. })));
}

#[tokio::test]
async fn pages_join_without_gap_or_repeat() {
    let weave = LocalWeave::open_with_backend(MemoryDisk::new(), &config()).unwrap();
    let items: Vec<_> = (0..50).map(assignment).collect();
    for (place, items) in items.chunks(7).enumerate() {
        weave.submit(batch(items)).await.unwrap();
        if place % 3 == 0 {
            weave.mine(T0).unwrap();
        }
    }
    weave.mine(T0).unwrap();
    let (mut found, mut from): (Vec<Id>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = weave.find(tagged(&[("Type", "Assignment")]), from, 4).await.unwrap();
        assert!(page.items.len() <= 4);
        found.extend(page.items.iter().map(|item| item.id));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(found, items.iter().map(|item| item.id()).collect::<Vec<_>>());
}

/// The model: all items in their order, filtered.
#[tokio::test]
async fn both_directions_and_ranges_show_what_a_list_would() {
    let weave = LocalWeave::open_with_backend(MemoryDisk::new(), &config()).unwrap();
    let items: Vec<_> = (0..40).map(assignment).collect();
    let mut all: Vec<(u64, Id, weft_protocol::Hash)> = Vec::new();
    for (place, items) in items.chunks(6).enumerate() {
        let batch = batch(items);
        weave.submit(batch.clone()).await.unwrap();
        if place % 2 == 0 {
            weave.mine(T0).unwrap();
        }
        all.extend(
            items.iter().map(|item| (place as u64 / 2 + 1 + place as u64 % 2, item.id(), batch.data_root())),
        );
    }
    weave.mine(T0).unwrap();
    let roots: Vec<_> = all.iter().map(|(.., root)| *root).collect();
    for newest_first in [false, true] {
        for (min_height, max_height) in
            [(0, None), (2, None), (0, Some(2)), (2, Some(2)), (3, Some(2)), (9, None)]
        {
            for batches in
                [vec![], vec![roots[7]], vec![roots[39], roots[0]], vec![weft_protocol::Hash([9; 32])]]
            {
                let query = TagQuery {
                    min_height,
                    max_height,
                    newest_first,
                    batches: batches.clone(),
                    ..tagged(&[("Type", "Assignment")])
                };
                let mut expected: Vec<Id> = all
                    .iter()
                    .filter(|(height, _, root)| {
                        *height >= min_height
                            && max_height.is_none_or(|max| *height <= max)
                            && (batches.is_empty() || batches.contains(root))
                    })
                    .map(|(_, id, _)| *id)
                    .collect();
                if newest_first {
                    expected.reverse();
                }
                let (mut found, mut from) = (Vec::new(), None);
                loop {
                    let page = weave.find(query.clone(), from, 5).await.unwrap();
                    // A place shows as text, and the next page begins beyond the last of this one.
                    let last = page.items.last().map(|item| item.place);
                    found.extend(page.items.into_iter().map(|item| item.id));
                    if page.next.is_none() {
                        break;
                    }
                    from = match last {
                        Some(last) => last.to_string().parse::<Cursor>().unwrap().beyond(newest_first),
                        None => page.next,
                    };
                }
                assert_eq!(found, expected, "{query:?}");
            }
        }
    }
    for wrong in ["", "1", "1.", ".1", "01.0", "1.0.0", "-1.0", "1.99999999999"] {
        assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn every_byte_of_the_weave_is_proven_to_its_block() {
    use weft_protocol::l1::chunk::{prove_chunks, prove_transactions, verify_chunk, verify_path};
    let disk = MemoryDisk::new();
    let weave = LocalWeave::open_with_backend(disk.clone(), &config()).unwrap();
    let sizes = [[10, 300_000, 262_144].as_slice(), &[], &[5, 700_000, 1, 40_000]];
    let mut batches = Vec::new();
    for (height, sizes) in sizes.iter().enumerate() {
        for (number, size) in sizes.iter().enumerate() {
            let data = format!("{height}{number}").repeat(*size);
            let one = batch(&[item(1, None, &[], &data), item(2, None, &[], "end")]);
            weave.submit(one.clone()).await.unwrap();
            batches.push((height as u64 + 1, number, one));
        }
        weave.mine(T0).unwrap();
    }
    drop(weave);
    let weave = LocalWeave::open_with_backend(disk, &config()).unwrap();
    let mut start = 0;
    for (height, number, one) in &batches {
        let (root, bytes) = (one.data_root(), one.bytes());
        let placed = weave.placed(&root).unwrap().unwrap();
        let range = start..start + bytes.len() as u64;
        assert_eq!((&placed.range, placed.index, placed.block.height), (&range, *number, *height));
        assert_eq!(placed.confirmations, 4 - height);
        for byte in [range.start, range.end - 1] {
            assert_eq!(weave.placed_at(byte).unwrap().as_ref(), Some(&placed));
        }
        // The way from the block to the batch, and from there to each chunk.
        let all: Vec<_> = placed.block.transactions.iter().map(|one| (one.data_root, one.bytes)).collect();
        let total: u64 = all.iter().map(|(_, bytes)| bytes).sum();
        let path = &prove_transactions(&all)[placed.index];
        let in_block = range.start - placed.block_start;
        let found = verify_path(&placed.block.transactions_root, total, in_block, path).unwrap();
        assert_eq!(found, (root, in_block..in_block + bytes.len() as u64));
        for proof in prove_chunks(bytes) {
            let part = proof.range.start as u64..proof.range.end as u64;
            let chunk = weave.bundle_part(&root, part.clone()).unwrap().unwrap();
            let verified = verify_chunk(&root, bytes.len() as u64, part.start, &proof.data_path, &chunk);
            assert_eq!(verified, Ok(part));
        }
        for part in [0..1, 0..u64::MAX, 40..5_000, u64::MAX - 1..u64::MAX] {
            let expected = bytes.iter().skip(part.start as usize).take((part.end - part.start) as usize);
            let expected: Vec<u8> = expected.copied().collect();
            assert_eq!(weave.bundle_part(&root, part).unwrap().unwrap(), expected);
        }
        start = range.end;
    }
    assert_eq!((weave.bytes_at(3), weave.bytes_at(4)), (Some(start), None));
    assert_eq!(weave.placed_at(start).unwrap(), None);
    assert_eq!(weave.placed(&weft_protocol::Hash([1; 32])).unwrap(), None);
}

#[test]
fn a_batch_of_anything_unverified_is_refused() {
    let good = batch(&[assignment(0), assignment(1)]);
    let mut bytes = good.bytes().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(matches!(Batch::parse(bytes.into()), Err(AnchorError::Bundle(_))));
    assert!(matches!(Batch::parse(vec![0; 32].into()), Err(AnchorError::Empty)));
    assert!(matches!(Batch::of_items(Vec::new()), Err(AnchorError::Empty)));
    assert!(matches!(Batch::parse(Bytes::new()), Err(AnchorError::Bundle(_))));
}

#[test]
fn a_weave_is_one_networks_and_one_nodes_and_no_store() {
    let disk = MemoryDisk::new();
    drop(LocalWeave::open_with_backend(disk.clone(), &config()).unwrap());
    let open = |config: &LocalWeaveConfig| LocalWeave::open_with_backend(disk.clone(), config).unwrap_err();
    let other = open(&LocalWeaveConfig { network: Network(2), ..config() });
    assert!(matches!(other, AnchorError::Store(StoreError::OtherNetwork { .. })));
    let other = open(&LocalWeaveConfig { node: address(2), ..config() });
    assert!(matches!(other, AnchorError::Store(StoreError::OtherNode { .. })));
    let store = weft_storage::Store::open_with_backend(disk.clone(), &crate::rows::config()).unwrap_err();
    assert!(store.to_string().contains("it is not a store"), "{store}");
}

/// Rewrites block 1 as somebody with the file could, checksum and all, by taking the row of
/// another weave whose block 1 was mined at another time.
#[test]
fn a_chain_that_does_not_link_is_found_on_open() {
    let folder = tempfile::tempdir().unwrap();
    let build = |name: &str, times: [u64; 2]| {
        let path = folder.path().join(name);
        let weave = LocalWeave::open(&path, &config()).unwrap();
        for time in times {
            weave.mine(time).unwrap();
        }
        path
    };
    let (ours, other) = (build("ours", [T0 + 1, T0 + 9]), build("other", [T0 + 2, T0 + 9]));
    const BLOCKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("weave-blocks/1");
    let key = 1_u64.to_be_bytes();
    let row = {
        let database = redb::Database::open(&other).unwrap();
        let blocks = database.begin_read().unwrap().open_table(BLOCKS).unwrap();
        blocks.get(key.as_slice()).unwrap().unwrap().value().to_vec()
    };
    {
        let database = redb::Database::open(&ours).unwrap();
        let writing = database.begin_write().unwrap();
        writing.open_table(BLOCKS).unwrap().insert(key.as_slice(), row.as_slice()).unwrap();
        writing.commit().unwrap();
    }
    let error = LocalWeave::open(&ours, &config()).unwrap_err();
    assert_eq!(error.to_string(), "the local weave is damaged at block 2: it does not name the block before");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// Two implementations of the same tree, around the sizes where chunks split.
    #[test]
    fn data_roots_are_those_of_the_protocol(chunks in 0..4_usize, near in -40_000_i64..40_000, seed: u64) {
        let size = (chunks as i64 * 262_144 + near).max(1) as usize;
        let mut data = vec![0; size];
        blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut data);
        prop_assert_eq!(data_root(&data), weft_protocol::l1::chunk::data_root(&data));
    }
}

#[test]
fn data_roots_at_the_exact_boundaries() {
    for size in [1, 32_767, 32_768, 262_143, 262_144, 262_145, 294_911, 294_912, 524_288, 524_289] {
        let data = vec![1; size];
        assert_eq!(data_root(&data), weft_protocol::l1::chunk::data_root(&data), "{size} bytes");
    }
    assert_eq!(data_root(&[]), None);
}
