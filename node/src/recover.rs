//! A log comes back from a weave: `weft recover`.
//!
//! Gateways of a weave are strangers that hold bytes. They are asked which of their bundles hold the
//! assignments of a process, signed by its scheduler, slot by slot; the bundles are read and every id,
//! signature, link and proof in them is checked as if it had come from a peer, and what verifies goes the
//! way of all slots from outside, to the follower. The log is in order when its own slots are: no gateway's
//! order, count or word matters. What one has not, or gives falsely, the next is asked for, and the report
//! names who gave what and what is missing.
//!
//! In: [`recover`], on a node that runs. `machine` decides whom to ask; `gateway` asks over HTTP; `ask` has the
//! questions and reads the answers; `pool` holds what came; `reading` makes verified slots of it. `weft verify
//! --against weave` has them go into a `scratch` store instead, which is replayed and removed. `unasked` reads
//! what nobody on the mesh serves by itself.

mod ahead;
mod alone;
mod ask;
mod asked;
mod checkpoint;
mod gateway;
mod given;
mod holding;
mod machine;
mod own;
mod pool;
mod reading;
mod redirect;
mod scratch;
mod sink;
mod source;
mod task;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
mod unasked;

use serde::{Deserialize, Serialize};
use weft_protocol::{Hash, Id};

pub(crate) use alone::{AloneError, item_from};
pub(crate) use checkpoint::{checkpoint_part, newest_checkpoint};
pub(crate) use gateway::Gateway;
pub use gateway::GatewayError;
pub(crate) use holding::{Holding, holding};
pub use own::{NotRecovered, RecoverAllReport, recover_all};
pub(crate) use scratch::{FOLDER, Scratch};
pub(crate) use source::{Settled, seek, settled};
pub(crate) use task::read_into;
pub use task::recover;
pub use unasked::{UnaskedTask, Wish, Wishes};

use crate::portable::PortableError;

/// Gateways of one run, and of one node.
pub const GATEWAYS_MAX: usize = 16;

/// Why nothing, or not more, was recovered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// An address that is none.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// None, or too many.
    #[error("{0} gateways were named: expected 1 to {GATEWAYS_MAX}")]
    Gateways(usize),
    /// The Process item is nowhere.
    #[error("process {process} was not found: {why}")]
    Unknown {
        /// Which.
        process: Id,
        /// What each gateway said.
        why: String,
    },
    /// What is under the id is no process that this node takes.
    #[error("process {process} is refused: {why}")]
    Refused {
        /// Which.
        process: Id,
        /// What is wrong with it.
        why: String,
    },
    /// Another key schedules it.
    #[error("process {process} is scheduled by another key")]
    Foreign {
        /// Which.
        process: Id,
    },
    /// The process is read into a store already.
    #[error("process {0} is already being checked against a weave: wait for that")]
    Busy(Id),
    /// No gateway said which processes there are.
    #[error("no gateway says which processes it has: {0}")]
    Silent(String),
    /// There is no room for what would be read.
    #[error("there is no room on the disk, or in `disk_budget`, to read a log from a weave: {0}")]
    Room(String),
    /// What verified was not taken by this node.
    #[error(transparent)]
    Portable(#[from] PortableError),
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RecoverReport {
    pub process: Id,
    /// Slots of the log here now, without a gap from slot 0 on.
    pub slots: u64,
    /// How many of them were not here before.
    pub new_slots: u64,
    /// The chain hash of the newest of them.
    pub hash_chain: Hash,
    pub module: ModuleState,
    /// Attestations that were new here.
    pub attestations: u64,
    /// Bundles that were read.
    pub bundles: u64,
    /// How many of them are the bytes that their transaction, or their name, commits to.
    pub bundles_proven: u64,
    /// How many of them are shown to be in a block: a path leads to their bytes from the root that most of the gateways
    /// name of it.
    pub bundles_in_blocks: u64,
    /// Why one of the others is not.
    pub not_in_blocks: Option<String>,
    /// The fewest blocks that confirm one of those that are proven, by the word of whoever gave it; none unless that was
    /// said of all of them.
    pub least_confirmations: Option<u64>,
    pub gateways: Vec<GatewayReport>,
    /// Slots that the scheduler signed, and that nobody gave.
    pub missing: Option<Missing>,
    /// Whether any gateway lists nothing newer than what is here now.
    pub ends_here: bool,
    /// What else could not be proven, or was false.
    pub unproven: Vec<String>,
    pub elapsed_ms: u64,
    pub stages: Stages,
}

/// What one run did with its time. Its stages run beside each other, so they are no parts of the whole.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Stages {
    /// It waited for gateways to list and to give what has the slots.
    pub asking_ms: u64,
    /// It read, hashed and verified items of bundles.
    pub checking_ms: u64,
    /// On so many threads at most.
    pub threads: u64,
    /// It waited for the disk to take what was verified.
    pub storing_ms: u64,
    /// All slots were on disk after so long: what is beside them, and the blocks that their bundles are in, come then.
    pub here_ms: u64,
}

impl RecoverReport {
    /// Whether all that there is evidence of is here, and some gateway agrees that this is all.
    pub const fn is_whole(&self) -> bool {
        self.missing.is_none() && self.ends_here && self.slots > 0
    }
}

/// Whether the process can be computed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleState {
    /// Its module was here.
    Here,
    /// Its module came from a gateway.
    Recovered,
    /// Nobody has its module; peers may.
    Missing,
}

/// Slots without which the log ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Missing {
    pub from: u64,
    pub to: u64,
}

/// What a gateway was good for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct GatewayReport {
    pub gateway: String,
    /// Slots of which it gave the assignment.
    pub slots: u64,
    pub requests: u64,
    pub bytes: u64,
    /// What it gave that was false, and what it did not give; the first ones.
    pub faults: Vec<String>,
    /// How many of those there were.
    pub faults_count: u64,
    /// It was asked no more.
    pub given_up: bool,
}
