//! What a replay came to.

use serde::{Deserialize, Serialize};
use weft_protocol::{Address, Hash, Id};

use crate::recover::RecoverReport;

/// What a replay found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct VerifyReport {
    pub process: Id,
    pub slots: u64,
    pub positions: u64,
    pub attestations_checked: u64,
    pub attestors: Vec<Address>,
    pub running: Hash,
    pub state_root: Hash,
    /// The first difference; absent when everything is equal.
    pub difference: Option<String>,
    /// How the log was read, where that was from a weave alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weave: Option<RecoverReport>,
    pub elapsed_ms: u64,
}
