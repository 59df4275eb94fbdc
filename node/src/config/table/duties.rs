//! Which roles a node has, and for whose processes.

use toml::Value;

use super::super::numbers::{set_hour_gas, set_u32};
use super::super::role::set_roles;
use super::super::setting::{Setting, Takes, number, texts};
use super::super::{Whose, bytes};

/// `What to do, and for whom`.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "roles",
        takes: Takes::One("LIST"),
        help: "what this node does: scheduler, compute, messenger, anchor",
        set: set_roles,
        show: |config| texts(config.roles.iter().map(|role| role.name())),
    },
    Setting {
        key: "schedule_for",
        takes: Takes::One("WHOSE"),
        help: "whose new processes to schedule: own (this node's key, so that nobody fills this disk unasked), a list \
               of addresses, or anyone (test networks)",
        set: |config, given| Whose::parse(given).map(|whose| config.schedule_for = whose),
        show: |config| config.schedule_for.show(),
    },
    Setting {
        key: "compute_for",
        takes: Takes::One("WHOSE"),
        help: "of the processes that arrive unasked (scheduled here for others, or spawned by processes that this node \
               carries for), whose to compute: own, a list of addresses, or anyone",
        set: |config, given| Whose::parse(given).map(|whose| config.compute_for = whose),
        show: |config| config.compute_for.show(),
    },
    Setting {
        key: "carry_for",
        takes: Takes::One("WHOSE"),
        help: "whose subscriptions a messenger accepts, to carry what a process sends without computing it and to run \
               its crons: own, a list of addresses of payers or owners, or anyone",
        set: |config, given| Whose::parse(given).map(|whose| config.carry_for = whose),
        show: |config| config.carry_for.show(),
    },
    Setting {
        key: "spawn_budget",
        takes: Takes::One("NUMBER"),
        help: "how many processes that arrived unasked to work for at most",
        set: |config, given| set_u32(&mut config.spawn_budget, given, 0, 1_000_000),
        show: |config| Value::Integer(config.spawn_budget.into()),
    },
    Setting {
        key: "others_gas",
        takes: Takes::One("GAS"),
        help: "gas per hour for all processes that arrived unasked, together; beyond it they wait; or `all`",
        set: |config, given| set_hour_gas(&mut config.others_gas, given),
        show: |config| config.others_gas.map_or_else(|| Value::String("all".into()), number),
    },
    Setting {
        key: "others_dry_run_gas",
        takes: Takes::One("GAS"),
        help: "gas per hour for all dry runs that other nodes ask for, together; beyond it they are told when to come back; \
               0 for no such runs, or `all`",
        set: |config, given| set_hour_gas(&mut config.others_dry_run_gas, given),
        show: |config| config.others_dry_run_gas.map_or_else(|| Value::String("all".into()), number),
    },
    Setting {
        key: "others_memory",
        takes: Takes::One("BYTES"),
        help: "the largest memory limit of a process that arrived unasked and is computed, such as 4gb",
        set: |config, given| {
            bytes::parse(given, "64kb", 64 << 10).map(|bytes| config.others_memory_bytes = bytes)
        },
        show: |config| Value::String(bytes::show(config.others_memory_bytes)),
    },
    Setting {
        key: "others_logs",
        takes: Takes::One("BYTES"),
        help: "disk space for logs that this node reads from `gateways` at strangers' request, such as 1gb; what \
               a log took is not given back when it is forgotten, and one log takes at most a sixteenth",
        set: |config, given| {
            bytes::parse(given, "1mb", 1 << 20).map(|bytes| config.others_logs_bytes = bytes)
        },
        show: |config| Value::String(bytes::show(config.others_logs_bytes)),
    },
    Setting {
        key: "others_messages",
        takes: Takes::One("BYTES"),
        help: "how much strangers' messages may add per hour to each log that is written here, such as 4gb, or none \
               for no limit; beyond it their senders are told when to come back",
        set: |config, given| {
            let bytes = bytes::parse_or_none(given, "16mb", 16 << 20);
            bytes.map(|bytes| config.others_messages_bytes = bytes)
        },
        show: |config| Value::String(bytes::show_or_none(config.others_messages_bytes)),
    },
];
