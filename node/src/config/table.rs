//! The table of keys: whatever a file, the environment or a flag may set, under the headings of `--help`.

mod anchor;
mod computing;
mod disk;
mod duties;
mod http;
mod network;
mod pay;
mod running;
mod weave;

use toml::Value;

use super::Config;
use super::setting::{Setting, Takes};

/// Keys that belong together.
struct Group {
    heading: &'static str,
    settings: &'static [Setting],
}

const GROUPS: &[Group] = &[
    Group { heading: "The network", settings: network::SETTINGS },
    Group { heading: "What to do, and for whom", settings: duties::SETTINGS },
    Group { heading: "Carrying for pay", settings: pay::SETTINGS },
    Group { heading: "Computing", settings: computing::SETTINGS },
    Group { heading: "Disk", settings: disk::SETTINGS },
    Group { heading: "Anchoring", settings: anchor::SETTINGS },
    Group { heading: "The weave", settings: weave::SETTINGS },
    Group { heading: "Over HTTP", settings: http::SETTINGS },
    Group { heading: "Running", settings: running::SETTINGS },
];

/// Every key, in the order in which they are shown.
pub(super) fn settings() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|group| group.settings)
}

/// A key as a flag of the command line.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The key; the flag has `-` for its `_`.
    pub key: &'static str,
    /// The heading that it stands under.
    pub heading: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// One line for people.
    pub help: &'static str,
    show: fn(&Config) -> Value,
}

impl Flag {
    /// Its value in a configuration, as the flag takes it; none where that is nothing at all.
    pub fn value(&self, config: &Config) -> Option<String> {
        let text = match (self.show)(config) {
            Value::String(text) => text,
            Value::Array(list) => {
                let texts =
                    list.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned));
                texts.collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        (!text.is_empty()).then_some(text)
    }
}

/// Every key as a flag.
pub fn flags() -> impl Iterator<Item = Flag> {
    GROUPS.iter().flat_map(|group| {
        let flag = |of: &'static Setting| Flag {
            key: of.key,
            heading: group.heading,
            takes: of.takes,
            help: of.help,
            show: of.show,
        };
        group.settings.iter().map(flag)
    })
}
