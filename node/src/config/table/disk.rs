//! What is kept.

use toml::Value;

use super::super::bytes;
use super::super::numbers::{set_checkpoint_slots, set_checkpoints_kept, set_results_kept};
use super::super::setting::{Setting, Takes, number};

/// `Disk`.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "disk_budget",
        takes: Takes::One("BYTES"),
        help: "disk space for the data folder, such as 100gb, or none for all but the last of the disk; near the limit \
               whatever may be pruned is, and at the limit no new work is taken",
        set: |config, given| {
            let bytes = bytes::parse_or_none(given, "64mb", 64 << 20);
            bytes.map(|bytes| config.disk_budget_bytes = bytes)
        },
        show: |config| Value::String(bytes::show_or_none(config.disk_budget_bytes)),
    },
    Setting {
        key: "checkpoint_slots",
        takes: Takes::One("NUMBER"),
        help: "take a checkpoint of a process after this many slots at the latest",
        set: set_checkpoint_slots,
        show: |config| number(config.checkpoint_slots),
    },
    Setting {
        key: "checkpoints_kept",
        takes: Takes::One("NUMBER"),
        help: "how many checkpoints of a process to keep: the newest, and older ones further and further apart",
        set: set_checkpoints_kept,
        show: |config| number(config.checkpoints_kept as u64),
    },
    Setting {
        key: "results_kept",
        takes: Takes::One("NUMBER"),
        help: "how many of a process's newest slots keep their results, outboxes and attestations; older ones go once \
               they are anchored and a checkpoint covers them; `all` keeps everything",
        set: set_results_kept,
        show: |config| config.results_kept.map_or_else(|| Value::String("all".into()), number),
    },
];
