//! Location records: this node's own, those that others give it to keep, and how they are verified.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use libp2p::kad::{Quorum, Record};
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};
use weft_protocol::Address;

use super::Service;
use crate::conduct::Fault;
use crate::discovery::location::{self, Location};
use crate::key::Key;
use crate::limits::{
    ADDRESS_BYTES_MAX, CHECKS_MAX, INTRODUCED_ADDRESSES_MAX, INTRODUCED_MAX, LOCATION_BYTES_MAX,
    PUT_CHECKS_MAX,
};
use crate::metrics::Counters;
use crate::peer::Peer;

/// A location record that was verified, or was not.
pub(super) struct Checked {
    address: Address,
    value: Vec<u8>,
    location: Option<Location>,
    /// The lookup that brought it; else a peer gave it to this node to keep.
    sought: Option<u64>,
}

type CheckFuture = BoxFuture<'static, Checked>;

/// Location records that are being verified.
#[derive(Default)]
pub(super) struct Checks {
    running: FuturesUnordered<CheckFuture>,
    /// Whose were given to this node to keep: one of each address at a time.
    puts: BTreeSet<Address>,
}

impl Checks {
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// The next that is done; none if there is nothing to verify.
    pub(super) async fn next(&mut self) -> Option<Checked> {
        let checked = self.running.next().await?;
        if checked.sought.is_none() {
            self.puts.remove(&checked.address);
        }
        Some(checked)
    }

    /// Whether there is a place for one more, which is taken.
    fn begin(&mut self, address: Address, sought: Option<u64>) -> bool {
        if self.running.len() >= CHECKS_MAX {
            return false;
        }
        sought.is_some() || (self.puts.len() < PUT_CHECKS_MAX && self.puts.insert(address))
    }
}

/// Milliseconds since 1970: location records are of the world's time.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Service {
    /// Writes where this node can be reached to the peers near its address.
    pub(super) fn put_location(&mut self, key: Key) {
        let addresses: Vec<Multiaddr> = self.swarm.external_addresses().cloned().collect();
        if addresses.is_empty() {
            // Those that others keep end by themselves.
            return self.swarm.behaviour_mut().others.kademlia.remove_record(&key.record_key());
        }
        let domain = self.settings.names.location();
        let value = match location::sign(&self.settings.keypair, domain, unix_ms(), addresses) {
            Ok(value) => value,
            Err(error) => return tracing::error!(%error, "cannot sign where this node is"),
        };
        let record = Record::new(key.record_key(), value);
        // All near the key: a write ends when as many as asked for have answered.
        if let Err(error) = self.swarm.behaviour_mut().others.kademlia.put_record(record, Quorum::All) {
            tracing::warn!(%error, "cannot say where this node is");
        }
    }

    /// A peer gives this node a record to keep. Honest ones come straight from the key that signed them:
    /// taken from anybody, one connection could fill all places.
    pub(super) fn on_put(&mut self, source: PeerId, record: Record) {
        let key = Key::from_record_key(&record.key);
        let address = match key {
            Some(key @ Key::Address(address)) if key.admits(&Peer(source)) => address,
            _ => {
                Counters::add(&self.counters.locations_refused);
                if key.is_some() {
                    self.fault(source, Fault::Malformed);
                }
                return;
            }
        };
        let store = self.swarm.behaviour_mut().others.kademlia.store_mut();
        // It comes again every ten minutes, and more often while the network is young.
        if store.location(&address) != Some(record.value.as_slice()) {
            self.check(address, record.value, None);
        }
    }

    /// Has a location record verified elsewhere; says whether there is a place for it.
    pub(super) fn check(&mut self, address: Address, value: Vec<u8>, sought: Option<u64>) -> bool {
        if value.len() > LOCATION_BYTES_MAX || !self.checks.begin(address, sought) {
            Counters::add(&self.counters.locations_refused);
            return false;
        }
        let domain = self.settings.names.location();
        let work = tokio::task::spawn_blocking(move || {
            let location = location::read(address, &value, domain, unix_ms() / 1000);
            (value, location)
        });
        self.checks.running.push(Box::pin(async move {
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
        let store = self.swarm.behaviour_mut().others.kademlia.store_mut();
        let is_kept =
            location.is_some_and(|location| store.take_location(address, &location, value, unix_ms() / 1000));
        let counter = if is_kept { &self.counters.locations_kept } else { &self.counters.locations_refused };
        Counters::add(counter);
    }

    /// Dials where a peer itself says that it is, whatever else is being tried.
    pub(super) fn dial_location(&mut self, location: Location) -> Option<ConnectionId> {
        if self.swarm.is_connected(&location.peer) {
            return None;
        }
        let options = DialOpts::peer_id(location.peer)
            .addresses(location.addresses)
            .condition(PeerCondition::Disconnected)
            .build();
        let dial = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => Some(dial),
            Err(error) => {
                tracing::debug!(peer = %location.peer, %error, "cannot dial a peer where it says that it is");
                None
            }
        }
    }
}

impl Service {
    /// Dials a peer where somebody says that it is.
    pub(super) fn introduce(&mut self, peer: Peer, addresses: &[Bytes]) {
        let fitting = addresses.iter().filter(|bytes| bytes.len() <= ADDRESS_BYTES_MAX);
        let addresses: Vec<Multiaddr> = fitting
            .take(INTRODUCED_ADDRESSES_MAX)
            .filter_map(|bytes| Multiaddr::try_from(bytes.to_vec()).ok())
            .collect();
        if peer.0 == *self.swarm.local_peer_id() || addresses.is_empty() {
            return;
        }
        if self.introduced.len() >= INTRODUCED_MAX {
            return;
        }
        // One more dial to a peer that is being dialled would fail what waits for it, if it is refused.
        let options = DialOpts::peer_id(peer.0)
            .addresses(addresses)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .build();
        let dial = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.introduced.insert(dial);
            }
            Err(error) => tracing::debug!(%peer, %error, "a peer that somebody names is not dialled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn address(number: usize) -> Address {
        let mut name = [0; 32];
        name[..8].copy_from_slice(&number.to_be_bytes());
        Address(name)
    }

    fn check(address: Address, sought: Option<u64>) -> CheckFuture {
        Box::pin(async move { Checked { address, value: Vec::new(), location: None, sought } })
    }

    #[test]
    fn records_to_keep_leave_half_of_the_places_to_lookups() {
        let mut checks = Checks::default();
        for number in 0..PUT_CHECKS_MAX {
            assert!(checks.begin(address(number), None));
            assert!(!checks.begin(address(number), None), "its last is not verified yet");
            checks.running.push(check(address(number), None));
        }
        assert!(!checks.begin(address(CHECKS_MAX), None));
        while checks.len() < CHECKS_MAX {
            assert!(checks.begin(address(0), Some(1)));
            checks.running.push(check(address(0), Some(1)));
        }
        assert!(!checks.begin(address(0), Some(1)));
        while checks.len() > 0 {
            assert!(checks.next().now_or_never().flatten().is_some());
        }
        assert!(checks.begin(address(0), None), "all places are free again");
    }
}
