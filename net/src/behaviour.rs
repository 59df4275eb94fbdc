//! The protocols that a swarm speaks.

use std::sync::Arc;

use libp2p::metrics::Registry;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    PeerId, Swarm, allow_block_list, autonat, connection_limits, dcutr, gossipsub, identify, kad, mdns,
    memory_connection_limits, ping, relay, request_response, upnp,
};

use crate::bandwidth::Bandwidth;
use crate::codec::Codec;
use crate::config::Settings;
use crate::crowd::Crowd;
use crate::discovery::machine::reach::Reachability;
use crate::discovery::store::ProviderStore;
use crate::doze::Dozing;
use crate::gossip::filter::{TopicFilter, topic_filter};
use crate::gossip::params;
use crate::handle::NetError;
use crate::keep::Keep;
use crate::limits::{
    BOOTSTRAP_INTERVAL, PROVIDER_TTL, RELAY_CIRCUIT_BYTES_MAX, RELAY_CIRCUIT_TIME_MAX, RELAY_CIRCUITS_MAX,
    RELAY_PLACES_MAX, STREAMS_PER_CONNECTION_MAX,
};
use crate::metrics::Counters;
use crate::transport::transport;

pub(crate) type Gossip = gossipsub::Behaviour<gossipsub::IdentityTransform, TopicFilter>;

/// Gossip, which is always awake, and all others, whose handlers are polled only when something happens to them. Those
/// come first: what their limits refuse, gossip never hears of.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) others: Dozing<Others>,
    pub(crate) gossip: Gossip,
}

/// Limits come first: what they refuse, the others never hear of.
#[derive(NetworkBehaviour)]
pub(crate) struct Others {
    limits: connection_limits::Behaviour,
    memory: Toggle<memory_connection_limits::Behaviour>,
    /// Peers that are shut out.
    pub(crate) banned: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    crowd: Crowd,
    keep: Keep,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(crate) kademlia: kad::Behaviour<ProviderStore>,
    pub(crate) requests: request_response::Behaviour<Codec>,
    /// Reaches peers through relays, and is reached through them.
    relayed: relay::client::Behaviour,
    /// Relays for others.
    pub(crate) relay: Toggle<relay::Behaviour>,
    /// Makes direct connections of relayed ones.
    upgrade: dcutr::Behaviour,
    /// Has this node's addresses tried out.
    probe: Toggle<autonat::v2::client::Behaviour>,
    /// Tries out those of others.
    prober: autonat::v2::server::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
    /// Asks the router for a way in.
    upnp: Toggle<upnp::tokio::Behaviour>,
}

/// Builds the swarm; nothing is opened yet. The registry gets the counters of gossipsub.
pub(crate) fn swarm(
    settings: &Settings,
    counters: &Arc<Counters>,
    registry: &mut Registry,
) -> Result<Swarm<Behaviour>, NetError> {
    let peer = settings.keypair.public().to_peer_id();
    let (relay_transport, relayed) = relay::client::new(peer);
    let limits = &settings.limits;
    let probed = settings.reachability == Reachability::Probed;
    let others = Others {
        limits: connection_limits::Behaviour::new(connection_limits(settings)),
        memory: limits.memory_bytes.map(memory_connection_limits::Behaviour::with_max_bytes).into(),
        banned: allow_block_list::Behaviour::default(),
        crowd: Crowd::new(limits, Arc::clone(counters)),
        keep: Keep::new(settings.bootstrap.keys().copied().collect(), settings.limits.connections_kept),
        identify: identify(settings),
        ping: ping(settings),
        kademlia: kademlia(settings, peer, counters)?,
        requests: requests(settings)?,
        relayed,
        relay: settings.relay.then(|| relay(peer)).into(),
        upgrade: dcutr::Behaviour::new(peer),
        probe: probed.then(autonat::v2::client::Behaviour::default).into(),
        prober: autonat::v2::server::Behaviour::default(),
        mdns: mdns(settings, peer)?.into(),
        upnp: settings.upnp.then(upnp::tokio::Behaviour::default).into(),
    };
    let behaviour = Behaviour { others: others.into(), gossip: gossip(settings, counters, registry)? };
    let config = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(settings.limits.idle_timeout);
    let bandwidth = Bandwidth::of(limits.bandwidth_out, limits.bandwidth_in);
    let transport = transport(&settings.keypair, relay_transport, limits.opening_timeout, bandwidth)?;
    Ok(Swarm::new(transport, behaviour, peer, config))
}

/// A relay that serves nobody until this node is known to be reachable.
fn relay(peer: PeerId) -> relay::Behaviour {
    let config = relay::Config {
        max_reservations: RELAY_PLACES_MAX,
        max_circuits: RELAY_CIRCUITS_MAX,
        max_circuit_bytes: RELAY_CIRCUIT_BYTES_MAX,
        max_circuit_duration: RELAY_CIRCUIT_TIME_MAX,
        ..relay::Config::default()
    };
    let mut relay = relay::Behaviour::new(peer, config);
    relay.set_status(Some(relay::Status::Disable));
    relay
}

fn mdns(settings: &Settings, peer: PeerId) -> Result<Option<mdns::tokio::Behaviour>, NetError> {
    if !settings.mdns {
        return Ok(None);
    }
    let mdns = mdns::tokio::Behaviour::new(mdns::Config::default(), peer);
    mdns.map(Some).map_err(NetError::setup)
}

fn connection_limits(settings: &Settings) -> connection_limits::ConnectionLimits {
    let limits = &settings.limits;
    connection_limits::ConnectionLimits::default()
        .with_max_established(Some(limits.connections))
        .with_max_established_incoming(Some(limits.connections_incoming))
        .with_max_established_per_peer(Some(limits.connections_per_peer))
        .with_max_pending_incoming(Some(limits.connections_pending))
        .with_max_pending_outgoing(Some(limits.connections_pending))
}

fn identify(settings: &Settings) -> identify::Behaviour {
    let config = identify::Config::new(settings.names.identify(), settings.keypair.public())
        .with_agent_version(format!("weft/{}", env!("CARGO_PKG_VERSION")))
        .with_push_listen_addr_updates(true)
        // Addresses that can be reached are external ones, and said as such.
        .with_hide_listen_addrs(true);
    identify::Behaviour::new(config)
}

fn ping(settings: &Settings) -> ping::Behaviour {
    let interval = settings.limits.ping_interval;
    ping::Behaviour::new(ping::Config::new().with_interval(interval).with_timeout(interval))
}

fn kademlia(
    settings: &Settings,
    peer: PeerId,
    counters: &Arc<Counters>,
) -> Result<kad::Behaviour<ProviderStore>, NetError> {
    let mut config = kad::Config::new(settings.names.kademlia().map_err(NetError::setup)?);
    config
        .set_query_timeout(settings.limits.lookup_timeout)
        .disjoint_query_paths(true)
        // Only peers that identify as ours enter the table, by addresses they listen on.
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_periodic_bootstrap_interval(Some(BOOTSTRAP_INTERVAL))
        // Location records are verified before they are kept.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        // We write our records ourselves: see discovery/machine/provide.rs.
        .set_provider_publication_interval(None)
        .set_provider_record_ttl(Some(PROVIDER_TTL))
        .set_replication_interval(None)
        .set_publication_interval(None);
    let store = ProviderStore::new(peer, Arc::clone(counters));
    let mut kademlia = kad::Behaviour::with_config(peer, store, config);
    // Until this node is known to be reachable.
    kademlia.set_mode(Some(kad::Mode::Client));
    Ok(kademlia)
}

fn gossip(
    settings: &Settings,
    counters: &Arc<Counters>,
    registry: &mut Registry,
) -> Result<Gossip, NetError> {
    let filter = topic_filter(settings.names.topic_prefix(), Arc::clone(counters));
    let mut gossip = Gossip::new_with_subscription_filter(
        gossipsub::MessageAuthenticity::Anonymous,
        params::mesh(&settings.names).map_err(NetError::setup)?,
        filter,
    )
    .map_err(NetError::setup)?
    // Topics of processes do not become labels.
    .with_metrics(
        registry,
        gossipsub::MetricsConfig {
            max_topics: settings.limits.topics_measured,
            max_never_subscribed_topics: 0,
            ..Default::default()
        },
    );
    gossip.with_peer_score(params::peer_score(), params::thresholds()).map_err(NetError::setup)?;
    Ok(gossip)
}

fn requests(settings: &Settings) -> Result<request_response::Behaviour<Codec>, NetError> {
    let protocol = settings.names.requests().map_err(NetError::setup)?;
    let config = request_response::Config::default()
        .with_request_timeout(settings.limits.request_timeout)
        .with_max_concurrent_streams(STREAMS_PER_CONNECTION_MAX);
    Ok(request_response::Behaviour::with_codec(
        Codec::new(),
        [(protocol, request_response::ProtocolSupport::Full)],
        config,
    ))
}
