//! Announcements: delivery, verdicts, scores, full queues.

use std::collections::BTreeSet;

use bytes::Bytes;
use weft_net::{JoinError, NetEvent, PublishError, Published, Verdict};
use weft_protocol::wire::ANNOUNCEMENT_BYTES_MAX;

use crate::support::{Node, config, process, until};

#[tokio::test]
async fn an_announcement_reaches_every_node_of_eight_once() {
    let first = Node::plain(1).await;
    let mut nodes = vec![first];
    for seed in 2..=8 {
        nodes.push(Node::joining(seed, &nodes[usize::from(seed) / 3]).await);
    }
    for node in &nodes {
        node.net.join(process(1)).await.unwrap();
    }
    for node in &nodes {
        until("a subscriber", || async {
            (!node.net.subscribers(process(1)).await.unwrap().is_empty()).then_some(())
        })
        .await;
    }
    // Every node publishes one of its own, and all publish one that is the same.
    for (n, node) in nodes.iter().enumerate() {
        let own = Bytes::from(format!("from {n}"));
        assert_eq!(node.net.publish(process(1), own).await, Ok(Published::Sent));
    }
    let wanted: BTreeSet<Bytes> = (0..8).map(|n| Bytes::from(format!("from {n}"))).collect();
    // All at once: what one accepts, others wait for.
    let heard = nodes.into_iter().enumerate().map(|(n, mut node)| {
        let wanted = &wanted;
        async move {
            let mut heard = BTreeSet::from([Bytes::from(format!("from {n}"))]);
            while heard != *wanted {
                assert!(heard.insert(node.judge(Verdict::Accept).await), "heard twice");
            }
            node
        }
    });
    for node in futures::future::join_all(heard).await {
        assert_eq!(node.net.metrics().gossip_received, 7);
        until("the verdicts", || async { (node.net.metrics().gossip_accepted == 7).then_some(()) }).await;
    }
}

#[tokio::test]
async fn equal_bytes_are_one_announcement_whoever_publishes_them() {
    let mut hub = Node::plain(1).await;
    let (left, right) = (Node::joining(2, &hub).await, Node::joining(3, &hub).await);
    for node in [&hub, &left, &right] {
        node.net.join(process(1)).await.unwrap();
    }
    left.sees_subscribed(process(1), &hub).await;
    right.sees_subscribed(process(1), &hub).await;
    let same = Bytes::from_static(b"same");
    assert_eq!(left.net.publish(process(1), same.clone()).await, Ok(Published::Sent));
    assert_eq!(left.net.publish(process(1), same.clone()).await, Ok(Published::Duplicate));
    assert_eq!(hub.judge(Verdict::Ignore).await, same);
    let again = right.net.publish(process(1), same.clone()).await.unwrap();
    assert!(matches!(again, Published::Sent | Published::Duplicate));
    assert_eq!(right.net.publish(process(1), "other".into()).await, Ok(Published::Sent));
    assert_eq!(hub.judge(Verdict::Accept).await, "other");
    assert_eq!(hub.net.metrics().gossip_received, 2);
}

#[tokio::test]
async fn publishing_to_nobody_says_so() {
    let mut hub = Node::plain(1).await;
    let node = Node::joining(2, &hub).await;
    assert_eq!(node.net.publish(process(1), "x".into()).await, Err(PublishError::NoSubscribers));
    assert_eq!(node.net.metrics().published_to_nobody, 1);
    let large = Bytes::from(vec![0; ANNOUNCEMENT_BYTES_MAX + 1]);
    assert!(matches!(node.net.publish(process(1), large).await, Err(PublishError::TooLarge { .. })));
    // The same bytes go out once somebody is there; joining is not needed to publish.
    hub.net.join(process(1)).await.unwrap();
    node.sees_subscribed(process(1), &hub).await;
    assert_eq!(node.net.publish(process(1), "x".into()).await, Ok(Published::Sent));
    assert_eq!(hub.judge(Verdict::Accept).await, "x");
    let largest = Bytes::from(vec![7; ANNOUNCEMENT_BYTES_MAX]);
    assert_eq!(node.net.publish(process(1), largest.clone()).await, Ok(Published::Sent));
    assert_eq!(hub.judge(Verdict::Accept).await, largest);
}

#[tokio::test]
async fn several_announcements_go_out_in_their_order_and_each_has_its_answer() {
    let mut hub = Node::plain(1).await;
    let node = Node::joining(2, &hub).await;
    hub.net.join(process(1)).await.unwrap();
    node.sees_subscribed(process(1), &hub).await;
    let said = |n: usize| Bytes::from(format!("said {n}"));
    let large = Bytes::from(vec![0; ANNOUNCEMENT_BYTES_MAX + 1]);
    let mut all: Vec<_> = (0..100).map(|n| (process(1), said(n))).collect();
    all.push((process(1), said(0)));
    all.push((process(2), said(0)));
    all.push((process(1), large));
    let answers = node.net.publish_all(all).await;
    assert!(answers[..100].iter().all(|answer| *answer == Ok(Published::Sent)));
    assert_eq!(answers[100..102], [Ok(Published::Duplicate), Err(PublishError::NoSubscribers)]);
    assert!(matches!(answers[102..], [Err(PublishError::TooLarge { .. })]));
    for n in 0..100 {
        assert_eq!(hub.judge(Verdict::Accept).await, said(n));
    }
}

#[tokio::test]
async fn rejects_lower_the_score_until_nothing_is_heard_and_ignores_do_not() {
    let mut judge = Node::plain(1).await;
    let bad = Node::joining(2, &judge).await;
    let good = Node::joining(3, &judge).await;
    for node in [&judge, &bad, &good] {
        node.net.join(process(1)).await.unwrap();
    }
    judge.sees_subscribed(process(1), &bad).await;
    judge.sees_subscribed(process(1), &good).await;
    for node in [&bad, &good] {
        node.sees_subscribed(process(1), &judge).await;
    }
    for n in 0..20 {
        let _ = good.net.publish(process(1), format!("ignore {n}").into()).await.unwrap();
        judge.judge(Verdict::Ignore).await;
    }
    until("the verdicts", || async { (judge.net.metrics().gossip_ignored == 20).then_some(()) }).await;
    assert!(judge.sees("the good", &good, |_| true).await.score >= 0.0);
    for (n, below) in [(0, -50.0), (1, -300.0), (2, -800.0)] {
        let _ = bad.net.publish(process(1), format!("reject {n}").into()).await.unwrap();
        assert_eq!(judge.judge(Verdict::Reject).await, format!("reject {n}"));
        judge.sees("a lower score", &bad, |info| info.score < below).await;
    }
    // Now the bad one is not heard: what the good one says afterwards comes first.
    let _ = bad.net.publish(process(1), "unheard".into()).await;
    let _ = good.net.publish(process(1), "heard".into()).await.unwrap();
    assert_eq!(judge.judge(Verdict::Accept).await, "heard");
    assert_eq!(judge.net.metrics().gossip_rejected, 3);
    assert!(judge.sees("the good", &good, |_| true).await.score >= 0.0);
}

#[tokio::test]
async fn a_full_event_queue_ignores_gossip_and_counts_it() {
    let mut small = config(1);
    small.limits.events = 2;
    let mut slow = Node::start(small).await;
    let fast = Node::joining(2, &slow).await;
    slow.net.join(process(1)).await.unwrap();
    fast.net.join(process(1)).await.unwrap();
    fast.sees_subscribed(process(1), &slow).await;
    for n in 0..50 {
        let _ = fast.net.publish(process(1), format!("{n}").into()).await.unwrap();
    }
    until("ignored gossip", || async {
        let metrics = slow.net.metrics();
        (metrics.gossip_received == 50 && metrics.gossip_full >= 40).then_some(())
    })
    .await;
    // It costs the sender nothing, and the node hears again once it reads.
    assert!(slow.sees("the sender", &fast, |_| true).await.score >= 0.0);
    while let Ok(event) = slow.events.try_recv() {
        if let NetEvent::Gossip { ticket, .. } = event {
            slow.net.verdict(ticket, Verdict::Accept);
        }
    }
    let _ = fast.net.publish(process(1), "heard again".into()).await.unwrap();
    assert_eq!(slow.judge(Verdict::Accept).await, "heard again");
}

#[tokio::test]
async fn a_ticket_without_a_verdict_expires_as_ignore() {
    let mut judge = Node::plain(1).await;
    let node = Node::joining(2, &judge).await;
    judge.net.join(process(1)).await.unwrap();
    node.sees_subscribed(process(1), &judge).await;
    let _ = node.net.publish(process(1), "x".into()).await.unwrap();
    let (_, _, _, ticket) = judge.next_gossip().await;
    until("expiry", || async { (judge.net.metrics().gossip_expired == 1).then_some(()) }).await;
    judge.net.verdict(ticket, Verdict::Accept);
    until("a late verdict", || async { (judge.net.metrics().verdicts_late == 1).then_some(()) }).await;
    assert_eq!(judge.net.metrics().gossip_accepted, 0);
}

#[tokio::test]
async fn both_sides_hear_of_a_shared_topic_whoever_joins_last() {
    let mut first = Node::plain(1).await;
    let mut second = Node::joining(2, &first).await;
    first.net.join(process(1)).await.unwrap();
    second.sees_subscribed(process(1), &first).await;
    second.net.join(process(1)).await.unwrap();
    let shared = |event| match event {
        NetEvent::Subscribed { process, peer } => Some((process, peer)),
        _ => None,
    };
    assert_eq!(first.next("news of the second", shared).await, (process(1), second.peer()));
    assert_eq!(second.next("news of the first", shared).await, (process(1), first.peer()));
    let info = first.sees("the shared process", &second, |info| info.topics == 1).await;
    assert_eq!(info.processes, [process(1)]);
    second.net.leave(process(1)).await.unwrap();
    first.sees("no topic", &second, |info| info.topics == 0 && info.processes.is_empty()).await;
    assert_eq!(second.net.subscribers(process(1)).await.unwrap(), [first.peer()]);
}

#[tokio::test]
async fn one_topic_too_many_is_refused() {
    let mut small = config(1);
    small.limits.topics = 2;
    let node = Node::start(small).await;
    node.net.join(process(1)).await.unwrap();
    node.net.join(process(2)).await.unwrap();
    node.net.join(process(2)).await.unwrap();
    assert_eq!(node.net.join(process(3)).await, Err(JoinError::TooMany { limit: 2 }));
    node.net.leave(process(1)).await.unwrap();
    node.net.join(process(3)).await.unwrap();
}
