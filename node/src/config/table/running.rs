//! Logs and clocks.

use toml::Value;

use super::super::LogFormat;
use super::super::logging::{set_log, set_log_format};
use super::super::numbers::set_clock_offset;
use super::super::setting::{Setting, Takes};

/// `Running`.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "log",
        takes: Takes::One("DIRECTIVES"),
        help: "which log lines to write, such as info or warn,weft_node=debug",
        set: set_log,
        show: |config| Value::String(config.log.clone()),
    },
    Setting {
        key: "log_format",
        takes: Takes::One("FORMAT"),
        help: "text or json",
        set: set_log_format,
        show: |config| {
            Value::String(if config.log_format == LogFormat::Json { "json" } else { "text" }.into())
        },
    },
    Setting {
        key: "clock_offset_ms",
        takes: Takes::One("MS"),
        help: "milliseconds by which this node's clock is ahead of the machine's, or behind if negative: for tests of \
               nodes whose clocks differ",
        set: set_clock_offset,
        show: |config| Value::Integer(config.clock_offset_ms),
    },
];
