//! What the machine asks for, and what it says of a posting that does not go on.

use std::fmt;

use weft_protocol::{Hash, Id};

use super::super::spending::Spent;

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The fee, in winston.
    pub reward: u64,
    /// The block that it names; none for a bundler.
    pub anchor: Option<String>,
    /// The last height at which a block may hold it.
    pub expires: Option<u64>,
    /// What this day comes to with it: durable in the same commit.
    pub spent: Spent,
}

/// What the driver asks for. Each but `Post` to a gateway is answered; a posting has one at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Bundle these batches and store the bundle, again where it was stored before.
    Build {
        /// As which posting.
        number: u64,
        /// The batches.
        parts: Vec<Hash>,
    },
    /// Give batches back that cannot be read, and forget the posting if it is on disk: they are made anew. Nothing was
    /// signed of them that a block can hold.
    LetGo {
        /// The posting that they were to be.
        number: u64,
        /// The batches.
        parts: Vec<Hash>,
    },
    /// Ask every gateway for price, balance and height.
    Quote {
        /// For which posting.
        number: u64,
        /// Its bytes.
        bytes: u64,
    },
    /// Ask every gateway for the name of a block.
    Block {
        /// For which posting.
        number: u64,
        /// The height.
        height: u64,
    },
    /// Sign it, and store what was signed and what was spent in one commit. Nothing is posted before.
    Sign {
        /// Which.
        number: u64,
        /// On which terms.
        terms: Terms,
    },
    /// Post what was signed.
    Post {
        /// Which.
        number: u64,
        /// To which gateways.
        to: Vec<usize>,
    },
    /// Ask every gateway what it knows of it.
    Ask {
        /// Of which.
        number: u64,
        /// The transaction.
        tx: Id,
    },
    /// Read its bytes back from a gateway.
    Read {
        /// Of which.
        number: u64,
        /// The transaction.
        tx: Id,
    },
    /// Store it as final.
    Settle {
        /// Which.
        number: u64,
        /// The height of its block.
        height: u64,
        /// The name of its block.
        block: String,
    },
}

impl Effect {
    /// Whether a bundle goes to gateways with it, or comes from one.
    pub const fn carries(&self) -> bool {
        matches!(self, Self::Post { .. } | Self::Read { .. })
    }

    /// The posting that it is for.
    pub const fn number(&self) -> u64 {
        match self {
            Self::Build { number, .. }
            | Self::LetGo { number, .. }
            | Self::Quote { number, .. }
            | Self::Block { number, .. }
            | Self::Sign { number, .. }
            | Self::Post { number, .. }
            | Self::Ask { number, .. }
            | Self::Read { number, .. }
            | Self::Settle { number, .. } => *number,
        }
    }
}

/// Why a posting does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Too few gateways answer.
    Gateways,
    /// Too few gateways have the same block.
    Forked,
    /// The wallet has too little.
    Balance {
        /// What it has, in winston.
        has: u64,
        /// What it takes.
        needs: u64,
    },
    /// The day's limit is reached.
    Limit {
        /// Signed for today.
        spent: u64,
        /// What it takes.
        needs: u64,
        /// The limit.
        limit: u64,
    },
    /// Nobody took it.
    Refused,
    /// Its transaction can be in no block any more: another one is signed.
    Lapsed,
    /// A bundler was given it, and it is in no block: a wallet signs a transaction.
    Undelivered,
    /// A block holds it, and its bytes do not come back.
    Unseeded,
    /// Something failed here.
    Fault,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateways => f.write_str("too few gateways answer; it is tried again"),
            Self::Forked => f.write_str("too few gateways name the same block; nothing is signed meanwhile"),
            Self::Balance { has, needs } => {
                write!(f, "the wallet has {has} winston, and this takes {needs}; send it some")
            }
            Self::Limit { spent, needs, limit } => write!(
                f,
                "{spent} winston are signed for today, this takes {needs}, and `anchor_day_limit` is {limit}; it waits \
                 for the next day (UTC), or for a higher limit"
            ),
            Self::Refused => f.write_str("no gateway took it; it is posted again"),
            Self::Lapsed => {
                f.write_str("its transaction was never mined and cannot be any more; it is signed anew")
            }
            Self::Undelivered => {
                f.write_str("no block holds what a bundler was given; a transaction is signed for it")
            }
            Self::Unseeded => {
                f.write_str("a block holds it, but no gateway gives its bytes; they are posted again")
            }
            Self::Fault => f.write_str("something failed here, which the log names; it is tried again"),
        }
    }
}
