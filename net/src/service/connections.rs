//! Connections, who is at their other end, and where this node listens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};

use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionError, ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, ping, relay};
use tokio::sync::oneshot;

use super::{Dial, Service};
use crate::address::{is_relayed, naming, scope};
use crate::behaviour::BehaviourEvent;
use crate::codec::Budget;
use crate::discovery::machine::reach::Reachability;
use crate::discovery::machine::{book, bootstrap, reach};
use crate::event::NetEvent;
use crate::gossip::flood;
use crate::handle::{DialError, PeerInfo};
use crate::limits::{ADDRESS_BYTES_MAX, ADDRESSES_PER_PEER_MAX, ANSWER_SHARE_KIB, DIALS_MAX};
use crate::metrics::Counters;
use crate::peer::Peer;

/// Characters of a peer's agent text that are kept.
const AGENT_CHARS_MAX: usize = 64;

/// Pings that may fail in a row before the peer counts as gone.
const PINGS_FAILED_MAX: u32 = 2;

/// What we know of a connected peer.
pub(super) struct PeerState {
    dialled: bool,
    /// Where this node dialled it, without a relay.
    pub(super) dialled_at: Option<Multiaddr>,
    /// Its connections that run through no relay.
    direct: BTreeSet<ConnectionId>,
    /// Whether it said that it is of our network.
    identified: bool,
    addresses: Vec<Multiaddr>,
    agent: String,
    round_trip_ms: Option<u64>,
    /// Pings that failed in a row, by connection.
    pings_failed: BTreeMap<ConnectionId, u32>,
    /// What large answers that are on their way to it may take.
    pub(super) outgoing: Budget,
}

impl PeerState {
    /// Whether all connections with it run through a relay.
    pub(super) fn is_relayed(&self) -> bool {
        self.direct.is_empty()
    }
}

impl Service {
    pub(super) fn on_connection_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                if let Some(dial) = self.dials.remove(&connection_id) {
                    let _ = dial.done.send(Ok(Peer(peer_id)));
                }
                self.on_connected(peer_id, connection_id, &endpoint);
                self.end_dial(connection_id);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => self.on_gone(peer_id),
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, endpoint, .. } => {
                if let Some(state) = self.peers.get_mut(&peer_id) {
                    state.pings_failed.remove(&connection_id);
                    state.direct.remove(&connection_id);
                }
                if self.unwanted.contains(&peer_id) {
                    // Had it come again meanwhile, it would hear of no topics of ours.
                    self.disconnect(peer_id);
                    return;
                }
                // Relays end connections as they like; a direct one stays.
                if endpoint.is_relayed() {
                    return;
                }
                // One of several broke. Gossipsub says what we are subscribed to on the first
                // connection alone: a peer that restarted and came back before its old connection
                // broke never hears it.
                if let Some(ConnectionError::IO(error)) = cause {
                    self.start_afresh(peer_id, &error);
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id, connection_id, error } => {
                if let Some(dial) = self.dials.remove(&connection_id) {
                    let reason = error.to_string();
                    let _ = dial.done.send(Err(DialError::Failed { address: dial.address, reason }));
                }
                if let Some(peer) = peer_id {
                    self.run_bootstrap(bootstrap::Input::DialFailed(peer));
                    self.run_book(book::Input::Failed(peer));
                }
                self.end_dial(connection_id);
                tracing::debug!(?peer_id, %error, "a dial failed");
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                self.unbound.remove(&listener_id);
                if self.settings.reachability == Reachability::Assumed && !is_relayed(&address) {
                    // Provider records carry external addresses alone.
                    self.swarm.add_external_address(address.clone());
                    self.on_external(address);
                }
                self.update_listening();
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.swarm.remove_external_address(&address);
                self.on_external_gone(address);
                self.update_listening();
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                if let Some(relay) = self.circuits.remove(&listener_id) {
                    tracing::debug!(%relay, ?reason, "a relay holds no place for this node");
                    for address in addresses {
                        self.swarm.remove_external_address(&address);
                        self.on_external_gone(address);
                    }
                    self.run_reach(reach::Input::Refused(relay));
                } else {
                    tracing::error!(?addresses, ?reason, "a listener closed");
                }
                self.update_listening();
            }
            SwarmEvent::ExternalAddrConfirmed { address } => self.on_external(address),
            SwarmEvent::ExternalAddrExpired { address } => self.on_external_gone(address),
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener failed"),
            // The event type is open; the others say nothing that we need.
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let is_direct = !endpoint.is_relayed();
        let dialled_at =
            Some(endpoint.get_remote_address().clone()).filter(|_| is_direct && endpoint.is_dialer());
        let direct = is_direct.then_some(connection);
        if let Some(state) = self.peers.get_mut(&peer) {
            if state.is_relayed() && direct.is_some() {
                Counters::add(&self.counters.direct_upgrades);
            }
            state.direct.extend(direct);
            state.dialled_at = state.dialled_at.take().or(dialled_at);
            return;
        }
        let state = PeerState {
            dialled: endpoint.is_dialer(),
            dialled_at,
            direct: direct.into_iter().collect(),
            identified: false,
            addresses: Vec::new(),
            agent: String::new(),
            round_trip_ms: None,
            pings_failed: BTreeMap::new(),
            outgoing: self.outgoing.share(ANSWER_SHARE_KIB),
        };
        self.run_floods(flood::Input::Came(peer));
        self.peers.insert(peer, state);
        self.redial.remove(&peer);
        self.run_bootstrap(bootstrap::Input::Up(peer));
        self.notify(NetEvent::PeerUp { peer: Peer(peer) });
    }

    fn on_gone(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
        let is_unwanted = self.unwanted.remove(&peer);
        self.end_answers(peer);
        self.run_floods(flood::Input::Gone(peer));
        self.update_peers();
        self.run_bootstrap(bootstrap::Input::Down(peer));
        self.run_reach(reach::Input::RelayDown(peer));
        self.run_book(book::Input::Gone(peer));
        if is_unwanted {
            self.run_book(book::Input::LetGo(peer));
        }
        self.notify(NetEvent::PeerDown { peer: Peer(peer) });
        if self.redial.remove(&peer)
            && let Err(error) = self.swarm.dial(peer)
        {
            tracing::debug!(%peer, %error, "cannot dial again");
        }
    }

    /// Ends all connections with a peer that is not dialled again. It may come by itself.
    pub(super) fn disconnect(&mut self, peer: PeerId) {
        self.redial.remove(&peer);
        // It may have gone.
        if self.swarm.disconnect_peer_id(peer).is_ok() {
            self.unwanted.insert(peer);
        }
    }

    /// Ends all connections with a peer, and dials it when they are gone.
    fn start_afresh(&mut self, peer: PeerId, reason: &dyn std::fmt::Display) {
        if self.unwanted.contains(&peer) {
            return;
        }
        tracing::debug!(%peer, %reason, "connecting afresh");
        Counters::add(&self.counters.fresh_starts);
        self.redial.insert(peer);
        if self.swarm.disconnect_peer_id(peer).is_err() {
            self.redial.remove(&peer);
        }
    }

    pub(super) fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id, info, .. } = event else { return };
        if self.settings.names.is_foreign(info.protocols.iter().map(AsRef::as_ref)) {
            tracing::info!(peer = %peer_id, protocols = %info.protocol_version, "a peer of another network");
            Counters::add(&self.counters.foreign_peers);
            self.note_foreign(peer_id);
            self.disconnect(peer_id);
            return;
        }
        let is_ours = self.settings.names.is_ours(info.protocols.iter().map(AsRef::as_ref));
        let is_routable = self.settings.names.kademlia().is_ok_and(|kad| info.protocols.contains(&kad));
        let mut addresses = info.listen_addrs;
        addresses.retain(|address| address.len() <= ADDRESS_BYTES_MAX);
        addresses.truncate(ADDRESSES_PER_PEER_MAX);
        // Who sees us from afar cannot be reached by the addresses of its own local network.
        let near = scope(&info.observed_addr);
        addresses.retain(|address| scope(address) >= near);
        if is_routable {
            for address in addresses.iter().filter(|address| !is_relayed(address)) {
                self.swarm.behaviour_mut().others.kademlia.add_address(&peer_id, address.clone());
            }
        }
        let relays = info.protocols.contains(&relay::HOP_PROTOCOL_NAME);
        let Some(state) = self.peers.get_mut(&peer_id) else { return };
        state.identified = true;
        state.addresses.clone_from(&addresses);
        state.agent = info.agent_version.chars().take(AGENT_CHARS_MAX).collect();
        let (dialled, is_near) = (state.dialled, state.dialled_at.is_some());
        if state.is_relayed() {
            self.dial_directly(peer_id, &addresses);
        }
        if is_ours {
            self.run_book(book::Input::Met { peer: peer_id, addresses, dialled });
        }
        if relays && is_near {
            self.run_reach(reach::Input::RelayUp(peer_id));
        }
        self.update_peers();
    }

    pub(super) fn on_ping(&mut self, event: &ping::Event) {
        let Some(state) = self.peers.get_mut(&event.peer) else { return };
        match &event.result {
            Ok(round_trip) => {
                state.round_trip_ms = Some(round_trip.as_millis() as u64);
                state.pings_failed.remove(&event.connection);
            }
            Err(ping::Failure::Unsupported) => {}
            Err(failure @ (ping::Failure::Timeout | ping::Failure::Other { .. })) => {
                let failed = state.pings_failed.entry(event.connection).or_default();
                *failed += 1;
                // A peer whose machine is gone closes nothing; TCP alone would wait for minutes.
                if *failed >= PINGS_FAILED_MAX {
                    self.start_afresh(event.peer, failure);
                }
            }
        }
    }

    fn update_peers(&self) {
        let peers = self.peers.values().filter(|state| state.identified).count();
        self.status.send_if_modified(|status| std::mem::replace(&mut status.peers, peers) != peers);
    }

    fn update_listening(&self) {
        let own = *self.swarm.local_peer_id();
        let addresses = self.swarm.listeners();
        let listening = addresses.map(|address| naming(address, own).to_string()).collect();
        let bound = self.unbound.is_empty();
        self.status.send_modify(|status| {
            status.listening = listening;
            status.bound = bound;
        });
    }

    pub(super) fn dial_bootstrap(&mut self, peer: PeerId) {
        let addresses = self.settings.bootstrap.get(&peer).cloned().unwrap_or_default();
        let options =
            DialOpts::peer_id(peer).addresses(addresses).extend_addresses_through_behaviour().build();
        match self.swarm.dial(options) {
            // When a dial is under way already, its outcome counts.
            Ok(()) | Err(libp2p::swarm::DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => {
                tracing::debug!(%peer, %error, "cannot dial a bootstrap peer");
                self.run_bootstrap(bootstrap::Input::DialFailed(peer));
            }
        }
    }

    pub(super) fn dial(&mut self, address: Multiaddr, done: oneshot::Sender<Result<Peer, DialError>>) {
        let text = address.to_string();
        let failed = |reason: String| Err(DialError::Failed { address: text.clone(), reason });
        if self.dials.len() >= DIALS_MAX {
            let _ = done.send(failed(format!("{DIALS_MAX} dials are under way, the limit")));
            return;
        }
        let options = match address.iter().last() {
            Some(Protocol::P2p(peer)) if self.swarm.is_connected(&peer) => {
                let _ = done.send(Ok(Peer(peer)));
                return;
            }
            Some(Protocol::P2p(peer)) => DialOpts::peer_id(peer)
                .addresses(vec![address])
                .condition(PeerCondition::Disconnected)
                .build(),
            _ => DialOpts::unknown_peer_id().address(address).build(),
        };
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(connection, Dial { address: text, done });
            }
            Err(error) => {
                let _ = done.send(failed(error.to_string()));
            }
        }
    }

    pub(super) fn peer_infos(&self) -> Vec<PeerInfo> {
        let gossip = &self.swarm.behaviour().gossip;
        let mut topics: std::collections::HashMap<_, _> = gossip.all_peers().collect();
        let infos = self.peers.iter().map(|(peer, state)| {
            let topics = topics.remove(peer).unwrap_or_default();
            PeerInfo {
                peer: Peer(*peer),
                addresses: state.addresses.iter().map(ToString::to_string).collect(),
                agent: state.agent.clone(),
                dialled: state.dialled,
                relayed: state.is_relayed(),
                round_trip_ms: state.round_trip_ms,
                score: gossip.peer_score(peer).unwrap_or_default(),
                topics: topics.len(),
                processes: topics.iter().filter_map(|topic| self.joined.get(*topic)?.process()).collect(),
            }
        });
        infos.collect()
    }
}

/// Fails when another program listens on the address. The transport binds with port reuse, so it
/// would share a taken port, and connections would end up with one of the two by chance.
pub(super) fn check_free(address: &Multiaddr) -> std::io::Result<()> {
    let parts: Vec<_> = address.iter().collect();
    let socket: SocketAddr = match parts[..] {
        [Protocol::Ip4(ip), Protocol::Tcp(port), ..] => (ip, port).into(),
        [Protocol::Ip6(ip), Protocol::Tcp(port), ..] => (ip, port).into(),
        _ => return Ok(()),
    };
    TcpListener::bind(socket).map(|_| ())
}
