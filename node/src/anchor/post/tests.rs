//! The poster against the embedded weave of another node, over HTTP.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use weft_protocol::crypto::Signer;
use weft_protocol::{DataItem, Draft, Hash, Id};
use weft_storage::anchor::{Anchor as _, Batch, LocalWeave};
use weft_storage::{BatchRow, BatchState, PostingRow, PostingState, Write, blob_name};

use super::spending::with_margin;
use super::{PostTask, Progress, progress};
use crate::config::{Anchoring, Backend};
use crate::gateway::{GatewayServer, WeaveDesk};
use crate::shared::testing::in_memory;
use crate::shared::{Shared, SharedRef};

const ITEMS: usize = 10_000;
const WAIT: Duration = Duration::from_secs(120);

fn node(seed: u8, change: impl FnOnce(&mut Shared)) -> SharedRef {
    let mut shared = in_memory(Signer::from_seed(&[seed; 32]));
    change(Arc::get_mut(&mut shared).unwrap());
    shared
}

/// A node whose weave others may post to.
async fn keeper(stop: &CancellationToken) -> (SharedRef, SocketAddr) {
    let keeper = node(1, |shared| shared.config.weave_accepts = true);
    let door = GatewayServer::open("weave", "127.0.0.1:0".parse().unwrap(), "weave_listen").await.unwrap();
    let address = door.address().unwrap();
    tokio::spawn(door.run(WeaveDesk::new(&keeper), Arc::clone(&keeper), stop.clone()));
    (keeper, address)
}

fn payer(address: SocketAddr, day_limit: u64) -> SharedRef {
    node(2, |shared| {
        shared.config.anchor_batch_age_ms = 50;
        shared.config.anchor = Anchoring {
            backend: Backend::Arweave,
            gateways: vec![format!("http://{address}")],
            weave: "weft.local".into(),
            wallet: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/wallet.json")),
            day_limit: Some(day_limit),
            confirmations: 3,
            check_ms: 50,
            ..Anchoring::default()
        };
    })
}

/// Stores a batch of so many items as the anchor does; answers the bytes of its items too.
async fn store(shared: &Shared, seed: u8, items: usize, bytes: usize) -> (Batch, usize) {
    let item = |at: usize| {
        let data = format!("{at:>bytes$}").into();
        Draft { data, ..Draft::default() }.sign(&Signer::from_seed(&[seed; 32])).unwrap()
    };
    let batch = Batch::of_items((0..items).map(item).collect()).unwrap();
    let row = BatchRow {
        process: Id([seed; 32]),
        from_slot: 0,
        to_slot: 1,
        bundle: blob_name(batch.bytes()),
        items: items as u32,
        bytes: batch.bytes().len() as u64,
        state: BatchState::Submitted,
        attempts: 1,
        next_try_ms: 0,
    };
    let writes = vec![Write::Blob(batch.bytes().clone()), Write::Batch { data_root: batch.data_root(), row }];
    shared.store.write(writes).await.unwrap();
    shared.board.hand(batch.data_root(), (batch.bytes().len() as u64, items as u64));
    let raw = batch.items().iter().map(|item| item.raw().len()).sum();
    (batch, raw)
}

/// Makes blocks until all of these batches are final; answers all postings.
async fn settled(keeper: &Shared, payer: &Shared, batches: &[Hash]) -> Vec<(Hash, PostingRow)> {
    // Only for what waits, and then for its confirmations: a transaction is good for fifty blocks.
    let mut empty = u64::MAX;
    let all = async {
        loop {
            let waits = keeper.weave.pending().unwrap() > 0;
            if waits || empty < 5 {
                empty = if waits { 0 } else { empty + 1 };
                keeper.weave.mine(1).unwrap();
            }
            let reader = payer.store.read().unwrap();
            let is_final = |batch| {
                matches!(
                    progress(&reader, &payer.board, (batch, "weft.local")).unwrap(),
                    Progress::Final { .. }
                )
            };
            if batches.iter().all(is_final) {
                return reader.postings(100).unwrap();
            }
            // tidy-allow(sleep): blocks are made at a pace, with a deadline on all of it.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    tokio::time::timeout(WAIT, all).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_small_items_cost_one_transaction() {
    let stop = CancellationToken::new();
    let (keeper, address) = keeper(&stop).await;
    let payer = payer(address, 1_000_000);
    let (batch, raw) = store(&payer, 7, ITEMS, 100).await;
    let task = tokio::spawn(PostTask::new(&payer).unwrap().unwrap().run(stop.clone()));
    let postings = settled(&keeper, &payer, &[batch.data_root()]).await;
    let [(root, row)] = &postings[..] else { panic!("{} postings", postings.len()) };
    assert_eq!((*root, row.signed, row.items as usize), (batch.data_root(), 1, ITEMS));
    // What the weave asks, as an estimate before says it, and the margin.
    let chunks = row.bytes.div_ceil(256 * 1024);
    assert_eq!(row.winston, with_margin(1_000 * (1 + chunks), 10));
    // In the bundle: the count, then for each item its size and id. In the chunks: their proofs, which are not stored.
    assert_eq!(batch.bytes().len() - raw, 32 + 64 * ITEMS);
    let mined = (0..=keeper.weave.newest_block().unwrap().height)
        .map(|height| keeper.weave.block(height).unwrap().unwrap().transactions.len());
    assert_eq!(mined.sum::<usize>(), 1);
    assert_eq!(keeper.weave.fetch_now(root).unwrap().as_ref(), Some(batch.bytes()));
    let PostingState::Final { id, .. } = row.state else { panic!("{row:?}") };
    assert_eq!(keeper.weave.posted(&id).unwrap().unwrap().data_root, *root);
    // The anchor looks once more into a batch that is confirmed.
    assert!(payer.store.read().unwrap().blob(&row.bundle).unwrap().is_some());
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_several_logs_share_a_transaction_and_a_limit_holds_them_back() {
    let stop = CancellationToken::new();
    let (keeper, address) = keeper(&stop).await;
    // One costs 2,200: there is enough for one a day.
    let payer = payer(address, 3_000);
    let mut first = Vec::new();
    for seed in [8, 9, 10] {
        first.push(store(&payer, seed, 3, 10).await.0.data_root());
    }
    let task = tokio::spawn(PostTask::new(&payer).unwrap().unwrap().run(stop.clone()));
    let postings = settled(&keeper, &payer, &first).await;
    let [(_, row)] = &postings[..] else { panic!("{} postings", postings.len()) };
    assert_eq!((row.parts.len(), row.items, row.winston, row.signed), (3, 9, 2_200, 1));
    // The copy that was made for the way there is gone.
    assert_eq!(payer.store.read().unwrap().blob(&row.bundle).unwrap(), None);
    store(&payer, 11, 3, 10).await;
    let waits = async {
        loop {
            let (views, spent) = payer.board.shown();
            if let Some(trouble) = views.iter().find_map(|(_, view)| view.trouble) {
                return (trouble.to_string(), spent.winston);
            }
            // tidy-allow(sleep): another task is waited for, with a deadline.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (trouble, spent) = tokio::time::timeout(WAIT, waits).await.unwrap();
    assert!(trouble.contains("`anchor_day_limit` is 3000"), "{trouble}");
    assert_eq!(spent, 2_200);
    // A restart knows what was spent.
    stop.cancel();
    task.await.unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(PostTask::new(&payer).unwrap().unwrap().run(stop.clone()));
    // tidy-allow(sleep): that nothing happens can only be waited for.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let built = |row: &PostingRow| row.state == PostingState::Built;
    let open = payer.store.read().unwrap().postings_open("weft.local", 9).unwrap();
    assert!(open.len() == 1 && open.iter().all(|(_, row)| built(row)), "{open:?}");
    stop.cancel();
    task.await.unwrap();
}

/// A disk lost the bundle of what was signed, or a repair could not save it: it is made again of its batches and posted.
#[tokio::test(flavor = "multi_thread")]
async fn a_posting_whose_bundle_is_gone_is_final_in_the_end() {
    let stop = CancellationToken::new();
    let (keeper, address) = keeper(&stop).await;
    let payer = payer(address, 1_000_000);
    let (one, two) = (store(&payer, 7, 3, 10).await.0, store(&payer, 8, 3, 10).await.0);
    let parts = vec![one.data_root(), two.data_root()];
    let both = Batch::of_items(one.items().iter().chain(two.items()).cloned().collect()).unwrap();
    // It was to be mined long ago.
    let state = PostingState::Signed { id: Id([5; 32]), header: "{}".into(), reward: 9, expires: Some(1) };
    let row = PostingRow {
        weave: "weft.local".into(),
        parts: parts.clone(),
        bundle: blob_name(both.bytes()),
        items: 6,
        bytes: both.bytes().len() as u64,
        winston: 9,
        signed: 1,
        receipt: Bytes::new(),
        state,
    };
    payer.store.write(vec![Write::Posting { data_root: both.data_root(), row }]).await.unwrap();
    for _ in 0..6 {
        keeper.weave.mine(1).unwrap();
    }
    let task = tokio::spawn(PostTask::new(&payer).unwrap().unwrap().run(stop.clone()));
    let postings = settled(&keeper, &payer, &parts).await;
    let [(root, row)] = &postings[..] else { panic!("{} postings", postings.len()) };
    assert_eq!((*root, row.signed, row.winston), (both.data_root(), 2, 9 + 2_200));
    assert_eq!(keeper.weave.fetch_now(root).unwrap().as_ref(), Some(both.bytes()));
    stop.cancel();
    task.await.unwrap();
}

/// Its batches are gone as well: it is forgotten, and they are no longer on their way, so that they are made anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_posting_whose_batches_are_gone_is_forgotten() {
    let stop = CancellationToken::new();
    let (_keeper, address) = keeper(&stop).await;
    let payer = payer(address, 1_000_000);
    let batch = store(&payer, 7, 3, 10).await.0;
    let root = batch.data_root();
    // As it was in an earlier life.
    payer.board.take();
    payer.board.forget(&[root]);
    let row = PostingRow {
        weave: "weft.local".into(),
        parts: vec![root],
        bundle: blob_name(batch.bytes()),
        items: 3,
        bytes: batch.bytes().len() as u64,
        winston: 0,
        signed: 0,
        receipt: Bytes::new(),
        state: PostingState::Built,
    };
    let gone = Write::DropBlob(row.bundle);
    payer.store.write(vec![Write::Posting { data_root: root, row }, gone]).await.unwrap();
    let task = tokio::spawn(PostTask::new(&payer).unwrap().unwrap().run(stop.clone()));
    let forgotten = async {
        loop {
            let reader = payer.store.read().unwrap();
            if matches!(progress(&reader, &payer.board, (&root, "weft.local")).unwrap(), Progress::Unknown) {
                return reader.postings(9).unwrap();
            }
            // tidy-allow(sleep): another task is waited for, with a deadline.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert_eq!(tokio::time::timeout(WAIT, forgotten).await.unwrap(), []);
    stop.cancel();
    task.await.unwrap();
}

/// An upload service that has no time at first, then takes an item, and knows it afterwards: it brings each to a weave.
async fn bundler(weave: LocalWeave) -> SocketAddr {
    let tries = Arc::new(AtomicUsize::new(0));
    let take = service_fn(move |request: hyper::Request<Incoming>| {
        let (weave, at) = (weave.clone(), tries.fetch_add(1, Ordering::Relaxed));
        async move {
            assert_eq!(request.uri().path(), "/v1/tx");
            let raw = to_bytes(Body::new(request.into_body()), 1 << 20).await.unwrap();
            let item = DataItem::verify_bytes(raw).unwrap();
            let id = item.id();
            let answer = match at {
                0 => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
                1 => {
                    weave.submit(Batch::of_items(vec![item]).unwrap()).await.unwrap();
                    (StatusCode::OK, format!(r#"{{"id":"{id}","deadlineHeight":9}}"#))
                }
                _ => (StatusCode::ACCEPTED, String::new()),
            };
            Ok::<_, Infallible>(answer.into_response())
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), take.clone()));
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundler_is_given_a_signed_item_and_its_receipt_is_kept() {
    let stop = CancellationToken::new();
    let (keeper, address) = keeper(&stop).await;
    let bundler = bundler(keeper.weave.clone()).await;
    let mut payer = payer(address, 1);
    let anchor = &mut Arc::get_mut(&mut payer).unwrap().config.anchor;
    anchor.backend = Backend::Bundler;
    anchor.bundler = Some(format!("http://{bundler}"));
    let batch = store(&payer, 7, 20, 100).await.0;
    let task = tokio::spawn(PostTask::new(&payer).unwrap().unwrap().run(stop.clone()));
    let postings = settled(&keeper, &payer, &[batch.data_root()]).await;
    let [(root, row)] = &postings[..] else { panic!("{} postings", postings.len()) };
    let PostingState::Final { id, reward, .. } = row.state else { panic!("{row:?}") };
    assert_eq!((*root, row.winston, reward), (batch.data_root(), 0, 0));
    assert!(std::str::from_utf8(&row.receipt).unwrap().contains(&id.to_string()), "{:?}", row.receipt);
    // The item is this node's, and its data the bundle.
    let item = DataItem::verify_bytes(keeper.weave.item_now(&id).unwrap().unwrap()).unwrap();
    assert_eq!((item.owner(), item.data()), (payer.address, batch.bytes().clone()));
    stop.cancel();
    task.await.unwrap();
}
