//! What the node holds of the network layer.

mod lobby;
mod publish;

use std::sync::{Arc, Mutex, PoisonError};

use prost::Message as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use weft_protocol::Id;
use weft_protocol::wire::{self, REQUEST_BYTES_MAX};

use crate::address;
use crate::conduct::Fault;
use crate::config::{ConfigError, NetConfig, Settings};
use crate::discovery::machine::reach::Reachability;
use crate::event::{NetEvent, Ticket};
use crate::gossip::machine::Verdict;
use crate::key::Key;
use crate::limits::{COMMANDS_MAX, TICKETS_MAX};
use crate::metrics::{Counters, NetLevel, NetMetrics};
use crate::peer::Peer;
use crate::remembered::Remembered;
use crate::service::Service;
use crate::service::command::{Command, Place, Status};

/// A handle of the network layer. Cheap to clone; the network stops with the last one.
#[derive(Debug, Clone)]
pub struct Net {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    peer: Peer,
    commands: mpsc::Sender<Command>,
    verdicts: mpsc::Sender<(Ticket, Verdict)>,
    status: watch::Receiver<Status>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
    _stop_with_last_handle: DropGuard,
}

/// Why the network layer did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// A value of the configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// Something inside.
    #[error("cannot set up the network: {0}")]
    Setup(String),
}

impl NetError {
    #[allow(clippy::needless_pass_by_value)]
    pub(crate) fn setup(error: impl ToString) -> Self {
        Self::Setup(error.to_string())
    }
}

/// The network layer has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the network has stopped")]
pub struct Stopped;

/// Why a process's topic was not joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// This node is on as many topics as it may be.
    #[error("this node is on {limit} topics, its limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Another joined process has the same topic: their ids were made for it.
    #[error("process {other} already has the topic of this one")]
    Collision {
        /// That process.
        other: Id,
    },
    /// The network has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// What became of a published announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Published {
    /// It went to at least one peer.
    Sent,
    /// The same bytes were published or heard within the last ten minutes; they are not sent again.
    Duplicate,
}

/// Why an announcement was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No connected peer is subscribed. Nothing was sent: find providers, or keep it for later.
    #[error("no connected peer is subscribed to the topic")]
    NoSubscribers,
    /// The announcement is too large for gossip.
    #[error("the announcement has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The send queues of all subscribers are full. The same bytes are not gossiped again for ten
    /// minutes; subscribers get them by asking.
    #[error("the send queues of all subscribers are full")]
    Busy,
    /// The network has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a request has no answer. (A peer's refusal is an answer.)
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The peer is not connected and could not be dialled.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// No answer in time. Whether the peer has acted on the request is not known.
    #[error("no answer in time")]
    Timeout,
    /// The connection closed first. Whether the peer has acted on the request is not known.
    #[error("the connection closed before the answer came")]
    Disconnected,
    /// The peer does not take requests of this network.
    #[error("the peer does not speak the request protocol of this network")]
    Unsupported,
    /// The request is larger than peers take.
    #[error("the request has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// What came back is not a response.
    #[error("the response is malformed: {0}")]
    Malformed(String),
    /// The stream failed.
    #[error("the stream failed: {0}")]
    Io(String),
    /// This node waits for too many answers.
    #[error("{limit} requests wait for an answer, the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// This node waits for answers to too large requests.
    #[error("requests that wait for an answer have {limit} bytes, the limit; ask again later")]
    TooMuch {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The network has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a provider record was not taken on, or providers were not looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProvideError {
    /// This node provides as many keys as it may, or looks up as many.
    #[error("{limit} keys, the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The key is the address of another key than this node's.
    #[error("only the peer with that key can provide an address")]
    NotMine,
    /// The network has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a dial did not end in a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The text is not an address that can be dialled.
    #[error("address `{value}`: {reason}; expected a form like /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW...")]
    Address {
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The dial failed.
    #[error("cannot connect to {address}: {reason}")]
    Failed {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// The network has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// What is known of a connected peer.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct PeerInfo {
    /// Its name.
    pub peer: Peer,
    /// Where it says it listens.
    pub addresses: Vec<String>,
    /// The software it says it is.
    pub agent: String,
    /// Whether this node opened the connection.
    pub dialled: bool,
    /// Whether every connection with it runs through a relay.
    pub relayed: bool,
    /// The last round trip, in milliseconds.
    pub round_trip_ms: Option<u64>,
    /// Its gossip score; below -800 we no longer listen to it.
    pub score: f64,
    /// How many topics it is subscribed to.
    pub topics: usize,
    /// The processes whose topic it shares with this node.
    pub processes: Vec<Id>,
}

/// Who can reach this node, and how.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ReachInfo {
    /// What was known of it at the start.
    pub reachability: Reachability,
    /// Addresses that peers can dial: they have done it, or it is assumed.
    pub confirmed: Vec<String>,
    /// Relays that hold a place for this node.
    pub relays: Vec<Peer>,
    /// Connected peers that are reached through relays alone.
    pub relayed: usize,
    /// Peers in the book.
    pub book: usize,
}

impl Net {
    /// Starts the network in the current tokio runtime.
    ///
    /// Returns a handle and the events. Events that are not read fill their queue: gossip is then
    /// ignored and requests are answered with Busy.
    ///
    /// # Errors
    /// When a value of the configuration is bad or an address cannot be listened on.
    pub fn start(config: NetConfig) -> Result<(Self, mpsc::Receiver<NetEvent>), NetError> {
        let settings = Settings::check(config)?;
        let peer = Peer(settings.keypair.public().to_peer_id());
        let counters = Arc::new(Counters::default());
        let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
        let (verdicts, verdict_queue) = mpsc::channel(TICKETS_MAX);
        let (event_sender, events) = mpsc::channel(settings.limits.events);
        let stop = CancellationToken::new();
        let (service, status) = Service::new(
            settings,
            command_queue,
            verdict_queue,
            event_sender,
            Arc::clone(&counters),
            stop.clone(),
        )?;
        let task = Mutex::new(Some(tokio::spawn(service.run())));
        let _stop_with_last_handle = stop.clone().drop_guard();
        let inner = Inner { peer, commands, verdicts, status, counters, stop, task, _stop_with_last_handle };
        Ok((Self { inner: Arc::new(inner) }, events))
    }

    /// This node's name.
    pub fn peer(&self) -> Peer {
        self.inner.peer
    }

    /// Where this node listens, each with `/p2p/` and its name, as peers can dial it.
    pub fn listening(&self) -> Vec<String> {
        self.inner.status.borrow().listening.clone()
    }

    /// Waits until this node listens on all its addresses and so many peers are connected and have
    /// said that they are of this network. Safe to cancel.
    ///
    /// # Errors
    /// When the network has stopped.
    pub async fn wait_ready(&self, peers: usize) -> Result<(), Stopped> {
        let mut status = self.inner.status.clone();
        let ready = status.wait_for(|status| status.bound && status.peers >= peers).await;
        ready.map(|_| ()).map_err(|_| Stopped)
    }

    /// Joins the topic of a process: announcements on it come as events from now on. For each peer
    /// that is there already, a `Subscribed` event comes. Joining again changes nothing.
    ///
    /// A topic that was left can be joined again at once, but peers keep this node out of their
    /// mesh for some seconds; until then it may hear what is said a heartbeat or two later than others.
    ///
    /// # Errors
    /// When there are too many topics or the network has stopped.
    pub async fn join(&self, process: Id) -> Result<(), JoinError> {
        self.ask(|done| Command::Join { process, done }).await?
    }

    /// Leaves the topic of a process.
    ///
    /// # Errors
    /// When the network has stopped.
    pub async fn leave(&self, process: Id) -> Result<(), Stopped> {
        self.ask(|done| Command::Leave { process, done }).await
    }

    /// Gives the verdict on an announcement. Never waits. A verdict that finds no room, which takes
    /// a network task that stands still, ends as Ignore.
    pub fn verdict(&self, ticket: Ticket, verdict: Verdict) {
        if self.inner.verdicts.try_send((ticket, verdict)).is_err() {
            Counters::add(&self.inner.counters.verdicts_late);
        }
    }

    /// Asks a peer, dialling it if need be, and waits for the answer. Dropping the future does not
    /// take the request back.
    ///
    /// # Errors
    /// When there is no answer. A refusal is an answer.
    pub async fn request(&self, peer: Peer, request: wire::Request) -> Result<wire::Response, RequestError> {
        let bytes = request.encoded_len();
        if bytes > REQUEST_BYTES_MAX {
            return Err(RequestError::TooLarge { bytes, limit: REQUEST_BYTES_MAX });
        }
        self.ask(|done| Command::Request { peer, request, done }).await?
    }

    /// Says from now on that this node provides the key. The record is written as soon as peers
    /// are known, and again at intervals.
    ///
    /// # Errors
    /// When there are too many keys, or the key is another peer's address.
    pub async fn provide(&self, key: Key) -> Result<(), ProvideError> {
        if !key.admits(&self.inner.peer) {
            return Err(ProvideError::NotMine);
        }
        self.ask(|done| Command::Provide { key, done }).await?
    }

    /// No longer says that this node provides the key. Records at other peers fade in two days.
    ///
    /// # Errors
    /// When the network has stopped.
    pub async fn stop_providing(&self, key: Key) -> Result<(), Stopped> {
        self.ask(|done| Command::StopProviding { key, done }).await
    }

    /// Looks for other peers that provide the key, at most ten seconds, and dials them on the way, so that
    /// requests reach them. For a process, three are enough, and those found within half a second of the
    /// first. For an address, of which anybody can name the peer, it goes on until that is connected or all
    /// near the key were asked.
    ///
    /// # Errors
    /// When there are too many lookups or the network has stopped.
    pub async fn providers(&self, key: Key) -> Result<Vec<Peer>, ProvideError> {
        self.ask(|done| Command::Providers { key, done }).await?
    }

    /// The connected peers.
    ///
    /// # Errors
    /// When the network has stopped.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, Stopped> {
        self.ask(|done| Command::Peers { done }).await
    }

    /// Says that a peer did something that no correct peer does. Faults fade; a peer with too many is
    /// disconnected and kept out for ten minutes.
    ///
    /// # Errors
    /// When the network has stopped.
    pub async fn fault(&self, peer: Peer, fault: Fault) -> Result<(), Stopped> {
        self.ask(|done| Command::Fault { peer, fault, done }).await
    }

    /// Who can reach this node, and how.
    ///
    /// # Errors
    /// When the network has stopped.
    pub async fn reach(&self) -> Result<ReachInfo, Stopped> {
        self.ask(|done| Command::Reach { done }).await
    }

    /// What to write down of the network, for [`NetConfig::remembered`] of the next start.
    ///
    /// # Errors
    /// When the network has stopped.
    pub async fn remembered(&self) -> Result<Remembered, Stopped> {
        self.ask(|done| Command::Remembered { done }).await
    }

    /// The connected peers that are subscribed to the topic of a process, joined or not.
    ///
    /// # Errors
    /// When the network has stopped.
    pub async fn subscribers(&self, process: Id) -> Result<Vec<Peer>, Stopped> {
        self.ask(|done| Command::Subscribers { place: Place::Process(process), done }).await
    }

    /// Connects to an address such as `/ip4/127.0.0.1/tcp/4001`, with or without `/p2p/`, and
    /// returns who is there.
    ///
    /// # Errors
    /// When the address is bad or nobody (or another peer) is there.
    pub async fn dial(&self, address: &str) -> Result<Peer, DialError> {
        let address = address::dial(address).map_err(|error| DialError::Address {
            value: address.chars().take(256).collect(),
            reason: error.to_string(),
        })?;
        self.ask(|done| Command::Dial { address, done }).await?
    }

    /// What was counted since the start.
    pub fn metrics(&self) -> NetMetrics {
        self.inner.counters.snapshot()
    }

    /// How much of each limit is taken.
    pub fn levels(&self) -> Vec<NetLevel> {
        let mut levels = self.inner.counters.gauges.levels();
        let commands = &self.inner.commands;
        let used = (commands.max_capacity() - commands.capacity()) as u64;
        levels.push(NetLevel { name: "commands", used, limit: commands.max_capacity() as u64 });
        levels
    }

    /// How many peers are connected and of this network.
    pub fn peers_count(&self) -> usize {
        self.inner.status.borrow().peers
    }

    /// The counters of gossipsub, in OpenMetrics text.
    ///
    /// # Errors
    /// When the network has stopped.
    pub async fn gossip_metrics(&self) -> Result<String, Stopped> {
        self.ask(|done| Command::GossipMetrics { done }).await
    }

    /// Stops the network and waits until its sockets are closed.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        let task = self.inner.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        match task {
            Some(task) => {
                if let Err(error) = task.await {
                    tracing::error!(%error, "the network task failed");
                }
            }
            // Another caller waits for the task; it ends by closing the queue.
            None => self.inner.commands.closed().await,
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Stopped> {
        self.hand_over(command).await?.await.map_err(|_| Stopped)
    }

    /// Returns when the command has its place among those of the network task, with where its answer comes.
    async fn hand_over<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<oneshot::Receiver<T>, Stopped> {
        let (done, answer) = oneshot::channel();
        self.inner.commands.send(command(done)).await.map_err(|_| Stopped)?;
        Ok(answer)
    }
}
