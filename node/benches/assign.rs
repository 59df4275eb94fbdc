//! Durable assignments a second of a whole node, and what bounds them.
//!
//! A node with the scheduler role runs inside this program. Clients hand in signed ed25519 items
//! as its control socket and its peers do: each is parsed, its signature checked, given a slot,
//! signed for, committed, and only then answered. Every client waits for one answer before it
//! hands in its next item. Beside it, in the same run: what no scheduler can leave out, checking
//! items and signing assignments, alone. What the disk allows is in `cargo bench -p weft-storage`.
//! `cargo bench -p weft-node --bench assign [-- --quick]`; files are in `TMPDIR`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_node::config::{Config, Role};
use weft_node::keyring::NodeKey;
use weft_node::submit::{SubmitError, Submitter};
use weft_protocol::assignment::AssignmentDraft;
use weft_protocol::crypto::Signer;
use weft_protocol::time::TimePoint;
use weft_protocol::{DataItem, Draft, Hash, Id, Network, Tag};

/// Keys that sign messages.
const KEYS: usize = 100;
/// Clients at once. Each waits for its answer before it asks again, so at one rate so many more of them wait so
/// much longer: 10,000 answers a second are 10 ms for 100 clients and 15 ms for 150.
const CLIENTS: [usize; 4] = [50, 100, 150, 200];
/// Turns of each measurement; the middle one counts.
const TURNS: usize = 3;

fn main() {
    let given: BTreeSet<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| given.contains(flag);
    // `tests/run` only asks whether it runs.
    let messages = if is("--test") || !is("--bench") {
        1_000
    } else if is("--quick") {
        20_000
    } else {
        100_000
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for processes in [1, 100] {
        for clients in CLIENTS {
            for _ in 0..TURNS {
                let folder = tempfile::tempdir().unwrap();
                runtime.block_on(node(folder.path(), processes, clients, messages));
            }
        }
    }
    let items = signed(&[Id([7; 32])], messages.min(20_000));
    println!("bound: an item of {} bytes", items[0].len());
    for _ in 0..TURNS {
        verification(&items);
        signing(items.len());
    }
}

fn tags(pairs: &[(&str, &str)]) -> Vec<Tag> {
    pairs.iter().map(|(name, value)| Tag::new(*name, *value)).collect()
}

/// Messages to these processes in turn, as a client's library writes them.
fn signed(processes: &[Id], count: usize) -> Vec<Bytes> {
    let keys: Vec<Signer> = (0..KEYS).map(|key| Signer::from_seed(&[100 + key as u8; 32])).collect();
    let message = |number: usize| {
        let mut anchor = [b'0'; 32];
        anchor[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let tags = tags(&[
            ("Data-Protocol", "ao"),
            ("Variant", "ao.TN.1"),
            ("Type", "Message"),
            ("SDK", "aoconnect"),
            ("Action", "Transfer"),
            ("Recipient", "rJXjYc2Jw1oO2rp0Yl1l3M0cC7mZk2o4nA9uWq5Xb8E"),
            ("Quantity", "1000000000000"),
        ]);
        let target = Some(processes[number % processes.len()]);
        let draft = Draft { target, anchor: Some(anchor), tags, data: Bytes::from_static(b"1984") };
        draft.sign(&keys[number % KEYS]).unwrap().raw().clone()
    };
    let workers = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        let share = count.div_ceil(workers);
        let parts: Vec<_> = (0..workers)
            .map(|worker| {
                let part = worker * share..count.min((worker + 1) * share);
                scope.spawn(move || part.map(message).collect::<Vec<_>>())
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

async fn node(folder: &Path, processes: usize, at_once: usize, messages: usize) {
    let seed = [1; 32];
    let signer = Signer::from_seed(&seed);
    let config = Config {
        network: "weft-bench".into(),
        listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
        roles: [Role::Scheduler].into(),
        ..Config::new(folder)
    };
    let stop = CancellationToken::new();
    let (ready, started) = tokio::sync::oneshot::channel();
    let key = NodeKey { signer: signer.clone(), peer_secret: seed };
    let running = tokio::spawn(weft_node::embed(config, key, stop.clone(), |_, submitter| {
        assert!(ready.send(submitter).is_ok());
    }));
    let submitter = started.await.unwrap();
    let spawns = (0..processes).map(|number| spawn(&submitter, &signer, number));
    let ids = futures::future::join_all(spawns).await;
    let items = signed(&ids, messages);
    let started = Instant::now();
    let mut clients = JoinSet::new();
    let shares = messages.div_ceil(at_once);
    for share in items.chunks(shares) {
        clients.spawn(client(submitter.clone(), share.to_vec()));
    }
    let mut took: Vec<Duration> = clients.join_all().await.into_iter().flatten().collect();
    let elapsed = started.elapsed();
    took.sort_unstable();
    let at = |share: usize| took[took.len() * share / 100];
    println!(
        "node, {processes} processes, {at_once} clients: {:.0} assignments/s, p50 {:.1?}, p99 {:.1?}, {:.0} bytes on disk each",
        took.len() as f64 / elapsed.as_secs_f64(),
        at(50),
        at(99),
        std::fs::metadata(folder.join("store.redb")).unwrap().len() as f64 / took.len() as f64
    );
    drop(submitter);
    stop.cancel();
    running.await.unwrap().unwrap();
}

async fn spawn(submitter: &Submitter, signer: &Signer, number: usize) -> Id {
    let (scheduler, number) = (signer.address().to_string(), number.to_string());
    // Somebody else computes: this is about slots alone.
    let other = Signer::from_seed(&[2; 32]).address().to_string();
    let tags = tags(&[
        ("Data-Protocol", "ao"),
        ("Type", "Process"),
        ("Variant", "ao.TN.1"),
        ("Module", &scheduler),
        ("Scheduler", &scheduler),
        ("Compute", &other),
        ("Compute-Quorum", "1"),
        ("Name", &number),
    ]);
    let item = Draft { tags, ..Draft::default() }.sign(signer).unwrap();
    submitter.submit(item.raw().clone(), Bytes::new()).await.unwrap().process
}

/// Hands in one item after the other; gives how long each took.
async fn client(submitter: Submitter, items: Vec<Bytes>) -> Vec<Duration> {
    let mut took = Vec::with_capacity(items.len());
    for item in items {
        let asked = Instant::now();
        loop {
            match submitter.submit(item.clone(), Bytes::new()).await {
                Ok(slot) => break assert!(!slot.duplicate),
                // tidy-allow(sleep): as long as the scheduler says
                Err(SubmitError::Busy(ms)) => tokio::time::sleep(Duration::from_millis(ms)).await,
                Err(error) => panic!("{error}"),
            }
        }
        took.push(asked.elapsed());
    }
    took
}

fn verification(items: &[Bytes]) {
    let started = Instant::now();
    for item in items {
        DataItem::verify_bytes(item.clone()).unwrap();
    }
    let rate = items.len() as f64 / started.elapsed().as_secs_f64();
    println!("bound: {rate:.0} items parsed and verified/s on one core");
}

fn signing(count: usize) {
    let signer = Signer::from_seed(&[1; 32]);
    let started = Instant::now();
    for slot in 0..count as u64 {
        let draft = AssignmentDraft {
            network: Network(1),
            process: Id([7; 32]),
            epoch: 0,
            slot,
            hash_chain: Hash([slot as u8; 32]),
            time: TimePoint { timestamp: 1_700_000_000_000, height: 14_166_666 },
            message: Some(Id([8; 32])),
            excludes: Vec::new(),
        };
        draft.draft().sign(&signer).unwrap();
    }
    let rate = count as f64 / started.elapsed().as_secs_f64();
    println!("bound: {rate:.0} assignments made and signed/s on one core");
}
