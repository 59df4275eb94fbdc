//! Durable assignments a second of a whole node, and what bounds them.
//!
//! A node with the scheduler role runs inside this program. Clients hand in signed ed25519 items
//! as its control socket and its peers do: each is parsed, its signature checked, given a slot,
//! signed for, committed, and only then answered. Every client waits for one answer before it
//! hands in its next item. Beside it, in the same run: what no scheduler can leave out, each alone.
//! After each run of the node its items and slot rows are written by redb, in commits as large as the
//! node's were; in the end items are checked, with the bare library too, and assignments signed.
//! `cargo bench -p weft-node --bench assign [-- --quick] [100x50 ...]`, where a row is named by its processes and clients;
//! files are in `TMPDIR`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "assign/bare.rs"]
mod bare;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ed25519_dalek::{Signature, VerifyingKey};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_node::config::{Config, Role};
use weft_node::control::api::Request;
use weft_node::control::client::{ANSWER_WAIT, Client};
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
    let (messages, turns) = if is("--test") || !is("--bench") {
        (1_000, 1)
    } else if is("--quick") {
        (20_000, TURNS)
    } else {
        (100_000, TURNS)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // Two builds are compared row by row, in turns: a machine that others use as well has good and bad minutes.
    let rows: BTreeSet<&String> = given.iter().filter(|flag| !flag.starts_with("--")).collect();
    for processes in [1, 100] {
        for clients in CLIENTS {
            if !rows.is_empty() && !rows.contains(&format!("{processes}x{clients}")) {
                continue;
            }
            for _ in 0..turns {
                let folder = tempfile::tempdir().unwrap();
                let ran = runtime.block_on(node(folder.path(), processes, clients, messages));
                drop(folder);
                disk(&ran);
            }
        }
    }
    if !rows.is_empty() {
        return;
    }
    let items = signed(&[Id([7; 32])], messages.min(20_000));
    println!("bound: an item of {} bytes", items[0].len());
    for _ in 0..turns {
        verification(&items);
        bare_verification(&items);
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

/// What a node did.
struct Ran {
    items: Vec<Bytes>,
    /// Of one assignment as it is signed.
    assignment_bytes: usize,
    /// Assignments in one commit.
    per_commit: usize,
    /// Assignments a second.
    rate: f64,
}

async fn node(folder: &Path, processes: usize, at_once: usize, messages: usize) -> Ran {
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
    let before = commits(folder).await;
    let started = Instant::now();
    let mut clients = JoinSet::new();
    let shares = messages.div_ceil(at_once);
    for share in items.chunks(shares) {
        clients.spawn(client(submitter.clone(), share.to_vec()));
    }
    let mut took: Vec<(Duration, usize)> = clients.join_all().await.into_iter().flatten().collect();
    let elapsed = started.elapsed();
    let per_commit = took.len() as f64 / (commits(folder).await - before);
    took.sort_unstable();
    let at = |share: usize| took[took.len() * share / 100].0;
    let rate = took.len() as f64 / elapsed.as_secs_f64();
    println!(
        "node, {processes} processes, {at_once} clients: {rate:.0} assignments/s, p50 {:.1?}, p99 {:.1?}, {:.0} bytes on disk each, \
         {per_commit:.1} in a commit",
        at(50),
        at(99),
        std::fs::metadata(folder.join("store.redb")).unwrap().len() as f64 / took.len() as f64
    );
    drop(submitter);
    stop.cancel();
    running.await.unwrap().unwrap();
    let assignment_bytes = took.iter().map(|(_, bytes)| bytes).sum::<usize>() / took.len();
    Ran { items, assignment_bytes, per_commit: (per_commit.round() as usize).max(1), rate }
}

/// Commits of a node's store so far.
async fn commits(folder: &Path) -> f64 {
    let mut client = Client::connect(folder).await.unwrap();
    let text: String = client.call(&Request::Metrics, ANSWER_WAIT).await.unwrap();
    text.lines().find_map(|line| line.strip_prefix("weft_store_commits_total ")).unwrap().parse().unwrap()
}

/// What the disk takes of the same rows, with nothing between it and redb.
fn disk(ran: &Ran) {
    let folder = tempfile::tempdir().unwrap();
    let Ran { items, assignment_bytes, per_commit, rate } = ran;
    let bare = bare::rate(folder.path(), items, *assignment_bytes, *per_commit);
    println!(
        "    bound: bare redb, an item of {} bytes and a slot row with {assignment_bytes} bytes of assignment, {per_commit} in a \
         commit: {bare:.0} items/s, ratio {:.2}",
        items[0].len(),
        bare / rate
    );
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

/// Hands in one item after the other; gives how long each took, and the bytes of its assignment.
async fn client(submitter: Submitter, items: Vec<Bytes>) -> Vec<(Duration, usize)> {
    let mut took = Vec::with_capacity(items.len());
    for item in items {
        let asked = Instant::now();
        let slot = loop {
            match submitter.submit(item.clone(), Bytes::new()).await {
                Ok(slot) => break slot,
                // tidy-allow(sleep): as long as the scheduler says
                Err(SubmitError::Busy(ms)) => tokio::time::sleep(Duration::from_millis(ms)).await,
                Err(error) => panic!("{error}"),
            }
        };
        took.push((asked.elapsed(), slot.signed.len()));
        assert!(!slot.duplicate);
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

/// The signatures alone, each with its key read anew: nothing is parsed or hashed, and no key is at hand.
fn bare_verification(items: &[Bytes]) {
    let part = |raw: &Bytes| -> ([u8; 32], [u8; 48], Signature) {
        let item = DataItem::parse(raw.clone()).unwrap();
        let item = item.claims();
        let signature: &[u8; 64] = item.signature().try_into().unwrap();
        (item.owner_key().try_into().unwrap(), item.signing_hash(), Signature::from_bytes(signature))
    };
    let parts: Vec<_> = items.iter().map(part).collect();
    let started = Instant::now();
    for (key, message, signature) in &parts {
        VerifyingKey::from_bytes(key).unwrap().verify_strict(message, signature).unwrap();
    }
    let rate = items.len() as f64 / started.elapsed().as_secs_f64();
    println!("bound: {rate:.0} signatures of items by bare `verify_strict`/s on one core");
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
