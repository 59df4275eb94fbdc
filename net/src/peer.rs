//! The name of a peer.

use std::fmt;
use std::str::FromStr;

use libp2p::PeerId;
use libp2p::identity::{PublicKey, ed25519};
use serde::{Deserialize, Serialize};
use weft_protocol::Address;

/// The name of a peer: its public key, in the form that libp2p prints (`12D3KooW...`).
///
/// A Weft node's key is ed25519 and short enough to stand in the name itself, so a peer's name
/// proves the address that its key has in ao, and the other way round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub(crate) PeerId);

/// A text or key that does not name a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a peer id: expected the form 12D3KooW... ({reason})")]
pub struct PeerError {
    /// What was given, cut at 64 characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Peer {
    /// The peer whose ed25519 public key this is.
    ///
    /// # Errors
    /// When the bytes are not a point of the curve.
    pub fn from_ed25519(key: &[u8; 32]) -> Result<Self, PeerError> {
        let key = ed25519::PublicKey::try_from_bytes(key).map_err(|e| PeerError {
            text: key.iter().map(|byte| format!("{byte:02x}")).collect(),
            reason: e.to_string(),
        })?;
        Ok(Self(PublicKey::from(key).to_peer_id()))
    }

    /// The ed25519 public key in this name, if it is one that holds its key.
    pub fn ed25519(&self) -> Option<[u8; 32]> {
        // Code 0 is the identity hash: the digest is the encoded key itself.
        let hash = self.0.as_ref();
        if hash.code() != 0 {
            return None;
        }
        let key = PublicKey::try_decode_protobuf(hash.digest()).ok()?;
        Some(key.try_into_ed25519().ok()?.to_bytes())
    }

    /// The ao address of this peer's key: SHA-256 of its 32 bytes.
    pub fn address(&self) -> Option<Address> {
        self.ed25519().map(|key| Address::of_key(&key))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Peer {
    type Err = PeerError;

    fn from_str(text: &str) -> Result<Self, PeerError> {
        text.parse().map(Self).map_err(|e: libp2p::identity::ParseError| PeerError {
            text: text.chars().take(64).collect(),
            reason: e.to_string(),
        })
    }
}

impl Serialize for Peer {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Peer {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use libp2p::identity::Keypair;

    use super::*;

    #[test]
    fn an_ed25519_name_proves_its_address() {
        let seed = [3; 32];
        let pair = Keypair::ed25519_from_bytes(seed).unwrap();
        let key = pair.public().try_into_ed25519().unwrap().to_bytes();
        let peer = Peer::from_ed25519(&key).unwrap();
        assert_eq!(peer.0, pair.public().to_peer_id());
        assert_eq!(peer.ed25519(), Some(key));
        assert_eq!(peer.address(), Some(Address::of_key(&key)));
        assert_eq!(peer.to_string().parse(), Ok(peer));
        assert!(peer.to_string().starts_with("12D3KooW"));
    }

    #[test]
    fn a_hashed_name_proves_nothing() {
        // The name of an RSA key is a hash of it.
        let peer: Peer = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse().unwrap();
        assert_eq!(peer.ed25519(), None);
        assert_eq!(peer.address(), None);
    }

    #[test]
    fn a_bad_name_is_named() {
        let error = "12D3Koo!".parse::<Peer>().unwrap_err();
        assert!(error.to_string().contains("`12D3Koo!`"), "{error}");
    }
}
