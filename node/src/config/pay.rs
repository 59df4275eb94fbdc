//! What a node does about pay for carrying: its own, and that of others.

use std::collections::BTreeSet;

use weft_protocol::Id;

use super::Config;
use super::given::{Expected, Given};

/// Ledgers that may be listed: each is asked about once in ten seconds while claims are under way.
const CLAIM_AT_MAX: usize = 64;

/// What is claimed, and what is doubted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pay {
    /// The smallest sum that the messenger claims for one window of one process.
    pub claim_least: u64,
    /// False claims of others that this node challenges in a day, each with a deposit of its own; 0 for none.
    pub audit_challenges: u64,
    /// Ledgers at which it claims though it does not compute them, by the word of a quorum of their attestors: any
    /// process can say that it is a ledger, so the operator names those that he believes.
    pub claim_at: BTreeSet<Id>,
}

impl Default for Pay {
    fn default() -> Self {
        Self { claim_least: 1, audit_challenges: 0, claim_at: BTreeSet::new() }
    }
}

pub(super) fn set_claim_at(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    let expected = || Expected(format!("a list of at most {CLAIM_AT_MAX} ids of processes"));
    let list = given.list().filter(|list| list.len() <= CLAIM_AT_MAX).ok_or_else(expected)?;
    let ledgers: Result<_, _> = list.iter().map(|id| id.parse()).collect();
    config.pay.claim_at = ledgers.map_err(|_| expected())?;
    Ok(())
}
