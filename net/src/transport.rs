//! How bytes travel: QUIC, TCP and WebSocket (both with noise and yamux), names resolved, through relays,
//! and in memory between the nodes of one program.

use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::dummy::DummyTransport;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{Boxed, MemoryTransport, OrTransport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport, dns, noise, quic, relay, tcp, websocket, yamux};

use crate::bandwidth::{Bandwidth, Metered};
use crate::closing::Closing;
use crate::handle::NetError;

type Secured = Boxed<(PeerId, StreamMuxerBox)>;

/// Every transport in one. Listening for TLS is left to a proxy in front; dialling it works. A connection that is not
/// there after `opening`, in either direction, has failed: whoever takes a connection and says nothing on it would
/// otherwise keep its place among those that are being opened. Streams keep to the bandwidth that is given.
pub(crate) fn transport(
    keypair: &Keypair,
    relayed: relay::client::Transport,
    opening: Duration,
    bandwidth: Option<Arc<Bandwidth>>,
) -> Result<Secured, NetError> {
    let noise = noise::Config::new(keypair).map_err(NetError::setup)?;
    let sockets = || tcp::tokio::Transport::new(tcp::Config::default());
    let quic = quic::tokio::Transport::new(quic::Config::new(keypair))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let near = OrTransport::new(MemoryTransport::new(), relayed);
    // For TLS the name must not be resolved before.
    let near = secured(OrTransport::new(near, websocket::Config::new(named(sockets())?)), &noise);
    let far = OrTransport::new(quic, secured(sockets(), &noise)).map(|either, _| either.into_inner());
    // Names come last: that one takes any address and finds out later.
    let all = OrTransport::new(near, named(far)?).map(|either, _| either.into_inner());
    // The swarm starts all dials of one peer at once: however many addresses it has, this is the limit of all.
    let all = TransportTimeout::new(all, opening);
    let metered = move |(peer, muxer), endpoint: ConnectedPoint| {
        let muxer = Closing::of(muxer);
        let muxer = match &bandwidth {
            // What goes through a relay goes over the connection with it, and is counted there.
            Some(bandwidth) if !endpoint.is_relayed() => {
                StreamMuxerBox::new(Metered::of(muxer, Arc::clone(bandwidth)))
            }
            _ => StreamMuxerBox::new(muxer),
        };
        (peer, muxer)
    };
    Ok(all.map(metered).boxed())
}

/// Resolves names in addresses that are dialled.
fn named<T>(inner: T) -> Result<dns::tokio::Transport<Boxed<T::Output>>, NetError>
where
    T: Transport + Send + Unpin + 'static,
    T::Error: Send + Sync,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    // Only a transport that is given says whether the system has a resolver.
    if let Err(error) = dns::tokio::Transport::system(DummyTransport::<()>::new()) {
        // A container may have no resolv.conf; IP addresses still work.
        tracing::warn!(%error, "no DNS resolver: only IP addresses can be dialled");
        let nobody = dns::ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        return Ok(dns::tokio::Transport::custom(inner.boxed(), nobody, dns::ResolverOpts::default()));
    }
    dns::tokio::Transport::system(inner.boxed()).map_err(NetError::setup)
}

/// Streams of bytes made connections: encrypted, with the peer known, many streams in one.
fn secured<T>(transport: T, noise: &noise::Config) -> Secured
where
    T: Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    transport.upgrade(Version::V1Lazy).authenticate(noise.clone()).multiplex(yamux::Config::default()).boxed()
}
