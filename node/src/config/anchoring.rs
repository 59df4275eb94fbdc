//! Where batches go, and what that may cost.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError, Resolved};

/// Gateways that may be named: each is asked about each posting.
pub const GATEWAYS_MAX: usize = 8;
/// The main network of Arweave, as its nodes call it.
pub(super) const MAIN_WEAVE: &str = "arweave.N.1";
/// Slots of a batch, and how long it is waited for, where each costs money.
const PAID_SLOTS: u32 = 10_000;
const PAID_AGE_MS: u64 = 3_600_000;
/// What a file's mode lets others than its owner do.
const OTHERS: u32 = 0o077;

/// Who keeps the batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The embedded weave of this node.
    Local,
    /// An Arweave, paid by a wallet.
    Arweave,
    /// A bundler, which brings them to Arweave.
    Bundler,
}

impl Backend {
    pub(super) const ALL: [Self; 3] = [Self::Local, Self::Arweave, Self::Bundler];

    /// Its word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Arweave => "arweave",
            Self::Bundler => "bundler",
        }
    }
}

/// Where batches go, and on which terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchoring {
    /// Who keeps them.
    pub backend: Backend,
    /// Gateways of the weave that they go to.
    pub gateways: Vec<String>,
    /// How many of those must say the same; more than half if none.
    pub quorum: Option<usize>,
    /// The name of that weave, as its gateways say it.
    pub weave: String,
    /// The file of the wallet that pays.
    pub wallet: Option<PathBuf>,
    /// The address of the bundler.
    pub bundler: Option<String>,
    /// What may be signed for in a day, in winston.
    pub day_limit: Option<u64>,
    /// Added to what gateways ask, in percent.
    pub margin_percent: u64,
    /// Blocks under which a block stays, itself included.
    pub confirmations: u64,
    /// How often a posting is asked after.
    pub check_ms: u64,
    /// Chunks of one transaction on their way to one gateway at once.
    pub chunks_at_once: usize,
}

impl Default for Anchoring {
    fn default() -> Self {
        Self {
            backend: Backend::Local,
            gateways: Vec::new(),
            quorum: None,
            weave: MAIN_WEAVE.into(),
            wallet: None,
            bundler: None,
            day_limit: None,
            margin_percent: 10,
            confirmations: 20,
            check_ms: 30_000,
            chunks_at_once: 8,
        }
    }
}

impl Anchoring {
    /// How many gateways must say the same.
    pub fn quorum(&self) -> usize {
        self.quorum.unwrap_or(self.gateways.len() / 2 + 1)
    }
}

/// Looks whether the keys are right together, and sets what costs too much otherwise.
pub(super) fn settle(resolved: &mut Resolved) -> Result<(), ConfigError> {
    let Config { anchor, weave_accepts, weave_listen, .. } = &resolved.config;
    let together =
        |key, value: &str, why: &str| ConfigError::Together { key, value: value.into(), why: why.into() };
    if *weave_accepts && weave_listen.is_none() {
        let why = "nobody can post to a weave that does not listen: set `weave_listen`, for example to 1984";
        return Err(together("weave_accepts", "true", why));
    }
    let backend = anchor.backend;
    let given = [
        ("anchor_wallet", anchor.wallet.is_some(), backend == Backend::Arweave),
        ("anchor_day_limit", anchor.day_limit.is_some(), backend == Backend::Arweave),
        ("anchor_bundler", anchor.bundler.is_some(), backend == Backend::Bundler),
        ("anchor_gateways", !anchor.gateways.is_empty(), backend != Backend::Local),
    ];
    let keys = |is: fn(bool, bool) -> bool| {
        let found = given.iter().filter(|(_, is_set, is_needed)| is(*is_set, *is_needed));
        found.map(|(key, ..)| format!("`{key}`")).collect::<Vec<_>>()
    };
    let (lacks, idle) =
        (keys(|is_set, is_needed| is_needed && !is_set), keys(|is_set, is_needed| is_set && !is_needed));
    let told = |what: &str, keys: &[String], whether: &str| {
        let is_or_are = if keys.len() == 1 { "is" } else { "are" };
        (!keys.is_empty()).then(|| format!("{what} {}, which {is_or_are} {whether}", keys.join(", ")))
    };
    // All of them at once: each costs whoever sets them another start.
    let wrong = [told("it needs", &lacks, "not set"), told("it has no use for", &idle, "set")];
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    if !wrong.is_empty() {
        return Err(together("anchor", backend.name(), &wrong.join(", and ")));
    }
    if anchor.quorum() > anchor.gateways.len() && backend != Backend::Local {
        let why = format!("`anchor_gateways` has {}", anchor.gateways.len());
        return Err(together("anchor_quorum", &anchor.quorum().to_string(), &why));
    }
    resolved.warnings.extend(anchor.wallet.as_deref().and_then(open_to_others));
    if backend != Backend::Local {
        if !resolved.sources.contains_key("anchor_batch_slots") {
            resolved.config.anchor_batch_slots = PAID_SLOTS;
        }
        if !resolved.sources.contains_key("anchor_batch_age_ms") {
            resolved.config.anchor_batch_age_ms = PAID_AGE_MS;
        }
    }
    Ok(())
}

/// Says so where other users can read the file of a wallet. One that is missing is told of by whoever
/// reads it.
fn open_to_others(wallet: &Path) -> Option<String> {
    let mode = std::fs::metadata(wallet).ok()?.permissions().mode() & 0o7777;
    (mode & OTHERS != 0).then(|| {
        let path = wallet.display();
        format!(
            "the wallet {path}, which pays, can be opened by other users (mode {mode:04o}): run \
             `chmod 600 {path}`"
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::Inputs;

    #[test]
    fn a_wallet_that_others_can_read_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let wallet = folder.path().join("wallet.json");
        std::fs::write(&wallet, "{}").unwrap();
        let path = wallet.to_str().unwrap().to_owned();
        let flags = [
            ("anchor", "arweave"),
            ("anchor_wallet", &path),
            ("anchor_day_limit", "5"),
            ("anchor_gateways", "http://127.0.0.1:1"),
        ];
        let flags = flags.map(|(key, value)| (key, value.to_owned())).into();
        let inputs = Inputs { data_dir: Some(folder.path().into()), flags, ..Inputs::default() };
        let warnings = |mode| {
            std::fs::set_permissions(&wallet, std::fs::Permissions::from_mode(mode)).unwrap();
            Resolved::load(&inputs).unwrap().warnings
        };
        assert_eq!(warnings(0o600), Vec::<String>::new());
        for mode in [0o640, 0o604] {
            let told = warnings(mode);
            assert_eq!(told.len(), 1);
            assert!(told[0].contains(&path) && told[0].contains(&format!("mode {mode:04o}")), "{told:?}");
        }
    }
}
