//! Where many logs of one source end.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use weft_net::{NetEvent, Verdict};
use weft_node::control::api::{PeerInfo, Request};
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{Id, wire};

use crate::support::{Node, Stranger, until};

/// As many as are asked about beside each other, and as many again.
const LOGS: usize = 8;

/// Logs of two slots.
async fn logs(seed: u8) -> BTreeMap<Id, Vec<wire::SlotRecord>> {
    let node = Node::start(seed).await;
    let reader = Stranger::of(&node, seed + 1).await;
    let mut logs = BTreeMap::new();
    for number in 0..LOGS {
        let process = node.counter_named(&number.to_string()).await;
        node.increments(process, 1).await;
        logs.insert(process, reader.slots(process, 0, 1).await);
    }
    node.stop().await;
    logs
}

/// Tells where a log ends only to who asks about several at once, and gives a slot at a time.
fn answer(logs: &BTreeMap<Id, Vec<wire::SlotRecord>>, ask: Ask) -> Option<Answer> {
    let slots = |process: &Bytes| &logs[&wire::id("process", process).unwrap()];
    match ask {
        Ask::Head(ask) if ask.processes.len() == 1 => None,
        Ask::Head(ask) => {
            let heads = ask.processes.into_iter().map(|process| {
                let assignment = slots(&process)[1].assignment.clone();
                wire::Head { process, epoch: 0, slot: 1, assignment }
            });
            Some(Answer::Head(wire::HeadResponse { heads: heads.collect() }))
        }
        Ask::Range(ask) => {
            let slot = slots(&ask.process).get(usize::try_from(ask.from).unwrap()).cloned();
            Some(Answer::Range(wire::RangeResponse { slots: slot.into_iter().collect(), more: true }))
        }
        _ => Some(Answer::Refusal(wire::Refusal::default())),
    }
}

/// One at a time, a node with a few hundred quiet logs of one scheduler would ask about each too rarely to know
/// that it is fresh.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_of_many_logs_is_asked_about_several_at_once() {
    let logs = logs(140).await;
    let follower = Node::start(142).await;
    let mut source = Stranger::of(&follower, 143).await;
    for process in logs.keys() {
        source.net.join(*process).await.unwrap();
    }
    let own = source.net.peer().to_string();
    until("all topics", || async {
        let peers: Vec<PeerInfo> = follower.ask(Request::Peers).await.unwrap();
        peers.iter().any(|peer| peer.peer_id == own && peer.topics == LOGS).then_some(())
    })
    .await;
    let serving = tokio::spawn({
        let logs = logs.clone();
        async move {
            let mut silent = Vec::new();
            while let Some(event) = source.events.recv().await {
                match event {
                    NetEvent::Request { request, reply, .. } => match answer(&logs, request.body.unwrap()) {
                        Some(body) => drop(reply.send(wire::Response { body: Some(body) })),
                        None => silent.push(reply),
                    },
                    NetEvent::Gossip { ticket, .. } => source.net.verdict(ticket, Verdict::Accept),
                    _ => {}
                }
            }
        }
    });
    for process in logs.keys() {
        let host = Request::Host { process: *process, compute: false, messenger: false, evaluate: None };
        follower.ask::<Value>(host).await.unwrap();
    }
    until("slot 1 of some", || async {
        let heads = logs.keys().map(|process| follower.detail(*process));
        let heads = futures::future::join_all(heads).await;
        (heads.iter().filter(|detail| detail.info.head == Some(1)).count() > 1).then_some(())
    })
    .await;
    follower.stop().await;
    serving.abort();
}
