//! Where a node listens, whom it knows, and who can dial it.

use std::str::FromStr;

use toml::Value;

use super::Config;
use super::given::{Expected, Given};
use crate::recover::{GATEWAYS_MAX, Gateway};

/// Addresses to listen on: more are a typing error.
const LISTEN_MAX: usize = 16;
/// Peers to start from: one that answers is enough.
const BOOTSTRAP_MAX: usize = 64;
/// What a correct listen address looks like.
const LISTEN_EXPECTED: &str = "a multiaddress such as `/ip4/127.0.0.1/tcp/4904`";
/// What a correct bootstrap address looks like.
const DIAL_EXPECTED: &str = "a multiaddress with a peer id such as `/ip4/192.0.2.7/tcp/4904/p2p/12D3KooW...`";

/// What a correct address of a gateway looks like.
const GATEWAY_EXPECTED: &str =
    "an address that begins with https:// or http://, such as `https://arweave.net`";

/// Whether peers can dial this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachable {
    /// Loopback addresses can be dialled by who is on the same machine, others once a peer has done it.
    Auto,
    /// All addresses can be.
    Yes,
    /// None can be: the node only dials.
    No,
}

impl Reachable {
    /// Its word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Yes => "yes",
            Self::No => "no",
        }
    }
}

impl FromStr for Reachable {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Auto, Self::Yes, Self::No].into_iter().find(|word| word.name() == text).ok_or(())
    }
}

fn addresses(
    given: &Given<'_>,
    max: usize,
    good: fn(&str) -> bool,
    expected: &str,
) -> Result<Vec<String>, Expected> {
    let list = given.list().ok_or_else(|| format!("a list, each {expected}"))?;
    if list.len() > max {
        return Err(format!("at most {max} addresses").into());
    }
    match list.iter().find(|text| !good(text)) {
        Some(bad) => Err(format!("a list, each {expected}; `{bad}` is not").into()),
        None => Ok(list.into_iter().map(str::to_owned).collect()),
    }
}

pub(super) fn set_listen(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    config.listen =
        addresses(given, LISTEN_MAX, |text| weft_net::check_listen(text).is_ok(), LISTEN_EXPECTED)?;
    Ok(())
}

pub(super) fn set_bootstrap(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    config.bootstrap =
        addresses(given, BOOTSTRAP_MAX, |text| weft_net::check_peer(text).is_ok(), DIAL_EXPECTED)?;
    Ok(())
}

pub(super) fn set_gateways(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    config.gateways = addresses(given, GATEWAYS_MAX, |text| Gateway::new(text).is_ok(), GATEWAY_EXPECTED)?;
    Ok(())
}

pub(super) fn set_reachable(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    let reachable = given.text().and_then(|text| Reachable::from_str(text).ok());
    config.reachable = reachable.ok_or("`auto`, `yes` or `no`")?;
    Ok(())
}

pub(super) fn set_bool(place: &mut bool, given: &Given<'_>) -> Result<(), Expected> {
    let value = match given {
        Given::Toml(Value::Boolean(value)) => Some(*value),
        Given::Toml(_) => None,
        Given::Text(text) => text.trim().parse().ok(),
    };
    *place = value.ok_or("true or false")?;
    Ok(())
}

pub(super) fn set_topics(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    let topics = given.number(0, weft_net::limits::TOPICS_JOINED_MAX as u64)?;
    // A number that small fits everywhere.
    config.topics = usize::try_from(topics).unwrap_or(weft_net::limits::TOPICS_JOINED_MAX);
    Ok(())
}
