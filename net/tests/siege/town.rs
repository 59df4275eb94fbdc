//! The honest nodes.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, MutexGuard, mpsc};
use tokio::task::JoinHandle;
use weft_net::{Net, NetConfig, NetEvent, Peer, Published, Verdict};
use weft_protocol::crypto::Signer;
use weft_protocol::{DataItem, Draft, Id, wire};

use crate::support::{Node, config, process, until, within};

/// Below this gossip score a peer is not heard.
const GRAYLISTED: f64 = -800.0;
/// Announcements that a test may leave unread.
const HEARD_MAX: usize = 16 * 1024;
/// Bytes of the answer to every request: what a node gives of an item at most.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// One deed at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// Whose announcements are true.
pub fn scheduler() -> Signer {
    Signer::from_seed(&[200; 32])
}

/// An announcement of this key for a process, with these bytes in it.
pub fn announcement(of: Id, data: Vec<u8>, signer: &Signer) -> Bytes {
    let draft = Draft { target: Some(of), data: data.into(), ..Draft::default() };
    draft.sign(signer).unwrap().raw().clone()
}

/// What a citizen answers at length.
pub fn blob() -> wire::Request {
    let blob = wire::BlobRequest { id: vec![1; 32].into(), offset: 0, max_bytes: u64::MAX };
    wire::Request { body: Some(wire::request::Body::Blob(blob)) }
}

/// What a node's verifiers do, in small: a signature that does not hold, or another process, is nobody's error;
/// of a key that it does not know it thinks nothing.
fn judge(topic: Id, data: Bytes) -> Verdict {
    match DataItem::verify_bytes(data) {
        Ok(item) if item.target() != Some(topic) => Verdict::Reject,
        Ok(item) if item.owner() == scheduler().address() => Verdict::Accept,
        Ok(_) => Verdict::Ignore,
        Err(_) => Verdict::Reject,
    }
}

/// A node that judges, forwards and answers.
pub struct Citizen {
    pub net: Net,
    heard: mpsc::Receiver<Bytes>,
    living: JoinHandle<()>,
}

impl Citizen {
    fn new(Node { net, mut events }: Node) -> Self {
        let (tell, heard) = mpsc::channel(HEARD_MAX);
        let own = net.clone();
        let answer = Bytes::from(vec![7; ANSWER_BYTES]);
        let living = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    NetEvent::Gossip { process, data, ticket, .. } => {
                        let verdict = judge(process, data.clone());
                        own.verdict(ticket, verdict);
                        if verdict == Verdict::Accept {
                            // A test that does not read need not hear.
                            let _ = tell.try_send(data);
                        }
                    }
                    NetEvent::Request { reply, .. } => {
                        let blob = wire::BlobResponse { total: ANSWER_BYTES as u64, piece: answer.clone() };
                        let body = Some(wire::response::Body::Blob(blob));
                        let _ = reply.send(wire::Response { body });
                    }
                    _ => {}
                }
            }
        });
        Self { net, heard, living }
    }

    pub fn address(&self) -> String {
        self.net.listening()[0].clone()
    }

    /// Hears this, and what else it hears before it.
    pub async fn hears(&mut self, wanted: &Bytes) -> Vec<Bytes> {
        within("an announcement", async {
            let mut before = Vec::new();
            loop {
                let heard = self.heard.recv().await.unwrap();
                if heard == wanted {
                    return before;
                }
                before.push(heard);
            }
        })
        .await
    }

    /// Whether this peer is not connected, or not heard.
    pub async fn shuns(&self, peer: &str) -> bool {
        let peers = self.net.peers().await.unwrap();
        peers.iter().all(|info| info.peer.to_string() != peer || info.score < GRAYLISTED)
    }

    pub async fn is_connected(&self, peer: &str) -> bool {
        self.net.peers().await.unwrap().iter().any(|info| info.peer.to_string() == peer)
    }
}

/// Three nodes that know each other, on the topic of one process.
pub struct Town {
    pub citizens: Vec<Citizen>,
    said: u32,
    before_kib: u64,
    _turn: MutexGuard<'static, ()>,
}

impl Town {
    pub async fn founded() -> Self {
        Self::with(|_| ()).await
    }

    /// A town whose nodes have other limits.
    pub async fn with(change: impl Fn(&mut NetConfig)) -> Self {
        let turn = TURN.lock().await;
        let mut nodes: Vec<Node> = Vec::new();
        for seed in 1..=3 {
            let mut config = config(seed);
            config.bootstrap = nodes.iter().map(Node::address).collect();
            change(&mut config);
            let node = Node::start(config).await;
            within("its peers", node.net.wait_ready(nodes.len())).await.unwrap();
            node.net.join(process(1)).await.unwrap();
            nodes.push(node);
        }
        for node in &nodes {
            for other in nodes.iter().filter(|other| other.peer() != node.peer()) {
                node.sees_subscribed(process(1), other).await;
            }
        }
        let citizens = nodes.into_iter().map(Citizen::new).collect();
        let mut town = Self { citizens, said: 0, before_kib: 0, _turn: turn };
        town.delivers().await;
        town.before_kib = begin_measure();
        town
    }

    /// Something true that was not said before.
    pub fn truth(&mut self, bytes: usize) -> Bytes {
        self.said += 1;
        let mut data = self.said.to_be_bytes().to_vec();
        data.resize(bytes.max(4), 0);
        announcement(process(1), data, &scheduler())
    }

    /// Whatever any citizen says, all others hear once, and nothing false.
    pub async fn delivers(&mut self) {
        for speaker in 0..self.citizens.len() {
            let truth = self.truth(100);
            let said = self.citizens[speaker].net.publish(process(1), truth.clone()).await;
            assert_eq!(said, Ok(Published::Sent));
            for (number, citizen) in self.citizens.iter_mut().enumerate() {
                if number != speaker {
                    let before = citizen.hears(&truth).await;
                    assert!(!before.contains(&truth));
                }
            }
        }
    }

    /// All citizens think well of each other.
    async fn is_at_peace(&self) {
        let names: Vec<Peer> = self.citizens.iter().map(|citizen| citizen.net.peer()).collect();
        for citizen in &self.citizens {
            let peers = citizen.net.peers().await.unwrap();
            let honest: Vec<_> = peers.iter().filter(|info| names.contains(&info.peer)).collect();
            assert_eq!(honest.len(), names.len() - 1, "somebody is gone: {honest:?}");
            assert!(honest.iter().all(|info| info.score >= 0.0), "{honest:?}");
        }
    }

    /// Waits until no citizen hears this peer any more.
    pub async fn is_rid_of(&self, peer: &str) {
        until("the attacker's end", || async { self.all_shun(peer).await.then_some(()) }).await;
    }

    pub async fn all_shun(&self, peer: &str) -> bool {
        for citizen in &self.citizens {
            if !citizen.shuns(peer).await {
                return false;
            }
        }
        true
    }

    /// After a deed: they deliver, they are at peace, and all of this program, with the attacker in it, took no
    /// more than so much.
    pub async fn outlived(mut self, mib: u64) {
        self.delivers().await;
        self.is_at_peace().await;
        let grown = peak_kib().saturating_sub(self.before_kib) / 1024;
        assert!(grown <= mib, "{grown} MiB more were held, {mib} may be");
        for citizen in &self.citizens {
            citizen.net.shutdown().await;
            citizen.living.abort();
        }
    }
}

/// A number of KiB that Linux says of this program; 0 elsewhere.
fn status_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or(0)
}

/// Forgets the highest memory so far, and says what is held now.
fn begin_measure() -> u64 {
    // Where it cannot be forgotten the highest so far counts: what is asked is stricter then, not weaker.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    status_kib("VmRSS:")
}

fn peak_kib() -> u64 {
    status_kib("VmHWM:")
}

/// A while in which a deed goes on.
pub const WHILE: Duration = Duration::from_millis(20);
