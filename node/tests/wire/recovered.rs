//! Logs that come back from weaves alone: of many peers that are all gone, and of one whose log is long.

use std::time::{Duration, Instant};

use serde_json::Value;
use weft_node::config::{Anchoring, Backend, Config, Role};
use weft_node::control::api::{
    AnchorInfo, AnchorRequest, BatchInfo, DiskRequest, PlaceInfo, Progress, Reply, Request, ResultOf,
    VerifyReport, WeaveInfo,
};
use weft_node::recover::{RecoverAllReport, RecoverReport};
use weft_protocol::attestation::Attestation;
use weft_protocol::{Address, Hash, Id, Verified};
use weft_storage::{Store, StoreConfig};

use crate::full::is_full;
use crate::support::{Node, key, network, send, until, within};

/// Messages to each one's process.
const MESSAGES: u32 = 12;
/// The wallet that pays where nobody has to.
const WALLET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/wallet.json");

/// Peers that are wiped: those of the issue with `WEFT_FULL=1`.
fn peers() -> u8 {
    if is_full() { 16 } else { 4 }
}

/// Sends a request that tells how far it is; answers how often it did, too.
pub async fn told<T: serde::de::DeserializeOwned>(node: &Node, request: DiskRequest) -> (T, u64) {
    told_by(node, Request::Disk(request)).await
}

async fn told_by<T: serde::de::DeserializeOwned>(node: &Node, request: Request) -> (T, u64) {
    let mut client = node.client().await;
    client.send(&request).await.unwrap();
    let mut heard = 0;
    loop {
        match within("a reply", client.reply()).await.unwrap() {
            Reply::Event(event) => {
                let Progress { done, total } = serde_json::from_value(event).unwrap();
                assert!(done <= total, "{done} of {total}");
                heard += 1;
            }
            Reply::Done(value) => return (serde_json::from_value(value).unwrap(), heard),
            Reply::Error(failure) => panic!("{failure:?}"),
        }
    }
}

async fn anchored(node: &Node, process: Id, slot: u64) {
    until("the log to be anchored", || async {
        (node.detail(process).await.info.anchored >= Some(slot)).then_some(())
    })
    .await;
}

/// Computes a process up to a slot; answers its state root, and the outcome hash at that place.
async fn state(node: &Node, process: Id, slot: u64) -> (Option<Hash>, Option<Hash>) {
    until("the process to be computed", || async {
        let detail = node.detail(process).await;
        let there = detail.info.computed.is_some_and(|position| position.slot >= slot);
        there.then_some((detail.state_root, detail.info.running))
    })
    .await
}

async fn compute(node: &Node, process: Id) {
    let host = Request::Host { process, compute: true, messenger: false, evaluate: None };
    node.ask::<Value>(host).await.unwrap();
}

/// A process as its peer left it: by whom it was scheduled, its state root, and the outcome hash at its last slot.
type Left = (Address, Id, (Option<Hash>, Option<Hash>));

/// A process of this peer with its messages, all of them anchored.
async fn worked(node: &Node) -> Left {
    let last = u64::from(MESSAGES) - 1;
    let process = node.counter().await;
    send(node, process, 1..MESSAGES).await;
    let state = state(node, process, last).await;
    assert!(state.0.is_some() && state.1.is_some());
    anchored(node, process, last).await;
    (node.signer.address(), process, state)
}

/// A node that knows of nobody reads every process from these weaves, and comes to the same states.
async fn comes_back(left: &[Left], from: &[String]) {
    let last = u64::from(MESSAGES) - 1;
    let new = Node::start(200).await;
    for (scheduler, process, before) in left {
        let request = DiskRequest::RecoverAll { scheduler: Some(*scheduler), from: from.to_vec() };
        let (report, heard): (RecoverAllReport, u64) = told(&new, request).await;
        assert!(heard > 0, "it tells how far it is");
        assert_eq!((report.found, report.whole, report.slots), (1, 1, last + 1), "{report:?}");
        assert!(report.failed.is_empty(), "{report:?}");
        compute(&new, *process).await;
        assert_eq!(state(&new, *process, last).await, *before);
    }
    new.stop().await;
}

/// Everything of all peers is gone but their weaves, each of which has what its own key scheduled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_peers_are_wiped_and_every_process_comes_back() {
    let mut gone = Vec::new();
    for seed in 170..170 + peers() {
        let node = Node::set_up(seed, &[], |config| config.anchor_batch_age_ms = 100).await;
        gone.push((worked(&node).await, node.wiped().await, seed));
    }
    let (mut weaves, mut left) = (Vec::new(), Vec::new());
    for (process, folder, seed) in gone {
        // A key has its weave again, and serves it; of its processes it knows nothing.
        let weave = Node::start_in(folder, seed, &[], |config| {
            config.weave_listen = Some("127.0.0.1:0".parse().unwrap());
            config.roles = [Role::Anchor].into();
        });
        weaves.push(weave.await);
        left.push(process);
    }
    let from: Vec<String> = weaves.iter().map(|node| node.ready.weave_api.clone().unwrap()).collect();
    comes_back(&left, &from).await;
    for node in weaves {
        node.stop().await;
    }
}

/// A node that is a weave and nothing else, to which others post.
async fn keeper(seed: u8) -> Node {
    let set = |config: &mut Config| {
        config.weave_listen = Some("127.0.0.1:0".parse().unwrap());
        config.weave_accepts = true;
        config.weave_block_ms = 300;
        config.roles = [Role::Anchor].into();
    };
    Node::set_up(seed, &[], set).await
}

/// Posts what it schedules to that weave.
fn posting(config: &mut Config, weave: &str) {
    config.anchor_batch_age_ms = 200;
    config.anchor = Anchoring {
        backend: Backend::Arweave,
        gateways: vec![weave.to_owned()],
        weave: "weft.local".into(),
        wallet: Some(WALLET.into()),
        day_limit: Some(1_000_000_000),
        confirmations: 3,
        check_ms: 100,
        ..Anchoring::default()
    };
}

/// The peers of one network anchor to one weave, by signed transactions over HTTP, and nothing at all of any of them
/// is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_share_a_weave_are_wiped_and_every_process_comes_back() {
    let keeper = keeper(210).await;
    let weave = keeper.ready.weave_api.clone().unwrap();
    let mut nodes: Vec<Node> = Vec::new();
    for seed in 211..211 + peers() {
        let known: Vec<&Node> = nodes.first().into_iter().collect();
        nodes.push(Node::set_up(seed, &known, |config| posting(config, &weave)).await);
    }
    // All of them at once, as batches of several peers come to one block.
    let left = futures::future::join_all(nodes.iter().map(worked)).await;
    for node in nodes {
        assert_eq!(node.ready.weave, "weft.local");
        drop(node.rest().await);
    }
    comes_back(&left, &[weave]).await;
    keeper.stop().await;
}

/// Whoever follows a log hears where its batches lie, from its scheduler: on the weave of one node under the roots of their
/// bytes, and on one that is paid for under transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_a_log_hears_where_its_batches_lie() {
    let keeper = keeper(241).await;
    let weave = keeper.ready.weave_api.clone().unwrap();
    let own = Node::set_up(242, &[], |config| config.anchor_batch_age_ms = 100).await;
    let paid = Node::set_up(243, &[&own], |config| posting(config, &weave)).await;
    let follower = Node::set_up(244, &[&own, &paid], |_| {}).await;
    for scheduler in [&own, &paid] {
        let process = scheduler.counter().await;
        let host = Request::Host { process, compute: false, messenger: false, evaluate: None };
        follower.ask::<Value>(host).await.unwrap();
        let mut sent = 1;
        let heard = until("where a batch lies to be heard", || async {
            // Another batch for each look: the topic may have been joined after the one before.
            let asked = Request::Anchor(AnchorRequest::Heard { process });
            let heard: Vec<PlaceInfo> = follower.ask(asked).await.unwrap();
            heard.into_iter().next()
        });
        let sending = async {
            loop {
                send(scheduler, process, sent..sent + 1).await;
                sent += 1;
                // tidy-allow(sleep): messages come at a pace until somebody has heard enough.
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        let place = tokio::select! {
            place = heard => place,
            () = sending => unreachable!("it goes on"),
        };
        assert_eq!(place.weave, scheduler.ready.weave);
        assert!(place.from <= place.to && place.block > 0, "{place:?}");
        let weave_info: WeaveInfo = scheduler.ask(Request::Weave).await.unwrap();
        let of_slots =
            |batch: &&BatchInfo| (batch.process, batch.from, batch.to) == (process, place.from, place.to);
        let batch = weave_info.batches.iter().find(of_slots).expect("the batch is its scheduler's");
        let info: AnchorInfo = scheduler.ask(Request::Anchor(AnchorRequest::Status)).await.unwrap();
        let transactions: Vec<Id> = info.postings.iter().filter_map(|posting| posting.id).collect();
        match transactions.is_empty() {
            true => assert_eq!(place.bundle, Id(batch.data_root.0)),
            false => assert!(transactions.contains(&place.bundle), "{place:?} is none of {transactions:?}"),
        }
    }
    for node in [follower, paid, own, keeper] {
        node.stop().await;
    }
}

/// Ticks of the processor's time that Linux counts to a second, for every program.
const TICKS_PER_S: f64 = 100.0;

/// How long something took, and how much of the processors' time it took of this program, all threads together.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    pub time: Duration,
    pub processors: Duration,
}

/// What takes time from here on.
struct Since {
    began: Instant,
    before: Duration,
}

impl Since {
    fn now() -> Self {
        Self { began: Instant::now(), before: processors() }
    }

    fn took(&self) -> Took {
        Took { time: self.began.elapsed(), processors: processors().saturating_sub(self.before) }
    }
}

/// The time of the processors that this program took so far, in itself and in the system; by ticks.
fn processors() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name, in brackets, may have spaces; the 12th and 13th fields after it are the two times.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_secs_f64(ticks as f64 / TICKS_PER_S)
}

/// What reading a log back costs, what evaluating it, and what replaying it once more to check it.
pub struct Figures {
    pub report: RecoverReport,
    pub reading: Took,
    pub evaluating: Took,
    pub replaying: Took,
}

/// A node with so many messages in one log, and another that reads them from its weave and then evaluates them.
pub async fn read_back(seed: u8, messages: u32) -> Figures {
    let keeper = Node::set_up(seed, &[], |config| {
        config.weave_listen = Some("127.0.0.1:0".parse().unwrap());
        config.anchor_batch_slots = 1_000;
        config.anchor_batch_age_ms = 1_000;
    });
    let keeper = keeper.await;
    let process = keeper.counter().await;
    send(&keeper, process, 1..messages + 1).await;
    anchored(&keeper, process, messages.into()).await;
    let before = state(&keeper, process, messages.into()).await;
    let new = Node::start(seed + 1).await;
    let from = vec![keeper.ready.weave_api.clone().unwrap()];
    let since = Since::now();
    let (report, _): (RecoverReport, u64) = told(&new, DiskRequest::Recover { process, from }).await;
    let reading = since.took();
    let since = Since::now();
    compute(&new, process).await;
    assert_eq!(state(&new, process, messages.into()).await, before);
    let evaluating = since.took();
    let since = Since::now();
    let (verified, _): (VerifyReport, u64) = told_by(&new, Request::Verify { process }).await;
    let replaying = since.took();
    assert!(verified.difference.is_none() && verified.slots == u64::from(messages) + 1, "{verified:?}");
    for node in [new, keeper] {
        node.stop().await;
    }
    Figures { report, reading, evaluating, replaying }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_several_batches_is_read_back() {
    let figures = read_back(230, 300).await;
    assert!(figures.report.is_whole(), "{:?}", figures.report);
    assert_eq!((figures.report.slots, figures.report.new_slots), (301, 301));
    let parts = [figures.reading, figures.evaluating, figures.replaying];
    assert!(parts.iter().all(|part| part.time > Duration::ZERO), "{parts:?}");
    assert!(parts.iter().any(|part| part.processors > Duration::ZERO), "{parts:?}");
}

/// A log that a stranger asks for takes no more of the disk than the operator gave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stranger_asks_for_does_not_fill_the_disk() {
    const SLOTS: u64 = 40;
    /// The least that slots have, in bytes; and the part of `others_logs` that is one log's.
    const SLOT_BYTES: u64 = 512;
    const PART: u64 = 16;
    let keeper = Node::set_up(234, &[], |config| {
        config.weave_listen = Some("127.0.0.1:0".parse().unwrap());
        config.anchor_batch_age_ms = 100;
    });
    let keeper = keeper.await;
    let process = keeper.counter().await;
    send(&keeper, process, 1..u32::try_from(SLOTS).unwrap()).await;
    anchored(&keeper, process, SLOTS - 1).await;
    let asked = async |seed: u8, share: u64, outcome: &str| {
        let from = vec![keeper.ready.weave_api.clone().unwrap()];
        let node = Node::set_up(seed, &[], |config| {
            config.gateways = from;
            config.others_logs_bytes = share * PART;
        });
        let node = node.await;
        until("the log to be read, or not", || async {
            let ask = Request::Result { process, of: ResultOf::Item(process), wait_ms: 0 };
            let _ = node.ask::<Value>(ask).await;
            (readings(&node, outcome).await > 0).then_some(())
        })
        .await;
        let here: Vec<Value> = node.ask(Request::Processes).await.unwrap();
        node.stop().await;
        here
    };
    // It is longer than it may be, by what its scheduler signed: none of it is taken.
    let none = asked(235, (SLOTS - 1) * SLOT_BYTES, "declined").await;
    assert_eq!(none, Vec::<Value>::new());
    // It might have been short enough, and was not: it is taken as far as that.
    let some = asked(236, (SLOTS + 1) * SLOT_BYTES, "declined").await;
    assert!(some.len() == 1 && some[0]["head"].as_u64() < Some(SLOTS - 1), "{some:?}");
    let all = asked(237, 1 << 20, "whole").await;
    assert_eq!(all[0]["head"], Value::from(SLOTS - 1), "{all:?}");
    keeper.stop().await;
}

/// How many readings of this node ended so.
async fn readings(node: &Node, outcome: &str) -> u64 {
    let name = format!("weft_recoveries_total{{outcome=\"{outcome}\"}} ");
    let metrics: String = node.ask(Request::Metrics).await.unwrap();
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse().ok()).unwrap_or_default()
}

/// A log of a stranger is read again whenever nobody serves it: what is here already takes no room, however often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_again_for_a_stranger_is_counted_once() {
    const SEED: u8 = 239;
    let keeper = Node::set_up(238, &[], |config| {
        config.weave_listen = Some("127.0.0.1:0".parse().unwrap());
        config.anchor_batch_age_ms = 100;
    });
    let keeper = keeper.await;
    let process = keeper.counter().await;
    send(&keeper, process, 1..MESSAGES).await;
    anchored(&keeper, process, u64::from(MESSAGES) - 1).await;
    let set = |config: &mut Config| config.gateways = vec![keeper.ready.weave_api.clone().unwrap()];
    let mut folder = tempfile::tempdir().unwrap();
    for life in 0..3 {
        let node = match life {
            0 => Node::start_in(folder, SEED, &[], set).await,
            _ => Node::in_folder(folder, &[], set).await,
        };
        until("the log to be read", || async {
            if life == 0 {
                let ask = Request::Result { process, of: ResultOf::Item(process), wait_ms: 0 };
                let _ = node.ask::<Value>(ask).await;
            }
            (readings(&node, "whole").await > 0).then_some(())
        })
        .await;
        folder = node.rest().await;
        let config = StoreConfig::new(network(), key(SEED).address());
        let store = Store::open(&folder.path().join("store.redb"), &config).unwrap();
        let reader = store.read().unwrap();
        let (attested, row) =
            (reader.attestations_after(&process, None, 100).unwrap(), reader.process(&process));
        let module = reader.item(&row.unwrap().unwrap().module).unwrap().unwrap();
        let mut bytes = module.len() + attested.len() * size_of::<Verified<Attestation>>();
        for slot in 0..u64::from(MESSAGES) {
            let row = reader.slot(&process, slot).unwrap().unwrap();
            bytes += row.assignment.len() + reader.item(&row.item).unwrap().unwrap().len();
        }
        let counted = reader.setting("others-logs").unwrap().unwrap();
        assert_eq!(counted.as_ref(), (bytes as u64).to_be_bytes(), "{life}: {} attestations", attested.len());
        assert!(!attested.is_empty(), "slot 0 is attested");
    }
    keeper.stop().await;
}
