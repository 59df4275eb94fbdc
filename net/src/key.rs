//! What provider records are about.

use libp2p::kad::RecordKey;
use weft_protocol::{Address, Id};

use crate::peer::Peer;

/// What a peer can say that it provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The log of this process.
    Process(Id),
    /// The services of the key with this address (a scheduler is found by it). Only the peer with
    /// that very key can provide it.
    Address(Address),
}

const PROCESS: &[u8] = b"ao/process/";
const ADDRESS: &[u8] = b"ao/address/";

impl Key {
    pub(crate) fn record_key(&self) -> RecordKey {
        let (kind, name) = match self {
            Self::Process(id) => (PROCESS, id.as_bytes()),
            Self::Address(address) => (ADDRESS, address.as_bytes()),
        };
        RecordKey::new(&[kind, name].concat())
    }

    pub(crate) fn from_record_key(key: &RecordKey) -> Option<Self> {
        let bytes = key.as_ref();
        if let Some(name) = bytes.strip_prefix(PROCESS) {
            return Id::try_from(name).ok().map(Self::Process);
        }
        let name = bytes.strip_prefix(ADDRESS)?;
        Address::try_from(name).ok().map(Self::Address)
    }

    /// Whether this peer can be a provider of the key: an address is provided by its own key alone.
    pub fn admits(&self, peer: &Peer) -> bool {
        match self {
            Self::Process(_) => true,
            Self::Address(address) => peer.address().as_ref() == Some(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_keys_read_back_and_nothing_else_does() {
        for key in [Key::Process(Id([1; 32])), Key::Address(Address([2; 32]))] {
            assert_eq!(Key::from_record_key(&key.record_key()), Some(key));
        }
        for bytes in [&b""[..], b"ao/process/", b"ao/address/short", &[0; 43]] {
            assert_eq!(Key::from_record_key(&RecordKey::new(&bytes)), None);
        }
    }
}
