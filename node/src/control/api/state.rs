//! The state of a process at a slot, as it travels.

use serde::{Deserialize, Serialize};
use weft_protocol::outcome::Running;
use weft_protocol::state::StateSummary;
use weft_protocol::time::TimePoint;
use weft_protocol::{Hash, Id, Position};

use super::Progress;

/// What comes before the end of an answer with a state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateEvent {
    /// How far the replay is.
    Replayed(Progress),
    /// A leaf of the memory that is not all zeros; they ascend.
    Leaf {
        /// Which: it begins at this number times its length.
        number: u32,
        /// Its bytes, base64.
        bytes: String,
    },
}

/// The state of a process after a position: all that its state root binds, the memory by its root.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct StateInfo {
    pub process: Id,
    pub position: Position,
    pub state_root: Hash,
    pub rules: u32,
    pub module: Id,
    pub timestamp: u64,
    pub block_height: u64,
    pub memory_bytes: u64,
    pub memory_root: Hash,
    /// Bytes of the leaves that are not all zeros.
    pub memory_used: u64,
    pub seen_count: u64,
    pub seen_root: Hash,
    pub running: Hash,
    /// Slots that were evaluated again to get there.
    pub replayed: u64,
    pub elapsed_ms: u64,
}

impl StateInfo {
    /// The state root that everything else here has.
    pub fn root(&self) -> Hash {
        let summary = StateSummary {
            process: self.process,
            rules: self.rules,
            module: self.module,
            position: self.position,
            time: TimePoint { timestamp: self.timestamp, height: self.block_height },
            memory_bytes: self.memory_bytes,
            memory_root: self.memory_root,
            seen_count: self.seen_count,
            seen_root: self.seen_root,
            running: Running(self.running),
        };
        summary.root()
    }
}
