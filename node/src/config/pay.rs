//! What a node does about pay for carrying: its own, and that of others.

/// What is claimed, and what is doubted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pay {
    /// The smallest sum that the messenger claims for one window of one process.
    pub claim_least: u64,
    /// False claims of others that this node challenges in a day, each with a deposit of its own; 0 for none.
    pub audit_challenges: u64,
}

impl Default for Pay {
    fn default() -> Self {
        Self { claim_least: 1, audit_challenges: 0 }
    }
}
