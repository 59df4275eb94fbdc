//! What the network layer is told at its start, checked before anything is opened.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use weft_protocol::id::Network;

use crate::address::{self, Scope};
use crate::discovery::machine::reach::Reachability;
use crate::limits::{BANDWIDTH_MIN, TOPICS_JOINED_MAX};
use crate::network::NetworkNames;
use crate::remembered::Remembered;

/// What the network layer is told at its start.
#[derive(Clone)]
pub struct NetConfig {
    /// The ed25519 secret key: this node's name in the network, and its ao address.
    pub secret_key: [u8; 32],
    /// The network. It stands in every topic and protocol name, so networks never mix.
    pub network: Network,
    /// Where to listen: multiaddrs such as `/ip4/127.0.0.1/tcp/4001`; port 0 takes a free one.
    pub listen: Vec<String>,
    /// Peers to find the network by: multiaddrs that end in `/p2p/` and the peer's id.
    pub bootstrap: Vec<String>,
    /// Whether peers can reach the listening addresses. Those that can be reached are announced, and
    /// a node with one of them serves the provider table and relays for others.
    pub reachability: Reachability,
    /// Whether to look for peers on the local network, and be found there, by mDNS.
    pub mdns: bool,
    /// Whether to ask the router for a way in, by UPnP.
    pub upnp: bool,
    /// Whether to relay for nodes that cannot be reached, while this one can.
    pub relay: bool,
    /// What this node wrote down when it last ran.
    pub remembered: Remembered,
    /// Limits of this node alone.
    pub limits: NetLimits,
}

impl NetConfig {
    /// A node on a free port of the loopback interface, knowing no peer.
    pub fn new(secret_key: [u8; 32], network: Network) -> Self {
        Self {
            secret_key,
            network,
            listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
            bootstrap: Vec::new(),
            reachability: Reachability::Assumed,
            mdns: false,
            upnp: false,
            relay: true,
            remembered: Remembered::default(),
            limits: NetLimits::default(),
        }
    }
}

// The secret key stays out of logs.
impl fmt::Debug for NetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetConfig")
            .field("network", &self.network)
            .field("listen", &self.listen)
            .field("bootstrap", &self.bootstrap)
            .field("reachability", &self.reachability)
            .field("mdns", &self.mdns)
            .field("upnp", &self.upnp)
            .field("relay", &self.relay)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Limits that a node may choose for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetLimits {
    /// Connections in all.
    pub connections: u32,
    /// Connections that others opened.
    pub connections_incoming: u32,
    /// Connections with one peer. Two peers that dial each other at once have two; one through a
    /// relay becomes a direct one; and one whose addresses are tried out is dialled back.
    pub connections_per_peer: u32,
    /// Connections that others opened from one place on the internet, an IPv4 /24 or an IPv6 /48.
    pub connections_per_place: u32,
    /// Connections that others opened from this machine, and as many from its local networks.
    pub connections_per_machine: u32,
    /// Connections that are being opened, of each direction; of those coming in half may be by QUIC.
    pub connections_pending: u32,
    /// How long a connection may take to be opened, with its handshake.
    pub opening_timeout: Duration,
    /// Up to this many connections are kept though nothing happens on them.
    pub connections_kept: u32,
    /// How long a connection beyond those may be idle.
    pub idle_timeout: Duration,
    /// How often a peer is pinged, and how long a ping may take. Two that fail in a row end the
    /// connections with the peer.
    pub ping_interval: Duration,
    /// How long a request may take, from the first byte to the whole answer.
    pub request_timeout: Duration,
    /// How long a lookup of providers may take.
    pub lookup_timeout: Duration,
    /// Events that may wait for the node. Beyond them, gossip is ignored and requests are
    /// answered with Busy.
    pub events: usize,
    /// Announcements that one peer may hand on in a second; more are not heard, and twice as many for some
    /// seconds shut it out. Several times what one network task takes of all peers together.
    pub announcements_per_peer: u32,
    /// Bytes that streams to all peers together may send in a second; none for no limit.
    pub bandwidth_out: Option<NonZeroU64>,
    /// Bytes that are taken from all of them in a second.
    pub bandwidth_in: Option<NonZeroU64>,
    /// How long a peer may be too slow for what it is sent, without a pause, before its connections end.
    pub slow_patience: Duration,
    /// Process topics that this node joins.
    pub topics: usize,
    /// Topics whose gossip is counted apart. Each makes labels of its own, so a node counts none so.
    pub topics_measured: usize,
    /// Memory of the whole program beyond which no connection is opened any more. None where many
    /// nodes share a program, as in tests.
    pub memory_bytes: Option<usize>,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self {
            connections: 80,
            connections_incoming: 64,
            connections_per_peer: 4,
            connections_per_place: 8,
            connections_per_machine: 64,
            connections_pending: 16,
            opening_timeout: Duration::from_secs(20),
            connections_kept: 50,
            idle_timeout: Duration::from_secs(120),
            ping_interval: Duration::from_secs(15),
            request_timeout: Duration::from_secs(30),
            lookup_timeout: Duration::from_secs(10),
            events: 1024,
            announcements_per_peer: 2_500,
            bandwidth_out: None,
            bandwidth_in: None,
            slow_patience: Duration::from_secs(60),
            topics: TOPICS_JOINED_MAX,
            topics_measured: 0,
            memory_bytes: None,
        }
    }
}

/// A value of the configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A listening address.
    #[error("listen address `{value}`: {reason}; expected a form like /ip4/127.0.0.1/tcp/4001")]
    Listen {
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A bootstrap peer.
    #[error(
        "bootstrap peer `{value}`: {reason}; expected a form like /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW..."
    )]
    Bootstrap {
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A limit.
    #[error("net limit `{name}` is {value}: expected {expected}")]
    Limit {
        /// Which one.
        name: &'static str,
        /// What was given.
        value: u64,
        /// What may be given.
        expected: String,
    },
    /// The secret key.
    #[error("the secret key is not an ed25519 seed: {reason}")]
    SecretKey {
        /// What is wrong with it.
        reason: String,
    },
}

/// A configuration that was checked.
pub(crate) struct Settings {
    pub(crate) keypair: Keypair,
    pub(crate) names: NetworkNames,
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) bootstrap: BTreeMap<PeerId, Vec<Multiaddr>>,
    pub(crate) reachability: Reachability,
    pub(crate) mdns: bool,
    pub(crate) upnp: bool,
    pub(crate) relay: bool,
    pub(crate) remembered: Remembered,
    pub(crate) limits: NetLimits,
}

impl Settings {
    pub(crate) fn check(config: NetConfig) -> Result<Self, ConfigError> {
        check_limits(&config.limits)?;
        let mut secret_key = config.secret_key;
        // Any 32 bytes are an ed25519 seed; this cannot fail for an array of 32.
        let keypair = Keypair::ed25519_from_bytes(&mut secret_key)
            .map_err(|e| ConfigError::SecretKey { reason: e.to_string() })?;
        let names = NetworkNames::new(config.network);
        let listen = config.listen.iter().map(|text| {
            let error = |reason: String| ConfigError::Listen { value: text.clone(), reason };
            address::listen(text).map_err(|e| error(e.to_string()))
        });
        let listen = listen.collect::<Result<_, _>>()?;
        let own = keypair.public().to_peer_id();
        let mut bootstrap: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
        for text in &config.bootstrap {
            let (peer, address) = address::with_peer(text)
                .map_err(|e| ConfigError::Bootstrap { value: text.clone(), reason: e.to_string() })?;
            // One list serves all nodes, also those that stand in it.
            if peer != own {
                bootstrap.entry(peer).or_default().push(address);
            }
        }
        Ok(Self {
            keypair,
            names,
            listen,
            bootstrap,
            reachability: config.reachability,
            mdns: config.mdns,
            upnp: config.upnp,
            relay: config.relay,
            remembered: config.remembered,
            limits: config.limits,
        })
    }
}

/// What to take for the reachability of a node that listens here, when nobody says: loopback addresses
/// are there for who is on the same machine, and the others are tried out.
pub fn reachability_of(listen: &[String]) -> Reachability {
    let near = |text: &String| address::listen(text).is_ok_and(|at| address::scope(&at) == Scope::Machine);
    if listen.iter().all(near) { Reachability::Assumed } else { Reachability::Probed }
}

fn check_limits(limits: &NetLimits) -> Result<(), ConfigError> {
    let at_least_one = [
        ("connections", u64::from(limits.connections)),
        ("connections_incoming", u64::from(limits.connections_incoming)),
        ("connections_per_peer", u64::from(limits.connections_per_peer)),
        ("connections_per_place", u64::from(limits.connections_per_place)),
        ("connections_per_machine", u64::from(limits.connections_per_machine)),
        ("events", limits.events as u64),
        ("announcements_per_peer", u64::from(limits.announcements_per_peer)),
        ("lookup_timeout (ms)", limits.lookup_timeout.as_millis() as u64),
        ("opening_timeout (ms)", limits.opening_timeout.as_millis() as u64),
        ("slow_patience (ms)", limits.slow_patience.as_millis() as u64),
        ("request_timeout (ms)", limits.request_timeout.as_millis() as u64),
        ("ping_interval (ms)", limits.ping_interval.as_millis() as u64),
        ("idle_timeout (ms)", limits.idle_timeout.as_millis() as u64),
    ];
    for (name, value) in at_least_one {
        if value == 0 {
            return Err(ConfigError::Limit { name, value, expected: "at least 1".into() });
        }
    }
    if limits.connections_pending < 2 {
        let value = u64::from(limits.connections_pending);
        let expected = "at least 2: one by QUIC and one by TCP".into();
        return Err(ConfigError::Limit { name: "connections_pending", value, expected });
    }
    for (name, limit) in [("bandwidth_out", limits.bandwidth_out), ("bandwidth_in", limits.bandwidth_in)] {
        if let Some(value) = limit.map(NonZeroU64::get).filter(|value| *value < BANDWIDTH_MIN) {
            let expected = format!("at least {BANDWIDTH_MIN} bytes a second, or none");
            return Err(ConfigError::Limit { name, value, expected });
        }
    }
    if limits.topics > TOPICS_JOINED_MAX {
        return Err(ConfigError::Limit {
            name: "topics",
            value: limits.topics as u64,
            expected: format!("at most {TOPICS_JOINED_MAX}: peers drop more"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn error(change: impl FnOnce(&mut NetConfig)) -> String {
        let mut config = NetConfig::new([1; 32], Network(0));
        change(&mut config);
        Settings::check(config).err().unwrap().to_string()
    }

    #[test]
    fn the_default_is_valid() {
        let settings = Settings::check(NetConfig::new([1; 32], Network(0))).unwrap();
        assert_eq!(settings.listen.len(), 1);
    }

    #[test]
    fn bad_values_are_named_with_what_is_expected() {
        for bad in ["nonsense", "/ip4/300.0.0.1/tcp/1", "/ip4/127.0.0.1/udp/1", "/ip4/127.0.0.1", ""] {
            let text = error(|config| config.listen = vec![bad.into()]);
            assert!(text.contains(&format!("listen address `{bad}`")) && text.contains("expected"), "{text}");
        }
        for bad in ["nonsense", "/ip4/127.0.0.1/tcp/1", "/dnsaddr/x", &format!("/p2p/{PEER}")] {
            let text = error(|config| config.bootstrap = vec![bad.into()]);
            assert!(text.contains(&format!("bootstrap peer `{bad}`")) && text.contains("/p2p/"), "{text}");
        }
        let text = error(|config| config.limits.connections = 0);
        assert!(text.contains("`connections` is 0: expected at least 1"), "{text}");
        let text = error(|config| config.limits.topics = 5000);
        assert!(text.contains("`topics` is 5000: expected at most 2048"), "{text}");
    }

    #[test]
    fn addresses_of_this_machine_are_reached_by_who_is_on_it() {
        let of = |list: &[&str]| reachability_of(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(of(&["/ip4/127.0.0.1/tcp/1", "/memory/1"]), Reachability::Assumed);
        assert_eq!(of(&["/ip4/127.0.0.1/tcp/1", "/ip4/0.0.0.0/tcp/1"]), Reachability::Probed);
    }

    #[test]
    fn bootstrap_peers_are_grouped_and_the_own_one_is_skipped() {
        let mut config = NetConfig::new([1; 32], Network(0));
        let own = Settings::check(config.clone()).unwrap().keypair.public().to_peer_id();
        config.bootstrap = vec![
            format!("/ip4/127.0.0.1/tcp/1/p2p/{PEER}"),
            format!("/dns4/node.example/tcp/2/p2p/{PEER}"),
            format!("/ip4/127.0.0.1/tcp/3/p2p/{own}"),
        ];
        let settings = Settings::check(config).unwrap();
        let peers: Vec<_> =
            settings.bootstrap.iter().map(|(peer, list)| (peer.to_string(), list.len())).collect();
        assert_eq!(peers, [(PEER.to_string(), 2)]);
    }

    #[test]
    fn the_secret_key_is_not_printed() {
        let mut config = NetConfig::new([77; 32], Network(0));
        config.listen.clear();
        assert!(!format!("{config:?}").contains("77"));
    }
}
