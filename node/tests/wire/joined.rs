//! A new computer of an old process: it goes on from a checkpoint that the attestors signed, and from no other.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use serde_json::Value;
use tokio::task::JoinHandle;
use weft_net::{NetEvent, Verdict};
use weft_node::config::{AnchorCheckpoints, Join};
use weft_node::control::api::{Request, ResultOf};
use weft_protocol::attestation::Attestation;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{DataItem, Id, wire};

use crate::support::{Node, Stranger, key, network, send, until};

/// Slots of an old process: some behind the first boundary.
const SLOTS: u32 = 1_040;

/// A scheduler, and its process with a signed checkpoint.
async fn old(seed: u8) -> (Node, Id) {
    let node = Node::start(seed).await;
    let process = node.counter().await;
    send(&node, process, 1..SLOTS).await;
    computed(&node, process, u64::from(SLOTS) - 1).await;
    (node, process)
}

async fn computed(node: &Node, process: Id, slot: u64) {
    until("a slot to be computed", || async {
        let detail = node.detail(process).await;
        detail.info.computed.filter(|position| position.slot >= slot).map(|_| ())
    })
    .await;
}

async fn compute(node: &Node, process: Id) {
    let host = Request::Host { process, compute: true, messenger: false, evaluate: None };
    node.ask::<Value>(host).await.unwrap();
}

async fn metric(node: &Node, name: &str) -> f64 {
    let text: String = node.ask(Request::Metrics).await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    line.trim().parse().unwrap()
}

async fn same_state(one: &Node, other: &Node, process: Id) {
    let (one, other) = (one.detail(process).await, other.detail(process).await);
    assert_eq!(one.info.computed, other.info.computed);
    assert_eq!(one.info.running, other.info.running);
    assert!(one.state_root.is_some() && one.state_root == other.state_root, "{one:?} {other:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_computer_goes_on_from_a_signed_checkpoint_and_comes_to_the_same_state() {
    let (scheduler, process) = old(160).await;
    let new = Node::set_up(161, &[&scheduler], |config| config.join = Join::Checkpoint).await;
    compute(&new, process).await;
    computed(&new, process, u64::from(SLOTS) - 1).await;
    assert!(metric(&new, "weft_joins_total{outcome=\"joined\"}").await > 0.0);
    same_state(&scheduler, &new, process).await;
    // What was before it did not evaluate: that is the scheduler's word, and a replay's.
    let reader = Stranger::of(&new, 162).await;
    let early = DataItem::verify_bytes(reader.slots(process, 5, 5).await[0].item.clone()).unwrap().id();
    let ask = wire::OutcomeRequest { process: wire::bytes(process), item: wire::bytes(early) };
    assert!(matches!(reader.ask(Ask::Outcome(ask)).await, Answer::Refusal(_)));
    let of = ResultOf::Item(early);
    let result: Value = new.ask(Request::Result { process, of, wait_ms: 30_000 }).await.unwrap();
    assert_eq!(
        (&result["computed_here"], &result["code"]),
        (&Value::Bool(false), &Value::from(0)),
        "{result}"
    );
    // It goes on as one that has evaluated all of it, a repeated message included.
    let again = Node::message(process, 200, &key(1));
    let slot = scheduler.submit(&again).await.unwrap().slot;
    assert_eq!(scheduler.submit(&again).await.unwrap().slot, slot);
    computed(&scheduler, process, slot).await;
    computed(&new, process, slot).await;
    same_state(&scheduler, &new, process).await;
    for node in [new, scheduler] {
        node.stop().await;
    }
}

/// Whether the weave at an address has a checkpoint of a process.
async fn has_checkpoint(address: &str, process: Id) -> bool {
    let query = format!(
        "{{transactions(tags:[{{name:\"Type\",values:[\"Weft-Checkpoint\"]}},\
         {{name:\"Process\",values:[\"{process}\"]}}]){{edges{{node{{id}}}}}}}}"
    );
    let body = serde_json::json!({ "query": query }).to_string();
    let asked = reqwest::Client::new().post(format!("{address}/graphql"));
    let answer = asked.header("content-type", "application/json").body(body).send().await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    !answer["data"]["transactions"]["edges"].as_array().unwrap().is_empty()
}

/// No peer is left. The log comes from a weave, and so does a checkpoint that the attestors signed: only what is
/// after that is evaluated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_computer_goes_on_from_a_signed_checkpoint_on_a_weave() {
    let keeper = Node::set_up(163, &[], |config| {
        config.weave_listen = Some("127.0.0.1:0".parse().unwrap());
        config.anchor_checkpoints = AnchorCheckpoints::Boundaries;
        config.anchor_batch_age_ms = 200;
    });
    let keeper = keeper.await;
    let process = keeper.counter().await;
    send(&keeper, process, 1..SLOTS).await;
    let last = u64::from(SLOTS) - 1;
    computed(&keeper, process, last).await;
    until("the log to be anchored", || async {
        (keeper.detail(process).await.info.anchored >= Some(last)).then_some(())
    })
    .await;
    let address = keeper.ready.weave_api.clone().unwrap();
    until("a checkpoint on the weave", || async { has_checkpoint(&address, process).await.then_some(()) })
        .await;
    let new = Node::set_up(164, &[], |config| {
        config.join = Join::Checkpoint;
        config.gateways = vec![address];
    });
    let new = new.await;
    compute(&new, process).await;
    computed(&new, process, last).await;
    assert!(metric(&new, "weft_joins_total{outcome=\"joined\"}").await > 0.0);
    same_state(&keeper, &new, process).await;
    for node in [new, keeper] {
        node.stop().await;
    }
}

/// What a peer changes of what an honest one says.
type Lie = fn(&mut Answer);

const LIES: [(&str, Lie); 5] = [
    ("nobody signed it", |answer| change(answer, |checkpoint| checkpoint.attestations.clear())),
    ("a stranger signed it", |answer| {
        change(answer, |checkpoint| {
            let said = Attestation::from_wire(&checkpoint.attestations[0], network()).unwrap();
            let by_stranger = said.verify().unwrap().statement().sign(&key(9)).unwrap();
            checkpoint.attestations = vec![by_stranger.to_wire()];
        });
    }),
    ("another state", |answer| {
        change(answer, |checkpoint| checkpoint.state.as_mut().unwrap().seen_count += 1);
    }),
    ("another memory", |answer| {
        change(answer, |checkpoint| checkpoint.pages = flipped(&checkpoint.pages));
    }),
    ("another page", |answer| {
        if let Answer::Pages(answer) = answer {
            answer.pages[0] = flipped(&answer.pages[0]);
        }
    }),
];

fn change(answer: &mut Answer, change: impl FnOnce(&mut wire::CheckpointResponse)) {
    if let Answer::Checkpoint(checkpoint) = answer {
        change(checkpoint);
    }
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes.into()
}

/// A peer of the follower that passes on what an honest node says, but for a lie.
async fn liar(follower: &Node, honest: &Node, seed: u8, process: Id, lie: Lie) -> JoinHandle<()> {
    let (mut source, behind) =
        (Stranger::of(follower, seed).await, Arc::new(Stranger::of(honest, seed + 1).await));
    source.net.join(process).await.unwrap();
    source.is_heard_by(follower).await;
    tokio::spawn(async move {
        while let Some(event) = source.events.recv().await {
            match event {
                NetEvent::Request { request, reply, .. } => {
                    let behind = Arc::clone(&behind);
                    tokio::spawn(async move {
                        let mut answer = behind.ask(request.body.unwrap()).await;
                        lie(&mut answer);
                        // The follower may have stopped.
                        let _ = reply.send(wire::Response { body: Some(answer) });
                    });
                }
                NetEvent::Gossip { ticket, .. } => source.net.verdict(ticket, Verdict::Accept),
                _ => {}
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_false_checkpoint_is_refused_costs_its_sender_and_the_log_is_replayed() {
    let (honest, process) = old(170).await;
    let honest = &honest;
    let deceived = (171..).step_by(3).zip(LIES).map(|(seed, (name, lie))| async move {
        let follower = Node::set_up(seed, &[], |config| config.join = Join::Checkpoint).await;
        let serving = liar(&follower, honest, seed + 1, process, lie).await;
        compute(&follower, process).await;
        computed(&follower, process, u64::from(SLOTS) - 1).await;
        until("the join to end", || async {
            let replayed = metric(&follower, "weft_joins_total{outcome=\"replayed\"}").await;
            (replayed > 0.0).then_some(())
        })
        .await;
        assert!(metric(&follower, "weft_network_events_total{event=\"faults\"}").await > 0.0, "{name}");
        assert_eq!(metric(&follower, "weft_joins_total{outcome=\"joined\"}").await, 0.0, "{name}");
        same_state(honest, &follower, process).await;
        follower.stop().await;
        serving.abort();
    });
    join_all(deceived).await;
}
