//! Connections that break without being closed.

use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weft_net::limits::TOPICS_JOINED_MAX;

use crate::support::{Node, config, process, until, within};

/// Carries one connection to a node, until it is cut on the dialler's side. The node's side stays
/// open, silent, as when the dialler's machine loses its power.
struct Wire {
    address: String,
    cut: oneshot::Sender<()>,
    end: JoinHandle<TcpStream>,
}

impl Wire {
    async fn to(node: &Node) -> Self {
        let address = node.address();
        let port: u16 = address.split('/').nth(4).unwrap().parse().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (cut, is_cut) = oneshot::channel();
        let end = tokio::spawn(async move {
            let (mut dialler, _) = listener.accept().await.unwrap();
            let mut node = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut dialler, &mut node) => panic!("closed before the cut"),
                _ = is_cut => {}
            }
            node
        });
        Self { address: address.replace(&format!("/{port}/"), &format!("/{own}/")), cut, end }
    }

    async fn cut(self) -> TcpStream {
        self.cut.send(()).unwrap();
        within("the cut", self.end).await.unwrap()
    }
}

/// A node, and a peer that came back while the node still holds its dead connection.
async fn restarted_behind_a_dead_connection(ping: Duration) -> (Node, Node, TcpStream) {
    let mut stays = config(1);
    stays.limits.ping_interval = ping;
    let stays = Node::start(stays).await;
    stays.net.join(process(1)).await.unwrap();
    let wire = Wire::to(&stays).await;
    let goes = Node::plain(2).await;
    within("a dial", goes.net.dial(&wire.address)).await.unwrap();
    goes.sees_subscribed(process(1), &stays).await;
    let dead = wire.cut().await;
    goes.net.shutdown().await;
    let mut again = config(2);
    again.bootstrap = vec![stays.address()];
    let back = Node::start(again).await;
    within("a peer", back.net.wait_ready(1)).await.unwrap();
    (stays, back, dead)
}

#[tokio::test]
async fn a_peer_back_before_its_old_connection_broke_still_learns_our_topics() {
    let (stays, back, dead) = restarted_behind_a_dead_connection(Duration::from_secs(15)).await;
    drop(dead);
    back.sees_subscribed(process(1), &stays).await;
    assert!(stays.net.metrics().fresh_starts >= 1);
}

#[tokio::test]
async fn a_dead_connection_that_nobody_closes_is_found_by_pings() {
    let (stays, back, dead) = restarted_behind_a_dead_connection(Duration::from_millis(500)).await;
    back.sees_subscribed(process(1), &stays).await;
    until("a fresh start", || async { (stays.net.metrics().fresh_starts >= 1).then_some(()) }).await;
    drop(dead);
}

/// A node on as many topics as it may be says all of them again, on top of those that are known of it.
#[tokio::test]
async fn a_peer_with_many_topics_that_comes_back_is_no_flood() {
    let stays = Node::plain(1).await;
    let wire = Wire::to(&stays).await;
    let goes = on_all_topics(0).await;
    within("a dial", goes.net.dial(&wire.address)).await.unwrap();
    stays.sees("all topics", &goes, |info| info.topics == TOPICS_JOINED_MAX).await;
    let dead = wire.cut().await;
    goes.net.shutdown().await;
    // All but one are the same.
    let back = on_all_topics(1).await;
    within("a dial", back.net.dial(&stays.address())).await.unwrap();
    stays.sees("one more topic", &back, |info| info.topics == TOPICS_JOINED_MAX + 1).await;
    assert_eq!(stays.net.metrics().faults, 0);
    drop(dead);
}

async fn on_all_topics(first: usize) -> Node {
    let node = Node::plain(2).await;
    for number in first..first + TOPICS_JOINED_MAX {
        node.net.join(process(number as u32)).await.unwrap();
    }
    node
}
