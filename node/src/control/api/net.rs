//! The node's place in the network.

use serde::{Deserialize, Serialize};
use weft_protocol::Address;

/// A connected peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PeerInfo {
    pub peer_id: String,
    pub address: Option<Address>,
    pub addresses: Vec<String>,
    pub outbound: bool,
    /// Whether it is reached through a relay alone.
    #[serde(default)]
    pub relayed: bool,
    /// The last round trip, in milliseconds.
    #[serde(default)]
    pub round_trip_ms: Option<u64>,
    /// Its gossip score; what has less than -800 is not listened to.
    #[serde(default)]
    pub score: f64,
    pub topics: usize,
    /// The software it says it is.
    #[serde(default)]
    pub agent: String,
}

/// A peer that serves a process, or says so.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ProviderInfo {
    pub peer_id: String,
    pub address: Option<Address>,
    /// How it was found: `scheduler`, `lobby`, `record`, `topic`.
    pub found: Vec<String>,
    /// The newest slot that it has, as the scheduler signed it.
    pub head: Option<u64>,
    /// Why it gave no head.
    pub problem: Option<String>,
}

/// How the network sees this node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Doctor {
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Check {
    /// `ports`, `peers`, `reach`, `relays`, `direct`, `topics`, `book`, `clock`.
    pub name: String,
    pub state: CheckState,
    /// What was found, and what to do about it.
    pub text: String,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    /// As it should be.
    Good,
    /// It works, and could be better.
    Fair,
    /// Something does not work.
    Bad,
}
