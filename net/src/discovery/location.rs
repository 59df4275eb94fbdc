//! Where the holder of a key can be reached, in its own words.
//!
//! Provider records say who provides something, and whoever hands them on may lie about where that is. A
//! location record is signed by the key whose hash is its name in Kademlia, bound to one network,
//! numbered, and ends after a day: nobody else can make one, or give one to a peer to keep, and an older one
//! replaces no newer one. Peers that keep it can at most keep silent, or give an older one, which costs a
//! dial and ends no lookup.

use std::collections::{BTreeMap, BTreeSet};

use libp2p::core::SignedEnvelope;
use libp2p::identity::{Keypair, SigningError};
use libp2p::kad::{KBucketDistance, KBucketKey};
use libp2p::{Multiaddr, PeerId};
use prost::Message;
use weft_protocol::Address;

use crate::key::Key;
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
#[derive(Debug)]
pub(crate) struct Locations {
    own: KBucketKey<PeerId>,
    kept: BTreeMap<Address, Kept>,
    by_expiry: BTreeSet<(u64, Address)>,
    /// By distance from this node. Where there is no room the last goes: others are nearer to it, and keys
    /// near this node are the harder to come by the more honest ones there are.
    by_distance: BTreeSet<(KBucketDistance, Address)>,
}

#[derive(Debug)]
struct Kept {
    sequence: u64,
    expires: u64,
    distance: KBucketDistance,
    value: Vec<u8>,
}

impl Locations {
    /// Of the node with this name.
    pub(crate) fn new(own: PeerId) -> Self {
        Self {
            own: own.into(),
            kept: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            by_distance: BTreeSet::new(),
        }
    }

    fn distance(&self, address: &Address) -> KBucketDistance {
        self.own.distance(&KBucketKey::new(Key::Address(*address).record_key()))
    }

    fn remove(&mut self, address: &Address) {
        let Some(kept) = self.kept.remove(address) else { return };
        self.by_expiry.remove(&(kept.expires, *address));
        self.by_distance.remove(&(kept.distance, *address));
    }

    /// The record of an address, as it came.
    pub(crate) fn get(&self, address: &Address) -> Option<&[u8]> {
        self.kept.get(address).map(|kept| kept.value.as_slice())
    }

    /// Keeps a record that was read, or says that it did not: a newer one is there, or there is no room and
    /// all others are nearer.
    pub(crate) fn take(&mut self, address: Address, location: &Location, value: Vec<u8>, now_s: u64) -> bool {
        while let Some((_, over)) = self.by_expiry.first().copied().filter(|(at, _)| *at <= now_s) {
            self.remove(&over);
        }
        if self.kept.get(&address).is_some_and(|kept| kept.sequence >= location.sequence) {
            return false;
        }
        self.remove(&address);
        let distance = self.distance(&address);
        if self.kept.len() >= LOCATIONS_MAX {
            match self.by_distance.last().copied() {
                Some((furthest, over)) if distance < furthest => self.remove(&over),
                _ => return false,
            }
        }
        let Location { sequence, expires, .. } = *location;
        self.by_expiry.insert((expires, address));
        self.by_distance.insert((distance, address));
        self.kept.insert(address, Kept { sequence, expires, distance, value });
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
        let mut kept = Locations::new(key(0).public().to_peer_id());
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
        assert_eq!((kept.get(&of), kept.by_expiry.len(), kept.by_distance.len()), (None, 1, 1));
    }

    #[test]
    fn where_there_is_no_room_the_nearest_stay() {
        let mut kept = Locations::new(key(0).public().to_peer_id());
        let (_, first) = location(0, 1, 50);
        let names: Vec<_> = (0..LOCATIONS_MAX as u64 + 200)
            .map(|number| {
                let mut name = [0; 32];
                name[..8].copy_from_slice(&number.to_be_bytes());
                Address(name)
            })
            .collect();
        let taken: Vec<_> = names.iter().map(|name| kept.take(*name, &first, vec![], 0)).collect();
        assert!(taken[..LOCATIONS_MAX].iter().all(|taken| *taken));
        let beyond = &taken[LOCATIONS_MAX..];
        assert!(beyond.contains(&true) && beyond.contains(&false), "{beyond:?}");
        let mut nearest = names;
        nearest.sort_by_key(|name| kept.distance(name));
        let furthest = nearest.split_off(LOCATIONS_MAX);
        assert!(nearest.iter().all(|name| kept.get(name).is_some()));
        assert!(furthest.iter().all(|name| kept.get(name).is_none()));
        assert_eq!((kept.by_expiry.len(), kept.by_distance.len()), (LOCATIONS_MAX, LOCATIONS_MAX));
        // One that is there may be renewed, and what has ended makes room.
        let renewed = Location { sequence: 2, ..first.clone() };
        assert!(kept.take(nearest[LOCATIONS_MAX - 1], &renewed, vec![], 49));
        assert!(!kept.take(furthest[0], &first, vec![], 49));
        assert!(kept.take(furthest[0], &Location { expires: 99, ..first }, vec![], 50));
        assert_eq!((kept.kept.len(), kept.by_expiry.len(), kept.by_distance.len()), (1, 1, 1));
    }
}
