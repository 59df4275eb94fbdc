//! Names that belong to one network: its tag, its topics and its protocols.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libp2p::StreamProtocol;
use sha2::{Digest, Sha256};
use weft_protocol::Id;

/// The names of one network.
///
/// Its tag is the base64url form of the first 3 bytes of SHA-256("weft/network/1" || id as u32
/// big-endian): 4 characters that depend on every bit of the id. Two networks whose tags are equal
/// by chance (1 in 16 million) still refuse each other's signatures, which cover the whole id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetworkNames {
    tag: String,
}

impl NetworkNames {
    pub(crate) fn new(network: u32) -> Self {
        let hash = Sha256::new().chain_update("weft/network/1").chain_update(network.to_be_bytes());
        Self { tag: URL_SAFE_NO_PAD.encode(&hash.finalize()[..3]) }
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

    fn protocol_text(&self, name: &str) -> String {
        format!("/ao/{}/{name}", self.tag)
    }

    /// The Kademlia protocol.
    pub(crate) fn kademlia(&self) -> Result<StreamProtocol, String> {
        StreamProtocol::try_from_owned(self.protocol_text("kad/1")).map_err(|e| e.to_string())
    }

    /// The request-response protocol.
    pub(crate) fn requests(&self) -> Result<StreamProtocol, String> {
        StreamProtocol::try_from_owned(self.protocol_text("request/1")).map_err(|e| e.to_string())
    }

    /// What `identify` says we speak.
    pub(crate) fn identify(&self) -> String {
        format!("ao/{}/1", self.tag)
    }

    /// Whether a peer with these protocols belongs to another network: it speaks ao protocols, but
    /// none of ours. A peer that speaks no ao protocol at all (a plain gossip client) may stay.
    pub(crate) fn is_foreign<'a>(&self, protocols: impl Iterator<Item = &'a str>) -> bool {
        let ours = self.protocol_text("");
        let mut foreign = false;
        for protocol in protocols.filter(|protocol| protocol.starts_with("/ao/")) {
            if protocol.starts_with(&ours) {
                return false;
            }
            foreign = true;
        }
        foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_fixed_form() {
        let names = NetworkNames::new(1);
        let topic = names.process_topic(&Id([7; 32]));
        assert_eq!(topic.len(), 31);
        assert!(topic.starts_with(&names.topic_prefix()));
        assert_eq!(names.kademlia().map(|p| p.to_string()), Ok(format!("/ao/{}/kad/1", names.tag)));
        assert!(names.requests().is_ok());
    }

    #[test]
    fn every_bit_of_the_network_id_counts() {
        let one = NetworkNames::new(1);
        for bit in 0..32 {
            assert_ne!(one, NetworkNames::new(1 ^ (1 << bit)), "bit {bit}");
        }
    }

    #[test]
    fn a_peer_is_foreign_by_its_ao_protocols_alone() {
        let names = NetworkNames::new(1);
        let ours = names.protocol_text("kad/1");
        assert!(names.is_foreign(["/ao/AAAA/kad/1", "/ipfs/id/1.0.0"].into_iter()));
        assert!(!names.is_foreign(["/ao/AAAA/kad/1", ours.as_str()].into_iter()));
        assert!(!names.is_foreign(["/meshsub/1.1.0"].into_iter()));
        assert!(!names.is_foreign([].into_iter()));
    }
}
