//! A real node in this process, and peers of it that say what they like.

use std::future::Future;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use prost::Message as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weft_net::{Net, NetConfig, NetEvent, Peer, Verdict};
use weft_node::config::Config;
use weft_node::control::api::{PeerInfo, ProcessDetail, Reply, Request, ResultOf, Submitted};
use weft_node::control::client::{Client, ClientError};
use weft_node::{NodeError, Ready, keyring};
use weft_protocol::crypto::Signer;
use weft_protocol::data_item::Draft;
use weft_protocol::offer::OfferTerms;
use weft_protocol::wire::announcement::Body;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{DataItem, Hash, Id, Network, Tag, Verified, wire};

/// Generous: the machine may be busy. Reached only by what never happens.
pub const LONG: Duration = Duration::from_secs(240);

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

pub fn key(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

pub fn network() -> Network {
    Network::of_name("local")
}

pub fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

pub fn tags(pairs: &[(&str, &str)]) -> Vec<Tag> {
    pairs.iter().map(|(name, value)| Tag::new(*name, *value)).collect()
}

/// Messages that are on their way at once.
const AT_ONCE: usize = 32;

fn numbered(process: Id, number: u32) -> Verified<DataItem> {
    let tags = tags(&[("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Increment")]);
    let mut anchor = [0; 32];
    anchor[..4].copy_from_slice(&number.to_be_bytes());
    Draft { target: Some(process), anchor: Some(anchor), tags, ..Draft::default() }.sign(&key(1)).unwrap()
}

/// Hands in messages with these numbers.
pub async fn send(to: &Node, process: Id, numbers: std::ops::Range<u32>) {
    let sent = futures::stream::iter(numbers).map(|number| async move {
        to.submit(&numbered(process, number)).await.unwrap();
    });
    sent.buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// A running node.
pub struct Node {
    pub ready: Ready,
    pub signer: Signer,
    folder: tempfile::TempDir,
    stop: CancellationToken,
    running: JoinHandle<Result<(), NodeError>>,
}

impl Node {
    pub async fn start(seed: u8) -> Self {
        Self::knowing(seed, &[]).await
    }

    /// One that knows others from its start.
    pub async fn knowing(seed: u8, others: &[&Self]) -> Self {
        Self::set_up(seed, others, |_| ()).await
    }

    /// One with settings of its own.
    pub async fn set_up(seed: u8, others: &[&Self], set: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), seed, others, set).await
    }

    /// One in a folder that has all but a key.
    pub async fn start_in(
        folder: tempfile::TempDir,
        seed: u8,
        others: &[&Self],
        set: impl FnOnce(&mut Config),
    ) -> Self {
        keyring::import_seed(folder.path(), &[seed; 32]).unwrap();
        Self::in_folder(folder, others, set).await
    }

    /// Stops it; gives its folder, with which it comes back.
    pub async fn rest(self) -> tempfile::TempDir {
        self.stop.cancel();
        within("the node's end", self.running).await.unwrap().unwrap();
        self.folder
    }

    /// One with the key and the store of a folder.
    pub async fn in_folder(
        folder: tempfile::TempDir,
        others: &[&Self],
        set: impl FnOnce(&mut Config),
    ) -> Self {
        let own = keyring::load(folder.path()).unwrap();
        let mut config = Config::new(folder.path());
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".into()];
        config.bootstrap = others.iter().map(|other| other.address()).collect();
        config.weave_block_ms = 100;
        set(&mut config);
        let (tell, ready) = oneshot::channel();
        let stop = CancellationToken::new();
        let say = move |ready: &Ready| tell.send(ready.clone()).unwrap();
        let running = tokio::spawn(weft_node::run(config, own.clone(), stop.clone(), say));
        let ready = within("a node", ready).await.unwrap();
        Self { ready, signer: own.signer, folder, stop, running }
    }

    pub fn address(&self) -> String {
        self.ready.listen[0].clone()
    }

    pub async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, ClientError> {
        let mut client = Client::connect(self.folder.path()).await.unwrap();
        client.call(&request, LONG).await
    }

    /// A connection to its control socket.
    pub async fn client(&self) -> Client {
        Client::connect(self.folder.path()).await.unwrap()
    }

    pub async fn submit(&self, item: &DataItem) -> Result<Submitted, ClientError> {
        self.ask(Request::Submit { item: STANDARD.encode(item.raw()) }).await
    }

    /// A process of the counter module.
    pub async fn counter(&self) -> Id {
        self.counter_named("counter").await
    }

    /// One that is another process than those of other names.
    pub async fn counter_named(&self, name: &str) -> Id {
        self.counter_with(&[("Name", name)]).await
    }

    /// One with these tags.
    pub async fn counter_with(&self, more: &[(&str, &str)]) -> Id {
        let module = tags(&[
            ("Data-Protocol", "ao"),
            ("Type", "Module"),
            ("Module-Format", "wasm32-weft-plain"),
            ("Input-Encoding", "JSON-1"),
            ("Output-Encoding", "JSON-1"),
        ]);
        let wasm = Bytes::from_static(weft_node::guests::COUNTER);
        let module = Draft { tags: module, data: wasm, ..Draft::default() }.sign(&self.signer).unwrap();
        let item = STANDARD.encode(module.raw());
        self.ask::<Value>(Request::PutModule { item }).await.unwrap();
        let (module, scheduler) = (module.id().to_string(), self.signer.address().to_string());
        let process =
            [("Data-Protocol", "ao"), ("Type", "Process"), ("Module", &module), ("Scheduler", &scheduler)];
        let process = Draft { tags: tags(&[&process[..], more].concat()), ..Draft::default() }
            .sign(&self.signer)
            .unwrap();
        self.submit(&process).await.unwrap().process
    }

    /// A message of any key.
    pub fn message(process: Id, number: u8, signer: &Signer) -> Verified<DataItem> {
        let tags = tags(&[("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Increment")]);
        Draft { target: Some(process), anchor: Some([number; 32]), tags, ..Draft::default() }
            .sign(signer)
            .unwrap()
    }

    /// The honest work that goes on whatever a liar says: a message, its slot and its result.
    pub async fn increments(&self, process: Id, number: u8) -> u64 {
        let slot = self.submit(&Self::message(process, number, &self.signer)).await.unwrap().slot;
        let wait_ms = 60_000;
        let of = ResultOf::Slot(slot);
        let result: Value = self.ask(Request::Result { process, of, wait_ms }).await.unwrap();
        assert_eq!(result["code"], 0, "{result}");
        slot
    }

    pub async fn detail(&self, process: Id) -> ProcessDetail {
        self.ask(Request::Process { process, state_root: true }).await.unwrap()
    }

    /// Ends when a watcher of the process is told that nobody confirms where its log ends.
    pub fn told_stale(&self, process: Id) -> JoinHandle<()> {
        let folder = self.folder.path().to_owned();
        tokio::spawn(async move {
            let mut client = Client::connect(&folder).await.unwrap();
            client.send(&Request::Watch { process, from: None }).await.unwrap();
            loop {
                match client.reply().await.unwrap() {
                    Reply::Event(event) if event["kind"] == "freshness" && event["stale"] == true => return,
                    Reply::Event(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        })
    }

    /// Stops it; of all that it had its weave stays.
    pub async fn wiped(self) -> tempfile::TempDir {
        self.stop.cancel();
        within("the node's end", self.running).await.unwrap().unwrap();
        let kept = tempfile::tempdir().unwrap();
        let name = "weave.redb";
        std::fs::copy(self.folder.path().join(name), kept.path().join(name)).unwrap();
        kept
    }

    pub async fn stop(self) {
        drop(self.rest().await);
    }
}

/// A peer that keeps to the transport and to nothing else.
pub struct Stranger {
    pub net: Net,
    pub events: mpsc::Receiver<NetEvent>,
    pub signer: Signer,
    node: Peer,
}

impl Stranger {
    /// Connected to the node.
    pub async fn of(node: &Node, seed: u8) -> Self {
        let mut config = NetConfig::new([seed; 32], network());
        // Nobody can dial it, so what others hear of it has come through the node.
        (config.listen, config.reachability) = (Vec::new(), weft_net::Reachability::Relayed);
        let (net, events) = Net::start(config).unwrap();
        let peer = within("a dial", net.dial(&node.address())).await.unwrap();
        Self { net, events, signer: key(seed), node: peer }
    }

    /// On the topic of a process, where the node is too.
    pub async fn on(node: &Node, process: Id, seed: u8) -> Self {
        let stranger = Self::of(node, seed).await;
        stranger.net.join(process).await.unwrap();
        until("the node on the topic", || async {
            let peers = stranger.net.subscribers(process).await.unwrap();
            peers.contains(&stranger.node).then_some(())
        })
        .await;
        stranger.is_heard_by(node).await;
        stranger
    }

    /// Waits until the node knows that this peer is on a topic.
    pub async fn is_heard_by(&self, node: &Node) {
        let own = self.net.peer().to_string();
        until("the node to know the peer's topic", || async {
            let peers: Vec<PeerInfo> = node.ask(Request::Peers).await.unwrap();
            peers.iter().any(|peer| peer.peer_id == own && peer.topics > 0).then_some(())
        })
        .await;
    }

    pub async fn ask(&self, body: Ask) -> Answer {
        let request = wire::Request { body: Some(body) };
        within("an answer", self.net.request(self.node, request)).await.unwrap().body.unwrap()
    }

    /// Slots of a log as the node gives them.
    pub async fn slots(&self, process: Id, from: u64, to: u64) -> Vec<wire::SlotRecord> {
        let process = Bytes::copy_from_slice(process.as_ref());
        match self.ask(Ask::Range(wire::RangeRequest { process, from, to, max_bytes: 1 << 20 })).await {
            Answer::Range(range) => range.slots,
            other => panic!("{other:?}"),
        }
    }

    pub async fn publish(&self, topic: Id, bytes: Bytes) {
        assert_eq!(self.net.publish(topic, bytes).await.unwrap(), weft_net::Published::Sent);
    }

    /// What any node passes on: an offer of this peer. `number` makes it differ from the last.
    pub fn offer(&self, number: u64) -> wire::Offer {
        let now = now();
        self.offer_of(number, now, now + 60_000)
    }

    pub fn offer_of(&self, number: u64, valid_from: u64, valid_to: u64) -> wire::Offer {
        let terms = OfferTerms {
            network: network(),
            sequence: number,
            shards: Vec::new(),
            classes: 0,
            price_per_push: 0,
            price_per_kib: 0,
            max_kib: 1,
            capacity_per_s: 1,
            latency_p50_ms: 0,
            stake: Hash::ZERO,
            valid_from,
            valid_to,
        };
        terms.sign(&self.signer).unwrap().to_wire()
    }

    /// Takes announcements and passes each on until this one comes; gives those before it.
    pub async fn hear_until(&mut self, last: &Bytes) -> Vec<Bytes> {
        within("an announcement", async {
            let mut heard = Vec::new();
            loop {
                if let NetEvent::Gossip { data, ticket, .. } = self.events.recv().await.unwrap() {
                    self.net.verdict(ticket, Verdict::Accept);
                    if data == *last {
                        return heard;
                    }
                    heard.push(data);
                }
            }
        })
        .await
    }
}

pub fn announcement(process: Id, body: Body) -> Bytes {
    let process = Bytes::copy_from_slice(process.as_ref());
    wire::Announcement { process, body: Some(body) }.encode_to_vec().into()
}
