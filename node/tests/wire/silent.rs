//! Peers that take questions and answer none: those who wait for a result are held up by nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use weft_node::control::api::{Request, ResultOf};
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{DataItem, wire};

use crate::followed::{Script, Truth, source, truth};
use crate::support::{Node, until};

/// Asks what came of the message in slot 1.
fn asks(truth: &Truth, wait_ms: u64) -> Request {
    let item = DataItem::verify_bytes(truth.slots[1].item.clone()).unwrap().id();
    Request::Result { process: truth.process, of: ResultOf::Item(item), wait_ms }
}

fn outcome() -> wire::OutcomeResponse {
    wire::OutcomeResponse {
        position: Some(wire::Position { epoch: 0, slot: 1, tick: 0 }),
        code: 0,
        result: Bytes::from_static(b"{}"),
        running: Bytes::from_static(&[1; 32]),
        proof: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_sources_hold_up_nobody_who_waits_for_a_result() {
    // Each may take two seconds, and one look of who does not wait takes three.
    const QUICK: Duration = Duration::from_secs(1);
    let truth = Arc::new(truth(110, 2).await);
    let follower = Node::start(112).await;
    let silent = Script::silent(true);
    let mut serving = Vec::new();
    for seed in 113..116 {
        serving.push(source(&follower, seed, &truth, &silent).await);
    }
    let honest = Script::telling(outcome());
    serving.push(source(&follower, 116, &truth, &honest).await);
    until("a quick answer", || async {
        let began = Instant::now();
        let result = follower.ask::<Value>(asks(&truth, 0)).await.ok()?;
        assert_eq!(result["position"]["slot"], 1, "{result}");
        (began.elapsed() < QUICK).then_some(())
    })
    .await;
    assert!(!silent.lock().unwrap().unanswered.as_ref().unwrap().is_empty(), "they were not asked");
    follower.stop().await;
    serving.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Its request keeps a place among those under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_asks_a_silent_source_once() {
    let truth = Arc::new(truth(120, 2).await);
    let (follower, silent) = (Node::start(122).await, Script::silent(false));
    let serving = source(&follower, 123, &truth, &silent).await;
    let began = Instant::now();
    // It looks again and again.
    follower.ask::<Value>(asks(&truth, 4_000)).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(25), "a request may take thirty: {:?}", began.elapsed());
    assert_eq!(silent.lock().unwrap().unanswered.as_ref().unwrap().len(), 1);
    follower.stop().await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_goes_on_when_whoever_asked_is_gone() {
    let truth = Arc::new(truth(130, 2).await);
    let (follower, slow) = (Node::start(132).await, Script::silent(true));
    let serving = source(&follower, 133, &truth, &slow).await;
    follower.ask::<Value>(asks(&truth, 0)).await.unwrap_err();
    // The slot comes when nobody waits for it any more; what came of the message is told at once.
    let held = {
        let mut slow = slow.lock().unwrap();
        (slow.keeps_slots, slow.outcome) = (false, Some(outcome()));
        slow.unanswered.take().unwrap()
    };
    assert_eq!(held.len(), 1, "the slot was asked for once");
    let slots = vec![truth.slots[0].clone()];
    for (_, reply) in held {
        let body = Some(Answer::Range(wire::RangeResponse { slots: slots.clone(), more: true }));
        reply.send(wire::Response { body }).unwrap();
    }
    let result = follower.ask::<Value>(asks(&truth, 60_000)).await.unwrap();
    assert_eq!(result["position"]["slot"], 1, "{result}");
    assert_eq!(slow.lock().unwrap().asked, [0], "and not once more");
    follower.stop().await;
    serving.abort();
}

/// It need only be quicker, and nothing of its answer can be checked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_only_quick_is_not_believed_before_the_scheduler() {
    let truth = Arc::new(truth(140, 2).await);
    let follower = Node::start(142).await;
    // Whoever has its key is the scheduler.
    let scheduler = Script::silent(false);
    let liar = Script::telling(wire::OutcomeResponse { code: 1, ..outcome() });
    let mut serving = vec![source(&follower, 140, &truth, &scheduler).await];
    serving.push(source(&follower, 143, &truth, &liar).await);
    let answering = async {
        let held = until("both to be asked", || async {
            let lied = liar.lock().unwrap().outcomes > 0;
            let mut scheduler = scheduler.lock().unwrap();
            let held = scheduler.unanswered.as_mut().unwrap();
            (lied && !held.is_empty()).then(|| std::mem::take(held))
        });
        for (_, reply) in held.await {
            // It may have been asked where the log ends.
            let _ = reply.send(wire::Response { body: Some(Answer::Outcome(outcome())) });
        }
    };
    let (result, ()) = tokio::join!(follower.ask::<Value>(asks(&truth, 60_000)), answering);
    assert_eq!(result.unwrap()["code"], 0);
    follower.stop().await;
    serving.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_sources_keep_no_item_of_others() {
    // Each request that nobody answers takes thirty.
    const QUICK: Duration = Duration::from_secs(25);
    let truth = Arc::new(truth(160, 2).await);
    let follower = Node::start(162).await;
    let silent = Script::silent(false);
    silent.lock().unwrap().keeps_items = true;
    let mut serving = Vec::new();
    for seed in 163..166 {
        serving.push(source(&follower, seed, &truth, &silent).await);
    }
    serving.push(source(&follower, 166, &truth, &Arc::default()).await);
    let host = Request::Host { process: truth.process, compute: true, messenger: false, evaluate: None };
    follower.ask::<Value>(host).await.unwrap();
    let began = Instant::now();
    let of = ResultOf::Slot(0);
    let asked = Request::Result { process: truth.process, of, wait_ms: 60_000 };
    assert_eq!(follower.ask::<Value>(asked).await.unwrap()["code"], 0);
    assert!(began.elapsed() < QUICK, "{:?}", began.elapsed());
    follower.stop().await;
    serving.iter().for_each(tokio::task::JoinHandle::abort);
}
