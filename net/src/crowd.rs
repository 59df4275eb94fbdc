//! Caps the connections that come from one place on the internet.
//!
//! An attacker has one network and many keys: limits per peer cost it nothing, and limits in all
//! would let it push everybody else out. So connections are counted by where they come from, an IPv4
//! /24 or an IPv6 /48, and those beyond the cap are refused before noise. Connections from this
//! machine have a larger cap of their own, and so have those from local networks: dozens of nodes run there.
//!
//! Who opens a connection by QUIC has proven nothing before the end of the handshake: its first packet may
//! name anybody as its sender. So it is counted where it comes from only then, and until then among all
//! such, of which there are few at a time: what is sent in others' names cannot keep out who comes by TCP.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};

use crate::address::{Scope, is_relayed, scope};
use crate::config::NetLimits;
use crate::metrics::Counters;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// This machine.
    Here,
    /// Its local networks.
    Near,
    /// An IPv4 /24.
    V4([u8; 3]),
    /// An IPv6 /48.
    V6([u16; 3]),
}

/// The place of an address; none for what comes through a relay, which has caps of its own.
fn place(address: &Multiaddr) -> Option<Place> {
    if is_relayed(address) {
        return None;
    }
    match scope(address) {
        Scope::Machine => return Some(Place::Here),
        Scope::Local => return Some(Place::Near),
        Scope::Global => {}
    }
    let ip = match address.iter().next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    Some(match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Place::V4([a, b, c])
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            Place::V6([a, b, c])
        }
    })
}

/// Whether it is an address of QUIC.
fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::QuicV1 | Protocol::Quic))
}

/// Refuses connections from crowded places.
pub(crate) struct Crowd {
    per_place: u32,
    per_machine: u32,
    quic_pending: usize,
    counts: BTreeMap<Place, u32>,
    /// The place of each connection that is counted: those coming in, from the first byte to the end, or
    /// from the end of the handshake where they come by QUIC.
    open: BTreeMap<ConnectionId, Place>,
    /// Those of QUIC before that.
    shaking: BTreeSet<ConnectionId>,
    counters: Arc<Counters>,
}

impl Crowd {
    pub(crate) fn new(limits: &NetLimits, counters: Arc<Counters>) -> Self {
        Self {
            per_place: limits.connections_per_place,
            per_machine: limits.connections_per_machine,
            // Half of what may be opened at a time: the other half is left for TCP.
            quic_pending: limits.connections_pending as usize / 2,
            counts: BTreeMap::new(),
            open: BTreeMap::new(),
            shaking: BTreeSet::new(),
            counters,
        }
    }

    /// A handshake begins whose other end has not shown where it is.
    fn shake(&mut self, connection: ConnectionId) -> Result<(), Crowded> {
        let limit = self.quic_pending;
        if self.shaking.len() >= limit {
            Counters::add(&self.counters.connections_crowded);
            return Err(Crowded::Handshakes { limit });
        }
        self.shaking.insert(connection);
        Ok(())
    }

    fn enter(&mut self, connection: ConnectionId, address: &Multiaddr) -> Result<(), Crowded> {
        let Some(place) = place(address) else { return Ok(()) };
        let limit = match place {
            Place::Here | Place::Near => self.per_machine,
            Place::V4(_) | Place::V6(_) => self.per_place,
        };
        let count = self.counts.entry(place).or_default();
        if *count >= limit {
            Counters::add(&self.counters.connections_crowded);
            return Err(Crowded::Place { limit });
        }
        *count += 1;
        self.open.insert(connection, place);
        Ok(())
    }

    fn leave(&mut self, connection: ConnectionId) {
        self.shaking.remove(&connection);
        let Some(place) = self.open.remove(&connection) else { return };
        if let Some(count) = self.counts.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&place);
            }
        }
    }
}

/// As many as may be.
#[derive(Debug, thiserror::Error)]
enum Crowded {
    #[error("{limit} connections come from the same place, the limit")]
    Place { limit: u32 },
    #[error("{limit} QUIC handshakes are under way, the limit")]
    Handshakes { limit: usize },
}

impl NetworkBehaviour for Crowd {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if is_relayed(local) {
            return Ok(());
        }
        let entered = if is_quic(remote) { self.shake(connection) } else { self.enter(connection, remote) };
        entered.map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Those of TCP are counted since their first byte.
        if self.shaking.remove(&connection) {
            self.enter(connection, remote).map_err(ConnectionDenied::new)?;
        }
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.leave(closed.connection_id),
            FromSwarm::ListenFailure(failure) => self.leave(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn crowd(per_place: u32, per_machine: u32, counters: &Arc<Counters>) -> Crowd {
        let limits = NetLimits {
            connections_per_place: per_place,
            connections_per_machine: per_machine,
            connections_pending: 4,
            ..NetLimits::default()
        };
        Crowd::new(&limits, Arc::clone(counters))
    }

    #[test]
    fn a_place_is_full_until_somebody_leaves() {
        let counters = Arc::new(Counters::default());
        let mut crowd = crowd(2, 3, &counters);
        let ids: Vec<_> = (0..9).map(ConnectionId::new_unchecked).collect();
        assert!(crowd.enter(ids[0], &at("/ip4/192.0.2.1/tcp/1")).is_ok());
        assert!(crowd.enter(ids[1], &at("/ip4/192.0.2.200/tcp/1")).is_ok());
        assert!(crowd.enter(ids[2], &at("/ip6/::ffff:192.0.2.9/tcp/1")).is_err());
        assert!(crowd.enter(ids[2], &at("/ip4/192.0.3.1/tcp/1")).is_ok());
        assert_eq!(Counters::get(&counters.connections_crowded), 1);
        crowd.leave(ids[0]);
        // One that was never let in changes nothing.
        crowd.leave(ids[8]);
        assert!(crowd.enter(ids[3], &at("/ip4/192.0.2.1/tcp/1/ws")).is_ok());
        for id in [3, 2, 1] {
            crowd.leave(ids[id]);
        }
        assert!(crowd.counts.is_empty() && crowd.open.is_empty());
    }

    #[test]
    fn this_machine_and_relays_are_counted_apart() {
        let mut crowd = crowd(0, 1, &Arc::default());
        let ids: Vec<_> = (0..4).map(ConnectionId::new_unchecked).collect();
        assert!(crowd.enter(ids[0], &at("/ip4/127.0.0.1/tcp/1")).is_ok());
        assert!(crowd.enter(ids[1], &at("/memory/1")).is_err());
        assert!(crowd.enter(ids[1], &at("/ip4/203.0.113.1/tcp/1/p2p-circuit")).is_ok());
        assert!(crowd.enter(ids[2], &at("/ip6/2001:db8::1/tcp/1")).is_err());
    }

    #[test]
    fn a_local_network_has_more_places_than_one_of_strangers() {
        let mut crowd = crowd(1, 3, &Arc::default());
        let mut ids = (0..9).map(ConnectionId::new_unchecked);
        for address in ["/ip4/192.168.1.7/tcp/1", "/ip4/192.168.1.8/tcp/1", "/ip4/10.0.0.3/udp/1/quic-v1"] {
            assert!(crowd.enter(ids.next().unwrap(), &at(address)).is_ok(), "{address}");
        }
        assert!(crowd.enter(ids.next().unwrap(), &at("/ip6/fd00::1/tcp/1")).is_err());
        // Neither this machine nor strangers lose a place by it.
        assert!(crowd.enter(ids.next().unwrap(), &at("/ip4/127.0.0.1/tcp/1")).is_ok());
        assert!(crowd.enter(ids.next().unwrap(), &at("/ip4/198.51.100.7/tcp/1")).is_ok());
    }

    /// Packets in the name of a place count for nobody there; who shows that it is there is counted.
    #[test]
    fn quic_is_counted_by_place_only_when_the_place_is_proven() {
        let counters = Arc::new(Counters::default());
        let mut crowd = crowd(1, 3, &counters);
        let ids: Vec<_> = (0..9).map(ConnectionId::new_unchecked).collect();
        let (local, by_quic) = (at("/ip4/192.0.2.1/udp/1/quic-v1"), at("/ip4/198.51.100.7/udp/1/quic-v1"));
        let by_tcp = at("/ip4/198.51.100.8/tcp/1");
        let peer = PeerId::random();
        for id in &ids[..2] {
            assert!(crowd.handle_pending_inbound_connection(*id, &local, &by_quic).is_ok());
        }
        assert!(crowd.handle_pending_inbound_connection(ids[2], &local, &by_quic).is_err());
        assert_eq!(Counters::get(&counters.connections_crowded), 1);
        assert!(crowd.handle_pending_inbound_connection(ids[3], &local, &by_tcp).is_ok());
        assert!(crowd.handle_established_inbound_connection(ids[3], peer, &local, &by_tcp).is_ok());
        // The place is taken now, also for QUIC, and the refused one is under way no more.
        assert!(crowd.handle_established_inbound_connection(ids[0], peer, &local, &by_quic).is_err());
        crowd.leave(ids[0]);
        assert_eq!(crowd.shaking.len(), 1);
        crowd.leave(ids[3]);
        assert!(crowd.handle_established_inbound_connection(ids[1], peer, &local, &by_quic).is_ok());
        assert!(crowd.handle_pending_inbound_connection(ids[4], &local, &by_tcp).is_err());
        crowd.leave(ids[1]);
        assert!(crowd.counts.is_empty() && crowd.open.is_empty() && crowd.shaking.is_empty());
    }

    #[test]
    fn places_are_networks() {
        assert_eq!(place(&at("/ip4/198.51.100.7/tcp/1")), Some(Place::V4([198, 51, 100])));
        assert_eq!(place(&at("/ip6/2001:db8:7:8::1/tcp/1")), Some(Place::V6([0x2001, 0xdb8, 7])));
        assert_eq!(place(&at("/dns4/a.example/tcp/1")), None);
    }
}
