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
        help: "disk that the data folder may take, such as 100gb, or none for all but the last of it; near it \
               what may be pruned goes, at it no new work is taken",
        set: |config, given| {
            let bytes = bytes::parse_or_none(given, "64mb", 64 << 20);
            bytes.map(|bytes| config.disk_budget_bytes = bytes)
        },
        show: |config| Value::String(bytes::show_or_none(config.disk_budget_bytes)),
    },
    Setting {
        key: "checkpoint_slots",
        takes: Takes::One("NUMBER"),
        help: "a process is written down as a checkpoint after so many slots at the latest",
        set: set_checkpoint_slots,
        show: |config| number(config.checkpoint_slots),
    },
    Setting {
        key: "checkpoints_kept",
        takes: Takes::One("NUMBER"),
        help: "checkpoints kept of a process: the newest, and older ones ever further apart",
        set: set_checkpoints_kept,
        show: |config| number(config.checkpoints_kept as u64),
    },
    Setting {
        key: "results_kept",
        takes: Takes::One("NUMBER"),
        help: "newest slots of a process that keep their results, outboxes and attestations; older ones go \
               once they are anchored and a checkpoint covers them; `all` keeps everything",
        set: set_results_kept,
        show: |config| config.results_kept.map_or_else(|| Value::String("all".into()), number),
    },
];
