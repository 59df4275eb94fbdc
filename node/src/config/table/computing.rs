//! What evaluation may take.

use toml::Value;
use weft_protocol::limits::COMPUTE_LIMIT_MAX;

use super::super::choice::set_evaluate;
use super::super::numbers::{set_compute_threads, set_dry_runs, set_replays, set_u64};
use super::super::setting::{GAS_MAX, Setting, Takes, number};
use super::super::{Evaluate, Join, bytes};

/// `Computing`.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "compute_threads",
        takes: Takes::One("NUMBER"),
        help: "threads that evaluate messages; those of them that are idle, and one more at most, check the signatures of long \
               logs ahead; one per core unless set",
        set: set_compute_threads,
        show: |config| number(config.compute_threads as u64),
    },
    Setting {
        key: "evaluate",
        takes: Takes::One("WHEN"),
        help: "when to evaluate a newly hosted process: eager (as its slots arrive) or lazy (when somebody asks for an \
               outcome; what this node attests, carries for or keeps time for is evaluated as it arrives)",
        set: set_evaluate,
        show: |config| Value::String(if config.evaluate == Evaluate::Lazy { "lazy" } else { "eager" }.into()),
    },
    Setting {
        key: "join",
        takes: Takes::One("HOW"),
        help: "how to start on a process whose log is far ahead of what was evaluated here: replay (evaluate all of \
               it), checkpoint (start from one that its attestors signed, if there is one) or auto (that, from 16384 \
               slots on)",
        set: |config, given| Join::parse(given).map(|join| config.join = join),
        show: |config| Value::String(config.join.name().into()),
    },
    Setting {
        key: "memory_budget",
        takes: Takes::One("BYTES"),
        help: "guest memory to keep in live instances, such as 4gb or 512mb; half of the machine's unless set",
        set: |config, given| {
            bytes::parse(given, "16mb", 16 << 20).map(|bytes| config.memory_budget_bytes = bytes)
        },
        show: |config| Value::String(bytes::show(config.memory_budget_bytes)),
    },
    Setting {
        key: "dry_runs",
        takes: Takes::One("NUMBER"),
        help: "dry runs evaluated at once; one per core unless set",
        set: set_dry_runs,
        show: |config| number(config.dry_runs as u64),
    },
    Setting {
        key: "dry_run_gas",
        takes: Takes::One("GAS"),
        help: "gas that one dry run may use; a lower limit of the process applies too",
        set: |config, given| set_u64(&mut config.dry_run_gas, given, 1, COMPUTE_LIMIT_MAX),
        show: |config| number(config.dry_run_gas),
    },
    Setting {
        key: "dry_run_ms",
        takes: Takes::One("MS"),
        help: "milliseconds that one dry run may take, including the wait for its turn",
        set: |config, given| {
            set_u64(&mut config.dry_run_ms, given, 1, crate::dry_run::WAIT_MAX.as_millis() as u64)
        },
        show: |config| number(config.dry_run_ms),
    },
    Setting {
        key: "replays",
        takes: Takes::One("NUMBER"),
        help: "replays at once, for `weft state` and `weft verify`; half of the cores unless set",
        set: set_replays,
        show: |config| number(config.replays as u64),
    },
    Setting {
        key: "replay_gas",
        takes: Takes::One("GAS"),
        help: "gas that going back to an old state may use",
        set: |config, given| set_u64(&mut config.replay_gas, given, 1, GAS_MAX),
        show: |config| number(config.replay_gas),
    },
    Setting {
        key: "replay_ms",
        takes: Takes::One("MS"),
        help: "milliseconds that going back to an old state may take, including the wait for its turn",
        set: |config, given| {
            set_u64(&mut config.replay_ms, given, 1, crate::replays::WAIT_MAX.as_millis() as u64)
        },
        show: |config| number(config.replay_ms),
    },
];
