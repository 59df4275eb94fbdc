//! Names that belong to one network: its topics and its protocols.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libp2p::StreamProtocol;
use libp2p::swarm::InvalidProtocol;
use sha2::{Digest, Sha256};
use weft_protocol::Id;
use weft_protocol::id::Network;
use weft_protocol::lobby::{SHARD_BITS, Shard};

/// The names of one network. Its tag, [`Network::short`], stands in each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetworkNames {
    tag: String,
}

impl NetworkNames {
    pub(crate) fn new(network: Network) -> Self {
        Self { tag: network.short() }
    }

    /// What every topic of this network begins with.
    pub(crate) fn topic_prefix(&self) -> String {
        format!("ao1/{}/", self.tag)
    }

    /// The topic of a process: 22 characters are the first 16 bytes of SHA-256(process id). Short,
    /// because all topic names of a node travel in one frame.
    pub(crate) fn process_topic(&self, process: &Id) -> String {
        let hash = Sha256::digest(process.as_bytes());
        format!("ao1/{}/{}", self.tag, URL_SAFE_NO_PAD.encode(&hash[..16]))
    }

    /// The topic of a lobby shard. How many there are stands in the name: another number is another lobby.
    pub(crate) fn lobby_topic(&self, shard: Shard) -> String {
        format!("ao1/{}/s/{SHARD_BITS}/{}", self.tag, shard.number())
    }

    fn protocol_text(&self, name: &str) -> String {
        format!("/ao/{}/{name}", self.tag)
    }

    /// The Kademlia protocol.
    pub(crate) fn kademlia(&self) -> Result<StreamProtocol, InvalidProtocol> {
        StreamProtocol::try_from_owned(self.protocol_text("kad/1"))
    }

    /// The request-response protocol.
    pub(crate) fn requests(&self) -> Result<StreamProtocol, InvalidProtocol> {
        StreamProtocol::try_from_owned(self.protocol_text("request/1"))
    }

    /// What is signed into location records: one of another network is none here.
    pub(crate) fn location(&self) -> String {
        format!("weft/location/1/{}", self.tag)
    }

    /// What `identify` says we speak.
    pub(crate) fn identify(&self) -> String {
        format!("ao/{}/1", self.tag)
    }

    /// Whether a peer with these protocols is a node of our network.
    pub(crate) fn is_ours<'a>(&self, mut protocols: impl Iterator<Item = &'a str>) -> bool {
        let ours = self.protocol_text("");
        protocols.any(|protocol| protocol.starts_with(&ours))
    }

    /// Whether a peer with these protocols belongs to another network: it speaks ao protocols, but
    /// none of ours. A peer that speaks no ao protocol at all (a plain gossip client) may stay.
    /// Gossip itself keeps its common protocol name, so that clients in other languages can speak
    /// it; the topics hold the tag.
    pub(crate) fn is_foreign<'a>(&self, protocols: impl Iterator<Item = &'a str>) -> bool {
        let ours = self.protocol_text("");
        let mut is_foreign = false;
        for protocol in protocols.filter(|protocol| protocol.starts_with("/ao/")) {
            if protocol.starts_with(&ours) {
                return false;
            }
            is_foreign = true;
        }
        is_foreign
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_have_their_fixed_form() {
        let names = NetworkNames::new(Network::of_name("weft-test"));
        assert_eq!(names.topic_prefix(), "ao1/jIay/");
        assert_eq!(names.process_topic(&Id([7; 32])), "ao1/jIay/S7Bvjk46dxXSAdVz0KpCNw");
        let last = Shard::all().last().unwrap();
        assert_eq!(names.lobby_topic(last), "ao1/jIay/s/4/15");
        assert_eq!(names.kademlia().unwrap(), "/ao/jIay/kad/1");
        assert_eq!(names.requests().unwrap(), "/ao/jIay/request/1");
    }

    #[test]
    fn a_peer_is_foreign_by_its_ao_protocols_alone() {
        let names = NetworkNames::new(Network(1));
        let ours = names.protocol_text("kad/1");
        assert!(names.is_foreign(["/ao/other/kad/1", "/ipfs/id/1.0.0"].into_iter()));
        assert!(!names.is_foreign(["/ao/other/kad/1", ours.as_str()].into_iter()));
        assert!(!names.is_foreign(["/meshsub/1.1.0"].into_iter()));
        assert!(!names.is_foreign([].into_iter()));
    }
}
