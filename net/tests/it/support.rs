//! Nodes for tests.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use weft_net::{Net, NetConfig, NetEvent, Peer, PeerInfo, Ticket, Verdict};
use weft_protocol::{Id, Network};

/// Generous: the machine may be busy with other builds. Reached only by what never happens.
pub const LONG: Duration = Duration::from_secs(60);

pub struct Node {
    pub net: Net,
    pub events: mpsc::Receiver<NetEvent>,
}

pub fn network() -> Network {
    Network::of_name("test")
}

pub fn config(seed: u8) -> NetConfig {
    NetConfig::new([seed; 32], network())
}

pub fn process(n: u32) -> Id {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    Id(bytes)
}

/// Fails the test when this takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LONG, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {LONG:?} for {what}"),
    }
}

/// Asks again and again until the answer is there.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    within(what, async {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        loop {
            pause.tick().await;
            if let Some(value) = ask().await {
                return value;
            }
        }
    })
    .await
}

impl Node {
    pub async fn start(config: NetConfig) -> Self {
        let (net, events) = Net::start(config).unwrap();
        within("listening", net.wait_ready(0)).await.unwrap();
        Self { net, events }
    }

    pub async fn plain(seed: u8) -> Self {
        Self::start(config(seed)).await
    }

    /// A node that knows another from its start, connected to it.
    pub async fn joining(seed: u8, other: &Self) -> Self {
        let mut config = config(seed);
        config.bootstrap = vec![other.address()];
        let node = Self::start(config).await;
        within("a peer", node.net.wait_ready(1)).await.unwrap();
        node
    }

    pub fn address(&self) -> String {
        self.net.listening()[0].clone()
    }

    pub fn peer(&self) -> Peer {
        self.net.peer()
    }

    /// What this node knows of the other, as soon as it is as wanted.
    pub async fn sees(&self, what: &str, other: &Self, wanted: impl Fn(&PeerInfo) -> bool) -> PeerInfo {
        until(what, || async {
            let peers = self.net.peers().await.unwrap();
            peers.into_iter().find(|info| info.peer == other.peer() && wanted(info))
        })
        .await
    }

    /// Waits until this node knows that the other is subscribed.
    pub async fn sees_subscribed(&self, process: Id, other: &Self) {
        until("a subscription", || async {
            self.net.subscribers(process).await.unwrap().contains(&other.peer()).then_some(())
        })
        .await;
    }

    pub async fn next<T>(&mut self, what: &str, mut pick: impl FnMut(NetEvent) -> Option<T>) -> T {
        within(what, async {
            loop {
                let event = self.events.recv().await.expect("the network runs");
                if let Some(value) = pick(event) {
                    return value;
                }
            }
        })
        .await
    }

    pub async fn next_gossip(&mut self) -> (Id, Bytes, Peer, Ticket) {
        self.next("gossip", |event| match event {
            NetEvent::Gossip { process, data, from, ticket } => Some((process, data, from, ticket)),
            _ => None,
        })
        .await
    }

    /// Takes the next announcement and gives this verdict.
    pub async fn judge(&mut self, verdict: Verdict) -> Bytes {
        let (_, data, _, ticket) = self.next_gossip().await;
        self.net.verdict(ticket, verdict);
        data
    }

    /// A number from the gossipsub counters.
    pub async fn gossip_metric(&self, name: &str) -> u64 {
        let text = self.net.gossip_metrics().await.unwrap();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}
