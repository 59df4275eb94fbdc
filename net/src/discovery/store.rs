//! The provider and location records of others, in memory and bounded.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::iter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use weft_protocol::Address;

use crate::discovery::location::{Location, Locations};
use crate::key::Key;
use crate::limits::{
    ADDRESS_BYTES_MAX, ADDRESSES_PER_PEER_MAX, LOBBY_RECORD_TTL, PROVIDER_RECORDS_MAX,
    PROVIDER_RECORDS_PER_PEER_MAX, PROVIDER_RECORDS_WRITTEN_MAX, PROVIDER_TTL, PROVIDERS_PER_KEY_MAX,
};
use crate::metrics::Counters;
use crate::peer::Peer;
use crate::remembered::RememberedProvider;

/// Takes provider records about our keys alone, from peers that can be providers of them, so many
/// per peer and per key. Of value records it holds location records alone, which others verify first.
pub(crate) struct ProviderStore {
    own: PeerId,
    /// What this node provides, as the library wants to know it.
    provided: BTreeMap<Key, ProviderRecord>,
    /// By key, in the order in which the providers came.
    records: BTreeMap<Key, Vec<ProviderRecord>>,
    by_expiry: BTreeSet<(Instant, Key, PeerId)>,
    /// The same of each provider.
    per_peer: BTreeMap<PeerId, BTreeSet<(Instant, Key)>>,
    /// How many records each provider has.
    by_count: BTreeSet<(usize, PeerId)>,
    locations: Locations,
    /// Where this node is.
    own_location: Option<Record>,
    counters: Arc<Counters>,
}

impl ProviderStore {
    pub(crate) fn new(own: PeerId, counters: Arc<Counters>) -> Self {
        Self {
            own,
            provided: BTreeMap::new(),
            records: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            per_peer: BTreeMap::new(),
            by_count: BTreeSet::new(),
            locations: Locations::new(own),
            own_location: None,
            counters,
        }
    }

    /// The location record of an address that is kept, as it came.
    pub(crate) fn location(&self, address: &Address) -> Option<&[u8]> {
        self.locations.get(address)
    }

    /// Keeps a location record that was verified, or says that it does not.
    pub(crate) fn take_location(
        &mut self,
        address: Address,
        location: &Location,
        value: Vec<u8>,
        now_s: u64,
    ) -> bool {
        self.locations.take(address, location, value, now_s)
    }

    /// The records of others, to be written down: where there are more than may be, as many of each
    /// provider, and of each those that last longest.
    pub(crate) fn remembered(&mut self, now: Instant) -> Vec<RememberedProvider> {
        self.expire(now);
        let mut turns: Vec<_> = self.per_peer.iter().map(|(peer, own)| (peer, own.iter().rev())).collect();
        let mut chosen = BTreeSet::new();
        while chosen.len() < PROVIDER_RECORDS_WRITTEN_MAX && !turns.is_empty() {
            turns.retain_mut(|(peer, own)| {
                let next = own.next().filter(|_| chosen.len() < PROVIDER_RECORDS_WRITTEN_MAX);
                next.is_some_and(|(_, key)| chosen.insert((*key, **peer)))
            });
        }
        let each = chosen.iter().filter_map(|(key, peer)| {
            let record = self.records.get(key)?.iter().find(|record| &record.provider == peer)?;
            let left = record.expires?.saturating_duration_since(now).as_secs();
            (left > 0).then(|| RememberedProvider {
                key: hex::encode(&record.key),
                peer: Peer(record.provider),
                addresses: record.addresses.iter().map(ToString::to_string).collect(),
                expires_s: left,
            })
        });
        each.collect()
    }

    /// Takes records that were written down, as if they came from their peers now.
    pub(crate) fn restore(&mut self, remembered: &[RememberedProvider], now: Instant) {
        for record in remembered {
            let left = Duration::from_secs(record.expires_s).min(PROVIDER_TTL);
            let Ok(key) = hex::decode(&record.key) else { continue };
            let addresses = record.addresses.iter().filter_map(|text| text.parse().ok()).collect();
            let record = ProviderRecord {
                key: RecordKey::new(&key),
                provider: record.peer.0,
                expires: Some(now + left),
                addresses,
            };
            if record.provider != self.own
                && let Err(error) = self.add(record, now)
            {
                tracing::debug!(%error, "a record that was written down is not taken");
            }
        }
    }

    /// How many records of others are kept, and how many of whoever has the most.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.by_expiry.len(), self.by_count.last().map_or(0, |(count, _)| *count))
    }

    fn remove_record(&mut self, key: &Key, provider: &PeerId) {
        let Some(list) = self.records.get_mut(key) else { return };
        let Some(place) = list.iter().position(|record| &record.provider == provider) else { return };
        let record = list.remove(place);
        if list.is_empty() {
            self.records.remove(key);
        }
        if let Some(expires) = record.expires {
            self.unlist(expires, *key, *provider);
        }
    }

    fn list(&mut self, expires: Instant, key: Key, provider: PeerId) {
        self.by_expiry.insert((expires, key, provider));
        let own = self.per_peer.entry(provider).or_default();
        self.by_count.remove(&(own.len(), provider));
        own.insert((expires, key));
        self.by_count.insert((own.len(), provider));
    }

    fn unlist(&mut self, expires: Instant, key: Key, provider: PeerId) {
        self.by_expiry.remove(&(expires, key, provider));
        let Some(own) = self.per_peer.get_mut(&provider) else { return };
        self.by_count.remove(&(own.len(), provider));
        own.remove(&(expires, key));
        if own.is_empty() {
            self.per_peer.remove(&provider);
        } else {
            self.by_count.insert((own.len(), provider));
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((expires, key, provider)) = self.by_expiry.first().copied() {
            if expires > now {
                break;
            }
            self.by_expiry.pop_first();
            self.remove_record(&key, &provider);
        }
    }

    /// Takes a record at this time. One that is not taken is counted.
    pub(crate) fn add(&mut self, record: ProviderRecord, now: Instant) -> Result<()> {
        self.expire(now);
        let key = Key::from_record_key(&record.key);
        if let Some(key) = key
            && record.provider == self.own
        {
            self.provided.insert(key, record);
            return Ok(());
        }
        if key.is_some_and(|key| self.take(key, record, now)) {
            return Ok(());
        }
        Counters::add(&self.counters.provider_records_refused);
        Err(Error::MaxProvidedKeys)
    }

    /// Takes the record of another peer, or says that it was not taken.
    fn take(&mut self, key: Key, mut record: ProviderRecord, now: Instant) -> bool {
        let provider = record.provider;
        // A record without an end would stay for ever.
        let Some(mut expires) = record.expires else { return false };
        if !key.admits(&Peer(provider)) {
            return false;
        }
        if let Key::Lobby(_) = key {
            // Every full node has these: whoever is gone makes room soon.
            expires = expires.min(now + LOBBY_RECORD_TTL);
            record.expires = Some(expires);
        }
        record.addresses.retain(|address| address.len() <= ADDRESS_BYTES_MAX);
        record.addresses.truncate(ADDRESSES_PER_PEER_MAX);
        record.addresses.shrink_to_fit();
        let list = self.records.get_mut(&key);
        if let Some(old) = list.and_then(|list| list.iter_mut().find(|old| old.provider == provider)) {
            let before = old.expires;
            *old = record;
            if let Some(before) = before {
                self.unlist(before, key, provider);
            }
        } else if self.make_room(&key, &provider) {
            self.records.entry(key).or_default().push(record);
        } else {
            return false;
        }
        self.list(expires, key, provider);
        true
    }

    /// Whether there is room for one more record of this provider, which another may have made. Nothing
    /// goes for a record that is not taken.
    fn make_room(&mut self, key: &Key, provider: &PeerId) -> bool {
        let has = self.per_peer.get(provider).map_or(0, BTreeSet::len);
        if has >= PROVIDER_RECORDS_PER_PEER_MAX {
            return false;
        }
        if let Some(list) = self.records.get(key).filter(|list| list.len() >= PROVIDERS_PER_KEY_MAX) {
            // On a lobby shard the stalest goes.
            let stalest = list.iter().min_by_key(|old| old.expires).map(|old| old.provider);
            let Some(stalest) = stalest.filter(|_| matches!(key, Key::Lobby(_))) else { return false };
            self.remove_record(key, &stalest);
            return true;
        }
        if self.by_expiry.len() < PROVIDER_RECORDS_MAX {
            return true;
        }
        // Whoever has the most gives up its stalest for one that has less: few keys cannot close the table.
        let Some((most, largest)) = self.by_count.last().copied() else { return false };
        let stalest = self.per_peer.get(&largest).and_then(|own| own.first().copied());
        let Some((_, stalest)) = stalest.filter(|_| most > has + 1) else { return false };
        self.remove_record(&stalest, &largest);
        true
    }
}

impl RecordStore for ProviderStore {
    type RecordsIter<'a> = iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = iter::Map<
        btree_map::Values<'a, Key, ProviderRecord>,
        fn(&'a ProviderRecord) -> Cow<'a, ProviderRecord>,
    >;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        if let Some(own) = self.own_location.as_ref().filter(|own| own.key == *key) {
            return Some(Cow::Borrowed(own));
        }
        let Some(Key::Address(address)) = Key::from_record_key(key) else { return None };
        // One that has ended is no use to whoever asks, and tells nobody a lie.
        let value = self.locations.get(&address)?.to_vec();
        Some(Cow::Owned(Record::new(key.clone(), value)))
    }

    /// Takes this node's own record alone: those of others come by [`take_location`](Self::take_location).
    fn put(&mut self, record: Record) -> Result<()> {
        let own = Peer(self.own).address().map(Key::Address);
        if record.publisher != Some(self.own) || own.is_none_or(|own| own.record_key() != record.key) {
            return Err(Error::MaxRecords);
        }
        self.own_location = Some(record);
        Ok(())
    }

    fn remove(&mut self, key: &RecordKey) {
        self.own_location.take_if(|own| own.key == *key);
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        iter::empty()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        self.add(record, Instant::now())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let Some(key) = Key::from_record_key(key) else { return Vec::new() };
        let others = self.records.get(&key).into_iter().flatten();
        self.provided.get(&key).into_iter().chain(others).cloned().collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.provided.values().map(Cow::Borrowed)
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        let Some(key) = Key::from_record_key(key) else { return };
        if provider == &self.own {
            self.provided.remove(&key);
        } else {
            self.remove_record(&key, provider);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use libp2p::identity::Keypair;
    use weft_protocol::Id;
    use weft_protocol::lobby::Shard;

    use super::*;

    fn peer(seed: u32) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&seed.to_be_bytes());
        Keypair::ed25519_from_bytes(bytes).unwrap().public().to_peer_id()
    }

    fn process(n: u32) -> Key {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Key::Process(Id(bytes))
    }

    fn record(key: Key, provider: PeerId, seconds: u64) -> ProviderRecord {
        ProviderRecord {
            key: key.record_key(),
            provider,
            expires: Some(Instant::now() + Duration::from_secs(seconds)),
            addresses: vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap(); 20],
        }
    }

    fn store() -> ProviderStore {
        ProviderStore::new(peer(0), Arc::default())
    }

    #[test]
    fn an_address_is_provided_by_its_own_key_alone() {
        let mut store = store();
        let honest = peer(1);
        let key = Key::Address(Peer(honest).address().unwrap());
        assert!(store.add_provider(record(key, peer(2), 9)).is_err());
        assert!(store.add_provider(record(key, honest, 9)).is_ok());
        let providers = store.providers(&key.record_key());
        assert_eq!(providers.len(), 1);
        assert_eq!(providers[0].provider, honest);
        assert_eq!(providers[0].addresses.len(), ADDRESSES_PER_PEER_MAX);
        assert!(store.add_provider(record(Key::Address(Address([0; 32])), honest, 9)).is_err());
        assert_eq!(Counters::get(&store.counters.provider_records_refused), 2);
    }

    #[test]
    fn the_first_providers_of_a_key_stay() {
        let mut store = store();
        for seed in 1..=30 {
            let _ = store.add_provider(record(process(1), peer(seed), 9));
        }
        let providers = store.providers(&process(1).record_key());
        assert_eq!(providers.len(), PROVIDERS_PER_KEY_MAX);
        assert_eq!(providers[0].provider, peer(1));
        // One that is there may be renewed.
        assert!(store.add_provider(record(process(1), peer(1), 99)).is_ok());
        assert_eq!(store.by_expiry.len(), PROVIDERS_PER_KEY_MAX);
    }

    #[test]
    fn one_peer_cannot_fill_the_store() {
        let mut store = store();
        let greedy = peer(1);
        for n in 0..PROVIDER_RECORDS_PER_PEER_MAX as u32 {
            assert!(store.add_provider(record(process(n), greedy, 9)).is_ok());
        }
        assert!(store.add_provider(record(process(u32::MAX), greedy, 9)).is_err());
        assert!(store.add_provider(record(process(u32::MAX), peer(2), 9)).is_ok());
        store.remove_provider(&process(0).record_key(), &greedy);
        assert!(store.add_provider(record(process(u32::MAX), greedy, 9)).is_ok());
    }

    /// A store that few peers filled, each with as many records as one may have, of which none ends soon.
    fn full() -> ProviderStore {
        let mut store = store();
        let expires = Some(Instant::now() + Duration::from_secs(9_000));
        let each = PROVIDER_RECORDS_PER_PEER_MAX as u32;
        for holder in 0..PROVIDER_RECORDS_MAX as u32 / each {
            let provider = peer(1 + holder);
            for n in 0..each {
                let key = process(holder * each + n).record_key();
                store.add_provider(ProviderRecord { key, provider, expires, addresses: Vec::new() }).unwrap();
            }
        }
        store
    }

    #[test]
    fn few_peers_cannot_close_a_full_store_to_others() {
        let (mut store, honest) = (full(), peer(1_000));
        for n in 0..100 {
            let key = process(1_000_000 + n);
            assert!(store.add_provider(record(key, honest, 99)).is_ok(), "{n}");
            assert_eq!(store.by_expiry.len(), PROVIDER_RECORDS_MAX);
        }
        assert_eq!(store.per_peer[&honest].len(), 100);
        // Those who have the most have still nothing to win, and lost alike.
        assert!(store.add_provider(record(process(2_000_000), peer(1), 99)).is_err());
        let counts: Vec<_> = store.by_count.iter().rev().take(64).map(|(count, _)| *count).collect();
        assert_eq!(counts.iter().sum::<usize>() + 100, PROVIDER_RECORDS_MAX);
        assert!(counts.iter().all(|count| *count + 2 >= PROVIDER_RECORDS_PER_PEER_MAX), "{counts:?}");
        // What is written down is bounded, and everybody has a share of it.
        let written = store.remembered(Instant::now());
        assert_eq!(written.len(), PROVIDER_RECORDS_WRITTEN_MAX);
        let share = written.iter().filter(|record| record.peer.0 == honest).count();
        assert!(share >= PROVIDER_RECORDS_WRITTEN_MAX / 66, "{share}");
    }

    #[test]
    fn a_record_that_is_not_taken_costs_nobody_its_place() {
        let (mut store, greedy) = (store(), peer(1_000));
        let lobby = Key::Lobby(Shard::all().next().unwrap());
        for seed in 1..=PROVIDERS_PER_KEY_MAX as u32 {
            store.add_provider(record(lobby, peer(seed), 9)).unwrap();
        }
        for n in 0..PROVIDER_RECORDS_PER_PEER_MAX as u32 {
            store.add_provider(record(process(n), greedy, 9)).unwrap();
        }
        assert!(store.add_provider(record(lobby, greedy, 99)).is_err());
        assert_eq!(store.providers(&lobby.record_key()).len(), PROVIDERS_PER_KEY_MAX);
        // One with room gets the place of the stalest.
        assert!(store.add_provider(record(lobby, peer(1_001), 99)).is_ok());
        let providers = store.providers(&lobby.record_key());
        assert_eq!(providers.len(), PROVIDERS_PER_KEY_MAX);
        assert!(providers.iter().any(|record| record.provider == peer(1_001)));
    }

    #[test]
    fn expired_records_make_room() {
        let mut store = store();
        store.add_provider(record(process(1), peer(1), 0)).unwrap();
        store.add_provider(record(process(2), peer(1), 9)).unwrap();
        assert!(store.providers(&process(1).record_key()).is_empty());
        assert_eq!(store.per_peer[&peer(1)].len(), 1);
        assert_eq!(store.by_count.iter().collect::<Vec<_>>(), [&(1, peer(1))]);
        assert_eq!(store.by_expiry.len(), 1);
    }

    #[test]
    fn records_of_others_survive_being_written_down() {
        let mut store = store();
        store.add_provider(record(process(1), peer(1), 100)).unwrap();
        store.add_provider(record(process(2), peer(1), 0)).unwrap();
        let mut own = record(process(3), peer(0), 9);
        own.expires = None;
        store.add_provider(own).unwrap();
        let written = store.remembered(Instant::now());
        assert_eq!(written.len(), 1);
        let mut again = self::store();
        again.restore(&written, Instant::now());
        let providers = again.providers(&process(1).record_key());
        assert_eq!(providers[0].provider, peer(1));
        assert_eq!(providers[0].addresses.len(), ADDRESSES_PER_PEER_MAX);
        // What was changed on disk is no worse than what a peer could send.
        let bad = |key: &str| RememberedProvider { key: key.into(), ..written[0].clone() };
        let forged = RememberedProvider { peer: Peer(peer(0)), ..written[0].clone() };
        again.restore(&[bad("zz"), bad("1"), bad("\u{e9}"), bad("00"), forged], Instant::now());
        assert_eq!(again.by_expiry.len(), 1);
        assert!(again.provided.is_empty());
    }

    #[test]
    fn of_value_records_only_this_nodes_own_location_is_put() {
        let mut store = store();
        let own = Key::Address(Peer(peer(0)).address().unwrap()).record_key();
        let record = |key: RecordKey, publisher| Record {
            publisher: Some(peer(publisher)),
            ..Record::new(key, vec![1])
        };
        let other = Key::Address(Peer(peer(1)).address().unwrap()).record_key();
        assert!(store.put(record(other.clone(), 0)).is_err());
        assert!(store.put(record(other.clone(), 1)).is_err());
        assert!(store.put(record(own.clone(), 1)).is_err());
        assert!(store.put(record(own.clone(), 0)).is_ok());
        assert!(store.get(&own).is_some() && store.get(&other).is_none());
        store.remove(&own);
        assert!(store.get(&own).is_none());
    }

    #[test]
    fn foreign_keys_and_value_records_are_refused_and_own_records_are_apart() {
        let mut store = store();
        let mut foreign = record(process(1), peer(1), 9);
        foreign.key = RecordKey::new(b"/pk/anything");
        assert!(store.add_provider(foreign).is_err());
        assert!(store.put(Record::new(process(1).record_key(), vec![1])).is_err());
        let mut own = record(process(1), peer(0), 9);
        own.expires = None;
        store.add_provider(own).unwrap();
        assert_eq!(store.provided().count(), 1);
        store.remove_provider(&process(1).record_key(), &peer(0));
        assert_eq!(store.provided().count(), 0);
    }
}
