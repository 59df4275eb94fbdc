//! Keeps connections open on which nothing happens.
//!
//! Gossipsub asks for a connection only while the peer is in one of its meshes, and the swarm closes
//! those that nobody asks for after the idle timeout; a network of quiet processes could fall apart
//! every two minutes. (Gossipsub's open streams happen to hold a connection too, but nothing
//! promises that, and a peer may speak requests alone.) Up to a number, connections are kept
//! whatever they do; those with bootstrap peers always are.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::task::{Context, Poll};

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::DeniedUpgrade;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::ConnectionEvent;
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};

use crate::address::is_relayed;

/// Decides at its start whether a connection is kept.
pub(crate) struct Keep {
    always: BTreeSet<PeerId>,
    kept_max: usize,
    kept: BTreeSet<ConnectionId>,
}

impl Keep {
    pub(crate) fn new(always: BTreeSet<PeerId>, kept_max: u32) -> Self {
        Self { always, kept_max: kept_max as usize, kept: BTreeSet::new() }
    }

    fn handler(&mut self, connection: ConnectionId, peer: &PeerId, relayed: bool) -> KeepHandler {
        // A connection through a relay costs the relay, and may have become a direct one.
        let keep = !relayed && (self.always.contains(peer) || self.kept.len() < self.kept_max);
        if keep {
            self.kept.insert(connection);
        }
        KeepHandler { keep }
    }
}

impl NetworkBehaviour for Keep {
    type ConnectionHandler = KeepHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection, &peer, is_relayed(local) || is_relayed(remote)))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection, &peer, is_relayed(address)))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        // A connection that another behaviour refuses after us is reported as a failure, not as
        // closed.
        match event {
            FromSwarm::ConnectionClosed(closed) => self.kept.remove(&closed.connection_id),
            FromSwarm::ListenFailure(failure) => self.kept.remove(&failure.connection_id),
            FromSwarm::DialFailure(failure) => self.kept.remove(&failure.connection_id),
            _ => false,
        };
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// Speaks no protocol; says whether its connection is kept.
pub(crate) struct KeepHandler {
    keep: bool,
}

impl ConnectionHandler for KeepHandler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.keep
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        Poll::Pending
    }

    fn on_connection_event(&mut self, _: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::time::Duration;

    use futures::StreamExt as _;
    use libp2p::core::Transport as _;
    use libp2p::core::transport::MemoryTransport;
    use libp2p::core::upgrade::Version;
    use libp2p::identity::Keypair;
    use libp2p::swarm::{Config, Swarm, SwarmEvent};
    use libp2p::{noise, yamux};

    use super::*;

    fn swarm(always: BTreeSet<PeerId>, kept_max: u32) -> Swarm<Keep> {
        let key = Keypair::generate_ed25519();
        let transport = MemoryTransport::new()
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(&key).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        let config = Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_millis(50));
        Swarm::new(transport, Keep::new(always, kept_max), key.public().to_peer_id(), config)
    }

    /// Which of the guests a host that keeps one connection, and one peer always, still has when
    /// the first is closed.
    #[tokio::test]
    async fn the_first_connections_and_chosen_peers_are_kept() {
        let mut chosen = swarm(BTreeSet::new(), 9);
        let mut host = swarm([*chosen.local_peer_id()].into(), 1);
        let (mut first, mut second) = (swarm(BTreeSet::new(), 9), swarm(BTreeSet::new(), 9));
        host.listen_on("/memory/0".parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = host.select_next_some().await {
                break address;
            }
        };
        for guest in [&mut first, &mut second, &mut chosen] {
            guest.dial(address.clone()).unwrap();
            let mut open = 0;
            while open < 2 {
                let events = tokio::select! {
                    event = host.select_next_some() => event,
                    event = guest.select_next_some() => event,
                };
                open += u32::from(matches!(events, SwarmEvent::ConnectionEstablished { .. }));
            }
        }
        let gone = loop {
            let event = tokio::select! {
                event = host.select_next_some() => event,
                _ = first.select_next_some() => continue,
                _ = second.select_next_some() => continue,
                _ = chosen.select_next_some() => continue,
            };
            if let SwarmEvent::ConnectionClosed { peer_id, .. } = event {
                break peer_id;
            }
        };
        assert_eq!(gone, *second.local_peer_id());
        assert!(host.is_connected(first.local_peer_id()) && host.is_connected(chosen.local_peer_id()));
    }
}
