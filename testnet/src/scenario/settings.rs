//! Settings of all peers: keys of `weft.toml`, which each peer is told as flags.

use weft_node::config::{Config, ConfigError};

/// The flag of a key.
pub(super) fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// A value as its flag takes it.
pub(super) fn text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}

/// What is wrong with a setting, if something is.
pub(super) fn objection(key: &str, value: &toml::Value, has_lanes: bool) -> Option<String> {
    match key {
        "log" if !has_errors(&text(value)) => {
            return Some(
                "`log` leaves out errors, and every run looks for errors: begin it with info or warn".into(),
            );
        }
        "log_format" => {
            return Some(
                "`log_format` cannot be changed: every run looks for errors in the nodes' logs".into(),
            );
        }
        "gateway" | "metrics" | "weave_listen" if !has_lanes && has_port(&text(value)) => {
            return Some(format!("`{key}` would be one address for all peers: give it port 0, or set netns"));
        }
        "roles" => {
            return Some("`roles` differ by peer: use the scenario's roles = [\"0-1=...\"]".into());
        }
        "listen" | "bootstrap" => {
            return Some(format!("`{key}` differs for each peer, so a scenario cannot set it"));
        }
        _ => {}
    }
    match Config::check_flag(key, &text(value)) {
        Ok(()) => None,
        Err(ConfigError::UnknownKey { key, nearest, .. }) => {
            let meant = nearest.map(|key| format!("; did you mean `{key}`?")).unwrap_or_default();
            Some(format!("no key of weft.toml is called `{key}`{meant}"))
        }
        Err(ConfigError::BadValue { key, value, expected, .. }) => {
            Some(format!("`{key}` is {value}; expected {expected}"))
        }
        Err(error) => Some(error.to_string()),
    }
}

/// Whether errors of all parts are logged.
fn has_errors(log: &str) -> bool {
    let directives: Vec<&str> = log.split(',').map(str::trim).collect();
    let is_level = |directive: &&str| ["error", "warn", "info", "debug", "trace"].contains(directive);
    directives.iter().any(is_level) && !directives.iter().any(|directive| directive.ends_with("off"))
}

/// Whether an address, or a port alone, can be taken by one node of a machine only.
fn has_port(text: &str) -> bool {
    let port = text.rsplit(':').next().unwrap_or_default();
    port.parse::<u16>().is_ok_and(|port| port > 0)
}
