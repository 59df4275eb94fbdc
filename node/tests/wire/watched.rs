//! Many processes that are watched over one connection.

use std::collections::BTreeSet;

use weft_node::control::api::{FailureCode, Reply, Request, WatchEvent, Watched};
use weft_node::control::client::{ClientError, typed};
use weft_protocol::Id;

use crate::support::{Node, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_are_watched_over_one_connection() {
    let node = Node::start(90).await;
    let one = node.counter_named("one").await;
    let two = node.counter_named("two").await;
    let other = node.counter_named("other").await;
    let mut client = node.client().await;
    client.send(&Request::WatchMany { processes: vec![one, two], from: Some(0) }).await.unwrap();
    for (number, process) in [(1, other), (2, one), (3, two)] {
        assert_eq!(node.increments(process, number).await, 1);
    }
    // Each once: a slot or an outcome, of which process, and where.
    let mut seen: BTreeSet<(&str, Id, u64)> = BTreeSet::new();
    let wanted: BTreeSet<_> = [one, two]
        .into_iter()
        .flat_map(|process| [("slot", process, 0), ("slot", process, 1), ("outcome", process, 1)])
        .collect();
    let watching = async {
        while !wanted.is_subset(&seen) {
            let Reply::Event(event) = client.reply().await.unwrap() else { panic!("it ended: {seen:?}") };
            let Watched { process, event } = typed(event).unwrap();
            let what = match event {
                WatchEvent::Slot(slot) => ("slot", process, slot.slot),
                WatchEvent::Outcome { position, .. } => ("outcome", process, position.slot),
                _ => continue,
            };
            assert!(process != other && seen.insert(what), "{what:?} was not asked for, or comes twice");
        }
    };
    within("all slots and outcomes", watching).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_let_go_ends_no_watch_of_others() {
    let node = Node::start(92).await;
    let scheduler = Node::knowing(93, &[&node]).await;
    let (gone, own) = (scheduler.counter_named("gone").await, node.counter_named("own").await);
    let mut client = node.client().await;
    client.send(&Request::WatchMany { processes: vec![gone, own], from: Some(0) }).await.unwrap();
    let mut next = async || {
        let Reply::Event(event) = within("an event", client.reply()).await.unwrap() else {
            panic!("it ended");
        };
        let Watched { process, event } = typed(event).unwrap();
        (process, event)
    };
    let mut begun = BTreeSet::new();
    while begun.len() < 2 {
        if let (process, WatchEvent::Slot(_)) = next().await {
            begun.insert(process);
        }
    }
    node.ask::<serde_json::Value>(Request::Unhost { process: gone }).await.unwrap();
    loop {
        if let (process, WatchEvent::Alarm { text }) = next().await {
            assert!(process == gone && text.contains("is not hosted"), "{text}");
            break;
        }
    }
    let slot = node.increments(own, 2).await;
    loop {
        match next().await {
            (process, WatchEvent::Slot(seen)) if process == own && seen.slot == slot => break,
            (process, event) => assert_eq!(process, own, "{event:?}"),
        }
    }
    node.stop().await;
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_are_watched_as_one_connection_carries() {
    let node = Node::start(91).await;
    for count in [0, 1_001] {
        let processes = vec![Id([7; 32]); count];
        let asked = node.ask::<()>(Request::WatchMany { processes, from: None }).await;
        let Err(ClientError::Failed(failure)) = asked else { panic!("{asked:?}") };
        assert_eq!(failure.code, FailureCode::Invalid);
        let text = format!("{count} processes cannot be watched at once: expected 1 to 1000");
        assert_eq!(failure.text, text);
    }
    node.stop().await;
}
