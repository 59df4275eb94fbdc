//! What becomes of items that are handed in: a slot, or a place among those that wait for one.

use serde::{Deserialize, Serialize};
use weft_protocol::{Address, Id};

/// An accepted item.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Submitted {
    /// The item at the slot: of a transaction, the one that carries it.
    pub id: Id,
    pub process: Id,
    pub slot: u64,
    pub assignment: Id,
    /// It was in the log before; `slot` is the first one's.
    pub duplicate: bool,
}

/// What a client asks of messages that wait for a slot on the topics of their processes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "pending", rename_all = "kebab-case", deny_unknown_fields)]
pub enum PendingRequest {
    /// Those that this node sends, and those of others that it holds: [`PendingInfo`].
    List {
        /// Of this process alone.
        #[serde(default)]
        process: Option<Id>,
    },
    /// Send a signed message that way, whatever its scheduler says: [`LetterInfo`].
    Send {
        /// The raw item, base64.
        item: String,
    },
}

/// Messages that wait for a slot.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PendingInfo {
    /// Those that this node sends, and the last ones that it sent.
    pub letters: Vec<LetterInfo>,
    /// Those that it holds, at most 1,000.
    pub held: Vec<HeldInfo>,
}

/// A message that this node sends by the topic of its process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct LetterInfo {
    pub item: Id,
    pub process: Id,
    pub state: LetterState,
    /// The postage that it pays, or is to pay next.
    pub postage_bits: u32,
    /// Its slot, once it has one.
    pub slot: Option<u64>,
    /// What its scheduler said last, or why it is sent no more.
    pub why: String,
    /// When it is sent no more, in milliseconds since 1970.
    pub until: u64,
}

/// How far such a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterState {
    /// Postage is worked for.
    Paying,
    /// Nobody on its topic was there to hear it; it is said again.
    Unheard,
    /// It was said, and waits.
    Waiting,
    /// It has its slot.
    Assigned,
    /// It is sent no more.
    GivenUp,
}

impl LetterState {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paying => "paying",
            Self::Unheard => "unheard",
            Self::Waiting => "waiting",
            Self::Assigned => "assigned",
            Self::GivenUp => "given up",
        }
    }
}

/// A message of anybody that this node holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct HeldInfo {
    pub item: Id,
    pub process: Id,
    pub signer: Address,
    pub postage_bits: u32,
    pub age_ms: u64,
}
