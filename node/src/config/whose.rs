//! Whose processes a node takes that come to it unasked.

use std::collections::BTreeSet;

use toml::Value;
use weft_protocol::Address;

use super::given::{Expected, Given};

/// Addresses that may be listed.
const LISTED_MAX: usize = 1024;

/// Whose processes are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Those that this node's own key signed: nobody can spend this machine unasked.
    Own,
    /// Those of its own key and of these addresses.
    Listed(BTreeSet<Address>),
    /// Everybody's, within the budgets for them.
    Anyone,
}

impl Whose {
    /// Whether processes of this owner are taken; `own` says that it is the node's own.
    pub fn includes(&self, owner: &Address, own: bool) -> bool {
        match self {
            Self::Own => own,
            Self::Listed(listed) => own || listed.contains(owner),
            Self::Anyone => true,
        }
    }

    pub(super) fn parse(given: &Given<'_>) -> Result<Self, Expected> {
        let expected =
            || Expected(format!("`own`, `anyone`, or 1 to {LISTED_MAX} addresses of 43 characters"));
        let list = match given.text() {
            Some("own") => return Ok(Self::Own),
            Some("anyone") => return Ok(Self::Anyone),
            _ => given.list().ok_or_else(expected)?,
        };
        if list.is_empty() || list.len() > LISTED_MAX {
            return Err(expected());
        }
        let listed: Result<BTreeSet<Address>, _> = list.iter().map(|text| text.parse()).collect();
        listed.map(Self::Listed).map_err(|_| expected())
    }

    pub(super) fn show(&self) -> Value {
        match self {
            Self::Own => Value::String("own".into()),
            Self::Anyone => Value::String("anyone".into()),
            Self::Listed(list) => {
                Value::Array(list.iter().map(|address| Value::String(address.to_string())).collect())
            }
        }
    }
}
