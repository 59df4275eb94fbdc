//! Why an item got no slot, and what a peer is told of it.

use weft_protocol::wire;
use weft_protocol::wire::refusal::Code;

/// Why an item got no slot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The item can never get one: nobody's scheduler would take it.
    #[error("{0}")]
    Invalid(String),
    /// This scheduler does not take it; another might.
    #[error("{0}")]
    Refused(String),
    /// Its process is not known or its scheduler not reachable.
    #[error("{0}")]
    Unknown(String),
    /// Its scheduler cannot be reached, or gives neither a slot nor a reason.
    #[error("{0}")]
    NoAnswer(String),
    /// Come back after so many milliseconds.
    #[error("the scheduler is busy; try again in {0} ms")]
    Busy(u64),
    /// The scheduler has no room on its disk: come back after so many milliseconds.
    #[error("the scheduler's disk budget is used up and it takes no new work; try again in {0} ms")]
    Full(u64),
    /// Strangers had this log grow by as much as they may in an hour: come back after so many milliseconds.
    #[error(
        "strangers' messages have made the log of the process grow by as much as its scheduler allows per hour; try again \
         in {0} ms, or ask its operator to raise `others_messages`"
    )]
    Grown(u64),
    /// This node failed.
    #[error("{0}")]
    Fault(String),
}

impl SubmitError {
    /// What a peer is told.
    pub fn to_refusal(&self) -> wire::Refusal {
        let (code, retry_ms) = match self {
            Self::Invalid(_) => (Code::Invalid, 0),
            Self::Refused(_) => (Code::NotMine, 0),
            Self::Unknown(_) | Self::NoAnswer(_) => (Code::Unknown, 0),
            Self::Busy(ms) | Self::Full(ms) | Self::Grown(ms) => (Code::Busy, *ms),
            Self::Fault(_) => (Code::Fault, 0),
        };
        wire::Refusal { code: code.into(), text: self.to_string(), retry_ms }
    }

    /// What a peer told.
    pub(super) fn of_refusal(refusal: &wire::Refusal) -> Self {
        let text = refusal.text.clone();
        if text.is_empty() && refusal.code() != Code::Busy {
            return Self::NoAnswer("its scheduler refused it without a reason".to_owned());
        }
        match refusal.code() {
            Code::Invalid => Self::Invalid(text),
            Code::NotMine => Self::Refused(text),
            Code::Busy => Self::Busy(refusal.retry_ms),
            Code::Unspecified | Code::Unknown | Code::Gone => Self::Unknown(text),
            Code::Fault => Self::Fault(text),
        }
    }
}
