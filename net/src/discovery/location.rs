//! Where the holder of a key can be reached, in its own words.
//!
//! Provider records say who provides something, and whoever hands them on may lie about where that is. A
//! location record is signed by the key whose hash is its name in Kademlia, bound to one network,
//! numbered, and ends after a day: nobody else can make one, an older one replaces no newer one, and
//! peers that keep it can at most keep silent.

use std::collections::{BTreeMap, BTreeSet};

use libp2p::core::SignedEnvelope;
use libp2p::identity::{Keypair, SigningError};
use libp2p::{Multiaddr, PeerId};
use prost::Message;
use weft_protocol::Address;

use crate::limits::{
    ADDRESS_BYTES_MAX, ADDRESSES_PER_PEER_MAX, CLOCK_SKEW_S, LOCATION_BYTES_MAX, LOCATION_TTL_S,
    LOCATIONS_MAX,
};
use crate::peer::Peer;

/// What the envelope says that it holds.
const PAYLOAD_TYPE: &[u8] = b"/weft/location";

/// What is signed. Times are of the signer's clock, since 1970.
#[derive(Clone, PartialEq, Message)]
struct Payload {
    /// In milliseconds: a later one replaces an earlier one.
    #[prost(uint64, tag = "1")]
    sequence: u64,
    /// In seconds.
    #[prost(uint64, tag = "2")]
    expires: u64,
    #[prost(bytes = "vec", repeated, tag = "3")]
    addresses: Vec<Vec<u8>>,
}

/// A location record whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// Who can be reached.
    pub(crate) peer: PeerId,
    /// Later ones are newer.
    pub(crate) sequence: u64,
    /// Until when, in seconds since 1970.
    pub(crate) expires: u64,
    /// Where.
    pub(crate) addresses: Vec<Multiaddr>,
}

/// Signs where this node can be reached. `domain` names the network.
pub(crate) fn sign(
    keypair: &Keypair,
    domain: String,
    now_ms: u64,
    addresses: impl IntoIterator<Item = Multiaddr>,
) -> Result<Vec<u8>, SigningError> {
    let fitting = addresses.into_iter().filter(|address| address.len() <= ADDRESS_BYTES_MAX);
    let addresses = fitting.take(ADDRESSES_PER_PEER_MAX).map(|address| address.to_vec()).collect();
    let payload = Payload { sequence: now_ms, expires: now_ms / 1000 + LOCATION_TTL_S, addresses };
    let envelope = SignedEnvelope::new(keypair, domain, PAYLOAD_TYPE.to_vec(), payload.encode_to_vec())?;
    Ok(envelope.into_protobuf_encoding())
}

/// Reads the record of an address; none if it is not signed by the key with that address for this
/// network, has ended, or lasts longer than one may.
pub(crate) fn read(address: Address, value: &[u8], domain: String, now_s: u64) -> Option<Location> {
    if value.len() > LOCATION_BYTES_MAX {
        return None;
    }
    let envelope = SignedEnvelope::from_protobuf_encoding(value).ok()?;
    let (payload, key) = envelope.payload_and_signing_key(domain, PAYLOAD_TYPE).ok()?;
    let peer = key.to_peer_id();
    if Peer(peer).address() != Some(address) {
        return None;
    }
    let Payload { sequence, expires, addresses } = Payload::decode(payload).ok()?;
    if expires <= now_s || expires > now_s.saturating_add(LOCATION_TTL_S + CLOCK_SKEW_S) {
        return None;
    }
    let fitting = addresses.into_iter().filter(|bytes| bytes.len() <= ADDRESS_BYTES_MAX);
    let addresses: Vec<Multiaddr> =
        fitting.filter_map(|bytes| bytes.try_into().ok()).take(ADDRESSES_PER_PEER_MAX).collect();
    (!addresses.is_empty()).then_some(Location { peer, sequence, expires, addresses })
}

/// The location records of others that this node keeps, the newest of each address.
#[derive(Debug, Default)]
pub(crate) struct Locations {
    kept: BTreeMap<Address, Kept>,
    by_expiry: BTreeSet<(u64, Address)>,
}

#[derive(Debug)]
struct Kept {
    sequence: u64,
    expires: u64,
    value: Vec<u8>,
}

impl Locations {
    /// The record of an address, as it came.
    pub(crate) fn get(&self, address: &Address) -> Option<&[u8]> {
        self.kept.get(address).map(|kept| kept.value.as_slice())
    }

    /// Keeps a record that was read, or says that it did not: a newer one is there, or there is no room.
    pub(crate) fn take(&mut self, address: Address, location: &Location, value: Vec<u8>, now_s: u64) -> bool {
        while let Some((expires, over)) = self.by_expiry.first().copied().filter(|(at, _)| *at <= now_s) {
            self.by_expiry.remove(&(expires, over));
            self.kept.remove(&over);
        }
        match self.kept.get(&address) {
            Some(kept) if kept.sequence >= location.sequence => return false,
            Some(kept) => {
                self.by_expiry.remove(&(kept.expires, address));
            }
            None if self.kept.len() >= LOCATIONS_MAX => return false,
            None => {}
        }
        let Location { sequence, expires, .. } = *location;
        self.by_expiry.insert((expires, address));
        self.kept.insert(address, Kept { sequence, expires, value });
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;
    const NOW_S: u64 = NOW_MS / 1000;

    fn key(seed: u32) -> Keypair {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&seed.to_be_bytes());
        Keypair::ed25519_from_bytes(bytes).unwrap()
    }

    fn address(of: &Keypair) -> Address {
        Peer(of.public().to_peer_id()).address().unwrap()
    }

    fn at(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
    }

    fn net() -> String {
        "net".into()
    }

    #[test]
    fn a_record_says_where_its_own_key_is() {
        let own = key(1);
        let value = sign(&own, net(), NOW_MS, [at(1), at(2)]).unwrap();
        let location = read(address(&own), &value, net(), NOW_S).unwrap();
        assert_eq!(location.peer, own.public().to_peer_id());
        assert_eq!((location.sequence, &location.addresses[..]), (NOW_MS, &[at(1), at(2)][..]));
        // Not of another key, network or time.
        assert_eq!(read(address(&key(2)), &value, net(), NOW_S), None);
        assert_eq!(read(address(&own), &value, "other".into(), NOW_S), None);
        assert_eq!(read(address(&own), &value, net(), NOW_S + LOCATION_TTL_S), None);
        assert_eq!(read(address(&own), &value, net(), NOW_S - CLOCK_SKEW_S - 1), None);
        assert!(read(address(&own), &value, net(), NOW_S - CLOCK_SKEW_S).is_some());
    }

    #[test]
    fn no_changed_byte_goes_unseen() {
        let own = key(1);
        let value = sign(&own, net(), NOW_MS, [at(1)]).unwrap();
        let honest = read(address(&own), &value, net(), NOW_S).unwrap();
        for place in 0..value.len() {
            let mut changed = value.clone();
            changed[place] ^= 1 << (place % 8);
            let location = read(address(&own), &changed, net(), NOW_S);
            assert!(location.is_none_or(|location| location == honest), "byte {place}");
        }
        assert_eq!(read(address(&own), &[], net(), NOW_S), None);
        assert_eq!(read(address(&own), &vec![8; LOCATION_BYTES_MAX + 1], net(), NOW_S), None);
    }

    #[test]
    fn the_largest_record_fits_and_one_without_an_address_is_none() {
        let own = key(1);
        let long: Multiaddr = format!("/dns4/{}/tcp/1", "n".repeat(ADDRESS_BYTES_MAX - 6)).parse().unwrap();
        assert_eq!(long.len(), ADDRESS_BYTES_MAX);
        let value = sign(&own, net(), NOW_MS, vec![long.clone(); 99]).unwrap();
        assert!(value.len() <= LOCATION_BYTES_MAX);
        let location = read(address(&own), &value, net(), NOW_S).unwrap();
        assert_eq!(location.addresses, vec![long; ADDRESSES_PER_PEER_MAX]);
        let nowhere = sign(&own, net(), NOW_MS, []).unwrap();
        assert_eq!(read(address(&own), &nowhere, net(), NOW_S), None);
    }

    fn location(seed: u32, sequence: u64, expires: u64) -> (Address, Location) {
        let own = key(seed);
        let peer = own.public().to_peer_id();
        (address(&own), Location { peer, sequence, expires, addresses: vec![at(1)] })
    }

    #[test]
    fn the_newest_is_kept_until_it_ends() {
        let mut kept = Locations::default();
        let (of, second) = location(1, 2, 50);
        assert!(kept.take(of, &second, vec![2], 0));
        assert!(!kept.take(of, &location(1, 1, 90).1, vec![1], 0), "an older one");
        assert!(!kept.take(of, &second, vec![9], 0), "the same again");
        assert!(kept.take(of, &location(1, 3, 60).1, vec![3], 0));
        assert_eq!(kept.get(&of), Some(&[3][..]));
        let (other, later) = location(2, 1, 99);
        assert!(kept.take(other, &later, vec![4], 59));
        assert!(kept.get(&of).is_some());
        assert!(kept.take(other, &location(2, 2, 99).1, vec![5], 60));
        assert_eq!((kept.get(&of), kept.by_expiry.len()), (None, 1));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut kept = Locations::default();
        let (of, first) = location(0, 1, 50);
        for number in 0..LOCATIONS_MAX as u64 + 5 {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&number.to_be_bytes());
            assert_eq!(kept.take(Address(name), &first, vec![], 0), number < LOCATIONS_MAX as u64);
        }
        assert!(!kept.take(of, &first, vec![], 49));
        assert!(kept.take(of, &Location { expires: 99, ..first }, vec![], 50), "they have ended");
        assert_eq!((kept.kept.len(), kept.by_expiry.len()), (1, 1));
    }
}
