//! Lookups of providers and of locations, what other peers give this node to keep of both, and the routing
//! table behind them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use libp2p::kad::store::RecordStore as _;
use libp2p::kad::{
    self, GetProvidersOk, GetRecordOk, InboundRequest, QueryId, QueryResult, Quorum, Record, RecordKey,
};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;
use weft_protocol::{Address, Now};

use super::Service;
use crate::discovery::location::{self, Location};
use crate::discovery::machine::provide;
use crate::handle::ProvideError;
use crate::key::Key;
use crate::limits::{
    CHECKS_MAX, LOCATION_BYTES_MAX, LOCATIONS_PER_LOOKUP_MAX, LOOKUP_GRACE_MS, LOOKUPS_MAX, PROVIDERS_WANTED,
};
use crate::metrics::Counters;
use crate::peer::Peer;

type Done = oneshot::Sender<Result<Vec<Peer>, ProvideError>>;

#[derive(Default)]
struct Lookup {
    /// Which one of its key this is.
    number: u64,
    /// Queries under way, and location records that are being verified.
    open: usize,
    queries: Vec<QueryId>,
    /// Location records that came.
    records: usize,
    /// The newest of them.
    newest: Option<u64>,
    found: BTreeSet<Peer>,
    /// When the first was found.
    found_at: Option<Now>,
    /// All who asked for this key while the lookup was under way.
    askers: Vec<Done>,
}

/// The lookups under way, one for each key.
#[derive(Default)]
pub(super) struct Lookups {
    by_key: BTreeMap<Key, Lookup>,
    by_query: HashMap<QueryId, Key>,
    /// How many there were.
    count: u64,
}

impl Lookups {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

/// A location record that was verified, or was not.
pub(super) struct Checked {
    address: Address,
    value: Vec<u8>,
    location: Option<Location>,
    /// The lookup that brought it; else a peer gave it to this node to keep.
    sought: Option<u64>,
}

pub(super) type CheckFuture = BoxFuture<'static, Checked>;

/// Seconds and milliseconds since 1970: location records are of the world's time.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Service {
    pub(super) fn find_providers(&mut self, key: Key, done: Done) {
        if let Some(lookup) = self.lookups.by_key.get_mut(&key) {
            // A caller that went away makes room for the next.
            lookup.askers.retain(|asker| !asker.is_closed());
            if lookup.askers.len() < LOOKUPS_MAX {
                lookup.askers.push(done);
                return;
            }
        } else if self.lookups.len() < LOOKUPS_MAX {
            let kademlia = &mut self.swarm.behaviour_mut().kademlia;
            let mut queries = vec![kademlia.get_providers(key.record_key())];
            if let Key::Address(_) = key {
                queries.push(kademlia.get_record(key.record_key()));
            }
            self.lookups.by_query.extend(queries.iter().map(|query| (*query, key)));
            self.lookups.count += 1;
            let (number, open) = (self.lookups.count, queries.len());
            let lookup = Lookup { number, open, queries, askers: vec![done], ..Lookup::default() };
            self.lookups.by_key.insert(key, lookup);
            return;
        }
        let _ = done.send(Err(ProvideError::TooMany { limit: LOOKUPS_MAX }));
    }

    pub(super) fn on_kademlia(&mut self, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                match result {
                    QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => {
                        self.on_providers(id, providers.into_iter());
                    }
                    QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found))) => {
                        self.on_record(id, found.record.value);
                    }
                    _ => {}
                }
                if step.last {
                    self.end_query(id);
                }
            }
            kad::Event::RoutingUpdated { is_new_peer: true, .. } => {
                self.run_provided(provide::Input::NewPeer);
            }
            kad::Event::InboundRequest {
                request: InboundRequest::PutRecord { record: Some(record), .. },
            } => {
                self.on_put(record);
            }
            kad::Event::InboundRequest { request: InboundRequest::AddProvider { record: Some(record) } } => {
                // What is not taken is counted there.
                let _ = self.swarm.behaviour_mut().kademlia.store_mut().add_provider(record);
            }
            kad::Event::RoutingUpdated { .. }
            | kad::Event::InboundRequest { .. }
            | kad::Event::UnroutablePeer { .. }
            | kad::Event::RoutablePeer { .. }
            | kad::Event::PendingRoutablePeer { .. }
            | kad::Event::ModeChanged { .. } => {}
        }
    }

    /// Writes where this node can be reached to the peers near its address.
    pub(super) fn put_location(&mut self, key: Key) {
        let addresses: Vec<Multiaddr> = self.swarm.external_addresses().cloned().collect();
        if addresses.is_empty() {
            return;
        }
        let domain = self.settings.names.location();
        let value = match location::sign(&self.settings.keypair, domain, unix_ms(), addresses) {
            Ok(value) => value,
            Err(error) => return tracing::error!(%error, "cannot sign where this node is"),
        };
        let record = Record::new(key.record_key(), value);
        if let Err(error) = self.swarm.behaviour_mut().kademlia.put_record(record, Quorum::One) {
            tracing::warn!(%error, "cannot say where this node is");
        }
    }

    /// A peer gives this node a record to keep.
    fn on_put(&mut self, record: Record) {
        let Some(Key::Address(address)) = Key::from_record_key(&record.key) else {
            return Counters::add(&self.counters.locations_refused);
        };
        let store = self.swarm.behaviour_mut().kademlia.store_mut();
        // It comes again every ten minutes, and more often while the network is young.
        if store.location(&address) != Some(record.value.as_slice()) {
            self.check(address, record.value, None);
        }
    }

    fn on_record(&mut self, query: QueryId, value: Vec<u8>) {
        let Some(key @ Key::Address(address)) = self.lookups.by_query.get(&query).copied() else { return };
        let Some(lookup) = self.lookups.by_key.get_mut(&key) else { return };
        if lookup.records >= LOCATIONS_PER_LOOKUP_MAX {
            return;
        }
        lookup.records += 1;
        let sought = Some(lookup.number);
        if self.check(address, value, sought)
            && let Some(lookup) = self.lookups.by_key.get_mut(&key)
        {
            lookup.open += 1;
        }
    }

    /// Has a location record verified elsewhere; says whether there is a place for it.
    fn check(&mut self, address: Address, value: Vec<u8>, sought: Option<u64>) -> bool {
        if self.checks.len() >= CHECKS_MAX || value.len() > LOCATION_BYTES_MAX {
            Counters::add(&self.counters.locations_refused);
            return false;
        }
        let domain = self.settings.names.location();
        let work = tokio::task::spawn_blocking(move || {
            let location = location::read(address, &value, domain, unix_ms() / 1000);
            (value, location)
        });
        self.checks.push(Box::pin(async move {
            let (value, location) = work.await.unwrap_or_else(|error| {
                tracing::error!(%error, "a location record was not verified");
                Default::default()
            });
            Checked { address, value, location, sought }
        }));
        true
    }

    pub(super) fn on_checked(&mut self, Checked { address, value, location, sought }: Checked) {
        if let Some(number) = sought {
            return self.on_location(address, number, location);
        }
        let store = self.swarm.behaviour_mut().kademlia.store_mut();
        let is_kept =
            location.is_some_and(|location| store.take_location(address, &location, value, unix_ms() / 1000));
        let counter = if is_kept { &self.counters.locations_kept } else { &self.counters.locations_refused };
        Counters::add(counter);
    }

    /// A record that a lookup brought was verified.
    fn on_location(&mut self, address: Address, number: u64, location: Option<Location>) {
        let (key, own, now) = (Key::Address(address), *self.swarm.local_peer_id(), self.now());
        // The lookup may be over, and another of the same key under way.
        let lookup = self.lookups.by_key.get_mut(&key).filter(|lookup| lookup.number == number);
        let Some(lookup) = lookup else { return };
        lookup.open -= 1;
        let newest = lookup.newest;
        let is_new = |of: &Location| of.peer != own && Some(of.sequence) > newest;
        if let Some(location) = location.filter(is_new) {
            lookup.newest = Some(location.sequence);
            lookup.found.insert(Peer(location.peer));
            lookup.found_at.get_or_insert(now);
            Counters::add(&self.counters.locations_found);
            self.dial_location(location);
        }
        self.end_if_over(&key);
    }

    /// Dials where a peer itself says that it is, whatever else is being tried.
    fn dial_location(&mut self, location: Location) {
        if self.swarm.is_connected(&location.peer) {
            return;
        }
        let options = DialOpts::peer_id(location.peer)
            .addresses(location.addresses)
            .condition(PeerCondition::Disconnected)
            .build();
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(peer = %location.peer, %error, "cannot dial a peer where it says that it is");
        }
    }

    fn on_providers(&mut self, query: QueryId, providers: impl Iterator<Item = PeerId>) {
        let (own, now) = (*self.swarm.local_peer_id(), self.now());
        let Some(key) = self.lookups.by_query.get(&query).copied() else { return };
        let Some(lookup) = self.lookups.by_key.get_mut(&key) else { return };
        let fresh: Vec<PeerId> = providers
            .filter(|peer| *peer != own && key.admits(&Peer(*peer)) && lookup.found.insert(Peer(*peer)))
            .collect();
        if !fresh.is_empty() {
            lookup.found_at.get_or_insert(now);
        }
        let is_enough = lookup.found.len() >= PROVIDERS_WANTED;
        for peer in fresh {
            self.dial_provider(&key.record_key(), peer);
        }
        if is_enough {
            self.end_lookup(&key);
        }
    }

    /// Ends the lookups that have found somebody and were given a little longer.
    pub(super) fn end_found_lookups(&mut self) {
        let now = self.now();
        let over = |lookup: &Lookup| lookup.found_at.is_some_and(|at| at.plus_ms(LOOKUP_GRACE_MS) <= now);
        let over: Vec<Key> =
            self.lookups.by_key.iter().filter(|(_, lookup)| over(lookup)).map(|(key, _)| *key).collect();
        for key in over {
            self.end_lookup(&key);
        }
    }

    /// Connects now: the addresses that the query learned are forgotten when it ends.
    fn dial_provider(&mut self, key: &RecordKey, peer: PeerId) {
        if self.swarm.is_connected(&peer) {
            return;
        }
        let records = self.swarm.behaviour_mut().kademlia.store_mut().providers(key);
        let known = records.into_iter().find(|record| record.provider == peer);
        let addresses = known.map(|record| record.addresses).unwrap_or_default();
        let options =
            DialOpts::peer_id(peer).addresses(addresses).extend_addresses_through_behaviour().build();
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(%peer, %error, "cannot dial a provider");
        }
    }

    /// A query ended by itself.
    fn end_query(&mut self, query: QueryId) {
        let Some(key) = self.lookups.by_query.remove(&query) else { return };
        if let Some(lookup) = self.lookups.by_key.get_mut(&key) {
            lookup.open -= 1;
        }
        self.end_if_over(&key);
    }

    fn end_if_over(&mut self, key: &Key) {
        if self.lookups.by_key.get(key).is_some_and(|lookup| lookup.open == 0) {
            self.end_lookup(key);
        }
    }

    /// Answers all who asked, and ends what is still under way.
    fn end_lookup(&mut self, key: &Key) {
        let Some(lookup) = self.lookups.by_key.remove(key) else { return };
        for query in lookup.queries {
            if self.lookups.by_query.remove(&query).is_some()
                && let Some(mut query) = self.swarm.behaviour_mut().kademlia.query_mut(&query)
            {
                query.finish();
            }
        }
        let found: Vec<Peer> = lookup.found.into_iter().collect();
        for asker in lookup.askers {
            let _ = asker.send(Ok(found.clone()));
        }
    }
}
