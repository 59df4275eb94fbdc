//! The file that says which network a data folder is of: its name, its id, and by whom to find it.
//!
//! It is one more source of values, below `weft.toml`: whoever made the network wrote it, and whoever runs
//! the node has the last word. The id stands in it so that a name that was changed by hand is noticed
//! before a node spends its day in an empty network.

use std::path::Path;

use toml::{Table, Value};
use weft_protocol::Network;

use super::{Config, ConfigError, Given, Resolved, Source, cut, read_text};

/// The file's name in the data folder.
pub const NETWORK_FILE_NAME: &str = "network.toml";

/// The keys that it may hold, besides `id`.
const KEYS: [&str; 3] = ["network", "rules", "bootstrap"];

/// Reads such a file, wherever it is; nothing if there is none.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    read_text(path)
}

/// Checks the text of such a file, and gives the network's name.
///
/// # Errors
/// What is wrong with it.
pub fn check(path: &Path, text: &str) -> Result<String, ConfigError> {
    let mut resolved = Resolved {
        config: Config::new(path),
        warnings: Vec::new(),
        sources: std::collections::BTreeMap::new(),
    };
    apply(&mut resolved, path, text)?;
    Ok(resolved.config.network)
}

/// Puts what the file says into the configuration.
pub(super) fn apply(resolved: &mut Resolved, path: &Path, text: &str) -> Result<(), ConfigError> {
    let from = || Source::File(path.into());
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::NotToml {
        path: path.into(),
        reason: cut(error.to_string().trim_end()),
    })?;
    let id = table.remove("id");
    for (key, value) in &table {
        if !KEYS.contains(&key.as_str()) {
            return Err(ConfigError::UnknownKey { from: from(), key: cut(key), nearest: None });
        }
        resolved.set(key, &Given::Toml(value), from())?;
    }
    let bad = |key: &'static str, value: String, expected: String| {
        Err(ConfigError::BadValue { from: from(), key, value: cut(&value), expected })
    };
    if !table.contains_key("network") {
        return bad("network", "absent".into(), "a network's name".into());
    }
    let right = Network::of_name(&resolved.config.network).to_string();
    match id {
        Some(Value::String(id)) if id == right => Ok(()),
        id => {
            let id = id.map_or_else(|| "absent".to_owned(), |id| id.to_string());
            bad("id", id, format!("\"{right}\", that of {}", resolved.config.network))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn error(text: &str) -> String {
        check(Path::new("x.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_changed_name_and_keys_of_others_are_noticed() {
        let id = Network::of_name("team-abcd2345").to_string();
        let good = format!("network = \"team-abcd2345\"\nid = \"{id}\"\nbootstrap = []");
        assert_eq!(check(Path::new("x"), &good).unwrap(), "team-abcd2345");
        let changed = error(&good.replace("abcd2345", "abcd2346"));
        assert!(changed.contains("`id`") && changed.contains("team-abcd2346"), "{changed}");
        assert!(error(&format!("id = \"{id}\"")).contains("a network's name"));
        assert!(error("network = \"team-abcd2345\"").contains("`id` is absent"));
        assert!(error(&format!("{good}\nlisten = []")).contains("unknown key `listen`"));
        assert!(error(&format!("{good}\nrules = 77")).contains("only version"));
        assert!(error("network = ").contains("not valid TOML"));
    }
}
