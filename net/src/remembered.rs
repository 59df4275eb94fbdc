//! What a node writes down of the network, and is given again when it starts.

use serde::{Deserialize, Serialize};

use crate::peer::Peer;

/// What is worth keeping over a restart. The network layer touches no disk: the node writes this
/// down as JSON and hands it back. Nothing in it is trusted: bad addresses and keys are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remembered {
    /// Peers that this node has met.
    pub peers: Vec<RememberedPeer>,
    /// Provider records that other peers gave this node to keep.
    pub providers: Vec<RememberedProvider>,
}

/// A peer that this node has met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedPeer {
    /// Its name.
    pub peer: Peer,
    /// Where it said that it can be dialled.
    pub addresses: Vec<String>,
    /// When it was last connected, in seconds before this was written.
    pub age_s: u64,
    /// Dials that failed since.
    #[serde(default)]
    pub failures: u32,
    /// Whether it is dialled first.
    #[serde(default)]
    pub anchor: bool,
}

/// A provider record of another peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedProvider {
    /// What is provided, in hexadecimal.
    pub key: String,
    /// By whom.
    pub peer: Peer,
    /// Where it can be dialled.
    pub addresses: Vec<String>,
    /// When the record ends, in seconds after this was written.
    pub expires_s: u64,
}

impl Remembered {
    /// The same, so many seconds later: what a node should be given that was stopped that long.
    #[must_use]
    pub fn aged(mut self, seconds: u64) -> Self {
        for peer in &mut self.peers {
            peer.age_s = peer.age_s.saturating_add(seconds);
        }
        self.providers.retain_mut(|provider| {
            provider.expires_s = provider.expires_s.saturating_sub(seconds);
            provider.expires_s > 0
        });
        self
    }
}
