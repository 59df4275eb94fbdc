//! Why a node does not do what it is asked, as it says so.

use serde::{Deserialize, Serialize};
use weft_protocol::wire::refusal::Code;

/// Why a request failed, for a person and for a script.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// A stable word.
    pub code: FailureCode,
    /// What happened, to what, and what to do next.
    pub text: String,
    /// Of one that is busy: come back after so many milliseconds. Nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

impl Failure {
    /// A failure that asking again does not mend.
    pub fn new(code: FailureCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), retry_ms: None }
    }

    /// One that may be gone after so many milliseconds.
    #[must_use]
    pub fn retry_in(self, ms: u64) -> Self {
        Self { retry_ms: Some(ms), ..self }
    }
}

/// The kinds of failure, each with its exit code in the CLI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureCode {
    /// The request itself is wrong.
    Invalid,
    /// No such process, item, slot or module is known here.
    Unknown,
    /// It was here once, and was let go for good.
    Gone,
    /// The scheduler or a policy said no.
    Refused,
    /// It waits for a slot on the topic of its process: nothing is to be done but to look again.
    Pending,
    /// Try again later.
    Busy,
    /// The disk budget is used up. Try again when there is room.
    Full,
    /// Nothing came in the given time.
    TimedOut,
    /// The node itself failed: disk, network.
    Fault,
}

impl FailureCode {
    /// What a peer is told.
    pub(crate) const fn to_peer(self) -> Code {
        match self {
            Self::Invalid => Code::Invalid,
            Self::Unknown | Self::TimedOut | Self::Pending => Code::Unknown,
            Self::Gone => Code::Gone,
            Self::Refused => Code::NotMine,
            Self::Busy | Self::Full => Code::Busy,
            Self::Fault => Code::Fault,
        }
    }
}
