//! Lobby shards, and peers that somebody names.

use bytes::Bytes;
use weft_protocol::lobby::Shard;
use weft_protocol::wire::LOBBY_FACT_BYTES_MAX;

use super::{JoinError, Net, PublishError, Published, Stopped};
use crate::peer::Peer;
use crate::service::command::{Command, Place};

impl Net {
    /// Joins a lobby shard: what is said there comes as events from now on. Joining again changes
    /// nothing. Shards take no places of processes.
    ///
    /// # Errors
    /// When the network has stopped.
    pub async fn join_lobby(&self, shard: Shard) -> Result<(), JoinError> {
        self.ask(|done| Command::JoinLobby { shard, done }).await?
    }

    /// Leaves a lobby shard.
    ///
    /// # Errors
    /// When the network has stopped.
    pub async fn leave_lobby(&self, shard: Shard) -> Result<(), Stopped> {
        self.ask(|done| Command::LeaveLobby { shard, done }).await
    }

    /// Says a fact on a lobby shard, joined or not.
    ///
    /// # Errors
    /// When nobody is there to hear it (then nothing was sent), or it is too large.
    pub async fn publish_lobby(&self, shard: Shard, data: Bytes) -> Result<Published, PublishError> {
        if data.len() > LOBBY_FACT_BYTES_MAX {
            return Err(PublishError::TooLarge { bytes: data.len(), limit: LOBBY_FACT_BYTES_MAX });
        }
        self.ask(|done| Command::Publish { place: Place::Lobby(shard), data, done }).await?
    }

    /// The connected peers that are on a lobby shard.
    ///
    /// # Errors
    /// When the network has stopped.
    pub async fn lobby_peers(&self, shard: Shard) -> Result<Vec<Peer>, Stopped> {
        self.ask(|done| Command::Subscribers { place: Place::Lobby(shard), done }).await
    }

    /// Dials a peer, if it is not connected, where somebody says that it is: each address as multiaddr bytes.
    /// What is no address is passed over; whether it is there shows when it is asked for something.
    ///
    /// # Errors
    /// When the network has stopped.
    pub async fn introduce(&self, peer: Peer, addresses: Vec<Bytes>) -> Result<(), Stopped> {
        self.ask(|done| Command::Introduce { peer, addresses, done }).await
    }

    /// Where others can dial this node, as far as that is known: each as multiaddr bytes.
    ///
    /// # Errors
    /// When the network has stopped.
    pub async fn dialled_at(&self) -> Result<Vec<Bytes>, Stopped> {
        self.ask(|done| Command::DialledAt { done }).await
    }
}
