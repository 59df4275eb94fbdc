//! Profiles: what a kind of machine sets where nobody says otherwise.

use std::num::NonZeroUsize;

use super::given::{Expected, Given};
use super::{Config, memory};

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// One that others cannot dial: development and tests.
    Local,
    /// A computer at home, whose line and cores its people use too.
    Home,
    /// One that does little else.
    Server,
}

/// All addresses of the machine, by TCP and QUIC.
const EVERYWHERE: &str = "/ip4/0.0.0.0/tcp/4904,/ip4/0.0.0.0/udp/4904/quic-v1";
/// Cores that count: as many threads as may be set.
const THREADS_MAX: usize = 256;
/// Gas that one core uses in an hour, about.
const CORE_HOUR_GAS: u64 = 3_600_000_000_000_000;

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Local, Self::Home, Self::Server];

    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Home => "home",
            Self::Server => "server",
        }
    }

    pub(super) fn parse(given: &Given<'_>) -> Result<Self, Expected> {
        let named = |text| Self::ALL.into_iter().find(|profile| profile.name() == text);
        given.text().and_then(named).ok_or_else(|| "`local`, `home` or `server`".into())
    }

    /// What it sets, by key.
    pub(super) fn values(self) -> Vec<(&'static str, String)> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let owned = |pairs: &[(&'static str, &str)]| {
            pairs.iter().map(|(key, value)| (*key, (*value).to_owned())).collect::<Vec<_>>()
        };
        match self {
            Self::Local => Vec::new(),
            Self::Home => {
                let mut values = owned(&[
                    ("listen", EVERYWHERE),
                    ("mdns", "true"),
                    ("upnp", "true"),
                    ("relay", "false"),
                    ("topics", "256"),
                    ("spawn_budget", "100"),
                    ("others_memory", "1gb"),
                    ("others_messages", "256mb"),
                    ("join", "auto"),
                    ("disk_budget", "20gb"),
                    ("bandwidth_out", "1mb"),
                    ("bandwidth_in", "4mb"),
                ]);
                values.extend([
                    ("others_gas", (CORE_HOUR_GAS / 10).to_string()),
                    ("others_dry_run_gas", (CORE_HOUR_GAS / 20).to_string()),
                    ("compute_threads", cores.div_ceil(2).min(THREADS_MAX).to_string()),
                    ("memory_budget", (memory::budget() / 2).to_string()),
                ]);
                values
            }
            Self::Server => {
                let mut values = owned(&[
                    ("listen", EVERYWHERE),
                    ("spawn_budget", "10000"),
                    ("join", "auto"),
                    // It is made for strangers, whose logs no budget drops.
                    ("disk_budget", "100gb"),
                ]);
                let cores_gas = CORE_HOUR_GAS * cores.min(THREADS_MAX) as u64;
                values.push(("others_gas", (cores_gas / 2).to_string()));
                values.push(("others_dry_run_gas", (cores_gas / 4).to_string()));
                values
            }
        }
    }
}

pub(super) fn set_profile(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    Profile::parse(given).map(|profile| config.profile = profile)
}
