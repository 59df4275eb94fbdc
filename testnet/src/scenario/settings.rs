//! Settings of all peers: keys of `weft.toml`, which each peer is told as flags.

use weft_node::config::{Config, ConfigError};

/// The flag of a key.
pub(super) fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// A value as its flag takes it.
pub(super) fn text(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What is wrong with a setting, if something is.
pub(super) fn objection(key: &str, value: &toml::Value) -> Option<String> {
    match key {
        "roles" => {
            return Some("`roles` are of some peers each: say roles = [\"0-1=...\"] of the scenario".into());
        }
        "listen" | "bootstrap" => {
            return Some(format!("`{key}` is another one for each peer, and not for a scenario to say"));
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
