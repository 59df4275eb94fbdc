//! Messages that wait for a slot on the topic: what came while the scheduler was away gets its slot when it is back,
//! and a flood gets no further than its places.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::Value;
use weft_node::control::api::{FailureCode, LetterState, PendingInfo, PendingRequest, Request};
use weft_node::control::client::ClientError;
use weft_protocol::crypto::Signer;
use weft_protocol::data_item::Draft;
use weft_protocol::postage::Postage;
use weft_protocol::wire::announcement::Body;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{DataItem, Id, Verified, wire};

use crate::support::{Node, Stranger, announcement, key, network, tags, until};

/// A message with some data, so that a bit of it can be changed and nothing else.
fn message(process: Id, signer: &Signer) -> Verified<DataItem> {
    let tags = tags(&[("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Increment")]);
    Draft { target: Some(process), tags, data: Bytes::from_static(b"some data"), ..Draft::default() }
        .sign(signer)
        .unwrap()
}

/// The message, with exactly so much postage.
fn paid(process: Id, item: &DataItem, bits: u32) -> wire::Pending {
    let postage = Postage::new(network(), process, item.id());
    let nonce = (0..).find(|nonce| postage.bits(*nonce) == bits).unwrap();
    wire::Pending { item: item.raw().clone(), proof: Bytes::new(), postage_nonce: nonce }
}

async fn listed(node: &Node, process: Id) -> PendingInfo {
    node.ask(Request::Pending(PendingRequest::List { process: Some(process) })).await.unwrap()
}

async fn watch(node: &Node, process: Id) {
    let host = Request::Host { process, compute: false, messenger: false, evaluate: None };
    node.ask::<Value>(host).await.unwrap();
}

async fn has_head(node: &Node, process: Id, head: u64) {
    until("a slot", || async { (node.detail(process).await.info.head == Some(head)).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_while_the_scheduler_was_away_gets_its_slot_when_it_is_back_elsewhere() {
    let scheduler = Node::start(150).await;
    let process = scheduler.counter().await;
    let watcher = Node::knowing(151, &[&scheduler]).await;
    watch(&watcher, process).await;
    let client = Node::knowing(152, &[&watcher]).await;
    has_head(&watcher, process, 0).await;
    let before = scheduler.address();
    let folder = scheduler.rest().await;
    // The sender's node knows the process by the watcher alone, and says what becomes of the message.
    let item = message(process, &key(5));
    let failure = match client.submit(&item).await {
        Err(ClientError::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    };
    assert_eq!(failure.code, FailureCode::Pending, "{failure}");
    assert!(failure.text.contains("18 bits of postage"), "{failure}");
    until("the watcher to hold it", || async {
        listed(&watcher, process).await.held.iter().any(|held| held.item == item.id()).then_some(())
    })
    .await;
    assert_eq!(watcher.detail(process).await.info.pending, 1);
    // Another, of which nobody knows any more who sent it.
    let sender = Stranger::on(&watcher, process, 6).await;
    let other = message(process, &sender.signer);
    sender.publish(process, announcement(process, Body::Pending(paid(process, &other, 18)))).await;
    until("the watcher to hold both", || async {
        (listed(&watcher, process).await.held.len() == 2).then_some(())
    })
    .await;
    sender.net.shutdown().await;
    let scheduler = Node::in_folder(folder, &[&watcher], |_| ()).await;
    assert_ne!(scheduler.address(), before);
    for node in [&scheduler, &watcher] {
        has_head(node, process, 2).await;
        until("nothing to wait", || async { listed(node, process).await.held.is_empty().then_some(()) })
            .await;
    }
    let letter = until("the sender to learn of it", || async {
        let letters = listed(&client, process).await.letters;
        letters.into_iter().find(|letter| letter.state == LetterState::Assigned)
    })
    .await;
    assert_eq!(letter.item, item.id());
    let slots: BTreeSet<u64> = [client.submit(&item).await, scheduler.submit(&other).await]
        .into_iter()
        .map(|submitted| submitted.unwrap())
        .map(|submitted| (submitted.duplicate, submitted.slot))
        .map(|(duplicate, slot)| if duplicate { slot } else { panic!("slot {slot} is another one") })
        .collect();
    assert_eq!(slots, [1, 2].into());
    for node in [client, watcher, scheduler] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_waiting_messages_gets_no_further_than_its_places_and_the_unpaid_nowhere() {
    let scheduler = Node::start(155).await;
    let process = scheduler.counter().await;
    let node = Node::knowing(156, &[&scheduler]).await;
    watch(&node, process).await;
    has_head(&node, process, 0).await;
    // What waits stays where it is.
    scheduler.stop().await;
    let mut observer = Stranger::on(&node, process, 157).await;
    let flooder = Stranger::on(&node, process, 158).await;
    let messages: Vec<_> = (0..40).map(|number| message(process, &key(number))).collect();
    for item in &messages {
        flooder.publish(process, announcement(process, Body::Pending(paid(process, item, 18)))).await;
    }
    // It has its place though all are taken, and so the others were judged before it.
    let raised = message(process, &key(60));
    let raised = announcement(process, Body::Pending(paid(process, &raised, 20)));
    flooder.publish(process, raised.clone()).await;
    let heard = observer.hear_until(&raised).await;
    assert_eq!(heard.len(), 32, "as many as there are places for postage");
    let info = listed(&node, process).await;
    assert_eq!((info.held.len(), info.held[0].postage_bits), (32, 20));
    // Who asks is told the same.
    let ask = Ask::Pending(wire::PendingRequest {
        processes: vec![wire::bytes(process), wire::bytes(Id([1; 32]))],
    });
    let Answer::Pending(told) = observer.ask(ask).await else { panic!("no answer") };
    assert_eq!((told.waiting.len(), told.answered), (32, 2));
    // What is not paid for, or not signed, goes nowhere, and whoever sends it is heard no more.
    let liar = Stranger::on(&node, process, 159).await;
    let item = message(process, &key(61));
    let unpaid = wire::Pending { item: item.raw().clone(), proof: Bytes::new(), postage_nonce: 1 };
    let mut forged = paid(process, &item, 22);
    let mut bytes = forged.item.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    forged.item = bytes.into();
    for lie in [unpaid, forged] {
        liar.publish(process, announcement(process, Body::Pending(lie))).await;
    }
    let honest = announcement(process, Body::Pending(paid(process, &item, 20)));
    flooder.publish(process, honest.clone()).await;
    assert_eq!(observer.hear_until(&honest).await, Vec::<Bytes>::new());
    assert_eq!(listed(&node, process).await.held.len(), 32);
    node.stop().await;
}
