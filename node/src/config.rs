//! A node's configuration: defaults < its profile < `network.toml`, then `weft.toml`, in the data folder < `WEFT_*` environment <
//! flags of `weft up`. The source of every value is remembered, and an error names the source, the key, the value and
//! what was expected. An unknown key of a file is an error, and so is a `WEFT_*` variable that is a known key but for one
//! slip of the fingers; others are a warning, as programs beside may have some: a cluster sets `WEFT_SERVICE_HOST` by itself.

mod anchoring;
mod bytes;
mod choice;
mod doors;
mod error;
mod given;
mod logging;
pub(crate) mod memory;
pub mod network_file;
mod numbers;
mod pay;
mod profile;
mod reach;
mod role;
mod setting;
mod source;
mod table;
mod whose;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use weft_protocol::id::Network;
pub use weft_protocol::process::RULES;

pub use anchoring::{Anchoring, Backend};
pub use choice::{AnchorCheckpoints, Evaluate, Join, LogFormat};
pub use doors::{Origins, PublicUrl};
pub use error::ConfigError;
use given::{Expected, Given};
pub use network_file::NETWORK_FILE_NAME;
pub use pay::Pay;
pub use profile::Profile;
pub use reach::Reachable;
pub use setting::Takes;
pub use source::Source;
use source::read_text;
pub use table::{Flag, flags};

/// The file's name in the data folder.
pub const FILE_NAME: &str = "weft.toml";

/// Characters of a key or of a parser's words that an error repeats.
const REPEATED_CHARS_MAX: usize = 400;
/// What starts the name of every environment variable that is read.
const ENV_PREFIX: &str = "WEFT_";
/// The variable that names the data folder.
pub const DATA_DIR_ENV: &str = "WEFT_DATA_DIR";

pub use role::Role;
pub use whose::Whose;

/// Everything a node is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The folder that holds the key, the store, the caches and the control socket.
    pub data_dir: PathBuf,
    /// The network's name; peers of another name never talk to each other.
    pub network: String,
    /// The version of the rules.
    pub rules: u32,
    /// What kind of machine it runs on.
    pub profile: Profile,
    /// Multiaddresses to listen on.
    pub listen: Vec<String>,
    /// Multiaddresses, each with `/p2p/`, of peers to find the network by.
    pub bootstrap: Vec<String>,
    /// Whether peers can dial this node.
    pub reachable: Reachable,
    /// Whether peers are looked for on the local network.
    pub mdns: bool,
    /// Whether the router is asked for a way in.
    pub upnp: bool,
    /// Whether this node relays for those that cannot be dialled.
    pub relay: bool,
    /// Process topics that this node is on at most.
    pub topics: usize,
    /// What this node does.
    pub roles: BTreeSet<Role>,
    /// Whose new processes it schedules (RULES.md 6.10).
    pub schedule_for: Whose,
    /// Whose processes it computes of those that come unasked.
    pub compute_for: Whose,
    /// Whose subscriptions it takes.
    pub carry_for: Whose,
    /// How many processes that came unasked it works for at most.
    pub spawn_budget: u32,
    /// Gas that all of those may use in an hour; none when there is no limit.
    pub others_gas: Option<u64>,
    /// Gas that dry runs for peers may use in an hour; none when there is no limit.
    pub others_dry_run_gas: Option<u64>,
    /// The largest `Memory-Limit` of one of those that is computed.
    pub others_memory_bytes: u64,
    /// What the logs may take, in bytes, that are read from a weave because strangers ask for them.
    pub others_logs_bytes: u64,
    /// What the messages of others than its owner may add in an hour to each log that is written here; `u64::MAX` for any.
    pub others_messages_bytes: u64,
    /// The time between two blocks of the embedded weave.
    pub weave_block_ms: u64,
    /// Where that weave is read over HTTP, if it is.
    pub weave_listen: Option<SocketAddr>,
    /// Whether others may post to it there.
    pub weave_accepts: bool,
    /// Where batches go, and on which terms.
    pub anchor: Anchoring,
    /// Gateways of the weave that are read.
    pub gateways: Vec<String>,
    /// Blocks that confirm a transaction of the base layer before it is assigned.
    pub settlement_depth: u64,
    /// A batch is written when so many slots wait for one.
    pub anchor_batch_slots: u32,
    /// Which checkpoints go into batches.
    pub anchor_checkpoints: AnchorCheckpoints,
    /// A batch is written when its oldest slot has waited so long.
    pub anchor_batch_age_ms: u64,
    /// How long the messenger ranked before this one is given for a push.
    pub messenger_window_ms: u64,
    /// What the messenger asks for each push, in the smallest unit of the process that settles it.
    pub price_per_push: u64,
    /// What it asks for each started KiB of a push's data.
    pub price_per_kib: u64,
    /// What it claims of that, and which claims of others it doubts.
    pub pay: Pay,
    /// Threads that evaluate messages.
    pub compute_threads: usize,
    /// When the slots of a newly hosted process are evaluated.
    pub evaluate: Evaluate,
    /// How a process comes up whose log is far ahead.
    pub join: Join,
    /// Guest memory kept in live instances.
    pub memory_budget_bytes: u64,
    /// Disk that the data folder may take; `u64::MAX` for all of it.
    pub disk_budget_bytes: u64,
    /// Bytes that go to peers in a second; `u64::MAX` for as many as the line takes.
    pub bandwidth_out_bytes: u64,
    /// Bytes that are taken from them.
    pub bandwidth_in_bytes: u64,
    /// Dry runs evaluated at once.
    pub dry_runs: usize,
    /// Gas that one dry run may use.
    pub dry_run_gas: u64,
    /// How long one dry run may take, the wait for its turn included.
    pub dry_run_ms: u64,
    /// Replays at once: states of old, and checks of logs.
    pub replays: usize,
    /// Gas that going back to an old state may take.
    pub replay_gas: u64,
    /// How long that may take, the wait for its turn included.
    pub replay_ms: u64,
    /// A process is written down as a checkpoint after so many slots at the latest.
    pub checkpoint_slots: u64,
    /// Checkpoints kept of a process: the newest, and older ones ever further apart.
    pub checkpoints_kept: usize,
    /// Where metrics are served for Prometheus, if they are.
    pub metrics: Option<SocketAddr>,
    /// Where HTTP clients of today's ao units are served, if they are.
    pub gateway: Option<SocketAddr>,
    /// Which pages of other origins may use it.
    pub gateway_cors: Origins,
    /// Names by which it may be addressed, beside `localhost` and addresses in figures.
    pub gateway_hosts: Vec<String>,
    /// The address under which a proxy shows it to others, if one does.
    pub gateway_url: Option<PublicUrl>,
    /// Newest slots of a process that keep their results; none when all do.
    pub results_kept: Option<u64>,
    /// Milliseconds that its clock is ahead of the machine's.
    pub clock_offset_ms: i64,
    /// Which log lines are written, as `tracing` directives.
    pub log: String,
    /// How they are written.
    pub log_format: LogFormat,
    /// Who compiles modules; nobody else than this process where a program embeds the node. Not a setting.
    pub compiler: Option<weft_vm::Compiler>,
}

impl Config {
    /// The defaults for a node that lives in this folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            network: "local".into(),
            rules: RULES,
            profile: Profile::Local,
            listen: vec!["/ip4/127.0.0.1/tcp/4904".into()],
            bootstrap: Vec::new(),
            reachable: Reachable::Auto,
            mdns: false,
            upnp: false,
            relay: true,
            topics: weft_net::limits::TOPICS_JOINED_MAX,
            roles: Role::ALL.into(),
            schedule_for: Whose::Own,
            compute_for: Whose::Anyone,
            carry_for: Whose::Own,
            spawn_budget: 1000,
            // About half of one core's time.
            others_gas: Some(1_800_000_000_000_000),
            others_dry_run_gas: Some(900_000_000_000_000),
            // Four times what a process has that does not say.
            others_memory_bytes: 4 << 30,
            others_logs_bytes: 1 << 30,
            others_messages_bytes: 4 << 30,
            weave_block_ms: 2000,
            weave_listen: None,
            weave_accepts: false,
            anchor: Anchoring::default(),
            gateways: Vec::new(),
            settlement_depth: 20,
            anchor_batch_slots: 100,
            // On the same disk it would be a second copy of what anybody computes again from the log.
            anchor_checkpoints: AnchorCheckpoints::Off,
            anchor_batch_age_ms: 10_000,
            messenger_window_ms: 2000,
            price_per_push: 0,
            price_per_kib: 0,
            pay: Pay::default(),
            compute_threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            dry_runs: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            // About a second of a guest's time, and a hundred times what aos takes to boot.
            dry_run_gas: 1_000_000_000_000,
            dry_run_ms: 10_000,
            // Beside guests that somebody waits for: half of the cores.
            replays: std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)),
            // Ten minutes of a guest's time, and the time for them: a log of a million messages is
            // gone back in by a half at most.
            replay_gas: 600_000_000_000_000,
            replay_ms: 900_000,
            evaluate: Evaluate::Eager,
            join: Join::Replay,
            memory_budget_bytes: memory::budget(),
            disk_budget_bytes: u64::MAX,
            bandwidth_out_bytes: u64::MAX,
            bandwidth_in_bytes: u64::MAX,
            checkpoint_slots: 1024,
            checkpoints_kept: 12,
            metrics: None,
            gateway: None,
            gateway_cors: Origins::Off,
            gateway_hosts: Vec::new(),
            gateway_url: None,
            results_kept: None,
            clock_offset_ms: 0,
            log: "info".into(),
            log_format: LogFormat::Text,
            compiler: None,
        }
    }

    /// The number that stands for the network in hashes.
    pub fn network(&self) -> Network {
        Network::of_name(&self.network)
    }

    /// Looks whether the flag of this key may have this value.
    ///
    /// # Errors
    /// [`ConfigError::UnknownKey`] or [`ConfigError::BadValue`].
    pub fn check_flag(key: &str, text: &str) -> Result<(), ConfigError> {
        let (config, sources) = (Self::new(PathBuf::new()), BTreeMap::new());
        let mut unset = Resolved { config, warnings: Vec::new(), sources };
        unset.set(key, &Given::Text(text), Source::Flag(key.replace('_', "-")))
    }

    /// The text of a `weft.toml` that gives this configuration.
    pub fn to_toml(&self) -> String {
        let table: toml::Table =
            table::settings().map(|setting| (setting.key.to_owned(), (setting.show)(self))).collect();
        table.to_string()
    }
}

/// The process environment and flags, given so that tests can give others.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// The environment; names that are not UTF-8 are nobody's.
    pub env: BTreeMap<String, OsString>,
    /// The flags that set a key, by key.
    pub flags: BTreeMap<&'static str, String>,
}

impl Inputs {
    /// Takes the process's environment.
    pub fn from_process(data_dir: Option<PathBuf>) -> Self {
        let env = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self { data_dir, env: env.collect(), flags: BTreeMap::new() }
    }

    /// The data folder, made absolute, and what named it.
    ///
    /// # Errors
    /// [`ConfigError::NoDataDir`].
    pub fn data_dir(&self) -> Result<(PathBuf, Source), ConfigError> {
        let env = |name: &str| self.env.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let (path, source) = if let Some(path) = &self.data_dir {
            (path.clone(), Source::Flag("data-dir".into()))
        } else if let Some(path) = env(DATA_DIR_ENV) {
            (path, Source::Env(DATA_DIR_ENV.into()))
        } else if let Some(path) = env("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
            (path.join("weft"), Source::Default)
        } else if let Some(home) = env("HOME") {
            (home.join(".local/share/weft"), Source::Default)
        } else {
            return Err(ConfigError::NoDataDir);
        };
        Ok((std::path::absolute(&path).unwrap_or(path), source))
    }
}

/// One value with its source, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The key.
    pub key: &'static str,
    /// The value as it would stand in the file.
    pub value: toml::Value,
    /// Where it came from.
    pub source: Source,
    /// What it means.
    pub help: &'static str,
}

/// A configuration that knows where each of its values came from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The values.
    pub config: Config,
    /// What is odd but stops nothing: `WEFT_*` variables that no key reads.
    pub warnings: Vec<String>,
    sources: BTreeMap<&'static str, Source>,
}

impl Resolved {
    /// Reads every source.
    ///
    /// # Errors
    /// The first thing that is wrong, by source, key and value.
    pub fn load(inputs: &Inputs) -> Result<Self, ConfigError> {
        let (data_dir, from) = inputs.data_dir()?;
        let mut resolved = Self {
            config: Config::new(&data_dir),
            warnings: Vec::new(),
            sources: BTreeMap::from([("data_dir", from)]),
        };
        let network = data_dir.join(NETWORK_FILE_NAME);
        if let Some(text) = read_text(&network)? {
            network_file::apply(&mut resolved, &network, &text)?;
        }
        resolved.read_file(&data_dir.join(FILE_NAME))?;
        resolved.read_env(&inputs.env)?;
        for (key, text) in &inputs.flags {
            resolved.set(key, &Given::Text(text), Source::Flag(key.replace('_', "-")))?;
        }
        resolved.apply_profile()?;
        anchoring::settle(&mut resolved)?;
        Ok(resolved)
    }

    /// Where the value of a key came from.
    pub fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }

    /// Every value with its source, the data folder first.
    pub fn shown(&self) -> Vec<Shown> {
        let data_dir = Shown {
            key: "data_dir",
            value: toml::Value::String(self.config.data_dir.display().to_string()),
            source: self.source("data_dir"),
            help: "the folder of the key, the store, the caches and the control socket",
        };
        let rest = table::settings().map(|setting| Shown {
            key: setting.key,
            value: (setting.show)(&self.config),
            source: self.source(setting.key),
            help: setting.help,
        });
        std::iter::once(data_dir).chain(rest).collect()
    }

    /// Sets what the profile sets and nobody else did.
    fn apply_profile(&mut self) -> Result<(), ConfigError> {
        let profile = self.config.profile;
        for (key, text) in profile.values() {
            if !self.sources.contains_key(key) {
                self.set(key, &Given::Text(&text), Source::Profile(profile.name()))?;
            }
        }
        Ok(())
    }

    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let Some(text) = read_text(path)? else { return Ok(()) };
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::NotToml {
            path: path.into(),
            reason: cut(error.to_string().trim_end()),
        })?;
        for (key, value) in &table {
            self.set(key, &Given::Toml(value), Source::File(path.into()))?;
        }
        Ok(())
    }

    fn read_env(&mut self, env: &BTreeMap<String, OsString>) -> Result<(), ConfigError> {
        let ours = env.iter().filter_map(|(name, value)| Some((name, name.strip_prefix(ENV_PREFIX)?, value)));
        for (name, key, value) in ours.filter(|(name, ..)| *name != DATA_DIR_ENV) {
            let (key, from) = (key.to_ascii_lowercase(), Source::Env(name.clone()));
            let known = table::settings().find(|setting| setting.key == key);
            if let (Some(setting), None) = (known, value.to_str()) {
                let (key, value) = (setting.key, cut(&format!("{value:?}")));
                return Err(ConfigError::BadValue { from, key, value, expected: "text in UTF-8".into() });
            }
            match self.set(&key, &Given::Text(&value.to_string_lossy()), from) {
                Err(ConfigError::UnknownKey { from, key, nearest }) => {
                    if let Some(known) = slip_of(&key) {
                        return Err(ConfigError::UnknownKey { from, key, nearest: Some(known.to_owned()) });
                    }
                    // Other programs may use the prefix, so this one is told and not refused.
                    let hint =
                        nearest.map(|key| format!("; did you mean {ENV_PREFIX}{}?", key.to_uppercase()));
                    let hint = hint.unwrap_or_default();
                    self.warnings.push(format!("environment variable {name} sets no known key{hint}"));
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, given: &Given<'_>, from: Source) -> Result<(), ConfigError> {
        let Some(setting) = table::settings().find(|setting| setting.key == key) else {
            return Err(match from {
                Source::File(_) if key == "data_dir" => ConfigError::DataDirInFile { from },
                from => ConfigError::UnknownKey { from, key: cut(key), nearest: nearest(key) },
            });
        };
        (setting.set)(&mut self.config, given).map_err(|Expected(expected)| ConfigError::BadValue {
            from: from.clone(),
            key: setting.key,
            value: given.to_string(),
            expected,
        })?;
        self.sources.insert(setting.key, from);
        Ok(())
    }
}

/// The beginning of a text that may be very long.
fn cut(text: &str) -> String {
    text.chars().take(REPEATED_CHARS_MAX).collect()
}

/// The known key that this one is but for a single slip: a character too much, too few, another, or two that changed places.
fn slip_of(key: &str) -> Option<&'static str> {
    std::iter::once("data_dir")
        .chain(table::settings().map(|setting| setting.key))
        .filter(|known| strsim::damerau_levenshtein(key, known) <= 1)
        .max_by(|a, b| strsim::jaro_winkler(key, a).total_cmp(&strsim::jaro_winkler(key, b)))
}

/// The known key that is most like this one, if any is near.
fn nearest(key: &str) -> Option<String> {
    const NEAR: f64 = 0.75;
    let near = |known: &str| strsim::jaro_winkler(&key.to_ascii_lowercase(), known);
    table::settings()
        .map(|setting| (near(setting.key), setting.key))
        .filter(|(score, _)| *score >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key.to_owned())
}

#[cfg(test)]
mod tests;
