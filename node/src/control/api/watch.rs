//! What is seen of a process while it goes on.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_protocol::{Address, Hash, Id, Position};

use super::SlotInfo;

/// Something seen while watching.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum WatchEvent {
    Slot(SlotInfo),
    Outcome {
        position: Position,
        code: u8,
        output: Value,
        running: Hash,
    },
    Attestation {
        position: Position,
        attestor: Address,
        running: Hash,
    },
    /// Whether somebody still says where the log ends; what is shown is true as of this time.
    Freshness {
        as_of: Option<u64>,
        stale: bool,
    },
    /// A message waits for a slot on the topic; it may never get one.
    Waits {
        item: Id,
        signer: Address,
        postage_bits: u32,
    },
    Alarm {
        text: String,
    },
}

/// Something seen of one of many processes that are watched over one connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Watched {
    pub process: Id,
    pub event: WatchEvent,
}
