//! The node at one moment, for `weft top`.

use serde::{Deserialize, Serialize};

use super::{ProcessInfo, Status};

/// A node at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Top {
    pub status: Status,
    /// Milliseconds since the node started, when the rest was looked at.
    pub at_ms: u64,
    /// Memory of the operating system process.
    pub resident_bytes: Option<u64>,
    /// Queues and budgets.
    pub levels: Vec<Level>,
    /// Processes: those in memory first, and at most a thousand.
    pub processes: Vec<TopProcess>,
}

/// How much of a queue or budget is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Level {
    pub role: String,
    pub name: String,
    pub used: u64,
    pub limit: u64,
}

/// One process at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TopProcess {
    #[serde(flatten)]
    pub info: ProcessInfo,
    /// Slots without an outcome here; none where it is not computed.
    pub lag: Option<u64>,
    /// Memory that it takes up; none while it is on disk only.
    pub memory_bytes: Option<u64>,
    /// Gas of the newest position.
    pub gas: Option<u64>,
}
