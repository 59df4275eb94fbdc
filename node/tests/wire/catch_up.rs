//! A node that was away for long, while others went on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use weft_node::control::api::Request;
use weft_protocol::Id;

use crate::full::is_full;
use crate::support::{Node, Stranger, send, until};

async fn follow(node: &Node, process: Id) {
    let host = Request::Host { process, compute: false, messenger: false, evaluate: None };
    node.ask::<Value>(host).await.unwrap();
}

async fn head(node: &Node, process: Id) -> u64 {
    node.detail(process).await.info.head.unwrap_or(0)
}

/// The counts of the issue with `WEFT_FULL=1`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_missed_slots_are_caught_up_while_traffic_goes_on() {
    let missed: u32 = if is_full() { 10_000 } else { 400 };
    let scheduler = Arc::new(Node::start(90).await);
    let process = scheduler.counter().await;
    let other = Node::knowing(91, &[&scheduler]).await;
    follow(&other, process).await;
    let away = Node::knowing(92, &[&scheduler, &other]).await;
    follow(&away, process).await;
    let folder = away.rest().await;
    send(&scheduler, process, 0..missed).await;
    let stop = Arc::new(AtomicBool::new(false));
    let traffic = tokio::spawn({
        let (scheduler, stop) = (Arc::clone(&scheduler), Arc::clone(&stop));
        async move {
            let mut sent = missed;
            while !stop.load(Ordering::Relaxed) {
                send(&scheduler, process, sent..sent + 4).await;
                sent += 4;
            }
            sent
        }
    });
    let away = Node::in_folder(folder, &[&scheduler, &other], |_| ()).await;
    until("what was missed", || async { (head(&away, process).await >= u64::from(missed)).then_some(()) })
        .await;
    stop.store(true, Ordering::Relaxed);
    let sent = traffic.await.unwrap();
    assert!(sent > missed, "nothing was sent meanwhile");
    until("the same head", || async { (head(&away, process).await == u64::from(sent)).then_some(()) }).await;
    // The log is the same, byte for byte, at both ends.
    let (of_scheduler, of_away) = (Stranger::of(&scheduler, 93).await, Stranger::of(&away, 94).await);
    for from in [0, u64::from(sent) - 5] {
        let slots = of_away.slots(process, from, from + 5).await;
        assert!(!slots.is_empty());
        assert_eq!(slots, of_scheduler.slots(process, from, from + 5).await);
    }
    for node in [away, other, Arc::into_inner(scheduler).unwrap()] {
        node.stop().await;
    }
}
