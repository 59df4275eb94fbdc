//! Durable assignments a second: one caller, many callers, and bare redb as the bound.
//!
//! An assignment is what a scheduler writes for one message: the slot, its item and two seen
//! keys, 2.3 KiB in all. Every figure is of a file on the disk of `TMPDIR`, replies awaited.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use redb::TableDefinition;
use weft_protocol::{Address, Hash, Id, Network, Position};
use weft_storage::{SlotRow, Store, StoreConfig, Write};

const ITEM_BYTES: usize = 1200;
const ASSIGNMENT_BYTES: usize = 900;
const BARE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bare");

fn open(path: &Path) -> Store {
    Store::open(path, &StoreConfig::new(Network(1), Address([1; 32]))).unwrap()
}

fn name(kind: u8, process: u64, slot: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind]).update(&process.to_be_bytes()).update(&slot.to_be_bytes());
    hasher.finalize().into()
}

fn assignment(process: u64, slot: u64) -> Vec<Write> {
    let (id, item) = (Id(name(0, process, 0)), Id(name(1, process, slot)));
    let row = SlotRow {
        epoch: 0,
        assignment_id: Id(name(2, process, slot)),
        assignment: Bytes::from(vec![slot as u8; ASSIGNMENT_BYTES]),
        item,
        proof: None,
        chain: Hash(name(3, process, slot)),
        timestamp: slot,
        block_height: 0,
    };
    let seen = |kind| Write::Seen {
        process: id,
        key: Hash(name(kind, process, slot)),
        position: Position::slot(slot),
    };
    let raw = Bytes::from(vec![slot as u8; ITEM_BYTES]);
    vec![Write::Item { id: item, raw }, Write::Slot { process: id, slot, row }, seen(4), seen(5)]
}

/// Each of `callers` writes `rounds` assignments one after the other, to a process of its own,
/// and waits for every reply. Answers the time of all, and what 99 of 100 replies stay under.
async fn run(store: &Store, callers: u64, first: u64, rounds: u64) -> (Duration, Duration) {
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let store = store.clone();
        tasks.spawn(async move {
            let mut took = Vec::new();
            for slot in first..first + rounds {
                let asked = Instant::now();
                store.write(assignment(caller, slot)).await.unwrap();
                took.push(asked.elapsed());
            }
            took
        });
    }
    let mut took = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        took.extend(joined.unwrap());
    }
    took.sort();
    (started.elapsed(), took[took.len() * 99 / 100])
}

fn store(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let mut group = criterion.benchmark_group("durable assignments");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    for callers in [1, 16, 128, 1024] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder.path().join("store.redb"));
        let (mut first, mut worst) = (0, Duration::ZERO);
        group.bench_function(BenchmarkId::new("store, callers", callers), |bencher| {
            bencher.iter_custom(|count| {
                // Every caller writes as often as every other, so that none idles at the end.
                let rounds = count.div_ceil(callers);
                let (all, p99) = runtime.block_on(run(&store, callers, first, rounds));
                first += rounds;
                worst = worst.max(p99);
                all.mul_f64(count as f64 / (rounds * callers) as f64)
            });
        });
        let stats = store.stats();
        println!(
            "    {callers} callers: p99 of the worst sample {worst:?}, {:.1} requests a commit",
            stats.requests as f64 / stats.commits as f64
        );
    }
    group.finish();
}

fn bare(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bare redb, same bytes");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    for per_commit in [1_u64, 100, 1000] {
        let folder = tempfile::tempdir().unwrap();
        let database = redb::Database::create(folder.path().join("bare.redb")).unwrap();
        let mut slot = 0;
        group.bench_function(BenchmarkId::new("assignments a commit", per_commit), |bencher| {
            bencher.iter_custom(|count| {
                let commits = count.div_ceil(per_commit);
                let started = Instant::now();
                for _ in 0..commits {
                    let writing = database.begin_write().unwrap();
                    {
                        let mut table = writing.open_table(BARE).unwrap();
                        for _ in 0..per_commit {
                            let sizes = [ASSIGNMENT_BYTES, ITEM_BYTES, 40, 40, 60, 60];
                            for (kind, bytes) in sizes.into_iter().enumerate() {
                                let key = name(kind as u8, 0, slot);
                                table.insert(key.as_slice(), vec![1; bytes].as_slice()).unwrap();
                            }
                            slot += 1;
                        }
                    }
                    writing.commit().unwrap();
                }
                started.elapsed().mul_f64(count as f64 / (commits * per_commit) as f64)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bare, store);
criterion_main!(benches);
