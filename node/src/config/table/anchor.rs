//! Where batches go, when, and at what cost.

use reqwest::Url;
use toml::Value;
use weft_protocol::placed::{WEAVE_CHARS_MAX, is_weave_name};

use super::super::Config;
use super::super::anchoring::{Backend, GATEWAYS_MAX, MAIN_WEAVE};
use super::super::choice::set_anchor_checkpoints;
use super::super::given::{Expected, Given};
use super::super::numbers::{set_ms, set_u32};
use super::super::setting::{Setting, Takes, number, texts};

/// Chunks on their way at once at most, as nodes bear it.
const CHUNKS_MAX: u64 = 32;
/// Characters of an address.
const URL_CHARS_MAX: usize = 512;
/// The highest limit: a million AR. More is a typing error.
const WINSTON_MAX: u64 = 1_000_000_000_000_000_000;

const URL_EXPECTED: &str = "begins with https:// or http://, such as https://arweave.net";

/// `Anchoring`.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "anchor",
        takes: Takes::One("WHERE"),
        help: "where batches go: local (the embedded weave: stored here only), arweave (in transactions that a wallet \
               pays for) or bundler (as items, to an upload service)",
        set: |config, given| {
            let named = |text| Backend::ALL.into_iter().find(|backend| backend.name() == text);
            config.anchor.backend = given.text().and_then(named).ok_or("`local`, `arweave` or `bundler`")?;
            Ok(())
        },
        show: |config| Value::String(config.anchor.backend.name().into()),
    },
    Setting {
        key: "anchor_gateways",
        takes: Takes::Many("URL"),
        help: "gateways to post batches to and to check them at, each by its address",
        set: set_gateways,
        show: |config| texts(&config.anchor.gateways),
    },
    Setting {
        key: "anchor_quorum",
        takes: Takes::One("NUMBER"),
        help: "how many of those gateways must agree before anything is signed or counts as final; or majority",
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
    },
    Setting {
        key: "anchor_weave",
        takes: Takes::One("NAME"),
        help: "the name of that weave, as its gateways give it in `network` at /info (others are not believed); that \
               of a node's embedded weave is weft.NETWORK",
        set: |config, given| {
            // Peers refuse what is announced under any other name.
            let good = |text: &&str| is_weave_name(text) && !text.starts_with("local:");
            let text = given.text().filter(good);
            let expected =
                || format!("1 to {WEAVE_CHARS_MAX} characters without spaces, such as {MAIN_WEAVE}");
            config.anchor.weave = text.ok_or_else(expected)?.into();
            Ok(())
        },
        show: |config| Value::String(config.anchor.weave.clone()),
    },
    Setting {
        key: "anchor_wallet",
        takes: Takes::One("FILE"),
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
    },
    Setting {
        key: "anchor_bundler",
        takes: Takes::One("URL"),
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
    },
    Setting {
        key: "anchor_day_limit",
        takes: Takes::One("WINSTON"),
        help: "the most winston to sign for in a day (UTC), mined or not; beyond it batches wait; or unset",
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
    },
    Setting {
        key: "anchor_margin_percent",
        takes: Takes::One("PERCENT"),
        help: "percent to pay on top of the gateways' price, so that a transaction is accepted even if prices rise",
        set: |config, given| {
            config.anchor.margin_percent = given.number(0, 1_000)?;
            Ok(())
        },
        show: |config| number(config.anchor.margin_percent),
    },
    Setting {
        key: "anchor_confirmations",
        takes: Takes::One("NUMBER"),
        help: "how many blocks deep a block must be to count as final, itself included; Arweave replaces at most 18",
        set: |config, given| {
            config.anchor.confirmations = given.number(1, 10_000)?;
            Ok(())
        },
        show: |config| number(config.anchor.confirmations),
    },
    Setting {
        key: "anchor_check_ms",
        takes: Takes::One("MS"),
        help: "milliseconds between checks on what was posted",
        set: |config, given| set_ms(&mut config.anchor.check_ms, given, 50),
        show: |config| number(config.anchor.check_ms),
    },
    Setting {
        key: "anchor_chunks_at_once",
        takes: Takes::One("NUMBER"),
        help: "how many chunks of a transaction to send to a gateway at once; 1 for gateways that need them in order",
        set: |config, given| {
            config.anchor.chunks_at_once = usize::try_from(given.number(1, CHUNKS_MAX)?).unwrap_or(1);
            Ok(())
        },
        show: |config| number(config.anchor.chunks_at_once as u64),
    },
    Setting {
        key: "anchor_batch_slots",
        takes: Takes::One("NUMBER"),
        help: "write a batch when this many slots of a process are waiting; where batches cost money, 10000 unless set",
        set: |config, given| set_u32(&mut config.anchor_batch_slots, given, 1, 10_000),
        show: |config| Value::Integer(config.anchor_batch_slots.into()),
    },
    Setting {
        key: "anchor_batch_age_ms",
        takes: Takes::One("MS"),
        help: "write a batch when its oldest slot has waited this many milliseconds; where batches cost money, an hour \
               unless set, and it then waits as long again for others to share a transaction with",
        set: |config, given| set_ms(&mut config.anchor_batch_age_ms, given, 50),
        show: |config| number(config.anchor_batch_age_ms),
    },
    Setting {
        key: "anchor_checkpoints",
        takes: Takes::One("WHICH"),
        help: "which checkpoints go into batches, so that others can start from them without evaluating what came \
               before: off, or boundaries (the newest that a quorum signed, up to 24 MiB compressed; there is one \
               every 1,024 slots)",
        set: set_anchor_checkpoints,
        show: |config| Value::String(config.anchor_checkpoints.name().into()),
    },
];

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
