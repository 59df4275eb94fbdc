//! The network layer alone: many topics, many peers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use weft_net::{Net, NetConfig, NetEvent, Published, Verdict};
use weft_protocol::{Id, Network};

use super::{cpu_ms, resident_kib, spread};

/// Time over which the processor is watched while nothing happens.
const IDLE: Duration = Duration::from_secs(5);
/// Messages to all peers.
const MESSAGES: usize = 100;
/// Messages before those, and how long after each other: thirty seconds, in which a hundred peers have found each other.
const WARMING: usize = 60;
const WARMING_EVERY: Duration = Duration::from_millis(500);
/// Bytes of each.
const MESSAGE_BYTES: usize = 1024;

fn config(number: u64) -> NetConfig {
    let mut secret = [2; 32];
    secret[..8].copy_from_slice(&number.to_be_bytes());
    let mut config = NetConfig::new(secret, Network::of_name("weft-bench"));
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".into()];
    let limits = &mut config.limits;
    // All peers are on this machine.
    (limits.connections, limits.connections_incoming, limits.connections_per_machine) = (300, 300, 300);
    config
}

fn process(number: usize) -> Id {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Id(id)
}

/// Asks again and again until it is so.
async fn until<F: Future<Output = bool>>(mut ask: impl FnMut() -> F) {
    let mut pause = tokio::time::interval(Duration::from_millis(5));
    while !ask().await {
        pause.tick().await;
    }
}

/// Two swarms on so many topics that meet: what each costs, and how long until one knows all of the other's.
pub async fn topics(count: usize) {
    let before = resident_kib();
    let mut nets = Vec::new();
    for number in 0..2 {
        let (net, mut events) = Net::start(config(number)).unwrap();
        tokio::spawn(async move { while events.recv().await.is_some() {} });
        net.wait_ready(0).await.unwrap();
        for topic in 0..count {
            net.join(process(topic)).await.unwrap();
        }
        nets.push(net);
    }
    let (first, second) = (&nets[0], &nets[1]);
    let began = Instant::now();
    first.dial(&second.listening()[0]).await.unwrap();
    until(|| async { first.peers().await.unwrap().iter().any(|peer| peer.topics == count) }).await;
    let met = began.elapsed();
    let memory = (resident_kib() - before) / 2.0;
    let cpu = cpu_ms();
    // tidy-allow(sleep): what an idle swarm costs in so long is what is measured
    tokio::time::sleep(IDLE).await;
    let idle = (cpu_ms() - cpu) / 2.0 / IDLE.as_secs_f64();
    println!(
        "{count} topics on a node: known to a peer {:.0} ms after the dial; {:.1} KiB of memory each; {idle:.1} ms of \
         processor a second while nothing happens",
        met.as_secs_f64() * 1e3,
        memory / count as f64,
    );
    for net in &nets {
        net.shutdown().await;
    }
}

/// A swarm with so many peers on one topic, to which it says something.
pub async fn peers(count: usize) {
    let (hub, mut events) = Net::start(config(0)).unwrap();
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    hub.wait_ready(0).await.unwrap();
    hub.join(process(0)).await.unwrap();
    let before = resident_kib();
    let (tell, mut heard) = tokio::sync::mpsc::channel(count * (MESSAGES + WARMING));
    let mut nets = Vec::new();
    for number in 0..count {
        let mut config = config(1 + number as u64);
        config.bootstrap = vec![hub.listening()[0].clone()];
        let (net, mut events) = Net::start(config).unwrap();
        net.join(process(0)).await.unwrap();
        let (verdicts, tell) = (net.clone(), tell.clone());
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if let NetEvent::Gossip { ticket, data, .. } = event {
                    verdicts.verdict(ticket, Verdict::Accept);
                    let number = usize::from(data[0]);
                    if tell.send((number, Instant::now())).await.is_err() {
                        return;
                    }
                }
            }
        });
        nets.push(net);
    }
    until(|| async { hub.subscribers(process(0)).await.unwrap().len() == count }).await;
    let memory = (resident_kib() - before) / count as f64;
    let message = |number: usize| {
        let mut data = vec![7; MESSAGE_BYTES];
        data[0] = number as u8;
        Bytes::from(data)
    };
    // Meshes take some heartbeats to form, and until then much is only asked for at the next one.
    let mut pause = tokio::time::interval(WARMING_EVERY);
    for number in 0..WARMING {
        pause.tick().await;
        assert_eq!(hub.publish(process(0), message(number)).await.unwrap(), Published::Sent);
    }
    for _ in 0..count * WARMING {
        heard.recv().await.unwrap();
    }
    let (cpu, mut sent, mut delays) = (cpu_ms(), Vec::new(), Vec::new());
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    for number in 0..MESSAGES {
        pause.tick().await;
        sent.push(Instant::now());
        assert_eq!(hub.publish(process(0), message(WARMING + number)).await.unwrap(), Published::Sent);
    }
    while delays.len() < count * MESSAGES {
        let (number, at) = heard.recv().await.unwrap();
        delays.push(at.duration_since(sent[number - WARMING]));
    }
    let each = (cpu_ms() - cpu) / delays.len() as f64;
    println!(
        "{count} peers on one topic: {} for a message of 1 KiB to each, {each:.2} ms of processor a delivery, {memory:.0} \
         KiB of memory a peer, both ends",
        spread(delays),
    );
    for net in nets.iter().chain([&hub]) {
        net.shutdown().await;
    }
}
