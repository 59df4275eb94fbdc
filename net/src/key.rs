//! What provider records are about.

use libp2p::kad::RecordKey;
use weft_protocol::lobby::{SHARD_BITS, Shard};
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
    /// That it is on this lobby shard, and hears there who serves its processes.
    Lobby(Shard),
}

const PROCESS: &[u8] = b"ao/process/";
const ADDRESS: &[u8] = b"ao/address/";
const LOBBY: &[u8] = b"ao/lobby/";

impl Key {
    pub(crate) fn record_key(&self) -> RecordKey {
        let (kind, name): (_, &[u8]) = match self {
            Self::Process(id) => (PROCESS, id.as_bytes()),
            Self::Address(address) => (ADDRESS, address.as_bytes()),
            Self::Lobby(shard) => (LOBBY, &lobby_name(*shard)),
        };
        RecordKey::new(&[kind, name].concat())
    }

    pub(crate) fn from_record_key(key: &RecordKey) -> Option<Self> {
        let bytes = key.as_ref();
        if let Some(name) = bytes.strip_prefix(PROCESS) {
            return Id::try_from(name).ok().map(Self::Process);
        }
        if let Some(name) = bytes.strip_prefix(LOBBY) {
            return Shard::all().find(|shard| lobby_name(*shard) == name).map(Self::Lobby);
        }
        let name = bytes.strip_prefix(ADDRESS)?;
        Address::try_from(name).ok().map(Self::Address)
    }

    /// Whether this peer can be a provider of the key: an address is provided by its own key alone.
    pub fn admits(&self, peer: &Peer) -> bool {
        match self {
            Self::Process(_) | Self::Lobby(_) => true,
            Self::Address(address) => peer.address().as_ref() == Some(address),
        }
    }
}

/// How many shards there are, as a power of two, and which one it is.
fn lobby_name(shard: Shard) -> [u8; 3] {
    let [high, low] = shard.number().to_be_bytes();
    [SHARD_BITS as u8, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_keys_read_back_and_nothing_else_does() {
        let shards = Shard::all().map(Key::Lobby);
        for key in [Key::Process(Id([1; 32])), Key::Address(Address([2; 32]))].into_iter().chain(shards) {
            assert_eq!(Key::from_record_key(&key.record_key()), Some(key));
        }
        for bytes in [&b""[..], b"ao/process/", b"ao/address/short", b"ao/lobby/\x04\0\x10", &[0; 43]] {
            assert_eq!(Key::from_record_key(&RecordKey::new(&bytes)), None);
        }
    }
}
