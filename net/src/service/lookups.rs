//! Lookups of providers, and the routing table behind them.

use std::collections::{BTreeSet, HashMap};

use libp2p::PeerId;
use libp2p::kad::store::RecordStore as _;
use libp2p::kad::{self, GetProvidersOk, QueryId, QueryResult};
use libp2p::swarm::dial_opts::DialOpts;
use tokio::sync::oneshot;
use weft_protocol::Now;

use super::Service;
use crate::discovery::machine::provide;
use crate::handle::ProvideError;
use crate::key::Key;
use crate::limits::{LOOKUP_GRACE_MS, LOOKUPS_MAX, PROVIDERS_WANTED};
use crate::peer::Peer;

type Done = oneshot::Sender<Result<Vec<Peer>, ProvideError>>;

pub(super) struct Lookup {
    key: Key,
    found: BTreeSet<Peer>,
    /// When the first was found.
    found_at: Option<Now>,
    /// All who asked for this key while the lookup was under way.
    askers: Vec<Done>,
}

/// The lookups under way.
pub(super) type Lookups = HashMap<QueryId, Lookup>;

impl Service {
    pub(super) fn find_providers(&mut self, key: Key, done: Done) {
        if let Some(lookup) = self.lookups.values_mut().find(|lookup| lookup.key == key) {
            // A caller that went away makes room for the next.
            lookup.askers.retain(|asker| !asker.is_closed());
            if lookup.askers.len() < LOOKUPS_MAX {
                lookup.askers.push(done);
                return;
            }
        } else if self.lookups.len() < LOOKUPS_MAX {
            let query = self.swarm.behaviour_mut().kademlia.get_providers(key.record_key());
            self.lookups
                .insert(query, Lookup { key, found: BTreeSet::new(), found_at: None, askers: vec![done] });
            return;
        }
        let _ = done.send(Err(ProvideError::TooMany { limit: LOOKUPS_MAX }));
    }

    pub(super) fn on_kademlia(&mut self, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed {
                id,
                result: QueryResult::GetProviders(result),
                step,
                ..
            } => {
                if let Ok(GetProvidersOk::FoundProviders { providers, .. }) = result {
                    self.on_providers(id, providers.into_iter());
                }
                if step.last {
                    self.end_lookup(id);
                }
            }
            kad::Event::RoutingUpdated { is_new_peer: true, .. } => {
                self.run_provided(provide::Input::NewPeer);
            }
            kad::Event::RoutingUpdated { .. }
            | kad::Event::OutboundQueryProgressed { .. }
            | kad::Event::InboundRequest { .. }
            | kad::Event::UnroutablePeer { .. }
            | kad::Event::RoutablePeer { .. }
            | kad::Event::PendingRoutablePeer { .. }
            | kad::Event::ModeChanged { .. } => {}
        }
    }

    fn on_providers(&mut self, query: QueryId, providers: impl Iterator<Item = PeerId>) {
        let (own, now) = (*self.swarm.local_peer_id(), self.now());
        let Some(lookup) = self.lookups.get_mut(&query) else { return };
        let key = lookup.key;
        let fresh: Vec<PeerId> = providers
            .filter(|peer| *peer != own && key.admits(&Peer(*peer)) && lookup.found.insert(Peer(*peer)))
            .collect();
        if !fresh.is_empty() {
            lookup.found_at.get_or_insert(now);
        }
        let is_enough = lookup.found.len() >= PROVIDERS_WANTED;
        for peer in fresh {
            self.dial_provider(&key, peer);
        }
        if is_enough {
            self.finish_lookup(query);
        }
    }

    /// Ends the lookups that have found somebody and were given a little longer.
    pub(super) fn end_found_lookups(&mut self) {
        let now = self.now();
        let over = |lookup: &Lookup| lookup.found_at.is_some_and(|at| at.plus_ms(LOOKUP_GRACE_MS) <= now);
        let over: Vec<QueryId> =
            self.lookups.iter().filter(|(_, lookup)| over(lookup)).map(|(query, _)| *query).collect();
        for query in over {
            self.finish_lookup(query);
        }
    }

    fn finish_lookup(&mut self, query: QueryId) {
        if let Some(mut query) = self.swarm.behaviour_mut().kademlia.query_mut(&query) {
            query.finish();
        }
        self.end_lookup(query);
    }

    /// Connects now: the addresses that the query learned are forgotten when it ends.
    fn dial_provider(&mut self, key: &Key, peer: PeerId) {
        if self.swarm.is_connected(&peer) {
            return;
        }
        let records = self.swarm.behaviour_mut().kademlia.store_mut().providers(&key.record_key());
        let known = records.into_iter().find(|record| record.provider == peer);
        let addresses = known.map(|record| record.addresses).unwrap_or_default();
        let options =
            DialOpts::peer_id(peer).addresses(addresses).extend_addresses_through_behaviour().build();
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(%peer, %error, "cannot dial a provider");
        }
    }

    fn end_lookup(&mut self, query: QueryId) {
        if let Some(lookup) = self.lookups.remove(&query) {
            let found: Vec<Peer> = lookup.found.into_iter().collect();
            for asker in lookup.askers {
                let _ = asker.send(Ok(found.clone()));
            }
        }
    }
}
