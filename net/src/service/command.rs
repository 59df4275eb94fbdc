//! What handles ask of the network task.

use bytes::Bytes;
use libp2p::Multiaddr;
use tokio::sync::oneshot::Sender;
use weft_protocol::lobby::Shard;
use weft_protocol::{Id, wire};

use crate::conduct::Fault;
use crate::handle::{
    DialError, JoinError, PeerInfo, ProvideError, PublishError, Published, ReachInfo, RequestError,
};
use crate::key::Key;
use crate::peer::Peer;
use crate::remembered::Remembered;

/// What a topic is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Process(Id),
    Lobby(Shard),
}

impl Place {
    pub(crate) const fn process(self) -> Option<Id> {
        match self {
            Self::Process(process) => Some(process),
            Self::Lobby(_) => None,
        }
    }
}

/// One question; the answer goes through `done`. Who asked may have gone.
#[derive(Debug)]
pub(crate) enum Command {
    Join { process: Id, done: Sender<Result<(), JoinError>> },
    Leave { process: Id, done: Sender<()> },
    JoinLobby { shard: Shard, done: Sender<Result<(), JoinError>> },
    LeaveLobby { shard: Shard, done: Sender<()> },
    Publish { place: Place, data: Bytes, done: Sender<Result<Published, PublishError>> },
    Request { peer: Peer, request: wire::Request, done: Sender<Result<wire::Response, RequestError>> },
    Provide { key: Key, done: Sender<Result<(), ProvideError>> },
    StopProviding { key: Key, done: Sender<()> },
    Providers { key: Key, done: Sender<Result<Vec<Peer>, ProvideError>> },
    Peers { done: Sender<Vec<PeerInfo>> },
    Subscribers { place: Place, done: Sender<Vec<Peer>> },
    Introduce { peer: Peer, addresses: Vec<Bytes>, done: Sender<()> },
    DialledAt { done: Sender<Vec<Bytes>> },
    Dial { address: Multiaddr, done: Sender<Result<Peer, DialError>> },
    Fault { peer: Peer, fault: Fault, done: Sender<()> },
    Reach { done: Sender<ReachInfo> },
    Remembered { done: Sender<Remembered> },
    GossipMetrics { done: Sender<String> },
}

/// What handles can see without asking.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    /// Where the node listens.
    pub(crate) listening: Vec<String>,
    /// Whether all listeners have an address.
    pub(crate) bound: bool,
    /// Peers that have identified as of this network.
    pub(crate) peers: usize,
}
