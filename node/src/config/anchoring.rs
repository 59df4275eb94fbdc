//! Where batches go, and what that may cost.

use std::path::PathBuf;

use reqwest::Url;
use toml::Value;

use super::given::{Expected, Given};
use super::numbers::set_ms;
use super::reach::set_bool;
use super::setting::{Setting, number, texts};
use super::{Config, ConfigError, Resolved};

/// Gateways that may be named: each is asked about each posting.
pub const GATEWAYS_MAX: usize = 8;
/// Chunks on their way at once at most, as nodes bear it.
const CHUNKS_MAX: u64 = 32;
/// Characters of an address, or of a weave's name.
const URL_CHARS_MAX: usize = 512;
const WEAVE_CHARS_MAX: usize = 64;
/// The highest limit: a million AR. More is a typing error.
const WINSTON_MAX: u64 = 1_000_000_000_000_000_000;
/// The main network of Arweave, as its nodes call it.
const MAIN_WEAVE: &str = "arweave.N.1";
/// Slots of a batch, and how long it is waited for, where each costs money.
const PAID_SLOTS: u32 = 10_000;
const PAID_AGE_MS: u64 = 3_600_000;

const URL_EXPECTED: &str = "begins with https:// or http://, such as https://arweave.net";

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
    const ALL: [Self; 3] = [Self::Local, Self::Arweave, Self::Bundler];

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

pub(super) const ACCEPTS: Setting = Setting {
    key: "weave_accepts",
    help: "whether others may post batches to the embedded weave, at `weave_listen`: the nodes of a test network \
           share one so (`anchor = \"arweave\"` there)",
    set: |config, given| set_bool(&mut config.weave_accepts, given),
    show: |config| Value::Boolean(config.weave_accepts),
};

pub(super) const BACKEND: Setting = Setting {
    key: "anchor",
    help: "where batches go: local (the embedded weave: stored here), arweave (transactions that a wallet pays for) or \
           bundler (items for an upload service)",
    set: |config, given| {
        let named = |text| Backend::ALL.into_iter().find(|backend| backend.name() == text);
        config.anchor.backend = given.text().and_then(named).ok_or("`local`, `arweave` or `bundler`")?;
        Ok(())
    },
    show: |config| Value::String(config.anchor.backend.name().into()),
};

pub(super) const GATEWAYS: Setting = Setting {
    key: "anchor_gateways",
    help: "gateways of the weave that batches go to: posted to and asked, each by its address",
    set: set_gateways,
    show: |config| texts(&config.anchor.gateways),
};

pub(super) const QUORUM: Setting = Setting {
    key: "anchor_quorum",
    help: "how many of those must say the same before anything is signed or counts as final; or majority",
    set: |config, given| {
        config.anchor.quorum = match given.text() {
            Some("majority") => None,
            _ => {
                let told = given.number(1, GATEWAYS_MAX as u64);
                let told = told.map_err(|Expected(text)| format!("`majority`, or {text}"))?;
                Some(usize::try_from(told).unwrap_or(1))
            }
        };
        Ok(())
    },
    show: |config| {
        let quorum = config.anchor.quorum;
        quorum.map_or_else(|| Value::String("majority".into()), |told| number(told as u64))
    },
};

pub(super) const WEAVE: Setting = Setting {
    key: "anchor_weave",
    help: "the name of that weave, as its gateways say it in `network` at /info: others are not believed; the \
           embedded weave of a node is weft.NETWORK",
    set: |config, given| {
        let good = |text: &&str| {
            (1..=WEAVE_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let text = given.text().filter(good).filter(|text| !text.starts_with("local:"));
        let expected = || format!("1 to {WEAVE_CHARS_MAX} characters without spaces, such as {MAIN_WEAVE}");
        config.anchor.weave = text.ok_or_else(expected)?.into();
        Ok(())
    },
    show: |config| Value::String(config.anchor.weave.clone()),
};

pub(super) const WALLET: Setting = Setting {
    key: "anchor_wallet",
    help: "the file of the Arweave wallet that pays (a JSON Web Key, RSA 4096), or off",
    set: |config, given| {
        config.anchor.wallet = match given.text().map(str::trim) {
            Some("off") => None,
            Some(text) if !text.is_empty() => Some(text.into()),
            _ => return Err("`off`, or the path of a file".into()),
        };
        Ok(())
    },
    show: |config| {
        let wallet = config.anchor.wallet.as_ref();
        Value::String(wallet.map_or_else(|| "off".into(), |path| path.display().to_string()))
    },
};

pub(super) const BUNDLER: Setting = Setting {
    key: "anchor_bundler",
    help: "the address of the upload service for `anchor = \"bundler\"`, such as https://up.arweave.net, or off",
    set: |config, given| {
        config.anchor.bundler = match given.text().map(str::trim) {
            Some("off") => None,
            Some(text) => {
                let expected = || format!("`off`, or an address that {URL_EXPECTED}");
                Some(address(text).ok_or_else(expected)?)
            }
            None => return Err("`off`, or an address".into()),
        };
        Ok(())
    },
    show: |config| Value::String(config.anchor.bundler.clone().unwrap_or_else(|| "off".into())),
};

pub(super) const DAY_LIMIT: Setting = Setting {
    key: "anchor_day_limit",
    help: "winston that may be signed for in a day (UTC), mined or not; beyond it batches wait; or unset",
    set: |config, given| {
        config.anchor.day_limit = match given.text() {
            Some("unset") => None,
            _ => {
                let told = given.number(0, WINSTON_MAX);
                Some(told.map_err(|Expected(text)| format!("`unset`, or {text}"))?)
            }
        };
        Ok(())
    },
    show: |config| config.anchor.day_limit.map_or_else(|| Value::String("unset".into()), number),
};

pub(super) const MARGIN: Setting = Setting {
    key: "anchor_margin_percent",
    help: "percent that are paid on top of what gateways ask, so that a transaction is taken though prices rise",
    set: |config, given| {
        config.anchor.margin_percent = given.number(0, 1_000)?;
        Ok(())
    },
    show: |config| number(config.anchor.margin_percent),
};

pub(super) const CONFIRMATIONS: Setting = Setting {
    key: "anchor_confirmations",
    help: "blocks after which what they hold is final, their own included; Arweave replaces at most 18",
    set: |config, given| {
        config.anchor.confirmations = given.number(1, 10_000)?;
        Ok(())
    },
    show: |config| number(config.anchor.confirmations),
};

pub(super) const CHECK_MS: Setting = Setting {
    key: "anchor_check_ms",
    help: "milliseconds between two questions to gateways after what is posted",
    set: |config, given| set_ms(&mut config.anchor.check_ms, given, 50),
    show: |config| number(config.anchor.check_ms),
};

pub(super) const CHUNKS: Setting = Setting {
    key: "anchor_chunks_at_once",
    help: "chunks of a transaction on their way to one gateway at once; 1 for those that need them in order",
    set: |config, given| {
        config.anchor.chunks_at_once = usize::try_from(given.number(1, CHUNKS_MAX)?).unwrap_or(1);
        Ok(())
    },
    show: |config| number(config.anchor.chunks_at_once as u64),
};

/// An address of a place and nothing more.
fn address(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('/');
    let url = Url::parse(text).ok().filter(|_| text.len() <= URL_CHARS_MAX)?;
    let is_plain = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
    let is_good = matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain;
    is_good.then(|| text.to_owned())
}

fn set_gateways(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    let list = given.list().filter(|list| list.len() <= GATEWAYS_MAX);
    let expected = || format!("a list of at most {GATEWAYS_MAX} addresses, each of which {URL_EXPECTED}");
    let addresses: Option<Vec<String>> =
        list.and_then(|list| list.into_iter().map(address).collect::<Option<_>>());
    let addresses = addresses.ok_or_else(expected)?;
    let mut sorted = addresses.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() < addresses.len() {
        return Err("different addresses: one that is named twice would count twice".into());
    }
    config.anchor.gateways = addresses;
    Ok(())
}

/// Looks whether the keys are right together, and sets what costs too much otherwise.
pub(super) fn settle(resolved: &mut Resolved) -> Result<(), ConfigError> {
    let Config { anchor, weave_accepts, weave_listen, .. } = &resolved.config;
    let together =
        |key, value: &str, why: &str| ConfigError::Together { key, value: value.into(), why: why.into() };
    if *weave_accepts && weave_listen.is_none() {
        let why = "nobody can post to a weave that does not listen: set `weave_listen`, such as 1984";
        return Err(together("weave_accepts", "true", why));
    }
    let backend = anchor.backend;
    let given = [
        ("anchor_wallet", anchor.wallet.is_some(), backend == Backend::Arweave),
        ("anchor_day_limit", anchor.day_limit.is_some(), backend == Backend::Arweave),
        ("anchor_bundler", anchor.bundler.is_some(), backend == Backend::Bundler),
        ("anchor_gateways", !anchor.gateways.is_empty(), backend != Backend::Local),
    ];
    for (key, is_set, is_needed) in given {
        if is_needed && !is_set {
            return Err(together("anchor", backend.name(), &format!("it needs `{key}`, which is not set")));
        }
        if is_set && !is_needed {
            let why = format!("it has no use for `{key}`, which is set");
            return Err(together("anchor", backend.name(), &why));
        }
    }
    if anchor.quorum() > anchor.gateways.len() && backend != Backend::Local {
        let why = format!("`anchor_gateways` has {}", anchor.gateways.len());
        return Err(together("anchor_quorum", &anchor.quorum().to_string(), &why));
    }
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
