//! Results by slot at a node without the log: which message a slot has is asked of those who have it, and nothing is taken for
//! that but what the scheduler signed.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use tokio::task::JoinHandle;
use weft_node::control::api::{Request, ResultOf};
use weft_protocol::assignment::Assignment;
use weft_protocol::crypto::Signer;
use weft_protocol::{DataItem, Id, wire};

use crate::followed::{Script, Truth, named, source, truth_of, unlinked};
use crate::proven::proven;
use crate::support::{Node, Stranger, key, until};

fn asks(process: Id, slot: u64, wait_ms: u64) -> Request {
    Request::Result { process, of: ResultOf::Slot(slot), wait_ms }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_result_of_a_slot_is_told_where_its_log_is_not() {
    let node = Node::start(180).await;
    let process = node.counter().await;
    for number in 1..4 {
        node.increments(process, number).await;
    }
    let other = Node::knowing(181, &[&node]).await;
    for slot in 0..4 {
        let own: Value = node.ask(asks(process, slot, 0)).await.unwrap();
        let told =
            until("a result", || async { other.ask::<Value>(asks(process, slot, 0)).await.ok() }).await;
        assert_eq!(told["computed_here"], false, "{told}");
        for part in ["result", "code", "position", "running"] {
            assert_eq!(told[part], own[part], "{part} of slot {slot}");
        }
    }
    // What is not there yet is waited for.
    let error = other.ask::<Value>(asks(process, 4, 0)).await.unwrap_err().to_string();
    assert!(error.contains("slot 4") && error.contains("1 said that there is none"), "{error}");
    let (told, slot) =
        tokio::join!(other.ask::<Value>(asks(process, 4, 60_000)), node.increments(process, 4));
    assert_eq!((told.unwrap()["position"]["slot"].as_u64(), slot), (Some(4), 4));
    // Nothing was taken up for it.
    let slots = other.ask::<Value>(Request::Slots { process, from: 0, limit: 9 }).await;
    assert!(slots.unwrap_err().to_string().contains("not hosted"));
    other.stop().await;
    node.stop().await;
}

/// A slot after the last one, signed by this key: with this message, or with the one of slot 1 once more.
fn signed(truth: &Truth, slot: u64, message: Option<&DataItem>, signer: &Signer) -> wire::SlotRecord {
    let item = DataItem::verify_bytes(truth.slots[1].item.clone()).unwrap();
    let last = DataItem::verify_bytes(truth.slots[1].assignment.clone()).unwrap();
    let Assignment { process, time, .. } = Assignment::from_item(&last).unwrap();
    unlinked(process, slot, time, message.unwrap_or(&item), signer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_a_false_slot_is_named_and_the_next_is_asked() {
    let node = Node::start(184).await;
    let process = node.counter().await;
    node.increments(process, 1).await;
    node.increments(process, 2).await;
    let truth = Arc::new(truth_of(&node, process, 2).await);
    let reader = Stranger::of(&node, 185).await;
    let (_, outcome) = proven(&reader, &truth).await;
    node.stop().await;

    let follower = Node::start(186).await;
    let stranger = key(9);
    let theirs = Node::message(process, 9, &stranger);
    let mut changed = truth.slots[1].clone();
    changed.item = {
        let mut bytes = changed.item.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        Bytes::from(bytes)
    };
    let lies = [truth.slots[2].clone(), signed(&truth, 1, Some(&theirs), &stranger), changed];
    let (mut liars, mut serving) = (Vec::new(), Vec::new());
    for seed in (187..).take(lies.len()) {
        let script = Arc::new(Mutex::new(Script::default()));
        let (name, task) = named(&follower, seed, &truth, &script).await;
        liars.push((name, script));
        serving.push(task);
    }
    // The process itself is known before anybody lies.
    let item = DataItem::verify_bytes(truth.slots[1].item.clone()).unwrap().id();
    let by_item = Request::Result { process, of: ResultOf::Item(item), wait_ms: 0 };
    follower.ask::<Value>(by_item).await.unwrap_err();
    let lie = || {
        for ((_, script), lie) in liars.iter().zip(&lies) {
            script.lock().unwrap().ranges.push_back(vec![lie.clone()]);
        }
    };
    lie();
    let error = follower.ask::<Value>(asks(process, 1, 0)).await.unwrap_err().to_string();
    for (name, _) in &liars {
        assert!(error.contains(&format!("{name} gave a false one")), "{error}");
    }
    lie();
    serving.push(source(&follower, 191, &truth, &Script::telling(outcome)).await);
    let told = follower.ask::<Value>(asks(process, 1, 60_000)).await.unwrap();
    assert_eq!((&told["position"]["slot"], &told["code"]), (&Value::from(1), &Value::from(0)));
    assert_eq!(told["attested_by"].as_array().unwrap().len(), 1, "{told}");
    follower.stop().await;
    serving.iter().for_each(JoinHandle::abort);
}

/// Only a scheduler can give a message two slots; what came of it is told at the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_had_a_slot_before_has_its_result_there() {
    let node = Node::start(192).await;
    let process = node.counter().await;
    node.increments(process, 1).await;
    let mut truth = truth_of(&node, process, 1).await;
    let reader = Stranger::of(&node, 193).await;
    let (item, outcome) = proven(&reader, &truth).await;
    node.stop().await;
    let again = signed(&truth, 2, None, &key(192));
    truth.slots.push(again);
    let truth = Arc::new(truth);

    let follower = Node::start(194).await;
    let serving = source(&follower, 195, &truth, &Script::telling(outcome)).await;
    let error = follower.ask::<Value>(asks(process, 2, 60_000)).await.unwrap_err().to_string();
    let advice = format!("which had slot 1 before; its result is there: `weft result {process} {item}`");
    assert!(error.contains(&advice), "{error}");
    follower.stop().await;
    serving.abort();
}

/// Whoever asks for slots of a process whose peers are silent waits for those alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_silence_of_one_processs_peers_holds_up_no_look_for_slots_of_another() {
    let gone = Node::start(196).await;
    let quiet = gone.counter().await;
    gone.increments(quiet, 1).await;
    let truth = Arc::new(truth_of(&gone, quiet, 1).await);
    gone.stop().await;
    let node = Node::start(197).await;
    let process = node.counter().await;
    node.increments(process, 1).await;

    let follower = Node::knowing(198, &[&node]).await;
    until("a result", || async { follower.ask::<Value>(asks(process, 0, 0)).await.ok() }).await;
    let script = Arc::new(Mutex::new(Script::default()));
    let serving = source(&follower, 199, &truth, &script).await;
    // The process itself is known before its peers are silent.
    let item = DataItem::verify_bytes(truth.slots[1].item.clone()).unwrap().id();
    let by_item = Request::Result { process: quiet, of: ResultOf::Item(item), wait_ms: 0 };
    follower.ask::<Value>(by_item).await.unwrap_err();
    {
        let mut script = script.lock().unwrap();
        (script.keeps_slots, script.unanswered) = (true, Some(Vec::new()));
        script.asked.clear();
    }
    let looks = futures::future::join_all((0..3).map(|_| follower.ask::<Value>(asks(quiet, 1, 60_000))));
    let meanwhile = async {
        until("a look", || async { (!script.lock().unwrap().asked.is_empty()).then_some(()) }).await;
        let told = follower.ask::<Value>(asks(process, 1, 0)).await.unwrap();
        assert_eq!(told["position"]["slot"], 1, "{told}");
        let error = follower.ask::<Value>(asks(quiet, 1, 0)).await.unwrap_err().to_string();
        assert!(error.contains("nobody was asked for it") && !error.contains("did not answer"), "{error}");
    };
    tokio::select! {
        _ = looks => panic!("nobody answers them"),
        () = meanwhile => {}
    }
    follower.stop().await;
    node.stop().await;
    serving.abort();
}
