//! How bytes travel: TCP and WebSocket with noise and yamux, names resolved, through relays, and in
//! memory between the nodes of one program.

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, MemoryTransport, OrTransport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport as _, dns, noise, relay, tcp, websocket, yamux};

use crate::handle::NetError;

/// Every transport in one. Listening for TLS is left to a proxy in front; dialling it works.
pub(crate) fn transport(
    keypair: &Keypair,
    relayed: relay::client::Transport,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError> {
    let noise = noise::Config::new(keypair).map_err(NetError::setup)?;
    let sockets = || tcp::tokio::Transport::new(tcp::Config::default());
    let named = || {
        dns::tokio::Transport::system(sockets()).unwrap_or_else(|error| {
            // A container may have no resolv.conf; IP addresses still work.
            tracing::warn!(%error, "no DNS resolver: only IP addresses can be dialled");
            let nobody = dns::ResolverConfig::from_parts(None, Vec::new(), Vec::new());
            dns::tokio::Transport::custom(sockets(), nobody, dns::ResolverOpts::default())
        })
    };
    // Names come last: that one takes any address and finds out later.
    let near = OrTransport::new(MemoryTransport::new(), relayed);
    let far = OrTransport::new(websocket::Config::new(named()), named());
    Ok(OrTransport::new(near, far)
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux::Config::default())
        .boxed())
}
