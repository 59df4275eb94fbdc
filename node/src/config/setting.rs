//! The table of keys: how each is read, shown and explained.

use toml::Value;
use weft_protocol::limits::COMPUTE_LIMIT_MAX;

use super::anchoring;
use super::bytes;
use super::choice::{set_anchor_checkpoints, set_evaluate};
use super::doors::{
    set_door, set_gateway_cors, set_gateway_hosts, set_gateway_url, set_metrics, show_address,
};
use super::given::{Expected, Given};
use super::logging::{set_log, set_log_format};
use super::numbers::{
    set_checkpoint_slots, set_checkpoints_kept, set_clock_offset, set_compute_threads, set_dry_runs, set_ms,
    set_others_gas, set_rate, set_replays, set_results_kept, set_u32, set_u64,
};
use super::profile::set_profile;
use super::reach::{set_bool, set_bootstrap, set_gateways, set_listen, set_reachable, set_topics};
use super::role::set_roles;
use super::{Config, Evaluate, Join, LogFormat, RULES, Whose};

/// Gas of one replay, or of strangers in an hour: 300 hours of a guest's time. More is a typing error.
pub(super) const GAS_MAX: u64 = 1_000_000_000_000_000_000;
/// The highest price: a hundred tokens of 12 decimals for one push. More is a typing error.
const PRICE_MAX: u64 = 100_000_000_000_000;
/// The largest sum: as much as the file can say.
const SUM_MAX: u64 = i64::MAX as u64;
/// Challenges of one day. More is a typing error.
const AUDIT_CHALLENGES_MAX: u64 = 100_000;

/// The deepest settlement: two weeks of blocks. More is a typing error.
const SETTLEMENT_DEPTH_MAX: u64 = 10_000;

/// Reads a value into the configuration.
type Set = fn(&mut Config, &Given<'_>) -> Result<(), Expected>;

/// One key.
pub(super) struct Setting {
    /// Its name in the file; flags write `-` for `_`, the environment upper case after `WEFT_`.
    pub(super) key: &'static str,
    /// One line for people.
    pub(super) help: &'static str,
    /// Reads it.
    pub(super) set: Set,
    /// Shows it as it would stand in the file.
    pub(super) show: fn(&Config) -> Value,
}

/// Every key that a file, the environment or a flag may set.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "network",
        help: "the network's name; peers of another name never talk to each other",
        set: set_network,
        show: |config| Value::String(config.network.clone()),
    },
    Setting {
        key: "rules",
        help: "the version of the rules that the network computes by",
        set: set_rules,
        show: |config| Value::Integer(config.rules.into()),
    },
    Setting {
        key: "profile",
        help: "the kind of machine: local (others cannot dial it), home (a budget for line, disk and cores, and ways in \
               through routers) or server; whatever else is set goes first",
        set: set_profile,
        show: |config| Value::String(config.profile.name().into()),
    },
    Setting {
        key: "listen",
        help: "multiaddresses to listen on; port 0 takes any free one",
        set: set_listen,
        show: |config| texts(&config.listen),
    },
    Setting {
        key: "bootstrap",
        help: "peers to find the network by, each with /p2p/ and its peer id",
        set: set_bootstrap,
        show: |config| texts(&config.bootstrap),
    },
    Setting {
        key: "reachable",
        help: "whether peers can dial this node: yes, no (it only dials, and is reached by relays) or auto (loopback \
               addresses can be, others once a peer has dialled back or a router says so: `upnp`)",
        set: set_reachable,
        show: |config| Value::String(config.reachable.name().into()),
    },
    Setting {
        key: "mdns",
        help: "whether to find peers on the local network, and be found there",
        set: |config, given| set_bool(&mut config.mdns, given),
        show: |config| Value::Boolean(config.mdns),
    },
    Setting {
        key: "upnp",
        help: "whether to ask the router to let peers in",
        set: |config, given| set_bool(&mut config.upnp, given),
        show: |config| Value::Boolean(config.upnp),
    },
    Setting {
        key: "relay",
        help: "whether to relay for nodes that cannot be dialled, while this one can",
        set: |config, given| set_bool(&mut config.relay, given),
        show: |config| Value::Boolean(config.relay),
    },
    Setting {
        key: "topics",
        help: "how many process topics to be on at most; other processes are followed by asking their peers",
        set: set_topics,
        show: |config| number(config.topics as u64),
    },
    Setting {
        key: "roles",
        help: "what this node does: scheduler, compute, messenger, anchor",
        set: set_roles,
        show: |config| texts(config.roles.iter().map(|role| role.name())),
    },
    Setting {
        key: "schedule_for",
        help: "whose new processes are taken: own (this node's key; the default, so that nobody fills this disk \
               unasked), a list of addresses, or anyone (test networks)",
        set: |config, given| Whose::parse(given).map(|whose| config.schedule_for = whose),
        show: |config| config.schedule_for.show(),
    },
    Setting {
        key: "compute_for",
        help: "whose processes are computed of those that come unasked (scheduled here for others, or spawned by \
               processes that this node carries for): own, a list of addresses, or anyone",
        set: |config, given| Whose::parse(given).map(|whose| config.compute_for = whose),
        show: |config| config.compute_for.show(),
    },
    Setting {
        key: "carry_for",
        help: "whose subscriptions a messenger takes: it then carries what their process sends, without computing it, and lets \
               time pass in it: own (the default), a list of addresses of payers or owners, or anyone",
        set: |config, given| Whose::parse(given).map(|whose| config.carry_for = whose),
        show: |config| config.carry_for.show(),
    },
    Setting {
        key: "spawn_budget",
        help: "how many processes that came unasked this node works for at most",
        set: |config, given| set_u32(&mut config.spawn_budget, given, 0, 1_000_000),
        show: |config| Value::Integer(config.spawn_budget.into()),
    },
    Setting {
        key: "others_gas",
        help: "gas that processes that came unasked may use in an hour, all together; beyond it they wait; or `all`",
        set: set_others_gas,
        show: |config| config.others_gas.map_or_else(|| Value::String("all".into()), number),
    },
    Setting {
        key: "others_memory",
        help: "the largest memory limit of a process that came unasked and is computed, such as 4gb",
        set: |config, given| {
            bytes::parse(given, "64kb", 64 << 10).map(|bytes| config.others_memory_bytes = bytes)
        },
        show: |config| Value::String(bytes::show(config.others_memory_bytes)),
    },
    Setting {
        key: "weave_block_ms",
        help: "milliseconds between two blocks of the embedded weave",
        set: |config, given| set_ms(&mut config.weave_block_ms, given, 50),
        show: |config| number(config.weave_block_ms),
    },
    Setting {
        key: "weave_listen",
        help: "where the embedded weave is read over HTTP as a node of Arweave is, such as by `weft recover`: a port \
               on 127.0.0.1 such as 1984, an address and a port, or off",
        set: |config, given| set_door(&mut config.weave_listen, given),
        show: |config| show_address(config.weave_listen),
    },
    anchoring::ACCEPTS,
    anchoring::BACKEND,
    anchoring::GATEWAYS,
    anchoring::QUORUM,
    anchoring::WEAVE,
    anchoring::WALLET,
    anchoring::BUNDLER,
    anchoring::DAY_LIMIT,
    anchoring::MARGIN,
    anchoring::CONFIRMATIONS,
    anchoring::CHECK_MS,
    anchoring::CHUNKS,
    Setting {
        key: "gateways",
        help: "gateways of the weave that are read for what neither this node nor its peers have, such as \
               https://arweave.net; nothing is posted to them",
        set: set_gateways,
        show: |config| texts(&config.gateways),
    },
    Setting {
        key: "settlement_depth",
        help: "how many blocks must confirm a transaction of the base layer before it is assigned, where the process \
               does not say (`Settlement-Depth`)",
        set: |config, given| set_u64(&mut config.settlement_depth, given, 1, SETTLEMENT_DEPTH_MAX),
        show: |config| number(config.settlement_depth),
    },
    Setting {
        key: "anchor_batch_slots",
        help: "a batch is written when so many slots of a process wait for one; where batches cost money, 10000 unless it \
               is set",
        set: |config, given| set_u32(&mut config.anchor_batch_slots, given, 1, 10_000),
        show: |config| Value::Integer(config.anchor_batch_slots.into()),
    },
    Setting {
        key: "anchor_checkpoints",
        help: "which checkpoints go into batches: off, or boundaries (the newest that a quorum signed, of up to 24 MiB \
               compressed; every 1,024 slots), from which others begin without evaluating what is before",
        set: set_anchor_checkpoints,
        show: |config| Value::String(config.anchor_checkpoints.name().into()),
    },
    Setting {
        key: "anchor_batch_age_ms",
        help: "a batch is written when its oldest slot has waited so many milliseconds; where batches cost money, an hour \
               unless it is set",
        set: |config, given| set_ms(&mut config.anchor_batch_age_ms, given, 50),
        show: |config| number(config.anchor_batch_age_ms),
    },
    Setting {
        key: "messenger_window_ms",
        help: "milliseconds given to the messenger ranked before this one",
        set: |config, given| set_ms(&mut config.messenger_window_ms, given, 50),
        show: |config| number(config.messenger_window_ms),
    },
    Setting {
        key: "price_per_push",
        help: "what the messenger asks for each push, in the smallest unit of the process that settles it; who sends in \
               soft mode pays nothing all the same",
        set: |config, given| set_u64(&mut config.price_per_push, given, 0, PRICE_MAX),
        show: |config| number(config.price_per_push),
    },
    Setting {
        key: "price_per_kib",
        help: "what it asks beside that for each started KiB of a push's data",
        set: |config, given| set_u64(&mut config.price_per_kib, given, 0, PRICE_MAX),
        show: |config| number(config.price_per_kib),
    },
    Setting {
        key: "claim_least",
        help: "the smallest sum that the messenger claims for one window of one process, in the ledger's smallest unit",
        set: |config, given| set_u64(&mut config.pay.claim_least, given, 1, SUM_MAX),
        show: |config| number(config.pay.claim_least),
    },
    Setting {
        key: "audit_challenges",
        help: "how many false claims of others this node challenges in a day, each with a deposit out of its balance at \
               the ledger, half a bond to win; 0 for none",
        set: |config, given| set_u64(&mut config.pay.audit_challenges, given, 0, AUDIT_CHALLENGES_MAX),
        show: |config| number(config.pay.audit_challenges),
    },
    Setting {
        key: "compute_threads",
        help: "threads that evaluate messages; the default is one a core",
        set: set_compute_threads,
        show: |config| number(config.compute_threads as u64),
    },
    Setting {
        key: "evaluate",
        help: "when a newly hosted process is evaluated: eager (as its slots come) or lazy (when somebody asks \
               for an outcome; what this node attests, carries for or keeps time for is evaluated as it comes)",
        set: set_evaluate,
        show: |config| Value::String(if config.evaluate == Evaluate::Lazy { "lazy" } else { "eager" }.into()),
    },
    Setting {
        key: "join",
        help: "how a process comes up whose log is far ahead of what is evaluated here: replay (all of it), checkpoint \
               (from one that its attestors signed, where there is one) or auto (so from 16384 slots on)",
        set: |config, given| Join::parse(given).map(|join| config.join = join),
        show: |config| Value::String(config.join.name().into()),
    },
    Setting {
        key: "memory_budget",
        help: "guest memory kept in live instances, such as 4gb or 512mb; the default is half of the machine's",
        set: |config, given| {
            bytes::parse(given, "16mb", 16 << 20).map(|bytes| config.memory_budget_bytes = bytes)
        },
        show: |config| Value::String(bytes::show(config.memory_budget_bytes)),
    },
    Setting {
        key: "disk_budget",
        help: "disk that the data folder may take, such as 100gb, or none for all but the last of it; near it \
               what may be pruned goes, at it no new work is taken",
        set: |config, given| {
            let bytes = bytes::parse_or_none(given, "64mb", 64 << 20);
            bytes.map(|bytes| config.disk_budget_bytes = bytes)
        },
        show: |config| Value::String(bytes::show_or_none(config.disk_budget_bytes)),
    },
    Setting {
        key: "bandwidth_out",
        help: "bytes sent to peers in a second, such as 1mb, or none for no limit",
        set: |config, given| set_rate(&mut config.bandwidth_out_bytes, given),
        show: |config| Value::String(bytes::show_or_none(config.bandwidth_out_bytes)),
    },
    Setting {
        key: "bandwidth_in",
        help: "bytes taken from peers in a second, such as 4mb, or none for no limit",
        set: |config, given| set_rate(&mut config.bandwidth_in_bytes, given),
        show: |config| Value::String(bytes::show_or_none(config.bandwidth_in_bytes)),
    },
    Setting {
        key: "dry_runs",
        help: "dry runs evaluated at once; the default is one a core",
        set: set_dry_runs,
        show: |config| number(config.dry_runs as u64),
    },
    Setting {
        key: "dry_run_gas",
        help: "gas that one dry run may use; a process's own limit holds where it is lower",
        set: |config, given| set_u64(&mut config.dry_run_gas, given, 1, COMPUTE_LIMIT_MAX),
        show: |config| number(config.dry_run_gas),
    },
    Setting {
        key: "dry_run_ms",
        help: "milliseconds that one dry run may take, the wait for its turn included",
        set: |config, given| {
            set_u64(&mut config.dry_run_ms, given, 1, crate::dry_run::WAIT_MAX.as_millis() as u64)
        },
        show: |config| number(config.dry_run_ms),
    },
    Setting {
        key: "replays",
        help: "replays at once, of `weft state` and `weft verify`; the default is half of the cores",
        set: set_replays,
        show: |config| number(config.replays as u64),
    },
    Setting {
        key: "replay_gas",
        help: "gas that going back to an old state may take",
        set: |config, given| set_u64(&mut config.replay_gas, given, 1, GAS_MAX),
        show: |config| number(config.replay_gas),
    },
    Setting {
        key: "replay_ms",
        help: "milliseconds that going back to an old state may take, the wait for its turn included",
        set: |config, given| {
            set_u64(&mut config.replay_ms, given, 1, crate::replays::WAIT_MAX.as_millis() as u64)
        },
        show: |config| number(config.replay_ms),
    },
    Setting {
        key: "checkpoint_slots",
        help: "a process is written down as a checkpoint after so many slots at the latest",
        set: set_checkpoint_slots,
        show: |config| number(config.checkpoint_slots),
    },
    Setting {
        key: "checkpoints_kept",
        help: "checkpoints kept of a process: the newest, and older ones ever further apart",
        set: set_checkpoints_kept,
        show: |config| number(config.checkpoints_kept as u64),
    },
    Setting {
        key: "metrics",
        help: "where Prometheus finds this node's metrics, such as 127.0.0.1:9464, open to all who reach it; or off",
        set: set_metrics,
        show: |config| show_address(config.metrics),
    },
    Setting {
        key: "gateway",
        help: "where clients of today's ao units (aoconnect, aos) find this node over HTTP: a port on 127.0.0.1 \
               such as 4004, an address and a port, or off",
        set: |config, given| set_door(&mut config.gateway, given),
        show: |config| show_address(config.gateway),
    },
    Setting {
        key: "gateway_cors",
        help: "which pages may use the gateway: off (none), any, or a list of origins such as \
               http://localhost:3000",
        set: set_gateway_cors,
        show: |config| config.gateway_cors.show(),
    },
    Setting {
        key: "gateway_hosts",
        help: "names by which the gateway may be addressed, beside localhost and addresses in figures",
        set: set_gateway_hosts,
        show: |config| texts(&config.gateway_hosts),
    },
    Setting {
        key: "gateway_url",
        help: "the address under which a proxy shows the gateway to others, such as https://node.example, or off: \
               clients are told it, and pages from there are its own",
        set: set_gateway_url,
        show: |config| {
            let url = config.gateway_url.as_ref();
            Value::String(url.map_or_else(|| "off".into(), |shown| shown.url.clone()))
        },
    },
    Setting {
        key: "results_kept",
        help: "newest slots of a process that keep their results, outboxes and attestations; older ones go \
               once they are anchored and a checkpoint covers them; `all` keeps everything",
        set: set_results_kept,
        show: |config| config.results_kept.map_or_else(|| Value::String("all".into()), number),
    },
    Setting {
        key: "clock_offset_ms",
        help: "milliseconds that this node's clock is ahead of the machine's, or behind if negative: for tests \
               of nodes whose clocks differ",
        set: set_clock_offset,
        show: |config| Value::Integer(config.clock_offset_ms),
    },
    Setting {
        key: "log",
        help: "which log lines are written, such as info or warn,weft_node=debug",
        set: set_log,
        show: |config| Value::String(config.log.clone()),
    },
    Setting {
        key: "log_format",
        help: "text or json",
        set: set_log_format,
        show: |config| {
            Value::String(if config.log_format == LogFormat::Json { "json" } else { "text" }.into())
        },
    },
];

pub(super) fn texts<T: ToString>(list: impl IntoIterator<Item = T>) -> Value {
    Value::Array(list.into_iter().map(|text| Value::String(text.to_string())).collect())
}

pub(super) fn number(value: u64) -> Value {
    Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

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
