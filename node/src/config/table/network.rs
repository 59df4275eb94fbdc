//! Whom a node meets, and how much goes over its line.

use toml::Value;

use super::super::bytes;
use super::super::given::{Expected, Given};
use super::super::numbers::set_rate;
use super::super::profile::set_profile;
use super::super::reach::{set_bool, set_bootstrap, set_listen, set_reachable, set_topics};
use super::super::setting::{Setting, Takes, number, texts};
use super::super::{Config, RULES};

/// `The network`.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "network",
        takes: Takes::One("NAME"),
        help: "the network's name; nodes of different networks never talk to each other",
        set: set_network,
        show: |config| Value::String(config.network.clone()),
    },
    Setting {
        key: "rules",
        takes: Takes::One("NUMBER"),
        help: "the version of the rules by which the network computes",
        set: set_rules,
        show: |config| Value::Integer(config.rules.into()),
    },
    Setting {
        key: "profile",
        takes: Takes::One("PROFILE"),
        help: "the kind of machine: local (others cannot dial it), home (budgets for line, disk and cores, and ways in \
               through routers) or server; any other setting overrides it, and the defaults shown are those of local",
        set: set_profile,
        show: |config| Value::String(config.profile.name().into()),
    },
    Setting {
        key: "listen",
        takes: Takes::Many("MULTIADDR"),
        help: "multiaddresses to listen on; port 0 takes any free port",
        set: set_listen,
        show: |config| texts(&config.listen),
    },
    Setting {
        key: "bootstrap",
        takes: Takes::Many("MULTIADDR"),
        help: "peers through whom to find the network, each with /p2p/ and its peer id",
        set: set_bootstrap,
        show: |config| texts(&config.bootstrap),
    },
    Setting {
        key: "reachable",
        takes: Takes::One("WHETHER"),
        help: "whether peers can dial this node: yes, no (it only dials, and is reached through relays) or auto (yes \
               for loopback addresses; for others, once a peer has dialled back or a router says so: `upnp`)",
        set: set_reachable,
        show: |config| Value::String(config.reachable.name().into()),
    },
    Setting {
        key: "mdns",
        takes: Takes::One("BOOL"),
        help: "whether to find peers on the local network, and be found there",
        set: |config, given| set_bool(&mut config.mdns, given),
        show: |config| Value::Boolean(config.mdns),
    },
    Setting {
        key: "upnp",
        takes: Takes::One("BOOL"),
        help: "whether to ask the router to let peers in",
        set: |config, given| set_bool(&mut config.upnp, given),
        show: |config| Value::Boolean(config.upnp),
    },
    Setting {
        key: "relay",
        takes: Takes::One("BOOL"),
        help: "whether to relay for nodes that cannot be dialled, while this one can",
        set: |config, given| set_bool(&mut config.relay, given),
        show: |config| Value::Boolean(config.relay),
    },
    Setting {
        key: "topics",
        takes: Takes::One("NUMBER"),
        help: "how many process topics to join at most; other processes are followed by asking their peers",
        set: set_topics,
        show: |config| number(config.topics as u64),
    },
    Setting {
        key: "bandwidth_out",
        takes: Takes::One("BYTES"),
        help: "bytes per second to send to all peers together, such as 1mb, or none for no limit",
        set: |config, given| set_rate(&mut config.bandwidth_out_bytes, given),
        show: |config| Value::String(bytes::show_or_none(config.bandwidth_out_bytes)),
    },
    Setting {
        key: "bandwidth_in",
        takes: Takes::One("BYTES"),
        help: "bytes per second to take from all peers together, such as 4mb, or none for no limit",
        set: |config, given| set_rate(&mut config.bandwidth_in_bytes, given),
        show: |config| Value::String(bytes::show_or_none(config.bandwidth_in_bytes)),
    },
];

fn set_network(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    let good = |name: &&str| {
        (4..=16).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let name = given.text().filter(good).ok_or("4 to 16 characters of a-z, 0-9 and -")?;
    config.network = name.into();
    Ok(())
}

fn set_rules(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    let rules = given.number(0, u64::from(u32::MAX))?;
    if rules != u64::from(RULES) {
        return Err(format!("{RULES}, the only version this build computes").into());
    }
    config.rules = RULES;
    Ok(())
}
