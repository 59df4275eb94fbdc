//! The traps of a topic per process: many topics, quiet ones, and the heartbeat.

use std::time::Duration;

use bytes::Bytes;
use weft_net::{Published, Verdict};

use crate::support::{Node, config, process, until};

async fn join_many(node: &Node, count: u32) {
    for n in 0..count {
        node.net.join(process(n)).await.unwrap();
    }
}

/// Joined before the connection, all topics travel in one frame: the library's own limits drop it
/// whole at 101 topics, at 16 KiB and at 64 KiB.
async fn learned_whole(count: u32) {
    let many = Node::plain(1).await;
    join_many(&many, count).await;
    let peer = Node::joining(2, &many).await;
    peer.sees("all topics", &many, |info| info.topics == count as usize).await;
}

#[tokio::test]
async fn one_hundred_and_one_topics_before_connecting_are_all_learned() {
    learned_whole(101).await;
}

#[tokio::test]
async fn three_hundred_topics_before_connecting_are_all_learned() {
    learned_whole(300).await;
}

#[tokio::test]
async fn as_many_topics_as_a_node_may_join_are_all_learned() {
    learned_whole(weft_net::limits::TOPICS_JOINED_MAX as u32).await;
}

/// Joined one by one after the connection all is well; the trap closes at the next connection.
async fn learned_again(count: u32) {
    let many = Node::plain(1).await;
    let peer = Node::joining(2, &many).await;
    join_many(&many, count).await;
    peer.sees("all topics", &many, |info| info.topics == count as usize).await;
    peer.net.shutdown().await;
    let mut bootstrap = config(2);
    bootstrap.bootstrap = vec![many.address()];
    let peer = Node::start(bootstrap).await;
    peer.sees("all topics again", &many, |info| info.topics == count as usize).await;
}

#[tokio::test]
async fn three_hundred_topics_joined_after_connecting_are_learned_again_after_a_reconnect() {
    learned_again(300).await;
}

#[tokio::test]
async fn as_many_topics_as_may_be_are_learned_again_after_a_reconnect() {
    learned_again(weft_net::limits::TOPICS_JOINED_MAX as u32).await;
}

/// Without a tick gossipsub runs two to four times in 8 s on an idle pair instead of once a second.
#[tokio::test]
async fn the_heartbeat_keeps_running_on_an_idle_pair() {
    let first = Node::plain(1).await;
    let second = Node::joining(2, &first).await;
    let beats = |node: Node| async move {
        // The first pings and lookups are over before the count begins.
        let name = "heartbeat_duration_count";
        until("a first heartbeat", || async { (node.gossip_metric(name).await >= 2).then_some(()) }).await;
        let before = node.gossip_metric(name).await;
        let started = tokio::time::Instant::now();
        // tidy-allow(sleep): asking would wake the task, so this one test lets time pass.
        tokio::time::sleep(Duration::from_secs(8)).await;
        let beats = node.gossip_metric(name).await - before;
        let seconds = started.elapsed().as_secs();
        assert!(beats * 4 >= seconds * 3, "{beats} heartbeats in {seconds} s");
    };
    tokio::join!(beats(first), beats(second));
}

/// Both are in each other's mesh longer than the library gives a peer until it must have said something: by its own
/// parameters each would have 200 points less.
#[tokio::test]
async fn a_quiet_topic_that_is_shared_punishes_nobody() {
    let first = Node::plain(1).await;
    let second = Node::joining(2, &first).await;
    for (node, other) in [(&first, &second), (&second, &first)] {
        node.net.join(process(1)).await.unwrap();
        other.sees("the topic", node, |info| info.topics == 1).await;
    }
    for node in [&first, &second] {
        let name = "heartbeat_duration_count";
        let beats = node.gossip_metric(name).await + 10;
        until("heartbeats", || async { (node.gossip_metric(name).await >= beats).then_some(()) }).await;
    }
    for (node, other) in [(&first, &second), (&second, &first)] {
        let info = node.sees("the other", other, |_| true).await;
        // More than nothing, as it is in the mesh.
        assert!(info.score > 0.0, "{info:?}");
    }
}

/// A connection without a shared topic is kept, though gossipsub asks for its end.
#[tokio::test]
async fn idle_connections_are_kept_and_a_topic_that_was_left_punishes_nobody() {
    let quick = |seed| {
        let mut config = config(seed);
        config.limits.idle_timeout = Duration::from_millis(200);
        config
    };
    let mut first = Node::start(quick(1)).await;
    let mut second = quick(2);
    second.bootstrap = vec![first.address()];
    let second = Node::start(second).await;
    first.net.join(process(1)).await.unwrap();
    second.net.join(process(1)).await.unwrap();
    first.sees_subscribed(process(1), &second).await;
    second.sees_subscribed(process(1), &first).await;
    first.net.leave(process(1)).await.unwrap();
    // Eight heartbeats, 40 times the timeout.
    let beats = first.gossip_metric("heartbeat_duration_count").await + 8;
    until("heartbeats", || async {
        (first.gossip_metric("heartbeat_duration_count").await >= beats).then_some(())
    })
    .await;
    let info = first.sees("the second", &second, |_| true).await;
    assert!(info.score >= 0.0, "{info:?}");
    assert!(second.sees("the first", &first, |_| true).await.dialled);
    // It is the same connection: nobody came or went.
    first.net.join(process(2)).await.unwrap();
    second.sees_subscribed(process(2), &first).await;
    let sent = second.net.publish(process(2), Bytes::from_static(b"x")).await;
    assert_eq!(sent, Ok(Published::Sent));
    let mut downs = 0;
    let data = first
        .next("gossip", |event| match event {
            weft_net::NetEvent::PeerDown { .. } => {
                downs += 1;
                None
            }
            weft_net::NetEvent::Gossip { data, ticket, .. } => Some((data, ticket)),
            _ => None,
        })
        .await;
    first.net.verdict(data.1, Verdict::Accept);
    assert_eq!(downs, 0);
}
