//! Many nodes in one program, over memory transport, beside a bare gossipsub swarm of the same shape in
//! the same run. A test looks at what must hold on any machine: everybody hears everything, and few hear
//! it more often than needed. `benches/mesh.rs` prints the rest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use libp2p::core::transport::MemoryTransport;
use libp2p::core::upgrade::Version;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, MessageId};
use libp2p::identity::Keypair;
use libp2p::metrics::Registry;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, Transport as _, noise, yamux};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_net::{Net, NetConfig, NetEvent, Published, Reachability, Verdict};
use weft_protocol::crypto::Signer;
use weft_protocol::data_item::Draft;
use weft_protocol::{DataItem, Id, Network};

/// Reached only by what never happens.
const LONG: Duration = Duration::from_secs(120);
/// Bytes of one message.
const MESSAGE_BYTES: usize = 1024;
/// Messages that a bare node may have heard and not verified.
const HEARD_MAX: usize = 2048;
/// Earlier nodes that each node dials: nine connections on average.
const DIALS: usize = 5;
/// Milliseconds after which a delivery is late: no mesh takes so long on a machine that has time for it.
const LATE_MS: f64 = 100.0;

/// What a run came to.
pub struct Figures {
    /// Deliveries, each of one message to one node.
    pub delivered: usize,
    /// How many there should be.
    pub expected: usize,
    /// Copies that came for each delivery.
    pub copies: f64,
    /// Of a hundred deliveries, how many were asked for: a peer said at its heartbeat that it has the message.
    pub asked_percent: f64,
    /// Nodes that heard a tenth of all messages late: few of them stood outside of all meshes for a while, all of them were
    /// on a machine that stood still.
    pub late_nodes: usize,
    /// Milliseconds from publishing to each delivery, sorted.
    pub latencies: Vec<f64>,
    /// Processor milliseconds for each delivery.
    pub cpu_ms: f64,
    /// Resident KiB for each node.
    pub node_kib: f64,
}

impl Figures {
    /// A percentile of the latencies.
    pub fn latency(&self, percent: usize) -> f64 {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// Whom each node dials: the same random graph every time.
fn dials(node: usize) -> Vec<usize> {
    let mut chosen = Vec::new();
    let mut state = node as u64;
    while chosen.len() < DIALS.min(node) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = (state >> 33) as usize % node;
        if !chosen.contains(&other) {
            chosen.push(other);
        }
    }
    chosen
}

fn connections(nodes: usize) -> usize {
    (0..nodes).map(|node| dials(node).len()).sum()
}

/// A number of `/proc/self/stat` or `statm`; nothing where there is none.
fn proc_number(file: &str, skip: usize) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    // The program's name in brackets may hold spaces.
    let rest = text.rsplit_once(')').map_or(text.as_str(), |(_, rest)| rest);
    rest.split_whitespace().nth(skip).and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// Processor time of this program, in milliseconds: the kernel counts in hundredths of a second.
fn cpu_ms() -> f64 {
    (proc_number("stat", 11) + proc_number("stat", 12)) * 10.0
}

/// Resident memory of this program.
fn resident_kib() -> f64 {
    proc_number("statm", 1) * 4.0
}

/// Signed items, as a scheduler's messages would be.
fn messages(count: usize) -> Vec<Bytes> {
    let signer = Signer::from_seed(&[9; 32]);
    let data = |n: usize| Bytes::from(vec![n as u8; MESSAGE_BYTES - 150]);
    let anchor = |n: usize| {
        let mut anchor = [0; 32];
        anchor[..8].copy_from_slice(&(n as u64).to_be_bytes());
        anchor
    };
    let item = |n| Draft { anchor: Some(anchor(n)), data: data(n), ..Draft::default() }.sign(&signer);
    (0..count).map(|n| item(n).unwrap().raw().clone()).collect()
}

/// Which message this is: its anchor says so, 8 bytes behind signature, owner and the target's absence.
fn number_of(raw: &[u8]) -> usize {
    let place = 2 + 64 + 32 + 1 + 1;
    u64::from_be_bytes(raw[place..place + 8].try_into().unwrap()) as usize
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LONG, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {LONG:?} for {what}"),
    }
}

/// That a node heard a message.
struct Delivery {
    node: usize,
    message: usize,
    at: Instant,
}

/// Publishes the messages, each from another node and `pause` after the one before, and collects the
/// deliveries. What is counted by the nodes is not in it yet.
async fn measure<P: AsyncFnMut(usize, Bytes)>(
    nodes: usize,
    count: usize,
    pause: Duration,
    heard: &mut mpsc::Receiver<Delivery>,
    mut publish: P,
) -> Figures {
    let cpu = cpu_ms();
    let mut sent = Vec::new();
    let mut tick = tokio::time::interval(pause);
    for (n, message) in messages(count).into_iter().enumerate() {
        tick.tick().await;
        sent.push(Instant::now());
        publish(n * 7 % nodes, message).await;
    }
    let expected = count * (nodes - 1);
    let (mut latencies, mut late) = (Vec::new(), vec![0; nodes]);
    while latencies.len() < expected {
        let Delivery { node, message, at } = within("a delivery", heard.recv()).await.unwrap();
        let latency = at.duration_since(sent[message]).as_secs_f64() * 1000.0;
        late[node] += usize::from(latency > LATE_MS);
        latencies.push(latency);
    }
    latencies.sort_by(f64::total_cmp);
    let delivered = latencies.len();
    let cpu_ms = (cpu_ms() - cpu) / delivered as f64;
    let late_nodes = late.iter().filter(|late| **late * 10 >= count).count();
    let (copies, asked_percent, node_kib) = (0.0, 0.0, 0.0);
    Figures { delivered, expected, copies, asked_percent, late_nodes, latencies, cpu_ms, node_kib }
}

/// What the nodes counted, of all that was delivered.
fn counted(figures: Figures, counts: &[Counts], node_kib: f64) -> Figures {
    let all = |count: fn(&Counts) -> u64| counts.iter().map(count).sum::<u64>() as f64;
    let delivered = figures.delivered as f64;
    let copies = all(|of_one| of_one.copies) / delivered;
    Figures { copies, asked_percent: all(|of_one| of_one.asked) * 100.0 / delivered, node_kib, ..figures }
}

/// The network layer with a verifier behind each node.
pub async fn ours(nodes: usize, count: usize, pause: Duration) -> Figures {
    let before = resident_kib();
    let topic = Id([7; 32]);
    let (tell, mut heard) = mpsc::channel(nodes * count);
    let mut verifiers = JoinSet::new();
    let mut nets: Vec<Net> = Vec::new();
    for node in 0..nodes {
        let mut seed = [1; 32];
        seed[..8].copy_from_slice(&(node as u64).to_be_bytes());
        let mut config = NetConfig::new(seed, Network::of_name("large"));
        config.listen = vec!["/memory/0".into()];
        // Nobody serves the routing table, so everybody keeps to the graph.
        config.reachability = Reachability::Relayed;
        config.relay = false;
        config.limits.topics_measured = 1;
        config.bootstrap = dials(node).into_iter().map(|other| nets[other].listening()[0].clone()).collect();
        let (net, events) = Net::start(config).unwrap();
        within("a listener", net.wait_ready(dials(node).len())).await.unwrap();
        net.join(topic).await.unwrap();
        verifiers.spawn(verify(node, net.clone(), events, tell.clone()));
        nets.push(net);
    }
    let subscriptions = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            let mut all = 0;
            for net in &nets {
                all += net.subscribers(topic).await.unwrap().len();
            }
            if all == connections(nodes) * 2 {
                return;
            }
            tick.tick().await;
        }
    };
    within("all subscriptions", subscriptions).await;
    let node_kib = (resident_kib() - before) / nodes as f64;
    let publish = async |node: usize, message: Bytes| {
        assert_eq!(nets[node].publish(topic, message).await, Ok(Published::Sent));
    };
    let figures = measure(nodes, count, pause, &mut heard, publish).await;
    let mut counts = Vec::new();
    for net in &nets {
        counts.push(Counts::of(&net.gossip_metrics().await.unwrap()));
    }
    for net in &nets {
        net.shutdown().await;
    }
    verifiers.shutdown().await;
    counted(figures, &counts, node_kib)
}

/// Verifies what comes, as a node does, and lets it go on.
async fn verify(node: usize, net: Net, mut events: mpsc::Receiver<NetEvent>, tell: mpsc::Sender<Delivery>) {
    while let Some(event) = events.recv().await {
        let NetEvent::Gossip { data, ticket, .. } = event else { continue };
        let message = number_of(&data);
        let is_valid = DataItem::verify_bytes(data).is_ok();
        net.verdict(ticket, if is_valid { Verdict::Accept } else { Verdict::Reject });
        // There is room for every delivery that there is; the run may be over.
        let _ = tell.try_send(Delivery { node, message, at: Instant::now() });
    }
}

/// What one node counted, from the counters of gossipsub.
struct Counts {
    /// Copies that came.
    copies: u64,
    /// Messages that it asked for.
    asked: u64,
}

impl Counts {
    fn of(metrics: &str) -> Self {
        let sum = |name: &str| {
            let lines = metrics.lines().filter(|line| line.starts_with(name));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
        };
        Self { copies: sum("topic_msg_recv_counts_unfiltered_total"), asked: sum("topic_iwant_msgs_total") }
    }
}

/// What a bare swarm differs in.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// From so many peers on a mesh is cut down to four.
    pub most: usize,
    /// Whether who publishes says it to all on the topic, and not to its mesh alone.
    pub flood: bool,
    /// Bytes from which on a node says that it has a message.
    pub idontwant: usize,
    /// How much later than the others the first heartbeat comes.
    pub delay: Duration,
    /// How long a peer that was sent out of a mesh stays out.
    pub backoff: Duration,
    /// Whether a message is verified before it goes on, by a task beside the swarm, as each node must.
    pub verified: bool,
}

/// As this crate has it.
pub const OURS: Shape = Shape {
    most: 5,
    flood: false,
    idontwant: 16 * 1024,
    delay: Duration::ZERO,
    backoff: Duration::from_secs(2),
    verified: false,
};

/// A bare gossipsub node: the same mesh, and nothing else.
fn bare_swarm(registry: &mut Registry, shape: Shape) -> Swarm<gossipsub::Behaviour> {
    let key = Keypair::generate_ed25519();
    let transport = MemoryTransport::new()
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&key).unwrap())
        .multiplex(yamux::Config::default())
        .boxed();
    let mut config = gossipsub::ConfigBuilder::default();
    if shape.verified {
        config.validate_messages();
    }
    let config = config
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .message_id_fn(|message| gossipsub::MessageId::new(&Sha256::digest(&message.data)[..20]))
        .mesh_n(4)
        .mesh_n_low(2)
        .mesh_n_high(shape.most)
        .mesh_outbound_min(1)
        .flood_publish(shape.flood)
        .idontwant_message_size_threshold(shape.idontwant)
        .heartbeat_initial_delay(shape.delay)
        .prune_backoff(shape.backoff)
        .max_transmit_size(1024 * 1024)
        .build()
        .unwrap();
    let gossip = gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Anonymous, config).unwrap();
    let gossip = gossip.with_metrics(registry, gossipsub::MetricsConfig::default());
    let config = libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(LONG);
    Swarm::new(transport, gossip, key.public().to_peer_id(), config)
}

/// A bare gossipsub swarm on the same graph.
pub async fn bare(nodes: usize, count: usize, pause: Duration, shape: Shape) -> Figures {
    let before = resident_kib();
    let topic = IdentTopic::new("bare");
    let (tell, mut heard) = mpsc::channel(nodes * count);
    let (seen, mut subscriptions) = mpsc::channel(connections(nodes) * 2);
    let stop = CancellationToken::new();
    let (mut tasks, mut publishers, mut addresses) = (JoinSet::new(), Vec::new(), Vec::<Multiaddr>::new());
    for node in 0..nodes {
        let mut registry = Registry::default();
        let mut swarm = bare_swarm(&mut registry, shape);
        swarm.listen_on("/memory/0".parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        for other in dials(node) {
            swarm.dial(addresses[other].clone()).unwrap();
        }
        // As a node does: it connects, and then joins.
        let mut connected = 0;
        while connected < dials(node).len() {
            let event = within("a connection", swarm.select_next_some()).await;
            match event {
                SwarmEvent::ConnectionEstablished { .. } => connected += 1,
                // There is room for every subscription that there is.
                SwarmEvent::Behaviour(gossipsub::Event::Subscribed { .. }) => seen.try_send(()).unwrap(),
                _ => {}
            }
        }
        swarm.behaviour_mut().subscribe(&topic).unwrap();
        addresses.push(address);
        let (publisher, to_publish) = mpsc::channel::<Bytes>(count);
        publishers.push(publisher);
        let (tell, seen, stop, topic) = (tell.clone(), seen.clone(), stop.clone(), topic.clone());
        tasks.spawn(async move {
            let tell = Tell { to: tell, node, verified: shape.verified };
            run_bare(swarm, topic, to_publish, tell, seen, stop).await;
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            Counts::of(&text)
        });
    }
    for _ in 0..connections(nodes) * 2 {
        within("a subscription", subscriptions.recv()).await.unwrap();
    }
    let node_kib = (resident_kib() - before) / nodes as f64;
    let publish = async |node: usize, message: Bytes| publishers[node].send(message).await.unwrap();
    let figures = measure(nodes, count, pause, &mut heard, publish).await;
    stop.cancel();
    counted(figures, &tasks.join_all().await, node_kib)
}

/// By what gossipsub knows a message, and what the message is.
type Heard = (MessageId, PeerId, Vec<u8>);

/// Whom a bare node tells what it heard, and whether it verifies that first.
struct Tell {
    to: mpsc::Sender<Delivery>,
    node: usize,
    verified: bool,
}

impl Tell {
    /// There is room for every delivery that there is; the run may be over.
    fn heard(&self, message: usize) {
        let _ = self.to.try_send(Delivery { node: self.node, message, at: Instant::now() });
    }
}

/// Verifies what a bare node heard, and says what becomes of it.
async fn judge(
    mut heard: mpsc::Receiver<Heard>,
    verdicts: mpsc::Sender<(MessageId, PeerId, MessageAcceptance)>,
    tell: Arc<Tell>,
) {
    while let Some((id, from, data)) = heard.recv().await {
        let number = number_of(&data);
        let is_valid = DataItem::verify_bytes(data).is_ok();
        let verdict = if is_valid { MessageAcceptance::Accept } else { MessageAcceptance::Reject };
        // There is room for every verdict that there is; the run may be over.
        let _ = verdicts.try_send((id, from, verdict));
        tell.heard(number);
    }
}

async fn run_bare(
    mut swarm: Swarm<gossipsub::Behaviour>,
    topic: IdentTopic,
    mut to_publish: mpsc::Receiver<Bytes>,
    tell: Tell,
    seen: mpsc::Sender<()>,
    stop: CancellationToken,
) {
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    let (to_judge, heard) = mpsc::channel(HEARD_MAX);
    let (verdicts, mut judged) = mpsc::channel(HEARD_MAX);
    let (mut judges, tell) = (JoinSet::new(), Arc::new(tell));
    judges.spawn(judge(heard, verdicts, Arc::clone(&tell)));
    loop {
        tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::Behaviour(gossipsub::Event::Message { message_id, propagation_source, message }) => {
                    if tell.verified {
                        to_judge.try_send((message_id, propagation_source, message.data)).unwrap();
                    } else {
                        tell.heard(number_of(&message.data));
                    }
                }
                SwarmEvent::Behaviour(gossipsub::Event::Subscribed { .. }) => {
                    let _ = seen.try_send(());
                }
                _ => {}
            },
            Some((id, from, verdict)) = judged.recv() => {
                swarm.behaviour_mut().report_message_validation_result(&id, &from, verdict);
            }
            Some(message) = to_publish.recv() => {
                swarm.behaviour_mut().publish(topic.hash(), Vec::from(message)).unwrap();
            }
            _ = tick.tick() => {}
            () = stop.cancelled() => break,
        }
    }
    judges.shutdown().await;
}
