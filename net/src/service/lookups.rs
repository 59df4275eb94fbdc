//! Lookups of providers and of locations, and the routing table behind them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use libp2p::PeerId;
use libp2p::kad::store::RecordStore as _;
use libp2p::kad::{self, GetProvidersOk, GetRecordOk, InboundRequest, QueryId, QueryResult, RecordKey};
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::DialOpts;
use tokio::sync::oneshot;
use weft_protocol::{Address, Now};

use super::Service;
use crate::discovery::location::Location;
use crate::discovery::machine::provide;
use crate::handle::ProvideError;
use crate::key::Key;
use crate::limits::{
    LOCATION_BYTES_MAX, LOCATION_DIALS_MAX, LOCATION_WAIT_MS, LOCATIONS_PER_LOOKUP_MAX, LOOKUP_GRACE_MS,
    LOOKUPS_MAX, PROVIDERS_WANTED,
};
use crate::metrics::Counters;
use crate::peer::Peer;

type Done = oneshot::Sender<Result<Vec<Peer>, ProvideError>>;

#[derive(Default)]
struct Lookup {
    /// Which one of its key this is.
    number: u64,
    /// When it ends, whatever is under way.
    until: Option<Now>,
    /// It asks nobody any more, and waits for the last dial alone.
    closing: bool,
    /// Queries under way, and location records that are being verified.
    open: usize,
    queries: Vec<QueryId>,
    /// Location records that came, each once.
    records: BTreeSet<Vec<u8>>,
    /// The newest of them whose signature holds.
    newest: Option<u64>,
    /// How many of them were dialled ...
    dialled: usize,
    /// ... and the newest, if it was not.
    undialled: Option<Location>,
    /// Dials under way to where an address may be: until they end nobody knows which of them is true.
    dials: BTreeSet<ConnectionId>,
    found: BTreeSet<Peer>,
    /// When the first provider was found.
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

impl Lookup {
    /// Whether a location record may be one, and none like it came.
    fn wants(&self, value: &[u8]) -> bool {
        value.len() <= LOCATION_BYTES_MAX
            && self.records.len() < LOCATIONS_PER_LOOKUP_MAX
            && !self.records.contains(value)
    }

    /// Notes a location whose signature holds, or says that one as new was there.
    fn hear(&mut self, location: Location) -> bool {
        if Some(location.sequence) <= self.newest {
            return false;
        }
        self.newest = Some(location.sequence);
        self.found.insert(Peer(location.peer));
        self.undialled = Some(location);
        true
    }

    /// What is to be dialled now. Beyond a few, the newest has to wait for the end.
    fn next_dial(&mut self) -> Option<Location> {
        if self.dialled >= LOCATION_DIALS_MAX {
            return None;
        }
        let location = self.undialled.take()?;
        self.dialled += 1;
        Some(location)
    }

    /// The newest location, if it had to wait: the lookup waits for that dial also beyond its time, as what its asker
    /// sends there would fail with the first of the older dials.
    fn last_dial(&mut self, now: Now) -> Option<Location> {
        if self.closing {
            return None;
        }
        let newest = self.undialled.take()?;
        self.closing = true;
        self.until = self.until.max(Some(now.plus_ms(LOCATION_WAIT_MS)));
        Some(newest)
    }

    /// Whether what was found is enough. Anybody can name the peer of an address, and say that it is
    /// somewhere else: that it is connected is what was looked for.
    fn is_enough(&self, key: &Key, now: Now, is_connected: impl Fn(&Peer) -> bool) -> bool {
        match key {
            Key::Process(_) | Key::Lobby(_) => {
                self.found_at.is_some_and(|at| at.plus_ms(LOOKUP_GRACE_MS) <= now)
            }
            Key::Address(_) => self.found.iter().any(is_connected),
        }
    }

    /// Whether nothing is under way that could bring more.
    fn is_over(&self) -> bool {
        (self.open == 0 || self.closing) && self.dials.is_empty()
    }

    /// Whether it took as long as it may: a dial may be of a liar, and answered by nobody.
    fn is_late(&self, now: Now) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
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
            let kademlia = &mut self.swarm.behaviour_mut().others.kademlia;
            let mut queries = vec![kademlia.get_providers(key.record_key())];
            if let Key::Address(_) = key {
                queries.push(kademlia.get_record(key.record_key()));
            }
            self.lookups.by_query.extend(queries.iter().map(|query| (*query, key)));
            self.lookups.count += 1;
            let limit_ms = self.settings.limits.lookup_timeout.as_millis() as u64;
            let (number, open, until) =
                (self.lookups.count, queries.len(), Some(self.now().plus_ms(limit_ms)));
            let lookup = Lookup { number, until, open, queries, askers: vec![done], ..Lookup::default() };
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
                request: InboundRequest::PutRecord { source, record: Some(record), .. },
            } => {
                self.on_put(source, record);
            }
            kad::Event::InboundRequest { request: InboundRequest::AddProvider { record: Some(record) } } => {
                // What is not taken is counted there.
                let _ = self.swarm.behaviour_mut().others.kademlia.store_mut().add_provider(record);
            }
            kad::Event::RoutingUpdated { .. }
            | kad::Event::InboundRequest { .. }
            | kad::Event::UnroutablePeer { .. }
            | kad::Event::RoutablePeer { .. }
            | kad::Event::PendingRoutablePeer { .. }
            | kad::Event::ModeChanged { .. } => {}
        }
    }

    fn on_record(&mut self, query: QueryId, value: Vec<u8>) {
        let Some(key @ Key::Address(address)) = self.lookups.by_query.get(&query).copied() else { return };
        let Some(lookup) = self.lookups.by_key.get(&key).filter(|lookup| lookup.wants(&value)) else {
            return;
        };
        let sought = Some(lookup.number);
        if self.check(address, value.clone(), sought)
            && let Some(lookup) = self.lookups.by_key.get_mut(&key)
        {
            lookup.open += 1;
            lookup.records.insert(value);
        }
    }

    /// A record that a lookup brought was verified.
    pub(super) fn on_location(&mut self, address: Address, number: u64, location: Option<Location>) {
        let (key, own) = (Key::Address(address), *self.swarm.local_peer_id());
        // The lookup may be over, and another of the same key under way.
        let lookup = self.lookups.by_key.get_mut(&key).filter(|lookup| lookup.number == number);
        let Some(lookup) = lookup else { return };
        lookup.open -= 1;
        if let Some(location) = location.filter(|location| location.peer != own)
            && lookup.hear(location)
        {
            let dial = lookup.next_dial();
            Counters::add(&self.counters.locations_found);
            if let Some(location) = dial {
                let dial = self.dial_location(location);
                self.note_dial(&key, dial);
            }
        }
        self.end_if_over(&key);
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
            let dial = self.dial_provider(&key.record_key(), peer);
            self.note_dial(&key, dial);
        }
        if is_enough {
            self.end_lookup(&key);
        }
    }

    /// Ends the lookups that have found enough, and those that take too long.
    pub(super) fn end_found_lookups(&mut self) {
        let now = self.now();
        let over = |key: &Key, lookup: &Lookup| {
            lookup.is_late(now) || lookup.is_enough(key, now, |peer| self.swarm.is_connected(&peer.0))
        };
        let lookups = self.lookups.by_key.iter();
        let over: Vec<Key> = lookups.filter(|(key, lookup)| over(key, lookup)).map(|(key, _)| *key).collect();
        for key in over {
            if !self.dial_last(&key) {
                self.end_lookup(&key);
            }
        }
    }

    /// Connects now: the addresses that the query learned are forgotten when it ends.
    fn dial_provider(&mut self, key: &RecordKey, peer: PeerId) -> Option<ConnectionId> {
        if self.swarm.is_connected(&peer) {
            return None;
        }
        let records = self.swarm.behaviour_mut().others.kademlia.store_mut().providers(key);
        let known = records.into_iter().find(|record| record.provider == peer);
        let addresses = known.map(|record| record.addresses).unwrap_or_default();
        let options =
            DialOpts::peer_id(peer).addresses(addresses).extend_addresses_through_behaviour().build();
        let dial = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => Some(dial),
            Err(error) => {
                tracing::debug!(%peer, %error, "cannot dial a provider");
                None
            }
        }
    }

    /// Has a lookup of an address wait for a dial. Whoever serves a process is dialled beside.
    fn note_dial(&mut self, key: &Key, dial: Option<ConnectionId>) {
        if let (Key::Address(_), Some(dial)) = (key, dial)
            && let Some(lookup) = self.lookups.by_key.get_mut(key)
        {
            lookup.dials.insert(dial);
        }
    }

    /// A dial ended, with a connection or without; perhaps one that a lookup waits for.
    pub(super) fn end_dial(&mut self, dial: ConnectionId) {
        self.introduced.remove(&dial);
        let mut lookups = self.lookups.by_key.iter_mut();
        let waiting = lookups.find_map(|(key, lookup)| lookup.dials.remove(&dial).then_some(*key));
        if let Some(key) = waiting {
            self.end_if_over(&key);
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
            self.dial_last(key);
        }
        if self.lookups.by_key.get(key).is_some_and(Lookup::is_over) {
            self.end_lookup(key);
        }
    }

    /// Dials the newest location where that had to wait, and ends the queries. Says whether that dial is under way.
    fn dial_last(&mut self, key: &Key) -> bool {
        let now = self.now();
        let Some(lookup) = self.lookups.by_key.get_mut(key) else { return false };
        let Some(newest) = lookup.last_dial(now) else { return false };
        let queries = std::mem::take(&mut lookup.queries);
        self.end_queries(queries);
        let dial = self.dial_location(newest);
        self.note_dial(key, dial);
        dial.is_some()
    }

    fn end_queries(&mut self, queries: Vec<QueryId>) {
        for query in queries {
            if self.lookups.by_query.remove(&query).is_some()
                && let Some(mut query) = self.swarm.behaviour_mut().others.kademlia.query_mut(&query)
            {
                query.finish();
            }
        }
    }

    /// Answers all who asked, and ends what is still under way.
    fn end_lookup(&mut self, key: &Key) {
        let Some(lookup) = self.lookups.by_key.remove(key) else { return };
        self.end_queries(lookup.queries);
        if let Some(newest) = lookup.undialled {
            self.dial_location(newest);
        }
        let found: Vec<Peer> = lookup.found.into_iter().collect();
        for asker in lookup.askers {
            let _ = asker.send(Ok(found.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::Id;

    use super::*;

    fn location(sequence: u64) -> Location {
        let peer = Peer::from_ed25519(&[0; 32]).unwrap().0;
        Location { peer, sequence, expires: 9, addresses: vec!["/memory/1".parse().unwrap()] }
    }

    #[test]
    fn the_same_record_and_one_too_large_take_no_place() {
        let mut lookup = Lookup::default();
        assert!(!lookup.wants(&[0; LOCATION_BYTES_MAX + 1]));
        for count in 0..LOCATIONS_PER_LOOKUP_MAX {
            let value = count.to_be_bytes().to_vec();
            assert!(lookup.wants(&value));
            lookup.records.insert(value.clone());
            assert!(!lookup.wants(&value), "the same again");
        }
        assert!(!lookup.wants(b"one more"));
    }

    #[test]
    fn newer_records_count_and_few_of_them_are_dialled() {
        let mut lookup = Lookup::default();
        let mut dialled = 0;
        for sequence in 1..=16 {
            assert!(lookup.hear(location(sequence)));
            dialled += usize::from(lookup.next_dial().is_some());
        }
        assert!(!lookup.hear(location(16)) && !lookup.hear(location(3)));
        assert_eq!((dialled, lookup.newest, lookup.found.len()), (LOCATION_DIALS_MAX, Some(16), 1));
        // Old ones that come first cost the newest its dial now, not for good.
        assert_eq!(lookup.undialled, Some(location(16)));
    }

    #[test]
    fn what_is_dialled_is_waited_for_and_not_for_ever() {
        let dial = ConnectionId::new_unchecked(1);
        let mut lookup = Lookup { until: Some(Now(10)), dials: BTreeSet::from([dial]), ..Lookup::default() };
        assert!(!lookup.is_over());
        assert!(!lookup.is_late(Now(9)) && lookup.is_late(Now(10)));
        lookup.dials.remove(&dial);
        assert!(lookup.is_over());
        lookup.open = 1;
        assert!(!lookup.is_over());
    }

    /// Old records of a key, replayed by a liar, take the dials, and a query is kept open to the end.
    #[test]
    fn the_newest_location_is_dialled_and_waited_for_beyond_the_limit_once() {
        let mut lookup = Lookup { until: Some(Now(10)), open: 1, ..Lookup::default() };
        for sequence in 1..=LOCATION_DIALS_MAX as u64 + 1 {
            assert!(lookup.hear(location(sequence)));
            lookup.next_dial();
        }
        assert_eq!(lookup.last_dial(Now(10)), Some(location(LOCATION_DIALS_MAX as u64 + 1)));
        lookup.dials.insert(ConnectionId::new_unchecked(1));
        assert!(!lookup.is_late(Now(9 + LOCATION_WAIT_MS)) && lookup.is_late(Now(10 + LOCATION_WAIT_MS)));
        // A newer one that comes now is for the next lookup.
        assert!(lookup.hear(location(90)) && lookup.last_dial(Now(11)).is_none());
        assert!(!lookup.is_over());
        lookup.dials.clear();
        assert!(lookup.is_over(), "the query is none of its concern any more");
    }

    #[test]
    fn a_process_is_found_by_time_and_an_address_by_a_connection() {
        let found_at = Some(Now(1));
        let found = BTreeSet::from([Peer(location(1).peer)]);
        let lookup = Lookup { found, found_at, ..Lookup::default() };
        let (process, address) = (Key::Process(Id([1; 32])), Key::Address(Address([1; 32])));
        assert!(!lookup.is_enough(&process, Now(LOOKUP_GRACE_MS), |_| true));
        assert!(lookup.is_enough(&process, Now(LOOKUP_GRACE_MS + 1), |_| false));
        assert!(!lookup.is_enough(&address, Now(u64::MAX), |_| false));
        assert!(lookup.is_enough(&address, Now(1), |_| true));
        assert!(!Lookup::default().is_enough(&address, Now(u64::MAX), |_| true));
    }
}
