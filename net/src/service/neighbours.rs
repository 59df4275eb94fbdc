//! Who can reach this node, by which relays, and which peers of the book it dials.

use std::collections::BTreeMap;

use libp2p::relay::client;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, autonat, dcutr, kad, mdns, relay, upnp};
use weft_protocol::{Effects, Machine as _};

use super::Service;
use crate::address::{is_relayed, naming};
use crate::discovery::machine::{book, bootstrap, provide, reach};
use crate::handle::ReachInfo;
use crate::limits::{ADDRESS_BYTES_MAX, BOOK_AGE_S_MAX, FOREIGN_PEERS_MAX};
use crate::metrics::Counters;
use crate::peer::Peer;
use crate::remembered::{Remembered, RememberedPeer};

impl Service {
    pub(super) fn run_reach(&mut self, input: reach::Input<PeerId, Multiaddr>) {
        let mut effects = Effects::new();
        self.reach.handle(input, self.now(), &mut effects);
        for effect in effects.drain() {
            match effect {
                reach::Effect::Serve(serves) => self.serve(serves),
                reach::Effect::Reserve(relay) => self.reserve(relay),
                reach::Effect::Release(relay) => {
                    if let Some(listener) = self.circuits.iter().find(|(_, peer)| **peer == relay) {
                        let listener = *listener.0;
                        self.swarm.remove_listener(listener);
                    }
                }
            }
        }
    }

    fn serve(&mut self, serves: bool) {
        tracing::debug!(serves, "whether peers can reach this node is known");
        let behaviour = &mut self.swarm.behaviour_mut().others;
        behaviour.kademlia.set_mode(Some(if serves { kad::Mode::Server } else { kad::Mode::Client }));
        if let Some(server) = behaviour.relay.as_mut() {
            server.set_status(Some(if serves { relay::Status::Enable } else { relay::Status::Disable }));
        }
    }

    /// Asks a relay that this node dialled for a place there.
    fn reserve(&mut self, relay: PeerId) {
        let at = self.peers.get(&relay).and_then(|state| state.dialled_at.clone());
        let circuit = at.map(|at| naming(&at, relay).with(libp2p::multiaddr::Protocol::P2pCircuit));
        match circuit.map(|circuit| self.swarm.listen_on(circuit)) {
            Some(Ok(listener)) => {
                self.circuits.insert(listener, relay);
            }
            failed => {
                tracing::debug!(%relay, ?failed, "cannot ask a relay");
                self.run_reach(reach::Input::Refused(relay));
            }
        }
    }

    pub(super) fn on_relay_client(&mut self, event: &client::Event) {
        if let client::Event::ReservationReqAccepted { relay_peer_id, .. } = event {
            self.run_reach(reach::Input::Reserved(*relay_peer_id));
        }
    }

    pub(super) fn on_upgrade(&mut self, event: dcutr::Event) {
        let dcutr::Event { remote_peer_id: peer, result } = event;
        match result {
            // Counted when the connection is there.
            Ok(_) => tracing::debug!(%peer, "a hole was punched"),
            Err(error) => {
                Counters::add(&self.counters.direct_upgrades_failed);
                tracing::debug!(%peer, %error, "a relayed connection stays relayed");
            }
        }
    }

    /// Dials a peer that is reached through a relay and says where it can be dialled without. Hole
    /// punching is for those that cannot say so: it tries observed addresses alone.
    pub(super) fn dial_directly(&mut self, peer: PeerId, addresses: &[Multiaddr]) {
        let direct: Vec<_> = addresses.iter().filter(|address| !is_relayed(address)).cloned().collect();
        if direct.is_empty() {
            return;
        }
        let options = DialOpts::peer_id(peer).addresses(direct).condition(PeerCondition::NotDialing).build();
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(%peer, %error, "a relayed connection stays relayed for now");
        }
    }

    pub(super) fn on_probe(&self, event: &autonat::v2::client::Event) {
        let autonat::v2::client::Event { tested_addr, server, result, .. } = event;
        match result {
            Ok(()) => tracing::debug!(address = %tested_addr, %server, "a peer has dialled this node back"),
            Err(error) => {
                tracing::debug!(address = %tested_addr, %server, %error, "a peer could not dial this node back");
            }
        }
    }

    /// What the router says. An address that it gave counts at once; the swarm hears of it by itself.
    pub(super) fn on_upnp(event: &upnp::Event) {
        match event {
            upnp::Event::NewExternalAddr { external_addr, .. } => {
                tracing::info!(address = %external_addr, "the router lets peers in");
            }
            upnp::Event::ExpiredExternalAddr { external_addr, .. } => {
                tracing::info!(address = %external_addr, "the router lets peers in no longer");
            }
            upnp::Event::GatewayNotFound => tracing::debug!("no router speaks UPnP"),
            upnp::Event::NonRoutableGateway => tracing::debug!("the router is behind another"),
        }
    }

    /// An address at which others can reach this node.
    pub(super) fn on_external(&mut self, address: Multiaddr) {
        if !is_relayed(&address) {
            self.run_reach(reach::Input::Confirmed(address));
        }
        // Records carry the addresses of the moment at which they were written.
        self.run_provided(provide::Input::NewPeer);
    }

    pub(super) fn on_external_gone(&mut self, address: Multiaddr) {
        self.run_reach(reach::Input::Expired(address));
        // What stands in records is not true any more.
        self.run_provided(provide::Input::NewPeer);
    }

    pub(super) fn on_mdns(&mut self, event: mdns::Event) {
        // Those that go are found out when they are dialled.
        let mdns::Event::Discovered(found) = event else { return };
        let mut all: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
        for (peer, mut address) in found {
            if self.foreign.contains(&peer) || address.len() > ADDRESS_BYTES_MAX {
                continue;
            }
            if matches!(address.iter().last(), Some(libp2p::multiaddr::Protocol::P2p(_))) {
                address.pop();
            }
            all.entry(peer).or_default().push(address);
        }
        for (peer, addresses) in all {
            self.run_book(book::Input::Heard { peer, addresses });
        }
    }

    pub(super) fn run_book(&mut self, input: book::Input<PeerId, Multiaddr>) {
        let mut effects = Effects::new();
        self.book.handle(input, self.now(), &mut effects);
        for effect in effects.drain() {
            match effect {
                book::Effect::Dial(peer) => self.dial_from_book(peer),
                book::Effect::Alone { again } => {
                    Counters::add(&self.counters.alone);
                    self.say_alone(again);
                    self.run_bootstrap(bootstrap::Input::Alone);
                    // Without a peer in the routing table there is nothing to ask yet.
                    let _ = self.swarm.behaviour_mut().others.kademlia.bootstrap();
                }
            }
        }
    }

    /// Once for each time that all are gone: a lone node would say nothing else.
    fn say_alone(&self, again: bool) {
        let nobody_is_known = self.book.len() == 0 && self.bootstrap.is_empty();
        match (again, nobody_is_known) {
            (true, _) => tracing::debug!("still no peer is connected"),
            (false, false) => tracing::warn!("no peer is connected; trying all that are known"),
            (false, true) => tracing::info!("no peer is connected and none is known: `bootstrap` names some"),
        }
    }

    fn dial_from_book(&mut self, peer: PeerId) {
        let addresses = self.book.addresses(&peer).to_vec();
        // And wherever mDNS and Kademlia know it to be by now.
        let options = DialOpts::peer_id(peer).addresses(addresses).extend_addresses_through_behaviour();
        match self.swarm.dial(options.build()) {
            // When a dial is under way already, its outcome counts.
            Ok(()) | Err(libp2p::swarm::DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => {
                tracing::debug!(%peer, %error, "cannot dial a peer of the book");
                self.run_book(book::Input::Failed(peer));
            }
        }
    }

    /// Remembers that a peer is of another network, as long as there is room: it is not dialled again
    /// when mDNS names it.
    pub(super) fn note_foreign(&mut self, peer: PeerId) {
        if self.foreign.len() < FOREIGN_PEERS_MAX {
            self.foreign.insert(peer);
        }
        self.run_book(book::Input::Foreign(peer));
    }

    /// What to write down for the next start.
    pub(super) fn remembered(&mut self) -> Remembered {
        let now = self.now();
        let peers = self.book.written(now).map(|(peer, entry)| RememberedPeer {
            peer: Peer(peer),
            addresses: entry.addresses.iter().map(ToString::to_string).collect(),
            age_s: entry.met.map_or(0, |met| now.0.saturating_sub(met.0) / 1000),
            failures: entry.failures,
            anchor: entry.anchor,
        });
        let peers = peers.filter(|peer| peer.age_s <= BOOK_AGE_S_MAX).collect();
        let store = self.swarm.behaviour_mut().others.kademlia.store_mut();
        Remembered { peers, providers: store.remembered(std::time::Instant::now()) }
    }

    pub(super) fn reach_info(&self) -> ReachInfo {
        ReachInfo {
            reachability: self.settings.reachability,
            confirmed: self.reach.confirmed().map(ToString::to_string).collect(),
            relays: self.reach.relays().map(Peer).collect(),
            relayed: self.peers.values().filter(|state| state.is_relayed()).count(),
            book: self.book.len(),
        }
    }
}
