//! Results that their attestors signed for: believed from anybody, and nobody's false proof is.

use std::sync::Arc;

use serde_json::Value;
use weft_node::control::api::{Request, ResultOf};
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{DataItem, Id, wire};

use crate::followed::{Script, Truth, source, truth_of};
use crate::support::{Node, Stranger, until};

/// The outcome of the message in slot 1 as soon as its node can prove it.
pub async fn proven(reader: &Stranger, truth: &Truth) -> (Id, wire::OutcomeResponse) {
    let item = DataItem::verify_bytes(truth.slots[1].item.clone()).unwrap().id();
    let ask = wire::OutcomeRequest { process: wire::bytes(truth.process), item: wire::bytes(item) };
    let outcome = until("a proof", || async {
        match reader.ask(Ask::Outcome(ask.clone())).await {
            Answer::Outcome(outcome) => outcome.proof.is_some().then_some(outcome),
            other => panic!("{other:?}"),
        }
    });
    (item, outcome.await)
}

fn asks(process: Id, item: Id, wait_ms: u64) -> Request {
    Request::Result { process, of: ResultOf::Item(item), wait_ms }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_proven_to_whoever_did_not_compute_it() {
    let node = Node::start(170).await;
    let process = node.counter().await;
    for number in 1..4 {
        node.increments(process, number).await;
    }
    let reader = Stranger::of(&node, 171).await;
    // The first message sends nothing: unless there was a pause, what was signed after it proves it.
    let (item, _) = proven(&reader, &truth_of(&node, process, 3).await).await;
    let own: Value = node.ask(asks(process, item, 0)).await.unwrap();
    let other = Node::knowing(172, &[&node]).await;
    let result = until("a result", || async { other.ask::<Value>(asks(process, item, 0)).await.ok() }).await;
    let signers = Value::from(vec![node.signer.address().to_string()]);
    assert_eq!((&result["computed_here"], &result["attested_by"]), (&Value::from(false), &signers));
    for part in ["result", "code", "position", "running"] {
        assert_eq!(result[part], own[part], "{part}");
    }
    // And by its slot, once that is here.
    let slot = result["position"]["slot"].as_u64().unwrap();
    other
        .ask::<Value>(Request::Host { process, compute: false, messenger: false, evaluate: None })
        .await
        .unwrap();
    let by_slot = || Request::Result { process, of: ResultOf::Slot(slot), wait_ms: 0 };
    let again = until("a result by slot", || async { other.ask::<Value>(by_slot()).await.ok() }).await;
    assert_eq!((&again["computed_here"], &again["result"]), (&Value::from(false), &result["result"]));
    other.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_false_proof_is_not_believed_and_a_true_one_is_from_anybody() {
    let node = Node::start(174).await;
    let process = node.counter().await;
    node.increments(process, 1).await;
    let truth = Arc::new(truth_of(&node, process, 1).await);
    let reader = Stranger::of(&node, 175).await;
    let (item, true_one) = proven(&reader, &truth).await;
    node.stop().await;

    let follower = Node::start(176).await;
    let mut false_one = true_one.clone();
    false_one.result = String::from_utf8(true_one.result.to_vec()).unwrap().replace('1', "2").into();
    assert_ne!(false_one.result, true_one.result);
    let liar = Script::telling(false_one);
    // Whoever has its key is the scheduler, who says nothing.
    let mut serving = vec![source(&follower, 174, &truth, &Script::silent(false)).await];
    serving.push(source(&follower, 177, &truth, &liar).await);
    follower.ask::<Value>(asks(process, item, 0)).await.unwrap_err();
    assert!(liar.lock().unwrap().outcomes > 0, "the liar was not asked");

    serving.push(source(&follower, 178, &truth, &Script::telling(true_one)).await);
    let result = follower.ask::<Value>(asks(process, item, 60_000)).await.unwrap();
    assert_eq!(result["attested_by"].as_array().unwrap().len(), 1, "{result}");
    assert_eq!(result["code"], 0);
    follower.stop().await;
    serving.iter().for_each(tokio::task::JoinHandle::abort);
}
